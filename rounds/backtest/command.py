"""`rounds backtest`: replay whole loops on labelled data, and say which strategy to use and how sure that is.

Writes to --out: curves.csv, summary.json, backtest.md, backtest.html, curves.svg; params.yaml and
plan.json say what was replayed, loops/ holds the finished loops, so that the same command goes on
after a stop.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
import sys
import time
import warnings
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from itertools import islice, pairwise, product
from multiprocessing import active_children, get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
from pydantic import ValidationError
from ruamel.yaml import YAML
from threadpoolctl import threadpool_limits

import stages
from rounds.backtest import verdict
from rounds.backtest.replay import Examples, examples, replay, setting, split, told
from rounds.init import fill_in, labels_in, refuse_unless_empty, settings
from rounds.project import Project
from rounds.shipped import params_file
from stages.answers.ledger import read_labels
from stages.answers.prodigy import NotAnAnswer, read_answer
from stages.contract.canonical import (
    Row,
    jsonl,
    numbered_rows,
    plain,
    read_json,
    sha256,
    write_bytes,
    write_json,
)
from stages.contract.errors import PipelineError
from stages.contract.imports import build
from stages.contract.params import Options, Params, load
from stages.contract.progress import WIPE, counted
from stages.contract.shell import one_line_errors
from stages.examples.tables import Table, read_table
from stages.learning.calibration import drawn_at_random
from stages.store.index import SPLITS, read_index
from stages.store.parts import open_pool
from stages.store.read import read_rows
from stages.strategies.registry import resolve

Choice = dict[str, str]
Changes = dict[tuple[str, ...], Any]
Task = tuple["Plan", int, dict[str, Choice], tuple[int, int, float]]  # what `run` is given
BREAK, FEW = (
    300.0,
    10,
)  # seconds after which a person was away; times needed to tell how long an answer takes


@dataclass(frozen=True)
class Plan:
    """Everything a loop depends on, apart from its strategy and its number."""

    data: Path
    test: Path | None
    out: Path
    seed_size: int
    rounds: int
    noise: float


def parsed(word: str) -> tuple[str, Options]:
    """`name?key=value&key=value` as the name and its keyword arguments, values as YAML reads them."""
    name, _, tail = word.partition("?")
    pairs = [pair.partition("=") for pair in tail.split("&") if pair]
    return name, {key: YAML(typ="safe").load(text) for key, _, text in pairs}


def applied(choice: Choice, params: Params) -> Params:
    """The params of one choice: `[engine:]strategy[?key=value]`, `model.path[?key=value]`, calibration, control."""
    facts: dict[str, Any] = params.model_dump(by_alias=True)
    name, options = parsed(choice["strategy"])
    engine, _, strategy = name.rpartition(":")
    facts["query"] |= {"strategy": strategy, "params": options} | (
        {"engine": engine} if engine else {}
    )
    if choice["model"]:
        facts["model"] = dict(zip(("path", "params"), parsed(choice["model"]), strict=True))
    if choice["calibration"]:
        facts["calibrate"]["method"] = choice["calibration"]
    if choice["control"]:
        facts["query"]["control_fraction"] = YAML(typ="safe").load(choice["control"])
    try:
        found = Params.model_validate(facts)
    except ValidationError as error:
        fault = error.errors()[0]
        what = f"{'.'.join(map(str, fault['loc']))} is {fault['input']!r}: {fault['msg']}"
        if fault["type"] == "value_error":  # of several values together: the message names them
            what = str(fault["ctx"]["error"]).partition("; ")[0]
        raise PipelineError("rounds backtest", what, "correct the option") from error
    resolve(strategy, found.query.engine, weighted=bool(found.query.class_weights))
    build(found.model, found.seed, "model")
    return found


def choices(strategies: str, models: str, calibrations: str, controls: str) -> dict[str, Choice]:
    """Every combination by name, random with each model first: what is drawn at random needs neither of the others."""
    lists = [
        [word.strip() for word in words.split(",")]
        for words in (strategies, models, calibrations, controls)
    ]
    found: dict[str, Choice] = {}
    for strategy, model, calibration, control in [
        *product(["random"], lists[1], [""], [""]),
        *product(*lists),
    ]:
        if strategy == "random" and (calibration or control):
            continue
        choice = {
            "strategy": strategy,
            "model": model,
            "calibration": calibration,
            "control": control,
        }
        path, mark, options = model.partition("?")
        told = [
            strategy,
            path.rpartition(".")[2] + mark + options,
            calibration,
            f"control {control}" if control else "",
        ]
        found[" ".join(word for word in told if word)] = choice
    return found


@cache
def prepared(plan: Plan) -> tuple[Examples, Params]:
    """The plan's tables and params, read once in each process."""
    params = load(plan.out / "params.yaml")
    return examples(
        read_table(plan.data), read_table(plan.test) if plan.test else None, params
    ), params


