"""A table's file without some of its rows; the others stay byte for byte where the format can."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path

from stages.examples.tables import read_table


def without_rows(path: Path, rows: Collection[int]) -> bytes:
    """The bytes of a CSV, JSONL or Parquet file without the rows at these positions, from 0."""
    if path.suffix.lower() == ".parquet":
        return _parquet_without(path, rows)
    lines = list(read_table(path, may_be_empty=True).lines)
    text = path.read_bytes().decode("utf-8")
    if path.suffix.lower() == ".csv":
        # A quoted cell may hold line ends: a row goes on until the next one begins.
        physical = io.StringIO(text, newline="").readlines()
        ends = [*(line - 1 for line in lines[1:]), len(physical)]
    else:
        physical = [f"{line}\n" for line in text.split("\n")]
        physical[-1] = physical[-1].removesuffix("\n")
        ends = lines
    gone = {number for row in rows for number in range(lines[row] - 1, ends[row])}
    kept = (line for number, line in enumerate(physical) if number not in gone)
    return "".join(kept).encode()


def _parquet_without(path: Path, rows: Collection[int]) -> bytes:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    kept = [row for row in range(table.num_rows) if row not in rows]
    written = io.BytesIO()
    pq.write_table(table.take(kept), written)
    return written.getvalue()
