"""The geometry: a dense space of few dimensions that distances between examples are measured in.

For text the classifier sees its directions as well, beside the n-grams: what the unlabelled rows
teach of how words go together is worth more labels than any choice of rows (docs/benchmarks.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Matrix
from stages.contract.progress import Progress, blocks, progress

OTHERS = 200  # rows that many others are multiplied by at a time


@dataclass(frozen=True)
class Space:
    """The map from model features (n, p) to the geometry (n, d).

    basis: (p, d) directions, or empty where features are taken as they are; centre: (d,) what is
    subtracted, or empty; length: what all rows are divided by, 0 for each by its own length.
    beside: what the directions are multiplied by where the classifier sees them beside its
    features, 0 where it does not.
    """

    basis: NDArray[np.floating]
    centre: NDArray[np.floating]
    length: float
    beside: float = 0.0

    def widened(self, matrix: Matrix) -> Matrix:
        """What the classifier sees of some rows: for text, with the d directions as more columns.

        Both are linear in the features, so this is ridge regression whose penalty is lighter in the
        directions in which the pool varies most. Source: Deerwester et al., "Indexing by latent
        semantic analysis" (1990).
        """
        return self._beside(matrix, self._mapped(matrix)) if self.beside else matrix

    def both(self, matrix: Matrix) -> tuple[Matrix, NDArray[np.float32]]:
        """What the classifier sees of some rows, and their geometry, (n, d) float32."""
        import scipy.sparse as sp

        widened = []
        dims = self.basis.shape[1] if self.basis.size else matrix.shape[1]
        geometry = np.empty((matrix.shape[0], dims), np.float32)
        for block in blocks("projection", matrix.shape[0]):
            space = self._mapped(matrix[block])
            length: Any = self.length
            if not length:
                length = np.maximum(np.linalg.norm(space, axis=1, keepdims=True), 1e-12)
            geometry[block] = space / length
            if self.beside:
                widened.append(self._beside(matrix[block], space))
        return sp.vstack(widened, format="csr") if widened else matrix, geometry

    def folded(self, weights: NDArray[np.floating]) -> NDArray[np.floating]:
        """Weights (k, p) that score a row's own features as `weights` (k, p + d) the widened."""
        own = self.basis.shape[0]
        return np.asarray(weights[:, :own] + self.beside * (weights[:, own:] @ self.basis.T))

    def projected(self, matrix: Matrix) -> NDArray[np.floating]:
        """The rows before they are scaled, (n, d)."""
        return np.concatenate(
            [self._mapped(matrix[block]) for block in blocks("projection", matrix.shape[0])]
        )

    def _mapped(self, matrix: Matrix) -> NDArray[np.floating]:
        if isinstance(matrix, np.ndarray):
            matrix = matrix.astype(np.float64)
        space = matrix @ self.basis if self.basis.size else matrix
        space = space if isinstance(space, np.ndarray) else space.toarray().astype(np.float32)
        return space - self.centre if self.centre.size else space

    def _beside(self, matrix: Matrix, space: NDArray[np.floating]) -> Matrix:
        import scipy.sparse as sp

        more = sp.csr_matrix((self.beside * space).astype(np.float32))
        return sp.csr_matrix(sp.hstack([matrix, more], format="csr"))


def fit_space(
    known: Matrix, dims: int, seed: int, *, unit_rows: bool, beside: float = 0.0
) -> Space:
    """The space of distances: truncated SVD of sparse features, PCA of dense ones, or themselves.

    Dense features of at most `dims` columns are taken as they are. Rows become unit vectors for
    text (`unit_rows`), else they are centred and scaled to a mean squared norm of 1 over the
    `known` rows. beside: the mean squared length of sparse unit rows in the directions, which the
    classifier then sees beside their features; 0: it does not, nor does it those of other rows.
    Signs of the components are fixed, so the result is deterministic. Source: Halko, Martinsson,
    Tropp, "Finding structure with randomness" (2011).
    """
    import scipy.sparse as sp

    none = np.empty(0)
    basis: NDArray[np.floating] = none
    limit = min(dims, known.shape[1] - 1, known.shape[0] - 1)
    if sp.issparse(known) and limit >= 2:
        basis = _directions(known, limit, seed)
    elif not sp.issparse(known) and known.shape[1] > dims and limit >= 2:
        basis = _principal(known, limit)
    if unit_rows:
        space = Space(basis, none, 0.0)
        if not (beside and sp.issparse(known) and basis.size):
            return space
        mean = float((space.projected(known) ** 2).sum(axis=1).mean())
        return replace(space, beside=float(np.sqrt(beside / max(mean, 1e-12))))
    rows = Space(basis, none, 1.0).projected(known)
    centre = none if sp.issparse(known) else rows.mean(axis=0)
    squares = ((rows - centre if centre.size else rows) ** 2).sum(axis=1).mean()
    return Space(basis, centre, max(float(np.sqrt(squares)), 1e-12))


