"""What the proof costs: the answers that the strategy did not choose, and what they brought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypedDict

from stages.answers.arms import teaches
from stages.answers.ledger import NO_ANSWERS, Asked, Event


class ProofCost(TypedDict):
    """Answers of metrics/validate.json: in all, and those that were given for the proof's sake.

    control: to rows that chance alone chose, which teach the model too; judge: to rows that judge
    and teach nobody. A row that the strategy wanted as well counts for neither.
    """

    answers: int
    control: int
    judge: int


def proof_cost(asked: Iterable[Asked], events: Iterable[Event]) -> ProofCost:
    """How many of the answers went to control and judge rows."""
    kind_of = {(row["round"], row["id"]): _kind(row) for row in asked}
    kinds = Counter(
        kind_of.get((event["round"], event["id"]), "other")
        for event in events
        if event["kind"] not in NO_ANSWERS
    )
    return {
        "answers": kinds.total(),
        "control": kinds["control"],
        "judge": kinds["judge"],
    }


def _kind(row: Asked) -> str:
    """What the answers to a row were spent on."""
    if not teaches(row):
        return "judge"
    return "control" if "control" in row["arms"] and "active" not in row["arms"] else "other"
