"""The gap between the arms at equal labels, and the labels saved, each with its interval.

Two kinds of chance stand between a measured gap and the strategy's own: which rows were judged (a
paired bootstrap over them) and which labels were drawn (seen by learning again from random halves).
Every interval here holds both.

People look every round, and by chance alone some round will look good. So each interval comes
twice: for one look that was fixed beforehand, and for any look, which is right at all rounds
together. What the product claims rests on the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.contract.arrays import Floats, Mask
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.classifier import together
from stages.proof.history import History, LabelSet, first_labels
from stages.proof.refits import Judge
from stages.proof.tables import Gap, Interval, Saving

INTERVAL = (0.025, 0.975)
HALVES = 10  # random halves of each arm's labels that are learnt
STEPS = 9  # points of the active curve up to equal labels,
BEYOND = 5  # and from there to all active labels
LEVEL = 0.05  # of all looks together
FIRST_LABELS = 30  # control labels from which on a gap can be told: there the first look counts
EQUAL = 5e-10  # accuracies that differ by less are equal: weighted means round differently


@dataclass(frozen=True)
class Arms:
    """What both arms get right of the m judged rows.

    active: (points, m), the active curve with its label counts `labels`, rising; random: (few, m),
    the random curve with its label counts `counts`, rising; level: (m,) active with as many labels
    as random's last point; halves: (repeats, m) active minus random, each from a random half of its
    labels.
    """

    labels: Floats
    active: Mask
    counts: Floats
    random: Floats
    level: Mask
    halves: Floats


def variances(halves: Floats) -> tuple[float, float]:
    """The variance of the mean gap over repeats, and the part of it that judging few rows makes.

    halves: (repeats, m), the gap of each judged row, each repeat learnt from random halves. A half
    drawn without replacement varies as the whole does. What rows and draws do together (two-way
    analysis of variance) is in the first figure, and the bootstrap over rows holds it already.
    Source: Politis, Romano, "Large sample confidence regions based on subsamples under minimal
    assumptions" (1994); Scheffe, "The analysis of variance" (1959).
    """
    repeats, rows = halves.shape
    means = halves.mean(axis=1)
    residuals = halves - means[:, None] - halves.mean(axis=0) + halves.mean()
    degrees = (repeats - 1) * max(rows - 1, 1)
    return float(means.var(ddof=1)), float((residuals**2).sum() / degrees / rows)


def spreads_of_draws(halves: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Standard deviations (draws,) that a mean gap may have over draws of the labels alone.

    Few repeats know a variance badly, and a difference of two worse, so that it can come out as
    zero. Each draw is a variance that may be behind what was measured; where rows explain nothing,
    a normal shift of such a spread is t-distributed. Source: Weerahandi, "Generalized confidence
    intervals" (1993).
    """
    total, by_rows = variances(halves)
    degrees = len(halves) - 1
    behind = total * degrees / rng.chisquare(degrees, draws)
    return np.asarray(np.sqrt(np.maximum(behind - by_rows, 0)))


def any_look(control: int) -> float:
    """How many standard errors an interval needs to be right at all looks together.

    control: labels of the control arm. Of a gap that is zero at all rounds, one project in twenty
    ever leaves this boundary, however often it is looked at; between 3.0 and 3.7 where a single
    look needs 1.96. It treats the standardised gap as Brownian motion whose clock is the number of
    control labels, which later looks share with earlier ones. Source: Robbins, "Statistical methods
    related to the law of the iterated logarithm" (1970); Waudby-Smith, Arbour, Sinha, Kennedy,
    Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences" (2024).
    """
    clock = max(control, 1) / FIRST_LABELS
    return math.sqrt((1 + 1 / clock) * (math.log(1 + clock) + 2 * math.log(1 / LEVEL)))


