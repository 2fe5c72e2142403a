"""`rounds changed`: what to believe when an id that people judged carries another content now.

A label belongs to what a person saw: the text, image or fields in the frozen asked.jsonl. Where the
pool or seed table now has something else under that id, either the ids moved (a table was made
anew, and row numbers shifted) or the content was edited (a typing error was mended). Only a person
can say which. The word is a line in data/rounds/changed.jsonl, append-only and committed by the
next close; import_labels translates old ids when it reads answers, and no frozen file is edited.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click

from rounds.correct import whoever
from rounds.lock import exclusive
from rounds.project import Project
from stages.answers.changed import CHANGED, read_changed, renamed
from stages.contract.canonical import Row, add_lines, jsonl
from stages.contract.errors import PipelineError
from stages.contract.params import Params
from stages.contract.shell import one_line_errors
from stages.examples.content import asked_sha, identities, number_columns
from stages.examples.places import in_parts
from stages.examples.tables import read_table

REMEDY = (
    "say what happened: `rounds changed --ids-moved --why TEXT` (answers follow their content), or "
    "`rounds changed --texts-edited --why TEXT` (answers stay with their ids); or restore the table"
)


@dataclass(frozen=True)
class Now:
    """What the pool and the seed hold now: the content hash of each id, the first id of each content, the fields."""

    columns: list[str]
    sha_of: dict[str, str]
    id_of: dict[str, str]


@dataclass(frozen=True)
class Changed:
    """An id that was asked, the content that was judged, and the content it has now (None: no such row)."""

    id: str
    judged: str
    now: str | None


def contents(project: Project, params: Params) -> Now | None:
    """Ids and contents of pool and seed as the tables stand; None where a table is in parts or not here."""
    if not_compared(project):
        return None
    tables = {"pool": project.root / params.data.pool, "seed": project.root / params.data.seed}
    images = str(project.root / params.data.images)
    here = params.model_copy(update={"data": params.data.model_copy(update={"images": images})})
    read = {name: read_table(path, may_be_empty=True) for name, path in tables.items()}
    columns = number_columns(read["pool"], params)
    sha_of: dict[str, str] = {}
    id_of: dict[str, str] = {}
    for name, table in read.items():
        for item, sha in zip(*identities(table, here, name, columns=columns), strict=True):
            sha_of[item] = sha
            id_of.setdefault(sha, item)
    return Now(columns, sha_of, id_of)


def not_compared(project: Project) -> str | None:
    """Why the contents of asked ids are not compared with the tables, None where they are."""
    data = project.params().data
    if in_parts(str(project.root / data.pool)) or in_parts(data.pool):
        return "a pool in parts is not compared with what was asked"
    absent = [path for path in (data.pool, data.seed) if not (project.root / path).is_file()]
    if absent:
        return f"{absent[0]} is not here, so nothing is compared with what was asked; `dvc pull` brings it"
    return None


def changed(project: Project, now: Now | None = None) -> list[Changed]:
    """Every asked id whose content is not what was judged, sorted by id, without those that a person accepted."""
    params = project.params()
    rounds = project.rounds()
    now = now or (contents(project, params) if rounds else None)
    if now is None:
        return []
    record = read_changed(project.rounds_folder)
    accepted = {(row["id"], row["was"], row["now"]) for row in record if row["kind"] == "edited"}
    differing: dict[tuple[str, str], Changed] = {}
    for past in rounds:
        for task in past.tasks():
            judged = asked_sha(task, params, now.columns)
            item = renamed(str(task["al_id"]), past.number, record)
            if (
                judged is None or item is None
            ):  # other kinds of content were asked then; or the row left, as recorded
                continue
            current = now.sha_of.get(item)
            if current != judged and (item, judged, current) not in accepted:
                differing[item, judged] = Changed(item, judged, current)
    return [differing[key] for key in sorted(differing)]


def summary(rows: list[Changed]) -> str:
    """How many ids changed, and the first three of them."""
    shown = ", ".join(repr(row.id) for row in rows[:3])
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    verb = "carries" if len(rows) == 1 else "carry"
    return f"{len(rows)} asked {'id' if len(rows) == 1 else 'ids'} {verb} another content than was judged: {shown}{more}"


def require_same_contents(project: Project) -> None:
    """Raises PipelineError where asked ids have another content now, or no row any more."""
    rows = changed(project)
    table = project.root / project.params().data.pool
    other = [row for row in rows if row.now is not None]
    if other:
        raise PipelineError(table, summary(other), REMEDY)
    if rows:
        shown = ", ".join(repr(row.id) for row in rows[:3])
        more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        what = f"pool and seed lack {len(rows)} of the asked ids: {shown}{more}"
        remedy = "restore them, or let them go with their answers: `rounds changed --ids-moved --why TEXT`"
        raise PipelineError(table, what, remedy)


def accept(project: Project, *, moved: bool, why: str, by: str) -> list[Row]:
    """Record what a person says about the changed ids. The new lines of data/rounds/changed.jsonl."""
    if not why.strip():
        raise PipelineError(
            "--why", "no reason given", "say in a few words what happened to the table"
        )
    with exclusive(project.root, wait=True):
        now = contents(project, project.params())
        rows = changed(project, now)
        if now is None or not rows:
            raise PipelineError(
                "rounds changed", "every asked id has the content that was judged", "all is well"
            )
        record = read_changed(project.rounds_folder)
        number = max((row["change"] for row in record), default=0) + 1
        newest = project.rounds()[-1]
        corrections = (
            len(newest.corrections.read_bytes().splitlines()) if newest.corrections.is_file() else 0
        )
        facts = {
            "change": number,
            "round": newest.number,
            "corrections": corrections,
            "why": why.strip(),
            "by": by,
        }
        if not moved:
            gone = [row.id for row in rows if row.now is None]
            if gone:
                what = (
                    f"{gone[0]!r} and {len(gone) - 1} more have no row now, so they were not edited"
                )
                raise PipelineError("--texts-edited", what, "restore the rows, or say --ids-moved")
            lines = [
                {**facts, "kind": "edited", "id": row.id, "was": row.judged, "now": row.now}
                for row in rows
            ]
        else:
            twice = [row.id for row, after in pairwise(rows) if row.id == after.id]
            if twice:
                what = f"{twice[0]!r} was asked with two contents, so no one id can follow it"
                raise PipelineError("--ids-moved", what, "restore the table, or say --texts-edited")
            lines = [
                {
                    **facts,
                    "kind": "moved",
                    "id": row.id,
                    "to": now.id_of.get(row.judged),
                    "sha": row.judged,
                }
                for row in rows
            ]
        add_lines(project.rounds_folder / CHANGED, jsonl(lines))
    return lines


@click.command()
@click.option(
    "--ids-moved",
    "moved",
    is_flag=True,
    help="The ids are other rows now: answers follow their content.",
)
@click.option(
    "--texts-edited",
    "edited",
    is_flag=True,
    help="The contents were edited: answers stay with their ids.",
)
@click.option("--why", default="", help="What happened; it stands in the history.")
@click.option("--by", help="Who says so.  [default: git's user.name]")
@one_line_errors
def command(*, moved: bool, edited: bool, why: str, by: str | None) -> str:
    """Say why ids that were asked have another content now: ids moved, or texts were edited."""
    project = Project.find(Path())
    if moved and edited:
        raise click.UsageError("--ids-moved and --texts-edited exclude each other")
    if not moved and not edited:
        require_same_contents(project)
        return "changed: every asked id has the content that was judged"
    lines = accept(project, moved=moved, why=why, by=whoever(project, by))
    gone = sum(line["kind"] == "moved" and line["to"] is None for line in lines)
    left = f", {gone} of them have left with their answers" if gone else ""
    return f"changed: {len(lines)} ids recorded{left}; next: git add -A && git commit the table, then rounds close"
