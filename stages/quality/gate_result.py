"""What the gate hands on: its decision once the checks let the newest round in, and its metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from stages.answers.gold import still_counted
from stages.answers.ledger import AnsweredRound, Redundancy
from stages.answers.standing import reviewed
from stages.contract.canonical import Row
from stages.contract.params import Params
from stages.quality import report
from stages.quality.checks import CheckResult, check_results, held_round, holding, measured
from stages.quality.decision import Ledger, Outcome, decide
from stages.quality.gold import GoldScore, gold_alarms, gold_scores, weakest
from stages.quality.judgement import OUTLIER
from stages.quality.report import RoundQuality
from stages.store.index import Features, Index
from stages.store.near import Near, leakage, near_in


@dataclass(frozen=True)
class GateResult:
    """The decision on all rounds that count, with all that is reported of them.

    plot: one row per round; redundancy: of each round's new rows; failed: the checks that the
    newest round failed, whether they hold it or not.
    """

    outcome: Outcome
    metrics: Row
    plot: list[RoundQuality]
    redundancy: list[Redundancy]
    failed: list[CheckResult]


def run_gate(ledger: Ledger, features: Features, params: Params) -> GateResult:
    """The decision up to the last complete round, or the one before it when a check holds that."""
    last, pending = complete_rounds(ledger.rounds)
    reason = f"held, {pending['answered']} of {pending['asked']} answered" if pending else None
    ledger = ledger.until(last)
    outcome = decide(ledger, features, params)
    near = near_in(features, params.seed, params.quality.near_duplicate)
    seed_ids = [row["id"] for row in ledger.seed]
    redundancy = report.redundancy(ledger.teaching.asked, seed_ids, features.index, near)
    scores = gold_scores(still_counted(ledger.checked, ledger.events))
    checks = _checked(ledger, outcome, features.index, near, redundancy, scores, params)
    kappas = report.agreement_of_people(outcome.cases, outcome.upto)["cohen_kappa"]
    holds: list[CheckResult] = []
    if params.gate.on_fail == "hold" and last:
        holds = holding(checks, params.gate.hold)
    if holds:
        reason = "held, " + "; ".join(f"{row['code']} {measured(row)}" for row in holds)
        ledger = ledger.until(last - 1)
        outcome = decide(ledger, features, params)
    metrics = {
        **_metrics(outcome, checks, reason, params),
        "gold": scores,
        "held_by": [row["code"] for row in holds],
        "alarms": [
            *held_round(reason, holds, kappas),
            *gold_alarms(scores, params.gate.limits.gold),
        ],
    }
    return GateResult(
        outcome=outcome,
        metrics=metrics,
        plot=report.round_rows(outcome.as_answered, ledger.rounds, len(outcome.review), redundancy),
        redundancy=[row for row in redundancy if row["round"] <= outcome.upto],
        failed=[row for row in checks if row["outcome"] == "failed"],
    )


def complete_rounds(rounds: list[AnsweredRound]) -> tuple[int, AnsweredRound | None]:
    """The last round before any open one (0 for none), and the open one."""
    last = 0
    for row in sorted(rounds, key=lambda row: row["round"]):
        if row["state"] == "open":
            return last, row
        last = row["round"]
    return last, None


def _checked(
    ledger: Ledger,
    outcome: Outcome,
    index: Index,
    near: Near,
    redundancy: list[Redundancy],
    scores: dict[str, GoldScore],
    params: Params,
) -> list[CheckResult]:
    """The results of all coded checks on the newest round and the labels behind it."""
    newest = outcome.upto
    cases = outcome.cases
    alike = report.repeats(cases, newest)
    people = report.by_annotator(cases, outcome.final, outcome.error, params.gate.threshold)
    shares = {row["round"]: row["share"] for row in redundancy}
    values = {
        "answered": report.answered_share(ledger.rounds),
        "label_errors": report.label_error_rate(cases, outcome.error, newest),
        "agreement": report.agreement(cases, newest),
        "redundancy": shares.get(newest),
        "leakage": leakage(sorted(outcome.final), index, near),
        "coverage": report.coverage(outcome.final.values(), params.labels),
        "annotator": report.annotator_gap(people),
        "drift": report.drift(cases, newest),
        "repeats": sum(alike) / len(alike) if len(alike) >= report.FEW else None,
        "gold": weakest(scores),
    }
    return check_results(values, params.gate.limits)


def _metrics(outcome: Outcome, checks: list[CheckResult], held: str | None, params: Params) -> Row:
    """metrics/gate.json: counts, doubts and how they ended, agreement, annotators, classes, checks.

    unsplit: only where there are any, rows by class that was split and not told apart yet;
    machine: only where one may be a witness, see `MachineEvidence`.

    held: why the newest round is held, None where it is not.
    """
    alike = report.repeats(outcome.cases, outcome.upto)
    people = report.by_annotator(outcome.cases, outcome.final, outcome.error, params.gate.threshold)
    unsplit = Counter(row["label"] for row in outcome.repeats if row.get("among"))
    return {
        **outcome.state,
        "accepted": len(outcome.accepted),
        "review": len(outcome.review),
        "unlabelled": len(outcome.unlabelled),
        "held": held,
        "doubts": _doubt_metrics(outcome, params.gate.threshold),
        "agreement": {
            **report.agreement_of_people(outcome.cases),
            "repeats": len(alike),
            "repeated_alike": sum(alike),
        },
        "annotators": {
            name: {**counts, "quality": outcome.annotator_quality.get(name)}
            for name, counts in people.items()
        },
        "by_class": {label: _class_counts(label, outcome) for label in params.labels},
        "checks": checks,
        **({"unsplit": unsplit} if unsplit else {}),
        **({"machine": vars(outcome.machine)} if params.machines.is_witness else {}),
    }


def _doubt_metrics(outcome: Outcome, threshold: float) -> Row:
    """How many labels were judged, how probable errors are, and how past doubts ended."""
    ends = Counter(
        confirmed for case in outcome.cases for _, confirmed in reviewed(case, outcome.upto)
    )
    decided = ends[True] + ends[False]
    errors = list(outcome.error.values())
    return {
        "judged": len(errors),
        "threshold": threshold,
        "shift": outcome.shift,
        "estimated_error_rate": float(np.mean(errors)) if errors else None,
        "confirmed": ends[True],
        "contradicted": ends[False],
        "precision": ends[False] / decided if decided else None,
        "outliers": sum(row["outlier"] > OUTLIER for row in outcome.issues),
        "near_duplicates": sum(row["duplicates"] is not None for row in outcome.issues),
    }


def _class_counts(label: str, outcome: Outcome) -> dict[str, int]:
    return {
        "accepted": sum(row["label"] == label for row in outcome.accepted),
        "doubted": sum(row["label"] == label for row in outcome.review),
    }
