"""What the answers about one example say after any round.

Everything here is a function of the votes, and of the doubts that were frozen with batches. No
model is looked at, so what was known after an old round can be computed again and never moves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from stages.answers.ledger import (
    BEFORE,
    CORRECTION,
    Asked,
    Event,
    EventKind,
    KnownLabel,
    Labelled,
    Verdict,
)
from stages.answers.scheme import Retired
from stages.contract.params import Gate

SEED = ""  # who gave a seed label: no person, and no person's name is empty
Why = Literal["votes", "override", "disagreement", "skip", "reject", "empty", "retract", "retired"]


@dataclass(frozen=True)
class Vote:
    """One current answer: in which round, by whom, of which kind.

    label: empty unless kind is label or override; late: it answers the question of an earlier
    round, so what this round asked is still to be answered. corrects: it is a correction, and no
    answer. since: of a withdrawal, the first round whose answers it takes away. among, retired:
    what became of the label's class, see `Event`.
    """

    round: int
    annotator: str
    kind: EventKind
    label: str
    late: bool = False
    corrects: bool = False
    since: int = 0
    among: tuple[str, ...] = ()
    retired: Retired = ""

    @property
    def names_a_label(self) -> bool:
        """Whether a label was given, of today's classes or of a retired one."""
        return self.kind in ("label", "override")

    @property
    def is_label(self) -> bool:
        """Whether it gives a label of today's classes."""
        return self.names_a_label and not self.retired

    def may_be(self, label: str) -> bool:
        """Whether it is a label, or may stand for it since its class was split."""
        return label == self.label or label in self.among


@dataclass
class Case:
    """All about one id: its votes, oldest first; by round, the row that asked it and its doubt."""

    id: str
    votes: list[Vote] = field(default_factory=list)
    asked: dict[int, Asked] = field(default_factory=dict)
    doubted: dict[int, Verdict] = field(default_factory=dict)


@dataclass(frozen=True)
class Standing:
    """The label that the votes settle on, or None with the reason why there is none."""

    label: str | None
    why: Why
    votes: tuple[Vote, ...]

    @property
    def among(self) -> tuple[str, ...]:
        """Where nobody has said since a split which of its parts the label is: those parts."""
        theirs = (vote.among for vote in self.votes if vote.label == self.label)
        return next((among for among in theirs if among), ())


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

    for label in seed:
        vote = Vote(0, SEED, "label", label["label"], among=tuple(label.get("among", ())))
        case_of(label["id"]).votes.append(vote)
    for row in asked:
        case_of(row["id"]).asked[row["round"]] = row
    for event in sorted(events, key=_moment):
        case_of(event["id"]).votes.append(_vote(event))
    for verdict in verdicts:
        case_of(verdict["id"]).doubted[verdict["round"]] = verdict
    return [cases[item] for item in sorted(cases)]


def _vote(event: Event) -> Vote:
    return Vote(
        round=event["round"],
        annotator=event["annotator"],
        kind=event["kind"],
        label=event["label"] or "",
        late=event.get("late", False),
        corrects=event.get("order", BEFORE) == CORRECTION,
        since=event.get("since", 0),
        among=tuple(event.get("among", ())),
        retired=event.get("retired", ""),
    )


def _moment(event: Event) -> tuple[int, int, float, str, int]:
    """When an event was: by round, then before or after the correction of its id, then by time.

    An answer without a time is the earliest, as in `keep_last`; ties go by file and line.
    """
    at = event.get("at")
    time = -math.inf if at is None else float(at)
    return event["round"], event.get("order", 0), time, event.get("file", ""), event.get("line", 0)


@dataclass(frozen=True)
class _Question:
    """What the rules look at: a case after the round `at`.

    votes: those that no retraction took away; labels: those of them that give a label; retracted:
    whether a retraction, or a withdrawal that left no answer, is the last that was said.
    """

    case: Case
    at: int
    votes: list[Vote]
    labels: tuple[Vote, ...]
    retracted: bool


def standing(case: Case, at: int, policy: Gate) -> Standing:
    """What the votes of rounds up to `at` settle on: the first of RULES that decides.

    A retraction voids all votes before it, those of its own round too. What is answered after it
    counts, in its own round as well.
    """
    votes = [vote for vote in case.votes if vote.round <= at]
    # Most of a million ids have one vote: it needs no rules.
    if len(votes) == 1 and votes[0].kind == "label" and not votes[0].retired:
        return Standing(votes[0].label, "votes", (votes[0],))
    ends_withdrawn = bool(votes) and votes[-1].kind in ("retract", "withdraw")
    votes = in_force(case, at)
    retracted = ends_withdrawn and not votes
    labels = narrowed(tuple(vote for vote in votes if vote.names_a_label))
    question = _Question(case, at, votes, labels, retracted)
    decisions = (rule(question, policy) for rule in RULES)
    return _without_retired(next(decision for decision in decisions if decision is not None))


