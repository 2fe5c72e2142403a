"""A person's decision to stop, or to go on against the advice to stop: a file of the round, and part of its commit.

data/rounds/NNN/decision.json holds decision (stop, continue), why, and what the panel advised. NNN
is the round that is being closed; when nothing of the open round is answered, the one before it.
The last word counts.
"""

from __future__ import annotations

from rounds.project import Project, Round
from stages.contract.canonical import Row, read_json, write_json
from stages.contract.errors import PipelineError

FILE = "decision.json"


def stopped(project: Project) -> Row | None:
    """The decision to stop, if it is the last one taken; with the number of its round."""
    for one in reversed(project.rounds()):
        if (one.folder / FILE).is_file():
            found = {"round": one.number, **read_json(one.folder / FILE)}
            return found if found["decision"] == "stop" else None
    return None


def require_open(project: Project) -> None:
    """Raises PipelineError while the work is stopped."""
    decision = stopped(project)
    if decision is not None:
        what = f"the work was stopped after round {decision['round']}: {decision['why']}"
        where = project.rounds_folder / f"{decision['round']:03d}" / FILE
        raise PipelineError(where, what, "take it up again: `rounds close --continue --why REASON`")


def decide(project: Project, rounds: list[Round], *, stop: bool, why: str) -> str | None:
    """Write the decision down. The subject of the commit that is to hold it, or None when the round's own commit will.

    rounds: the committed ones. Raises PipelineError without a reason, or before anything was
    answered.
    """
    if not why.strip():
        raise PipelineError("--why", "a decision needs its reason", 'add --why "…"')
    answered = [one for one in rounds if one.answer_files() or one.closed_early.is_file()]
    if not answered:
        what = "there is nothing to decide on: no round was answered yet"
        raise PipelineError(project.rounds_folder, what, "go on with `rounds annotate`")
    about = answered[-1]
    proof = project.root / "metrics" / "validate.json"
    advice = read_json(proof)["stopping"]["advice"] if proof.is_file() else "not yet known"
    write_json(
        about.folder / FILE,
        {"decision": "stop" if stop else "continue", "why": why.strip(), "advice": advice},
    )
    if about.number == rounds[-1].number:
        return None
    return f"{'Stop' if stop else 'Continue'} after round {about.number}: {why.strip()}"
