"""`rounds close`: take the answers in, train, choose the next batch, freeze it, and commit it all as one commit.

Every step can be repeated: after a crash or Ctrl-C the same command goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

import click

from rounds.commands import Say, changed_paths, dvc, git, is_committed
from rounds.issue import issue
from rounds.project import Project, Round
from stages._canonical import Row, read_json, write_json
from stages._errors import PipelineError
from stages._rounds import read_frozen
from stages._shell import one_line_errors

MADE = ("dvc.lock", "metrics/", "plots/", "data/demo/dvc.lock")


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold the project's lock. Raises PipelineError when another close runs."""
    path = root / ".dvc" / "tmp" / "rounds.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PipelineError(path, "another `rounds close` is at work here", "wait until it has ended") from error
        yield


def strangers(project: Project, number: int) -> list[str]:
    """Changed paths that are none of this round's: not its folder, the next one's, nor what the pipeline writes."""
    own = tuple(f"data/rounds/{place:03d}/" for place in (number, number + 1)) + MADE
    return [path for path in changed_paths(project.root) if not path.startswith(own)]


def answered(project: Project, last: Round) -> tuple[int, int]:
    """(answered, asked) rows of a round, as import_labels counts them."""
    from stages.import_labels import import_round

    _, batch, _ = read_frozen(last.folder)
    found = import_round(last.folder, project.params())
    return (found.rounds[0]["answered"] if found else 0), len(batch)


def close(project: Project, *, partial: bool, push: bool, say: Say) -> str:
    """Close the last round, or start the first. The commit's subject line.

    Raises PipelineError when the round is not answered (unless `partial`), when the tree holds changes that are not
    this round's, or when the gate holds the round.
    """
    with only_one(project.root):
        project.params()
        rounds = project.rounds()
        last = rounds[-1] if rounds else None
        number = last.number if last else 0
        begun = last is not None and not last.answer_files() and not is_committed(project.root, last.asked)
        if begun:
            number -= 1  # an earlier close froze the next batch and stopped before its commit
        elif last is not None:
            _require_answers(project, last, partial)
        foreign = strangers(project, number)
        if foreign:
            shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
            remedy = "commit them first (git add -A && git commit), or undo them"
            raise PipelineError(project.root, f"changes that are not this round's: {shown}", remedy)
        dvc(project.root, ["repro"], say)
        _require_accepted(project, number)
        if not begun:
            issue(project)
        dvc(project.root, ["repro"], say)
        subject, body = message(project, number)
        commit(project, number, subject, body)
        if push or _remote_is_local(project):
            dvc(project.root, ["push"], lambda _: None)
        if push:
            git(project.root, "push")
        return subject


def _require_answers(project: Project, last: Round, partial: bool) -> None:
    """Raises PipelineError while rows of the round are unanswered, unless the round is closed as it is."""
    done, asked = answered(project, last)
    if done >= asked or last.closed_early.is_file():
        return
    if not partial:
        what = f"round {last.number}: {done} of {asked} rows are answered"
        raise PipelineError(last.folder, what, "go on with `rounds annotate`, or close it so: `rounds close --partial`")
    write_json(last.closed_early, {"answered": done, "asked": asked, "partial": True})


def _require_accepted(project: Project, number: int) -> None:
    accepted = read_json(project.root / "build" / "gate" / "state.json")["rounds"]
    if accepted < number:
        gate = read_json(project.root / "metrics" / "gate.json")
        what = f"the gate holds round {number}: {gate.get('held') or 'a check failed'}"
        raise PipelineError(
            project.root / "metrics" / "gate.json", what, "see the checks in the report; `rounds status`"
        )


def _remote_is_local(project: Project) -> bool:
    """Whether the default DVC remote is a folder on this machine, where a push costs next to nothing."""
    from configparser import ConfigParser

    config = ConfigParser()
    config.read(project.root / ".dvc" / "config")
    name = config.get("core", "remote", fallback="")
    url = config.get(f"'remote \"{name}\"'", "url", fallback="")
    return bool(url) and "://" not in url


def message(project: Project, number: int) -> tuple[str, str]:
    """Subject and body of the round's commit: what it found, and what it asks next."""
    facts: dict[str, Row] = {
        name: read_json(project.root / "metrics" / f"{name}.json") for name in ("validate", "gate", "query")
    }
    accuracy = [
        f"{arm} {facts['validate'][arm]['accuracy']:.3f} at {facts['validate'][arm]['labels']}"
        for arm in ("active", "random")
        if facts["validate"][arm]
    ]
    labels, flagged = facts["gate"]["accepted"], facts["gate"]["review"]
    subject = f"Round {number}: {labels} labels; {', '.join(accuracy) or 'not judged yet'}; {flagged} doubted"
    rows = facts["query"]["batch"]["rows"]
    asks = (
        f"Asks round {number + 1}: {rows} rows, batch {facts['query']['batch_id']}"
        if rows
        else (f"Asks nothing more: {facts['query']['state']}")
    )
    alarms = [f"{alarm['code']} {alarm['title']}: {alarm['seen']}" for alarm in facts["validate"]["alarms"]]
    return subject, "\n".join([asks, f"Strategy: {facts['query']['strategy']} ({facts['query']['regime']})", *alarms])


def commit(project: Project, number: int, subject: str, body: str) -> None:
    """One commit of this round's files and nothing else; none when there is nothing to commit."""
    mine = [path for path in changed_paths(project.root) if path not in set(strangers(project, number))]
    if not mine:
        return
    git(project.root, "add", "--all", "--", *mine)
    git(project.root, "commit", "--quiet", "-m", subject, "-m", body, "--", *mine)


@click.command()
@click.option("--partial", is_flag=True, help="Close with what is answered; the rest goes back to the pool.")
@click.option("--push", is_flag=True, help="Push the commit (git) and its data (dvc) afterwards.")
@one_line_errors
def command(partial: bool, push: bool) -> str:
    """Take the answers in, choose the next batch, and commit the round.

    The first `close` of a project issues batch 1. One commit holds the answers of round k, the metrics they
    brought, and the question of round k+1.
    """
    project = Project.find(Path())
    subject = close(project, partial=partial, push=push, say=lambda stage: click.echo(f"  {stage} …", err=True))
    open_round = project.rounds()[-1] if project.rounds() else None
    waiting = open_round is not None and not open_round.answer_files()
    return f"{subject}\nnext: " + ("rounds annotate" if waiting else "rounds status")
