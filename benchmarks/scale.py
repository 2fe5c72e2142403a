"""A million rows and more: a round's time and memory by the size of the pool, beside what a user
would do today.

    python -m benchmarks.scale rounds --sizes 10000,100000,1000000 [--dask 2]
    python -m benchmarks.scale peers --sizes 10000,100000,1000000 [--limit 120]
    python -m benchmarks.scale synthetic --rows 10000000 --parts 20
    python -m benchmarks.scale loss --rows 20000 --candidates 2000 --seeds 3
    python -m benchmarks.scale links

`rounds` takes sentences of 83 languages from langid/pool_1m.parquet, features cached: the figure is
one `dvc repro` after 40 new answers. Memory is the resident memory of a stage's processes together,
shared pages counted in each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Self

import click
import numpy as np
import psutil

from benchmarks.round import ENV, rounds, run
from rounds.init import fill_in
from stages.contract.params import load

SHARED = Path(
    os.environ.get("LABELROUNDS_DATA", Path(__file__).parent.parent.parent / "shared" / "data")
)
PARTS = 8
DASK_WORKER = "distributed.cli.dask_worker"


class Watch:
    """The peak resident memory and the seconds of each stage below this process, looked at every
    0.1 s.
    """

    def __init__(self) -> None:
        self.peak: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def __str__(self) -> str:
        return ", ".join(
            f"{stage} {self.seconds[stage]:.1f} s {held:.2f} GB"
            for stage, held in self.peak.items()
        )

    def _look(self) -> None:
        now = time.perf_counter()
        while not self._over.wait(0.1):
            seen, now = now, time.perf_counter()
            held: dict[str, float] = {}
            for process in psutil.Process().children(recursive=True):
                try:
                    words = process.cmdline()
                    module = words[words.index("-m") + 1] if "-m" in words else ""
                    if module == DASK_WORKER:
                        held["workers"] = held.get("workers", 0) + process.memory_info().rss / 2**30
                    if not module.startswith("stages."):
                        continue
                    stage = module.removeprefix("stages.")
                    family = [process, *process.children(recursive=True)]
                    held[stage] = max(
                        held.get(stage, 0), sum(one.memory_info().rss for one in family) / 2**30
                    )
                except (psutil.Error, IndexError):
                    continue
            for stage, size in held.items():
                self.seconds[stage] = self.seconds.get(stage, 0.0) + now - seen
                self.peak[stage] = max(self.peak.get(stage, 0), size)


def langid_project(folder: Path, rows: int, labelled: int = 1000) -> Path:
    """A project on the first `rows` sentences in parts, some labelled as its seed; no stage has
    run.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    table = pq.read_table(SHARED / "langid/pool_1m.parquet").slice(0, rows)
    (folder / "pool").mkdir(parents=True)
    for part in range(PARTS):
        low, high = rows * part // PARTS, rows * (part + 1) // PARTS
        pq.write_table(
            table.select(["id", "text"]).slice(low, high - low),
            folder / "pool" / f"part-{part}.parquet",
        )
    table.select(["id", "label"]).to_pandas().to_csv(folder / "oracle.csv", index=False)
    for name, count in (("train", labelled), ("test", 5000)):
        sentences = pd.read_csv(SHARED / f"langid/{name}.csv", dtype=str, keep_default_na=False)[
            :count
        ]
        sentences.insert(0, "id", [f"{name}{row}" for row in range(len(sentences))])
        sentences.to_csv(folder / f"{name}.csv", index=False)
    root = folder / "project"
    tables = ["--pool", "pool", "--seed", "train.csv", "--test", "test.csv"]
    rounds(folder, "init", "project", *tables, "--id", "id", "--text", "text", "--label", "label")
    return root


@contextmanager
def dask(root: Path, workers: int) -> Iterator[None]:
    """A Dask cluster of some workers with one thread each, named in the project's params."""
    words = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]
    env = {**ENV, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [*words, "--no-dashboard"], cwd=root, env=env, stderr=subprocess.PIPE, text=True
    ) as hub:
        assert hub.stderr is not None
        address = next(
            line.rsplit(maxsplit=1)[-1] for line in hub.stderr if "Scheduler at:" in line
        )
        words = [sys.executable, "-m", DASK_WORKER, address, "--no-nanny", "--nthreads", "1"]
        running = [
            subprocess.Popen(words, cwd=root, env=env, stderr=subprocess.DEVNULL)
            for _ in range(workers)
        ]
        fill_in(
            root / "params.yaml", {("compute", "backend"): "dask", ("compute", "address"): address}
        )
        try:
            yield
        finally:
            for process in (*running, hub):
                process.kill()
                process.wait()


