"""A table read block by block, so that memory does not grow with its length.

The formats, the refusals and the line numbers are those of stages/examples/tables.py.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from stages.contract.canonical import parsed_row
from stages.contract.errors import PipelineError
from stages.examples.tables import ArrowColumns, Table, csv_header, csv_records, csv_table

BOM = b"\xef\xbb\xbf"
UNDECODED = re.compile("[\udc80-\udcff]")  # what a byte that is no UTF-8 became


class BatchColumns(ArrowColumns):
    """The columns of some rows of a Parquet file that are in memory already."""

    def __init__(self, batch: Any) -> None:
        """batch: a pyarrow.RecordBatch."""
        self._batch = batch
        self._lists = dict[str, list[Any]]()
        self._names = batch.schema.names
        self.rows = batch.num_rows

    def _read(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._batch.column(name)


def read_blocks(
    path: Path, size: int, kind: str = "", file: BinaryIO | None = None
) -> Iterator[Table]:
    """The table in blocks of at most `size` rows, as they stand in the file; none for an empty one.

    kind: csv, jsonl or parquet, by default what the suffix says; file: what is read, open in binary
    mode (a pipe: CSV or JSONL), by default the file at `path`. Raises PipelineError, naming file
    and line, as `read_table` does.
    """
    suffix = kind or path.suffix.lower().lstrip(".")
    if suffix == "parquet":
        yield from _parquet_blocks(path, size)
        return
    reader = {"csv": _csv_blocks, "jsonl": _jsonl_blocks, "ndjson": _jsonl_blocks}.get(suffix)
    if reader is None:
        what = f"unknown table format {path.suffix!r}"
        raise PipelineError(path, what, "use .csv, .jsonl or .parquet")
    if file is not None:
        yield from reader(path, file, size)
        return
    if not path.is_file():
        raise PipelineError(path, "file not found", "correct the path")
    with path.open("rb") as opened:
        yield from reader(path, opened, size)


def _text_lines(path: Path, file: BinaryIO) -> Iterator[str]:
    """The lines of a file as text.

    Raises PipelineError for a file that is not UTF-8, or holds a NUL.
    """
    text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
    try:
        for number, line in enumerate(text, start=1):
            if UNDECODED.search(line):
                raise PipelineError(f"{path}:{number}", "not UTF-8", "save the file as UTF-8")
            if "\0" in line:
                remedy = "remove it, or save the file as UTF-8 text"
                raise PipelineError(f"{path}:{number}", "a NUL character", remedy)
            yield line
    finally:
        if not file.closed:  # whoever opened it closes it, perhaps before these lines are given up
            text.detach()


def _csv_blocks(path: Path, file: BinaryIO, size: int) -> Iterator[Table]:
    records = csv_records(_text_lines(path, file), path, ",")
    header = csv_header(records, path)
    while block := list(islice(records, size)):
        yield csv_table(path, header, block)


def _jsonl_blocks(path: Path, file: BinaryIO, size: int) -> Iterator[Table]:
    rows = (
        (number, parsed_row(line.removeprefix(BOM) if number == 1 else line, path, number))
        for number, line in enumerate(file, start=1)
        if line.strip()
    )
    while block := list(islice(rows, size)):
        names = dict.fromkeys(name for _, row in block for name in row)
        columns = {name: [row.get(name, "") for _, row in block] for name in names}
        yield Table(path, columns, [number for number, _ in block])


def _parquet_blocks(path: Path, size: int) -> Iterator[Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise PipelineError(path, "file not found", "correct the path")
    start = 1
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=size):
            yield Table(path, BatchColumns(batch), range(start, start + batch.num_rows))
            start += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        what = f"not a readable Parquet file ({str(error).splitlines()[0]})"
        raise PipelineError(path, what, "write the file again") from error


def as_table(rows: Any) -> Table:
    """Rows of memory as a table.

    They are a pandas DataFrame, a mapping of columns, a list of dicts, or a list of texts (column
    `text`).

    Faults name the row, counted from 1.
    """
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):
        rows = rows.to_dict(orient="list")
    if isinstance(rows, dict):
        columns = {str(name): list(cells) for name, cells in rows.items()}
        lengths = {len(cells) for cells in columns.values()}
        if len(lengths) > 1:
            raise PipelineError("rows", "columns of different lengths", "give each row a cell")
        return Table("rows", columns, range(1, 1 + max(lengths, default=0)))
    listed: list[Any] = list(rows)
    if all(isinstance(row, str) for row in listed):
        listed = [{"text": row} for row in listed]
    names = dict.fromkeys(name for row in listed for name in row)
    columns = {name: [row.get(name, "") for row in listed] for name in names}
    return Table("rows", columns, range(1, 1 + len(listed)))
