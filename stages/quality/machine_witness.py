"""A machine annotator as one more witness of the gate (params.machines.witness).

Model, neighbours and forest learn from people's labels, so where people take a text for another
class again and again, these repeat it. A machine has never seen people's labels and does not.

Its word is never taken as it is. What people label where it says this or that is learnt, and each
row is judged by a fit that has not seen the row's own label (`machine_view`). It is heard only
where that makes people's labels more probable than the shares of the classes do, by more than
ERRORS standard errors, and it weighs as much as the labels ask for (`pooled`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.contract.arrays import Floats, Ints, Matrix
from stages.contract.params import Learner, Params
from stages.learning.classifier import out_of_fold
from stages.learning.machine_weight import ERRORS
from stages.learning.scoring import softmax
from stages.quality.witnesses import MIN_LABELS

LEARNER = Learner(
    path="sklearn.linear_model.LogisticRegression", params={"C": 10.0, "max_iter": 1000}
)
TINY = 1e-9


@dataclass(frozen=True)
class MachineEvidence:
    """What people's labels say of a machine.

    rows: labels of people to which it has an answer; gain, error: by how much its word makes such a
    label more probable than the class's share does, in mean log probability, and the standard
    error of that, both 0 where nothing was measured; heard: whether it is a witness.
    """

    rows: int
    gain: float
    error: float
    heard: bool


NOT_ASKED = MachineEvidence(0, 0.0, 0.0, heard=False)


def machine_view(
    said: Matrix, labels: Ints, ids: list[str], params: Params
) -> tuple[Floats, MachineEvidence]:
    """What a machine's word makes of each label, as logits (n, k), and whether it is heard.

    said: (n, k) how sure it is of each class, all 0 without an answer; labels: (n,) people's. The
    logits of a row come from labels of other rows; without an answer they are the class shares.
    """
    k = len(params.labels)
    answered = np.flatnonzero(np.asarray(said).any(axis=1))
    shares = _log_shares(labels, k)
    view = np.tile(shares, (len(labels), 1))
    if len(answered) < MIN_LABELS or len(np.unique(labels[answered])) < 2:
        return view, MachineEvidence(len(answered), 0.0, 0.0, heard=False)
    own = labels[answered]
    names = [ids[row] for row in answered]
    folds = params.quality.folds
    view[answered] = out_of_fold(LEARNER, said[answered], own, names, k, folds, params.seed)
    at = np.arange(len(own))
    chances = np.log(softmax(view[answered])[at, own] + TINY)
    gains = chances - _log_shares(own, k)[own]
    gain = float(gains.mean())
    error = float(gains.std(ddof=1)) / math.sqrt(len(own))
    return view, MachineEvidence(len(own), gain, error, heard=gain > ERRORS * error)


def _log_shares(labels: Ints, n_classes: int) -> Floats:
    """The log of each class's share of the labels, (k,); of a class without one nearly 0's."""
    counts = np.bincount(labels, minlength=n_classes)
    return np.asarray(np.log(counts / max(len(labels), 1) + TINY))
