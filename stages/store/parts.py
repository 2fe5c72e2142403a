"""A pool in parts: what featurize keeps of it, and the few of its rows that a stage needs, as an ordinary index.

    build/features/parts.json       seed, the store, and the parts in the order of their names: name, key, rows
    build/features/parts/<key>/     one part, rows as in its file; the key is a hash of all that it was made from;
                                    with compute.store in that store instead (stages/examples/places.py)
        part.json                   rows, width; in a store also the names and sizes of these files
        rows.arrow                  id, sha (32 bytes)
        keys.npy, order.npy         the order keys of the ids, ascending, and the row of each
        raw.npy | raw.csr/          features that depend on the row alone: dense, or the arrays of a CSR matrix;
                                    or raw.link, the path from here to a user's own .npy, used in place
    build/features/fitted.npz       what a sample of rows taught (scales, idf, directions), applied when rows are read
    build/features/copies.parquet   id, sha, row: pool rows whose content stands in the pool under more than one id
    build/features/blocked.npy      pool rows that may never be asked: in seed or test by content, or a later copy
    build/features/index.parquet, raw.*   seed and test

A pool row's number counts through the parts. Nothing of the result depends on it: rows are found by
id, chosen by order key, and gathered in the order of their ids, so that any split of a pool into
parts gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Matrix
from stages.contract.canonical import read_json
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys
from stages.contract.params import Compute
from stages.contract.progress import watched
from stages.examples.places import copied, is_url
from stages.store.index import Index, read_index
from stages.store.space import Space
from stages.store.workers import mapped

T = TypeVar("T")
MOST_NONZERO = 2**31 - 1  # of one part: beyond, CSR needs twice the memory
BUCKET = 1 << 24  # values compared at a time when repeats are looked for
Rows = NDArray[np.intp]
Keys = NDArray[np.uint64]


def write_raw(folder: Path, blocks: Iterable[Matrix], rows: int) -> int:
    """Write blocks of features one under the other, as dense or CSR by the first; their width. See the module."""
    import scipy.sparse as sp

    width, start, nonzero = 0, 0, 0
    ends = [np.zeros(1, np.int64)]
    dense = None
    for block in blocks:
        width = block.shape[1]
        if sp.issparse(block):
            csr = folder / "raw.csr"
            csr.mkdir(exist_ok=True)
            for name, dtype in (("data", np.float32), ("indices", np.int32)):
                with (csr / name).open("ab") as file:
                    np.ascontiguousarray(getattr(block, name), dtype).tofile(file)
            ends.append(block.indptr[1:].astype(np.int64) + nonzero)
            nonzero += int(block.nnz)
            continue
        if dense is None:
            dense = np.lib.format.open_memmap(
                folder / "raw.npy", mode="w+", dtype=block.dtype, shape=(rows, width)
            )
        dense[start : start + len(block)] = block
        start += len(block)
    if dense is not None:
        dense.flush()
    elif width:
        if nonzero > MOST_NONZERO:
            raise PipelineError(
                folder,
                f"{nonzero} nonzero features in one part",
                "split the part into smaller ones",
            )
        np.save(folder / "raw.csr" / "indptr.npy", np.concatenate(ends).astype(np.int32))
        (folder / "raw.csr" / "width").write_text(str(width))
    return width


def open_raw(folder: Path) -> Matrix:
    """The features that `write_raw` wrote, memory-mapped, or a user's own vectors in place."""
    import scipy.sparse as sp

    elsewhere = folder / "raw.link"
    if elsewhere.is_file():
        return np.load(folder / elsewhere.read_text(), mmap_mode="r", allow_pickle=False)
    csr = folder / "raw.csr"
    if not csr.is_dir():
        return np.load(folder / "raw.npy", mmap_mode="r", allow_pickle=False)
    ends = np.load(csr / "indptr.npy", allow_pickle=False)
    arrays = [
        np.memmap(csr / name, dtype, "r") if ends[-1] else np.empty(0, dtype)
        for name, dtype in (("data", np.float32), ("indices", np.int32))
    ]
    return sp.csr_matrix(
        (*arrays, ends), shape=(len(ends) - 1, int((csr / "width").read_text())), copy=False
    )


