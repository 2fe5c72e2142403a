"""Finishing a pool: who judges, what the machine may label, what people must still answer.

A control row is one that the walk along the random permutation has passed, whoever asked it
(stages/answers/arms.py). All control rows with a label judge, those that the strategy picked too:
so they are a random draw of the whole pool. What people labelled beyond the walk is no part of the
draw and is not labelled by the machine; the certificate counts it out
(stages/proof/certificate.py). Every row, labelled or not, is scored by a judge that did not learn
from its fold of the pool (stages/proof/opinions.py). The machine's label is that of the model of
all labels, given only where the judge says the same. Rows that nobody could label are left out on
both sides, and stay with the people.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from stages.answers.arms import arms_by_id
from stages.answers.gate_tables import GateTables, read_gate_tables
from stages.answers.ledger import Asked, Verdict, read_rows
from stages.contract.arrays import Floats, Ints, Mask
from stages.contract.canonical import read_json
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.classifier import Classifier
from stages.learning.maps import read_map
from stages.proof.certificate import (
    Certificate,
    Claim,
    Judged,
    Tally,
    certify,
    control_rows_needed,
    reach_of,
    tally,
)
from stages.proof.finishable import FinishablePool, PartedPool, WholePool
from stages.proof.opinions import Opinions, Shipped, fold_of, judges_of, opinions
from stages.proof.people import Agreement, repeated_labels
from stages.store.index import Features
from stages.store.model_file import read_own_model
from stages.store.parts import open_pool
from stages.store.read import read_features


@dataclass(frozen=True)
class Population:
    """The pool's distinct rows, by who labelled them, as numbers of the pool's rows.

    control: of the random draw, labelled by people; known: labelled by people, not of the draw;
    classes: their labels; accepted: the gate does not doubt the label. rest: labelled by nobody.
    unlabelled: control rows that nobody could label.
    """

    control: Ints
    control_classes: Ints
    known: Ints
    known_classes: Ints
    known_accepted: Mask
    rest: Ints
    unlabelled: int


@dataclass(frozen=True)
class Finished:
    """The outcome: the certificate, what it stands on, and the rows that the machine labels.

    machine: rows of the pool; classes, confidence: what the machine says of them; left: the other
    rows of the rest, the most doubtful first, and their doubt in [0, 1]. judged: (control rows,)
    the judge's class, whether it is wrong, and whether the row lies within the chosen share.
    differ: rows within that share that are left because judge and model do not agree.
    """

    claim: Claim
    population: Population
    counts: Tally
    certificate: Certificate
    people: Agreement
    machine: Ints
    classes: Ints
    confidence: Floats
    left: Ints
    doubt: Floats
    differ: int
    judged: JudgedControl


@dataclass(frozen=True)
class JudgedControl:
    """What the machine says of the control rows: class, wrong, in the chosen share; (n,) each."""

    classes: Ints
    wrong: Mask
    within: Mask


@dataclass(frozen=True)
class Sources:
    """What a project knows when it is finished.

    taught: features of the labelled rows and more; second: the machine annotator whose answers the
    models see, for this end alone (stages/proof/second_source.py), "" for none.
    """

    gate: GateTables
    asked: list[Asked]
    verdicts: list[Verdict]
    pool: FinishablePool
    taught: Features
    shipped: Shipped
    second: str = ""


class Folders(TypedDict):
    """Where the stages before have written."""

    gate: Path
    labels: Path
    features: Path
    model: Path
    probabilities: Path


def read_sources(folders: Folders, params: Params) -> Sources:
    """The sources of a project. Raises PipelineError without a model."""
    if not read_json(folders["model"] / "model.json")["fitted"]:
        what = "there is no model yet: the accepted labels are of fewer than two classes"
        raise PipelineError(folders["model"], what, "label more rows: `rounds annotate`")
    gate = read_gate_tables(folders["gate"], params.labels)
    upto = gate.state["rounds"]
    asked = read_rows(folders["labels"] / "asked.jsonl", Asked)
    verdicts = read_rows(folders["labels"] / "verdicts.jsonl", Verdict)
    taught = read_features(folders["features"], gate.labelled_ids(), params.compute)
    parts = open_pool(folders["features"])
    estimator = read_own_model(folders["model"] / "model.skops")
    seen = np.asarray(estimator.classes_, dtype=np.intp)
    return Sources(
        gate,
        [row for row in asked if row["round"] <= upto],
        [row for row in verdicts if row["round"] <= upto],
        WholePool(taught, params.seed) if parts is None else PartedPool(parts),
        taught,
        Shipped(
            Classifier(estimator, seen, len(params.labels)),
            read_map(folders["probabilities"] / "map.npz"),
        ),
    )


def population_of(sources: Sources, params: Params) -> Population:
    """Who judges, who is known, and what the rest is. Rows with one content count as one."""
    gate, index = sources.gate, sources.taught.index
    number = {label: column for column, label in enumerate(params.labels)}
    doubted = {row["id"]: number[row["label"]] for row in gate.review}
    accepted = dict(zip(gate.accepted.ids, gate.accepted.classes.tolist(), strict=True))
    judged = {row["id"]: number[row["label"]] for row in gate.judged}
    labels = judged | doubted | accepted
    arms = arms_by_id(sources.asked, set(index.ids[index.rows("seed")]), params.seed)

    def rows(ids: Iterable[str]) -> dict[int, str]:
        return {row: item for item, row in sorted(sources.pool.row_of(ids).items())}

    labelled = rows(labels)
    without = rows(row["id"] for row in gate.unlabelled)
    drawn = {row for row, item in labelled.items() if "control" in arms.get(item, ())}
    control = sorted(drawn)
    known = sorted(set(labelled) - drawn)
    taken = np.array(sorted({*labelled, *without}), dtype=np.intp)
    return Population(
        np.array(control, dtype=np.intp),
        np.array([labels[labelled[row]] for row in control], dtype=np.intp),
        np.array(known, dtype=np.intp),
        np.array([labels[labelled[row]] for row in known], dtype=np.intp),
        np.array([labelled[row] in accepted for row in known], dtype=np.bool_),
        np.setdiff1d(sources.pool.distinct, taken, assume_unique=True),
        sum("control" in arms.get(item, ()) for item in without.values()),
    )


def folds_of_labels(sources: Sources, params: Params) -> Ints:
    """The fold of the pool's row with the content of each accepted label; -1 where there is none.

    Labels of one content are held out together.
    """
    ids = sources.gate.accepted.ids
    row_of = sources.pool.row_of(ids)
    rows = np.unique(np.array(list(row_of.values()), dtype=np.intp))
    keys = order_keys(params.seed, sources.pool.ids(rows))
    fold_by_row = dict(zip(rows.tolist(), fold_of(keys).tolist(), strict=True))
    folds = [fold_by_row[row_of[item]] if item in row_of else -1 for item in ids]
    return np.array(folds, dtype=np.intp)


def finish(sources: Sources, claim: Claim, params: Params) -> Finished:
    """What the machine may label under the claim, by the labels and models of now."""
    people = population_of(sources, params)
    judges = judges_of(
        sources.gate.accepted, sources.taught, folds_of_labels(sources, params), params
    )
    pool = sources.pool
    says = opinions(pool.blocks(), pool.size, judges, sources.shipped)
    everyone = says.certainty[np.concatenate([people.control, people.known, people.rest])]
    control = Judged(
        reach_of(says.certainty[people.control], everyone),
        says.said[people.control] != people.control_classes,
    )
    # a doubted label beyond the walk may be wrong itself: it is no known mistake of the machine
    known = Judged(
        reach_of(says.certainty[people.known], everyone),
        (says.said[people.known] != people.known_classes) & people.known_accepted,
    )
    reach = reach_of(says.certainty[people.rest], everyone)
    agree = says.said[people.rest] == says.model[people.rest]
    counts = tally(control, known, reach, reach[~agree])
    certificate = certify(counts, claim)

    def within(of: Floats) -> Mask:
        return (of <= certificate.share + 1e-12) & bool(certificate.share)

    inside = within(reach)
    labelled = people.rest[inside & agree]
    return Finished(
        claim,
        people,
        counts,
        certificate,
        repeated_labels(sources.gate.votes, sources.asked, sources.verdicts),
        labelled,
        says.model[labelled],
        says.confidence[labelled],
        *_doubtful_first(says, people.rest[~(inside & agree)]),
        int((inside & ~agree).sum()),
        JudgedControl(says.said[people.control], control.wrong, within(control.reach)),
    )


def _doubtful_first(says: Opinions, rows: Ints) -> tuple[Ints, Floats]:
    """Some rows, the most doubtful first, and their doubts."""
    order = np.lexsort((rows, -np.round(says.doubt[rows], 9)))
    return rows[order], says.doubt[rows[order]]


def require_certificate(finished: Finished) -> None:
    """Raises PipelineError, with what it takes, where the machine may label nothing."""
    claim = finished.claim
    rest = len(finished.population.rest)
    if finished.certificate.share:
        return
    if not rest:
        what = "nothing is left: every row of the pool is labelled, or could not be"
        raise PipelineError("rounds finish", what, "write them out: `rounds labels`")
    control = len(finished.population.control)
    limit = f"{claim.error:.4g} wrong labels at confidence {claim.confidence:.4g}"
    more = control_rows_needed(finished.counts, claim)
    what = f"cannot certify {limit} with {control} control labels"
    if more is None:
        what += ": the model errs too often, even where it is most certain"
        remedy = "teach it more (`rounds annotate`, `rounds close`), or allow more with --error"
        raise PipelineError("rounds finish", what, remedy)
    what += f": about {more} more control labels are needed"
    remedy = "go on with `rounds annotate` and `rounds close` (raise query.control_fraction)"
    raise PipelineError("rounds finish", what, remedy)
