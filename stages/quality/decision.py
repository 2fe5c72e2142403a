"""The gate's decision: which labels are accepted, doubted, or missing, and up to which round."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np

from stages.answers.arms import arms_by_id
from stages.answers.ledger import (
    AcceptedLabel,
    AnsweredRound,
    Asked,
    CountedVote,
    Doubt,
    Event,
    GateState,
    KnownLabel,
    Redundancy,
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
    collect,
    exempt,
    history,
    in_force,
    known_labels,
    reviewed,
    standing,
)
from stages.contract.canonical import Row
from stages.contract.identity import order_key
from stages.contract.params import Gate, Params
from stages.quality import report as measures
from stages.quality.checks import held_round, holding, verdicts
from stages.quality.judgement import (
    OUTLIER,
    Issue,
    LabelledRows,
    issue_rows,
    judge,
    with_annotators,
)
from stages.quality.policy import choose_doubts, reviewed_shift, shifted
from stages.store.index import Features, Index
from stages.store.near import Near, leakage, near_in

TABLES = ("accepted", "review", "unlabelled", "known", "issues", "repeats", "votes")


@dataclass(frozen=True)
class Ledger:
    """The label tables as they were read (see stages/answers/ledger.py)."""

    seed: list[SeedLabel]
    suspects: list[Suspect]
    rounds: list[AnsweredRound]
    asked: list[Asked]
    events: list[Event]
    verdicts: list[Verdict]

    def until(self, last: int) -> Ledger:
        """The same tables as if no round after `last` had been answered."""
        return Ledger(
            self.seed,
            self.suspects,
            [row for row in self.rounds if row["round"] <= last],
            [row for row in self.asked if row["round"] <= last],
            [row for row in self.events if row["round"] <= last],
            [row for row in self.verdicts if row["round"] <= last],
        )


@dataclass(frozen=True)
class Outcome:
    """Everything the gate decides, as rows of its tables, and what the decision rests on.

    error: id -> corrected probability that its label is wrong, for labels that could be judged.
    """

    upto: int
    cases: list[Case]
    accepted: list[AcceptedLabel]
    review: list[Doubt]
    unlabelled: list[Unlabelled]
    known: list[KnownLabel]
    issues: list[Issue]
    repeats: list[Repeat]
    votes: list[CountedVote]
    state: GateState
    error: dict[str, float]
    shift: float
    annotator_quality: dict[str, float]

    @cached_property
    def final(self) -> dict[str, str]:
        """The accepted label of each id."""
        return {row["id"]: row["label"] for row in self.accepted}


def complete(rounds: list[AnsweredRound]) -> tuple[int, AnsweredRound | None]:
    """The last round before any open one (0 for none), and the open one."""
    last = 0
    for row in sorted(rounds, key=lambda row: int(row["round"])):
        if row["state"] == "open":
            return last, row
        last = int(row["round"])
    return last, None


def decide(ledger: Ledger, features: Features, params: Params, *, judging: bool = True) -> Outcome:
    """Accepted, review and unlabelled: a partition of all ids that have a seed label or were asked.

    Before the first round the doubts are clean_seed's; afterwards every label is judged anew, with
    all that is known, unless `judging` is off.
    """
    index = features.index
    upto = max((int(row["round"]) for row in ledger.rounds), default=0)
    cases = collect(ledger.seed, ledger.asked, ledger.events, ledger.verdicts)
    stands = {case.id: standing(case, upto, params.gate) for case in cases}
    labelled = [case for case in cases if stands[case.id].label is not None]
    found = Doubted([{**row, "asks": 1} for row in ledger.suspects], [], {}, 0.0, {})
    if upto and labelled and judging:
        found = doubted(labelled, stands, features, upto, params)
    review = list(found.review)
    unlabelled: list[Unlabelled] = []
    for case in cases:
        why = stands[case.id].why
        if why == "disagreement":
            review.append(_disputed(case, stands[case.id], upto))
        elif stands[case.id].label is None:
            unlabelled.append(_unlabelled(case, cast(UnlabelledKind, why), upto))
    by_id = {case.id: case for case in cases}
    given_up = [row["id"] for row in review if row["asks"] >= params.gate.max_asks]
    unlabelled += [_unlabelled(by_id[item], "unresolved", upto) for item in given_up]
    review = [row for row in review if row["asks"] < params.gate.max_asks]
    review.sort(key=lambda row: (-round(row["score"], 9), order_key(params.seed, row["id"])))
    unlabelled.sort(key=lambda row: str(row["id"]))
    out = {row["id"] for row in (*review, *unlabelled)}
    arms = arms_by_id(ledger.asked, {row["id"] for row in ledger.seed}, params.seed)
    final = (case for case in labelled if case.id not in out)
    accepted = [_accepted(case, upto, arms.get(case.id, []), index, params) for case in final]
    outcomes = [right for case in cases for _, right in reviewed(case, upto)]
    state: GateState = {
        "rounds": len(ledger.rounds),
        "answers": sum(row["kind"] not in ("override", "retract") for row in ledger.events),
        "review_found": sum(right is False for right in outcomes),
    }
    return Outcome(
        upto,
        cases,
        accepted,
        review,
        unlabelled,
        known_labels(cases, upto, out, params.gate),
        found.issues,
        measures.repeat_rows(accepted, cases, params),
        _votes(cases, upto),
        state,
        found.error,
        found.shift,
        found.quality,
    )


@dataclass(frozen=True)
class Doubted:
    """What a model doubts: review rows, issues, error probability by id, shift, quality."""

    review: list[Doubt]
    issues: list[Issue]
    error: dict[str, float]
    shift: float
    quality: dict[str, float]


def doubted(
    labelled: list[Case], stands: dict[str, Standing], features: Features, upto: int, params: Params
) -> Doubted:
    """The labels that are likelier wrong than a review is worth, unless people confirmed them.

    Error probabilities come from the model and its company and, where several people labelled a
    row, from all their votes; and are corrected by how past doubts ended.
    """
    index, names = features.index, params.labels
    ids = [case.id for case in labelled]
    rows = index.locate(ids, "labels")
    number = {name: place for place, name in enumerate(names)}
    classes = np.array([number[str(stands[item].label)] for item in ids], dtype=np.intp)
    sha = [index.sha[row] for row in rows]
    table = LabelledRows(features.matrix[rows], features.geometry[rows], classes, ids, sha)
    found = judge(table, params)
    ended = [
        (float(doubt["score"]), not right)
        for case in labelled
        for doubt, right in reviewed(case, upto)
        if right is not None and "label_error" in doubt["reasons"]
    ]
    shift = reviewed_shift(
        np.array([score for score, _ in ended]), np.array([wrong for _, wrong in ended], np.bool_)
    )
    given = [
        {
            vote.annotator: number[vote.label]
            for vote in in_force(case, upto)
            if vote.kind == "label"
        }
        for case in labelled
    ]
    quality = dict[str, float]()
    if found.errors.judged.any():
        found, quality = with_annotators(found, given, classes)
    raw = found.errors.probability
    reasons = ["conflicting_copy" if conflict else "label_error" for conflict in found.conflict]
    pairs = zip(labelled, reasons, strict=True)
    able = np.array(
        [_doubtable(case, stands[case.id], why, upto, params.gate) for case, why in pairs], np.bool_
    )
    error = shifted(raw, shift)
    chosen = choose_doubts(
        found,
        table,
        params,
        share=params.gate.max_quarantine,
        reviews=params.reviews_a_batch,
        error=error,
        able=able,
    )
    review: list[Doubt] = [
        {
            "id": ids[row],
            "label": names[classes[row]],
            "suggested": names[found.errors.suggested[row]],
            "score": float(raw[row]),
            "reasons": [reasons[row]],
            "asks": asks(labelled[row], upto),
        }
        for row in np.flatnonzero(chosen)
    ]
    judged = {ids[row]: float(error[row]) for row in np.flatnonzero(found.errors.judged)}
    return Doubted(review, issue_rows(ids, classes, found, names), judged, shift, quality)


def asks(case: Case, upto: int) -> int:
    """How often people were asked in earnest: every round in which somebody answered, and the seed.

    A round that was closed before anybody came to the row does not count.
    """
    return len({vote.round for vote in in_force(case, upto)})


def _doubtable(case: Case, stand: Standing, reason: str, upto: int, policy: Gate) -> bool:
    """Whether the label may be doubted.

    It may not after an override, a confirmation, or the last ask with two people agreeing.
    """
    agreed = sum(vote.label == stand.label for vote in stand.votes)
    settled = asks(case, upto) >= policy.max_asks and agreed >= 2
    return (
        stand.why == "votes" and not settled and reason not in exempt(case, str(stand.label), upto)
    )


def _disputed(case: Case, stand: Standing, upto: int) -> Doubt:
    tally = Counter(vote.label for vote in stand.votes).most_common()
    label, suggested = tally[0][0], tally[1][0]
    return {
        "id": case.id,
        "label": label,
        "suggested": suggested,
        "score": 1 - tally[0][1] / len(stand.votes),
        "reasons": ["disagreement"],
        "asks": asks(case, upto),
    }


def _unlabelled(case: Case, kind: UnlabelledKind, upto: int) -> Unlabelled:
    of_kind = [vote for vote in case.votes if vote.round <= upto and vote.kind == kind]
    asked = [when for when in case.asked if when <= upto]
    last = max((vote.round for vote in of_kind), default=max(asked, default=0))
    times = len(asked) if kind == "unresolved" else len({vote.round for vote in of_kind})
    return {"id": case.id, "kind": kind, "round": last, "times": times}


def _accepted(
    case: Case, upto: int, arms: list[str], index: Index, params: Params
) -> AcceptedLabel:
    """One row of accepted.jsonl; `round` is where the present label became known."""
    since, stand = 0, standing(case, upto, params.gate)
    for at, then in reversed(history(case, upto, params.gate)):
        if then.label != stand.label:
            break
        since = at
    voters = {vote.annotator for vote in stand.votes if vote.label == stand.label} - {SEED}
    again = since > min([vote.round for vote in case.votes if vote.kind == "label"], default=since)
    source = "review" if again else "answer"
    if since == 0:
        source = "seed"
    if stand.why == "override":
        source = "override"
    same = index.copies.get(index.sha[index.row_of[case.id]], [])
    return {
        "id": case.id,
        "label": str(stand.label),
        "round": since,
        "arms": arms,
        "source": source,
        "in_seed": any(vote.annotator == SEED for vote in case.votes),
        "annotators": sorted(voters),
        "copies": [item for item in same if item != case.id],
        "asked_rank": int(case.asked[since]["rank"]) if since in case.asked else 0,
    }


def _votes(cases: list[Case], upto: int) -> list[CountedVote]:
    """Every label that counts, without retracted ones; who gave a seed label has no name."""
    return [
        {"id": case.id, "round": vote.round, "annotator": vote.annotator, "label": vote.label}
        for case in cases
        for vote in in_force(case, upto)
        if vote.kind in ("label", "override")
    ]


def checked(
    ledger: Ledger,
    outcome: Outcome,
    features: Features,
    near: Near,
    spent: list[Redundancy],
    params: Params,
) -> list[Row]:
    """The verdicts of all coded checks on the newest round and the labels behind it."""
    newest, cases = outcome.upto, outcome.cases
    again = measures.repeats(cases, newest)
    labelled = sorted(outcome.final)
    values = {
        "answered": measures.answered_share(ledger.rounds),
        "label_errors": measures.label_error_rate(cases, outcome.error, newest),
        "agreement": measures.agreement(cases, newest),
        "redundancy": next((row["share"] for row in spent if row["round"] == newest), None),
        "leakage": leakage(labelled, features.index, near),
        "coverage": measures.coverage(outcome.final.values(), params.labels),
        "annotator": measures.annotator_gap(
            measures.by_annotator(cases, outcome.final, outcome.error, params.gate.threshold)
        ),
        "drift": measures.drift(cases, newest),
        "repeats": sum(again) / len(again) if len(again) >= measures.FEW else None,
    }
    return verdicts(values, params.gate.limits)


def report(outcome: Outcome, checks: list[Row], held: str | None, params: Params) -> Row:
    """The metrics: counts, doubts and how they ended, agreement, annotators, classes, checks."""
    counts = {name: len(getattr(outcome, name)) for name in ("accepted", "review", "unlabelled")}
    ends = Counter(right for case in outcome.cases for _, right in reviewed(case, outcome.upto))
    seen = ends[True] + ends[False]
    again = measures.repeats(outcome.cases, outcome.upto)
    people = measures.by_annotator(
        outcome.cases, outcome.final, outcome.error, params.gate.threshold
    )
    errors = list(outcome.error.values())
    mean_error = float(np.mean(errors)) if errors else None
    for name, row in people.items():
        row["quality"] = outcome.annotator_quality.get(name)
    return {
        **outcome.state,
        **counts,
        "held": held,
        "doubts": {
            "judged": len(outcome.error),
            "threshold": params.gate.threshold,
            "shift": outcome.shift,
            "estimated_error_rate": mean_error,
            "confirmed": ends[True],
            "contradicted": ends[False],
            "precision": ends[False] / seen if seen else None,
            "outliers": sum(row["outlier"] > OUTLIER for row in outcome.issues),
            "near_duplicates": sum(row["duplicates"] is not None for row in outcome.issues),
        },
        "agreement": {
            **measures.kappas(outcome.cases),
            "repeats": len(again),
            "repeated_alike": sum(again),
        },
        "annotators": people,
        "by_class": {label: _class_counts(label, outcome) for label in params.labels},
        "checks": checks,
    }


def _class_counts(label: str, outcome: Outcome) -> Row:
    accepted = sum(row["label"] == label for row in outcome.accepted)
    return {"accepted": accepted, "doubted": sum(row["label"] == label for row in outcome.review)}


@dataclass(frozen=True)
class Gated:
    """The decision on all rounds that count, with metrics, plot rows, redundancy, failed checks."""

    outcome: Outcome
    metrics: Row
    plot: list[Row]
    redundancy: list[Redundancy]
    failed: list[Row]


def gate(ledger: Ledger, features: Features, params: Params) -> Gated:
    """Decide up to the last complete round, or the one before it when a check holds that."""
    last, pending = complete(ledger.rounds)
    held = f"held, {pending['answered']} of {pending['asked']} answered" if pending else None
    now = ledger.until(last)
    outcome, near = (
        decide(now, features, params),
        near_in(features, params.seed, params.quality.near_duplicate),
    )
    spent = measures.redundancy(now.asked, [row["id"] for row in now.seed], features.index, near)
    checks = checked(now, outcome, features, near, spent, params)
    failed = [row for row in checks if row["outcome"] == "failed"]
    pairs = measures.kappas(outcome.cases, outcome.upto)["cohen_kappa"]
    holds = holding(checks, params.gate.hold) if params.gate.on_fail == "hold" and last else []
    if holds:
        held = "held, " + "; ".join(
            f"{row['code']} {row['title']}: {row['value']:.3g}" for row in holds
        )
        now = ledger.until(last - 1)
        outcome = decide(now, features, params)
    plot = measures.round_rows(outcome.cases, now.rounds, len(outcome.review), spent)
    spent = [row for row in spent if row["round"] <= outcome.upto]
    metrics = {**report(outcome, checks, held, params), "alarms": held_round(held, holds, pairs)}
    return Gated(outcome, metrics, plot, spent, failed)
