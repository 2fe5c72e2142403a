"""The error model: how probable it is that each label is wrong, given what the witnesses say.

A label is either right, drawn from softmax(scores / t), or wrong: a true class y drawn from it was
taken for the label with chance q[y, label]. How often each class is mistaken, how much more often
on hard rows than on clear ones, and q are fitted by maximum a posteriori (EM). The temperature t
says how much clearer the examples are to people than to the witnesses. The labels cannot tell it:
a witness calibrated to wrong labels takes them for its own ignorance. So it is fixed, by
benchmarks/gate.py, at SHARPER for several witnesses, and at LONE_WITNESS for one alone.

With several witnesses the fit says which labels are wrong first, and stages/quality/count.py how
many: the odds of all are moved until their mean is that share.
Sources: for the noise model, Natarajan et al., "Learning with noisy labels" (2013); for EM over it,
Dawid, Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (1979).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.contract.arrays import Floats, Ints, Mask
from stages.learning.scoring import softmax
from stages.quality.count import WrongShare, least_share, share_of_wrong, with_mean
from stages.quality.witnesses import BLOCK, FIT_ROWS, MIN_LABELS, TINY, Neighbours

# Temperatures of the truth, relative to witnesses that are calibrated to the labels.
SHARPER = 0.5
LONE_WITNESS = 0.26  # nothing tells how much of its doubt is ignorance
PRIOR_WRONG = 1.0  # before any evidence one label in twenty is wrong,
PRIOR_RIGHT = 19.0  # a belief worth twenty labels
PRIOR_CONFUSION = 10.0  # labels' worth of belief that mistakes fall evenly on the other classes
MIN_EVIDENCE = 2.0  # standard errors by which labels must fit the scores better than shuffled ones
PRIOR_OF_CLASS = 20.0  # labels' worth of belief that all classes are mistaken equally often
PRIOR_OF_GROUP = 5.0  # mistakes' worth of belief that hard rows are mistaken as often as clear ones
DIFFICULTIES = 5  # groups of equal size, by how clear a row is to the witnesses
MOST_WRONG = 0.95  # of the labels of a class in a group
EM_STEPS = 30
EM_GAIN = 1e-4  # of the log posterior, per label: the least that is worth another step
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
    untold       True where the features are found not to determine the class
    """

    probability: Floats
    suggested: Ints
    judged: Mask
    share: float
    temperature: float
    least: Floats
    untold: bool = False


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
    measured: whether the features are measured numbers (see `share_of_wrong`).
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
    logits = scores[rows][:, classes]
    columns = np.searchsorted(classes, labels[rows])
    sample = np.linspace(0, len(rows) - 1, min(len(rows), FIT_ROWS)).astype(np.intp)
    if _evidence(softmax(logits[sample]), columns[sample]) < MIN_EVIDENCE:
        return unjudged(labels)
    temperature = LONE_WITNESS if witnessed is None else SHARPER
    noise = _fit_noise(logits[sample], columns[sample], least[rows[sample]], temperature)
    wrong, best = _posteriors(logits, columns, least[rows], noise, temperature)
    counted = _counted(wrong, logits, columns, witnessed, measured=measured)
    wrong = with_mean(wrong, counted.share)
    probability = np.zeros(len(labels))
    probability[rows] = wrong * (len(rows) + 1) / (len(rows) + 2)
    suggested = labels.copy()
    suggested[rows] = classes[best]
    share = float(probability[rows].mean())
    return LabelErrors(
        probability, suggested, judged, share, temperature, least, counted.features_do_not_tell
    )


def _counted(
    wrong: Floats, logits: Floats, columns: Ints, witnessed: float | None, *, measured: bool
) -> WrongShare:
    """How many labels are wrong: of a lone witness what the fit finds, if that is enough."""
    if witnessed is not None:
        return share_of_wrong(logits, columns, witnessed, measured=measured)
    share = max(least_share(logits, columns), float(wrong.mean()))
    return WrongShare(share, features_do_not_tell=False)


