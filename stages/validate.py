"""validate: prove, against random sampling, whether active learning saves labels. Chooses nothing.

reads   accepted and known labels (gate), what was asked and answered (import_labels), features, probabilities,
        the test table
writes  metrics/validate.json; plots/learning_curve.json, recall.json, redundancy.json, stopping.json, confusion.json

Point k of the curve uses the labels as they were known at round k, for both arms: `active` learns from the seed
and what the strategy asked, `random` from the seed and the control arm, whose ids chance alone chose. Without a
test set both are judged on the control arm's labels by cross-validation, which is unbiased and says so. (Weighting
actively chosen labels instead, as LURE does, needs a strategy that could have chosen any row; the best ones cannot.)
The stopping panel is made here, because it needs the models of earlier rounds, refitted from the labels known then.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import click
import numpy as np
from numpy.typing import NDArray

from stages._alarms import Evidence, alarms
from stages._arms import active_ids, asked_new, control_ids
from stages._budget import answers_left
from stages._canonical import Row, read_json, read_jsonl, write_json
from stages._curves import Arms, gap_and_saving, next_labels, seconds_per_id
from stages._identity import order_keys, stratified_folds
from stages._label_report import leakage
from stages._learning import Floats, Ints, fit, softmax, together
from stages._ledger import check_label, labels_known_at
from stages._near import near_in
from stages._params import Params, load
from stages._progress import progress
from stages._scoring import expected_calibration_error, macro_f1, negative_log_likelihood, per_class, wilson
from stages._shell import PATH, one_line_errors
from stages._stopping import Means, kappa, panel, predicted_change_of_f
from stages._store import Features, Index, Matrix, read_features
from stages._tables import Table, as_text, read_table

ARMS = ("active", "random")
ENOUGH_TO_JUDGE = 20
STOP_SET = 2000
LAST_ROUNDS = 5  # that the stopping panel looks at: they are always points of the curve
HALVES = 10
STEPS = 9
REMEMBERED = 64_000_000  # probabilities kept for label sets that come again (256 MB)
Labelled = dict[str, int]
Key = tuple[object, ...]


@dataclass(frozen=True)
class History:
    """What was asked, when labels were known, what was answered, the doubts after each round, seed ids, rounds.

    redundancy: per round, how many of its new rows nearly repeat another (gate).
    """

    asked: list[Row]
    known: list[Row]
    events: list[Row]
    doubts: list[int]
    seed_ids: frozenset[str]
    rounds: int
    redundancy: list[Row] = field(default_factory=list)

    def control(self, upto: int, seed: int) -> list[str]:
        """The ids that the control arm's walk had passed after round `upto`, whoever asked them; in its order."""
        return control_ids(self._asked(upto), seed)

    def arm(self, name: str, upto: int, classes: list[str], seed: int) -> Labelled:
        """The labels an arm had after round `upto`: the seed's, then its own in the order in which they were asked.

        active: every id that the strategy picked. random: `control`, in the order of the permutation: any number of
        the first of them are a uniform draw. An id both arms wanted, in one round or in two,
        counts for both (stages/_arms.py). all: both.
        """
        place = {label: number for number, label in enumerate(classes)}
        known = labels_known_at(self.known, upto)
        if name == "random":
            members = self.control(upto, seed)
        else:
            rows = self._asked(upto)
            members = active_ids(rows) if name == "active" else [row["id"] for row in rows]
        return {item: place[known[item]] for item in [*sorted(self.seed_ids), *members] if item in known}

    def _asked(self, upto: int) -> list[Row]:
        """The asks of rows without a seed label up to a round, in asking order."""
        return asked_new((row for row in self.asked if row["round"] <= upto), self.seed_ids)


