"""The user's tables (CSV, JSONL, Parquet) as columns with the line each row came from.

CSV cells are strings, exactly as they stand ("007", "NA" and "" included); a BOM and CRLF line ends
are accepted. JSONL and Parquet keep numbers and vectors. A fault names file and line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.contract.canonical import numbered_rows
from stages.contract.errors import PipelineError, closest

csv.field_size_limit(2**31 - 1)


ANSWERS = ("accept", "reject", "ignore")  # what Prodigy's column `answer` may say


@dataclass(frozen=True)
class Table:
    """Columns by name, each a list of n cells, and each row's line (Parquet: row) in its file."""

    path: Path | str
    columns: Mapping[str, list[Any]]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str, param: str) -> list[Any]:
        """The cells of a column. Raises PipelineError, naming the param that asked for it."""
        if name in self.columns:
            return self.columns[name]
        if not self.lines:
            return []
        names = ", ".join(map(repr, self.columns))
        what = f"no column {name!r}{closest(name, self.columns)}, found {names}"
        named = param if param.startswith("--") else f"{param} in params.yaml"
        raise PipelineError(f"{self.path}:1", what, f"correct {named} or the file's header")

    def array(self, name: str) -> NDArray[Any] | None:
        """A Parquet column of numbers (n,), or of vectors of one length (n, d), uncopied.

        None where there is no such column, or it has gaps.
        """
        return (
            self.columns.array(name)
            if isinstance(self.columns, ArrowColumns) and name in self.columns
            else None
        )

    def where(self, row: int) -> str:
        """`file:line` of a row."""
        return f"{self.path}:{self.lines[row]}"


class ArrowColumns(Mapping[str, list[Any]]):
    """The columns of a Parquet file, each read when it is first asked for.

    With `chosen`, only those rows of them.
    """

    def __init__(
        self, path: Path | str, file: Any = None, chosen: Sequence[int] | None = None
    ) -> None:
        """Read the header of the file, open or at the path.

        Raises PipelineError for a file that is not Parquet.
        """
        import pyarrow.parquet as pq

        self._path = path
        self._source = file or path
        self._chosen = chosen
        self._lists = dict[str, list[Any]]()
        with self._faults():
            self._names = pq.read_schema(self._source).names
            self.rows = int(pq.read_metadata(self._source).num_rows)

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._lists:
            self._lists[name] = _cells(self._read(name))
        return self._lists[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def array(self, name: str) -> NDArray[Any] | None:
        """See `Table.array`."""
        import pyarrow.types as kinds

        column = self._read(name)
        if column.null_count:
            return None
        if kinds.is_integer(column.type) or kinds.is_floating(column.type):
            return np.asarray(column.to_numpy(zero_copy_only=False))
        if not (
            kinds.is_fixed_size_list(column.type) and kinds.is_floating(column.type.value_type)
        ):
            return None
        values = column.flatten()
        return (
            None
            if values.null_count
            else values.to_numpy(zero_copy_only=False).reshape(len(column), -1)
        )

    def _read(self, name: str) -> Any:
        import pyarrow.parquet as pq

        if name not in self._names:
            raise KeyError(name)
        with self._faults():
            if self._chosen is None:
                return pq.read_table(self._source, columns=[name]).column(name).combine_chunks()
            return self._read_chosen(name, np.asarray(self._chosen))

    def _read_chosen(self, name: str, chosen: NDArray[np.intp]) -> Any:
        """Some rows of a column; only the row groups that hold any of them are read."""
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self._source)
        groups = range(file.num_row_groups)
        sizes = np.array([file.metadata.row_group(group).num_rows for group in groups])
        starts = np.cumsum([0, *sizes])
        group_of = np.searchsorted(starts, chosen, side="right") - 1
        read = np.unique(group_of)
        column = file.read_row_groups(read.tolist(), columns=[name]).column(name)
        # where each row's group begins in what was read
        begins = np.cumsum([0, *sizes[read]])[np.searchsorted(read, group_of)]
        return column.take(begins + chosen - starts[group_of]).combine_chunks()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            what = f"not a readable Parquet file ({str(error).splitlines()[0]})"
            raise PipelineError(self._path, what, "write the file again") from error


def _cells(column: Any) -> list[Any]:
    """The values of an Arrow column; a single-precision number as the shortest decimal that it is.

    So 3.1 is 3.1 for who reads it, and for the content's hash, in whatever precision it is kept.
    """
    import pyarrow as pa

    if column.type not in {pa.float16(), pa.float32()}:
        return list(column.to_pylist())
    kind = column.type.to_pandas_dtype()
    numbers = column.to_numpy(zero_copy_only=False).astype(kind)
    nothing = column.is_null().to_pylist()
    pairs = zip(numbers, nothing, strict=True)
    return [None if missing else float(str(number)) for number, missing in pairs]


