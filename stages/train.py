"""train: fit the classifier on the accepted labels and write its raw scores of everything that later stages judge.

reads   accepted labels (gate), features (featurize)
writes  build/model: model.skops, pool.npy, test.npy and labelled.npy (logits; labelled rows out of fold, in the
        order of accepted.jsonl), committee.npy where the strategy asks a committee, model.json (was a model
        fitted, on what); of a pool in parts only the rows that a batch may come from, and kept.parquet (id,
        stands_for: how many rows of the pool each stands for); next: calibrate
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from stages._canonical import Row, write_array, write_json
from stages._gated import read_gate
from stages._identity import order_keys
from stages._learning import Classifier, Floats, fit, out_of_fold
from stages._ledger import Labels
from stages._near import SAMPLE
from stages._params import Params, load
from stages._parts import gathered, open_pool, write_kept
from stages._progress import watched
from stages._shell import PATH, one_line_errors
from stages._skops import write_model
from stages._store import Index, Matrix, read_features
from stages.strategies.registry import find

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

    With labels of fewer than two classes there is no model, and all scores are zero. with_committee: whether a
    committee scores the pool too, as some strategies need.
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
        none = [np.zeros((count, n_classes), np.float32) for count in (pool.shape[0], test.shape[0], len(labels.ids))]
        return Trained(None, none[0], none[1], none[2], None)
    rows = matrix[index.locate(labels.ids, "build/gate/accepted.jsonl")]
    held_out = out_of_fold(params.model, rows, labels.classes, labels.ids, n_classes, params.quality.folds, params.seed)
    members = committee(labels, index, matrix, params).astype(np.float32) if with_committee else None
    logits = [part.astype(np.float32) for part in (classifier.scores(pool), classifier.scores(test), held_out)]
    return Trained(classifier, logits[0], logits[1], logits[2], members)


def committee(labels: Labels, index: Index, matrix: Matrix, params: Params) -> Floats:
    """Logits of the pool by models fitted on bootstrap samples of the labels, (members, n_pool, n_classes).

    A class that a sample misses has score -inf in that member. Labels are drawn in the order of their keys, so a
    member does not depend on the order of rows. Source: Breiman, "Bagging predictors" (1996).
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
        "per_class": {label: int(count) for label, count in zip(params.labels, counts, strict=True)},
    }


@click.command(help=__doc__)
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--out", type=PATH, required=True, help="Folder for the model and its scores.")
@one_line_errors
def main(gate: Path, features: Path, out: Path) -> str:
    """Read accepted labels and features, write the model and its scores."""
    params = load()
    known = read_gate(gate, params.labels)
    labels = known.accepted
    store = read_features(features, known.known(), params.compute)
    classifier = learn(labels, store.index, store.matrix, params)
    model = None
    if classifier is not None:
        model = out / "model.skops"
        write_model(model, classifier.estimator)
    kept = None
    pool = open_pool(features)
    if pool is not None:
        from stages._scan import scan

        kept = scan(pool, model, known, params)
        # the end of the permutation is there for query, which sees from it how close rows usually are
        others = np.union1d(pool.locate(known.known()), pool.last(SAMPLE))
        rows = np.union1d(kept.rows, others).astype(np.intp)
        store = gathered(pool, rows, params.compute)
        write_kept(out / "kept.parquet", store.index, kept.rows, kept.stands_for)
    needed = "committee" in find(params.query.strategy, params.query.engine).needs
    trained = scored(classifier, labels, store.index, store.matrix, params, with_committee=needed)
    for name in ("pool", "test", "labelled"):
        write_array(out / f"{name}.npy", getattr(trained, name))
    if trained.committee is not None:
        write_array(out / "committee.npy", trained.committee)
    facts = described(trained, labels, params)
    if kept is not None:
        facts["scan"] = kept.facts()
    write_json(out / "model.json", facts)
    if not facts["fitted"]:
        return f"train: no model yet, {len(labels.ids)} labels of fewer than two classes"
    seen = sum(count > 0 for count in facts["per_class"].values())
    return f"train: fitted on {len(labels.ids)} labels, {seen} of {len(params.labels)} classes seen"


if __name__ == "__main__":
    main()
