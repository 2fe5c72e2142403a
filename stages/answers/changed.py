"""data/rounds/changed.jsonl: what a person said about asked ids whose content changed, and what follows for answers.

Columns: change (number of the command that wrote the line), round (rounds issued by then), corrections (lines that the
newest round's corrections.jsonl had then: later ones name today's ids), kind, id, why, by, and
    moved    to, sha    the content that `id` had stands under the id `to` now; null: nowhere, it left
    edited   was, now   the content of `id` was edited: hashes of what was judged, and of what it is now
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from stages.contract.canonical import Row, numbered_rows
from stages.contract.errors import PipelineError

CHANGED = "changed.jsonl"


def read_changed(folder: Path) -> list[Row]:
    """The lines of the record in the folder of rounds, none where nobody wrote one."""
    path = folder / CHANGED
    rows = []
    for number, row in numbered_rows(path) if path.is_file() else ():
        needed = {"moved": ("to", "sha"), "edited": ("was", "now")}.get(
            str(row.get("kind")), ("kind",)
        )
        if any(key not in row for key in ("change", "round", "id", *needed)):
            what = "not a line of `rounds changed`"
            raise PipelineError(
                f"{path}:{number}", what, f"restore it: git checkout HEAD -- {quote(str(path))}"
            )
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
    """The id as it was asked, then the id after each change that came later; ends with None where the row left.

    A change that moved other ids alone counts too: the permutation of the pool was drawn anew then.
    """
    ids: list[str | None] = [item]
    later = [
        row
        for row in record
        if row["kind"] == "moved" and _is_before(round_number, correction, row)
    ]
    for change in sorted({row["change"] for row in later}):
        moves = {row["id"]: row["to"] for row in later if row["change"] == change}
        ids.append(moves.get(ids[-1], ids[-1]))
        if ids[-1] is None:
            break
    return ids


def _is_before(round_number: int, correction: int, row: Row) -> bool:
    if round_number == row["round"] and correction:
        return bool(correction <= row.get("corrections", 0))
    return bool(round_number <= row["round"])
