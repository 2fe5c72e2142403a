"""Label efficiency: area under the accuracy curve of query strategies, paired by seed with random.

    python -m benchmarks.labels --sets banking77,digits --strategies random,margin,auto --seeds 3
    --out results.jsonl

Every loop is a replay of the product's own stages (rounds/backtest/replay.py), without gate and
control arm, so that all answers go to the strategy. All strategies see the same seed labels,
features and model. A strategy is a word as in `rounds backtest --strategy`; where it names no
engine, `own` is used. One line per set, strategy and seed is appended to --out; what is there
already is not run again. The tables give the mean paired difference to random in area under the
curve x 1000 with its standard error, the mean rank over the sets, `auto` beside the best of the
others, and the labels to 90 % of the accuracy that all labels give. benchmarks/small_text.py has
two peers that need one package more.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from rounds.backtest.loops import filled
from rounds.backtest.replay import Setting, replay
from rounds.backtest.variants import Variant
from rounds.backtest.variants import params_of as variant_params
from rounds.backtest.verdict import accuracies, area, labels_to
from stages.contract.canonical import sha256
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.classifier import fit
from stages.store.index import SPLITS, Features, Index


@dataclass(frozen=True)
class Data:
    """A labelled set, its pool and test rows apart; features of the model, geometry of the
    strategies.
    """

    name: str
    pool: Any
    geometry: NDArray[np.float32]
    labels: NDArray[np.intp]
    test: Any
    test_labels: NDArray[np.intp]
    classes: int
    batch: int = 50
    rounds: int = 16
    seed_size: int = 50


def text_set(
    name: str, texts: list[str], labels: list[str], tests: list[str], truth: list[str], **plan: int
) -> Data:
    """Character and word TF-IDF, its truncated SVD of 128 dimensions as geometry; the model sees
    the same.

    A name that ends in +tfidf: the model sees the TF-IDF itself.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import Normalizer

    union = make_union(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32),
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), min_df=2, sublinear_tf=True, dtype=np.float32
        ),
    )
    space = make_pipeline(union, TruncatedSVD(128, random_state=0), Normalizer())
    geometry = np.asarray(space.fit_transform(texts), np.float32)
    sparse = name.endswith("+tfidf")
    pool = space[0].transform(texts).tocsr() if sparse else geometry
    test = (
        space[0].transform(tests).tocsr()
        if sparse
        else np.asarray(space.transform(tests), np.float32)
    )
    classes = sorted(set(labels))
    number = {label: position for position, label in enumerate(classes)}
    kept = [row for row, label in enumerate(truth) if label in number]
    return Data(
        name, pool, geometry, np.array([number[label] for label in labels]), test[kept],
        np.array([number[truth[row]] for row in kept]), len(classes), **plan,
    )  # fmt: skip


def numeric_set(name: str, rows: NDArray[Any], labels: NDArray[Any], **plan: int) -> Data:
    """Standardised numbers; a seeded third is the test set. Geometry: rows of mean squared norm
    1.
    """
    from sklearn.preprocessing import StandardScaler

    order = np.random.default_rng(0).permutation(len(rows))
    third = len(rows) // 3
    scaler = StandardScaler().fit(rows[order[third:]])
    scaled = scaler.transform(rows).astype(np.float32)
    codes = np.unique(labels, return_inverse=True)[1]
    pool = scaled[order[third:]]
    geometry = pool / np.sqrt((pool**2).sum(axis=1).mean())
    return Data(
        name,
        pool,
        geometry,
        codes[order[third:]],
        scaled[order[:third]],
        codes[order[:third]],
        int(codes.max()) + 1,
        **plan,
    )


def load(name: str, folder: Path) -> Data:
    """A set by name, from `folder` or from scikit-learn."""
    import pandas as pd

    def table(path: str) -> Any:
        return pd.read_csv(folder / path, dtype=str, keep_default_na=False)

    def halves(frame: Any, text: str, label: str, test: int, pool: int) -> tuple[list[str], ...]:
        order = np.random.default_rng(0).permutation(len(frame))
        parts = frame.iloc[order[test : test + pool]], frame.iloc[order[:test]]
        return tuple(part[column].tolist() for part in parts for column in (text, label))

    if name.startswith("banking77"):
        train, test = table("banking77/train.csv"), table("banking77/test.csv")
        text, label = train.columns[:2]
        train = train.iloc[np.random.default_rng(0).permutation(len(train))[:6000]]
        parts = (
            train[text].tolist(),
            train[label].tolist(),
            test[text].tolist(),
            test[label].tolist(),
        )
        return text_set(name, *parts)
    if name.startswith("sms_spam"):
        frame = table("sms_spam/all.csv")
        return text_set(name, *halves(frame, "text", "label", 1500, 4000), batch=20, seed_size=20)
    if name.startswith("langid"):
        frame = table("langid/train.csv")
        return text_set(name, *halves(frame, "text", "label", 3000, 6000))
    from sklearn import datasets

    if name == "digits":
        return numeric_set(name, *datasets.load_digits(return_X_y=True), batch=20, seed_size=20)
    if name == "wine":
        return numeric_set(name, *datasets.load_wine(return_X_y=True), batch=5, seed_size=5)
    if name == "cancer":
        return numeric_set(
            name, *datasets.load_breast_cancer(return_X_y=True), batch=10, seed_size=10
        )
    if name == "iris":
        return numeric_set(name, *datasets.load_iris(return_X_y=True), batch=5, seed_size=5)
    frame = pd.read_csv(folder / f"tabular/{name}.csv")
    return numeric_set(
        name, frame.iloc[:, :-1].to_numpy(), frame.iloc[:, -1].to_numpy(), batch=10, seed_size=20
    )


