"""No two near duplicates in a batch, and none of something labelled: a guard around any strategy.

What a near duplicate is stands in stages/store/near.py. The guard errs on the safe side of
rounding: rows that single precision cannot tell apart are near duplicates always, so that what it
lets pass is none for the gate's checks either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from stages.contract.arrays import Ints, Mask
from stages.contract.distances import squared_distances, squared_distances_to, squared_norms
from stages.store.near import COPY, SAMPLE, reach
from stages.strategies import Candidates, Rank, Ranking
from stages.strategies._geometry import Points, nearest

MOST = 4_096  # picks that a strategy is asked for at a time: several take memory with their square


# Whether the features of each of some candidates are alike to those of one other row: a candidate,
# or (numbered after all candidates) a labelled row.
Agree = Callable[[Ints, int], Mask]


@dataclass(frozen=True)
class PassedOver:
    """A candidate that is not asked because it nearly repeats another row.

    like: the id of that row of the batch, empty for a labelled row.
    """

    position: int
    like: str
    similarity: float


def rounding(norms: Points, dims: int) -> Points:
    """(n,) the squared distance that single precision may find between two equal rows.

    norms: (n,) squared lengths of the rows.
    """
    return np.asarray((2 + np.sqrt(dims)) * np.finfo(np.float32).eps * norms)


def _always(rows: Ints, _twin: int) -> Mask:
    return np.ones(len(rows), np.bool_)


def guarded(
    rank: Rank,
    candidates: Candidates,
    count: int,
    threshold: float,
    agree: Agree = _always,
    sample: Points | None = None,
) -> tuple[Ranking, list[PassedOver]]:
    """The ranking of `rank` without near duplicates of each other or of labelled rows.

    The second result is what was passed over. A pick that is too like a labelled row or an earlier
    pick is passed over, with all candidates that are as near to that row, and the strategy is asked
    again for what is missing, what was kept counting as labelled (of no known class: -1). So it
    works for any strategy, and costs O(n d) for every row that turned out to have duplicates. The
    batch is shorter than `count` only where nothing else is left. A threshold above 1 turns the
    guard off. agree: whether rows that are close in the geometry are alike in the features too;
    sample: geometry of a uniform sample of the pool, by default of the candidates.
    """
    guard = _Guard(candidates, _limits(candidates, threshold, sample), agree)
    first = Ranking(np.empty(0, np.intp), np.empty(0), [], "nothing to ask")
    while len(guard.kept) < count and guard.free.any():
        rows = np.flatnonzero(guard.free)
        remaining = _remaining(candidates, rows, guard.kept)
        ranking = rank(remaining, min(MOST, count - len(guard.kept)))
        if not guard.kept:
            first = ranking
        guard.take(ranking, rows)
    positions = np.array(guard.kept, np.intp)
    scores = np.array(guard.scores)
    return replace(first, positions=positions, scores=scores, reasons=guard.reasons), guard.passed


def _limits(candidates: Candidates, threshold: float, sample: Points | None) -> Points:
    """(n,) the squared distance within which another row nearly repeats each one; -1 for none."""
    norms = squared_norms(candidates.geometry)
    if threshold > 1:
        return np.full(len(norms), -1.0, np.float32)
    if sample is None:
        sample = candidates.geometry[np.argsort(candidates.keys, kind="stable")[:SAMPLE]]
    limit = max(reach(sample, threshold), COPY)
    return np.asarray(limit + rounding(norms, candidates.geometry.shape[1]))


class _Guard:
    """What was kept of a strategy's picks so far, and what was passed over."""

    def __init__(self, candidates: Candidates, limits: Points, agree: Agree) -> None:
        self.candidates = candidates
        self.limits = limits
        self.agree = agree
        self.norms = squared_norms(candidates.geometry)
        self.free: Mask = np.ones(len(candidates), np.bool_)
        self.kept: list[int] = []
        self.scores: list[float] = []
        self.reasons: list[str] = []
        self.passed: list[PassedOver] = []

    def take(self, ranking: Ranking, rows: Ints) -> None:
        """Keep the picks of a ranking, positions into `rows`, that nearly repeat nothing."""
        geometry = self.candidates.geometry
        picks = rows[ranking.positions]
        _, to_labelled = nearest(geometry[picks], self.candidates.labelled)
        for number, row in enumerate(picks):
            if not self.free[row]:
                continue  # passed over with a duplicate of an earlier pick
            _, to_kept = nearest(geometry[[row]], geometry[self.kept])
            if min(to_labelled[number], to_kept[0]) <= self.limits[row]:
                twin = self._twin_of(row)
                if twin is not None:
                    self._pass_over(row, twin)
            if self.free[row]:
                self.kept.append(int(row))
                self.scores.append(float(ranking.scores[number]))
                self.reasons.append(ranking.reasons[number])
                self.free[row] = False

    def _twin_of(self, row: int) -> int | None:
        """The nearest of the kept and the labelled rows that a candidate nearly repeats, or None.

        All within the limit are asked, not the nearest alone: its features may differ where
        another's agree. A labelled row is numbered after all candidates.
        """
        geometry = self.candidates.geometry
        labelled = self.candidates.labelled
        n = len(self.candidates)
        others = np.concatenate([geometry[self.kept], labelled])
        numbers = [*self.kept, *range(n, n + len(labelled))]
        distance = squared_distances(geometry[[row]], others)[0]
        close = np.flatnonzero(distance <= self.limits[row])
        for index in close[np.argsort(distance[close], kind="stable")]:
            if self.agree(np.array([row], np.intp), numbers[index])[0]:
                return int(numbers[index])
        return None

    def _pass_over(self, row: int, twin: int) -> None:
        """Pass over a candidate that repeats its twin, with all free ones as near to the twin."""
        candidates = self.candidates
        in_batch = twin < len(candidates)
        if in_batch:
            point = candidates.geometry[twin]
        else:
            point = candidates.labelled[twin - len(candidates)]
        distance = squared_distances_to(point, point @ point, candidates.geometry, self.norms)
        close = self.free & (distance <= self.limits[row])
        close[row] = True
        repeats = np.flatnonzero(close)
        repeats = repeats[self.agree(repeats, twin)]
        like = candidates.ids[twin] if in_batch else ""
        for repeat in repeats:
            similarity = float(1 - distance[repeat] / 2)
            self.passed.append(PassedOver(int(repeat), like, similarity))
        self.free[repeats] = False


def _remaining(candidates: Candidates, rows: Ints, kept: list[int]) -> Candidates:
    """The candidates at `rows`, the kept ones counting as labelled, of no known class."""
    if len(rows) == len(candidates):
        return candidates
    k = len(candidates.class_weights)
    unknown_class = np.full(len(kept), -1, np.intp)
    held_out = candidates.held_out
    if held_out is not None:
        held_out = np.concatenate([held_out, np.full((len(kept), k), 1 / max(k, 1))])
    return replace(
        candidates.at(rows),
        labelled=np.concatenate([candidates.labelled, candidates.geometry[kept]]),
        labelled_class=np.concatenate([candidates.labelled_class, unknown_class]),
        held_out=held_out,
    )
