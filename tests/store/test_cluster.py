"""The parts of a pool on real clusters: processes that die in the middle, and the same batch in the
end.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import ORDER, Small, write_csv
from tests.store.test_parts import HEADER, RESULTS, in_parts, pool_rows, split

TRANSFORMER = '''"""A transformer that learns nothing, and kills the first process that uses it twice."""
import os
import signal
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

USED = []


class Fragile(TransformerMixin, BaseEstimator):
    def __init__(self, flag="", random_state=0):
        self.flag, self.random_state = flag, random_state

    def fit(self, rows, y=None):
        return self

    def transform(self, rows):
        USED.append(len(rows))
        if len(USED) == 2 and self.flag and not Path(self.flag).exists():
            Path(self.flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return np.asarray(rows) / 2

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags
'''


def fragile(small: Small, parts: int, flag: str) -> Small:
    """The small project in parts, its features made by a transformer that kills a process once if
    there is a flag.
    """
    in_parts(small, *split(pool_rows(small), parts, draw=1))
    (small.root / "fragile.py").write_text(TRANSFORMER)
    custom = {"path": "fragile.Fragile", "params": {"flag": flag}}
    small.set({("features", "kind"): "custom", ("features", "custom"): custom})
    return small


def stage(small: Small, name: str) -> subprocess.CompletedProcess[str]:
    """A stage in a process of its own, in the project's folder."""
    words = [sys.executable, "-m", f"stages.{name}", "--out", "build/features"]
    return subprocess.run(
        words,
        cwd=small.root,
        capture_output=True,
        text=True,
        check=False,
        env=environment(small.root),
    )


def finish(small: Small) -> None:
    """All stages, the first in a process of its own: there the project's folder is on the path."""
    done = stage(small, "featurize")
    assert done.returncode == 0, done.stderr
    small.run(*ORDER[1:])


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


@contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[str]:
    """The address of a scheduler with workers in a folder, each a process of its own that nobody
    restarts.
    """
    pytest.importorskip("distributed")
    with subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
         "--no-dashboard", "--scheduler-file", "scheduler.json"],
        cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True,
    ) as scheduler:  # fmt: skip
        assert scheduler.stderr is not None
        address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1",
                 "--no-dashboard"],
                cwd=folder, stderr=subprocess.DEVNULL,
                env={**environment(folder), "LABELROUNDS_CACHE": str(folder / f"cache-{number}")},
            )
            for number in range(workers)
        ]  # fmt: skip
        try:
            yield address
        finally:
            for process in (*running, scheduler):
                process.kill()
                process.wait()


@pytest.mark.slow
def test_on_dask_a_worker_that_is_killed_in_the_middle_changes_nothing(
    make_small: Callable[[str], Small],
) -> None:
    calm, struck = fragile(make_small("calm"), 6, ""), fragile(make_small("struck"), 6, "")
    finish(calm)
    with dask_cluster(struck.root, 2) as address:
        custom = {"path": "fragile.Fragile", "params": {"flag": str(struck.root / "killed")}}
        struck.set({
            ("features", "custom"): custom,
            ("compute", "backend"): "dask", ("compute", "n_jobs"): -1, ("compute", "address"): address,
        })  # fmt: skip
        finish(struck)
        assert (struck.root / "killed").exists()
    assert calm.bytes_of(*RESULTS) == struck.bytes_of(*RESULTS)


@pytest.mark.slow
def test_here_a_killed_worker_is_told_and_the_same_command_goes_on(
    make_small: Callable[[str], Small],
) -> None:
    calm, struck = fragile(make_small("calm"), 4, ""), fragile(make_small("struck"), 4, "killed")
    finish(calm)
    struck.set({("compute", "n_jobs"): 2})
    died = stage(struck, "featurize")
    assert died.returncode == 1
    assert died.stderr.splitlines()[-1].startswith("error: featurize: a worker: died (")
    assert died.stderr.splitlines()[-1].endswith(
        "; run the same command again, finished parts are kept; with too little memory lower compute.n_jobs"
    )
    kept = {
        path.name
        for path in (struck.root / "build/features/parts").iterdir()
        if not path.name.startswith(".")
    }
    finish(struck)
    assert kept <= {path.name for path in (struck.root / "build/features/parts").iterdir()}
    assert calm.bytes_of(*RESULTS) == struck.bytes_of(*RESULTS)


