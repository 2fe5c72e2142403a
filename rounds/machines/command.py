"""`rounds machine NAME`: ask a machine about rows, and freeze what it says, as its own answers.

    rows without an answer -> a batch to the machine -> data/machines/NAME/answers.jsonl -> again
                                                                     -> one commit at the end

Interrupted at any moment, the same command goes on with the rows that have no answer yet. Nothing
is called from a stage: stages read what is frozen.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import click
import httpx

from rounds.lock import exclusive
from rounds.machines import prompt as prompts
from rounds.machines.endpoint import Endpoint, Pace, Prices
from rounds.machines.freeze import append, commit_answers, folder_of
from rounds.machines.local import Rules, answers_of_command
from rounds.machines.rows import Example, first_to_ask
from rounds.past import only_appended
from rounds.project import Project
from stages.contract.errors import PipelineError
from stages.contract.progress import progress
from stages.contract.shell import one_line_errors
from stages.machines.frozen import ANSWERS, MachineAnswer, read_machine
from stages.store.index import SPLITS

NEXT = "next: rounds machines   # how good it is here, once people have answered control rows"


@dataclass(frozen=True)
class Batch:
    """What a machine said of some rows, and the fault that kept it from saying more."""

    answers: list[MachineAnswer]
    fault: PipelineError | None = None


Ask = Callable[[Sequence[Example]], Batch]
Freeze = Callable[[Sequence[MachineAnswer]], int]


class Options(TypedDict):
    """What the command was told."""

    shell: str | None
    url: str | None
    rules: str | None
    model: str
    key_env: str
    write_prompt: bool
    parts: tuple[str, ...]
    limit: int | None
    again: bool
    batch: int
    at_once: int
    per_minute: float | None
    price_read: float | None
    price_written: float | None
    max_cost: float | None


@dataclass(frozen=True)
class Asked:
    """What a run brought. cost: None where nobody says it; capped: it ended at the cost cap."""

    rows: int
    new: int
    labelled: int
    cost: float | None
    capped: bool


def answered_ids(folder: Path, labels: list[str], digits: str, *, every_prompt: bool) -> set[str]:
    """The rows that a machine has answered; of the present prompt only, unless `every_prompt`."""
    if not (folder / ANSWERS).is_file():
        return set()
    answers = read_machine(folder, labels).answers
    return {item for item, row in answers.items() if every_prompt or row["prompt"] == digits}


def ask_all(
    rows: Sequence[Example], ask: Ask, freeze: Freeze, batch: int, most_cost: float | None
) -> Asked:
    """Ask batch by batch and freeze each before the next; stop before the cap would be passed.

    freeze: keeps some answers and says how many were new. The cap is checked with the dearest
    answer so far, so the first batch goes one row at a time. Raises PipelineError where the machine
    fails; what came before is frozen.
    """
    new = 0
    labelled = 0
    costs: list[float] = []
    done = 0
    with progress("rows", len(rows), "row") as bar:
        while done < len(rows):
            size = batch
            if most_cost is not None:
                size = min(batch, affordable(costs, most_cost))
            if size < 1:
                return Asked(done, new, labelled, math.fsum(costs), capped=True)
            some = rows[done : done + size]
            brought = ask(some)
            new += freeze(brought.answers)
            if brought.fault is not None:
                raise brought.fault
            labelled += sum(answer["label"] is not None for answer in brought.answers)
            said = [answer["cost"] for answer in brought.answers]
            costs += [cost for cost in said if cost is not None]
            if most_cost is not None and None in said:
                what = "the machine does not say what an answer costs"
                remedy = "give --price-read and --price-written, or leave --max-cost out"
                raise PipelineError("--max-cost", what, remedy)
            done += len(some)
            bar.update(len(some))
    return Asked(done, new, labelled, math.fsum(costs) if costs else None, capped=False)


def affordable(costs: Sequence[float], most: float) -> int:
    """How many more answers fit below a cap, each as dear as the dearest so far; 1 before any."""
    if not costs:
        return 1
    dearest = max(costs)
    left = most - math.fsum(costs)
    return int(left / dearest) if dearest else sys.maxsize


def by_endpoint(endpoint: Endpoint, at_once: int, client: httpx.Client) -> Ask:
    """Several rows at a time; the answers of those that came through, in their order."""

    def ask(some: Sequence[Example]) -> Batch:
        answers = []
        fault = None
        with ThreadPoolExecutor(at_once) as pool:
            for future in [pool.submit(endpoint.ask, client, example) for example in some]:
                try:
                    answers.append(future.result())
                except PipelineError as error:
                    fault = fault or error
                    pool.shutdown(wait=False, cancel_futures=True)
                except CancelledError:
                    continue
        return Batch(answers, fault)

    return ask


def run(project: Project, name: str, options: Options) -> str:
    """Ask, freeze, commit. The sentence that says what was done."""
    folder = folder_of(project, name)
    labels = project.params().labels
    only_appended(project)
    text, suffix = _instructions(project, folder, options)
    digits = prompts.keep(folder, text, suffix)
    ids = answered_ids(folder, labels, digits, every_prompt=not options["again"])
    rows = first_to_ask(project, options["parts"] or SPLITS, ids, options["limit"])

    def freeze(answers: Sequence[MachineAnswer]) -> int:
        with exclusive(project.root, wait=True):
            return append(folder, answers)

    try:
        with httpx.Client() as client:
            ask = _asker(project, options, digits, text, client)
            asked = ask_all(rows, ask, freeze, options["batch"], options["max_cost"])
    finally:
        with exclusive(project.root, wait=True):
            commit_answers(project, name)
    return _sentence(name, asked, len(ids))


def _instructions(project: Project, folder: Path, options: Options) -> tuple[str, str]:
    """The text that decides what the machine says, and the suffix of the file it is kept in."""
    if options["rules"]:
        return Rules(options["rules"], project.root).source, ".py"
    text, made = prompts.prompt_of(project, folder)
    if made:
        click.echo(f"made {folder / prompts.FILE} of your classes and data/labels.csv", err=True)
    return text, ".md"


def _asker(project: Project, options: Options, digits: str, text: str, client: httpx.Client) -> Ask:
    """How rows are put to the machine that the options name."""
    labels = project.params().labels
    root = project.root
    if options["rules"]:
        rules = Rules(options["rules"], root)
        return lambda some: Batch([rules.answer(example, labels, digits) for example in some])
    line = options["shell"]
    if line:
        return lambda some: Batch(answers_of_command(line, some, labels, digits, root))
    endpoint = Endpoint(
        url=options["url"] or "",
        model=options["model"],
        key=os.environ.get(options["key_env"], ""),
        prompt=text,
        digits=digits,
        labels=labels,
        prices=Prices(options["price_read"], options["price_written"]),
        pace=Pace(options["per_minute"]),
    )
    return by_endpoint(endpoint, options["at_once"], client)


def _sentence(name: str, asked: Asked, before: int) -> str:
    """What was done, and the next command."""
    if not asked.rows and not asked.capped:
        return f"machine {name}: all {before} rows have an answer; nothing was asked\n{NEXT}"
    cost = "" if asked.cost is None else f", cost {asked.cost:.4g}"
    said = f"machine {name}: {asked.new} answers, {asked.labelled} with a label{cost}"
    if asked.capped:
        said += "; stopped before --max-cost: the same command with a higher one goes on"
    return f"{said}\n{NEXT}"


@click.command()
@click.argument("name")
@click.option("--command", "shell", metavar="LINE", help="A command: rows in, answers out, JSONL.")
@click.option("--url", help="Base address of an OpenAI-compatible endpoint, as https://host/v1.")
@click.option("--rules", metavar="MODULE:FUNCTION", help="A Python function of the project.")
@click.option("--model", default="", help="The model's name, with --url.")
@click.option(
    "--key-env",
    default="OPENAI_API_KEY",
    show_default=True,
    help="Environment variable that holds the key; it is sent, never written.",
)
@click.option("--write-prompt", is_flag=True, help="Write the prompt to edit, and ask nothing.")
@click.option(
    "--part",
    "parts",
    type=click.Choice(SPLITS),
    multiple=True,
    help="Ask about these rows only; all three without it.",
)
@click.option("--limit", type=click.IntRange(1), help="Ask at most so many rows now: a trial.")
@click.option("--again", is_flag=True, help="Ask rows anew whose answer is of another prompt.")
@click.option(
    "--batch", type=click.IntRange(1), default=64, show_default=True, help="Rows frozen at a time."
)
@click.option(
    "--at-once", type=click.IntRange(1, 64), default=4, show_default=True, help="Requests at once."
)
@click.option(
    "--per-minute", type=click.FloatRange(0, min_open=True), help="Most requests a minute."
)
@click.option("--price-read", type=click.FloatRange(0), help="Price of a million tokens read.")
@click.option("--price-written", type=click.FloatRange(0), help="Price of a million written.")
@click.option("--max-cost", type=click.FloatRange(0, min_open=True), help="Stop before this cost.")
@one_line_errors
def command(name: str, **options: Unpack[Options]) -> str:
    """Ask a machine to label rows, and freeze its answers in data/machines/NAME.

    They are never a person's answers, and nobody is shown them while labelling. The rows come in
    random order, those of the control arm first, so that --limit 200 is a fair trial. --url needs
    --model; its prompt is made of your classes and data/labels.csv, and lies in
    data/machines/NAME/prompt.md.
    """
    project = Project.find(Path())
    if options["write_prompt"]:
        folder = folder_of(project, name)
        _, made = prompts.prompt_of(project, folder)
        said = "wrote" if made else "there is one already:"
        return f"{said} {folder / prompts.FILE}\nnext: edit it, then rounds machine {name} --url …"
    sources = (options["shell"], options["url"], options["rules"])
    if sum(source is not None for source in sources) != 1:
        raise click.UsageError("give one of --command, --url and --rules")
    if options["url"] is not None and not options["model"]:
        raise click.UsageError("--url needs --model")
    return run(project, name, options)
