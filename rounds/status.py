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
from rounds.documents import (
    Advice,
    Arm,
    Estimate,
    RoundState,
    Status,
    Stopped,
    alarms_of,
    json_option,
    say,
)
from rounds.lock import repaired
from rounds.machines.figures import status_lines, uses
from rounds.project import Project, Round
from rounds.renamed_labels import notes, outdated, retired_labels, untouched
from rounds.report import (
    at_any_look,
    cost_words,
    course_words,
    read_metrics,
    saved,
    scheme_lines,
)
from rounds.scheme import retire_command, unfinished_changes, unfinished_splits
from stages.answers.reading import RETIRED, retired_words
from stages.contract.canonical import Row
from stages.contract.shell import one_line_errors
from stages.learning.scoring import wilson

AFTER_THE_LAST = (
    "`rounds report` sums up; to go on, change that in params.yaml (or add rows to the pool), "
    "commit, and rounds close"
)


def next_command(project: Project) -> str:
    """What to type now."""
    rounds = project.rounds()
    if stopped(project):
        return "rounds report   (or take the work up again: `rounds close --continue --why REASON`)"
    if not rounds:
        return "rounds close   (issues batch 1)"
    newest = rounds[-1]
    if early_lines(project):
        return f"rounds close   (commits the question of round {newest.number}, then its answers)"
    done, asked = answered(project, newest)
    if untouched(newest) and outdated(project, newest):
        return "rounds close   (issues the batch anew, with the labels of params.yaml)"
    if newest.closed_early.is_file() or done >= asked:
        return _after_the_answers(project, newest)
    return "rounds annotate" if not done else "rounds annotate   (or `rounds close --partial`)"


def _after_the_answers(project: Project, newest: Round) -> str:
    """What to type when the newest round needs no more answers."""
    query = read_metrics(project, "query")
    if query and query["round"] > newest.number and not query["batch"]["rows"]:
        return f"nothing more to ask: {query['state']}; {AFTER_THE_LAST}"
    gate = read_metrics(project, "gate")
    if gate and gate["rounds"] < newest.number and gate.get("held_by"):
        return WHEN_HELD
    return "rounds close"


def report(project: Project) -> list[str]:
    """The lines of the status."""
    gate = read_metrics(project, "gate")
    query = read_metrics(project, "query")
    proof = read_metrics(project, "validate")
    lines = [_round_line(project)]
    if gate:
        lines.append(f"labels   {gate['accepted']} accepted, {gate['review']} doubted")
        lines += doubts_line(gate)
    answers = query["answers_spent"] if query else 0
    budget = project.params().query.budget
    limit = ", no limit set" if budget is None else f" of {budget}"
    lines.append(f"budget   {answers} answers spent{limit}")
    if proof:
        lines += _proof_lines(proof)
        lines += [f"scheme   {line}" for line in scheme_lines(proof)]
    lines += _split_lines(project, gate)
    lines += status_lines(read_metrics(project, "machines"))
    lines += uses(project.params())
    stop = stopped(project)
    if stop:
        lines.append(f"stopped  after round {stop['round']}: {stop['why']}")
    lines += [f"early    {line}" for line in early_lines(project)]
    lines += [
        f"alarm    {alarm['code']} {alarm['title']}: {alarm['seen']}; {alarm['do']}"
        for metrics in (gate, proof)
        for alarm in metrics.get("alarms", [])
    ]
    remarks, next_step = _content_and_labels(project)
    return [*lines, *remarks, f"next     {next_step}"]


def early_lines(project: Project) -> list[str]:
    """That answers wait for the commit of their question (`rounds.early`); mostly nothing."""
    lines = []
    for asked in project.rounds():
        # whole lines: the last may be just being written
        waiting = sum(path.read_bytes().count(b"\n") for path in asked.early.glob("*.jsonl"))
        if waiting:
            where = asked.early.relative_to(project.root).as_posix()
            what = f"{waiting} answers to round {asked.number} wait in {where}"
            lines.append(f"{what} for the commit of its question")
    return lines


def _split_lines(project: Project, gate: Row) -> list[str]:
    """How far the labels that were split are: rows that nobody has told apart yet."""
    left = gate.get("unsplit", {})
    lines = [
        f"split    {count} rows of {label} are not told apart yet; each batch asks some again"
        for label, count in left.items()
    ]
    done = [label for label in unfinished_splits(project) if gate and label not in left]
    return lines + [
        f"split    no row of {label} is left: {retire_command(label)}" for label in done
    ]


def _round_line(project: Project) -> str:
    rounds = project.rounds()
    if not rounds:
        return "round    none issued yet"
    done, asked = answered(project, rounds[-1])
    return f"round    {rounds[-1].number}: {done} of {asked} rows answered"