@pytest.mark.slow
def test_on_ray_the_batch_is_the_same(make_small: Callable[[str], Small]) -> None:
    pytest.importorskip("ray")
    here, there = make_small("here"), make_small("there")
    for small in (here, there):
        in_parts(small, *split(pool_rows(small), 3, draw=1))
    finish(here)
    there.set({("compute", "backend"): "ray", ("compute", "n_jobs"): 2})
    finish(there)
    assert here.bytes_of(*RESULTS) == there.bytes_of(*RESULTS)


@contextmanager
def spark_cluster(folder: Path) -> Iterator[str]:
    """The address of a Spark master with a worker of two cores in a folder, each a process of its
    own.
    """
    pytest.importorskip("joblibspark")
    home = Path(pytest.importorskip("pyspark").__file__).parent
    if shutil.which("java") is None:
        pytest.skip("Spark needs java")
    env = {**environment(folder), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    begun = ("Starting Spark master at ", "Successfully registered with master ")
    address = ""
    with ExitStack() as stack:
        for kind, said in zip(("master.Master", "worker.Worker"), begun, strict=True):
            words = [
                str(home / "bin/spark-class"),
                f"org.apache.spark.deploy.{kind}",
                "--host",
                "127.0.0.1",
            ]
            words += ["--webui-port", "0"]
            words += ["--cores", "2", "--memory", "1g", address] if address else ["--port", "0"]
            process = subprocess.Popen(
                words, cwd=folder, env=env, stderr=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stderr is not None
            address = next(
                line.partition(said)[2].strip() for line in process.stderr if said in line
            )
            threading.Thread(target=process.stderr.read, daemon=True).start()
        yield address


@pytest.mark.slow
def test_on_spark_a_worker_that_is_killed_in_the_middle_changes_nothing(
    make_small: Callable[[str], Small], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    calm, struck = fragile(make_small("calm"), 4, ""), fragile(make_small("struck"), 4, "")
    finish(calm)
    with spark_cluster(struck.root) as address:
        custom = {"path": "fragile.Fragile", "params": {"flag": str(struck.root / "killed")}}
        struck.set({
            ("features", "custom"): custom, ("data", "pool"): str(struck.root / "data/pool"),
            ("compute", "backend"): "spark", ("compute", "n_jobs"): -1, ("compute", "address"): address,
        })  # fmt: skip
        finish(struck)
        assert (struck.root / "killed").exists()
        write_csv(struck.root / "data/pool/part-9.csv", HEADER, [("late", "1", "two")])
        assert (
            "part-9.csv:2: column 'y' holds 'two'"
            in stage(struck, "featurize").stderr.splitlines()[-1]
        )
    assert calm.bytes_of(*RESULTS) == struck.bytes_of(*RESULTS)


def test_a_fault_in_a_worker_is_one_line_and_nothing_more(small: Small) -> None:
    in_parts(small, [("odd", "1", "two")], *split(pool_rows(small), 3, draw=1), jobs=2)
    said = "column 'y' holds 'two' where a number was expected; fill it, or leave the column out (name the others)"
    told = stage(small, "featurize").stderr.splitlines()
    # On a busy machine signs of life come before it.
    lines = [line for line in told if not re.fullmatch(r"featurize: \d+ s", line)]
    assert lines == [f"error: data/pool/part-0.csv:2: {said}"]


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_told_in_one_line(small: Small) -> None:
    pytest.importorskip("distributed")
    in_parts(small, *split(pool_rows(small), 2, draw=1))
    small.set({("compute", "backend"): "dask", ("compute", "address"): "tcp://127.0.0.1:9"})
    done = stage(small, "featurize")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: params.yaml compute.address: no dask cluster at 'tcp://"
    )
    assert done.stderr.splitlines()[-1].endswith("; start it, or correct the address")


@pytest.mark.slow
def test_a_cluster_without_workers_is_told_in_one_line(small: Small) -> None:
    in_parts(small, *split(pool_rows(small), 2, draw=1))
    with dask_cluster(small.root, 0) as address:
        small.set({("compute", "backend"): "dask", ("compute", "address"): address})
        done = stage(small, "featurize")
    assert done.stderr.splitlines()[-1].startswith(
        "error: featurize: a worker: died (DaskDistributedBackend has no"
    )


def test_a_backend_that_is_not_installed_is_told_in_one_line(small: Small) -> None:
    in_parts(small, *split(pool_rows(small), 2, draw=1))
    (small.root / "joblibspark.py").write_text("raise ImportError('as where it is not there')")
    small.set({("compute", "backend"): "spark"})
    done = stage(small, "featurize")
    assert done.returncode == 1
    assert "error: params.yaml compute.backend: joblibspark is not installed" in done.stderr
    assert not list(Path(small.root / "build").rglob("parts.json"))
