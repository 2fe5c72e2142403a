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
from shlex import quote

import click

from rounds.commands import is_committed
from rounds.correct import whoever
from rounds.enumeration import listed
from rounds.lock import exclusive
from rounds.project import Project
from rounds.remote import default_remote
from rounds.tables_now import pool_of, tables_now
from stages.answers.changed import CHANGED, read_changed, renamed
from stages.answers.forgotten import forgotten_rows, redaction_of
from stages.contract.canonical import Row, add_lines, jsonl
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors
from stages.examples.content import asked_sha
from stages.examples.places import in_parts, is_url

SHOWN = 3  # ids that a sentence names
REMEDY = (
    "say what happened: `rounds changed --ids-moved --why TEXT` (answers follow their content), or "
    "`rounds changed --texts-edited --why TEXT` (answers stay with their ids; after it, `rounds "
    "retract ID --why TEXT` has a row asked again); or restore the table"
)


@dataclass(frozen=True)
class Changed:
    """An id that was asked, its content when it was judged, and now (None: it has no row)."""

    id: str
    judged: str
    now: str | None


def not_compared(project: Project) -> str | None:
    """Why the contents of asked ids are not compared with the tables, None where they are."""
    absent = _absent(project)
    if absent:
        return absent
    try:
        tables_now(project)
    except PipelineError as error:
        if not in_parts(pool_of(project)):
            raise
        return f"{error.where} {error.what}, so nothing is compared with what was asked"
    return None


def require_kept(project: Project) -> None:
    """Raises PipelineError where data that DVC keeps is not here, as in a fresh clone."""
    data = project.params().data
    for name in (data.pool, data.seed, data.test, data.images):
        path = project.root / name
        if (project.root / f"{name}.dvc").is_file() and not path.exists():
            raise PipelineError(path, "it is not on this machine", _bring_back(project, name))


def _absent(project: Project) -> str | None:
    """The note that pool or seed is not on this machine, None where both are."""
    paths = [project.params().data.pool, project.params().data.seed]
    absent = [path for path in paths if not is_url(path) and not (project.root / path).exists()]
    if absent:
        what = f"{absent[0]} is not here, so nothing is compared with what was asked"
        return f"{what}; {_bring_back(project, absent[0])}"
    return None


def _bring_back(project: Project, name: str) -> str:
    """What brings back a table that is not on this machine: git, or DVC and where its data is."""
    if is_committed(project.root, project.root / name):
        return f"`git checkout HEAD -- {quote(name)}` brings it back"
    remote = default_remote(project.root)
    if remote.folder is None or remote.folder.exists():
        return "`dvc pull` brings it"
    modify = f"dvc remote modify --local {quote(remote.name)} url FOLDER"
    return f"say where its data is (`{modify}`), and `dvc pull` brings it"


def changed(project: Project, *, anew: bool = False) -> list[Changed]:
    """Every asked id whose content is not the one that was judged, sorted by id.

    Those that a person has accepted are left out.

    anew: read every table, also one that has not changed since it was last looked at. Raises
    PipelineError where the pool's URL cannot be read.
    """
    rounds = project.rounds()
    if not rounds or _absent(project):
        return []
    tables = tables_now(project)
    record = read_changed(project.rounds_folder)
    # Each content that was judged, under the id that it has today.
    judged: dict[tuple[str, str], None] = {}
    for past in rounds:
        for task in past.tasks():
            sha = asked_sha(task, tables.params, tables.fields)
            item = renamed(str(task["al_id"]), past.number, record)
            # Without a hash another kind of content was asked. Without an id, the row has left,
            # and a person recorded it.
            if sha is not None and item is not None:
                judged[item, sha] = None
    contents = tables.contents({item for item, _ in judged}, anew=anew)
    accepted = _edits(record)
    rows = [Changed(item, sha, contents.get(item)) for item, sha in sorted(judged)]
    return [
        row
        for row in rows
        if row.now != row.judged and row.now not in accepted.get((row.id, row.judged), [])
    ]


def _edits(record: list[Row]) -> dict[tuple[str | None, str], list[str]]:
    """Today's id and the content that was judged -> the contents that were accepted for it since.

    The last one is the latest.
    """
    edits: dict[tuple[str | None, str], list[str]] = {}
    for row in record:
        if row["kind"] == "edited":
            later = [other for other in record if other["change"] > row["change"]]
            item = renamed(row["id"], 0, later)
            edits.setdefault((item, row["was"]), []).append(row["now"])
    return edits


def summary(rows: list[Changed]) -> str:
    """How many ids changed, and the first three of them."""
    verb = "carries" if len(rows) == 1 else "carry"
    ids = "id" if len(rows) == 1 else "ids"
    what = f"{len(rows)} asked {ids} {verb} another content than was judged"
    return f"{what}: {listed((repr(row.id) for row in rows), SHOWN)}"


