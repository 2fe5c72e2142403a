"""Rows a second of what `rounds predict` does, beside bare scikit-learn on the same rows.

    python -m benchmarks.predict speed [--rows 24576] [--repeats 5]
    python -m benchmarks.predict memory [--rows 1000000]

`speed`: bare scikit-learn is `transform` of fitted transformers and `predict_proba` of a fitted
logistic regression. Ours is the core of the command on the same blocks: it also calibrates, and
looks for rows unlike anything labelled. The two take turns, block by block, so that a busy machine
slows both alike; the ratio is the median over the turns. `memory`: the command itself on a file of
that many texts and on a tenth of it, and its peak resident memory. Texts: langid/pool_1m.parquet.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.round import ENV
from benchmarks.scale import SHARED
from rounds.predict import BLOCK
from rounds.shipped import shipped_params
from stages.contract.canonical import write_array, write_json
from stages.contract.params import Params
from stages.contract.progress import progress
from stages.examples.blocks import read_blocks
from stages.examples.tables import Table, read_table
from stages.features.whole import featurize
from stages.learning.classifier import fit
from stages.learning.maps import Temperature, write_map
from stages.prediction.predictor import FORMAT, Predictor, read_predictor, usual_distance
from stages.store.model_file import write_model

LABELLED = 500
POOL = 5000  # rows that features are learnt from
CLASSES = [str(number) for number in range(5)]
WIDTHS = {"numeric": 57, "precomputed": 384}


def texts(rows: int) -> pa.Table:
    """Sentences of 83 languages; their class is a word's length, which can be learnt in part."""
    column = pd.read_parquet(SHARED / "langid" / "pool_1m.parquet")["text"][:rows]
    return pa.table({"text": pa.array(column, pa.string())})


def numbers(rows: int, kind: str) -> pa.Table:
    """Points around as many centres as classes, as columns of numbers or as one of vectors."""
    rng = np.random.default_rng(0)
    width = WIDTHS[kind]
    points = rng.normal(size=(rows, width)) + rng.normal(size=(5, width))[rng.integers(0, 5, rows)]
    if kind == "numeric":
        return pa.table({f"x{column}": points[:, column] for column in range(width)})
    flat = pa.array(points.astype(np.float32).ravel())
    return pa.table({"vector": pa.FixedSizeListArray.from_arrays(flat, width)})


def params_of(kind: str, names: list[str]) -> Params:
    """The params of a project of that kind, as `rounds init` sets them."""
    text = "text" if kind in {"text", "hashed"} else ""
    features: dict[str, Any] = {"kind": text or kind, "columns": [] if text else names}
    if kind == "hashed":
        features["text"] = {"hashing": 1 << 16, "words": "none"}
    data = {"id": "", "text": text, "image": ""}
    return shipped_params({"labels": CLASSES, "data": data, "features": features})


def make_predictor(kind: str, table: pa.Table, folder: Path) -> Predictor:
    """A predictor that was learnt from the first rows, written to a folder and read back."""
    spans = {"seed": table[:LABELLED], "pool": table[LABELLED : LABELLED + POOL]}
    tables = {}
    for name, rows in spans.items():
        pq.write_table(rows, folder / f"{name}.parquet")
        tables[name] = read_table(folder / f"{name}.parquet")
    tables["test"] = Table("none", {}, [])
    params = params_of(kind, table.column_names)
    made, featurizer = featurize(tables, params)
    seed = made.index.rows("seed")
    labels = np.arange(LABELLED) % len(CLASSES)
    model = fit(params.learner, made.matrix[seed], labels, len(CLASSES), 0)
    featurizer.write(folder)
    write_model(folder / "model.skops", model.estimator, "model")
    write_map(folder / "map.npz", Temperature(1.5))
    write_array(folder / "labelled.npy", made.geometry[seed])
    facts = {
        "format": FORMAT, "fitted": True, "classes": CLASSES, "round": 0, "labels": LABELLED,
        "per_class": {}, "seed": 0, "data": params.data.model_dump(),
        "features": params.features.model_dump(), "model": params.model.model_dump(),
        "calibration": {"method": "temperature", "verdict": "trusted", "why": "benchmark"},
        "unlike_beyond": usual_distance(made.geometry[:POOL], made.geometry[seed]),
    }  # fmt: skip
    write_json(folder / "predictor.json", facts)
    return read_predictor(folder)


