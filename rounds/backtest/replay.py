"""A labelling project replayed in memory: the stages' own functions, and a simulated annotator.

With the same tables, params and answers a replay asks the very ids that the DVC loop asks, round by
round: what the stages write and read again (scores in single precision, rows rounded to nine
digits) is rounded here too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rounds.backtest.oracle import best_of
from rounds.surfaces.oracle import reply, round_seed
from stages.answers.gate_tables import GateTables
from stages.answers.ledger import (
    Asked,
    BatchRow,
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
from stages.batch.compose import compose
from stages.batch.model import Model, model_of
from stages.contract.arrays import Ints
from stages.contract.canonical import plain, sha256
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys, stratified_folds
from stages.contract.params import Params
from stages.examples.content import exact_bytes
from stages.examples.tables import Table, as_text
from stages.features.whole import featurize
from stages.learning.calibration import calibration_of
from stages.learning.classifier import fit
from stages.learning.scoring import macro_f1, per_class
from stages.learning.training import learn, predicted
from stages.proof.course import course
from stages.proof.gap import compare
from stages.proof.history import History
from stages.proof.plan import judges_to_show
from stages.proof.refits import Refits, judge_on_test
from stages.proof.tables import Gap, Saving
from stages.quality.decision import Ledger, decide
from stages.quality.gate_result import run_gate
from stages.quality.seed import clean, seed_labels
from stages.store.index import Features, Split
from stages.strategies.registry import find

HELD_OUT = 4  # without a test table one row in four of each class is held out, anew in every repeat


@dataclass(frozen=True)
class Examples:
    """Labelled rows to replay on, and the held-out test table where there is one.

    names: of each row, its id, else a hash of its content. classes: of each row, as a whole number.
    """

    table: Table
    names: list[str]
    classes: Ints
    test: Table | None

    def part(self, rows: NDArray[np.intp]) -> Table:
        """Some rows of the table, in the order given."""
        columns = {name: [cells[row] for row in rows] for name, cells in self.table.columns.items()}
        return Table(self.table.path, columns, [self.table.lines[row] for row in rows])


def checked_examples(table: Table, test: Table | None, params: Params) -> Examples:
    """The tables as examples.

    Raises PipelineError at file:line for an unknown label, and where all labels are one.
    """
    for part in [table] if test is None else [table, test]:
        for row, cell in enumerate(part.columns[params.data.label]):
            check_label(as_text(cell), params.labels, part.where(row))
    labels = [as_text(cell) for cell in table.columns[params.data.label]]
    if len(set(labels)) < 2:
        what = "every row has the same label"
        raise PipelineError(table.path, what, "two classes or more are needed")
    if params.data.id:
        names = [as_text(cell) for cell in table.columns[params.data.id]]
    else:
        names = [sha256(content) for content in exact_bytes(table, params)]
    classes = np.unique(labels, return_inverse=True)[1]
    return Examples(table, names, classes, test)


def split(examples: Examples, params: Params, seed_size: int) -> dict[Split, Table]:
    """Pool, seed and test of one repeat, drawn by params.seed and the rows' names alone.

    Test: the table given, else one row in four of each class. Seed: the first rows of a random
    order; where they all have one label, the last of them is exchanged for the next row of another.
    Raises PipelineError when nothing would be left for the pool.
    """
    names = examples.names
    classes = examples.classes
    test = examples.test
    rows = np.arange(len(names))
    if test is None:
        keys = [f"test:{name}" for name in names]
        held_out = stratified_folds(classes, keys, HELD_OUT, params.seed) == 0
        test = examples.part(rows[held_out])
        rows = rows[~held_out]
    keys_of_order = order_keys(params.seed, (f"seed:{names[row]}" for row in rows))
    order = rows[np.argsort(keys_of_order, kind="stable")]
    if len(order) <= seed_size:
        what = f"{len(order)} rows are left for pool and seed, the seed alone takes {seed_size}"
        raise PipelineError(examples.table.path, what, "give more rows or a smaller --seed-size")
    other_class = np.flatnonzero(classes[order] != classes[order[0]])
    if seed_size > 1 and len(other_class) and other_class[0] >= seed_size:
        # A seed of one class teaches nothing: its last row changes places with another class's.
        swapped = [seed_size - 1, other_class[0]]
        order[swapped] = order[swapped[::-1]]
    return {
        "pool": examples.part(order[seed_size:]),
        "seed": examples.part(order[:seed_size]),
        "test": test,
    }


@dataclass(frozen=True)
class Point:
    """A point of a learning curve, measured on the test rows.

    n_labels: seed labels and answers paid for. recall: by class, None without test rows. seconds:
    of the machine's half of the round.
    """

    n_labels: int
    accuracy: float
    macro_f1: float
    recall: list[float | None]
    seconds: float


@dataclass(frozen=True)
class Turn:
    """A round of a replay: the curve's point, the batch asked, and when each label was known."""

    point: Point
    batch: list[Asked]
    known: list[KnownLabel]


