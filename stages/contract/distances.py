"""Squared Euclidean distances between rows, in the precision of the rows."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.float32, np.float64)


def squared_norms(points: NDArray[Number]) -> NDArray[Number]:
    """(n,) squared length of each row."""
    return np.asarray(np.einsum("ij,ij->i", points, points))


def squared_distances(points: NDArray[Number], others: NDArray[Number]) -> NDArray[Number]:
    """(n, m) squared distances, never below 0.

    scikit-learn's `euclidean_distances` computes those of single-precision rows in double
    precision, at twice the cost.
    """
    distances = points @ others.T
    distances *= -2
    distances += squared_norms(points)[:, None]
    distances += squared_norms(others)[None, :]
    return np.asarray(np.maximum(distances, 0, out=distances))


def squared_distances_to(
    point: NDArray[Number], length: Number, points: NDArray[Number], norms: NDArray[Number]
) -> NDArray[Number]:
    """(n,) squared distances of the points to one, never below 0, in one product.

    length: its squared length; norms: (n,) `squared_norms` of the points.
    """
    return np.asarray(np.maximum(norms + length - 2 * (points @ point), 0))
