"""The clusters and distances that strategies stand on, on points laid out by hand."""

from __future__ import annotations

import numpy as np

from stages.strategies._geometry import kmeans, nearest, spread, squared_distances, typicality

CORNERS = np.array([[0, 0], [0, 4], [4, 0], [4, 4]], np.float32)


def test_squared_distances_of_a_square_are_its_sides_and_diagonals() -> None:
    assert squared_distances(CORNERS, CORNERS)[0].tolist() == [0, 16, 16, 32]


def test_the_nearest_of_equals_is_the_first() -> None:
    index, distance = nearest(np.array([[2, 2]], np.float32), CORNERS)
    assert index.tolist() == [0]
    assert distance.tolist() == [8]


def test_without_others_nothing_is_near() -> None:
    assert np.isinf(nearest(CORNERS, CORNERS[:0])[1]).all()


def test_spread_takes_a_point_once_and_stops_when_nothing_differs() -> None:
    points = np.repeat(CORNERS, 3, axis=0)
    chosen = spread(points, 10, np.ones(12), np.random.default_rng(0))
    assert sorted((chosen // 3).tolist()) == [0, 1, 2, 3]


def test_spread_never_draws_what_weighs_nothing() -> None:
    points = np.array([[0], [1], [100]], np.float32)
    draws = [
        spread(points, 2, np.array([1.0, 1.0, 0.0]), np.random.default_rng(seed)).tolist()
        for seed in range(20)
    ]
    assert {tuple(sorted(draw)) for draw in draws} == {(0, 1)}


def test_kmeans_finds_four_tight_groups_and_their_means() -> None:
    points = np.concatenate([CORNERS, CORNERS + np.float32(0.5)])
    centres, owner = kmeans(points, 4, np.ones(8), seed=0)
    assert sorted(centres.tolist()) == sorted((CORNERS + 0.25).tolist())
    assert owner[:4].tolist() == owner[4:].tolist()


def test_a_weight_pulls_its_centre() -> None:
    points = np.array([[0.0], [1.0]], np.float32)
    centres, _ = kmeans(points, 1, np.array([3.0, 1.0]), seed=0)
    assert centres.tolist() == [[0.25]]


def test_typicality_is_one_over_the_mean_distance_to_the_neighbours() -> None:
    values = typicality(np.array([[0.0], [1.0], [3.0]], np.float32), neighbours=2)
    assert np.allclose(values, [1 / 2, 1 / 1.5, 1 / 2.5], atol=1e-4)


def test_a_point_alone_is_not_typical_of_anything() -> None:
    assert typicality(CORNERS[:1]).tolist() == [0]