@dataclass(frozen=True)
class Setting:
    """What all variants of a repeat share.

    truth: the right label of every id. seed, suspects: the seed's labels, and those that clean_seed
    doubts. test: the class of each test row.
    """

    features: Features
    truth: dict[str, str]
    seed: list[SeedLabel]
    suspects: list[Suspect]
    test: Ints


def prepare(tables: dict[Split, Table], params: Params) -> Setting:
    """Features and labels of the tables, and the seed labels that clean_seed doubts."""
    features, _ = featurize(tables, params)
    index = features.index
    labels: dict[str, list[str]] = {
        split: [as_text(cell) for cell in table.columns[params.data.label]]
        for split, table in tables.items()
    }
    rows = zip(index.ids, index.split, index.row, strict=True)
    truth = {item: labels[split][row] for item, split, row in rows}
    seed = seed_labels(tables["seed"], index, params)
    suspects: list[Suspect] = []
    if params.clean_seed.max_suspects:
        suspects = clean(seed, index, features.matrix, features.geometry, params)[2]
    test_ids = index.ids[index.rows("test")]
    test = np.array([params.labels.index(truth[item]) for item in test_ids], dtype=np.intp)
    return Setting(features, truth, seed, plain(suspects), test)


def replay(
    setting: Setting, params: Params, rounds: int, noise: float = 0.0, tried: int = 0
) -> Iterator[Turn]:
    """One loop, round by round: `rounds` turns with a batch, and a last one without.

    The simulated annotator is one person, so a row takes one answer of `query.budget`, whatever the
    project asks for. tried: so many batches are tried in each round, and the one that teaches most
    is asked (see `best_of`); 0: the strategy's is. Ends early when the pool is exhausted. Raises
    PipelineError when the gate would hold a round.
    """
    one_annotator = params.surface.model_copy(update={"annotations_per_item": 1})
    params = params.model_copy(update={"surface": one_annotator})
    ledger = Ledger(setting.seed, setting.suspects, [], [], [], [])
    for number in range(1, rounds + 2):
        start = time.perf_counter()
        gate_state, known = _gated(ledger, setting.features, params)
        predicted, model = _model(gate_state, setting.features, params)
        batch: list[Asked] = []
        if number <= rounds:
            batch = plain(_next_batch(setting, model, gate_state, params, tried))
        seconds = time.perf_counter() - start
        n_labels = len(setting.seed) + gate_state.state["answers"]
        yield Turn(_point(n_labels, setting.test, predicted, params, seconds), batch, known)
        if not batch:
            return
        _answer(ledger, batch, gate_state.review, setting.truth, params, noise)


def _next_batch(
    setting: Setting, model: Model | None, gate_state: GateTables, params: Params, tried: int
) -> list[BatchRow]:
    """The batch that the strategy chooses, or the best of so many."""
    features = setting.features
    if tried:
        return best_of(tried, features, model, gate_state, params, setting.truth)
    return compose(features, model, gate_state, params).rows


def _point(n_labels: int, truth: Ints, predicted: Ints, params: Params, seconds: float) -> Point:
    """The scores of the predictions for the test rows."""
    classes = len(params.labels)
    recalls = [row["recall"] for row in per_class(truth, predicted, classes)]
    accuracy = float((predicted == truth).mean())
    return Point(n_labels, accuracy, macro_f1(truth, predicted, classes), recalls, seconds)


class ComparedArms(NamedTuple):
    """The gap between the arms and the labels saved, as `validate` tells them where a loop ends.

    Both are judged on the test rows. judges: how many judge rows would show a saving; None where
    none would be enough, or nobody asked.
    """

    gap: Gap
    saving: Saving
    judges: int | None


