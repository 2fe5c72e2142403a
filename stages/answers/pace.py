"""How long answers take people, from the times that answers carry."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from stages.answers.ledger import Event

PAUSE = 300.0  # seconds between two answers after which a person was away


def is_work(gap: float) -> bool:
    """Whether the seconds between two answers of one person are the time that the second took."""
    return 0 < gap <= PAUSE


def seconds_per_id(events: Iterable[Event]) -> dict[str, float]:
    """Seconds of people's time that each id took: the gaps between one person's answers in a round.

    A pause, or no gap to measure (the first answer of a person in a round), counts as the median
    gap. Empty without times.
    """
    sessions: dict[tuple[int, str], list[tuple[float, str]]] = {}
    for row in events:
        if row["at"] is not None:
            session = sessions.setdefault((row["round"], row["annotator"] or ""), [])
            session.append((float(row["at"]), row["id"]))
    took: list[tuple[str, float | None]] = []
    for answers in sessions.values():
        before: float | None = None
        for at, item in sorted(answers):
            gap = None if before is None else at - before
            took.append((item, gap if gap is not None and is_work(gap) else None))
            before = at
    measured = [gap for _, gap in took if gap is not None]
    if not measured:
        return {}
    usual = float(np.median(measured))
    seconds: dict[str, float] = {}
    for item, gap in took:
        seconds[item] = seconds.get(item, 0.0) + (usual if gap is None else gap)
    return seconds
