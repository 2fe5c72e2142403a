"""Files at a path or an fsspec URL: the parts of a pool, and the store of what is made from them.

A folder of the store, at a path or a URL, is written once. Its files come first and last of all
`part.json`, which names them with their sizes: where it is, the folder is complete, and a folder
without it is made again. Files at a URL are read from copies on this machine, in
$LABELROUNDS_CACHE, else ~/.cache/labelrounds, which may be deleted whenever no stage runs.
fsspec's own `simplecache` shows a second process a download that has not ended; this does not.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NotRequired, TypedDict

from stages.contract.canonical import dumps, read_json, sha256
from stages.contract.errors import PipelineError
from stages.examples.tables import ArrowColumns, Table, parquet_rows, read_table

SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
DONE = "part.json"
VERSIONS = (  # what file systems call that which differs when a file was written again
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "checksum",
    "version",
    "generation",
    "LastModified",
    "last_modified",
    "mtime",
    "modified",
    "updated",
    "created",
)
STORE = "see to your access to compute.store, and run the same command again"
LOST = (
    "see to your access to it; if it was deleted, run `dvc repro --force --single-item featurize`, "
    "then `dvc repro`"
)


class PartFacts(TypedDict):
    """part.json of a featurized part. files: names and sizes, in a store."""

    rows: int
    width: int
    files: NotRequired[dict[str, int]]


def is_url(location: str) -> bool:
    """Whether this is a URL, not a path."""
    return "://" in location


def name_of(location: str) -> str:
    """The last component of a URL or a path that is written with slashes."""
    return location.rpartition("/")[2]


def in_parts(pool: str) -> bool:
    """Whether data.pool names a folder or a URL of parts, not one table."""
    return is_url(pool) or Path(pool).is_dir()


def list_parts(pool: str) -> list[str]:
    """Paths or URLs of the tables in a folder, sorted by name, without hidden ones (._).

    Raises PipelineError where there is none.
    """
    files = _files_at_url(pool) if is_url(pool) else _files_in_folder(pool)
    parts = [
        file
        for file in files
        if file.lower().endswith(SUFFIXES) and not name_of(file).startswith((".", "_"))
    ]
    if not parts:
        what = "no .csv, .jsonl or .parquet parts in it"
        raise PipelineError(pool, what, "add parts, or correct data.pool")
    return parts


def _files_in_folder(folder: str) -> list[str]:
    return [str(path) for path in sorted(Path(folder).iterdir()) if path.is_file()]


def _files_at_url(url: str) -> list[str]:
    import fsspec

    with _one_line_faults(url, "cannot be listed", "correct data.pool in params.yaml"):
        system, folder = fsspec.url_to_fs(url)
        entries = system.ls(folder, detail=True)
        names = sorted(entry["name"] for entry in entries if entry["type"] == "file")
        return [system.unstrip_protocol(name) for name in names]


@contextmanager
def _one_line_faults(location: str, what: str, remedy: str) -> Iterator[None]:
    """Turns whatever a file system raises into a PipelineError that names the location."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # every file system has errors of its own kind
        raise PipelineError(location, f"{what} ({error})", remedy) from error


def _reading_part(location: str) -> AbstractContextManager[None]:
    return _one_line_faults(location, "cannot be read", "restore the part, or correct data.pool")


@contextmanager
def local(location: str) -> Iterator[Path]:
    """The file at a path or URL as a local path; a remote one is fetched for as long as it is used.

    A fault that is found in the fetched file names the URL.
    """
    if not is_url(location):
        yield Path(location)
        return
    import fsspec

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name_of(location)
        with _reading_part(location):
            system, inside = fsspec.url_to_fs(location)
            system.get_file(inside, str(path))
        try:
            yield path
        except PipelineError as error:
            texts = (error.where, error.what, error.remedy)
            raise PipelineError(*(text.replace(str(path), location) for text in texts)) from error


@contextmanager
def rows_of(location: str, rows: Sequence[int]) -> Iterator[tuple[Table, Sequence[int]]]:
    """A table that holds some rows of the one at a path or URL, and the position of each in it.

    Of Parquet at a URL only the row groups of these rows are read; CSV and JSONL are fetched whole.
    """
    if not (is_url(location) and location.lower().endswith(".parquet")):
        with local(location) as path:
            yield read_table(path), rows
        return
    import fsspec

    with _reading_part(location), fsspec.open(location) as file:
        yield parquet_rows(location, file, rows), range(len(rows))