def gap_and_saving(arms: Arms, control: int, draws: int, seed: int) -> tuple[Gap, Saving]:
    """Active minus random accuracy at equal labels, and the labels saved at equal accuracy.

    Both with 95 % intervals. control: labels of the control arm. The saving is at how many labels
    random reached the accuracy that it has, less at how many the active curve did. It, or a bound
    of it, is infinite where the active curve (or too many of its draws) has not got there; JSON
    shows that as null.
    Source: Efron, Tibshirani, "An introduction to the bootstrap" (1993).
    """
    rng = np.random.default_rng(seed)
    rows = len(arms.level)
    even = np.full(rows, 1 / rows)
    weights = rng.multinomial(rows, even, size=draws) / rows
    spreads = spreads_of_draws(arms.halves, draws, rng)
    shifts = spreads * rng.standard_normal(draws)
    gaps = arms.level - arms.random[-1]
    # The same draws, spread wider, give the interval of any look.
    wider = _widening(np.hypot(gaps.std() / math.sqrt(rows), spreads), any_look(control))
    wide_weights = even + (weights - even) * wider
    wide_shifts = shifts * wider
    labels = int(arms.counts[-1])
    gap: Gap = {
        "labels": labels,
        "active_minus_random": float(gaps.mean()),
        **_interval(weights @ gaps + shifts),
        "any_look": _interval(wide_weights @ gaps + wide_shifts),
    }
    saving: Saving = {
        "labels": labels,
        "saved": float(_saved(arms, even[None], np.zeros(1))[0]),
        **_interval(_saved(arms, weights, shifts), "inverted_cdf"),
        "any_look": _interval(_saved(arms, wide_weights, wide_shifts), "inverted_cdf"),
    }
    return gap, saving


def _widening(errors: Floats, boundary: float) -> float:
    """How much wider than the 95 % interval that of any look is.

    errors: (draws,) standard errors that the gap may have; boundary: in standard errors. Both
    intervals leave out what a normal error of such a spread leaves out beyond 1.96, and beyond the
    boundary. 1 where there is hardly an error at all.
    """
    from scipy.stats import norm

    once = _half_width(errors, 1 - INTERVAL[1])
    return _half_width(errors, norm.sf(boundary)) / once if once else 1.0


