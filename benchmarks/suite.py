"""The development suite: whole labelling loops on sets of many characters, and what each gains.

    nice -n 10 python -m benchmarks.suite --out build/benchmarks/suite

Texts of LABELROUNDS_DATA, also by language, by coarser labels or by their commonest ones, and
numbers, some with labels that nothing can foretell. Every loop is the product's own (gate and
control arm off): batches of 50 from 50 random labels, of small tables 10 from 20. A loop is kept in
a file: the same command goes on after a stop, and another strategy adds to what is there. Pools are
cut to 1,500 rows, test parts to 1,000. The weight of word vectors is settled once a set, by the
product's rule on 200 random labels of its pool, and not anew in each fit: so a loop takes a third
of the time, and all strategies see the same features.

Prints the gain over random (mean accuracy along the curve, and macro-F1, x 1000, paired by repeat,
with its standard error), and what choosing by the other sets gives on each (leave one set out).
"""

from __future__ import annotations

import csv
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.words import sample
from rounds.backtest.replay import Setting, checked_examples, prepare, replay
from rounds.backtest.variants import parsed
from rounds.init import settings
from rounds.project_tables import in_order
from rounds.shipped import shipped_params
from stages.answers.ledger import SeedLabel
from stages.contract.canonical import read_json, write_json
from stages.contract.params import Params
from stages.examples.tables import Table
from stages.learning.word_weight import weighed, word_weight
from stages.store.index import Features, Index
from stages.store.words import WORD_DIMS

DATA = Path(os.environ.get("LABELROUNDS_DATA", "../shared/data"))
STRATEGIES = "random,margin,dbal,badge,weighted_coverage,auto?version=1,auto?version=2"
POOL = 1500
TESTED = 1000
ROUNDS = 5
SMALL = 700  # rows of a table; below, batches are of 10
MOODS = {  # of the authors of GoEmotions
    "positive": "admiration amusement approval caring desire excitement gratitude joy love "
    "optimism pride relief",
    "negative": "anger annoyance disappointment disapproval disgust embarrassment fear grief "
    "nervousness remorse sadness",
    "ambiguous": "confusion curiosity realization surprise",
    "neutral": "neutral",
}
TOPICS = (  # of banking77: the first word that an intent's name holds
    ("transfer", "transfer beneficiary"),
    ("top-up", "top topping"),
    ("cash", "cash atm withdrawal"),
    ("exchange", "exchange currency fiat"),
    ("card", "card visa pin contactless"),
    ("identity", "verify identity passcode details age terminate phone"),
)
NUMBERS = "spambase splice german diabetes mammographic heart sonar ionosphere wdbc"


@dataclass(frozen=True)
class Rows:
    """Labelled rows: texts or (n, p) numbers, and the part that is the test where there is one."""

    values: Any
    labels: list[str]
    tested: Any = None
    tested_labels: list[str] | None = None


