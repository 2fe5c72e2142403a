"""Witnesses: independent views on what the label of a row is, each by cross-validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from stages.contract.arrays import Floats, Geometry, Ints, Mask
from stages.contract.progress import watched
from stages.learning.scoring import softmax

NEIGHBOURS = 15
TREES, TREE_ROWS = (
    100,
    5000,
)  # a forest for doubt, not for accuracy: small trees, bounded in time and memory
PRIOR_EXCESS = (
    0.06  # standard deviation of the share of wrong labels that witnesses tell, before any evidence
)
MIN_LABELS = 20  # fewer labels than this are not judged
FIT_ROWS = 10_000  # the few numbers of the error model are fitted on at most this many labels
SUPPORTED = 0.5  # of the median similarity to the nearest other row: below it, a row is like nothing in training
BLOCK = 2**24  # elements of a block of distances
TINY = 1e-300


@dataclass(frozen=True)
class Neighbours:
    """The nearest other rows of n rows, nearest first: rows (n, k), squared distances (n, k)."""

    rows: Ints
    squared: Geometry


def neighbours(geometry: Geometry, k: int = NEIGHBOURS) -> Neighbours:
    """The k nearest other rows (all, when there are fewer), exactly, in blocks of bounded memory. Ties by row.

    The k-th smallest of the minima of k groups or more bounds the k-th smallest distance: only what
    lies within the bound is sorted.
    """
    n = len(geometry)
    k = max(0, min(k, n - 1))
    rows, squared = np.zeros((n, k), dtype=np.intp), np.zeros((n, k), dtype=np.float32)
    space = np.ascontiguousarray(geometry, dtype=np.float32)
    norms = np.einsum("ij,ij->i", space, space)
    step, width = max(16, BLOCK // max(n, 1)), max(1, min(32, n // max(2 * k, 1)))
    for start in watched("neighbours", range(0, n if k else 0, step), "block"):
        part = space[start : start + step]
        distance = part @ space.T
        distance *= -2
        distance += norms
        at = np.arange(len(part))
        distance[at, start + at] = np.inf
        least = np.minimum.reduceat(distance, np.arange(0, n, width), axis=1)
        bound = np.partition(least, k - 1, axis=1)[:, k - 1]
        row, column = np.nonzero(distance <= bound[:, None])
        found = distance[row, column]
        order = np.lexsort((column, found, row))
        best = order[np.searchsorted(row, at)[:, None] + np.arange(k)]
        rows[start : start + step] = column[best]
        squared[start : start + step] = np.maximum(
            found[best] + norms[start : start + step, None], 0
        )
    return Neighbours(rows, squared)


def neighbour_view(near: Neighbours, labels: Ints, n_classes: int) -> Floats:
    """Logits (n, n_classes) from the labels of the nearest other rows, nearer ones counting more."""
    n, k = near.rows.shape
    share = np.bincount(labels, minlength=n_classes) / max(n, 1)
    votes = np.zeros((n, n_classes))
    if k:
        weight = np.exp(-near.squared / max(float(np.median(near.squared[:, -1])), 1e-9))
        for place in range(k):
            votes[np.arange(n), labels[near.rows[:, place]]] += weight[:, place]
    return np.asarray(np.log((votes + share) / (votes.sum(axis=1, keepdims=True) + 1) + 1e-9))


def forest_view(geometry: Geometry, labels: Ints, n_classes: int, seed: int) -> Floats:
    """Out-of-bag logits (n, n_classes) of extremely randomised trees, each grown, read and dropped.

    Source: Geurts, Ernst, Wehenkel, "Extremely randomized trees" (2006).
    """
    from sklearn import config_context
    from sklearn.tree import ExtraTreeClassifier

    n, space = len(labels), np.ascontiguousarray(geometry, dtype=np.float32)
    share = np.bincount(labels, minlength=n_classes) / max(n, 1)
    total, seen, draw = np.zeros((n, n_classes)), np.zeros(n), np.random.default_rng(seed)
    with config_context(
        skip_parameter_validation=True
    ):  # with the checks of the rows, a third of a small tree
        for number in watched("trees", range(TREES if n >= MIN_LABELS else 0), "tree"):
            bag = draw.integers(0, n, min(n, TREE_ROWS))
            tree = ExtraTreeClassifier(
                max_features="sqrt", min_samples_leaf=2, random_state=seed + number
            )
            tree.fit(space[bag], labels[bag], check_input=False)
            out = np.flatnonzero(np.bincount(bag, minlength=n) == 0)
            if len(out):
                total[np.ix_(out, tree.classes_)] += tree.predict_proba(
                    space[out], check_input=False
                )
            seen[out] += 1
    return np.asarray(np.log((total + share) / (seen[:, None] + 1) + 1e-9))


def pooled(views: Sequence[Floats], labels: Ints) -> Floats:
    """One set of logits (n, k) from several out-of-sample ones: a weighted sum, calibrated to the labels as they are.

    The weights (>= 0) have the highest likelihood under a weak prior of equal shares. One view
    alone is rescaled.
    Source: Genest, Zidek, "Combining probability distributions" (1986): the logarithmic opinion
    pool.
    """
    from scipy.optimize import minimize

    shifted = [np.maximum(view - view.max(axis=1, keepdims=True), -30.0) for view in views]
    some = np.linspace(0, len(labels) - 1, min(len(labels), FIT_ROWS)).astype(np.intp)
    parts = [view[some] for view in shifted]
    given = [part[np.arange(len(some)), labels[some]] for part in parts]
    start = np.full(len(views), -math.log(len(views)))

    def loss(log_weight: Floats) -> tuple[float, Floats]:
        weight = np.exp(log_weight)
        chances = softmax(
            sum((w * part for w, part in zip(weight, parts, strict=True)), np.zeros_like(parts[0]))
        )
        own = chances[np.arange(len(some)), labels[some]]
        slope = [
            w * float(((chances * part).sum(axis=1) - told).sum())
            for w, part, told in zip(weight, parts, given, strict=True)
        ]
        away = log_weight - start
        return float(-np.log(own + TINY).sum() + away @ away / 2), np.asarray(slope) + away

    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-5.0, 3.0)] * len(views)).x
    return np.asarray(
        sum(
            (w * view for w, view in zip(np.exp(best), shifted, strict=True)),
            np.zeros_like(shifted[0]),
        )
    )


def disagreement(views: Sequence[Floats], labels: Ints) -> float | None:
    """Share of wrong labels by what several witnesses say of each other; None for one witness.

    views: logits (n, k) each. Witnesses that learned apart contradict each other as often as each
    contradicts the truth. What they contradict the labels beyond that is the labels' fault, as far
    as chance does not make it: the share is the posterior mean for a normal prior at 0, so few
    labels that nobody can tell well apart say nearly nothing. Source: Jiang, Nagarajan, Baek,
    Kolter, "Assessing generalization of SGD via disagreement" (2022); no such claim is made there
    for witnesses of different kinds: benchmarks/gate.py has it.
    """
    said, n, k = [view.argmax(axis=1) for view in views], len(labels), len(np.unique(labels))
    if len(said) < 2 or k < 2:
        return None
    against = float(np.mean([(one != labels).mean() for one in said]))
    apart = float(np.mean([(one != other).mean() for one, other in combinations(said, 2)]))
    room = max(1 - apart * k / (k - 1), 0.1)
    chance = apart * (1 - apart) / n / room**2
    return min(max((against - apart) / room / (1 + chance / PRIOR_EXCESS**2), 0.0), 1.0)


def witnessed_share(views: Sequence[Floats], labels: Ints, near: Neighbours) -> float | None:
    """`disagreement` on the rows that are like something in training; None for one witness, 0 on fewer than MIN_LABELS.

    Of a row unlike all others the neighbours and the forest know nothing: both fall back on the
    commonest class. That they agree is then no sign of a wrong label, but of the same ignorance.
    """
    if len(views) < 2:
        return None
    seen = supported(near)
    if seen.sum() < MIN_LABELS:
        return 0.0
    return disagreement([view[seen] for view in views], labels[seen])


def supported(near: Neighbours) -> Mask:
    """Whether something else among the rows is like each of them, (n,); all are where nothing tells distances.

    Like: at least half as similar as the nearest row usually is. A text that shares no words with
    another has a similarity near 0; and so has a row of numbers that is as far from all others as
    two rows drawn at random are.
    """
    if not near.rows.shape[1]:
        return np.ones(len(near.rows), dtype=np.bool_)
    similarity = 1 - near.squared[:, 0].astype(np.float64) / 2
    return np.asarray(similarity >= SUPPORTED * np.median(similarity))
