"""Signs of life on stderr from whatever takes longer than two seconds: a bar, or the time that has passed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def waiting(doing: str) -> Iterator[None]:
    """How long one step has taken that does not tell how far it is. Nothing where `progress` shows nothing."""
    if _shown or current_process().name != "MainProcess":
        yield
        return
    over = threading.Event()

    def tick() -> None:
        start = time.monotonic()
        if over.wait(DELAY):
            return
        while True:
            said = f"{doing}: {time.monotonic() - start:.0f} s"
            _say(f"\r{said}")
            if over.wait(_interval()):
                break
        _say(f"\r{' ' * len(said)}\r")

    thread = threading.Thread(target=tick, daemon=True)
    _shown.append(thread)
    thread.start()
    try:
        yield
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
