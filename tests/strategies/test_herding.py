"""Herding makes the picks that its formula says, written down again the slow way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import Make

from stages.learning.scoring import margin_of
from stages.strategies.herding import TINY, cover, coverage, max_herding, uncertainty_herding


def by_the_book(
    points: np.ndarray, labelled: np.ndarray, mass: np.ndarray, n: float, count: int
) -> tuple[list[int], list[float]]:
    """The greedy picks on all rows, and the mass that each newly covers."""
    gaps = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    neighbour = round((n + len(labelled)) / (len(labelled) + count) * len(points) / n)
    radius = np.maximum(np.sort(gaps, axis=1)[:, min(max(neighbour, 1), len(points) - 1)], TINY)
    covers = np.exp(-gaps / radius[:, None])
    known = np.exp(-((points[:, None] - labelled[None]) ** 2).sum(axis=2) / radius[:, None])
    covered = known.max(axis=1, initial=0)
    picks: list[int] = []
    gains: list[float] = []
    for _ in range(count):
        gain = (mass[:, None] * np.maximum(covers - covered[:, None], 0)).sum(axis=0)
        gain[picks] = -1
        picks.append(int(gain.argmax()))
        gains.append(float(gain[picks[-1]]))
        covered = np.maximum(covered, covers[:, picks[-1]])
    return picks, gains


@pytest.mark.parametrize(("m", "count"), [(0, 1), (0, 12), (12, 5), (40, 20)])
@pytest.mark.parametrize("stands", [False, True])
def test_the_picks_and_shares_are_those_of_the_formula(
    m: int, count: int, stands: bool, make: Make
) -> None:
    shares = np.random.default_rng(m).lognormal(3, 1, 120) if stands else None
    candidates = replace(
        make(m=m, draw=m + count), stands_for=shares, class_weights=np.array([1.5, 1.0, 0.5])
    )
    stood = np.ones(120) if shares is None else shares
    doubt = (
        margin_of(candidates.probabilities)
        * (candidates.probabilities @ candidates.class_weights)
        * stood
    )
    points, labelled = (
        candidates.geometry.astype(np.float64),
        candidates.labelled.astype(np.float64),
    )
    for rank, mass in ((max_herding, stood), (uncertainty_herding, doubt)):
        picks, gains = by_the_book(points, labelled, mass / mass.sum(), stood.sum(), count)
        ranking = rank(candidates, count)
        assert ranking.positions.tolist() == picks
        assert np.allclose(ranking.scores, gains, atol=1e-4)


def test_coverage_of_three_points_by_hand() -> None:
    points = np.array([[0], [1], [3]], np.float32)
    covers, covered = coverage(
        points, points[:1], 3, 1
    )  # a label stands for (3 + 1) / (1 + 1) = 2 rows
    assert np.allclose(
        covers, np.exp([[0, -1 / 9, -1], [-1 / 4, 0, -1], [-1, -4 / 9, 0]]), atol=1e-6
    )
    assert np.allclose(covered, np.exp([0, -1 / 4, -1]), atol=1e-6)
    covers, covered = coverage(points, points[:0], 3, 3)  # ... for 3 / 3 = 1 row
    assert np.allclose(covers, np.exp([[0, -1, -9], [-1, 0, -4], [-9 / 4, -1, 0]]), atol=1e-6)
    assert covered.tolist() == [0, 0, 0]


def test_what_is_covered_already_is_worth_nothing(make: Make) -> None:
    candidates = make(n=6, m=6, d=3)
    positions, scores = cover(replace(candidates, labelled=candidates.geometry), np.ones(6), 6, 10)
    assert sorted(positions.tolist()) == list(range(6))
    assert scores.tolist() == [0] * 6
