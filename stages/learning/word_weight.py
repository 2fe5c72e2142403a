"""How much word vectors count beside n-grams: the weight under which labels are foretold best.

Where they help and how much depends on the texts: for short questions they are worth more than all
n-grams, for abstracts, other languages and log lines little. So each fit of logistic regression
asks the labels that it learns from, and no others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.contract.arrays import Floats, Ints, Matrix, evenly_spaced

WEIGHTS = (0.0, 0.3, 1.0, 3.0, 10.0)  # mean squared length of word vectors; that of n-grams is 1
USUAL = 1  # position of the weight that is taken unless another is surely better: it harms least
RIDGES = (
    0.03,
    0.1,
    0.3,
    1.0,
    3.0,
    10.0,
    30.0,
)  # penalties, in units of the rows' mean squared length
ERRORS = 1.0  # standard errors behind the best that are no difference (benchmarks/words.py)
SHARPNESS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # what scores are multiplied by in the softmax
FEWEST = 20  # distinct rows that can tell
MOST = 400  # rows that are asked: five decompositions of so many take two tenths of a second


def word_weight(rows: Matrix, labels: Ints, word_columns: int) -> float:
    """The weight of the first columns, one of WEIGHTS: the usual one where labels cannot tell.

    rows: (n, p) CSR; labels: (n,).
    """
    likelihoods = likelihoods_by_weight(rows, labels, word_columns)
    if likelihoods is None:
        return WEIGHTS[USUAL]
    return WEIGHTS[chosen(likelihoods)]


def likelihoods_by_weight(rows: Matrix, labels: Ints, word_columns: int) -> Floats | None:
    """Log likelihood of each held-out label under each weight, (weights, m); None for too few rows.

    m: the distinct ones of at most MOST rows, evenly spaced.
    """
    asked = evenly_spaced(len(labels), MOST)
    words = rows[asked, :word_columns].toarray().astype(np.float64)
    others = rows[asked, word_columns:]
    by_words = words @ words.T
    by_others = (others @ others.T).toarray().astype(np.float64)
    return likelihoods_of(by_words, by_others, labels[asked], WEIGHTS)


def likelihoods_of(
    by_some: Floats, by_others: Floats, labels: Ints, weights: Sequence[float]
) -> Floats | None:
    """Log likelihood of each held-out label under each weight of some columns, (weights, m).

    by_some, by_others: (n, n) inner products of n rows by those columns and by all others; labels:
    (n,). m: the distinct rows. None for fewer than FEWEST of them, or of one class.
    """
    # A copy of a row, as in a bootstrap sample, would give the held-out label away.
    distinct = np.unique(by_some + by_others, axis=0, return_index=True)[1]
    classes = labels[distinct]
    if len(distinct) < FEWEST or len(np.unique(classes)) < 2:
        return None
    pairs = np.ix_(distinct, distinct)
    likelihoods = [
        held_out_likelihood(by_others[pairs] + weight * by_some[pairs], classes)
        for weight in weights
    ]
    return np.array(likelihoods)


def chosen(likelihoods: Floats, errors: float = ERRORS) -> int:
    """The position of the weight to take. likelihoods: (weights, n), of each row's label, as logs.

    Of the weights that are within so many standard errors of the best, the one nearest to the usual
    one wins, the greater of two. Source: Breiman et al., "Classification and regression trees"
    (1984).
    """
    best = likelihoods[likelihoods.mean(axis=1).argmax()]
    behind = best - likelihoods
    error = behind.std(axis=1, ddof=1) / np.sqrt(likelihoods.shape[1])
    close = np.flatnonzero(behind.mean(axis=1) <= errors * error)
    return int(min(close, key=lambda position: (abs(position - USUAL), -position)))


def held_out_likelihood(gram: Floats, classes: Ints) -> Floats:
    """(n,) log likelihood of each label by a model of all other rows, at the best penalty.

    gram: (n, n) inner products of rows; classes: (n,). The model is ridge regression on indicators
    of the classes, which leaves out a row without another fit; a softmax, as sharp as suits best,
    makes probabilities of its scores and the classes' shares.
    Source: Allen, "The relationship between variable selection and data augmentation and a method
    for prediction" (1974), for the error of a row that is left out.
    """
    from scipy.special import logsumexp

    own = np.unique(classes, return_inverse=True)[1]
    indicators = np.eye(own.max() + 1)[own]
    shares = indicators.mean(axis=0)
    values, vectors = np.linalg.eigh(gram * (len(gram) / np.trace(gram)))
    turned = vectors.T @ (indicators - shares)
    likelihoods = []
    for ridge in RIDGES:
        inverse = 1 / (np.maximum(values, 0) + ridge)
        errors = (vectors @ (inverse[:, None] * turned)) / (vectors**2 @ inverse)[:, None]
        scores = indicators - shares - errors
        for sharpness in SHARPNESS:
            logits = sharpness * scores + np.log(shares)
            chances = logits - logsumexp(logits, axis=1, keepdims=True)
            likelihoods.append(chances[np.arange(len(own)), own])
    return max(likelihoods, key=np.mean)


def weighed(rows: Matrix, word_columns: int, weight: float) -> Matrix:
    """The rows with the first columns multiplied by the root of the weight."""
    import scipy.sparse as sp

    factor = np.where(rows.indices < word_columns, np.float32(np.sqrt(weight)), np.float32(1))
    return sp.csr_matrix((rows.data * factor, rows.indices, rows.indptr), shape=rows.shape)
