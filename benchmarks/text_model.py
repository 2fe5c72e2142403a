"""What the classifier of text should see, and how it should weigh classes: accuracy by labels drawn
at random.

    python -m benchmarks.text_model --seeds 5

Logistic regression on word and character n-grams (TF-IDF), on the directions of the pool's
truncated SVD, and on both side by side as featurize makes them; classes as they come, and balanced
(`class_weight`). Every variant learns the same labels of a seed and predicts the same rows, up to
3,000 others. The SVD sees the texts of all of them, as it sees the pool of a project, and no label.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from rounds.shipped import shipped_params
from stages.contract.arrays import Matrix
from stages.contract.params import Learner
from stages.features.whole import text_features
from stages.learning.classifier import fit
from stages.store.space import fit_space

DATA = Path(os.environ.get("LABELROUNDS_DATA", "../shared/data"))
SETS = {
    "sms_spam": "sms_spam/all.csv",
    "langid": "langid/train.csv",
    "banking77": "banking77/train.csv",
}
SIZES = (50, 100, 200, 400, 1000)
TESTED = 3000
Scores = dict[tuple[str, int], list[tuple[float, float]]]


def variants(texts: list[str]) -> Iterator[tuple[str, Matrix]]:
    """Names and features of all texts, the directions scaled as they stand beside the n-grams."""
    options = shipped_params().features.text
    grams = text_features(texts, slice(None), options)
    space = fit_space(grams, 128, 0, unit_rows=True, beside=options.directions)
    yield "n-grams", grams
    yield "directions", (space.beside * space.projected(grams)).astype(np.float32)
    yield "both", space.widened(grams)


def measured(name: str, seeds: int, strength: float) -> Scores:
    """Accuracy and macro-F1 of every variant, number of labels and seed."""
    from sklearn.metrics import f1_score

    with (DATA / SETS[name]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    truth = np.unique([row["label"] for row in rows], return_inverse=True)[1]
    scores: Scores = {}
    for features, matrix in variants([row["text"] for row in rows]):
        for weight in (None, "balanced"):
            params = {"C": strength, "max_iter": 1000, "class_weight": weight}
            spec = Learner(path="sklearn.linear_model.LogisticRegression", params=params)
            for size in SIZES:
                for seed in range(seeds):
                    order = np.random.default_rng(seed).permutation(len(truth))
                    taught, others = order[:size], order[max(SIZES) : max(SIZES) + TESTED]
                    model = fit(spec, matrix[taught], truth[taught], int(truth.max()) + 1, 0)
                    predicted = model.scores(matrix[others]).argmax(axis=1)
                    f1 = float(f1_score(truth[others], predicted, average="macro"))
                    variant = features + (", balanced" if weight else "")
                    scores.setdefault((variant, size), []).append(
                        (float((predicted == truth[others]).mean()), f1)
                    )
    return scores


def shown(name: str, scores: Scores, measure: int) -> list[str]:
    """A Markdown table: means over the seeds, and beside the first variant the paired gain with its
    standard error.
    """
    first = next(variant for variant, _ in scores)
    lines = [f"| {name} | " + " | ".join(map(str, SIZES)) + " |", "|---|" + "---|" * len(SIZES)]
    for variant in dict.fromkeys(variant for variant, _ in scores):
        cells = []
        for size in SIZES:
            values: NDArray[np.float64] = np.array(scores[variant, size])[:, measure]
            gain = values - np.array(scores[first, size])[:, measure]
            error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
            gain_text = (
                "" if variant == first else f" ({100 * gain.mean():+.1f} ± {100 * error:.1f})"
            )
            cells.append(f"{values.mean():.3f}{gain_text}")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return lines


@click.command(help=__doc__)
@click.option("--sets", default=",".join(SETS), show_default=True)
@click.option("--seeds", default=5, show_default=True)
@click.option("--strength", default=10.0, show_default=True, help="C of logistic regression.")
def main(sets: str, seeds: int, strength: float) -> None:
    """Print the tables, accuracy and macro-F1 of each set."""
    for name in sets.split(","):
        scores = measured(name, seeds, strength)
        for measure, value in enumerate(("accuracy", "macro-F1")):
            click.echo("\n".join(shown(f"{name}, {value}", scores, measure)) + "\n")


if __name__ == "__main__":
    main()
