"""The third learning curve: a model that learns from a machine's labels alone, in labels and money.

Beside the active and the random arm, which learn from people. Where the machine's curve lies above
them at the same price, people do not pay; where people's curve has passed the best that machine
labels reach, only people bring it further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from stages.contract.arrays import Ints
from stages.contract.canonical import Row
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.classifier import together
from stages.learning.scoring import wilson
from stages.machines.frozen import Machine
from stages.proof.gap import labels_to_reach
from stages.proof.refits import Refits

FIRST = 50  # labels of the curve's first point; each further one has twice as many
MOST = 3200  # labels of the last: beyond, a machine's curve is flat and fits are slow


class MachinePoint(TypedDict):
    """A point of a curve. arm: active, random, or a machine's name; low, high: Wilson's interval.

    cost: of the labels; None where it is not known. minutes: None, as in the other curves' rows.
    """

    arm: str
    labels: int
    accuracy: float
    low: float
    high: float
    cost: float | None


def taught_ids(machine: Machine, ids: Sequence[str], left_out: set[str], seed: int) -> list[str]:
    """The ids of the pool that a machine labels, in the random permutation's order, at most MOST.

    ids: of the pool; left_out: rows that judge, so that no model learns them.
    """
    free = [item for item in ids if item in machine.labelled and item not in left_out]
    keys = order_keys(seed, free)
    order = np.argsort(keys, kind="stable")[:MOST]
    return [free[position] for position in order]


def counts_of(rows: int) -> list[int]:
    """The label counts of the curve's points: 50, 100, 200, ... and all."""
    counts = []
    count = FIRST
    while count < rows:
        counts.append(count)
        count *= 2
    return [*counts, rows] if rows else []


def machine_curve(
    machine: Machine, ids: list[str], judged: Ints, truth: Ints, refits: Refits, params: Params
) -> list[MachinePoint]:
    """The points of a machine's curve. ids: that teach, in their order.

    judged: (m,) rows of the index with a person's label; truth: (m,) their classes.
    """
    class_of = {label: number for number, label in enumerate(params.labels)}
    labels = {item: class_of[str(machine.labelled[item]["label"])] for item in ids}
    counts = counts_of(len(ids)) if len(judged) else []
    each = machine.label_cost

    def point(count: int) -> MachinePoint:
        first = {item: labels[item] for item in ids[:count]}
        right = int((refits(first, judged).argmax(axis=1) == truth).sum())
        low, high = wilson(right, len(truth))
        return {
            "arm": machine.name,
            "labels": count,
            "accuracy": right / len(truth),
            "low": low,
            "high": high,
            "cost": None if each is None else each * count,
        }

    return together(point, counts, params.compute.n_jobs)


def peoples_points(curve: list[Row], answer_cost: float | None) -> list[MachinePoint]:
    """The points of both arms, with what people's answers cost. curve: learning_curve.json."""
    return [
        {
            "arm": row["arm"],
            "labels": row["labels"],
            "accuracy": row["accuracy"],
            "low": row["low"],
            "high": row["high"],
            "cost": None if answer_cost is None else answer_cost * row["labels"],
        }
        for row in curve
    ]


def people_pass(machine: list[MachinePoint], people: list[MachinePoint]) -> Row:
    """Where people's labels, picked by the strategy, teach more than all of a machine's do.

    best: the last point of the machine's curve; labels: at how many the active arm is as right,
    None where it is not there yet.
    """
    active = [point for point in people if point["arm"] == "active"]
    if not machine or not active:
        return {"best": None, "labels": None}
    best = machine[-1]["accuracy"]
    counts = np.array([point["labels"] for point in active], dtype=np.float64)
    accuracy = np.array([point["accuracy"] for point in active])
    reached = labels_to_reach(counts, accuracy, best)
    return {"best": best, "labels": round(reached) if np.isfinite(reached) else None}
