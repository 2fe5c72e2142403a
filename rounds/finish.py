"""`rounds finish`: let the machine label what it may, under a bound on its errors, and commit that.

    lock -> nothing waits to be closed? -> certify -> finish/dvc.yaml -> dvc repro -> push -> commit

Everything is computed once before anything is written: where no certificate is possible, the
command says what it would take, and the project is as it was. The same command on the same commit
changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from rounds import documents
from rounds.close import commit, foreign_changes
from rounds.commands import Dvc, Say, changed_paths, git, is_as_committed
from rounds.documents import json_option
from rounds.lock import exclusive
from rounds.project import Project
from rounds.remote import default_remote
from rounds.scheme import retire_command, unfinished_splits
from stages.contract.canonical import write_bytes
from stages.contract.errors import PipelineError, closest
from stages.contract.shell import one_line_errors
from stages.proof.certificate import Claim
from stages.proof.finished_tables import sentence
from stages.proof.finishing import Finished, Folders, finish, read_sources, require_certificate
from stages.proof.second_source import params_with, with_machine

FOLDER = "finish"
ANSWERS_OF_MACHINES = "data/machines"
PIPELINE = f"{FOLDER}/dvc.yaml"
TEMPLATE = Path(__file__).with_name("finish_stage.yaml")
MADE = (f"{FOLDER}/", "metrics/finish.json")
COMMIT_DIGITS = 12
LABELS = "build/finish/finished.parquet"
QUESTIONS = "build/finish/questions.jsonl"


def require_closed(project: Project) -> None:
    """Raises PipelineError where the project is not as its last round left it."""
    if not (project.root / "dvc.lock").is_file():
        what = "no round was closed yet, so there is no model"
        raise PipelineError(project.root, what, "run `rounds close`")
    split = unfinished_splits(project)
    if split:
        what = f"rows of {split[0]!r}, which was split, are not told apart yet"
        raise PipelineError(project.root, what, f"answer them, then: {retire_command(split[0])}")
    changed = [path for path in changed_paths(project.root) if not path.startswith(MADE)]
    waiting = [path for path in changed if path.startswith(("data/rounds/", "data/machines/"))]
    if waiting:
        what = f"answers that no close has taken in yet: {waiting[0]}"
        raise PipelineError(project.root, what, "close the round first: `rounds close`")
    foreign = [path for path in foreign_changes(project) if not path.startswith(MADE)]
    foreign += [path for path in changed if path.startswith(("dvc.lock", "metrics/", "plots/"))]
    if foreign:
        what = f"changes that are not committed: {foreign[0]}"
        raise PipelineError(project.root, what, "commit them and `rounds close`, or undo them")


def require_current(project: Project, dvc: Dvc) -> None:
    """Brings build/ up to date. Raises PipelineError where that is not what the last round left."""
    dvc("repro")
    if not is_as_committed(project.root, project.root / "dvc.lock"):
        what = "code, params or data are not those of the last closed round"
        raise PipelineError(project.root, what, "bring it up to date: `rounds close`")


def model_commit(project: Project) -> str:
    """The commit that brought the present dvc.lock, and with it the model, shortened."""
    last = git(project.root, "log", "-1", "--format=%H", "--", "dvc.lock").strip()
    return last[:COMMIT_DIGITS]


def computed(project: Project, claim: Claim, machine: str | None) -> Finished:
    """What the machine may label. Raises PipelineError where nothing can be certified.

    machine: the name of a machine annotator that is a second source, None for none.
    """
    build = project.root / "build"
    params = project.params()
    folders: Folders = {
        "gate": build / "gate",
        "labels": build / "labels",
        "features": build / "features",
        "model": build / "model",
        "probabilities": build / "probabilities",
    }
    sources = read_sources(folders, params)
    if machine is not None:
        answers = project.root / ANSWERS_OF_MACHINES / machine
        params = params_with(params, answers)
        sources = with_machine(sources, answers, params)
    finished = finish(sources, claim, params)
    require_certificate(finished)
    return finished


def stage_text(claim: Claim, model: str, machine: str | None = None) -> str:
    """finish/dvc.yaml for a claim, the commit that holds the model, and a machine annotator."""
    answers = f"{ANSWERS_OF_MACHINES}/{machine}"
    text = TEMPLATE.read_text(encoding="utf-8").format(
        error=repr(claim.error),
        confidence=repr(claim.confidence),
        commit=model,
        machine_option=f" --machine {answers}" if machine else "",
    )
    code = "      - stages/finish.py\n"
    return text.replace(code, f"      - {answers}\n{code}") if machine else text


def require_answers(project: Project, machine: str) -> None:
    """Raises PipelineError for a machine annotator that has no frozen answers."""
    folder = project.root / ANSWERS_OF_MACHINES
    names = sorted(path.parent.name for path in folder.glob("*/answers.jsonl"))
    if machine not in names:
        what = f"no answers of {machine!r}{closest(machine, names)}"
        raise PipelineError("--machine", what, "ask it first: `rounds machine`")


@dataclass(frozen=True)
class Outcome:
    """What the machine labels, the sentence that says so, and whether a commit was made of it."""

    finished: Finished
    said: str
    committed: bool


def finish_project(
    project: Project, claim: Claim, say: Say, *, dry_run: bool, machine: str | None = None
) -> Outcome:
    """Certify, write, commit.

    machine: the name of a machine annotator that is a second source, None for none.
    """
    if machine is not None:
        require_answers(project, machine)
    with exclusive(project.root, wait=False):
        require_closed(project)
        with Dvc(project.root, say) as dvc:
            require_current(project, dvc)
            finished = computed(project, claim, machine)
            said = sentence(finished)
            if dry_run:
                return Outcome(finished, f"{said}; --dry-run: nothing was written", False)
            text = stage_text(claim, model_commit(project), machine)
            write_bytes(project.root / PIPELINE, text.encode())
            dvc("repro", "--single-item", f"{PIPELINE}:{FOLDER}")
            if default_remote(project.root).folder:
                dvc("push", f"{PIPELINE}:{FOLDER}")
        git(project.root, "add", "--all", "--", *MADE)
        subject = said.removeprefix("finish: ")
        committed = commit(project, f"Finish: {subject}", "")
    return Outcome(finished, said if committed else f"{said}; this is committed already", committed)


def document(outcome: Outcome, *, dry_run: bool) -> documents.Finish:
    """The finish for a program."""
    finished = outcome.finished
    chosen = finished.certificate.last
    return documents.Finish(
        dry_run=dry_run,
        committed=outcome.committed,
        error=finished.claim.error,
        confidence=finished.claim.confidence,
        rest=len(finished.population.rest),
        by_machine=len(finished.machine),
        left=len(finished.left),
        control_labels=chosen.control if chosen else 0,
        control_wrong=chosen.wrong if chosen else 0,
        labels=None if dry_run else LABELS,
        questions=None if dry_run else QUESTIONS,
    )


@click.command()
@click.option(
    "--error",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Share of the machine's labels that may be wrong.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="How sure that bound is to be.",
)
@click.option("--machine", metavar="NAME", help="A machine annotator as a second source.")
@click.option("--dry-run", is_flag=True, help="Say what would be labelled; write nothing.")
@json_option
@one_line_errors
def command(
    error: float, confidence: float, machine: str | None, dry_run: bool, as_json: bool
) -> str:
    """Let the machine label the rest of the pool, as far as its errors are bounded, and commit it.

    Control rows judge: they are a random draw of the pool. What the machine may not label is listed
    as questions. Writes build/finish/finished.parquet, build/finish/questions.jsonl and
    metrics/finish.json; nothing at all where too few control labels prove too little. With
    --machine the models see the answers of a machine annotator too, weighed by people's labels,
    under the same bound.
    """
    project = Project.find(Path())

    def say(name: str) -> None:
        click.echo(f"  {name} …", err=True)

    claim = Claim(error, confidence)
    outcome = finish_project(project, claim, say, dry_run=dry_run, machine=machine)
    if as_json:
        documents.say(document(outcome, dry_run=dry_run))
    if dry_run:
        return outcome.said
    made = (
        f"{outcome.said}\nlabels: {LABELS}; {QUESTIONS} lists what is left, the first to ask first"
    )
    return f"{made}\nnext: rounds export DIR; or rounds annotate, rounds close, rounds finish again"