def params_of(data: Data, strategy: str, seed: int) -> Params:
    """The product's defaults with the benchmark's model, all answers spent on the strategy: no
    gate, no control arm.
    """
    changes: dict[tuple[str, ...], Any] = {
        ("seed",): seed, ("labels",): [str(label) for label in range(data.classes)],
        ("model", "params"): {"C": 10.0, "max_iter": 1000, "tol": 0.001}, ("quality", "folds"): 3,
        ("gate", "max_quarantine"): 0.0, ("gate", "hold"): [], ("clean_seed", "max_suspects"): 0.0,
        ("query", "engine"): "own", ("query", "batch_size"): data.batch,
        ("query", "control_fraction"): 0.0,
        ("query", "review_fraction"): 0.0,
    }  # fmt: skip
    return variant_params(Variant(strategy), filled(Path("params.yaml"), changes)[1])


def setting_of(data: Data, seed: int) -> Setting:
    """The set as a replay wants it: the seed's rows drawn by key, rows with equal features as
    copies of each other.
    """
    n, tests = len(data.labels), len(data.test_labels)
    names = [f"{row:07d}" for row in range(n + tests)]
    first, rest = np.split(np.argsort(order_keys(seed, names[:n])), [data.seed_size])
    rows = np.concatenate([np.sort(rest), np.sort(first), np.arange(n, n + tests)])
    matrix = np.vstack([data.pool, data.test])[rows]
    space = np.vstack([data.geometry, np.zeros((tests, data.geometry.shape[1]), np.float32)])[rows]
    splits = [
        split
        for split, size in zip(SPLITS, (len(rest), len(first), tests), strict=True)
        for _ in range(size)
    ]
    index = Index(
        [names[row] for row in rows],
        [sha256(row.tobytes()) for row in matrix],
        splits,
        rows.tolist(),
    )
    truth = dict(zip(names, map(str, np.concatenate([data.labels, data.test_labels])), strict=True))
    labels = [
        {"id": item, "label": truth[item], "line": 0} for item in index.ids[index.rows("seed")]
    ]
    return Setting(Features(index, matrix, space), truth, labels, [], data.test_labels)


def full_accuracy(data: Data) -> float:
    """The accuracy of the benchmark's model once every pool row is labelled."""
    model = fit(params_of(data, "random", 0).model, data.pool, data.labels, data.classes, 0)
    return float((model.scores(data.test).argmax(axis=1) == data.test_labels).mean())


def loop(data: Data, strategy: str, seed: int) -> list[dict[str, float]]:
    """The learning curve of one whole loop: the product's own, replayed."""
    keys = ("n_labels", "accuracy", "macro_f1", "seconds")
    turns = replay(setting_of(data, seed), params_of(data, strategy, seed), data.rounds)
    return [{key: getattr(turn.point, key) for key in keys} for turn in turns]


def gains_of(
    records: list[dict[str, Any]], measure: str
) -> dict[tuple[str, str], dict[int, float]]:
    """By set and strategy: each seed's area under the curve x 1000, less that of random with the
    same seed.
    """
    areas: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for record in records:
        points = record["points"]
        value = 1000 * area(points, measure, points[-1]["n_labels"])
        areas[record["set"], record["strategy"]][record["seed"]] = value
    paired = {}
    for (name, strategy), values in areas.items():
        base = areas.get((name, "random"), {})
        pairs = {seed: value - base[seed] for seed, value in values.items() if seed in base}
        if pairs:
            paired[name, strategy] = pairs
    return paired


def mean_error(values: Iterable[float]) -> tuple[float, float]:
    """The mean and its standard error, 0 where there is one value."""
    array = np.array(list(values))
    return float(array.mean()), float(np.std(array, ddof=1) / np.sqrt(len(array))) if len(
        array
    ) > 1 else 0.0


