"""Label efficiency: area under the accuracy curve of query strategies, paired by seed with random.

    python -m benchmarks.labels --sets banking77,digits --strategies margin,auto --seeds 3 --out results.jsonl

Every strategy sees the same seed labels, the same features and the same model. One line per set, strategy and
seed is appended to --out; what is there already is not run again. The table gives the mean paired difference to
random in area under the curve x 1000, and its standard error.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages._identity import order_keys, stratified_folds
from stages.strategies import Candidates
from stages.strategies.registry import find, resolve

UNSEEN = -30.0  # the logit of a class that no training row shows


@dataclass(frozen=True)
class Data:
    """A labelled set, its pool and test rows apart; features of the model, geometry of the strategies."""

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


def text_set(name: str, texts: list[str], labels: list[str], tests: list[str], truth: list[str], **plan: int) -> Data:
    """Character and word TF-IDF, its truncated SVD of 128 dimensions as geometry; the model sees the same.

    A name that ends in +tfidf: the model sees the TF-IDF itself.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import Normalizer

    union = make_union(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=2, sublinear_tf=True, dtype=np.float32),
    )
    space = make_pipeline(union, TruncatedSVD(128, random_state=0), Normalizer())
    geometry = np.asarray(space.fit_transform(texts), np.float32)
    sparse = name.endswith("+tfidf")
    pool = space[0].transform(texts).tocsr() if sparse else geometry
    test = space[0].transform(tests).tocsr() if sparse else np.asarray(space.transform(tests), np.float32)
    known = sorted(set(labels))
    number = {label: place for place, label in enumerate(known)}
    kept = [row for row, label in enumerate(truth) if label in number]
    return Data(
        name, pool, geometry, np.array([number[label] for label in labels]), test[kept],
        np.array([number[truth[row]] for row in kept]), len(known), **plan,
    )  # fmt: skip


def numeric_set(name: str, rows: NDArray[Any], labels: NDArray[Any], **plan: int) -> Data:
    """Standardised numbers; a seeded third is the test set. Geometry: rows of mean squared norm 1."""
    from sklearn.preprocessing import StandardScaler

    order = np.random.default_rng(0).permutation(len(rows))
    third = len(rows) // 3
    scaler = StandardScaler().fit(rows[order[third:]])
    scaled = scaler.transform(rows).astype(np.float32)
    codes = np.unique(labels, return_inverse=True)[1]
    pool = scaled[order[third:]]
    geometry = pool / np.sqrt((pool**2).sum(axis=1).mean())
    return Data(
        name, pool, geometry, codes[order[third:]], scaled[order[:third]], codes[order[:third]], int(codes.max()) + 1,
        **plan,
    )  # fmt: skip


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
        parts = train[text].tolist(), train[label].tolist(), test[text].tolist(), test[label].tolist()
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
        return numeric_set(name, *datasets.load_breast_cancer(return_X_y=True), batch=10, seed_size=10)
    if name == "iris":
        return numeric_set(name, *datasets.load_iris(return_X_y=True), batch=5, seed_size=5)
    frame = pd.read_csv(folder / f"tabular/{name}.csv")
    return numeric_set(name, frame.iloc[:, :-1].to_numpy(), frame.iloc[:, -1].to_numpy(), batch=10, seed_size=20)


@dataclass(frozen=True)
class Point:
    """One point of a learning curve."""

    n_labels: int
    accuracy: float
    macro_f1: float
    seconds: float


