"""The feature store (build/features): what featurize writes and every later stage reads.

    index.parquet    id, sha, split, row: one row for each example, pool, then seed, then test, each
                     sorted by id; `row` is its position in the user's file, counted from 0
    model.npz, .npy  (n, p) CSR or dense: what the classifier sees
    geometry.npy     (n, d) float32: what distances are measured in. The mean squared norm is 1 over
                     pool and seed, so similarity = 1 - squared distance / 2 (cosine, for unit rows)
    fitted.npz, ngrams.parquet, custom.skops
                     what makes the same of rows to come (stages/features/featurizer.py)

Because rows are sorted by id, nothing downstream depends on the order of the user's files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from stages.contract.arrays import Geometry, Mask, Matrix, Rows
from stages.contract.canonical import write_array
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys

Split = Literal["pool", "seed", "test"]
SPLITS: tuple[Split, ...] = ("pool", "seed", "test")


@dataclass(frozen=True)
class Index:
    """Ids, content hashes, splits and file positions of n examples, in the order of the store."""

    ids: list[str]
    sha: list[str]
    split: list[Split]
    row: list[int]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each id."""
        return {item: row for row, item in enumerate(self.ids)}

    def rows(self, split: Split) -> slice:
        """The rows of a split, which follow each other."""
        start = self.split.index(split) if split in self.split else len(self.split)
        return slice(start, start + self.split.count(split))

    def locate(self, items: list[str], where: object) -> Rows:
        """The row of each id, (n,). Raises PipelineError for an id that is in no table any more."""
        unknown = [item for item in items if item not in self.row_of]
        if unknown:
            what = f"id {unknown[0]!r} ({len(unknown)} in all) is in none of pool, seed and test"
            remedy = "put the rows back: an id that was labelled or asked must stay"
            raise PipelineError(where, what, remedy)
        return np.array([self.row_of[item] for item in items], dtype=np.intp)

    @cached_property
    def copies(self) -> dict[str, list[str]]:
        """Content hash -> the pool ids with that content, sorted; the first one stands for all."""
        groups: dict[str, list[str]] = {}
        pool = self.rows("pool")
        for item, sha in zip(self.ids[pool], self.sha[pool], strict=True):
            groups.setdefault(sha, []).append(item)
        return groups

    @cached_property
    def askable(self) -> Mask:
        """(n_pool,) mask of the pool rows that may be asked.

        These are the first of their copies, and their content is not in seed or test.
        """
        others = {sha for sha, split in zip(self.sha, self.split, strict=True) if split != "pool"}
        first = {ids[0] for sha, ids in self.copies.items() if sha not in others}
        pool = self.rows("pool")
        return np.fromiter((item in first for item in self.ids[pool]), dtype=np.bool_)

    def last(self, seed: int, count: int) -> Rows:
        """The last pool rows of the permutation that may be asked: a fixed uniform sample."""
        pool = np.arange(len(self.ids))[self.rows("pool")][self.askable]
        keys = order_keys(seed, [self.ids[row] for row in pool])
        return np.asarray(pool[np.argsort(keys, kind="stable")][-count:], dtype=np.intp)


@dataclass(frozen=True)
class Features:
    """Index, model features (n, p) and geometry (n, d) of all examples, or of those asked for."""

    index: Index
    matrix: Matrix
    geometry: Geometry


def write_index(folder: Path, index: Index) -> None:
    """Write the table of examples."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    columns = {"id": pa.string(), "sha": pa.string(), "split": pa.string(), "row": pa.int64()}
    rows = {"id": index.ids, "sha": index.sha, "split": index.split, "row": index.row}
    pq.write_table(pa.table(rows, schema=pa.schema(columns.items())), folder / "index.parquet")


def write_features(folder: Path, features: Features) -> None:
    """Write the store."""
    import scipy.sparse as sp

    write_index(folder, features.index)
    if sp.issparse(features.matrix):
        sp.save_npz(folder / "model.npz", features.matrix, compressed=False)
    else:
        write_array(folder / "model.npy", features.matrix)
    write_array(folder / "geometry.npy", features.geometry)


def read_index(folder: Path) -> Index:
    """The index of the store; of a pool in parts, that of seed and test."""
    import pyarrow.parquet as pq

    if not (folder / "index.parquet").is_file():
        remedy = "run `dvc repro`, or `dvc pull` after a clone"
        raise PipelineError(folder, "no features here", remedy)
    table = pq.read_table(folder / "index.parquet")
    return Index(*(table.column(name).to_pylist() for name in ("id", "sha", "split", "row")))


def read_model_matrix(folder: Path) -> Matrix:
    """The classifier's features, (n, p): CSR, or dense and memory-mapped."""
    import scipy.sparse as sp

    sparse = folder / "model.npz"
    if sparse.is_file():
        return sp.csr_matrix(sp.load_npz(sparse))
    return np.load(folder / "model.npy", mmap_mode="r")


def read_geometry(folder: Path) -> Geometry:
    """The geometry, (n, d) float32, memory-mapped."""
    geometry: Geometry = np.load(folder / "geometry.npy", mmap_mode="r")
    return geometry
