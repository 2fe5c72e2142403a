"""Tables at a URL (the Hub's hf://, s3://, https://, any of fsspec's): copied in, and where from.

`rounds init` copies them into the project, so that every commit can be reproduced when the URL is
gone. `data.origin` in params.yaml names each table's URL, for hf:// with the commit that a branch
or tag stood for, and with it dvc.lock does. data/origin.json (`FILES`) holds what each file was
then; `rounds verify --origin` says where it is another by now.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from stages.contract.canonical import read_json
from stages.contract.errors import PipelineError
from stages.contract.progress import watched
from stages.examples.places import SUFFIXES, fingerprint, local, name_of

FILES = "data/origin.json"
HUB = "hf://"
PINNED = re.compile(r"hf://[^@]+@[0-9a-f]{40}/")
SINGLE = (*SUFFIXES, ".tsv", ".txt", ".json", ".xlsx")
Table = Path | str  # a path, or a URL


class OriginFile(TypedDict):
    """A file when it was copied: size, bytes, and its version as its file system says it."""

    url: str
    size: int
    version: str
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """A table that was copied. path: the copy; url: where from, pinned where that can be."""

    path: Path
    url: str
    files: list[OriginFile]


@contextmanager
def fetched(tables: Mapping[str, Table | None]) -> Iterator[dict[str, Fetched]]:
    """Copies of those tables that are at a URL, by the tables' names, for as long as they are used.

    A fault in a copy names the URL.
    """
    with TemporaryDirectory() as temporary:
        copies: dict[str, Fetched] = {}
        for name, table in tables.items():
            if isinstance(table, str):
                copies[name] = _fetch(name, pinned(table), Path(temporary) / name)
        try:
            yield copies
        except PipelineError as error:
            texts = [error.where, error.what, error.remedy]
            for copy in copies.values():
                base = copy.url.rpartition("/")[0] if copy.path.is_file() else copy.url
                folder = copy.path.parent if copy.path.is_file() else copy.path
                texts = [text.replace(str(folder), base) for text in texts]
            raise PipelineError(*texts) from error


def pinned(url: str) -> str:
    """The URL; one of the Hub with the commit that its branch or tag stands for now.

    Raises PipelineError without huggingface_hub, and for a repository or revision that is none.
    """
    if not url.startswith(HUB):
        return url
    try:
        from huggingface_hub import HfApi, HfFileSystem
    except ImportError as error:
        what = "huggingface_hub is not installed, and hf:// needs it"
        raise PipelineError(url, what, "pip install 'labelrounds[hub]'") from error
    if PINNED.match(url):
        return url
    with _one_line(url):
        place: Any = HfFileSystem().resolve_path(url)
        facts = HfApi().repo_info(place.repo_id, repo_type=place.repo_type, revision=place.revision)
    kind = "" if place.repo_type == "model" else f"{place.repo_type}s/"
    return f"{HUB}{kind}{place.repo_id}@{facts.sha}/{place.path_in_repo}"


def is_pinned(url: str) -> bool:
    """Whether the content at a URL cannot change: it names a commit of the Hub."""
    return PINNED.match(url) is not None


def _fetch(name: str, url: str, folder: Path) -> Fetched:
    """Copy the file, or the parts in a folder or of a pattern, into a new folder."""
    sources = _sources(name, url)
    folder.mkdir()
    files = [
        _copy(source, folder / name_of(source))
        for source in watched(f"copy {name}", sources, "file")
    ]
    single = len(sources) == 1 and "*" not in url and url.lower().endswith(SINGLE)
    return Fetched(folder / name_of(sources[0]) if single else folder, url, files)


def _sources(name: str, url: str) -> list[str]:
    """The URLs of the files that a URL stands for. Raises PipelineError where there is none."""
    import fsspec

    if "*" not in url and url.lower().endswith(SINGLE):
        return [url]
    with _one_line(url):
        system, inside = fsspec.url_to_fs(url)
        paths = system.glob(inside) if "*" in url else system.ls(inside, detail=False)
    tables = [path for path in sorted(paths) if path.lower().endswith(SUFFIXES)]
    if not tables:
        what = "no .csv, .jsonl or .parquet files there"
        raise PipelineError(url, what, f"correct --{name}")
    if name != "pool":
        what = f"{len(tables)} files, and only a pool may be in parts"
        raise PipelineError(url, what, f"name one file as --{name}")
    return [str(system.unstrip_protocol(path)) for path in tables]


def _copy(source: str, path: Path) -> OriginFile:
    """Copy one file, and say what it is."""
    import fsspec

    with _one_line(source):
        system, inside = fsspec.url_to_fs(source)
        system.get_file(inside, str(path))
        version = fingerprint(source)
    return {
        "url": source, "size": path.stat().st_size, "version": version, "sha256": _hash(path),
    }  # fmt: skip


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _one_line(url: str) -> Iterator[None]:
    try:
        yield
    except PipelineError:
        raise
    except ImportError as error:
        said = str(error).splitlines()[0]
        raise PipelineError(
            url, f"its file system is not installed ({said})", "install it"
        ) from error
    except Exception as error:  # every file system has errors of its own kind
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise PipelineError(url, f"cannot be read ({said})", "correct the URL") from error


def unpinned(root: Path) -> list[tuple[str, OriginFile]]:
    """The files that were copied from a URL that nothing pins, each with its table's name."""
    path = root / FILES
    origin: dict[str, list[OriginFile]] = read_json(path) if path.is_file() else {}
    return [
        (name, file)
        for name, files in origin.items()
        for file in files
        if not is_pinned(file["url"])
    ]


def not_asked(root: Path) -> list[str]:
    """A line that says how to ask such URLs whether they changed; none without one."""
    names = ", ".join(dict.fromkeys(name for name, _ in unpinned(root)))
    if not names:
        return []
    return [f"origin: {names}: copied from a URL; --origin asks it whether the content changed"]


def moved_on(root: Path) -> list[str]:
    """A line for each file at a URL that is no longer what was copied, or cannot be looked at.

    Its version is asked for, and its bytes where the file system names none or another.
    """
    lines = []
    for name, file in watched("ask the URLs", unpinned(root), "file"):
        difference = _difference(file)
        if difference:
            lines.append(f"origin: {name}: {file['url']} {difference}")
    return lines


def _difference(file: OriginFile) -> str:
    """What is said of a file that is not as it was; empty where it is."""
    kept = "; the project keeps the copy that it was made with"
    try:
        with _one_line(file["url"]):
            version = fingerprint(file["url"])
            if version and version == file["version"]:
                return ""
            with local(file["url"]) as path:
                same = _hash(path) == file["sha256"]
                size = path.stat().st_size
    except PipelineError as error:
        return f"{error.what}, so nobody knows whether it changed{kept}"
    if same:
        return ""
    return f"was written again since it was copied ({file['size']} -> {size} bytes){kept}"
