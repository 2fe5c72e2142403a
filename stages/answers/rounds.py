"""The frozen side of a round: what a batch is, how it is identified, and how an edit after issue is found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from stages.answers.ledger import Asked, read_rows
from stages.contract.canonical import Row, jsonl, numbered_rows, read_json, sha256
from stages.contract.errors import PipelineError

FROZEN = ("asked.jsonl", "batch.jsonl", "verdicts.jsonl")


def batch_id(rows: Sequence[Mapping[str, object]]) -> str:
    """The identity of a batch: SHA-256 of its canonical rows (batch.jsonl), in the order to ask."""
    return sha256(jsonl(rows))


def read_frozen(folder: Path) -> tuple[Row, list[Asked], list[Row]]:
    """Manifest, batch rows and asked rows of an issued round. Raises PipelineError if any was edited after issue."""
    if not (folder / "manifest.json").is_file():
        what = "answers to a batch that was never issued (no manifest.json)"
        raise PipelineError(folder, what, "remove the folder, or restore the round from git")
    manifest = read_json(folder / "manifest.json")
    hashes = manifest.get("sha256") if isinstance(manifest, dict) else None
    if not isinstance(hashes, dict) or not isinstance(manifest.get("batch_id"), str):
        what = "not a manifest: batch_id and sha256 were expected"
        raise PipelineError(
            folder / "manifest.json", what, f"restore it: git checkout HEAD -- {quote(str(folder))}"
        )
    for name in FROZEN:
        data = (folder / name).read_bytes() if (folder / name).is_file() else None
        if data is None or sha256(data) != hashes.get(name):
            what = f"edited after the batch was issued (its hash is not the one in {folder / 'manifest.json'})"
            raise PipelineError(
                folder / name, what, f"restore it: git checkout HEAD -- {quote(str(folder / name))}"
            )
    rows = read_rows(folder / "batch.jsonl", Asked)
    if batch_id(rows) != manifest["batch_id"]:
        what = "batch_id is not the hash of batch.jsonl"
        raise PipelineError(
            folder / "manifest.json", what, f"restore it: git checkout HEAD -- {quote(str(folder))}"
        )
    return manifest, rows, [row for _, row in numbered_rows(folder / "asked.jsonl")]


def round_folders(root: Path) -> list[Path]:
    """The folders data/rounds/NNN, in order. Raises PipelineError if one is missing in between or oddly named."""
    found = [path for path in root.glob("[0-9]*") if path.is_dir()]
    for path in found:
        if not re.fullmatch(r"[0-9]{3,}", path.name):
            raise PipelineError(
                path,
                "not a round: a number of three digits was expected",
                "move the folder elsewhere",
            )
    folders = sorted(found, key=lambda path: int(path.name))
    for expected, folder in enumerate(folders, start=1):
        if int(folder.name) != expected:
            what = f"round {expected:03d} is missing before it"
            missing = quote(str(root / f"{expected:03d}"))
            raise PipelineError(folder, what, f"restore it: git checkout HEAD -- {missing}")
    return folders