def measured_round(root: Path, folder: Path) -> tuple[float, Watch]:
    """Seconds of `dvc repro` after a round was answered, and seconds and memory by stage."""
    rounds(root, "annotate", "--oracle", str(folder / "oracle.csv"))
    with Watch() as watch:
        seconds = run(root, "dvc", "repro")
    return seconds, watch


def size_of(folder: Path) -> float:
    """Gigabytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9


@click.group(help=__doc__)
def main() -> None:
    """All benchmarks of this file."""


@main.command("rounds")
@click.option("--sizes", default="10000,100000,1000000")
@click.option(
    "--dask",
    "workers",
    default=0,
    help="The round of the last size once more on so many Dask workers.",
)
def rounds_command(sizes: str, workers: int) -> None:
    """One round by the size of the pool, and scoring beside the bare product."""
    seconds: dict[int, float] = {}
    for rows in map(int, sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            root = langid_project(folder, rows)
            with Watch() as watch:
                featurize = run(
                    root, sys.executable, "-m", "stages.featurize", "--out", "build/features"
                )
            speed = f"{rows / featurize:,.0f} rows/s, {watch.peak['featurize']:.2f} GB held"
            disk = f"{size_of(root / 'build/features'):.2f} GB on disk"
            print(f"{rows} rows: featurize {speed}, {disk}", flush=True)
            rounds(root, "close")
            seconds[rows], watch = measured_round(root, folder)
            print(f"  a round: {seconds[rows]:.1f} s: {watch}", flush=True)
            score(root)
            if workers and rows == int(sizes.rsplit(",", maxsplit=1)[-1]):
                before = (root / "build/export/batch.jsonl").read_bytes()
                with dask(root, workers), Watch() as watch:
                    took = run(root, "dvc", "repro", "-f", "--downstream", "import_labels")
                print(
                    f"  the same round on dask, {workers} workers: {took:.1f} s: {watch}",
                    flush=True,
                )
                is_same = before == (root / "build/export/batch.jsonl").read_bytes()
                print(f"  the same batch: {is_same}", flush=True)
    sizes_run = list(seconds)
    for low, high in pairwise(sizes_run):
        growth = np.log(seconds[high] / seconds[low]) / np.log(high / low)
        print(f"growth from {low} to {high} rows: exponent {growth:.2f}")


def score(root: Path) -> None:
    """Scoring one part as `train` does it beside the bare product of the same matrices, one thread,
    best of 3.
    """
    from stages.learning.shortlist import Task, scan_part
    from stages.store.model_file import read_own_model
    from stages.store.parts import open_pool

    pool = open_pool(root / "build/features")
    assert pool is not None
    part, model = pool.parts[0], root / "build/model/model.skops"
    task = Task(
        part,
        str(model),
        str(pool.folder / "fitted.npz"),
        "",
        np.empty(0, np.intp),
        1.0,
        1,
        np.ones(83),
    )
    matrix = pool.fitted.features(part.raw[:])
    weights = np.ascontiguousarray(
        pool.fitted.space.folded(read_own_model(model).coef_).T, dtype=np.float32
    )
    scan_part(task)
    ours, bare = best_of(lambda: scan_part(task)), best_of(lambda: matrix @ weights)
    times = f"{ours:.2f} s, bare product {bare:.2f} s, ratio {ours / bare:.2f}"
    print(f"  scoring {part.rows} rows: {times}", flush=True)


def best_of(function: Callable[[], object], count: int = 3) -> float:
    """The least of some wall times."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


