"""Reading features back: of all examples, or of those that a stage asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np

from stages.contract.arrays import Rows
from stages.contract.params import Compute
from stages.examples.places import list_parts, name_of, rows_of
from stages.examples.tables import Table
from stages.store.index import Features, read_geometry, read_index, read_model_matrix
from stages.store.parts import Pool, indexed, open_pool
from stages.store.raw import open_raw, stacked

T = TypeVar("T")


def gathered(pool: Pool, rows: Rows, compute: Compute) -> Features:
    """The features of some pool rows with their copies, and of all seed and test rows."""
    rows = pool.with_copies(rows)
    index, by_id = indexed(pool, rows)
    raw = open_raw(pool.folder)
    if len(rows):
        raw = stacked([pool.raw(rows, compute)[by_id], raw])
    matrix, geometry = pool.fitted.space.both(pool.fitted.features(raw))
    return Features(index, matrix, geometry)


def read_features(folder: Path, wanted: Iterable[str], compute: Compute, last: int = 0) -> Features:
    """The features of all examples; of a pool in parts only of the wanted ids, with seed and test.

    compute: who reads them, if they are in a store. last: how many rows from the end of the random
    permutation are wanted as well.
    """
    pool = open_pool(folder)
    if pool is None:
        return Features(read_index(folder), read_model_matrix(folder), read_geometry(folder))
    rows = pool.locate(wanted)
    if last:
        rows = np.union1d(rows, pool.last(last)).astype(np.intp)
    return gathered(pool, rows, compute)


def from_tables(
    ids: Iterable[str], tables: dict[str, str], features: Path, take: Callable[[Table, int], T]
) -> dict[str, T]:
    """What `take` makes of each id's row in the user's tables, which are opened one by one.

    tables: the path of pool, seed and test; a pool in parts is its folder or URL.
    """
    ids = list(dict.fromkeys(ids))
    taken: dict[str, T] = {}
    for path, row_of in _rows_by_table(ids, tables, features).items():
        with rows_of(path, list(row_of.values())) as (table, positions):
            for item, position in zip(row_of, positions, strict=True):
                taken[item] = take(table, position)
    return taken


def _rows_by_table(
    ids: list[str], tables: dict[str, str], features: Path
) -> dict[str, dict[str, int]]:
    """Path or URL of a table -> id -> row in it, for the tables that hold any of the ids."""
    pool = open_pool(features)
    if pool is None:
        index = read_index(features)
        part_at = {}
    else:
        index, _ = indexed(pool, pool.locate(ids))
        part_at = {name_of(path): path for path in list_parts(tables["pool"])}
    by_table: dict[str, dict[str, int]] = {}
    for item in ids:
        number = index.row_of[item]
        split = index.split[number]
        row = index.row[number]
        path = tables[split]
        if pool is not None and split == "pool":
            part, row = pool.part_of(row)
            path = part_at.get(part.name, part.name)
        by_table.setdefault(path, {})[item] = row
    return by_table
