"""A list of words in a sentence, cut where it grows too long."""

from __future__ import annotations

from collections.abc import Iterable


def listed(words: Iterable[str], most: int) -> str:
    """The words with commas, at most so many: `a, b, c and 2 more`."""
    every = list(words)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
