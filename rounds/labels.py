"""`rounds labels`: the accepted labels as known at any commit, with where each comes from."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import click

from rounds.commands import commit_named, dvc
from rounds.dvc_files import output_md5
from rounds.history import MANIFESTS
from rounds.past import changes, closing_commits, read_blobs
from rounds.project import Project
from stages.contract.canonical import Row, jsonl, read_jsonl, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors

COLUMNS = (
    "id",
    "label",
    "round",
    "source",
    "arms",
    "annotators",
    "asked_rank",
    "copy_of",
    "commit",
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)  # a class named -1 is no formula
Format = Literal["csv", "jsonl", "parquet"]


def accepted_at(project: Project, commit: str) -> list[Row]:
    """build/gate/accepted.jsonl of a commit: from DVC's cache, else from its remote.

    Raises PipelineError for an unknown commit, one without a dvc.lock, and data that is nowhere to
    be had.
    """
    name = f"{commit}:./dvc.lock"
    folder_hash = output_md5(read_blobs(project, [name]).get(name, b""), "build/gate")
    if folder_hash is None:
        raise PipelineError(
            "--as-of", f"{commit} holds no accepted labels", "name a commit of `rounds log`"
        )
    cache = project.root / ".dvc" / "cache" / "files" / "md5"
    listing = cache / folder_hash[:2] / folder_hash[2:]
    if listing.is_file():
        names = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}
        name = re.sub(r"[^0-9a-f]", "", names["accepted.jsonl"])
        if (cache / name[:2] / name[2:]).is_file():
            return read_jsonl(cache / name[:2] / name[2:])
    folder = Path(tempfile.mkdtemp())
    try:
        dvc(
            project.root,
            ["get", ".", "build/gate/accepted.jsonl", "--rev", commit, "--out", str(folder / "a")],
            print,
        )
        return read_jsonl(folder / "a")
    finally:
        shutil.rmtree(folder)


def labels(project: Project, as_of: str) -> list[Row]:
    """One row per labelled id, copies of a content included, sorted by id; columns as in COLUMNS.

    `copy_of` is the id that was asked in the place of an identical one; `commit` closed the round
    that brought the present label.
    """
    commit = commit_named(project.root, as_of, "--as-of")
    return with_commits(project, accepted_at(project, commit), commit)


def with_commits(project: Project, accepted: Iterable[Row], commit: str) -> list[Row]:
    """A row for each accepted label and each copy, sorted by id; columns as in COLUMNS.

    accepted: rows of build/gate/accepted.jsonl as of the commit.
    """
    closings = closing_commits(project, changes(project, MANIFESTS, at=commit), commit)
    rows = []
    for row in accepted:
        closing = closings.get(row["round"])
        facts = {
            **{key: row[key] for key in COLUMNS if key in row},
            "commit": closing.id if closing else None,
        }
        rows.append({**facts, "copy_of": None})
        rows += [{**facts, "id": copy, "copy_of": row["id"]} for copy in row["copies"]]
    return sorted(rows, key=lambda row: str(row["id"]))


def as_csv(rows: list[Row], *, raw: bool) -> bytes:
    """The rows as CSV, lists joined by a semicolon.

    Unless `raw`, a cell that a spreadsheet would take for a formula (it begins with = + - @, a tab
    or a carriage return, and is no number) gets an apostrophe before it. Source: OWASP, "CSV
    injection".
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = ["; ".join(row[key]) if isinstance(row[key], list) else row[key] for key in COLUMNS]
        writer.writerow(cells if raw else [_harmless(cell) for cell in cells])
    return text.getvalue().encode("utf-8", "surrogatepass")


def _harmless(cell: object) -> object:
    if not isinstance(cell, str) or NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def as_parquet(rows: list[Row]) -> bytes:
    """The rows as a Parquet file; arms and annotators are lists of text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "round": pa.int64(),
        "asked_rank": pa.int64(),
        "arms": pa.list_(pa.string()),
        "annotators": pa.list_(pa.string()),
    }
    schema = pa.schema([(key, kinds.get(key, pa.string())) for key in COLUMNS])
    out = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pylist([{key: row[key] for key in COLUMNS} for row in rows], schema=schema),
        out,
    )
    data: bytes = out.getvalue().to_pybytes()
    return data


@click.command()
@click.option("--as-of", default="HEAD", show_default=True, help="Any commit: what was known then.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(get_args(Format)),
    help="Default: the suffix of --out, else csv.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="A file; without it to the screen (not Parquet)."
)
@click.option(
    "--raw",
    is_flag=True,
    help="CSV: cells as they are, even those that a spreadsheet would run as formulas.",
)
@one_line_errors
def command(as_of: str, kind: Format | None, out: Path | None, raw: bool) -> str:
    """The accepted labels as known at any commit: round, arms, annotators and commit of each."""
    suffix = out.suffix.lower().removeprefix(".") if out else ""
    by_suffix: Format = next((name for name in get_args(Format) if name == suffix), "csv")
    kind = kind or by_suffix
    rows = labels(Project.find(Path()), as_of)
    if kind == "parquet" and out is None:
        raise PipelineError(
            "--format parquet",
            "a binary file does not go to the screen",
            "name one: --out labels.parquet",
        )
    writers: dict[Format, Callable[[list[Row]], bytes]] = {
        "csv": partial(as_csv, raw=raw),
        "jsonl": jsonl,
        "parquet": as_parquet,
    }
    data = writers[kind](rows)
    if out is None:
        click.echo(data, nl=False)
    else:
        write_bytes(out, data)
    return f"labels: {len(rows)} labels as known at {as_of}"
