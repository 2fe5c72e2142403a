"""The alternative annotator test, which says whether a machine may stand in for a person.

Each person is compared with the machine by how well they agree with the other people on the rows
that the person labelled. The machine has an edge of EPSILON, because it costs less. It passes where
it holds its own against at least half of the people.

Source: Calderon, Reichart, Dror, "The alternative annotator test for LLM-as-a-judge: how to
statistically justify replacing human annotators with LLMs" (2025); Benjamini, Yekutieli, "The
control of the false discovery rate in multiple testing under dependency" (2001).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stages.contract.arrays import Floats

EPSILON = 0.1  # the source has 0.2 for experts, 0.15 for skilled people, 0.1 for crowds: strictest
RATE = 0.05  # of false discoveries among the people that the machine seems to hold its own against
PEOPLE = 3  # fewer cannot tell who of them is the odd one
ROWS = 30  # that a person shares with others, for a t-test
WINS = 0.5


@dataclass(frozen=True)
class AltTest:
    """The outcome.

    passes: None where it was not judged, for the reason `why`; winning_rate: share of the people
    against whom the machine holds its own; advantage: how often it agrees with the others at least
    as well as the person does, on average; people: how many were compared.
    """

    passes: bool | None
    winning_rate: float | None
    advantage: float | None
    people: int
    why: str


def alt_test(machine: Mapping[str, str], people: Mapping[str, Mapping[str, str]]) -> AltTest:
    """The test of a machine's labels, id -> label, beside people's, person -> id -> label."""
    by_id: dict[str, dict[str, str]] = defaultdict(dict)
    for person, labels in people.items():
        for item, label in labels.items():
            if item in machine:
                by_id[item][person] = label
    shared = {item: labels for item, labels in by_id.items() if len(labels) > 1}
    compared = {person: _compared(person, shared, machine) for person in sorted(people)}
    enough = {person: pairs for person, pairs in compared.items() if len(pairs) >= ROWS}
    if len(enough) < PEOPLE:
        why = f"{PEOPLE} people with {ROWS} rows each that others labelled too are needed, "
        return AltTest(None, None, None, len(enough), f"{why}{len(enough)} are there")
    from scipy.stats import false_discovery_control

    chances = [_chance(pairs[:, 1] - pairs[:, 0]) for pairs in enough.values()]
    won = np.asarray(false_discovery_control(chances, method="by")) <= RATE
    advantage = float(np.mean([pairs[:, 0].mean() for pairs in enough.values()]))
    rate = float(won.mean())
    return AltTest(rate >= WINS, rate, advantage, len(enough), "")


def _compared(
    person: str, shared: Mapping[str, Mapping[str, str]], machine: Mapping[str, str]
) -> Floats:
    """Who agrees with the others at least as well as the other of the two: machine, person.

    (rows, 2), a row for each that the person shares with others, 1 for yes.
    """
    pairs = []
    for item, labels in shared.items():
        if person not in labels:
            continue
        others = [label for other, label in labels.items() if other != person]
        by_machine = sum(label == machine[item] for label in others)
        by_person = sum(label == labels[person] for label in others)
        pairs.append((float(by_machine >= by_person), float(by_person >= by_machine)))
    return np.array(pairs).reshape(-1, 2)


def _chance(differences: Floats) -> float:
    """The p-value of a person who is better than the machine by EPSILON or more (t-test).

    differences: (n,) person's minus machine's win, in -1, 0 or 1.
    """
    from scipy.stats import t

    spread = differences.std(ddof=1)
    distance = differences.mean() - EPSILON
    if spread == 0:
        return float(distance >= 0)
    statistic = distance / (spread / np.sqrt(len(differences)))
    return float(t.cdf(statistic, len(differences) - 1))
