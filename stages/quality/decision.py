"""The gate's decision: which labels are accepted, which are doubted, and which ids have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

from stages.answers.arms import arms_by_id, teaches
from stages.answers.gold import gold_rows
from stages.answers.ledger import (
    NO_ANSWERS,
    AcceptedLabel,
    AnsweredRound,
    Asked,
    CountedVote,
    Doubt,
    Event,
    GateState,
    GoldAnswer,
    GoldLine,
    GoldRow,
    JudgedLabel,
    KnownLabel,
    Planted,
    Repeat,
    SeedLabel,
    Suspect,
    Unlabelled,
    UnlabelledKind,
    Verdict,
)
from stages.answers.standing import (
    SEED,
    Case,
    Standing,
    as_of_now,
    collect,
    history,
    known_labels,
    labels_in_force,
    reviewed,
    standing,
)
from stages.contract.identity import order_key
from stages.contract.params import Gate, Params
from stages.quality.doubts import ModelDoubts, doubt_labels, doubts_of_seed, times_asked
from stages.quality.judgement import Issue
from stages.quality.machine_witness import NOT_ASKED, MachineEvidence
from stages.quality.report import repeat_rows
from stages.store.index import Features, Index

TABLES = (
    "accepted",
    "review",
    "unlabelled",
    "known",
    "issues",
    "repeats",
    "votes",
    "gold",
    "judged",
)


@dataclass(frozen=True)
class Ledger:
    """The label tables as they were read (see stages/answers/ledger.py).

    said: how sure the machine annotator of params.machines.witness is of each class, by id; None
    without one. It is no label.
    """

    seed: list[SeedLabel]
    suspects: list[Suspect]
    rounds: list[AnsweredRound]
    asked: list[Asked]
    events: list[Event]
    verdicts: list[Verdict]
    checked: list[GoldAnswer] = field(default_factory=list)
    planted: list[Planted] = field(default_factory=list)
    gold: list[GoldLine] = field(default_factory=list)
    said: Mapping[str, Mapping[str, float]] | None = None

    def until(self, last: int) -> Ledger:
        """The same tables as if no round after `last` had been answered."""
        return Ledger(
            self.seed,
            self.suspects,
            [row for row in self.rounds if row["round"] <= last],
            [row for row in self.asked if row["round"] <= last],
            [row for row in self.events if row["round"] <= last],
            [row for row in self.verdicts if row["round"] <= last],
            [row for row in self.checked if row["round"] <= last],
            self.planted,
            self.gold,
            self.said,
        )

    @property
    def answers(self) -> int:
        """How many answers people gave, those to judge rows and to gold rows among them."""
        return sum(row["kind"] not in NO_ANSWERS for row in self.events) + len(self.checked)

    @cached_property
    def teaching(self) -> Ledger:
        """The same tables without the rows that judge, and without their answers."""
        asked = [row for row in self.asked if teaches(row)]
        if len(asked) == len(self.asked):
            return self
        own = {row["id"] for row in (*self.seed, *asked)}
        silent = self._silent()
        events = [
            row
            for row in self.events
            if row["id"] in own
            and (row["kind"] in NO_ANSWERS or (row["round"], row["id"]) not in silent)
        ]
        return replace(self, asked=asked, events=events)

    @cached_property
    def judging(self) -> Ledger:
        """What was asked to judge, with its answers and the corrections of these ids."""
        silent = self._silent()
        ids = {item for _, item in silent}
        events = [
            row
            for row in self.events
            if (row["round"], row["id"]) in silent
            or (row["kind"] in NO_ANSWERS and row["id"] in ids)
        ]
        asked = [row for row in self.asked if not teaches(row)]
        return Ledger([], [], self.rounds, asked, events, [])

    def _silent(self) -> set[tuple[int, str]]:
        return {(row["round"], row["id"]) for row in self.asked if not teaches(row)}


@dataclass(frozen=True)
class Outcome:
    """All that the gate decides after round `upto`: the rows of its tables (TABLES), its state.

    cases: without answers that were withdrawn since; as_answered: with them, as every round knew
    them. error, shift, annotator_quality, machine: what the doubts rest on, see `ModelDoubts`.
    """

    upto: int
    cases: list[Case]
    as_answered: list[Case]
    accepted: list[AcceptedLabel]
    review: list[Doubt]
    unlabelled: list[Unlabelled]
    known: list[KnownLabel]
    issues: list[Issue]
    repeats: list[Repeat]
    votes: list[CountedVote]
    gold: list[GoldRow]
    judged: list[JudgedLabel]
    state: GateState
    error: dict[str, float]
    shift: float
    annotator_quality: dict[str, float]
    machine: MachineEvidence = NOT_ASKED

    @cached_property
    def final(self) -> dict[str, str]:
        """The accepted label of each id."""
        return {row["id"]: row["label"] for row in self.accepted}


def decide(ledger: Ledger, features: Features, params: Params, *, judging: bool = True) -> Outcome:
    """Accepted, review and unlabelled: a partition of all ids with a seed label or asked to teach.

    Before the first round the doubts are clean_seed's; afterwards every label is judged anew, with
    all that is known, unless `judging` is off.
    """
    upto = max((row["round"] for row in ledger.rounds), default=0)
    judged = judged_labels(ledger.judging, upto, params.gate)
    answers = ledger.answers
    ledger = ledger.teaching
    cases = collect(ledger.seed, ledger.asked, ledger.events, ledger.verdicts)
    standings = {case.id: standing(case, upto, params.gate) for case in cases}
    today = as_of_now(cases)
    labelled = [case for case in today if standings[case.id].label is not None]
    doubts = doubts_of_seed(ledger.suspects)
    if upto and labelled and judging:
        doubts = doubt_labels(labelled, standings, features, upto, params, ledger.said)
    review, given_up = _review_queue(doubts, today, standings, upto, params)
    unlabelled = _unlabelled_rows(cases, standings, given_up, upto)
    not_accepted = {row["id"] for row in (*review, *unlabelled)}
    arms = arms_by_id(ledger.asked, {row["id"] for row in ledger.seed}, params.seed)
    accepted = [
        _accepted(case, standings[case.id], upto, arms.get(case.id, []), features.index, params)
        for case in cases
        if standings[case.id].label is not None and case.id not in not_accepted
    ]
    return Outcome(
        upto=upto,
        cases=today,
        as_answered=cases,
        accepted=accepted,
        review=review,
        unlabelled=unlabelled,
        known=known_labels(cases, upto, not_accepted, params.gate),
        issues=doubts.issues,
        repeats=[*repeat_rows(accepted, today, params), *_unsplit(accepted, standings)],
        votes=_votes(today, upto),
        gold=gold_rows(ledger.gold, ledger.planted, upto, params),
        judged=judged,
        state=_state(len(ledger.rounds), answers, today, upto),
        error=doubts.error,
        shift=doubts.shift,
        annotator_quality=doubts.annotator_quality,
        machine=doubts.machine,
    )


def _review_queue(
    doubts: ModelDoubts,
    cases: list[Case],
    standings: dict[str, Standing],
    upto: int,
    params: Params,
) -> tuple[list[Doubt], set[str]]:
    """What people are asked again, worst first, ties by seed and id; and ids that are given up.

    It is what the model doubts and what people disagree on. An id is given up after
    `gate.max_asks` asks.
    """
    disputed = [
        _disputed(case, standings[case.id], upto)
        for case in cases
        if standings[case.id].why == "disagreement"
    ]
    rows = [*doubts.review, *disputed]
    given_up = {row["id"] for row in rows if row["asks"] >= params.gate.max_asks}
    queue = [row for row in rows if row["id"] not in given_up]
    queue.sort(key=lambda row: (-round(row["score"], 9), order_key(params.seed, row["id"])))
    return queue, given_up


def _disputed(case: Case, stands: Standing, upto: int) -> Doubt:
    """A row that people disagree on: their commonest label, and the next as the suggestion."""
    first, second, *_ = Counter(vote.label for vote in stands.votes).most_common()
    label, count = first
    return {
        "id": case.id,
        "label": label,
        "suggested": second[0],
        "score": 1 - count / len(stands.votes),
        "reasons": ["disagreement"],
        "asks": times_asked(case, upto),
    }


def _unlabelled_rows(
    cases: list[Case], standings: dict[str, Standing], given_up: set[str], upto: int
) -> list[Unlabelled]:
    """The ids that have no label and are not in the review queue, sorted by id as the cases are."""
    rows = []
    for case in cases:
        stands = standings[case.id]
        if case.id in given_up:
            rows.append(_unlabelled(case, "unresolved", upto))
        elif stands.label is None and stands.why != "disagreement":
            rows.append(_unlabelled(case, cast(UnlabelledKind, stands.why), upto))
    return rows


def _unlabelled(case: Case, kind: UnlabelledKind, upto: int) -> Unlabelled:
    """One row of unlabelled.jsonl, of an id that was answered in this way or never."""
    kinds = ("retract", "withdraw") if kind == "retract" else (kind,)
    answered = [vote.round for vote in case.votes if vote.round <= upto and vote.kind in kinds]
    asked = [number for number in case.asked if number <= upto]
    last = max(answered) if answered else max(asked, default=0)
    times = len(asked) if kind == "unresolved" else len(set(answered))
    return {"id": case.id, "kind": kind, "round": last, "times": times}


def _unsplit(accepted: list[AcceptedLabel], standings: dict[str, Standing]) -> list[Repeat]:
    """The accepted labels whose class was split, and of which nobody has said yet which part."""
    return [
        {"id": row["id"], "label": row["label"], "among": list(standings[row["id"]].among)}
        for row in accepted
        if standings[row["id"]].among
    ]


def _accepted(
    case: Case, stands: Standing, upto: int, arms: list[str], index: Index, params: Params
) -> AcceptedLabel:
    """One row of accepted.jsonl; `round` is where the present label became known."""
    since = _known_since(case, stands, upto, params.gate)
    voters = {vote.annotator for vote in stands.votes if vote.label == stands.label} - {SEED}
    copies = index.copies.get(index.sha[index.row_of[case.id]], [])
    return {
        "id": case.id,
        "label": str(stands.label),
        "round": since,
        "arms": arms,
        "source": _source(case, stands, since),
        "in_seed": any(vote.annotator == SEED for vote in case.votes),
        "annotators": sorted(voters),
        "copies": [item for item in copies if item != case.id],
        "asked_rank": case.asked[since]["rank"] if since in case.asked else 0,
    }


def _known_since(case: Case, stands: Standing, upto: int, policy: Gate) -> int:
    """The round since which the case has had its present label without a break; 0 for the seed."""
    since = 0
    for number, earlier in reversed(history(case, upto, policy)):
        if earlier.label != stands.label:
            break
        since = number
    return since


def _source(case: Case, stands: Standing, since: int) -> str:
    """Who gave the present label: override, seed, review (asked again), or a first answer."""
    if stands.why == "override":
        return "override"
    if since == 0:
        return "seed"
    labelled = [vote.round for vote in case.votes if vote.kind == "label"]
    return "review" if since > min(labelled, default=since) else "answer"


def _votes(cases: list[Case], upto: int) -> list[CountedVote]:
    """Every label that counts, without retracted ones; who gave a seed label has no name."""
    return [
        {"id": case.id, "round": vote.round, "annotator": vote.annotator, "label": vote.label}
        for case in cases
        for vote in labels_in_force(case, upto)
    ]


def judged_labels(ledger: Ledger, upto: int, policy: Gate) -> list[JudgedLabel]:
    """The labels that people settled on for rows that judge, sorted by id."""
    rows: list[JudgedLabel] = []
    for case in collect(ledger.seed, ledger.asked, ledger.events, ledger.verdicts):
        stands = standing(case, upto, policy)
        if stands.label is not None:
            voters = {vote.annotator for vote in stands.votes if vote.label == stands.label}
            rows.append(
                {
                    "id": case.id,
                    "label": stands.label,
                    "round": max(case.asked),
                    "annotators": sorted(voters),
                }
            )
    return rows


def _state(rounds: int, answers: int, cases: list[Case], upto: int) -> GateState:
    """Rounds accepted, answers that people gave, and doubts of theirs that were right."""
    ends = [confirmed for case in cases for _, confirmed in reviewed(case, upto)]
    return {
        "rounds": rounds,
        "answers": answers,
        "review_found": sum(confirmed is False for confirmed in ends),
    }
