"""`rounds annotate`: put the newest batch before people, or before the simulated annotator."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from rounds.commands import is_committed
from rounds.early import take_in
from rounds.lock import exclusive
from rounds.project import Project, Round
from stages.answers.prodigy import offered
from stages.contract.canonical import read_jsonl, write_jsonl
from stages.contract.errors import PipelineError
from stages.contract.shell import PATH, one_line_errors

if TYPE_CHECKING:
    from rounds.owner import Board
    from rounds.surfaces.series import Series

_SECONDS_PER_ROUND = 86_400.0
_CHANCE = click.FloatRange(0, 1)


class Options(TypedDict):
    """What `rounds annotate` is told; each option's help says what it is."""

    tool: str
    host: str
    port: int
    open_browser: bool
    idle: float
    keep_going: bool
    limit: int | None
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
    tasks = newest.to_ask()
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
@click.option(
    "--keep-going",
    is_flag=True,
    help="Page: close each answered round and show the next batch, until nothing is to be asked.",
)
@click.option(
    "--rounds",
    "limit",
    type=click.IntRange(1),
    metavar="N",
    help="With --keep-going: close at most N rounds.",
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
    """Label the newest batch: in the browser, in Prodigy, in Label Studio, or by simulation.

    With --keep-going the page closes a round as soon as all of it is answered, as `rounds close`
    does, and shows the next batch. It pauses for what you have to decide, and says what to type.
    """
    _require_page(options)
    # A shell that starts a command in the background has it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    project = Project.find(Path())
    if options["keep_going"]:
        return _keep_going(project, options)
    with exclusive(project.root, wait=True):
        take_in(project.root, project.rounds())
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


def _require_page(options: Options) -> None:
    """Raises UsageError for --keep-going without the page, and for --rounds without that."""
    if options["limit"] is not None and not options["keep_going"]:
        raise click.UsageError("--rounds N goes with --keep-going")
    if options["keep_going"] and (options["tool"] != "page" or options["oracle"] is not None):
        raise click.UsageError("--keep-going is for the page, not for --with TOOL or --oracle")


def _send(project: Project, url: str | None, token_file: Path | None) -> str:
    """Send the batch to Label Studio. Raises PipelineError without an address or a token."""
    from rounds.surfaces import label_studio

    if url is None or token_file is None:
        where = "rounds annotate --with label-studio"
        raise PipelineError(where, "it needs --url and --token-file", "give both")
    return label_studio.send(project, url, label_studio.read_token(token_file))


def _serve(project: Project, newest: Round, options: Options) -> str:
    """Serve the page on one batch until Ctrl-C."""
    from rounds.surfaces.serving import Address, closing_words, serving

    address = Address(options["host"], options["port"])
    with serving(
        project,
        newest,
        address,
        idle=options["idle"] * 60,
        open_browser=options["open_browser"],
        board=partial(_owners_board, project),
    ) as series:
        while series.wait():
            pass
    return closing_words(series, complete="rounds close", go_on="rounds annotate")


def _owners_board(project: Project, series: Series) -> Board:
    """The owner's view; its libraries are loaded when it is first looked at."""
    from rounds.owner import Board

    return Board(project, series)


def _keep_going(project: Project, options: Options) -> str:
    """Serve the page on one batch after another until Ctrl-C."""
    from rounds.keep_going import CHOOSING, KeepGoing, first_round
    from rounds.surfaces.serving import Address, serving

    with exclusive(project.root, wait=True):  # what a close that was killed left is tidied up
        take_in(project.root, project.rounds())
    address = Address(options["host"], options["port"])
    with serving(
        project,
        first_round(project),
        address,
        idle=options["idle"] * 60,
        open_browser=options["open_browser"],
        done=CHOOSING,
        goes_on=True,
        board=partial(_owners_board, project),
    ) as series:
        return KeepGoing(project, series, options["limit"]).run()