@contextmanager
def opened(location: str) -> Iterator[Table]:
    """The table at a path or URL; of Parquet at a URL only those columns that are asked for."""
    if not (is_url(location) and location.lower().endswith(".parquet")):
        with local(location) as path:
            yield read_table(path, may_be_empty=True)
        return
    import fsspec

    with _reading_part(location), fsspec.open(location) as file:
        columns = ArrowColumns(location, file)
        yield Table(location, columns, range(1, columns.rows + 1))


def fingerprint(location: str) -> str:
    """What changes when the file at a path or URL does; empty if its file system does not say."""
    if not is_url(location):
        state = Path(location).stat()
        return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"
    import fsspec

    with _reading_part(location):
        system, inside = fsspec.url_to_fs(location)
        facts = system.info(inside)
    versions = {name: str(facts[name]) for name in VERSIONS if facts.get(name)}
    return dumps([facts.get("size"), versions]) if versions else ""


def finished(folders: Sequence[str]) -> dict[str, PartFacts]:
    """part.json of those folders that are complete, asked of the store itself, not of copies."""
    if any(map(is_url, folders)):
        return _finished_in_store(folders)
    documents = {folder: Path(folder) / DONE for folder in folders}
    return {folder: read_json(path) for folder, path in documents.items() if path.is_file()}


def _finished_in_store(urls: Sequence[str]) -> dict[str, PartFacts]:
    import fsspec

    with _one_line_faults(urls[0], "the store cannot be read", STORE):
        system = fsspec.url_to_fs(urls[0])[0]
        url_of = {fsspec.url_to_fs(f"{url}/{DONE}")[1]: url for url in urls}
        documents = system.cat(list(url_of), on_error="return")
        for data in documents.values():
            if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                raise data
    return {
        url_of[path]: json.loads(data)
        for path, data in documents.items()
        if isinstance(data, bytes) and data.endswith(b"\n")  # else it was cut
    }


def put(files: Mapping[str, Path], url: str, facts: Mapping[str, object]) -> None:
    """Put files into a folder at a URL under their names, and last part.json with the facts."""
    import fsspec

    with _one_line_faults(url, "cannot be put into the store", STORE):
        system, inside = fsspec.url_to_fs(url)
        for folder in {f"{inside}/{name}".rpartition("/")[0] for name in files}:
            system.makedirs(folder, exist_ok=True)
        for name, path in files.items():
            system.put_file(str(path), f"{inside}/{name}")
        sizes = {name: path.stat().st_size for name, path in files.items()}
        document = dumps({**facts, "files": sizes})
        system.pipe_file(f"{inside}/{DONE}", f"{document}\n".encode())


def shared(path: Path, store: str) -> str:
    """A file as workers find it: its full path, or the URL of its copy in the store.

    The copy is in a folder that is named by the file's hash.
    """
    if not store:
        return str(path.resolve())
    url = f"{store}/models/{sha256(path.read_bytes())}"
    if not finished([url]):
        put({path.name: path}, url, {})
    return f"{url}/{path.name}"


def copied(folder: str, prefix: str) -> Path:
    """A folder on this machine with those files of a folder whose names begin with the prefix.

    That is the folder itself, or a folder of copies where it is a URL. Raises PipelineError where
    the store has lost them.
    """
    if not is_url(folder):
        return Path(folder)
    cache = Path(os.environ.get("LABELROUNDS_CACHE") or Path.home() / ".cache" / "labelrounds")
    copies = cache / sha256(folder)[:32]
    _copy(folder, copies, DONE)
    sizes = read_json(copies / DONE)["files"]
    for name, size in sizes.items():
        # Others may write to the store: a name with ".." would lead out of the cache.
        if name.startswith(prefix) and ".." not in name:
            _copy(folder, copies, name, size)
    return copies


def on_this_machine(location: str) -> Path:
    """The file that `shared` names. Raises PipelineError where its bytes do not have that hash."""
    folder, _, name = location.rpartition("/")
    path = copied(folder, name) / name
    if is_url(location) and sha256(path.read_bytes()) != name_of(folder):
        what = "is not the file that was put there"
        raise PipelineError(location, what, "see who else may write to compute.store")
    return path


def _copy(url: str, folder: Path, name: str, size: int | None = None) -> None:
    """Copy a file of the store, whole or not at all, unless the copy is there."""
    if (folder / name).is_file():
        return
    import fsspec

    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
        path = Path(temporary) / "copy"
        with _one_line_faults(f"{url}/{name}", "cannot be read from the store", LOST):
            system, inside = fsspec.url_to_fs(f"{url}/{name}")
            system.get_file(inside, str(path))
        copied_size = path.stat().st_size
        if size not in {None, copied_size}:
            what = f"{copied_size} bytes came where {size} were put"
            raise PipelineError(f"{url}/{name}", what, "run the same command again")
        path.replace(folder / name)
