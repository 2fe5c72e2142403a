"""`rounds log`: one line per round, with what was reported at its close and what is known now."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

import click

from rounds.decision import FILE, Decision
from rounds.history import MANIFESTS
from rounds.past import Commit, changes, closing_commits, has_commits, manifests, read_blobs
from rounds.project import Project
from stages.contract.canonical import Row, dumps, read_json
from stages.contract.shell import one_line_errors

VALIDATE = "metrics/validate.json"
GATE = "metrics/gate.json"
QUERY = "metrics/query.json"
REDUNDANCY = "plots/redundancy.json"
HEAD = (
    "round  commit    date        labels  active  (now)   random  (now)   doubted  near dup  "
    "asked by (regime)            next batch; advice; decision; alarms"
)


class ArmAccuracy(TypedDict):
    """Accuracy of an arm: as reported at the close, and as restated now; None where not judged."""

    labels: int | None
    then: float | None
    now: float | None


class LogRow(TypedDict):
    """A closed round.

    strategy, regime: what chose the batch of this round; None for round 0, the seed. next_batch:
    the state of the batch that was chosen when the round was closed. redundancy: the share of the
    round's new rows that nearly repeat another. labels_changed: changes of the labels while it was
    open; figures of the rounds before were reported under other labels.
    """

    round: int
    commit: str
    date: str
    author: str
    labels: int | None
    doubted: int | None
    active: ArmAccuracy
    random: ArmAccuracy
    redundancy: float | None
    strategy: str | None
    regime: str | None
    next_batch: str | None
    advice: str | None
    decision: Decision | None
    alarms: list[str]
    labels_changed: list[str]


Reports = dict[tuple[str, str], Any]  # what stood in a file: by commit id and path


def rows(project: Project) -> list[LogRow]:
    """One row per closed round, oldest first."""
    if not has_commits(project):
        return []
    history = changes(project, MANIFESTS)
    closings = closing_commits(project, history)
    issues = {number: change.commit for number, change in manifests(history).items()}
    reports = read_reports(project, [*closings.values(), *issues.values()])
    curve = project.root / "plots" / "learning_curve.json"
    points = read_json(curve) if curve.is_file() else []
    now = {(point["round"], point["arm"]): point["accuracy"] for point in points}
    notes = {issued.number: issued.folder / FILE for issued in project.rounds()}
    scheme = project.scheme()
    log = []
    for number, closing in closings.items():
        row = row_of(number, closing, issues.get(number), reports)
        row["active"]["now"] = now.get((number, "active"))
        row["random"]["now"] = now.get((number, "random"))
        row["labels_changed"] = [str(change) for change in scheme if change.round == number]
        if number in notes and notes[number].is_file():
            row["decision"] = read_json(notes[number])
        log.append(row)
    return log


def read_reports(project: Project, commits: Iterable[Commit]) -> Reports:
    """The metrics and plots that commits hold; a file that a commit lacks is left out."""
    paths = (VALIDATE, GATE, QUERY, REDUNDANCY)
    names = {(commit.id, path): f"{commit.id}:./{path}" for commit in commits for path in paths}
    blobs = read_blobs(project, names.values())
    return {key: json.loads(blobs[name]) for key, name in names.items() if name in blobs}


def row_of(number: int, closing: Commit, issue: Commit | None, reports: Reports) -> LogRow:
    """What was reported of a round when it was closed; what is known now is not filled in yet.

    issue: the commit that asked the round's batch, None for round 0.
    """
    gate = reports.get((closing.id, GATE), {})
    proof = reports.get((closing.id, VALIDATE), {})
    next_query = reports.get((closing.id, QUERY), {})
    own_query = reports.get((issue.id, QUERY), {}) if issue else {}
    shares = {row["round"]: row["share"] for row in reports.get((closing.id, REDUNDANCY), [])}
    return LogRow(
        round=number,
        commit=closing.id,
        date=closing.date,
        author=closing.author,
        labels=gate.get("accepted"),
        doubted=gate.get("review"),
        active=reported(proof.get("active")),
        random=reported(proof.get("random")),
        redundancy=shares.get(number),
        strategy=own_query.get("strategy"),
        regime=own_query.get("regime"),
        next_batch=next_query.get("state"),
        advice=proof.get("stopping", {}).get("advice"),
        decision=None,
        alarms=[alarm["code"] for report in (gate, proof) for alarm in report.get("alarms", [])],
        labels_changed=[],
    )


def reported(arm: Row | None) -> ArmAccuracy:
    """The accuracy of an arm in metrics/validate.json, None where nothing could be judged."""
    if not arm:
        return ArmAccuracy(labels=None, then=None, now=None)
    return ArmAccuracy(labels=arm["labels"], then=arm["accuracy"], now=None)


def line_of(row: LogRow) -> str:
    """The row as a line of the table; an accuracy is restated only where it moved."""
    accuracies = []
    for arm in (row["active"], row["random"]):
        then = share(arm["then"])
        now = share(arm["now"])
        accuracies.append(f"{then:<8}{'=' if then == now else now:<8}")
    asked_by = "-"
    if row["strategy"]:
        asked_by = f"{row['strategy']} ({row['regime'] or '-'})"
    decision = row["decision"]
    decided = f"{decision['decision']}: {decision['why']}" if decision else None
    alarms = " ".join(row["alarms"])
    changed = "labels changed: " + ", ".join(row["labels_changed"]) if row["labels_changed"] else ""
    last = "; ".join(filter(None, [changed, row["next_batch"], row["advice"], decided, alarms]))
    return (
        f"{row['round']:>5}  {row['commit'][:8]}  {row['date'][:10]}  {row['labels'] or 0:>6}  "
        f"{''.join(accuracies)}{row['doubted'] or 0:>7}  {share(row['redundancy']):>8}  "
        f"{asked_by:<27}  {last}"
    )


def share(value: float | None) -> str:
    """A share with three digits, `-` for none."""
    return "-" if value is None else f"{value:.3f}"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per round.")
@one_line_errors
def command(as_json: bool) -> str:
    """A line a round: commit, labels, accuracy of both arms then and now, strategy, decision."""
    log = rows(Project.find(Path()))
    if not log:
        return "log: no round was closed yet; next: rounds close"
    lines = [dumps(row) for row in log] if as_json else [HEAD, *map(line_of, log)]
    click.echo("\n".join(lines))
    return f"log: {len(log)} closed rounds"
