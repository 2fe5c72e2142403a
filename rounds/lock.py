"""One writer at a time in a project, and what is tidied up after a writer that was killed.

The lock is a file lock, which the operating system releases when its holder ends, however it ends.
The file also holds the process id of a writer that has not finished its work. The labelling page
does not take the lock, for it may be served while a round is closed; instead each of its answers is
taken in a `turn`, and so is the end of the round.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import click

from rounds.commands import git, is_committed
from rounds.dvc_files import is_whole_lock
from stages.contract.errors import PipelineError
from stages.contract.progress import WRITER

CLOSE = " close"
RUNNING = ".dvc/tmp/rwlock"  # where DVC notes who reads and writes what


@contextlib.contextmanager
def exclusive(root: Path, *, wait: bool) -> Iterator[None]:
    """Hold the project's lock; what an unfinished writer left half done is tidied up first.

    wait: queue behind whoever is at work. A close does not: it waits for short work only, and
    raises PipelineError when another close has the lock.
    """
    path = root / ".dvc" / "tmp" / "rounds.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise PipelineError(
            path, f"cannot be written ({error.strerror})", "make the project's folder writable"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not wait and path.read_text(encoding="utf-8").endswith(CLOSE):
                what = "another `rounds close` is at work here"
                raise PipelineError(path, what, "wait until it has ended") from error
            click.echo("  waiting for another command that is at work in this project …", err=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        unfinished = file.read().partition(" ")[0]
        if unfinished:
            tidy_up(root, unfinished)
        if unfinished or not wait:
            repair_dvc(root)
        file.truncate(0)
        file.write(str(os.getpid()) + ("" if wait else CLOSE))
        file.flush()
        try:
            yield
        except PipelineError:
            # Short work that was refused left nothing behind; a close may have stopped half way.
            if wait:
                file.truncate(0)
            raise
        file.truncate(0)


@contextlib.contextmanager
def turn(asked: Path, *, last: bool) -> Iterator[None]:
    """Take answers to a batch: many turns may overlap, but none overlaps with the `last` one.

    The last turn ends the round. So an answer is on the disk before the round's end begins, or it
    is refused after that. asked: the batch's frozen file.
    """
    handle = os.open(asked, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if last else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def tidy_up(root: Path, writer: str) -> None:
    """Put a project in order whose last writer, a process id, did not finish its work.

    Ends the processes that it left behind; removes the locks of git and DVC that died with them,
    whatever their date (a clock may have been set back), and half-written temporary files; brings
    back a round that was withdrawn.
    Everything else is repeatable by itself.
    """
    end_orphans(f"{root}:{writer}")
    if not at_work("git", root):
        names = ["index.lock", "HEAD.lock"]
        with contextlib.suppress(PipelineError):
            names.append(git(root, "symbolic-ref", "--quiet", "HEAD").strip() + ".lock")
        for name in names:
            lock = root / git(root, "rev-parse", "--git-path", name).strip()
            lock.unlink(missing_ok=True)
    restore_rounds(root)
    (root / RUNNING).unlink(missing_ok=True)
    for folder in ("data", "metrics", "plots"):
        for left in list((root / folder).rglob(".*.tmp")):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)


def restore_rounds(root: Path) -> None:
    """Bring back from git the folders of committed rounds that an interrupted close took away."""
    words = ("diff", "HEAD", "--name-only", "--diff-filter=D", "--relative", "-z")
    # Before the first commit git refuses, and there is nothing to bring back.
    with contextlib.suppress(PipelineError):
        gone = git(root, *words, "--", "data/rounds").split("\0")
        folders = {"/".join(path.split("/")[:3]) for path in gone if path.count("/") > 2}
        for folder in sorted(folders):
            if not (root / folder).exists():
                git(root, "checkout", "--quiet", "HEAD", "--", folder)


def half_written(root: Path) -> list[Path]:
    """What a killed DVC was writing in place, so that no DVC can read it again.

    That is its list of who reads and writes what, and a dvc.lock.
    """
    running = root / RUNNING
    locks = {"dvc.lock", *git(root, "ls-files", "--", "dvc.lock", "*/dvc.lock").splitlines()}
    broken = [root / name for name in sorted(locks) if not is_lock(root / name)]
    return broken + [running] * (running.is_file() and not is_json(running))


def repair_dvc(root: Path) -> None:
    """Restore what a killed DVC left half written.

    A dvc.lock comes from git; DVC then runs again what that does not know yet. Nothing is touched
    while a DVC is at work.
    """
    broken = half_written(root)
    if broken and not at_work("dvc", root):
        (root / RUNNING).unlink(missing_ok=True)
        for file in broken:
            file.unlink(missing_ok=True)
            if is_committed(root, file):
                git(root, "checkout", "HEAD", "--", file.relative_to(root).as_posix())


def repaired(root: Path) -> list[str]:
    """The files that a killed DVC left half written, and that are whole again now.

    For commands that only look at a project else. Raises PipelineError while a close is at work.
    """
    broken = half_written(root)
    if not broken or at_work("dvc", root):
        return []
    with exclusive(root, wait=False):
        return [
            file.relative_to(root).as_posix() for file in broken if file not in half_written(root)
        ]


def end_orphans(mark: str) -> None:
    """Kill the processes that a dead writer started, and wait until they have ended."""
    import psutil

    orphans = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(WRITER) == mark:
                process.send_signal(signal.SIGKILL)
                orphans.append(process)
    psutil.wait_procs(orphans, timeout=10)


def at_work(name: str, root: Path) -> bool:
    """Whether some git, or DVC, runs in the project's folder: then its locks are alive."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            names = [Path(word).name for word in process.cmdline()[:3]]
            if name in names and Path(process.cwd()).is_relative_to(root):
                return True
    return False


def is_json(path: Path) -> bool:
    """Whether a file is JSON."""
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def is_lock(path: Path) -> bool:
    """Whether a file is absent, or a dvc.lock that DVC can read.

    One that DVC was killed in the midst of writing is not.
    """
    return not path.is_file() or is_whole_lock(path.read_bytes())
