"""Which labels are probably wrong, and what else is odd: for clean_seed, gate, `rounds inspect`.

Everything here is a function of arrays; what is done about a label is decided in policy.py and
decision.py. Distances are those of the geometry: similarity = 1 - squared distance / 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np

from stages.answers.ledger import Suspect
from stages.contract.arrays import Floats, Geometry, Ints, Mask, Matrix
from stages.contract.params import Params
from stages.learning.classifier import is_sparse_ridge, out_of_fold
from stages.learning.left_out import left_out_logits
from stages.learning.scoring import softmax
from stages.learning.word_weight import weighed, word_weight
from stages.quality.agreement import annotator_quality, true_classes, vote_table, weighable
from stages.quality.error_model import LabelErrors, coverage_of, estimate_errors, unjudged
from stages.quality.machine_witness import NOT_ASKED, MachineEvidence, machine_view
from stages.quality.witnesses import (
    MIN_LABELS,
    NEIGHBOURS,
    Neighbours,
    alike,
    forest_view,
    neighbour_view,
    neighbours,
    pooled,
    witnessed_share,
)
from stages.store.near import SAMPLE, Near, beyond_chance, features_alike

MEASURED = ("numeric", "custom")  # features that are not what a person looks at to label a row
FOLDS_UP_TO = 1000  # rows of text; of more, the model's folds are replaced by left-out scores
OUTLIER = 3.0  # times the median distance to the neighbours


@dataclass(frozen=True)
class LabelledRows:
    """n labelled rows: features (n, p), geometry (n, d), classes (n,), ids, content hashes.

    The features may be None where out-of-sample logits are given; a geometry of no columns has no
    neighbours. said: (n, k) how sure a machine annotator is of each class, None without one.
    """

    matrix: Matrix
    geometry: Geometry
    labels: Ints
    ids: list[str]
    sha: list[str]
    said: Floats | None = None


@dataclass(frozen=True)
class Judgement:
    """All that is found about n labelled rows.

    errors     how likely each label is wrong
    scores     (n, k) calibrated out-of-sample logits behind the errors; all 0 below MIN_LABELS rows
    conflict   (n,) True where an exact copy of the row has another label
    outlier    (n,) mean distance to the neighbours over the median one; above OUTLIER: an outlier
    duplicates (n,) number of the group of near duplicates, -1 for none
    near       the neighbours among the distinct rows: exact copies with the same label are one
    machine    what people's labels say of the machine annotator that may be a witness
    """

    errors: LabelErrors
    scores: Floats
    conflict: Mask
    outlier: Floats
    duplicates: Ints
    near: Neighbours
    machine: MachineEvidence = NOT_ASKED


def judge(rows: LabelledRows, params: Params, logits: Floats | None = None) -> Judgement:
    """What can be found about n labels by witnesses that have not seen them.

    The witnesses are the user's model, the neighbours, and a forest, and a machine annotator where
    the rows hold its word and the labels bear it out. With `logits` (n, k), which
    must be out of sample, nothing is trained: these and the neighbours are the witnesses. A row and
    its exact copies with the same label are judged as one, so that a copied mistake does not vouch
    for itself. Copies with different labels cannot all be right: each is wrong with at least the
    share of copies that contradict it.
    """
    group, first = _distinct(rows)
    labels = rows.labels[first]
    space = np.asarray(rows.geometry[first])
    near = neighbours(space, NEIGHBOURS if space.shape[1] else 0)
    scores = np.zeros((len(first), len(params.labels)))
    errors = unjudged(labels)
    machine = NOT_ASKED
    if len(first) >= MIN_LABELS:
        views = _views(rows, first, near, params, logits)
        heard, machine = _machine_views(rows, first, params)
        scores = pooled([*views, *heard], labels)
        errors = _errors(views, scores, labels, near, space, params)
    against = _contradicted_by_copies(group, rows.sha)
    matrix = space if logits is not None else rows.matrix[first]
    return Judgement(
        errors=_with_conflicts(errors, group, against),
        scores=scores[group],
        conflict=against > 0,
        outlier=outliers(near)[group],
        duplicates=_numbered_groups(near, matrix, space, params.quality.near_duplicate, group),
        near=near,
        machine=machine,
    )


def _machine_views(
    rows: LabelledRows, first: Ints, params: Params
) -> tuple[list[Floats], MachineEvidence]:
    """The view of a machine annotator on the distinct rows, if it is heard, and why or why not."""
    if rows.said is None:
        return [], NOT_ASKED
    ids = [rows.ids[row] for row in first]
    view, evidence = machine_view(rows.said[first], rows.labels[first], ids, params)
    return ([view] if evidence.heard else []), evidence


def _distinct(rows: LabelledRows) -> tuple[Ints, Ints]:
    """The number of each row's group (n,), and each group's first row (m,).

    Rows of a group have equal content and label.
    """
    number: dict[tuple[str, int], int] = {}
    keys = zip(rows.sha, rows.labels.tolist(), strict=True)
    group = np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.intp)
    return group, np.unique(group, return_index=True)[1]


def _views(
    rows: LabelledRows, first: Ints, near: Neighbours, params: Params, logits: Floats | None
) -> list[Floats]:
    """What each witness says of the distinct rows: logits (m, k) each."""
    labels = rows.labels[first]
    k = len(params.labels)
    space = rows.geometry[first]
    if logits is not None:
        own = [logits[first]]
        return [*own, neighbour_view(near, labels, k)] if space.shape[1] else own
    return [
        _model_view(rows, first, params),
        neighbour_view(near, labels, k),
        forest_view(space, labels, k, params.seed),
    ]


def _model_view(rows: LabelledRows, first: Ints, params: Params) -> Floats:
    """What the project's model says of the distinct rows without having seen them: logits (m, k).

    Of more than FOLDS_UP_TO sparse rows, logistic regression is replaced by ridge regression on the
    same rows: it is as linear, and left-out scores need no folds (stages/learning/left_out.py).
    """
    learner = params.learner
    matrix = rows.matrix[first]
    labels = rows.labels[first]
    k = len(params.labels)
    many = len(first) > FOLDS_UP_TO and is_sparse_ridge(learner, matrix, params.seed)
    if not many or not matrix.count_nonzero():
        ids = [rows.ids[row] for row in first]
        return out_of_fold(learner, matrix, labels, ids, k, params.quality.folds, params.seed)
    if learner.word_columns:
        weight = word_weight(matrix, labels, learner.word_columns)
        matrix = weighed(matrix, learner.word_columns, weight)
    return left_out_logits(matrix, labels, k)


def _errors(
    views: list[Floats],
    scores: Floats,
    labels: Ints,
    near: Neighbours,
    space: Geometry,
    params: Params,
) -> LabelErrors:
    """How likely each label is wrong; where nothing tells distances, every row counts as seen."""
    coverage = coverage_of(near, alike(near, space), labels) if space.shape[1] else None
    seen = coverage.seen if coverage else np.ones(len(labels), dtype=np.bool_)
    witnessed = witnessed_share(views, labels, seen)
    min_class = params.quality.min_class
    measured = params.features.kind in MEASURED
    return estimate_errors(scores, labels, min_class, witnessed, coverage, measured=measured)


def _contradicted_by_copies(group: Ints, sha: list[str]) -> Floats:
    """The share of each row's exact copies, itself included, that have another label, (n,)."""
    if not len(group):
        return np.zeros(0)
    copies = np.unique(np.array(sha, dtype=str), return_inverse=True)[1]
    return np.asarray(1 - np.bincount(group)[group] / np.bincount(copies)[copies])


