"""data/rounds/changed.jsonl: what people said about asked ids whose content changed.

Columns of each line:
    change         number of the command that wrote it
    round          rounds issued by then
    corrections    lines that the newest round's corrections.jsonl had then: later ones name today's
                   ids
    kind, id, why, by
    to, sha        kind moved: the content that `id` had stands under the id `to` now; null where it
                   left the pool
    was, now       kind edited: hashes of the content that was judged, and of what it is now
    sha, files     kind forgotten: the content that `id` had, and the pictures that went with it
    file, was, now kind redacted, without an id: SHA-256 of a file before and after it lost what is
                   forgotten (stages/answers/forgotten.py); its path from the
                   project's root; md5: the same two, as dvc.lock names files
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from stages.contract.canonical import Row, numbered_rows
from stages.contract.errors import PipelineError

CHANGED = "changed.jsonl"
COLUMNS = ("change", "round")
LEAVE = ("moved", "forgotten")  # kinds of lines after which an id may be gone
COLUMNS_OF = {
    "moved": ("id", "to", "sha"),
    "edited": ("id", "was", "now"),
    "forgotten": ("id", "sha"),
    "redacted": ("file", "was", "now"),
}


def read_changed(folder: Path) -> list[Row]:
    """The lines of the record that are about ids, none where nobody wrote one."""
    return [row for row in read_record(folder) if row["kind"] != "redacted"]


def read_record(folder: Path) -> list[Row]:
    """All lines of the record in the folder of rounds. Raises PipelineError at file:line."""
    path = folder / CHANGED
    if not path.is_file():
        return []
    rows = []
    for number, row in numbered_rows(path):
        of_kind = COLUMNS_OF.get(str(row.get("kind")), ("kind",))
        if any(column not in row for column in (*COLUMNS, *of_kind)):
            what = "not a line of `rounds changed`"
            remedy = f"restore it: git checkout HEAD -- {quote(str(path))}"
            raise PipelineError(f"{path}:{number}", what, remedy)
        rows.append(row)
    return rows


def renamed(item: str, round_number: int, record: Sequence[Row], correction: int = 0) -> str | None:
    """The id that what was asked as `item` in a round has now; None where it left the pool.

    All ids of one change move at once, so that two ids may swap; changes follow each other. A
    change moves what was asked before it, and no later round. correction: the line of a correction,
    0 for anything else.
    """
    return ids_since(item, round_number, record, correction)[-1]


def ids_since(
    item: str, round_number: int, record: Sequence[Row], correction: int = 0
) -> list[str | None]:
    """The id as it was asked, then the id after each later change; None at the end where it left.

    A change that moved other ids alone counts too: the permutation of the pool was drawn anew then.
    Where rows were forgotten, the others keep their ids, and the permutation goes on.
    """
    ids: list[str | None] = [item]
    later = [row for row in record if _is_before(round_number, correction, row)]
    for change in sorted({row["change"] for row in later if row["kind"] in LEAVE}):
        # After a merge one number may stand for a command of each branch, of any two kinds.
        rows = [row for row in later if row["change"] == change and row["kind"] in LEAVE]
        to = {row["id"]: row.get("to") for row in rows}
        if ids[-1] in to or any(row["kind"] == "moved" for row in rows):
            ids.append(to.get(ids[-1], ids[-1]))
        if ids[-1] is None:
            break
    return ids


def id_then(item: str, round_number: int, record: Sequence[Row]) -> str | None:
    """The id under which a round asked what has the id `item` now: `renamed`, backwards.

    None where the content that had this id then has another one now, and nothing that was asked
    took its place.
    """
    moved = [row for row in record if row["kind"] == "moved"]
    later = [row for row in moved if _is_before(round_number, 0, row)]
    for change in sorted({row["change"] for row in later}, reverse=True):
        moves = {row["id"]: row["to"] for row in later if row["change"] == change}
        came_from = {after: before for before, after in moves.items() if after is not None}
        if item in came_from:
            item = came_from[item]
        elif item in moves:
            return None
    return item


def _is_before(round_number: int, correction: int, row: Row) -> bool:
    """Whether what a round asked, or a correction in it, was there before a line of the record."""
    if round_number == row["round"] and correction:
        return bool(correction <= row.get("corrections", 0))
    return bool(round_number <= row["round"])