PEERS = {
    "modAL margin": "from modAL.uncertainty import multi_argmax\n"
    "ranked = np.sort(p, axis=1)\nmulti_argmax(1 - (ranked[:, -1] - ranked[:, -2]), 40)",
    "modAL ranked batch": "from benchmarks.peers import ranked_batch\nranked_batch(c, 40)",
    "scikit-activeml BADGE": "from benchmarks.peers import badge\nbadge(c, 40)",
    "scikit-activeml TypiClust": "from stages.strategies.registry import resolve\n"
    "resolve('typiclust', 'skactiveml')(c, 40, sample=len(p))",
    "small-text breaking ties": "from benchmarks.small_text import breaking_ties\n"
    "breaking_ties(c, 40)",
    "small-text greedy core-set": "from benchmarks.small_text import greedy_coreset\n"
    "greedy_coreset(c, 40)",
    "ours: auto, whole pool": "from stages.strategies.registry import resolve\n"
    "resolve('auto')(c, 40)",
}
SET_UP = """
import sys, time, numpy as np
from stages.contract.identity import order_keys
from stages.strategies import Candidates
n = int(sys.argv[1])
rng = np.random.default_rng(0)
x = rng.normal(size=(n, 128)).astype(np.float32); x /= np.linalg.norm(x, axis=1, keepdims=True)
p = rng.dirichlet(np.full(83, .05), size=n); labelled = x[:1000].copy()
ids = [str(i) for i in range(n)]
classes = np.arange(1000) % 83
c = Candidates(ids, order_keys(0, ids), x, labelled, classes, p, np.ones(83), True, 0)
start = time.perf_counter()
"""


@main.command()
@click.option("--sizes", default="10000,100000,1000000")
@click.option("--limit", default=120.0, help="Seconds after which a peer is stopped.")
def peers(sizes: str, limit: float) -> None:
    """What a user would do today with the probabilities of 83 classes and vectors of 128 numbers,
    40 picks.
    """
    for name, code in PEERS.items():
        costs = []
        for rows in sizes.split(","):
            words = [
                sys.executable,
                "-c",
                SET_UP + code + "\nprint(time.perf_counter() - start)",
                rows,
            ]
            try:
                done = subprocess.run(
                    words, env=ENV, capture_output=True, text=True, timeout=limit, check=False
                )
            except subprocess.TimeoutExpired:
                costs.append(f"over {limit:.0f} s")
                break
            fault = (done.stderr.strip().splitlines() or [f"killed ({done.returncode})"])[-1]
            costs.append(
                f"{float(done.stdout.split()[-1]):.1f} s" if not done.returncode else fault[:80]
            )
            if done.returncode:
                break
        print(f"{name}: {', '.join(costs)}", flush=True)