def run(plan: Plan, number: int, todo: dict[str, Choice], goal: tuple[int, int, float]) -> None:
    """Replay one repeat with each choice, keep each finished loop in a file, and say how far all of them are.

    goal: loops in all, loops that were there before, and when the first one started (seconds since
    the epoch).
    """
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")
        given, params = prepared(plan)
        params = params.model_copy(update={"seed": params.seed + number})
        here = setting(split(given, params, plan.seed_size), params)
        for name, choice in todo.items():
            own = applied(choice, params)
            turns = replay(here, own, plan.rounds, plan.noise)
            loop = list(counted("loop, at most", turns, plan.rounds + 1, "round"))
            facts: Row = {"points": [vars(turn.point) for turn in loop]}
            facts["asked"] = [[row["id"] for row in turn.batch] for turn in loop]
            if own.query.control_fraction and own.query.strategy != "random":
                gap, saving = told(here, loop, own)
                facts["told"] = {
                    "fraction": own.query.control_fraction,
                    "gap": gap,
                    "saving": saving,
                }
            write_json(loop_file(plan.out, number, name), facts)
            total, before, begun = goal
            done, took = (
                sum(1 for _ in (plan.out / "loops").glob("*.json")) - before,
                (time.time() - begun) / 60,
            )
            left = f"{done / took:.1f} loops a minute, {took / max(done, 1) * (total - before - done):.1f} minutes left"
            wiped = (
                WIPE if sys.stderr.isatty() else ""
            )  # a bar of this process, if one of another is done
            click.echo(f"{wiped}backtest: {before + done} of {total} loops, {left}", err=True)


def loop_file(out: Path, number: int, name: str) -> Path:
    """Where a finished loop is kept."""
    return out / "loops" / f"{number:04d}-{sha256(name)[:12]}.json"


def run_missing(plan: Plan, arms: dict[str, Choice], repeats: int, jobs: int) -> None:
    """Run every loop that has no file yet. Raises PipelineError when stopped."""
    left = {
        n: {a: c for a, c in arms.items() if not loop_file(plan.out, n, a).is_file()}
        for n in range(repeats)
    }
    here = sum(1 for _ in (plan.out / "loops").glob("*.json"))
    goal = here + sum(map(len, left.values())), here, time.time()
    tasks = [(plan, number, todo, goal) for number, todo in left.items() if todo]
    try:
        run_all(tasks, min(jobs, len(tasks)))
    except KeyboardInterrupt:
        raise PipelineError(
            "rounds backtest", "stopped", "the same command goes on: finished loops are kept"
        ) from None
    except BrokenProcessPool as error:
        raise PipelineError(
            "rounds backtest", "a process died, perhaps for want of memory", "lower --jobs"
        ) from error


def run_all(tasks: list[Task], jobs: int) -> None:
    """Run all tasks in so many processes, of which this one is one; starting another costs as much as many a loop."""
    left, futures = iter(tasks), list[Future[None]]()
    with ProcessPoolExecutor(max(1, jobs - 1), mp_context=get_context("spawn")) as pool:

        def feed(_done: Future[None] | None = None) -> None:
            for task in islice(left, 1):
                future = pool.submit(run, *task)
                futures.append(future)
                future.add_done_callback(feed)

        try:
            ours = signal.signal(
                signal.SIGINT, signal.SIG_IGN
            )  # for the others from their first moment: this one acts
            try:
                for _ in range(jobs - 1):
                    feed()
            finally:
                signal.signal(signal.SIGINT, ours)
            for task in left:
                run(*task)
            for future in counted("the other processes", futures, len(futures), "repeat"):
                future.result()
        except BaseException:
            list(left)  # nobody begins with these
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()
            raise


