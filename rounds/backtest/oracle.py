"""What could be won at all: a batch chosen with the labels known, of several that are tried.

No project can do this. It is the measure of what a strategy wins: a gain of two points says much
where three can be won, and little where ten can.
Source: Huseljic et al., "BoSS: a best-of-strategies selector as an oracle for deep active learning"
(2025), here without a network: every batch tried is learnt by the model itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stages.answers.gate_tables import GateTables
from stages.answers.ledger import BatchRow
from stages.batch.compose import compose
from stages.batch.model import Model
from stages.contract.arrays import Floats, Ints, Mask
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.classifier import fit
from stages.store.index import Features

ORACLE = "oracle"
TRIED_BY = ("auto", "random", "margin", "badge")  # who proposes batches, in turn
JUDGES = 1000  # rows of the pool that judge the batches and are never asked, a quarter at most


def best_of(
    tried: int,
    features: Features,
    model: Model | None,
    gate: GateTables,
    params: Params,
    truth: Mapping[str, str],
) -> list[BatchRow]:
    """Of `tried` batches the one whose labels teach most, the first of equal ones.

    Each is chosen by one of TRIED_BY from a random half of the pool, and judged by the accuracy of
    the model that knows its labels on rows of the pool that are never asked. The test rows have no
    part in it.
    """
    index = features.index
    pool = index.ids[index.rows("pool")]
    judges = _judges(pool, params.seed)
    best: list[BatchRow] = []
    best_accuracy = -1.0
    for number in range(tried):
        own = _params_of(number, gate.state["rounds"], params)
        half = order_keys(own.seed, pool) % np.uint64(2) == 0
        rows = compose(features, model, gate, own, (half & ~judges).astype(np.float64)).rows
        if not rows:
            continue
        accuracy = _accuracy_with(rows, features, gate, params, truth, judges)
        if accuracy > best_accuracy:
            best = rows
            best_accuracy = accuracy
    return best


def _judges(pool: list[str], seed: int) -> Mask:
    """(n_pool,) the rows that judge: the same in every round."""
    keys = order_keys(seed, (f"judge:{item}" for item in pool))
    judges = np.zeros(len(pool), np.bool_)
    judges[np.argsort(keys, kind="stable")[: min(JUDGES, len(pool) // 4)]] = True
    return judges


def _params_of(number: int, finished: int, params: Params) -> Params:
    """The params by which a batch is proposed: another strategy and another half in each turn."""
    query = params.query.model_copy(
        update={
            "strategy": TRIED_BY[number % len(TRIED_BY)],
            "params": {},
            "control_fraction": 0.0,
            "review_fraction": 0.0,
        }
    )
    seed = params.seed + 1_000_003 * (number + 1) + finished
    return params.model_copy(update={"query": query, "seed": seed})


def _accuracy_with(
    batch: list[BatchRow],
    features: Features,
    gate: GateTables,
    params: Params,
    truth: Mapping[str, str],
    judges: Mask,
) -> float:
    """Accuracy on the judges of the model that knows the batch's labels too."""
    index = features.index
    asked = [row["id"] for row in batch]
    labels = gate.accepted
    rows = index.locate([*labels.ids, *asked], "backtest")
    position = {label: number for number, label in enumerate(params.labels)}
    new: Ints = np.array([position[truth[item]] for item in asked], np.intp)
    classes = np.concatenate([labels.classes, new])
    fitted = fit(params.learner, features.matrix[rows], classes, len(params.labels), params.seed)
    pool = index.rows("pool")
    scores: Floats = fitted.scores(features.matrix[pool][judges])
    ids = np.array(index.ids[pool])[judges]
    right = np.array([position[truth[item]] for item in ids], np.intp)
    return float((scores.argmax(axis=1) == right).mean())
