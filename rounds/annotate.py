"""`rounds annotate`: put the newest batch before people, or before the simulated annotator."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, Unpack

import click

from rounds.commands import is_committed
from rounds.lock import exclusive
from rounds.project import Project, Round
from stages.answers.prodigy import offered
from stages.contract.canonical import read_jsonl, write_jsonl
from stages.contract.errors import PipelineError
from stages.contract.shell import PATH, one_line_errors

_SECONDS_PER_ROUND = 86_400.0
_CHANCE = click.FloatRange(0, 1)


class Options(TypedDict):
    """What `rounds annotate` is told; each option's help says what it is."""

    tool: str
    host: str
    port: int
    open_browser: bool
    idle: float
    url: str | None
    token_file: Path | None
    annotators: tuple[str, ...]
    dataset: str
    oracle: Path | None
    noise: float
    skip: float
    seed: int


def simulate(project: Project, file: Path, *, noise: float, skip: float, seed: int) -> str:
    """Answer the newest batch from `file` into answers/oracle.jsonl. The sentence that says so.

    Raises PipelineError where that was done in a commit, and where the file holds the answers of a
    person or a tool that is called oracle too.
    """
    from rounds.surfaces import oracle

    newest = project.last_round()
    params = project.params()
    target = newest.answers / "oracle.jsonl"
    _refuse_unless_simulated(project, newest, target)
    tasks = newest.tasks()
    rows = oracle.answer(
        tasks,
        oracle.known_labels(file, tasks, params, project.root),
        offered(tasks) or params.labels,
        noise=noise,
        skip=skip,
        seed=oracle.round_seed(seed, newest.number),
        start=oracle.FIRST_ANSWER + newest.number * _SECONDS_PER_ROUND,
    )
    write_jsonl(target, rows)
    skipped = sum(row["answer"] == "ignore" for row in rows)
    what = f"{len(rows)} simulated answers ({skipped} skipped)"
    return f"annotate: {what} -> {target.relative_to(project.root)}; next: rounds close"


def _refuse_unless_simulated(project: Project, newest: Round, target: Path) -> None:
    """Raises PipelineError for a file of answers that are committed, or not simulated."""
    from rounds.surfaces.oracle import DATASET

    if is_committed(project.root, target):
        answers = f"its answers to round {newest.number} are committed"
        what = f"{answers}, and history is not simulated anew"
        raise PipelineError(target, what, "`rounds status` says what comes next")
    held = read_jsonl(target) if target.is_file() else []
    people = [row for row in held if row.get("al_dataset") != DATASET]
    if people:
        what = f"holds {len(people)} answers that were not simulated, and would be overwritten"
        raise PipelineError(target, what, "give the file another name, which ends in .jsonl too")


@click.command()
@click.option(
    "--with",
    "tool",
    type=click.Choice(["page", "prodigy", "label-studio"]),
    default="page",
    help="Where.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Page: another address demands a token."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8090,
    show_default=True,
    help="Page: 0 = any free one.",
)
@click.option("--open", "open_browser", is_flag=True, help="Page: open it in the browser.")
@click.option(
    "--idle",
    type=click.FloatRange(1),
    default=10,
    show_default=True,
    help="Page: minutes until silent people's items go to others.",
)
@click.option("--url", help="Label Studio: its address.")
@click.option("--token-file", type=PATH, help="Label Studio: the file that holds the access token.")
@click.option(
    "--annotator", "annotators", multiple=True, help="Prodigy: a person's name; repeat for several."
)
@click.option(
    "--dataset", default="", help="Prodigy: the dataset to save into.  [default: round_NNN]"
)
@click.option("--oracle", type=PATH, help="Simulate: answer from this file of known labels.")
@click.option(
    "--noise",
    type=_CHANCE,
    default=0.0,
    show_default=True,
    help="Simulate: share of wrong answers.",
)
@click.option(
    "--skip", type=_CHANCE, default=0.0, show_default=True, help="Simulate: share of skipped items."
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Simulate: which errors and skips.",
)
@one_line_errors
def command(**options: Unpack[Options]) -> str:
    """Label the newest batch: in the browser, in Prodigy, in Label Studio, or by simulation."""
    project = Project.find(Path())
    with exclusive(project.root, wait=True):
        newest = project.open_round()
        if options["oracle"] is not None:
            return simulate(
                project,
                options["oracle"],
                noise=options["noise"],
                skip=options["skip"],
                seed=options["seed"],
            )
    if options["tool"] == "prodigy":
        from rounds.surfaces import prodigy_commands

        return prodigy_commands.instructions(
            project, dataset=options["dataset"], annotators=options["annotators"]
        )
    if options["tool"] == "label-studio":
        return _send(project, options["url"], options["token_file"])
    return _serve(project, newest, options)


def _send(project: Project, url: str | None, token_file: Path | None) -> str:
    """Send the batch to Label Studio. Raises PipelineError without an address or a token."""
    from rounds.surfaces import label_studio

    if url is None or token_file is None:
        where = "rounds annotate --with label-studio"
        raise PipelineError(where, "it needs --url and --token-file", "give both")
    return label_studio.send(project, url, label_studio.read_token(token_file))


def _serve(project: Project, newest: Round, options: Options) -> str:
    """Serve the page until Ctrl-C."""
    from rounds.surfaces import page

    return page.serve(
        project,
        newest,
        host=options["host"],
        port=options["port"],
        idle=options["idle"] * 60,
        open_browser=options["open_browser"],
    )