def filled(base: Path, changes: Changes) -> tuple[bytes, Params]:
    """The text of a params.yaml with some values changed, and the params it holds."""
    load(base)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "params.yaml"
        shutil.copyfile(base, file)
        fill_in(file, changes)
        return file.read_bytes(), load(file)


def refuse_unless_ours(out: Path, data: Path) -> None:
    """Raises PipelineError where the folder holds more than the data, which a command that was refused leaves there."""
    if not (out.is_dir() and set(out.iterdir()) <= {data}):
        refuse_unless_empty(out)


def claim(plan: Plan, arms: dict[str, Choice], params: bytes) -> None:
    """Write params.yaml and plan.json. Raises PipelineError where the folder holds anything else, and says what."""
    code = [
        *sorted(Path(stages.__file__).parent.rglob("*.py")),
        Path(__file__).with_name("replay.py"),
    ]
    facts: Row = {
        "data": sha256(plan.data.read_bytes()), "test": sha256(plan.test.read_bytes()) if plan.test else None,
        "params": sha256(params), "code": sha256(b"".join(path.read_bytes() for path in code)),
        "seed_size": plan.seed_size, "rounds": plan.rounds, "noise": plan.noise, "strategies": arms,
    }  # fmt: skip
    file = plan.out / "plan.json"
    if not file.is_file():
        refuse_unless_ours(plan.out, plan.data)
        write_bytes(plan.out / "params.yaml", params)
        write_json(file, facts)
    known = read_json(file)
    differs = ", ".join(key for key in facts if known.get(key) != plain(facts[key]))
    if differs:
        raise PipelineError(
            plan.out, f"holds another backtest, with other {differs}", "name another --out"
        )


def seconds_per_answer(path: Path) -> float:
    """The median time between two answers of one person, breaks left out. Raises PipelineError with too few to tell."""
    times: dict[str, list[float]] = {}
    for number, row in numbered_rows(path):
        try:
            answer = read_answer(row)
        except NotAnAnswer as reason:
            raise PipelineError(
                f"{path}:{number}", str(reason), "repair or remove the row"
            ) from reason
        if answer.at is not None:
            times.setdefault(answer.annotator, []).append(answer.at)
    gaps = [after - before for own in times.values() for before, after in pairwise(sorted(own))]
    worked = [gap for gap in gaps if 0 < gap <= BREAK]
    if len(worked) < FEW:
        raise PipelineError(
            path, f"only {len(worked)} answers with a time", f"give {FEW} or more, or leave it out"
        )
    return median(worked)


def own_rows(project: Project) -> tuple[bytes, int, str]:
    """A project's labelled rows as JSONL, how many of them are its seed, and what a backtest on them can tell."""
    params, build = project.params(), project.root / "build"
    accepted = read_labels(build / "gate" / "accepted.jsonl", params.labels)
    chance, from_seed = drawn_at_random(accepted), sum(row["round"] == 0 for row in accepted.rows)
    rest, pool = read_index(build / "features"), open_pool(build / "features")
    tables = {str(split): getattr(params.data, split) for split in SPLITS}
    tables = {
        split: path if "://" in path else str(project.root / path) for split, path in tables.items()
    }
    whole = rest.split.count("seed") + (rest.split.count("pool") if pool is None else pool.rows)

    def cells(table: Table, place: int) -> Row:
        return {name: table.column(name, "data")[place] for name in table.columns}

    found = read_rows(accepted.ids, tables, build / "features", cells)
    pairs = zip(accepted.ids, accepted.rows, strict=True)
    rows = [{**found[item], params.data.label: row["label"]} for item, row in pairs]
    told = (
        f"Effective sample: {len(rows)} labelled rows of {whole}; strategies "
        f"choose among these alone. {chance.sum()} were drawn at random, the others by {params.query.strategy}, so "
        "gains are smaller than on the whole pool and lean to what it likes."
    )
    return jsonl(rows), from_seed, told


