"""`rounds gold`: name pool rows whose right answer is known, to check people by them.

They are planted in later batches, where nothing tells them apart from the others; what people
answer to them is compared with the known answer and never learnt. The lines stand in
data/rounds/gold.jsonl, append-only.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from rounds.correct import whoever
from rounds.enumeration import listed
from rounds.history import cases_of
from rounds.lock import exclusive
from rounds.project import Project
from rounds.tables_now import tables_now
from stages.answers.gold import GOLD, gold_now, read_gold
from stages.answers.ledger import check_label
from stages.contract.canonical import Row, add_lines, jsonl
from stages.contract.errors import PipelineError
from stages.contract.shell import PATH, one_line_errors
from stages.examples.tables import Table, as_text, read_table

EVER = 10**9  # as the last round to look at
SHOWN = 5  # ids that a sentence names


def known_answers(table: Table, project: Project) -> dict[str, str]:
    """Id -> label of the rows of a table. Raises PipelineError at the row for a bad one."""
    params = project.params()
    name = params.data.id or "id"
    ids = [as_text(cell) for cell in table.column(name, "the column of ids")]
    labels = [as_text(cell) for cell in table.column(params.data.label, "the column of labels")]
    answers: dict[str, str] = {}
    for row, (item, label) in enumerate(zip(ids, labels, strict=True)):
        check_label(label, params.labels, table.where(row))
        if answers.get(item, label) != label:
            what = f"id {item!r} has two answers, {answers[item]!r} and {label!r}"
            raise PipelineError(table.where(row), what, "keep the right one")
        answers[item] = label
    return answers


def require_fit(project: Project, where: object, ids: Iterable[str]) -> None:
    """Raises PipelineError for ids that have no row in the pool, or that were learnt from."""
    wanted = set(ids)
    have_labels = sorted(wanted & set(cases_of(project)))
    if have_labels:
        what = f"{len(have_labels)} of them have a label or were asked: {_shown(have_labels)}"
        remedy = "leave them out: gold rows are never learnt, so they must be new"
        raise PipelineError(where, what, remedy)
    absent = sorted(wanted - set(tables_now(project).contents(wanted)))
    if absent:
        what = f"{len(absent)} of them are no rows of the pool: {_shown(absent)}"
        raise PipelineError(where, what, "add them to the pool first, or leave them out")


def _shown(ids: list[str]) -> str:
    return listed((repr(item) for item in ids), SHOWN)


def name_gold(project: Project, table: Table, why: str, by: str) -> list[Row]:
    """Add the lines that make a table's rows gold rows. Those that are new, or have a new answer.

    Raises PipelineError for what cannot be one, and where nothing would change.
    """
    with exclusive(project.root, wait=True):
        answers = known_answers(table, project)
        now = gold_now(read_gold(project.rounds_folder), EVER)
        new = {item: label for item, label in answers.items() if now.get(item) != label}
        if not new:
            raise PipelineError(table.path, "all of them are gold rows already", "all is well")
        require_fit(project, table.path, new.keys() - now.keys())
        return _add(project, dict(new), why, by)


def drop_gold(project: Project, items: Iterable[str], why: str, by: str) -> list[Row]:
    """Add the lines that make gold rows ordinary pool rows again.

    Raises PipelineError for an id that is none.
    """
    with exclusive(project.root, wait=True):
        wanted = dict.fromkeys(items)
        now = gold_now(read_gold(project.rounds_folder), EVER)
        others = [item for item in wanted if item not in now]
        if others:
            raise PipelineError("--drop", f"{_shown(others)} is no gold row", "check the id")
        return _add(project, wanted, why, by)


def _add(
    project: Project, labels: dict[str, str] | dict[str, None], why: str, by: str
) -> list[Row]:
    number = len(project.rounds())
    rows: list[Row] = [
        {"id": item, "label": label, "round": number, "why": why.strip(), "by": by}
        for item, label in sorted(labels.items())
    ]
    add_lines(project.rounds_folder / GOLD, jsonl(rows))
    return rows


@click.command()
@click.argument("table", type=PATH, required=False)
@click.option("--drop", "dropped", multiple=True, metavar="ID", help="No longer a gold row.")
@click.option("--why", default="", help="Who knows the answers, and how; it stands in the record.")
@click.option("--by", help="Who says so.  [default: git's user.name]")
@one_line_errors
def command(table: Path | None, dropped: tuple[str, ...], why: str, by: str | None) -> str:
    """Name pool rows whose right answer is known, to check people by them.

    TABLE has the columns of ids and labels that the project's own tables have. The rows are planted
    in later batches (gate.gold_fraction of each), look like all others, and are never learnt. How
    many each person answers rightly stands in `rounds report` and on the owner's page; check G010
    and alarm V010 ring where it is surely too few.
    """
    if (table is None) == (not dropped):
        raise click.UsageError("name a TABLE, or --drop ID")
    project = Project.find(Path())
    who = whoever(project, by)
    if table is None:
        rows = drop_gold(project, dropped, why, who)
        return f"gold: {len(rows)} dropped, from the next batch on; next: rounds close"
    rows = name_gold(project, read_table(table), why, who)
    count = len(gold_now(read_gold(project.rounds_folder), EVER))
    planted = project.params().gate.gold_fraction
    words = f"gold: {len(rows)} named, {count} in all; {100 * planted:g} % of each later batch"
    return f"{words}; next: rounds close"
