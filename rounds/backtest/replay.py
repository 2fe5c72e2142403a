"""A whole labelling project replayed in memory: the stages' own functions in their order, and a simulated annotator.

With the same tables, params and answers a replay asks the very ids that the DVC loop asks, round by
round: what the stages write and read again (scores in single precision, rows rounded to nine
digits) is rounded here too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rounds.surfaces.oracle import reply, round_seed
from stages.answers.gated import Gate
from stages.answers.ledger import (
    Asked,
    Doubt,
    Event,
    KnownLabel,
    Labels,
    SeedLabel,
    Suspect,
    check_label,
    labels_of,
)
from stages.answers.rounds import batch_id
from stages.batch.compose import Model, compose, model_of
from stages.contract.arrays import Ints
from stages.contract.canonical import Row, plain, sha256
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys, stratified_folds
from stages.contract.params import Params
from stages.examples.content import exact_bytes
from stages.examples.tables import Table, as_text
from stages.features.whole import featurize
from stages.learning.calibration import Rows, calibration_of
from stages.learning.classifier import fit
from stages.learning.scoring import macro_f1, per_class
from stages.learning.training import train
from stages.proof.gap import compare
from stages.proof.history import History
from stages.proof.refits import Refits, judge_on_test
from stages.quality.decision import Ledger, decide, gate
from stages.quality.seed import clean, seed_labels
from stages.store.index import Features, Split
from stages.strategies.registry import find

HELD_OUT = 4  # without a test table one row in so many is held out, anew in every repeat


@dataclass(frozen=True)
class Examples:
    """Labelled rows to replay on, each with its name (its id, else a hash of its content) and class; the test table."""

    table: Table
    names: list[str]
    classes: Ints
    test: Table | None

    def taken(self, rows: NDArray[np.intp]) -> Table:
        """Some rows of the table."""
        columns = {name: [cells[row] for row in rows] for name, cells in self.table.columns.items()}
        return Table(self.table.path, columns, [self.table.lines[row] for row in rows])


def examples(table: Table, test: Table | None, params: Params) -> Examples:
    """The tables, checked. Raises PipelineError at file:line for an unknown label, and where all labels are one."""
    for part in [table] if test is None else [table, test]:
        for row, cell in enumerate(part.columns[params.data.label]):
            check_label(as_text(cell), params.labels, part.where(row))
    labels = [as_text(cell) for cell in table.columns[params.data.label]]
    if len(set(labels)) < 2:
        raise PipelineError(
            table.path, "every row has the same label", "two classes or more are needed"
        )
    named = (
        table.columns[params.data.id] if params.data.id else map(sha256, exact_bytes(table, params))
    )
    return Examples(
        table, [as_text(cell) for cell in named], np.unique(labels, return_inverse=True)[1], test
    )


def split(given: Examples, params: Params, seed_size: int) -> dict[Split, Table]:
    """Pool, seed and test of one repeat, drawn by params.seed and the names alone.

    Test: the table given, else one row in four of each class. Seed: the first rows of a random
    order; where they all have one label, the last of them gives way to the next row of another.
    """
    names, classes, test = given.names, given.classes, given.test
    rows = np.arange(len(names))
    if test is None:
        held = (
            stratified_folds(classes, [f"test:{name}" for name in names], HELD_OUT, params.seed)
            == 0
        )
        test, rows = given.taken(rows[held]), rows[~held]
    order = rows[
        np.argsort(order_keys(params.seed, (f"seed:{names[row]}" for row in rows)), kind="stable")
    ]
    if len(order) <= seed_size:
        what = f"{len(order)} rows are left for pool and seed, the seed alone takes {seed_size}"
        raise PipelineError(given.table.path, what, "give more rows or a smaller --seed-size")
    other = np.flatnonzero(classes[order] != classes[order[0]])
    if seed_size > 1 and len(other) and other[0] >= seed_size:
        order[[seed_size - 1, other[0]]] = order[[other[0], seed_size - 1]]
    return {
        "pool": given.taken(order[seed_size:]),
        "seed": given.taken(order[:seed_size]),
        "test": test,
    }


@dataclass(frozen=True)
class Point:
    """A point of a learning curve. n_labels: seed labels and answers paid for. recall: by class, None without rows."""

    n_labels: int
    accuracy: float
    macro_f1: float
    recall: list[float | None]
    seconds: float


@dataclass(frozen=True)
class Turn:
    """A round of a replay: the curve's point, the batch that was asked then, and when which label was known."""

    point: Point
    batch: list[Asked]
    known: list[KnownLabel]


@dataclass(frozen=True)
class Setting:
    """What all strategies of a repeat share: features, the truth of every id, seed labels and the doubts about them."""

    features: Features
    truth: dict[str, str]
    seed: list[SeedLabel]
    suspects: list[Suspect]
    test: Ints


def setting(tables: dict[Split, Table], params: Params) -> Setting:
    """Features and labels of the tables, and what clean_seed doubts."""
    features, _ = featurize(tables, params)
    index, names = features.index, params.labels
    cells: dict[str, list[str]] = {
        split: [as_text(cell) for cell in table.columns[params.data.label]]
        for split, table in tables.items()
    }
    places = zip(index.ids, index.split, index.row, strict=True)
    truth = {item: cells[split][row] for item, split, row in places}
    seed = seed_labels(tables["seed"], index, params)
    suspects = (
        clean(seed, index, features.matrix, features.geometry, params)[2]
        if params.clean_seed.max_suspects
        else []
    )
    test = np.array(
        [names.index(truth[item]) for item in index.ids[index.rows("test")]], dtype=np.intp
    )
    return Setting(features, truth, seed, plain(suspects), test)


