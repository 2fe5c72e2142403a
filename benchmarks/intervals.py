"""Intervals: do they hold what they promise? Simulated projects on scikit-learn's digits, the truth
by the oracle.

    python -m benchmarks.intervals --kind aa --projects 200
    python -m benchmarks.intervals --kind saving --projects 50

aa: the active arm is a random order of its own, so its true gap to the random arm is zero; the
table says how often the 95 % interval covers it. saving: whole projects with the default strategy;
the truth is read off the mean curves of all projects: the labels at which the mean active curve
reaches what the mean random curve has at as many labels as the control arm gave. Every project has
its own seed labels, control arm and test set.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.labels import Data, load
from benchmarks.stopping import Simulated, params_of, simulate
from stages.contract.canonical import Row
from stages.contract.identity import order_keys
from stages.proof.gap import compare, labels_to_reach
from stages.proof.refits import judge_on_control, judge_on_test

TEST_ROWS = 300


def resampled(data: Data, seed: int) -> Data:
    """The set with a test part drawn anew from all of its rows."""
    rows, labels = (
        np.concatenate([data.pool, data.test]),
        np.concatenate([data.labels, data.test_labels]),
    )
    order = np.random.default_rng([seed, 1]).permutation(len(rows))
    test, pool = order[:TEST_ROWS], order[TEST_ROWS:]
    space = rows[pool] / np.sqrt((rows[pool] ** 2).sum(axis=1).mean())
    return replace(
        data,
        pool=rows[pool],
        geometry=space.astype(np.float32),
        labels=labels[pool],
        test=rows[test],
        test_labels=labels[test],
    )


def two_arms(done: Simulated, *, test: bool) -> tuple[Row, Row]:
    """Gap and saving as validate tells them."""
    truth = done.truth[done.index.rows("test")]
    judge = (
        judge_on_test(done.refits, truth) if test else judge_on_control(done.refits, done.history)
    )
    return compare(done.history, judge, done.params)


def random_project(data: Data, seed: int, labels: int) -> Simulated:
    """A project whose active arm is a random order, independent of the control arm's walk; `labels`
    for each arm.
    """
    done = simulate(data, params_of(data, "random", seed, labels, 0.0), 0)
    pool = done.index.ids[done.index.rows("pool")]
    walk = [pool[row] for row in np.argsort(order_keys(seed, pool))[:labels]]
    own = [pool[row] for row in np.random.default_rng([seed, 2]).permutation(len(pool))[:labels]]
    arms = {
        item: [name for name, ids in (("active", own), ("control", walk)) if item in ids]
        for item in own + walk
    }
    asked = [
        {"id": item, "round": 1, "rank": row, "arms": arm}
        for row, (item, arm) in enumerate(arms.items())
    ]
    labels_known = [*done.history.known]
    for item in arms:
        label = done.params.labels[done.truth[done.index.row_of[item]]]
        labels_known.append({"id": item, "from_round": 1, "to_round": None, "label": label})
    return replace(
        done,
        history=replace(done.history, asked=asked, known=labels_known, rounds=1, doubts=[0, 0]),
    )


def cover_zero(data: Data, projects: int) -> list[str]:
    """How often the interval of active - random covers zero when both arms are random."""
    lines = [
        "| judged on | labels of an arm | covers 0 | mean width | bias |",
        "|---|---|---|---|---|",
    ]
    for labels, test in ((40, True), (100, True), (300, True), (100, False), (300, False)):
        comparisons = [
            two_arms(random_project(resampled(data, seed), seed, labels), test=test)[0]
            for seed in range(projects)
        ]
        covered = np.mean([row["low"] <= 0 <= row["high"] for row in comparisons])
        width = np.mean([row["high"] - row["low"] for row in comparisons])
        bias = np.mean([row["active_minus_random"] for row in comparisons])
        judged = f"{TEST_ROWS} test rows" if test else "control arm"
        lines.append(f"| {judged} | {labels} | {covered:.1%} | {width:.3f} | {bias:+.4f} |")
        print(lines[-1], flush=True)
    return lines


def looks(data: Data, projects: int, count: int = 15, step: int = 20) -> list[str]:
    """How often two random arms ever seem to differ when they are looked at after every round."""
    claims = {"this look": [], "any look": []}
    for seed in range(projects):
        own = resampled(data, seed)
        rows = [
            two_arms(random_project(own, seed, number * step), test=True)
            for number in range(1, count + 1)
        ]
        claims["this look"].append([claimed(gap, saving) for gap, saving in rows])
        claims["any look"].append(
            [claimed(gap["any_look"], saving["any_look"]) for gap, saving in rows]
        )
        print(seed, {name: np.any(seen, axis=1).mean(axis=0) for name, seen in claims.items()})
    return [
        f"| {data.name} | {name} | "
        + " | ".join(f"{share:.1%}" for share in np.any(seen, axis=1).mean(axis=0))
        + " |"
        for name, seen in claims.items()
    ]


def claimed(gap: Row, saving: Row) -> tuple[bool, bool, bool]:
    """Whether intervals exclude a gap of zero, claim a gap above zero, claim a saving."""
    return not gap["low"] <= 0 <= gap["high"], gap["low"] > 0, saving["low"] > 0


def mean_curve(
    projects: list[Simulated], arm: str, counts: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Mean accuracy of an arm over all projects at these label counts; `random` goes on beyond its
    control arm.
    """
    curves = []
    for done in projects:
        history, params, index = done.history, done.params, done.index
        labelled = history.arm("active", history.rounds, params.labels, params.seed)
        if arm == "random":
            pool = index.ids[index.rows("pool")]
            walk = [pool[row] for row in np.argsort(order_keys(params.seed, pool))]
            labelled = {
                item: int(done.truth[index.row_of[item]])
                for item in [*sorted(history.seed_ids), *walk]
            }
        judge = judge_on_test(done.refits, done.truth[index.rows("test")])
        models = (
            judge(dict(list(labelled.items())[:count]), history.rounds) for count in counts.tolist()
        )
        curves.append([model.correct.mean() for model in models if model is not None])
    return np.asarray(np.mean(curves, axis=0))


