"""Text through hashed n-grams: features that need no vocabulary, so that every part of a pool is featurized alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Matrix
from stages.contract.errors import PipelineError
from stages.contract.params import TextFeatures
from stages.contract.progress import watched


def hashed(texts: list[str], options: TextFeatures) -> Matrix:
    """1 + ln(count) of every word and character n-gram, each kind hashed into `options.hashing` columns; CSR float32.

    Source: Weinberger et al., "Feature hashing for large scale multitask learning" (2009), without
    the signs, so that columns can be weighted by how rare they are.
    """
    import scipy.sparse as sp
    from sklearn.feature_extraction.text import HashingVectorizer

    blocks = []
    for analyzer, ngrams in (("word", options.word_ngrams), ("char_wb", options.char_ngrams)):
        if ngrams == (0, 0):
            continue
        pattern = r"(?u)\b\w+\b" if analyzer == "word" else None
        vectorizer = HashingVectorizer(
            analyzer=analyzer, ngram_range=ngrams, n_features=options.hashing, token_pattern=pattern,
            alternate_sign=False, norm=None, dtype=np.float32,
        )  # fmt: skip
        counts = vectorizer.transform(watched(f"{analyzer} n-grams", texts, "text"))
        counts.data = 1 + np.log(counts.data)
        blocks.append(counts)
    if not blocks:
        raise PipelineError(
            "params.yaml features.text", "both ranges of n-grams are [0, 0]", "use one of them"
        )
    return sp.csr_matrix(sp.hstack(blocks, format="csr", dtype=np.float32))


def rarity(known: Matrix) -> NDArray[np.float32]:
    """The weight of each column, ln((1 + n) / (1 + rows that have it)) + 1, as in TF-IDF. (n, p) -> (p,)."""
    holders = np.bincount(known.indices, minlength=known.shape[1])
    return np.asarray(np.log((1 + known.shape[0]) / (1 + holders)) + 1, dtype=np.float32)


def weighted(raw: Matrix, weights: NDArray[np.float32]) -> Matrix:
    """The rows with their columns weighted, scaled to unit length (a row without features stays 0)."""
    import scipy.sparse as sp
    from sklearn.preprocessing import normalize

    rows = sp.csr_matrix(
        (raw.data * weights[raw.indices], raw.indices, raw.indptr), shape=raw.shape
    )
    return normalize(rows, copy=False) if rows.shape[0] else rows