class Refits:
    """What the classifier says of rows after learning a set of labels; asked again for the same rows, it remembers.

    It may be asked by several threads at once. tick: called before every fit.
    """

    def __init__(self, index: Index, matrix: Matrix, params: Params, tick: Callable[[], object] = int) -> None:
        self.index, self.matrix, self.params, self.tick = index, matrix, params, tick
        self.fits = 0
        self._memory: OrderedDict[Key, NDArray[np.float32]] = OrderedDict()
        self._size = 0
        self._guard = Lock()  # of all that changes here
        self._fitting: defaultdict[Key, Lock] = defaultdict(Lock)  # nobody learns the same labels twice

    def __call__(self, labelled: Labelled, rows: Ints) -> Floats:
        """Probabilities of the rows, (n, k), after learning one label or more; rows sum to 1."""
        items = sorted(labelled.items())
        key = rows.tobytes(), *items
        with self._guard:
            learning = self._fitting[key]
        with learning:
            with self._guard:
                found = self._memory.get(key)
            if found is None:
                found = self._learnt(items, rows)
            self._remember(key, found)
        exact = found.astype(np.float64)
        return np.asarray(exact / exact.sum(axis=1, keepdims=True))

    def _learnt(self, items: list[tuple[str, int]], rows: Ints) -> NDArray[np.float32]:
        with self._guard:
            self.fits += 1
            self.tick()
        places = self.index.locate([item for item, _ in items], "build/gate/known.jsonl")
        classes = np.array([label for _, label in items], dtype=np.intp)
        model = fit(self.params.model, self.matrix[places], classes, len(self.params.labels), self.params.seed)
        return softmax(model.scores(self.matrix[rows])).astype(np.float32)

    def _remember(self, key: Key, found: NDArray[np.float32]) -> None:
        with self._guard:
            if key not in self._memory:
                self._memory[key] = found
                self._size += found.size
            self._memory.move_to_end(key)
            while self._size > REMEMBERED and len(self._memory) > 1:
                self._size -= self._memory.popitem(last=False)[1].size


@dataclass(frozen=True)
class Judged:
    """The truth of m rows, (m,), and what a model said of them, (m, k)."""

    truth: Ints
    probabilities: Floats

    @property
    def predicted(self) -> Ints:
        """The likeliest classes, (m,)."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.intp)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which of them are right."""
        return np.asarray(self.truth == self.predicted)


Judge = Callable[[Labelled, int], Judged | None]


def judge_on_test(refits: Refits, truth: Ints) -> Judge:
    """A judge that learns an arm's labels and predicts the test set."""
    test = np.arange(len(refits.index.ids))[refits.index.rows("test")]
    return lambda labelled, _upto: Judged(truth, refits(labelled, test)) if labelled else None


def judge_on_control(refits: Refits, history: History) -> Judge:
    """A judge for projects without a test set: predicts the control arm's labels, each by a model that left it out.

    A fold leaves out its share of whatever an arm has asked, so that both arms learn from equally many labels.
    """
    params = refits.params

    def judge(labelled: Labelled, upto: int) -> Judged | None:
        passed = set(history.control(upto, params.seed))
        known = history.arm("random", upto, params.labels, params.seed)
        control = {item: label for item, label in known.items() if item in passed}
        if len(control) < ENOUGH_TO_JUDGE or not labelled:
            return None
        fold = _folds(control, params)
        fold |= _folds({k: v for k, v in labelled.items() if k not in fold and k not in history.seed_ids}, params)
        rows = refits.index.locate(list(control), "build/labels/asked.jsonl")
        part_of = np.array([fold[item] for item in control])
        probabilities = np.empty((len(control), len(params.labels)))
        for part in np.unique(part_of):
            kept = {item: label for item, label in labelled.items() if fold.get(item) != part}
            if not kept:
                return None
            probabilities[part_of == part] = refits(kept, rows[part_of == part])
        return Judged(np.array(list(control.values()), dtype=np.intp), probabilities)

    return judge


def _folds(labelled: Labelled, params: Params) -> dict[str, int]:
    labels = np.array(list(labelled.values()), dtype=np.intp)
    return dict(
        zip(labelled, stratified_folds(labels, list(labelled), params.quality.folds, params.seed).tolist(), strict=True)
    )


def points(rounds: int, most: int) -> list[int]:
    """The rounds of the curve's points: all of 0 … rounds, or `most`: the last ones, and evenly spaced ones before."""
    if rounds + 1 <= most:
        return list(range(rounds + 1))
    last = min(LAST_ROUNDS, most - 1)
    spread = np.linspace(0, rounds - last, most - last).round().astype(int)
    return sorted({*spread.tolist(), *range(rounds - last + 1, rounds + 1)})


