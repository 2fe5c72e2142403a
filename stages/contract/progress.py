"""Progress on stderr of what takes longer than two seconds: tqdm's bar, or the time passed.

Work that cannot count its steps (a strategy of another library, a model of the user's own) shows
the time left as of the last time, which is kept in DVC's folder of temporary files.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import current_process
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
DELAY = 2.0  # seconds before the first line
EVERY = 1.0  # seconds between two lines; ten times as many in a log
BLOCK = 16_384  # rows taken at a time
MEMORY = Path(".dvc/tmp")  # of a project, where the time that work takes is kept
WRITER = "LABELROUNDS_WRITER"  # set by a `rounds` command for the stages that it starts
MARK = "\1"  # with it a stage begins a line of progress for the `rounds` command to show
WIPE = "\r\033[K"  # empties a terminal's line


@dataclass(eq=False)
class Progress:
    """How far some work is: `done` of `total` steps (0: not known), or of fewer (`at_most`).

    message: a line of another program, to be shown instead.
    """

    doing: str = ""
    total: int = 0
    unit: str = "step"
    done: int = 0
    at_most: bool = False
    message: str = ""
    start: float = 0.0

    def update(self, steps: int = 1) -> None:
        """Count some more steps as done."""
        self.done += steps

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """The items; each is a step, done when the next one is asked for."""
        for item in items:
            yield item
            self.update()

    def line(self, previous: float) -> str:
        """What is shown. previous: the seconds that the work took the last time, 0 if not known."""
        from tqdm import tqdm

        if self.message:
            return self.message
        seconds = time.monotonic() - self.start
        if self.total and self.done:
            name = f"{self.doing}, at most" if self.at_most else self.doing
            meter = tqdm.format_meter(self.done, self.total, seconds, prefix=name, unit=self.unit)
            return str(meter)
        line = f"{self.doing}: {seconds:.0f} s"
        if previous > seconds:
            line += f", {tqdm.format_interval(previous - seconds)} left as of the last time"
        return line


_under_way: list[Progress] = []  # the outermost first


@contextmanager
def progress(
    doing: str, total: int = 0, unit: str = "step", root: Path = Path(), delay: float | None = None
) -> Iterator[Progress]:
    """Shows how far work is: a bar once a step is done, until then the time.

    Of work within other work the outermost is shown of which a step is done; a worker process shows
    nothing. root: of the project, where the time is kept; delay: seconds until the first line.
    """
    work = Progress(doing, total, unit, start=time.monotonic())
    shows = not _under_way and current_process().name == "MainProcess"
    _under_way.append(work)
    try:
        with _shown(work, root / MEMORY, delay) if shows else nullcontext():
            yield work
    finally:
        _under_way.remove(work)


@contextmanager
def _shown(outermost: Progress, memory: Path, delay: float | None) -> Iterator[None]:
    """Shows, from a thread, how far the work is; keeps the time of work that could not count."""
    over = threading.Event()
    path = memory / f"took-{re.sub(r'[^a-z]+', '-', outermost.doing)}"
    previous = 0.0
    with suppress(OSError, ValueError):
        previous = float(path.read_text("ascii"))

    def show() -> None:
        in_place = WRITER in os.environ or sys.stderr.isatty()
        stopped = over.wait(DELAY if delay is None else delay)
        while not stopped:
            counting = (work for work in tuple(_under_way) if work.total and work.done)
            _say(next(counting, outermost).line(previous))
            if stopped := over.wait(EVERY if in_place else 10 * EVERY):
                _say("")

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    seconds = time.monotonic() - outermost.start
    if not outermost.total and seconds > DELAY:
        with suppress(OSError):
            path.write_text(f"{seconds:.1f}\n", "ascii")


def watched(doing: str, items: Iterable[T], unit: str, total: int = 0) -> Iterator[T]:
    """The items, with a bar of how many were taken. total: how many an iterator will give."""
    with progress(doing, len(items) if isinstance(items, Sized) else total, unit) as bar:
        yield from bar.each(items)


def blocks(doing: str, rows: int) -> Iterator[slice]:
    """Slices of BLOCK rows, with a bar of how many rows are done; one empty slice for no rows."""
    with progress(doing, rows, "row") as bar:
        for start in range(0, max(rows, 1), BLOCK):
            yield slice(start, min(start + BLOCK, rows))
            bar.update(min(BLOCK, rows - start))


def _say(line: str) -> None:
    """Write a line to a `rounds` command, in place on a terminal, or to a log; empty: no more."""
    if WRITER in os.environ:
        written = f"{MARK}{line}\n"
    elif sys.stderr.isatty():
        written = WIPE + line
    else:
        written = f"{line}\n" if line else ""
    sys.stderr.write(written)
    sys.stderr.flush()
