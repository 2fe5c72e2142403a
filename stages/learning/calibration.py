"""Calibration: maps from scores to probabilities, and whether they can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, cast

import numpy as np
from threadpoolctl import threadpool_limits

from stages.answers.ledger import Labels
from stages.contract.arrays import Floats, Ints, Mask
from stages.contract.canonical import Row, read_json
from stages.contract.identity import stratified_folds
from stages.contract.params import Calibrate
from stages.learning.maps import PLAIN, Curves, Map, Steps, Temperature, log_odds
from stages.learning.predictions import Predictions, ScanFacts
from stages.learning.scoring import (
    brier,
    calibrated_ece,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
    softmax,
)

CROSS_FIT = 5  # folds
SIMPLEST_FIRST = ("none", "temperature", "sigmoid", "isotonic")
ENOUGH_FOR_STEPS = 1000  # labels, for an isotonic map
SURE = 1.645  # standard errors by which a map must be better: one-sided, at 5 %
Verdict = Literal["trusted", "lying", "unknown"]


class Quality(TypedDict):
    """ECE, the ECE that chance alone explains, Brier score, mean NLL, and accuracy."""

    ece: float
    ece_by_chance: float
    brier: float
    nll: float
    accuracy: float


class CalibrationFacts(TypedDict):
    """How the map was chosen and judged: metrics/calibration.json.

    labels: how many it was judged on; trusted: the verdict is `trusted`; excess_ece: the ECE after
    calibration beyond what chance explains; before, after: without and with the map, cross-fitted.
    Where nothing could be judged the last three are missing.
    """

    labels: int
    drawn: NotRequired[str]
    method: str
    verdict: Verdict
    trusted: bool
    why: str
    excess_ece: NotRequired[float]
    before: NotRequired[Quality]
    after: NotRequired[Quality]


class CalibrationFile(CalibrationFacts):
    """build/probabilities/calibration.json: those facts, and what later stages ask of train's."""

    fitted: bool
    scan: ScanFacts | None


def read_calibration(folder: Path) -> CalibrationFile:
    """The facts that calibrate left beside the probabilities."""
    return cast(CalibrationFile, read_json(folder / "calibration.json"))


def temperature(scores: Floats, truth: Ints) -> Map:
    """softmax(scores / T) with the T in [1/20, 20] that makes the labels likeliest.

    Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (2017).
    """
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        return float(negative_log_likelihood(softmax(scores, float(np.exp(log_t))), truth).mean())

    widest = np.log(20)
    best = minimize_scalar(loss, bounds=(-widest, widest), method="bounded").x
    return Temperature(float(np.exp(best)))


def sigmoid(scores: Floats, truth: Ints) -> Map:
    """One logistic curve a class over its log odds against the rest, then rows scaled to sum to 1.

    Targets are smoothed by the class counts.
    Source: Platt, "Probabilistic outputs for support vector machines" (1999).
    """
    n = len(truth)
    hit = truth[:, None] == np.arange(scores.shape[1])
    counts = hit.sum(axis=0)
    targets = np.where(hit, (counts + 1) / (counts + 2), 1 / (n - counts + 2))
    with threadpool_limits(1):  # two numbers a class: threads would cost more than they save
        curves = [
            _logistic_curve(*pair) for pair in zip(log_odds(scores).T, targets.T, strict=True)
        ]
    slopes, shifts = np.array(curves).T
    return Curves(slopes, shifts)


def _logistic_curve(x: Floats, target: Floats) -> Floats:
    """(2,) slope in [0, 20] and shift in [-30, 30] of the curve that fits (n,) targets best over x.

    A slope below 0 would turn the order of the scores around.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss_and_gradient(curve: Floats) -> tuple[float, Floats]:
        z = curve[0] * x + curve[1]
        error = expit(z) - target
        loss = (np.logaddexp(0, z) - target * z).mean()
        return float(loss), np.array([(error * x).mean(), error.mean()])

    fitted = minimize(
        loss_and_gradient,
        x0=(1.0, 0.0),  # the model's own probabilities
        jac=True,
        bounds=((0, 20), (-30, 30)),
        method="L-BFGS-B",
        options={"ftol": 1e-12, "gtol": 1e-9},
    )
    return np.asarray(fitted.x)


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
        left_out = fold == part
        fitted = FITTERS[method](scores[~left_out], truth[~left_out])
        probabilities[left_out] = fitted(scores[left_out])
    return probabilities


def choose(method: str, scores: Floats, truth: Ints, fold: Ints) -> tuple[str, Floats]:
    """The method to use and its cross-fitted probabilities.

    `auto`: the one that is `surely_better`, of all but an isotonic map below 1,000 labels.
    """
    if method != "auto":
        return method, cross_fitted(method, scores, truth, fold)
    considered = [
        name for name in SIMPLEST_FIRST if name != "isotonic" or len(truth) >= ENOUGH_FOR_STEPS
    ]
    probabilities = {name: cross_fitted(name, scores, truth, fold) for name in considered}
    losses = {name: negative_log_likelihood(probabilities[name], truth) for name in considered}
    chosen = surely_better(losses)
    return chosen, probabilities[chosen]


def surely_better(losses: dict[str, Floats], errors: float = SURE) -> str:
    """The method whose losses are lower than the simpler ones' by more than chance explains.

    losses: of n rows by method, the simplest first. A method takes the place of the one chosen
    before it where the mean of the paired differences is above `errors` of its standard errors.
    """
    chosen, *others = losses
    for name in others:
        gain = losses[chosen] - losses[name]
        if gain.mean() > errors * gain.std(ddof=1) / np.sqrt(len(gain)):
            chosen = name
    return chosen


def quality_of(probabilities: Floats, truth: Ints, bins: int, seed: int) -> Quality:
    """How good some probabilities (n, k) of rows of the classes `truth` are."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
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
    facts: CalibrationFacts
    reliability: list[Row]


