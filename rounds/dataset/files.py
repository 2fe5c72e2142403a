"""The splits as Parquet files, the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rounds.dataset.columns import Column, arrow_type
from stages.contract.canonical import Row
from stages.contract.progress import watched
from stages.examples.content import image_bytes
from stages.examples.tables import as_text

BLOCK = 1000  # rows in memory as Arrow at a time, images with their bytes


@dataclass(frozen=True)
class Written:
    """A Parquet file of a split: its rows, and their bytes in memory."""

    rows: int
    bytes: int


def write_split(
    path: Path, rows: Sequence[Row], columns: Sequence[Column], images: Path
) -> Written:
    """Write the rows of a split. images: the folder that names of image files are relative to."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(column.name, arrow_type(column.kind)) for column in columns])
    size = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema) as file:
        blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
        for block in watched(f"export {path.stem}", blocks, "block"):
            cells = [
                {column.name: _cell(row[column.name], column, images) for column in columns}
                for row in block
            ]
            table = pa.Table.from_pylist(cells, schema=schema)
            file.write_table(table)
            size += table.nbytes
    return Written(len(rows), size)


def _cell(cell: Any, column: Column, images: Path) -> Any:
    """A cell as Arrow takes it."""
    if column.kind == "image":
        name = as_text(cell)
        is_file = not name.startswith("data:")
        data = image_bytes(name, images, f"column {column.name!r}")
        return {"bytes": data, "path": name if is_file else None}
    if column.kind == "number":
        return None if cell is None else float(cell)
    if column.kind in ("text", "class"):
        return None if cell is None else _encodable(as_text(cell))
    return cell


def _encodable(text: str) -> str:
    """The text; a lone surrogate, which UTF-8 cannot carry, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
