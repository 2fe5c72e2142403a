"""How sure must a gain be before a map from scores to probabilities is taken? On made logits.

    python -m benchmarks.calibration --draws 200

Logits are normal with deviation 2; the truth is drawn from their softmax; then they are multiplied
by a factor: 1 is honest, 2 and 4 are overconfident, 1/2 is underconfident. 100, 150 or 300 labels
choose and fit the map as `calibrate` does. A map does harm where the expected calibration error
(ECE) of a population of 4,000 rows is over .02 larger with it than without. As the population's
chances are known, its ECE has no noise of drawn labels.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from stages.contract.arrays import Floats, Ints
from stages.contract.identity import stratified_folds
from stages.learning.calibration import CROSS_FIT, FITTERS, cross_fitted, surely_better
from stages.learning.scoring import expected_calibration_error, negative_log_likelihood, softmax

CLASSES = (2, 5, 10)
LABELS = (100, 150, 300)
FACTORS = (1.0, 2.0, 4.0, 0.5)
METHODS = ("none", "temperature", "sigmoid")  # isotonic maps need 1,000 labels
POPULATION = 4_000
SPREAD = 2.0
BINS = 10
HARM = 0.02


@dataclass(frozen=True)
class Draw:
    """Logits (n, k) and classes (n,) of the labels; logits and chances (4,000, k) of all rows."""

    scores: Floats
    truth: Ints
    population: Floats
    chances: Floats


def drawn(number: int, k: int, n: int, factor: float) -> Draw:
    """Draw `number` of n labels of k classes."""
    rng = np.random.default_rng([number, k, n, int(10 * factor)])
    population = SPREAD * rng.normal(size=(POPULATION, k))
    scores = SPREAD * rng.normal(size=(n, k))
    below = softmax(scores).cumsum(axis=1) < rng.random((n, 1))
    truth = np.minimum(below.sum(axis=1), k - 1)
    return Draw(factor * scores, truth, factor * population, softmax(population))


def ece(probabilities: Floats, chances: Floats) -> float:
    """The ECE of a population whose class chances are known: a row is right in part."""
    right = chances[np.arange(len(chances)), probabilities.argmax(axis=1)]
    return expected_calibration_error(probabilities.max(axis=1), right, BINS)


def chosen_and_harm(draw: Draw, errors: list[float]) -> list[tuple[str, float]]:
    """By each number of standard errors: the chosen method, and by how much the ECE grew."""
    ids = [f"id-{row}" for row in range(len(draw.truth))]
    fold = stratified_folds(draw.truth, ids, CROSS_FIT, 0)
    losses = {
        name: negative_log_likelihood(cross_fitted(name, draw.scores, draw.truth, fold), draw.truth)
        for name in METHODS
    }
    chosen = [surely_better(losses, error) for error in errors]
    eces = {
        name: ece(FITTERS[name](draw.scores, draw.truth)(draw.population), draw.chances)
        for name in {"none", *chosen}
    }
    return [(name, eces[name] - eces["none"]) for name in chosen]


def main() -> None:
    """Print a line for each number of standard errors, factor and number of labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--errors", default="1,1.5,1.645,2")
    options = parser.parse_args()
    errors = [float(word) for word in options.errors.split(",")]
    found: dict[tuple[float, float, int, int], list[tuple[str, float]]] = defaultdict(list)
    for number in range(options.draws):
        print(f"\rdraw {number + 1} of {options.draws}", end="", file=sys.stderr, flush=True)
        for factor, n, k in itertools.product(FACTORS, LABELS, CLASSES):
            both = chosen_and_harm(drawn(number, k, n, factor), errors)
            for error, result in zip(errors, both, strict=True):
                found[error, factor, n, k].append(result)
    print(file=sys.stderr)
    print("| errors | logits x | labels | harm % (k = 2, 5, 10) | worst | a map % (k = 2, 5, 10) |")
    print("|---|---|---|---|---|---|")
    for error, factor, n in itertools.product(errors, FACTORS, LABELS):
        cells = [found[error, factor, n, k] for k in CLASSES]
        harm = [f"{100 * np.mean([grown > HARM for _, grown in cell]):.1f}" for cell in cells]
        mapped = [f"{100 * np.mean([name != 'none' for name, _ in cell]):.0f}" for cell in cells]
        worst = max(grown for cell in cells for _, grown in cell)
        cells = f"{', '.join(harm)} | {max(worst, 0):.3f} | {', '.join(mapped)}"
        print(f"| {error:g} | {factor:g} | {n} | {cells} |")


if __name__ == "__main__":
    main()