def report(
    plan: Plan,
    arms: dict[str, Choice],
    repeats: int,
    target: float | None,
    notes: list[str],
    pace: float | None,
) -> Row:
    """Write curves.csv, summary.json, the pages and the picture from the finished loops."""
    params = load(plan.out / "params.yaml")
    loops = {
        name: [read_json(loop_file(plan.out, n, name)) for n in range(repeats)] for name in arms
    }
    curves = {name: [loop["points"] for loop in own] for name, own in loops.items()}
    random = {
        choice["model"]: name for name, choice in arms.items() if choice["strategy"] == "random"
    }
    baseline = {name: random[choice["model"]] for name, choice in arms.items()}
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    measured = ("n_labels", "accuracy", "macro_f1")
    rows.writerow(
        [
            "strategy",
            "repeat",
            *measured,
            *(f"recall_{label}" for label in params.labels),
            "seconds",
        ]
    )
    for name, own in curves.items():
        for number, curve in enumerate(own):
            for point in curve:
                values = [
                    *(point[key] for key in measured),
                    *point["recall"],
                    round(point["seconds"], 3),
                ]
                rows.writerow([name, number, *values])
    ran = min(len(curve) for own in curves.values() for curve in own) - 1
    if ran < plan.rounds:
        notes.append(
            f"A loop ended after {ran} of {plan.rounds} rounds: its pool was exhausted, all areas end there."
        )
    least = verdict.smallest_control(arms)
    found = verdict.summary(
        curves, baseline, target, [name for name in arms if least[name] != name]
    )
    areas = {arm["strategy"]: arm["areas"] for arm in found["strategies"]}
    proofs = {
        name: [loop["told"] for loop in own if "told" in loop]
        for name, own in loops.items()
        if arms[name]["strategy"] != "random"
    }
    found["control"] = verdict.control(
        least, {name: rows for name, rows in proofs.items() if rows}, areas
    )
    notes.append(
        f"Target accuracy {found['target']:.4f}; area: the mean accuracy along the curve; ±: one standard error."
    )
    for arm in found["strategies"] if pace else []:
        if arm["labels_to_target"] is not None:
            arm["minutes_to_target"] = (arm["labels_to_target"] - plan.seed_size) * pace / 60
            notes.append(
                f"{arm['strategy']}: {arm['minutes_to_target']:.1f} minutes of answers to the target."
            )
    picture = verdict.svg(curves)
    write_bytes(plan.out / "curves.csv", text.getvalue().encode())
    found["notes"] = notes
    write_json(plan.out / "summary.json", found)
    write_bytes(plan.out / "curves.svg", picture.encode())
    write_bytes(plan.out / "backtest.md", verdict.markdown(found).encode())
    write_bytes(plan.out / "backtest.html", verdict.html(found, picture).encode())
    return found


