"""The learning curve of both arms, and the confusion of the present model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.answers.pace import seconds_per_id
from stages.contract.params import Params
from stages.learning.classifier import together
from stages.learning.scoring import (
    expected_calibration_error,
    macro_f1,
    negative_log_likelihood,
    per_class,
    wilson,
)
from stages.proof.history import ARMS, History, LabelSet, points
from stages.proof.next_labels import next_labels
from stages.proof.refits import Judge, Judged
from stages.proof.tables import Confusion, CurvePoint, Gain, Overall, RecallRow


@dataclass(frozen=True)
class _Point:
    """An arm after a round, and the labels that it had then."""

    arm: str
    round: int
    labelled: LabelSet


def learning_curve(
    history: History, judge: Judge, params: Params, n_jobs: int = 1
) -> tuple[list[CurvePoint], list[RecallRow]]:
    """The rows of both arms' learning curve, and of their precision and recall per class.

    A point that cannot be judged is left out.
    """
    wanted = [
        _Point(arm, upto, history.arm(arm, upto, params.labels, params.seed))
        for upto in points(history.rounds, params.validate_.max_points)
        for arm in ARMS
    ]
    judged = together(lambda point: judge(point.labelled, point.round), wanted, n_jobs)
    curve: list[CurvePoint] = []
    recall: list[RecallRow] = []
    for point, verdict in zip(wanted, judged, strict=True):
        if verdict is not None:
            curve.append(
                {
                    "arm": point.arm,
                    "round": point.round,
                    "labels": len(point.labelled),
                    "minutes": _minutes(history, point),
                    **overall(verdict, params),
                }
            )
            recall += _recall(point, verdict, params.labels)
    return curve, recall


def _minutes(history: History, point: _Point) -> float | None:
    """Minutes of people's time that the labels took until then; None without timestamps.

    The seed's are not known, and count as none.
    """
    if not point.round:
        return 0.0
    seconds = seconds_per_id(row for row in history.events if row["round"] <= point.round)
    if not seconds:
        return None
    return sum(seconds.get(item, 0.0) for item in point.labelled) / 60


def _recall(point: _Point, judged: Judged, labels: list[str]) -> list[RecallRow]:
    """Precision and recall of each class that occurs in the truth."""
    classes = per_class(judged.truth, judged.predicted, len(labels))
    return [
        {
            "arm": point.arm,
            "round": point.round,
            "labels": len(point.labelled),
            "class": label,
            "support": row["support"],
            "predicted": row["predicted"],
            "recall": row["recall"],
            "low": row["recall_low"],
            "high": row["recall_high"],
            "precision": row["precision"],
            "precision_low": row["precision_low"],
            "precision_high": row["precision_high"],
            "f1": row["f1"],
        }
        for label, row in zip(labels, classes, strict=True)
        if row["recall"] is not None
    ]


def overall(judged: Judged, params: Params) -> Overall:
    """Accuracy with its Wilson interval, macro F1, log loss and ECE."""
    low, high = wilson(float(judged.correct.sum()), len(judged.truth))
    confidence = judged.probabilities.max(axis=1)
    return {
        "accuracy": float(judged.correct.mean()),
        "low": low,
        "high": high,
        "macro_f1": macro_f1(judged.truth, judged.predicted, len(params.labels)),
        "log_loss": float(negative_log_likelihood(judged.probabilities, judged.truth).mean()),
        "ece": expected_calibration_error(confidence, judged.correct, params.calibrate.bins),
    }


def next_batch(curve: list[CurvePoint], ahead: int) -> Gain | None:
    """What so many more labels bring the active arm, by its curve so far."""
    rows = [row for row in curve if row["arm"] == "active"]
    labels = np.array([row["labels"] for row in rows], dtype=np.float64)
    accuracy = np.array([row["accuracy"] for row in rows], dtype=np.float64)
    return next_labels(labels, accuracy, ahead)


def confusion(judged: Judged, labels: list[str]) -> list[Confusion]:
    """How often each class was taken for which: one row per pair that occurs."""
    pairs = np.stack([judged.truth, judged.predicted])
    distinct, counts = np.unique(pairs, axis=1, return_counts=True)
    return [
        {"actual": labels[actual], "predicted": labels[predicted], "count": int(count)}
        for (actual, predicted), count in zip(distinct.T, counts, strict=True)
    ]
