"""The pool that is to be finished, as one table or in parts: its rows block by block.

A pool in parts is read part by part, so memory holds one block of features, whatever the pool's
size, and of each row only what is said of it (stages/proof/opinions.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from stages.contract.arrays import Ints, Rows
from stages.contract.identity import order_keys
from stages.contract.progress import blocks, watched
from stages.proof.opinions import Block
from stages.store.index import Features
from stages.store.parts import Part, Pool

BLOCK = 16_384  # rows of a part that are scored at a time


class FinishablePool(Protocol):
    """What finishing asks of a pool. Its rows are numbers in [0, size)."""

    @property
    def size(self) -> int:
        """How many rows there are, copies included."""

    @property
    def distinct(self) -> Rows:
        """The rows that stand for their content and are not in seed or test, ascending."""

    def row_of(self, ids: Iterable[str]) -> dict[str, int]:
        """The distinct row with the content of each id; ids without one are left out."""

    def blocks(self) -> Iterator[Block]:
        """The distinct rows with their features."""

    def with_copies(self, rows: Rows) -> Ints:
        """(size,) for each row the one of `rows` with its content, -1 for none."""

    def ids(self, rows: Rows) -> list[str]:
        """The ids of ascending rows."""


@dataclass(frozen=True)
class WholePool:
    """A pool that is one table."""

    features: Features
    seed: int

    @property
    def size(self) -> int:
        """How many rows there are, copies included."""
        return self.features.index.split.count("pool")

    @cached_property
    def distinct(self) -> Rows:
        """The rows that stand for their content; the pool's rows are the first of the index."""
        return np.flatnonzero(self.features.index.askable)

    def row_of(self, ids: Iterable[str]) -> dict[str, int]:
        """The distinct row with the content of each id; ids without one are left out."""
        index = self.features.index
        first = {index.sha[row]: row for row in self.distinct.tolist()}
        shas = {item: index.sha[index.row_of[item]] for item in ids if item in index.row_of}
        return {item: first[sha] for item, sha in shas.items() if sha in first}

    def blocks(self) -> Iterator[Block]:
        """The distinct rows with their features."""
        for part in blocks("rows", len(self.distinct)):
            rows = self.distinct[part]
            yield Block(
                rows,
                order_keys(self.seed, self.ids(rows)),
                self.features.matrix[rows],
                np.asarray(self.features.geometry[rows]),
            )

    def with_copies(self, rows: Rows) -> Ints:
        """(size,) for each row the one of `rows` with its content, -1 for none."""
        index = self.features.index
        first = {index.sha[row]: row for row in rows.tolist()}
        return np.array([first.get(sha, -1) for sha in index.sha[: self.size]], dtype=np.intp)

    def ids(self, rows: Rows) -> list[str]:
        """The ids of some rows."""
        return [self.features.index.ids[row] for row in rows.tolist()]


@dataclass(frozen=True)
class PartedPool:
    """A pool in parts."""

    pool: Pool

    @property
    def size(self) -> int:
        """How many rows there are, copies included."""
        return self.pool.rows

    @cached_property
    def distinct(self) -> Rows:
        """The rows that stand for their content and are not in seed or test, ascending."""
        free = np.ones(self.size, dtype=np.bool_)
        free[self.pool.blocked] = False
        return np.flatnonzero(free)

    @cached_property
    def _copies(self) -> dict[int, list[int]]:
        """A row that stands for its content -> the other rows with that content."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.pool.folder / "copies.parquet")
        alike: dict[str, list[int]] = {}
        for sha, row in zip(
            table.column("sha").to_pylist(), table.column("row").to_pylist(), strict=True
        ):
            alike.setdefault(sha, []).append(row)
        groups = {}
        for rows in alike.values():
            blocked = np.isin(rows, self.pool.blocked)
            for row, out in zip(rows, blocked.tolist(), strict=True):
                if not out:
                    groups[row] = [other for other in rows if other != row]
        return groups

    def row_of(self, ids: Iterable[str]) -> dict[str, int]:
        """The distinct row with the content of each id; ids without one are left out."""
        rows = self.pool.locate(ids)
        first = {other: row for row, others in self._copies.items() for other in others}
        blocked = np.isin(rows, self.pool.blocked).tolist()
        row_of = {}
        for item, row, out in zip(self.pool.ids(rows), rows.tolist(), blocked, strict=True):
            if not out:
                row_of[item] = row
            elif row in first:
                row_of[item] = first[row]
        return row_of

    def blocks(self) -> Iterator[Block]:
        """The distinct rows with their features, part by part."""
        for part in watched("parts", self.pool.parts, "part"):
            yield from self._blocks_of(part)

    def _blocks_of(self, part: Part) -> Iterator[Block]:
        fitted = self.pool.fitted
        free = np.ones(part.rows, dtype=np.bool_)
        free[part.within(self.pool.blocked)] = False
        keys = np.empty(part.rows, dtype=np.uint64)
        keys[part.order] = part.keys
        rows = np.flatnonzero(free)
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            matrix, geometry = fitted.space.both(fitted.features(part.raw[some]))
            yield Block(part.start + some, keys[some], matrix, geometry)

    def with_copies(self, rows: Rows) -> Ints:
        """(size,) for each row the one of `rows` with its content, -1 for none."""
        source = np.full(self.size, -1, dtype=np.intp)
        source[rows] = rows
        for row, others in self._copies.items():
            source[others] = source[row]
        return source

    def ids(self, rows: Rows) -> list[str]:
        """The ids of ascending rows."""
        return self.pool.ids(rows)
