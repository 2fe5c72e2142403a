"""featurize for a pool in parts: every part alone and in parallel, then the little that takes all of them.

What depends on a row alone is computed per part and kept under a hash of all that it was made from,
so a finished part is never computed again: not after Ctrl-C, and not when another part is new. What
must be learnt (scales, how rare an n-gram is, directions of the geometry) is learnt from the first
rows of the random permutation, and applied when rows are read.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np

from stages.contract.arrays import Matrix
from stages.contract.canonical import dumps, sha256, write_json
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys
from stages.contract.imports import build
from stages.contract.params import Params
from stages.examples.content import (
    check_kind,
    identities,
    number_columns,
    numbers,
    shrunk,
    texts,
    vectors,
)
from stages.examples.places import DONE, finished, is_url, list_parts, local, put
from stages.examples.tables import Table, read_labelled, read_table
from stages.features.embedding import embedded
from stages.store.index import Index, Split, write_index
from stages.store.ngrams import hashed, rarity
from stages.store.parts import Fitted, Part, Pool, Rows, repeated, stacked, write_listing, write_raw
from stages.store.space import Space, fit_space
from stages.store.workers import mapped

SAMPLE = 20_000  # rows that scales, n-gram weights and directions are learnt from, besides the seed
BLOCK = 16_384  # rows whose features are made at a time
LITTLE = 1_000_000  # bytes of parts that are featurized sooner than workers start
CODE = (  # whatever a part's features are made by
    "features/in_parts", "features/embedding", "examples/content", "examples/tables", "store/ngrams", "store/parts",
    "contract/identity", "contract/canonical",
)  # fmt: skip
LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "pyarrow",
    "model2vec",
    "sentence-transformers",
)


@dataclass(frozen=True)
class Work:
    """A part to be featurized: where it is, the hash of its bytes, where its features go, and by which code."""

    place: str
    content: str
    target: str
    code: str
    params: Params


def featurize_parts(out: Path, params: Params) -> tuple[Pool, Index, int]:
    """Write the store of a pool in parts (stages/store/parts.py): the pool, the index of seed and test, the width."""
    _check_alone(params)
    places = list_parts(params.data.pool)
    params = _with_columns(places[0], params)
    store = params.compute.store.rstrip("/")
    targets = store or str(out.resolve() / "parts")  # workers may stand in another folder
    hashes = (
        mapped(hash_of, places, params.compute, "hash")
        if is_url(params.data.pool)
        else map(hash_of, places)
    )
    code, images_hash = code_hash(), _images_hash(params)
    work = [
        Work(
            place,
            content,
            f"{targets}/{_key(place, [content, images_hash, code], params)}",
            code,
            params,
        )
        for place, content in zip(places, hashes, strict=True)
    ]
    _forget(out, {item.target.rpartition("/")[2] for item in work if not store})
    known = finished([item.target for item in work])
    missing = [item for item in work if item.target not in known]
    little = (
        sum(LITTLE if is_url(item.place) else Path(item.place).stat().st_size for item in missing)
        < LITTLE
    )
    for _ in mapped(write_part, missing, params.compute, "featurize", little=little):
        pass
    known |= finished([item.target for item in missing])
    work = [item for item in work if known[item.target]["rows"]]
    if not work:
        raise PipelineError(
            params.data.pool, "no rows in any of its parts", "add rows, or correct data.pool"
        )
    parts: list[Part] = []
    for item in work:
        start = parts[-1].start + parts[-1].rows if parts else 0
        parts.append(Part(item.target, _name(item.place), start, known[item.target]["rows"]))
    pool = Pool(out, parts, params.seed, store)
    rest: dict[Split, Table] = {
        "seed": read_labelled(Path(params.data.seed), params.data.label),
        "test": read_labelled(Path(params.data.test), params.data.label),
    }
    widths = {item.place: known[item.target]["width"] for item in work}
    index, raw = _core(rest, params, pool, widths)
    if params.data.id:  # else rows of one id have one content, and the first of them stands for all
        _check_ids(pool, index)
    write_index(out, index)
    write_raw(out, [raw], raw.shape[0])
    _write_copies(pool, index, named=bool(params.data.id))
    fit(pool, raw[index.rows("seed")], params).write(out / "fitted.npz")
    write_listing(out, pool)
    return pool, index, raw.shape[1]


def _with_columns(first: str, params: Params) -> Params:
    """The params with the columns of numbers named: where the user names none, those of the first part."""
    if params.features.columns or params.features.kind not in {"numeric", "custom", "precomputed"}:
        return params
    with local(first) as path:
        columns = number_columns(read_table(path, may_be_empty=True), params)
    return params.model_copy(
        update={"features": params.features.model_copy(update={"columns": columns})}
    )


def _name(place: str) -> str:
    return place.rpartition("/")[2]


def _key(place: str, made_from: list[str], params: Params) -> str:
    """A hash of all that a part's features are made from: bytes, params, code, libraries; the same on any machine."""
    vectors_hash = _hash(_vectors_beside(place, params)) if _in_place(params) else ""
    chosen = [params.seed, params.data.model_dump(exclude={"pool", "seed", "test"})]
    chosen.append(
        params.features.model_dump(exclude={"geometry_dims": True, "text": {"directions"}})
    )
    return sha256(dumps([*made_from, vectors_hash, *chosen]))[:32]


