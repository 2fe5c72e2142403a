"""Strategies that score row by row: the order of any score, and random sampling."""

from __future__ import annotations

import numpy as np

from stages.contract.arrays import Floats
from stages.contract.identity import best_first
from stages.strategies import Candidates, Ranking


def least_confidence_of(probabilities: Floats) -> Floats:
    """Uncertainty in [0, 1 - 1/k]: one minus the likeliest class's probability. (n, k) -> (n,).

    Source: Lewis, Catlett, "Heterogeneous uncertainty sampling for supervised learning" (1994).
    """
    return np.asarray(1 - probabilities.max(axis=1))


def by_score(
    candidates: Candidates, scores: Floats, count: int, regime: str, reason: str
) -> Ranking:
    """The rows of the highest score times class importance, best first; ties by smaller key.

    reason: a format string of the row's own `score`, before class weights.
    """
    weighted = scores * candidates.importance()
    positions = best_first(weighted, candidates.keys, count)
    reasons = [reason.format(score=scores[row]) + candidates.weight_note(row) for row in positions]
    return Ranking(positions, weighted[positions], reasons, regime)


def random(candidates: Candidates, count: int) -> Ranking:
    """The rows of the smallest keys: the prefix of one fixed uniform permutation. Score 0."""
    positions = best_first(np.zeros(len(candidates)), candidates.keys, count)
    return Ranking(positions, np.zeros(len(positions)), ["uniform draw"] * len(positions), "random")
