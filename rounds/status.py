"""`rounds status`: where the project stands, what is wrong, and the next command to type.

It runs nothing, and writes nothing but what a killed DVC left half written: DVC itself could not
read that again.
"""

from __future__ import annotations

from pathlib import Path

import click

from rounds.close import WHEN_HELD, answered
from rounds.content import REMEDY, changed, not_compared, summary
from rounds.decision import stopped
from rounds.lock import repaired
from rounds.project import Project
from rounds.renamed_labels import notes, outdated, retired_labels, untouched
from rounds.report import saved
from stages.answers.reading import RETIRED, retired_words
from stages.contract.canonical import Row, read_json
from stages.contract.shell import one_line_errors

AFTER_THE_LAST = (
    "`rounds report` sums up; to go on, change that in params.yaml (or add rows to the pool), "
    "commit, and rounds close"
)


def metrics(project: Project, name: str) -> Row | None:
    """metrics/NAME.json, or None before the first `dvc repro`."""
    path = project.root / "metrics" / f"{name}.json"
    found: Row | None = read_json(path) if path.is_file() else None
    return found


def next_command(project: Project) -> str:
    """What to type now."""
    rounds = project.rounds()
    if stopped(project):
        return "rounds report   (or take the work up again: `rounds close --continue --why REASON`)"
    if not rounds:
        return "rounds close   (issues batch 1)"
    done, asked = answered(project, rounds[-1])
    if untouched(rounds[-1]) and outdated(project, rounds[-1]):
        return "rounds close   (issues the batch anew, with the labels of params.yaml)"
    if rounds[-1].closed_early.is_file() or done >= asked:
        query = metrics(project, "query")
        if query is not None and query["round"] > rounds[-1].number and not query["batch"]["rows"]:
            return f"nothing more to ask: {query['state']}; {AFTER_THE_LAST}"
        gate = metrics(project, "gate")
        checked = (
            gate is not None
            and gate["rounds"] < rounds[-1].number
            and "held, G" in (gate["held"] or "")
        )
        return WHEN_HELD if checked else "rounds close"
    return "rounds annotate" if not done else "rounds annotate   (or `rounds close --partial`)"


def report(project: Project) -> list[str]:
    """The lines of the status."""
    params, rounds = project.params(), project.rounds()
    gate, query, proof = (metrics(project, name) for name in ("gate", "query", "validate"))
    lines = []
    if rounds:
        done, asked = answered(project, rounds[-1])
        lines.append(f"round    {rounds[-1].number}: {done} of {asked} rows answered")
    else:
        lines.append("round    none issued yet")
    if gate:
        lines.append(f"labels   {gate['accepted']} accepted, {gate['review']} doubted")
    spent = query["answers_spent"] if query else 0
    limit = params.query.budget
    lines.append(
        f"budget   {spent} answers spent"
        + (f" of {limit}" if limit is not None else ", no limit set")
    )
    if proof:
        for arm in ("active", "random"):
            if proof[arm]:
                interval = f"[{proof[arm]['low']:.3f}, {proof[arm]['high']:.3f}]"
                at = f"{proof[arm]['labels']} labels {interval}"
                lines.append(
                    f"{arm:<9}{proof[arm]['accuracy']:.3f} accuracy at {at}, "
                    f"on the {proof['judged_on']}"
                )
        gap = proof["difference"]
        if gap["active_minus_random"] is not None:
            interval = f"[{gap['low']:+.3f}, {gap['high']:+.3f}]"
            lines.append(
                f"proof    active - random {gap['active_minus_random']:+.3f} {interval} "
                f"at {gap['labels']} labels"
            )
            lines.append(f"saved    {saved(proof['saving'])} labels")
        lines.append(f"advice   {proof['stopping']['advice']}: {proof['stopping']['why']}")
    decision = stopped(project)
    if decision:
        lines.append(f"stopped  after round {decision['round']}: {decision['why']}")
    raised = [alarm for told in (gate, proof) if told for alarm in told.get("alarms", [])]
    alarms = [
        f"alarm    {alarm['code']} {alarm['title']}: {alarm['seen']}; {alarm['do']}"
        for alarm in raised
    ]
    return [*lines, *alarms, *_content_and_labels(project)]


def _content_and_labels(project: Project) -> list[str]:
    """What changed under the answers, and the next command, which mends that first."""
    lines = [f"labels   {note}" for note in notes(project)]
    lacking = retired_labels(project)
    if lacking:
        words = retired_words(lacking, project.params().labels)
        return [*lines, f"labels   params.yaml labels: {words}", f"next     {RETIRED}"]
    skipped = not_compared(project) if project.rounds() else None
    if skipped:
        lines.append(f"content  {skipped}")
    other = [] if skipped else changed(project)
    if other:
        return [*lines, f"content  {summary(other)}", f"next     {REMEDY}"]
    return [*lines, f"next     {next_command(project)}"]


@click.command()
@one_line_errors
def command() -> str:
    """Round, labels, budget, alarms, and the next command to type."""
    project = Project.find(Path())
    mended = [
        f"repaired {name}, which a killed DVC had left half written"
        for name in repaired(project.root)
    ]
    return "\n".join([*mended, *report(project)])
