"""`rounds import`: take over what people answered before this project began.

Each file becomes a round of its own, with who answered and when. Nobody can say how its rows were
chosen, so the round has no control arm: its rows are marked `imported` and count for no arm. Both
arms begin with its labels, as with a seed. The gate judges them like any others. Only before the
first round: afterwards answers come in with `rounds collect`.

    read the files -> match with the pool -> data/rounds/001 … -> commit
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from rounds.close import foreign_changes
from rounds.collect import additions, target_of
from rounds.commands import git, is_committed
from rounds.enumeration import listed
from rounds.lock import exclusive
from rounds.matching import Asked, Refusal, Sorted, sorted_by
from rounds.project import Project, Round
from rounds.surfaces import formats
from rounds.surfaces.formats import Item
from rounds.tables_now import pool_of
from stages.answers.arms import IMPORTED
from stages.answers.ledger import BatchRow
from stages.answers.prodigy import is_data_uri, task
from stages.answers.rounds import FROZEN, batch_id
from stages.batch.export import fields_of
from stages.contract.canonical import (
    Row,
    jsonl,
    read_json,
    sha256,
    write_bytes,
    write_json,
    write_jsonl,
)
from stages.contract.errors import PipelineError
from stages.contract.params import Params
from stages.contract.shell import PATH, one_line_errors
from stages.examples.content import exact_bytes, identities, shown
from stages.examples.places import in_parts
from stages.examples.tables import Table, read_table

BATCH = "before"  # what the pool's rows are asked as, until the rows of a file have a batch
SHOWN = 3  # bad rows that a report names


@dataclass(frozen=True)
class Pool:
    """The pool's rows that may have been answered: contents as tasks, hashes by id.

    first_of: the id of the first row with the same content, for ids of copies.
    """

    tasks: list[Row]
    shas: dict[str, str]
    first_of: dict[str, str]


@dataclass(frozen=True)
class History:
    """What one file holds: its answers that are about the pool, and the others with the reason."""

    source: Path
    tool: str
    digest: str
    heaps: Sorted

    @property
    def people(self) -> list[str]:
        """Who answered, by name."""
        return sorted({taken.answer.annotator for taken in self.heaps.good})


def pool_rows(project: Project) -> Pool:
    """The pool without rows of the test set. Raises PipelineError for a pool in parts."""
    params = project.params()
    where = pool_of(project)
    if in_parts(where):
        what = "history is matched with the rows of one table, and this pool is in parts"
        raise PipelineError(where, what, "give the labels as a seed: `rounds init --seed`")
    images = str(project.root / params.data.images)
    data = params.data.model_copy(update={"images": images})
    params = params.model_copy(update={"data": data})
    columns = fields_of(where, params)
    table = read_table(Path(where), may_be_empty=True)
    ids, shas = identities(table, params, "pool", columns=columns)
    tests = _test_shas(project, params, columns)
    first: dict[str, str] = {}
    tasks = []
    for row, (item, sha) in enumerate(zip(ids, shas, strict=True)):
        if sha not in tests and first.setdefault(sha, item) == item:
            content = shown(table, row, params, columns)
            tasks.append(_task(content, params, item))
    first_of = {item: first[sha] for item, sha in zip(ids, shas, strict=True) if sha in first}
    return Pool(tasks, dict(zip(ids, shas, strict=True)), first_of)


def _task(content: dict[str, Any], params: Params, item: str) -> Row:
    return task(content, params.labels, al_id=item, batch_id=BATCH, rank=0, score=0.0)


def _test_shas(project: Project, params: Params, columns: list[str] | None) -> set[str]:
    """The contents of the test set, which nobody may be taught."""
    table: Table = read_table(project.root / params.data.test, may_be_empty=True)
    return {sha256(data) for data in exact_bytes(table, params, columns)} if len(table) else set()


def read_history(project: Project, pool: Pool, path: Path, annotator: str | None) -> History:
    """The answers of a file, matched with the pool by id, else by text.

    Raises PipelineError where the file cannot be read.
    """
    params = project.params()
    try:
        data = path.read_bytes()
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise PipelineError(path, what, "check the path") from error
    names = formats.own_names(params.data)
    tool, items = formats.read(path, data, None, annotator, names=names)
    asked = Asked({BATCH: pool.tasks}, BATCH)
    heaps = sorted_by([_ours(item, pool) for item in items], asked, params.labels)
    return History(path, tool, sha256(data), heaps)


def _ours(item: Item, pool: Pool) -> Item:
    """An item without another project's batch, about the first row with its content."""
    row = item.row
    if row is None:
        return item
    row = {key: cell for key, cell in row.items() if key != "al_batch"}
    named = row.get("al_id")
    if isinstance(named, str):
        row["al_id"] = pool.first_of.get(named, named)
    bare = item.bare_id
    return replace(item, row=row, bare_id=pool.first_of.get(bare, bare) if bare else bare)