@dataclass(frozen=True)
class Part:
    """One part as featurize left it. place: its folder or URL; start: the number of its first row in the pool."""

    place: str
    name: str
    start: int
    rows: int

    def elsewhere(self) -> Part:
        """The same part for a worker in another folder."""
        return replace(
            self, place=self.place if is_url(self.place) else str(Path(self.place).resolve())
        )

    def within(self, rows: Rows) -> Rows:
        """Of ascending row numbers of the pool those of this part, counted from its start."""
        low, high = np.searchsorted(rows, (self.start, self.start + self.rows))
        return np.asarray(rows[low:high] - self.start)

    @cached_property
    def keys(self) -> Keys:
        """(rows,) order keys, ascending."""
        keys: Keys = np.load(copied(self.place, "keys.npy") / "keys.npy", mmap_mode="r")
        return keys

    @cached_property
    def order(self) -> Rows:
        """(rows,) the row of each key."""
        order: Rows = np.load(copied(self.place, "order.npy") / "order.npy", mmap_mode="r")
        return order

    @cached_property
    def raw(self) -> Matrix:
        """(rows, width) features that depend on the row alone."""
        return open_raw(copied(self.place, "raw"))

    @cached_property
    def table(self) -> Any:
        """The columns id and sha, memory-mapped."""
        from pyarrow import feather

        return feather.read_table(copied(self.place, "rows.arrow") / "rows.arrow", memory_map=True)

    def cells(self, column: str, rows: Rows) -> list[str]:
        """Ids, or content hashes in hex, of some rows."""
        found = self.table.column(column).take(rows).to_pylist()
        return [cell.hex() for cell in found] if column == "sha" else found

    def prefixes(self) -> Keys:
        """(rows,) the first eight bytes of each content hash, as numbers."""
        import pyarrow as pa

        column = self.table.column("sha").combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        words = np.frombuffer(
            column.buffers()[1], dtype=">u8", count=4 * (column.offset + self.rows)
        )
        return words[4 * column.offset :: 4].astype(np.uint64)


@dataclass(frozen=True)
class Fitted:
    """What a sample of rows taught: how raw features become the model's, and those a geometry.

    shift, scale: (p,) for numbers, else empty; rarity: (p,) for hashed text, whose rows are scaled
    to unit length.
    """

    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    rarity: NDArray[np.float32]
    space: Space

    def features(self, raw: Matrix) -> Matrix:
        """The features of every row alone, (n, p): scaled, or weighted."""
        if self.rarity.size:
            from stages.store.ngrams import weighted

            return weighted(raw, self.rarity)
        if self.scale.size:
            return ((raw - self.shift) / self.scale).astype(np.float32)
        return np.asarray(raw, dtype=np.float32) if isinstance(raw, np.ndarray) else raw

    def widened(self, raw: Matrix) -> Matrix:
        """What the classifier sees, (n, p) or more columns; see stages/store/space.py."""
        return self.space.widened(self.features(raw))

    def write(self, path: Path) -> None:
        """Save the arrays."""
        space, length = self.space, np.array(self.space.length)
        np.savez(
            path, shift=self.shift, scale=self.scale, rarity=self.rarity, basis=space.basis, centre=space.centre,
            length=length, beside=np.array(space.beside),
        )  # fmt: skip


def read_fitted(path: Path) -> Fitted:
    """What `Fitted.write` saved."""
    with np.load(path, allow_pickle=False) as arrays:
        space = Space(
            arrays["basis"], arrays["centre"], float(arrays["length"]), float(arrays["beside"])
        )
        return Fitted(arrays["shift"], arrays["scale"], arrays["rarity"], space)