def code_hash() -> str:
    """A hash of the code that makes features, and of the versions of the libraries it uses."""
    here = Path(__file__).parent.parent
    code = [sha256((here / f"{name}.py").read_bytes()) for name in CODE]
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            versions.append("")
    return sha256(dumps([code, versions]))


def hash_of(place: str) -> str:
    """The hash of the file at a path or URL."""
    with local(place) as path:
        return _hash(path)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _images_hash(params: Params) -> str:
    """A hash of the folder of images, which any part may name; empty where there is none."""
    folder = Path(params.data.images)
    if not params.data.image or not folder.is_dir():
        return ""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256(dumps([[path.relative_to(folder).as_posix(), _hash(path)] for path in files]))


def _forget(out: Path, kept: set[str]) -> None:
    """Remove everything from the store but finished parts that are still wanted."""
    (out / "parts").mkdir(parents=True, exist_ok=True)
    for path in [
        *(path for path in out.iterdir() if path.name != "parts"),
        *(out / "parts").iterdir(),
    ]:
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def write_part(work: Work) -> None:
    """Featurize one part: whole, or not at all; nothing if it is there (a cluster may give a part out twice)."""
    if finished([work.target]):
        return
    if code_hash() != work.code:
        what = "its labelrounds or libraries are of other versions than here"
        raise PipelineError(
            f"featurize: worker {platform.node()}",
            what,
            "install the same versions on all machines",
        )
    parent = None if is_url(work.target) else Path(work.target).parent
    if parent:
        parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=parent, prefix=".part-"))
    try:
        with local(work.place) as path:
            if is_url(work.place) and _hash(path) != work.content:
                raise PipelineError(
                    work.place, "was changed in the meantime", "run the same command again"
                )
            rows, width = _fill(made, path, work)
        facts = {"rows": rows, "width": width}
        if not parent:
            files = {
                file.relative_to(made).as_posix(): file
                for file in sorted(made.rglob("*"))
                if file.is_file()
            }
            put(files, work.target, facts)
            return
        write_json(made / DONE, facts)
        made.chmod(0o755)
        with suppress(OSError):  # the same part, finished elsewhere in the meantime
            made.rename(work.target)
        if not Path(work.target).is_dir():
            raise PipelineError(
                work.target, "cannot be written", "see to the disk, and run the same command again"
            )
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _fill(made: Path, path: Path, work: Work) -> tuple[int, int]:
    """Write what is kept of the part at `path` into a folder; its rows and the width of its features."""
    import pyarrow as pa
    from pyarrow import feather

    table = read_table(path, may_be_empty=True)
    ids, shas = identities(table, work.params, "pool", counted=False)
    columns = {"id": ids, "sha": pa.array([bytes.fromhex(sha) for sha in shas], pa.binary(32))}
    feather.write_feather(pa.table(columns), made / "rows.arrow", compression="uncompressed")
    keys = order_keys(work.params.seed, ids)
    order = np.argsort(keys, kind="stable")
    np.save(made / "keys.npy", keys[order])
    np.save(made / "order.npy", order.astype(np.int32))
    if not _in_place(work.params):
        return len(table), write_raw(made, raw_features(table, work.params), len(table))
    beside = _vectors_beside(work.place, work.params)
    width = int(_check_vectors(beside, len(table)).shape[1])
    if is_url(work.target):
        shutil.copyfile(beside, made / "raw.npy")
    else:
        (made / "raw.link").write_text(
            os.path.relpath(beside.resolve(), Path(work.target).resolve())
        )
    return len(table), width


def raw_features(table: Table, params: Params) -> Iterator[Matrix]:
    """Features that depend on each row alone, block by block."""
    maker = _maker(table, params)
    for start in range(0, len(table), BLOCK):
        yield maker(slice(start, start + BLOCK))


