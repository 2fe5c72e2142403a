"""The rows of a file, numbered: JSON lines or arrays, delimited text, and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages._canonical import Row, dumps
from stages._errors import PipelineError

csv.field_size_limit(2**31 - 1)

Numbered = tuple[int, object, str]  # line, raw row, fault
CP1252 = "read as Windows-1252, since it is not UTF-8"
_SHOWN = 12
_SPREADSHEET = b"PK\x03\x04"
_ONCE = ("al_id", "id", "label", "annotator", "timestamp", "answer", "batch", "al_batch", "text")


@dataclass(frozen=True)
class Table:
    """The columns of a file (none of JSON), its rows, and a note on what was assumed to read it."""

    header: list[str]
    rows: list[Numbered]
    note: str


def columns_of(rows: Sequence[Numbered], mappings: Sequence[Mapping[str, object]]) -> list[str]:
    """The names of the columns or keys that a file has, the first few, for a refusal."""
    names = list(dict.fromkeys(str(key) for row in mappings[:50] for key in row))
    if not names and rows:
        names = [repr(str(rows[0][1])[:40])]
    return names[:_SHOWN] + (["…"] if len(names) > _SHOWN else [])


def json_rows(data: bytes) -> list[Numbered]:
    """JSON lines, the elements of one JSON array, or one JSON object."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        whole = None  # lines, then
    if isinstance(whole, list):
        return [(number, raw, _too_deep(raw)) for number, raw in enumerate(whole, start=1)]
    if isinstance(whole, dict):
        return [(1, whole, _too_deep(whole))]
    rows: list[Numbered] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            rows.append((number, raw, _too_deep(raw)))
        except (ValueError, RecursionError) as error:
            text = line.decode("utf-8", "backslashreplace")
            rows.append((number, text, f"not JSON ({_first_line(error)})"))
    return rows


def _too_deep(raw: object) -> str:
    try:
        dumps(raw)
    except RecursionError:
        return "nested too deeply"
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def table_rows(source: Path, data: bytes) -> Table:
    """A table with its rows as {column: cell}.

    Raises PipelineError for two columns of one name that would both be read.
    """
    if data.startswith(_SPREADSHEET):
        return _sheet(source, data)
    text, note = decoded(data)
    header, rows = _delimited(text)
    _refuse_twins(source, header)
    return Table(header, rows, note)


def _refuse_twins(source: Path, header: Sequence[str]) -> None:
    for name in _ONCE:
        if header.count(name) > 1:
            raise PipelineError(source, f"two columns `{name}`", "name one of them otherwise")


def decoded(data: bytes) -> tuple[str, str]:
    """The text of a table and a note: UTF-8, UTF-16 by its mark, else Windows-1252.

    A file that holds good UTF-8 beyond ASCII is UTF-8: its bad bytes come as lone surrogates.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace"), "read as UTF-16"
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        pass
    if not any(_beyond_ascii(line) for line in data.split(b"\n")):
        try:
            return data.decode("cp1252"), CP1252
        except UnicodeDecodeError:
            pass
    return data.decode("utf-8", "surrogateescape"), ""


def _beyond_ascii(line: bytes) -> bool:
    """Whether a line is UTF-8 and holds a sign that ASCII lacks."""
    try:
        return not line.decode("utf-8").isascii()
    except UnicodeDecodeError:
        return False


def _delimited(text: str) -> tuple[list[str], list[Numbered]]:
    """The header, and the rows: cells as the strings they are ("007", "NA"), faults as their text.

    Cells are parted by whichever of comma, semicolon (spreadsheets in much of Europe) and tab the
    header has most of, or by what a first line `sep=;` says.
    """
    lines = list(io.StringIO(text, newline=""))
    first = next((line for line in lines if line.strip()), "")
    said = first.strip().removeprefix("sep=") if first.startswith("sep=") else ""
    parting = said if len(said) == 1 else max(",;\t", key=first.count)
    reader = csv.reader(iter(lines), delimiter=parting, strict=True)
    header: list[str] = []
    rows: list[Numbered] = []
    while True:
        start = reader.line_num
        fault = ""
        cells: list[str] = []
        try:
            cells = next(reader)
        except StopIteration:
            return header, rows
        except csv.Error as error:
            fault = f"not valid CSV ({error})"
        raw = "".join(lines[start : reader.line_num])
        if said and start == 0:
            continue
        if not header and cells:
            header = [name.strip().casefold() for name in cells]
            continue
        if fault or cells:
            rows.append(_row(start + 1, header, cells, raw, fault))


def _row(line: int, header: Sequence[str], cells: list[str], raw: str, fault: str) -> Numbered:
    """A row of a table. Empty cells may be missing, or one too many, at its end."""
    while len(cells) > len(header) and cells[-1] == "":
        cells = cells[:-1]
    if not fault and len(cells) > len(header):
        fault = f"{len(cells)} cells where the header has {len(header)}"
    if not fault and any("\udc80" <= sign <= "\udcff" for sign in raw):
        fault = "not UTF-8"
    padded = cells + [""] * (len(header) - len(cells))
    return line, raw if fault else dict(zip(header, padded, strict=True)), fault


def _sheet(source: Path, data: bytes) -> Table:
    """The rows of a workbook's first sheet; whole numbers lose the ".0" that a sheet gives them."""
    import pandas as pd

    try:
        frame = pd.read_excel(io.BytesIO(data), header=None, dtype=object, keep_default_na=False)
    except Exception as error:  # whatever a broken archive makes of the library
        remedy = "save it as .xlsx or CSV anew"
        raise PipelineError(source, f"not a spreadsheet ({_first_line(error)})", remedy) from error
    if frame.empty:
        return Table([], [], "")
    header = [cell_text(cell).strip().casefold() for cell in frame.iloc[0]]
    _refuse_twins(source, [name for name in header if name])
    rows: list[Numbered] = []
    for number, cells in enumerate(frame.iloc[1:].itertuples(index=False), start=2):
        row: Row = {name: cell_text(cell) for name, cell in zip(header, cells, strict=True) if name}
        if any(row.values()):
            rows.append((number, row, ""))
    return Table(header, rows, "")


def cell_text(cell: object) -> str:
    """A spreadsheet's cell as the text that a person sees: 12.0 is "12", a date is ISO 8601."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    moment = getattr(cell, "isoformat", None)
    return str(moment()) if moment else str(cell)
