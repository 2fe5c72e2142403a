"""Rows that were forgotten (`rounds forget`): what is left of them in frozen batches and answers.

The content goes: text, picture, fields, notes, and all that a tool wrote beside an answer. What
stays is who was asked what, and what they decided: ids, hashes, labels, names, times. data/rounds/
changed.jsonl says which rows are forgotten (kind `forgotten`), and which bytes each file had before
and after (kind `redacted`), so that a frozen batch is still known to be the one that was issued.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.answers.changed import read_changed
from stages.answers.prodigy import (
    answer_without_content,
    content_hash,
    hash_of_task,
    task_without_content,
)
from stages.answers.rounds import FORGOTTEN, batch_folders, number_of
from stages.contract.canonical import Row, dumps, read_json, read_jsonl

ASKED = "asked.jsonl"


@dataclass(frozen=True)
class Gone:
    """What is forgotten of one batch: ids as it asked them, and Prodigy's hashes of their content.

    hashes: to find an answer that does not name its id; each with that id.
    """

    ids: frozenset[str]
    hashes: Mapping[int, str]


@dataclass(frozen=True)
class Redaction:
    """What is forgotten of all batches of a project.

    batches: by batch id, those with a forgotten row; own: the batch of each round's folder, which
    is named as it stands in data/rounds (`004`, `004/merged/003-…`).
    """

    batches: Mapping[str, Gone]
    own: Mapping[str, str]

    def of_file(self, path: str, data: bytes) -> bytes:
        """A file of data/rounds as it is once nothing forgotten stands in it; twice is once.

        path: from data/rounds. Files that hold no content stay as they are.
        """
        if not self.batches:
            return data
        folder, _, name = path.rpartition("/")
        if name == ASKED:
            return _by_line(data, self._task)
        above, _, last = folder.rpartition("/")
        if last == "answers" and name.endswith(".jsonl"):
            own = self.own.get(above, "")
            return _by_line(data, lambda row: self._answer(row, own))
        return data

    def _task(self, row: Row) -> Row | None:
        """What stays of a forgotten task; None for any other."""
        gone = self.batches.get(row.get("al_batch", ""))
        if gone is None or row.get("al_id") not in gone.ids:
            return None
        return redacted_task(row)

    def _answer(self, row: Row, own: str) -> Row | None:
        """What stays of an answer to something forgotten; None for any other row."""
        batch = row.get("al_batch") or own
        gone = self.batches.get(batch) if isinstance(batch, str) else None
        if gone is None:
            return None
        item = row.get("al_id") or gone.hashes.get(content_hash(row) or 0)
        if item not in gone.ids:
            return None
        return {**answer_without_content(row), "al_id": item, "al_batch": batch, FORGOTTEN: True}


def redacted_task(row: Mapping[str, object]) -> Row:
    """What stays of a task: all but its content, and the hash by which Prodigy knows it."""
    if row.get(FORGOTTEN):
        return dict(row)
    return {**task_without_content(row), FORGOTTEN: True}


def _by_line(data: bytes, redact: Callable[[Row], Row | None]) -> bytes:
    """A JSONL file with some rows written anew, the others byte for byte as they are."""
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        row = _object(line)
        kept = None if row is None else redact(row)
        if kept is not None:
            lines[number] = dumps(kept).encode()
    return b"\n".join(lines)


def _object(line: bytes) -> Row | None:
    """The JSON object on a line; None for what is none, which import_labels refuses."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def forgotten_rows(record: Iterable[Row]) -> list[Row]:
    """The lines of changed.jsonl that say what is forgotten."""
    return [row for row in record if row["kind"] == "forgotten"]


def redaction_of(root: Path) -> Redaction:
    """What is forgotten of the batches in the folder of rounds, by the hashes of the contents.

    So it is found under whichever id it was asked.
    """
    rows = forgotten_rows(read_changed(root))
    if not rows:
        return Redaction({}, {})
    batches: dict[str, Gone] = {}
    own: dict[str, str] = {}
    for folder in batch_folders(root):
        batch = str(read_json(folder / "manifest.json")["batch_id"])
        own[folder.relative_to(root).as_posix()] = batch
        number = number_of(folder)
        shas = {row["sha"] for row in rows if number <= row["round"]}
        ids = {row["id"] for row in read_jsonl(folder / "batch.jsonl") if row["sha"] in shas}
        if ids:
            batches[batch] = Gone(frozenset(ids), _hashes(folder, ids))
    return Redaction(batches, own)


def _hashes(folder: Path, ids: Collection[str]) -> dict[int, str]:
    tasks = read_jsonl(folder / ASKED)
    return {hash_of_task(task): str(task["al_id"]) for task in tasks if task.get("al_id") in ids}
