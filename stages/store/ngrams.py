"""Hashed n-grams: features of text without a vocabulary, so each part of a pool stands alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Matrix
from stages.contract.errors import PipelineError
from stages.contract.params import TextFeatures
from stages.contract.progress import watched

ANALYZERS = ("word", "char_wb")  # scikit-learn's names of words, and of characters within words
WORDS = r"(?u)\b\w+\b"  # scikit-learn's own pattern leaves out words of one character


def ngrams_of(options: TextFeatures, analyzer: str) -> tuple[int, int]:
    """The shortest and the longest n-gram of a kind; (0, 0) for none."""
    return options.word_ngrams if analyzer == "word" else options.char_ngrams


def hashed(texts: list[str], options: TextFeatures) -> Matrix:
    """1 + ln(count) of every n-gram, hashed into `options.hashing` columns a kind; CSR float32.

    Source: Weinberger et al., "Feature hashing for large scale multitask learning" (2009), without
    the signs, so that columns can be weighted by how rare they are.
    """
    import scipy.sparse as sp

    kinds = [analyzer for analyzer in ANALYZERS if ngrams_of(options, analyzer) != (0, 0)]
    if not kinds:
        what = "both ranges of n-grams are [0, 0]"
        raise PipelineError("params.yaml features.text", what, "use one of them")
    blocks = [_hashed_counts(texts, options, analyzer) for analyzer in kinds]
    return sp.csr_matrix(sp.hstack(blocks, format="csr", dtype=np.float32))


def _hashed_counts(texts: list[str], options: TextFeatures, analyzer: str) -> Matrix:
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        analyzer=analyzer,
        ngram_range=ngrams_of(options, analyzer),
        token_pattern=WORDS if analyzer == "word" else None,
        n_features=options.hashing,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
    counts = vectorizer.transform(watched(f"{analyzer} n-grams", texts, "text"))
    counts.data = 1 + np.log(counts.data)
    return counts


def rarity(matrix: Matrix) -> NDArray[np.float32]:
    """Each column's weight as in TF-IDF, (n, p) -> (p,): ln((1 + n) / (1 + rows with it)) + 1."""
    rows_with = np.bincount(matrix.indices, minlength=matrix.shape[1])
    return np.asarray(np.log((1 + matrix.shape[0]) / (1 + rows_with)) + 1, dtype=np.float32)


def weighted(raw: Matrix, weights: NDArray[np.float32]) -> Matrix:
    """The rows with weighted columns, scaled to unit length; a row without features stays 0."""
    import scipy.sparse as sp
    from sklearn.preprocessing import normalize

    data = raw.data * weights[raw.indices]
    rows = sp.csr_matrix((data, raw.indices, raw.indptr), shape=raw.shape)
    return normalize(rows, copy=False) if rows.shape[0] else rows
