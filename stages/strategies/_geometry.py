"""Distances, neighbours and clusters of the geometry: seeded, exact where cheap, bounded in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats

Points = NDArray[np.float32]
CELLS = 1 << 24  # distances held at a time (64 MB as float32)


def squared_norms(points: Points) -> Points:
    """(n,) squared length of each row."""
    return np.asarray(np.einsum("ij,ij->i", points, points))


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` such that a block of rows x columns holds at most CELLS cells."""
    step = max(1, CELLS // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def squared_distances(points: Points, others: Points) -> Points:
    """(n, m) squared Euclidean distances, never below 0."""
    gaps = points @ others.T
    gaps *= -2
    gaps += squared_norms(points)[:, None]
    gaps += squared_norms(others)[None, :]
    np.maximum(gaps, 0, out=gaps)
    return np.asarray(gaps)


def nearest(points: Points, others: Points) -> tuple[NDArray[np.intp], Points]:
    """For each point the index of its nearest other (the first of equals) and the squared distance to it."""
    index = np.zeros(len(points), np.intp)
    distance = np.full(len(points), np.inf, np.float32)
    if len(others):
        for block in blocks(len(points), len(others)):
            gaps = squared_distances(points[block], others)
            index[block] = gaps.argmin(axis=1)
            distance[block] = gaps[np.arange(len(gaps)), index[block]]
    return index, distance


def spread(
    points: Points, count: int, weights: Floats, rng: np.random.Generator
) -> NDArray[np.intp]:
    """`count` rows drawn one by one with probability proportional to weight x squared distance to those drawn.

    Fewer only where fewer points differ. Source: Arthur, Vassilvitskii, "k-means++" (2007).
    """
    norms = squared_norms(points)
    distance = np.full(len(points), np.inf)
    chosen: list[int] = []
    mass = weights
    while len(chosen) < count:
        total = np.cumsum(mass)
        if total[-1] <= 0:
            break
        row = int(
            np.searchsorted(total, rng.random() * total[-1], side="right").clip(0, len(points) - 1)
        )
        chosen.append(row)
        gaps = norms + norms[row] - 2 * (points @ points[row])
        distance = np.minimum(distance, np.maximum(gaps, 0))
        distance[row] = 0
        mass = weights * distance
    return np.array(chosen, np.intp)


def kmeans(
    points: Points, count: int, weights: Floats, seed: int, iterations: int = 10
) -> tuple[Points, NDArray[np.intp]]:
    """Centres (c, d) and the centre of each point (n,), c <= count, by weighted Lloyd iterations.

    Starts from a weighted k-means++ draw; a centre that loses all its points stays where it was.
    Sums are float64, so the order of rows matters only through the draw.
    """
    rng = np.random.default_rng(seed)
    centres = points[spread(points, count, weights, rng)]
    owner = nearest(points, centres)[0]
    for _ in range(iterations):
        mass = np.bincount(owner, weights, len(centres))
        sums = np.empty(centres.shape)
        for dim in range(points.shape[1]):
            sums[:, dim] = np.bincount(owner, weights * points[:, dim], len(centres))
        moved = np.where(
            mass[:, None] > 0, sums / np.maximum(mass, 1e-300)[:, None], centres
        ).astype(np.float32)
        before, centres = owner, moved
        owner = nearest(points, centres)[0]
        if (owner == before).all():
            break
    return centres, owner


def typicality(points: Points, neighbours: int = 20) -> Floats:
    """(n,) one over the mean distance to the nearest `neighbours` rows among the points themselves.

    Alone, a point has typicality 0. Source: Hacohen, Dekel, Weinshall, "Active learning on a
    budget" (2022).
    """
    near = min(neighbours, len(points) - 1)
    if near < 1:
        return np.zeros(len(points))
    mean = np.empty(len(points))
    for block in blocks(len(points), len(points)):
        gaps = squared_distances(points[block], points)
        gaps[np.arange(len(gaps)), np.arange(block.start, block.stop)] = (
            np.inf
        )  # not its own neighbour
        mean[block] = np.sqrt(np.partition(gaps, near - 1, axis=1)[:, :near]).mean(
            axis=1, dtype=np.float64
        )
    return np.asarray(1 / (mean + 1e-5))
