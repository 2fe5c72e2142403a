"""Reading features back: of all examples, or of those that a stage asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from stages.contract.params import Compute
from stages.examples.places import list_parts, rows_of
from stages.examples.tables import Table
from stages.store.index import Features, read_geometry, read_index, read_model_matrix
from stages.store.parts import Pool, Rows, T, indexed, open_pool, open_raw, stacked


def gathered(pool: Pool, rows: Rows, compute: Compute) -> Features:
    """Index, model features and geometry of some pool rows, with their copies, and of all seed and test rows."""
    rows = pool.with_copies(rows)
    index, by_id = indexed(pool, rows)
    raw = open_raw(pool.folder)
    own = pool.fitted.features(stacked([pool.raw(rows, compute)[by_id], raw]) if len(rows) else raw)
    return Features(index, *pool.fitted.space.both(own))


def read_rows(
    ids: Iterable[str], tables: dict[str, str], features: Path, take: Callable[[Table, int], T]
) -> dict[str, T]:
    """What `take` makes of each id's row in the user's tables, which are opened one after the other.

    tables: the path of pool, seed and test; a pool in parts is its folder or URL.
    """
    ids = list(dict.fromkeys(ids))
    pool = open_pool(features)
    index = read_index(features) if pool is None else indexed(pool, pool.locate(ids))[0]
    places = (
        {}
        if pool is None
        else {place.rpartition("/")[2]: place for place in list_parts(tables["pool"])}
    )
    wanted: dict[str, list[tuple[str, int]]] = {}
    for item in ids:
        number = index.row_of[item]
        split, row = index.split[number], index.row[number]
        path = tables[split]
        if pool is not None and split == "pool":
            part, row = pool.part_of(row)
            path = places.get(part.name, part.name)
        wanted.setdefault(path, []).append((item, row))
    taken: dict[str, T] = {}
    for path, rows in wanted.items():
        with rows_of(path, [row for _, row in rows]) as (table, where):
            taken |= {item: take(table, row) for (item, _), row in zip(rows, where, strict=True)}
    return taken


def read_features(folder: Path, wanted: Iterable[str], compute: Compute, last: int = 0) -> Features:
    """The features of all examples; of a pool in parts only the wanted ids, their copies, and seed and test.

    compute: who reads them, if they are in a store; last: how many rows from the end of the random
    permutation are wanted besides.
    """
    if not (folder / "parts.json").is_file():
        return Features(read_index(folder), read_model_matrix(folder), read_geometry(folder))
    from stages.store.parts import open_pool
    from stages.store.read import gathered

    pool = open_pool(folder)
    assert pool is not None
    rows = pool.locate(wanted)
    return gathered(
        pool, np.union1d(rows, pool.last(last)).astype(np.intp) if last else rows, compute
    )
