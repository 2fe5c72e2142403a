"""Clusters of doubtful rows, and regions of the pool, on points laid out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import Make

from stages.strategies import diversity
from stages.strategies.batches import dbal


def test_doubt_pulls_the_centre_that_dbal_asks_near(make: Make) -> None:
    doubt = np.array([1.0, 0.1, 0.1])  # mean 1, weighted mean 1/4
    candidates = replace(
        make(n=3, m=0, d=1, k=2), geometry=np.array([[0], [1], [2]], np.float32),
        probabilities=np.column_stack([1 - doubt / 2, doubt / 2]),
    )  # fmt: skip
    assert dbal(candidates, 1).positions.tolist() == [0]
    assert dbal(replace(candidates, probabilities=np.full((3, 2), 0.5)), 1).positions.tolist() == [
        1
    ]


def test_typiclust_scores_typicality_and_takes_every_region_once(make: Make) -> None:
    points = np.array(
        [[0], [0], [5], [5]], np.float32
    )  # neighbours at no distance: typicality 1 / 1e-5
    candidates = replace(make(n=4, m=0, d=1), geometry=points)
    ranking = diversity.typiclust(candidates, 2)
    assert np.allclose(ranking.scores, 1e5)
    assert sorted(ranking.positions // 2) == [0, 1]


@pytest.mark.parametrize(("clusters", "wanted"), [(1000, 9), (5, 5), (2, 4)])
def test_regions_are_as_many_as_labels_and_picks_bounded_and_more_than_picks(
    clusters: int, wanted: int, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    true = diversity.clustered

    def clustered(points: np.ndarray, count: int, *rest: object) -> tuple[np.ndarray, np.ndarray]:
        asked.append(count)
        return true(points, count, *rest)

    monkeypatch.setattr(diversity, "clustered", clustered)
    diversity.typiclust(make(m=6), 3, clusters=clusters)
    assert asked == [wanted]