@main.command()
@click.option("--rows", default=10_000_000)
@click.option("--parts", default=20)
def synthetic(rows: int, parts: int) -> None:
    """A pool of vectors of 64 numbers in .npy parts, used in place; two classes."""
    import pandas as pd

    rng = np.random.default_rng(0)
    direction = rng.normal(size=64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pool").mkdir()
        (folder / "vectors").mkdir()
        answers = []
        for part in range(parts):
            count = rows * (part + 1) // parts - rows * part // parts
            vectors = rng.normal(size=(count, 64)).astype(np.float32)
            ids = [f"p{part:03d}-{row:07d}" for row in range(count)]
            np.save(folder / "vectors" / f"part-{part:03d}.npy", vectors)
            pd.DataFrame({"id": ids, "file": ids}).to_parquet(
                folder / "pool" / f"part-{part:03d}.parquet"
            )
            answers.append(
                pd.DataFrame({"id": ids, "label": (vectors @ direction > 0).astype(int)})
            )
        pd.concat(answers).to_csv(folder / "oracle.csv", index=False)
        for split, count in (("seed", 200), ("test", 2000)):
            vectors = rng.normal(size=(count, 64)).astype(np.float32)
            np.save(folder / "vectors" / f"{split}.npy", vectors)
            ids = [f"{split}{row}" for row in range(count)]
            labels = (vectors @ direction > 0).astype(int)
            pd.DataFrame({"id": ids, "file": ids, "label": labels}).to_csv(
                folder / f"{split}.csv", index=False
            )
        tables = ["--pool", "pool", "--seed", "seed.csv", "--test", "test.csv"]
        rounds(
            folder, "init", "project", *tables, "--id", "id", "--text", "file", "--label", "label"
        )
        root = folder / "project"
        changes = {
            ("features", "kind"): "precomputed",
            ("features", "vectors"): str(folder / "vectors"),
        }
        fill_in(root / "params.yaml", changes)
        run(root, "git", "commit", "-qam", "Vectors in place")
        with Watch() as watch:
            first = run(root, sys.executable, "-m", "rounds", "close")
            print(f"{rows} rows: first close {first:.0f} s: {watch}", flush=True)
        seconds, watch = measured_round(root, folder)
        print(f"  a round: {seconds:.1f} s: {watch}", flush=True)


@main.command()
@click.option("--rows", default=20_000)
@click.option("--candidates", default="2000")
@click.option("--seeds", default=3)
@click.option("--count", default=5, help="Rounds of 100 answers, after 200 labels.")
def loss(rows: int, candidates: str, seeds: int, count: int) -> None:
    """What `query.candidates` costs: the mean of the test accuracies after each round, beside
    scoring all rows.
    """
    import pandas as pd

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = langid_project(folder, rows, 200)
        truth = pd.read_csv(folder / "test.csv", dtype=str, keep_default_na=False).sort_values(
            "id"
        )["label"]
        labels = load(root / "params.yaml").labels
        means: dict[str, list[float]] = {}
        for seed in range(seeds):
            for wanted in ["null", *candidates.split(",")]:
                there = folder / f"{wanted}-{seed}"
                shutil.copytree(root, there)
                changes = {
                    ("query", "candidates"): None if wanted == "null" else int(wanted),
                    ("seed",): seed,
                }
                fill_in(there / "params.yaml", {**changes, ("query", "batch_size"): 100})
                run(there, "git", "commit", "-qam", "Params")
                accuracy = []
                for _ in range(count + 1):
                    run(there, "dvc", "repro", "export_prodigy")
                    predicted = np.load(there / "build/model/test.npy").argmax(axis=1)
                    accuracy.append(
                        float(
                            np.mean(
                                [
                                    labels[k] == label
                                    for k, label in zip(predicted, truth, strict=True)
                                ]
                            )
                        )
                    )
                    rounds(there, "issue")
                    run(there, "git", "add", "--all")
                    run(there, "git", "commit", "-qm", "Round")
                    rounds(there, "annotate", "--oracle", str(folder / "oracle.csv"))
                means.setdefault(wanted, []).append(float(np.mean(accuracy)))
                means_line = f"{means[wanted][-1]:.4f}, at last {accuracy[-1]:.4f}"
                print(f"candidates {wanted}, seed {seed}: {means_line}", flush=True)
                shutil.rmtree(there)
        for wanted, values in means.items():
            gap = np.array(values) - np.array(means["null"])
            error = gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else float("nan")
            difference = f"to all {gap.mean():+.4f} ± {error:.4f}"
            print(f"candidates {wanted}: mean accuracy {np.mean(values):.4f}, {difference}")


@main.command()
@click.option("--gigabytes", default=1.2)
def links(gigabytes: float) -> None:
    """DVC's own cost of a folder of that size, by link type: the first `dvc add`, a second one, a
    checkout.
    """
    for kind in ("reflink,copy", "hardlink", "symlink"):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            run(root, "git", "init", "-q")
            run(root, "dvc", "init", "-q")
            run(root, "dvc", "config", "cache.type", kind)
            (root / "features").mkdir()
            rng = np.random.default_rng(0)
            for part in range(PARTS):
                np.save(
                    root / "features" / f"{part}.npy", rng.random(int(gigabytes * 1e9 / PARTS / 8))
                )
            first = run(root, "dvc", "add", "-q", "features")
            again = run(root, "dvc", "add", "-q", "features")
            subprocess.run(["rm", "-rf", str(root / "features")], check=True)
            out = run(root, "dvc", "checkout", "-q")
            extra = (
                sum(
                    p.stat().st_blocks * 512
                    for p in (root / "features").rglob("*")
                    if not p.is_symlink()
                )
                / 1e9
            )
            times = f"add {first:.1f} s, again {again:.1f} s, checkout {out:.1f} s"
            print(f"{kind}: {times}, folder holds {extra:.1f} GB")


if __name__ == "__main__":
    main()
