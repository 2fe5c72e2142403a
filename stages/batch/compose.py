"""The next batch: the strategy's pick, the control arm and the doubted labels, mixed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.answers.budget import answers_left
from stages.answers.gated import Gate, exhausted, settled
from stages.answers.ledger import Doubt, check_label
from stages.batch.guard import Agree, PassedOver, guarded
from stages.contract.arrays import Floats, Ints, Matrix
from stages.contract.canonical import Row
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.calibration import Verdict, read_calibration
from stages.learning.predictions import Predictions, read_predictions
from stages.learning.scoring import margin_of
from stages.quality.agreement import relabel_or_new, vote_table, weighable
from stages.store.index import Features, Index
from stages.store.near import said_alike, usual_rows
from stages.strategies import Candidates, Ranking
from stages.strategies.auto import floor_weights
from stages.strategies.registry import resolve

ROUNDING = 1e-4  # by which the sum of many single-precision probabilities may be off
PLANTED = "planted repeat"


@dataclass(frozen=True)
class Model:
    """What calibrate says, as probabilities.

    pool: (n_pool, k); held_out: (m, k) of accepted labels, out of fold; committee: of each of its
    members, or None.
    """

    pool: Floats
    held_out: Floats
    committee: Floats | None
    trusted: bool


@dataclass(frozen=True)
class Batch:
    """The rows of the batch in the order to ask, its metrics, and near duplicates passed over."""

    rows: list[Row]
    metrics: Row
    passed_over: list[Row]


def unasked(index: Index, gate: Gate, cooldown: int) -> Ints:
    """Pool rows that may be asked now.

    These are not settled, nor a copy of such, nor in seed or test by content.
    """
    out = {
        index.sha[index.row_of[item]] for item in settled(gate, cooldown) if item in index.row_of
    }
    free = index.askable & np.fromiter(
        (sha not in out for sha in index.sha[index.rows("pool")]), dtype=np.bool_
    )
    return np.flatnonzero(free)


def sizes(params: Params, answers: int, free: int, queue: int) -> tuple[int, int, int, int]:
    """(batch, active, control, review) counts of the next batch, within budget, pool and queue.

    The budget counts answers, and every row wants `surface.annotations_per_item` of them, repeats
    and reviews too. Shares are rounded half up for control and down for review; what review does
    not use goes to active.
    """
    options = params.query
    left = answers_left(params, answers)
    wanted = options.batch_size
    if left is not None:
        wanted = min(wanted, left // params.surface.annotations_per_item)
    review = min(queue, math.floor(wanted * options.review_fraction + 1e-9), wanted)
    new = min(wanted - review, free)
    control = min(new, math.floor((new + review) * options.control_fraction + 0.5))
    return new + review, new - control, control, review


def worth_review(
    gate: Gate, index: Index, model: Model | None, free: Ints, params: Params
) -> list[Doubt]:
    """The doubted labels that are better questions than a batch's last new ones, the best first.

    Where annotators can be weighed, ActiveLab puts doubted labels and free pool rows on one scale,
    and a doubt waits when a whole batch of questions is better; ties go to the doubt, among doubts
    to the gate's order. A doubt about a row that the model has no opinion of (a seed row) is scored
    by its votes alone. Else: all, in the gate's order.
    """
    number = {label: place for place, label in enumerate(params.labels)}
    given: dict[str, dict[str, int]] = {}
    for vote in gate.votes:
        given.setdefault(vote["id"], {})[vote["annotator"]] = number[vote["label"]]
    accepted = [
        place for place, item in enumerate(gate.accepted.ids) if len(given.get(item, ())) > 1
    ]
    queue = [row["id"] for row in gate.review]
    votes = vote_table(
        [given.get(item, {}) for item in (*queue, *(gate.accepted.ids[at] for at in accepted))]
    )[1]
    if model is None or not weighable(votes):
        return gate.review
    believed = np.full((len(queue), len(number)), 1 / len(number))
    pooled = [at for at, item in enumerate(queue) if index.split[index.row_of[item]] == "pool"]
    believed[pooled] = model.pool[[index.row_of[queue[at]] for at in pooled]]
    labelled = np.vstack([believed, model.held_out[accepted]])
    again, new = relabel_or_new(votes, labelled, model.pool[free])
    order = np.argsort(np.round(again[: len(queue)], 9), kind="stable")
    better = np.searchsorted(np.sort(np.round(new, 9)), np.round(again[order], 9))
    return [
        gate.review[at]
        for place, at in enumerate(order)
        if place + better[place] < params.query.batch_size
    ]


def compose(
    features: Features,
    model: Model | None,
    gate: Gate,
    params: Params,
    stands_for: Floats | None = None,
) -> Batch:
    """The next batch.

    features: of all n rows; model: None while there is none; stands_for: (n_pool,) of a pool in
    parts, how many of its rows each row here stands for, 0 for a row that is here for another
    reason. An id picked by both arms is asked once and counts for both; the control walk then goes
    on, so that the batch is full.
    """
    index, geometry = features.index, features.geometry
    free = unasked(index, gate, params.query.skip_cooldown)
    free = free if stands_for is None else free[stands_for[free] > 0]
    shares = None if stands_for is None else stands_for[free]
    doubted = worth_review(gate, index, model, free, params)
    size, active, control, review = sizes(params, gate.state["answers"], len(free), len(doubted))
    planted = gate.repeats[:active]
    active -= len(planted)
    candidates = replace(
        candidates_of(free, index, geometry, model, gate, params), stands_for=shares
    )
    agree = alike_in(features.matrix, free, labelled_rows(index, gate), params)
    ranking, passed = pick(candidates, active, params, agree, usual_rows(features, params.seed))
    doubts = (
        np.zeros(len(free))
        if candidates.probabilities is None
        else margin_of(candidates.probabilities)
    )
    rows = _active_rows(ranking, candidates, doubts, params.query.strategy, index)
    rows = _with_control(rows, candidates, doubts, size - review - len(planted), control, index)
    asked_again = [
        _review_row(row["id"], row["score"], "; ".join(row["reasons"]), index, model)
        for row in doubted[:review]
    ]
    asked_again += [_review_row(row["id"], 0.0, PLANTED, index, model) for row in planted]
    mixed = interleave(rows, asked_again, params.seed + gate.state["rounds"])
    number = gate.state["rounds"] + 1
    rows = [{**row, "rank": place, "round": number} for place, row in enumerate(mixed, start=1)]
    metrics = _metrics(rows, ranking, len(passed), doubts, candidates, gate, params)
    return Batch(rows, metrics, [_passed_row(item, candidates) for item in passed])


def labelled_rows(index: Index, gate: Gate) -> Ints:
    """The rows with a label: the accepted ones, then the doubted."""
    ids = [*gate.accepted.ids, *(row["id"] for row in gate.review)]
    return index.locate(ids, "build/gate/accepted.jsonl")


def alike_in(matrix: Matrix, free: Ints, labelled: Ints, params: Params) -> Agree:
    """For `guarded`: whether free rows' features are alike to another's, or a labelled one's."""
    rows = np.concatenate([free, labelled])

    def agree(some: Ints, twin: int) -> NDArray[np.bool_]:
        return said_alike(
            matrix, rows[some], rows[np.full(len(some), twin)], params.quality.near_duplicate
        )

    return agree


