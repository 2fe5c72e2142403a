"""modAL's measures of uncertainty and of disagreement, on stored probabilities.

modAL's own functions compute the scores. Not modAL's are the classifier, which only returns the
stored rows, and the order of the picks: modAL returns them unsorted and breaks ties with NumPy's
global generator; here equal scores are ordered by key.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from modAL import disagreement, uncertainty
from numpy.typing import NDArray

from stages.contract.arrays import Floats
from stages.strategies import Candidates, Ranking
from stages.strategies.uncertainty import by_score


class StoredModel:
    """What modAL takes for a fitted classifier or committee: it returns what it was made with."""

    def __init__(self, probabilities: Floats, committee: Floats | None = None) -> None:
        self.probabilities = probabilities
        self.committee = np.empty((0, *probabilities.shape)) if committee is None else committee
        self.classes_ = np.arange(probabilities.shape[1])

    def __len__(self) -> int:
        return len(self.committee)

    def __iter__(self) -> Iterator[Floats]:
        return iter(self.committee)

    def predict_proba(self, _: object) -> Floats:
        """(n, k) the stored probabilities; of a committee, their consensus."""
        return self.probabilities

    def vote_proba(self, _: object) -> Floats:
        """(n, members, k) as modAL's Committee gives them."""
        return self.committee.transpose(1, 0, 2)

    def vote(self, _: object) -> NDArray[np.intp]:
        """(n, members) the class that each member votes for."""
        return np.asarray(self.committee.argmax(axis=2).T)


def _classifier(candidates: Candidates, strategy: str) -> StoredModel:
    return StoredModel(candidates.require_probabilities(strategy))


def _committee(candidates: Candidates, strategy: str) -> StoredModel:
    members = candidates.require_committee(strategy)
    return StoredModel(members.mean(axis=0), committee=members)


def least_confidence(candidates: Candidates, count: int) -> Ranking:
    """The rows whose likeliest class is least likely, by modAL's `classifier_uncertainty`.

    Source: Lewis, Catlett, "Heterogeneous uncertainty sampling for supervised learning" (1994).
    """
    model = _classifier(candidates, "least_confidence")
    scores = np.asarray(uncertainty.classifier_uncertainty(model, candidates.geometry))
    return by_score(candidates, scores, count, "uncertain", "least confidence {score:.3f}")


def margin(candidates: Candidates, count: int) -> Ranking:
    """The rows whose two likeliest classes are closest, by modAL's `classifier_margin`.

    Score = 1 - gap. Source: Scheffer, Decomain, Wrobel, "Active hidden Markov models for
    information extraction" (2001).
    """
    model = _classifier(candidates, "margin")
    scores = 1 - np.asarray(uncertainty.classifier_margin(model, candidates.geometry))
    return by_score(candidates, scores, count, "uncertain", "1 - margin {score:.3f}")


def entropy(candidates: Candidates, count: int) -> Ranking:
    """The rows of the highest entropy in nats, by modAL's `classifier_entropy`.

    Source: Shannon, "A mathematical theory of communication" (1948).
    """
    model = _classifier(candidates, "entropy")
    scores = np.asarray(uncertainty.classifier_entropy(model, candidates.geometry))
    return by_score(candidates, scores, count, "uncertain", "entropy {score:.3f}")


def vote_entropy(candidates: Candidates, count: int) -> Ranking:
    """The rows with the most even votes of the committee, in nats, by modAL's `vote_entropy`."""
    model = _committee(candidates, "vote_entropy")
    scores = np.asarray(disagreement.vote_entropy(model, candidates.geometry))
    return by_score(candidates, scores, count, "disagreement", "vote entropy {score:.3f}")


def consensus_entropy(candidates: Candidates, count: int) -> Ranking:
    """The rows whose mean committee probabilities have the highest entropy, by modAL's function."""
    model = _committee(candidates, "consensus_entropy")
    scores = np.asarray(disagreement.consensus_entropy(model, candidates.geometry))
    return by_score(candidates, scores, count, "disagreement", "consensus entropy {score:.3f}")


def max_disagreement(candidates: Candidates, count: int) -> Ranking:
    """The rows with the member furthest from the consensus, by modAL's `KL_max_disagreement`.

    Score = Kullback-Leibler divergence of that member, in nats.
    """
    model = _committee(candidates, "max_disagreement")
    scores = np.asarray(disagreement.KL_max_disagreement(model, candidates.geometry))
    reason = "largest divergence from the committee {score:.3f}"
    return by_score(candidates, scores, count, "disagreement", reason)