def cover_saving(data: Data, projects: int, rounds: int, batch: int, control: float) -> list[str]:
    """How often the interval of the saving holds the saving of the strategy itself."""
    done = [
        simulate(resampled(data, seed), params_of(data, "auto", seed, batch, control), rounds)
        for seed in range(projects)
    ]
    savings = [two_arms(project, test=True)[1] for project in done]
    equal = int(np.median([row["labels"] for row in savings]))
    counts = np.arange(data.seed_size, equal + 1, 2)
    target = float(mean_curve(done, "random", np.array([equal]))[0])
    truth = equal - labels_to_reach(
        counts.astype(np.float64), mean_curve(done, "active", counts), target
    )
    covered = [
        (not np.isfinite(row["low"]) or row["low"] <= truth)
        and (not np.isfinite(row["high"]) or truth <= row["high"])
        for row in savings
    ]
    values = [row["saved"] for row in savings if np.isfinite(row["saved"])]
    sure = np.mean([np.isfinite(row["low"]) and row["low"] > 0 for row in savings])
    shown = (
        f"{np.median(values):.0f} [{np.quantile(values, 0.1):.0f}, {np.quantile(values, 0.9):.0f}]"
    )
    unknown = len(savings) - len(values)
    estimates = f"{truth:.1f} | {shown} | {unknown}"
    return [f"| {rounds} | {equal} | {estimates} | {np.mean(covered):.0%} | {sure:.0%} |"]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=["aa", "looks", "saving"], default="aa")
    parser.add_argument("--projects", type=int, default=200)
    parser.add_argument("--set", default="digits", help="Of --kind looks.")
    parser.add_argument("--data", type=Path, default=Path(), help="The folder of real sets.")
    args = parser.parse_args()
    data = load("digits", Path())
    if args.kind == "aa":
        cover_zero(data, args.projects)
        return
    if args.kind == "looks":
        print("| set | interval of | ever excludes 0 | ever a gap above 0 | ever a saving |")
        print("|---|---|---|---|---|")
        print("\n".join(looks(load(args.set, args.data), args.projects)))
        return
    print(
        "| rounds | labels | truth | estimate, median [10 %, 90 %] | not yet known "
        "| covers the truth | surely > 0 |"
    )
    print("|---|---|---|---|---|---|---|")
    for rounds in (5, 10, 20):
        print("\n".join(cover_saving(data, args.projects, rounds, 30, 0.2)), flush=True)


if __name__ == "__main__":
    main()
