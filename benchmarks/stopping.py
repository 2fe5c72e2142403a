"""Stopping: what each criterion is worth, on whole simulated projects that label until the pool is
empty.

    python -m benchmarks.stopping --data DIR --sets digits,spambase --seeds 5 --out results.jsonl

A project is the pipeline's own code in one process: `stages.query.compose` chooses the batches
(with the control arm), a perfect annotator answers, `stages.validate` draws the curves and the
panel. One line per set and seed is appended to --out; what is there already is not run again. For
each criterion the table gives its correlation with test accuracy along the run, in how many runs it
stops (all, if nothing is said), the share of the labels saved, and in points (1 = .01) the accuracy
lost against the best stop (mean, worst run) and against the model of all labels. One half of the
test rows chooses the best stop and the other half judges it, both ways: the best of many noisy
points on the rows that judge it is the luckiest one, which nobody can stop at.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.labels import Data, load
from rounds.shipped import shipped_params
from stages.answers.gate_tables import GateTables
from stages.answers.ledger import Labels
from stages.batch.compose import compose
from stages.batch.model import Model
from stages.contract.canonical import Row, dumps
from stages.contract.params import Params
from stages.learning.classifier import out_of_fold
from stages.learning.scoring import softmax
from stages.proof.curve import learning_curve, next_batch
from stages.proof.history import History
from stages.proof.refits import Refits, judge_on_test
from stages.proof.stopping import (
    PRIMARY,
    SIGNS,
    Circumstances,
    agreement,
    readings,
    stop_set,
    stopping_points,
)
from stages.store.index import Features, Index

MEASURES = ("accuracy", "one_half", "other_half")
SETS = {"digits": 30, "spambase": 60, "sms_spam": 80, "banking77": 100, "langid": 100}


@dataclass(frozen=True)
class Simulated:
    """A finished project: what was asked and known, over which examples."""

    history: History
    index: Index
    refits: Refits
    geometry: NDArray[np.float32]
    truth: NDArray[np.intp]
    params: Params


def params_of(data: Data, strategy: str, seed: int, batch: int, control: float) -> Params:
    """The params of a project on a set."""
    return shipped_params(
        {
            "seed": seed,
            "labels": [str(number) for number in range(data.classes)],
            "model": {
                "path": "sklearn.linear_model.LogisticRegression",
                "params": {"C": 10.0, "max_iter": 1000, "tol": 1e-3},
            },
            "query": {
                "strategy": strategy, "engine": "own", "batch_size": batch,
                "control_fraction": control,
                "review_fraction": 0.0,
            },
            "validate": {"max_points": 10_000},
        }
    )  # fmt: skip


def simulate(data: Data, params: Params, rounds: int, most: int | None = None) -> Simulated:
    """Label `rounds` rounds, or until the pool is empty, with a perfect annotator; seed labels are
    drawn at random.

    most: rows of pool and seed, drawn at random; None for all.
    """
    drawn = np.random.default_rng(params.seed).permutation(len(data.labels))[:most]
    parts = {"pool": drawn[data.seed_size :], "seed": drawn[: data.seed_size]}
    split = [name for name, rows in parts.items() for _ in rows] + ["test"] * len(data.test_labels)
    ids = [f"{name}-{row:05d}" for row, name in enumerate(split)]
    index = Index(ids, [f"sha-{item}" for item in ids], split, list(range(len(ids))))
    own = np.concatenate([parts["pool"], parts["seed"]])
    matrix = np.concatenate([data.pool[own], data.test]).astype(np.float64)
    space = np.concatenate(
        [data.geometry[own], np.zeros((len(data.test), data.geometry.shape[1]), np.float32)]
    )
    truth = np.concatenate([data.labels[own], data.test_labels]).astype(np.intp)
    pool, seeds = index.rows("pool"), ids[index.rows("seed")]
    refits = Refits(index, matrix, params)
    label_of = {item: int(truth[index.row_of[item]]) for item in seeds}
    since = dict.fromkeys(seeds, 0)
    asked: list[Row] = []
    for number in range(rounds):
        labelled = sorted(label_of)
        classes = np.array([label_of[item] for item in labelled], dtype=np.intp)
        model = None
        if len(np.unique(classes)) > 1:
            rows = matrix[index.locate(labelled, "simulated")]
            held_out = softmax(
                out_of_fold(params.learner, rows, classes, labelled, data.classes, 3, params.seed)
            )
            model = Model(refits(label_of, np.arange(len(ids))[pool]), held_out, None, trusted=True)
        gate = GateTables(
            Labels(labelled, classes, []), [], [], {"rounds": number, "answers": len(asked)}
        )
        batch = compose(Features(index, matrix, space), model, gate, params).rows
        if not batch:
            break
        asked += batch
        for row in batch:
            label_of[row["id"]] = int(truth[index.row_of[row["id"]]])
            since[row["id"]] = number + 1
    ledger = [
        {"id": i, "from_round": since[i], "to_round": None, "label": params.labels[label_of[i]]}
        for i in label_of
    ]
    done = max((row["round"] for row in asked), default=0)
    history = History(asked, ledger, [], [0] * (done + 1), frozenset(seeds), done)
    return Simulated(history, index, refits, space, truth, params)


def run(data: Data, seed: int, batch: int, most: int | None) -> Row:
    """One project to exhaustion: the curve, every sign at every point, and where the panel advises
    to stop.
    """
    params = params_of(data, "auto", seed, batch, 0.2)
    done = simulate(data, params, 10_000, most)
    judge = judge_on_test(done.refits, done.truth[done.index.rows("test")])
    curve, _ = learning_curve(done.history, judge, params)
    points = stopping_points(done.history, done.refits, stop_set(done.index, seed), curve, params)
    half = np.random.default_rng(seed).permutation(len(data.test_labels)) % 2 == 0
    accuracy = []
    for row in points:
        judged = judge(done.history.arm("all", row["round"], params.labels, seed), row["round"])
        assert judged is not None
        accuracy.append([judged.correct[rows].mean() for rows in (half | True, half, ~half)])
    signs: list[list[Row]] = []
    for last in range(len(points)):
        so_far = [row for row in curve if row["round"] <= points[last]["round"]]
        means = Circumstances(None, batch, True, next_batch(so_far, batch), float(batch))
        signs.append(readings(points[: last + 1], means))
    return {
        "set": data.name, "seed": seed, "labels": [row["labels"] for row in points],
        **dict(zip(MEASURES, np.array(accuracy).T.tolist(), strict=True)),
        "values": {sign.name: [row[n]["value"] for row in signs] for n, sign in enumerate(SIGNS)},
        "says": {sign.name: [row[n]["says"] for row in signs] for n, sign in enumerate(SIGNS)},
        "agreed": [agreement(row) for row in signs],
    }  # fmt: skip


def stop_of(run: Row, name: str) -> int | None:
    """The first point at which a sign says stop; for `panel`, where the agreement has held for two
    rounds.
    """
    if name == "panel":
        pairs = zip(run["agreed"], run["agreed"][1:], strict=False)
        return next((point + 1 for point, pair in enumerate(pairs) if all(pair)), None)
    return next(
        (point for point, verdict in enumerate(run["says"][name]) if verdict == "stop"), None
    )


def correlation(run: Row, name: str) -> float | None:
    """Pearson's r of a sign's value with test accuracy, over the points where it is judged; None
    where it is flat.
    """
    pairs = [
        (v, a) for v, a in zip(run["values"][name], run["accuracy"], strict=True) if v is not None
    ]
    if len(pairs) < 3:
        return None
    value, accuracy = np.array(pairs).T
    return (
        float(np.corrcoef(value, accuracy)[0, 1])
        if value.std() > 0 and accuracy.std() > 0
        else None
    )


def lost(run: Row, stop: int) -> float:
    """Points of accuracy below the best stop, which one half of the test rows chooses and the other
    judges.
    """
    halves = np.array([run["one_half"], run["other_half"]])
    best = halves.argmax(axis=1)[::-1]
    return float(100 * (halves[[0, 1], best] - halves[:, stop]).mean())


def stop_cell(runs: list[Row], name: str) -> str:
    """What a sign did in the runs of one set: share of labels saved, points lost to the best stop
    and to the end.
    """
    stops = ((run, stop_of(run, name)) for run in runs)
    stopped_runs = [(run, stop) for run, stop in stops if stop is not None]
    if not stopped_runs:
        return "never"
    saved = np.mean([1 - run["labels"][stop] / run["labels"][-1] for run, stop in stopped_runs])
    points = [lost(run, stop) for run, stop in stopped_runs]
    end = np.mean(
        [100 * (run["accuracy"][-1] - run["accuracy"][stop]) for run, stop in stopped_runs]
    )
    some = "" if len(stopped_runs) == len(runs) else f"{len(stopped_runs)}/{len(runs)}: "
    return (
        f"{some}saved {saved:.0%}, lost {np.mean(points):.2f} ({max(points):.2f}), end {end:+.2f}"
    )


def table(runs: list[Row]) -> list[str]:
    """One line per criterion, one column per set, Markdown."""
    by_set: dict[str, list[Row]] = defaultdict(list)
    for run in runs:
        by_set[run["set"]].append(run)
    lines = [
        f"| sign | r with accuracy, per set | {' | '.join(by_set)} |",
        "|---|---|" + "---|" * len(by_set),
    ]
    for name in ["panel", *(sign.name for sign in SIGNS if sign.name != "budget exhausted")]:
        by_run = [
            [correlation(value, name) for value in set_runs] if name != "panel" else []
            for set_runs in by_set.values()
        ]
        means = [
            f"{np.mean(r):+.2f}"
            for r in ([value for value in r if value is not None] for r in by_run)
            if r
        ]
        title = f"**{name}**" if name in {"panel", PRIMARY} else name
        cells = [
            title,
            " ".join(means),
            *(stop_cell(set_runs, name) for set_runs in by_set.values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--rows", type=int, help="Most rows of pool and seed; default: all of a set."
    )
    parser.add_argument("--out", type=Path, default=Path("build/stopping.jsonl"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    runs: list[Any] = (
        [json.loads(line) for line in args.out.read_text().splitlines()]
        if args.out.exists()
        else []
    )
    done = {(run["set"], run["seed"]) for run in runs}
    for name in args.sets.split(","):
        data = load(name, args.data)
        for seed in range(args.seeds):
            if (name, seed) in done:
                continue
            start = time.perf_counter()
            runs.append(json.loads(dumps(run(data, seed, SETS[name], args.rows))))
            with args.out.open("a") as file:
                file.write(dumps(runs[-1]) + "\n")
            seconds = time.perf_counter() - start
            points = len(runs[-1]["labels"])
            print(f"{name} seed {seed}: {points} points, {seconds:.0f} s", flush=True)
    print("\n".join(table(runs)))


if __name__ == "__main__":
    main()
