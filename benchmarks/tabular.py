"""The published protocol for pool-based active learning on tabular sets, batch size 1, paired by
seed with Uniform.

    python -m benchmarks.tabular --sets heart,sonar --strategies published_margin,margin,auto
    --seeds 20

`published_margin` is the original's own rule: its figures per seed must come out to five decimals,
which proves the harness. Where rows are equal (mammographic, haberman) they depend on the order in
which NumPy leaves ties, which its vector sorts change: `NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4
AVX512_ICL AVX512_SPR"` before the command gives the original's. Source: Lu, Li, Lin,
"Re-benchmarking pool-based active learning for binary classification" (2023).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.contract.identity import order_keys, stratified_folds
from stages.strategies import Candidates
from stages.strategies.registry import resolve

SETS = (
    "haberman,heart,sonar,ionosphere,ex8b,wdbc,diabetes,german,mammographic,splice,checkerboard,"
    "spambase,banana"
)

Results = dict[tuple[str, str, int], float]  # by set, strategy and seed: the AUBC

HALF_DIGIT = 5.001e-6  # the published figures have five decimals
UNSEEN = -30.0  # the logit of a class that no training row shows


def temperature(scores: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """The T in [1/8, 8] that makes softmax(scores / T) likeliest, with the weight of one label for
    T = 1.

    Source: Guo et al., "On calibration of modern neural networks" (2017).
    """
    from scipy.special import log_softmax

    grid = np.exp2(np.linspace(-3, 3, 25))
    scored = (
        scores[np.arange(len(labels)), labels] > UNSEEN
    )  # a class that the fold's model never saw says nothing
    scores, labels = scores[scored], labels[scored]
    rows = np.arange(len(labels))
    loss = [-log_softmax(scores / t, axis=1)[rows, labels].sum() + np.log2(t) ** 2 for t in grid]
    return float(grid[int(np.argmin(loss))])


def parse(word: str) -> tuple[str, str, dict[str, Any]]:
    """`engine:name?key=value&…` as engine, name and params; the engine is `own` where none is
    given.
    """
    head, _, tail = word.partition("?")
    engine, _, name = head.rpartition(":")
    return (
        engine or "own",
        name,
        {k: json.loads(v) for k, v in (pair.split("=") for pair in tail.split("&") if pair)},
    )


def read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Features (n, d) and labels (n,) of a set, as its file has them."""
    with path.open() as file:
        rows = list(csv.reader(file))[1:]
    values = np.array(rows, dtype=float)
    return values[:, :-1], values[:, -1].astype(int)


