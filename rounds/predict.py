"""`rounds predict`: labels and calibrated probabilities for any rows, by the model of a round.

Reads tables block by block, so that memory does not grow with them; writes whole files, or nothing.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

import click

from rounds.loading import FOLDER, load
from rounds.project import Project
from stages.contract.errors import PipelineError
from stages.contract.params import Compute
from stages.contract.progress import progress
from stages.contract.shell import PATH, one_line_errors
from stages.examples.blocks import read_blocks
from stages.examples.places import in_parts, is_url, list_parts, local, name_of
from stages.examples.tables import Table, as_text
from stages.prediction.predictor import Predictor
from stages.store.workers import mapped

BLOCK = 8192  # rows in memory at a time
LITTLE = 10_000_000  # bytes of parts that are predicted sooner than workers start
FORMATS = (".csv", ".jsonl", ".parquet")


class Writer(Protocol):
    """Takes rows block by block."""

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Add some rows."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class CsvWriter:
    """Comma-separated rows under one header."""

    def __init__(self, file: TextIO, columns: list[str]) -> None:
        self.rows = csv.DictWriter(file, columns, lineterminator="\n")
        self.rows.writeheader()
        self.file = file

    def write(self, rows: list[dict[str, Any]]) -> None:
        """See `Writer`."""
        self.rows.writerows(rows)

    def close(self) -> None:
        """See `Writer`."""
        self.file.flush()


def shortest(number: Any) -> float:
    """A single-precision number as the shortest decimal that is read back as the same."""
    return float(str(number))


class JsonlWriter:
    """One JSON object a line."""

    def __init__(self, file: TextIO, _columns: list[str]) -> None:
        self.file = file

    def write(self, rows: list[dict[str, Any]]) -> None:
        """See `Writer`."""
        for row in rows:
            self.file.write(json.dumps(row, ensure_ascii=False, default=shortest) + "\n")

    def close(self) -> None:
        """See `Writer`."""
        self.file.flush()


class ParquetWriter:
    """Columns of text, truth values, and single-precision numbers."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {"id": pa.string(), "label": pa.string(), "unlike": pa.bool_()}
        self.schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in columns])
        self.file = pq.ParquetWriter(path, self.schema)

    def write(self, rows: list[dict[str, Any]]) -> None:
        """See `Writer`."""
        import pyarrow as pa

        self.file.write_table(pa.Table.from_pylist(rows, schema=self.schema))

    def close(self) -> None:
        """See `Writer`."""
        self.file.close()


def columns_of(model: Predictor) -> list[str]:
    """The columns that are written: id, label, confidence, unlike, and p_CLASS for each class."""
    return ["id", "label", "confidence", "unlike", *(f"p_{name}" for name in model.classes_)]


def predicted(model: Predictor, table: Table) -> list[dict[str, Any]]:
    """A row of `columns_of` for each row of a table.

    Probabilities are single-precision numbers, as build/probabilities has them; a row's id is that
    of the project's column of ids, else its line in the file.
    """
    made = model.of_table(table)
    column = model.params.data.id
    named = bool(column) and column in table.columns
    ids = (
        [as_text(cell) for cell in table.columns[column]] if named else list(map(str, table.lines))
    )
    best = made.probabilities.argmax(axis=1)
    names = columns_of(model)
    rows = zip(ids, best, made.unlike.tolist(), made.probabilities, strict=True)
    return [
        dict(zip(names, [item, model.classes_[top], row[top], unlike, *row], strict=True))
        for item, top, unlike, row in rows
    ]


def predict_blocks(model: Predictor, blocks: Iterable[Table], writer: Writer) -> tuple[int, int]:
    """Predict and write tables one after the other: how many rows, and how many unlike anything."""
    count = 0
    unlike = 0
    with progress("predict", unit="row") as bar:
        for table in blocks:
            rows = predicted(model, table)
            writer.write(rows)
            count += len(rows)
            unlike += sum(row["unlike"] for row in rows)
            bar.update(len(rows))
    writer.close()
    return count, unlike