def table(records: list[dict[str, Any]], measure: str) -> Iterator[str]:
    """Rows of strategies, columns of sets: mean paired difference to random x 1000 +- its standard
    error; mean rank.

    Ranks are among the strategies that ran on every set, 1 the best; the others stand below,
    without one.
    """
    gains = gains_of(records, measure)
    sets = list(dict.fromkeys(record["set"] for record in records))
    strategies = list(dict.fromkeys(record["strategy"] for record in records))
    everywhere = [
        strategy for strategy in strategies if all((name, strategy) in gains for name in sets)
    ]
    means = np.array(
        [[np.mean(list(gains[name, word].values())) for name in sets] for word in everywhere]
    )
    ranks = (-means).argsort(axis=0).argsort(axis=0).mean(axis=1) + 1
    yield f"| {measure} | " + " | ".join(sets) + " | mean | mean rank |"
    yield "|---" * (len(sets) + 3) + "|"
    rank_of = {
        everywhere[row]: (ranks[row], means[row].mean()) for row in np.argsort(ranks, kind="stable")
    }
    for word in [*rank_of, *(word for word in strategies if word not in rank_of)]:
        gains = [
            mean_error(gains[name, word].values()) if (name, word) in gains else None
            for name in sets
        ]
        cells = [f"{cell[0]:+.1f} ± {cell[1]:.1f}" if cell else "" for cell in gains]
        last = (
            [f"{rank_of[word][1]:+.1f}", f"{rank_of[word][0]:.1f}"] if word in rank_of else ["", ""]
        )
        yield f"| `{word}` | " + " | ".join([*cells, *last]) + " |"


def verdicts(records: list[dict[str, Any]], measure: str, ours: str = "auto") -> Iterator[str]:
    """By set: the best of the other strategies, and how far ours is ahead of it, paired by seed."""
    gains = gains_of(records, measure)
    for name in dict.fromkeys(record["set"] for record in records):
        mine = gains.get((name, ours))
        others = {
            word: values
            for (where, word), values in gains.items()
            if where == name and word != ours
        }
        if mine and others:
            best = max(others, key=lambda word: float(np.mean(list(others[word].values()))))
            gap, error = mean_error(
                mine[seed] - value for seed, value in others[best].items() if seed in mine
            )
            difference = f"{ours} - {best} {gap:+.1f} ± {error:.1f}"
            yield f"{name}: {difference} in {measure}, {len(mine)} seeds"


def labels_needed(records: list[dict[str, Any]], full: dict[str, float]) -> Iterator[str]:
    """Rows of strategies, columns of sets: labels at which the mean curve reaches 90 % of the
    full-data accuracy.
    """
    sets = list(dict.fromkeys(record["set"] for record in records))
    strategies = list(dict.fromkeys(record["strategy"] for record in records))
    yield "| labels to 90 % | " + " | ".join(sets) + " |"
    yield "|---" * (len(sets) + 1) + "|"
    for strategy in strategies:
        cells = []
        for name in sets:
            curves = [r["points"] for r in records if (r["set"], r["strategy"]) == (name, strategy)]
            if not curves:
                cells.append("")
                continue
            x, heights = accuracies(curves)
            needed = labels_to(x, heights.mean(axis=0, keepdims=True), 0.9 * full[name])[0]
            cells.append(f"{needed:.0f}" if np.isfinite(needed) else "-")
        yield f"| `{strategy}` | " + " | ".join(cells) + " |"


def main() -> None:
    """Run what is missing, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default="banking77,sms_spam,langid,digits,wine,cancer")
    parser.add_argument("--strategies", default="random,margin,auto")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("labels.jsonl"))
    options = parser.parse_args()
    records = (
        [json.loads(line) for line in options.out.read_text().splitlines()]
        if options.out.exists()
        else []
    )
    have = {(record["set"], record["strategy"], record["seed"]) for record in records}
    full: dict[str, float] = {}
    for name in options.sets.split(","):
        data = load(name, options.data)
        full[name] = full_accuracy(data)
        for word in options.strategies.split(","):
            for seed in range(options.seeds):
                if (name, word, seed) in have:
                    continue
                try:
                    with threadpool_limits(1):
                        points = loop(data, word, seed)
                except PipelineError as error:
                    print(f"{name}: {error}")
                    break
                records.append({"set": name, "strategy": word, "seed": seed, "points": points})
                with options.out.open("a") as file:
                    file.write(json.dumps(records[-1]) + "\n")
    words = options.strategies.split(",")
    asked = [r for r in records if r["set"] in options.sets.split(",") and r["strategy"] in words]
    asked.sort(key=lambda record: options.sets.split(",").index(record["set"]))
    for measure in ("accuracy", "macro_f1"):
        print("\n".join([*table(asked, measure), "", *verdicts(asked, measure)]), end="\n\n")
    print("\n".join(labels_needed(asked, full)))


if __name__ == "__main__":
    main()
