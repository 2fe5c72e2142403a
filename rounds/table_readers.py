"""Readers of strangers' tables: text, spreadsheets, JSON. Each assumption becomes a note."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.contract.canonical import Row, numbered_rows
from stages.contract.errors import PipelineError
from stages.examples.tables import Table, as_text, csv_records, refuse_twice

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
EXACT_DIGITS = 15  # of a number in a spreadsheet; further ones are lost


@dataclass(frozen=True)
class Intake:
    """A table as read, notes on what was assumed, and whether to write the copy anew."""

    table: Table
    notes: tuple[str, ...] = ()
    rewritten: bool = False

    def noted(self, *notes: str) -> Intake:
        """This intake with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def with_columns(self, columns: Mapping[str, list[Any]]) -> Intake:
        """This intake with some columns replaced or added; the copy is written anew."""
        table = Table(self.table.path, {**self.table.columns, **columns}, self.table.lines)
        return replace(self, table=table, rewritten=True)

    def with_rows(self, rows: Sequence[int]) -> Intake:
        """Some of the rows; the copy is written anew."""
        columns = {name: [cells[row] for row in rows] for name, cells in self.table.columns.items()}
        table = Table(self.table.path, columns, [self.table.lines[row] for row in rows])
        return replace(self, table=table, rewritten=True)


def is_index(cells: Sequence[object]) -> bool:
    """Whether a column holds row numbers: whole numbers, each once, in whatever order."""
    words = [as_text(cell) for cell in cells]
    return all(word.isdecimal() for word in words) and len(set(words)) == len(words)


def is_missing(cell: object) -> bool:
    """Whether a cell of JSON, Parquet or a spreadsheet is null or NaN."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def delimited(path: Path) -> Intake:
    """A text file of cells. Its encoding and its separator are guessed from its content."""
    text, encoding = _decoded(path)
    first, _, rest = text.partition("\n")
    # A line that Excel writes and reads, and shows to no one.
    hint = re.fullmatch(r"sep=(.)\r?", first)
    delimiter = hint[1] if hint else _delimiter(text)
    lines = io.StringIO(rest if hint else text, newline="")
    records = list(csv_records(lines, path, delimiter))
    shift = 1 if hint else 0
    header = records[0][1] if records else []
    rows = [(line + shift, cells) for line, cells in records[1:]]
    assumed = [encoding] if encoding else []
    if delimiter != ",":
        assumed.insert(0, f"{DELIMITERS.get(delimiter, repr(delimiter))}-separated")
    notes = [f"{path.name}: read as {', '.join(assumed)}"] if assumed else []
    table, trimmed = _trimmed(path, header, rows)
    rewritten = bool(assumed or hint or trimmed or path.suffix.lower() != ".csv")
    return Intake(table, (*notes, *trimmed), rewritten)


def _decoded(path: Path) -> tuple[str, str]:
    """The file's text, and the name of its encoding where it is not UTF-8. Raises PipelineError."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16"), "UTF-16"
        except UnicodeDecodeError as error:
            raise PipelineError(path, "not valid UTF-16", "save the file as UTF-8") from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
        encoding = ""
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            what = "neither UTF-8 nor Windows-1252"
            raise PipelineError(f"{path}:{line}", what, "save the file as UTF-8") from error
        # A dash may be all that is not ASCII: then no word is, but something between blanks.
        words = re.findall(r"\w+", text) + re.findall(r"\S+", text)
        word = next((word for word in words if not word.isascii()), "")
        encoding = f"Windows-1252 (if {word[:30]!r} looks wrong, save it as UTF-8)"
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise PipelineError(
            f"{path}:{line}", "a NUL character", "remove it, or save the file as UTF-8 text"
        )
    return text, encoding


def _delimiter(text: str) -> str:
    """What parts the cells: the sign most frequent in the header outside quotes; else a comma."""
    widths = {}
    for sign in DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign)
        try:
            widths[sign] = len(next(reader, []))
        except csv.Error:
            widths[sign] = 0
    return max(widths, key=lambda sign: widths[sign])  # the first of equals: the comma


def _trimmed(
    path: Path, header: list[str], rows: list[tuple[int, list[str]]]
) -> tuple[Table, list[str]]:
    """The table without blank rows and unnamed columns, and notes on what was left out.

    Raises PipelineError for a row of another width, for a name that stands twice, and for cells
    under no name.
    """
    width = len(header)
    wide = [(line, cells) for line, cells in rows if len(cells) != width]
    for line, cells in wide:
        if len(cells) < width or any(cell.strip() for cell in cells[width:]):
            what = f"{len(cells)} cells where the header has {width}"
            raise PipelineError(
                f"{path}:{line}", what, "quote cells that hold separators or line ends"
            )
    filled = [
        (line, cells) for line, cells in rows if width == 1 or any(cell.strip() for cell in cells)
    ]
    named = [column for column, name in enumerate(header) if name.strip()]
    unnamed = [column for column, name in enumerate(header) if not name.strip()]
    _refuse_unnamed(path, unnamed, filled)
    refuse_twice([header[column] for column in named], path)
    notes = []
    if wide:
        notes.append(
            f"{path.name}: blank cells beyond the header's columns left out ({len(wide)} rows)"
        )
    if unnamed:
        notes.append(f"{path.name}: columns without a name left out ({len(unnamed)})")
    if len(filled) < len(rows):
        notes.append(f"{path.name}: blank rows left out ({len(rows) - len(filled)})")
    columns = {header[column]: [cells[column] for _, cells in filled] for column in named}
    return Table(path, columns, [line for line, _ in filled]), notes


