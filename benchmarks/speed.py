"""Time and memory of strategies beside the libraries', each measurement in a process of its own.

    python -m benchmarks.speed [--quick] [--repeats 5] [--only auto,badge]

The cases of a family take turns, run by run, so that a busy machine slows all of them alike:
compare them, not runs of other days. A row gives the medians of `repeats` runs, by the clock and on
the processor (input made before the clock starts, imports done by a small call), the peak memory
above the input, and, where the family has a library's own, how many times faster ours is, the
median over the turns, and whether the picks are the same. After a family with several n or batches:
how time grows with each, as the exponent of a power. Linux.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from stages.contract.identity import order_keys
from stages.strategies import Candidates
from stages.strategies.registry import resolve


class Case(NamedTuple):
    """A call: strategy and engine; rows, labelled rows, dimensions, classes, picks; the strategy's
    own parameters.
    """

    name: str
    engine: str
    n: int
    m: int
    d: int
    k: int
    batch: int
    params: dict[str, object] = {}  # noqa: RUF012 - never changed


GROWTH = [Case("auto", "own", n, 500, 64, 10, 50) for n in (10_000, 100_000, 1_000_000)]
CASES: dict[str, list[Case]] = {
    "ranked_batch": [
        Case(name, engine, 100_000, 100, 64, 10, 100)
        for name, engine in (("benchmarks.peers.ranked_batch", "modal"), ("ranked_batch", "own"))
    ],
    "badge": [
        Case("benchmarks.peers.badge", "skactiveml", 100_000, 100, 64, 10, 50),
        Case("badge", "own", 100_000, 100, 64, 10, 50),
    ],
    "typiclust": [
        Case("typiclust", "skactiveml", 10_000, 100, 64, 10, 50, {"sample": 10_000}),
        Case("typiclust", "own", 10_000, 100, 64, 10, 50),
    ],
    "core_set": [
        Case("benchmarks.peers.core_set", "skactiveml", 100_000, 100, 64, 10, 50),
        Case("core_set", "own", 100_000, 100, 64, 10, 50),
    ],
    "auto": [
        *GROWTH,
        *(Case("auto", "own", 100_000, 500, 64, 10, batch) for batch in (10, 200, 1_000)),
    ],
    "plain": [
        Case(name, "own", 1_000_000, 500, 64, 10, 50)
        for name in ("random", "margin", "dbal", "typiclust")
    ],
    "guard": [Case("guarded auto", "own", 1_000_000, 500, 64, 10, 50)],
    "sparse": [
        Case("geometry of TF-IDF", "own", 100_000, 500, 50_000, 10, 50),
        Case("auto on that geometry", "own", 100_000, 500, 128, 10, 50),
    ],
}


def blobs(n: int, m: int, d: int, k: int) -> Candidates:
    """Unit rows around 50 centres, probabilities by distance to k of them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(50, d)).astype(np.float32)
    points = np.empty((n + m, d), np.float32)
    for start in range(0, n + m, 50_000):
        size = min(50_000, n + m - start)
        part = centres[rng.integers(0, 50, size)] + 0.7 * rng.normal(size=(size, d)).astype(
            np.float32
        )
        points[start : start + size] = part / np.linalg.norm(part, axis=1, keepdims=True)
    logits = (points[:n] @ centres[:k].T).astype(np.float64)
    chances = np.exp(logits)
    chances /= chances.sum(axis=1, keepdims=True)
    ids = [f"row-{row}" for row in range(n)]
    return Candidates(
        ids=ids, keys=order_keys(0, ids), geometry=points[:n], labelled=points[n:],
        labelled_class=(points[n:] @ centres[:k].T).argmax(axis=1), probabilities=chances,
        class_weights=np.ones(k), trusted=True, seed=0,
    )  # fmt: skip


def sparse_text(rows: int, features: int) -> Any:
    """(rows, features) CSR float32 like TF-IDF of short texts: 40 terms a row, common ones often,
    rows of norm 1.
    """
    import scipy.sparse as sp
    from sklearn.preprocessing import normalize

    rng = np.random.default_rng(0)
    terms = np.minimum((features * rng.random((rows, 40)) ** 3).astype(np.int32), features - 1)
    values = rng.random(terms.size, dtype=np.float32)
    starts = np.arange(0, terms.size + 1, 40)
    return normalize(sp.csr_matrix((values, terms.ravel(), starts), shape=(rows, features)))


