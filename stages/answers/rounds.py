"""The frozen side of a round: what a batch is, and how an edit after its issue is noticed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote

from stages.answers.changed import read_record
from stages.answers.ledger import Asked, read_rows
from stages.contract.canonical import Row, jsonl, read_json, read_jsonl, sha256
from stages.contract.errors import PipelineError

FROZEN = ("asked.jsonl", "batch.jsonl", "verdicts.jsonl")
FORGOTTEN = "forgotten"  # true in what is left of a row that was forgotten


def batch_id(rows: Sequence[Mapping[str, object]]) -> str:
    """The identity of a batch: SHA-256 of its canonical rows (batch.jsonl), in the order to ask."""
    return sha256(jsonl(rows))


def read_frozen(folder: Path) -> tuple[Row, list[Asked], list[Row]]:
    """Manifest, batch rows and asked rows of an issued round.

    Raises PipelineError if any was edited after issue. What `rounds forget` did is no edit: the
    record has the hashes of the file before and after.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        what = "answers to a batch that was never issued (no manifest.json)"
        raise PipelineError(folder, what, "remove the folder, or restore the round from git")
    manifest = read_json(path)
    hashes = manifest.get("sha256") if isinstance(manifest, dict) else None
    if not isinstance(hashes, dict) or not isinstance(manifest.get("batch_id"), str):
        what = "not a manifest: batch_id and sha256 were expected"
        raise PipelineError(path, what, _restore(folder))
    for name in FROZEN:
        file = folder / name
        if not file.is_file() or not _is_frozen(file, str(hashes.get(name))):
            what = f"edited after the batch was issued (its hash is not the one in {path})"
            raise PipelineError(file, what, _restore(file))
    rows = read_rows(folder / "batch.jsonl", Asked)
    if batch_id(rows) != manifest["batch_id"]:
        raise PipelineError(path, "batch_id is not the hash of batch.jsonl", _restore(folder))
    return manifest, rows, read_jsonl(folder / "asked.jsonl")


def _is_frozen(file: Path, issued: str) -> bool:
    """Whether a file of a batch has the hash that it was issued with, or one of its redactions."""
    now = sha256(file.read_bytes())
    if now == issued:
        return True
    root = root_of(file.parent)
    path = f"data/rounds/{file.relative_to(root).as_posix()}"
    hashes = {issued}
    for row in read_record(root):
        if row["kind"] == "redacted" and row["file"] == path and row["was"] in hashes:
            hashes.add(row["now"])
    return now in hashes


def to_ask(tasks: Iterable[Row]) -> list[Row]:
    """The tasks of a batch that can be asked: those that are not forgotten."""
    return [task for task in tasks if not task.get(FORGOTTEN)]


def _restore(path: Path) -> str:
    return f"restore it: git checkout HEAD -- {quote(str(path))}"


MERGED = "merged"


def merged_folders(folder: Path) -> list[Path]:
    """The rounds of another branch that `rounds merge` put into a round, by name.

    Each is that branch's whole folder of the round, as it was there: data/rounds/004/merged/003-…
    """
    return sorted(path.parent for path in folder.glob(f"{MERGED}/*/manifest.json"))


def root_of(folder: Path) -> Path:
    """The folder of all rounds that a round, or a merged round, lies in."""
    return folder.parents[2] if folder.parent.name == MERGED else folder.parent


def number_of(folder: Path) -> int:
    """The number of a round, of a merged round that of the round that it was merged into."""
    return int((folder.parents[1] if folder.parent.name == MERGED else folder).name)


def batch_folders(root: Path) -> list[Path]:
    """Every folder with a batch: each round, then the rounds that were merged into it."""
    return [path for folder in round_folders(root) for path in (folder, *merged_folders(folder))]


def round_folders(root: Path) -> list[Path]:
    """The folders data/rounds/NNN, in order.

    Raises PipelineError if one is missing in between or oddly named.
    """
    folders = [path for path in root.glob("[0-9]*") if path.is_dir()]
    for path in folders:
        if not re.fullmatch(r"[0-9]{3,}", path.name):
            what = "not a round: a number of three digits was expected"
            raise PipelineError(path, what, "move the folder elsewhere")
    folders.sort(key=lambda path: int(path.name))
    for expected, folder in enumerate(folders, start=1):
        if int(folder.name) != expected:
            what = f"round {expected:03d} is missing before it"
            raise PipelineError(folder, what, _restore(root / f"{expected:03d}"))
    return folders
