"""The frozen answers of machine annotators: data/machines/NAME/answers.jsonl, append-only, in git.

A machine is anything that labels rows and is no person: a language model, a classifier of another
project, hand-written rules. Nothing is called here: what it said once is a source, like people's
answers. Of several answers to one row the last counts. A row of the file:

    id             of pool, seed or test
    label          a class of params.labels; null: the machine did not name one
    confidence     in [0, 1], what the machine says of its label; null: it says nothing
    probabilities  class -> probability, in all at most 1; null: none
    raw            its reply as it came, "" for none
    prompt         the first hex digits of the hash of what it was told; "" where unknown
    model, version what answered; "" where unknown
    cost           what the answer cost, in any currency; null: unknown
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from stages.contract.canonical import Row, numbered_rows
from stages.contract.errors import PipelineError, closest

ANSWERS = "answers.jsonl"
TEXTS = ("raw", "prompt", "model", "version")
COLUMNS = ("id", "label", "confidence", "probabilities", *TEXTS, "cost")
SLACK = 0.01  # by which probabilities, often rounded, may miss 1


class MachineAnswer(TypedDict):
    """What a machine said of one row."""

    id: str
    label: str | None
    confidence: float | None
    probabilities: dict[str, float] | None
    raw: str
    prompt: str
    model: str
    version: str
    cost: float | None


@dataclass(frozen=True)
class Machine:
    """A machine, and its last answer to each row.

    answers: by id; cost: of all answers ever that say what they cost, None where none does;
    priced: the share of all answers ever that say it.
    """

    name: str
    answers: dict[str, MachineAnswer]
    cost: float | None
    priced: float = 1.0

    @property
    def label_cost(self) -> float | None:
        """What a label costs; answers that do not say their cost count as dear as the others."""
        if self.cost is None or not self.labelled:
            return None
        return self.cost / self.priced / len(self.labelled)

    @property
    def labelled(self) -> dict[str, MachineAnswer]:
        """The answers that name a class."""
        return {item: answer for item, answer in self.answers.items() if answer["label"]}


def checked_answer(row: Row, labels: Collection[str] | None, where: object) -> MachineAnswer:
    """A row as a machine's answer. Raises PipelineError, naming the place, for what is none.

    A row without a label has that of its greatest probability. labels: of params.yaml; None: any
    label will do.
    """
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        what = f"unknown column {unknown[0]!r}{closest(unknown[0], COLUMNS)}"
        raise PipelineError(where, what, f"a machine's answer has {', '.join(COLUMNS)}")
    item = row.get("id")
    if not isinstance(item, str) or not item:
        raise PipelineError(where, "the id is missing, or no text", "give each answer its row's id")
    probabilities = _probabilities(row.get("probabilities"), labels, where)
    label = row.get("label")
    if label is None and probabilities:
        label = max(sorted(probabilities), key=probabilities.__getitem__)
    if label is not None:
        _check_class(label, labels, where, "correct it, or write null: no label")
    confidence = _number(row.get("confidence"), "confidence", 1.0, where)
    if confidence is None and probabilities and label is not None:
        confidence = probabilities.get(label, 0.0)
    for name in TEXTS:
        if not isinstance(row.get(name, ""), str):
            raise PipelineError(where, f"{name} is no text", "write it in quotes")
    return MachineAnswer(
        id=item,
        label=label,
        confidence=confidence,
        probabilities=probabilities,
        raw=row.get("raw", ""),
        prompt=row.get("prompt", ""),
        model=row.get("model", ""),
        version=row.get("version", ""),
        cost=_number(row.get("cost"), "cost", math.inf, where),
    )


def _number(value: Any, name: str, most: float, where: object) -> float | None:
    """A number in [0, most], or None. Raises PipelineError for anything else."""
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= most:
        span = "0 or more" if math.isinf(most) else f"0 to {most:g}"
        what = f"{name} is {value!r}, a number from {span} was expected"
        raise PipelineError(where, what, "correct it, or leave it out")
    return float(value)


def _check_class(label: object, labels: Collection[str] | None, where: object, remedy: str) -> None:
    """Raises PipelineError for what is no label; labels: of params.yaml, None for any text."""
    if not isinstance(label, str):
        raise PipelineError(where, f"{label!r} is no label", remedy)
    if labels is not None and label not in labels:
        what = f"{label!r} is no label of params.yaml{closest(label, labels)}"
        raise PipelineError(where, what, remedy)


def _probabilities(
    value: Any, labels: Collection[str] | None, where: object
) -> dict[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not value:
        what = "probabilities are no object of class and number"
        raise PipelineError(where, what, 'write {"class": 0.8, ...}, or leave them out')
    chances = {}
    for label, chance in value.items():
        _check_class(label, labels, where, "correct the class in probabilities")
        chances[label] = _number(chance, f"the probability of {label}", 1.0, where) or 0.0
    if sum(chances.values()) > 1 + SLACK:
        what = f"probabilities sum to {sum(chances.values()):.4g}"
        raise PipelineError(where, what, "they are at most 1 in all")
    return chances


def read_machine(folder: Path, labels: Collection[str] | None = None) -> Machine:
    """The machine of data/machines/NAME.

    labels: of params.yaml; a label that these no longer have counts as none. None: any label.
    Raises PipelineError at file:line for a row that is no answer.
    """
    answers: dict[str, MachineAnswer] = {}
    costs = []
    for number, row in numbered_rows(folder / ANSWERS):
        answer = checked_answer(_of_today(row, labels), labels, f"{folder / ANSWERS}:{number}")
        answers[answer["id"]] = answer
        costs.append(answer["cost"])
    paid = [cost for cost in costs if cost is not None]
    if not paid:
        return Machine(folder.name, answers, None)
    return Machine(folder.name, answers, math.fsum(paid), len(paid) / len(costs))


def _of_today(row: Row, labels: Collection[str] | None) -> Row:
    """A frozen row without the classes that params.yaml no longer has."""
    if labels is None:
        return row
    chances = row.get("probabilities")
    if row.get("label") is not None and row["label"] not in labels:
        return {**row, "label": None, "probabilities": None}
    if isinstance(chances, dict):
        kept = {label: chance for label, chance in chances.items() if label in labels}
        return {**row, "probabilities": kept or None}
    return row


def read_machines(root: Path, labels: Collection[str]) -> list[Machine]:
    """The machines of data/machines, by name; none without the folder."""
    if not root.is_dir():
        return []
    folders = sorted(path for path in root.iterdir() if (path / ANSWERS).is_file())
    return [read_machine(folder, labels) for folder in folders]
