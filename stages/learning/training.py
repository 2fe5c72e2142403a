"""Fitting the shipped model and scoring what later stages judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.answers.ledger import Labels
from stages.contract.arrays import Floats, Matrix
from stages.contract.canonical import Row
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.contract.progress import watched
from stages.learning.classifier import Classifier, fit, out_of_fold
from stages.store.index import Index

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Trained:
    """A fitted classifier (None before there are two classes), its logits, and its committee's where one is asked."""

    classifier: Classifier | None
    pool: Logits
    test: Logits
    labelled: Logits
    committee: Logits | None


def learn(labels: Labels, index: Index, matrix: Matrix, params: Params) -> Classifier | None:
    """The classifier fitted on all accepted labels; None for labels of fewer than two classes."""
    if len(np.unique(labels.classes)) < 2:
        return None
    rows = matrix[index.locate(labels.ids, "build/gate/accepted.jsonl")]
    return fit(params.model, rows, labels.classes, len(params.labels), params.seed)


def train(
    labels: Labels, index: Index, matrix: Matrix, params: Params, *, with_committee: bool
) -> Trained:  # fmt: skip
    """Fit on all accepted labels; score pool and test with that model, labelled rows by cross-validation.

    With labels of fewer than two classes there is no model, and all scores are zero.
    with_committee: whether a committee scores the pool too, as some strategies need.
    """
    model = learn(labels, index, matrix, params)
    return scored(model, labels, index, matrix, params, with_committee=with_committee)


def scored(
    classifier: Classifier | None, labels: Labels, index: Index, matrix: Matrix, params: Params, *,
    with_committee: bool,
) -> Trained:  # fmt: skip
    """What `learn` gave, with the logits of pool, test and labelled rows."""
    n_classes = len(params.labels)
    pool, test = matrix[index.rows("pool")], matrix[index.rows("test")]
    if classifier is None:
        none = [
            np.zeros((count, n_classes), np.float32)
            for count in (pool.shape[0], test.shape[0], len(labels.ids))
        ]
        return Trained(None, none[0], none[1], none[2], None)
    rows = matrix[index.locate(labels.ids, "build/gate/accepted.jsonl")]
    held_out = out_of_fold(
        params.model, rows, labels.classes, labels.ids, n_classes, params.quality.folds, params.seed
    )
    members = (
        committee(labels, index, matrix, params).astype(np.float32) if with_committee else None
    )
    logits = [
        part.astype(np.float32)
        for part in (classifier.scores(pool), classifier.scores(test), held_out)
    ]
    return Trained(classifier, logits[0], logits[1], logits[2], members)


def committee(labels: Labels, index: Index, matrix: Matrix, params: Params) -> Floats:
    """Logits of the pool by models fitted on bootstrap samples of the labels, (members, n_pool, n_classes).

    A class that a sample misses has score -inf in that member. Labels are drawn in the order of
    their keys, so a member does not depend on the order of rows. Source: Breiman, "Bagging
    predictors" (1996).
    """
    rows = matrix[index.locate(labels.ids, "build/gate/accepted.jsonl")]
    pool = matrix[index.rows("pool")]
    order = np.argsort(order_keys(params.seed, labels.ids))
    rng = np.random.default_rng(params.seed)
    draws = [order[rng.integers(0, len(order), len(order))] for _ in range(params.query.committee)]
    members = [
        fit(params.model, rows[draw], labels.classes[draw], len(params.labels), params.seed)
        for draw in watched("committee", draws, "model")
    ]
    return np.array([member.scores(pool) for member in members])


def described(trained: Trained, labels: Labels, params: Params) -> Row:
    """What was fitted on what."""
    counts: NDArray[np.intp] = np.bincount(labels.classes, minlength=len(params.labels))
    return {
        "fitted": trained.classifier is not None,
        "labels": len(labels.ids),
        "per_class": {
            label: int(count) for label, count in zip(params.labels, counts, strict=True)
        },
    }
