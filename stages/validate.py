"""validate: prove, against random sampling, whether active learning saves labels. Chooses nothing.

reads   accepted and known labels (gate), what was asked (import_labels), features, the test table
writes  metrics/validate.json, plots/learning_curve.json, plots/recall.json, plots/redundancy.json

Point k of the curve uses the labels as they were known at round k, for both arms: `active` learns from the seed
and what the strategy asked, `random` from the seed and the control arm, whose ids chance alone chose. Without a
test set both are judged on the control arm's labels by cross-validation, which is unbiased and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from stages._alarms import alarms
from stages._canonical import Row, read_json, read_jsonl, write_json
from stages._identity import order_key, stratified_folds
from stages._learning import Ints, fit
from stages._ledger import check_label, labels_known_at
from stages._params import Params, load
from stages._scoring import macro_f1, per_class, wilson
from stages._shell import PATH, one_line_errors
from stages._store import Index, Matrix, read_geometry, read_index, read_model_matrix
from stages._tables import Table, as_text, read_table

ARMS = ("active", "random")
ENOUGH_TO_JUDGE = 20
Labelled = dict[str, int]


@dataclass(frozen=True)
class History:
    """What was asked, the intervals of rounds in which labels were known, the seed's ids, the rounds accepted."""

    asked: list[Row]
    known: list[Row]
    seed_ids: frozenset[str]
    rounds: int

    def control(self, upto: int, seed: int) -> list[str]:
        """The ids that the control arm's walk had passed after round `upto`, whoever asked them, in asking order."""
        rows = self._asked(upto)
        reached = max((order_key(seed, row["id"]) for row in rows if "control" in row["arms"]), default=-1)
        return [row["id"] for row in rows if order_key(seed, row["id"]) <= reached]

    def arm(self, name: str, upto: int, classes: list[str], seed: int) -> Labelled:
        """The labels an arm had after round `upto`: the seed's, then its own in the order in which they were asked.

        active: every id that the strategy picked. random: `control`. An id both arms wanted counts for both.
        """
        place = {label: number for number, label in enumerate(classes)}
        known = labels_known_at(self.known, upto)
        if name == "active":
            members = [row["id"] for row in self._asked(upto) if "active" in row["arms"]]
        else:
            members = self.control(upto, seed)
        return {item: place[known[item]] for item in [*sorted(self.seed_ids), *members] if item in known}

    def _asked(self, upto: int) -> list[Row]:
        """The rows that asked for something new, up to a round, in asking order; an id stands once."""
        first: dict[str, Row] = {}
        for row in sorted(self.asked, key=lambda row: (row["round"], row["rank"])):
            if row["round"] <= upto and row["id"] not in self.seed_ids:
                first.setdefault(row["id"], row)
        return list(first.values())


@dataclass(frozen=True)
class Judged:
    """Predictions of one arm at one point against the truth, (m,) each."""

    truth: Ints
    predicted: Ints

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which predictions are right."""
        return np.asarray(self.truth == self.predicted)


Judge = Callable[[Labelled, int], Judged | None]


def judge_on_test(index: Index, matrix: Matrix, truth: Ints, params: Params) -> Judge:
    """A judge that fits on an arm's labels and predicts the test set."""
    test = matrix[index.rows("test")]

    def judge(labelled: Labelled, _round: int) -> Judged | None:
        if not labelled:
            return None
        rows = matrix[index.locate(list(labelled), "labels")]
        model = fit(params.model, rows, np.array(list(labelled.values())), len(params.labels), params.seed)
        return Judged(truth, model.scores(test).argmax(axis=1).astype(np.intp))

    return judge