def learning_curve(history: History, judge: Judge, params: Params, n_jobs: int = 1) -> tuple[list[Row], list[Row]]:
    """The rows of both arms' learning curve, and of their precision and recall per class.

    minutes: of people's time that the arm's labels took until then, null without timestamps; the seed's are not known.
    """
    curve: list[Row] = []
    recall: list[Row] = []
    shown = points(history.rounds, params.validate_.max_points)
    until = {upto: seconds_per_id([row for row in history.events if row["round"] <= upto]) for upto in shown}
    places = [(upto, arm) for upto in shown for arm in ARMS]
    arms = [history.arm(arm, upto, params.labels, params.seed) for upto, arm in places]
    wanted = [(labelled, upto) for labelled, (upto, _) in zip(arms, places, strict=True)]
    found = together(lambda one: judge(*one), wanted, n_jobs)
    for (upto, arm), labelled, judged in zip(places, arms, found, strict=True):
        if judged is None:
            continue
        place = {"arm": arm, "round": upto, "labels": len(labelled)}
        seconds = until[upto]
        minutes = sum(seconds.get(item, 0.0) for item in labelled) / 60 if seconds or not upto else None
        curve.append({**place, "minutes": minutes, **overall(judged, params)})
        classes = per_class(judged.truth, judged.predicted, len(params.labels))
        for label, row in zip(params.labels, classes, strict=True):
            if row["support"]:
                named = {"low": row["recall_low"], "high": row["recall_high"]}
                recall.append({**place, "class": label, **named, **_without(row, ("recall_low", "recall_high"))})
    return curve, recall


def _without(row: Row, keys: tuple[str, ...]) -> Row:
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


def compare(history: History, judge: Judge, params: Params, n_jobs: int = 1) -> tuple[Row, Row]:
    """The gap between the arms at as many labels as random has, and the labels saved, as known at the last round.

    The active curve is learnt anew in fine steps, in the order in which its labels were asked. Of a longer random arm
    the first along the permutation are taken, which are a random draw too. The random curve is the
    seed's point, the mean of its halves, and its last point: fine steps would be as noisy, and seem to be there sooner.
    Null while one of the arms has nothing of its own, or cannot be judged.
    """
    last = history.rounds
    random, active = (history.arm(arm, last, params.labels, params.seed) for arm in ("random", "active"))
    equal, seeded = min(len(random), len(active)), sum(item in history.seed_ids for item in active)
    gap: Row = {"labels": equal, "active_minus_random": None, "low": None, "high": None}
    saving: Row = {"labels": equal, "saved": None, "low": None, "high": None}

    if equal - seeded < 2:
        return gap, saving
    steps = np.concatenate([np.linspace(seeded, equal, STEPS), np.linspace(equal, len(active), 5)]).round().astype(int)
    firsts = {("active", count): dict(list(active.items())[:count]) for count in np.unique([*steps, equal]).tolist()}
    firsts["random", equal] = dict(list(random.items())[:equal])
    wanted: dict[tuple[str, int, int], Labelled] = {(*key, 0): labelled for key, labelled in firsts.items()}
    for repeat in range(1, HALVES + 1):
        for arm in ARMS:
            wanted[arm, equal, repeat] = half(firsts[arm, equal], history.seed_ids, params.seed + repeat)
    judged = together(lambda labelled: judge(labelled, last), list(wanted.values()), n_jobs)
    correct = {key: one.correct for key, one in zip(wanted, judged, strict=True) if one is not None}
    level, against = correct.get(("active", equal, 0)), correct.get(("random", equal, 0))
    if level is None or against is None:
        return gap, saving
    curve = {count: right for (arm, count, repeat), right in correct.items() if arm == "active" and not repeat}
    both = [
        (correct["active", equal, repeat], correct["random", equal, repeat])
        for repeat in range(1, HALVES + 1)
        if {("active", equal, repeat), ("random", equal, repeat)} <= correct.keys()
    ]
    if len(both) < 2:
        return gap, saving
    halves = np.array(both, dtype=np.float64)
    theirs = {len(wanted["random", equal, 1]): halves[:, 1].mean(axis=0), equal: against.astype(np.float64)}
    if seeded in curve:
        theirs = {seeded: curve[seeded].astype(np.float64), **theirs}
    arms = Arms(np.array(list(curve), dtype=np.float64), np.array(list(curve.values())),
                np.array(list(theirs), dtype=np.float64), np.array(list(theirs.values())), level,
                halves[:, 0] - halves[:, 1])  # fmt: skip
    told = gap_and_saving(arms, params.validate_.bootstrap, params.seed)
    return {**gap, **told[0]}, {**saving, **told[1]}