def calibration_of(
    predictions: Predictions, labels: Labels, options: Calibrate, seed: int
) -> Calibration:
    """`calibrate` on the out-of-fold logits of the labels that chance chose."""
    random = drawn_at_random(labels)
    ids = [item for item, is_random in zip(labels.ids, random, strict=True) if is_random]
    scores = predictions.labelled[random].astype(np.float64)
    return calibrate(scores, labels.classes[random], ids, options, seed)


def without_model(labels: Labels) -> Calibration:
    """No map and no trust, as there is no model yet."""
    return Calibration(PLAIN, _no_verdict("there is no model yet", labels=len(labels.ids)), [])


def calibrate(
    scores: Floats, truth: Ints, ids: list[str], options: Calibrate, seed: int
) -> Calibration:
    """Choose, judge and fit the map from logits to probabilities.

    scores: (n, k) out-of-fold logits of the labelled rows that were drawn at random; truth, ids:
    their classes and ids. Rows that a strategy chose say nothing about the pool: it chooses hard
    ones. Trusted: with at least `min_random_labels` rows, the cross-fitted ECE beyond what chance
    explains is at most `max_ece`; else lying. With fewer rows the verdict is unknown and there is
    no map: a lucky draw of 50 labels fits one that is far off.
    """
    n = len(ids)
    if n < 2 * CROSS_FIT:
        too_few = _no_verdict(f"{n} labels drawn at random are too few to judge", labels=n)
        return Calibration(PLAIN, {**too_few, "drawn": "at random"}, [])
    enough = n >= options.min_random_labels
    fold = stratified_folds(truth, ids, CROSS_FIT, seed)
    method, after = choose(options.method if enough else "none", scores, truth, fold)
    before = softmax(scores)
    quality_before = quality_of(before, truth, options.bins, seed)
    quality_after = quality_of(after, truth, options.bins, seed)
    excess = max(0.0, quality_after["ece"] - quality_after["ece_by_chance"])
    verdict, why = _judged(n, excess, options)
    facts: CalibrationFacts = {
        "labels": n,
        "drawn": "at random",
        "method": method,
        "verdict": verdict,
        "trusted": verdict == "trusted",
        "why": why,
        "excess_ece": excess,
        "before": quality_before,
        "after": quality_after,
    }
    bars = _reliability("before", before, truth, options.bins)
    bars += _reliability("after", after, truth, options.bins)
    return Calibration(FITTERS[method](scores, truth), facts, bars)


def _no_verdict(why: str, labels: int) -> CalibrationFacts:
    return {
        "labels": labels,
        "method": "none",
        "verdict": "unknown",
        "trusted": False,
        "why": why,
    }


def _judged(n: int, excess: float, options: Calibrate) -> tuple[Verdict, str]:
    """The verdict on n labels with a calibration error `excess` beyond chance, and why."""
    if n < options.min_random_labels:
        return "unknown", (
            f"{n} labels drawn at random, {options.min_random_labels} are needed to judge"
        )
    gap = f"the gap between confidence and accuracy is {excess:.3f} beyond chance"
    if excess <= options.max_ece:
        return "trusted", f"{gap}, at most {options.max_ece}"
    return "lying", f"{gap}, above {options.max_ece}"


def _reliability(when: str, probabilities: Floats, truth: Ints, bins: int) -> list[Row]:
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    return [{"when": when, **row} for row in reliability(confidence, correct, bins)]


def drawn_at_random(labels: Labels) -> Mask:
    """(n,) mask of the labels that chance chose: the seed, and what the control arm walked past.

    The gate says which ids the control arm's walk has passed (stages/answers/arms.py). A seed row
    counts whatever became of its label: without the corrected ones the easy ones would be left.
    """
    return np.array(
        [row["in_seed"] or "control" in row["arms"] for row in labels.rows], dtype=np.bool_
    )
