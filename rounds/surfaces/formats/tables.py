"""The rows of a file, numbered: JSON lines or arrays, delimited text, spreadsheets, Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.contract.canonical import Row, dumps
from stages.contract.errors import PipelineError

csv.field_size_limit(2**31 - 1)

Numbered = tuple[int, object, str]  # line, raw row, fault
CP1252 = "read as Windows-1252, since it is not UTF-8"
_SHOWN = 12
_SPREADSHEET = b"PK\x03\x04"
PARQUET = b"PAR1"
_ONCE = ("al_id", "id", "label", "annotator", "timestamp", "answer", "batch", "al_batch", "text")


@dataclass(frozen=True)
class Table:
    """The columns of a file (none of JSON), its rows, and a note on what was assumed to read it."""

    header: list[str]
    rows: list[Numbered]
    note: str

    def mappings(self) -> list[Mapping[str, object]]:
        """The rows that could be read; of a table without any, its header with empty cells."""
        readable: list[Mapping[str, object]] = [
            raw for _, raw, fault in self.rows if not fault and isinstance(raw, dict)
        ]
        if not readable and self.header:
            readable.append(dict.fromkeys(self.header, ""))
        return readable


def columns_of(rows: Sequence[Numbered], mappings: Sequence[Mapping[str, object]]) -> list[str]:
    """The names of the columns or keys that a file has, the first few, for a refusal."""
    names = list(dict.fromkeys(str(key) for row in mappings[:50] for key in row))
    if not names and rows:
        names = [repr(str(rows[0][1])[:40])]
    shown = [name if name.isprintable() else ascii(name[:40]) for name in names[:_SHOWN]]
    return [*shown, "…"] if len(names) > _SHOWN else shown


def as_utf8(data: bytes) -> tuple[bytes, str]:
    """The bytes of a file, of UTF-16 as UTF-8, and a note. Windows' `>` makes a file UTF-16."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").encode(), "read as UTF-16"
    return data, ""


def json_rows(data: bytes) -> list[Numbered]:
    """JSON lines, the elements of one JSON array, one JSON object, or the columns of a table."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        whole = _parsed(data)
    except (ValueError, RecursionError):
        whole = None  # lines, then
    if isinstance(whole, dict):
        whole = _turned(whole) or whole
    if isinstance(whole, list):
        return [(number, raw, _too_deep(raw)) for number, raw in enumerate(whole, start=1)]
    if isinstance(whole, dict):
        return [(1, whole, _too_deep(whole))]
    rows: list[Numbered] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            raw = _parsed(line)
            rows.append((number, raw, _too_deep(raw)))
        except (ValueError, RecursionError) as error:
            text = line.decode("utf-8", "backslashreplace")
            rows.append((number, text, f"not JSON ({_first_line(error)})"))
    return rows


def _parsed(data: bytes) -> Any:
    """The JSON value; NaN, which Python writes for a missing cell, is null."""
    return json.loads(data, parse_constant=lambda _: None)


def parquet_rows(source: Path, data: bytes) -> list[Numbered]:
    """The rows of a Parquet file, as JSON has them. Raises PipelineError for a damaged one."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows = parquet.read_table(pa.BufferReader(data)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        what = f"not a Parquet file ({_first_line(error)})"
        raise PipelineError(source, what, "export it anew") from error
    return json_rows(json.dumps(rows, default=str).encode())


def _turned(columns: Row) -> list[Row] | None:
    """The rows of a table that was written by column, as lists or as pandas does; else None."""
    cells = list(columns.values())
    if len(cells) < 2 or not cells[0]:
        return None
    if all(isinstance(cell, dict) and cell.keys() == cells[0].keys() for cell in cells):
        return [{name: columns[name][row] for name in columns} for row in cells[0]]
    if all(isinstance(cell, list) and len(cell) == len(cells[0]) for cell in cells):
        return [{name: columns[name][row] for name in columns} for row in range(len(cells[0]))]
    return None


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
    """The text of a table and a note: UTF-8, else Windows-1252.

    A file that holds good UTF-8 beyond ASCII is UTF-8: its bad bytes come as lone surrogates.
    """
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

    Cells are parted by whichever of comma, semicolon (spreadsheets in much of Europe), tab and bar
    the header has most of, or by what a first line `sep=;` says. Blank rows are none.
    """
    lines = list(io.StringIO(text, newline=""))
    first = next((line for line in lines if line.strip()), "")
    hint = re.fullmatch(r'"?sep=(.)"?\s*', first)  # a line of Excel's that it shows to no one
    parting = hint[1] if hint else max(",;\t|", key=first.count)
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
        if hint and start == 0:
            continue
        if not header and cells:
            header = [name.strip().casefold() for name in cells]
            continue
        if fault or any(cell.strip() for cell in cells):
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
    """The rows of a workbook's first sheet with rows; whole numbers lose a sheet's ".0"."""
    import pandas as pd

    if _is_archive(data):
        raise PipelineError(source, "a zip archive", "unpack it, and collect the files in it")
    try:
        with warnings.catch_warnings(action="ignore"):  # of styles that openpyxl does not know
            book = pd.ExcelFile(io.BytesIO(data))
            sheets = book.parse(sheet_name=None, header=None, dtype=object, keep_default_na=False)
    except Exception as error:  # whatever a broken archive makes of the library
        remedy = "save it as .xlsx or CSV anew"
        raise PipelineError(source, f"not a spreadsheet ({_first_line(error)})", remedy) from error
    for frame in sheets.values():
        lines = [list(map(cell_text, cells)) for cells in frame.itertuples(index=False)]
        filled = [(line, cells) for line, cells in enumerate(lines, start=1) if any(cells)]
        if filled:
            break
    else:
        return Table([], [], "")
    header = [name.strip().casefold() for name in filled[0][1]]
    _refuse_twins(source, [name for name in header if name])
    rows: list[Numbered] = []
    for line, cells in filled[1:]:
        row: Row = {name: cell for name, cell in zip(header, cells, strict=True) if name}
        rows.append((line, row, ""))
    return Table(header, rows, "")


def _is_archive(data: bytes) -> bool:
    """Whether a zip file is one that a tool packed its export in, rather than a workbook."""
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile:
        return False
    return not any(name.startswith(("xl/", "content.xml", "mimetype")) for name in names)


def cell_text(cell: object) -> str:
    """A spreadsheet's cell as the text that a person sees: 12.0 is "12", a date is ISO 8601."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    moment = getattr(cell, "isoformat", None)
    return str(moment()) if moment else str(cell)
