"""No two near duplicates in a batch, and none of something labelled: a guard around any strategy.

What a near duplicate is stands in stages/store/near.py. The guard errs on the safe side of
rounding: rows that single precision cannot tell apart are near duplicates always, so that what it
lets pass is none for the gate's checks either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stages.store.near import COPY, SAMPLE, reach
from stages.strategies import Candidates, Rank, Ranking
from stages.strategies._geometry import Points, nearest, squared_distances, squared_norms

MOST = 4_096  # picks that a strategy is asked for at a time: several take memory with their square


# Positions of candidates, and another one's (or their number + that of a labelled row) -> whether
# each is alike to it.
Agree = Callable[[NDArray[np.intp], int], NDArray[np.bool_]]


@dataclass(frozen=True)
class PassedOver:
    """A candidate that will not be asked.

    Its position, what it is too like (the id of a row of the batch, or empty for a labelled row),
    their similarity.
    """

    position: int
    like: str
    similarity: float


def rounding(norms: Points, dims: int) -> Points:
    """(n,) the squared distance that single precision may find between two equal rows; norms: (n,) squared lengths."""
    return np.asarray((2 + np.sqrt(dims)) * np.finfo(np.float32).eps * norms)


def _always(rows: NDArray[np.intp], _twin: int) -> NDArray[np.bool_]:
    return np.ones(len(rows), np.bool_)


def guarded(
    rank: Rank,
    candidates: Candidates,
    count: int,
    threshold: float,
    agree: Agree = _always,
    sample: Points | None = None,
) -> tuple[Ranking, list[PassedOver]]:
    """The ranking of `rank` without near duplicates of each other or of labelled rows, and what was passed over.

    A pick that is too like a labelled row or an earlier pick is passed over, with all candidates
    that are as near to that row, and the strategy is asked again for what is missing, what was kept
    counting as labelled (of no known class: -1). So it works for any strategy, and costs O(n d) for
    every row that turned out to have duplicates. The batch is shorter than `count` only where
    nothing else is left. A threshold above 1 turns it off. agree: whether what is close in the
    geometry is alike in the features too; sample: geometry of a uniform sample of the pool, by
    default of the candidates.
    """
    norms = squared_norms(candidates.geometry)
    limits = np.full(len(norms), -1.0)
    if threshold <= 1:
        if sample is None:
            sample = candidates.geometry[np.argsort(candidates.keys, kind="stable")[:SAMPLE]]
        limits = max(reach(sample, threshold), COPY) + rounding(norms, candidates.geometry.shape[1])
    free = np.ones(len(candidates), bool)
    kept: list[int] = []
    scores: list[float] = []
    reasons: list[str] = []
    passed: list[PassedOver] = []
    first = Ranking(np.empty(0, np.intp), np.empty(0), [], "nothing to ask")
    while len(kept) < count and free.any():
        rows = np.flatnonzero(free)
        ranking = rank(_remaining(candidates, rows, kept), min(MOST, count - len(kept)))
        first = first if kept else ranking
        picks = rows[ranking.positions]
        _, gaps = nearest(candidates.geometry[picks], candidates.labelled)
        for place, row in enumerate(picks):
            if not free[row]:
                continue  # gone with a duplicate of an earlier pick
            gap = nearest(candidates.geometry[[row]], candidates.geometry[kept])[1][0]
            if min(gaps[place], gap) <= limits[row]:
                twin = _twin_of(row, candidates, kept, limits[row], agree)
                if twin is not None:
                    gone = _gone_with(row, twin, candidates, norms, limits[row], free, agree)
                    passed += gone
                    free[[one.position for one in gone]] = False
            if free[row]:
                kept.append(int(row))
                scores.append(float(ranking.scores[place]))
                reasons.append(ranking.reasons[place])
                free[row] = False
    return replace(
        first, positions=np.array(kept, np.intp), scores=np.array(scores), reasons=reasons
    ), passed


def _twin_of(
    row: int, candidates: Candidates, kept: list[int], limit: float, agree: Agree
) -> int | None:
    """The nearest row, of the kept and the labelled ones, that a candidate is a near duplicate of, as `Agree` has it.

    All within the limit are asked, not the nearest alone: its features may differ where another's
    agree.
    """
    point = candidates.geometry[[row]]
    others = np.concatenate([candidates.geometry[kept], candidates.labelled])
    names = [*kept, *range(len(candidates), len(candidates) + len(candidates.labelled))]
    distance = squared_distances(point, others)[0]
    close = np.flatnonzero(distance <= limit)
    for at in close[np.argsort(distance[close], kind="stable")]:
        if agree(np.array([row], np.intp), names[at])[0]:
            return int(names[at])
    return None


def _gone_with(
    row: int, twin: int, candidates: Candidates, norms: Points, limit: float,
    free: NDArray[np.bool_], agree: Agree,
) -> list[PassedOver]:  # fmt: skip
    """A candidate that is too like its twin, with all free ones that are as near to that."""
    in_batch = twin < len(candidates)
    point = candidates.geometry[twin] if in_batch else candidates.labelled[twin - len(candidates)]
    like = candidates.ids[twin] if in_batch else ""
    distance = np.maximum(norms + point @ point - 2 * (candidates.geometry @ point), 0)
    close = free & (distance <= limit)
    close[row] = True
    gone = np.flatnonzero(close)
    gone = gone[agree(gone, twin)]
    return [PassedOver(int(one), like, float(1 - distance[one] / 2)) for one in gone]


def _remaining(candidates: Candidates, rows: NDArray[np.intp], kept: list[int]) -> Candidates:
    """The candidates at `rows`, the kept ones counting as labelled."""
    if len(rows) == len(candidates):
        return candidates
    probabilities, committee, held_out = (
        candidates.probabilities,
        candidates.committee,
        candidates.held_out,
    )
    k = len(candidates.class_weights)
    return replace(
        candidates,
        ids=[candidates.ids[row] for row in rows],
        keys=candidates.keys[rows],
        geometry=candidates.geometry[rows],
        labelled=np.concatenate([candidates.labelled, candidates.geometry[kept]]),
        labelled_class=np.concatenate([candidates.labelled_class, np.full(len(kept), -1, np.intp)]),
        held_out=None
        if held_out is None
        else np.concatenate([held_out, np.full((len(kept), k), 1 / max(k, 1))]),
        probabilities=None if probabilities is None else probabilities[rows],
        committee=None if committee is None else committee[:, rows],
        stands_for=None if candidates.stands_for is None else candidates.stands_for[rows],
    )