def _with_conflicts(errors: LabelErrors, group: Ints, against: Floats) -> LabelErrors:
    """The estimate of the distinct rows for all rows, at least what copies contradict them by."""
    return replace(
        errors,
        probability=np.maximum(errors.probability[group], against),
        suggested=errors.suggested[group],
        judged=errors.judged[group] | (against > 0),
        least=errors.least[group],
    )


def _numbered_groups(
    near: Neighbours, matrix: Matrix, space: Geometry, threshold: float, group: Ints
) -> Ints:
    """The number of each row's group of near duplicates and exact copies, (n,); -1 for none."""
    limit = beyond_chance(space[:: 1 + len(space) // SAMPLE], threshold)
    numbers = duplicate_groups(near, Near(matrix, space, limit, threshold))[group]
    sizes = np.bincount(numbers, minlength=1)
    return np.where(sizes[numbers] > 1, numbers, -1)


def with_annotators(
    judgement: Judgement, votes_by_row: Sequence[Mapping[str, int]], labels: Ints
) -> tuple[Judgement, dict[str, float]]:
    """The judgement by every vote on rows that several people labelled, and annotators' quality.

    votes_by_row: for each of the n rows, the class that each annotator gave it; labels (n,): what
    is judged. Rows with one vote keep their estimate, and so do all while annotators cannot be
    weighed. People who agree on a row do not clear it of the conflict with an exact copy that has
    another label: there the larger of both probabilities holds.
    """
    people, votes = vote_table(votes_by_row)
    if not weighable(votes):
        return judgement, {}
    errors = judgement.errors
    at = np.arange(len(labels))
    prior = softmax(judgement.scores, errors.temperature)
    prior[at, labels] = np.maximum(prior[at, labels], errors.least)
    prior /= prior.sum(axis=1, keepdims=True)
    chances = true_classes(prior, votes)[0]
    several = (~np.isnan(votes)).sum(axis=1) > 1
    probability = np.where(several, 1 - chances[at, labels], errors.probability)
    probability = np.where(
        judgement.conflict, np.maximum(probability, errors.probability), probability
    )
    chances[at, labels] = -1
    heeded = replace(
        errors,
        probability=probability,
        suggested=np.where(several, chances.argmax(axis=1), errors.suggested),
        share=float(probability[errors.judged].mean()) if errors.judged.any() else 0.0,
    )
    quality = annotator_quality(votes, softmax(judgement.scores))
    return replace(judgement, errors=heeded), dict(zip(people, quality, strict=True))


def class_balance(labels: Ints, n_classes: int) -> Floats:
    """Labels of each label's class over the mean of all classes, at most 1, (n,)."""
    counts = np.bincount(labels, minlength=n_classes)
    return np.asarray(np.minimum(1.0, counts[labels] * n_classes / max(len(labels), 1)))


class Issue(TypedDict):
    """A row of issues.jsonl: one label with all its scores; None: not judged, in no group."""

    id: str
    label: str
    suggested: str
    error: float | None
    conflict: bool
    outlier: float
    duplicates: int | None
    class_balance: float


def issue_rows(ids: list[str], labels: Ints, judgement: Judgement, names: list[str]) -> list[Issue]:
    """One row per label, the likeliest mistakes first, ties by id: the whole ranking."""
    errors = judgement.errors
    balance = class_balance(labels, len(names))
    order = np.lexsort((np.array(ids, dtype=str), -np.round(errors.probability, 9)))
    return [
        {
            "id": ids[row],
            "label": names[labels[row]],
            "suggested": names[errors.suggested[row]],
            "error": float(errors.probability[row]) if errors.judged[row] else None,
            "conflict": bool(judgement.conflict[row]),
            "outlier": float(judgement.outlier[row]),
            "duplicates": int(group) if (group := judgement.duplicates[row]) >= 0 else None,
            "class_balance": float(balance[row]),
        }
        for row in order
    ]


def reasons_of(judgement: Judgement) -> list[str]:
    """Why each label would be doubted."""
    return ["conflicting_copy" if conflict else "label_error" for conflict in judgement.conflict]


def suspect_rows(
    rows: LabelledRows, judgement: Judgement, chosen: Ints, names: list[str]
) -> list[Suspect]:
    """The doubted labels at some rows, in their order."""
    errors = judgement.errors
    reasons = reasons_of(judgement)
    return [
        {
            "id": rows.ids[row],
            "label": names[rows.labels[row]],
            "suggested": names[errors.suggested[row]],
            "score": float(errors.probability[row]),
            "reasons": [reasons[row]],
        }
        for row in chosen
    ]


def outliers(near: Neighbours) -> Floats:
    """How far each row lies from its neighbours, (n,): mean distance over the median one.

    Source: Kuan, Mueller, "Back to the basics: revisiting out-of-distribution detection baselines"
    (2022).
    """
    if not near.rows.shape[1]:  # alone, so neither near nor far
        return np.zeros(len(near.rows))
    mean = np.sqrt(near.squared.astype(np.float64)).mean(axis=1)
    return np.asarray(mean / max(float(np.median(mean)), 1e-9))


def duplicate_groups(near: Neighbours, rows: Near) -> Ints:
    """A group number per row, (n,): near duplicates among neighbours share it, and theirs too."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(near.rows)
    if not n:
        return np.zeros(0, dtype=np.intp)
    left, column = np.nonzero(near.squared <= rows.limit)
    right = near.rows[left, column]
    linked = features_alike(rows.matrix, left, right, rows.threshold)
    links = coo_array((linked.astype(np.int8), (left, right)), shape=(n, n))
    links.eliminate_zeros()
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.intp)


def order_p_value(near: Neighbours, seed: int, draws: int = 99) -> float | None:
    """P-value in (0, 1] that rows near each other in the file are no more alike than others.

    A permutation test on the mean distance in the file between neighbours. None with fewer than
    MIN_LABELS rows.
    """
    n = len(near.rows)
    if n < MIN_LABELS:
        return None
    draw = np.random.default_rng(seed)
    observed = np.abs(near.rows - np.arange(n)[:, None]).mean()
    closer = 0
    for _ in range(draws):
        order = draw.permutation(n)
        by_chance = np.abs(order[near.rows] - order[:, None]).mean()
        closer += bool(by_chance <= observed)
    return (closer + 1) / (draws + 1)
