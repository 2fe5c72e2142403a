"""Running git and DVC inside a project, with one-line errors and progress that a person can follow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stages._errors import PipelineError

Say = Callable[[str], None]


def environment() -> dict[str, str]:
    """This process's environment with its own Python first on the PATH: `python` in dvc.yaml means this one."""
    here = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": here + os.pathsep + os.environ.get("PATH", ""), "DVC_NO_ANALYTICS": "1"}


def git(root: Path, *words: str) -> str:
    """What a git command prints. Raises PipelineError with git's own last line when it fails."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PipelineError("git", "not installed", "install git") from error
    if done.returncode:
        told = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise PipelineError(f"git {words[0]}", told, "repair it and run the same command again")
    return done.stdout


def dvc(root: Path, words: Sequence[str], say: Say) -> None:
    """Run a DVC command, passing on what each stage says. Raises PipelineError with the stage's own error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *words],
        cwd=root, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    assert process.stdout is not None
    told: list[str] = []
    try:
        for line in process.stdout:
            told.append(line.rstrip())
            if line.startswith("Running stage "):
                say(line.split("'")[1])
    except KeyboardInterrupt:
        process.wait()
        raise
    if process.wait():
        ours = [line for line in told if line.startswith("error: ")]
        if ours:
            raise PipelineError(*_parts(ours[-1].removeprefix("error: ")))
        theirs = [line for line in told if line.startswith("ERROR: ")] or told or ["no message"]
        raise PipelineError(f"dvc {words[0]}", theirs[0].removeprefix("ERROR: "), "run `dvc repro` to see it whole")


def _parts(line: str) -> tuple[str, str, str]:
    """A PipelineError's line, taken apart again."""
    where, _, rest = line.partition(": ")
    what, _, remedy = rest.rpartition("; ")
    return (where, what, remedy) if what else ("dvc repro", line, "repair it and run the same command again")


def changed_paths(root: Path) -> list[str]:
    """Every path that differs from the last commit, new files included, relative to the project's root."""
    listed = git(root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", ".")
    prefix = git(root, "rev-parse", "--show-prefix").strip()
    return [entry[3:].removeprefix(prefix) for entry in listed.split("\0") if entry]


def is_committed(root: Path, path: Path) -> bool:
    """Whether the last commit holds the path."""
    name = "./" + path.relative_to(root).as_posix()
    asked = ["git", "cat-file", "-e", f"HEAD:{name}"]
    return subprocess.run(asked, cwd=root, capture_output=True, check=False).returncode == 0
