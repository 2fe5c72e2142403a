"""How much word vectors count beside n-grams: the weight under which labels are foretold best.

Where they help and how much depends on the texts: for short questions they are worth more than all
n-grams, for abstracts, other languages and log lines little. So each fit of logistic regression
asks the labels that it learns from, and no others.
"""

from __future__ import annotations

import numpy as np

from stages.contract.arrays import Floats, Ints, Matrix

WEIGHTS = (0.0, 0.3, 1.0, 3.0, 10.0)  # mean squared length of word vectors; that of n-grams is 1
USUAL = 2  # position of the weight that is taken unless another is surely better
RIDGES = (
    0.03,
    0.1,
    0.3,
    1.0,
    3.0,
    10.0,
    30.0,
)  # penalties, in units of the rows' mean squared length
FEWEST = 20  # distinct rows that can tell
MOST = 300  # rows that are asked: five decompositions of so many take a tenth of a second


def word_weight(rows: Matrix, labels: Ints, word_columns: int) -> float:
    """The weight of the first columns, one of WEIGHTS.

    Of the weights whose likelihood of held-out labels is within one standard error of the best the
    one nearest to the usual one wins, the greater of two. rows: (n, p) CSR; labels: (n,).
    Source of the rule: Breiman et al., "Classification and regression trees" (1984).
    """
    asked = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), MOST)).astype(np.intp))
    words = rows[asked, :word_columns].toarray().astype(np.float64)
    others = rows[asked, word_columns:]
    by_words = words @ words.T
    by_others = (others @ others.T).toarray().astype(np.float64)
    # A copy of a row, as in a bootstrap sample, would give the held-out label away.
    distinct = np.unique(by_words + by_others, axis=0, return_index=True)[1]
    classes = labels[asked][distinct]
    if len(distinct) < FEWEST or len(np.unique(classes)) < 2:
        return WEIGHTS[USUAL]
    pairs = np.ix_(distinct, distinct)
    likelihoods = [
        held_out_likelihood(by_others[pairs] + weight * by_words[pairs], classes)
        for weight in WEIGHTS
    ]
    return WEIGHTS[within_one_error(np.array(likelihoods))]


def within_one_error(likelihoods: Floats) -> int:
    """The position of the weight to take. likelihoods: (weights, n), of each row's label."""
    best = likelihoods[likelihoods.mean(axis=1).argmax()]
    behind = best - likelihoods
    error = behind.std(axis=1, ddof=1) / np.sqrt(likelihoods.shape[1])
    close = np.flatnonzero(behind.mean(axis=1) <= error)
    return int(min(close, key=lambda position: (abs(position - USUAL), -position)))


def held_out_likelihood(gram: Floats, classes: Ints) -> Floats:
    """(n,) log likelihood of each label by a Gaussian process of the other rows, at the best ridge.

    gram: (n, n) inner products of rows. The process foretells the indicators of the classes around
    their means; noise and signal are scaled to the held-out errors. Leaving out a row takes no
    further fit. Source: Rasmussen, Williams, "Gaussian processes for machine learning" (2006),
    section 5.4.2.
    """
    indicators = (classes[:, None] == np.unique(classes)).astype(np.float64)
    indicators -= indicators.mean(axis=0)
    values, vectors = np.linalg.eigh(gram * (len(gram) / np.trace(gram)))
    turned = vectors.T @ indicators
    likelihoods = []
    for ridge in RIDGES:
        inverse = 1 / (np.maximum(values, 0) + ridge)
        variance = 1 / (vectors**2 @ inverse)
        errors = (vectors @ (inverse[:, None] * turned)) * variance[:, None]
        squares = (errors**2).sum(axis=1)
        scale = (squares / variance).mean() / indicators.shape[1]
        entropy = indicators.shape[1] * np.log(scale * variance)
        likelihoods.append(-(entropy + squares / (scale * variance)) / 2)
    return max(likelihoods, key=np.mean)


def weighed(rows: Matrix, word_columns: int, weight: float) -> Matrix:
    """The rows with the first columns multiplied by the root of the weight."""
    import scipy.sparse as sp

    factor = np.where(rows.indices < word_columns, np.float32(np.sqrt(weight)), np.float32(1))
    return sp.csr_matrix((rows.data * factor, rows.indices, rows.indptr), shape=rows.shape)