@dataclass(frozen=True)
class Pool:
    """All parts of a pool, and what is known of it as a whole."""

    folder: Path
    parts: list[Part]
    seed: int
    store: str  # the URL that the parts live under; empty where they are in the folder

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
        """Sorted numbers of the rows that may never be asked."""
        blocked: Rows = np.load(self.folder / "blocked.npy", mmap_mode="r")
        return blocked

    def locate(self, ids: Iterable[str]) -> Rows:
        """The numbers of those ids that stand in the pool, ascending; of rows with one id that of the first."""
        wanted = np.array(sorted(set(ids)), dtype=object)
        keys = order_keys(self.seed, wanted)
        found = []
        for part in self.parts:
            places = np.searchsorted(part.keys, keys)
            inside = np.flatnonzero(places < part.rows)
            inside = inside[part.keys[places[inside]] == keys[inside]]
            rows = part.order[places[inside]].astype(np.intp)
            same = np.array(part.cells("id", rows), dtype=object) == wanted[inside]
            found.append(part.start + rows[same])
            keys, wanted = np.delete(keys, inside[same]), np.delete(wanted, inside[same])
        return np.sort(np.concatenate(found))

    def with_copies(self, rows: Rows) -> Rows:
        """The rows and all others of the same content, ascending."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.folder / "copies.parquet")
        numbers = table.column("row").to_numpy().astype(np.intp)
        sha = table.column("sha").to_pylist()
        wanted = {sha[place] for place in np.flatnonzero(np.isin(numbers, rows))}
        more = numbers[np.fromiter((cell in wanted for cell in sha), np.bool_, len(sha))]
        return np.union1d(rows, more).astype(np.intp)

    def last(self, count: int) -> Rows:
        """The rows that may be asked and stand last in the permutation, `count` of them or all, ascending."""
        keys, rows = [], []
        for part in self.parts:
            free = np.ones(part.rows, np.bool_)
            free[part.within(self.blocked)] = False
            chosen = np.flatnonzero(free[part.order])[-count:]
            keys.append(part.keys[chosen])
            rows.append(part.start + part.order[chosen].astype(np.intp))
        return np.sort(
            np.concatenate(rows)[np.argsort(np.concatenate(keys), kind="stable")[-count:]]
        )

    def part_of(self, row: int) -> tuple[Part, int]:
        """The part that a row stands in, and where in its file."""
        place = int(np.searchsorted([part.start for part in self.parts], row, side="right")) - 1
        return self.parts[place], row - self.parts[place].start

    def described(self, rows: Rows) -> tuple[list[str], list[str]]:
        """Ids and content hashes of ascending row numbers."""
        ids: list[str] = []
        shas: list[str] = []
        for part in self.parts:
            inside = part.within(rows)
            ids += part.cells("id", inside)
            shas += part.cells("sha", inside)
        return ids, shas

    def raw(self, rows: Rows, compute: Compute) -> Matrix:
        """Raw features of ascending row numbers, (n, width); out of a store it is the workers who read them."""
        wanted = [(part.elsewhere(), part.within(rows)) for part in self.parts]
        wanted = [task for task in wanted if task[1].size] or wanted[:1]
        if self.store:
            return stacked(list(mapped(raw_rows, wanted, compute, "read")))
        return stacked([raw_rows(task) for task in watched("read", wanted, "part")])


def raw_rows(task: tuple[Part, Rows]) -> Matrix:
    """Raw features of some rows of a part, counted from its start."""
    block = task[0].raw[task[1]]
    return np.asarray(block) if isinstance(block, np.ndarray) else block


def stacked(blocks: list[Matrix]) -> Matrix:
    """Blocks of rows one under the other, dense or CSR."""
    import scipy.sparse as sp

    if any(sp.issparse(block) for block in blocks):
        return sp.csr_matrix(sp.vstack(blocks, format="csr"))
    return np.concatenate([np.asarray(block) for block in blocks])


def open_pool(folder: Path) -> Pool | None:
    """The parted pool of a feature store; None where the pool is one table. Raises PipelineError for a lost part."""
    listing = folder / "parts.json"
    if not listing.is_file():
        return None
    known = read_json(listing)
    store = known.get("store", "")
    parts: list[Part] = []
    start = 0
    for row in known["parts"]:
        part = Part(f"{store or folder / 'parts'}/{row['key']}", row["name"], start, row["rows"])
        if not store and not Path(part.place).is_dir():
            raise PipelineError(
                part.place,
                f"the features of {row['name']} are gone",
                "run `dvc pull` or `dvc repro`",
            )
        parts.append(part)
        start += part.rows
    return Pool(folder, parts, known["seed"], store)


def indexed(pool: Pool, rows: Rows) -> tuple[Index, Rows]:
    """The index of some pool rows, given ascending, and of all seed and test rows; and the order of the former in it.

    Sorted by id, as one table's are, so that they do not depend on how the pool is split.
    """
    ids, shas = pool.described(rows)
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp)
    rest = read_index(pool.folder)
    index = Index(
        ids=[ids[place] for place in by_id] + rest.ids,
        sha=[shas[place] for place in by_id] + rest.sha,
        split=["pool"] * len(ids) + rest.split,
        row=[int(rows[place]) for place in by_id] + rest.row,
    )
    return index, by_id


def repeated(columns: list[Keys]) -> Iterator[Rows]:
    """Places (counted through all columns) of values that stand twice or more, equal ones together; in bounded lots."""
    buckets = np.uint64(sum(len(column) for column in columns) // BUCKET + 1)
    starts = np.cumsum([0, *(len(column) for column in columns)])
    for bucket in range(int(buckets)):
        inside = [np.flatnonzero(column % buckets == np.uint64(bucket)) for column in columns]
        place = np.concatenate([start + rows for start, rows in zip(starts, inside, strict=False)])
        value = np.concatenate([column[rows] for column, rows in zip(columns, inside, strict=True)])
        order = np.argsort(value, kind="stable")
        same = value[order][1:] == value[order][:-1]
        if same.any():
            yield np.asarray(place[order[np.append(same, False) | np.append(False, same)]])


def write_listing(folder: Path, pool: Pool) -> None:
    """Write parts.json last: with it the store is whole."""
    store = {"store": pool.store} if pool.store else {}
    rows = [
        {"name": part.name, "key": part.place.rpartition("/")[2], "rows": part.rows}
        for part in pool.parts
    ]
    temporary = folder / ".parts.json.tmp"
    known = {"seed": pool.seed, **store, "parts": rows}
    temporary.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", "utf-8")
    temporary.replace(folder / "parts.json")


def write_kept(path: Path, index: Index, rows: Rows, stands_for: NDArray[np.float64]) -> None:
    """Write how many pool rows each pool row of an index stands for: 0 for those that are not among `rows`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pool = index.rows("pool")
    numbers = np.array(index.row[pool], dtype=np.intp)
    places = np.minimum(np.searchsorted(rows, numbers), max(len(rows) - 1, 0))
    shares = (
        np.where(rows[places] == numbers, stands_for[places], 0.0)
        if len(rows)
        else np.zeros(len(numbers))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": index.ids[pool], "stands_for": shares}), path)


def read_kept(path: Path) -> tuple[list[str], NDArray[np.float64]] | None:
    """The ids of the pool rows that were scored and how many rows each stands for; None where all were."""
    import pyarrow.parquet as pq

    if not path.is_file():
        return None
    table = pq.read_table(path)
    return table.column("id").to_pylist(), table.column("stands_for").to_numpy()
