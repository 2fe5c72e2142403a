"""`rounds labels`: the accepted labels as known at any commit, with where each comes from."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Literal, TypedDict, get_args

import click

from rounds.commands import commit_named, dvc
from rounds.dvc_files import output_md5
from rounds.history import MANIFESTS
from rounds.past import changes, closing_commits, read_blobs, round_of_path, tree_of
from rounds.project import Project
from rounds.surfaces.desk import NOTE
from stages.answers.changed import CHANGED, renamed
from stages.answers.ledger import AcceptedLabel, read_rows
from stages.answers.prodigy import Answer, keep_last, read_answer
from stages.answers.scheme import SCHEME, meaning
from stages.contract.canonical import jsonl, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors

FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)  # a class named -1 is no formula
Format = Literal["csv", "jsonl", "parquet"]
CHANGES = ("rename", "merge", "split", "retire", "describe")  # commands of rounds.scheme


class LabelRow(TypedDict):
    """An accepted label and where it comes from.

    round: where the label became known; source: seed, answer, review or override; copy_of: the id
    that was asked in the place of this one, which has the same content; commit: closed the round.
    """

    id: str
    label: str
    round: int
    source: str
    arms: list[str]
    annotators: list[str]
    asked_rank: int
    copy_of: str | None
    commit: str | None


class NotedRow(LabelRow):
    """A label with what people noted on its item, each note as "name: note"."""

    notes: list[str]


COLUMNS = tuple(NotedRow.__annotations__)


def accepted_at(project: Project, commit: str) -> list[AcceptedLabel]:
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
            return read_rows(cache / name[:2] / name[2:], AcceptedLabel)
    folder = Path(tempfile.mkdtemp())
    try:
        dvc(
            project.root,
            ["get", ".", "build/gate/accepted.jsonl", "--rev", commit, "--out", str(folder / "a")],
            print,
        )
        return read_rows(folder / "a", AcceptedLabel)
    finally:
        shutil.rmtree(folder)


def labels(project: Project, as_of: str) -> list[NotedRow]:
    """One row per labelled id, copies of a content included, sorted by id; columns as in COLUMNS.

    `copy_of` is the id that was asked in the place of an identical one; `commit` closed the round
    that brought the present label.
    """
    commit = commit_named(project.root, as_of, "--as-of")
    rows = with_commits(project, accepted_at(project, commit), commit)
    notes = notes_at(project, commit)
    return [{**row, "notes": notes.get(row["copy_of"] or row["id"], [])} for row in rows]


def notes_at(project: Project, commit: str) -> dict[str, list[str]]:
    """Id -> the notes of the answers in a commit, each as "name: note", by round and name.

    A note counts while its answer is the last one of that person to the item in that round.
    """
    tree = tree_of(project, commit)
    record = f"data/rounds/{CHANGED}"
    files = [path for path in tree if re.search(r"^data/rounds/.*/answers/[^/]+\.jsonl$", path)]
    blobs = read_blobs(project, [tree[path] for path in (record, *files) if path in tree])
    moved = [json.loads(line) for line in blobs.get(tree.get(record, ""), b"").splitlines()]
    notes: dict[str, list[str]] = {}
    for folder, paths in groupby(sorted(files), key=lambda path: path.rpartition("/")[0]):
        for answer, note in _last_notes({path: blobs[tree[path]] for path in paths}):
            today = renamed(str(answer.id), round_of_path(folder), moved)
            if today is not None:
                notes.setdefault(today, []).append(f"{answer.annotator}: {note}")
    return notes


def _last_notes(files: Mapping[str, bytes]) -> list[tuple[Answer, str]]:
    """The answers of one round that stand and have a note, by id and person.

    files: of the round's answers, by path.
    """
    if not any(NOTE.encode() in data for data in files.values()):
        return []
    notes: dict[tuple[str, int], str] = {}
    answers = []
    for path, data in files.items():
        for number, line in enumerate(data.splitlines(), start=1):
            row = json.loads(line) if line.strip() else {}
            if row.get("al_id"):
                answers.append((read_answer(row), (path, number)))
                notes[path, number] = row.get(NOTE, "")
    return [(answer, notes[line]) for answer, line in keep_last(answers) if notes[line]]


def with_commits(
    project: Project, accepted: Iterable[AcceptedLabel], commit: str
) -> list[LabelRow]:
    """A row for each accepted label and each copy, sorted by id; columns as in COLUMNS.

    accepted: rows of build/gate/accepted.jsonl as of the commit.
    """
    closings = closing_commits(project, changes(project, MANIFESTS, at=commit), commit)
    rows: list[LabelRow] = []
    for row in accepted:
        closing = closings.get(row["round"])
        asked: LabelRow = {
            "id": row["id"],
            "label": row["label"],
            "round": row["round"],
            "source": row["source"],
            "arms": row["arms"],
            "annotators": row["annotators"],
            "asked_rank": row["asked_rank"],
            "copy_of": None,
            "commit": closing.id if closing else None,
        }
        rows.append(asked)
        rows += [{**asked, "id": copy, "copy_of": row["id"]} for copy in row["copies"]]
    return sorted(rows, key=lambda row: str(row["id"]))


def under_todays_names(project: Project, rows: list[NotedRow], as_of: str) -> list[NotedRow]:
    """The rows of a commit with the labels that theirs mean now, without those of retired classes.

    A label that was split since keeps its name: nobody had said then which part it is.
    """
    commit = commit_named(project.root, as_of, "--as-of")
    name = f"{commit}:./{SCHEME}"
    before = read_blobs(project, [name]).get(name, b"")
    later = project.scheme()[len(before.splitlines()) :]
    meanings = {label: meaning(label, later) for label in {row["label"] for row in rows}}
    return [
        {**row, "label": meanings[row["label"]].label}
        for row in rows
        if not meanings[row["label"]].retired
    ]


def as_csv(rows: list[NotedRow], *, raw: bool) -> bytes:
    """The rows as CSV, lists joined by a semicolon.

    Unless `raw`, a cell that a spreadsheet would take for a formula (it begins with = + - @, a tab
    or a carriage return, and is no number) gets an apostrophe before it. Source: OWASP, "CSV
    injection".
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        lists = {
            "arms": "; ".join(row["arms"]),
            "annotators": "; ".join(row["annotators"]),
            "notes": "; ".join(row["notes"]),
        }
        cells: dict[str, object] = {**row, **lists}
        if not raw:
            cells = {name: _harmless(cell) for name, cell in cells.items()}
        writer.writerow(cells)
    return text.getvalue().encode("utf-8", "surrogatepass")


