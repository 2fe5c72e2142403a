"""Calibration: maps from scores to probabilities, and whether they can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.answers.ledger import Labels
from stages.contract.arrays import Floats, Ints
from stages.contract.canonical import Row
from stages.contract.identity import stratified_folds
from stages.contract.params import Params
from stages.learning.maps import PLAIN, Curves, Map, Steps, Temperature, log_odds, logistic
from stages.learning.scoring import (
    brier,
    calibrated_ece,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
    softmax,
)

CROSS_FIT = 5
SIMPLEST_FIRST = ("none", "temperature", "sigmoid", "isotonic")


def temperature(scores: Floats, truth: Ints) -> Map:
    """softmax(scores / T) with the T in [1/20, 20] that makes the labels likeliest.

    Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (2017).
    """
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        return float(negative_log_likelihood(softmax(scores, float(np.exp(log_t))), truth).mean())

    best = float(
        np.exp(minimize_scalar(loss, bounds=(-np.log(20), np.log(20)), method="bounded").x)
    )
    return Temperature(best)


def sigmoid(scores: Floats, truth: Ints) -> Map:
    """One logistic curve a class over its log odds against the rest, then rows scaled to sum to 1.

    Targets are smoothed by the class counts; slopes are within [0, 20], shifts within [-30, 30].
    Source: Platt, "Probabilistic outputs for support vector machines" (1999).
    """
    hit = truth[:, None] == np.arange(scores.shape[1])
    counts = hit.sum(axis=0)
    slopes, shifts = _logistic_curves(
        log_odds(scores), np.where(hit, (counts + 1) / (counts + 2), 1 / (len(truth) - counts + 2))
    )
    return Curves(slopes, shifts)


def _logistic_curves(x: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Slopes and shifts (k,) of the logistic curves that fit targets (n, k) in [0, 1] over x (n, k) best, all at once.

    Newton steps within the bounds, halved where the loss would rise. A slope that pulls beyond its
    bound stays.
    Source: Lin, Lin, Weng, "A note on Platt's probabilistic outputs for support vector machines"
    (2007).
    """
    curve = np.array([np.ones(x.shape[1]), np.zeros(x.shape[1])])
    low, high = np.array([[0.0], [-30.0]]), np.array([[20.0], [30.0]])

    def loss(curve: Floats) -> Floats:
        z = curve[0] * x + curve[1]
        return np.asarray((np.logaddexp(0, z) - target * z).mean(axis=0))

    now = loss(curve)
    for _ in range(100):
        p = logistic(curve[0] * x + curve[1])
        weight = p * (1 - p)
        g0, g1 = ((p - target) * x).mean(axis=0), (p - target).mean(axis=0)
        a, b, c = (
            (weight * x * x).mean(axis=0) + 1e-9,
            (weight * x).mean(axis=0),
            weight.mean(axis=0) + 1e-9,
        )
        stuck = ((curve[0] <= 0) & (g0 > 0)) | ((curve[0] >= 20) & (g0 < 0))
        step = np.where(
            stuck, [0 * g0, g1 / c], np.array([c * g0 - b * g1, a * g1 - b * g0]) / (a * c - b * b)
        )
        size = np.ones(x.shape[1])
        for _ in range(30):
            new = np.clip(curve - size * step, low, high)
            then = loss(new)
            if not (worse := then > now + 1e-10).any():
                break
            size = np.where(worse, size / 2, size)
        better = then < now
        if (now - then).max() < 1e-10:
            break
        curve, now = np.where(better, new, curve), np.where(better, then, now)
    return curve[0], curve[1]


def isotonic(scores: Floats, truth: Ints) -> Map:
    """One rising step function a class over its probability, then rows scaled to sum to 1.

    Source: Zadrozny, Elkan, "Transforming classifier scores into accurate multiclass probability
    estimates" (2002).
    """
    from scipy.optimize import isotonic_regression

    own = softmax(scores)
    corners: list[Floats] = []
    heights: list[Floats] = []
    for column in range(scores.shape[1]):
        x, inverse = np.unique(own[:, column], return_inverse=True)
        weight = np.bincount(inverse).astype(np.float64)
        hits = np.bincount(inverse, weights=(truth == column).astype(np.float64))
        corners.append(x)
        heights.append(np.asarray(isotonic_regression(hits / weight, weights=weight).x))
    return Steps(corners, heights)


FITTERS: dict[str, Callable[[Floats, Ints], Map]] = {
    "none": lambda _scores, _truth: PLAIN,
    "temperature": temperature,
    "sigmoid": sigmoid,
    "isotonic": isotonic,
}


def cross_fitted(method: str, scores: Floats, truth: Ints, fold: Ints) -> Floats:
    """Probabilities of every row by a map that was fitted without it, (n, k)."""
    probabilities = np.empty_like(scores)
    for part in np.unique(fold):
        held = fold == part
        probabilities[held] = FITTERS[method](scores[~held], truth[~held])(scores[held])
    return probabilities