def replay(given: Setting, params: Params, rounds: int, noise: float = 0.0) -> Iterator[Turn]:
    """One loop, round by round: `rounds` turns with a batch, and a last one without.

    The simulated annotator is one person, so a row takes one answer of `query.budget`, whatever the
    project asks for. Ends early when the pool is exhausted. Raises PipelineError when the gate
    would hold a round.
    """
    alone = params.surface.model_copy(update={"annotations_per_item": 1})
    params = params.model_copy(update={"surface": alone})
    ledger = Ledger(given.seed, given.suspects, [], [], [], [])
    for number in range(1, rounds + 2):
        start = time.perf_counter()
        known, history = _gated(ledger, given.features, params)
        predicted, model = _model(known, given.features, params)
        batch: list[Asked] = []
        if number <= rounds:
            batch = plain(compose(given.features, model, known, params).rows)
        seconds = time.perf_counter() - start
        paid = len(given.seed) + known.state["answers"]
        rows = per_class(given.test, predicted, len(params.labels))
        scores = (
            float((predicted == given.test).mean()),
            macro_f1(given.test, predicted, len(params.labels)),
        )
        yield Turn(Point(paid, *scores, [row["recall"] for row in rows], seconds), batch, history)
        if not batch:
            return
        _answer(ledger, batch, known.review, given.truth, params, noise)


def told(given: Setting, loop: Sequence[Turn], params: Params) -> tuple[Row, Row]:
    """What `validate` says when a loop has ended, judged on the test rows: the gap between the arms, and the saving."""
    index = given.features.index
    asked = [row for turn in loop for row in turn.batch]
    history = History(
        asked, loop[-1].known, [], [], frozenset(index.ids[index.rows("seed")]), len(loop) - 1
    )
    return compare(
        history, judge_on_test(Refits(index, given.features.matrix, params), given.test), params
    )


def _gated(ledger: Ledger, features: Features, params: Params) -> tuple[Gate, list[KnownLabel]]:
    """What the gate hands to train and query, and to validate. Where nothing can be doubted, no label is judged."""
    if not params.gate.max_quarantine and not params.gate.hold:
        outcome = decide(ledger, features, params, judging=False)
    else:
        gated = gate(ledger, features, params)
        if gated.metrics["held"]:
            what = f"round {len(ledger.rounds)} is {gated.metrics['held']}"
            raise PipelineError(
                "params.yaml gate.hold",
                what,
                "backtest with --no-gate, or change what holds a round",
            )
        outcome = gated.outcome
    accepted = labels_of(outcome.accepted, params.labels, "replay")
    review, repeats = plain(outcome.review), plain(outcome.repeats)
    return Gate(
        accepted, review, outcome.unlabelled, outcome.state, repeats, outcome.votes
    ), outcome.known


def _model(known: Gate, features: Features, params: Params) -> tuple[Ints, Model | None]:
    """The classes that the model predicts for the test rows, and what calibrate hands to query."""
    labels: Labels = known.accepted
    if (
        params.query.strategy == "random" and len(np.unique(labels.classes)) > 1
    ):  # its picks need no probabilities
        rows = features.matrix[features.index.locate(labels.ids, "replay")]
        fitted = fit(params.model, rows, labels.classes, len(params.labels), params.seed)
        scores = fitted.scores(features.matrix[features.index.rows("test")]).astype(np.float32)
        return scores.argmax(axis=1), None
    needed = "committee" in find(params.query.strategy, params.query.engine).needs
    trained = train(labels, features.index, features.matrix, params, with_committee=needed)
    if trained.classifier is None:
        majority = np.bincount(labels.classes, minlength=len(params.labels)).argmax()
        return np.full(len(trained.test), majority), None
    logits = Rows(trained.pool, trained.test, trained.labelled, trained.committee)
    calibration = calibration_of(logits, True, labels, params)
    p = logits.mapped(calibration.apply)
    return trained.test.argmax(axis=1), model_of(
        p.pool, p.labelled, p.committee, calibration.facts["verdict"]
    )


def _answer(
    ledger: Ledger,
    batch: list[Asked],
    doubted: list[Doubt],
    truth: dict[str, str],
    params: Params,
    noise: float,
) -> None:
    """Add a round to the ledger: the batch as it was asked, and the simulated answers."""
    number = len(ledger.rounds) + 1
    seed = round_seed(params.seed, number)
    ledger.rounds.append({
        "round": number, "batch_id": batch_id(batch), "asked": len(batch), "answered": len(batch),
        "state": "accepted",
    })  # fmt: skip
    ledger.asked.extend(batch)
    ledger.verdicts.extend({"round": number, **row} for row in doubted)
    for row in batch:
        label = reply(row["id"], truth[row["id"]], params.labels, noise=noise, skip=0.0, seed=seed)
        event: Event = {
            "round": number, "id": row["id"], "annotator": "oracle", "kind": "label", "label": label,
            "flagged": False, "at": None, "file": "", "line": 0, "late": False, "order": 0,
        }  # fmt: skip
        ledger.events.append(event)
