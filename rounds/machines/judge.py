"""`rounds machines`: how good each machine annotator is here. It judges anew where that is due.

lock -> nothing waits to be closed? -> dvc repro -> judge_machines -> commit
"""

from __future__ import annotations

from pathlib import Path

import click

from rounds.close import MACHINES as PIPELINE
from rounds.close import commit
from rounds.commands import Dvc, Say, git
from rounds.finish import require_closed, require_current
from rounds.lock import exclusive
from rounds.machines.figures import machine_lines
from rounds.machines.freeze import FOLDER
from rounds.project import Project
from rounds.report import read_metrics
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors

STAGE = f"{PIPELINE}:judge_machines"
MADE = ("machines/", "metrics/machines.json", "plots/machines.json")


def judge(project: Project, say: Say) -> bool:
    """Bring metrics/machines.json up to date and commit it. False where it was.

    Raises PipelineError without a machine, and where answers wait to be closed.
    """
    if not (project.root / PIPELINE).is_file():
        what = "no machine has answered yet"
        remedy = "ask one: `rounds machine NAME --url …`, or `rounds collect --machine NAME FILE`"
        raise PipelineError(project.root / FOLDER, what, remedy)
    with exclusive(project.root, wait=False):
        require_closed(project)
        with Dvc(project.root, say) as dvc:
            require_current(project, dvc)
            dvc("repro", "--single-item", STAGE)
        git(project.root, "add", "--all", "--", *MADE)
        return commit(project, "Machines judged", "")


@click.command()
@one_line_errors
def command() -> str:
    """How good each machine annotator is here, by people's labels that it never saw.

    Accuracy on control rows with an interval of any look, what it covers, what a right label costs,
    whether it may stand for a person. Each close brings these figures up to date; this command does
    where a machine has answered since, and commits them.
    """
    project = Project.find(Path())

    def say(name: str) -> None:
        click.echo(f"  {name} …", err=True)

    judge(project, say)
    return "\n".join(machine_lines(read_metrics(project, "machines")))
