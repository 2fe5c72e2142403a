"""Raw features, which depend on one row alone: written block by block, read memory-mapped.

raw.npy                            dense features, (rows, width); or
raw.csr/data, indices, indptr.npy  the three arrays of a CSR matrix, and
raw.csr/width                      its number of columns; or
raw.link                           the relative path of the user's own .npy file
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np

from stages.contract.arrays import Matrix
from stages.contract.errors import PipelineError

MOST_NONZERO = 2**31 - 1  # in one part: beyond, the indices of CSR take twice the memory


def write_raw(folder: Path, blocks: Iterable[Matrix], rows: int) -> int:
    """The width of the features in `blocks`, after writing them one below the other.

    All blocks are sparse, or none. rows: how many the blocks hold together. Without blocks nothing
    is written, and the width is 0.
    """
    import scipy.sparse as sp

    remaining = iter(blocks)
    first = next(remaining, None)
    if first is None:
        return 0
    width = int(first.shape[1])
    if sp.issparse(first):
        _write_csr(folder, chain([first], remaining), width)
        return width
    array = np.lib.format.open_memmap(
        folder / "raw.npy", mode="w+", dtype=first.dtype, shape=(rows, width)
    )
    start = 0
    for block in chain([first], remaining):
        array[start : start + len(block)] = block
        start += len(block)
    array.flush()
    return width


def _write_csr(folder: Path, blocks: Iterable[Matrix], width: int) -> None:
    csr = folder / "raw.csr"
    csr.mkdir(exist_ok=True)
    row_ends = [np.zeros(1, np.int64)]
    nonzero = 0
    with (csr / "data").open("wb") as data, (csr / "indices").open("wb") as indices:
        for block in blocks:
            np.ascontiguousarray(block.data, np.float32).tofile(data)
            np.ascontiguousarray(block.indices, np.int32).tofile(indices)
            row_ends.append(block.indptr[1:].astype(np.int64) + nonzero)
            nonzero += int(block.nnz)
    if nonzero > MOST_NONZERO:
        what = f"{nonzero} nonzero features in one part"
        raise PipelineError(folder, what, "split the part into smaller ones")
    np.save(csr / "indptr.npy", np.concatenate(row_ends).astype(np.int32))
    (csr / "width").write_text(str(width))


def open_raw(folder: Path) -> Matrix:
    """The features that `write_raw` wrote, or the user's own vectors: memory-mapped."""
    link = folder / "raw.link"
    if link.is_file():
        return np.load(folder / link.read_text(), mmap_mode="r", allow_pickle=False)
    if (folder / "raw.csr").is_dir():
        return _open_csr(folder / "raw.csr")
    return np.load(folder / "raw.npy", mmap_mode="r", allow_pickle=False)


def _open_csr(csr: Path) -> Matrix:
    import scipy.sparse as sp

    row_ends = np.load(csr / "indptr.npy", allow_pickle=False)
    width = int((csr / "width").read_text())
    shape = (len(row_ends) - 1, width)
    if not row_ends[-1]:  # an empty file cannot be memory-mapped
        return sp.csr_matrix(shape, dtype=np.float32)
    data = np.memmap(csr / "data", np.float32, "r")
    indices = np.memmap(csr / "indices", np.int32, "r")
    return sp.csr_matrix((data, indices, row_ends), shape=shape, copy=False)


def stacked(blocks: list[Matrix]) -> Matrix:
    """Blocks of rows one below the other, dense or CSR."""
    import scipy.sparse as sp

    if any(sp.issparse(block) for block in blocks):
        return sp.csr_matrix(sp.vstack(blocks, format="csr"))
    return np.concatenate([np.asarray(block) for block in blocks])
