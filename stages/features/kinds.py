"""What features.kind means for both ways of making features: of whole tables, and of parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.contract.arrays import Matrix
from stages.contract.errors import PipelineError
from stages.contract.params import Features as FeatureParams
from stages.contract.params import Params
from stages.store.space import Space, fit_space


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


def fit_geometry(matrix: Matrix, options: FeatureParams, seed: int) -> Space:
    """The geometry as params set it, learnt from these rows; see stages/store/space.py."""
    return fit_space(
        matrix,
        options.geometry_dims,
        seed,
        unit_rows=options.kind in {"text", "embedding"},
        beside=options.text.directions,
    )
