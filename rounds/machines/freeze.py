"""Freezing a machine's answers: data/machines/NAME/answers.jsonl, append-only, and its commit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rounds.close import MACHINES as PIPELINE
from rounds.commands import commit_paths, git
from rounds.lock import exclusive
from rounds.machines.rows import all_ids
from rounds.newer_params import require_params
from rounds.past import only_appended
from rounds.project import Project
from stages.contract.canonical import (
    add_lines,
    dumps,
    numbered_rows,
    write_bytes,
    write_jsonl,
)
from stages.contract.errors import PipelineError
from stages.machines.frozen import ANSWERS, MachineAnswer, checked_answer

FOLDER = "data/machines"
TEMPLATE = Path(__file__).with_name("stage.yaml")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHOWN = 10  # bad rows that are named


def folder_of(project: Project, name: str) -> Path:
    """data/machines/NAME.

    Raises PipelineError for a name that is no folder's, and where params.yaml lacks what a pipeline
    names.
    """
    require_params(project.root)
    if not NAME.fullmatch(name):
        what = f"{name!r} is no name for a machine"
        raise PipelineError("NAME", what, "use letters, digits, '.', '_' and '-'")
    return project.root / FOLDER / name


def append(folder: Path, answers: Iterable[MachineAnswer]) -> int:
    """Add the answers that are not there yet, word for word. How many were added."""
    path = folder / ANSWERS
    written = set(path.read_bytes().split(b"\n")) if path.is_file() else set()
    lines = dict.fromkeys(dumps(answer).encode() for answer in answers)
    new = [line for line in lines if line not in written]
    if new:
        add_lines(path, b"".join(line + b"\n" for line in new))
    return len(new)


@dataclass(frozen=True)
class Collected:
    """What a file of answers held: usable ones, and rows that are not, with line and reason."""

    answers: list[MachineAnswer]
    bad: list[tuple[int, str]]


def read_answers(path: Path, labels: Sequence[str], known_ids: set[str]) -> Collected:
    """The rows of a file, checked one by one. Raises PipelineError for a file that is no JSONL."""
    answers = []
    bad = []
    for number, row in numbered_rows(path):
        try:
            answer = checked_answer(row, labels, f"{path.name}:{number}")
        except PipelineError as error:
            bad.append((number, f"{error.what}; {error.remedy}"))
            continue
        if answer["id"] in known_ids:
            answers.append(answer)
        else:
            bad.append((number, f"id {answer['id']!r} is in none of pool, seed and test"))
    return Collected(answers, bad)


def collect_machine(
    project: Project, name: str, files: Sequence[Path], *, strict: bool, dry_run: bool
) -> list[str]:
    """Freeze the answers in some files as those of a machine, and commit them. The report's lines.

    Rows that cannot be used are written beside their file. Raises PipelineError where none can, or,
    when `strict`, for the first.
    """
    folder = folder_of(project, name)
    labels = project.params().labels
    ids = all_ids(project)
    read = {path: read_answers(path, labels, ids) for path in files}
    for path, collected in read.items():
        if collected.bad and (strict or not collected.answers):
            number, why = collected.bad[0]
            remedy = f"repair it ({len(collected.bad)} such)"
            raise PipelineError(f"{path}:{number}", why, remedy)
    lines = []
    with exclusive(project.root, wait=True):
        only_appended(project)
        for path, collected in read.items():
            new = len(collected.answers) if dry_run else append(folder, collected.answers)
            total = len(collected.answers) + len(collected.bad)
            lines.append(f"{path.name}: {total} rows: {len(collected.answers)} answers; {new} new")
            lines += [f"  {path.name}:{number}: {why}" for number, why in collected.bad[:SHOWN]]
            if not dry_run:
                _put_aside(path, collected)
        if not dry_run:
            commit_answers(project, name)
    return lines


def _put_aside(path: Path, collected: Collected) -> None:
    """Write the numbers of the rows that cannot be used, with the reasons, beside their file."""
    aside = path.with_name(f"{path.name}.bad.jsonl")
    if collected.bad:
        write_jsonl(aside, [{"line": number, "why": why} for number, why in collected.bad])
    else:
        aside.unlink(missing_ok=True)


def commit_answers(project: Project, name: str) -> bool:
    """Commit what lies in data/machines/NAME, and the stage that judges it. False: nothing new."""
    answers = folder_of(project, name) / ANSWERS
    if not answers.is_file():
        return False
    pipeline = project.root / PIPELINE
    text = TEMPLATE.read_bytes()
    if not pipeline.is_file() or pipeline.read_bytes() != text:
        write_bytes(pipeline, text)
    count = answers.read_bytes().count(b"\n")
    paths = [f"{FOLDER}/{name}", PIPELINE]
    git(project.root, "add", "--", *paths)
    if not git(project.root, "diff", "--cached", "--name-only", "--", *paths).strip():
        return False
    commit_paths(project.root, paths, f"Machine {name}: {count} answers")
    return True
