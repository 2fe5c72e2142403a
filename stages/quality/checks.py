"""The gate's coded checks: what each measures, its limit, and what to do when it fails.

A value of None means that there was too little to judge by: not_applicable, which is never passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from stages.contract.canonical import Row
from stages.contract.params import Limits

Bound = Literal["at least", "at most"]
Result = Literal["passed", "failed", "not_applicable"]


class CheckResult(TypedDict):
    """What a check says of a round.

    value: None where there was too little to judge by; do: what to do where it fails.
    """

    code: str
    name: str
    title: str
    value: float | None
    outcome: Result
    limit: float
    bound: Bound
    do: str


@dataclass(frozen=True)
class Check:
    """A rule about one number."""

    code: str
    name: str
    title: str
    bound: Bound
    remedy: str

    def result(self, value: float | None, limit: float) -> CheckResult:
        """What the check says of a value."""
        return {
            "code": self.code,
            "name": self.name,
            "title": self.title,
            "value": value,
            "outcome": self._outcome(value, limit),
            "limit": limit,
            "bound": self.bound,
            "do": self.remedy,
        }

    def _outcome(self, value: float | None, limit: float) -> Result:
        if value is None:
            return "not_applicable"
        good = value >= limit if self.bound == "at least" else value <= limit
        return "passed" if good else "failed"


CHECKS = (
    Check(
        "G001",
        "answered",
        "share of the batch that was answered",
        "at least",
        "collect the missing answers, or find out why people skip",
    ),
    Check(
        "G002",
        "label_errors",
        "estimated share of wrong labels in the round",
        "at most",
        "read the worst of build/gate/issues.jsonl with the annotators; sharpen the instructions",
    ),
    Check(
        "G003",
        "agreement",
        "Krippendorff's alpha of several annotators in the round",
        "at least",
        "discuss the examples with most disagreement, rewrite the guideline, ask the round again",
    ),
    Check(
        "G004",
        "redundancy",
        "share of new rows that nearly repeat another one",
        "at most",
        "use a strategy with a diversity term, or lower quality.near_duplicate",
    ),
    Check(
        "G005",
        "leakage",
        "share of test rows that nearly repeat a labelled row",
        "at most",
        "remove those rows from the test table: they make the score too good",
    ),
    Check(
        "G006",
        "coverage",
        "share of the classes that have an accepted label",
        "at least",
        "add seed rows of the missing classes, or take the class out of params.labels",
    ),
    Check(
        "G007",
        "annotator",
        "how far one annotator's doubted share lies above the others'",
        "at most",
        "talk to that annotator; have a sample of those labels adjudicated",
    ),
    Check(
        "G008",
        "drift",
        "p-value that random rows got the same mix of labels as in earlier rounds",
        "at least",
        "find out what changed: the pool, the guideline or the people",
    ),
    Check(
        "G009",
        "repeats",
        "share of planted repeats that the same person answered alike",
        "at least",
        "the task is ambiguous or done in haste: smaller batches, clearer classes",
    ),
    Check(
        "G010",
        "gold",
        "share of gold rows that the weakest annotator answers rightly, at the most",
        "at least",
        "go through the guideline with that annotator; `rounds retract --annotator` withdraws "
        "answers that cannot be kept",
    ),
)


def check_results(values: Mapping[str, float | None], limits: Limits) -> list[CheckResult]:
    """One row per check, in the order of their codes."""
    return [check.result(values[check.name], getattr(limits, check.name)) for check in CHECKS]


def holding(results: list[CheckResult], codes: Sequence[str]) -> list[CheckResult]:
    """The failed checks that keep a round's labels out."""
    return [row for row in results if row["outcome"] == "failed" and row["code"] in codes]


def measured(result: CheckResult) -> str:
    """What a check that could judge found, for a person: its title and the value."""
    return f"{result['title']}: {result['value']:.3g}"


def held_round(
    reason: str | None, failed: list[CheckResult], kappas: dict[str, float | None]
) -> list[Row]:
    """V006 while the gate holds a round, for failed checks or for answers that are missing.

    kappas: Cohen's kappa of each two annotators, "ann|bob"; the round's own, which no other figure
    counts yet. It is among the gate's metrics: what validate reads does not move while a round is
    held.
    """
    remedy = "; ".join(row["do"] for row in failed)
    remedy = remedy or "finish the round, or close it with what is there: `rounds close --partial`"
    if not reason:
        return []
    pairs = ", ".join(f"{pair} {value:.2f}" for pair, value in kappas.items() if value is not None)
    seen = f"{reason} (Cohen's kappa: {pairs})" if failed and pairs else reason
    return [{"code": "V006", "title": "the gate holds the round", "seen": seen, "do": remedy}]
