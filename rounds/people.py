"""How people compare: agreement of each two and about each class, pace, gold rows."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

from rounds.project import Project
from stages.answers.ledger import NO_ANSWERS, Asked, Event, read_rows
from stages.answers.pace import is_work
from stages.answers.standing import Case, as_of_now, collect
from stages.contract.canonical import Row
from stages.learning.scoring import cohen_kappa

GOLD_HEAD = ("person", "gold rows answered", "right", "share, sure at any look", "without a label")
Cells = list[list[object]]


@dataclass(frozen=True)
class Pair:
    """What two people said of one item that both labelled in one round."""

    names: tuple[str, str]
    labels: tuple[str, str]


def pairs_of(cases: Iterable[Case]) -> Iterator[Pair]:
    """Every two people's labels of one item in one round, people by name."""
    for case in cases:
        for number in case.asked:
            labels = {
                vote.annotator: vote.label
                for vote in case.votes
                if vote.round == number and vote.is_label and not vote.late
            }
            for left, right in combinations(sorted(labels), 2):
                yield Pair((left, right), (labels[left], labels[right]))


def people_rows(pairs: Iterable[Pair]) -> Cells:
    """Each two people: items that both labelled, the share labelled alike, Cohen's kappa."""
    by_names: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for pair in pairs:
        by_names[pair.names].append(pair.labels)
    return [
        [
            " and ".join(names),
            len(labels),
            share(sum(left == right for left, right in labels), len(labels)),
            rounded(cohen_kappa(*zip(*labels, strict=True))),
        ]
        for names, labels in sorted(by_names.items())
    ]


def class_rows(pairs: Iterable[Pair]) -> Cells:
    """Each class: pairs of labels of which one or both are it, the share both; lowest first."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for pair in pairs:
        for label in set(pair.labels):
            counts[label][0] += 1
            counts[label][1] += pair.labels[0] == pair.labels[1]
    ordered = sorted(counts.items(), key=lambda entry: (entry[1][1] / entry[1][0], entry[0]))
    return [[label, number, share(alike, number)] for label, (number, alike) in ordered]


def share(part: int, whole: int) -> str:
    """A share in percent."""
    return f"{100 * part / whole:.0f} %"


def rounded(value: float | None) -> str:
    """A figure with two digits, empty where there is none."""
    return "" if value is None else f"{value:.2f}"


def answers_so_far(project: Project) -> tuple[list[Case], list[Event]]:
    """What the last run of import_labels read: cases without withdrawn answers, and all events."""
    folder = project.root / "build" / "labels"
    if not (folder / "events.jsonl").is_file():
        return [], []
    events = read_rows(folder / "events.jsonl", Event)
    cases = collect([], read_rows(folder / "asked.jsonl", Asked), events, [])
    return as_of_now(cases), events


def pace_rows(events: Iterable[Event]) -> Cells:
    """Each person: answers with a time, the median seconds from one to the next, hours in all.

    Pauses are left out of both, and count as no time.
    """
    times: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        if event["at"] is not None and event["kind"] not in NO_ANSWERS:
            times[event["annotator"]][event["round"]].append(event["at"])
    rows: Cells = []
    for name, rounds_ in sorted(times.items()):
        gaps = [
            after - before
            for moments in rounds_.values()
            for before, after in pairwise(sorted(moments))
            if is_work(after - before)
        ]
        answers = sum(len(moments) for moments in rounds_.values())
        median = f"{statistics.median(gaps):.0f}" if gaps else ""
        rows.append([name, answers, median, f"{sum(gaps) / 3600:.1f}" if gaps else ""])
    return rows


def gold_rows(gate: Row) -> Cells:
    """How many rows with a known answer each annotator answered rightly; without any, nothing."""
    return [
        [
            name,
            score["answers"],
            score["right"],
            f"{100 * score['low']:.0f} to {100 * score['high']:.0f} %",
            score["no_label"],
        ]
        for name, score in gate.get("gold", {}).items()
    ]
