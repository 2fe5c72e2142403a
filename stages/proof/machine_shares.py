"""How much of the pool each class is, by control labels and a machine's word on all rows.

Prediction-powered: the machine's mean over the pool is corrected by how far it is off on control
rows, and counts as much as those say (stages/proof/powered.py). So a poor machine costs nothing,
and a good one makes the interval as narrow as more labels would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from stages.contract.canonical import Row
from stages.machines.frozen import Machine
from stages.proof.pool import NORMAL
from stages.proof.powered import powered_mean
from stages.proof.refits import ENOUGH_TO_JUDGE
from stages.store.index import Index


def class_shares(
    machine: Machine, control: Mapping[str, str], index: Index, classes: list[str]
) -> Row | None:
    """Per class: its share of the pool's distinct rows; None with too few control labels.

    control: people's labels of control rows, by id; index: of the whole pool. low, high: a 95 %
    interval for one look; by_machine: the share of its answers, uncorrected; by_people: the share
    of the control labels alone, with their interval's half width (`half`) beside it.
    """
    ids = [item for item, free in zip(index.ids, index.askable, strict=False) if free]
    truth = np.array([control.get(item, "") for item in ids])
    drawn = truth != ""
    if drawn.sum() < ENOUGH_TO_JUDGE:
        return None
    labelled = machine.labelled
    said = np.array([str(labelled[item]["label"]) if item in labelled else "" for item in ids])
    table: Row = {}
    for name in classes:
        values = (truth[drawn] == name).astype(np.float64)
        believed = (said == name).astype(np.float64)
        estimate = powered_mean(values, believed[drawn], believed[~drawn], within=True)
        alone = powered_mean(values, np.zeros(len(values)), np.zeros((~drawn).sum()), within=True)
        half = NORMAL * math.sqrt(estimate.variance)
        value = min(max(estimate.value, 0.0), 1.0)
        table[name] = {
            "value": value,
            "low": max(0.0, value - half),
            "high": min(1.0, value + half),
            "by_machine": float(believed[said != ""].mean()) if (said != "").any() else None,
            "by_people": alone.value,
            "half": NORMAL * math.sqrt(alone.variance),
        }
    return table
