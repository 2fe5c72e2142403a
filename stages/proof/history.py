"""The history of labels: what each arm had after each round."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.answers.arms import active_ids, asked_new, control_ids
from stages.answers.ledger import (
    Asked,
    Doubt,
    Event,
    KnownLabel,
    Redundancy,
    Verdict,
    labels_known_at,
    read_rows,
)
from stages.store.index import Index

ARMS = ("active", "random")
LAST_ROUNDS = 5  # that the stopping panel looks at: they are always points of the curve
Labelled = dict[str, int]


@dataclass(frozen=True)
class History:
    """What was asked, when labels were known, what was answered, the doubts after each round, seed ids, rounds.

    redundancy: per round, how many of its new rows nearly repeat another (gate).
    """

    asked: list[Asked]
    known: list[KnownLabel]
    events: list[Event]
    doubts: list[int]
    seed_ids: frozenset[str]
    rounds: int
    redundancy: list[Redundancy] = field(default_factory=list)

    def control(self, upto: int, seed: int) -> list[str]:
        """The ids that the control arm's walk had passed after round `upto`, whoever asked them; in its order."""
        return control_ids(self._asked(upto), seed)

    def arm(self, name: str, upto: int, classes: list[str], seed: int) -> Labelled:
        """The labels an arm had after round `upto`: the seed's, then its own in the order in which they were asked.

        active: every id that the strategy picked. random: `control`, in the order of the
        permutation: any number of the first of them are a uniform draw. An id both arms wanted, in
        one round or in two, counts for both (stages/answers/arms.py). all: both.
        """
        place = {label: number for number, label in enumerate(classes)}
        known = labels_known_at(self.known, upto)
        if name == "random":
            members = self.control(upto, seed)
        else:
            rows = self._asked(upto)
            members = active_ids(rows) if name == "active" else [row["id"] for row in rows]
        return {
            item: place[known[item]] for item in [*sorted(self.seed_ids), *members] if item in known
        }

    def _asked(self, upto: int) -> list[Asked]:
        """The asks of rows without a seed label up to a round, in asking order."""
        return asked_new((row for row in self.asked if row["round"] <= upto), self.seed_ids)


def points(rounds: int, most: int) -> list[int]:
    """The rounds of the curve's points: all of 0 … rounds, or `most`: the last ones, and evenly spaced ones before."""
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
    )
