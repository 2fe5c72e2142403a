"""Peers to compare: modAL's and scikit-activeml's code for strategies that are ours in the product.

    python -m benchmarks.labels --strategies random,benchmarks.peers.badge,badge

They are named by import path wherever a strategy is named. Unlike the product's they see the whole
pool, and take the memory that they take.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.contract.arrays import Floats
from stages.strategies import Candidates, Ranking


def ranked_batch(candidates: Candidates, count: int) -> Ranking:
    """One by one the best of novelty and uncertainty, by modAL's `ranked_batch`."""
    from modAL.batch import ranked_batch as modal_ranked_batch

    from stages.strategies.modal import StoredModel

    probabilities = candidates.require_probabilities("ranked_batch")
    model: Any = StoredModel(probabilities)
    model.X_training = candidates.labelled.astype(np.float64) if len(candidates.labelled) else None
    model.on_transformed = False
    uncertainty = (1 - probabilities.max(axis=1)) * candidates.importance()
    points = candidates.geometry.astype(np.float64)
    picks, scores = modal_ranked_batch(model, points, uncertainty, count, "euclidean", None)
    return _ranking(picks, scores)


def core_set(candidates: Candidates, count: int) -> Ranking:
    """The greedy k-centre, by scikit-activeml's `CoreSet`."""
    from skactiveml.pool import CoreSet

    return _queried(CoreSet(random_state=candidates.seed % 2**32), candidates, count)


def badge(candidates: Candidates, count: int) -> Ranking:
    """k-means++ on gradient embeddings, by scikit-activeml's `Badge`."""
    from skactiveml.pool import Badge

    classifier = _stored(candidates.require_probabilities("badge"))
    strategy = Badge(random_state=candidates.seed % 2**32)
    return _queried(strategy, candidates, count, clf=classifier, fit_clf=False)


def _stored(probabilities: Floats) -> Any:
    """What scikit-activeml takes for a fitted classifier: it returns the rows it was made with."""
    from skactiveml.base import SkactivemlClassifier

    class Stored(SkactivemlClassifier):  # type: ignore[misc]  # scikit-activeml has no types
        def __init__(self) -> None:
            super().__init__()
            self.classes = self.classes_ = np.arange(probabilities.shape[1])

        def fit(self, *_: object) -> Stored:
            return self

        def predict_proba(self, _: object) -> Floats:
            return probabilities

    return Stored()


def _queried(strategy: Any, candidates: Candidates, count: int, **options: object) -> Ranking:
    unlabelled = np.full(len(candidates), np.nan)
    space = np.concatenate([candidates.geometry, candidates.labelled]).astype(np.float64)
    classes = np.concatenate([unlabelled, candidates.labelled_class])
    picks, utilities = strategy.query(
        space, classes, batch_size=count, return_utilities=True, **options
    )
    return _ranking(picks, np.asarray(utilities)[np.arange(len(picks)), picks])


def _ranking(picks: Any, scores: Any) -> Ranking:
    reasons = ["a peer's pick"] * len(picks)
    return Ranking(np.asarray(picks, np.intp), np.asarray(scores), reasons, "peer")