def candidates_of(
    free: Ints,
    index: Index,
    geometry: NDArray[np.float32],
    model: Model | None,
    gate: Gate,
    params: Params,
) -> Candidates:
    """What the strategy may know of the free pool rows.

    Doubted labels count as labelled, of no known class.
    """
    ids = [index.ids[row] for row in free]
    labelled = labelled_rows(index, gate)
    unknown = np.full(len(gate.review), -1, dtype=np.intp)
    uniform = np.full((len(gate.review), len(params.labels)), 1 / len(params.labels))
    return Candidates(
        ids=ids,
        keys=order_keys(params.seed, ids),
        geometry=np.asarray(geometry[free]),
        labelled=np.asarray(geometry[labelled]),
        labelled_class=np.concatenate([gate.accepted.classes, unknown]),
        probabilities=None if model is None else model.pool[free],
        committee=None if model is None or model.committee is None else model.committee[:, free],
        held_out=None if model is None else np.vstack([model.held_out, uniform]),
        class_weights=_class_weights(params),
        trusted=model is None or model.trusted,
        seed=params.seed,
    )


def _class_weights(params: Params) -> Floats:
    """(k,) weights of mean 1. Raises PipelineError for a class that is not in params.labels."""
    for label in () if params.query.class_weights == "auto" else params.query.class_weights:
        check_label(label, params.labels, "params.yaml query.class_weights")
    return np.array(params.class_weights) / float(np.mean(params.class_weights))


def pick(
    candidates: Candidates, count: int, params: Params, agree: Agree, sample: NDArray[np.float32]
) -> tuple[Ranking, list[PassedOver]]:
    """The strategy's picks, and what was passed over as it nearly repeats a pick or a labelled row.

    Random sampling is left as it is: it is the baseline. agree, sample: see `guarded`.
    """
    options = params.query
    rank = partial(
        resolve(options.strategy, options.engine, weighted=bool(options.class_weights)),
        **options.params,
    )
    if options.class_weights == "auto":
        weights = floor_weights(candidates, options.recall_floor)
        candidates = replace(candidates, class_weights=weights / weights.mean())
    if options.strategy == "random":
        return rank(candidates, count), []
    return guarded(rank, candidates, count, params.quality.near_duplicate, agree, sample)


