"""Signs of life on stderr from whatever takes longer than two seconds: a bar, or the time that has passed.

What cannot tell how far it is (another library's strategy, a model of the user's own) is told the
time left as of the last time, which is kept where DVC keeps what is of this machine only.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import current_process
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
DELAY = 2.0  # seconds before the first sign
BLOCK = 16_384  # rows taken at a time
MEMORY = Path(".dvc/tmp")  # of a project; where there is none, nothing is kept
WRITER = "LABELROUNDS_WRITER"  # set by a `rounds` command for all that it starts, whose signs of life it passes on
MARK = "\1"  # how it knows them
WIPE = "\r\033[K"  # takes back what stands in a terminal's line


@dataclass(eq=False)
class Told:
    """How far a piece of work is, as far as it tells: `done` of `total` steps, or of fewer (`at_most`).

    since: when it began; said: what somebody else says of it, which is passed on.
    """

    doing: str = ""
    total: int = 0
    unit: str = "step"
    done: int = 0
    at_most: bool = False
    since: float = 0.0
    said: str = ""

    def update(self, steps: int = 1) -> None:
        """So many more steps are done."""
        self.done += steps

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """The items; each is a step, done when the next one is asked for."""
        for item in items:
            yield item
            self.update()


_open: list[Told] = []  # the work under way, the outermost first


@contextmanager
def progress(
    doing: str,
    total: int = 0,
    unit: str = "step",
    project: Path = Path(),
    delay: float | None = None,
) -> Iterator[Told]:
    """Says how far work is: a bar with rate and time left once a step of known many is done, till then the time passed.

    Of work within other work the outermost speaks of which a step is done. Nothing in a worker
    process. project: where the time that it takes is kept; delay: seconds before the first sign,
    DELAY if not given.
    """
    told = Told(doing, total, unit, since=time.monotonic())
    outermost = not _open
    _open.append(told)
    try:
        if outermost and current_process().name == "MainProcess":
            with _voice(told, project / MEMORY, DELAY if delay is None else delay):
                yield told
        else:
            yield told
    finally:
        _open.remove(told)


@contextmanager
def _voice(told: Told, memory: Path, delay: float) -> Iterator[None]:
    """A thread that says once a while what is to be said."""
    over = threading.Event()
    kept = memory / f"took-{re.sub(r'[^a-z]+', '-', told.doing)}"
    before = _last(kept)

    def speak() -> None:
        if over.wait(delay):
            return
        while True:
            _say(
                _line(
                    next((work for work in tuple(_open) if work.total and work.done), told), before
                )
            )
            if over.wait(_interval()):
                break
        _say("")

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    passed = time.monotonic() - told.since
    if not told.total and passed > DELAY:
        with suppress(OSError):
            kept.write_text(f"{passed:.1f}\n", "ascii")


def _line(work: Told, before: float) -> str:
    """What is said of some work; before: the seconds that it took the last time, 0 if not known."""
    from tqdm import tqdm

    passed = time.monotonic() - work.since
    name = f"{work.doing}, at most" if work.at_most else work.doing
    if work.said:
        return work.said
    if work.total and work.done:
        return str(tqdm.format_meter(work.done, work.total, passed, prefix=name, unit=work.unit))
    left = tqdm.format_interval(before - passed) if before > passed else ""
    return f"{work.doing}: {passed:.0f} s{left and f', {left} left as of the last time'}"


def _last(kept: Path) -> float:
    """The seconds that something took here the last time; 0 if that is not known."""
    with suppress(OSError, ValueError):
        return float(kept.read_text("ascii"))
    return 0.0


def watched(doing: str, items: Sequence[T], unit: str) -> Iterator[T]:
    """The items, with a bar of how many were taken."""
    return counted(doing, items, len(items), unit)


def counted(doing: str, items: Iterable[T], total: int, unit: str) -> Iterator[T]:
    """The items, of which there are `total`, with a bar of how many were taken."""
    with progress(doing, total, unit) as told:
        yield from told.each(items)


def blocks(doing: str, rows: int) -> Iterator[slice]:
    """Slices of BLOCK rows, one of none where there are none, with a bar of how many rows are done."""
    with progress(doing, rows, "row") as told:
        for start in range(0, max(rows, 1), BLOCK):
            yield slice(start, min(start + BLOCK, rows))
            told.update(min(BLOCK, rows - start))


def _interval() -> float:
    """Seconds between two signs of life; a log gets fewer."""
    return 1 if WRITER in os.environ or sys.stderr.isatty() else 10


def _say(line: str) -> None:
    """Write a line to a `rounds` command, in place on a terminal, or to a log; an empty one means no more."""
    if WRITER in os.environ:
        written = f"{MARK}{line}\n"
    elif sys.stderr.isatty():
        written = WIPE + line
    else:
        written = f"{line}\n" if line else ""
    sys.stderr.write(written)
    sys.stderr.flush()
