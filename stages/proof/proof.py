"""The whole proof: curves, gap, saving, stopping panel and alarms of a project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats, Ints, Matrix
from stages.contract.canonical import Row
from stages.contract.params import Params
from stages.proof.alarms import Evidence, alarms
from stages.proof.curve import confusion, learning_curve, next_batch, overall, without
from stages.proof.gap import HALVES, STEPS, compare
from stages.proof.history import ARMS, History, points
from stages.proof.refits import Judged, Refits, judge_on_control, judge_on_test
from stages.proof.stopping import (
    circumstances,
    circumstances_before,
    own_confidence_holds,
    panel,
    stop_set,
    stopping_points,
)
from stages.store.index import Features, Index
from stages.store.near import leakage, near_in


@dataclass(frozen=True)
class Proof:
    """validate's metrics, and the rows of its plots."""

    facts: Row
    curve: list[Row]
    recall: list[Row]
    redundancy: list[Row]
    stopping: list[Row]
    confusion: list[Row]


def prove(
    history: History, index: Index, matrix: Matrix, geometry: NDArray[np.float32], truth: Ints, shipped: Floats,
    calibration: Row, answers: int, params: Params, tick: Callable[[], object] = int,
) -> Proof:  # fmt: skip
    """Both arms' curves, their gap, the saving, the stopping panel and the alarms.

    truth: (n_test,) classes of the test rows, empty without a test set; shipped: (n_test, k) what
    the model of all accepted labels says of them, calibrated; calibration: calibrate's facts;
    answers: how many were spent; tick: see Refits.
    """
    sample = stop_set(index, params.seed)
    near = near_in(Features(index, matrix, geometry), params.seed, params.quality.near_duplicate)
    refits = Refits(index, matrix, params, tick)
    judge = judge_on_test(refits, truth) if len(truth) else judge_on_control(refits, history)
    n_jobs = params.compute.n_jobs
    curve, recall = learning_curve(history, judge, params, n_jobs)
    gap, saving = compare(history, judge, params, n_jobs)
    stopping = stopping_points(history, refits, sample, curve, params, n_jobs)
    labelled = history.arm("all", history.rounds, params.labels, params.seed)
    passed = set(history.control(history.rounds, params.seed))
    counts = np.bincount(
        np.array(list(labelled.values()), dtype=np.intp), minlength=len(params.labels)
    ).tolist()
    facts: Row = {
        "round": history.rounds,
        "judged_on": "test set" if len(truth) else "control arm, cross-validated",
    }
    for arm in ARMS:
        rows = [row for row in curve if row["arm"] == arm]
        facts[arm] = without(rows[-1], ("arm", "round")) if rows else None
        if rows:
            last = [
                row for row in recall if row["arm"] == arm and row["round"] == rows[-1]["round"]
            ]
            facts[arm] |= {
                name: {row["class"]: row[name] for row in last} for name in ("recall", "precision")
            }
    facts |= {"difference": gap, "saving": saving, "next_100": next_batch(curve, 100)}
    now = circumstances(curve, answers, params, trusted=own_confidence_holds(calibration, params))
    earlier = circumstances_before(history, stopping, curve, judge, answers, params)
    facts["stopping"] = panel(stopping, now, earlier)
    evidence = Evidence(
        rounds=history.rounds,
        gap=gap,
        saving=saving,
        control=sum(item in passed for item in labelled),
        curve=curve,
        recall=recall,
        redundancy=history.redundancy,
        doubts=history.doubts,
        calibration=calibration,
        labels_of=dict(zip(params.labels, counts, strict=True)),
        leaked=leakage(list(labelled), index, near),
        recall_floor=params.validate_.recall_floor,
        most_redundant=params.gate.limits.redundancy,
        most_leaked=params.gate.limits.leakage,
    )
    facts["alarms"], facts["not_judged"] = alarms(evidence)
    told = Judged(truth, shipped) if len(truth) and calibration["fitted"] else None
    facts["shipped"] = {"labels": len(labelled), **overall(told, params)} if told else None
    errors = confusion(told, params.labels) if told else []
    # the chart draws the limit that the alarm reads
    redundancy = [{**row, "limit": params.gate.limits.redundancy} for row in history.redundancy]
    return Proof(facts, curve, recall, redundancy, stopping, errors)


def most_fits(rounds: int, params: Params, *, tested: bool) -> int:
    """How many models `prove` fits at most: both arms at all points, in steps and halves; one a point for the panel."""
    at = len(points(rounds, params.validate_.max_points))
    judged = len(ARMS) * (at + HALVES) + STEPS + 5
    return judged * (1 if tested else params.quality.folds) + at


def _sentence(facts: Row) -> str:
    told = [
        f"{arm} {facts[arm]['accuracy']:.3f} at {facts[arm]['labels']} labels"
        for arm in ARMS
        if facts[arm]
    ]
    raised = ", ".join(alarm["code"] for alarm in facts["alarms"]) or "none"
    advice = facts["stopping"]["advice"]
    return f"validate: round {facts['round']}: {'; '.join(told) or 'nothing to judge yet'}; {advice}; alarms: {raised}"
