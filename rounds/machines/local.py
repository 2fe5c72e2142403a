"""Machines that run here: a command that reads and writes JSONL, and a Python function of rules."""

from __future__ import annotations

import importlib
import inspect
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rounds.machines.rows import Example
from stages.contract.canonical import Row, jsonl
from stages.contract.errors import PipelineError, closest
from stages.machines.frozen import MachineAnswer, checked_answer

LAST_WORDS = 300  # characters of what a command that fails wrote


def answers_of_command(
    command: str, some: Sequence[Example], labels: list[str], digits: str, root: Path
) -> list[MachineAnswer]:
    """What a command line says of some rows. No shell reads it, so it has no pipes of its own.

    It gets {"id", "text" | "image" | "fields"} lines, and writes {"id", "label", ...} lines, in any
    order; rows that it leaves out stay unanswered. Raises PipelineError where it fails, or writes
    something else.
    """
    rows: list[Row] = [{"id": example.id, **example.content} for example in some]
    try:
        words = shlex.split(command)
        done = subprocess.run(words, cwd=root, input=jsonl(rows), capture_output=True, check=False)
    except (OSError, ValueError) as error:
        what = f"{command!r} cannot be started ({error})"
        raise PipelineError("--command", what, "correct it; what came before is kept") from error
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[-LAST_WORDS:]
        what = f"the command ended with {done.returncode}: {said or 'it says nothing'}"
        raise PipelineError("--command", what, "repair it; what came before is kept")
    asked = {example.id for example in some}
    answers = []
    for number, line in enumerate(done.stdout.splitlines(), start=1):
        if line.strip():
            where = f"--command, line {number} of its output"
            answer = checked_answer({"prompt": digits, **_object(line, where)}, labels, where)
            if answer["id"] not in asked:
                what = f"id {answer['id']!r} was not asked{closest(answer['id'], asked)}"
                raise PipelineError(where, what, "answer with the ids that it is given")
            answers.append(answer)
    return answers


def _object(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        what = f"not JSON: {line[:80].decode(errors='replace')!r}"
        raise PipelineError(where, what, "write one JSON object a line, logs to stderr") from error
    if not isinstance(row, dict):
        raise PipelineError(where, "a JSON object was expected", "write one JSON object a line")
    return row


class Rules:
    """A function of the user's: of a row's content to a label, (label, confidence), or None."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.function = _imported(name, root)

    @property
    def source(self) -> str:
        """The text of the module that holds it."""
        return inspect.getsource(sys.modules[self.function.__module__])

    def answer(self, example: Example, labels: list[str], digits: str) -> MachineAnswer:
        """What the rules say of a row. Raises PipelineError where they fail."""
        where = f"--rules {self.name}, row {example.id}"
        try:
            said = self.function(dict(example.content))
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise PipelineError(where, what, "repair the function") from error
        row: Row = {"id": example.id, "model": self.name, "prompt": digits}
        if isinstance(said, dict):
            row |= said
        elif isinstance(said, tuple) and len(said) == 2:
            row |= {"label": said[0], "confidence": said[1]}
        else:
            row["label"] = said
        return checked_answer(row, labels, where)


def _imported(name: str, root: Path) -> Callable[[Row], Any]:
    """The function `module:function`, from the project's root. PipelineError where it is none."""
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise PipelineError("--rules", f"{name!r}", "name it as module:function")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        what = f"{module_name} cannot be imported ({error})"
        raise PipelineError("--rules", what, f"put {module_name}.py into {root}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        what = f"{module_name} has no function {function_name!r}"
        raise PipelineError("--rules", what, "correct the name")
    chosen: Callable[[Row], Any] = function
    return chosen
