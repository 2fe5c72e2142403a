"""Finishing a pool: who judges, what the machine may label, what people must still answer.

A control row is one that the walk along the random permutation has passed, whoever asked it
(stages/answers/arms.py). All control rows with a label judge, those that the strategy picked too:
so they are a random draw of the whole pool. What people labelled beyond the walk is no part of the
draw and is not labelled by the machine; the certificate counts it out (certificate.py).
Each labelled row is scored by a model that learned nothing from its fold. Rows that nobody could
label are left out on both sides, and stay with the people.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from stages.answers.arms import arms_by_id
from stages.answers.gate_tables import GateTables, read_gate_tables
from stages.answers.ledger import Asked, Labels, Verdict, read_rows
from stages.contract.arrays import Floats, Ints, Mask, Matrix
from stages.contract.canonical import read_json
from stages.contract.errors import PipelineError
from stages.contract.identity import stratified_folds
from stages.contract.params import Params
from stages.contract.progress import watched
from stages.learning.classifier import fit
from stages.learning.scoring import margin_of, softmax
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
from stages.proof.people import Agreement, repeated_labels
from stages.store.index import Index
from stages.store.read import read_features

FOLDS = 10  # more than the gate's: a model that lacks a tenth of the labels is nearly the model


@dataclass(frozen=True)
class Population:
    """The pool's distinct rows, by who labelled them; numbers are those of the index.

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
    the machine's class, whether it is wrong, and whether the row lies within the chosen share.
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
    judged: JudgedControl


@dataclass(frozen=True)
class JudgedControl:
    """What the machine says of the control rows: class, wrong, in the chosen share; (n,) each."""

    classes: Ints
    wrong: Mask
    within: Mask


@dataclass(frozen=True)
class Sources:
    """What a project knows when it is finished. scores, probabilities: (n_pool, k)."""

    gate: GateTables
    asked: list[Asked]
    verdicts: list[Verdict]
    index: Index
    matrix: Matrix
    scores: Floats
    probabilities: Floats


class Folders(TypedDict):
    """Where the stages before have written."""

    gate: Path
    labels: Path
    features: Path
    model: Path
    probabilities: Path


def read_sources(folders: Folders, params: Params) -> Sources:
    """The sources of a project. Raises PipelineError without a model, and for a pool in parts."""
    if (folders["features"] / "parts.json").is_file():
        what = "a pool in parts cannot be finished yet"
        remedy = "score it with the model instead, or make the pool one table"
        raise PipelineError("params.yaml data.pool", what, remedy)
    if not read_json(folders["model"] / "model.json")["fitted"]:
        what = "there is no model yet: the accepted labels are of fewer than two classes"
        raise PipelineError(folders["model"], what, "label more rows: `rounds annotate`")
    gate = read_gate_tables(folders["gate"], params.labels)
    upto = gate.state["rounds"]
    asked = read_rows(folders["labels"] / "asked.jsonl", Asked)
    verdicts = read_rows(folders["labels"] / "verdicts.jsonl", Verdict)
    store = read_features(folders["features"], [], params.compute)
    return Sources(
        gate,
        [row for row in asked if row["round"] <= upto],
        [row for row in verdicts if row["round"] <= upto],
        store.index,
        store.matrix,
        np.load(folders["model"] / "pool.npy").astype(np.float64),
        np.load(folders["probabilities"] / "pool.npy").astype(np.float64),
    )


def population_of(gate: GateTables, asked: list[Asked], index: Index, params: Params) -> Population:
    """Who judges, who is known, and what the rest is. Rows with one content count as one."""
    number = {label: column for column, label in enumerate(params.labels)}
    distinct = np.flatnonzero(index.askable).tolist()  # the pool's rows are the first of the index
    row_of = {index.sha[row]: row for row in distinct}
    doubted = {row["id"]: number[row["label"]] for row in gate.review}
    accepted = dict(zip(gate.accepted.ids, gate.accepted.classes.tolist(), strict=True))
    labels = doubted | accepted
    arms = arms_by_id(asked, set(index.ids[index.rows("seed")]), params.seed)

    def rows(ids: Iterable[str]) -> dict[int, str]:
        contents = {item: index.sha[index.row_of[item]] for item in ids if item in index.row_of}
        return {row_of[sha]: item for item, sha in sorted(contents.items()) if sha in row_of}

    labelled = rows(labels)
    without = rows(row["id"] for row in gate.unlabelled)
    drawn = {row for row, item in labelled.items() if "control" in arms.get(item, ())}
    control = sorted(drawn)
    known = sorted(set(labelled) - drawn)
    rest = sorted(set(distinct) - set(labelled) - set(without))
    return Population(
        np.array(control, dtype=np.intp),
        np.array([labels[labelled[row]] for row in control], dtype=np.intp),
        np.array(known, dtype=np.intp),
        np.array([labels[labelled[row]] for row in known], dtype=np.intp),
        np.array([labelled[row] in accepted for row in known], dtype=np.bool_),
        np.array(rest, dtype=np.intp),
        sum("control" in arms.get(item, ()) for item in without.values()),
    )


