"""The stopping panel: ten signs that more labels bring little, and the advice they add up to. A person decides.

Every point is one round: what its model says of the stop set (a fixed random sample of the pool),
beside what the model of the round before said. The advice is to stop when stabilizing predictions
and one other sign agree for two rounds, or when the budget is spent. A sign that cannot be judged
says so; it never counts as agreement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.answers.budget import answers_left
from stages.contract.arrays import Ints
from stages.contract.canonical import Row
from stages.contract.params import Params
from stages.learning.classifier import together
from stages.learning.scoring import calibrated_ece, expected_calibration_error
from stages.proof.curve import next_batch
from stages.proof.history import ARMS, History, Labelled, points
from stages.proof.refits import Judge, Refits
from stages.store.index import Index

WINDOW = 3
PLATEAU = 0.005
KAPPA = 0.99
CHANGE_OF_F = 0.005
EXPECTED_ERROR = 0.02
CONVERGED = 5e-5
SELECTED = 0.9
PRIMARY = "stabilizing predictions"


def kappa(before: Ints, after: Ints, n_classes: int) -> float:
    """Cohen's kappa of two models' classes of the same rows, at most 1; 1 where both give one and the same class.

    Source: Cohen, "A coefficient of agreement for nominal scales" (1960).
    """
    agreed = float((before == after).mean())
    share = [
        np.bincount(classes, minlength=n_classes) / len(classes) for classes in (before, after)
    ]
    chance = float(share[0] @ share[1])
    return 1.0 if chance == 1 else (agreed - chance) / (1 - chance)


def predicted_change_of_f(before: Ints, after: Ints, n_classes: int) -> float:
    """How much F would change if the newer model were right wherever the two differ, in [0, 1]; mean over classes.

    Per class 1 - 2a / (2a + b + c): a rows of both, b of the older and c of the newer model alone.
    Source: Altschuler, Bloodgood, "Stopping active learning based on predicted change of F measure"
    (2019).
    """
    changes = []
    for place in range(n_classes):
        old, new = before == place, after == place
        total = int(old.sum() + new.sum())
        if total:
            changes.append(1 - 2 * int((old & new).sum()) / total)
    return float(np.mean(changes))


@dataclass(frozen=True)
class Means:
    """What the panel weighs beside the points: the loop's circumstances at the last point.

    budget_left: answers, None for no limit; batch: rows of the next batch; trusted: may the model's
    own confidence be believed; gain: what the next batch brings (see _curves.next_labels);
    point_worth: labels that one point of accuracy is worth, None where nobody has said.
    """

    budget_left: int | None
    batch: int
    trusted: bool
    gain: Row | None
    point_worth: float | None


@dataclass(frozen=True)
class Sign:
    """One criterion: its value at the last of some points (None: not to be judged, with the reason), and the limit."""

    name: str
    value: Callable[[list[Row], Means], float | str]
    limit: float
    at_least: bool = False


def _mean_of(key: str) -> Callable[[list[Row], Means], float | str]:
    """The mean of a column over the last WINDOW points."""

    def value(points: list[Row], _means: Means) -> float | str:
        recent = [row[key] for row in points[-WINDOW:] if row[key] is not None]
        return float(np.mean(recent)) if len(recent) == WINDOW else f"needs {WINDOW} rounds"

    return value


def _gain_of(key: str) -> Callable[[list[Row], Means], float | str]:
    """How far the best of the last WINDOW points is above the best before them."""

    def value(points: list[Row], _means: Means) -> float | str:
        found = [row[key] for row in points if row[key] is not None]
        if len(found) <= WINDOW:
            return f"needs {WINDOW + 1} judged rounds"
        return float(max(found[-WINDOW:]) - max(found[:-WINDOW]))

    return value


def _budget(_points: list[Row], means: Means) -> float | str:
    return "no budget is set" if means.budget_left is None else float(means.budget_left)


def _expected_error(points: list[Row], means: Means) -> float | str:
    if not means.trusted:
        return "the model's own confidence is not trusted"
    return float(1 - points[-1]["expected_accuracy"])


def _convergence(points: list[Row], _means: Means) -> float | str:
    """The mean change of expected accuracy per label over the last WINDOW rounds, without its sign."""
    if len(points) <= WINDOW:
        return f"needs {WINDOW + 1} rounds"
    first, last = points[-WINDOW - 1], points[-1]
    more = last["labels"] - first["labels"]
    return (
        abs(last["expected_accuracy"] - first["expected_accuracy"]) / more
        if more > 0
        else "no new labels"
    )


def _selected(points: list[Row], _means: Means) -> float | str:
    found = points[-1]["selected_accuracy"]
    return "nothing new was answered" if found is None else float(found)


def _marginal(_points: list[Row], means: Means) -> float | str:
    """What the next batch is worth at best, in labels, less what it costs."""
    if means.point_worth is None:
        return "validate.point_worth is not set"
    if means.gain is None:
        return "too few rounds to extrapolate"
    return float(100 * means.gain["high"] * means.point_worth - means.batch)


SIGNS = (
    Sign("budget exhausted", _budget, 0.0),
    Sign(PRIMARY, _mean_of("kappa"), KAPPA, at_least=True),  # Bloodgood, Vijay-Shanker (2009)
    Sign(
        "predicted change of F", _mean_of("change_of_f"), CHANGE_OF_F
    ),  # Altschuler, Bloodgood (2019)
    Sign(
        "classification change", _mean_of("changed"), 0.0
    ),  # Zhu, Wang, Hovy, "Multi-criteria-based" (2008)
    Sign("performance convergence", _convergence, CONVERGED),  # Laws, Schuetze (2008)
    Sign(
        "uncertainty floor", _expected_error, EXPECTED_ERROR
    ),  # Zhu, Wang, Hovy (2008), overall uncertainty
    Sign("selected accuracy", _selected, SELECTED, at_least=True),  # Zhu, Wang, Hovy (2008)
    Sign("accuracy plateau", _gain_of("active_accuracy"), PLATEAU),
    Sign("random-arm plateau", _gain_of("random_accuracy"), PLATEAU),
    Sign("marginal value", _marginal, 0.0),
)


def readings(points: list[Row], means: Means) -> list[Row]:
    """What every sign says at the last point: name, value, limit, says (stop, go on, not judged), why."""
    rows = []
    for sign in SIGNS:
        value = sign.value(points, means) if points else "no model yet"
        row: Row = {
            "name": sign.name,
            "value": None,
            "limit": sign.limit,
            "at_least": sign.at_least,
        }
        if isinstance(value, str):
            rows.append({**row, "says": "not judged", "why": value})
            continue
        above = round(value - sign.limit, 9)
        reached = above >= 0 if sign.at_least else above <= 0
        rows.append({**row, "value": value, "says": "stop" if reached else "go on", "why": ""})
    return rows


def agreement(rows: list[Row]) -> bool:
    """Whether stabilizing predictions and one other sign say stop."""
    said = {row["name"] for row in rows if row["says"] == "stop"}
    return PRIMARY in said and len(said) > 1


def panel(points: list[Row], means: Means, before: Means) -> Row:
    """The advice (stop, go on, not yet known), why, and the signs.

    means, before: the circumstances now, and at the point before the last: its budget, its gain,
    its trust.

    points: one row per round, oldest first, with round, labels, kappa, change_of_f, changed (null
    at the first), expected_accuracy, selected_accuracy, active_accuracy, random_accuracy (null
    where not judged).
    """
    signs = readings(points, means)
    primary = next(row for row in signs if row["name"] == PRIMARY)
    earlier = readings(points[:-1], before)
    said = ", ".join(row["name"] for row in signs if row["says"] == "stop")
    if means.budget_left is not None and means.budget_left <= 0:
        advice, why = "stop", "the budget is spent"
    elif agreement(signs) and agreement(earlier):
        advice, why = "stop", f"for two rounds: {said}"
    elif primary["says"] == "not judged":
        advice, why = "not yet known", primary["why"]
    elif agreement(signs):
        advice, why = "go on", f"for one round only: {said}"
    else:
        advice, why = "go on", f"only: {said}" if said else "no sign says stop"
    return {"advice": advice, "why": why, "signs": signs}


STOP_SET = 2000


def stop_set(index: Index, seed: int) -> Ints:
    """Rows of a fixed random sample of the pool: the last of the permutation, which the control arm reaches last.

    Source: Bloodgood, Vijay-Shanker, "A method for stopping active learning based on stabilizing
    predictions" (2009).
    """
    return index.last(seed, STOP_SET)


def stopping_points(
    history: History,
    refits: Refits,
    sample: Ints,
    curve: list[Row],
    params: Params,
    n_jobs: int = 1,
) -> list[Row]:
    """One row per point for the panel (see stages/proof/stopping.py): each round's model beside the one before it.

    A round that taught nothing (all was skipped) is no point: that its model says the same is no
    sign of anything.
    """
    accuracy = {(row["arm"], row["round"]): row["accuracy"] for row in curve}
    known: list[tuple[int, Labelled]] = []
    for upto in points(history.rounds, params.validate_.max_points) if len(sample) else ():
        labelled = history.arm("all", upto, params.labels, params.seed)
        if labelled and not (known and known[-1][1] == labelled):
            known.append((upto, labelled))
    steps: list[
        tuple[int, Labelled, Labelled]
    ] = []  # the point, its labels, and those that the strategy asked next
    for place, (upto, labelled) in enumerate(known):
        later = known[place + 1 :]
        active = history.arm("active", later[0][0], params.labels, params.seed) if later else {}
        steps.append(
            (
                upto,
                labelled,
                {item: label for item, label in active.items() if item not in labelled},
            )
        )
    asked = [refits.index.locate(list(new), "build/labels/asked.jsonl") for _, _, new in steps]
    wanted = [
        (step[1], np.concatenate([sample, rows])) for step, rows in zip(steps, asked, strict=True)
    ]
    found = together(lambda one: refits(*one), wanted, n_jobs)
    rows: list[Row] = []
    before: Ints | None = None
    right: float | None = None
    n_classes = len(params.labels)
    for (upto, labelled, new), probabilities in zip(steps, found, strict=True):
        row: Row = {
            "round": upto,
            "labels": len(labelled),
            "kappa": None,
            "change_of_f": None,
            "changed": None,
        }
        row |= {
            "selected_accuracy": right,
            **{f"{arm}_accuracy": accuracy.get((arm, upto)) for arm in ARMS},
        }
        guessed = np.asarray(probabilities.argmax(axis=1), dtype=np.intp)
        now, right = guessed[: len(sample)], None
        if new:
            right = float((guessed[len(sample) :] == np.array(list(new.values()))).mean())
        row["expected_accuracy"] = float(probabilities[: len(sample)].max(axis=1).mean())
        if before is not None:
            row["kappa"] = kappa(before, now, n_classes)
            row["change_of_f"] = predicted_change_of_f(before, now, n_classes)
            row["changed"] = float((before != now).mean())
        rows.append(row)
        before = now
    return rows


def circumstances(curve: list[Row], answers: int, params: Params, *, trusted: bool) -> Means:
    """What the stopping panel must know besides its points, after so many answers."""
    return Means(
        budget_left=answers_left(params, answers),
        batch=params.query.batch_size,
        trusted=trusted,
        gain=next_batch(curve, params.query.batch_size),
        point_worth=params.validate_.point_worth,
    )


def circumstances_before(
    history: History,
    stopping: list[Row],
    curve: list[Row],
    judge: Judge,
    answers: int,
    params: Params,
) -> Means:
    """The circumstances of the panel's point before the last, as they were then."""
    at = stopping[-2]["round"] if len(stopping) > 1 else 0
    later = sum(
        row["round"] > at and row["kind"] not in ("override", "retract") for row in history.events
    )
    then = [row for row in curve if row["round"] <= at]
    held = own_confidence_held(history, at, judge, params)
    return circumstances(then, answers - later, params, trusted=held)


def own_confidence_holds(calibration: Row, params: Params) -> bool:
    """Whether the model's probabilities were right before calibration: earlier models have no other."""
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
    drawn, labelled = (
        history.arm(arm, upto, params.labels, params.seed) for arm in ("random", "active")
    )
    if len(drawn) < params.calibrate.min_random_labels:
        return False
    judged = judge(labelled, upto)  # the curve has asked it already: no model is fitted anew
    if judged is None:
        return False
    confidence, options = judged.probabilities.max(axis=1), params.calibrate
    ece = expected_calibration_error(confidence, judged.correct, options.bins)
    return bool(ece - calibrated_ece(confidence, options.bins, params.seed) <= options.max_ece)
