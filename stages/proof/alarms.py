"""The alarms: each failure that active-learning projects die of, how it shows, and what to do.

A check gives an alarm, None when all is well, or the reason why it cannot be judged. What cannot be
judged is never "passed".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from stages.answers.ledger import Redundancy
from stages.learning.calibration import CalibrationFacts
from stages.proof.tables import (
    AlarmRow,
    CourseFacts,
    CurvePoint,
    Gap,
    RecallRow,
    Saving,
    UnjudgedRow,
)

ROUNDS_TO_TELL = 3
RELEVANT = 0.02  # a gap in accuracy that is worth a strategy
TELLING_WIDTH = 0.1  # of the gap's interval of one look: wider ones tell little
TELLING_LABELS = 30  # of the control arm
NAMED = 5  # classes named in a sentence
ONE_SIDED = 1.645  # standard errors that chance exceeds one time in twenty
EARLY = f"fewer than {ROUNDS_TO_TELL} rounds"
NOTHING_OF_ITS_OWN = "the strategy has too few labels of its own to compare"
UNJUDGED = f"fewer than {ROUNDS_TO_TELL} judged rounds"


@dataclass(frozen=True)
class Evidence:
    """What the alarms look at, all of it validate's: plot rows, gap and saving, counts.

    course: the gap over the course, None without judge rows; rounds: accepted so far; control:
    labels of the control arm; doubts: labels doubted after each round, in order; calibration:
    calibrate's facts; labels_of: known labels per class; leaked: share of the test rows that a
    labelled row nearly repeats, None without a test set; recall_floor:
    params.validate.recall_floor; most_redundant, most_leaked: the shares that params.gate.limits
    allow.
    """

    rounds: int
    gap: Gap
    saving: Saving
    course: CourseFacts | None
    control: int
    curve: list[CurvePoint]
    recall: list[RecallRow]
    redundancy: list[Redundancy]
    doubts: list[int]
    calibration: CalibrationFacts
    labels_of: dict[str, int]
    leaked: float | None
    recall_floor: float
    most_redundant: float
    most_leaked: float

    @property
    def interval_of_gap(self) -> tuple[float, float] | None:
        """The 95 % interval of the gap at any look, as alarms ring in any round.

        None where there is nothing to compare.
        """
        low = self.gap["any_look"]["low"]
        high = self.gap["any_look"]["high"]
        return None if low is None or high is None else (low, high)

    @property
    def sure_of_the_course(self) -> bool:
        """Whether the strategy was surely ahead over the course of the labels, at any look."""
        low = None if self.course is None else self.course["any_look"]["low"]
        return low is not None and low > 0

    @property
    def width_at_one_look(self) -> float:
        """How wide the gap's 95 % interval of one look is: how precisely it is known by now."""
        low = self.gap["low"]
        high = self.gap["high"]
        return math.inf if low is None or high is None else high - low

    def active_curve(self) -> list[CurvePoint]:
        """The points of the active arm."""
        return [row for row in self.curve if row["arm"] == "active"]


@dataclass(frozen=True)
class Alarm:
    """What was seen, and what to do about it."""

    seen: str
    remedy: str


Finding = Alarm | str | None  # an alarm, why there is no telling, or nothing


def alarms(evidence: Evidence) -> tuple[list[AlarmRow], list[UnjudgedRow]]:
    """The alarms that ring, and those that could not be judged."""
    raised: list[AlarmRow] = []
    unjudged: list[UnjudgedRow] = []
    for code, (title, check) in CHECKS.items():
        finding = check(evidence)
        if isinstance(finding, Alarm):
            raised.append(
                {"code": code, "title": title, "seen": finding.seen, "do": finding.remedy}
            )
        elif finding is not None:
            unjudged.append({"code": code, "title": title, "why": finding})
    return raised, unjudged


def _tracks_random(evidence: Evidence) -> Finding:
    too_small = _control_too_small(evidence)
    if isinstance(too_small, Alarm):
        return "the control arm is too small to tell"
    if too_small is not None:
        return too_small
    value = evidence.gap["active_minus_random"]
    interval = evidence.interval_of_gap
    if value is None or interval is None:
        return NOTHING_OF_ITS_OWN
    low, high = interval
    saved_at_least = evidence.saving["any_look"]["low"]
    surely_saved = saved_at_least is not None and saved_at_least > 0
    if low > 0 or surely_saved or evidence.sure_of_the_course:
        return None
    measured = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
    seen = f"active - random = {measured} at {evidence.gap['labels']} labels"
    if value > 0 and high > RELEVANT:
        return f"{seen}: ahead, not yet surely"
    remedy = (
        "a saving is not shown: check calibration, try another query.strategy (`rounds backtest`)"
    )
    return Alarm(seen, remedy)


def _stalls_while_doubts_rise(evidence: Evidence) -> Finding:
    accuracy = [row["accuracy"] for row in evidence.active_curve()][-ROUNDS_TO_TELL:]
    doubts = evidence.doubts[-ROUNDS_TO_TELL:]
    if min(len(accuracy), len(doubts)) < ROUNDS_TO_TELL:
        return UNJUDGED
    # The difference of two Poisson counts of the same mean has the variance of their sum.
    by_chance = ONE_SIDED * math.sqrt(doubts[0] + doubts[-1])
    if accuracy[-1] > accuracy[0] or doubts[-1] - doubts[0] <= by_chance:
        return None
    return Alarm(
        f"accuracy went from {accuracy[0]:.3f} to {accuracy[-1]:.3f}, "
        f"doubted labels from {doubts[0]} to {doubts[-1]}",
        "people err: raise query.review_fraction, sharpen surface.instructions, "
        "see the annotators' agreement",
    )


