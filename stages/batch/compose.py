"""The next batch: the strategy's pick, the control arm and the doubted labels, mixed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple, TypedDict

import numpy as np

from stages.answers.arms import JUDGE, teaches
from stages.answers.budget import answers_left
from stages.answers.gate_tables import GateTables, settled, why_exhausted
from stages.answers.ledger import BatchRow, GoldRow, check_label
from stages.batch.cold_start import typical_by_class
from stages.batch.guard import Agree, PassedOver, guarded
from stages.batch.model import Model
from stages.batch.reviews import worth_review
from stages.batch.rows import (
    active_rows,
    gold_row,
    interleave,
    judge_row,
    numbered,
    planted_row,
    review_row,
    split_row,
    with_control,
    with_judges,
)
from stages.batch.splits import repeats_and_splits, share_of_split
from stages.contract.arrays import Floats, Geometry, Ints, Mask, Matrix
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.scoring import margin_of
from stages.store.index import Features, Index
from stages.store.near import features_alike, usual_rows
from stages.strategies import Candidates, Rank, Ranking
from stages.strategies.auto import floor_weights
from stages.strategies.registry import resolve


class PassedRow(TypedDict):
    """A row of passed_over.jsonl: a free row that is not asked, as it nearly repeats another.

    like: the row of the batch that it repeats, None for a labelled row.
    """

    id: str
    like: str | None
    similarity: float


class BatchMetrics(TypedDict):
    """metrics/query.json: what `rounds status` shows of the batch and of the progress of labelling.

    state: whether there is something to ask, and if not why; batch: rows in all and in each arm;
    regime, evidence: what the strategy chose by, and why; unasked: pool rows that may be asked;
    mean_doubt: of these, None without a model.
    """

    round: int
    state: str
    batch: dict[str, int]
    strategy: str
    regime: str
    evidence: str | None
    near_duplicates_passed_over: int
    unasked: int
    answers_spent: int
    budget_left: int | None
    mean_doubt: float | None


@dataclass(frozen=True)
class Batch:
    """The rows of the batch in the order to ask, its metrics, and near duplicates passed over."""

    rows: list[BatchRow]
    metrics: BatchMetrics
    passed_over: list[PassedRow]


class Sizes(NamedTuple):
    """How many rows a batch has, and how many of them each arm may pick.

    split: rows that are asked again because their class was split; they are of the review arm too.
    """

    batch: int
    active: int
    control: int
    review: int
    split: int = 0


def compose(
    features: Features,
    model: Model | None,
    gate: GateTables,
    params: Params,
    stands_for: Floats | None = None,
    drawn: Mapping[str, float] = MappingProxyType({}),
    said: Mapping[str, str] = MappingProxyType({}),
) -> Batch:
    """The next batch.

    features: of all n rows; model: None while there is none; stands_for: (n_pool,) of a pool in
    parts, how many of its rows each row here stands for, 0 for a row that is here for another
    reason. drawn: the rows that shall judge, with the probability of their draw, the first first;
    they take the place of active rows, of which one is left at least. said: a machine annotator's
    class by id, which says where to begin while there is no model (stages/batch/cold_start.py).
    """
    index = features.index
    free = unasked(index, gate, params.query.skip_cooldown)
    if stands_for is not None:
        free = free[stands_for[free] > 0]
    doubted = worth_review(gate, index, model, free, params)
    planted, to_split = repeats_and_splits(gate, model, params)
    size = sizes(params, gate.state["answers"], len(free), len(doubted), len(to_split))
    planted = planted[: size.active]  # they and gold rows take the place of active rows
    gold = gold_to_plant(gate, index, size.active - len(planted), params)
    judges = dict(islice(drawn.items(), max(0, size.active - len(planted) - len(gold) - 1)))
    candidates = candidates_of(free, features, model, gate, params, stands_for)
    agree = alike_in(features.matrix, free, labelled_rows(index, gate), params)
    others = len(planted) + len(gold) + len(judges)
    sample = usual_rows(features, params.seed)
    ranking, passed = pick(candidates, size.active - others, params, agree, sample, said)
    doubts = _doubts_of(candidates)
    new = active_rows(ranking, candidates, doubts, params.query.strategy, index)
    if size.control:
        rest = size.batch - size.review - size.split - others
        new = with_control(new, candidates, doubts, rest, index)
    new = with_judges(new, [judge_row(item, judges[item], index, model) for item in judges])
    asked_again = [
        *(review_row(row, index, model) for row in doubted[: size.review]),
        *(planted_row(row["id"], index, model) for row in planted),
        *(gold_row(row, index, model) for row in gold),
        *(split_row(row, index, model) for row in to_split[: size.split]),
    ]
    done = gate.state["rounds"]
    rows = numbered(interleave(new, asked_again, params.seed + done), done + 1)
    metrics = _metrics(rows, ranking, len(passed), doubts, candidates, gate, params)
    return Batch(rows, metrics, [_passed_row(row, candidates) for row in passed])


def gold_to_plant(gate: GateTables, index: Index, most: int, params: Params) -> list[GoldRow]:
    """The gold rows of the next batch, at most `most`.

    Raises PipelineError for a gold row that is not in the pool, and for a label of no class.
    """
    rows = [row for row in gate.gold if row["plant"]][:most]
    where = "data/rounds/gold.jsonl"
    for row in rows:
        check_label(row["label"], params.labels, where)
    index.locate([row["id"] for row in rows], where)
    return rows


def _doubts_of(candidates: Candidates) -> Floats:
    """(n,) the model's uncertainty of each candidate; 0 without a model."""
    if candidates.probabilities is None:
        return np.zeros(len(candidates.ids))
    return margin_of(candidates.probabilities)


