"""What a near duplicate is, for the guard of a batch, the gate's checks, and the alarms.

Two rows are near duplicates when all of these hold:
- their similarity, 1 - d^2 / 2 of the geometry, is at least `quality.near_duplicate`;
- they are much closer than rows of this pool usually are: in a space of few dimensions, where
  everything is close to something, only this tells. The guard passes over what is within half the
  usual distance (`reach`), which costs nothing; checks and alarms count what chance does not
  explain (`beyond_chance`), which is never more;
- where the classifier sees sparse features (text), the cosine of these is at least that similarity
  too: texts of which the geometry's few directions know little look alike there, whatever they say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.contract.arrays import Floats, Geometry, Mask, Matrix, Rows
from stages.contract.distances import squared_distances
from stages.store.index import Features, Index

SAMPLE = 1_000
CHANCE = 0.001
COPY = 1e-12  # squared distance that rounding finds between equal rows
CELLS = 1 << 22  # pairs compared at a time
ROUNDING = 1e-6  # what rounding takes from the cosine of a copy


def reach(points: Geometry, threshold: float) -> float:
    """The squared distance within which the guard of a batch takes two rows for near duplicates.

    points: a uniform sample. At most half the median distance to the nearest row that is not the
    same.
    """
    nearest, _ = _apart(points)
    limit = 2 * (1 - threshold)
    return min(limit, float(np.median(nearest)) / 4) if len(nearest) else limit


def beyond_chance(points: Geometry, threshold: float) -> float:
    """The squared distance within which chance brings two rows of the sample once in 1,000 times.

    Among rows spread evenly in m dimensions the nearest one is within c times the median distance
    with probability 1 - 2 ** -(c ** m), about c ** m log 2. m is read off the distances to the
    nearest and the second nearest row, whose ratio's logarithm times m has the median log 2.
    Source: Levina, Bickel, "Maximum likelihood estimation of intrinsic dimension" (2004), by the
    median of two.
    """
    nearest, second = _apart(points)
    if not len(nearest):
        return reach(points, threshold)
    usual = float(np.median(nearest))
    inverse = float(np.median(np.log2(second / nearest))) / 2  # 1 / m; half, as these are squares
    return min(reach(points, threshold), usual * math.pow(CHANCE / math.log(2), 2 * inverse))


@dataclass(frozen=True)
class Near:
    """Which rows of a table of features nearly repeat others.

    matrix, geometry: of all n rows; limit: a squared distance, `beyond_chance`; threshold: the
    least cosine of sparse features.
    """

    matrix: Matrix
    geometry: Geometry
    limit: float
    threshold: float

    def alike(self, left: Rows, right: Rows) -> Mask:
        """(len(left), len(right)): whether each pair are near duplicates; every row is its own."""
        import scipy.sparse as sp
        from sklearn.preprocessing import normalize

        # Double precision tells neighbours in a line apart.
        of_left = self.geometry[left].astype(np.float64)
        of_right = self.geometry[right].astype(np.float64)
        close = squared_distances(of_left, of_right) <= max(self.limit, COPY)
        if close.any() and sp.issparse(self.matrix):
            rows = close.any(axis=1)
            columns = close.any(axis=0)
            features = normalize(self.matrix[left[rows]])
            others = normalize(self.matrix[right[columns]])
            cosines = (features @ others.T).toarray()
            close[np.ix_(rows, columns)] &= cosines >= self.threshold - ROUNDING
        return np.asarray(close)

    def repeats(self, rows: Rows, others: Rows) -> Mask:
        """(len(rows),): whether each row is a near duplicate of any of the others."""
        step = max(1, CELLS // max(1, len(others)))
        parts = [
            self.alike(rows[at : at + step], others).any(axis=1) for at in range(0, len(rows), step)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def features_alike(matrix: Matrix, left: Rows, right: Rows, threshold: float) -> Mask:
    """(n,): whether the features of each pair allow near duplicates; dense ones always do."""
    import scipy.sparse as sp
    from sklearn.preprocessing import normalize

    if not sp.issparse(matrix) or not len(left):
        return np.ones(len(left), np.bool_)
    cosines = normalize(matrix[left]).multiply(normalize(matrix[right])).sum(axis=1)
    return np.asarray(cosines).ravel() >= threshold - ROUNDING


def usual_rows(features: Features, seed: int) -> Geometry:
    """The geometry of a uniform sample of the pool: how close its rows usually are to each other.

    It is the end of the permutation, the same for the guard and for the checks.
    """
    return np.asarray(features.geometry[features.index.last(seed, SAMPLE)])


def near_in(features: Features, seed: int, threshold: float) -> Near:
    """Near duplicates of a store, as the gate's checks and the alarms count them."""
    limit = beyond_chance(usual_rows(features, seed), threshold)
    return Near(features.matrix, features.geometry, limit, threshold)


def _apart(points: Geometry) -> tuple[Floats, Floats]:
    """`_gaps` of the sample's distinct rows; none of fewer than three of them."""
    distinct = np.unique(np.asarray(points[:SAMPLE]), axis=0)
    if len(distinct) < 3:
        return np.empty(0), np.empty(0)
    nearest, second = _gaps(distinct)
    apart = nearest > COPY
    return nearest[apart], second[apart]


def _gaps(points: Geometry) -> tuple[Floats, Floats]:
    """Squared distances of each row to the nearest and second nearest other one; inf for none."""
    double = points.astype(np.float64)
    gaps = np.pad(squared_distances(double, double), ((0, 0), (0, 2)), constant_values=np.inf)
    np.fill_diagonal(gaps, np.inf)
    two_least = np.partition(gaps, 1, axis=1)[:, :2]
    return two_least[:, 0], two_least[:, 1]


def leakage(labelled: list[str], index: Index, near: Near) -> float | None:
    """Share of test rows whose near duplicate has a label; None without test rows or labels."""
    test = index.rows("test")
    if test.start == test.stop or not labelled:
        return None
    rows = index.locate(labelled, "labels")
    return float(near.repeats(np.arange(test.start, test.stop), rows).mean())
