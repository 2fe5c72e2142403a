"""Running the loops of a backtest in several processes; each finished one is kept in a file."""

from __future__ import annotations

import shutil
import signal
import sys
import time
import warnings
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NotRequired, TypedDict

import click
from threadpoolctl import threadpool_limits

import stages
from rounds.backtest.replay import (
    Examples,
    Setting,
    Turn,
    checked_examples,
    compare_arms,
    prepare,
    replay,
    split,
)
from rounds.backtest.variants import Variant, params_of
from rounds.init import fill_in, refuse_unless_empty
from stages.contract.canonical import Row, plain, read_json, sha256, write_bytes, write_json
from stages.contract.errors import PipelineError
from stages.contract.params import Params, load
from stages.contract.progress import WIPE, watched
from stages.examples.tables import read_table
from stages.proof.tables import Gap, Saving

PLANNED = 3  # repeats that say how many judge rows are needed: that takes many refits a loop
Variants = dict[str, Variant]
Changes = dict[tuple[str, ...], Any]  # the path of a value in params.yaml, and the value


@dataclass(frozen=True)
class Plan:
    """Everything a loop depends on, apart from its variant and its number."""

    data: Path
    test: Path | None
    out: Path
    seed_size: int
    rounds: int
    noise: float


@dataclass(frozen=True)
class Schedule:
    """How many loops there are in all, how many had been run before, and when this run began.

    begun: seconds since 1970.
    """

    total: int
    before: int
    begun: float


class ControlFacts(TypedDict):
    """What `validate` would say of the arms where a loop with a control arm ends.

    judges: see `ComparedArms`; the first repeats alone have it.
    """

    fraction: float
    gap: Gap
    saving: Saving
    judges: NotRequired[int | None]


Task = tuple[Plan, int, Variants, Schedule]  # the arguments of `run_repeat`


def finished_loops(out: Path) -> int:
    """How many loops have a file."""
    return sum(1 for _ in (out / "loops").glob("*.json"))


def loop_file(out: Path, number: int, name: str) -> Path:
    """Where the finished loop of a repeat and a variant is kept."""
    return out / "loops" / f"{number:04d}-{sha256(name)[:12]}.json"


def filled(base: Path, changes: Changes) -> tuple[bytes, Params]:
    """The text of a params.yaml with some values changed, and the params it holds."""
    load(base)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "params.yaml"
        shutil.copyfile(base, file)
        fill_in(file, changes)
        return file.read_bytes(), load(file)


@cache
def prepared(plan: Plan) -> tuple[Examples, Params]:
    """The plan's tables and params, read once in each process."""
    params = load(plan.out / "params.yaml")
    test = read_table(plan.test) if plan.test else None
    return checked_examples(read_table(plan.data), test, params), params


