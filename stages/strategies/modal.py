"""modAL's strategies on stored probabilities.

modAL's own functions compute the scores. What is not modAL's: a classifier that only returns the
stored rows, the order of the result (modAL gives its picks unsorted), and ties (modAL asks NumPy's
global generator).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from modAL import batch, density, disagreement, uncertainty
from numpy.typing import NDArray

from stages.contract.arrays import Floats
from stages.strategies import Candidates, Ranking
from stages.strategies.diversity import information_density as blockwise_density
from stages.strategies.uncertainty import by_score


class Stored:
    """What modAL takes for a fitted classifier or committee: it returns the rows that it was made with."""

    on_transformed = False

    def __init__(
        self, probabilities: Floats, labelled: Floats | None = None, committee: Floats | None = None
    ) -> None:
        self.probabilities = probabilities
        self.X_training = labelled
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


def _committee(candidates: Candidates, strategy: str) -> Stored:
    members = candidates.require_committee(strategy)
    return Stored(members.mean(axis=0), committee=members)


def least_confidence(candidates: Candidates, count: int) -> Ranking:
    """The rows whose likeliest class is least likely, by modAL's `classifier_uncertainty`."""
    stored = Stored(candidates.require_probabilities("least_confidence"))
    scores = np.asarray(uncertainty.classifier_uncertainty(stored, candidates.geometry))
    return by_score(candidates, scores, count, "uncertain", "least confidence {score:.3f}")


def margin(candidates: Candidates, count: int) -> Ranking:
    """The rows whose two likeliest classes are closest, by modAL's `classifier_margin`; score = 1 - gap."""
    stored = Stored(candidates.require_probabilities("margin"))
    scores = 1 - np.asarray(uncertainty.classifier_margin(stored, candidates.geometry))
    return by_score(candidates, scores, count, "uncertain", "1 - margin {score:.3f}")


def entropy(candidates: Candidates, count: int) -> Ranking:
    """The rows of the highest entropy in nats, by modAL's `classifier_entropy`."""
    stored = Stored(candidates.require_probabilities("entropy"))
    scores = np.asarray(uncertainty.classifier_entropy(stored, candidates.geometry))
    return by_score(candidates, scores, count, "uncertain", "entropy {score:.3f}")


def vote_entropy(candidates: Candidates, count: int) -> Ranking:
    """The rows on whose class the committee's members vote most evenly, in nats, by modAL's `vote_entropy`."""
    scores = np.asarray(
        disagreement.vote_entropy(_committee(candidates, "vote_entropy"), candidates.geometry)
    )
    return by_score(candidates, scores, count, "disagreement", "vote entropy {score:.3f}")


def consensus_entropy(candidates: Candidates, count: int) -> Ranking:
    """The rows whose mean probabilities over the committee have the highest entropy, by modAL's function."""
    scores = np.asarray(
        disagreement.consensus_entropy(
            _committee(candidates, "consensus_entropy"), candidates.geometry
        )
    )
    return by_score(candidates, scores, count, "disagreement", "consensus entropy {score:.3f}")


def max_disagreement(candidates: Candidates, count: int) -> Ranking:
    """The rows with the member furthest (Kullback-Leibler, nats) from the consensus, by `KL_max_disagreement`."""
    scores = np.asarray(
        disagreement.KL_max_disagreement(
            _committee(candidates, "max_disagreement"), candidates.geometry
        )
    )
    return by_score(
        candidates,
        scores,
        count,
        "disagreement",
        "largest divergence from the committee {score:.3f}",
    )


def information_density(candidates: Candidates, count: int, limit: int = 10_000) -> Ranking:
    """Least confidence x mean similarity 1 / (1 + distance) to the other candidates, by modAL's functions.

    modAL holds all n x n distances: above `limit` rows ours (`engine: own`, blocks of rows) is
    taken instead.
    """
    if len(candidates) > limit:
        return blockwise_density(candidates, count)
    stored = Stored(candidates.require_probabilities("information_density"))
    doubt = np.asarray(uncertainty.classifier_uncertainty(stored, candidates.geometry))
    scores = doubt * np.asarray(density.information_density(candidates.geometry.astype(np.float64)))
    return by_score(candidates, scores, count, "uncertain", "doubt x density {score:.3f}")


def ranked_batch(candidates: Candidates, count: int) -> Ranking:
    """ModAL's `ranked_batch`: one by one the best of novelty and doubt; `engine: own` gives the same picks sooner.

    Source: Cardoso et al., "Ranked batch-mode active learning" (2017).
    """
    labelled = candidates.labelled.astype(np.float64) if len(candidates.labelled) else None
    stored = Stored(candidates.require_probabilities("ranked_batch"), labelled)
    confidence = np.asarray(uncertainty.classifier_uncertainty(stored, candidates.geometry))
    doubt, points = confidence * candidates.importance(), candidates.geometry.astype(np.float64)
    chosen, scores = batch.ranked_batch(stored, points, doubt, count, "euclidean", None)
    reasons = [
        f"novelty and doubt, least confidence {confidence[row]:.3f}{candidates.weighing(row)}"
        for row in chosen
    ]
    return Ranking(np.asarray(chosen, np.intp), np.asarray(scores), reasons, "novel")