def _active_rows(
    ranking: Ranking, candidates: Candidates, doubts: Floats, strategy: str, index: Index
) -> list[Row]:
    rows = []
    for position, score, reason in zip(
        ranking.positions, ranking.scores, ranking.reasons, strict=True
    ):
        item = candidates.ids[position]
        facts = {
            "id": item,
            "sha": index.sha[index.row_of[item]],
            "arms": ["active"],
            "score": score,
        }
        rows.append({**facts, "doubt": doubts[position], "strategy": strategy, "reason": reason})
    return rows


def _passed_row(item: PassedOver, candidates: Candidates) -> Row:
    """like: the row of the batch that it nearly repeats, None for a labelled row."""
    return {
        "id": candidates.ids[item.position],
        "like": item.like or None,
        "similarity": round(item.similarity, 3),
    }


def _with_control(
    rows: list[Row], candidates: Candidates, doubts: Floats, size: int, control: int, index: Index
) -> list[Row]:
    """The active rows, then the next rows of the permutation until the batch is full.

    A row that both want counts for both.
    """
    picked = {row["id"]: row for row in rows}
    walked = []
    for position in np.argsort(candidates.keys, kind="stable") if control else ():
        if len(picked) >= size:
            break
        item = candidates.ids[position]
        if item in picked:
            picked[item]["arms"] = ["active", "control"]
            continue
        facts = {
            "id": item,
            "sha": index.sha[index.row_of[item]],
            "arms": ["control"],
            "score": doubts[position],
        }
        row = {
            **facts,
            "doubt": doubts[position],
            "strategy": "random",
            "reason": "drawn at random",
        }
        picked[item] = row
        walked.append(row)
    return rows + walked


def _review_row(item: str, score: float, reason: str, index: Index, model: Model | None) -> Row:
    place = index.row_of[item]
    in_pool = index.split[place] == "pool"
    value = (
        float(margin_of(model.pool[place : place + 1])[0]) if model is not None and in_pool else 0.0
    )
    facts = {
        "id": item,
        "sha": index.sha[place],
        "arms": ["review"],
        "score": score,
        "doubt": value,
    }
    return {**facts, "strategy": "review", "reason": reason}


def interleave(rows: list[Row], asked_again: list[Row], seed: int) -> list[Row]:
    """Active rows in their order, with control and review rows at seeded places between them."""
    rng = np.random.default_rng(seed)
    active = [row for row in rows if "active" in row["arms"]]
    others = [row for row in rows if "active" not in row["arms"]] + asked_again
    others = [others[place] for place in rng.permutation(len(others))]
    slots = set(rng.choice(len(rows) + len(asked_again), size=len(others), replace=False).tolist())
    first, second = iter(active), iter(others)
    return [
        next(second) if place in slots else next(first)
        for place in range(len(rows) + len(asked_again))
    ]


def _metrics(
    rows: list[Row],
    ranking: Ranking,
    passed: int,
    doubts: Floats,
    candidates: Candidates,
    gate: Gate,
    params: Params,
) -> Row:
    """What `rounds status` and `dvc metrics` show of the batch and of the progress of labelling."""
    answers = gate.state["answers"]
    left = answers_left(params, answers)
    arms = {arm: sum(arm in row["arms"] for row in rows) for arm in ("active", "control", "review")}
    new, mass, modelled = (
        len(rows) - arms["review"],
        candidates.mass(),
        candidates.probabilities is not None,
    )
    if rows:
        state = "ready"
        if new >= len(doubts):
            state = "ready, the rest of the pool" if new else "ready, doubted labels only"
    elif left == 0:
        state = "budget spent"
    else:
        used_up = exhausted(gate, params.query.skip_cooldown)
        state = "nothing but near duplicates of labelled rows is left" if len(doubts) else used_up
    return {
        "round": gate.state["rounds"] + 1,
        "state": state,
        "batch": {"rows": len(rows), **arms},
        "strategy": params.query.strategy,
        "regime": ranking.regime,
        "evidence": ranking.evidence or None,
        "near_duplicates_passed_over": passed,
        "unasked": round(float(mass.sum())),
        "answers_spent": answers,
        "budget_left": left,
        "mean_doubt": float(np.average(doubts, weights=mass)) if modelled and len(doubts) else None,
    }


def read_model(folder: Path) -> Model | None:
    """What calibrate wrote; None when no model was fitted."""
    calibration = read_calibration(folder)
    if not calibration["fitted"]:
        return None
    return model_of(read_predictions(folder), calibration["verdict"])


def model_of(probabilities: Predictions, verdict: Verdict) -> Model:
    """Probabilities in double precision, and whether uncertainty may be used.

    What rounding to single precision took from the sums of rows is put back.
    """

    def exact(rows: NDArray[np.float32]) -> Floats:
        double = rows.astype(np.float64)
        total = double.sum(axis=-1, keepdims=True)
        return np.asarray(double / np.where(np.abs(total - 1) < ROUNDING, total, 1))

    committee = probabilities.committee
    return Model(
        pool=exact(probabilities.pool),
        held_out=exact(probabilities.labelled),
        committee=None if committee is None else exact(committee),
        trusted=verdict != "lying",
    )