def _redundant(evidence: Evidence) -> Finding:
    if not evidence.redundancy:
        return "nothing was asked yet"
    last = evidence.redundancy[-1]
    if last["share"] is None:
        return "the last round asked fewer than two new rows"
    if last["share"] <= evidence.most_redundant:
        return None
    return Alarm(
        f"{last['near_duplicates']} of {last['asked']} rows of round {last['round']} "
        "nearly repeat another",
        "use a strategy with a diversity term: query.strategy: auto",
    )


def _class_stays_behind(evidence: Evidence) -> Finding:
    """The rarest class below the floor whose recall is not clearly up, while accuracy is."""
    active = evidence.active_curve()
    if len(active) < ROUNDS_TO_TELL:
        return UNJUDGED
    first = active[0]
    last = active[-1]
    if last["accuracy"] <= first["high"]:
        return None
    now = _recall_at(evidence, last["round"])
    then = _recall_at(evidence, first["round"])
    for label, row in sorted(now.items(), key=lambda item: item[1]["support"]):
        before = then.get(label, row)
        if row["high"] < evidence.recall_floor and row["recall"] <= before["high"]:
            return Alarm(
                f"recall of {label!r} went from {before['recall']:.2f} to {row['recall']:.2f} "
                "while accuracy rose",
                "add seed examples of the class, or let the model count classes alike: "
                "class_weight: balanced in model.params, which `rounds init` sets for texts",
            )
    unseen = [label for label in evidence.labels_of if label not in now]
    return f"no row that judges is of {_named(unseen)}" if unseen else None


def _recall_at(evidence: Evidence, number: int) -> dict[str, RecallRow]:
    """The active arm's recall rows of a round, by class."""
    return {
        row["class"]: row
        for row in evidence.recall
        if row["arm"] == "active" and row["round"] == number
    }


def _named(labels: list[str]) -> str:
    return ", ".join(map(repr, labels[:NAMED]))


def _confidence_lies(evidence: Evidence) -> Finding:
    why = str(evidence.calibration["why"])
    if evidence.calibration["verdict"] == "unknown":
        return why
    if evidence.calibration["verdict"] == "trusted":
        return None
    remedy = "set calibrate.method: auto, or change the model; until then diversity alone chooses"
    return Alarm(why, remedy)


def _leaks(evidence: Evidence) -> Finding:
    if evidence.leaked is None:
        labelled = any(evidence.labels_of.values())
        return "there is no test set" if labelled else "nothing is labelled yet"
    if evidence.leaked <= evidence.most_leaked:
        return None
    return Alarm(
        f"{evidence.leaked:.1%} of the test rows are, or nearly are, labelled rows: "
        "accuracy is flattered",
        "remove them from the test table",
    )


def _class_never_seen(evidence: Evidence) -> Finding:
    if evidence.rounds < ROUNDS_TO_TELL:
        return EARLY
    never = [label for label, count in evidence.labels_of.items() if not count]
    if not never:
        return None
    more = f" and {len(never) - NAMED} more" if len(never) > NAMED else ""
    return Alarm(
        f"no label of {_named(never)}{more} after {evidence.rounds} rounds",
        "add seed examples of it, or take it out of params.labels",
    )


def _control_too_small(evidence: Evidence) -> Finding:
    if evidence.rounds < ROUNDS_TO_TELL:
        return EARLY
    labels = evidence.control
    wait = ", or wait" if labels else ""
    remedy = f"raise query.control_fraction{wait}: the proof needs labels drawn at random"
    if labels < TELLING_LABELS:
        return Alarm(f"{labels} labels drawn at random", remedy)
    if evidence.interval_of_gap is None:
        return NOTHING_OF_ITS_OWN
    low, high = evidence.interval_of_gap
    width = evidence.width_at_one_look
    told = not low <= 0 <= high or evidence.sure_of_the_course
    if width <= TELLING_WIDTH or told:
        return None
    if evidence.leaked is not None:  # there is a test set
        remedy = (
            "give more test rows, raise query.control_fraction, or wait: "
            "all of them narrow the interval"
        )
    return Alarm(
        f"the interval of the gap between the arms is {width:.3f} wide, from {labels} labels",
        remedy,
    )


CHECKS: dict[str, tuple[str, Callable[[Evidence], Finding]]] = {
    "V001": ("active learning tracks random sampling", _tracks_random),
    "V002": ("accuracy stalls while doubted labels rise", _stalls_while_doubts_rise),
    "V003": ("redundant queries", _redundant),
    "V004": ("a class stays behind while accuracy rises", _class_stays_behind),
    "V005": ("the model's confidence cannot be trusted", _confidence_lies),
    "V007": ("the test set leaks", _leaks),
    "V008": ("a class was never seen", _class_never_seen),
    "V009": ("the control arm is too small to tell", _control_too_small),
}
