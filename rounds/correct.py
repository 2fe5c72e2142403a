"""`rounds correct` and `rounds retract`: change a label by adding a row, never by editing one.

The row goes into the open round and takes effect when that round is closed; what was known before
stays as it was, so the curve's old points do not move. It names the answers that stood in the open
round before it, so that what people answer there afterwards counts.
"""

from __future__ import annotations

import contextlib
import getpass
from pathlib import Path

import click

from rounds.commands import git
from rounds.early import take_in
from rounds.history import cases_of
from rounds.lock import exclusive
from rounds.plain_words import PlainWords
from rounds.project import Project
from rounds.withdraw import withdraw
from stages.answers.ledger import check_label
from stages.answers.reading import answers_before, answers_of
from stages.answers.standing import standing
from stages.contract.canonical import Row, add_lines, jsonl
from stages.contract.errors import PipelineError, closest
from stages.contract.shell import one_line_errors


def amend(
    project: Project,
    item: str,
    label: str | None,
    why: str,
    by: str,
    *,
    may_confirm: bool = False,
) -> Row:
    """Add the row that gives an id another label, or none (None). Returns the row.

    may_confirm: the label that stands may be given, too, which settles a dispute for good. Raises
    PipelineError for an unknown id or label, an empty reason, or when nothing would change.
    """
    if not why.strip():
        raise PipelineError("--why", "no reason given", "say in a few words what was wrong")
    if label is not None:
        check_label(label, project.params().labels, "LABEL")
    with exclusive(project.root, wait=True):
        take_in(project.root, project.rounds())
        target = project.open_round()
        cases = cases_of(project)
        if item not in cases:
            what = f"{item!r} has no label and was never asked{closest(item, cases)}"
            raise PipelineError(
                "ID", what, "correct ids that have a label; `rounds labels` lists them"
            )
        was = standing(cases[item], target.number, project.params().gate).label
        if was == label and not may_confirm:
            now = f"the label {was!r}" if was else "no label"
            raise PipelineError("ID", f"{item!r} has {now} now", "all is well")
        labels = project.labels_ever()
        answers = answers_of(target.folder, target.batch_id(), target.tasks(), labels)
        row: Row = {"id": item, "label": label, "was": was, "why": why.strip(), "by": by}
        row["after"] = answers_before(answers, item)
        add_lines(target.corrections, jsonl([row]))
    return row


def whoever(project: Project, by: str | None) -> str:
    """The name that was given, else git's user.name, else the login."""
    with contextlib.suppress(PipelineError):
        name = (by or "").strip() or git(project.root, "config", "user.name").strip()
        if name:
            return name
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container may run as nobody
        raise PipelineError(
            "--by", "neither git nor the system knows your name", "say it: --by NAME"
        ) from error


def _done(row: Row) -> str:
    now = "no label" if row["label"] is None else repr(row["label"])
    change = f"{row['id']}: {row['was'] or 'no label'!r} -> {now}"
    return f"{change}, when the open round is closed; next: rounds close"


@click.command(cls=PlainWords)
@click.argument("item", metavar="ID")
@click.argument("label")
@click.option("--why", required=True, help="What was wrong; it stands in the history.")
@click.option("--by", help="Who says so.  [default: git's user.name]")
@one_line_errors
def correct(item: str, label: str, why: str, by: str | None) -> str:
    """Give an example another label. It beats every earlier answer."""
    project = Project.find(Path())
    return f"correct: {_done(amend(project, item, label, why, whoever(project, by)))}"


@click.command(cls=PlainWords)
@click.argument("item", metavar="[ID]", required=False)
@click.option("--annotator", metavar="NAME", help="Withdraw all answers of this person instead.")
@click.option(
    "--since",
    type=click.IntRange(1),
    metavar="ROUND",
    help="With --annotator: only what was answered from this round on.  [default: 1]",
)
@click.option("--why", required=True, help="What was wrong; it stands in the history.")
@click.option("--by", help="Who says so.  [default: git's user.name]")
@one_line_errors
def retract(
    item: str | None, annotator: str | None, since: int | None, why: str, by: str | None
) -> str:
    """Take an example's label away, or all that one person answered; it may be asked again.

    With --annotator other people's answers to the same examples stay, and decide alone. What was
    known after earlier rounds does not change.
    """
    if (item is None) == (annotator is None) or (since is not None and annotator is None):
        raise click.UsageError("name an ID, or --annotator NAME (with --since ROUND)")
    project = Project.find(Path())
    if annotator is None:
        assert item is not None
        return f"retract: {_done(amend(project, item, None, why, whoever(project, by)))}"
    rows = withdraw(project, annotator, since or 1, why, whoever(project, by))
    count = "1 example" if len(rows) == 1 else f"{len(rows)} examples"
    what = f"the answers of {annotator} to {count} are withdrawn"
    return f"retract: {what}, when the open round is closed; next: rounds close"