def choose(method: str, scores: Floats, truth: Ints, fold: Ints) -> tuple[str, Floats]:
    """The method to use and its cross-fitted probabilities.

    `auto`: the simplest whose NLL is within one standard error (paired) of the best. An isotonic
    map needs 1,000 labels to be considered.
    """
    if method != "auto":
        return method, cross_fitted(method, scores, truth, fold)
    tried = {
        name: cross_fitted(name, scores, truth, fold)
        for name in SIMPLEST_FIRST
        if name != "isotonic" or len(truth) >= 1000
    }
    losses = {name: negative_log_likelihood(p, truth) for name, p in tried.items()}
    best = min(losses, key=lambda name: (losses[name].mean(), SIMPLEST_FIRST.index(name)))
    for name, loss in losses.items():
        gap = loss - losses[best]
        if gap.mean() <= gap.std() / np.sqrt(len(gap)):
            return name, tried[name]
    return best, tried[best]


def quality_of(probabilities: Floats, truth: Ints, bins: int, seed: int) -> Row:
    """ECE, the ECE that chance alone explains, Brier score, NLL and accuracy of some probabilities."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    return {
        "ece": expected_calibration_error(confidence, correct, bins),
        "ece_by_chance": calibrated_ece(confidence, bins, seed),
        "brier": brier(probabilities, truth),
        "nll": float(negative_log_likelihood(probabilities, truth).mean()),
        "accuracy": float(correct.mean()),
    }


@dataclass(frozen=True)
class Calibration:
    """The chosen map, how it was judged, and the reliability rows before and after."""

    apply: Map
    facts: Row
    reliability: list[Row]


@dataclass(frozen=True)
class Rows:
    """Logits or probabilities, (n, k) float32: pool, test, labelled rows out of fold; committee (members, n, k)."""

    pool: NDArray[np.float32]
    test: NDArray[np.float32]
    labelled: NDArray[np.float32]
    committee: NDArray[np.float32] | None

    def mapped(self, apply: Map) -> Rows:
        """The rows that a map makes of these."""

        def through(part: NDArray[np.float32]) -> NDArray[np.float32]:
            return apply(part.astype(np.float64)).astype(np.float32)

        members = (
            None
            if self.committee is None
            else np.array([through(member) for member in self.committee])
        )
        return Rows(through(self.pool), through(self.test), through(self.labelled), members)


def calibration_of(scores: Rows, fitted: bool, labels: Labels, params: Params) -> Calibration:
    """`calibrate` on the labels' out-of-fold logits; without a model no map, and no trust."""
    if not fitted:
        facts = {"labels": len(labels.ids), "method": "none", "why": "there is no model yet"}
        return Calibration(PLAIN, {**facts, "verdict": "unknown", "trusted": False}, [])
    random = drawn_at_random(labels)
    return calibrate(scores.labelled.astype(np.float64), labels.classes, labels.ids, random, params)


def calibrate(
    scores: Floats, truth: Ints, ids: list[str], random: NDArray[np.bool_], params: Params
) -> Calibration:
    """Choose, judge and fit the map from logits to probabilities.

    scores: (n, k) out-of-fold logits of the labelled rows; truth, ids, random: their classes, ids,
    and whether each was drawn at random: only those say anything about the pool, since a strategy
    chooses hard rows. Trusted: with at least `min_random_labels` of them, the cross-fitted ECE
    beyond what chance explains is at most `max_ece`; else lying. With fewer the verdict is unknown
    and there is no map: a lucky draw of 50 labels fits one that is far off.
    """
    options = params.calibrate
    n = int(random.sum())
    enough = n >= options.min_random_labels
    facts: Row = {"labels": n, "drawn": "at random"}
    if n < 2 * CROSS_FIT:
        why = f"{n} labels drawn at random are too few to judge"
        return Calibration(
            PLAIN,
            {**facts, "method": "none", "verdict": "unknown", "trusted": False, "why": why},
            [],
        )
    chosen, known = scores[random], truth[random]
    fold = stratified_folds(
        known, [item for item, use in zip(ids, random, strict=True) if use], CROSS_FIT, params.seed
    )
    method, after = choose(options.method if enough else "none", chosen, known, fold)
    before = softmax(chosen)
    judged = {
        name: quality_of(p, known, options.bins, params.seed)
        for name, p in (("before", before), ("after", after))
    }
    excess = max(0.0, judged["after"]["ece"] - judged["after"]["ece_by_chance"])
    if not enough:
        verdict = "unknown"
        why = f"{n} labels drawn at random, {options.min_random_labels} are needed to judge"
    else:
        verdict = "trusted" if excess <= options.max_ece else "lying"
        relation = "at most" if verdict == "trusted" else "above"
        why = f"the gap between confidence and accuracy is {excess:.3f} beyond chance, {relation} {options.max_ece}"
    drawn = [
        {"when": when, **row}
        for when, p in (("before", before), ("after", after))
        for row in reliability(p.max(axis=1), p.argmax(axis=1) == known, options.bins)
    ]
    facts |= {"method": method, "verdict": verdict, "trusted": verdict == "trusted", "why": why}
    facts |= {"excess_ece": excess, **judged}
    return Calibration(FITTERS[method](chosen, known), facts, drawn)


def drawn_at_random(labels: Labels) -> NDArray[np.bool_]:
    """(n,) mask of the labels that chance chose: the seed, and every id that the control arm's walk has passed.

    The gate says which ids those are (stages/answers/arms.py).

    A seed row counts whatever became of its label: without the corrected ones the easy ones would
    be left.
    """
    return np.array(
        [row["in_seed"] or "control" in row["arms"] for row in labels.rows], dtype=np.bool_
    )
