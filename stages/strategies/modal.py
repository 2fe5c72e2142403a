"""modAL's strategies on stored probabilities.

modAL's own functions compute the scores. What is not modAL's: a classifier that only returns the stored rows,
the order of the result (modAL gives its picks unsorted), and ties (modAL asks NumPy's global generator).
"""

from __future__ import annotations

import numpy as np

from stages.strategies import Candidates, Floats, Ranking
from stages.strategies.uncertainty import by_score


class Stored:
    """What modAL takes for a fitted classifier: its `predict_proba` returns the rows that it was made with."""

    def __init__(self, probabilities: Floats) -> None:
        self.probabilities = probabilities

    def predict_proba(self, _: object) -> Floats:
        return self.probabilities


def least_confidence(candidates: Candidates, count: int) -> Ranking:
    """The rows whose likeliest class is least likely, by modAL's `classifier_uncertainty`."""
    from modAL.uncertainty import classifier_uncertainty

    stored = Stored(candidates.require_probabilities("least_confidence"))
    scores = np.asarray(classifier_uncertainty(stored, candidates.geometry))
    return by_score(candidates, scores, count, "uncertain", "least confidence {score:.3f}")


def margin(candidates: Candidates, count: int) -> Ranking:
    """The rows whose two likeliest classes are closest, by modAL's `classifier_margin`; score = 1 - gap."""
    from modAL.uncertainty import classifier_margin

    stored = Stored(candidates.require_probabilities("margin"))
    scores = 1 - np.asarray(classifier_margin(stored, candidates.geometry))
    return by_score(candidates, scores, count, "uncertain", "1 - margin {score:.3f}")


def entropy(candidates: Candidates, count: int) -> Ranking:
    """The rows of the highest entropy in nats, by modAL's `classifier_entropy`."""
    from modAL.uncertainty import classifier_entropy

    stored = Stored(candidates.require_probabilities("entropy"))
    scores = np.asarray(classifier_entropy(stored, candidates.geometry))
    return by_score(candidates, scores, count, "uncertain", "entropy {score:.3f}")
