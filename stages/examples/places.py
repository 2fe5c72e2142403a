"""Files at a path or an fsspec URL: the parts of a pool, and the store of what was made from them.

A place in the store is a folder, at a path or a URL, that is never written again: some files, and
last of all `part.json`, which names them with their sizes, so that who finds it finds all, and what
was cut is made again. Files at a URL are read from copies on this machine, in $LABELROUNDS_CACHE,
else ~/.cache/labelrounds, which may be deleted whenever no stage runs. fsspec's own `simplecache`
shows a second process a download that has not ended; this does not.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.contract.canonical import Row, dumps, read_json, sha256
from stages.contract.errors import PipelineError
from stages.examples.tables import ArrowColumns, Table, parquet_rows, read_table

SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
DONE = "part.json"
VERSIONS = (  # what file systems call that which differs when a file was written again
    "ETag", "etag", "md5Hash", "content_md5", "checksum", "version", "generation", "LastModified",
    "last_modified", "mtime", "modified", "updated", "created",
)  # fmt: skip
PART = "cannot be read", "restore the part, or correct data.pool"
STORE = "see to your access to compute.store, and run the same command again"
LOST = "see to your access to it; if it was deleted, run `dvc repro --force --single-item featurize`, then `dvc repro`"


def is_url(place: str) -> bool:
    """Whether a place is a URL, not a path."""
    return "://" in place


def in_parts(pool: str) -> bool:
    """Whether data.pool names a folder or a URL of parts, not one table."""
    return is_url(pool) or Path(pool).is_dir()


def list_parts(pool: str) -> list[str]:
    """Paths or URLs of the tables in a folder, by name; hidden ones (._) are none. Raises PipelineError for none."""
    if not is_url(pool):
        files = [str(path) for path in sorted(Path(pool).iterdir()) if path.is_file()]
    else:
        import fsspec

        with _told(pool, "cannot be listed", "correct data.pool in params.yaml"):
            there, folder = fsspec.url_to_fs(pool)
            names = sorted(
                row["name"] for row in there.ls(folder, detail=True) if row["type"] == "file"
            )
            files = [there.unstrip_protocol(name) for name in names]
    files = [
        file
        for file in files
        if file.lower().endswith(SUFFIXES) and file.rpartition("/")[2][0] not in "._"
    ]
    if not files:
        raise PipelineError(
            pool, "no .csv, .jsonl or .parquet parts in it", "add parts, or correct data.pool"
        )
    return files


@contextmanager
def _told(place: str, what: str, remedy: str) -> Iterator[None]:
    """Whatever a file system raises, in one line that names the place."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # every file system has errors of a kind of its own
        raise PipelineError(place, f"{what} ({error})", remedy) from error


@contextmanager
def local(place: str) -> Iterator[Path]:
    """The file at a path or URL as a local path; a remote one is fetched for as long as it is used.

    A fault that is found in it meanwhile names the URL.
    """
    if not is_url(place):
        yield Path(place)
        return
    import fsspec

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / place.rpartition("/")[2]
        with _told(place, *PART):
            files, inside = fsspec.url_to_fs(place)
            files.get_file(inside, str(path))
        try:
            yield path
        except PipelineError as error:
            told = (
                text.replace(str(path), place) for text in (error.where, error.what, error.remedy)
            )
            raise PipelineError(*told) from error


@contextmanager
def rows_of(place: str, rows: Sequence[int]) -> Iterator[tuple[Table, Sequence[int]]]:
    """A table with some rows of the one at a path or URL, and where in it each of them stands.

    Of Parquet at a URL only their row groups are read; CSV and JSONL are fetched whole.
    """
    if not (is_url(place) and place.lower().endswith(".parquet")):
        with local(place) as path:
            yield read_table(path), rows
        return
    import fsspec

    with _told(place, *PART), fsspec.open(place) as file:
        yield parquet_rows(place, file, rows), range(len(rows))


@contextmanager
def opened(place: str) -> Iterator[Table]:
    """The table at a path or URL; of Parquet at a URL only the columns that are asked for are fetched."""
    if not (is_url(place) and place.lower().endswith(".parquet")):
        with local(place) as path:
            yield read_table(path, may_be_empty=True)
        return
    import fsspec

    with _told(place, *PART), fsspec.open(place) as file:
        columns = ArrowColumns(place, file)
        yield Table(place, columns, range(1, columns.rows + 1))


