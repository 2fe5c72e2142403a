"""Markdown as the handbook writes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table. A bar within a cell is escaped, a line break becomes a blank."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        cells = [" ".join(cell.replace("|", "\\|").split()) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def code(value: object) -> str:
    """A value in a cell, as code; nothing for an empty one."""
    return f"`{value}`" if str(value) else ""
