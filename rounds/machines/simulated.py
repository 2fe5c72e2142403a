"""Simulated machine annotators, for demonstrations and rehearsals: one good, one poor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rounds.machines.freeze import append, commit_answers, folder_of
from rounds.project import Project
from rounds.surfaces.oracle import reply
from stages.contract.canonical import sha256
from stages.examples.tables import as_text, read_table
from stages.machines.frozen import MachineAnswer

MODEL = "simulated"
COST = 0.001  # of an answer
SEED_DIGITS = 8  # hex digits of the hash of a machine's name, which its mistakes are drawn by


@dataclass(frozen=True)
class Simulated:
    """A machine that is right so often, and says of every label that it is so sure."""

    name: str
    right: float
    sure: float


DEMO = (Simulated("good", 0.93, 0.95), Simulated("poor", 0.4, 0.9))


def answers_of(
    machine: Simulated, truth: Mapping[str, str], labels: Sequence[str]
) -> list[MachineAnswer]:
    """Its answers to rows whose labels are known, id -> label, sorted by id.

    Each depends on the machine's name and the id alone.
    """
    seed = int(sha256(machine.name)[:SEED_DIGITS], 16)
    return [
        MachineAnswer(
            id=item,
            label=reply(item, truth[item], labels, noise=1 - machine.right, skip=0.0, seed=seed),
            confidence=machine.sure,
            probabilities=None,
            raw="",
            prompt="",
            model=MODEL,
            version="",
            cost=COST,
        )
        for item in sorted(truth)
    ]


def truth_of_demo(project: Project) -> dict[str, str]:
    """The label of every row of the demo, by id."""
    truth: dict[str, str] = {}
    for name in ("oracle", "test"):
        table = read_table(project.root / "data" / "demo" / f"{name}.csv")
        cells = zip(table.columns["id"], table.columns["label"], strict=True)
        truth |= {as_text(item): as_text(label) for item, label in cells}
    return truth


def add_to_demo(project: Project) -> None:
    """Freeze the answers of both machines, each in a commit of its own."""
    truth = truth_of_demo(project)
    labels = project.params().labels
    for machine in DEMO:
        append(folder_of(project, machine.name), answers_of(machine, truth, labels))
        commit_answers(project, machine.name)
