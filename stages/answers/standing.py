"""What the answers about one example say, at any round: a pure function of votes and of the doubts frozen with batches.

Nothing here looks at a model, so what was known at an old round can be told again and never moves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from stages.answers.ledger import Asked, Event, KnownLabel, Labelled, Verdict
from stages.contract.params import Gate

SEED = ""  # who gave a seed label: no person, and no person's name is empty


@dataclass(frozen=True)
class Vote:
    """One current answer: in which round, by whom, of which kind.

    label: empty unless kind is label or override; late: it answers the question of an earlier
    round, so what this round asked is still to be answered.
    """

    round: int
    annotator: str
    kind: str
    label: str
    late: bool = False


@dataclass
class Case:
    """All about one id: its votes, oldest first, the rows that asked it, the doubts frozen then."""

    id: str
    votes: list[Vote] = field(default_factory=list)
    asked: dict[int, Asked] = field(default_factory=dict)
    doubted: dict[int, Verdict] = field(default_factory=dict)


@dataclass(frozen=True)
class Standing:
    """The label that the votes settle on, or None with the reason why there is none."""

    label: str | None
    why: Literal["votes", "override", "disagreement", "skip", "reject", "empty", "retract"]
    votes: tuple[Vote, ...]


def collect(
    seed: Iterable[Labelled],
    asked: Iterable[Asked],
    events: Iterable[Event],
    verdicts: Iterable[Verdict],
) -> list[Case]:
    """One case per id that has a seed label, was asked or was answered, sorted by id."""
    cases: dict[str, Case] = {}

    def case_of(item: str) -> Case:
        return cases.setdefault(item, Case(item))

    for seed_label in seed:
        case_of(seed_label["id"]).votes.append(Vote(0, SEED, "label", seed_label["label"]))
    for ask in asked:
        case_of(ask["id"]).asked[ask["round"]] = ask
    for event in sorted(events, key=_moment):
        vote = Vote(
            event["round"],
            event["annotator"],
            event["kind"],
            event["label"] or "",
            event.get("late", False),
        )
        case_of(event["id"]).votes.append(vote)
    for verdict in verdicts:
        case_of(verdict["id"]).doubted[verdict["round"]] = verdict
    return [cases[item] for item in sorted(cases)]


def _moment(event: Event) -> tuple[int, int, float, str, int]:
    """When an event was: by round, then before or after the correction of its id, then by time.

    An answer without a time is the earliest, as in `keep_last`; ties go by file and line.
    """
    at = event.get("at")
    time = -math.inf if at is None else float(at)
    return event["round"], event.get("order", 0), time, event.get("file", ""), event.get("line", 0)


def standing(case: Case, at: int, policy: Gate) -> Standing:
    """What the votes of rounds up to `at` settle on.

    A retraction voids all votes before it, those of its own round too; what is answered after it
    counts, in its own round as well. The last override beats every vote, an adjudicator every other
    person. As many rejections as labels make the item a bad one. Else the label with the most votes
    (`majority`), or with two thirds of them (`consensus`) holds. A tie is a disagreement, to be
    asked again; under `majority` a person who was asked again and gives what the model had
    suggested breaks it.
    """
    votes = [vote for vote in case.votes if vote.round <= at]
    if len(votes) == 1 and votes[0].kind == "label":  # as most are, in a million of them
        return Standing(votes[0].label, "votes", (votes[0],))
    voided = votes and votes[-1].kind == "retract"
    votes = in_force(case, at)
    labels = tuple(vote for vote in votes if vote.kind in ("label", "override"))
    overrides = [vote for vote in labels if vote.kind == "override"]
    if overrides:
        return Standing(overrides[-1].label, "override", labels)
    rejects = sum(vote.kind == "reject" for vote in votes)
    if rejects and rejects >= len(labels):
        return Standing(None, "reject", ())
    if voided:
        return Standing(None, "retract", ())
    if not labels:
        last = votes[-1].kind if votes else "skip"
        return Standing(None, "empty" if last == "empty" else "skip", ())
    named = [vote for vote in labels if policy.adjudicator and vote.annotator == policy.adjudicator]
    if named:
        return Standing(named[-1].label, "votes", labels)
    (first, most), *rest = Counter(vote.label for vote in labels).most_common()
    if policy.resolve == "consensus":
        agreed = 3 * most >= 2 * len(labels)
        return (
            Standing(first, "votes", labels) if agreed else Standing(None, "disagreement", labels)
        )
    tied = {first} | {label for label, count in rest if count == most}
    if len(tied) == 1:
        return Standing(first, "votes", labels)
    chosen = _suggested_and_given(case, at, labels, tied)
    return Standing(chosen, "disagreement" if chosen is None else "votes", labels)


def _suggested_and_given(
    case: Case, at: int, votes: tuple[Vote, ...], tied: set[str]
) -> str | None:
    """Of the tied labels the one that the model suggested and somebody, asked again, gave."""
    for when in sorted(case.doubted, reverse=True):
        doubt = case.doubted[when]
        # of a disagreement between people the model had suggested nothing
        if when > at or "disagreement" in doubt["reasons"]:
            continue
        again = {vote.label for vote in votes if vote.round >= when and not vote.late}
        if doubt["suggested"] in tied & again:
            return str(doubt["suggested"])
    return None


def in_force(case: Case, upto: int) -> list[Vote]:
    """The votes of rounds up to `upto` that no retraction took away, oldest first."""
    votes = [vote for vote in case.votes if vote.round <= upto]
    ends = [number for number, vote in enumerate(votes, start=1) if vote.kind == "retract"]
    return votes[max(ends, default=0) :]


def history(case: Case, upto: int, policy: Gate) -> list[tuple[int, Standing]]:
    """The standing after each round up to `upto` that may have changed it, oldest first."""
    moments = {vote.round for vote in case.votes} | set(case.doubted)
    return [(at, standing(case, at, policy)) for at in sorted(moments) if at <= upto]


def reviewed(case: Case, upto: int) -> list[tuple[Verdict, bool | None]]:
    """Every doubt that was put to people by round `upto`: True confirmed, False contradicted, None not answered."""
    outcome: list[tuple[Verdict, bool | None]] = []
    for when, doubt in sorted(case.doubted.items()):
        if when <= upto and when in case.asked:
            answers = _answers(case, when)
            same = answers.count(doubt["label"])
            outcome.append(
                (doubt, 2 * same > len(answers) if answers and 2 * same != len(answers) else None)
            )
    return outcome


def _answers(case: Case, when: int) -> list[str]:
    """What people said when a round asked them, without late answers to an earlier one."""
    votes = (vote for vote in case.votes if vote.round == when and not vote.late)
    return [vote.label for vote in votes if vote.kind in ("label", "override")]


def exempt(case: Case, label: str, upto: int) -> set[str]:
    """The reasons for which people, asked again, gave this label: it is never doubted for them again."""
    told = {when: _answers(case, when) for when in case.doubted if when <= upto}
    given = [when for when, answers in told.items() if 2 * answers.count(label) > len(answers)]
    return {reason for when in given for reason in case.doubted[when]["reasons"]}


def known(cases: Iterable[Case], upto: int, current: set[str], policy: Gate) -> list[KnownLabel]:
    """When each label was the accepted one: rows (id, from_round, to_round or None, label), half-open, sorted.

    A label that was doubted when the batch of round r + 1 was issued was not accepted at round r.
    `current` are the ids not accepted now, at round `upto`.
    """
    rows: list[KnownLabel] = []
    for case in cases:
        said = dict(history(case, upto, policy))
        marks = set(said) | set(case.doubted) | {when - 1 for when in case.doubted} | {upto}
        spans: list[KnownLabel] = []
        label: str | None = None
        for at in sorted(mark for mark in marks if 0 <= mark <= upto):
            label = said[at].label if at in said else label
            held = at + 1 in case.doubted if at < upto else case.id in current
            now = None if held else label
            if spans and spans[-1]["to_round"] is None and spans[-1]["label"] != now:
                spans[-1]["to_round"] = at
            if now is not None and (not spans or spans[-1]["to_round"] is not None):
                spans.append({"id": case.id, "from_round": at, "to_round": None, "label": now})
        rows += spans
    return rows
