"""The history of labels: what each arm had after each round."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from stages.answers.arms import IMPORTED, active_ids, asked_new, control_ids
from stages.answers.ledger import (
    Asked,
    Doubt,
    Event,
    JudgedLabel,
    KnownLabel,
    Redundancy,
    Verdict,
    labels_known_at,
    read_rows,
)
from stages.store.index import Index

ARMS = ("active", "random")
LAST_ROUNDS = 5  # that the stopping panel looks at: they are always points of the curve
LabelSet = dict[str, int]  # the class of each id, in the order in which an arm got them


@dataclass(frozen=True)
class History:
    """The history of a project's labels, up to its last accepted round.

    asked: every ask; known: when which label was the accepted one; events: the answers; doubts: how
    many labels were doubted after each round, round 0 first; seed_ids: ids with a seed label;
    redundancy: per round, how many of its new rows nearly repeat another (gate). judged: the labels
    of rows that judge and do not teach.
    """

    asked: list[Asked]
    known: list[KnownLabel]
    events: list[Event]
    doubts: list[int]
    seed_ids: frozenset[str]
    rounds: int
    redundancy: list[Redundancy] = field(default_factory=list)
    judged: list[JudgedLabel] = field(default_factory=list)

    @cached_property
    def given(self) -> frozenset[str]:
        """The ids whose labels both arms begin with: of the seed, and of imported rounds.

        No arm chose them.
        """
        imported = {row["id"] for row in self.asked if row["arms"] == [IMPORTED]}
        return self.seed_ids | imported

    def control(self, upto: int, seed: int) -> list[str]:
        """The ids that the control arm's walk had passed after round `upto`, in its order.

        It does not matter who asked them.
        """
        return control_ids(self._asked(upto), seed)

    def arm(self, name: str, upto: int, classes: list[str], seed: int) -> LabelSet:
        """The labels of an arm after round `upto`: those given, then its own as they were asked.

        active: every id that the strategy picked. random: `control`, in the order of the
        permutation: any number of the first of them are a uniform draw. all: both. An id that both
        arms wanted, in one round or in two, counts for both (stages/answers/arms.py).
        """
        if name == "random":
            members = self.control(upto, seed)
        elif name == "active":
            members = active_ids(self._asked(upto))
        else:
            members = [row["id"] for row in self._asked(upto)]
        class_of = {label: index for index, label in enumerate(classes)}
        known = labels_known_at(self.known, upto)
        ids = [*sorted(self.given), *members]
        return {item: class_of[known[item]] for item in ids if item in known}

    def _asked(self, upto: int) -> list[Asked]:
        """The asks of rows without a seed label up to a round, in asking order."""
        return asked_new((row for row in self.asked if row["round"] <= upto), self.seed_ids)


def first_labels(labelled: LabelSet, count: int) -> LabelSet:
    """The first so many of the labels, in the order in which the arm got them."""
    return dict(islice(labelled.items(), count))


def points(rounds: int, most: int) -> list[int]:
    """The rounds that are points of the curve: all of 0 … rounds, or `most` of them.

    Then the last ones stay, and those before them are evenly spaced.
    """
    if rounds + 1 <= most:
        return list(range(rounds + 1))
    last = min(LAST_ROUNDS, most - 1)
    spread = np.linspace(0, rounds - last, most - last).round().astype(int)
    return sorted({*spread.tolist(), *range(rounds - last + 1, rounds + 1)})


def read_history(gate: Path, labels: Path, index: Index, rounds: int) -> History:
    """The history of the rounds that the gate has accepted."""
    asked = read_rows(labels / "asked.jsonl", Asked)
    events = read_rows(labels / "events.jsonl", Event)
    verdicts = read_rows(labels / "verdicts.jsonl", Verdict)
    doubts = [sum(row["round"] == number for row in verdicts) for number in range(1, rounds + 1)]
    doubts.append(len(read_rows(gate / "review.jsonl", Doubt)))
    return History(
        asked=[row for row in asked if row["round"] <= rounds],
        known=read_rows(gate / "known.jsonl", KnownLabel),
        events=[row for row in events if row["round"] <= rounds],
        doubts=doubts,
        seed_ids=frozenset(index.ids[index.rows("seed")]),
        rounds=rounds,
        redundancy=read_rows(gate / "redundancy.jsonl", Redundancy),
        judged=read_rows(gate / "judged.jsonl", JudgedLabel),
    )
