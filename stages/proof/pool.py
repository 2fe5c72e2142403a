"""What is true of the pool: the model's accuracy, each class's share and recall.

The control labels are a uniform draw of the pool, and the model says something of every row of it.
Both together (stages/proof/powered.py) know the pool better than the control labels alone. Of a
labelled row the model is asked that did not learn it.
"""

from __future__ import annotations

import math

import numpy as np

from stages.answers.ledger import Labels
from stages.contract.arrays import Floats, Mask
from stages.proof.powered import Estimate, powered_mean
from stages.proof.refits import ENOUGH_TO_JUDGE
from stages.proof.tables import PoolFacts, PoolValue
from stages.store.index import Index

NORMAL = 1.96  # standard errors of a 95 % interval, for one look


def pool_facts(
    labels: Labels, held_out: Floats, pool: Floats, index: Index, classes: list[str]
) -> PoolFacts | None:
    """Accuracy, shares and recall over the pool; None with too few control labels.

    held_out: (m, k) probabilities of the accepted labels, each by a model without it; pool:
    (n_pool, k) probabilities. Rows that repeat another's content count as one with it.
    """
    believed = np.asarray(pool, dtype=np.float64).copy()
    truth = np.full(len(believed), -1)
    first = index.rows("pool").start
    for place, row in enumerate(labels.rows):
        number = index.row_of[row["id"]]
        if index.split[number] == "pool":
            believed[number - first] = held_out[place]
            if "control" in row["arms"]:
                truth[number - first] = labels.classes[place]
    drawn = truth >= 0
    if drawn.sum() < ENOUGH_TO_JUDGE:
        return None
    others = index.askable & ~drawn
    said = believed.argmax(axis=1)
    share: dict[str, PoolValue] = {}
    recall: dict[str, PoolValue] = {}
    for number, name in enumerate(classes):
        is_class = (truth == number).astype(np.float64)
        part = _over(is_class, believed[:, number], drawn, others)
        share[name] = _value(part, is_class[drawn], int(others.sum()))
        found = _recall(is_class, believed[:, number], said == number, drawn, others)
        if found is not None:
            recall[name] = found
    right = (said == truth).astype(np.float64)
    accuracy = _over(right, believed.max(axis=1), drawn, others)
    return {
        "control_labels": int(drawn.sum()),
        "accuracy": _value(accuracy, right[drawn], int(others.sum())),
        "share": share,
        "recall": recall,
    }


def _over(values: Floats, believed: Floats, drawn: Mask, others: Mask) -> Estimate:
    """The mean of a value over the pool."""
    return powered_mean(values[drawn], believed[drawn], believed[others], within=True)


def _recall(
    is_class: Floats, believed: Floats, says: Mask, drawn: Mask, others: Mask
) -> PoolValue | None:
    """The share of a class's rows that the model finds; None without a control label of it.

    A ratio of two means. Its error is that of the mean of what each row adds to it. Source:
    Cochran, "Sampling techniques" (1977), ratio estimators.
    """
    base = _over(is_class, believed, drawn, others).value
    if not is_class[drawn].any() or base <= 0:
        return None
    found = _over(is_class * says, believed * says, drawn, others).value
    ratio = min(max(found / base, 0.0), 1.0)
    residual = _over(is_class * (says - ratio), believed * (says - ratio), drawn, others)
    labels = says[drawn & (is_class > 0)].astype(np.float64)
    return _value(Estimate(ratio, residual.variance / base**2), labels, int(others.sum()))


def _value(estimate: Estimate, labels: Floats, others: int) -> PoolValue:
    """An estimate with its interval, and as how many labels alone it is worth."""
    plain = float(labels.mean()) * (1 - float(labels.mean()))
    worth = None
    if estimate.variance > 0 and plain > 0:
        # Drawn without replacement from a pool of this size.
        alone = plain / estimate.variance
        worth = alone / (1 + alone / (len(labels) + others))
    value = min(max(estimate.value, 0.0), 1.0)
    half = NORMAL * math.sqrt(estimate.variance)
    return {
        "value": value,
        "low": max(0.0, value - half),
        "high": min(1.0, value + half),
        "worth": worth,
    }
