"""Time and memory of strategies beside the libraries', each measurement in a process of its own.

    python -m benchmarks.speed [--quick] [--repeats 5] [--only auto,badge]

A row gives the median time of `repeats` runs, by the clock and on the processor (input made before the clock starts,
imports done by a small call), the peak memory above the input, and for pairs whether the picks are the same. Linux.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from stages._identity import order_keys
from stages.strategies import Candidates
from stages.strategies.registry import resolve

# name, engine, n, m labelled, d, k classes, batch, params
CASES: dict[str, list[tuple[str, str, int, int, int, int, int, dict[str, object]]]] = {
    "ranked_batch": [("ranked_batch", engine, 100_000, 100, 64, 10, 100, {}) for engine in ("modal", "own")],
    "badge": [
        ("badge", "skactiveml", 100_000, 100, 64, 10, 50, {"sample": 100_000}),
        ("badge", "own", 100_000, 100, 64, 10, 50, {}),
    ],
    "typiclust": [
        ("typiclust", "skactiveml", 10_000, 100, 64, 10, 50, {"sample": 10_000}),
        ("typiclust", "own", 10_000, 100, 64, 10, 50, {}),
        ("typiclust", "own", 1_000_000, 100, 64, 10, 50, {}),
    ],
    "core_set": [
        ("core_set", "skactiveml", 100_000, 100, 64, 10, 50, {"sample": 100_000}),
        ("core_set", "own", 100_000, 100, 64, 10, 50, {}),
    ],
    "auto": [
        *(("auto", "own", n, 500, 64, 10, 50, {}) for n in (10_000, 100_000, 1_000_000)),
        *(("auto", "own", 100_000, 500, 64, 10, batch, {}) for batch in (10, 200)),
    ],
    "plain": [(name, "own", 1_000_000, 500, 64, 10, 50, {}) for name in ("random", "margin", "dbal", "cluster_margin")],
    "guard": [("guarded auto", "own", 1_000_000, 500, 64, 10, 50, {})],
}


def blobs(n: int, m: int, d: int, k: int) -> Candidates:
    """Unit rows around 50 centres, probabilities by distance to k of them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(50, d)).astype(np.float32)
    points = np.empty((n + m, d), np.float32)
    for start in range(0, n + m, 50_000):
        size = min(50_000, n + m - start)
        part = centres[rng.integers(0, 50, size)] + 0.7 * rng.normal(size=(size, d)).astype(np.float32)
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


def measure(name: str, engine: str, n: int, m: int, d: int, k: int, batch: int, params: dict[str, object]) -> None:
    """Run one case in this process and print seconds, megabytes above the input, and the picks."""
    from stages.strategies.redundancy import guarded

    rank = resolve(name.removeprefix("guarded "), engine)

    def run(candidates: Candidates, count: int) -> list[int]:
        if name.startswith("guarded "):
            return guarded(rank, candidates, count, 0.98, **params)[0].positions.tolist()
        return rank(candidates, count, **params).positions.tolist()

    small = blobs(300, 20, d, k)
    run(replace(small, labelled_class=np.arange(20) % k), 5)  # imports and warm caches
    candidates = blobs(n, m, d, k)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: the peak starts again from here
    before = kilobytes("VmRSS")
    start, work = time.perf_counter(), time.process_time()
    picks = run(candidates, batch)
    seconds, cpu = time.perf_counter() - start, time.process_time() - work
    megabytes = (kilobytes("VmHWM") - before) / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "megabytes": megabytes, "picks": picks}))


def kilobytes(name: str) -> int:
    """A figure of this process's memory, by Linux."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])


def main() -> None:
    """Measure every case, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, one run each")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        measure(*json.loads(options.case))
        return
    columns = ("strategy", "engine", "n x d", "batch", "seconds", "CPU seconds", "MB", "picks as the row above")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for family in options.only.split(","):
        above: tuple[object, list[int]] = ((), [])
        for case in CASES[family]:
            name, engine, n, m, d, k, batch, params = case
            rows = n // 10 if options.quick else n
            order = json.dumps([name, engine, rows, m, d, k, batch, params])
            runs = []
            for _ in range(1 if options.quick else options.repeats):
                command = [sys.executable, "-m", "benchmarks.speed", "--case", order]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                runs.append(json.loads(said.splitlines()[-1]))
            seconds, cpu, megabytes = (median(run[key] for run in runs) for key in ("seconds", "cpu", "megabytes"))
            twin = (name, rows, batch)
            same = "" if above[0] != twin else "yes" if runs[0]["picks"] == above[1] else "no"
            above = (twin, runs[0]["picks"])
            cells = (name, engine, f"{rows:,} x {d}", batch, f"{seconds:.2f}", f"{cpu:.2f}", f"{megabytes:.0f}", same)
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
