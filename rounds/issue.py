"""`rounds issue`: freeze the exported batch as the next round. From then on it never changes."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path

import click

from rounds.lock import exclusive, turn
from rounds.project import Project, Round
from stages.answers.rounds import FROZEN, read_frozen
from stages.contract.canonical import read_json, sha256, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors


def issue(project: Project) -> Round | None:
    """Copy build/export to data/rounds/NNN, whole or not at all; None when the batch is empty.

    Raises PipelineError when there is no export, or when the last round already asks this very
    batch.
    """
    export = project.root / "build" / "export"
    if not (export / "manifest.json").is_file():
        raise PipelineError(export, "nothing was exported yet", "run `dvc repro`")
    manifest = read_json(export / "manifest.json")
    for name in FROZEN:
        if sha256((export / name).read_bytes()) != manifest["sha256"][name]:
            raise PipelineError(
                export / name,
                "not what export_prodigy wrote",
                "run `dvc repro --force export_prodigy`",
            )
    if not manifest["rows"]:
        return None
    rounds = project.rounds()
    if rounds and rounds[-1].batch_id() == manifest["batch_id"]:
        what = f"round {rounds[-1].number} asks this batch already"
        raise PipelineError(
            rounds[-1].folder, what, "answer it (`rounds annotate`), then `rounds close`"
        )
    number = len(rounds) + 1
    if read_json(project.root / "metrics" / "query.json")["round"] != number:
        what = f"round {len(rounds)} is not answered, so the export is no new batch"
        raise PipelineError(export, what, "answer it (`rounds annotate`), then `rounds close`")
    folder = project.rounds_folder / f"{number:03d}"
    staged = project.rounds_folder / f".{folder.name}.tmp"
    shutil.rmtree(staged, ignore_errors=True)
    for name in (*FROZEN, "manifest.json"):
        write_bytes(staged / name, (export / name).read_bytes())
    read_frozen(staged)
    with turn(rounds[-1].asked, last=True) if rounds else nullcontext():
        staged.rename(folder)
    return Round(number, folder)


@click.command()
@one_line_errors
def command() -> str:
    """Freeze the exported batch as the next round (`close` does this for you)."""
    project = Project.find(Path())
    with exclusive(project.root, wait=False):
        new = issue(project)
    if new is None:
        return "issue: the batch is empty, there is nothing left to ask; next: rounds status"
    shown = new.asked.relative_to(project.root)
    count = len(new.tasks())
    return (
        f"issue: round {new.number}: {count} rows in {shown}; next: rounds close, which commits it"
    )
