"""A pool in parts: what featurize keeps of it, and an index of those rows that a stage needs.

    parts.json       seed, store, and the parts in the order of their names: name, key, rows
    parts/<key>/     one part, its rows as in its file; the key is a hash of all that it is made
                     from. With compute.store it is in that store (stages/examples/places.py)
        part.json    rows, width; in a store also the names and sizes of these files
        rows.arrow   id, sha (32 bytes)
        keys.npy     the order keys of the ids, ascending
        order.npy    the row of each order key
        raw.*        features that depend on the row alone (stages/store/raw.py)
    fitted.npz       what a sample of rows taught (stages/store/fitted.py)
    copies.parquet   id, sha, row: pool rows whose content the pool has under several ids
    blocked.npy      pool rows that are never asked: content of seed or test, or a later copy
    index.parquet    seed and test; their features are raw.*

A row's number counts through the parts. No result depends on it: rows are found by id, chosen by
order key, and gathered in the order of their ids, so every split of a pool into parts gives the
same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from stages.contract.arrays import Floats, Keys, Matrix, Rows
from stages.contract.canonical import read_json
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys
from stages.contract.params import Compute
from stages.contract.progress import watched
from stages.examples.places import copied, is_url, name_of
from stages.store.fitted import Fitted, read_fitted
from stages.store.index import Index, Split, read_index
from stages.store.raw import open_raw, stacked
from stages.store.workers import mapped

BUCKET = 1 << 24  # values compared at a time when repeats are looked for


class ListedPart(TypedDict):
    """A part as parts.json names it."""

    name: str
    key: str
    rows: int


class Listing(TypedDict):
    """parts.json. store: the URL that the parts are under; none where they lie beside it."""

    seed: int
    store: NotRequired[str]
    parts: list[ListedPart]


@dataclass(frozen=True)
class Part:
    """A featurized part. folder: a path or URL; start: the number of its first row in the pool."""

    folder: str
    name: str
    start: int
    rows: int

    def with_full_path(self) -> Part:
        """The same part for a worker that runs in another folder."""
        if is_url(self.folder):
            return self
        return replace(self, folder=str(Path(self.folder).resolve()))

    def within(self, rows: Rows) -> Rows:
        """Those of the pool's rows that are in this part, counted from its start; `rows` ascend."""
        low, high = np.searchsorted(rows, (self.start, self.start + self.rows))
        return np.asarray(rows[low:high] - self.start)

    @cached_property
    def keys(self) -> Keys:
        """(rows,) order keys, ascending."""
        keys: Keys = np.load(copied(self.folder, "keys.npy") / "keys.npy", mmap_mode="r")
        return keys

    @cached_property
    def order(self) -> Rows:
        """(rows,) the row of each of `keys`."""
        order: Rows = np.load(copied(self.folder, "order.npy") / "order.npy", mmap_mode="r")
        return order

    @cached_property
    def raw(self) -> Matrix:
        """(rows, width) features that depend on the row alone."""
        return open_raw(copied(self.folder, "raw"))

    @cached_property
    def table(self) -> Any:
        """The columns id and sha, memory-mapped."""
        from pyarrow import feather

        path = copied(self.folder, "rows.arrow") / "rows.arrow"
        return feather.read_table(path, memory_map=True)

    def ids(self, rows: Rows) -> list[str]:
        """The ids of some rows."""
        ids: list[str] = self.table.column("id").take(rows).to_pylist()
        return ids

    def shas(self, rows: Rows) -> list[str]:
        """The content hashes of some rows, in hex."""
        return [sha.hex() for sha in self.table.column("sha").take(rows).to_pylist()]

    def sha_prefixes(self) -> Keys:
        """(rows,) the first eight bytes of each content hash, as numbers."""
        import pyarrow as pa

        column = self.table.column("sha").combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0)
        # A hash is four 8-byte words, and the first row may be at an offset in the buffer.
        words = 4 * (column.offset + self.rows)
        buffer = np.frombuffer(column.buffers()[1], dtype=">u8", count=words)
        return buffer[4 * column.offset :: 4].astype(np.uint64)


def parts_in_a_row(folders: Iterable[tuple[str, str, int]]) -> list[Part]:
    """The parts of a pool, from the folder, name and number of rows of each, in their order."""
    parts = []
    start = 0
    for folder, name, rows in folders:
        parts.append(Part(folder, name, start, rows))
        start += rows
    return parts


