"""One part of a pool: the hash of all that its features are made from, and the features themselves.

A worker on this or another machine runs `write_part`. Nothing here depends on other parts, so a
finished part is kept under its hash and never computed again: not after Ctrl-C, and not when
another part is new.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, nullcontext, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from stages.contract.arrays import Matrix
from stages.contract.canonical import dumps, sha256, write_json
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys
from stages.contract.imports import build
from stages.contract.params import Params
from stages.examples.content import identities, number_columns, numbers, shrunk, texts, vectors
from stages.examples.places import DONE, PartFacts, finished, is_url, local, name_of, put
from stages.examples.tables import Table, read_table
from stages.features.embedding import embedded
from stages.features.kinds import in_single_precision, load_vectors, reads_text, with_tokens
from stages.store.ngrams import hashed
from stages.store.raw import write_raw

BLOCK = 16_384  # rows whose features are made at a time
CODE = (  # the modules that decide what a part's features are
    "contract/canonical",
    "contract/identity",
    "examples/content",
    "examples/tables",
    "features/embedding",
    "features/kinds",
    "features/one_part",
    "store/ngrams",
    "store/raw",
    "store/words",
)
LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "pyarrow",
    "model2vec",
    "sentence-transformers",
    "tokenizers",
    "wordllama",
)


@dataclass(frozen=True)
class Work:
    """A part to featurize.

    source: path or URL of its table; content: hash of the table's bytes; target: folder or URL for
    the features; code: `code_hash` of the machine that gives the work out; folder: where that runs,
    from which paths count. A worker there may have been started by a command in another folder.
    """

    source: str
    content: str
    target: str
    code: str
    params: Params
    folder: str


def key_of(source: str, made_from: list[str], params: Params) -> str:
    """The hash of all that a part's features are made from; the same on every machine.

    made_from: hashes of the part's bytes, of the folder of images, and of the code.
    """
    vectors_hash = ""
    if has_vectors_beside(params):
        vectors_hash = _hash(_vectors_beside(source, params))
    data = params.data.model_dump(exclude={"pool", "seed", "test", "origin"})
    # The geometry is learnt later, from all parts: its params do not change what is kept of one.
    features = params.features.model_dump(exclude={"geometry_dims": True, "text": {"directions"}})
    return sha256(dumps([*made_from, vectors_hash, params.seed, data, features]))[:32]


def code_hash() -> str:
    """A hash of the code that makes features, and of the versions of the libraries it uses."""
    stages = Path(__file__).parent.parent
    code = [sha256((stages / f"{name}.py").read_bytes()) for name in CODE]
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            versions.append("")
    return sha256(dumps([code, versions]))


def hash_of(source: str) -> str:
    """The hash of the file at a path or URL."""
    with local(source) as path:
        return _hash(path)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def images_hash(params: Params) -> str:
    """A hash of the folder of images, which any part may name; empty where there is none."""
    folder = Path(params.data.images)
    if not params.data.image or not folder.is_dir():
        return ""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256(dumps([[path.relative_to(folder).as_posix(), _hash(path)] for path in files]))


def write_part(work: Work) -> None:
    """Featurize one part: completely, or not at all; nothing where it is done.

    A cluster may give one part to two workers. Raises PipelineError for a part that has changed,
    for a worker with other code, and where the features cannot be written.
    """
    if finished([work.target]):
        return
    with chdir(work.folder) if Path(work.folder).is_dir() else nullcontext():
        _write_part(work)


def _write_part(work: Work) -> None:
    if code_hash() != work.code:
        where = f"featurize: worker {platform.node()}"
        what = "its labelrounds or libraries are of other versions than here"
        raise PipelineError(where, what, "install the same versions on all machines")
    parent = None
    if not is_url(work.target):
        parent = Path(work.target).parent
        parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=parent, prefix=".part-"))
    try:
        facts = _fill_from_source(unfinished, work)
        if parent is None:
            put(_files_in(unfinished), work.target, facts)
        else:
            _move(unfinished, work.target, facts)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _files_in(folder: Path) -> dict[str, Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _move(unfinished: Path, target: str, facts: PartFacts) -> None:
    write_json(unfinished / DONE, facts)
    unfinished.chmod(0o755)
    with suppress(OSError):  # another worker may have finished the same part meanwhile
        unfinished.rename(target)
    if not Path(target).is_dir():
        remedy = "see to the disk, and run the same command again"
        raise PipelineError(target, "cannot be written", remedy)


def _fill_from_source(folder: Path, work: Work) -> PartFacts:
    """Write into a folder what is kept of a part, with its rows and the width of its features."""
    with local(work.source) as path:
        # A file on this machine was hashed a moment ago; one at a URL is another download.
        if is_url(work.source) and _hash(path) != work.content:
            what = "was changed in the meantime"
            raise PipelineError(work.source, what, "run the same command again")
        table = read_table(path, may_be_empty=True)
        _write_identities(folder, table, work.params)
        if has_vectors_beside(work.params):
            width = _keep_vectors_beside(folder, work, len(table))
        else:
            width = write_raw(folder, raw_features(table, work.params), len(table))
        return {"rows": len(table), "width": width}


def _write_identities(folder: Path, table: Table, params: Params) -> None:
    """Write ids, content hashes, and the order of the rows in the random permutation."""
    import pyarrow as pa
    from pyarrow import feather

    ids, shas = identities(table, params, "pool", counted=False)
    columns = {"id": ids, "sha": pa.array([bytes.fromhex(sha) for sha in shas], pa.binary(32))}
    feather.write_feather(pa.table(columns), folder / "rows.arrow", compression="uncompressed")
    keys = order_keys(params.seed, ids)
    order = np.argsort(keys, kind="stable")
    np.save(folder / "keys.npy", keys[order])
    np.save(folder / "order.npy", order.astype(np.int32))


def _keep_vectors_beside(folder: Path, work: Work, rows: int) -> int:
    """Link to the user's vectors of a part, or copy them for a store; the width of the vectors."""
    path = _vectors_beside(work.source, work.params)
    width = int(checked_vectors(path, rows).shape[1])
    if is_url(work.target):
        shutil.copyfile(path, folder / "raw.npy")
    else:
        link = os.path.relpath(path.resolve(), Path(work.target).resolve())
        (folder / "raw.link").write_text(link)
    return width


