"""A person's decision to stop, or to go on against the advice to stop.

It is data/rounds/NNN/decision.json, a part of the round's commit. NNN is the round that is being
closed; when nothing of the open round is answered, the one before it. The last decision counts.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from rounds.project import Project, Round
from stages.contract.canonical import read_json, write_json
from stages.contract.errors import PipelineError

FILE = "decision.json"


class Decision(TypedDict):
    """What decision.json holds; advice: what the stopping panel said then."""

    decision: Literal["stop", "continue"]
    why: str
    advice: str


class DecisionOfRound(Decision):
    """A decision with the number of its round."""

    round: int


def last_decision(project: Project) -> DecisionOfRound | None:
    """The last decision that was taken, with its round."""
    for round_ in reversed(project.rounds()):
        path = round_.folder / FILE
        if path.is_file():
            decision: Decision = read_json(path)
            return DecisionOfRound(round=round_.number, **decision)
    return None


def stopped(project: Project) -> DecisionOfRound | None:
    """The decision to stop, if it is the last one taken."""
    decision = last_decision(project)
    return decision if decision is not None and decision["decision"] == "stop" else None


def require_open(project: Project) -> None:
    """Raises PipelineError while the work is stopped."""
    decision = stopped(project)
    if decision is not None:
        what = f"the work was stopped after round {decision['round']}: {decision['why']}"
        where = project.rounds_folder / f"{decision['round']:03d}" / FILE
        raise PipelineError(where, what, "take it up again: `rounds close --continue --why REASON`")


def decide(project: Project, rounds: list[Round], *, stop: bool, why: str) -> str | None:
    """Write the decision down. The subject of the commit that is to hold it.

    None when the commit of the round that is being closed will hold it. rounds: the committed ones.
    Raises PipelineError without a reason, or before anything was answered.
    """
    why = why.strip()
    if not why:
        raise PipelineError("--why", "a decision needs its reason", 'add --why "…"')
    answered = [
        round_ for round_ in rounds if round_.answer_files() or round_.closed_early.is_file()
    ]
    if not answered:
        what = "there is nothing to decide on: no round was answered yet"
        raise PipelineError(project.rounds_folder, what, "go on with `rounds annotate`")
    last = answered[-1]
    proof = project.root / "metrics" / "validate.json"
    advice = read_json(proof)["stopping"]["advice"] if proof.is_file() else "not yet known"
    decision = Decision(decision="stop" if stop else "continue", why=why, advice=advice)
    write_json(last.folder / FILE, decision)
    if last.number == rounds[-1].number:
        return None
    return f"{'Stop' if stop else 'Continue'} after round {last.number}: {why}"
