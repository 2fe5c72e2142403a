"""All machine annotators of a project, judged: what the stage judge_machines writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.answers.arms import arms_by_id
from stages.answers.gate_tables import GateTables, read_gate_tables
from stages.answers.ledger import Asked, read_rows
from stages.answers.scheme import Meaning
from stages.answers.standing import SEED
from stages.contract.arrays import Ints
from stages.contract.canonical import Row
from stages.contract.params import MACHINE_COLUMNS, NO_TABLE, Params
from stages.machines.frozen import Machine, MachineAnswer
from stages.proof.machine_curve import (
    MachinePoint,
    machine_curve,
    people_pass,
    peoples_points,
    taught_ids,
)
from stages.proof.machine_quality import HumanLabels, machine_figures, votes_by_person
from stages.proof.machine_shares import class_shares
from stages.proof.refits import Refits
from stages.store.index import Features

FEWEST_JUDGED = 20  # control rows that a curve without a test set is judged on


@dataclass(frozen=True)
class Judgement:
    """metrics/machines.json, and the rows of plots/machines.json."""

    figures: Row
    curve: list[MachinePoint]


@dataclass(frozen=True)
class People:
    """What people said, and what they were asked, up to the last accepted round."""

    gate: GateTables
    asked: list[Asked]


def read_people(gate: Path, labels: Path, params: Params) -> People:
    """The gate's tables, and the asks of the rounds that it accepted."""
    tables = read_gate_tables(gate, params.labels)
    asked = read_rows(labels / "asked.jsonl", Asked)
    return People(tables, [row for row in asked if row["round"] <= tables.state["rounds"]])


def wanted_ids(machines: Iterable[Machine], people: People) -> set[str]:
    """The ids whose features are needed."""
    answered = {item for machine in machines for item in machine.answers}
    return answered | set(people.gate.labelled_ids())


def human_labels(
    people: People, meanings: list[Meaning], features: Features, params: Params
) -> HumanLabels:
    """People's labels by what they can say of a machine. meanings: of the test rows' labels.

    A test row whose class was retired, or split and not told apart, says nothing.
    """
    index = features.index
    gate = people.gate
    seed_ids = set(index.ids[index.rows("seed")])
    labels = {row["id"]: row["label"] for row in gate.review}
    labels |= {row["id"]: row["label"] for row in gate.accepted.rows}
    arms = arms_by_id(people.asked, seed_ids, params.seed)
    asked = {item: labels[item] for item in arms if item in labels}
    votes = [vote for vote in gate.votes if vote["annotator"] != SEED]
    tested = index.rows("test")
    ids = index.ids[tested]
    here = [meanings[row] for row in index.row[tested]]
    sure = (not now.retired and not now.among for now in here)
    test = {item: now.label for item, now, judges in zip(ids, here, sure, strict=True) if judges}
    return HumanLabels(
        control={item: label for item, label in asked.items() if "control" in arms[item]},
        answered=asked,
        test=test,
        votes=votes_by_person(votes),
    )


def judged(
    machines: list[Machine],
    people: People,
    meanings: list[Meaning],
    features: Features,
    curve: list[Row],
    params: Params,
    *,
    whole: bool = True,
) -> Judgement:
    """Every machine's figures and curve.

    curve: rows of plots/learning_curve.json; whole: the features hold every row of the pool.
    """
    humans = human_labels(people, meanings, features, params)
    refits = own_refits(features, params)
    rows, truth = _judging_rows(humans, features, params)
    points = peoples_points(curve, params.machines.answer_cost)
    drawn: list[MachinePoint] = list(points)
    figures: Row = {}
    index = features.index
    pool = index.ids[index.rows("pool")]
    judges = {index.ids[row] for row in rows.tolist()}
    for machine in machines:
        ours = replace(machine, answers=_present(machine, features))
        taught = taught_ids(ours, pool, judges, params.seed)
        own = machine_curve(ours, taught, rows, truth, refits, params)
        figures[machine.name] = {
            **machine_figures(ours, humans, params.labels),
            "share": class_shares(ours, humans.control, index, params.labels) if whole else None,
            "alone": people_pass(own, points),
        }
        drawn += own
    document = {
        "judged_on": "test set" if humans.test else "control arm",
        "round": people.gate.state["rounds"],
        "machines": figures,
    }
    return Judgement(document, drawn)


def own_refits(features: Features, params: Params) -> Refits:
    """Models that see a row's own features alone, whatever the project's classifier sees."""
    matrix = features.matrix
    if params.machines.are_features:
        matrix = matrix[:, : matrix.shape[1] - MACHINE_COLUMNS]
        machines = params.machines.model_copy(update={"features": NO_TABLE})
        params = params.model_copy(update={"machines": machines})
    return Refits(features.index, matrix, params)


def _present(machine: Machine, features: Features) -> dict[str, MachineAnswer]:
    """The answers about rows that are still in pool, seed or test."""
    row_of = features.index.row_of
    return {item: answer for item, answer in machine.answers.items() if item in row_of}


def _judging_rows(humans: HumanLabels, features: Features, params: Params) -> tuple[Ints, Ints]:
    """Rows of the index that judge the curves, and their classes: test rows, else control rows."""
    truth = humans.test
    if not truth and len(humans.control) >= FEWEST_JUDGED:
        truth = humans.control
    class_of = {label: number for number, label in enumerate(params.labels)}
    rows = features.index.locate(list(truth), "the test table")
    classes = np.array([class_of[label] for label in truth.values()], dtype=np.intp)
    return rows, classes


def sentence(outcome: Judgement) -> str:
    """The outcome in a line."""
    parts = []
    for name, facts in outcome.figures["machines"].items():
        control = facts["control"]
        if control["accuracy"] is None:
            parts.append(f"{name}: not judged, no control row has its label and a person's")
            continue
        interval = f"[{control['low']:.3f}, {control['high']:.3f}]"
        judged_rows = f"{control['covered']} control rows"
        parts.append(f"{name}: {control['accuracy']:.3f} right {interval} on {judged_rows}")
    return f"judge_machines: {'; '.join(parts) or 'no machine has answered'}"
