"""Witnesses: independent views on what a row's label should be, none of which saw that label."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from stages.contract.arrays import Floats, Geometry, Ints, Mask, evenly_spaced
from stages.contract.distances import squared_norms
from stages.contract.progress import watched
from stages.learning.scoring import softmax

NEIGHBOURS = 15
TREES = 100  # at most: where there are many labels of many classes, fewer tell as much
FEWEST_TREES = 30
VOTES = 50_000_000  # rows x classes x trees that are added up, unless FEWEST_TREES are more
TREE_ROWS = 5000  # rows that a tree learns from at most, which bounds time and memory
PRIOR_EXCESS = 0.06  # prior standard deviation of the share of wrong labels in `disagreement`
MIN_LABELS = 20  # fewer labels than this are not judged
FIT_ROWS = 10_000  # the few numbers of the error model are fitted on at most this many labels
NEAR = 3  # a row's third-nearest row is near it, in most places
LEAST_RATIO = 1e-3  # of usual near distances to distances at random, squared, so that copies fit
BLOCK = 2**24  # elements of a block of distances
TINY = 1e-300


@dataclass(frozen=True)
class Neighbours:
    """The nearest other rows of n rows, nearest first: rows (n, k), squared distances (n, k)."""

    rows: Ints
    squared: Geometry


def neighbours(geometry: Geometry, k: int = NEIGHBOURS) -> Neighbours:
    """The k nearest other rows of each row (all, if fewer), exactly; ties go to the lower row.

    Distances are computed in blocks, so that memory is bounded.
    """
    n = len(geometry)
    k = max(0, min(k, n - 1))
    rows = np.zeros((n, k), dtype=np.intp)
    squared = np.zeros((n, k), dtype=np.float32)
    if not k:
        return Neighbours(rows, squared)
    space = np.ascontiguousarray(geometry, dtype=np.float32)
    norms = squared_norms(space)
    step = max(16, BLOCK // n)
    for start in watched("neighbours", range(0, n, step), "block"):
        block = slice(start, start + step)
        rows[block], squared[block] = _nearest_in_block(space, norms, start, step, k)
    return Neighbours(rows, squared)


def _nearest_in_block(
    space: Geometry, norms: Geometry, start: int, step: int, k: int
) -> tuple[Ints, Geometry]:
    """The k nearest other rows of the rows from `start` on, (step, k), and squared distances."""
    block = space[start : start + step]
    n = len(space)
    at = np.arange(len(block))
    # |a - b|^2 without |a|^2, which is the same for all candidates of a row
    distance = (-2 * block) @ space.T
    distance += norms
    distance[at, start + at] = np.inf
    near = np.flatnonzero(distance <= _upper_bounds(distance, k)[:, None])
    row, column = np.divmod(near, n)
    candidates = distance.ravel()[near]
    order = np.lexsort((column, candidates, row))
    best = order[np.searchsorted(row, at)[:, None] + np.arange(k)]
    squared = candidates[best] + norms[start : start + step, None]
    return column[best], np.maximum(squared, 0)


def _upper_bounds(distance: Geometry, k: int) -> Geometry:
    """An upper bound of the k-th smallest distance in each row: only what lies within it is sorted.

    It is the k-th smallest of the minima of k groups of columns or more. Columns far apart are a
    group, so that whole slabs are compared at a time; the last few columns are in none.
    """
    rows, n = distance.shape
    size = max(1, min(32, n // (2 * k)))
    groups = n // size
    slabs = distance[:, : size * groups].reshape(rows, size, groups)
    return np.asarray(np.partition(slabs.min(axis=1), k - 1, axis=1)[:, k - 1])


def neighbour_view(near: Neighbours, labels: Ints, n_classes: int) -> Floats:
    """Logits (n, n_classes) from the labels of the nearest other rows; nearer ones count more."""
    n, k = near.rows.shape
    share = np.bincount(labels, minlength=n_classes) / max(n, 1)
    votes = np.zeros((n, n_classes))
    if k:
        usual = max(float(np.median(near.squared[:, -1])), 1e-9)
        weight = np.exp(-near.squared / usual)
        for column in range(k):
            votes[np.arange(n), labels[near.rows[:, column]]] += weight[:, column]
    # one more vote, split as the classes are, keeps a class without votes possible
    chances = (votes + share) / (votes.sum(axis=1, keepdims=True) + 1)
    return np.asarray(np.log(chances + 1e-9))


def forest_view(geometry: Geometry, labels: Ints, n_classes: int, seed: int) -> Floats:
    """Out-of-bag logits (n, n_classes) of extremely randomised trees; even below MIN_LABELS rows.

    Every tree is read and dropped before the next one grows: a forest of many classes held as a
    whole would take gigabytes.
    Source: Geurts, Ernst, Wehenkel, "Extremely randomized trees" (2006).
    """
    from sklearn import config_context
    from sklearn.tree import ExtraTreeClassifier

    n = len(labels)
    space = np.ascontiguousarray(geometry, dtype=np.float32)
    share = np.bincount(labels, minlength=n_classes) / max(n, 1)
    votes = np.zeros((n, n_classes))
    voters = np.zeros(n)
    trees = max(FEWEST_TREES, min(TREES, VOTES // max(n * n_classes, 1)))
    trees = trees if n >= MIN_LABELS else 0
    draw = np.random.default_rng(seed)
    # checking the same rows for every tree takes a third of the time of a small one
    with config_context(skip_parameter_validation=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The number of unique classes")
        for number in watched("trees", range(trees), "tree"):
            bag = draw.integers(0, n, min(n, TREE_ROWS))
            tree = ExtraTreeClassifier(
                max_features="sqrt", min_samples_leaf=2, random_state=seed + number
            )
            tree.fit(space[bag], labels[bag], check_input=False)
            outside = np.flatnonzero(np.bincount(bag, minlength=n) == 0)
            if len(outside):
                chances = tree.predict_proba(space[outside], check_input=False)
                votes[np.ix_(outside, tree.classes_)] += chances
            voters[outside] += 1
    return np.asarray(np.log((votes + share) / (voters[:, None] + 1) + 1e-9))


def pooled(views: Sequence[Floats], labels: Ints) -> Floats:
    """One set of logits (n, k) from several out-of-sample ones: their weighted sum.

    The weights (>= 0) are the likeliest ones given the labels, under a weak prior of equal shares,
    so the result is calibrated to the labels as they are. One view alone is rescaled.
    Source: Genest, Zidek, "Combining probability distributions" (1986): the logarithmic opinion
    pool.
    """
    # a class that a view rules out keeps a chance: at most 30 below the view's likeliest one
    shifted = [np.maximum(view - view.max(axis=1, keepdims=True), -30.0) for view in views]
    rows = evenly_spaced(len(labels), FIT_ROWS)
    weights = _pool_weights([view[rows] for view in shifted], labels[rows])
    return _weighted_sum(weights, shifted)


def _weighted_sum(weights: Floats, views: Sequence[Floats]) -> Floats:
    """The sum of the views (n, k), each times its weight."""
    total = np.zeros_like(views[0])
    for weight, view in zip(weights, views, strict=True):
        total = total + weight * view
    return np.asarray(total)


def _pool_weights(views: Sequence[Floats], labels: Ints) -> Floats:
    """The weight of each view, (m,), by maximum a posteriori (see `pooled`)."""
    from scipy.optimize import minimize

    at = np.arange(len(labels))
    own_logits = [view[at, labels] for view in views]
    start = np.full(len(views), -math.log(len(views)))

    def loss(log_weight: Floats) -> tuple[float, Floats]:
        """Negative log posterior and its gradient."""
        weights = np.exp(log_weight)
        chances = softmax(_weighted_sum(weights, views))
        away = log_weight - start
        value = -np.log(chances[at, labels] + TINY).sum() + away @ away / 2
        slope = [
            weight * float(((chances * view).sum(axis=1) - own).sum())
            for weight, view, own in zip(weights, views, own_logits, strict=True)
        ]
        return float(value), np.asarray(slope) + away

    bounds = [(-5.0, 3.0)] * len(views)
    return np.asarray(np.exp(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x))


def disagreement(views: Sequence[Floats], labels: Ints) -> float | None:
    """Estimated share of wrong labels, from how far witnesses contradict each other and the labels.

    views: logits (n, k) each; None for one witness or one class. Witnesses that learned apart
    contradict each other about as often as each contradicts the truth. What they contradict the
    labels beyond that is the labels' fault, as far as chance does not explain it: the share is the
    posterior mean under a normal prior at 0, so a few hard labels say nearly nothing.
    Source: Jiang, Nagarajan, Baek, Kolter, "Assessing generalization of SGD via disagreement"
    (2022). That witnesses of different kinds behave so is not claimed there: benchmarks/gate.py
    measures it.
    """
    n = len(labels)
    k = len(np.unique(labels))
    if len(views) < 2 or k < 2:
        return None
    predicted = [view.argmax(axis=1) for view in views]
    against = float(np.mean([(classes != labels).mean() for classes in predicted]))
    pairs = combinations(predicted, 2)
    apart = float(np.mean([(left != right).mean() for left, right in pairs]))
    room = max(1 - apart * k / (k - 1), 0.1)
    chance = apart * (1 - apart) / n / room**2
    share = (against - apart) / room / (1 + chance / PRIOR_EXCESS**2)
    return min(max(share, 0.0), 1.0)


def witnessed_share(views: Sequence[Floats], labels: Ints, seen: Mask) -> float | None:
    """`disagreement` on the rows that are like another one; None for one witness.

    seen (n,): which those are; 0 if fewer than MIN_LABELS. Of a row unlike all others the
    neighbours and the forest know nothing: both fall back on the commonest class. That they agree
    is then no sign of a wrong label, but of the same ignorance.
    """
    if len(views) < 2:
        return None
    if seen.sum() < MIN_LABELS:
        return 0.0
    return disagreement([view[seen] for view in views], labels[seen])


def alike(near: Neighbours, geometry: Geometry) -> Mask:
    """Whether each of the nearest other rows is like its row, (n, k).

    Like: nearer, in ratio, to the distance at which rows usually have a third neighbour than to the
    distance of two rows drawn at random. So a text that shares no words with another is not like
    it, nor is a point like one of another cluster.
    """
    n, k = near.rows.shape
    if not k:
        return np.zeros((n, 0), dtype=np.bool_)
    usual = float(np.median(near.squared[:, min(NEAR, k) - 1]))
    points = geometry.astype(np.float64)
    # the mean squared distance of two different rows, from their variance
    at_random = 2 * float(points.var(axis=0, ddof=1).sum())
    usual = max(usual, LEAST_RATIO * at_random)
    return np.asarray(near.squared <= math.sqrt(usual * at_random))