def run_repeat(plan: Plan, number: int, missing: Variants, schedule: Schedule) -> None:
    """Replay one repeat with each variant and keep every finished loop in a file."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")
        examples, params = prepared(plan)
        params = params.model_copy(update={"seed": params.seed + number})
        tables = split(examples, params, plan.seed_size)
        settings: dict[str, Setting] = {}  # by features, which take longest to make
        for name, variant in missing.items():
            own_params = params_of(variant, params)
            if variant.features not in settings:
                settings[variant.features] = prepare(tables, own_params)
            setting = settings[variant.features]
            turns = replay(setting, own_params, plan.rounds, plan.noise, variant.tried)
            loop = list(watched("loop, at most", turns, "round", plan.rounds + 1))
            facts = loop_facts(setting, loop, own_params, plans_judges=number < PLANNED)
            write_json(loop_file(plan.out, number, name), facts)
            say_progress(plan.out, schedule)


def loop_facts(
    setting: Setting, loop: list[Turn], params: Params, *, plans_judges: bool = True
) -> Row:
    """What is kept of a loop: its curve, the ids asked by round, and the comparison of the arms.

    plans_judges: whether it says how many judge rows would show a saving.
    """
    facts: Row = {
        "points": [vars(turn.point) for turn in loop],
        "asked": [[row["id"] for row in turn.batch] for turn in loop],
    }
    if params.query.control_fraction and params.query.strategy != "random":
        arms = compare_arms(setting, loop, params, plans_judges=plans_judges)
        facts["control"] = ControlFacts(
            fraction=params.query.control_fraction, gap=arms.gap, saving=arms.saving
        )
        if plans_judges:
            facts["control"]["judges"] = arms.judges
    return facts


def say_progress(out: Path, schedule: Schedule) -> None:
    """How far the loops of all processes are, on stderr."""
    finished = finished_loops(out)
    done = finished - schedule.before
    minutes = (time.time() - schedule.begun) / 60
    minutes_left = minutes / max(done, 1) * (schedule.total - finished)
    # A bar of this process may be drawn on this line, if a loop of another one is done.
    wiped = WIPE if sys.stderr.isatty() else ""
    click.echo(
        f"{wiped}backtest: {finished} of {schedule.total} loops, "
        f"{done / minutes:.1f} loops a minute, {minutes_left:.1f} minutes left",
        err=True,
    )


def run_missing(plan: Plan, chosen: Variants, repeats: int, jobs: int) -> None:
    """Run every loop that has no file yet. Raises PipelineError when stopped."""
    missing = {
        number: {
            name: variant
            for name, variant in chosen.items()
            if not loop_file(plan.out, number, name).is_file()
        }
        for number in range(repeats)
    }
    before = finished_loops(plan.out)
    schedule = Schedule(before + sum(map(len, missing.values())), before, time.time())
    tasks = [(plan, number, rest, schedule) for number, rest in missing.items() if rest]
    try:
        run_all(tasks, min(jobs, len(tasks)))
    except KeyboardInterrupt:
        remedy = "the same command goes on: finished loops are kept"
        raise PipelineError("rounds backtest", "stopped", remedy) from None
    except BrokenProcessPool as error:
        what = "a process died, perhaps for want of memory"
        raise PipelineError("rounds backtest", what, "lower --jobs") from error


def run_all(tasks: list[Task], jobs: int) -> None:
    """Run all tasks in so many processes, this one among them.

    This one works too, because starting another process costs as much as many a loop.
    """
    waiting = iter(tasks)
    futures: list[Future[None]] = []
    with ProcessPoolExecutor(max(1, jobs - 1), mp_context=get_context("spawn")) as pool:

        def feed(_done: Future[None] | None = None) -> None:
            for task in islice(waiting, 1):
                future = pool.submit(run_repeat, *task)
                futures.append(future)
                future.add_done_callback(feed)

        try:
            # The other processes ignore Ctrl-C from their first moment: this one ends them.
            our_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                for _ in range(jobs - 1):
                    feed()
            finally:
                signal.signal(signal.SIGINT, our_handler)
            for task in waiting:
                run_repeat(*task)
            for future in watched("the other processes", futures, "repeat"):
                future.result()
        except BaseException:
            list(waiting)  # takes the tasks that wait, so that no process begins one
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()
            raise


def refuse_unless_ours(out: Path, data: Path) -> None:
    """Raises PipelineError where the folder holds anything but the data.

    A command that was refused may have left the data there.
    """
    if not (out.is_dir() and set(out.iterdir()) <= {data}):
        refuse_unless_empty(out)


def claim(plan: Plan, chosen: Variants, params: bytes) -> None:
    """Write params.yaml and plan.json, unless they are there.

    Raises PipelineError where the folder holds anything else, or another plan, and says what
    differs.
    """
    facts = plan_facts(plan, chosen, params)
    file = plan.out / "plan.json"
    if not file.is_file():
        refuse_unless_ours(plan.out, plan.data)
        write_bytes(plan.out / "params.yaml", params)
        write_json(file, facts)
    noted = read_json(file)
    differs = ", ".join(key for key in facts if noted.get(key) != plain(facts[key]))
    if differs:
        what = f"holds another backtest, with other {differs}"
        raise PipelineError(plan.out, what, "name another --out")


def plan_facts(plan: Plan, chosen: Variants, params: bytes) -> Row:
    """What makes backtests the same: hashes of data, params and code, and the plan's numbers."""
    code = [
        *sorted(Path(stages.__file__).parent.rglob("*.py")),
        Path(__file__).with_name("replay.py"),
        Path(__file__).with_name("oracle.py"),
    ]
    return {
        "data": sha256(plan.data.read_bytes()),
        "test": sha256(plan.test.read_bytes()) if plan.test else None,
        "params": sha256(params),
        "code": sha256(b"".join(path.read_bytes() for path in code)),
        "seed_size": plan.seed_size,
        "rounds": plan.rounds,
        "noise": plan.noise,
        "strategies": {name: asdict(variant) for name, variant in chosen.items()},
    }