def _maker(table: Table, params: Params) -> Callable[[slice], Matrix]:
    """The function that gives the raw features of a block of the table's rows."""
    kind, options = params.features.kind, params.features
    if kind == "image":
        return lambda rows: shrunk(table, params, rows)
    if kind == "precomputed":
        given = vectors(table, options.columns[0])
        return lambda rows: given[rows]
    if kind in {"text", "embedding"} or (kind == "custom" and params.data.text):
        words = texts(table, params.data.text)
        if kind == "custom":
            return lambda rows: _transformed(words[rows], params)
        if kind == "embedding":
            return lambda rows: embedded(words[rows], options.embedding)
        return lambda rows: hashed(words[rows], options.text)
    values = numbers(table, number_columns(table, params))
    return (
        (lambda rows: _transformed(values[rows], params))
        if kind == "custom"
        else (lambda rows: values[rows])
    )


def _transformed(block: Matrix, params: Params) -> Matrix:
    """What a transformer that learns nothing makes of some rows. Raises PipelineError for one that must be fitted."""
    import scipy.sparse as sp
    from sklearn.utils import get_tags

    assert params.features.custom is not None  # check_kind
    transformer = build(params.features.custom, params.seed, "features.custom")
    if get_tags(transformer).requires_fit:
        what = f"{params.features.custom.path} must be fitted, and parts of a pool are featurized alone"
        remedy = (
            "use one that learns nothing, or precompute the vectors (features.kind: precomputed)"
        )
        raise PipelineError("params.yaml features.custom", what, remedy)
    matrix = transformer.transform(block)
    return (
        sp.csr_matrix(matrix, dtype=np.float32)
        if sp.issparse(matrix)
        else np.asarray(matrix, np.float32)
    )


def _check_alone(params: Params) -> None:
    """Raises PipelineError where the params do not say how to featurize a row alone."""
    check_kind(params)
    kind, columns = params.features.kind, params.features.columns
    if kind == "text" and params.features.text.hashing is None:
        what = "a pool in parts has no vocabulary, and the columns of hashed n-grams are not set"
        raise PipelineError("params.yaml features.text.hashing", what, "set it, 65536 suits most")
    if kind == "precomputed" and not _in_place(params) and len(columns) != 1:
        what = "features.kind is precomputed, and neither one vector column nor a folder of .npy files is named"
        raise PipelineError("params.yaml features.columns", what, "name one of them")


def _in_place(params: Params) -> bool:
    """Whether vectors are a folder of .npy files named as the parts are, with seed.npy and test.npy."""
    return params.features.kind == "precomputed" and Path(params.features.vectors).is_dir()


def _vectors_beside(place: str, params: Params) -> Path:
    path = Path(params.features.vectors) / f"{_name(place).rpartition('.')[0]}.npy"
    if not path.is_file():
        raise PipelineError(
            path, f"no vectors for {_name(place)}", "write them with numpy.save, one row per row"
        )
    return path


def _check_vectors(path: Path, rows: int) -> Matrix:
    """The array at `path`. Raises PipelineError unless it is finite and has a row per row."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise PipelineError(
            path, f"not a readable .npy array ({error})", "write it with numpy.save"
        ) from error
    if array.ndim != 2 or len(array) != rows:
        raise PipelineError(
            path,
            f"shape ({rows}, d) was expected, found {array.shape}",
            "compute the vectors again",
        )
    for start in range(0, rows, BLOCK):
        if not np.isfinite(array[start : start + BLOCK]).all():
            raise PipelineError(
                path, "NaN or infinity among the vectors", "compute the vectors again"
            )
    return array


def _check_widths(widths: dict[str, int]) -> None:
    """Raises PipelineError for a table whose rows have more or fewer features than those of the first."""
    first, expected = next(iter(widths.items()))
    for place, width in widths.items():
        if width != expected:
            what = f"rows of {width} features, and {first} has {expected}"
            raise PipelineError(place, what, "give all tables vectors of one length")


def _core(
    rest: dict[Split, Table], params: Params, pool: Pool, widths: dict[str, int]
) -> tuple[Index, Matrix]:
    """Index and raw features of seed and test, each sorted by id. widths: of the parts' rows; all must be alike."""
    index = Index([], [], [], [])
    blocks: list[Matrix] = []
    for split in ("seed", "test"):
        table = rest[split]
        if not len(table):
            continue
        ids, shas = identities(table, params, split)
        by_id = sorted(range(len(ids)), key=ids.__getitem__)
        if _in_place(params):
            raw = np.asarray(
                _check_vectors(Path(params.features.vectors) / f"{split}.npy", len(table))
            )
        else:
            raw = stacked(list(raw_features(table, params)))
        widths[getattr(params.data, split)] = raw.shape[1]
        blocks.append(raw[by_id])
        index.ids.extend(ids[row] for row in by_id)
        index.sha.extend(shas[row] for row in by_id)
        index.split.extend([split] * len(ids))
        index.row.extend(by_id)
    _check_widths(widths)
    return index, stacked(blocks or [pool.raw(np.empty(0, np.intp), params.compute)])


