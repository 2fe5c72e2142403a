"""Fitting the shipped model, and scoring what later stages judge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.answers.ledger import Labels
from stages.contract.arrays import Floats
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.contract.progress import watched
from stages.learning.classifier import Classifier, fit, out_of_fold
from stages.learning.predictions import ModelFacts, Predictions
from stages.store.index import Features

ACCEPTED = "build/gate/accepted.jsonl"  # where an id that the features lack is said to stand


def learn(labels: Labels, features: Features, params: Params) -> Classifier | None:
    """The classifier fitted on all accepted labels; None for labels of fewer than two classes."""
    if len(np.unique(labels.classes)) < 2:
        return None
    rows = features.matrix[features.index.locate(labels.ids, ACCEPTED)]
    return fit(params.learner, rows, labels.classes, len(params.labels), params.seed)


def predicted(
    classifier: Classifier | None,
    labels: Labels,
    features: Features,
    params: Params,
    *,
    with_committee: bool,
) -> Predictions:
    """Logits of pool and test by the model that `learn` gave, of labelled rows by cross-validation.

    Without a model all logits are zero. with_committee: whether a committee scores the pool too, as
    some strategies need.
    """
    index = features.index
    n_classes = len(params.labels)
    pool = features.matrix[index.rows("pool")]
    test = features.matrix[index.rows("test")]
    if classifier is None:
        sizes = (pool.shape[0], test.shape[0], len(labels.ids))
        of_pool, of_test, of_labelled = (np.zeros((n, n_classes), np.float32) for n in sizes)
        return Predictions(of_pool, of_test, of_labelled, None)
    rows = features.matrix[index.locate(labels.ids, ACCEPTED)]
    folds = params.quality.folds
    held_out = out_of_fold(
        params.learner, rows, labels.classes, labels.ids, n_classes, folds, params.seed
    )
    members = None
    if with_committee:
        members = committee(labels, features, params).astype(np.float32)
    return Predictions(
        classifier.scores(pool).astype(np.float32),
        classifier.scores(test).astype(np.float32),
        held_out.astype(np.float32),
        members,
    )


def committee(labels: Labels, features: Features, params: Params) -> Floats:
    """Logits of the pool by models fitted on bootstrap samples of the labels, (members, n_pool, k).

    A class that a sample misses has logit -inf in that member. Labels are drawn in the order of
    their keys, so that a member does not depend on the order of rows.
    Source: Breiman, "Bagging predictors" (1996).
    """
    rows = features.matrix[features.index.locate(labels.ids, ACCEPTED)]
    pool = features.matrix[features.index.rows("pool")]
    order = np.argsort(order_keys(params.seed, labels.ids))
    rng = np.random.default_rng(params.seed)
    samples = [
        order[rng.integers(0, len(order), len(order))] for _ in range(params.query.committee)
    ]
    members = [
        fit(params.learner, rows[sample], labels.classes[sample], len(params.labels), params.seed)
        for sample in watched("committee", samples, "model")
    ]
    return np.array([member.scores(pool) for member in members])


def described(classifier: Classifier | None, labels: Labels, params: Params) -> ModelFacts:
    """What was fitted on what."""
    counts: NDArray[np.intp] = np.bincount(labels.classes, minlength=len(params.labels))
    per_class = {label: int(count) for label, count in zip(params.labels, counts, strict=True)}
    facts: ModelFacts = {
        "fitted": classifier is not None,
        "labels": len(labels.ids),
        "per_class": per_class,
    }
    if classifier is not None and classifier.word_weight is not None:
        facts["word_weight"] = classifier.word_weight
    if classifier is not None and classifier.machine_weight is not None:
        facts["machine_weight"] = classifier.machine_weight
    return facts
