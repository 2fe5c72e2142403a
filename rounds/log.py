"""`rounds log`: one line per round, what was reported when it was closed beside what the history says of it now."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rounds.decision import FILE
from rounds.history import MANIFESTS
from rounds.past import changes, closing_commits, has_commits, read_blobs
from rounds.project import Project
from stages.contract.canonical import Row, dumps, read_json
from stages.contract.shell import one_line_errors

REPORTS = ("validate", "gate", "query")
HEAD = (
    "round  commit    date        labels  active  (now)   random  (now)   doubted  near dup  "
    "strategy (regime)            state; advice; decision; alarms"
)


def rows(project: Project) -> list[Row]:
    """One row per closed round, oldest first; `now` is the point of that round on the present curve."""
    commits = closing_commits(project, changes(project, MANIFESTS)) if has_commits(project) else {}
    names = {n: {m: f"{c.id}:./metrics/{m}.json" for m in REPORTS} for n, c in commits.items()}
    plots = {number: f"{commit.id}:./plots/redundancy.json" for number, commit in commits.items()}
    blobs = read_blobs(
        project, [*plots.values(), *(name for row in names.values() for name in row.values())]
    )
    curve = project.root / "plots" / "learning_curve.json"
    now = {
        (point["round"], point["arm"]): point
        for point in (json.loads(curve.read_bytes()) if curve.is_file() else [])
    }
    decisions = {
        one.number: one.folder / FILE for one in project.rounds() if (one.folder / FILE).is_file()
    }
    told = []
    for number, commit in commits.items():
        said = {name: json.loads(blobs.get(full, b"{}")) for name, full in names[number].items()}
        repeats = json.loads(blobs.get(plots[number], b"[]"))
        asked = said["query"]
        told.append({
            "round": number, "commit": commit.id, "date": commit.date, "author": commit.author,
            "labels": said["gate"].get("accepted"), "doubted": said["gate"].get("review"),
            **{arm: _arm(said["validate"].get(arm), now.get((number, arm))) for arm in ("active", "random")},
            "redundancy": next((row["share"] for row in repeats if row["round"] == number), None),
            "strategy": asked.get("strategy"), "regime": asked.get("regime"), "state": asked.get("state"),
            "advice": said["validate"].get("stopping", {}).get("advice"),
            "decision": read_json(decisions[number]) if number in decisions else None,
            "alarms": [alarm["code"] for name in ("gate", "validate") for alarm in said[name].get("alarms", [])],
        })  # fmt: skip
    return told


def _arm(then: Row | None, now: Row | None) -> Row:
    """Accuracy at a number of labels, as reported then and as restated now; None where nothing could be judged."""
    return {
        "labels": then["labels"] if then else None,
        "then": then["accuracy"] if then else None,
        "now": now["accuracy"] if now else None,
    }


def line_of(row: Row) -> str:
    """The row as a line of the table; an accuracy is restated only where it moved."""

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    cells = []
    for arm in ("active", "random"):
        then, now = share(row[arm]["then"]), share(row[arm]["now"])
        cells.append(f"{then:<8}{'=' if then == now else now:<8}")
    decision = row["decision"] and f"{row['decision']['decision']}: {row['decision']['why']}"
    state = "; ".join(
        filter(None, [row["state"], row["advice"], decision, " ".join(row["alarms"])])
    )
    strategy = f"{row['strategy'] or '-'} ({row['regime'] or '-'})"
    return (
        f"{row['round']:>5}  {row['commit'][:8]}  {row['date'][:10]}  {row['labels'] or 0:>6}  {''.join(cells)}"
        f"{row['doubted'] or 0:>7}  {share(row['redundancy']):>8}  {strategy:<27}  {state}"
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per round.")
@one_line_errors
def command(as_json: bool) -> str:
    """One line per round: commit, labels, accuracy of both arms then and now, near duplicates, strategy, decision."""
    told = rows(Project.find(Path()))
    for line in (
        [dumps(row) for row in told] if as_json else [HEAD, *map(line_of, told)] if told else []
    ):
        click.echo(line)
    return (
        f"log: {len(told)} closed rounds"
        if told
        else "log: no round was closed yet; next: rounds close"
    )
