"""The rows of validate's metrics and plots: one record type for the rows of each.

plots/learning_curve.json    MarkedPoint   an arm after a round, judged
plots/recall.json            RecallRow     a class of such a point
plots/redundancy.json        RedundancyRow near duplicates among the new rows of each round
plots/stopping.json          StoppingPoint the model of a round beside that of the round before
plots/confusion.json         Confusion     how often a class was taken for another
metrics/validate.json        Gap, Saving, CourseFacts, Panel, Gain, Alarm rows
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from stages.answers.ledger import Redundancy


class Overall(TypedDict):
    """How good one model is; low, high: Wilson's 95 % interval of the accuracy."""

    accuracy: float
    low: float
    high: float
    macro_f1: float
    log_loss: float
    ece: float


class CurvePoint(Overall):
    """An arm's model after a round.

    minutes: of people's time that its labels took; None without times.
    """

    arm: str
    round: int
    labels: int
    minutes: float | None


class MarkedPoint(CurvePoint):
    """A point as the chart shows it.

    changed: what had changed of the labels since the arm's point before, only where something had.
    """

    changed: NotRequired[str]


# The class stands under a name that Python keeps for itself. low, high: of the recall.
RecallRow = TypedDict(
    "RecallRow",
    {
        "arm": str,
        "round": int,
        "labels": int,
        "class": str,
        "support": int,
        "predicted": int,
        "recall": float,
        "low": float,
        "high": float,
        "precision": float | None,
        "precision_low": float,
        "precision_high": float,
        "f1": float | None,
    },
)


class RedundancyRow(Redundancy):
    """The gate's row, with the limit that the chart draws."""

    limit: float


class Confusion(TypedDict):
    """How many rows of a class were taken for which."""

    actual: str
    predicted: str
    count: int


class Interval(TypedDict):
    """A 95 % interval; None: not judged."""

    low: float | None
    high: float | None


class Looks(Interval):
    """low, high: right for one look that was fixed beforehand; any_look: at all rounds together."""

    any_look: Interval


class Gap(Looks):
    """Active minus random accuracy at equal labels; None: not judged."""

    labels: int
    active_minus_random: float | None


class Saving(Looks):
    """The labels saved at equal accuracy; None: not judged.

    Infinite (in JSON null) where the active curve has not got there.
    """

    labels: int
    saved: float | None


class SavedLabels(Looks):
    """The labels saved on average over the course; None: not judged."""

    labels: float | None


class CourseFacts(Looks):
    """The gap over the course, in metrics/validate.json; None: not judged.

    round: after which the labels were known; labels: of either arm at the last step; control: the
    control labels that were drawn from; judge_rows: those that judge; error_of_rows: the standard
    error by judging few rows; error_of_draws: by the draw of labels; saved: labels, on average over
    the course, with intervals.
    """

    round: int
    labels: int
    control: int
    judge_rows: int
    active_minus_random: float | None
    error_of_rows: float | None
    error_of_draws: float | None
    saved: SavedLabels


class PoolValue(TypedDict):
    """A share of the pool with its 95 % interval of one look.

    worth: about how many labels drawn at random would know it as well without a model; None where
    that cannot be said.
    """

    value: float
    low: float
    high: float
    worth: float | None


class PoolFacts(TypedDict):
    """What control labels and the model together say of the pool; share, recall: by class."""

    control_labels: int
    accuracy: PoolValue
    share: dict[str, PoolValue]
    recall: dict[str, PoolValue]


class Gain(TypedDict):
    """The accuracy that so many more labels bring, with a 95 % band."""

    labels: float
    gain: float
    low: float
    high: float


class Change(TypedDict):
    """How the classes of the stop set changed since the point before; None at the first."""

    kappa: float | None
    change_of_f: float | None
    changed: float | None


class StoppingPoint(Change):
    """What the stopping panel reads of the model of a round.

    expected_accuracy: by its own confidence, on the stop set; selected_accuracy: of the model
    before, on what the strategy asked next; active_accuracy, random_accuracy: of the curve. None:
    not judged.
    """

    round: int
    labels: int
    expected_accuracy: float
    selected_accuracy: float | None
    active_accuracy: float | None
    random_accuracy: float | None


class Reading(TypedDict):
    """What one sign of the panel says; value: None where it cannot be judged; why: the reason."""

    name: str
    value: float | None
    limit: float
    at_least: bool
    says: Literal["stop", "go on", "not judged"]
    why: str


class Panel(TypedDict):
    """The advice of the stopping panel, why, and its signs."""

    advice: str
    why: str
    signs: list[Reading]


class AlarmRow(TypedDict):
    """An alarm that rings: what was seen, and what to do about it."""

    code: str
    title: str
    seen: str
    do: str


class UnjudgedRow(TypedDict):
    """An alarm that could not be judged, and why."""

    code: str
    title: str
    why: str
