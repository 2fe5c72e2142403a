"""A lone witness of many labels, and features that do not determine the class."""

from __future__ import annotations

import numpy as np
import pytest

from rounds.init import MODEL
from rounds.shipped import shipped_params
from stages.contract.params import Params
from stages.quality.error_model import estimate_errors
from stages.quality.judgement import LabelledRows, judge
from stages.quality.noise import contradicted_parts, with_mean
from stages.quality.witnesses import pooled
from tests.quality.test_quality import blobs


def numeric() -> Params:
    """The params of a new project of numbers, with two classes."""
    model = {"path": "sklearn.linear_model.LogisticRegression", "params": MODEL["numeric"]}
    return shipped_params({"labels": ["0", "1"], "model": model, "features": {"kind": "numeric"}})


def outcomes(seed: int, mistakes: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """500 rows whose class is drawn with a chance that their numbers say, and labels of these."""
    draw = np.random.default_rng(seed)
    points = draw.normal(size=(500, 6))
    chance = 1 / (1 + np.exp(-1.2 * points @ np.array([1, 1, 0.5, 0, 0, 0])))
    truth = (draw.random(500) < chance).astype(np.intp)
    labels = np.where(draw.random(500) < mistakes, 1 - truth, truth)
    return points.astype(np.float32), truth, labels


def test_outcomes_that_numbers_do_not_determine_are_mostly_not_called_mistakes() -> None:
    """What is read from 500 labels is uncertain: where it is not seen, the usual rule holds."""
    doubted = []
    for seed in range(8):
        points, _, labels = outcomes(seed, 0.0)
        ids = [f"r{row}" for row in range(500)]
        errors = judge(LabelledRows(points, points, labels, ids, ids), numeric()).errors
        if errors.is_outcome:
            doubted.append((errors.probability >= 0.4).mean())
    assert len(doubted) >= 6
    assert max(doubted) <= 0.05


def test_numbers_that_determine_the_class_are_believed_and_so_is_what_people_look_at() -> None:
    points, truth, labels = blobs(300, 2, 0.2)
    ids = [f"r{row}" for row in range(300)]
    errors = judge(LabelledRows(points, points, labels, ids, ids), numeric()).errors
    assert not errors.is_outcome
    assert (errors.probability >= 0.4)[labels != truth].mean() > 0.9
    points, _, labels = outcomes(0, 0.0)
    ids = [f"r{row}" for row in range(500)]
    pictures = numeric().model_copy(update={"features": shipped_params().features})
    assert not judge(LabelledRows(points, points, labels, ids, ids), pictures).errors.is_outcome


def test_a_lone_witness_of_many_labels_finds_which_class_is_mistaken() -> None:
    """4,000 labels, of which a third of one class is called another: structured, 8 % of all."""
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 4, 4000)
    labels = np.where((truth == 2) & (draw.random(4000) < 1 / 3), 3, truth)
    scores = draw.normal(size=(4000, 4))
    scores[np.arange(4000), truth] += 4.5
    found = estimate_errors(pooled([scores], labels), labels, 5)
    flagged = found.probability >= 0.4
    wrong = labels != truth
    assert found.share == pytest.approx(wrong.mean(), abs=0.02)
    assert flagged[wrong].mean() > 0.85
    assert flagged[~wrong & (labels != 3)].mean() < 0.02
    assert (found.suggested[wrong] == 2).mean() > 0.95


def test_a_lone_witness_is_contradicted_at_least_where_it_is_contradicted_least() -> None:
    lead = np.arange(50, 0, -1) / 10
    labels = np.zeros(50, dtype=np.intp)
    labels[[0, 1, 2, 10, 11, 20, 21, 30, 31, 40, 41, 42, 43]] = 1
    parts = contradicted_parts(np.column_stack([lead, np.zeros(50)]), labels)
    assert [int(part.sum()) for part in parts] == [3, 2, 2, 2, 4]


def test_odds_move_alike_until_their_mean_is_the_share() -> None:
    moved = with_mean(np.array([0.0, 0.5, 0.2, 1.0]), 0.5)
    assert moved.mean() == pytest.approx(0.5)
    odds = moved[1:3] / (1 - moved[1:3])
    assert odds[0] / odds[1] == pytest.approx(4.0)
    assert moved[[0, 3]] == pytest.approx([0, 1])