def raw_features(table: Table, params: Params) -> Iterator[Matrix]:
    """Features that depend on each row alone, block by block."""
    features_of = _maker(table, params)
    for start in range(0, len(table), BLOCK):
        yield features_of(slice(start, start + BLOCK))


def _maker(table: Table, params: Params) -> Callable[[slice], Matrix]:
    """The function that gives the raw features of a block of the table's rows."""
    options = params.features
    if options.kind == "image":
        return lambda rows: shrunk(table, params, rows)
    if options.kind == "precomputed":
        column = vectors(table, options.columns[0])
        return lambda rows: column[rows]
    if options.kind == "text":
        words = texts(table, params.data.text)
        return lambda rows: with_tokens(
            hashed(words[rows], options.text), words[rows], options.text
        )
    if options.kind == "embedding":
        words = texts(table, params.data.text)
        return lambda rows: embedded(words[rows], options.embedding)
    if reads_text(params):
        words = texts(table, params.data.text)
        return lambda rows: _transformed(words[rows], params)
    values = numbers(table, number_columns(table, params))
    if options.kind == "custom":
        return lambda rows: _transformed(values[rows], params)
    return lambda rows: values[rows]


def _transformed(block: Matrix, params: Params) -> Matrix:
    """What the user's transformer makes of some rows.

    Raises PipelineError for a transformer that must be fitted.
    """
    from sklearn.utils import get_tags

    custom = params.features.custom
    assert custom is not None  # check_kind
    transformer = build(custom, params.seed, "features.custom")
    if get_tags(transformer).requires_fit:
        what = f"{custom.path} must be fitted, and parts of a pool are featurized alone"
        remedy = (
            "use one that learns nothing, or precompute the vectors (features.kind: precomputed)"
        )
        raise PipelineError("params.yaml features.custom", what, remedy)
    return in_single_precision(transformer.transform(block))


def has_vectors_beside(params: Params) -> bool:
    """Whether vectors are .npy files in a folder, named as the parts are, with seed and test."""
    return params.features.kind == "precomputed" and Path(params.features.vectors).is_dir()


def _vectors_beside(source: str, params: Params) -> Path:
    name = name_of(source)
    path = Path(params.features.vectors) / f"{name.rpartition('.')[0]}.npy"
    if not path.is_file():
        remedy = "write them with numpy.save, one row per row"
        raise PipelineError(path, f"no vectors for {name}", remedy)
    return path


def checked_vectors(path: Path, rows: int) -> Matrix:
    """The array of a .npy file. Raises PipelineError unless it is finite and has so many rows."""
    array = load_vectors(path)
    remedy = "compute the vectors again"
    if array.ndim != 2 or len(array) != rows:
        what = f"shape ({rows}, d) was expected, found {array.shape}"
        raise PipelineError(path, what, remedy)
    for start in range(0, rows, BLOCK):
        if not np.isfinite(array[start : start + BLOCK]).all():
            raise PipelineError(path, "NaN or infinity among the vectors", remedy)
    return array