@dataclass(frozen=True)
class Pool:
    """All parts of a pool. store: the URL that they are under; empty where they are in `folder`."""

    folder: Path
    parts: list[Part]
    seed: int
    store: str

    @property
    def rows(self) -> int:
        """How many rows the parts hold."""
        return self.parts[-1].start + self.parts[-1].rows

    @cached_property
    def fitted(self) -> Fitted:
        """What the sample taught."""
        return read_fitted(self.folder / "fitted.npz")

    @cached_property
    def blocked(self) -> Rows:
        """The rows that are never asked, ascending."""
        blocked: Rows = np.load(self.folder / "blocked.npy", mmap_mode="r")
        return blocked

    def locate(self, ids: Iterable[str]) -> Rows:
        """The rows of those ids that the pool has, ascending; of rows with one id the first."""
        missing = np.array(sorted(set(ids)), dtype=object)
        keys = order_keys(self.seed, missing)
        rows = []
        for part in self.parts:
            positions = np.searchsorted(part.keys, keys)
            inside = np.flatnonzero(positions < part.rows)
            inside = inside[part.keys[positions[inside]] == keys[inside]]
            candidates = part.order[positions[inside]].astype(np.intp)
            # Two ids might have one key, so the ids themselves decide.
            same = np.array(part.ids(candidates), dtype=object) == missing[inside]
            rows.append(part.start + candidates[same])
            keys = np.delete(keys, inside[same])
            missing = np.delete(missing, inside[same])
        return np.sort(np.concatenate(rows))

    def with_copies(self, rows: Rows) -> Rows:
        """The rows and all others with the same content, ascending."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.folder / "copies.parquet")
        numbers = table.column("row").to_numpy().astype(np.intp)
        shas = np.array(table.column("sha").to_pylist(), dtype=object)
        wanted = set(shas[np.isin(numbers, rows)])
        is_copy = np.fromiter((sha in wanted for sha in shas), np.bool_, len(shas))
        return np.union1d(rows, numbers[is_copy]).astype(np.intp)

    def last(self, count: int) -> Rows:
        """The last `count` rows of the permutation that may be asked, or all of them, ascending."""
        keys = []
        rows = []
        for part in self.parts:
            free = np.ones(part.rows, np.bool_)
            free[part.within(self.blocked)] = False
            chosen = np.flatnonzero(free[part.order])[-count:]
            keys.append(part.keys[chosen])
            rows.append(part.start + part.order[chosen].astype(np.intp))
        by_key = np.argsort(np.concatenate(keys), kind="stable")
        return np.sort(np.concatenate(rows)[by_key[-count:]])

    def first(self, count: int) -> Rows:
        """The first `count` rows of the permutation, or all of them, in its order."""
        keys = np.concatenate([part.keys[:count] for part in self.parts])
        rows = [part.start + part.order[:count].astype(np.intp) for part in self.parts]
        by_key = np.argsort(keys, kind="stable")
        return np.asarray(np.concatenate(rows)[by_key[:count]], dtype=np.intp)

    def part_of(self, row: int) -> tuple[Part, int]:
        """The part that holds a row of the pool, and the row's number within it."""
        starts = [part.start for part in self.parts]
        part = self.parts[int(np.searchsorted(starts, row, side="right")) - 1]
        return part, row - part.start

    def ids(self, rows: Rows) -> list[str]:
        """The ids of ascending rows."""
        return [item for part in self.parts for item in part.ids(part.within(rows))]

    def shas(self, rows: Rows) -> list[str]:
        """The content hashes of ascending rows, in hex."""
        return [sha for part in self.parts for sha in part.shas(part.within(rows))]

    def raw(self, rows: Rows, compute: Compute) -> Matrix:
        """Raw features of ascending rows, (n, width); workers read them where they are stored."""
        tasks = [(part.with_full_path(), part.within(rows)) for part in self.parts]
        # Parts without a wanted row are left out; for no row at all one part gives the width.
        tasks = [task for task in tasks if task[1].size] or tasks[:1]
        if self.store:
            return stacked(list(mapped(raw_rows, tasks, compute, "read")))
        return stacked([raw_rows(task) for task in watched("read", tasks, "part")])


