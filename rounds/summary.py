"""What a manager asks: what was spent, what that saved, how good the model is, what to do next.

Made of metrics/ alone: the head of `rounds report` and of the owner's page (`rounds.owner`).
"""

from __future__ import annotations

from dataclasses import dataclass

from rounds.decision import DecisionOfRound
from stages.contract.canonical import Row

STOP_OR_GO_ON = (
    "decide: `rounds close --stop --why REASON`, or `rounds close --continue --why REASON`"
)


@dataclass(frozen=True)
class Point:
    """A question and its answer in a sentence or two."""

    question: str
    answer: str


def summary(metrics: dict[str, Row], stop: DecisionOfRound | None) -> list[Point]:
    """Spent, saved, model, next. metrics: the documents of metrics/ by name."""
    proof = metrics["validate"]
    return [
        Point("What was spent", spent(metrics["gate"], metrics["query"])),
        Point("What that saved", saved_words(proof["saving"])),
        Point("How good the model is", model_words(proof)),
        Point("What to do next", next_words(metrics, stop)),
    ]


def spent(gate: Row, query: Row) -> str:
    """Answers, people and labels; parts that the pipeline has not made yet are left out."""
    people = len(gate.get("annotators", {}))
    parts = []
    if query:
        by = {0: "", 1: " of 1 person"}.get(people, f" of {people} people")
        parts.append(f"{query['answers_spent']} answers{by}")
    if gate.get("accepted") is not None:
        doubted = f", {gate['review']} are doubted and asked again" if gate["review"] else ""
        parts.append(f"{gate['accepted']} labels are accepted (the seed's included){doubted}")
    return "; ".join(parts) + "." if parts else "Not yet known."


def saved_words(saving: Row) -> str:
    """The labels saved against random sampling, with their interval, and whether that is sure."""
    low, high = (_bound(saving[key]) for key in ("low", "high"))
    if saving["saved"] is None:
        return "Not yet known: too little is labelled to compare with random sampling."
    labels = saving["labels"]
    count = abs(saving["saved"])
    what = "cost" if saving["saved"] < 0 else "saved"
    compared = f"Choosing what to label {what} about {count:.0f} labels for the accuracy that "
    compared += f"{labels} labels drawn at random reach (95 % interval {low} to {high})."
    if saving["low"] is not None and saving["low"] > 0:
        return compared
    return f"{compared} It is not sure that anything was saved."


def _bound(value: float | None) -> str:
    return "not known" if value is None else f"{value:.0f}"


def model_words(proof: Row) -> str:
    """The accuracy of the model of all labels; of the active arm where that was not judged."""
    model = proof.get("shipped") or proof["active"]
    if not model:
        return "Not judged yet: there are no rows to judge on."
    right = f"Of 100 rows it labels about {100 * model['accuracy']:.0f} rightly"
    interval = ""
    if model.get("low") is not None and model.get("high") is not None:
        interval = f" (95 % interval {100 * model['low']:.0f} to {100 * model['high']:.0f})"
    return f"{right}{interval}, judged on the {proof['judged_on']}; {model['labels']} labels."


def next_words(metrics: dict[str, Row], stop: DecisionOfRound | None) -> str:
    """The decision that stands, else the first alarm, else the advice."""
    proof = metrics["validate"]
    if stop:
        return f"The work was stopped after round {stop['round']}: {stop['why']}."
    alarms = [*metrics["gate"].get("alarms", []), *proof["alarms"]]
    first = ""
    if alarms:
        count = "1 alarm is" if len(alarms) == 1 else f"{len(alarms)} alarms are"
        first = (
            f"{count} open; first {alarms[0]['code']}, {alarms[0]['title']}: {alarms[0]['do']}. "
        )
    stopping = proof["stopping"]
    if stopping["advice"] == "stop":
        return f"{first}The advice is to stop ({stopping['why']}): {STOP_OR_GO_ON}."
    query = metrics["query"]
    if query and not query["batch"]["rows"]:
        return f"{first}Nothing more is asked: {query['state']}."
    return f"{first}Go on labelling: `rounds annotate` ({stopping['why']})."
