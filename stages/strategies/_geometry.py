"""Neighbours and clusters of the geometry: seeded, and bounded in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats
from stages.contract.distances import squared_distances

Points = NDArray[np.float32]
CELLS = 1 << 24  # distances held at a time (64 MB as float32)
ITERATIONS = 10  # of k-means: clusters only have to be rough regions


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` such that a block of rows x columns holds at most CELLS cells."""
    step = max(1, CELLS // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def nearest(points: Points, others: Points) -> tuple[NDArray[np.intp], Points]:
    """For each point the index of its nearest other, and the squared distance to it.

    Of equally near ones the first; distance inf where there are no others.
    """
    index = np.zeros(len(points), np.intp)
    distance = np.full(len(points), np.inf, np.float32)
    if len(others):
        for block in blocks(len(points), len(others)):
            distances = squared_distances(points[block], others)
            index[block] = distances.argmin(axis=1)
            distance[block] = distances[np.arange(len(distances)), index[block]]
    return index, distance


def clustered(
    points: Points, count: int, weights: Floats, seed: int
) -> tuple[Points, NDArray[np.intp]]:
    """Centres (c, d) of a weighted k-means and the centre of each point (n,), c <= count.

    With fewer distinct points than centres some centres are equal, and only one of them has points.
    """
    from sklearn.cluster import KMeans, kmeans_plusplus
    from sklearn.exceptions import ConvergenceWarning

    count = min(count, len(points))
    random = np.random.RandomState(seed % 2**32)
    # one trial a centre: the default of 2 + ln(count) trials is as many times the cost
    start, _ = kmeans_plusplus(
        points, count, sample_weight=weights, random_state=random, n_local_trials=1
    )
    kmeans = KMeans(count, init=start, n_init=1, max_iter=ITERATIONS, random_state=random)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans.fit(points, sample_weight=weights)
    return kmeans.cluster_centers_, kmeans.labels_.astype(np.intp)


def typicality(points: Points, neighbours: int = 20) -> Floats:
    """(n,) one over the mean distance to the nearest `neighbours` rows among the points themselves.

    A point alone has typicality 0. Source: Hacohen, Dekel, Weinshall, "Active learning on a
    budget" (2022).
    """
    from sklearn.neighbors import NearestNeighbors

    near = min(neighbours, len(points) - 1)
    if near < 1:
        return np.zeros(len(points))
    # without an argument, kneighbors leaves each row out of its own neighbours
    search = NearestNeighbors(n_neighbors=near, algorithm="brute").fit(points)
    distances = search.kneighbors()[0].mean(axis=1, dtype=np.float64)
    return np.asarray(1 / (distances + 1e-5))
