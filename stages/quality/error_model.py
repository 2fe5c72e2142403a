"""The error model: how probable it is that each label is wrong, given what the witnesses say.

A label is either right, drawn from softmax(scores / t), or wrong: a true class y drawn from it was
taken for the label with chance q[y, label]. The share of wrong labels, q and the temperature t are
fitted by maximum a posteriori (EM). So far only mistakes are found that the model is too sure of to
explain: calibrated to wrong labels, it takes the others for its own ignorance.

How many those are is told by `disagreement`, the share of wrong labels that the witnesses see.
Witnesses that learned from such mistakes repeat about half of them, so their excess counts twice,
and t is lowered until the fitted share of wrong labels is as large. A lone witness is taken at the
likeliest t or LONE_WITNESS, the lower of the two, and sharper still until as many labels are wrong
as it contradicts where it is surest; one of many labels of three classes
or more by the fit of noise.py.

Where the features are measured numbers and do not determine the class (an outcome, as whether a
credit was paid back), equal rows have different labels without anybody's mistake, and all witnesses
contradict the same ones. That shows: where they are surest they contradict few, in the middle many,
and they agree with each other. There no more labels are wrong than are contradicted where they are
surest.
Sources: for the noise model, Natarajan et al., "Learning with noisy labels" (2013); for EM over it,
Dawid, Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (1979).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain

import numpy as np

from stages.contract.arrays import Floats, Ints, Mask, evenly_spaced
from stages.learning.scoring import softmax, wilson
from stages.quality.noise import (
    MANY_LABELS,
    PARTS,
    PRIOR_CONFUSION,
    PRIOR_RIGHT,
    PRIOR_WRONG,
    TRUTH_TEMPERATURE,
    contradicted_parts,
    lone_posterior,
    sum_by_class,
)
from stages.quality.witnesses import BLOCK, FIT_ROWS, MIN_LABELS, TINY, Neighbours

# Temperatures of the truth that are tried, relative to a model calibrated to the labels.
TEMPERATURES = tuple(1.5 * 0.8**step for step in range(14))
# The highest temperature for a lone witness: nothing tells how much of its doubt is ignorance.
LONE_WITNESS = 0.32
SUREST = 0.2  # share of the rows, those where a lone witness is surest, where it is believed
MIN_EVIDENCE = 2.0  # standard errors by which labels must fit the scores better than shuffled ones
EM_STEPS = 30
# That features do not determine the class is seen where at least so many labels are judged,
TELLING_LABELS = 200
MIDDLE_EXCESS = 0.12  # the middle part is contradicted by so much more than the surest, and
SHARED = 0.45  # so much of what one witness contradicts the others contradict with it
COVERED = 3.0  # similar labels that leave a quarter of the benefit of few labels (see `Coverage`)


@dataclass(frozen=True)
class LabelErrors:
    """What is estimated about n labels: how likely each is wrong, and what it should be instead.

    probability  (n,) that the label is wrong, in [0, 1]; 0 where not judged
    suggested    (n,) the likeliest other class; the label itself where not judged
    judged       (n,) False where the evidence is too thin: few labels in all or of the class, or
                 witnesses without a clue
    share        estimated share of wrong labels among the judged ones, in [0, 1]
    temperature  softmax(scores / temperature) are the chances of the true class
    least        (n,) the least chance that each label has if it is right (see `Coverage`)
    is_outcome   True where the features are found not to determine the class
    """

    probability: Floats
    suggested: Ints
    judged: Mask
    share: float
    temperature: float
    least: Floats
    is_outcome: bool = False


@dataclass(frozen=True)
class Coverage:
    """How many labelled rows are like each of n rows, (n,), and how many of those agree, (n,).

    What the witnesses have not seen is not known: a row that nothing is like is not judged, and of
    one that few are like they cannot be sure, whatever they say.
    """

    similar: Ints
    agreeing: Ints

    @property
    def seen(self) -> Mask:
        """Whether a row is like another one, (n,)."""
        return self.similar > 0

    def least_chance(self, n_classes: int) -> Floats:
        """The least chance of each label if it is right, (n,).

        It is the share of the label among the similar rows, with one more label split evenly
        between the classes, times a weight that fades as these grow in number: 9/16 for one, 1/4
        for three, 1/36 for fifteen. So one row apart is enough of a reason to ask, and where there
        are many labels the witnesses are believed.
        """
        share = (self.agreeing + 1 / n_classes) / (self.similar + 1)
        return np.asarray(share * (COVERED / (COVERED + self.similar)) ** 2)


def coverage_of(near: Neighbours, like: Mask, labels: Ints) -> Coverage:
    """The coverage of n rows by their neighbours; like (n, k): which of these are like the row."""
    agree = labels[near.rows] == labels[:, None]
    return Coverage(like.sum(axis=1), (like & agree).sum(axis=1))


def estimate_errors(
    scores: Floats,
    labels: Ints,
    min_class: int,
    witnessed: float | None = None,
    coverage: Coverage | None = None,
    *,
    measured: bool = False,
) -> LabelErrors:
    """How likely each of n labels is wrong, of calibrated out-of-sample logits and classes (n,).

    scores: (n, k); witnessed: the share of wrong labels by `disagreement`, None for one witness;
    measured: whether the features are numbers that were measured, not what a person looks at.
    With `coverage` rows that nothing is like have no part in the fit and are not judged, and no
    label that is right is taken to be less likely than its `least_chance`. No mistake is taken to
    be likelier than (n + 1) / (n + 2) for n judged labels: Laplace's rule of succession.
    """
    counts = np.bincount(labels, minlength=scores.shape[1])
    judged = counts[labels] >= min_class
    classes = np.flatnonzero(counts)
    least = np.zeros(len(labels))
    if coverage is not None:
        judged &= coverage.seen
        least = coverage.least_chance(len(classes))
    if judged.sum() < MIN_LABELS or len(classes) < 2:
        return unjudged(labels)
    rows = np.flatnonzero(judged)
    # classes without labels have no part in the model: columns are those of `classes` from here on
    scores = scores[rows][:, classes]
    columns = np.searchsorted(classes, labels[rows])
    sample = evenly_spaced(len(rows), FIT_ROWS)
    if _evidence(softmax(scores[sample]), columns[sample]) < MIN_EVIDENCE:
        return unjudged(labels)
    is_outcome = measured and _features_do_not_tell(scores, columns, witnessed)
    wrong, best, temperature = _wrong(
        scores, columns, least[rows], witnessed, is_outcome=is_outcome
    )
    probability = np.zeros(len(labels))
    probability[rows] = wrong * (len(rows) + 1) / (len(rows) + 2)
    suggested = labels.copy()
    suggested[rows] = classes[best]
    share = float(probability[judged].mean())
    return LabelErrors(probability, suggested, judged, share, temperature, least, is_outcome)


def _wrong(
    scores: Floats, columns: Ints, least: Floats, witnessed: float | None, *, is_outcome: bool
) -> tuple[Floats, Ints, float]:
    """How probable it is that each label is wrong, its likeliest other class, the temperature."""
    if witnessed is None and len(columns) >= MANY_LABELS and scores.shape[1] > 2:
        return *lone_posterior(scores, columns, least), TRUTH_TEMPERATURE
    goal = _surest_contradicted(scores, columns) if is_outcome else None
    sample = evenly_spaced(len(columns), FIT_ROWS)
    fit = _fit_temperature(scores[sample], columns[sample], least[sample], witnessed, goal)
    return *_posteriors(scores, columns, least, fit), fit.temperature


def _features_do_not_tell(scores: Floats, columns: Ints, witnessed: float | None) -> bool:
    """Whether the labels look like outcomes that measured numbers do not determine.

    witnessed: by `disagreement`; False for one witness and below TELLING_LABELS. The limits were
    set on german, diabetes and heart against nine other sets (docs/benchmarks.md).
    """
    if witnessed is None or len(columns) < TELLING_LABELS:
        return False
    parts = contradicted_parts(scores, columns)
    surest = float(parts[0].mean())
    middle = float(parts[PARTS // 2].mean())
    contradicted = float(np.concatenate(parts).mean())
    return middle - surest > MIDDLE_EXCESS and witnessed > max(surest, SHARED * contradicted)


def _surest_contradicted(scores: Floats, columns: Ints) -> float:
    """The share of the labels that is contradicted in the part of the rows that is surest."""
    return float(contradicted_parts(scores, columns)[0].mean())


def _posteriors(scores: Floats, columns: Ints, least: Floats, fit: _Fit) -> tuple[Floats, Ints]:
    """`_posterior` of all rows, block by block."""
    wrong = np.zeros(len(columns))
    best = columns.copy()
    for block in np.array_split(np.arange(len(columns)), max(1, scores.size // BLOCK)):
        parts = (scores[block], columns[block], least[block])
        wrong[block], best[block] = _posterior(*parts, fit)
    return wrong, best


def _posterior(scores: Floats, columns: Ints, least: Floats, fit: _Fit) -> tuple[Floats, Ints]:
    """The probability that each label is wrong, (n,), and its likeliest other class (a column)."""
    chances = softmax(scores, fit.temperature)
    own, other = _explained(chances, columns, least, fit.confusion)
    mistaken = fit.wrong * other.sum(axis=1)
    probability = mistaken / (mistaken + (1 - fit.wrong) * own + TINY)
    other[np.arange(len(columns)), columns] = -1
    return probability, other.argmax(axis=1)


def _evidence(chances: Floats, columns: Ints) -> float:
    """How much better labels fit their chances (n, k) than shuffled labels do, in standard errors.

    Source: the permutation moments of Mantel, "The detection of disease clustering ..." (1967).
    """
    predicted = chances - chances.mean(axis=0)
    labels = np.eye(chances.shape[1])[columns]
    labels -= labels.mean(axis=0)
    products = (predicted.T @ predicted) * (labels.T @ labels)
    variance = float(products.sum()) / max(len(columns) - 1, 1)
    if variance <= 0:
        return 0.0
    return float((predicted * labels).sum()) / math.sqrt(variance)


@dataclass(frozen=True)
class _Fit:
    """The error model: log posterior, share of wrong labels, q (k, k), and its temperature."""

    posterior: float
    wrong: float
    confusion: Floats
    temperature: float


def _fit_temperature(
    scores: Floats,
    columns: Ints,
    least: Floats,
    witnessed: float | None,
    share: float | None = None,
) -> _Fit:
    """The fit at the likeliest temperature, or at the sharper one at which enough labels are wrong.

    Enough: see the module's text. Temperatures are tried from the highest down. share: of wrong
    labels, where that is known already; then the fit at the temperature that comes nearest.
    """
    if share is not None:
        every = [_fit_errors(scores, columns, least, temperature) for temperature in TEMPERATURES]
        return min(every, key=lambda fit: abs(fit.wrong - share))
    fits = (_fit_errors(scores, columns, least, temperature) for temperature in TEMPERATURES)
    likeliest = current = next(fits)
    for current in fits:
        if current.posterior < likeliest.posterior:
            break
        likeliest = current
    sharper = chain([current], fits)
    tried = [likeliest]
    if witnessed is None:
        while tried[-1].temperature > LONE_WITNESS:
            tried = [next(sharper)]
        goal = _surely_contradicted(scores, columns)
    else:
        goal = 2 * witnessed - likeliest.wrong
    while tried[-1].wrong < goal and (fit := next(sharper, None)):
        tried.append(fit)
    return min(tried, key=lambda fit: abs(fit.wrong - goal))


def _surely_contradicted(scores: Floats, columns: Ints) -> float:
    """A lower bound of the share of wrong labels, from the rows where a lone witness is surest.

    Where a witness is surest the truth is clear, so a label that differs from its likeliest class
    must be wrong; and clear examples are mistaken no more often than others. The bound is the lower
    end of the Wilson interval (95 %) of that share among the SUREST of the rows.
    Source: the anchor points of Liu, Tao, "Classification with noisy labels by importance
    reweighting" (2016).
    """
    ranked = np.partition(scores, -2, axis=1)
    lead = ranked[:, -1] - ranked[:, -2]
    rows = np.argsort(-lead, kind="stable")[: max(1, int(SUREST * len(scores)))]
    contradicted = int((scores[rows].argmax(axis=1) != columns[rows]).sum())
    return wilson(contradicted, len(rows))[0]


def _explained(
    chances: Floats, columns: Ints, least: Floats, confusion: Floats
) -> tuple[Floats, Floats]:
    """The chance of each label if right (n,), and by each other true class if wrong (n, k)."""
    at = np.arange(len(columns))
    other = chances * confusion[:, columns].T
    other[at, columns] = 0
    return np.maximum(chances[at, columns], least), other


def _fit_errors(scores: Floats, columns: Ints, least: Floats, temperature: float) -> _Fit:
    """The share of wrong labels and q (k, k), by EM, if the true classes have this temperature."""
    chances = softmax(scores, temperature)
    n, k = chances.shape
    even = np.full((k, k), 1 / (k - 1))
    np.fill_diagonal(even, 0)
    confusion = even
    wrong = PRIOR_WRONG / (PRIOR_WRONG + PRIOR_RIGHT)
    posterior = -math.inf
    for _ in range(EM_STEPS):
        own, other = _explained(chances, columns, least, confusion)
        mistaken = wrong * other.sum(axis=1)
        total = mistaken + (1 - wrong) * own + TINY
        before = posterior
        posterior = float(np.log(total).sum()) + _log_prior(wrong, confusion, even)
        # how often each class is taken for each, given the present parameters
        flips = sum_by_class(other * (wrong / total)[:, None], columns)
        rows = flips.sum(axis=1, keepdims=True)
        confusion = (flips + PRIOR_CONFUSION * even) / (rows + PRIOR_CONFUSION)
        wrong = (float((mistaken / total).sum()) + PRIOR_WRONG) / (n + PRIOR_WRONG + PRIOR_RIGHT)
        if posterior - before < 1e-4 * n:
            break
    return _Fit(posterior, wrong, confusion, temperature)


def _log_prior(wrong: float, confusion: Floats, even: Floats) -> float:
    """The log of the priors: Beta for the share of wrong labels, Dirichlet for the rows of q."""
    of_share = PRIOR_WRONG * math.log(wrong) + PRIOR_RIGHT * math.log1p(-wrong)
    of_classes = (even * np.log(confusion + TINY))[even > 0].sum()
    return of_share + PRIOR_CONFUSION * float(of_classes)


def unjudged(labels: Ints) -> LabelErrors:
    """No label is judged, for want of evidence."""
    n = len(labels)
    judged = np.zeros(n, dtype=np.bool_)
    return LabelErrors(np.zeros(n), labels.copy(), judged, 0.0, 1.0, np.zeros(n))