def _half_width(errors: Floats, tail: float) -> float:
    """What a normal error of such a spread exceeds with a chance of `tail`; 0 if it never does."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    likely = errors[errors > 0]
    if len(likely) / 2 <= tail * len(errors):
        return 0.0

    def excess(bound: float) -> float:
        return float(norm.sf(bound / likely).sum() / len(errors) - tail)

    return float(brentq(excess, 0, 100 * likely.max()))


def _interval(draws: Floats, method: Literal["linear", "inverted_cdf"] = "linear") -> Interval:
    """The 95 % interval of some draws."""
    low, high = np.quantile(draws, INTERVAL, method=method)
    return {"low": float(low), "high": float(high)}


def _saved(arms: Arms, weights: Floats, shifts: Floats) -> Floats:
    """The labels saved (draws,), by weights of the judged rows (draws, m) and shifts of the gap."""
    saved = []
    curves = zip(weights @ arms.active.T, weights @ arms.random.T, shifts, strict=True)
    for active, random, shift in curves:
        target = random[-1]
        theirs = labels_to_reach(arms.counts, random, target)
        ours = labels_to_reach(arms.labels, active, target - shift)
        saved.append(theirs - ours)
    return np.array(saved)


def labels_to_reach(labels: Floats, accuracy: Floats, target: float) -> float:
    """The label count at which a curve first reaches `target`; infinite if it never does.

    The curve is made rising by isotonic regression, and is linear between its points. labels: (p,)
    rising. Never less than the first point's count. Equal to nine digits is reached.
    """
    from scipy.optimize import isotonic_regression

    rising = isotonic_regression(accuracy).x
    reached = rising >= target - EQUAL
    if not reached[-1]:
        return float("inf")
    first = int(np.argmax(reached))
    if first == 0:
        return float(labels[0])
    before = first - 1
    share = min(1.0, (target - rising[before]) / (rising[first] - rising[before]))
    return float(labels[before] + share * (labels[first] - labels[before]))


@dataclass(frozen=True)
class _LabelSets:
    """The label sets that a comparison learns.

    active: by count, the first so many labels of the active arm; random: the first of the random
    arm, as many as are compared; halves: of each repeat, a random half of both arms' labels.
    """

    active: dict[int, LabelSet]
    random: LabelSet
    active_halves: list[LabelSet]
    random_halves: list[LabelSet]


def compare(history: History, judge: Judge, params: Params, n_jobs: int = 1) -> tuple[Gap, Saving]:
    """The gap between the arms at equal labels, and the labels saved, as known at the last round.

    `labels` is as many as both arms have. The active curve is learnt anew in fine steps, in the
    order in which its labels were asked. Of a longer random arm the first along the permutation are
    taken, which are a random draw too. The random curve is the seed's point, the mean of its
    halves, and its last point: fine steps would be as noisy, and seem to be there sooner. All else
    is None while one of the arms has nothing of its own, or cannot be judged.
    """
    upto = history.rounds
    random = history.arm("random", upto, params.labels, params.seed)
    active = history.arm("active", upto, params.labels, params.seed)
    equal = min(len(random), len(active))
    seeded = sum(item in history.given for item in active)
    arms = None
    if equal - seeded >= 2:
        sets = _label_sets(active, random, history.given, params.seed)
        arms = _judged(sets, judge, upto, seeded, n_jobs)
    if arms is None:
        unknown: Interval = {"low": None, "high": None}
        return (
            {"labels": equal, "active_minus_random": None, **unknown, "any_look": unknown},
            {"labels": equal, "saved": None, **unknown, "any_look": unknown},
        )
    return gap_and_saving(arms, equal - seeded, params.validate_.bootstrap, params.seed)


def _label_sets(
    active: LabelSet, random: LabelSet, seed_ids: frozenset[str], seed: int
) -> _LabelSets:
    equal = min(len(random), len(active))
    seeded = sum(item in seed_ids for item in active)
    up_to_equal = np.linspace(seeded, equal, STEPS)
    beyond = np.linspace(equal, len(active), BEYOND)
    counts = np.unique(np.concatenate([up_to_equal, beyond]).round().astype(int)).tolist()
    firsts = {count: first_labels(active, count) for count in counts}
    level = first_labels(random, equal)
    seeds = range(seed + 1, seed + HALVES + 1)
    return _LabelSets(
        active=firsts,
        random=level,
        active_halves=[half(firsts[equal], seed_ids, number) for number in seeds],
        random_halves=[half(level, seed_ids, number) for number in seeds],
    )


def half(labelled: LabelSet, seed_ids: frozenset[str], seed: int) -> LabelSet:
    """The seed's labels and a random half of the others, the same half of what two arms share."""
    own = [item for item in labelled if item not in seed_ids]
    order = np.argsort(order_keys(seed, own))
    kept = {own[index] for index in order[: (len(own) + 1) // 2]}
    return {item: label for item, label in labelled.items() if item in seed_ids or item in kept}


def _judged(sets: _LabelSets, judge: Judge, upto: int, seeded: int, n_jobs: int) -> Arms | None:
    """What the arms get right; None where too little of it can be judged."""
    wanted = [*sets.active.values(), sets.random, *sets.active_halves, *sets.random_halves]
    judged = together(lambda labelled: judge(labelled, upto), wanted, n_jobs)
    correct = [None if verdict is None else verdict.correct for verdict in judged]
    points = len(sets.active)
    curve = {
        count: right
        for count, right in zip(sets.active, correct[:points], strict=True)
        if right is not None
    }
    equal = len(sets.random)
    level = curve.get(equal)
    random = correct[points]
    ours = correct[points + 1 : points + 1 + HALVES]
    theirs = correct[points + 1 + HALVES :]
    pairs = [
        (active_half, random_half)
        for active_half, random_half in zip(ours, theirs, strict=True)
        if active_half is not None and random_half is not None
    ]
    if level is None or random is None or len(pairs) < 2:
        return None
    halves = np.array(pairs, dtype=np.float64)  # (repeats, arm, m)
    random_curve = {len(sets.random_halves[0]): halves[:, 1].mean(axis=0), equal: random}
    if seeded in curve:
        random_curve = {seeded: curve[seeded], **random_curve}
    return Arms(
        labels=np.array(list(curve), dtype=np.float64),
        active=np.array(list(curve.values())),
        counts=np.array(list(random_curve), dtype=np.float64),
        random=np.array(list(random_curve.values()), dtype=np.float64),
        level=level,
        halves=halves[:, 0] - halves[:, 1],
    )