def _refuse_unnamed(path: Path, unnamed: list[int], rows: list[tuple[int, list[str]]]) -> None:
    """Raises PipelineError for a cell in a column without a name, if it is not pandas' index."""
    for column in unnamed:
        if column == 0 and is_index([cells[0] for _, cells in rows]):
            continue
        for line, cells in rows:
            if cells[column].strip():
                what = f"{cells[column]!r} stands in column {column + 1}, which has no name"
                raise PipelineError(f"{path}:{line}", what, "give the column a name in the header")


def spreadsheet(path: Path) -> Intake:
    """The first sheet that holds anything.

    Cells are as a person sees them: whole numbers without a point.
    """
    sheets = _sheets(path)
    filled = {name: rows for name, rows in sheets.items() if rows}
    if not filled:
        raise PipelineError(path, "the file has no rows", "add rows, or correct the path")
    name, raw_rows = next(iter(filled.items()))
    texts = [[_seen(cell) for cell in cells] for cells in raw_rows]
    rows = [
        (line, cells)
        for line, cells in enumerate(texts, start=1)
        if any(cell.strip() for cell in cells)
    ]
    table, notes = _trimmed(path, rows[0][1], rows[1:])
    read_as = f"{path.name}: read from sheet {name!r}"
    if len(filled) > 1:
        read_as += f", the first of {len(filled)}"
    if any(_rounded_by_excel(cell) for cells in raw_rows for cell in cells):
        numbers = f"numbers of more than {EXACT_DIGITS} digits"
        notes.append(f"{path.name}: {numbers}, which spreadsheets round: keep as text")
    return Intake(table, (read_as, *notes), rewritten=True)


def _sheets(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every sheet, by its name. Raises PipelineError for a file that cannot be read."""
    import pandas as pd

    try:
        frames = pd.read_excel(
            path,
            sheet_name=None,
            header=None,
            dtype=object,
            keep_default_na=False,
            na_filter=False,
            engine="openpyxl",
        )
    except ImportError as error:
        remedy = "`pip install openpyxl`, or save as .csv"
        raise PipelineError(path, "reading .xlsx needs openpyxl", remedy) from error
    except Exception as error:  # openpyxl's are of many kinds for a damaged or protected file
        what = f"not a readable .xlsx file ({error})"
        raise PipelineError(path, what, "save it as .csv") from error
    return {
        str(name): [tuple(cells) for cells in frame.itertuples(index=False, name=None)]
        for name, frame in frames.items()
    }


def _seen(cell: object) -> str:
    """A spreadsheet's cell as the text that a person sees: 12 for 12.0, a day without a time."""
    if cell is None or is_missing(cell):
        return ""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, dt.datetime):
        midnight = cell.time() == dt.time()
        return cell.date().isoformat() if midnight else cell.isoformat(sep=" ")
    return str(cell)


def _rounded_by_excel(cell: object) -> bool:
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return False
    return math.isfinite(cell) and cell == int(cell) and abs(cell) >= 10**EXACT_DIGITS


def json_rows(path: Path) -> Intake:
    """An array of objects, or one object a line, whatever the suffix says."""
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    rows: list[tuple[int, Row]] = []
    is_array = data.lstrip()[:1] == b"["
    if is_array:
        rows = _elements(path, data)
    elif path.suffix.lower() == ".json":
        rows = _one_object(data) or list(numbered_rows(path))
    else:
        rows = list(numbered_rows(path))
    names = dict.fromkeys(name for _, row in rows for name in row)
    columns = {name: [row.get(name, "") for _, row in rows] for name in names}
    table = Table(path, columns, [number for number, _ in rows])
    notes = (f"{path.name}: read as a JSON array of {len(rows)} objects",) if is_array else ()
    return Intake(table, notes, rewritten=is_array or path.suffix.lower() == ".json")


def _elements(path: Path, data: bytes) -> list[tuple[int, Row]]:
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PipelineError(path, f"not valid JSON ({error})", "repair the file") from error
    for number, row in enumerate(whole, start=1):
        if not isinstance(row, dict):
            what = f"element {number} is {type(row).__name__}, an object was expected"
            raise PipelineError(f"{path}:{number}", what, "write an array of objects, one per row")
    return list(enumerate(whole, start=1))


def _one_object(data: bytes) -> list[tuple[int, Row]]:
    """The one row of a file that is a single JSON object over several lines, if it is one."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        return []
    return [(1, whole)] if isinstance(whole, dict) else []
