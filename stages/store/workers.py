"""The one parallel layer, joblib's: a function mapped over parts, here or on a cluster.

What is mapped is a pure function of paths and small values, so the backend changes nothing but the
time: workers read parts and write results themselves, and what comes back is bounded.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack
from typing import Any, TypeVar

from stages.contract.errors import PipelineError
from stages.contract.params import Compute
from stages.contract.progress import watched

T = TypeVar("T")
R = TypeVar("R")
MOST_JOBS = 256  # that wait in Spark's queue at a time
AT_ONCE = 0.05  # seconds: what threads cost shorter calls is more than they save
MOST_THREADS = 4  # side by side: each holds a model of its own in memory
DIED = (
    "run the same command again, finished parts are kept; with too little memory lower "
    "compute.n_jobs"
)
EXTRAS = {"dask": "dask.distributed", "ray": "ray", "spark": "joblibspark"}


def mapped(
    function: Callable[[T], R],
    items: Sequence[T],
    compute: Compute,
    doing: str,
    *,
    little: bool = False,
) -> Iterator[R]:
    """The results in the order of the items, with progress on stderr after two seconds.

    `function` must stand in a module, so that workers can import it. One item, n_jobs 1, or n_jobs
    -1 where there is so `little` to do that starting workers takes longer, runs in this process.
    Raises PipelineError where the backend is not installed, its address does not answer, or a
    worker dies.
    """
    deaths = [BrokenExecutor, ConnectionError, TimeoutError]
    if compute.backend == "spark":
        deaths.append(TypeError)  # joblibspark gives the exception of a lost task out as its result
    with ExitStack() as stack:
        alone = compute.n_jobs == 1 or len(items) < 2 or (little and compute.n_jobs == -1)
        here = not items or (compute.backend == "loky" and alone)
        try:
            results = map(function, items) if here else _remote(function, items, compute, stack)
            for result in watched(doing, results, "part", len(items)):
                if isinstance(result, PipelineError):
                    raise result
                yield result
        except tuple(deaths) as error:
            raise PipelineError(f"{doing}: a worker", _death(error), DIED) from error


def _death(error: Exception) -> str:
    """What became of a worker. joblibspark gives a lost task out as a TypeError."""
    if isinstance(error, TypeError):
        return "failed, Spark says above why"
    return f"died ({str(error).partition('.')[0]})"


def side_by_side(function: Callable[[T], R], items: Sequence[T], n_jobs: int) -> list[R]:
    """The results in the order of the items, on threads of this process with one BLAS thread each.

    For calls that are many small matrix products: a few of them at once are done sooner than each
    on all cores in turn, and the last digits do not depend on how many cores there are. If the
    first is done at once, so are the others.
    """
    import joblib
    import sklearn.linear_model  # noqa: F401  # only what is loaded can be held to one thread
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        start = time.perf_counter()
        first = [function(item) for item in items[:1]]
        quick = time.perf_counter() - start < AT_ONCE
        threads = 1 if quick else min(joblib.effective_n_jobs(n_jobs), MOST_THREADS)
        rest = joblib.Parallel(threads, backend="threading")(
            joblib.delayed(function)(item) for item in items[1:]
        )
    return [*first, *rest]


def _remote(
    function: Callable[[T], R], items: Sequence[T], compute: Compute, stack: ExitStack
) -> Iterator[R | PipelineError]:
    import joblib

    options: dict[str, Any] = {"n_jobs": compute.n_jobs}
    if compute.backend != "loky":
        try:
            options |= _connected(compute, stack)
        except ImportError as error:
            what = f"{EXTRAS[compute.backend]} is not installed ({error})"
            remedy = "install it, or use loky"
            raise PipelineError("params.yaml compute.backend", what, remedy) from error
        except (OSError, RuntimeError, ValueError) as error:
            what = f"no {compute.backend} cluster at {compute.address!r} ({error})"
            remedy = "start it, or correct the address"
            raise PipelineError("params.yaml compute.address", what, remedy) from error
    if compute.backend == "spark" and compute.n_jobs == -1:
        # Spark's own count of workers is 0 until the first has come.
        options["n_jobs"] = min(len(items), MOST_JOBS)
    stack.enter_context(joblib.parallel_config(backend=compute.backend, **options))
    # Ray and Spark give all results at the end.
    streams = compute.backend in {"loky", "dask"}
    shape = "generator" if streams else "list"
    run = joblib.Parallel(return_as=shape, batch_size=1, pre_dispatch="all")
    results = run(joblib.delayed(_attempted)(function, item) for item in items)
    if streams:
        stack.callback(_ended, results)
    return iter(results)


def _ended(results: Any) -> None:
    """Stop what still runs, without joblib's words about results that nobody took."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results.close()


def _attempted(function: Callable[[T], R], item: T) -> R | PipelineError:
    """What the function makes of the item, or the fault it tells.

    Not every backend brings an exception home.
    """
    try:
        return function(item)
    except PipelineError as error:
        return error


def _connected(compute: Compute, stack: ExitStack) -> dict[str, Any]:
    """What joblib needs to find the cluster.

    A cluster on this machine is started where no address is given.
    """
    if compute.backend == "dask":
        from dask.distributed import Client

        cluster: Any = Client
        return {"client": stack.enter_context(cluster(compute.address or None, timeout="10s"))}
    if compute.backend == "ray":
        import ray
        from ray.util.joblib import register_ray

        register: Any = register_ray
        register()
        ray.init(address=compute.address or None, ignore_reinit_error=True, log_to_driver=False)
        stack.callback(ray.shutdown)
        return {}
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")  # libraries of a Spark session warn of each other
    from joblibspark import register_spark
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("labelrounds")
    builder = builder.config("spark.ui.showConsoleProgress", "false")
    if compute.address:
        builder = builder.master(compute.address)
    session = builder.getOrCreate()
    stack.callback(session.stop)
    session.sparkContext.setLogLevel("ERROR")
    register_spark()
    return {}
