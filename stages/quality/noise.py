"""How people err, as one witness alone sees it: by class, and oftener on hard rows than on clear.

A label is right, drawn from softmax(scores / TRUTH_TEMPERATURE), or wrong: a true class drawn from
it was taken for the label. How often each class is mistaken, how much oftener in each fifth of the
rows from the clearest to the hardest, and which class is taken for which are fitted by maximum a
posteriori (EM). Many labels are needed for so many numbers, so error_model.py asks this of a lone
witness of MANY_LABELS or more; several witnesses, and few labels, are judged by its own fit.
Sources: Natarajan et al., "Learning with noisy labels" (2013); Dawid, Skene, "Maximum likelihood
estimation of observer error-rates using the EM algorithm" (1979).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stages.contract.arrays import Floats, Ints, Mask, evenly_spaced
from stages.learning.scoring import softmax
from stages.quality.witnesses import BLOCK, FIT_ROWS, TINY

MANY_LABELS = 1000
# Of a lone witness: nothing tells how much of its doubt is ignorance. Chosen on simulated people
# and CIFAR-10 (docs/benchmarks.md).
TRUTH_TEMPERATURE = 0.26
PRIOR_WRONG = 1.0  # before any evidence one label in twenty is wrong,
PRIOR_RIGHT = 19.0  # a belief worth twenty labels
PRIOR_CONFUSION = 10.0  # labels' worth of belief that mistakes fall evenly on the other classes
PRIOR_OF_CLASS = 20.0  # labels' worth of belief that all classes are mistaken equally often
PRIOR_OF_GROUP = 5.0  # mistakes' worth of belief that hard rows are mistaken as often as clear ones
PARTS = 5  # groups of equal size, by how clear a row is to the witness
MOST_WRONG = 0.95  # of the labels of a class in a group
MOST_SHIFT = 20.0  # of log odds
EM_STEPS = 30
EM_GAIN = 1e-4  # of the log posterior, per label: the least that is worth another step


def lone_posterior(scores: Floats, columns: Ints, least: Floats) -> tuple[Floats, Ints]:
    """The probability that each of n labels is wrong, (n,), and its likeliest other class, (n,).

    scores: (n, k) a witness's logits, calibrated to the labels; columns: (n,) the labels; least:
    (n,) the least chance that each has if it is right. At least as many labels are taken to be
    wrong as the witness contradicts in the fifth of the rows in which it contradicts least.
    """
    sample = evenly_spaced(len(columns), FIT_ROWS)
    noise = _fit_noise(scores[sample], columns[sample], least[sample])
    wrong = np.zeros(len(columns))
    best = columns.copy()
    for block in np.array_split(np.arange(len(columns)), max(1, scores.size // BLOCK)):
        chances = softmax(scores[block], TRUTH_TEMPERATURE)
        rates = noise.rates_of(_lead(scores[block]))
        own, other = _explained(chances, columns[block], least[block], noise.confusion, rates)
        mistaken = other.sum(axis=1)
        wrong[block] = mistaken / (mistaken + own + TINY)
        other[np.arange(len(block)), columns[block]] = -1
        best[block] = other.argmax(axis=1)
    least_share = min(float(part.mean()) for part in contradicted_parts(scores, columns))
    return with_mean(wrong, max(least_share, float(wrong.mean()))), best


def contradicted_parts(scores: Floats, columns: Ints) -> list[Mask]:
    """Which labels the likeliest class contradicts, in PARTS of the rows, the surest first."""
    surest_first = np.argsort(-_lead(scores), kind="stable")
    contradicted = scores.argmax(axis=1) != columns
    return [contradicted[rows] for rows in np.array_split(surest_first, PARTS)]


def with_mean(probability: Floats, share: float) -> Floats:
    """The probabilities (n,) with their log odds all moved alike, so that their mean is `share`.

    0 and 1 stay, so the mean is as near as they allow.
    """
    from scipy.optimize import brentq

    def moved(shift: float) -> Floats:
        odds = probability * np.exp(shift)
        return np.asarray(np.minimum(odds / (odds + 1 - probability), 1.0))

    def beyond(shift: float) -> float:
        return float(moved(shift).mean()) - share

    if not len(probability) or beyond(-MOST_SHIFT) >= 0:
        return moved(-MOST_SHIFT)
    if beyond(MOST_SHIFT) <= 0:
        return moved(MOST_SHIFT)
    return moved(float(brentq(beyond, -MOST_SHIFT, MOST_SHIFT, xtol=1e-9)))


@dataclass(frozen=True)
class _Noise:
    """Who is mistaken for whom, and how often.

    rate       (k,) chance that a label of each true class is wrong, on rows of average difficulty
    factor     (PARTS,) what multiplies it in each group of rows, from the clearest to the hardest
    edges      (PARTS - 1,) the leads that part the groups, descending (see `_lead`)
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
    parts = np.linspace(1, 0, PARTS + 1)[1:-1]
    edges = np.quantile(_lead(scores), parts)
    return _Noise(np.full(k, wrong), np.ones(PARTS), edges, even)


def _explained(
    chances: Floats, columns: Ints, least: Floats, confusion: Floats, rates: Floats
) -> tuple[Floats, Floats]:
    """The chance of each label and that it is right (n,), and by each other true class (n, k)."""
    at = np.arange(len(columns))
    other = chances * rates * confusion[:, columns].T
    other[at, columns] = 0
    right = np.maximum(chances[at, columns], least) * (1 - rates[at, columns])
    return right, other


def _fit_noise(scores: Floats, columns: Ints, least: Floats) -> _Noise:
    """Who errs how, by EM."""
    noise = _no_evidence(scores)
    chances = softmax(scores, TRUTH_TEMPERATURE)
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
        flips = sum_by_class(other, columns)
        mistakes = sum_by_class(other, group, PARTS)
        other[at, columns] = own / total
        noise = _renewed(noise, flips, mistakes, sum_by_class(other, group, PARTS), wrong)
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


def sum_by_class(weights: Floats, columns: Ints, n_columns: int | None = None) -> Floats:
    """The sums of weights (n, k) over the rows of each label, (k, labels)."""
    k = n_columns or weights.shape[1]
    order = np.argsort(columns, kind="stable")
    starts = np.searchsorted(columns[order], np.arange(k))
    present = np.flatnonzero(np.bincount(columns, minlength=k))
    sums = np.zeros((weights.shape[1], k))
    sums[:, present] = np.add.reduceat(weights[order], starts[present], axis=0).T
    return sums