def compare_arms(
    setting: Setting, loop: Sequence[Turn], params: Params, *, plans_judges: bool = True
) -> ComparedArms:
    """What is known of the arms where a loop ends, and what judge rows would add."""
    index = setting.features.index
    asked = [row for turn in loop for row in turn.batch]
    seed_ids = frozenset(index.ids[index.rows("seed")])
    history = History(asked, loop[-1].known, [], [], seed_ids, len(loop) - 1)
    refits = Refits(index, setting.features.matrix, params)
    gap, saving = compare(history, judge_on_test(refits, setting.test), params)
    done = course(history, refits, history.rounds) if plans_judges else None
    judges = None
    if done is not None:
        class_of = {label: number for number, label in enumerate(params.labels)}
        ids = [index.ids[row] for row in done.rows[: done.pool]]
        truth = np.array([class_of[setting.truth[item]] for item in ids], dtype=np.intp)
        judges = judges_to_show(done, truth)
    return ComparedArms(gap, saving, judges)


def _gated(
    ledger: Ledger, features: Features, params: Params
) -> tuple[GateTables, list[KnownLabel]]:
    """What the gate hands to train and query, and to validate.

    Where nothing can be doubted, no label is judged. Raises PipelineError when the gate would hold
    the newest round.
    """
    if not params.gate.max_quarantine and not params.gate.hold:
        outcome = decide(ledger, features, params, judging=False)
    else:
        result = run_gate(ledger, features, params)
        if result.metrics["held"]:
            what = f"round {len(ledger.rounds)} is {result.metrics['held']}"
            remedy = "backtest with --no-gate, or change what holds a round"
            raise PipelineError("params.yaml gate.hold", what, remedy)
        outcome = result.outcome
    gate_state = GateTables(
        labels_of(outcome.accepted, params.labels, "replay"),
        plain(outcome.review),
        outcome.unlabelled,
        outcome.state,
        plain(outcome.repeats),
        outcome.votes,
    )
    return gate_state, outcome.known


def _model(gate_state: GateTables, features: Features, params: Params) -> tuple[Ints, Model | None]:
    """The classes predicted for the test rows, and what calibrate hands to query."""
    labels = gate_state.accepted
    query = params.query
    # Random sampling picks without probabilities: one plain fit gives its curve.
    if query.strategy == "random" and len(np.unique(labels.classes)) > 1:
        return _predicted_by_a_plain_fit(labels, features, params), None
    with_committee = "committee" in find(query.strategy, query.engine).needs
    classifier = learn(labels, features, params)
    logits = predicted(classifier, labels, features, params, with_committee=with_committee)
    if classifier is None:
        majority = np.bincount(labels.classes, minlength=len(params.labels)).argmax()
        return np.full(len(logits.test), majority), None
    calibration = calibration_of(logits, labels, params.calibrate, params.seed)
    probabilities = logits.mapped(calibration.apply)
    return logits.test.argmax(axis=1), model_of(probabilities, calibration.facts["verdict"])


def _predicted_by_a_plain_fit(labels: Labels, features: Features, params: Params) -> Ints:
    """The classes that a classifier of the accepted labels predicts for the test rows."""
    rows = features.matrix[features.index.locate(labels.ids, "replay")]
    fitted = fit(params.learner, rows, labels.classes, len(params.labels), params.seed)
    # train writes scores in single precision: so the same class wins here
    scores = fitted.scores(features.matrix[features.index.rows("test")]).astype(np.float32)
    classes: Ints = scores.argmax(axis=1)
    return classes


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
    ledger.rounds.append(
        {
            "round": number,
            "batch_id": batch_id(batch),
            "asked": len(batch),
            "answered": len(batch),
            "state": "accepted",
        }
    )
    ledger.asked.extend(batch)
    ledger.verdicts.extend({"round": number, **row} for row in doubted)
    for row in batch:
        label = reply(row["id"], truth[row["id"]], params.labels, noise=noise, skip=0.0, seed=seed)
        event: Event = {
            "round": number,
            "id": row["id"],
            "annotator": "oracle",
            "kind": "label",
            "label": label,
            "flagged": False,
            "at": None,
            "file": "",
            "line": 0,
            "late": False,
            "order": 0,
        }
        ledger.events.append(event)