def half(labelled: Labelled, seed_ids: frozenset[str], seed: int) -> Labelled:
    """The seed's labels and a random half of the others, the same half of what two arms share."""
    own = [item for item in labelled if item not in seed_ids]
    kept = {own[place] for place in np.argsort(order_keys(seed, own))[: (len(own) + 1) // 2]}
    return {item: label for item, label in labelled.items() if item in seed_ids or item in kept}


def stop_set(index: Index, seed: int) -> Ints:
    """Rows of a fixed random sample of the pool: the last of the permutation, which the control arm reaches last.

    Source: Bloodgood, Vijay-Shanker, "A method for stopping active learning based on stabilizing predictions" (2009).
    """
    return index.last(seed, STOP_SET)


def stopping_points(
    history: History, refits: Refits, sample: Ints, curve: list[Row], params: Params, n_jobs: int = 1
) -> list[Row]:
    """One row per point for the panel (see stages/_stopping.py): each round's model beside the one before it.

    A round that taught nothing (all was skipped) is no point: that its model says the same is no sign of anything.
    """
    accuracy = {(row["arm"], row["round"]): row["accuracy"] for row in curve}
    known: list[tuple[int, Labelled]] = []
    for upto in points(history.rounds, params.validate_.max_points) if len(sample) else ():
        labelled = history.arm("all", upto, params.labels, params.seed)
        if labelled and not (known and known[-1][1] == labelled):
            known.append((upto, labelled))
    steps: list[tuple[int, Labelled, Labelled]] = []  # the point, its labels, and those that the strategy asked next
    for place, (upto, labelled) in enumerate(known):
        later = known[place + 1 :]
        active = history.arm("active", later[0][0], params.labels, params.seed) if later else {}
        steps.append((upto, labelled, {item: label for item, label in active.items() if item not in labelled}))
    asked = [refits.index.locate(list(new), "build/labels/asked.jsonl") for _, _, new in steps]
    wanted = [(step[1], np.concatenate([sample, rows])) for step, rows in zip(steps, asked, strict=True)]
    found = together(lambda one: refits(*one), wanted, n_jobs)
    rows: list[Row] = []
    before: Ints | None = None
    right: float | None = None
    n_classes = len(params.labels)
    for (upto, labelled, new), probabilities in zip(steps, found, strict=True):
        row: Row = {"round": upto, "labels": len(labelled), "kappa": None, "change_of_f": None, "changed": None}
        row |= {"selected_accuracy": right, **{f"{arm}_accuracy": accuracy.get((arm, upto)) for arm in ARMS}}
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
    history: History, stopping: list[Row], curve: list[Row], answers: int, params: Params
) -> Means:  # fmt: skip
    """The circumstances of the panel's point before the last, as they were then.

    What calibrate said then is not kept: confidence counts as trusted where the active arm's model of that round was
    calibrated within `calibrate.max_ece` on the rows that judge it.
    """
    at = stopping[-2]["round"] if len(stopping) > 1 else 0
    later = sum(row["round"] > at and row["kind"] not in ("override", "retract") for row in history.events)
    then = [row for row in curve if row["round"] <= at]
    judged = [row["ece"] for row in then if row["arm"] == "active" and row["round"] == at]
    trusted = bool(judged) and judged[0] <= params.calibrate.max_ece
    return circumstances(then, answers - later, params, trusted=trusted)


def truth_of_test(table: Table, index: Index, params: Params) -> Ints:
    """The classes of the test rows in the order of the index. Raises PipelineError at file:line for a bad label."""
    cells = [as_text(cell) for cell in table.column(params.data.label, "data.label")]
    for row, label in enumerate(cells):
        check_label(label, params.labels, table.where(row))
    place = {label: number for number, label in enumerate(params.labels)}
    rows = index.row[index.rows("test")]
    return np.array([place[cells[row]] for row in rows], dtype=np.intp)


def next_batch(curve: list[Row], ahead: int) -> Row | None:
    """What so many more labels bring the active arm, by its curve so far."""
    rows = [row for row in curve if row["arm"] == "active"]
    labels, accuracy = (np.array([row[key] for row in rows], dtype=np.float64) for key in ("labels", "accuracy"))
    return next_labels(labels, accuracy, ahead)


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

    truth: (n_test,) classes of the test rows, empty without a test set; shipped: (n_test, k) what the model of all
    accepted labels says of them, calibrated; calibration: calibrate's facts; answers: how many were spent; tick: see
    Refits.
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
    counts = np.bincount(np.array(list(labelled.values()), dtype=np.intp), minlength=len(params.labels)).tolist()
    facts: Row = {"round": history.rounds, "judged_on": "test set" if len(truth) else "control arm, cross-validated"}
    for arm in ARMS:
        rows = [row for row in curve if row["arm"] == arm]
        facts[arm] = _without(rows[-1], ("arm", "round")) if rows else None
        if rows:
            last = [row for row in recall if row["arm"] == arm and row["round"] == rows[-1]["round"]]
            facts[arm] |= {name: {row["class"]: row[name] for row in last} for name in ("recall", "precision")}
    facts |= {"difference": gap, "saving": saving, "next_100": next_batch(curve, 100)}
    now = circumstances(curve, answers, params, trusted=own_confidence_holds(calibration, params))
    facts["stopping"] = panel(stopping, now, circumstances_before(history, stopping, curve, answers, params))
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
    return Proof(facts, curve, recall, history.redundancy, stopping, confusion(told, params.labels) if told else [])


def most_fits(rounds: int, params: Params, *, tested: bool) -> int:
    """How many models `prove` fits at most: both arms at all points, in steps and halves; one a point for the panel."""
    at = len(points(rounds, params.validate_.max_points))
    judged = len(ARMS) * (at + HALVES) + STEPS + 5
    return judged * (1 if tested else params.quality.folds) + at


def confusion(judged: Judged, labels: list[str]) -> list[Row]:
    """How often each class was taken for which: one row per pair that occurs."""
    pairs, counts = np.unique(np.stack([judged.truth, judged.predicted]), axis=1, return_counts=True)
    return [
        {"actual": labels[actual], "predicted": labels[predicted], "count": int(count)}
        for (actual, predicted), count in zip(pairs.T, counts, strict=True)
    ]


def own_confidence_holds(calibration: Row, params: Params) -> bool:
    """Whether the model's probabilities were right before calibration: earlier models have no other."""
    if calibration["verdict"] != "trusted":
        return False
    before = calibration["before"]
    return bool(before["ece"] - before["ece_by_chance"] <= params.calibrate.max_ece)


@click.command(help=__doc__)
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--labels", type=PATH, required=True, help="Folder of the imported labels.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--test", type=PATH, required=True, help="The test table.")
@click.option("--probabilities", type=PATH, required=True, help="Folder of calibrated probabilities.")
@click.option("--metrics", type=PATH, required=True, help="JSON file for the metrics.")
@click.option(
    "--plots", type=PATH, nargs=5, required=True, help="JSON: curve, recall, redundancy, stopping, confusion."
)
@one_line_errors
def main(
    gate: Path, labels: Path, features: Path, test: Path, probabilities: Path, metrics: Path,
    plots: tuple[Path, ...],
) -> str:  # fmt: skip
    """Read history and truth, write curves, metrics, alarms and the stopping panel."""
    params = load()
    state = read_json(gate / "state.json")
    tables = (labels / "asked.jsonl", gate / "known.jsonl", gate / "accepted.jsonl")
    store = read_features(
        features, {row["id"] for table in tables for row in read_jsonl(table)}, params.compute, STOP_SET
    )
    index = store.index
    table = read_table(test, may_be_empty=True)
    truth = truth_of_test(table, index, params) if len(table) else np.empty(0, dtype=np.intp)
    with progress("models", most_fits(state["rounds"], params, tested=len(truth) > 0), "model") as bar:
        proof = prove(
            read_history(gate, labels, index, state["rounds"]), index, store.matrix,
            store.geometry, truth, np.load(probabilities / "test.npy").astype(np.float64),
            read_json(probabilities / "calibration.json"), state["answers"], params, bar.update,
        )  # fmt: skip
    write_json(metrics, proof.facts)
    plotted = (proof.curve, proof.recall, proof.redundancy, proof.stopping, proof.confusion)
    for path, rows in zip(plots, plotted, strict=True):
        write_json(path, rows)
    return _sentence(proof.facts)


def read_history(gate: Path, labels: Path, index: Index, rounds: int) -> History:
    """The history of the rounds that the gate has accepted."""
    asked, events, verdicts = (
        [row for row in read_jsonl(labels / f"{name}.jsonl") if row["round"] <= rounds]
        for name in ("asked", "events", "verdicts")
    )
    doubts = [sum(row["round"] == number for row in verdicts) for number in range(1, rounds + 1)]
    doubts.append(len(read_jsonl(gate / "review.jsonl")))
    seed_ids = frozenset(index.ids[index.rows("seed")])
    known, redundancy = read_jsonl(gate / "known.jsonl"), read_jsonl(gate / "redundancy.jsonl")
    return History(asked, known, events, doubts, seed_ids, rounds, redundancy)


def _sentence(facts: Row) -> str:
    told = [f"{arm} {facts[arm]['accuracy']:.3f} at {facts[arm]['labels']} labels" for arm in ARMS if facts[arm]]
    raised = ", ".join(alarm["code"] for alarm in facts["alarms"]) or "none"
    advice = facts["stopping"]["advice"]
    return f"validate: round {facts['round']}: {'; '.join(told) or 'nothing to judge yet'}; {advice}; alarms: {raised}"


if __name__ == "__main__":
    main()