def measure(case: Case) -> None:
    """Run one case in this process and print seconds, megabytes above the input, and the picks."""
    if case.name.startswith("geometry"):
        from stages.features.whole import spaces_of

        spaces_of(sparse_text(300, 200), slice(300), 16, 0, unit_rows=True)
        texts = sparse_text(case.n, case.d)
        timed(lambda: [spaces_of(texts, slice(case.n), 128, 0, unit_rows=True)[1].shape[1]])
        return
    from stages.batch.guard import guarded

    words = case.name.split()
    rank = partial(
        resolve(words[-1] if words[0] == "guarded" else words[0], case.engine), **case.params
    )

    def run(candidates: Candidates, count: int) -> list[int]:
        if words[0] == "guarded":
            return guarded(rank, candidates, count, 0.98)[0].positions.tolist()
        return rank(candidates, count).positions.tolist()

    small = blobs(300, 20, case.d, case.k)
    run(replace(small, labelled_class=np.arange(20) % case.k), 5)  # imports and warm caches
    candidates = blobs(case.n, case.m, case.d, case.k)
    timed(lambda: run(candidates, case.batch))


def timed(call: Callable[[], list[int]]) -> None:
    """Print what the call took and gave, as JSON."""
    Path("/proc/self/clear_refs").write_text(
        "5", encoding="ascii"
    )  # Linux: the peak starts again from here
    before = kilobytes("VmRSS")
    start, work = time.perf_counter(), time.process_time()
    picks = call()
    seconds, cpu = time.perf_counter() - start, time.process_time() - work
    megabytes = (kilobytes("VmHWM") - before) / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "megabytes": megabytes, "picks": picks}))


def kilobytes(name: str) -> int:
    """A figure of this process's memory, by Linux."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])


def runs_of(cases: list[Case], repeats: int) -> list[list[dict[str, Any]]]:
    """The runs of every case, taking turns."""
    runs: list[list[dict[str, Any]]] = [[] for _ in cases]
    for _ in range(repeats):
        for position, case in enumerate(cases):
            command = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "benchmarks.speed",
                "--case",
                json.dumps(case),
            ]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            runs[position].append(json.loads(output.splitlines()[-1]))
    return runs


def rows_of(cases: list[Case], runs: list[list[dict[str, Any]]]) -> Iterator[str]:
    """The table's rows; the first case of a library is what ours is compared with."""
    for case, mine in zip(cases, runs, strict=True):
        seconds, cpu, megabytes = (
            median(run[key] for run in mine) for key in ("seconds", "cpu", "megabytes")
        )
        ratio = same = ""
        if case.engine == "own" and cases[0].engine != "own":
            turns = zip(runs[0], mine, strict=True)
            ratio = f"{median(theirs['cpu'] / ours['cpu'] for theirs, ours in turns):.0f}"
            same = "yes" if mine[0]["picks"] == runs[0][0]["picks"] else "no"
        size = f"{case.n:,} x {case.d:,}"
        cells = (
            case.name,
            case.engine,
            size,
            case.batch,
            f"{seconds:.2f}",
            f"{cpu:.2f}",
            f"{megabytes:.0f}",
        )
        yield f"| {' | '.join(map(str, (*cells, ratio, same)))} |"


def growth(cases: list[Case], runs: list[list[dict[str, Any]]]) -> Iterator[str]:
    """How CPU time grows to the next case where only n or only the batch is larger: the exponent of
    a power.
    """
    costs = [median(run["cpu"] for run in mine) for mine in runs]
    for what, (case, cost) in itertools.product(("n", "batch"), zip(cases, costs, strict=True)):
        here = getattr(case, what)
        larger = [
            (getattr(other, what), price)
            for other, price in zip(cases, costs, strict=True)
            if other._replace(**{what: here}) == case and getattr(other, what) > here
        ]
        if larger:
            size, price = min(larger)
            power = np.log(price / cost) / np.log(size / here)
            growth = f"time x {price / cost:.2f}, power {power:.2f}"
            yield f"{case.name}: {what} {here:,} -> {size:,}: {growth}"


def main() -> None:
    """Measure every case, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, one run each")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        measure(Case(*json.loads(options.case)))
        return
    columns = (
        "strategy",
        "engine",
        "n x d",
        "batch",
        "seconds",
        "CPU s",
        "MB",
        "times faster (CPU)",
        "same picks",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    grown = []
    for family in options.only.split(","):
        cases = [case._replace(n=case.n // 10) if options.quick else case for case in CASES[family]]
        runs = runs_of(cases, 1 if options.quick else options.repeats)
        print("\n".join(rows_of(cases, runs)), flush=True)
        grown += growth(cases, runs)
    print("\n".join(["", *grown]))


if __name__ == "__main__":
    main()