def aubc(
    values: NDArray[Any],
    labels: NDArray[Any],
    seed: int,
    strategy: str,
    engine: str,
    params: dict[str, Any],
) -> float:
    """Area under the budget curve of one seed, NaN where its 20 first labels are of one class."""
    from scipy.special import softmax
    from sklearn.metrics.pairwise import rbf_kernel
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    order = np.arange(len(labels))
    np.random.default_rng(seed).shuffle(order)
    cut = int(0.6 * len(labels))
    train, test = order[:cut], order[cut:]
    scaler = StandardScaler().fit(values[train])
    np.random.default_rng(seed).shuffle(train)
    x, y = scaler.transform(values[train]), labels[train]
    x_test, y_test = scaler.transform(values[test]), labels[test]
    geometry = (x / np.sqrt((x**2).sum(axis=1).mean())).astype(np.float32)
    if len(np.unique(y[:20])) < 2:
        return float("nan")
    is_labelled = np.zeros(len(y), bool)
    is_labelled[:20] = True
    ids = [str(row) for row in range(len(y))]
    keys = order_keys(seed, ids)
    codes = (y == y.max()).astype(np.intp)
    rank = None if strategy in ("published_margin", "uniform") else resolve(strategy, engine)
    accuracy: list[float] = []
    heat = 1.0
    held = np.zeros((len(y), 2))

    kernel, kernel_test = (rbf_kernel(x, rows, 1 / x.shape[1]) for rows in (x, x_test))

    def model(rows: NDArray[np.bool_]) -> SVC:
        return SVC(kernel="rbf", C=1, gamma="auto").fit(x[rows], y[rows])

    def decided(
        svc: SVC, rows: NDArray[np.bool_], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The decision function, to 12 digits, from kernel values (train, n) that need not be
        computed again.
        """
        return svc.dual_coef_[0] @ values[np.flatnonzero(rows)[svc.support_]] + svc.intercept_[0]

    svc = model(is_labelled)
    while not is_labelled.all():
        free = np.flatnonzero(~is_labelled)
        if strategy == "uniform":
            pick = free[0]
        elif rank is None:
            order = np.argsort(np.abs(svc.decision_function(x)))
            pick = order[~is_labelled[order]][0]
        else:
            decision = decided(svc, is_labelled, kernel)[free]
            if (
                len(accuracy) < 100 or len(accuracy) % 20 == 0
            ):  # between, a new label's own score is held out too
                held[is_labelled] = held_out(x, codes, np.flatnonzero(is_labelled), seed)
                heat = temperature(held[is_labelled], codes[is_labelled])
            held[free, 1] = decision
            chance = 1 / (1 + np.exp(-decision / heat))
            candidates = Candidates(
                ids=[ids[row] for row in free],
                keys=keys[free],
                geometry=geometry[free],
                labelled=geometry[is_labelled],
                labelled_class=codes[is_labelled],
                probabilities=np.column_stack([1 - chance, chance]),
                class_weights=np.ones(2),
                trusted=True,
                seed=seed,
                held_out=softmax(held[is_labelled] / heat, axis=1),
            )
            pick = free[rank(candidates, 1, **params).positions[0]]
        is_labelled[pick] = True
        svc = model(is_labelled)
        accuracy.append(
            float(((decided(svc, is_labelled, kernel_test) > 0) == (y_test == y.max())).mean())
        )
    curve = np.array(accuracy)
    return float((curve[1:] + curve[:-1]).sum() / 2 / len(curve))


def held_out(
    x: NDArray[Any], codes: NDArray[np.intp], labelled_rows: NDArray[np.intp], seed: int
) -> NDArray[np.float64]:
    """(m, 2) logits of the labelled rows, each by a model that has not seen it (three folds)."""
    from sklearn.svm import SVC

    fold = stratified_folds(codes[labelled_rows], [str(row) for row in labelled_rows], 3, seed)
    scores = np.zeros((len(labelled_rows), 2))
    for part in range(3):
        rest = labelled_rows[fold != part]
        if len(np.unique(codes[rest])) == 2:
            svc = SVC(kernel="rbf", C=1, gamma="auto").fit(x[rest], codes[rest])
            scores[fold == part, 1] = svc.decision_function(x[labelled_rows[fold == part]])
    return scores


def report(names: list[str], words: list[str], done: Results, folder: Path) -> None:
    """Print the paired differences to Uniform, seeds in brackets, and how often the published
    margin came out.

    `margin, as published` takes the original's own figures for the seeds of the last strategy.
    """
    with (folder / "published_margin_per_seed.csv").open() as file:
        published = {
            (row["dataset"], int(row["seed"])): float(row["aubc"])
            for row in csv.DictReader(file)
            if row["query_model"] == row["task_model"] == "RBFSVM"
        }
    published = "margin, as published"
    theirs = {
        (name, published, seed): figure
        for (name, seed), figure in published.items()
        if (name, words[-1], seed) in done
    }
    columns = [*(word for word in words if word != "uniform"), published]
    print(f"| set | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    gaps_by_cell = {
        (name, word): gaps_of(done | theirs, name, word) for name in names for word in columns
    }
    for name in names:
        cells = [
            f"{gaps.mean():+.1f} ± {error_of(gaps):.1f} ({len(gaps)})" if len(gaps) else ""
            for gaps in (gaps_by_cell[name, word] for word in columns)
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    means = [
        np.mean(
            [gaps_by_cell[name, word].mean() for name in names if len(gaps_by_cell[name, word])]
        )
        for word in columns
    ]
    print(f"| mean | {' | '.join(f'{mean:+.1f}' for mean in means)} |")
    for name in names:
        gaps = [
            abs(value - published[key[0], key[2]])
            for key, value in done.items()
            if key[:2] == (name, "published_margin")
        ]
        if gaps:
            same = sum(gap < HALF_DIGIT for gap in gaps)
            print(f"{name}: published margin reproduced in {same} of {len(gaps)} seeds")


def gaps_of(done: Results, name: str, word: str) -> NDArray[np.float64]:
    """The differences of a strategy to Uniform x 1000 over the seeds that both have."""
    pairs = [
        (value, done.get((name, "uniform", key[2])))
        for key, value in done.items()
        if key[:2] == (name, word)
    ]
    return np.array(
        [1000 * (mine - base) for mine, base in pairs if base is not None and not np.isnan(mine)]
    )


def error_of(gaps: NDArray[np.float64]) -> float:
    """The standard error of the mean, 0 where there is one value."""
    return float(np.std(gaps, ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0


def main() -> None:
    """Run what is missing, print the table."""
    from sklearn import config_context

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--strategies", default="uniform,published_margin,auto")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("tabular.jsonl"))
    options = parser.parse_args()
    records = (
        [json.loads(line) for line in options.out.read_text().splitlines()]
        if options.out.exists()
        else []
    )
    done = {
        (record["set"], record["strategy"], record["seed"]): record["aubc"] for record in records
    }
    names, words = options.sets.split(","), options.strategies.split(",")
    for name in names:
        values, labels = read(options.data / f"tabular/{name}.csv")
        for seed, word in itertools.product(range(options.seeds), words):
            if (name, word, seed) not in done:
                engine, strategy, params = parse(word)
                with config_context(
                    assume_finite=True, skip_parameter_validation=True
                ):  # thousands of small fits
                    done[name, word, seed] = aubc(values, labels, seed, strategy, engine, params)
                record = {
                    "set": name,
                    "strategy": word,
                    "seed": seed,
                    "aubc": done[name, word, seed],
                }
                with options.out.open("a") as file:
                    file.write(json.dumps(record) + "\n")
    report(names, words, done, options.data / "tabular")


if __name__ == "__main__":
    main()
