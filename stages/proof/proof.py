"""The whole proof: curves, gap, saving, stopping panel and alarms of a project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from stages.answers.arms import JUDGE
from stages.contract.arrays import Floats, Ints
from stages.contract.canonical import Row
from stages.contract.params import Params
from stages.learning.calibration import CalibrationFacts, CalibrationFile
from stages.proof.alarms import Evidence, alarms
from stages.proof.cost import proof_cost
from stages.proof.course import MODELS, course_facts
from stages.proof.curve import confusion, learning_curve, next_batch, overall
from stages.proof.gap import BEYOND, HALVES, STEPS, compare
from stages.proof.history import ARMS, History, LabelSet, points
from stages.proof.refits import Judge, Judged, Refits, judge_on_control, judge_on_test
from stages.proof.scheme_marks import Scheme, coarse_judge, coarser, judged_as
from stages.proof.stopping import (
    circumstances,
    circumstances_before,
    own_confidence_holds,
    panel,
    stop_set,
    stopping_points,
)
from stages.proof.tables import (
    Confusion,
    CourseFacts,
    CurvePoint,
    Gap,
    MarkedPoint,
    Panel,
    RecallRow,
    RedundancyRow,
    Saving,
    StoppingPoint,
)
from stages.store.index import Features
from stages.store.near import leakage, near_in

NEVER_CHANGED = Scheme()


@dataclass(frozen=True)
class Shipped:
    """The model of all accepted labels, as train and calibrate hand it over.

    truth: (n_test,) classes of the test rows, -1 for one whose class was retired, empty without a
    test set; probabilities: (n_test, k) what it says of them, calibrated; calibration: calibrate's
    facts.
    """

    truth: Ints
    probabilities: Floats
    calibration: CalibrationFile

    @property
    def judged(self) -> Judged | None:
        """What it says of the test rows; None without a test set, or without a model."""
        if not len(self.truth) or not self.calibration["fitted"]:
            return None
        judges = self.truth >= 0
        return Judged(self.truth[judges], self.probabilities[judges])


@dataclass(frozen=True)
class Proof:
    """validate's metrics, and the rows of its plots."""

    facts: Row
    curve: list[MarkedPoint]
    recall: list[RecallRow]
    redundancy: list[RedundancyRow]
    stopping: list[StoppingPoint]
    confusion: list[Confusion]

    @property
    def plotted(self) -> tuple[object, ...]:
        """The rows of curve, recall, redundancy, stopping and confusion, as they are drawn."""
        return self.curve, self.recall, self.redundancy, self.stopping, self.confusion


@dataclass(frozen=True)
class _Measured:
    """What both arms' refitted models show, from the round `first` on."""

    curve: list[CurvePoint]
    recall: list[RecallRow]
    gap: Gap
    saving: Saving
    course: CourseFacts | None
    stopping: list[StoppingPoint]
    first: int = 0

    def since(self, first: int) -> _Measured:
        """The same without the points of rounds before `first`, whose classes were others."""
        return replace(
            self,
            first=first,
            curve=[row for row in self.curve if row["round"] >= first],
            recall=[row for row in self.recall if row["round"] >= first],
            stopping=[row for row in self.stopping if row["round"] >= first],
        )


def prove(
    history: History,
    features: Features,
    shipped: Shipped,
    answers: int,
    params: Params,
    tick: Callable[[], object] = int,
    scheme: Scheme = NEVER_CHANGED,
) -> Proof:
    """Both arms' curves, their gap, the saving, the stopping panel and the alarms.

    answers: how many were spent; tick: called before every fit; scheme: how the labels changed.
    """
    refits = Refits(features.index, features.matrix, params, tick)
    same = judged_as(scheme.wholes, params.labels)
    judge = coarse_judge(_judge_of(refits, history, shipped), same)
    by_judges = judging(history, params) and scheme.tells_all_apart(shipped.truth)
    measured = _measured(history, refits, judge, shipped.truth, by_judges=by_judges)
    comparable = measured.since(min(scheme.since, history.rounds))
    labelled = history.arm("all", history.rounds, params.labels, params.seed)
    evidence = _evidence(history, features, shipped, labelled, comparable, params)
    judged = coarser(shipped.judged, same)
    facts: Row = {
        "round": history.rounds,
        "judged_on": "test set" if len(shipped.truth) else "control arm, cross-validated",
        **{arm: _last_point(arm, measured) for arm in ARMS},
        "difference": measured.gap,
        "saving": measured.saving,
        "next_100": next_batch(comparable.curve, 100),
        "stopping": _panel(history, comparable, judge, shipped.calibration, answers, params),
        **dict(zip(("alarms", "not_judged"), alarms(evidence), strict=True)),
        "shipped": {"labels": len(labelled), **overall(judged, params)} if judged else None,
        "cost": proof_cost(history.asked, history.events),
        **({"course": measured.course} if by_judges else {}),
        **scheme.in_facts(),
    }
    return Proof(
        facts=facts,
        curve=scheme.marked(measured.curve),
        recall=measured.recall,
        redundancy=_with_limit(history, params),
        stopping=measured.stopping,
        confusion=confusion(judged, params.labels) if judged else [],
    )


