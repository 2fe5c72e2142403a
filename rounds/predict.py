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
from typing import Any, BinaryIO, Protocol, TextIO, TypedDict, Unpack

import click

from rounds import documents
from rounds.documents import json_option, say
from rounds.loading import fetched, read_from
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
    """Comma-separated rows under one header; truth is `true` or `false`."""

    def __init__(self, file: TextIO, columns: list[str]) -> None:
        self.rows = csv.DictWriter(file, columns, lineterminator="\n")
        self.file = file
        self.has_header = False

    def write(self, rows: list[dict[str, Any]]) -> None:
        """See `Writer`."""
        self.write_header()
        for row in rows:
            self.rows.writerow({**row, "unlike": str(row["unlike"]).lower()})

    def write_header(self) -> None:
        """Write the header once, when the first rows could be read."""
        if not self.has_header:
            self.rows.writeheader()
            self.has_header = True

    def close(self) -> None:
        """See `Writer`."""
        self.write_header()
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
class Choice:
    """The model that predicts: where it is, of which commit, what it needs (`rounds.load`)."""

    source: str
    rev: str | None
    trusted: tuple[str, ...]
    images: Path | None
    embedding: Path | None

    def load(self) -> Predictor:
        """The model itself."""
        with fetched(self.source, self.rev) as folder:
            return self.read(folder)

    def read(self, folder: Path) -> Predictor:
        """The model from that folder, which was fetched."""
        return read_from(folder, self.source, self.trusted, self.images, self.embedding)


@dataclass(frozen=True)
class Work:
    """A part of a folder to be predicted: where it is, where its predictions go, by which model."""

    source: str
    out: Path
    model: Choice


def predict_part(work: Work) -> tuple[int, int]:
    """Predict one part into a Parquet file."""
    with local(work.source) as path:
        return predict_file(work.model.load(), read_blocks(path, BLOCK), work.out)


def sources_of(files: tuple[str, ...], kind: str) -> Iterator[Table]:
    """The blocks of all files, one after the other; "-" is what comes through the pipe."""
    for name in files:
        if name == "-":
            pipe: BinaryIO = sys.stdin.buffer
            yield from read_blocks(Path("stdin"), BLOCK, kind, pipe)
            continue
        with local(name) as path:
            yield from read_blocks(path, BLOCK)


@dataclass(frozen=True)
class Done:
    """What was predicted: by which model, how many rows, how many unlike anything, and where."""

    model: Predictor
    rows: int
    unlike: int
    out: Path | None = None

    def sentence(self) -> str:
        """The last line: what was done, and what to be careful with."""
        facts = self.model.facts
        where = f" in {self.out}" if self.out else ""
        line = f"predict: {self.rows} rows{where}, by the model of round {facts['round']}"
        if self.unlike:
            verb = "is" if self.unlike == 1 else "are"
            line += (
                f"; {self.unlike} of them {verb} unlike anything labelled: do not trust it there"
            )
        calibration = facts["calibration"]
        if calibration["verdict"] != "trusted":
            line += f"; its confidence is {calibration['verdict']}: {calibration['why']}"
        return line

    def ending(self, *, as_json: bool) -> str:
        """The last line, after the document for a program where it is asked for."""
        if as_json:
            calibration = self.model.facts["calibration"]
            document = documents.Predict(
                rows=self.rows,
                unlike=self.unlike,
                round=self.model.facts["round"],
                verdict=calibration["verdict"],
                why=calibration["why"],
                out=str(self.out),
            )
            say(document)
        return self.sentence()


def is_folder(name: str) -> bool:
    """Whether a path or URL names a folder of parts, not one table."""
    return in_parts(name) and not name.lower().endswith((*FORMATS, ".ndjson"))


class Chosen(TypedDict):
    """The options of the command line that choose the model, as click hands them over."""

    commit: str | None
    model: Path | None
    trust: tuple[str, ...]
    images: Path | None
    embedding: Path | None


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
@click.option("--images", type=PATH, help="Folder of image files.  [default: the project's]")
@click.option(
    "--embedding", type=PATH, help="Folder of the embedding model.  [default: the project's]"
)
@click.option("--trust", multiple=True, help="A type of your own in the model that may be loaded.")
@json_option
@one_line_errors
def command(
    files: tuple[str, ...], out: Path | None, kind: str, as_json: bool, **chosen: Unpack[Chosen]
) -> str:
    """Label rows of any table with the model of a round: its label, and how probable each class is.

    FILES are tables with the columns of the pool, a folder of parts, or - for a pipe.
    A row is marked as unlike anything labelled where its probability is a guess.
    """
    model = chosen["model"]
    place = Project.find(Path.cwd()).root if model is None else model
    choice = Choice(
        str(place), chosen["commit"], chosen["trust"], chosen["images"], chosen["embedding"]
    )
    if as_json and out is None:
        raise click.UsageError("--json needs --out: without it the rows are printed")
    if any(is_folder(name) for name in files):
        if out is None or len(files) > 1:
            remedy = "name it alone, and with --out the folder to write to"
            raise PipelineError("FILES", "a folder of parts is among them", remedy)
        done = predict_folder(files[0], out, choice)
        return done.ending(as_json=as_json)
    if out is not None and out.suffix not in FORMATS:
        raise PipelineError("--out", f"{out} is no table", f"name a file of {', '.join(FORMATS)}")
    loaded = choice.load()
    if out is None:
        writer = (CsvWriter if kind == "csv" else JsonlWriter)(sys.stdout, columns_of(loaded))
        return Done(loaded, *predict_blocks(loaded, sources_of(files, kind), writer)).sentence()
    done = Done(loaded, *predict_file(loaded, sources_of(files, kind), out), out)
    return done.ending(as_json=as_json)


def predict_folder(folder: str, out: Path, choice: Choice) -> Done:
    """Predict all parts of a folder or URL, each into a Parquet file of its name."""
    sources = list_parts(folder)
    out.mkdir(parents=True, exist_ok=True)
    # Workers read the model where they write.
    with fetched(choice.source, choice.rev, inside=out) as copy:
        loaded = choice.read(copy)
        for_workers = Choice(
            source=str(copy.resolve()),
            rev=None,
            trusted=choice.trusted,
            images=Path(loaded.params.data.images).resolve(),
            embedding=Path(loaded.featurizer.options.embedding.model).resolve(),
        )
        work = [
            Work(source, out / f"{name_of(source).rpartition('.')[0]}.parquet", for_workers)
            for source in sources
        ]
        compute = compute_of(Path(choice.source))
        counts = list(mapped(predict_part, work, compute, "predict", little=is_little(sources)))
    total = sum(rows for rows, _ in counts)
    return Done(loaded, total, sum(unlike for _, unlike in counts), out)


def is_little(sources: list[str]) -> bool:
    """Whether parts on this machine are predicted sooner than workers start."""
    if any(map(is_url, sources)):
        return False
    return sum(Path(source).stat().st_size for source in sources) < LITTLE


def compute_of(root: Path) -> Compute:
    """The section `compute` of the project's params; without a project, this machine."""
    from rounds.shipped import shipped_params
    from stages.contract.params import load as load_params

    params = root / "params.yaml"
    return load_params(params).compute if params.is_file() else shipped_params().compute
