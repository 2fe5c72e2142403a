"""Signs of life on stderr from whatever takes longer than two seconds: a bar, or the time that has passed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import current_process
from typing import Any, TypeVar

T = TypeVar("T")
DELAY = 2.0  # seconds before the first sign
_shown: list[Any] = []  # the bars that run now: only the outermost speaks


@contextmanager
def progress(doing: str, total: int, unit: str) -> Iterator[Any]:
    """A bar with rate and time left, to be told `update`. Nothing inside another one, or in a worker process."""
    from tqdm import tqdm

    hidden = bool(_shown) or current_process().name != "MainProcess"
    with tqdm(
        desc=doing, total=total, unit=unit, delay=DELAY, mininterval=_interval(), leave=False, disable=hidden
    ) as bar:
        _shown.append(bar)
        try:
            yield bar
        finally:
            _shown.remove(bar)


def watched(doing: str, items: Sequence[T], unit: str) -> Iterator[T]:
    """The items, with a bar of how many were taken."""
    return counted(doing, items, len(items), unit)


def counted(doing: str, items: Iterable[T], total: int, unit: str) -> Iterator[T]:
    """The items, of which there are `total`, with a bar of how many were taken."""
    with progress(doing, total, unit) as bar:
        for item in items:
            yield item
            bar.update()


@dataclass
class Told:
    """How far one step is, as far as it tells: `done` of `total` smaller ones, or of fewer (`at_most`)."""

    done: int = 0
    total: int = 0
    at_most: bool = False


@contextmanager
def waiting(doing: str) -> Iterator[Told]:
    """How far one step is, for it to tell; until it does, how long it has taken. Silent where `progress` is."""
    from tqdm import tqdm

    told = Told()
    if _shown or current_process().name != "MainProcess":
        yield told
        return
    over = threading.Event()

    def tick() -> None:
        start = time.monotonic()
        if over.wait(DELAY):
            return
        while True:
            passed = time.monotonic() - start
            said = f"{doing}: {passed:.0f} s"
            if told.done and told.total:
                name = f"{doing}, at most" if told.at_most else doing
                said = tqdm.format_meter(told.done, told.total, passed, prefix=name, unit="step")
            _say(f"\r{said}")
            if over.wait(_interval()):
                break
        _say(f"\r{' ' * len(said)}\r")

    thread = threading.Thread(target=tick, daemon=True)
    _shown.append(thread)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()
        _shown.remove(thread)


def _interval() -> float:
    """Seconds between two signs of life."""
    return 1 if sys.stderr.isatty() else 10


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
