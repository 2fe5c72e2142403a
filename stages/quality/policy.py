"""The policy: which of the ranked doubts are acted on."""

from __future__ import annotations

import math

import numpy as np

from stages.contract.arrays import Floats, Ints, Mask
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.scoring import softmax
from stages.quality.judgement import Judgement

SHIFT_PRIOR, SHIFT_LEAST, SHIFT_MOST = 0.5, -3.0, 1.0  # in log odds of error
PROBABLY_WRONG = 0.5


def cleanlab_issues(scores: Floats, labels: Ints) -> Mask:
    """Label errors as cleanlab chooses them, (n,): confident learning, `find_label_issues` as it comes.

    Source: Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in dataset labels"
    (2021).
    """
    from cleanlab.filter import find_label_issues

    classes, place = np.unique(labels, return_inverse=True)
    return np.asarray(
        find_label_issues(place, softmax(scores[:, classes]), n_jobs=1), dtype=np.bool_
    )


def reviewed_shift(scores: Floats, wrong: Mask) -> float:
    """By how much log odds of error are to be moved, given the doubts people answered: scores (n,) and outcomes (n,).

    Past doubts that were confirmed lower it, contradicted ones raise it. Maximum a posteriori with
    a normal prior of deviation SHIFT_PRIOR, and at most SHIFT_MOST: reviews look only at the most
    doubtful labels, and what they teach about those must not turn the many that nobody doubted into
    suspects. 0 without answers.
    """
    from scipy.optimize import minimize_scalar

    odds = np.log(np.clip(scores, 0.01, 0.99) / (1 - np.clip(scores, 0.01, 0.99)))

    def loss(shift: float) -> float:
        moved = odds + shift
        return float(
            np.logaddexp(0, moved).sum() - moved[wrong].sum() + shift**2 / (2 * SHIFT_PRIOR**2)
        )

    return (
        float(minimize_scalar(loss, bounds=(SHIFT_LEAST, SHIFT_MOST), method="bounded").x)
        if len(odds)
        else 0.0
    )


def shifted(error: Floats, shift: float) -> Floats:
    """Probabilities with their log odds moved by `shift`; 0 and 1 stay."""
    moved = error * math.exp(shift)
    return np.asarray(moved / (moved + 1 - error))


def doubt(
    found: Judgement,
    error: Floats,
    labels: Ints,
    ids: list[str],
    able: Mask,
    share: float,
    params: Params,
    *,
    reviews: int | None,
) -> Mask:
    """The labels to set aside and ask again, (n,): by gate.policy, among `able`, at most `share` of all.

    threshold: error at least the cost of a review over the cost of an error; budget: what one batch
    can ask; cleanlab: what cleanlab would remove. A doubt that people will not soon be asked about
    costs a label and buys nothing: under `threshold`, beyond what two batches can review, only
    labels that are likelier wrong than right by the model's own, uncorrected account are set aside.
    The most doubtful first, ties by seed and id. Never more than half of a class: a model that
    doubts most labels of a class does not know the class. reviews: how many labels one batch asks
    again; None where nobody is asked, and under `threshold` only what is probably wrong counts.
    """
    limit = int(share * len(labels))
    wanted = able & found.doubts.judged
    if params.gate.policy == "threshold":
        wanted &= error >= params.gate.threshold
    elif params.gate.policy == "cleanlab":
        wanted &= cleanlab_issues(found.scores, labels) | found.conflict
    elif reviews is not None:
        limit = min(limit, reviews)
    soon = 0 if reviews is None else 2 * reviews
    chosen = np.zeros(len(labels), dtype=np.bool_)
    room = np.bincount(labels, minlength=1) // 2
    rows = np.flatnonzero(wanted)
    keys = order_keys(params.seed, (ids[row] for row in rows))
    for place, row in enumerate(rows[np.lexsort((keys, -np.round(error[rows], 9)))]):
        if (
            params.gate.policy == "threshold"
            and place >= soon
            and found.doubts.error[row] < PROBABLY_WRONG
        ):
            continue
        if limit > 0 and room[labels[row]] > 0:
            room[labels[row]] -= 1
            limit -= 1
            chosen[row] = True
    return chosen