def write_round(project: Project, history: History, pool: Pool, number: int) -> Round:
    """Write a file's answers as a round that is closed, whole or not at all."""
    about = {taken.answer.id: None for taken in history.heaps.good}
    contents = {str(row["al_id"]): row for row in pool.tasks}
    batch: list[BatchRow] = [
        {
            "id": str(item),
            "sha": pool.shas[str(item)],
            "arms": [IMPORTED],
            "score": 0.0,
            "doubt": 0.0,
            "strategy": IMPORTED,
            "reason": f"answered before this project: {history.source.name} ({history.tool})",
            "round": number,
            "rank": rank,
        }
        for rank, item in enumerate(about, start=1)
    ]
    identity = batch_id(batch)
    asked = [{**contents[row["id"]], "al_batch": identity, "rank": row["rank"]} for row in batch]
    folder = project.rounds_folder / f"{number:03d}"
    staged = Round(number, project.rounds_folder / f".{folder.name}.tmp")
    shutil.rmtree(staged.folder, ignore_errors=True)
    tables = (jsonl(asked), jsonl(batch), b"")
    for name, data in zip(FROZEN, tables, strict=True):
        write_bytes(staged.folder / name, data)
    _write_answers(staged, history, identity)
    hashes = {name: sha256((staged.folder / name).read_bytes()) for name in FROZEN}
    origin = {"file": history.source.name, "tool": history.tool, "sha256": history.digest}
    manifest = {"batch_id": identity, "rows": len(batch), "sha256": hashes, "imported": origin}
    write_json(staged.folder / "manifest.json", manifest)
    note = {"answered": len(batch), "asked": len(batch), "partial": True, "imported": True}
    write_json(staged.closed_early, note)
    staged.folder.rename(folder)
    return Round(number, folder)


def _write_answers(staged: Round, history: History, identity: str) -> None:
    """The answers as they were given: without the bytes of pictures, and with the batch's name."""
    rows, _ = additions(history.heaps.good, [], [])
    kept = [
        {key: cell for key, cell in row.items() if not is_data_uri(cell)} | {"al_batch": identity}
        for row in rows
    ]
    write_jsonl(target_of(staged, history.source.stem), kept)


def bring_in(
    project: Project, files: Sequence[Path], annotator: str | None, *, dry_run: bool
) -> list[str]:
    """Make a round of each file, in the order given, and commit them. The lines of the report.

    Raises PipelineError once a round was issued, for changes that are not committed, and for a file
    of which nothing can be used.
    """
    with exclusive(project.root, wait=False):
        _require_beginning(project)
        pool = pool_rows(project)
        histories = [read_history(project, pool, path, annotator) for path in files]
        lines = [line for history in histories for line in report(history)]
        empty = [history.source.name for history in histories if not history.heaps.good]
        if empty:
            click.echo("\n".join(lines), err=True)
            what = f"nothing in {listed(empty, SHOWN)} could be used"
            raise PipelineError("rounds import", what, "the lines above say why; mend it")
        if dry_run:
            return lines
        for number, history in enumerate(histories, start=1):
            write_round(project, history, pool, number)
        git(project.root, "add", "--all", "--", "data/rounds")
        count = "1 round" if len(files) == 1 else f"{len(files)} rounds"
        names = ", ".join(history.source.name for history in histories)
        git(project.root, "commit", "--quiet", "-m", f"Imported {count} from {names}")
        return lines


def _require_beginning(project: Project) -> None:
    """Remove what an interrupted import left. Raises PipelineError once a round was issued."""
    rounds = project.rounds()
    half_done = [
        issued
        for issued in rounds
        if "imported" in read_json(issued.folder / "manifest.json")
        and not is_committed(project.root, issued.folder / "manifest.json")
    ]
    if rounds and len(half_done) == len(rounds):
        folders = [str(issued.folder) for issued in half_done]
        git(project.root, "rm", "-r", "-q", "--cached", "--ignore-unmatch", "--", *folders)
        for issued in half_done:
            shutil.rmtree(issued.folder)
    elif rounds:
        what = f"round {rounds[-1].number} was issued, and history comes before the first round"
        remedy = "`rounds collect` brings answers to what was asked"
        raise PipelineError(project.rounds_folder, what, remedy)
    foreign = foreign_changes(project)
    if foreign:
        what = f"changes that are not committed: {listed(foreign, SHOWN)}"
        raise PipelineError(project.root, what, "git add -A && git commit, then import")


def report(history: History) -> list[str]:
    """What a file brought: answers, people, times, and the first rows that could not be used."""
    good = history.heaps.good
    timed = sum(taken.answer.at is not None for taken in good)
    people = listed(history.people, SHOWN) or "nobody"
    rows = len({taken.answer.id for taken in good})
    name = history.source.name
    bad = history.heaps.bad
    what = f"{len(good)} answers to {rows} rows by {people}, {timed} with a time"
    lines = [f"{name} ({history.tool}): {what}; {len(bad)} rows could not be used"]
    lines += [f"  {name}:{refusal.item.line}: {_why(refusal)}" for refusal in bad[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"  and {len(bad) - SHOWN} more")
    return lines


def _why(refusal: Refusal) -> str:
    """Why a row cannot be used."""
    if refusal.fault == "unknown ids":
        return "it is no row of the pool, by its id or its text, or it is one of the test set"
    return refusal.why


@click.command()
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option("--annotator", metavar="NAME", help="Who answered, where a file does not say it.")
@click.option("--dry-run", is_flag=True, help="Say what would be taken, and write nothing.")
@one_line_errors
def command(files: tuple[Path, ...], annotator: str | None, dry_run: bool) -> str:
    """Take over labels with their history from a tool or a table, before the first round.

    Exports of Prodigy, Label Studio, Argilla and doccano, and tables with the columns id or text,
    label, annotator and timestamp. Each file becomes a round without a control arm, marked as
    imported: who answered and when is kept, and the proof counts its rows for no arm. The rows must
    be in the pool.
    """
    project = Project.find(Path())
    lines = bring_in(project, files, annotator, dry_run=dry_run)
    click.echo("\n".join(lines))
    if dry_run:
        return "import: nothing was written (--dry-run)"
    return "import: committed; next: rounds close, which issues the first batch"