def judge_on_control(index: Index, matrix: Matrix, history: History, params: Params) -> Judge:
    """A judge for projects without a test set: predicts the control arm's labels, each by a model that left it out."""

    def judge(labelled: Labelled, upto: int) -> Judged | None:
        passed = set(history.control(upto, params.seed))
        arm = history.arm("random", upto, params.labels, params.seed)
        control = {item: label for item, label in arm.items() if item in passed}
        if len(control) < ENOUGH_TO_JUDGE or not labelled:
            return None
        items, truth = list(control), np.array(list(control.values()), dtype=np.intp)
        fold = stratified_folds(truth, items, params.quality.folds, params.seed)
        predicted = np.empty(len(items), dtype=np.intp)
        for part in np.unique(fold):
            held = {item for item, number in zip(items, fold, strict=True) if number == part}
            kept = {item: label for item, label in labelled.items() if item not in held}
            if not kept:
                return None
            rows = matrix[index.locate(list(kept), "labels")]
            model = fit(params.model, rows, np.array(list(kept.values())), len(params.labels), params.seed)
            target = matrix[index.locate([item for item in items if item in held], "labels")]
            predicted[fold == part] = model.scores(target).argmax(axis=1)
        return Judged(truth, predicted)

    return judge


def points(rounds: int, most: int) -> list[int]:
    """The rounds of the curve's points: all of 0 … rounds, or `most` of them evenly spaced, both ends included."""
    if rounds + 1 <= most:
        return list(range(rounds + 1))
    return sorted({round(step * rounds / (most - 1)) for step in range(most)})


def learning_curve(history: History, judge: Judge, params: Params) -> tuple[list[Row], list[Row]]:
    """The rows of both arms' learning curve, and of their recall per class."""
    curve: list[Row] = []
    recall: list[Row] = []
    for upto in points(history.rounds, params.validate_.max_points):
        for arm in ARMS:
            labelled = history.arm(arm, upto, params.labels, params.seed)
            judged = judge(labelled, upto)
            if judged is None:
                continue
            place = {"arm": arm, "round": upto, "labels": len(labelled)}
            curve.append({**place, **_overall(judged, len(params.labels))})
            classes = per_class(judged.truth, judged.predicted, len(params.labels))
            for label, row in zip(params.labels, classes, strict=True):
                if row["support"]:
                    found = {"recall": row["recall"], "low": row["recall_low"], "high": row["recall_high"]}
                    recall.append({**place, "class": label, "support": row["support"], **found})
    return curve, recall


def _overall(judged: Judged, n_classes: int) -> Row:
    low, high = wilson(float(judged.correct.sum()), len(judged.truth))
    return {
        "accuracy": float(judged.correct.mean()),
        "low": low,
        "high": high,
        "macro_f1": macro_f1(judged.truth, judged.predicted, n_classes),
    }


def difference(history: History, judge: Judge, params: Params) -> Row:
    """Active minus random accuracy at the number of labels that random has, with a paired bootstrap interval.

    Source: Efron, Tibshirani, "An introduction to the bootstrap" (1993), percentile interval over judged rows.
    """
    random = history.arm("random", history.rounds, params.labels, params.seed)
    active = history.arm("active", history.rounds, params.labels, params.seed)
    count = min(len(random), len(active))
    pair = [judge(dict(list(arm.items())[:count]), history.rounds) for arm in (active, random)]
    if history.rounds == 0 or pair[0] is None or pair[1] is None:
        return {"labels": count, "active_minus_random": None, "low": None, "high": None}
    gaps = pair[0].correct.astype(np.float64) - pair[1].correct.astype(np.float64)
    rng = np.random.default_rng(params.seed)
    draws = [gaps[rng.integers(0, len(gaps), len(gaps))].mean() for _ in range(params.validate_.bootstrap)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"labels": count, "active_minus_random": float(gaps.mean()), "low": float(low), "high": float(high)}


def redundancy(asked: list[Row], index: Index, geometry: NDArray[np.float32], threshold: float) -> list[Row]:
    """Per round, the share of the active arm's rows that nearly repeat another of the batch or anything asked before.

    Near: similarity 1 - squared distance / 2 of at least `threshold`.
    """
    rows: list[Row] = []
    seen = np.empty((0, geometry.shape[1]), dtype=np.float32)
    for number in sorted({row["round"] for row in asked}):
        items = [row["id"] for row in asked if row["round"] == number and "review" not in row["arms"]]
        active = [row["id"] for row in asked if row["round"] == number and "active" in row["arms"]]
        batch = np.asarray(geometry[index.locate(items, "batch")])
        near = _similar(batch, batch, threshold).sum(axis=1) > 1
        if len(seen):
            near |= _similar(batch, seen, threshold).any(axis=1)
        flagged = dict(zip(items, near.tolist(), strict=True))
        repeats = sum(flagged[item] for item in active)
        share = repeats / len(active) if active else 0.0
        rows.append({"round": number, "asked": len(active), "near_duplicates": repeats, "share": share})
        seen = np.vstack([seen, batch])
    return rows


