"""The gap between the arms at equal labels, and the labels saved, each with its interval.

Two kinds of chance stand between a measured gap and the strategy's own: which rows were judged (a
paired bootstrap over them) and which labels were drawn (seen by learning again from random halves).
Every interval here holds both.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np

from stages.contract.arrays import Floats, Mask
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.classifier import together
from stages.proof.history import History, LabelSet
from stages.proof.refits import Judge
from stages.proof.tables import Gap, Saving

INTERVAL = (0.025, 0.975)
HALVES = 10  # random halves of each arm's labels that are learnt
STEPS = 9  # points of the active curve up to equal labels,
BEYOND = 5  # and from there to all active labels
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


def spread_of_draws(halves: Floats) -> float:
    """The standard deviation of a mean gap over draws of the labels alone.

    halves: (repeats, m), the gap of each judged row, each repeat learnt from random halves. A half
    drawn without replacement varies as the whole does. What rows and draws do together is taken out
    (two-way analysis of variance): the bootstrap over rows holds it already. Source: Politis,
    Romano, "Large sample confidence regions based on subsamples under minimal assumptions" (1994);
    Scheffe, "The analysis of variance" (1959).
    """
    repeats, rows = halves.shape
    means = halves.mean(axis=1)
    residuals = halves - means[:, None] - halves.mean(axis=0) + halves.mean()
    degrees = (repeats - 1) * max(rows - 1, 1)
    interaction = (residuals**2).sum() / degrees / rows
    return float(np.sqrt(max(0.0, means.var(ddof=1) - interaction)))


def gap_and_saving(arms: Arms, draws: int, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Active minus random accuracy at equal labels, and the labels saved at equal accuracy.

    Both with 95 % intervals. The saving is at how many labels random reached the accuracy that it
    has, less at how many the active curve did. It, or a bound of it, is infinite where the active
    curve (or too many of its draws) has not got there; JSON shows that as null.
    Source: Efron, Tibshirani, "An introduction to the bootstrap" (1993).
    """
    rng = np.random.default_rng(seed)
    rows = len(arms.level)
    even = np.full(rows, 1 / rows)
    weights = rng.multinomial(rows, even, size=draws) / rows
    # A spread estimated from few halves makes the shift of a draw t-distributed.
    shifts = spread_of_draws(arms.halves) * rng.standard_t(len(arms.halves) - 1, draws)
    gaps = arms.level - arms.random[-1]
    low, high = np.quantile(weights @ gaps + shifts, INTERVAL)
    gap = {"active_minus_random": float(gaps.mean()), "low": float(low), "high": float(high)}
    # The first row is what was measured, the others are its draws.
    saved = _saved(arms, np.vstack([even, weights]), np.append(0.0, shifts))
    low, high = np.quantile(saved[1:], INTERVAL, method="inverted_cdf")
    return gap, {"saved": float(saved[0]), "low": float(low), "high": float(high)}


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
    seeded = sum(item in history.seed_ids for item in active)
    arms = None
    if equal - seeded >= 2:
        sets = _label_sets(active, random, history.seed_ids, params.seed)
        arms = _judged(sets, judge, upto, seeded, n_jobs)
    if arms is None:
        no_gap: Gap = {"labels": equal, "active_minus_random": None, "low": None, "high": None}
        no_saving: Saving = {"labels": equal, "saved": None, "low": None, "high": None}
        return no_gap, no_saving
    gap, saving = gap_and_saving(arms, params.validate_.bootstrap, params.seed)
    return (
        {
            "labels": equal,
            "active_minus_random": gap["active_minus_random"],
            "low": gap["low"],
            "high": gap["high"],
        },
        {
            "labels": equal,
            "saved": saving["saved"],
            "low": saving["low"],
            "high": saving["high"],
        },
    )


def _label_sets(
    active: LabelSet, random: LabelSet, seed_ids: frozenset[str], seed: int
) -> _LabelSets:
    equal = min(len(random), len(active))
    seeded = sum(item in seed_ids for item in active)
    up_to_equal = np.linspace(seeded, equal, STEPS)
    beyond = np.linspace(equal, len(active), BEYOND)
    counts = np.unique(np.concatenate([up_to_equal, beyond]).round().astype(int)).tolist()
    firsts = {count: _first(active, count) for count in counts}
    level = _first(random, equal)
    seeds = range(seed + 1, seed + HALVES + 1)
    return _LabelSets(
        active=firsts,
        random=level,
        active_halves=[half(firsts[equal], seed_ids, number) for number in seeds],
        random_halves=[half(level, seed_ids, number) for number in seeds],
    )


def _first(labelled: LabelSet, count: int) -> LabelSet:
    return dict(islice(labelled.items(), count))


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
