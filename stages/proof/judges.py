"""Judge rows: where the models of the two arms disagree, and what people say there.

Where both arms' models say the same, the gap between them is zero, whatever the truth is. So all
that is not known of the gap is in the rows on which they disagree. A few of these are drawn with a
known probability and answered blind, and nobody learns from them.

Which rows are drawn is decided by random numbers of their own (`lots`), which neither arm ever
looks at, and which never change: a row is drawn as soon as its lot, divided by how much the models
disagree on it, is among the smallest. So the judged rows at the front of that order are a draw of
known probability for the models of any round, whatever was drawn for those of earlier rounds.
Source: Ohlsson, "Sequential Poisson sampling" (1998); Duffield, Lund, Thorup, "Priority sampling
for estimation of arbitrary subset sums" (2007).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from stages.contract.arrays import Floats, Ints
from stages.contract.identity import order_keys

OWN_LOTS = 7_919  # added to the project's seed: these lots are not the control arm's permutation
LARGEST_KEY = 2.0**64


def lots(seed: int, ids: Collection[str]) -> Floats:
    """(n,) a uniform random number in (0, 1) for each id, always the same."""
    return (order_keys(seed + OWN_LOTS, ids).astype(np.float64) + 0.5) / LARGEST_KEY


@dataclass(frozen=True)
class Front:
    """The rows that judge some models: a draw of known probability.

    order: places of all rows on which the models disagree, in the order of their draw; count: how
    many at its front were asked; threshold: the priority of the first that was not, infinite when
    all were.
    """

    order: Ints
    count: int
    threshold: float

    @property
    def places(self) -> Ints:
        """(count,) the places of the rows that judge."""
        return self.order[: self.count]


def front(ids: list[str], disagreement: Floats, asked: Collection[str], seed: int) -> Front:
    """The front of the draw: all rows before the first that nobody was asked.

    ids: of n rows; disagreement: (n,) in [0, 1] how far the models disagree on them.
    """
    apart = np.flatnonzero(disagreement > 0)
    priority = lots(seed, [ids[place] for place in apart]) / disagreement[apart]
    ranked = np.argsort(priority, kind="stable")
    order = apart[ranked]
    for count, place in enumerate(order):
        if ids[place] not in asked:
            return Front(order, count, float(priority[ranked[count]]))
    return Front(order, len(order), float("inf"))


def total(values: Floats, sizes: Floats, threshold: float) -> tuple[float, float]:
    """The sum of a value over all rows that might be drawn, and its variance, from those drawn.

    values, sizes: (k,) of the drawn rows, the value and how far the models disagree; |value| is of
    the order of the size. A row is drawn with probability min(1, size * threshold). Both are
    unbiased over draws. Source: Duffield, Lund, Thorup (2007).
    """
    weight = 1 / np.minimum(1, sizes * threshold)
    # Two rows more, that say as much as is possible for either arm, stand for what few rows hide.
    spread = np.sum(values**2 * weight * (weight - 1))
    if len(values) and np.isfinite(threshold):
        rest = (weight * (weight - 1) * sizes**2).mean()
        spread += 2 * rest / (len(values) + 2)
    return float(np.sum(values * weight)), float(spread)


def next_drawn(
    ids: list[str], disagreement: Floats, asked: Collection[str], seed: int, most: int
) -> dict[str, float]:
    """The rows to ask next so that they judge, at most so many, with the probability of their draw.

    Rows that were asked before judge too, and are passed over. The parameters are those of `front`.
    """
    order = front(ids, disagreement, (), seed).order
    wanted = [place for place in order if ids[place] not in asked][: most + 1]
    drawn = {ids[place] for place in wanted[:most]}
    after = front(ids, disagreement, {*asked, *drawn}, seed)
    return {
        ids[place]: round(min(1.0, float(disagreement[place]) * after.threshold), 9)
        for place in wanted[:most]
    }