def held_out(sources: Sources, rows: Ints, rest: Ints, params: Params) -> tuple[Floats, Ints]:
    """(reach, class) of labelled pool rows, each by a model that learned nothing from its fold.

    reach: as `reach_of`, in the order of that same model. A row that is not among the accepted
    labels taught no model, and is scored by the one of all labels.
    """
    labels: Labels = sources.gate.accepted
    index = sources.index
    fold_of = _fold_of_content(labels, index, params)
    folds = np.array([fold_of.get(index.sha[row], -1) for row in rows.tolist()], dtype=np.intp)
    reach = np.zeros(len(rows))
    classes = np.zeros(len(rows), dtype=np.intp)
    taught = index.locate(labels.ids, "build/gate/accepted.jsonl")
    fold_of_label = np.array([fold_of[index.sha[row]] for row in taught.tolist()], dtype=np.intp)
    for fold in watched("folds", np.unique(folds).tolist(), "fold"):
        mine = np.flatnonzero(folds == fold)
        both = np.concatenate([rows[mine], rest])
        if fold < 0:
            scores = sources.scores[both]
        else:
            kept = fold_of_label != fold
            taught_rows = sources.matrix[taught[kept]]
            k = len(params.labels)
            model = fit(params.learner, taught_rows, labels.classes[kept], k, params.seed)
            scores = model.scores(sources.matrix[both])
        chances = softmax(scores)
        certainty = 1 - margin_of(chances)
        reach[mine] = reach_of(certainty[: len(mine)], certainty[len(mine) :])
        classes[mine] = chances[: len(mine)].argmax(axis=1)
    return reach, classes


def _fold_of_content(labels: Labels, index: Index, params: Params) -> dict[str, int]:
    """The fold of each labelled content: rows that are alike to the byte are held out together."""
    folds = min(FOLDS, len(labels.ids))
    fold = stratified_folds(labels.classes, labels.ids, folds, params.seed).tolist()
    places = index.locate(labels.ids, "build/gate/accepted.jsonl").tolist()
    return {index.sha[row]: part for row, part in zip(places, fold, strict=True)}


def finish(sources: Sources, claim: Claim, params: Params) -> Finished:
    """What the machine may label under the claim, by the labels and models of now."""
    population = population_of(sources.gate, sources.asked, sources.index, params)
    people = np.concatenate([population.control, population.known])
    reach, predicted = held_out(sources, people, population.rest, params)
    wrong = predicted != np.concatenate([population.control_classes, population.known_classes])
    n = len(population.control)
    judges = Judged(reach[:n], wrong[:n])
    # a doubted label beyond the walk may be wrong itself: it is no known mistake of the machine
    known = Judged(reach[n:], wrong[n:] & population.known_accepted)
    chances = softmax(sources.scores[population.rest])
    doubt = margin_of(chances)
    own_reach = reach_of(1 - doubt, 1 - doubt)
    counts = tally(judges, known, own_reach)
    certificate = certify(counts, claim)
    within = own_reach <= certificate.share + 1e-12
    if not certificate.share:
        within[:] = False
    machine = population.rest[within]
    classes = chances.argmax(axis=1)[within]
    order = np.lexsort((population.rest[~within], -np.round(doubt[~within], 9)))
    inside = (judges.reach <= certificate.share + 1e-12) & bool(certificate.share)
    return Finished(
        claim,
        population,
        counts,
        certificate,
        repeated_labels(sources.gate.votes, sources.asked, sources.verdicts),
        machine,
        classes,
        sources.probabilities[machine, classes],
        population.rest[~within][order],
        doubt[~within][order],
        JudgedControl(predicted[:n], judges.wrong, inside),
    )


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
