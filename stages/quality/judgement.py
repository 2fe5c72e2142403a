"""Which labels are probably wrong, and what else is odd about them: shared by clean_seed, gate and `rounds inspect`.

Everything here is a function of arrays; decisions about rounds, people and queues are in gate.
Distances are those of the geometry: similarity = 1 - squared distance / 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stages.contract.arrays import Floats, Geometry, Ints, Mask, Matrix
from stages.contract.canonical import Row
from stages.contract.params import Params
from stages.learning.classifier import out_of_fold
from stages.learning.scoring import softmax
from stages.quality.agreement import annotator_quality, true_classes, vote_table, weighable
from stages.quality.error_model import Doubts, doubts, not_known, unjudged
from stages.quality.witnesses import (
    MIN_LABELS,
    NEIGHBOURS,
    Neighbours,
    forest_view,
    neighbour_view,
    neighbours,
    pooled,
    supported,
    witnessed_share,
)
from stages.store.near import SAMPLE, Near, beyond_chance, said_alike

OUTLIER = 3.0  # times the median distance to the neighbours


@dataclass(frozen=True)
class Judgement:
    """All that is found about n labelled rows.

    doubts     how likely each label is wrong
    scores     (n, k) calibrated out-of-sample logits that the doubts rest on; all 0 below MIN_LABELS rows
    conflict   (n,) True where an exact copy of the row has another label
    outlier    (n,) mean distance to the neighbours over the median one; above OUTLIER is far from everything
    duplicates (n,) number of the group of near duplicates, -1 for none
    near       the neighbours among the rows that are left when exact copies with the same label are taken out
    """

    doubts: Doubts
    scores: Floats
    conflict: Mask
    outlier: Floats
    duplicates: Ints
    near: Neighbours


def judge(
    matrix: Matrix, geometry: Geometry, labels: Ints, ids: list[str], sha: list[str], params: Params,
    given: Floats | None = None,
) -> Judgement:  # fmt: skip
    """What can be found about n labelled rows by what has not seen them: the user's model, the neighbours, a forest.

    With `given` out-of-sample logits (n, k) nothing is trained, and the matrix is not looked at:
    the neighbours alone are a second witness. A geometry of no columns has no neighbours. A row and
    its exact copy with the same label are judged as one: a copied mistake cannot vouch for itself.
    Copies with different labels cannot all be right: each is wrong with at least the share of
    copies that contradict it.
    """
    n, k = len(labels), len(params.labels)
    first: dict[tuple[str, int], int] = {}
    place = np.array(
        [first.setdefault((key, int(c)), len(first)) for key, c in zip(sha, labels, strict=True)],
        np.intp,
    )
    keep = np.unique(place, return_index=True)[1]
    kept, space = labels[keep], np.asarray(geometry[keep])
    near = neighbours(space, NEIGHBOURS if space.shape[1] else 0)
    scores, found = np.zeros((len(keep), k)), unjudged(kept)
    if len(keep) >= MIN_LABELS:
        if given is None:
            names, folds = [ids[row] for row in keep], params.quality.folds
            model = out_of_fold(params.model, matrix[keep], kept, names, k, folds, params.seed)
            views = [model, neighbour_view(near, kept, k), forest_view(space, kept, k, params.seed)]
        else:
            views = [given[keep], *([neighbour_view(near, kept, k)] if space.shape[1] else [])]
        scores = pooled(views, kept)
        found = doubts(scores, kept, params.quality.min_class, witnessed_share(views, kept, near))
        found = not_known(found, kept, supported(near))
    same = np.bincount(place, minlength=len(keep))[place]
    copies = np.unique(np.array(sha, dtype=str), return_inverse=True)[1] if n else place
    against = 1 - same / np.bincount(copies)[copies] if n else np.zeros(0)
    features, alike = matrix[keep] if given is None else space, params.quality.near_duplicate
    group = duplicate_groups(
        near, Near(features, space, beyond_chance(space[:: 1 + len(space) // SAMPLE], alike), alike)
    )[place]
    sizes = np.bincount(group, minlength=1)[group] if n else group
    error, judged = np.maximum(found.error[place], against), found.judged[place] | (against > 0)
    spread = replace(found, error=error, suggested=found.suggested[place], judged=judged)
    group = np.where(sizes > 1, group, -1)
    return Judgement(spread, scores[place], against > 0, outliers(near)[place], group, near)


def with_annotators(
    found: Judgement, given: Sequence[Mapping[str, int]], labels: Ints
) -> tuple[Judgement, dict[str, float]]:
    """The judgement that heeds every vote on rows that several people labelled, and each annotator's quality.

    given: for each of the n rows, the class each annotator gave it; labels (n,): what is judged.
    Rows with one vote keep their doubt, and so do all while annotators cannot be weighed. People
    who agree on a row cannot clear it of the doubt that an exact copy with another label casts:
    there the larger of both doubts holds.
    """
    people, votes = vote_table(given)
    if not weighable(votes):
        return found, {}
    told = found.doubts
    chances = true_classes(softmax(found.scores, told.sharpness), votes)[0]
    at = np.arange(len(labels))
    several = (~np.isnan(votes)).sum(axis=1) > 1
    error = np.where(several, 1 - chances[at, labels], told.error)
    error = np.where(found.conflict, np.maximum(error, told.error), error)
    chances[at, labels] = -1
    suggested = np.where(several, chances.argmax(axis=1), told.suggested)
    noise = float(error[told.judged].mean()) if told.judged.any() else 0.0
    quality = dict(zip(people, annotator_quality(votes, softmax(found.scores)), strict=True))
    return replace(
        found, doubts=replace(told, error=error, suggested=suggested, noise=noise)
    ), quality


def class_balance(labels: Ints, n_classes: int) -> Floats:
    """How many labels each label's class has beside the mean of all classes, (n,) in (0, 1]; 1: as many, or more."""
    counts = np.bincount(labels, minlength=n_classes)
    return np.asarray(np.minimum(1.0, counts[labels] * n_classes / max(len(labels), 1)))