def narrowed(labels: tuple[Vote, ...]) -> tuple[Vote, ...]:
    """The votes after a split: one that may be several classes is for that which others name.

    It joins the class of its own that most of the others name, steps back where two are named
    equally often, and stays what it is while nobody has named any.
    """
    if not any(vote.among for vote in labels):
        return labels
    named = Counter(vote.label for vote in labels if not vote.among and not vote.retired)
    result: list[Vote] = []
    for vote in labels:
        most = max((named[label] for label in vote.among), default=0)
        winners = [label for label in vote.among if named[label] == most]
        if not most:
            result.append(vote)
        elif len(winners) == 1:
            result.append(replace(vote, label=winners[0], among=()))
    return tuple(result)


def _without_retired(stands: Standing) -> Standing:
    """No label where the votes settle on a retired class, or cannot choose between it and another.

    Votes for a retired class that lost count no more.
    """
    lost = [vote for vote in stands.votes if vote.retired]
    if not lost:
        return stands
    if stands.why == "disagreement" or stands.label in {vote.label for vote in lost}:
        again = any(vote.retired == "again" for vote in lost)
        return Standing(None, "retract" if again else "retired", ())
    return replace(stands, votes=tuple(vote for vote in stands.votes if not vote.retired))


def _override(question: _Question, _policy: Gate) -> Standing | None:
    """The last override beats every vote."""
    overrides = [vote.label for vote in question.labels if vote.kind == "override"]
    return Standing(overrides[-1], "override", question.labels) if overrides else None


def _rejection(question: _Question, _policy: Gate) -> Standing | None:
    """As many rejections as labels make the example a bad one."""
    rejects = sum(vote.kind == "reject" for vote in question.votes)
    if rejects and rejects >= len(question.labels):
        return Standing(None, "reject", ())
    return None


def _nothing(question: _Question, _policy: Gate) -> Standing | None:
    """Without any label: it was retracted, or the last answer was empty, or a skip."""
    if question.retracted:
        return Standing(None, "retract", ())
    if question.labels:
        return None
    last = question.votes[-1].kind if question.votes else "skip"
    return Standing(None, "empty" if last == "empty" else "skip", ())


def _adjudicator(question: _Question, policy: Gate) -> Standing | None:
    """The last word of gate.adjudicator beats every other person."""
    if not policy.adjudicator:
        return None
    theirs = [vote.label for vote in question.labels if vote.annotator == policy.adjudicator]
    return Standing(theirs[-1], "votes", question.labels) if theirs else None


def _consensus(question: _Question, policy: Gate) -> Standing | None:
    """Under `consensus` the label of two thirds of the votes holds, else people disagree."""
    if policy.resolve != "consensus":
        return None
    [(label, count)] = Counter(vote.label for vote in question.labels).most_common(1)
    if 3 * count >= 2 * len(question.labels):
        return Standing(label, "votes", question.labels)
    return Standing(None, "disagreement", question.labels)


def _majority(question: _Question, _policy: Gate) -> Standing:
    """The label with the most votes holds.

    A tie is a disagreement, to be asked again, unless a person who was asked again gave what the
    model had suggested.
    """
    counts = Counter(vote.label for vote in question.labels)
    most = max(counts.values())
    tied = {label for label, count in counts.items() if count == most}
    label = tied.pop() if len(tied) == 1 else _suggested_and_given(question, tied)
    return Standing(label, "disagreement" if label is None else "votes", question.labels)


# In this order; the last one always decides.
RULES: tuple[Callable[[_Question, Gate], Standing | None], ...] = (
    _override,
    _rejection,
    _nothing,
    _adjudicator,
    _consensus,
    _majority,
)


def _suggested_and_given(question: _Question, tied: set[str]) -> str | None:
    """Of the tied labels the one that the model suggested and somebody, asked again, gave."""
    for when, doubt in sorted(question.case.doubted.items(), reverse=True):
        # Of a disagreement between people the model had suggested nothing.
        if when > question.at or "disagreement" in doubt["reasons"]:
            continue
        later = [vote for vote in question.labels if vote.round >= when and not vote.late]
        if doubt["suggested"] in tied & {vote.label for vote in later}:
            return doubt["suggested"]
    return None