def predict_file(model: Predictor, blocks: Iterable[Table], out: Path) -> tuple[int, int]:
    """Predict into a file that appears whole or not at all."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    out.parent.mkdir(parents=True, exist_ok=True)
    columns = columns_of(model)
    try:
        if out.suffix == ".parquet":
            counts = predict_blocks(model, blocks, ParquetWriter(unfinished, columns))
        else:
            kind = CsvWriter if out.suffix == ".csv" else JsonlWriter
            with unfinished.open("w", encoding="utf-8", newline="") as file:
                counts = predict_blocks(model, blocks, kind(file, columns))
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return counts


@dataclass(frozen=True)
class Work:
    """A part of a folder to be predicted: where it is, where its predictions go, by which model."""

    source: str
    out: Path
    model: Path
    trusted: tuple[str, ...]


def predict_part(work: Work) -> tuple[int, int]:
    """Predict one part into a Parquet file."""
    model = load(work.model, trusted=work.trusted)
    with local(work.source) as path:
        return predict_file(model, read_blocks(path, BLOCK), work.out)


def sources_of(files: tuple[str, ...], kind: str) -> Iterator[Table]:
    """The blocks of all files, one after the other; "-" is what comes through the pipe."""
    for name in files:
        if name == "-":
            pipe: BinaryIO = sys.stdin.buffer
            yield from read_blocks(Path("stdin"), BLOCK, kind, pipe)
            continue
        with local(name) as path:
            yield from read_blocks(path, BLOCK)


def is_folder(name: str) -> bool:
    """Whether a path or URL names a folder of parts, not one table."""
    return in_parts(name) and not name.lower().endswith((*FORMATS, ".ndjson"))


def model_folder(commit: str | None, model: Path | None) -> tuple[str, str | None]:
    """Where the model is taken from, and at which commit."""
    if model is not None:
        return str(model), commit
    return str(Project.find(Path.cwd()).root), commit


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--commit", help="The model of this commit, branch or tag, not the present one.")
@click.option("--model", type=PATH, help="A predictor's folder or another project's.")
@click.option(
    "--out", type=PATH, help="File (.csv, .jsonl, .parquet) to write; a folder for parts."
)
@click.option(
    "--format", "kind", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True,
    help="Format of what is read from a pipe, and written into one.",
)  # fmt: skip
@click.option("--trust", multiple=True, help="A type of your own in the model that may be loaded.")
@one_line_errors
def command(
    files: tuple[str, ...],
    commit: str | None,
    model: Path | None,
    out: Path | None,
    kind: str,
    trust: tuple[str, ...],
) -> str:
    """Label rows of any table with the model of a round: its label, and how probable each class is.

    FILES are tables with the columns of the pool, a folder of parts, or - for a pipe.
    A row is marked as unlike anything labelled where its probability is a guess.
    """
    place, rev = model_folder(commit, model)
    if any(is_folder(name) for name in files):
        if out is None or len(files) > 1:
            remedy = "name it alone, and with --out the folder to write to"
            raise PipelineError("FILES", "a folder of parts is among them", remedy)
        return predict_folder(files[0], out, place, rev, trust)
    loaded = load(place, rev, trust)
    if out is None:
        writer = (CsvWriter if kind == "csv" else JsonlWriter)(sys.stdout, columns_of(loaded))
        return said(loaded, *predict_blocks(loaded, sources_of(files, kind), writer), "")
    if out.suffix not in FORMATS:
        raise PipelineError("--out", f"{out} is no table", f"name a file of {', '.join(FORMATS)}")
    return said(loaded, *predict_file(loaded, sources_of(files, kind), out), f" in {out}")


def predict_folder(
    folder: str, out: Path, place: str, rev: str | None, trust: tuple[str, ...]
) -> str:
    """Predict all parts of a folder or URL, each into a Parquet file of its name."""
    if rev is not None:
        what = "a folder of parts is predicted by the present model"
        raise PipelineError("--commit", what, "check that commit out first, or name files")
    loaded = load(place, None, trust)
    root = Path(place)
    model = root / FOLDER if (root / "dvc.yaml").is_file() else root
    work = [
        Work(source, out / f"{name_of(source).rpartition('.')[0]}.parquet", model.resolve(), trust)
        for source in list_parts(folder)
    ]
    sizes = [0 if is_url(item.source) else Path(item.source).stat().st_size for item in work]
    little = sum(sizes) < LITTLE and not is_url(folder)
    counts = list(mapped(predict_part, work, compute_of(root), "predict", little=little))
    total = sum(rows for rows, _ in counts)
    return said(loaded, total, sum(unlike for _, unlike in counts), f" in {out}")


def compute_of(root: Path) -> Compute:
    """The section `compute` of the project's params; without a project, this machine."""
    from rounds.shipped import shipped_params
    from stages.contract.params import load as load_params

    params = root / "params.yaml"
    return load_params(params).compute if params.is_file() else shipped_params().compute


def said(model: Predictor, rows: int, unlike: int, where: str) -> str:
    """The last line: what was done, and what to be careful with."""
    facts = model.facts
    line = f"predict: {rows} rows{where}, by the model of round {facts['round']}"
    if unlike:
        line += f"; {unlike} of them are unlike anything labelled: do not trust these"
    verdict = facts["calibration"]["verdict"]
    if verdict != "trusted":
        line += f"; its confidence is {verdict}: {facts['calibration']['why']}"
    return line
