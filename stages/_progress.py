"""Signs of life on stderr from whatever takes longer than two seconds: a bar, or the time that has passed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import current_process
from typing import TypeVar

T = TypeVar("T")
DELAY = 2.0  # seconds before the first sign
_shown: list[threading.Thread] = []  # those that speak now: only the outermost does


@dataclass
class Told:
    """How far a piece of work is, as far as it tells: `done` of `total` steps, or of fewer (`at_most`)."""

    total: int = 0
    done: int = 0
    at_most: bool = False

    def update(self, steps: int = 1) -> None:
        """So many more steps are done."""
        self.done += steps

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """The items; each is a step, done when the next one is asked for."""
        for item in items:
            yield item
            self.update()


@contextmanager
def progress(doing: str, total: int = 0, unit: str = "step") -> Iterator[Told]:
    """Says how far work is: a bar with rate and time left once a step of known many is done, till then the time passed.

    Nothing inside another one, or in a worker process.
    """
    from tqdm import tqdm

    told = Told(total)
    if _shown or current_process().name != "MainProcess":
        yield told
        return
    over = threading.Event()

    def speak() -> None:
        start = time.monotonic()
        if over.wait(DELAY):
            return
        while True:
            passed = time.monotonic() - start
            said = f"{doing}: {passed:.0f} s"
            if told.done and told.total:
                name = f"{doing}, at most" if told.at_most else doing
                said = tqdm.format_meter(told.done, told.total, passed, prefix=name, unit=unit)
            _say(f"\r{said}")
            if over.wait(_interval()):
                break
        _say(f"\r{' ' * len(said)}\r")

    thread = threading.Thread(target=speak, daemon=True)
    _shown.append(thread)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()
        _shown.remove(thread)


def watched(doing: str, items: Sequence[T], unit: str) -> Iterator[T]:
    """The items, with a bar of how many were taken."""
    return counted(doing, items, len(items), unit)


def counted(doing: str, items: Iterable[T], total: int, unit: str) -> Iterator[T]:
    """The items, of which there are `total`, with a bar of how many were taken."""
    with progress(doing, total, unit) as told:
        yield from told.each(items)


def _interval() -> float:
    """Seconds between two signs of life."""
    return 1 if sys.stderr.isatty() else 10


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
