"""Answer files of every tool, read as db-out rows: which format it is, and row by row what it says.

A row that cannot be read is an item with a reason, never an exception and never silence: as many items come
out as rows stood in the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from stages._canonical import Row


@dataclass(frozen=True)
class Item:
    """One row of an answer file: its line (or element number), the raw row, and the db-out row or why there is none."""

    line: int
    raw: object
    row: Row | None
    why: str = ""


def read_jsonl(data: bytes) -> list[Item]:
    """The rows of a JSONL file; blank lines are none, and a line that is not a JSON object is an item with a reason."""
    items = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            items.append(Item(number, line.decode("utf-8", "backslashreplace"), None, f"not JSON ({_first(error)})"))
            continue
        if isinstance(row, dict):
            items.append(Item(number, row, row))
        else:
            items.append(Item(number, row, None, f"a JSON object was expected, found {type(row).__name__}"))
    return items


def _first(error: Exception) -> str:
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__