def _with_limit(history: History, params: Params) -> list[RedundancyRow]:
    """The redundancy of each round, with the limit that the alarm reads, for the chart."""
    limit = params.gate.limits.redundancy
    return [{**row, "limit": limit} for row in history.redundancy]


def _judge_of(refits: Refits, history: History, shipped: Shipped) -> Judge:
    """The test set where there is one, else the control arm."""
    if len(shipped.truth):
        return judge_on_test(refits, shipped.truth)
    return judge_on_control(refits, history)


def _measured(
    history: History, refits: Refits, judge: Judge, truth: Ints, *, by_judges: bool
) -> _Measured:
    params = refits.params
    n_jobs = params.compute.n_jobs
    curve, recall = learning_curve(history, judge, params, n_jobs)
    gap, saving = compare(history, judge, params, n_jobs)
    sample = stop_set(refits.index, params.seed)
    stopping = stopping_points(history, refits, sample, curve, params, n_jobs)
    course = course_facts(history, refits, truth, n_jobs) if by_judges else None
    return _Measured(curve, recall, gap, saving, course, stopping)


def judging(history: History, params: Params) -> bool:
    """Whether the project asks rows that judge, or has asked some."""
    return params.validate_.judge_rows > 0 or any(JUDGE in row["arms"] for row in history.asked)


def _panel(
    history: History,
    measured: _Measured,
    judge: Judge,
    calibration: CalibrationFacts,
    answers: int,
    params: Params,
) -> Panel:
    """The stopping panel, read with the circumstances of now and of the point before."""
    points_so_far = measured.stopping
    trusted = own_confidence_holds(calibration, params)
    now = circumstances(measured.curve, answers, params, trusted=trusted)
    before = circumstances_before(history, points_so_far, measured.curve, judge, answers, params)
    return panel(points_so_far, now, before)


def _last_point(arm: str, measured: _Measured) -> Row | None:
    """An arm's newest point of the curve, with precision and recall by class; None without one."""
    rows = [row for row in measured.curve if row["arm"] == arm]
    if not rows:
        return None
    last = rows[-1]
    classes = [
        row for row in measured.recall if row["arm"] == arm and row["round"] == last["round"]
    ]
    return {
        **{column: value for column, value in last.items() if column not in ("arm", "round")},
        "recall": {row["class"]: row["recall"] for row in classes},
        "precision": {row["class"]: row["precision"] for row in classes},
    }


def _evidence(
    history: History,
    features: Features,
    shipped: Shipped,
    labelled: LabelSet,
    measured: _Measured,
    params: Params,
) -> Evidence:
    near = near_in(features, params.seed, params.quality.near_duplicate)
    passed = set(history.control(history.rounds, params.seed))
    counts = Counter(labelled.values())
    return Evidence(
        rounds=history.rounds,
        gap=measured.gap,
        saving=measured.saving,
        course=measured.course,
        control=sum(item in passed for item in labelled),
        curve=measured.curve,
        recall=measured.recall,
        redundancy=history.redundancy,
        doubts=history.doubts[measured.first :],
        calibration=shipped.calibration,
        labels_of={label: counts[number] for number, label in enumerate(params.labels)},
        leaked=leakage(list(labelled), features.index, near),
        recall_floor=params.validate_.recall_floor,
        most_redundant=params.gate.limits.redundancy,
        most_leaked=params.gate.limits.leakage,
    )


def most_fits(rounds: int, params: Params, *, tested: bool) -> int:
    """How many models `prove` fits at most.

    Both arms at all points, in halves and, the active one, in steps; and one a point for the panel.
    Without a test set each is fitted once a fold.
    """
    on_curve = len(points(rounds, params.validate_.max_points))
    judged = len(ARMS) * (on_curve + HALVES) + STEPS + BEYOND
    course = MODELS if params.validate_.judge_rows else 0
    return judged * (1 if tested else params.quality.folds) + on_curve + course


def sentence(facts: Row) -> str:
    """The outcome in a line."""
    accuracies = [
        f"{arm} {facts[arm]['accuracy']:.3f} at {facts[arm]['labels']} labels"
        for arm in ARMS
        if facts[arm]
    ]
    judged = "; ".join(accuracies) or "nothing to judge yet"
    raised = ", ".join(alarm["code"] for alarm in facts["alarms"]) or "none"
    advice = facts["stopping"]["advice"]
    return f"validate: round {facts['round']}: {judged}; {advice}; alarms: {raised}"
