"""Where to begin when there is no label yet: typical rows of each class that a machine sees.

No label of the machine is believed: people label the rows blind, and the reason in the batch names
no class. The machine only says where to look, so that rare classes are found with few labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stages.contract.arrays import Ints
from stages.strategies import Candidates, Ranking
from stages.strategies.diversity import typiclust

REGIME = "typical of a machine's classes"


def shares_of(sizes: Ints, count: int) -> Ints:
    """How many of `count` picks each group gives: as evenly as their sizes allow.

    sizes: (groups,), the largest first. Where not all can give one more, the largest do.
    """
    shares = np.zeros(len(sizes), dtype=np.intp)
    while shares.sum() < min(count, sizes.sum()):
        open_groups = np.flatnonzero(shares < sizes)
        shares[open_groups[: count - shares.sum()]] += 1
    return shares


def typical_by_class(candidates: Candidates, count: int, said: Mapping[str, str]) -> Ranking:
    """Typical rows of each class that a machine sees among the candidates, class by class in turn.

    said: the machine's class by id; rows without one are a group of their own. Within a class the
    picks are those of TypiClust. Source: Hacohen, Dekel, Weinshall, "Active learning on a budget:
    opposite strategies suit high and low budgets" (2022).
    """
    classes = np.array([said.get(item, "") for item in candidates.ids])
    names, sizes = np.unique(classes, return_counts=True)
    order = np.lexsort((names, -sizes))
    shares = shares_of(sizes[order], count)
    turns: list[tuple[int, int, int, float]] = []
    for name, share in zip(names[order], shares.tolist(), strict=True):
        if share:
            rows = np.flatnonzero(classes == name)
            picks = typiclust(candidates.at(rows), share)
            scores = picks.scores.tolist()
            turns += [
                (turn, len(turns), int(rows[position]), score)
                for turn, (position, score) in enumerate(zip(picks.positions, scores, strict=True))
            ]
    turns.sort()
    return Ranking(
        np.array([row for *_, row, _ in turns], dtype=np.intp),
        np.array([score for *_, score in turns]),
        [REGIME] * len(turns),
        REGIME,
    )