def returned(project: Project) -> PipelineError | None:
    """The fault that something forgotten stands in a table or batch again; None where all is gone.

    A table is looked into for the forgotten ids alone.
    """
    rows = forgotten_rows(read_changed(project.rounds_folder))
    if not rows or _absent(project):
        return None
    contents = tables_now(project).contents({row["id"] for row in rows})
    ids = [row["id"] for row in rows if contents.get(row["id"]) == row["sha"]]
    where = pool_of(project)
    redaction = redaction_of(project.rounds_folder)
    for past in project.rounds():
        gone = redaction.batches.get(past.batch_id())
        shown = {str(task["al_id"]) for task in past.to_ask()} if gone else set()
        here = sorted(shown & gone.ids) if gone else []
        if here:
            ids += here
            where = str(past.asked)
    if not ids:
        return None
    what = f"it holds what was forgotten: {listed((repr(item) for item in ids), SHOWN)}"
    return PipelineError(where, what, f"rounds forget {quote(ids[0])} --why TEXT")


def require_same_contents(project: Project) -> None:
    """Raises PipelineError where asked ids have another content now, or no row any more.

    And where something that was forgotten is here again.
    """
    back = returned(project)
    if back:
        raise back
    rows = changed(project)
    table = pool_of(project)
    other = [row for row in rows if row.now is not None]
    if other:
        raise PipelineError(table, summary(other), REMEDY)
    if rows:
        shown = listed((repr(row.id) for row in rows), SHOWN)
        what = f"pool and seed lack {len(rows)} of the asked ids: {shown}"
        forget = "`rounds forget ID... --why TEXT`"
        moved = "`rounds changed --ids-moved --why TEXT`"
        remedy = (
            f"restore them; or {forget} takes them out of data/rounds too, and {moved} lets them "
            "go with their answers and leaves there what people saw"
        )
        raise PipelineError(table, what, remedy)


def accept(project: Project, *, moved: bool, why: str, by: str) -> list[Row]:
    """Record what a person says about the changed ids. The lines added to changed.jsonl."""
    if not why.strip():
        raise PipelineError(
            "--why", "no reason given", "say in a few words what happened to the table"
        )
    with exclusive(project.root, wait=True):
        rows = changed(project, anew=True)
        if not rows:
            raise PipelineError(
                "rounds changed", "every asked id has the content that was judged", "all is well"
            )
        changes = _moved(project, rows) if moved else _edited(rows)
        about = circumstances(project, why.strip(), by)
        lines = [{**about, **change} for change in changes]
        add_lines(project.rounds_folder / CHANGED, jsonl(lines))
    return lines


def circumstances(project: Project, why: str, by: str) -> Row:
    """When and why, for every line that one command adds; see stages/answers/changed.py."""
    record = read_changed(project.rounds_folder)
    rounds = project.rounds()
    corrections = 0
    if rounds and rounds[-1].corrections.is_file():
        corrections = len(rounds[-1].corrections.read_bytes().splitlines())
    return {
        "change": max((row["change"] for row in record), default=0) + 1,
        "round": rounds[-1].number if rounds else 0,
        "corrections": corrections,
        "why": why,
        "by": by,
    }


def _edited(rows: list[Changed]) -> list[Row]:
    """Lines that accept edited contents. Raises PipelineError for an id without a row now."""
    gone = [row.id for row in rows if row.now is None]
    if gone:
        what = f"{gone[0]!r} and {len(gone) - 1} more have no row now, so they were not edited"
        raise PipelineError("--texts-edited", what, "restore the rows, or say --ids-moved")
    return [{"kind": "edited", "id": row.id, "was": row.judged, "now": row.now} for row in rows]


def _moved(project: Project, rows: list[Changed]) -> list[Row]:
    """Lines that give each judged content its id of today, or none where it left.

    Raises PipelineError for an id that was asked with two contents.
    """
    twice = [row.id for row, after in pairwise(rows) if row.id == after.id]
    if twice:
        what = f"{twice[0]!r} was asked with two contents, so no one id can follow it"
        raise PipelineError("--ids-moved", what, "restore the table, or say --texts-edited")
    edits = _edits(read_changed(project.rounds_folder))
    # A row that was mended before is looked for by what it held then.
    held = {row.id: edits.get((row.id, row.judged), [row.judged])[-1] for row in rows}
    ids = tables_now(project).ids_of(set(held.values()))
    return [
        {"kind": "moved", "id": row.id, "to": ids.get(held[row.id]), "sha": row.judged}
        for row in rows
    ]


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
    data = project.params().data.pool
    kept_by_dvc = (project.root / f"{data}.dvc").is_file()
    add = f"dvc add {quote(data)} && git add -A" if kept_by_dvc else "git add -A"
    commit = f"{add} && git commit the table"
    return f"changed: {len(lines)} ids recorded{left}; next: {commit}, then rounds close"
