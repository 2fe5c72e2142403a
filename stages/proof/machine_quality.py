"""How good a machine annotator is here, by people's labels that it never saw.

Control rows are a random draw of the pool: what they say holds for the pool, within an interval of
any look. The rows that people answered beyond those were picked because they are hard: what they
say is shown beside, and claims nothing. People never saw what the machine says.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from stages.answers.ledger import CountedVote
from stages.contract.canonical import Row
from stages.learning.scoring import expected_calibration_error, wilson
from stages.machines.frozen import Machine, MachineAnswer
from stages.proof.alternative_annotator import alt_test
from stages.proof.any_look_share import share_at_any_look

BINS = 10  # of confidence
FEWEST_CONFIDENT = 20  # answers with a confidence that calibration is judged on

Truth = Mapping[str, str]  # id -> label


@dataclass(frozen=True)
class HumanLabels:
    """What people said.

    control: of control rows, whoever asked them; answered: of all rows; test: of the test table;
    votes: every person's labels, person -> id -> label, without the seed's.
    """

    control: Truth
    answered: Truth
    test: Truth
    votes: Mapping[str, Truth]


def votes_by_person(votes: Iterable[CountedVote]) -> dict[str, dict[str, str]]:
    """Each person's last label of each id; the seed, which is nobody's, is left out."""
    by_person: dict[str, dict[str, str]] = defaultdict(dict)
    for vote in sorted(votes, key=lambda vote: vote["round"]):
        if vote["annotator"]:
            by_person[vote["annotator"]][vote["id"]] = vote["label"]
    return dict(by_person)


def machine_figures(machine: Machine, people: HumanLabels, classes: list[str]) -> Row:
    """All that metrics/machines.json says of one machine."""
    answers = machine.labelled
    labels = {item: str(answer["label"]) for item, answer in answers.items()}
    return {
        "answers": len(machine.answers),
        "labels": len(answers),
        "models": sorted({answer["model"] for answer in answers.values()}),
        "prompts": sorted({answer["prompt"] for answer in answers.values()}),
        "control": judged_on_control(labels, people.control),
        "answered": _judged(labels, people.answered),
        "test": judged_on_test(labels, people.test) if people.test else None,
        "by_class": by_class(labels, people.control, classes),
        "confusion": confusion(labels, people.control),
        "calibration": calibration(answers, people.control),
        "people": agreement(labels, people.votes),
        "alt_test": vars(alt_test(labels, people.votes)),
        "cost": cost(machine, labels, people.control),
    }


def _judged(labels: Truth, truth: Truth) -> Row:
    """Rows with a person's label, how many the machine labels, and how many of those rightly."""
    covered = [item for item in truth if item in labels]
    right = sum(labels[item] == truth[item] for item in covered)
    return {
        "rows": len(truth),
        "covered": len(covered),
        "right": right,
        "accuracy": right / len(covered) if covered else None,
    }


def judged_on_control(labels: Truth, control: Truth) -> Row:
    """The same, with intervals of any look of its accuracy and of the share that it covers."""
    figures = _judged(labels, control)
    low, high = share_at_any_look(figures["right"], figures["covered"])
    coverage = figures["covered"] / figures["rows"] if figures["rows"] else None
    coverage_low, coverage_high = share_at_any_look(figures["covered"], figures["rows"])
    return {
        **figures,
        "low": low,
        "high": high,
        "coverage": coverage,
        "coverage_low": coverage_low,
        "coverage_high": coverage_high,
    }


def judged_on_test(labels: Truth, test: Truth) -> Row:
    """The same on the test table, which does not grow: with Wilson's interval."""
    figures = _judged(labels, test)
    low, high = (None, None)
    if figures["covered"]:
        low, high = wilson(figures["right"], figures["covered"])
    return {**figures, "low": low, "high": high}


def by_class(labels: Truth, control: Truth, classes: list[str]) -> Row:
    """Per class: recall and precision on control rows, each with its interval of any look.

    Recall counts the rows of a class that the machine labels at all. Each interval is that of one
    class looked at alone. None without a row.
    """
    pairs = [(control[item], labels[item]) for item in control if item in labels]
    table: Row = {}
    for name in classes:
        right = sum(actual == said == name for actual, said in pairs)
        actual_rows = sum(actual == name for actual, _ in pairs)
        said_rows = sum(said == name for _, said in pairs)
        low, high = share_at_any_look(right, actual_rows)
        precise_low, precise_high = share_at_any_look(right, said_rows)
        table[name] = {
            "rows": actual_rows,
            "recall": right / actual_rows if actual_rows else None,
            "low": low,
            "high": high,
            "said": said_rows,
            "precision": right / said_rows if said_rows else None,
            "precision_low": precise_low,
            "precision_high": precise_high,
        }
    return table


def confusion(labels: Truth, control: Truth) -> Row:
    """How often people's label, then the machine's, came together on control rows; no zeros."""
    pairs = Counter((control[item], labels[item]) for item in control if item in labels)
    table: dict[str, dict[str, int]] = defaultdict(dict)
    for (actual, said), count in sorted(pairs.items()):
        table[actual][said] = count
    return dict(table)


def calibration(answers: Mapping[str, MachineAnswer], control: Truth) -> Row | None:
    """Whether its confidence means what it says, on control rows; None with too few confidences.

    mean: of its confidences; right: of those labels; ece: expected calibration error.
    """
    rows = [
        (answer["confidence"], answer["label"] == control[item])
        for item, answer in answers.items()
        if item in control and answer["confidence"] is not None
    ]
    if len(rows) < FEWEST_CONFIDENT:
        return None
    confidence = np.array([row[0] for row in rows], dtype=np.float64)
    right = np.array([row[1] for row in rows], dtype=np.bool_)
    return {
        "rows": len(rows),
        "mean": float(confidence.mean()),
        "right": float(right.mean()),
        "ece": expected_calibration_error(confidence, right, BINS),
    }


def agreement(labels: Truth, votes: Mapping[str, Truth]) -> Row:
    """Per person: the rows that both labelled, and on how many of them they agree."""
    table: Row = {}
    for person in sorted(votes):
        both = [item for item in votes[person] if item in labels]
        same = sum(votes[person][item] == labels[item] for item in both)
        share = same / len(both) if both else None
        table[person] = {"rows": len(both), "same": same, "share": share}
    return table


def cost(machine: Machine, labels: Truth, control: Truth) -> Row | None:
    """What it cost, and what a right label of it costs, by its accuracy on control rows.

    per_right_low, per_right_high: of any look; None where nobody knows.
    """
    each = machine.label_cost
    if each is None:
        return None
    figures = judged_on_control(labels, control)

    def per_right(accuracy: float | None) -> float | None:
        return each / accuracy if accuracy else None

    return {
        "total": machine.cost,
        "per_label": each,
        "per_right": per_right(figures["accuracy"]),
        "per_right_low": per_right(figures["high"]),
        "per_right_high": per_right(figures["low"]),
    }