def in_force(case: Case, upto: int) -> list[Vote]:
    """The votes of rounds up to `upto` that were not retracted or withdrawn, oldest first."""
    votes = [vote for vote in case.votes if vote.round <= upto]
    ends = [number for number, vote in enumerate(votes, start=1) if vote.kind == "retract"]
    return without_withdrawn(votes[max(ends, default=0) :])


def without_withdrawn(votes: list[Vote]) -> list[Vote]:
    """The votes without those that a later one withdraws, and without the withdrawals.

    votes: of one example, oldest first. Corrections are a decision on the label, and stay.
    """
    kept: list[Vote] = []
    for vote in votes:
        if vote.kind == "withdraw":
            kept = [earlier for earlier in kept if not _withdraws(vote, earlier)]
        else:
            kept.append(vote)
    return kept


def _withdraws(withdrawal: Vote, vote: Vote) -> bool:
    is_theirs = vote.annotator == withdrawal.annotator and not vote.corrects
    return is_theirs and vote.round >= withdrawal.since


def as_of_now(cases: list[Case]) -> list[Case]:
    """The cases without the answers that were withdrawn since, for what is said of people today."""
    return [
        replace(case, votes=without_withdrawn(case.votes))
        if any(vote.kind == "withdraw" for vote in case.votes)
        else case
        for case in cases
    ]


def labels_in_force(case: Case, upto: int) -> list[Vote]:
    """The labels of today's classes among the votes in force, oldest first.

    Where people named a class after a split, what was said before it is left out.
    """
    labels = [vote for vote in in_force(case, upto) if vote.is_label]
    return [vote for vote in labels if not vote.among] or labels


def history(case: Case, upto: int, policy: Gate) -> list[tuple[int, Standing]]:
    """The standing after each round up to `upto` that may have changed it, oldest first."""
    moments = {vote.round for vote in case.votes} | set(case.doubted)
    return [(at, standing(case, at, policy)) for at in sorted(moments) if at <= upto]


def reviewed(case: Case, upto: int) -> list[tuple[Verdict, bool | None]]:
    """Every label that was doubted and put to people by round `upto`, and what most said of it.

    True: confirmed; False: contradicted; None: nobody answered, or as many said one as the other.
    A disagreement of people is left out: of the labels that they gave none is the doubted one.
    """
    return [
        (doubt, _confirmed(_answers(case, when), doubt["label"], *doubt.get("among", ())))
        for when, doubt in sorted(case.doubted.items())
        if when <= upto and when in case.asked and "disagreement" not in doubt["reasons"]
    ]


def _confirmed(answers: list[str], *labels: str) -> bool | None:
    """Whether most answers are one of the labels; None for a tie."""
    same = sum(answer in labels for answer in answers)
    other = len(answers) - same
    return None if same == other else same > other


def _answers(case: Case, when: int) -> list[str]:
    """The labels that people gave when a round asked them, without late answers."""
    return [
        vote.label for vote in case.votes if vote.round == when and vote.is_label and not vote.late
    ]


def exempt(case: Case, label: str, upto: int) -> set[str]:
    """The reasons for which people, asked again, gave this label: they raise no doubt again."""
    return {
        reason
        for when, doubt in case.doubted.items()
        if when <= upto and _confirmed(_answers(case, when), label)
        for reason in doubt["reasons"]
    }


def known_labels(
    cases: Iterable[Case], upto: int, doubted: set[str], policy: Gate
) -> list[KnownLabel]:
    """When each label was the accepted one, in the order of the cases and of time.

    A label that was doubted when the batch of round r + 1 was issued was not accepted at round r.
    doubted: the ids not accepted now, at round `upto`.
    """
    rows: list[KnownLabel] = []
    for case in cases:
        rows += _spans(case, upto, policy, doubted_now=case.id in doubted)
    return rows


def _spans(case: Case, upto: int, policy: Gate, *, doubted_now: bool) -> list[KnownLabel]:
    standings = dict(history(case, upto, policy))
    issued = {when - 1 for when in case.doubted}  # rounds after which a doubt was put to people
    moments = set(standings) | set(case.doubted) | issued | {upto}
    spans: list[KnownLabel] = []
    label: str | None = None
    for at in sorted(moment for moment in moments if 0 <= moment <= upto):
        if at in standings:
            label = standings[at].label
        doubted = at + 1 in case.doubted if at < upto else doubted_now
        accepted = None if doubted else label
        current = spans[-1] if spans and spans[-1]["to_round"] is None else None
        if current is not None and current["label"] != accepted:
            current["to_round"] = at
            current = None
        if current is None and accepted is not None:
            spans.append({"id": case.id, "from_round": at, "to_round": None, "label": accepted})
    return spans