def unasked(index: Index, gate: GateTables, cooldown: int) -> Ints:
    """The pool rows that may be asked now.

    These are not settled, nor a copy of such, nor in seed or test by content.
    """
    not_now = [item for item in settled(gate, cooldown) if item in index.row_of]
    contents = {index.sha[index.row_of[item]] for item in not_now}
    pool = index.sha[index.rows("pool")]
    others = np.fromiter((sha not in contents for sha in pool), dtype=np.bool_)
    return np.flatnonzero(index.askable & others)


def sizes(params: Params, answers: int, free: int, queue: int, split: int = 0) -> Sizes:
    """The sizes of the next batch, within budget, pool and queue of doubts.

    The budget counts answers, and every row wants `surface.annotations_per_item` of them, repeats
    and reviews too. Shares are rounded half up for control and down for review; what review does
    not use goes to active. split: how many rows wait because their class was split.
    """
    options = params.query
    wanted = options.batch_size
    left = answers_left(params, answers)
    if left is not None:
        wanted = min(wanted, left // params.surface.annotations_per_item)
    review = min(queue, math.floor(wanted * options.review_fraction + 1e-9), wanted)
    new = min(wanted - review, free)
    control = min(new, math.floor((new + review) * options.control_fraction + 0.5))
    spare = wanted - review - new
    again = share_of_split(split, new - control, spare)
    active = new - control - max(0, again - spare)
    return Sizes(active + control + review + again, active, control, review, again)


def labelled_rows(index: Index, gate: GateTables) -> Ints:
    """The rows with a label: the accepted ones, then the doubted."""
    ids = [*gate.accepted.ids, *(row["id"] for row in gate.review)]
    return index.locate(ids, "build/gate/accepted.jsonl")


def alike_in(matrix: Matrix, free: Ints, labelled: Ints, params: Params) -> Agree:
    """For `guarded`: whether free rows' features are alike to another's, or a labelled one's."""
    rows = np.concatenate([free, labelled])

    def agree(some: Ints, twin: int) -> Mask:
        twins = rows[np.full(len(some), twin)]
        return features_alike(matrix, rows[some], twins, params.quality.near_duplicate)

    return agree


def candidates_of(
    free: Ints,
    features: Features,
    model: Model | None,
    gate: GateTables,
    params: Params,
    stands_for: Floats | None,
) -> Candidates:
    """What the strategy may know of the free pool rows.

    Doubted labels count as labelled, of no known class.
    """
    ids = [features.index.ids[row] for row in free]
    labelled = labelled_rows(features.index, gate)
    unknown_class = np.full(len(gate.review), -1, dtype=np.intp)
    candidates = Candidates(
        ids=ids,
        keys=order_keys(params.seed, ids),
        geometry=np.asarray(features.geometry[free]),
        labelled=np.asarray(features.geometry[labelled]),
        labelled_class=np.concatenate([gate.accepted.classes, unknown_class]),
        probabilities=None,
        class_weights=_class_weights(params),
        trusted=True,
        seed=params.seed,
        stands_for=None if stands_for is None else stands_for[free],
    )
    if model is None:
        return candidates
    uniform = np.full((len(gate.review), len(params.labels)), 1 / len(params.labels))
    return replace(
        candidates,
        probabilities=model.pool[free],
        committee=None if model.committee is None else model.committee[:, free],
        held_out=np.vstack([model.held_out, uniform]),
        trusted=model.trusted,
    )


def _class_weights(params: Params) -> Floats:
    """(k,) weights of mean 1. Raises PipelineError for a class that is not in params.labels."""
    chosen = params.query.class_weights
    for label in () if chosen == "auto" else chosen:
        check_label(label, params.labels, "params.yaml query.class_weights")
    return np.array(params.class_weights) / float(np.mean(params.class_weights))


def pick(
    candidates: Candidates,
    count: int,
    params: Params,
    agree: Agree,
    sample: Geometry,
    said: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Ranking, list[PassedOver]]:
    """The strategy's picks, and what was passed over as it nearly repeats a pick or a labelled row.

    Random sampling is left as it is: it is the baseline. agree, sample: see `guarded`; said: a
    machine's class by id, which says where to begin while there is no model.
    """
    options = params.query
    strategy = resolve(options.strategy, options.engine, weighted=bool(options.class_weights))
    own = {"version": options.auto} if options.strategy == "auto" else {}
    rank: Rank = partial(strategy, **(own | options.params))
    if options.class_weights == "auto":
        weights = floor_weights(candidates, options.recall_floor)
        candidates = replace(candidates, class_weights=weights / weights.mean())
    if options.strategy == "random":
        return rank(candidates, count), []
    if said and candidates.probabilities is None:
        rank = partial(typical_by_class, said=said)
    return guarded(rank, candidates, count, params.quality.near_duplicate, agree, sample)


def _passed_row(passed: PassedOver, candidates: Candidates) -> PassedRow:
    return {
        "id": candidates.ids[passed.position],
        "like": passed.like or None,
        "similarity": round(passed.similarity, 3),
    }


def _metrics(
    rows: list[BatchRow],
    ranking: Ranking,
    passed: int,
    doubts: Floats,
    candidates: Candidates,
    gate: GateTables,
    params: Params,
) -> BatchMetrics:
    """doubts: (n,) of all candidates; passed: how many near duplicates were passed over."""
    answers = gate.state["answers"]
    left = answers_left(params, answers)
    arms = ("active", "control", "review", *(("gold",) if gate.gold else ()))
    in_arm = {arm: sum(arm in row["arms"] for row in rows) for arm in arms}
    new = sum(teaches(row) for row in rows) - in_arm["review"] - in_arm.get("gold", 0)
    judging = sum(JUDGE in row["arms"] for row in rows)
    if judging:
        in_arm[JUDGE] = judging
    mass = candidates.mass()
    mean_doubt = None
    if candidates.probabilities is not None and len(doubts):
        mean_doubt = float(np.average(doubts, weights=mass))
    state = _ready(new, len(doubts)) if rows else _nothing_to_ask(left, len(doubts), gate, params)
    return {
        "round": gate.state["rounds"] + 1,
        "state": state,
        "batch": {"rows": len(rows), **in_arm},
        "strategy": params.query.strategy,
        "regime": ranking.regime,
        "evidence": ranking.evidence or None,
        "near_duplicates_passed_over": passed,
        "unasked": round(float(mass.sum())),
        "answers_spent": answers,
        "budget_left": left,
        "mean_doubt": mean_doubt,
    }


def _ready(new: int, free: int) -> str:
    """What a batch with `new` rows of `free` ones is."""
    if new < free:
        return "ready"
    return "ready, the rest of the pool" if new else "ready, doubted labels only"


def _nothing_to_ask(left: int | None, free: int, gate: GateTables, params: Params) -> str:
    """Why a batch is empty though `free` rows may be asked and `left` answers are left."""
    if left == 0:
        return "budget spent"
    if free:
        return "nothing but near duplicates of labelled rows is left"
    return why_exhausted(gate, params.query.skip_cooldown)
