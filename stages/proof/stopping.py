"""The stopping panel: ten signs that more labels bring little, and the advice they add up to.

Every point is one round: what its model says of the stop set (a fixed random sample of the pool),
beside what the model of the round before said. The advice is to stop when stabilizing predictions
and one other sign agree for two rounds, or when the budget is spent. A person decides. A sign that
cannot be judged says so; it never counts as agreement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.answers.budget import answers_left
from stages.answers.ledger import NO_ANSWERS
from stages.contract.arrays import Floats, Ints
from stages.contract.params import Params
from stages.learning.calibration import CalibrationFacts
from stages.learning.classifier import together
from stages.learning.scoring import (
    calibrated_ece,
    cohen_kappa,
    expected_calibration_error,
    macro_f1,
)
from stages.proof.curve import next_batch
from stages.proof.history import History, LabelSet, points
from stages.proof.refits import Judge, Refits
from stages.proof.tables import Change, CurvePoint, Gain, Panel, Reading, StoppingPoint
from stages.store.index import Index

STOP_SET = 2000  # pool rows that successive models are compared on
WINDOW = 3  # points that a sign looks back on
PLATEAU = 0.005
KAPPA = 0.99
CHANGE_OF_F = 0.005
EXPECTED_ERROR = 0.02
CONVERGED = 5e-5
SELECTED = 0.9
PRIMARY = "stabilizing predictions"


def stability(before: Ints, after: Ints) -> float:
    """Cohen's kappa of two models' classes of the same rows, at most 1.

    1 where both give one and the same class, which kappa leaves undefined.
    """
    kappa = cohen_kappa(before.tolist(), after.tolist())
    return 1.0 if kappa is None else kappa


def predicted_change_of_f(before: Ints, after: Ints, n_classes: int) -> float:
    """How much F would change if the newer model were right wherever the two differ, in [0, 1].

    That is one minus the F of the older model against the newer one, mean over classes that occur.
    Source: Altschuler, Bloodgood, "Stopping active learning based on predicted change of F measure"
    (2019).
    """
    return 1 - macro_f1(before, after, n_classes)


@dataclass(frozen=True)
class Circumstances:
    """What the panel weighs beside the points, as it was at the last of them.

    budget_left: answers, None for no limit; batch: rows of the next batch; trusted: may the model's
    own confidence be believed; gain: what the next batch brings (stages/proof/next_labels.py);
    point_worth: labels that one point of accuracy is worth, None where nobody has said.
    """

    budget_left: int | None
    batch: int
    trusted: bool
    gain: Gain | None
    point_worth: float | None


# The value of a sign at the last of some points, or why it cannot be judged.
Value = Callable[[list[StoppingPoint], Circumstances], float | str]
Column = Literal["kappa", "change_of_f", "changed", "active_accuracy", "random_accuracy"]


@dataclass(frozen=True)
class Sign:
    """One criterion: it says stop at or below its limit, or at or above it."""

    name: str
    value: Value
    limit: float
    at_least: bool = False


def _mean_of(column: Column) -> Value:
    """The mean of a column over the last WINDOW points."""

    def value(points: list[StoppingPoint], _now: Circumstances) -> float | str:
        recent = [value for row in points[-WINDOW:] if (value := row[column]) is not None]
        if len(recent) < WINDOW:
            return f"needs {WINDOW} rounds"
        return float(np.mean(recent))

    return value


def _gain_of(column: Column) -> Value:
    """How far the best of the last WINDOW points is above the best before them."""

    def value(points: list[StoppingPoint], _now: Circumstances) -> float | str:
        judged = [value for row in points if (value := row[column]) is not None]
        if len(judged) <= WINDOW:
            return f"needs {WINDOW + 1} judged rounds"
        return float(max(judged[-WINDOW:]) - max(judged[:-WINDOW]))

    return value


def _budget(_points: list[StoppingPoint], now: Circumstances) -> float | str:
    """Answers left."""
    return "no budget is set" if now.budget_left is None else float(now.budget_left)


def _expected_error(points: list[StoppingPoint], now: Circumstances) -> float | str:
    """The error that the model itself expects on the stop set."""
    if not now.trusted:
        return "the model's own confidence is not trusted"
    return float(1 - points[-1]["expected_accuracy"])


def _convergence(points: list[StoppingPoint], _now: Circumstances) -> float | str:
    """The size of the mean change of expected accuracy per label over the last WINDOW rounds."""
    if len(points) <= WINDOW:
        return f"needs {WINDOW + 1} rounds"
    first = points[-WINDOW - 1]
    last = points[-1]
    more = last["labels"] - first["labels"]
    if more <= 0:
        return "no new labels"
    return float(abs(last["expected_accuracy"] - first["expected_accuracy"]) / more)


def _selected(points: list[StoppingPoint], _now: Circumstances) -> float | str:
    """The share of the last active picks that the model before them got right."""
    share = points[-1]["selected_accuracy"]
    return "nothing new was answered" if share is None else float(share)


def _marginal(_points: list[StoppingPoint], now: Circumstances) -> float | str:
    """What the next batch is worth at best, in labels, less what it costs."""
    if now.point_worth is None:
        return "validate.point_worth is not set"
    if now.gain is None:
        return "too few rounds to extrapolate"
    points_gained = 100 * now.gain["high"]
    return float(points_gained * now.point_worth - now.batch)


SIGNS = (
    Sign("budget exhausted", _budget, 0.0),
    # Source: Bloodgood, Vijay-Shanker (2009)
    Sign(PRIMARY, _mean_of("kappa"), KAPPA, at_least=True),
    # Source: Altschuler, Bloodgood (2019)
    Sign("predicted change of F", _mean_of("change_of_f"), CHANGE_OF_F),
    # Source: Zhu, Wang, Hovy, "Multi-criteria-based strategy to stop active learning" (2008)
    Sign("classification change", _mean_of("changed"), 0.0),
    # Source: Laws, Schuetze, "Stopping criteria for active learning of named entity
    # recognition" (2008)
    Sign("performance convergence", _convergence, CONVERGED),
    # Source: Zhu, Wang, Hovy (2008), overall uncertainty
    Sign("uncertainty floor", _expected_error, EXPECTED_ERROR),
    # Source: Zhu, Wang, Hovy (2008)
    Sign("selected accuracy", _selected, SELECTED, at_least=True),
    Sign("accuracy plateau", _gain_of("active_accuracy"), PLATEAU),
    Sign("random-arm plateau", _gain_of("random_accuracy"), PLATEAU),
    Sign("marginal value", _marginal, 0.0),
)


def readings(points: list[StoppingPoint], now: Circumstances) -> list[Reading]:
    """What every sign says at the last point."""
    return [_reading(sign, sign.value(points, now) if points else "no model yet") for sign in SIGNS]


def _reading(sign: Sign, value: float | str) -> Reading:
    """What a sign says at a value, or that it is not judged, for the reason that stands for one."""
    reading: Reading = {
        "name": sign.name,
        "limit": sign.limit,
        "at_least": sign.at_least,
        "value": None,
        "says": "not judged",
        "why": "",
    }
    if isinstance(value, str):
        return {**reading, "why": value}
    above = round(value - sign.limit, 9)
    reached = above >= 0 if sign.at_least else above <= 0
    return {**reading, "value": value, "says": "stop" if reached else "go on"}


def agreement(signs: list[Reading]) -> bool:
    """Whether stabilizing predictions and one other sign say stop."""
    stops = {row["name"] for row in signs if row["says"] == "stop"}
    return PRIMARY in stops and len(stops) > 1


def panel(points: list[StoppingPoint], now: Circumstances, before: Circumstances) -> Panel:
    """The advice (stop, go on, not yet known), why, and the signs.

    points: of stopping_points; now, before: the circumstances at the last point and at the one
    before it.
    """
    signs = readings(points, now)
    agreed_before = agreement(readings(points[:-1], before))
    advice, why = _advice(signs, now, agreed_before=agreed_before)
    return {"advice": advice, "why": why, "signs": signs}


def _advice(signs: list[Reading], now: Circumstances, *, agreed_before: bool) -> tuple[str, str]:
    stops = ", ".join(row["name"] for row in signs if row["says"] == "stop")
    primary = next(row for row in signs if row["name"] == PRIMARY)
    if now.budget_left is not None and now.budget_left <= 0:
        return "stop", "the budget is spent"
    if agreement(signs) and agreed_before:
        return "stop", f"for two rounds: {stops}"
    if primary["says"] == "not judged":
        return "not yet known", primary["why"]
    if agreement(signs):
        return "go on", f"for one round only: {stops}"
    return "go on", f"only: {stops}" if stops else "no sign says stop"


def stop_set(index: Index, seed: int) -> Ints:
    """Rows of a fixed random sample of the pool: those that the control arm would reach last.

    Source: Bloodgood, Vijay-Shanker, "A method for stopping active learning based on stabilizing
    predictions" (2009).
    """
    return index.last(seed, STOP_SET)


@dataclass(frozen=True)
class _Step:
    """A point of the panel: its round, the labels known then, those the strategy asked for next."""

    round: int
    labelled: LabelSet
    next: LabelSet


def stopping_points(
    history: History,
    refits: Refits,
    sample: Ints,
    curve: list[CurvePoint],
    params: Params,
    n_jobs: int = 1,
) -> list[StoppingPoint]:
    """One row per round that taught something: its model beside that of the round before.

    A round that taught nothing (all was skipped) is no point: that its model says the same is no
    sign of anything. sample: the stop set; empty, there are no points.
    """
    steps = _steps(history, params) if len(sample) else []
    # One question to each model: the stop set, then what the strategy asked next.
    asked = [refits.index.locate(list(step.next), "build/labels/asked.jsonl") for step in steps]
    rows = [np.concatenate([sample, of_step]) for of_step in asked]
    wanted = [(step.labelled, of_step) for step, of_step in zip(steps, rows, strict=True)]
    probabilities = together(lambda question: refits(*question), wanted, n_jobs)
    accuracy = {(row["arm"], row["round"]): row["accuracy"] for row in curve}
    result: list[StoppingPoint] = []
    before: Ints | None = None
    selected_accuracy: float | None = None
    for step, answer in zip(steps, probabilities, strict=True):
        of_stop_set = answer[: len(sample)]
        classes = np.asarray(of_stop_set.argmax(axis=1), dtype=np.intp)
        result.append(
            {
                "round": step.round,
                "labels": len(step.labelled),
                "expected_accuracy": float(of_stop_set.max(axis=1).mean()),
                "selected_accuracy": selected_accuracy,
                "active_accuracy": accuracy.get(("active", step.round)),
                "random_accuracy": accuracy.get(("random", step.round)),
                **_change(before, classes, len(params.labels)),
            }
        )
        before = classes
        selected_accuracy = _share_right(answer[len(sample) :], step.next)
    return result


def _steps(history: History, params: Params) -> list[_Step]:
    taught: list[tuple[int, LabelSet]] = []
    for upto in points(history.rounds, params.validate_.max_points):
        labelled = history.arm("all", upto, params.labels, params.seed)
        if labelled and not (taught and taught[-1][1] == labelled):
            taught.append((upto, labelled))
    steps: list[_Step] = []
    for number, (upto, labelled) in enumerate(taught):
        active: LabelSet = {}
        if number + 1 < len(taught):
            later = taught[number + 1][0]
            active = history.arm("active", later, params.labels, params.seed)
        asked_next = {item: label for item, label in active.items() if item not in labelled}
        steps.append(_Step(upto, labelled, asked_next))
    return steps


def _change(before: Ints | None, after: Ints, n_classes: int) -> Change:
    """How the classes of the stop set changed since the point before; None at the first."""
    if before is None:
        return {"kappa": None, "change_of_f": None, "changed": None}
    return {
        "kappa": stability(before, after),
        "change_of_f": predicted_change_of_f(before, after, n_classes),
        "changed": float((before != after).mean()),
    }


def _share_right(probabilities: Floats, labelled: LabelSet) -> float | None:
    if not labelled:
        return None
    classes = np.array(list(labelled.values()))
    return float((probabilities.argmax(axis=1) == classes).mean())


def circumstances(
    curve: list[CurvePoint], answers: int, params: Params, *, trusted: bool
) -> Circumstances:
    """What the stopping panel must know besides its points, after so many answers."""
    return Circumstances(
        budget_left=answers_left(params, answers),
        batch=params.query.batch_size,
        trusted=trusted,
        gain=next_batch(curve, params.query.batch_size),
        point_worth=params.validate_.point_worth,
    )


def circumstances_before(
    history: History,
    stopping: list[StoppingPoint],
    curve: list[CurvePoint],
    judge: Judge,
    answers: int,
    params: Params,
) -> Circumstances:
    """The circumstances of the panel's point before the last, as they were then.

    answers: how many there are now.
    """
    at = stopping[-2]["round"] if len(stopping) > 1 else 0
    later = sum(row["round"] > at and row["kind"] not in NO_ANSWERS for row in history.events)
    curve_then = [row for row in curve if row["round"] <= at]
    trusted = own_confidence_held(history, at, judge, params)
    return circumstances(curve_then, answers - later, params, trusted=trusted)


def own_confidence_holds(calibration: CalibrationFacts, params: Params) -> bool:
    """Whether the probabilities were right before calibration: earlier models have no other."""
    if calibration["verdict"] != "trusted":
        return False
    before = calibration["before"]
    return bool(before["ece"] - before["ece_by_chance"] <= params.calibrate.max_ece)


def own_confidence_held(history: History, upto: int, judge: Judge, params: Params) -> bool:
    """`own_confidence_holds` for the active arm's model of an earlier round.

    What calibrate said then is not kept, so its rule is applied anew, to the rows that judge the
    curve: too few labels drawn at random are no reason to trust, and what chance explains of the
    ECE is no reason not to.
    """
    random = history.arm("random", upto, params.labels, params.seed)
    if len(random) < params.calibrate.min_random_labels:
        return False
    active = history.arm("active", upto, params.labels, params.seed)
    judged = judge(active, upto)  # the curve has asked it already: no model is fitted anew
    if judged is None:
        return False
    options = params.calibrate
    confidence = judged.probabilities.max(axis=1)
    ece = expected_calibration_error(confidence, judged.correct, options.bins)
    by_chance = calibrated_ece(confidence, options.bins, params.seed)
    return bool(ece - by_chance <= options.max_ece)