def fingerprint(place: str) -> str:
    """What changes when the file at a path or URL does; empty where its file system tells nothing of the kind."""
    if not is_url(place):
        state = Path(place).stat()
        return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"
    import fsspec

    with _told(place, *PART):
        files, inside = fsspec.url_to_fs(place)
        facts = files.info(inside)
    marks = {name: str(facts[name]) for name in VERSIONS if facts.get(name)}
    return dumps([facts.get("size"), marks]) if marks else ""


def finished(places: Sequence[str]) -> dict[str, Row]:
    """What is said (part.json) of those places that are whole, asked of the store itself, not of the copies."""
    if not any(map(is_url, places)):
        return {
            place: read_json(Path(place) / DONE)
            for place in places
            if (Path(place) / DONE).is_file()
        }
    import fsspec

    with _told(places[0], "the store cannot be read", STORE):
        inside = {fsspec.url_to_fs(f"{place}/{DONE}")[1]: place for place in places}
        found = fsspec.url_to_fs(places[0])[0].cat(list(inside), on_error="return")
        for data in found.values():
            if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                raise data
    whole = {
        path: data
        for path, data in found.items()
        if isinstance(data, bytes) and data.endswith(b"\n")
    }
    return {inside[path]: json.loads(data) for path, data in whole.items()}


def put(files: Mapping[str, Path], place: str, facts: Row) -> None:
    """Put files to a place at a URL under their names, and last what is said of them: with it the place is whole."""
    import fsspec

    with _told(place, "cannot be put into the store", STORE):
        there, inside = fsspec.url_to_fs(place)
        for folder in {f"{inside}/{name}".rpartition("/")[0] for name in files}:
            there.makedirs(folder, exist_ok=True)
        for name, path in files.items():
            there.put_file(str(path), f"{inside}/{name}")
        sizes = {name: path.stat().st_size for name, path in files.items()}
        there.pipe_file(f"{inside}/{DONE}", f"{dumps({**facts, 'files': sizes})}\n".encode())


def shared(path: Path, store: str) -> str:
    """A file as a worker finds it: its full path, or the URL of its copy in the store, under its hash."""
    if not store:
        return str(path.resolve())
    place = f"{store}/models/{sha256(path.read_bytes())}"
    if not finished([place]):
        put({path.name: path}, place, {})
    return f"{place}/{path.name}"


def copied(place: str, names: str) -> Path:
    """The folder on this machine that holds those files of a place whose names start so: itself, or its copies.

    Raises PipelineError where the store has lost them.
    """
    if not is_url(place):
        return Path(place)
    cache = Path(os.environ.get("LABELROUNDS_CACHE") or Path.home() / ".cache" / "labelrounds")
    folder = cache / sha256(place)[:32]
    _copy(place, folder, DONE)
    sizes = read_json(folder / DONE)["files"]
    for name in sizes:
        if (
            name.startswith(names) and ".." not in name
        ):  # a store that others write to names no file elsewhere
            _copy(place, folder, name, sizes[name])
    return folder


def on_this_machine(place: str) -> Path:
    """The file that `shared` names. Raises PipelineError where the store holds another under that hash."""
    folder, _, name = place.rpartition("/")
    path = copied(folder, name) / name
    if is_url(place) and sha256(path.read_bytes()) != folder.rpartition("/")[2]:
        raise PipelineError(
            place, "is not the file that was put there", "see who else may write to compute.store"
        )
    return path


def _copy(place: str, folder: Path, name: str, size: int | None = None) -> None:
    """Copy a file of the store, whole or not at all, unless that was done before."""
    if (folder / name).is_file():
        return
    import fsspec

    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
        path = Path(temporary) / "copy"
        with _told(f"{place}/{name}", "cannot be read from the store", LOST):
            files, inside = fsspec.url_to_fs(f"{place}/{name}")
            files.get_file(inside, str(path))
        if size not in {None, path.stat().st_size}:
            what = f"{path.stat().st_size} bytes came where {size} were put"
            raise PipelineError(f"{place}/{name}", what, "run the same command again")
        path.replace(folder / name)
