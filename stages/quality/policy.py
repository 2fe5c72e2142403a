"""The policy: which of the labels that may be wrong are doubted, set aside and asked again."""

from __future__ import annotations

import math

import numpy as np

from stages.contract.arrays import Floats, Ints, Mask
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.scoring import softmax
from stages.quality.judgement import Judgement, LabelledRows

# Of the correction by past reviews, in log odds of error: prior deviation, least, and most.
SHIFT_PRIOR = 0.5
SHIFT_LEAST = -3.0
SHIFT_MOST = 1.0
PROBABLY_WRONG = 0.5


def cleanlab_issues(scores: Floats, labels: Ints) -> Mask:
    """Label errors as cleanlab chooses them, (n,): `find_label_issues` as it comes.

    Source: Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in dataset labels"
    (2021).
    """
    from cleanlab.filter import find_label_issues

    # cleanlab fails on a class that no label names
    classes, columns = np.unique(labels, return_inverse=True)
    issues = find_label_issues(columns, softmax(scores[:, classes]), n_jobs=1)
    return np.asarray(issues, dtype=np.bool_)


def reviewed_shift(scores: Floats, wrong: Mask) -> float:
    """By how much the log odds of error are to be moved, given how n past doubts ended.

    scores: the error probabilities (n,) of those doubts; wrong (n,): whether the label was. Doubts
    that were confirmed lower the odds, contradicted ones raise them; 0 without any. Maximum a
    posteriori with a normal prior of deviation SHIFT_PRIOR, and at most SHIFT_MOST: reviews look
    only at the most doubtful labels, and what they teach about those must not turn the many that
    nobody doubted into suspects.
    """
    from scipy.optimize import minimize_scalar

    if not len(scores):
        return 0.0
    clipped = np.clip(scores, 0.01, 0.99)
    odds = np.log(clipped / (1 - clipped))

    def loss(shift: float) -> float:
        """Negative log posterior."""
        moved = odds + shift
        likelihood = np.logaddexp(0, moved).sum() - moved[wrong].sum()
        return float(likelihood + shift**2 / (2 * SHIFT_PRIOR**2))

    return float(minimize_scalar(loss, bounds=(SHIFT_LEAST, SHIFT_MOST), method="bounded").x)


def shifted(error: Floats, shift: float) -> Floats:
    """Probabilities with their log odds moved by `shift`; 0 and 1 stay."""
    moved = error * math.exp(shift)
    return np.asarray(moved / (moved + 1 - error))


def choose_doubts(
    judgement: Judgement,
    rows: LabelledRows,
    params: Params,
    *,
    share: float,
    reviews: int | None,
    error: Floats | None = None,
    may_doubt: Mask | None = None,
) -> Mask:
    """The labels to set aside and ask again, (n,): by gate.policy, at most `share` of all.

    threshold: error at least the cost of a review over the cost of an error; budget: what one batch
    can ask; cleanlab: what cleanlab would remove. A doubt that people will not soon be asked about
    costs a label and buys nothing: under `threshold`, beyond what two batches can review, only
    labels that are likelier wrong than right by the model's own, uncorrected account are set aside.
    The most doubtful first, ties by seed and id. Never more than half of a class: a model that
    doubts most labels of a class does not know the class.

    error: the probabilities (n,) to go by, if not the judgement's own; may_doubt (n,): which labels
    may be doubted, all if None; reviews: how many labels one batch asks again, None where nobody is
    asked (then `threshold` counts only what is probably wrong).
    """
    if error is None:
        error = judgement.errors.probability
    wanted = _wanted(judgement, error, rows.labels, params)
    if may_doubt is not None:
        wanted &= may_doubt
    candidates = np.flatnonzero(wanted)
    keys = order_keys(params.seed, (rows.ids[row] for row in candidates))
    candidates = candidates[np.lexsort((keys, -np.round(error[candidates], 9)))]
    limit = int(share * len(rows.labels))
    if params.gate.policy == "budget" and reviews is not None:
        limit = min(limit, reviews)
    if params.gate.policy == "threshold":
        soon = 0 if reviews is None else 2 * reviews
        probably = judgement.errors.probability[candidates] >= PROBABLY_WRONG
        candidates = candidates[probably | (np.arange(len(candidates)) < soon)]
    kept = _at_most_half_of_a_class(candidates, rows.labels)[:limit]
    return np.isin(np.arange(len(rows.labels)), kept)


def _wanted(judgement: Judgement, error: Floats, labels: Ints, params: Params) -> Mask:
    """The judged labels that the policy would doubt if there were no limits, (n,)."""
    judged = judgement.errors.judged
    if params.gate.policy == "threshold":
        return np.asarray(judged & (error >= params.gate.threshold))
    if params.gate.policy == "cleanlab":
        issues = cleanlab_issues(judgement.scores, labels)
        return np.asarray(judged & (issues | judgement.conflict))
    return judged.copy()


def _at_most_half_of_a_class(candidates: Ints, labels: Ints) -> Ints:
    """The candidates, in their order, without those beyond half of their class's labels."""
    room = np.bincount(labels, minlength=1) // 2
    kept = []
    for row in candidates:
        if room[labels[row]] > 0:
            room[labels[row]] -= 1
            kept.append(row)
    return np.array(kept, dtype=np.intp)
