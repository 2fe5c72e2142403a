"""The clusters and distances that strategies stand on, on points laid out by hand."""

from __future__ import annotations

import numpy as np

from stages.contract.distances import squared_distances
from stages.strategies._geometry import clustered, nearest, typicality

CORNERS = np.array([[0, 0], [0, 4], [4, 0], [4, 4]], np.float32)


def test_squared_distances_of_a_square_are_its_sides_and_diagonals() -> None:
    assert squared_distances(CORNERS, CORNERS)[0].tolist() == [0, 16, 16, 32]


def test_the_nearest_of_equals_is_the_first() -> None:
    index, distance = nearest(np.array([[2, 2]], np.float32), CORNERS)
    assert index.tolist() == [0]
    assert distance.tolist() == [8]


def test_without_others_nothing_is_near() -> None:
    assert np.isinf(nearest(CORNERS, CORNERS[:0])[1]).all()


def test_fewer_distinct_points_than_clusters_give_one_cluster_each() -> None:
    points = np.repeat(CORNERS, 3, axis=0)
    _, cluster = clustered(points, 10, np.ones(12), seed=0)
    assert len(set(cluster.tolist())) == 4
    assert (cluster.reshape(4, 3) == cluster[::3, None]).all()


def test_what_weighs_nothing_is_no_centre() -> None:
    points = np.array([[0], [1], [100]], np.float32)
    for seed in range(20):
        centres, _ = clustered(points, 2, np.array([1.0, 1.0, 0.0]), seed)
        assert sorted(centres.ravel().tolist()) == [0, 1]


def test_clusters_are_four_tight_groups_and_their_centres_the_means() -> None:
    points = np.concatenate([CORNERS, CORNERS + np.float32(0.5)])
    centres, cluster = clustered(points, 4, np.ones(8), seed=0)
    assert sorted(centres.tolist()) == sorted((CORNERS + 0.25).tolist())
    assert cluster[:4].tolist() == cluster[4:].tolist()


def test_a_weight_pulls_its_centre() -> None:
    points = np.array([[0.0], [1.0]], np.float32)
    centres, _ = clustered(points, 1, np.array([3.0, 1.0]), seed=0)
    assert centres.tolist() == [[0.25]]


def test_typicality_is_one_over_the_mean_distance_to_the_neighbours() -> None:
    values = typicality(np.array([[0.0], [1.0], [3.0]], np.float32), neighbours=2)
    assert np.allclose(values, [1 / 2, 1 / 1.5, 1 / 2.5], atol=1e-4)


def test_a_point_alone_is_not_typical_of_anything() -> None:
    assert typicality(CORNERS[:1]).tolist() == [0]