def _check_ids(pool: Pool, index: Index) -> None:
    """Raises PipelineError for an id that stands twice."""
    found = next(
        repeated(
            [*(np.asarray(part.keys) for part in pool.parts), order_keys(pool.seed, index.ids)]
        ),
        None,
    )
    if found is None:
        return
    names = []
    for place in found[:2].tolist():
        if place >= pool.rows:
            names.append((index.ids[place - pool.rows], index.split[place - pool.rows]))
        else:
            part, number = pool.part_of(place)
            row = part.order[number : number + 1]
            names.append((part.cells("id", row)[0], f"{part.name} row {row[0] + 1}"))
    (item, there), (other, here) = names
    what = f"id {item!r} stands twice, in {there} and in {here}"
    if item != other:
        what = f"ids {item!r} and {other!r} have the same order key"
    raise PipelineError(
        "the pool", what, "ids must be unique over pool, seed and test: rename or remove one"
    )


def _write_copies(pool: Pool, index: Index, *, named: bool) -> None:
    """Write which rows repeat the content of others, and which may never be asked; `named`: copies have other ids."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    prefixes = [part.prefixes() for part in pool.parts]
    known = np.unique(np.array([int(sha[:16], 16) for sha in index.sha], dtype=np.uint64))
    suspects = [
        part.start + np.flatnonzero(np.isin(column, known))
        for part, column in zip(pool.parts, prefixes, strict=True)
    ]
    core = set(index.sha)
    rows = np.concatenate(suspects).astype(np.intp)
    blocked = {
        int(row) for row, sha in zip(rows, pool.described(rows)[1], strict=True) if sha in core
    }
    copies: list[tuple[str, str, int]] = []
    for group in repeated(prefixes):
        rows = np.sort(group)
        same: dict[str, list[tuple[str, int]]] = {}
        for item, sha, row in zip(*pool.described(rows), rows.tolist(), strict=True):
            same.setdefault(sha, []).append((item, row))
        for sha, members in same.items():
            blocked.update(row for _, row in sorted(members)[1:])
            if named and len(members) > 1:
                copies += [(sha, item, row) for item, row in members]
    copies.sort()
    columns = {
        name: [row[place] for row in copies] for place, name in enumerate(("sha", "id", "row"))
    }
    kinds = pa.schema([("sha", pa.string()), ("id", pa.string()), ("row", pa.int64())])
    pq.write_table(pa.table(columns, schema=kinds), pool.folder / "copies.parquet")
    np.save(pool.folder / "blocked.npy", np.array(sorted(blocked), dtype=np.intp))


def first_rows(pool: Pool, count: int) -> Rows:
    """The rows that stand first in the permutation, in its order."""
    keys = np.concatenate([part.keys[:count] for part in pool.parts])
    rows = np.concatenate([part.start + part.order[:count].astype(np.intp) for part in pool.parts])
    return np.asarray(rows[np.argsort(keys, kind="stable")[:count]], dtype=np.intp)


def fit(pool: Pool, seed_rows: Matrix, params: Params) -> Fitted:
    """What the first rows of the permutation and the seed teach."""
    rows = first_rows(pool, SAMPLE)
    places = np.argsort(rows, kind="stable")
    inverse = np.empty_like(places)
    inverse[places] = np.arange(len(places))
    sample = stacked([pool.raw(rows[places], params.compute)[inverse], seed_rows])
    nothing = np.empty(0)
    taught = Fitted(nothing, nothing, np.empty(0, np.float32), Space(nothing, nothing, 1.0))
    if params.features.kind == "text":
        taught = replace(taught, rarity=rarity(sample))
    elif params.features.kind == "numeric":
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(sample)
        taught = replace(taught, shift=scaler.mean_, scale=scaler.scale_)
    unit_rows = params.features.kind in {"text", "embedding"}
    dims, beside = params.features.geometry_dims, params.features.text.directions
    known = taught.features(sample)
    return replace(
        taught, space=fit_space(known, dims, params.seed, unit_rows=unit_rows, beside=beside)
    )
