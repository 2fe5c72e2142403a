"""Alarms: each failure that active-learning projects die of, with the sign that shows it and what to do about it.

A check gives an alarm, None when all is well, or the reason why it cannot be judged: silence is
never "passed".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from stages.answers.ledger import Redundancy
from stages.contract.canonical import Row

ROUNDS_TO_TELL = 3
RELEVANT = 0.02  # a gap in accuracy that is worth a strategy
TELLING_WIDTH = 0.1
TELLING_LABELS = 30
ONE_SIDED = 1.645  # standard errors that chance exceeds one time in twenty
EARLY = f"fewer than {ROUNDS_TO_TELL} rounds"
UNJUDGED = f"fewer than {ROUNDS_TO_TELL} judged rounds"


@dataclass(frozen=True)
class Evidence:
    """What the alarms look at, all of it validate's: plot rows, gap and saving, counts.

    rounds: accepted so far; control: labels of the control arm; doubts: labels doubted after each
    round, in order; calibration: calibrate's facts; labels_of: known labels per class; leaked:
    share of the test rows that a labelled row nearly repeats, None without a test set;
    recall_floor: params.validate.recall_floor; most_redundant, most_leaked: the shares that
    params.gate.limits allow.
    """

    rounds: int
    gap: Row
    saving: Row
    control: int
    curve: list[Row]
    recall: list[Row]
    redundancy: list[Redundancy]
    doubts: list[int]
    calibration: Row
    labels_of: dict[str, int]
    leaked: float | None
    recall_floor: float
    most_redundant: float
    most_leaked: float


def alarms(evidence: Evidence) -> tuple[list[Row], list[Row]]:
    """The alarms that ring (code, title, seen, do), and the checks that cannot be judged (code, title, why)."""
    raised, open_ = [], []
    for code, (title, check) in CHECKS.items():
        found = check(evidence)
        if isinstance(found, str):
            open_.append({"code": code, "title": title, "why": found})
        elif found is not None:
            raised.append({"code": code, "title": title, "seen": found[0], "do": found[1]})
    return raised, open_


Found = tuple[str, str] | str | None


def _tracks_random(e: Evidence) -> Found:
    small = _control_too_small(e)
    if small is not None:
        return small if isinstance(small, str) else "the control arm is too small to tell"
    if e.gap["low"] > 0 or (e.saving["low"] is not None and e.saving["low"] > 0):
        return None
    value, low, high = (e.gap[key] for key in ("active_minus_random", "low", "high"))
    seen = f"active - random = {value:+.3f} [{low:+.3f}, {high:+.3f}] at {e.gap['labels']} labels"
    if value > 0 and high > RELEVANT:
        return f"{seen}: ahead, not yet surely"
    return (
        seen,
        "a saving is not shown: check calibration, try another query.strategy (`rounds backtest`)",
    )


def _stalls_while_flags_rise(e: Evidence) -> Found:
    active = [row["accuracy"] for row in e.curve if row["arm"] == "active"][-ROUNDS_TO_TELL:]
    doubts = e.doubts[-ROUNDS_TO_TELL:]
    if min(len(active), len(doubts)) < ROUNDS_TO_TELL:
        return UNJUDGED
    by_chance = ONE_SIDED * math.sqrt(doubts[0] + doubts[-1])  # two Poisson counts of the same mean
    if active[-1] > active[0] or doubts[-1] - doubts[0] <= by_chance:
        return None
    seen = f"accuracy went from {active[0]:.3f} to {active[-1]:.3f}, doubted labels from {doubts[0]} to {doubts[-1]}"
    return (
        seen,
        "people err: raise query.review_fraction, sharpen surface.instructions, see the annotators' agreement",
    )


def _redundant(e: Evidence) -> Found:
    if not e.redundancy:
        return "nothing was asked yet"
    last = e.redundancy[-1]
    if last["share"] is None:
        return "the last round asked fewer than two new rows"
    if last["share"] <= e.most_redundant:
        return None
    seen = f"{last['near_duplicates']} of {last['asked']} rows of round {last['round']} nearly repeat another"
    return seen, "use a strategy with a diversity term: query.strategy: auto"


def _minority_flat(e: Evidence) -> Found:
    """The rarest class that stayed below the floor, its recall not clearly up, while accuracy clearly rose."""
    active = [row for row in e.curve if row["arm"] == "active"]
    if len(active) < ROUNDS_TO_TELL:
        return UNJUDGED
    if active[-1]["accuracy"] <= active[0]["high"]:
        return None
    now, then = (
        {
            row["class"]: row
            for row in e.recall
            if row["arm"] == "active" and row["round"] == point["round"]
        }
        for point in (active[-1], active[0])
    )
    for label, row in sorted(now.items(), key=lambda item: item[1]["support"]):
        before = then.get(label, row)
        if row["high"] < e.recall_floor and row["recall"] <= before["high"]:
            seen = f"recall of {label!r} went from {before['recall']:.2f} to {row['recall']:.2f} while accuracy rose"
            return (
                seen,
                "add seed examples of the class, or let it count for more: query.class_weights: auto",
            )
    never = [label for label in e.labels_of if label not in now]
    return f"no row that judges is of {', '.join(map(repr, never[:5]))}" if never else None


def _confidence_lies(e: Evidence) -> Found:
    if e.calibration["verdict"] == "unknown":
        return str(e.calibration["why"])
    if e.calibration["verdict"] == "trusted":
        return None
    return e.calibration[
        "why"
    ], "set calibrate.method: auto, or change the model; until then diversity alone chooses"


def _leaks(e: Evidence) -> Found:
    if e.leaked is None:
        return "there is no test set" if any(e.labels_of.values()) else "nothing is labelled yet"
    if e.leaked <= e.most_leaked:
        return None
    seen = (
        f"{e.leaked:.1%} of the test rows are, or nearly are, labelled rows: accuracy is flattered"
    )
    return seen, "remove them from the test table"


def _class_never_seen(e: Evidence) -> Found:
    never = [label for label, count in e.labels_of.items() if not count]
    if e.rounds < ROUNDS_TO_TELL:
        return EARLY
    if not never:
        return None
    more = f" and {len(never) - 5} more" if len(never) > 5 else ""
    seen = f"no label of {', '.join(map(repr, never[:5]))}{more} after {e.rounds} rounds"
    return seen, "add seed examples of it, or take it out of params.labels"


def _control_too_small(e: Evidence) -> Found:
    if e.rounds < ROUNDS_TO_TELL:
        return EARLY
    wait = ", or wait" if e.control else ""
    remedy = f"raise query.control_fraction{wait}: the proof needs labels drawn at random"
    if e.control < TELLING_LABELS:
        return f"{e.control} labels drawn at random", remedy
    if e.gap["low"] is None:
        return "the strategy has too few labels of its own to compare"
    width = e.gap["high"] - e.gap["low"]
    if width > TELLING_WIDTH and e.gap["low"] <= 0 <= e.gap["high"]:
        if e.leaked is not None:
            remedy = "give more test rows, raise query.control_fraction, or wait: all of them narrow the interval"
        return (
            f"the interval of the gap between the arms is {width:.3f} wide, from {e.control} labels",
            remedy,
        )
    return None


CHECKS: dict[str, tuple[str, Callable[[Evidence], Found]]] = {
    "V001": ("active learning tracks random sampling", _tracks_random),
    "V002": ("accuracy stalls while doubted labels rise", _stalls_while_flags_rise),
    "V003": ("redundant queries", _redundant),
    "V004": ("a class stays behind while accuracy rises", _minority_flat),
    "V005": ("the model's confidence cannot be trusted", _confidence_lies),
    "V007": ("the test set leaks", _leaks),
    "V008": ("a class was never seen", _class_never_seen),
    "V009": ("the control arm is too small to tell", _control_too_small),
}
