"""The error model: how probable it is that a label is wrong, given what the witnesses say."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from stages.contract.arrays import Floats, Ints, Mask
from stages.learning.scoring import softmax, wilson
from stages.quality.witnesses import BLOCK, FIT_ROWS, MIN_LABELS, TINY

TEMPERATURES = tuple(
    1.5 * 0.8**step for step in range(14)
)  # of the truth, relative to a calibrated model
LONE_WITNESS = (
    0.32  # the temperature at most, where nothing tells how far a model's doubt is ignorance
)
SUREST = 0.2  # share of the rows, those where a lone witness is surest, on which its contradictions are believed
PRIOR_WRONG, PRIOR_RIGHT = (
    1.0,
    19.0,
)  # before any evidence: one label in twenty is wrong, worth twenty labels
PRIOR_CONFUSION = 10.0  # labels' worth of belief that mistakes fall evenly on the other classes
MIN_EVIDENCE = 2.0  # standard errors by which labels must fit the scores better than shuffled ones, to be judged


@dataclass(frozen=True)
class Doubts:
    """What is known about n labels: how likely each is wrong, and what it should be instead.

    error     (n,) probability in [0, 1] that the label is wrong; 0 where not judged suggested (n,)
    the likeliest other class, or the label itself where not judged judged    (n,) False where the
    evidence is too thin: few labels in all or of the class, or a model without a clue noise
    estimated share of wrong labels among the judged ones, in [0, 1] sharpness temperature at which
    softmax(scores / sharpness) are the chances of the true class
    """

    error: Floats
    suggested: Ints
    judged: Mask
    noise: float
    sharpness: float = 1.0


def doubts(scores: Floats, labels: Ints, min_class: int, witnessed: float | None = None) -> Doubts:
    """How likely each of n labels is wrong, from calibrated out-of-sample logits (n, k) and class indices (n,).

    A label is either right, drawn from softmax(scores / t), or wrong: a true class y drawn from it
    was taken for the label with chance q[y, label]. The share of wrong labels, q and t are fitted
    by maximum a posteriori (EM). So far only mistakes that no doubt of the model explains are
    found. Calibrated to wrong labels, a model takes the others for its own ignorance; how many
    those are, `witnessed` tells (the share of wrong labels by `disagreement`). Witnesses that
    learned from such mistakes repeat about half of them, so their excess counts twice, and t is
    lowered until the fitted share of wrong labels is as large. A lone witness is taken at the
    likeliest t or LONE_WITNESS, the lower of the two, and sharper still until as many are wrong as
    it contradicts where it is surest. Sources: for the noise model, Natarajan et al., "Learning
    with noisy labels" (2013); for EM over it, Dawid, Skene, "Maximum likelihood estimation of
    observer error-rates using the EM algorithm" (1979).
    """
    n, k = scores.shape
    counts = np.bincount(labels, minlength=k)
    judged = counts[labels] >= min_class
    classes = np.flatnonzero(counts)
    if judged.sum() < MIN_LABELS or len(classes) < 2:
        return unjudged(labels)
    place, rows = np.searchsorted(classes, labels), np.flatnonzero(judged)
    narrow = scores[:, classes]
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), FIT_ROWS)).astype(np.intp)]
    if _evidence(softmax(narrow[some]), place[some]) < MIN_EVIDENCE:
        return unjudged(labels)
    fitted = _fit_sharpness(narrow[some], place[some], witnessed)
    error, suggested = np.zeros(n), labels.copy()
    for part in np.array_split(rows, max(1, len(rows) * len(classes) // BLOCK)):
        own, other = _explained(
            softmax(narrow[part], fitted.temperature), place[part], fitted.confusion
        )
        mistaken = fitted.wrong * other.sum(axis=1)
        error[part] = mistaken / (mistaken + (1 - fitted.wrong) * own + TINY)
        other[np.arange(len(part)), place[part]] = -1
        suggested[part] = classes[other.argmax(axis=1)]
    return Doubts(error, suggested, judged, float(error[judged].mean()), fitted.temperature)


def _evidence(chances: Floats, place: Ints) -> float:
    """How much better labels fit their chances (n, k) than the same labels shuffled do, in standard errors.

    Source: the permutation moments of Mantel, "The detection of disease clustering ..." (1967).
    """
    told, given = chances - chances.mean(axis=0), np.eye(chances.shape[1])[place]
    given -= given.mean(axis=0)
    variance = float(((told.T @ told) * (given.T @ given)).sum()) / max(len(place) - 1, 1)
    return float((told * given).sum()) / math.sqrt(variance) if variance > 0 else 0.0


@dataclass(frozen=True)
class _Fit:
    """The error model: log posterior, share of wrong labels, q (k, k), and the temperature it was fitted at."""

    posterior: float
    wrong: float
    confusion: Floats
    temperature: float


def _fit_sharpness(scores: Floats, place: Ints, witnessed: float | None) -> _Fit:
    """The likeliest temperature and, from there, the sharper one at which enough labels are wrong (see `doubts`)."""
    fits = (_Fit(*_fit_errors(softmax(scores, t), place), t) for t in TEMPERATURES)
    likeliest = now = next(fits)
    for now in fits:
        if now.posterior < likeliest.posterior:
            break
        likeliest = now
    tried, sharper = [likeliest], chain([now], fits)
    if witnessed is None:
        while tried[-1].temperature > LONE_WITNESS:
            tried = [next(sharper)]
        goal = _surely_contradicted(scores, place)
    else:
        goal = 2 * witnessed - likeliest.wrong
    while tried[-1].wrong < goal and (one := next(sharper, None)):
        tried.append(one)
    return min(tried, key=lambda one: abs(one.wrong - goal))


def _surely_contradicted(scores: Floats, place: Ints) -> float:
    """Share of labels that differ from the likeliest class among the SUREST of rows, its lower Wilson bound (95 %).

    Where a witness is surest the truth is clear, so that the label must be wrong; and clear
    examples are mistaken no more often than others. So it bounds the share of wrong labels from
    below.
    Source: the anchor points of Liu, Tao, "Classification with noisy labels by importance
    reweighting" (2016).
    """
    ranked = np.partition(scores, -2, axis=1)
    rows = np.argsort(ranked[:, -2] - ranked[:, -1], kind="stable")[
        : max(1, int(SUREST * len(scores)))
    ]
    against = int((scores[rows].argmax(axis=1) != place[rows]).sum())
    return wilson(against, len(rows))[0]


def _explained(chances: Floats, place: Ints, confusion: Floats) -> tuple[Floats, Floats]:
    """The chance of each label if it is right (n,), and by each other true class if it is wrong (n, k)."""
    at = np.arange(len(place))
    other = chances * confusion[:, place].T
    other[at, place] = 0
    return chances[at, place], other


def _fit_errors(chances: Floats, place: Ints) -> tuple[float, float, Floats]:
    """Log posterior, share of wrong labels, and q (k, k): the chance that a wrong label of true class y is z."""
    n, k = chances.shape
    even = np.full((k, k), 1 / (k - 1))
    np.fill_diagonal(even, 0)
    confusion, wrong = even, PRIOR_WRONG / (PRIOR_WRONG + PRIOR_RIGHT)
    posterior = -math.inf
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(k))
    present = np.flatnonzero(np.bincount(place, minlength=k))
    for _ in range(30):
        own, other = _explained(chances, place, confusion)
        mistaken = wrong * other.sum(axis=1)
        total = mistaken + (1 - wrong) * own + TINY
        before, posterior = posterior, float(np.log(total).sum())
        posterior += PRIOR_WRONG * math.log(wrong) + PRIOR_RIGHT * math.log1p(-wrong)
        posterior += PRIOR_CONFUSION * float((even * np.log(confusion + TINY))[even > 0].sum())
        flips = np.zeros((k, k))
        flips[:, present] = np.add.reduceat(
            (other * (wrong / total)[:, None])[order], starts[present], axis=0
        ).T
        confusion = (flips + PRIOR_CONFUSION * even) / (
            flips.sum(axis=1, keepdims=True) + PRIOR_CONFUSION
        )
        wrong = (float((mistaken / total).sum()) + PRIOR_WRONG) / (n + PRIOR_WRONG + PRIOR_RIGHT)
        if posterior - before < 1e-4 * n:
            break
    return posterior, wrong, confusion


def not_known(found: Doubts, labels: Ints, seen: Mask) -> Doubts:
    """The doubts without those about rows that are like nothing else, and none surer than n labels allow.

    By Laplace's rule of succession n labels cannot make a mistake likelier than (n + 1) / (n + 2).
    """
    judged = found.judged & seen
    n = int(judged.sum())
    error = np.where(judged, found.error * (n + 1) / (n + 2), 0.0)
    noise = float(error[judged].mean()) if n else 0.0
    return replace(
        found,
        error=error,
        suggested=np.where(judged, found.suggested, labels),
        judged=judged,
        noise=noise,
    )


def unjudged(labels: Ints) -> Doubts:
    """No doubt about any label, for want of evidence."""
    return Doubts(np.zeros(len(labels)), labels.copy(), np.zeros(len(labels), dtype=np.bool_), 0.0)