def _similar(left: NDArray[np.float32], right: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    squared = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * left @ right.T
    return np.asarray(1 - squared / 2 >= threshold)


def truth_of_test(table: Table, index: Index, params: Params) -> Ints:
    """The classes of the test rows in the order of the index. Raises PipelineError at file:line for a bad label."""
    cells = [as_text(cell) for cell in table.column(params.data.label, "data.label")]
    for row, label in enumerate(cells):
        check_label(label, params.labels, table.where(row))
    place = {label: number for number, label in enumerate(params.labels)}
    rows = index.row[index.rows("test")]
    return np.array([place[cells[row]] for row in rows], dtype=np.intp)


def summary(history: History, curve: list[Row], recall: list[Row], judged_on: str) -> Row:
    """Where both arms stand at the last point."""
    facts: Row = {"round": history.rounds, "judged_on": judged_on}
    for arm in ARMS:
        rows = [row for row in curve if row["arm"] == arm]
        last = rows[-1] if rows else None
        facts[arm] = {key: last[key] for key in ("labels", "accuracy", "low", "high", "macro_f1")} if last else None
        if last:
            classes = [row for row in recall if row["arm"] == arm and row["round"] == last["round"]]
            facts[arm]["recall"] = {row["class"]: row["recall"] for row in classes}
    return facts


@click.command(help=__doc__)
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--labels", type=PATH, required=True, help="Folder of the imported labels.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--test", type=PATH, required=True, help="The test table.")
@click.option("--probabilities", type=PATH, required=True, help="Folder of calibrated probabilities.")
@click.option("--metrics", type=PATH, required=True, help="JSON file for the metrics.")
@click.option("--plots", type=PATH, nargs=3, required=True, help="JSON files: learning curve, recall, redundancy.")
@one_line_errors
def main(
    gate: Path, labels: Path, features: Path, test: Path, probabilities: Path, metrics: Path,
    plots: tuple[Path, Path, Path],
) -> str:  # fmt: skip
    """Read history and truth, write curves, metrics and alarms."""
    params = load()
    index, matrix = read_index(features), read_model_matrix(features)
    rounds = read_json(gate / "state.json")["rounds"]
    asked = [row for row in read_jsonl(labels / "asked.jsonl") if row["round"] <= rounds]
    seed_ids = frozenset(index.ids[index.rows("seed")])
    history = History(asked, read_jsonl(gate / "known.jsonl"), seed_ids, rounds)
    table = read_table(test, may_be_empty=True)
    if len(table):
        judge, judged_on = judge_on_test(index, matrix, truth_of_test(table, index, params), params), "test set"
    else:
        judge, judged_on = judge_on_control(index, matrix, history, params), "control arm"
    curve, recall = learning_curve(history, judge, params)
    repeats = redundancy(asked, index, read_geometry(features), params.quality.near_duplicate)
    facts = summary(history, curve, recall, judged_on)
    facts["difference"] = difference(history, judge, params)
    calibration = read_json(probabilities / "calibration.json")
    facts["alarms"] = alarms(facts, curve, recall, repeats, calibration, params)
    write_json(metrics, facts)
    for path, rows in zip(plots, (curve, recall, repeats), strict=True):
        write_json(path, rows)
    return _sentence(facts)


def _sentence(facts: Row) -> str:
    told = [f"{arm} {facts[arm]['accuracy']:.3f} at {facts[arm]['labels']} labels" for arm in ARMS if facts[arm]]
    raised = ", ".join(alarm["code"] for alarm in facts["alarms"]) or "none"
    return f"validate: round {facts['round']}: {'; '.join(told) or 'nothing to judge yet'}; alarms: {raised}"


if __name__ == "__main__":
    main()
