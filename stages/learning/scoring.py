"""How good predictions are: accuracy, F1, recall, calibration, with intervals by sample size."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats, Ints

Z95 = 1.959963984540054


class ClassScores(TypedDict):
    """How well a class is predicted; precision and recall are None where there is no row to count.

    support: rows of the class; predicted: rows taken for it; low, high: Wilson intervals.
    """

    support: int
    predicted: int
    recall: float | None
    recall_low: float
    recall_high: float
    precision: float | None
    precision_low: float
    precision_high: float
    f1: float | None


class ReliabilityBin(TypedDict):
    """A bin of confidence that holds rows: how many, their mean confidence, and their accuracy."""

    bin: int
    count: int
    confidence: float
    accuracy: float


def wilson(successes: float, trials: int, z: float = Z95) -> tuple[float, float]:
    """The interval of a proportion, 95 % by default; (0, 1) for no trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def cohen_kappa(left: Sequence[Hashable], right: Sequence[Hashable]) -> float | None:
    """Agreement of two raters on the same examples beyond chance, at most 1.

    left, right: the label that each gave each example. None when chance explains all, and without
    any example. Source: Cohen, "A coefficient of agreement for nominal scales" (1960).
    """
    n = len(left)
    if not n:
        return None
    agreed = sum(label == other for label, other in zip(left, right, strict=True)) / n
    first = Counter(left)
    second = Counter(right)
    chance = sum(first[label] * second[label] for label in first) / n**2
    return None if math.isclose(chance, 1) else (agreed - chance) / (1 - chance)


def per_class(truth: Ints, predicted: Ints, n_classes: int) -> list[ClassScores]:
    """One row per class, in the order of the classes."""
    rows: list[ClassScores] = []
    for number in range(n_classes):
        hits = int(np.sum((truth == number) & (predicted == number)))
        support = int(np.sum(truth == number))
        claimed = int(np.sum(predicted == number))
        low, high = wilson(hits, support)
        precise_low, precise_high = wilson(hits, claimed)
        rows.append(
            {
                "support": support,
                "predicted": claimed,
                "recall": hits / support if support else None,
                "recall_low": low,
                "recall_high": high,
                "precision": hits / claimed if claimed else None,
                "precision_low": precise_low,
                "precision_high": precise_high,
                "f1": 2 * hits / (support + claimed) if support + claimed else None,
            }
        )
    return rows


def macro_f1(truth: Ints, predicted: Ints, n_classes: int) -> float:
    """The mean F1 over the classes that occur in truth or prediction; 0 without any."""
    scores = [row["f1"] for row in per_class(truth, predicted, n_classes) if row["f1"] is not None]
    return float(np.mean(scores)) if scores else 0.0


def negative_log_likelihood(probabilities: Floats, truth: Ints) -> Floats:
    """-ln p(true class) of each row, (n,); p is floored at 1e-12."""
    chosen = probabilities[np.arange(len(truth)), truth]
    return np.asarray(-np.log(np.maximum(chosen, 1e-12)))


def brier(probabilities: Floats, truth: Ints) -> float:
    """Mean squared distance between probabilities and the one-hot truth, in [0, 2].

    Source: Brier, "Verification of forecasts expressed in terms of probability" (1950).
    """
    target = np.zeros_like(probabilities)
    target[np.arange(len(truth)), truth] = 1
    return float(((probabilities - target) ** 2).sum(axis=1).mean())


def reliability(confidence: Floats, correct: NDArray[np.bool_], bins: int) -> list[ReliabilityBin]:
    """Bins of equal width over confidence in [0, 1]: count, mean confidence, accuracy.

    Bins without rows are left out.
    """
    bin_of = _bins(confidence, bins)
    rows: list[ReliabilityBin] = []
    for number in np.unique(bin_of):
        inside = bin_of == number
        rows.append(
            {
                "bin": int(number),
                "count": int(inside.sum()),
                "confidence": float(confidence[inside].mean()),
                "accuracy": float(correct[inside].mean()),
            }
        )
    return rows


def _bins(confidence: Floats, bins: int) -> Ints:
    """The bin of each confidence, (n,); on an edge it is the lower one (Guo et al., 2017)."""
    return np.asarray(np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1))


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int) -> float:
    """ECE in [0, 1]: mean gap between confidence and accuracy over bins, weighted by their counts.

    Source: Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning" (2015).
    """
    rows = reliability(confidence, correct, bins)
    return float(
        sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in rows)
        / len(confidence)
    )


def calibrated_ece(confidence: Floats, bins: int, seed: int, draws: int = 200) -> float:
    """The ECE that chance alone gives a perfectly calibrated model of these confidences.

    The mean over seeded draws. Source: Broecker, Smith, "Increasing the reliability of reliability
    diagrams" (2007).
    """
    correct = np.random.default_rng(seed).random((draws, len(confidence))) < confidence
    gaps = correct - confidence
    bin_of = _bins(confidence, bins)
    sums = np.array([gaps[:, bin_of == number].sum(axis=1) for number in np.unique(bin_of)])
    return float(np.abs(sums).sum(axis=0).mean() / len(confidence))


def softmax(scores: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities of logits, (n, k) -> (n, k); rows sum to 1. A score of -inf is probability 0.

    A row of -inf alone (nothing known) becomes uniform.
    """
    top = scores.max(axis=1, keepdims=True)
    finite = np.isfinite(top)
    shifted = np.where(finite, scores - np.where(finite, top, 0), 0.0) / temperature
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


BLOCK = 65_536


def margin_of(probabilities: Floats) -> Floats:
    """Uncertainty in [0, 1]: one minus the gap between the two likeliest classes; 1 = cannot tell.

    (n, k >= 2) -> (n,). Source: Scheffer, Decomain, Wrobel, "Active hidden Markov models for
    information extraction" (2001).
    """
    uncertainty = np.empty(len(probabilities))
    for start in range(0, len(probabilities), BLOCK):  # a bounded copy, not a second table of n x k
        ranked = np.partition(probabilities[start : start + BLOCK], -2, axis=1)
        uncertainty[start : start + BLOCK] = 1 - (ranked[:, -1] - ranked[:, -2])
    return uncertainty