_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("data", type=_PATH, required=False)
@click.option(
    "--project",
    is_flag=True,
    help="Instead of DATA: the answered rounds of the project you are in.",
)
@click.option("--label", default="", help="Column of labels.")
@click.option("--text", default="", help="Column of text.")
@click.option(
    "--features",
    default="",
    help="Columns of numbers, separated by commas; all: every other column.",
)
@click.option("--image", default="", help="Column of images: data URIs, or files beside DATA.")
@click.option(
    "--id", "item", default="", help="Column of unique ids; without it the content is the id."
)
@click.option(
    "--test",
    type=_PATH,
    help="Held-out table; without it a quarter is held out, anew in each repeat.",
)
@click.option(
    "--strategy", default="auto", show_default=True, help="[engine:]name[?key=value], by commas."
)
@click.option(
    "--model", default="", help="Models to compare: import.path[?key=value], separated by commas."
)
@click.option(
    "--calibration", default="", help="Calibration methods to compare, separated by commas."
)
@click.option(
    "--control", default="", help="Fractions of the control arm to compare, separated by commas."
)
@click.option(
    "--seed-size",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    help="Labels to start from.",
)
@click.option(
    "--batch", type=click.IntRange(1), default=40, show_default=True, help="Labels asked per round."
)
@click.option(
    "--rounds", type=click.IntRange(1), default=10, show_default=True, help="Rounds of a loop."
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Loops of each strategy.",
)
@click.option(
    "--noise",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of wrong answers.",
)
@click.option(
    "--no-gate", is_flag=True, help="Doubt no label: faster, and no answer goes into reviews."
)
@click.option(
    "--params", type=_PATH, help="params.yaml to start from; default: what `rounds init` would set."
)
@click.option(
    "--target", type=click.FloatRange(0, 1), help="Accuracy to reach; default: where random ends."
)
@click.option(
    "--minutes", type=_PATH, help="A file of real answers: tells minutes by their times, too."
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default=True,
    help="Processes.",
)
@click.option("--out", type=_PATH, required=True, help="Folder for the results.")
@one_line_errors
def command(
    data: Path | None, project: bool, label: str, text: str, features: str, image: str, item: str, test: Path | None,
    strategy: str, model: str, calibration: str, control: str, seed_size: int, batch: int, rounds: int, repeats: int,
    noise: float, no_gate: bool, params: Path | None, target: float | None, minutes: Path | None, jobs: int, out: Path,
) -> str:  # fmt: skip
    """Replay whole loops on labelled DATA, before anyone spends: which strategy to use, and how sure that is."""
    if project == bool(data) or project == bool(label):
        raise PipelineError(
            "rounds backtest", "what to replay is not clear", "give DATA and --label, or --project"
        )
    if seed_size == 1:
        raise PipelineError(
            "--seed-size 1", "one label teaches nothing", "0 starts without labels; else 2 or more"
        )
    notes, changes, base = list[str](), Changes(), params or params_file()
    if data is None:
        root = Project.find(Path())
        rows, from_seed, told = own_rows(root)
        data, base, count = out / "labelled.jsonl", root.root / "params.yaml", rows.count(b"\n")
        seed_size = min(from_seed, count // 4) if min(from_seed, count // 4) > 1 else 0
        wanted, rounds = rounds, max(1, min(rounds, (3 * count // 4 - seed_size) // (2 * batch)))
        test = root.root / root.params().data.test
        test = test if len(read_table(test, may_be_empty=True)) else None
        if (out / "plan.json").is_file() and data.read_bytes() != rows:
            raise PipelineError(out, "holds a backtest of other labels", "name another --out")
        if not (out / "plan.json").is_file():
            refuse_unless_ours(out, data)
            write_bytes(data, rows)
        fewer = f" {rounds} of {wanted} rounds, so that half of the rows are left to choose from."
        notes.append(told + (fewer if rounds < wanted else ""))
    else:
        changes = _about_data(
            data, test, {"id": item, "label": label, "text": text, "image": image}, features
        )
    if params is not None:  # what is not about the data is the user's choice then
        changes = {
            keys: value
            for keys, value in changes.items()
            if keys[0] != "model" and "size" not in keys
        }
    changes |= {("query", "batch_size"): batch}
    if no_gate:
        changes |= {
            ("gate", "max_quarantine"): 0.0,
            ("gate", "hold"): [],
            ("clean_seed", "max_suspects"): 0.0,
        }
    plan, arms = (
        Plan(data, test, out, seed_size, rounds, noise),
        choices(strategy, model, calibration, control),
    )
    written, known = filled(base, changes)
    split(examples(read_table(data), read_table(test) if test else None, known), known, seed_size)
    for choice in arms.values():
        applied(choice, known)
    pace = seconds_per_answer(minutes) if minutes else None
    claim(plan, arms, written)
    if test is None:
        notes.append(
            "No test table: a quarter of the rows, stratified, was held out, anew in each repeat."
        )
    run_missing(plan, arms, repeats, jobs)
    found = report(plan, arms, repeats, target, notes, pace)
    click.echo(verdict.told(found))
    return f"backtest: {found['decision']['said']}\nwritten: {out / 'backtest.html'}"


def _about_data(data: Path, test: Path | None, names: dict[str, str], features: str) -> Changes:
    """The params that the options about the data mean. names: columns of id, label, text and image."""
    if sum(map(bool, (names["text"], features, names["image"]))) != 1:
        what = "what to learn from is not clear"
        raise PipelineError("rounds backtest", what, "give one of --text, --features and --image")
    given = [data, *([test] if test else [])]
    for option, name in names.items():
        for path in given if name else []:
            read_table(path).column(name, f"--{option}")
    columns = [] if features in {"", "all"} else [name.strip() for name in features.split(",")]
    kind = "text" if names["text"] else "image" if names["image"] else "numeric"
    changes = settings(kind, names, columns, labels_in(given, names["label"]))
    return {**changes, ("data", "images"): str(data.parent)}
