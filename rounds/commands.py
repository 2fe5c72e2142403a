"""Run git and DVC inside a project, with one-line errors and progress for a person."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from rounds.newer_params import require_params
from rounds.warm import Warm
from stages.contract.errors import PipelineError
from stages.contract.progress import MARK, WRITER, progress
from stages.contract.shell import FAULT

Say = Callable[[str], None]
LOGGED = 10.0  # seconds until a log, which is no terminal, shows more of a stage than its name
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# git's housekeeping in the background would hold a lock that the next command meets.
QUIET = ("-c", "gc.auto=0", "-c", "maintenance.auto=false")
BAR = re.compile(r"\s*\d+%.*\[[\d:]+<\d.*\]")  # DVC's own, once it knows the time left


def environment(root: Path) -> dict[str, str]:
    """This process's environment, in which `python` (in dvc.yaml) is the Python that runs now."""
    here = str(Path(sys.executable).parent)
    path = here + os.pathsep + os.environ.get("PATH", "")
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", WRITER: f"{root}:{os.getpid()}"}


def git(root: Path, *words: str) -> str:
    """What a git command prints. Raises PipelineError with git's own last line when it fails."""
    return git_bytes(root, *words).decode("utf-8", "surrogateescape")


def commit_named(root: Path, name: str, option: str) -> str:
    """The full id of the commit that a person named. Raises PipelineError where there is none."""
    try:
        return git(
            root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        ).strip()
    except PipelineError as error:
        raise PipelineError(option, f"{name!r} is no commit", "name one of `rounds log`") from error


def git_bytes(root: Path, *words: str, feed: bytes = b"") -> bytes:
    """What a git command prints when it reads `feed`, as bytes. Raises PipelineError."""
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=root,
            env=environment(root),
            input=feed,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise PipelineError("git", "not installed", "install git") from error
    if done.returncode:
        written = done.stderr.strip() or done.stdout.strip() or b"no message"
        last_line = written.decode("utf-8", "replace").splitlines()[-1]
        remedy = "repair it and run the same command again"
        command = next(word for word in words if not word.startswith("-") and "=" not in word)
        raise PipelineError(f"git {command}", last_line, remedy)
    return done.stdout


def commit_paths(root: Path, paths: Sequence[str], subject: str, body: str = "") -> None:
    """Commit some paths that git knows, and these alone: what else is staged waits for its own."""
    words = ["-m", subject, *(["-m", body] if body else [])]
    git(root, *QUIET, "commit", "--quiet", *words, "--", *paths)


def installed() -> dict[str, int]:
    """When each folder of libraries last had one added, replaced or removed."""
    return {path: Path(path).stat().st_mtime_ns for path in sys.path if Path(path).is_dir()}


class Dvc:
    """One DVC process that runs several commands in turn, because loading DVC takes so long.

    A `with` block starts it, unless it was started before, and ends it.
    """

    def __init__(self, root: Path, say: Say) -> None:
        self.root = root
        self.say = say
        self._is_started = False

    def start(self) -> None:
        """Start it, and the process that runs the stages: they load what they need meanwhile."""
        self._is_started = True
        self._as_of = installed()
        # DVC_IGNORE_ISATTY: it draws its bars into a pipe, too
        self.warm = Warm(self.root, {**environment(self.root), "DVC_IGNORE_ISATTY": "1"})
        server = Path(__file__).with_name("dvc_server.py").read_text("utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-c", server],
            cwd=self.root,
            process_group=0,
            env=self.warm.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self.warm.start(self.process.pid)

    def is_current(self) -> bool:
        """Whether it still runs, and no library was installed or removed since it was started."""
        return self.process.poll() is None and installed() == self._as_of

    def end(self) -> None:
        """End one that was started and is not needed; nothing where it does not run."""
        if self._is_started:
            self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        if not self._is_started:
            self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_started = False
        if kind is not None and not issubclass(kind, PipelineError):
            # Interrupted: the stage that runs ends with DVC.
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.communicate()
        self.warm.stop()

    def __call__(self, *words: str) -> None:
        """Run a command, passing on what each stage says.

        Raises PipelineError with the stage's own error.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        lines: list[str] = []
        code = 1
        try:
            self.process.stdin.write(json.dumps(words) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            lines.append("it ended unexpectedly")
        delay = None if sys.stderr.isatty() else LOGGED
        shown = partial(progress, root=self.root, delay=delay)
        with ExitStack() as work:
            bar = work.enter_context(shown(f"dvc {words[0]}"))
            for written in self.process.stdout:
                line = ESCAPES.sub("", written)
                if line.startswith("\0"):
                    code = int(line[1:])
                    break
                if line.startswith(MARK) or BAR.match(line):
                    bar.message = line.removeprefix(MARK).strip()
                    continue
                if line.strip():
                    bar.message = ""
                lines.append(line.rstrip())
                if line.startswith("Running stage "):
                    work.close()
                    stage = line.split("'")[1]
                    self.say(stage)
                    bar = work.enter_context(shown(stage))
        if code:
            require_params(self.root)  # DVC runs nothing without them, and says it in its own words
            raise _failure(words, lines)


def dvc(root: Path, words: Sequence[str], say: Say) -> None:
    """Run one DVC command. Raises PipelineError with the stage's own error."""
    with Dvc(root, say) as run:
        run(*words)


def cache_of(root: Path) -> str:
    """The folder of DVC's cache, which may be one that a team shares."""
    words = [sys.executable, "-m", "dvc", "cache", "dir"]
    return subprocess.run(
        words, cwd=root, env=environment(root), capture_output=True, check=True, encoding="utf-8"
    ).stdout.strip()


def _failure(words: Sequence[str], lines: list[str]) -> PipelineError:
    """The error of a failed command: the stage's own, DVC's first line about it, or the last line.

    lines: all that the command wrote.
    """
    faults = [line.removeprefix(FAULT) for line in lines if line.startswith(FAULT)]
    if faults:
        return PipelineError(**json.loads(faults[-1]))
    of_dvc = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    last = [line for line in lines if line.strip()][-1:] or ["no message"]
    command = f"dvc {' '.join(words)}"
    return PipelineError(f"dvc {words[0]}", (of_dvc or last)[0], f"run `{command}` to see it whole")


def changed_paths(root: Path) -> list[str]:
    """Every path that differs from the last commit, new files included, from the project's root."""
    listed = git(
        root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", "."
    )
    prefix = git(root, "rev-parse", "--show-prefix").strip()
    return [entry[3:].removeprefix(prefix) for entry in listed.split("\0") if entry]


def is_committed(root: Path, path: Path) -> bool:
    """Whether the last commit holds the path."""
    command = ["git", "cat-file", "-e", f"HEAD:./{path.relative_to(root).as_posix()}"]
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0


def is_as_committed(root: Path, path: Path) -> bool:
    """Whether the last commit holds the path with these very bytes."""
    command = ["git", "diff", "--quiet", "HEAD", "--", path.relative_to(root).as_posix()]
    same = subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0
    return same and is_committed(root, path)
