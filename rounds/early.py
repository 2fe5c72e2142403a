"""Answers to a batch that is frozen and not committed yet: they wait beside data/rounds.

`rounds annotate --keep-going` shows the next batch while the round before it is still being proved.
No answer may be committed before its question, and DVC hashes data/rounds meanwhile. So these
answers stand in data/.early/NNN, which git ignores, until the commit is there. Then the folder
becomes data/rounds/NNN/answers by one move: all of it or nothing, whenever the process is killed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rounds.commands import is_as_committed
from rounds.lock import turn
from rounds.project import Round
from stages.contract.canonical import write_bytes
from stages.contract.errors import PipelineError


def begin(asked: Round) -> None:
    """Let answers to a batch wait; those that wait already stay."""
    write_bytes(asked.early.parent / ".gitignore", b"*\n")
    asked.early.mkdir(exist_ok=True)


def is_waiting(asked: Round) -> bool:
    """Whether answers to the round wait for the commit of its question."""
    return asked.early.is_dir()


def require_unanswered(asked: Round) -> None:
    """Forget that a batch was shown. Raises PipelineError where somebody answered it."""
    if any(asked.early.glob("*.jsonl")):
        what = f"round {asked.number} was answered already, and another batch is to be asked now"
        remedy = "undo what changed in params.yaml, tables or code since; or move the folder away"
        raise PipelineError(asked.early, what, f"{remedy}, and `rounds close`")
    shutil.rmtree(asked.early, ignore_errors=True)


def take_in(root: Path, rounds: list[Round]) -> None:
    """Move the answers that waited for a commit into their round, once it is there.

    rounds: all of the project. The caller holds the project's lock.
    """
    for asked in rounds:
        if is_waiting(asked) and is_as_committed(root, asked.folder / "manifest.json"):
            with turn(asked.asked, last=True):
                _move(asked.early, asked.answers)
            (asked.early.parent / ".gitignore").unlink(missing_ok=True)
            asked.early.parent.rmdir()


def _move(early: Path, answers: Path) -> None:
    """Raises PipelineError where answers of the same person stand in both folders."""
    if not answers.is_dir() or not any(answers.iterdir()):
        early.rename(answers)
    else:
        for path in sorted(early.iterdir()):
            if (answers / path.name).exists():
                remedy = f"add its lines to {answers / path.name}, and remove it"
                raise PipelineError(path, "there is such a file in the round already", remedy)
            path.rename(answers / path.name)
        early.rmdir()
    folder = os.open(answers.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