def bare(kind: str, model: Predictor, known: Table) -> Callable[[Table], Any]:
    """What somebody writes with scikit-learn: from a block of rows to probabilities."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    options = model.featurizer.options
    spans = {"word": options.text.word_ngrams, "char_wb": options.text.char_ngrams}
    if kind == "text":  # fitted already
        steps: list[Any] = [make_union(*model.featurizer.learnt)]
    elif kind == "hashed":
        counts = [
            HashingVectorizer(analyzer=analyzer, ngram_range=span, n_features=1 << 16)
            for analyzer, span in spans.items()
        ]
        steps = [make_union(*counts), TfidfTransformer()]
    else:
        steps = [StandardScaler() if kind == "numeric" else FunctionTransformer()]

    def rows_of(table: Table) -> Any:
        if kind in {"text", "hashed"}:
            return table.columns["text"]
        arrays = [table.array(name) for name in options.columns]
        return np.column_stack(arrays) if kind == "numeric" else arrays[0]

    classifier = LogisticRegression(C=10.0, max_iter=200)
    if kind == "text":
        matrix = steps[0].transform(rows_of(known))
        classifier.fit(matrix, np.arange(len(known)) % len(CLASSES))
        return lambda table: classifier.predict_proba(steps[0].transform(rows_of(table)))
    pipeline = make_pipeline(*steps, classifier)
    pipeline.fit(rows_of(known), np.arange(len(known)) % len(CLASSES))
    return lambda table: pipeline.predict_proba(rows_of(table))


@click.group()
def main() -> None:
    """See the module."""


@main.command()
@click.option("--rows", default=3 * BLOCK)
@click.option("--repeats", default=5)
@click.option("--kinds", default="text,hashed,numeric,precomputed")
def speed(rows: int, repeats: int, kinds: str) -> None:
    """Print a row for each kind of features."""
    print(
        "| kind | bare, rows/s | probabilities, rows/s | and unlike, rows/s | times | times |\n"
        "|---|---|---|---|---|---|"
    )
    for kind in kinds.split(","):
        every = rows + LABELLED + POOL
        table = texts(every) if kind in {"text", "hashed"} else numbers(every, kind)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            model = make_predictor(kind, table, folder)
            pq.write_table(table[LABELLED + POOL :], folder / "rest.parquet")
            blocks = list(read_blocks(folder / "rest.parquet", BLOCK))
            plain = bare(kind, model, read_table(folder / "seed.parquet"))
            calls = [plain, model.probabilities, model.of_table]
            seconds = taking_turns(calls, blocks, repeats)
        rates = " | ".join(f"{BLOCK / statistics.median(timed):,.0f}" for timed in seconds)
        times = [
            statistics.median(ours / theirs for ours, theirs in zip(timed, seconds[0], strict=True))
            for timed in seconds[1:]
        ]
        print(f"| {kind} | {rates} | {times[0]:.2f} | {times[1]:.2f} |", flush=True)


def taking_turns(
    calls: list[Callable[[Table], Any]], blocks: list[Table], repeats: int
) -> list[list[float]]:
    """The processor seconds of each call on each block, after one that is not counted."""
    seconds: list[list[float]] = [[] for _ in calls]
    with progress("benchmark"):  # as in the command, which shows one bar
        for call in calls:
            call(blocks[0])
        for block in blocks * repeats:
            for call, taken in zip(calls, seconds, strict=True):
                start = time.process_time()
                call(block)
                taken.append(time.process_time() - start)
    return seconds


@main.command()
@click.option("--rows", default=1_000_000)
def memory(rows: int) -> None:
    """Print the time and peak memory of the command on texts."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_predictor("hashed", texts(LABELLED + POOL), folder)
        for count in (rows // 10, rows):
            lines = (json.dumps({"text": text}) for text in texts(count)["text"].to_pylist())
            (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
            words = ["predict", "rows.jsonl", "--model", ".", "--out", "made.parquet"]
            seconds, peak = watched_run([sys.executable, "-m", "rounds", *words], folder)
            size = (folder / "rows.jsonl").stat().st_size / 1e6
            cost = f"{count:,} texts ({size:.0f} MB): {seconds:.0f} s of processor"
            print(f"{cost}, peak {peak / 1e6:.0f} MB", flush=True)


def watched_run(words: list[str], folder: Path) -> tuple[float, int]:
    """Processor seconds and peak resident bytes of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(words, cwd=folder, env={**ENV, "PYTHONPATH": str(Path.cwd())})
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
            process.wait(0.1)
        except psutil.NoSuchProcess:
            break
        except subprocess.TimeoutExpired:
            continue
    assert process.returncode == 0, words
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak


if __name__ == "__main__":
    main()
