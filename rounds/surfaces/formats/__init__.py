"""Answer files of every tool, read as db-out rows: which format it is, and row by row what it says.

A row that cannot be read is an item with a reason, never an exception and never silence: every row
of the file comes out as at least one item (as several where one row holds the answers of several
people).

`al_id` is the identity that we exported. A bare `id` is kept apart (`Item.bare_id`), since most
tools put a number of their own there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from rounds.surfaces.formats import argilla, doccano, label_studio, plain, prodigy
from rounds.surfaces.formats.items import QUESTION, Item, Reply, Source, person_of_file
from rounds.surfaces.formats.names import own_names, renamed
from rounds.surfaces.formats.tables import (
    PARQUET,
    Numbered,
    Table,
    as_utf8,
    columns_of,
    json_rows,
    parquet_rows,
    table_rows,
)
from stages.answers.prodigy import NotAnAnswer
from stages.contract.errors import PipelineError

__all__ = ["READERS", "Item", "own_names", "person_of_file", "read"]

READERS: dict[str, Callable[[Mapping[str, object], Source], Sequence[Reply | NotAnAnswer | None]]]
READERS = {
    "prodigy": prodigy.read,
    "label-studio": label_studio.read,
    "argilla": argilla.read,
    "doccano": doccano.read,
    "csv": plain.read,  # any flat table: delimited, a spreadsheet, JSON lines, Parquet
}
# In this order: what only one tool writes is looked for first.
_SIGNS: dict[str, Callable[[Mapping[str, object]], bool]] = {
    "prodigy": prodigy.recognised,
    "label-studio": label_studio.recognised,
    "argilla": argilla.recognised,
    "doccano": doccano.recognised,
    "csv": plain.recognised,
}
# What of a row tells the questions that it answers, where a tool asks several.
_QUESTIONS: dict[str, Callable[[Mapping[str, object]], Sequence[str]]] = {
    "label-studio": label_studio.questions,
    "argilla": argilla.questions,
}
_READ = (
    "answers of Prodigy, Label Studio, Argilla or doccano, and tables with the columns "
    "`label` and `al_id`, `id` or `text` (or what `data` in params.yaml calls them), are"
)


def read(
    source: Path,
    data: bytes,
    forced: str | None = None,
    annotator: str | None = None,
    question: str = QUESTION,
    names: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, list[Item]]:
    """The format's name and the items of a file, recognised by its content unless `forced`.

    annotator: who answered, where the file does not say it; by default the file's name says it.
    question: the name of the question about the label, where a file answers several.
    names: what the project's own columns are called here (`own_names`).
    Raises PipelineError when no row looks like a known format.
    """
    data, note = as_utf8(data)
    is_table = _is_table(data, forced)
    table = _table_of(source, data, is_table=is_table)
    tool = forced or _recognised(table.mappings(), is_table=is_table)
    if names and tool != "prodigy":  # whose rows are the tasks that we wrote
        table = replace(table, rows=[_under(names, row) for row in table.rows])
        tool = tool or _recognised(table.mappings(), is_table=is_table)
    mappings = table.mappings()
    if tool is None:
        columns = columns_of(table.rows, mappings)
        what = f"found the columns {', '.join(columns)}" if columns else "found no rows"
        choices = "|".join(READERS)
        raise PipelineError(source, what, f"{_READ} read; or name the tool: --format {choices}")
    questions = _QUESTIONS.get(tool)
    answered = [name for row in mappings for name in questions(row)] if questions else []
    own = [name for name in answered if names.get(name.casefold()) == QUESTION]
    if question not in answered and own:
        question = own[0]
    file = Source(source, annotator, frozenset(answered), question)
    return tool, [
        item for row in table.rows for item in _items(row, READERS[tool], file, note or table.note)
    ]


def _under(names: Mapping[str, str], numbered: Numbered) -> Numbered:
    """A row, and the example within it, with our names in place of the project's own."""
    line, raw, fault = numbered
    if fault or not isinstance(raw, dict):
        return numbered
    row = renamed(raw, names)
    for key in ("data", "fields", "inputs"):  # of Label Studio, Argilla 2 and Argilla 1
        if isinstance(row.get(key), dict):
            row[key] = renamed(row[key], names)
    return line, row, fault


def _table_of(source: Path, data: bytes, *, is_table: bool) -> Table:
    """The rows of a file of whatever kind."""
    if data.startswith(PARQUET):
        return Table([], parquet_rows(source, data), "")
    return table_rows(source, data) if is_table else Table([], json_rows(data), "")


def _is_table(data: bytes, forced: str | None) -> bool:
    """Whether a file is a delimited table or a spreadsheet, rather than JSON."""
    begins_json = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
    return not begins_json and forced in (None, "csv", "label-studio", "doccano")


def _recognised(rows: Sequence[Mapping[str, object]], *, is_table: bool) -> str | None:
    """The first tool that a row has the signs of.

    Prodigy writes no tables: in one, `answer` is its own column, unless Prodigy's keys stand there.
    """
    for tool, has_signs in _SIGNS.items():
        if tool == "prodigy" and is_table and not any(map(prodigy.is_its_own, rows)):
            continue
        if any(has_signs(row) for row in rows):
            return tool
    return None


def _items(
    numbered: Numbered,
    reader: Callable[[Mapping[str, object], Source], Sequence[Reply | NotAnAnswer | None]],
    file: Source,
    note: str,
) -> list[Item]:
    """What one row says, as items."""
    line, raw, fault = numbered
    if fault or not isinstance(raw, dict):
        why = fault or f"an object was expected, found {type(raw).__name__}"
        return [Item(line, raw, None, why)]
    try:
        replies = reader(raw, file)
    except NotAnAnswer as reason:
        return [Item(line, raw, None, str(reason))]
    return [_item(line, raw, reply, note) for reply in replies]


def _item(line: int, raw: object, reply: Reply | NotAnAnswer | None, note: str) -> Item:
    if isinstance(reply, NotAnAnswer):
        return Item(line, raw, None, str(reply))
    if reply is None:
        return Item(line, raw, None)
    notes = tuple(filter(None, (*reply.notes, note)))
    return Item(line, raw, reply.row, "", reply.bare_id, reply.annotator_from_file, notes)