def space_of_few(known: Matrix, dims: int, seed: int, beside: float) -> Space:
    """The space of sparse unit rows, as `fit_space` makes it, from the rows' inner products.

    For few rows of very many columns: the decomposition is of (n, n) numbers instead of (n, p).
    Source: Turk, Pentland, "Eigenfaces for recognition" (1991), for the exchange of the two.
    """
    from sklearn.decomposition import TruncatedSVD

    limit = min(dims, known.shape[1] - 1, known.shape[0] - 1)
    none = np.empty(0)
    if limit < 2:
        return Space(none, none, 0.0)
    products = row_products(known, known).astype(np.float64)
    svd = TruncatedSVD(limit, random_state=seed).fit(products)
    lengths = np.sqrt(np.maximum(svd.singular_values_, 1e-12))
    basis = np.asarray(known.T @ (svd.components_.T / lengths).astype(np.float32))
    # the mean squared length of the rows in the directions
    mean = float((lengths**2).sum()) / known.shape[0]
    return Space(basis, none, 0.0, float(np.sqrt(beside / max(mean, 1e-12))))


def row_products(rows: Matrix, others: Matrix) -> NDArray[np.float32]:
    """Inner products of sparse rows with some others, (n, m) float32.

    Columns that most of the others have are multiplied densely.
    """
    columns = others.tocsc()
    full = 2 * np.diff(columns.indptr) > others.shape[0]
    products = rows[:, full].toarray() @ columns[:, full].toarray().T
    used = ~full & (np.diff(columns.indptr) > 0)
    sparse = rows[:, used]
    fewer = columns[:, used].tocsr()
    for start in range(0, others.shape[0], OTHERS):
        some = np.ascontiguousarray(fewer[start : start + OTHERS].toarray().T)
        products[:, start : start + OTHERS] += sparse @ some
    return np.asarray(products, dtype=np.float32)


def _directions(known: Matrix, dims: int, seed: int) -> NDArray[np.floating]:
    """The (p, d) directions of sparse rows, by scikit-learn's truncated SVD with fixed signs."""
    from sklearn.decomposition import TruncatedSVD

    svd = TruncatedSVD(dims, random_state=seed)
    products = 2 * svd.n_iter + 3  # two for a power iteration, the last one, and two projections
    with progress("directions", products) as bar:
        return np.ascontiguousarray(svd.fit(counting(known, bar)).components_.T)


def _principal(known: NDArray[np.floating], dims: int) -> NDArray[np.float64]:
    """The (p, d) principal components of dense rows, the largest entry of each positive.

    From the covariance in double precision, block by block: scikit-learn's PCA makes it in one step
    that cannot say how far it is, and in the rows' own precision (the components of 300,000 x 384
    then differ by 2e-4).
    """
    from scipy.linalg import eigh

    width = known.shape[1]
    mean = known.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((width, width))
    for block in blocks("directions", len(known)):
        rows = known[block] - mean
        covariance += rows.T @ rows
    basis = eigh(covariance, subset_by_index=[width - dims, width - 1])[1][:, ::-1]
    basis *= np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(dims)])
    return np.ascontiguousarray(basis)


def counting(matrix: Matrix, bar: Progress) -> Matrix:
    """The same sparse matrix, sharing its numbers, whose products count as steps of the bar.

    So do those of its transpose: scikit-learn's SVD is a known number of such products, and has no
    other sign of how far it is.
    """
    kind: Any = type(matrix)

    class Counting(kind):  # type: ignore[misc]  # the class is only known at run time
        def __matmul__(self, other: Any) -> Any:
            bar.update()
            return super().__matmul__(other)

        def __rmatmul__(self, other: Any) -> Any:
            bar.update()
            return super().__rmatmul__(other)

        def transpose(self, *args: Any, **options: Any) -> Any:
            return counting(super().transpose(*args, **options), bar)

        T = property(transpose)

    return Counting(matrix)
