"""The learning curve of both arms, and the confusion of the present model."""

from __future__ import annotations

import numpy as np

from stages.contract.canonical import Row
from stages.contract.params import Params
from stages.learning.classifier import together
from stages.learning.scoring import (
    expected_calibration_error,
    macro_f1,
    negative_log_likelihood,
    per_class,
    wilson,
)
from stages.proof.gap import next_labels, seconds_per_id
from stages.proof.history import ARMS, History, points
from stages.proof.refits import Judge, Judged


def learning_curve(
    history: History, judge: Judge, params: Params, n_jobs: int = 1
) -> tuple[list[Row], list[Row]]:
    """The rows of both arms' learning curve, and of their precision and recall per class.

    minutes: of people's time that the arm's labels took until then, null without timestamps; the
    seed's are not known.
    """
    curve: list[Row] = []
    recall: list[Row] = []
    shown = points(history.rounds, params.validate_.max_points)
    until = {
        upto: seconds_per_id([row for row in history.events if row["round"] <= upto])
        for upto in shown
    }
    places = [(upto, arm) for upto in shown for arm in ARMS]
    arms = [history.arm(arm, upto, params.labels, params.seed) for upto, arm in places]
    wanted = [(labelled, upto) for labelled, (upto, _) in zip(arms, places, strict=True)]
    found = together(lambda one: judge(*one), wanted, n_jobs)
    for (upto, arm), labelled, judged in zip(places, arms, found, strict=True):
        if judged is None:
            continue
        place = {"arm": arm, "round": upto, "labels": len(labelled)}
        seconds = until[upto]
        minutes = (
            sum(seconds.get(item, 0.0) for item in labelled) / 60 if seconds or not upto else None
        )
        curve.append({**place, "minutes": minutes, **overall(judged, params)})
        classes = per_class(judged.truth, judged.predicted, len(params.labels))
        for label, row in zip(params.labels, classes, strict=True):
            if row["support"]:
                named = {"low": row["recall_low"], "high": row["recall_high"]}
                recall.append(
                    {
                        **place,
                        "class": label,
                        **named,
                        **without(row, ("recall_low", "recall_high")),
                    }
                )
    return curve, recall


def without(row: Row, keys: tuple[str, ...]) -> Row:
    """The row without some of its columns."""
    return {key: value for key, value in row.items() if key not in keys}


def overall(judged: Judged, params: Params) -> Row:
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


def next_batch(curve: list[Row], ahead: int) -> Row | None:
    """What so many more labels bring the active arm, by its curve so far."""
    rows = [row for row in curve if row["arm"] == "active"]
    labels, accuracy = (
        np.array([row[key] for row in rows], dtype=np.float64) for key in ("labels", "accuracy")
    )
    return next_labels(labels, accuracy, ahead)


def confusion(judged: Judged, labels: list[str]) -> list[Row]:
    """How often each class was taken for which: one row per pair that occurs."""
    pairs, counts = np.unique(
        np.stack([judged.truth, judged.predicted]), axis=1, return_counts=True
    )
    return [
        {"actual": labels[actual], "predicted": labels[predicted], "count": int(count)}
        for (actual, predicted), count in zip(pairs.T, counts, strict=True)
    ]