def doubts_line(gate: Row) -> list[str]:
    """How many of the gate's doubts that people decided were right, with Wilson's interval (95 %).

    gate: metrics/gate.json. No line before any was decided.
    """
    ends = gate.get("doubts", {})
    right = ends.get("contradicted", 0)
    decided = right + ends.get("confirmed", 0)
    if not decided:
        return []
    low, high = wilson(right, decided)
    share = f"{right / decided:.0%} [{low:.0%}, {high:.0%}]"
    return [f"doubts   {right} of {decided} that people decided were right: {share}"]


def _proof_lines(proof: Row) -> list[str]:
    """The accuracy of both arms, their gap, the saving and the advice.

    proof: metrics/validate.json.
    """
    lines = []
    for name in ("active", "random"):
        arm = proof[name]
        if arm:
            labels = f"{arm['labels']} labels [{arm['low']:.3f}, {arm['high']:.3f}]"
            accuracy = f"{arm['accuracy']:.3f} accuracy at {labels}"
            lines.append(f"{name:<9}{accuracy}, on the {proof['judged_on']}")
    gap = proof["difference"]
    if gap["active_minus_random"] is not None:
        difference = f"{gap['active_minus_random']:+.3f} {at_any_look(gap, '+.3f')}"
        lines.append(f"proof    active - random {difference} at {gap['labels']} labels")
        lines.append(f"saved    {saved(proof['saving'])} labels")
    lines += [f"course   {line}" for line in course_words(proof)]
    lines += [f"cost     {line}" for line in cost_words(proof)]
    advice = proof["stopping"]
    return [*lines, f"advice   {advice['advice']}: {advice['why']}"]


def _content_and_labels(project: Project) -> tuple[list[str], str]:
    """What changed under the answers, and the next command, which mends that first."""
    begun = unfinished_changes(project)
    if begun:
        what = f"{begun[0]}: this change was interrupted"
        return [f"labels   {what}"], "rounds close   (finishes it)"
    lines = [f"labels   {note}" for note in notes(project)]
    lacking = retired_labels(project)
    if lacking:
        words = retired_words(lacking, project.params().labels)
        return [*lines, f"labels   params.yaml labels: {words}"], RETIRED
    skipped = not_compared(project) if project.rounds() else None
    if skipped:
        lines.append(f"content  {skipped}")
    other = [] if skipped else changed(project)
    if other:
        return [*lines, f"content  {summary(other)}"], REMEDY
    return lines, next_command(project)


def document(project: Project, repairs: list[str]) -> Status:
    """The status for a program. repairs: what was repaired before it was read."""
    gate = read_metrics(project, "gate")
    query = read_metrics(project, "query")
    proof = read_metrics(project, "validate")
    remarks, next_step = _content_and_labels(project)
    stop = stopped(project)
    advice = proof.get("stopping")
    return Status(
        project=project.root.resolve().name,
        round=round_state(project),
        accepted=gate.get("accepted"),
        doubted=gate.get("review"),
        answers=query["answers_spent"] if query else 0,
        budget=project.params().query.budget,
        active=_arm(proof.get("active")),
        random=_arm(proof.get("random")),
        judged_on=proof.get("judged_on"),
        gap=_estimate(proof.get("difference"), "active_minus_random"),
        saving=_estimate(proof.get("saving"), "saved"),
        advice=Advice(advice=advice["advice"], why=advice["why"]) if advice else None,
        stopped=Stopped(round=stop["round"], why=stop["why"]) if stop else None,
        alarms=alarms_of(gate, proof),
        notes=[*repairs, *early_lines(project), *(" ".join(line.split()) for line in remarks)],
        next=next_step,
    )


def round_state(project: Project) -> RoundState | None:
    """The newest round, None before the first."""
    rounds = project.rounds()
    if not rounds:
        return None
    done, asked = answered(project, rounds[-1])
    return RoundState(number=rounds[-1].number, asked=asked, answered=done)


def _arm(arm: Row | None) -> Arm | None:
    """An arm of metrics/validate.json; None where it was not judged."""
    if not arm:
        return None
    return Arm(**{name: arm[name] for name in ("labels", "accuracy", "low", "high")})


def _estimate(figure: Row | None, key: str) -> Estimate | None:
    """Gap or saving of metrics/validate.json with its interval at any look."""
    if not figure:
        return None
    bounds = figure.get("any_look", {})
    return Estimate(
        value=figure[key],
        low=bounds.get("low"),
        high=bounds.get("high"),
        labels=figure["labels"],
    )


@click.command()
@json_option
@one_line_errors
def command(as_json: bool) -> str:
    """Round, labels, budget, alarms, and the next command to type."""
    project = Project.find(Path())
    mended = [
        f"repaired {name}, which a killed DVC had left half written"
        for name in repaired(project.root)
    ]
    if as_json:
        described = document(project, mended)
        say(described)
        return f"next: {described.next}"
    return "\n".join([*mended, *report(project)])