def table_of(path: str, column: str = "label") -> tuple[list[str], list[str], list[dict[str, str]]]:
    """Distinct texts of a table in a fixed random order, their labels, and whole rows."""
    csv.field_size_limit(10**9)
    with (DATA / path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    distinct = list({row["text"]: row for row in rows}.values())
    order = np.random.default_rng(99).permutation(len(distinct))
    mixed = [distinct[row] for row in order]
    return [row["text"] for row in mixed], [row[column] for row in mixed], mixed


def texts_of(
    train: str,
    test: str = "",
    relabelled: Callable[[dict[str, str]], str] = lambda row: row["label"],
) -> Rows:
    """A set of texts; rows whose new label is empty are left out."""
    parts = []
    for path in filter(None, (train, test)):
        rows = table_of(path)[2]
        named = [(row["text"], relabelled(row)) for row in rows]
        parts.append([(text, label) for text, label in named if label])
    taken = {text for text, _ in parts[0][:POOL]}
    others = parts[1] if test else parts[0][POOL:] or parts[0]
    tested = [pair for pair in others if pair[0] not in taken][:TESTED]
    if len(tested) < TESTED // 2:  # too few rows for both: a third is the test
        third = min(len(parts[0]) // 3, TESTED)
        tested, parts[0] = parts[0][:third], parts[0][third:]
    pool = parts[0][:POOL]
    return Rows(*map(list, zip(*pool, strict=True)), *map(list, zip(*tested, strict=True)))


def topic(row: dict[str, str]) -> str:
    """The coarse group of an intent of banking77."""
    words = set(row["label"].lower().replace("-", "_").strip("?").split("_"))
    return next((name for name, keys in TOPICS if words & set(keys.split())), "payment")


def mood(row: dict[str, str]) -> str:
    """The sentiment group of an emotion."""
    return next(name for name, emotions in MOODS.items() if row["label"] in emotions.split())


def in_language(language: str) -> Callable[[dict[str, str]], str]:
    """The label of a row in a language, empty for others."""
    return lambda row: row["label"] if row["language"] == language else ""


def numbers_of(name: str) -> Rows:
    """A table of the re-benchmark, in a fixed random order."""
    values = np.loadtxt(DATA / "tabular" / f"{name}.csv", delimiter=",", skiprows=1)
    return mixed_numbers(values[:, :-1], [str(int(label)) for label in values[:, -1]])


def mixed_numbers(values: Any, labels: list[str]) -> Rows:
    """Numbers in a fixed random order; a third, at most TESTED rows, are the test."""
    order = np.random.default_rng(99).permutation(len(values))
    third = min(len(values) // 3, TESTED)
    test, pool = order[:third], order[third : third + POOL]
    return Rows(
        values[pool], [labels[row] for row in pool], values[test], [labels[row] for row in test]
    )


def digits() -> Rows:
    """Scanned digits."""
    from sklearn.datasets import load_digits

    values, classes = load_digits(return_X_y=True)
    return mixed_numbers(values, [str(label) for label in classes])


def pictures(labels: str) -> Rows:
    """What a network says of pictures, as log odds; labels: true, or of a careless person."""
    arrays = np.load(DATA / "cifar10n_worst_resnet18" / "arrays.npz")
    said = np.log(np.maximum(arrays["pred_probs"], 1e-4)).astype(np.float64)
    return mixed_numbers(said[:9000], [str(label) for label in arrays[labels][:9000]])


def sets() -> dict[str, Callable[[], Rows]]:
    """Every set by name."""
    langid = ("langid/train.csv", "langid/test.csv")
    banking = ("banking77/train.csv", "banking77/test.csv")
    emotions = ("goemotions/train.csv", "goemotions/test.csv")
    intents = ("injongo_intent/train.csv", "injongo_intent/test.csv")
    return {
        "banking77": lambda: texts_of(*banking),
        "banking_topics": lambda: texts_of(*banking, topic),
        "goemotions": lambda: texts_of(*emotions),
        "goemotions_mood": lambda: texts_of(*emotions, mood),
        "medical_abstracts": lambda: texts_of("medical_abstracts/all.csv"),
        "chemprot": lambda: texts_of("chemprot/train.csv", "chemprot/test.csv"),
        "langid": lambda: texts_of(*langid),
        "sms_spam": lambda: texts_of("sms_spam/all.csv"),
        "llm_misinfo": lambda: texts_of("llm_misinfo/all.csv"),
        "intents_all": lambda: texts_of(*intents),
        "intents_english": lambda: texts_of(*intents, in_language("eng")),
        "languages_17": lambda: texts_of(*intents, lambda row: row["language"]),
        "digits": digits,
        "pictures_true": lambda: pictures("true_labels"),
        "pictures_noisy": lambda: pictures("noisy_labels"),
        **{name: lambda name=name: numbers_of(name) for name in NUMBERS.split()},  # type: ignore[misc]  # bound by its default
    }


def tables_for(rows: Rows) -> tuple[Table, Table, Params]:
    """Pool and test of a set, and what `rounds init` sets for it."""
    kind = "text" if isinstance(rows.values, list) else "numeric"
    both = []
    assert rows.tested_labels is not None
    for values, labels in ((rows.values, rows.labels), (rows.tested, rows.tested_labels)):
        if kind == "text":
            columns: dict[str, Any] = {"text": list(values)}
        else:
            columns = {
                f"x{column}": values[:, column].tolist() for column in range(values.shape[1])
            }
            columns["id"] = [f"{len(both)}-{row}" for row in range(len(labels))]
        columns["label"] = list(labels)
        both.append(Table(Path("suite.csv"), columns, list(range(2, len(labels) + 2))))
    names = {"id": "" if kind == "text" else "id", "label": "label", "text": "", "image": ""}
    names["text"] = "text" if kind == "text" else ""
    numbers = [column for column in both[0].columns if column.startswith("x")]
    values = shipped_params().model_dump(by_alias=True)
    changes = settings(kind, names, numbers, in_order({*rows.labels, *rows.tested_labels}))
    for keys, value in changes.items():
        node = values
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = str(value) if isinstance(value, str) else value
    values["labels"] = [str(label) for label in values["labels"]]
    small = len(rows.labels) < SMALL
    values["query"] |= {"control_fraction": 0.0, "review_fraction": 0.0}
    values["query"]["batch_size"] = 10 if small else 50
    values["gate"] |= {"max_quarantine": 0.0, "hold": []}
    values["clean_seed"]["max_suspects"] = 0.0
    return both[0], both[1], Params.model_validate(values)


def whole(name: str, out: Path) -> tuple[Setting, Params]:
    """The features of a set, no row of which is a seed row yet; kept in a file."""
    path = out / "features" / f"{name}.pickle"
    if path.is_file():
        kept: tuple[Setting, Params] = pickle.loads(path.read_bytes())
        return kept
    pool, test, params = tables_for(sets()[name]())
    checked_examples(pool, test, params)
    setting = prepare({"pool": pool, "seed": sample(pool, []), "test": test}, params)
    words = params.features.word_columns
    if words:
        index = setting.features.index
        known = np.sort(np.random.default_rng(99).permutation(index.split.count("pool"))[:200])
        labels = [params.labels.index(setting.truth[index.ids[row]]) for row in known]
        weight = word_weight(setting.features.matrix[known], np.array(labels), words)
        matrix = weighed(setting.features.matrix, words, weight)
        setting = replace(setting, features=replace(setting.features, matrix=matrix))
        own = params.model_dump(by_alias=True)
        own["features"]["text"]["words"] = "none"  # the weight is in the features already
        params = Params.model_validate(own)
        click.echo(f"{name}: word vectors weigh {weight:g}", err=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps((setting, params)))
    return setting, params


def with_seed(setting: Setting, seed: int, size: int) -> Setting:
    """The setting with some random rows of its pool as seed labels, of two classes at least."""
    index = setting.features.index
    pool = index.split.count("pool")
    order = np.random.default_rng(seed).permutation(pool)
    labels = np.array([setting.truth[index.ids[row]] for row in order])
    other = np.flatnonzero(labels != labels[0])[0]
    if other >= size:
        order[[size - 1, other]] = order[[other, size - 1]]
    is_seed = np.zeros(len(index.ids), bool)
    is_seed[order[:size]] = True
    rows = np.arange(len(index.ids))
    rest = rows[:pool][~is_seed[:pool]]
    rows = np.concatenate([rest, np.flatnonzero(is_seed), rows[pool:]])
    moved = Index(
        [index.ids[row] for row in rows],
        [index.sha[row] for row in rows],
        ["seed" if is_seed[row] else index.split[row] for row in rows],
        [index.row[row] for row in rows],
    )
    features = Features(moved, setting.features.matrix[rows], setting.features.geometry[rows])
    seeds = [
        SeedLabel(id=item, label=setting.truth[item], line=0)
        for item in moved.ids[len(rest) : pool]
    ]
    return replace(setting, features=features, seed=seeds)


def with_words(features: Features) -> Features:
    """The features with word vectors, of the weight of n-grams, in the geometry too."""
    words = features.matrix[:, :WORD_DIMS].toarray().astype(np.float32)
    words /= np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-12)
    both = np.hstack([features.geometry, words]) / np.sqrt(2)
    return replace(features, geometry=both.astype(np.float32))


GEOMETRIES = {"words": with_words}


def run(name: str, strategy: str, seed: int, out: Path) -> None:
    """Replay one loop and keep it, unless it is there."""
    path = loop_path(out, name, strategy, seed)
    if path.is_file():
        return
    setting, params = whole(name, out)
    query = params.query
    word, options = parsed(strategy)
    geometry, _, word = word.rpartition("@")
    if geometry:
        setting = replace(setting, features=GEOMETRIES[geometry](setting.features))
    engine, _, chosen = word.rpartition(":")
    query = query.model_copy(
        update={"strategy": chosen, "params": options, "engine": engine or query.engine}
    )
    own = params.model_copy(update={"seed": seed, "query": query})
    started = with_seed(setting, seed, 20 if query.batch_size == 10 else 50)
    turns = list(replay(started, own, ROUNDS))
    asked = [row["id"] for turn in turns for row in turn.batch]
    labels = [started.truth[item] for item in asked] + [row["label"] for row in started.seed]
    write_json(
        path,
        {
            "points": [vars(turn.point) for turn in turns],
            "evidence": [turn.batch[0]["reason"].rpartition("; ")[2] for turn in turns[:-1]],
            "labels_by_class": {label: labels.count(label) for label in params.labels},
        },
    )
    last = turns[-1].point
    click.echo(f"{name}, {strategy}, {seed}: {last.accuracy:.3f} at {last.n_labels}", err=True)


def loop_path(out: Path, name: str, strategy: str, seed: int) -> Path:
    """Where a loop is kept."""
    return out / "loops" / name / f"{strategy.replace('?', ',')}-{seed}.json"


def area(loop: Any, measure: str) -> float:
    """Mean height of a loop's curve, by trapezoids."""
    x = np.array([point["n_labels"] for point in loop["points"]])
    y = np.array([point[measure] for point in loop["points"]])
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def gains(out: Path, names: list[str], words: list[str], repeats: int, measure: str) -> Any:
    """(sets, strategies, repeats) gain over random x 1000, NaN where a loop is missing."""
    values = np.full((len(names), len(words), repeats), np.nan)
    for row, name in enumerate(names):
        for seed in range(repeats):
            base = loop_path(out, name, "random", seed)
            if not base.is_file():
                continue
            random = area(read_json(base), measure)
            for column, word in enumerate(words):
                path = loop_path(out, name, word, seed)
                if path.is_file():
                    values[row, column, seed] = 1000 * (area(read_json(path), measure) - random)
    return values


def table(names: list[str], words: list[str], values: Any) -> list[str]:
    """Gain of each strategy on each set; the last lines count and average."""
    lines = [f"| set | {' | '.join(words)} |", "|---|" + "---|" * len(words)]
    means = np.nanmean(values, axis=2)
    errors = np.nanstd(values, axis=2, ddof=1) / np.sqrt((~np.isnan(values)).sum(axis=2))
    for row, name in enumerate(names):
        cells = [f"{m:+.1f} ± {e:.1f}" for m, e in zip(means[row], errors[row], strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    below = (means < -np.maximum(errors, 1e-9)).sum(axis=0)
    best = means.argmax(axis=1)
    near = [
        sum(close_to_best(values[row], column, best[row]) for row in range(len(names)))
        for column in range(len(words))
    ]
    lines.append("| mean | " + " | ".join(f"{m:+.1f}" for m in np.nanmean(means, axis=0)) + " |")
    lines.append("| below random by over an error | " + " | ".join(map(str, below)) + " |")
    lines.append("| best, or within an error of it | " + " | ".join(map(str, near)) + " |")
    return lines


def close_to_best(values: Any, column: int, best: int) -> bool:
    """Whether a strategy is the best of a set or behind it by at most one error, paired."""
    gap = values[best] - values[column]
    gap = gap[~np.isnan(gap)]
    error = gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else 0.0
    return bool(gap.mean() <= error)


def left_out(names: list[str], words: list[str], values: Any) -> str:
    """What each set gains by the strategy that all other sets choose by their mean gain."""
    means = np.nanmean(values, axis=2)
    picks = [np.delete(means, row, axis=0).mean(axis=0).argmax() for row in range(len(names))]
    gained = means[np.arange(len(names)), picks].mean()
    chosen = sorted({words[pick] for pick in picks})
    return (
        f"Chosen by the other sets: {gained:+.2f} ({', '.join(chosen)}); "
        f"best in all: {means.mean(axis=0).max():+.2f} ({words[means.mean(axis=0).argmax()]})"
    )


@click.command(help=__doc__)
@click.option("--sets", "chosen", default="", help="Names, by commas; all where none is given.")
@click.option("--strategies", default=STRATEGIES, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--only-print", is_flag=True, help="Print what is there, run nothing.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of loops.")
def main(chosen: str, strategies: str, repeats: int, only_print: bool, out: Path) -> None:
    """Run the loops that are missing, print the tables."""
    names = chosen.split(",") if chosen else list(sets())
    words = strategies.split(",")
    if not only_print:
        with threadpool_limits(1):
            for seed in range(repeats):
                for name in names:
                    for word in dict.fromkeys(["random", *words]):
                        run(name, word, seed, out)
    words = [word for word in words if word != "random"]
    for measure in ("accuracy", "macro_f1"):
        values = gains(out, names, words, repeats, measure)
        lines = table(names, words, values)
        click.echo("\n".join([f"\n{measure}\n", *lines, "", left_out(names, words, values)]))


if __name__ == "__main__":
    main()
