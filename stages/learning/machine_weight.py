"""How much a machine's answers count beside the features: as much as held-out labels ask for.

The columns of a machine (stages/machines/columns.py) are the last ones. A good machine is worth
more than all n-grams, a poor one nothing; which it is, the labels that are learnt from say, in each
fit anew, and no others. So a machine is not believed before there are labels that bear it out.
"""

from __future__ import annotations

import numpy as np

from stages.contract.arrays import Floats, Ints, Matrix, evenly_spaced
from stages.learning.word_weight import MOST, likelihoods_of

WEIGHTS = (0.0, 1.0, 3.0, 10.0, 30.0)  # squared length of a sure answer; that of n-grams is 1
ERRORS = 2.0  # standard errors behind the best that are no difference (benchmarks/machines.py)


def machine_weight(rows: Matrix, labels: Ints, machine_columns: int) -> float:
    """The weight of the last columns, one of WEIGHTS; 0 where labels cannot tell.

    rows: (n, p), sparse or dense; labels: (n,).
    """
    likelihoods = machine_likelihoods(rows, labels, machine_columns)
    return 0.0 if likelihoods is None else WEIGHTS[smallest_of_the_best(likelihoods)]


def machine_likelihoods(rows: Matrix, labels: Ints, machine_columns: int) -> Floats | None:
    """Log likelihood of each held-out label under each weight, (weights, m).

    m: the distinct ones of at most MOST rows, evenly spaced. None for too few rows, of one class,
    or without an answer.
    """
    asked = evenly_spaced(len(labels), MOST)
    first = rows.shape[1] - machine_columns
    by_machine = _products(rows[asked][:, first:])
    by_others = _products(rows[asked][:, :first])
    if not by_machine.any():
        return None
    return likelihoods_of(by_machine, by_others, labels[asked], WEIGHTS)


def smallest_of_the_best(likelihoods: Floats, errors: float = ERRORS) -> int:
    """The position of the weight to take: the smallest within so many standard errors of the best.

    likelihoods: (weights, n), of each row's label, as logs.
    """
    behind = likelihoods[likelihoods.mean(axis=1).argmax()] - likelihoods
    error = behind.std(axis=1, ddof=1) / np.sqrt(likelihoods.shape[1])
    return int(np.flatnonzero(behind.mean(axis=1) <= errors * error)[0])


def _products(rows: Matrix) -> Floats:
    """Inner products of rows, (n, n), sparse or dense."""
    import scipy.sparse as sp

    if sp.issparse(rows):
        return np.asarray((rows @ rows.T).toarray(), dtype=np.float64)
    dense = np.asarray(rows, dtype=np.float64)
    return np.asarray(dense @ dense.T)


def machine_weighed(rows: Matrix, machine_columns: int, weight: float) -> Matrix:
    """The rows with the last columns multiplied by the root of the weight."""
    import scipy.sparse as sp

    factor = np.float32(np.sqrt(weight))
    if not sp.issparse(rows):
        scaled = np.array(rows, dtype=np.float32)
        scaled[:, -machine_columns:] *= factor
        return scaled
    first = rows.shape[1] - machine_columns
    factors = np.where(rows.indices >= first, factor, np.float32(1))
    return sp.csr_matrix((rows.data * factors, rows.indices, rows.indptr), shape=rows.shape)