def issue_rows(ids: list[str], labels: Ints, found: Judgement, names: list[str]) -> list[Row]:
    """One row per label, the likeliest mistakes first: the whole ranking, with every score that was computed."""
    order = np.lexsort((np.array(ids, dtype=str), -np.round(found.doubts.error, 9)))
    balance = class_balance(labels, len(names))
    return [
        {
            "id": ids[row],
            "label": names[labels[row]],
            "suggested": names[found.doubts.suggested[row]],
            "error": found.doubts.error[row] if found.doubts.judged[row] else None,
            "conflict": found.conflict[row],
            "outlier": found.outlier[row],
            "duplicates": int(found.duplicates[row]) if found.duplicates[row] >= 0 else None,
            "class_balance": balance[row],
        }
        for row in order
    ]


def outliers(near: Neighbours) -> Floats:
    """How far each row lies from its neighbours, (n,): mean distance over the median one; above 3 is an outlier.

    Source: Kuan, Mueller, "Back to the basics: revisiting out-of-distribution detection baselines"
    (2022).
    """
    if not near.rows.shape[1]:  # alone, so neither near nor far
        return np.zeros(len(near.rows))
    mean = np.sqrt(near.squared.astype(np.float64)).mean(axis=1)
    return np.asarray(mean / max(float(np.median(mean)), 1e-9))


def duplicate_groups(near: Neighbours, rows: Near) -> Ints:
    """A group number per row, (n,): rows linked by near duplicates among their neighbours share it."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(near.rows)
    if not n:
        return np.zeros(0, dtype=np.intp)
    left, column = np.nonzero(near.squared <= rows.limit)
    right = near.rows[left, column]
    linked = said_alike(rows.matrix, left, right, rows.threshold)
    links = coo_array((linked.astype(np.int8), (left, right)), shape=(n, n))
    links.eliminate_zeros()
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.intp)


def order_p_value(near: Neighbours, seed: int, draws: int = 99) -> float | None:
    """How likely neighbours would stand this close together in the file if its order did not matter, in (0, 1].

    A permutation test on the mean distance of places between neighbours; None with fewer than 20
    rows.
    """
    n = len(near.rows)
    if n < MIN_LABELS:
        return None
    draw = np.random.default_rng(seed)
    found = np.abs(near.rows - np.arange(n)[:, None]).mean()
    lower = 0
    for _ in range(draws):
        order = draw.permutation(n)
        lower += bool(np.abs(order[near.rows] - order[:, None]).mean() <= found)
    return (lower + 1) / (draws + 1)