def temperature(scores: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """The T in [1/8, 8] that makes softmax(scores / T) likeliest, with the weight of one label for T = 1.

    Source: Guo et al., "On calibration of modern neural networks" (2017).
    """
    from scipy.special import log_softmax

    grid = np.exp2(np.linspace(-3, 3, 25))
    known = scores[np.arange(len(labels)), labels] > UNSEEN  # a class that the fold's model never saw says nothing
    scores, labels = scores[known], labels[known]
    rows = np.arange(len(labels))
    loss = [-log_softmax(scores / t, axis=1)[rows, labels].sum() + np.log2(t) ** 2 for t in grid]
    return float(grid[int(np.argmin(loss))])


def fitted(
    data: Data, rows: NDArray[np.intp], seed: int
) -> tuple[Callable[[Any], NDArray[np.float64]], NDArray[np.float64]]:
    """A function from features to the fitted model's probabilities, and the labelled rows' out-of-fold probabilities.

    Both are calibrated by the temperature of the out-of-fold scores.
    """
    from scipy.special import softmax
    from sklearn.linear_model import LogisticRegression

    def trained(known: NDArray[np.intp]) -> Callable[[Any], NDArray[np.float64]]:
        seen = np.unique(data.labels[known])
        model = LogisticRegression(C=10, max_iter=1000, tol=1e-3) if len(seen) > 1 else None
        if model is not None:
            model.fit(data.pool[known], data.labels[known])

        def scores(x: Any) -> NDArray[np.float64]:
            full = np.full((x.shape[0], data.classes), UNSEEN)
            full[:, seen] = 0 if model is None else np.log(np.maximum(model.predict_proba(x), 1e-12))
            return full

        return scores

    fold = stratified_folds(data.labels[rows], [str(row) for row in rows], 3, seed)
    held = np.zeros((len(rows), data.classes))
    for part in range(3):
        if (fold == part).any() and (fold != part).any():
            held[fold == part] = trained(rows[fold != part])(data.pool[rows[fold == part]])
    heat = temperature(held, data.labels[rows])
    scores = trained(rows)
    return lambda x: np.asarray(softmax(scores(x) / heat, axis=1)), softmax(held / heat, axis=1)


def replay(data: Data, strategy: str, engine: str, seed: int, params: dict[str, Any]) -> list[Point]:
    """The learning curve of one whole loop: seed labels drawn by key, then batches of the strategy's picks."""
    from sklearn.metrics import f1_score

    n = len(data.labels)
    ids = [str(row) for row in range(n)]
    keys = order_keys(seed, ids)
    rank, blind = resolve(strategy, engine), resolve("random")
    needs_model = "probabilities" in find(strategy, engine).needs
    labelled = np.argsort(keys)[: data.seed_size]
    points: list[Point] = []
    asking = 0.0
    for turn in range(data.rounds + 1):
        model, held_out = fitted(data, labelled, seed)
        free = np.setdiff1d(np.arange(n), labelled)
        guess = model(data.test).argmax(axis=1)
        f1 = f1_score(data.test_labels, guess, average="macro", zero_division=0)
        points.append(Point(len(labelled), float((guess == data.test_labels).mean()), float(f1), asking))
        if turn == data.rounds or not len(free):
            break
        candidates = Candidates(
            ids=[ids[row] for row in free], keys=keys[free], geometry=data.geometry[free],
            labelled=data.geometry[labelled], labelled_class=data.labels[labelled],
            probabilities=model(data.pool[free]) if len(np.unique(data.labels[labelled])) > 1 else None,
            class_weights=np.ones(data.classes), trusted=True, seed=seed, held_out=held_out,
        )  # fmt: skip
        start = time.perf_counter()
        if candidates.probabilities is None and needs_model:
            picks = blind(candidates, data.batch).positions
        else:
            picks = rank(candidates, data.batch, **params).positions
        asking = time.perf_counter() - start
        labelled = np.concatenate([labelled, free[picks]])
    return points


def area(values: list[float]) -> float:
    """Mean height of a curve of evenly spaced points, by trapezoids."""
    return float((np.sum(values) - (values[0] + values[-1]) / 2) / (len(values) - 1))


def table(records: list[dict[str, Any]], measure: str) -> Iterator[str]:
    """Rows of strategies, columns of sets: mean paired difference to random x 1000 +- its standard error."""
    areas: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for record in records:
        areas[record["set"], record["strategy"]][record["seed"]] = area([point[measure] for point in record["points"]])
    sets = list(dict.fromkeys(record["set"] for record in records))
    strategies = list(dict.fromkeys(record["strategy"] for record in records))
    gains: dict[tuple[str, str], tuple[float, float, int]] = {}
    for (name, strategy), values in areas.items():
        base = areas.get((name, "random"), {})
        pairs = [value - base[seed] for seed, value in values.items() if seed in base]
        if pairs:
            error = np.std(pairs, ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else 0.0
            gains[name, strategy] = (1000 * float(np.mean(pairs)), 1000 * float(error), len(pairs))
    width = max(map(len, strategies))
    yield f"{measure:<{width}} " + " ".join(f"{name[:12]:>13}" for name in sets) + "   mean"
    shown = []
    for strategy in strategies:
        cells = [gains.get((name, strategy)) for name in sets]
        mean = np.mean([cell[0] for cell in cells if cell]) if all(cells) else np.nan
        text = " ".join(f"{cell[0]:+7.1f} ±{cell[1]:4.1f}" if cell else " " * 13 for cell in cells)
        shown.append((-mean if np.isfinite(mean) else 1e9, f"{strategy:<{width}} {text} {mean:+6.1f}"))
    for _, line in sorted(shown):
        yield line


def parse(word: str) -> tuple[str, str, dict[str, Any]]:
    """`engine:name?key=value&…` as engine, name and params; the engine is `own` where none is given."""
    head, _, tail = word.partition("?")
    engine, _, name = head.rpartition(":")
    return engine or "own", name, {k: json.loads(v) for k, v in (pair.split("=") for pair in tail.split("&") if pair)}


def main() -> None:
    """Run what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="banking77,sms_spam,langid,digits,wine,cancer")
    parser.add_argument("--strategies", default="random,margin,auto")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("labels.jsonl"))
    options = parser.parse_args()
    records = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    have = {(record["set"], record["strategy"], record["seed"]) for record in records}
    for name in options.sets.split(","):
        data = None
        for word in options.strategies.split(","):
            engine, strategy, params = parse(word)
            for seed in range(options.seeds):
                if (name, word, seed) in have:
                    continue
                data = data or load(name, options.data)
                points = [vars(point) for point in replay(data, strategy, engine, seed, params)]
                records.append({"set": name, "strategy": word, "seed": seed, "points": points})
                with options.out.open("a") as file:
                    file.write(json.dumps(records[-1]) + "\n")
    words = options.strategies.split(",")
    asked = [r for r in records if r["set"] in options.sets.split(",") and r["strategy"] in words]
    asked.sort(key=lambda record: options.sets.split(",").index(record["set"]))
    for measure in ("accuracy", "macro_f1"):
        print("\n".join(table(asked, measure)), end="\n\n")


if __name__ == "__main__":
    main()
