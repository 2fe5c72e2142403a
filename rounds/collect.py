"""`rounds collect`: bring answers home, into data/rounds/NNN/answers/, checked row by row.

Collecting twice, in any order, or in pieces gives the same state: rows are added to what is there, never
twice, and never taken away. Rows that cannot be used are kept aside, beside their source, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from rounds.lock import exclusive
from rounds.project import Project
from rounds.surfaces.formats import Item, read_jsonl
from stages import _prodigy
from stages._canonical import Row, dumps, write_bytes, write_jsonl
from stages._errors import PipelineError, closest
from stages._prodigy import Answer, NotAnAnswer
from stages._shell import one_line_errors


@dataclass
class Sorted:
    """Every row of one file, in one of four heaps.

    good     (line, db-out row with its id, the answer)
    bad      (item, reason)
    earlier  rows of rounds that are over: a dataset that serves several rounds brings them along
    """

    good: list[tuple[int, Row, Answer]] = field(default_factory=list)
    bad: list[tuple[Item, str]] = field(default_factory=list)
    earlier: int = 0


def sort_out(
    items: Sequence[Item], tasks: Sequence[Row], labels: Sequence[str], batch: str, earlier: frozenset[str]
) -> Sorted:
    """Which rows answer this batch, and what is wrong with the others. Every item is in exactly one heap.

    earlier: ids of the batches before this one.
    """
    found, find = Sorted(), _prodigy.finder(tasks)
    for item in items:
        try:
            if item.row is None:
                raise NotAnAnswer(item.why)
            answer = _prodigy.read_answer(item.row, labels)
            if answer.batch is not None and answer.batch in earlier:
                found.earlier += 1
                continue
            if answer.batch is not None and answer.batch != batch:
                raise NotAnAnswer(f"batch {answer.batch[:12]} was never issued here")
            known = find(answer)
            if known is None:
                raise NotAnAnswer(f"id {answer.id!r} was not asked" if answer.id else "no asked item has this content")
            if answer.label is not None and answer.label not in labels:
                raise NotAnAnswer(f"label {answer.label!r} is not in labels{closest(answer.label, labels)}")
        except NotAnAnswer as reason:
            found.bad.append((item, str(reason)))
            continue
        found.good.append((item.line, {**item.row, "al_id": known, "al_batch": batch}, answer))
    return found


def collect(project: Project, source: Path, *, strict: bool, dry_run: bool) -> str:
    """Add a file's good rows to the newest round. The sentence that says what was found."""
    newest, labels = project.last_round(), project.params().labels
    try:
        items = read_jsonl(source.read_bytes())
    except OSError as error:
        raise PipelineError(source, f"cannot be read ({error.strerror})", "check the path") from error
    earlier = frozenset(str(done.manifest()["batch_id"]) for done in project.rounds()[:-1])
    found = sort_out(items, newest.tasks(), labels, str(newest.manifest()["batch_id"]), earlier)
    if found.bad and strict:
        item, why = found.bad[0]
        remedy = f"repair it ({len(found.bad)} such rows), or collect without --strict"
        raise PipelineError(f"{source}:{item.line}", why, remedy)
    target = newest.answers / f"{source.stem}.jsonl"
    new = _new_lines(target, [row for _, row, _ in found.good])
    if not dry_run:
        if new:
            before = target.read_bytes() if target.is_file() else b""
            write_bytes(target, before + "".join(new).encode())
        aside = source.with_name(f"{source.name}.bad.jsonl")
        if found.bad:
            write_jsonl(aside, ({"line": item.line, "why": why, "row": item.raw} for item, why in found.bad))
    for item, why in found.bad:
        click.echo(f"{source}:{item.line}: {why}", err=True)
    return f"collect: {source}: {len(found.good)} answers, {len(new)} new, {len(found.bad)} refused"


def _new_lines(target: Path, rows: Sequence[Row]) -> list[str]:
    """The rows as lines that the target does not hold yet, each once."""
    held = set(target.read_text(encoding="utf-8").split("\n")) if target.is_file() else set()
    return [line + "\n" for line in dict.fromkeys(dumps(row) for row in rows) if line not in held]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Refuse a file that has any bad row.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@one_line_errors
def command(files: tuple[Path, ...], strict: bool, dry_run: bool) -> str:
    """Bring exported answers into the newest round."""
    project = Project.find(Path())
    with exclusive(project.root, wait=True):
        return "\n".join(collect(project, source, strict=strict, dry_run=dry_run) for source in files)