def read_table(path: Path, *, may_be_empty: bool = False) -> Table:
    """The table at `path`, in the format of its suffix: .csv, .jsonl, .parquet.

    Columns of Parquet are read as they are asked for.

    Raises PipelineError for a missing file, an empty one (unless `may_be_empty`), and any
    unreadable row.
    """
    if not path.is_file():
        remedy = "correct the path, or restore the file (`dvc pull` after a clone)"
        raise PipelineError(path, "file not found", remedy)
    reader = {".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}.get(
        path.suffix.lower()
    )
    if reader is None:
        raise PipelineError(
            path, f"unknown table format {path.suffix!r}", "use .csv, .jsonl or .parquet"
        )
    table = reader(path) if path.stat().st_size else Table(path, {}, [])
    if not len(table) and not may_be_empty:
        raise PipelineError(path, "the file has no rows", "add rows, or correct the path")
    return table


def _csv(path: Path) -> Table:
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PipelineError(f"{path}:{line}", "not UTF-8", "save the file as UTF-8") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise PipelineError(
            f"{path}:{line}", "a NUL character", "remove it, or save the file as UTF-8 text"
        )
    records = csv_records(io.StringIO(text, newline=""), path, ",")
    return csv_table(path, csv_header(records, path), records)


def csv_header(records: Iterator[tuple[int, list[str]]], path: Path) -> list[str]:
    """The names of the columns.

    Raises PipelineError for a name twice, or another mark between cells.
    """
    _, header = next(records, (1, []))
    refuse_twice(header, path)
    marks = [mark for mark in ";\t|" if len(header) == 1 and mark in header[0]]
    if marks:
        other = marks[0]
        what = f"cells stand apart by {other!r}, and commas were expected"
        remedy = "save the file as comma-separated UTF-8, or as .jsonl or .parquet"
        raise PipelineError(f"{path}:1", what, remedy)
    return header


def csv_table(path: Path, header: list[str], records: Iterable[tuple[int, list[str]]]) -> Table:
    """Some rows as a table.

    Raises PipelineError for a row with more or fewer cells than the header.
    """
    columns: list[list[str]] = [[] for _ in header]
    lines: list[int] = []
    for line, cells in records:
        if len(cells) != len(header):
            what = f"{len(cells)} cells where the header has {len(header)}"
            raise PipelineError(f"{path}:{line}", what, "quote cells that hold commas or line ends")
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
        lines.append(line)
    return Table(path, dict(zip(header, columns, strict=True)), lines)


def csv_records(text: Iterable[str], path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The header and every row that is not blank, each with the line that it begins on.

    text: the lines of the file. Raises PipelineError for cells that are not quoted rightly.
    """
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    start = 1
    try:
        for cells in reader:
            if cells or start == 1:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise PipelineError(
            f"{path}:{reader.line_num}", f"not valid CSV ({error})", "repair the quotes"
        ) from error


def refuse_twice(header: Sequence[str], path: Path) -> None:
    """Raises PipelineError for a name that two columns have."""
    if len(set(header)) != len(header):
        name = next(name for name in header if header.count(name) > 1)
        raise PipelineError(f"{path}:1", f"column {name!r} stands twice", "rename one of them")


def read_labelled(path: Path, label: str) -> Table:
    """The seed or test table, which may be empty. label: its column of labels.

    Raises PipelineError for what an annotation tool exported: there a rejected row names a label
    that it has not.
    """
    table = read_table(path, may_be_empty=True)
    refuse_export(table, label)
    return table


def refuse_export(table: Table, label: str) -> None:
    """Raises PipelineError where a column `answer` says that some labels are none."""
    if label == "answer" or "answer" not in table.columns:
        return
    answers = table.columns["answer"]
    if not all(answer in ANSWERS for answer in answers):
        return
    for row, answer in enumerate(answers):
        if answer != "accept" or "accept" in table.columns:
            what = f"its `answer` is {answer!r}: an annotation tool's export, not a table of labels"
            remedy = "let `rounds init` read it (--seed or --test) and use the table that it writes"
            raise PipelineError(table.where(row), what, remedy)


def _jsonl(path: Path) -> Table:
    rows = list(numbered_rows(path))
    names = dict.fromkeys(name for _, row in rows for name in row)
    columns: dict[str, list[Any]] = {name: [row.get(name, "") for _, row in rows] for name in names}
    return Table(path, columns, [number for number, _ in rows])


def _parquet(path: Path) -> Table:
    columns = ArrowColumns(path)
    return Table(path, columns, range(1, columns.rows + 1))


def parquet_rows(url: str, file: Any, rows: Sequence[int]) -> Table:
    """Some rows of an open Parquet file, told by position; only their row groups are read."""
    return Table(url, ArrowColumns(url, file, rows), [row + 1 for row in rows])


def as_text(cell: Any) -> str:
    """A cell as the text that a person would see; missing is empty."""
    if cell is None or cell != cell:  # noqa: PLR0124 - NaN, which pandas writes for a missing cell
        return ""
    if isinstance(cell, list | dict):
        return json.dumps(cell)
    return str(cell)
