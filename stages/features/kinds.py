"""What features.kind means for both ways of making features: of whole tables, and of parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.contract.arrays import Matrix
from stages.contract.errors import PipelineError
from stages.contract.params import Features as FeatureParams
from stages.contract.params import Params, TextFeatures
from stages.store.space import Space, fit_space
from stages.store.words import tokens


def reads_text(params: Params) -> bool:
    """Whether features are made of the text column."""
    kind = params.features.kind
    return kind in {"text", "embedding"} or (kind == "custom" and bool(params.data.text))


def in_single_precision(matrix: Matrix) -> Matrix:
    """A transformer's output as a CSR matrix or array of float32."""
    import scipy.sparse as sp

    if sp.issparse(matrix):
        return sp.csr_matrix(matrix, dtype=np.float32)
    return np.asarray(matrix, np.float32)


def load_vectors(path: Path) -> Matrix:
    """The array of a .npy file, memory-mapped. Raises PipelineError where it cannot be read."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        what = f"not a readable .npy array ({error})"
        raise PipelineError(path, what, "write it with numpy.save") from error


def with_tokens(columns: Matrix, texts: list[str], options: TextFeatures) -> Matrix:
    """The n-grams of texts, and behind them the tokens that word vectors are made of, if asked."""
    import scipy.sparse as sp

    if options.words == "none":
        return columns
    return sp.csr_matrix(sp.hstack([columns, tokens(texts)], format="csr"))


def fit_geometry(matrix: Matrix, options: FeatureParams, seed: int) -> Space:
    """The geometry as params set it, learnt from these rows; see stages/store/space.py.

    Word vectors have no part in it: distances are those of the n-grams.
    """
    words = options.word_columns
    space = fit_space(
        matrix[:, words:],
        options.geometry_dims,
        seed,
        unit_rows=options.kind in {"text", "embedding"},
        beside=options.text.directions,
    )
    if not (words and space.basis.size):
        return space
    nothing = np.zeros((words, space.basis.shape[1]), space.basis.dtype)
    return replace(space, basis=np.vstack([nothing, space.basis]))
