"""small-text's strategies behind the contract, as peers in benchmarks/labels.py; `pip install
.[benchmarks]` first.

    python -m benchmarks.labels --strategies random,benchmarks.small_text.breaking_ties,auto

Its own code makes every pick, from stored probabilities and the geometry. Without a model it draws
at random, as its tutorials start.
"""

from __future__ import annotations

import numpy as np

from stages.contract.arrays import Floats
from stages.strategies import Candidates, Ranking
from stages.strategies.uncertainty import random


class Stored:
    """What small-text takes for a fitted classifier: it returns the rows that it was made with."""

    def __init__(self, probabilities: Floats) -> None:
        self.probabilities = probabilities

    def predict_proba(self, _: object) -> Floats:
        """(n, k) the stored probabilities."""
        return self.probabilities


def breaking_ties(candidates: Candidates, count: int) -> Ranking:
    """The rows whose two likeliest classes are closest, by `BreakingTies`."""
    from small_text import BreakingTies

    if candidates.probabilities is None:
        return random(candidates, count)
    rows, nobody = np.arange(len(candidates)), np.empty(0, np.intp)
    strategy = BreakingTies()
    picks = strategy.query(Stored(candidates.probabilities), rows, rows, nobody, nobody, n=count)
    scores = 1 - np.asarray(strategy.scores_)[picks]
    return Ranking(np.asarray(picks, np.intp), scores, ["breaking ties"] * count, "uncertain")


def greedy_coreset(candidates: Candidates, count: int) -> Ranking:
    """The greedy k-centre on rows of norm 1, by `greedy_coreset` as `GreedyCoreset` calls it by
    default.
    """
    from sklearn.preprocessing import normalize
    from small_text.query_strategies.coresets import greedy_coreset as measure

    if not len(candidates.labelled):
        return random(candidates, count)
    n = len(candidates)
    space = normalize(np.concatenate([candidates.geometry, candidates.labelled]))
    picks = measure(
        space, np.arange(n), np.arange(n, len(space)), count, "euclidean", normalized=True
    )
    return Ranking(
        np.asarray(picks, np.intp), np.zeros(count), ["far from every label"] * count, "far"
    )
