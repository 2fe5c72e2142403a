"""Which labels are probably wrong: the quality module that clean_seed, gate and `rounds inspect` share.

The only module that imports cleanlab. Everything here is a function of arrays; decisions about rounds, people and
queues are in gate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages._identity import order_keys
from stages._learning import out_of_fold, softmax
from stages._params import Params
from stages._store import Matrix

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]
TEMPERATURES = np.geomspace(0.1, 4.0, 23)
PRIOR_WRONG, PRIOR_RIGHT = 1.0, 19.0  # before any evidence: one label in twenty is wrong, worth twenty labels


@dataclass(frozen=True)
class Doubts:
    """What is known about n labels: how likely each is wrong, and what it should be instead.

    error     (n,) probability in [0, 1] that the label is wrong; 0 where not judged
    suggested (n,) the likeliest class other than the label, else the label itself where not judged
    judged    (n,) False where the evidence is too thin: the class has fewer than `min_class` labels, or no model
    noise     estimated share of wrong labels among the judged ones, in [0, 1]
    """

    error: Floats
    suggested: Ints
    judged: Mask
    noise: float


def doubts(scores: Floats, labels: Ints, min_class: int) -> Doubts:
    """How likely each of n labels is wrong, from out-of-sample logits (n, k) and class indices (n,).

    A label is either right, drawn from softmax(scores / t), or wrong, drawn evenly from the other classes that
    are in use; t and the share of wrong labels e are fitted by maximum a posteriori over all labels. So a model
    that is sharp but often contradicted is read as unsure, and one contradicted rarely and strongly as right.
    """
    n, k = scores.shape
    counts = np.bincount(labels, minlength=k)
    judged = counts[labels] >= min_class
    seen = int((counts > 0).sum())
    if not judged.any() or seen < 2:
        return Doubts(np.zeros(n), labels.copy(), np.zeros(n, dtype=np.bool_), 0.0)
    at = np.arange(n)
    best, error, noise = -np.inf, np.zeros(n), 0.0
    for temperature in TEMPERATURES:
        own = softmax(scores, float(temperature))[at, labels][judged]
        other = (1 - own) / (seen - 1)
        share = PRIOR_WRONG / (PRIOR_WRONG + PRIOR_RIGHT)
        for _ in range(50):
            wrong = share * other / (share * other + (1 - share) * own + 1e-300)
            share = (wrong.sum() + PRIOR_WRONG) / (judged.sum() + PRIOR_WRONG + PRIOR_RIGHT)
        fit = np.log(share * other + (1 - share) * own + 1e-300).sum()
        fit += PRIOR_WRONG * np.log(share) + PRIOR_RIGHT * np.log1p(-share)
        if fit > best:
            best, noise = fit, float(share)
            error[judged] = wrong
    rivals = scores.copy()
    rivals[at, labels] = -np.inf
    return Doubts(error, np.where(judged, rivals.argmax(axis=1), labels), judged, noise)


def judge(matrix: Matrix, labels: Ints, ids: list[str], sha: list[str], params: Params) -> Doubts:
    """The doubts about labelled rows (n, p), by models that have not seen them; identical rows are judged as one.

    A row and its exact copy with the same label share a fold, so that a copied mistake cannot vouch for itself.
    """
    first: dict[tuple[str, int], int] = {}
    place = np.array([first.setdefault((key, int(c)), len(first)) for key, c in zip(sha, labels, strict=True)], np.intp)
    if not len(place):
        return Doubts(np.zeros(0), labels.copy(), np.zeros(0, dtype=np.bool_), 0.0)
    keep = np.unique(place, return_index=True)[1]
    folds, kept = params.quality.folds, [ids[row] for row in keep]
    scores = out_of_fold(params.model, matrix[keep], labels[keep], kept, len(params.labels), folds, params.seed)
    found = doubts(scores, labels[keep], params.quality.min_class)
    return Doubts(found.error[place], found.suggested[place], found.judged[place], found.noise)


def cleanlab_issues(probabilities: Floats, labels: Ints) -> Mask:
    """Label errors as cleanlab chooses them, (n,): confident learning, `find_label_issues` as it comes.

    Source: Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in dataset labels" (2021).
    """
    from cleanlab.filter import find_label_issues

    return np.asarray(find_label_issues(labels, probabilities), dtype=np.bool_)


def worst(error: Floats, wanted: Mask, labels: Ints, ids: list[str], limit: int, seed: int) -> Mask:
    """The wanted rows that may be set aside, (n,): at most `limit`, the most doubtful first, ties by seed and id.

    Never more than half of a class: a model that doubts most labels of a class does not know the class.
    """
    chosen = np.zeros(len(labels), dtype=np.bool_)
    room = np.bincount(labels) // 2 if len(labels) else np.zeros(0, dtype=np.intp)
    rows = np.flatnonzero(wanted)
    keys = order_keys(seed, (ids[row] for row in rows))
    for row in rows[np.lexsort((keys, -np.round(error[rows], 9)))]:
        if limit <= 0:
            break
        if room[labels[row]] > 0:
            room[labels[row]] -= 1
            limit -= 1
            chosen[row] = True
    return chosen
