"""`rounds labels rename|merge|split|retire|describe`: change the classes, by a line of the record.

A change is a line in data/scheme.jsonl, then params.yaml and data/labels.csv as the line says, then
one commit of the three. A command that was interrupted in between is finished by the next of these
commands, or by the next `rounds close`: the line is what counts, and all that follows from it can
be done twice. Answers and frozen batches stay as they are; stages/answers/scheme.py says what their
labels mean now.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote

import click

from rounds.commands import commit_paths, git, git_bytes, is_as_committed, is_committed
from rounds.correct import whoever
from rounds.init import filled_in
from rounds.lock import exclusive
from rounds.past import has_commits
from rounds.plain_words import PlainWords
from rounds.project import Project
from rounds.renamed_labels import outdated, untouched
from rounds.surfaces.label_help import FILE as DESCRIPTIONS
from stages.answers.scheme import (
    SCHEME,
    Change,
    Kind,
    as_row,
    labels_after,
    parents,
    require_allowed,
    sha_of,
)
from stages.contract.canonical import add_lines, jsonl, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors
from stages.examples.tables import as_text, read_table

COLUMNS = ("name", "description", "example")  # of data/labels.csv
Names = tuple[str, ...]


def change_labels(project: Project, new: Change) -> list[str]:
    """Record a change, make it and commit it. Lines for the person who asked for it.

    Raises PipelineError for a change that cannot be made, and for changes of its files that are not
    committed.
    """
    with exclusive(project.root, wait=True):
        lines = settle(project)
        if lines and _is_last(project, new):
            return lines  # the command that was interrupted is the one that is typed again
        _require_committed(project)
        params = project.params()
        record = project.scheme()
        require_allowed(params.labels, record, new)
        add_lines(project.root / SCHEME, jsonl([as_row(_dated(project, new, len(record)))]))
        lines += settle(project)
    return lines


def settle(project: Project) -> list[str]:
    """Finish the changes that the last commit does not hold; a line for each, none where all are.

    The caller holds the project's lock.
    """
    unfinished = unfinished_changes(project)
    if not unfinished:
        return []
    for change in unfinished:
        _make(project, change)
    paths = [SCHEME, "params.yaml"]
    if (project.root / DESCRIPTIONS).is_file():
        paths.append(DESCRIPTIONS)
    git(project.root, "add", "--", *paths)
    subject = "Labels: " + "; ".join(map(str, unfinished))
    body = "\n".join(f"{change}: {change.why} ({change.by})" for change in unfinished)
    commit_paths(project.root, paths, subject, body)
    return [f"{change}" for change in unfinished]


def unfinished_changes(project: Project) -> list[Change]:
    """The changes that the last commit does not hold: their command was interrupted.

    A record without a line has none; that it was emptied is for `rounds verify` to find.
    """
    path = project.root / SCHEME
    if not path.is_file() or not path.stat().st_size:
        return []
    if not has_commits(project) or is_as_committed(project.root, path):
        return []
    before = b""
    if is_committed(project.root, path):
        before = git_bytes(project.root, "show", f"HEAD:./{SCHEME}")
    if not path.read_bytes().startswith(before):
        what = "it lacks or changes lines that the last commit holds; lines are only ever added"
        raise PipelineError(path, what, f"git checkout HEAD -- {SCHEME}")
    return project.scheme()[len(before.splitlines()) :]


def _is_last(project: Project, new: Change) -> bool:
    last = project.scheme()[-1]
    return (last.kind, last.labels, last.into) == (new.kind, new.labels, new.into)


def _require_committed(project: Project) -> None:
    """Raises PipelineError where the files that a change touches have other changes."""
    if not has_commits(project):
        raise PipelineError(project.root, "no commit yet", "git add -A && git commit")
    for name in ("params.yaml", DESCRIPTIONS):
        path = project.root / name
        if path.is_file() and not is_as_committed(project.root, path):
            what = "it has changes that are not committed, and this change would commit them too"
            raise PipelineError(path, what, "commit them (git add -A && git commit), or undo them")


def _dated(project: Project, new: Change, earlier: int) -> Change:
    """The change with its number, and what there was before it."""
    rounds = project.rounds()
    corrections = 0
    if rounds and rounds[-1].corrections.is_file():
        corrections = len(rounds[-1].corrections.read_bytes().splitlines())
    tables: dict[str, str] = {}
    if new.kind == "split":
        data = project.params().data
        tables = {name: sha_of(project.root / getattr(data, name)) for name in ("seed", "test")}
    number = rounds[-1].number if rounds else 0
    return replace(new, change=earlier + 1, round=number, corrections=corrections, tables=tables)


def _make(project: Project, change: Change) -> None:
    """Bring params.yaml and data/labels.csv to what a change says; done twice it is done once."""
    params = project.params()
    weights = params.query.class_weights
    values: dict[tuple[str, ...], object] = {
        ("labels",): labels_after(params.labels, change, project.scheme())
    }
    if isinstance(weights, dict) and set(weights) & set(change.labels):
        values["query", "class_weights"] = _weights_after(weights, change)
    if change.kind != "describe":
        path = project.root / "params.yaml"
        write_bytes(path, filled_in(path, values).encode())
    _redescribe(project, change)


def _weights_after(weights: Mapping[str, float], change: Change) -> dict[str, float]:
    """query.class_weights after a change: a class has the largest weight of those it comes from."""
    theirs = [weights[label] for label in change.labels if label in weights]
    kept = {label: weight for label, weight in weights.items() if label not in change.labels}
    names = [*change.labels, *change.into] if change.kind == "split" else change.into
    return kept | dict.fromkeys(names, max(theirs))


def _redescribe(project: Project, change: Change) -> None:
    """data/labels.csv after a change: a renamed class keeps its description."""
    rows = _descriptions(project)
    if change.kind == "describe":
        _describe(project, change.labels[0], change.text)
        return
    stays = change.kind == "split"
    kept = [row for row in rows if stays or row["name"] not in change.labels]
    if change.kind == "rename":
        (into,) = change.into
        theirs = [row for row in rows if row["name"] in change.labels]
        kept += [{**row, "name": into} for row in theirs]
    if kept != rows:
        _write(project, kept)


def _descriptions(project: Project) -> list[dict[str, str]]:
    """The rows of data/labels.csv, none without the file."""
    path = project.root / DESCRIPTIONS
    if not path.is_file():
        return []
    table = read_table(path, may_be_empty=True)
    return [
        {name: as_text(column[number]) for name, column in table.columns.items()}
        for number in range(len(table))
    ]


def _describe(project: Project, name: str, text: str) -> None:
    """Put a description into data/labels.csv, in the place of an earlier one."""
    rows = {row["name"]: row for row in _descriptions(project)}
    rows[name] = {**rows.get(name, {}), "name": name, "description": text}
    _write(project, list(rows.values()))


def _write(project: Project, rows: list[dict[str, str]]) -> None:
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(project.root / DESCRIPTIONS, text.getvalue().encode())


def _next(project: Project, new: Change) -> str:
    """What becomes of the open round, and what to type next."""
    rounds = project.rounds()
    newest = rounds[-1] if rounds else None
    if newest is None or new.kind == "describe":
        return "next: rounds status"
    if outdated(project, newest) and untouched(newest):
        return f"next: rounds close, which issues round {newest.number} anew with today's labels"
    kept = f"round {newest.number} goes on with the labels it was issued with"
    return f"{kept}; next: rounds status"


def _run(
    kind: Kind,
    labels: Names,
    into: Names = (),
    **rest: object,
) -> str:
    """Make a change that was typed. rest: why, by, ask_again, text."""
    project = Project.find(Path())
    by = rest.pop("by")
    whose = whoever(project, by if isinstance(by, str) else None)
    new = Change(0, 0, 0, kind, labels, into, by=whose, **rest)  # type: ignore[arg-type]  # **rest is of the columns named
    lines = change_labels(project, new)
    return "\n".join([*(f"labels: {line}" for line in lines), _next(project, new)])


WHY = click.option("--why", required=True, help="The reason; it stands in the record.")
BY = click.option("--by", help="Who says so.  [default: git's user.name]")


@click.command(cls=PlainWords)
@click.argument("label")
@click.argument("new")
@WHY
@BY
@one_line_errors
def rename(label: str, new: str, why: str, by: str | None) -> str:
    """Give a label another name. Answers under the old one count for it."""
    return _run("rename", (label,), (new,), why=why, by=by)


@click.command(cls=PlainWords)
@click.argument("labels", nargs=-1, required=True, metavar="LABEL LABEL... INTO")
@WHY
@BY
@one_line_errors
def merge(labels: Names, why: str, by: str | None) -> str:
    """Make two labels or more one: the last word, which is one of them or a new name."""
    *merged, into = labels
    if into in Project.find(Path()).params().labels and into not in merged:
        merged.append(into)
    return _run("merge", tuple(dict.fromkeys(merged)), (into,), why=why, by=by)


@click.command(cls=PlainWords)
@click.argument("label")
@click.argument("new", nargs=-1, required=True, metavar="NEW NEW...")
@WHY
@BY
@one_line_errors
def split(label: str, new: Names, why: str, by: str | None) -> str:
    """Split a label into others, of which it may be one. Its rows are asked again, blind.

    Up to half of each batch's active rows are such rows, those first on which the model is least
    sure. Until a row is answered again the model learns it under the old label.
    """
    return _run("split", (label,), tuple(dict.fromkeys(new)), why=why, by=by)


@click.command(cls=PlainWords)
@click.argument("label")
@click.option(
    "--leave/--ask-again",
    "leave",
    default=None,
    required=True,
    help="Whether its rows stay without a label, or may be asked again.",
)
@WHY
@BY
@one_line_errors
def retire(label: str, leave: bool, why: str, by: str | None) -> str:
    """Take a label away. Its rows have none then, and may be asked again or not."""
    return _run("retire", (label,), ask_again=not leave, why=why, by=by)


@click.command(cls=PlainWords)
@click.argument("label")
@click.argument("text")
@click.option("--why", default="a clearer description", help="The reason.", show_default=True)
@BY
@one_line_errors
def describe(label: str, text: str, why: str, by: str | None) -> str:
    """Say what a label means, in data/labels.csv; the page shows it beside the label."""
    return _run("describe", (label,), text=text, why=why, by=by)


def unfinished_splits(project: Project) -> list[str]:
    """Labels that were split and are classes still: some of their rows are not told apart."""
    return parents(project.scheme())


def retire_command(label: str) -> str:
    """What ends the split of a label: the rows that are left of it have no label then."""
    return f"rounds labels retire {quote(label)} --leave --why TEXT"