def _posteriors(
    scores: Floats, columns: Ints, least: Floats, noise: _Noise, temperature: float
) -> tuple[Floats, Ints]:
    """`_posterior` of all rows, block by block."""
    wrong = np.zeros(len(columns))
    best = columns.copy()
    everything = np.arange(len(columns))
    for block in np.array_split(everything, max(1, scores.size // BLOCK)):
        parts = (scores[block], columns[block], least[block])
        wrong[block], best[block] = _posterior(*parts, noise, temperature)
    return wrong, best


def _posterior(
    scores: Floats, columns: Ints, least: Floats, noise: _Noise, temperature: float
) -> tuple[Floats, Ints]:
    """The probability that each label is wrong, (n,), and its likeliest other class (a column)."""
    chances = softmax(scores, temperature)
    rates = noise.rates_of(_lead(scores))
    own, other = _explained(chances, columns, least, noise.confusion, rates)
    mistaken = other.sum(axis=1)
    probability = mistaken / (mistaken + own + TINY)
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
class _Noise:
    """Who is mistaken for whom, and how often.

    rate       (k,) chance that a label of each true class is wrong, on rows of average difficulty
    factor     (g,) what multiplies it in each group of rows, from the clearest to the hardest
    edges      (g - 1,) the leads that part the groups, descending (see `_lead`)
    confusion  (k, k) which class is taken for which, if the label is wrong: rows sum to 1
    """

    rate: Floats
    factor: Floats
    edges: Floats
    confusion: Floats

    def group_of(self, lead: Floats) -> Ints:
        """The group of rows with these leads, (n,)."""
        return np.searchsorted(-self.edges, -lead, side="left").astype(np.intp)

    def rates_of(self, lead: Floats) -> Floats:
        """The chance that a row's label is wrong if its true class is each of k, (n, k)."""
        by_group = np.minimum(np.outer(self.factor, self.rate), MOST_WRONG)
        return np.asarray(by_group[self.group_of(lead)])


def _lead(scores: Floats) -> Floats:
    """By how much the likeliest class leads the next, in logits, (n,): how clear each row is."""
    ranked = np.partition(scores, -2, axis=1)
    return np.asarray(ranked[:, -1] - ranked[:, -2])


def _no_evidence(scores: Floats) -> _Noise:
    """The noise before any evidence: as the priors have it, alike for all classes and rows."""
    k = scores.shape[1]
    even = np.full((k, k), 1 / (k - 1))
    np.fill_diagonal(even, 0)
    wrong = PRIOR_WRONG / (PRIOR_WRONG + PRIOR_RIGHT)
    parts = np.linspace(1, 0, DIFFICULTIES + 1)[1:-1]
    edges = np.quantile(_lead(scores), parts)
    return _Noise(np.full(k, wrong), np.ones(DIFFICULTIES), edges, even)


def _explained(
    chances: Floats, columns: Ints, least: Floats, confusion: Floats, rates: Floats
) -> tuple[Floats, Floats]:
    """The chance of each label and that it is right (n,), and by each other true class (n, k)."""
    at = np.arange(len(columns))
    other = chances * rates * confusion[:, columns].T
    other[at, columns] = 0
    right = np.maximum(chances[at, columns], least) * (1 - rates[at, columns])
    return right, other


def _fit_noise(scores: Floats, columns: Ints, least: Floats, temperature: float) -> _Noise:
    """Who errs how, by EM, if the true classes have this temperature."""
    noise = _no_evidence(scores)
    chances = softmax(scores, temperature)
    at = np.arange(len(columns))
    lead = _lead(scores)
    group = noise.group_of(lead)
    posterior = -math.inf
    for _ in range(EM_STEPS):
        own, other = _explained(chances, columns, least, noise.confusion, noise.rates_of(lead))
        total = own + other.sum(axis=1) + TINY
        before = posterior
        posterior = float(np.log(total).sum()) + _log_prior(noise)
        other /= total[:, None]
        wrong = float(other.sum() + PRIOR_WRONG) / (len(at) + PRIOR_WRONG + PRIOR_RIGHT)
        # how often each class is taken for each, given the present parameters
        flips = _sum_by_class(other, columns)
        mistakes = _sum_by_class(other, group, DIFFICULTIES)
        other[at, columns] = own / total
        noise = _renewed(noise, flips, mistakes, _sum_by_class(other, group, DIFFICULTIES), wrong)
        if posterior - before < EM_GAIN * len(at):
            break
    return noise


def _renewed(noise: _Noise, flips: Floats, mistakes: Floats, rows: Floats, wrong: float) -> _Noise:
    """The likeliest noise, given how often each class was taken for each (k, k).

    mistakes, rows (k, g): the expected number of wrong labels and of labels, by true class and by
    difficulty. Rates are taken as products of a class's and a group's, each fitted in turn.
    """
    k = len(noise.rate)
    even = (1 - np.eye(k)) / (k - 1)
    confusion = flips + PRIOR_CONFUSION * even
    confusion /= confusion.sum(axis=1, keepdims=True)
    rate = (mistakes.sum(axis=1) + PRIOR_OF_CLASS * wrong) / (rows @ noise.factor + PRIOR_OF_CLASS)
    factor = (mistakes.sum(axis=0) + PRIOR_OF_GROUP) / (rate @ rows + PRIOR_OF_GROUP)
    return _Noise(rate, factor, noise.edges, confusion)


def _log_prior(noise: _Noise) -> float:
    """The log of the priors: Beta for the rates, Gamma for the groups, Dirichlet for confusion."""
    k = len(noise.rate)
    wrong = float(np.minimum(noise.rate, MOST_WRONG).mean())
    of_share = PRIOR_WRONG * math.log(wrong) + PRIOR_RIGHT * math.log1p(-wrong)
    others = ~np.eye(k, dtype=np.bool_)
    of_classes = np.log(noise.confusion[others] + TINY).sum() / (k - 1)
    of_groups = (np.log(noise.factor) - noise.factor).sum()
    return of_share + PRIOR_CONFUSION * float(of_classes) + PRIOR_OF_GROUP * float(of_groups)


def _sum_by_class(weights: Floats, columns: Ints, n_columns: int | None = None) -> Floats:
    """The sums of weights (n, k) over the rows of each label, (k, labels)."""
    k = n_columns or weights.shape[1]
    order = np.argsort(columns, kind="stable")
    starts = np.searchsorted(columns[order], np.arange(k))
    present = np.flatnonzero(np.bincount(columns, minlength=k))
    sums = np.zeros((weights.shape[1], k))
    sums[:, present] = np.add.reduceat(weights[order], starts[present], axis=0).T
    return sums


def unjudged(labels: Ints) -> LabelErrors:
    """No label is judged, for want of evidence."""
    n = len(labels)
    judged = np.zeros(n, dtype=np.bool_)
    return LabelErrors(np.zeros(n), labels.copy(), judged, 0.0, 1.0, np.zeros(n))
