"""How much word vectors count is decided by the labels of the fit, and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from stages.contract.params import Learner
from stages.learning.classifier import fit
from stages.learning.word_weight import (
    RIDGES,
    SHARPNESS,
    WEIGHTS,
    chosen,
    held_out_likelihood,
    weighed,
    word_weight,
)

WORDS = 4
SPEC = Learner(
    path="sklearn.linear_model.LogisticRegression",
    params={"C": 10.0, "max_iter": 1000},
    word_columns=WORDS,
)


def rows_of(
    told_by_words: float, told_by_others: float, count: int = 120
) -> tuple[sp.csr_matrix, np.ndarray]:
    """Rows of two classes; how far the classes lie apart in the word columns, and in the others."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    words = rng.normal(size=(count, WORDS))
    words[:, 0] += told_by_words * (2 * labels - 1)
    others = rng.normal(size=(count, 60))
    others[:, 0] += told_by_others * (2 * labels - 1)
    rows = np.hstack([words / 2, others / 8]).astype(np.float32)
    return sp.csr_matrix(rows), labels


def test_words_count_much_where_they_tell_the_class_and_little_where_they_do_not() -> None:
    assert word_weight(*rows_of(3, 0), WORDS) >= 3
    assert word_weight(*rows_of(0, 1), WORDS) == 0


def test_labels_too_few_or_of_one_class_leave_the_usual_weight() -> None:
    rows, labels = rows_of(3, 0)
    assert word_weight(rows[:19], labels[:19], WORDS) == 0.3
    assert word_weight(rows, np.zeros(120, np.intp), WORDS) == 0.3


def test_copies_of_a_row_are_one_row() -> None:
    rows, labels = rows_of(0.5, 0.5, 30)
    twice = sp.csr_matrix(sp.vstack([rows, rows, rows]))
    assert word_weight(twice, np.tile(labels, 3), WORDS) == word_weight(rows, labels, WORDS)
    # 15 rows, however often, are too few to tell
    few = sp.csr_matrix(sp.vstack([rows[:15]] * 4))
    assert word_weight(few, np.tile(labels[:15], 4), WORDS) == 0.3


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([0, 0, 0, 0, 0], 0.3),  # nothing tells them apart: the usual weight
        ([5, 0, 0, 0, 0], 0.0),
        ([0, 0, 0, 0, 5], 10.0),
        ([5, 0, 5, 0, 0], 1.0),  # equally near to the usual one: the greater
        ([0, 4.99, 0, 0, 5], 0.3),  # not surely better than the usual one
    ],
)
def test_the_nearest_to_the_usual_weight_within_one_error_of_the_best(
    means: list[float], expected: float
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(scale=0.5, size=(5, 40))
    noise -= noise.mean(axis=1, keepdims=True)
    assert WEIGHTS[chosen(np.array(means)[:, None] + noise)] == expected


def test_the_likelihood_of_a_held_out_label_is_that_of_a_model_without_its_row() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(12, 3))
    gram = points @ points.T
    classes = np.array([0, 2, 5])[np.arange(12) % 3]  # not every class need be seen
    indicators = (classes[:, None] == np.array([0, 2, 5])) - 1 / 3
    scaled = gram * (12 / np.trace(gram))
    means = []
    for ridge in RIDGES:
        scores = []
        for row in range(12):
            rest = np.delete(np.arange(12), row)
            inverse = np.linalg.inv(scaled[np.ix_(rest, rest)] + ridge * np.eye(11))
            scores.append(scaled[row, rest] @ inverse @ indicators[rest])
        for sharpness in SHARPNESS:
            chances = np.exp(sharpness * np.array(scores))
            chances /= chances.sum(axis=1, keepdims=True)
            means.append(np.log(chances[np.arange(12), np.arange(12) % 3]))
    best = max(means, key=np.mean)
    assert held_out_likelihood(gram, classes) == pytest.approx(best)


@pytest.mark.parametrize("strong", [True, False])
def test_the_weight_becomes_part_of_the_coefficients(strong: bool) -> None:
    rows, labels = rows_of(3, 0) if strong else rows_of(0, 1)
    model = fit(SPEC, rows, labels, 2, 0)
    assert model.word_weight == word_weight(rows, labels, WORDS) != 1
    again = weighed(rows, WORDS, model.word_weight)
    plain = fit(SPEC.model_copy(update={"word_columns": 0}), again, labels, 2, 0)
    assert plain.word_weight is None
    assert model.scores(rows) == pytest.approx(plain.scores(again), abs=1e-4)


def test_another_kind_of_classifier_sees_word_vectors_as_they_are() -> None:
    rows, labels = rows_of(0, 3)
    tree = SPEC.model_copy(update={"path": "sklearn.tree.DecisionTreeClassifier", "params": {}})
    assert fit(tree, rows, labels, 2, 0).word_weight is None