def _harmless(cell: object) -> object:
    if not isinstance(cell, str) or NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def as_parquet(rows: list[NotedRow]) -> bytes:
    """The rows as a Parquet file; arms, annotators and notes are lists of text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "round": pa.int64(),
        "asked_rank": pa.int64(),
        "arms": pa.list_(pa.string()),
        "annotators": pa.list_(pa.string()),
        "notes": pa.list_(pa.string()),
    }
    schema = pa.schema([(key, kinds.get(key, pa.string())) for key in COLUMNS])
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out)
    data: bytes = out.getvalue().to_pybytes()
    return data


class LabelsGroup(click.Group):
    """`rounds labels` lists; with a further word it changes the classes (`rounds.scheme`)."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The changes, the commonest first."""
        return list(CHANGES)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The change, or None for an unknown word."""
        command = getattr(import_module("rounds.scheme"), cmd_name, None)
        return command if cmd_name in CHANGES and isinstance(command, click.Command) else None


@click.group(cls=LabelsGroup, invoke_without_command=True)
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
@click.option(
    "--todays-names",
    is_flag=True,
    help="Under the labels of today, where they changed since; without it as they were.",
)
@click.pass_context
def command(
    ctx: click.Context,
    as_of: str,
    kind: Format | None,
    out: Path | None,
    raw: bool,
    todays_names: bool,
) -> None:
    """The accepted labels as known at any commit: round, arms, annotators and commit of each.

    With a further word: change the labels themselves. docs/changes.md says what each change does to
    old answers, to the curve and to the proof.
    """
    if ctx.invoked_subcommand is None:
        _list(as_of, kind, out, raw=raw, todays_names=todays_names)


@one_line_errors
def _list(
    as_of: str, kind: Format | None, out: Path | None, *, raw: bool, todays_names: bool
) -> str:
    """List the labels, to the screen or into a file."""
    suffix = out.suffix.lower().removeprefix(".") if out else ""
    by_suffix: Format = next((name for name in get_args(Format) if name == suffix), "csv")
    kind = kind or by_suffix
    project = Project.find(Path())
    rows = labels(project, as_of)
    if todays_names:
        rows = under_todays_names(project, rows, as_of)
    if kind == "parquet" and out is None:
        raise PipelineError(
            "--format parquet",
            "a binary file does not go to the screen",
            "name one: --out labels.parquet",
        )
    writers: dict[Format, Callable[[list[NotedRow]], bytes]] = {
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