def raw_rows(task: tuple[Part, Rows]) -> Matrix:
    """Raw features of some rows of a part, counted from its start."""
    part, rows = task
    block = part.raw[rows]
    return np.asarray(block) if isinstance(block, np.ndarray) else block


def open_pool(folder: Path) -> Pool | None:
    """The pool in parts of a feature store; None where the pool is one table.

    Raises PipelineError for a part that is gone.
    """
    path = folder / "parts.json"
    if not path.is_file():
        return None
    listing: Listing = read_json(path)
    store = listing.get("store", "")
    parent = store or str(folder / "parts")
    parts = parts_in_a_row(
        (f"{parent}/{part['key']}", part["name"], part["rows"]) for part in listing["parts"]
    )
    for part in parts:
        if not store and not Path(part.folder).is_dir():
            what = f"the features of {part.name} are gone"
            raise PipelineError(part.folder, what, "run `dvc pull` or `dvc repro`")
    return Pool(folder, parts, listing["seed"], store)


def write_listing(pool: Pool) -> None:
    """Write parts.json. This comes last: with it the store is complete."""
    parts: list[ListedPart] = [
        {"name": part.name, "key": name_of(part.folder), "rows": part.rows} for part in pool.parts
    ]
    listing: Listing = {"seed": pool.seed, "parts": parts}
    if pool.store:
        listing = {"seed": pool.seed, "store": pool.store, "parts": parts}
    temporary = pool.folder / ".parts.json.tmp"
    temporary.write_text(json.dumps(listing, indent=1, ensure_ascii=False) + "\n", "utf-8")
    temporary.replace(pool.folder / "parts.json")


def indexed(pool: Pool, rows: Rows) -> tuple[Index, Rows]:
    """The index of some pool rows, ascending, and all of seed and test; and how it sorts those.

    Pool rows are sorted by id, as in the index of one table, so that their order does not depend on
    how the pool is split. The second result holds, for each pool row of the index, its position in
    `rows`.
    """
    ids = pool.ids(rows)
    shas = pool.shas(rows)
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp)
    pool_split: list[Split] = ["pool"] * len(ids)
    rest = read_index(pool.folder)
    index = Index(
        ids=[ids[position] for position in by_id] + rest.ids,
        sha=[shas[position] for position in by_id] + rest.sha,
        split=pool_split + rest.split,
        row=[int(rows[position]) for position in by_id] + rest.row,
    )
    return index, by_id


def repeated(columns: list[Keys]) -> Iterator[Rows]:
    """Positions, counted through all columns, of the values that occur twice or more.

    Equal values follow each other. The positions come in groups, so that about BUCKET values are
    sorted at a time; equal values are in one group.
    """
    buckets = np.uint64(sum(len(column) for column in columns) // BUCKET + 1)
    lengths = [len(column) for column in columns]
    starts = np.cumsum([0, *lengths[:-1]])
    for bucket in range(int(buckets)):
        inside = [np.flatnonzero(column % buckets == np.uint64(bucket)) for column in columns]
        positions = np.concatenate(
            [start + rows for start, rows in zip(starts, inside, strict=True)]
        )
        values = np.concatenate(
            [column[rows] for column, rows in zip(columns, inside, strict=True)]
        )
        order = np.argsort(values, kind="stable")
        same_as_next = values[order][1:] == values[order][:-1]
        if same_as_next.any():
            occurs_again = np.append(same_as_next, False) | np.append(False, same_as_next)
            yield np.asarray(positions[order[occurs_again]])


def write_kept(path: Path, index: Index, rows: Rows, stands_for: Floats) -> None:
    """Write how many rows of the pool each pool row of an index stands for.

    rows: numbers of the kept rows in the pool, ascending; stands_for: a count for each. Rows of the
    index that were not kept stand for 0.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    pool = index.rows("pool")
    numbers = np.array(index.row[pool], dtype=np.intp)
    counts = np.zeros(len(numbers))
    positions = np.searchsorted(rows, numbers)
    kept = np.isin(numbers, rows)
    counts[kept] = stands_for[positions[kept]]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": index.ids[pool], "stands_for": counts}), path)


def read_kept(path: Path) -> tuple[list[str], Floats] | None:
    """The ids of the pool rows that were kept, and how many each stands for; None if all were."""
    import pyarrow.parquet as pq

    if not path.is_file():
        return None
    table = pq.read_table(path)
    return table.column("id").to_pylist(), table.column("stands_for").to_numpy()
