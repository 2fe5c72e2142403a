"""Tables that anything may have written, read for `rounds init`: spreadsheets, pandas, exports.

A table that the stages can read is copied byte for byte. Any other is written anew into the
project, as CSV (cells of text) or JSONL (all else). Each assumption that was made becomes a note,
one line for a person.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from rounds.table_readers import Intake, delimited, is_index, is_missing, json_rows, spreadsheet
from stages.contract.errors import PipelineError
from stages.examples.tables import Table, as_text, read_table

DELIMITED = (".csv", ".tsv", ".tab", ".txt")
SHEETS = (".xlsx", ".xlsm")
FORMATS = ".csv, .tsv, .json, .jsonl, .parquet or .xlsx"
# What pandas calls its row numbers in CSV and Parquet.
INDICES = ("Unnamed: 0", "__index_level_0__")
JOINT = "\n\n"  # between the parts of an example that has several columns of text


def read(path: Path) -> Intake:
    """The table at `path`, read by its suffix.

    Raises PipelineError where it is missing, empty, or cannot be read.
    """
    if not path.is_file():
        raise PipelineError(path, "file not found", "correct the path")
    suffix = path.suffix.lower()
    if suffix in DELIMITED:
        intake = delimited(path)
    elif suffix in SHEETS:
        intake = spreadsheet(path)
    elif suffix in {".json", ".jsonl", ".ndjson"}:
        intake = json_rows(path)
    elif suffix == ".parquet":
        intake = Intake(read_table(path))
    else:
        raise PipelineError(path, f"unknown table format {path.suffix!r}", f"use {FORMATS}")
    if not len(intake.table):
        raise PipelineError(path, "the file has no rows", "add rows, or correct the path")
    return _without_index(intake)


def _without_index(intake: Intake) -> Intake:
    """The table without pandas' column of row numbers, which would pass for a feature."""
    columns = intake.table.columns
    indices = [name for name in INDICES if name in columns and is_index(columns[name])]
    if not indices:
        return intake
    kept = {name: cells for name, cells in columns.items() if name not in indices}
    table = Table(intake.table.path, kept, intake.table.lines)
    note = f"{Path(intake.table.path).name}: pandas' row numbers left out (column {indices[0]!r})"
    return Intake(table, (*intake.notes, note), rewritten=True)


def write(intake: Intake, stem: Path) -> Path:
    """Write the project's copy as `stem` with the suffix that suits it. Its path."""
    origin = Path(intake.table.path)
    if not intake.rewritten:
        path = stem.with_name(stem.name + origin.suffix.lower())
        shutil.copyfile(origin, path)
        return path
    columns = intake.table.columns
    rows = list(zip(*columns.values(), strict=True))
    if all(isinstance(cell, str) for row in rows for cell in row):
        path = stem.with_name(f"{stem.name}.csv")
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([list(columns), *rows])
        return path
    path = stem.with_name(f"{stem.name}.jsonl")
    with path.open("w", encoding="utf-8", newline="") as file:
        for row in rows:
            cells = {
                name: cell for name, cell in zip(columns, row, strict=True) if not is_missing(cell)
            }
            file.write(json.dumps(cells, ensure_ascii=False, default=str) + "\n")
    return path


def join_texts(intake: Intake, names: Sequence[str], target: str) -> Intake:
    """A table with a column `target`: some columns of text joined by a blank line, if not blank."""
    parts = [[as_text(cell) for cell in intake.table.column(name, "--text")] for name in names]
    joined = [
        JOINT.join(cell for cell in cells if cell.strip()) for cells in zip(*parts, strict=True)
    ]
    return intake.with_columns({target: joined})


def plain_labels(intake: Intake, column: str) -> Intake:
    """A table whose labels are single values.

    A list of one label is that label, an empty list is no label.

    Raises PipelineError at file:line for a list of several, and for an object.
    """
    cells = list(intake.table.column(column, "--label"))
    lists = 0
    for row, cell in enumerate(cells):
        value = _structure(cell)
        if isinstance(value, dict):
            what = f"the label is an object ({as_text(cell)[:60]})"
            raise PipelineError(intake.table.where(row), what, "write one label per row")
        if not isinstance(value, list):
            continue
        if len(value) > 1 or any(isinstance(item, list | dict) for item in value):
            what = f"{len(value)} labels ({', '.join(map(as_text, value))}) where one is asked for"
            raise PipelineError(
                intake.table.where(row), what, "keep one of them, or remove the row"
            )
        cells[row] = value[0] if value else ""
        lists += 1
    if not lists:
        return intake
    name = Path(intake.table.path).name
    unpacked = intake.with_columns({column: cells})
    return unpacked.noted(
        f"{name}: labels are lists of one; taken out of their lists ({lists} rows)"
    )


def _structure(cell: object) -> object:
    """The list or object that a cell is, or spells as JSON or Python; else the cell itself."""
    if not isinstance(cell, str) or (cell[:1], cell[-1:]) not in {("[", "]"), ("{", "}")}:
        return cell
    for text in (cell, cell.replace("'", '"')):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            continue
    return cell
