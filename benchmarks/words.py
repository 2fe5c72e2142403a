"""What word vectors are worth beside n-grams and directions, on every text set: one table.

    nice -n 10 python -m benchmarks.words --out build/benchmarks/words

`worth`: accuracy on test rows of logistic regression as `rounds init` sets it, with and without
word vectors, at 100, 200 and 400 labels drawn at random: paired over the seeds. `choice`: how many
standard errors behind the best a more modest weight may lie (stages/learning/word_weight.py), for
each set as the other sets choose, on rows that are in no test part. `cold`: banking77 from no label
at all, one batch of 77, 154 or 385 labels by random sampling and by `auto`. Each seed of a set is
kept in a file: the same command goes on after a stop. Pools and test parts are cut to 10,100 and
3,100 rows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from rounds.backtest.replay import checked_examples, prepare, replay, split
from rounds.init import labels_in, settings
from rounds.shipped import shipped_params
from stages.contract.arrays import Matrix
from stages.contract.canonical import read_json, write_json
from stages.contract.params import Learner, Params
from stages.examples.tables import Table, as_text, read_table
from stages.features.whole import featurize
from stages.learning.classifier import fit
from stages.learning.word_weight import ERRORS, WEIGHTS, chosen, likelihoods_by_weight, weighed

DATA = Path(os.environ.get("LABELROUNDS_DATA", "../shared/data"))
SETS = {  # the pool, and the test part where the set has one
    "sms_spam": ("all.csv", ""),
    "llm_misinfo": ("all.csv", ""),
    "banking77": ("train.csv", "test.csv"),
    "medical_abstracts": ("all.csv", ""),
    "chemprot": ("train.csv", "test.csv"),
    "goemotions": ("train.csv", "test.csv"),
    "langid": ("train.csv", "test.csv"),
    "injongo_intent": ("train.csv", "test.csv"),
}
SIZES = (100, 200, 400)
RULES = (0.0, 0.5, 1.0, 2.0)  # standard errors; the product: ERRORS
POOL = 10_100
TESTED = 3_100
OWN = 1500  # rows of the pool that `choice` is made on
COLD = (77, 154, 385)


def sample(table: Table, rows: Any) -> Table:
    """Some rows of a table."""
    columns = {name: [cells[row] for row in rows] for name, cells in table.columns.items()}
    return Table(table.path, columns, [table.lines[row] for row in rows])


def params_for(paths: list[Path], batch: int = 40) -> Params:
    """What `rounds init` sets for texts, with word vectors."""
    values = shipped_params().model_dump(by_alias=True)
    columns = {"id": "", "label": "label", "text": "text", "image": ""}
    for keys, value in settings("text", columns, [], labels_in(paths, "label")).items():
        node = values
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = str(value) if isinstance(value, str) else value
    values["labels"] = [str(label) for label in values["labels"]]
    values["features"]["text"]["words"] = "wordllama"
    values["query"] |= {"batch_size": batch, "control_fraction": 0.0, "review_fraction": 0.0}
    values["gate"] |= {"max_quarantine": 0.0, "hold": []}
    return Params.model_validate(values)


def cut(name: str) -> tuple[Table, Table, list[Path]]:
    """Pool and test rows of a set, distinct texts, cut by a fixed draw; and the files."""
    pool_file, test_file = SETS[name]
    paths = [DATA / name / pool_file] + ([DATA / name / test_file] if test_file else [])
    tables = []
    seen: set[str] = set()
    for path in paths:
        table = read_table(path)
        order = np.random.default_rng(99).permutation(len(table))
        rows = [row for row in order if not (table.columns["text"][row] in seen
                or seen.add(table.columns["text"][row]))]  # fmt: skip
        tables.append(sample(table, rows))
    if len(tables) == 1:
        tested = min(TESTED, len(tables[0]) // 3)
        everything = range(len(tables[0]))
        tables = [sample(tables[0], everything[tested:]), sample(tables[0], everything[:tested])]
    pool, test = tables
    return (
        sample(pool, range(min(POOL, len(pool)))),
        sample(test, range(min(TESTED, len(test)))),
        paths,
    )


def classes_of(table: Table, labels: list[str]) -> Any:
    """The class of each row as a whole number."""
    position = {label: number for number, label in enumerate(labels)}
    return np.array([position[as_text(cell)] for cell in table.columns["label"]])


def measure(name: str, seeds: int, out: Path) -> None:
    """Keep a file for each seed of a set that has none."""
    missing = [seed for seed in range(seeds) if not (out / f"{name}-{seed}.json").is_file()]
    if not missing:
        return
    pool, test, paths = cut(name)
    params = params_for(paths)
    seedless = sample(pool, [])
    features, _ = featurize({"pool": pool, "seed": seedless, "test": test}, params)
    index = features.index
    truth = np.empty(len(index.ids), np.intp)
    for part, table in (("pool", pool), ("test", test)):
        rows = index.rows(part)
        truth[rows] = classes_of(table, params.labels)[index.row[rows]]
    for seed in missing:
        draws = [one_draw(features.matrix, truth, index, params, size, seed) for size in SIZES]
        write_json(out / f"{name}-{seed}.json", dict(zip(map(str, SIZES), draws, strict=True)))
        click.echo(f"{name}, seed {seed}: done", err=True)


def one_draw(matrix: Matrix, truth: Any, index: Any, params: Params, size: int, seed: int) -> Any:
    """Accuracies of one draw of labels: on test rows, and on other rows of the pool."""
    learner = params.learner
    words = learner.word_columns
    order = np.random.default_rng(seed).permutation(len(truth[index.rows("pool")]))
    known = np.sort(order[:size])
    own = order[max(SIZES) : max(SIZES) + OWN]
    test = index.rows("test")
    fixed = Learner(path=learner.path, params=learner.params)
    found: dict[str, Any] = {"own": [], "test": []}
    for weight in WEIGHTS:
        rows = weighed(matrix[known], words, weight)
        model = fit(fixed, rows, truth[known], len(params.labels), 0)
        for name, others in (("own", own), ("test", test)):
            said = model.scores(weighed(matrix[others], words, weight)).argmax(axis=1)
            found[name].append(float((said == truth[others]).mean()))
    likelihoods = likelihoods_by_weight(matrix[known], truth[known], words)
    assert likelihoods is not None
    return {**found, "picks": {f"{rule:g}": chosen(likelihoods, rule) for rule in RULES}}


def read_all(seeds: int, out: Path) -> dict[str, list[Any]]:
    """What was kept of each set, in the order of seeds."""
    kept = {name: [out / f"{name}-{seed}.json" for seed in range(seeds)] for name in SETS}
    return {
        name: [read_json(path) for path in paths if path.is_file()]
        for name, paths in kept.items()
        if any(path.is_file() for path in paths)
    }


def worth(found: dict[str, list[Any]]) -> list[str]:
    """The table of accuracies on test rows."""
    lines = [
        "| set | " + " | ".join(f"{size} labels" for size in SIZES) + " | weights |",
        "|---|" + "---|" * (len(SIZES) + 1),
    ]
    for name, draws in found.items():
        cells, weights = [], []
        for size in SIZES:
            rows = [draw[str(size)] for draw in draws]
            picks = [row["picks"][f"{ERRORS:g}"] for row in rows]
            without = np.array([row["test"][0] for row in rows])
            having = np.array([row["test"][pick] for row, pick in zip(rows, picks, strict=True)])
            gain = 100 * (having - without)
            error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else float("nan")
            mean = having.mean()
            cells.append(f"{without.mean():.3f} → {mean:.3f} ({gain.mean():+.1f} ± {error:.1f})")
            weights.append(f"{np.median(np.take(WEIGHTS, picks)):g}")
        lines.append(
            f"| {name} ({len(draws)}) | " + " | ".join(cells) + f" | {', '.join(weights)} |"
        )
    return lines


def gain_of(draws: list[Any], rule: float) -> float:
    """Points of accuracy that a rule gains over n-grams alone on rows of the pool."""
    gains = [
        draw[str(size)]["own"][draw[str(size)]["picks"][f"{rule:g}"]] - draw[str(size)]["own"][0]
        for draw in draws
        for size in SIZES
    ]
    return 100 * float(np.mean(gains))


def choice(found: dict[str, list[Any]]) -> list[str]:
    """The table of rules, and what each set gains by the rule that the others choose."""
    gains = {name: [gain_of(draws, rule) for rule in RULES] for name, draws in found.items()}
    head = " | ".join(f"{rule:g} errors" for rule in RULES)
    lines = [
        f"| set | {head} | best fixed | chosen by the others |",
        "|---|" + "---|" * (len(RULES) + 2),
    ]
    totals = []
    for name, own in gains.items():
        others = np.mean([values for other, values in gains.items() if other != name], axis=0)
        pick = int(others.argmax())
        best = max(
            np.mean([draw[str(size)]["own"][column] - draw[str(size)]["own"][0]
                     for draw in found[name] for size in SIZES])
            for column in range(len(WEIGHTS))
        )  # fmt: skip
        totals.append([*own, 100 * best, own[pick]])
        cells = " | ".join(f"{value:+.2f}" for value in own)
        lines.append(
            f"| {name} | {cells} | {100 * best:+.2f} | {own[pick]:+.2f} ({RULES[pick]:g}) |"
        )
    means = " | ".join(f"{value:+.2f}" for value in np.mean(totals, axis=0))
    return [*lines, f"| mean | {means} |"]


def cold(seeds: int, out: Path) -> list[str]:
    """Accuracy of banking77 after one batch from no label, random and auto."""
    train, test = DATA / "banking77" / "train.csv", DATA / "banking77" / "test.csv"
    for seed in range(seeds):
        path = out / f"cold-{seed}.json"
        if path.is_file():
            continue
        params = params_for([train, test]).model_copy(update={"seed": seed})
        examples = checked_examples(read_table(train), read_table(test), params)
        setting = prepare(split(examples, params, 0), params)
        points = {}
        for strategy in ("random", "auto"):
            for count in COLD:
                query = params.query.model_copy(update={"strategy": strategy, "batch_size": count})
                *_, last = replay(setting, params.model_copy(update={"query": query}), 1)
                points[f"{strategy} {count}"] = last.point.accuracy
        write_json(path, points)
        click.echo(f"cold, seed {seed}: done", err=True)
    kept = [read_json(out / f"cold-{seed}.json") for seed in range(seeds)]
    lines = ["| banking77, first batch of | 77 | 154 | 385 |", "|---|---|---|---|"]
    for strategy in ("random", "auto"):
        cells = []
        for count in COLD:
            values = np.array([points[f"{strategy} {count}"] for points in kept])
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
            cells.append(f"{values.mean():.3f} ± {error:.3f}")
        lines.append(f"| {strategy} ({len(kept)}) | " + " | ".join(cells) + " |")
    return lines


@click.command(help=__doc__)
@click.option("--sets", default=",".join(SETS), show_default=True)
@click.option("--seeds", default=5, show_default=True)
@click.option("--cold-seeds", default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
def main(sets: str, seeds: int, cold_seeds: int, out: Path) -> None:
    """Measure what is missing, print all tables."""
    out.mkdir(parents=True, exist_ok=True)
    with threadpool_limits(1):
        for name in filter(None, sets.split(",")):
            measure(name, seeds, out)
        start = cold(cold_seeds, out) if cold_seeds else []
    results = read_all(seeds, out)
    click.echo("\n".join([*worth(results), "", *choice(results), "", *start]))


if __name__ == "__main__":
    main()
