"""What two learning curves say: the gap at equal labels, the labels saved, what the next labels bring, and minutes.

Two kinds of chance stand between a measured gap and the strategy's own: which rows were judged (a paired bootstrap
over them) and which labels were drawn (seen by learning again from random halves). Every interval here holds both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages._canonical import Row

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
INTERVAL = (0.025, 0.975)
PAUSE = 300.0
CURVATURES = np.geomspace(0.05, 3.0, 60)
NEVER_BELOW = 1e-3  # no measured accuracy is surer than this


@dataclass(frozen=True)
class Arms:
    """What both arms get right of the m judged rows.

    active: (points, m), the active curve with its label counts `labels`, rising; random: (few, m), the random curve
    with its label counts `counts`, rising; level: (m,) active with as many labels as random's last point;
    halves: (repeats, m) active minus random, each from a random half of its labels.
    """

    labels: Floats
    active: Bools
    counts: Floats
    random: Floats
    level: Bools
    halves: Floats


def spread_of_draws(halves: Floats) -> float:
    """The standard deviation of a mean gap over draws of the labels alone, from its gaps on random halves, (r, m).

    A half drawn without replacement varies as the whole does. What rows and draws do together is taken out (two-way
    analysis of variance): the bootstrap over rows holds it already. Source: Politis, Romano, "Large sample confidence
    regions based on subsamples under minimal assumptions" (1994); Scheffe, "The analysis of variance" (1959).
    """
    repeats, rows = halves.shape
    means = halves.mean(axis=1)
    left = halves - means[:, None] - halves.mean(axis=0) + halves.mean()
    within = (left**2).sum() / ((repeats - 1) * max(rows - 1, 1)) / rows
    return float(np.sqrt(max(0.0, means.var(ddof=1) - within)))


def gap_and_saving(arms: Arms, draws: int, seed: int) -> tuple[Row, Row]:
    """Active minus random accuracy at equal labels, and the labels saved at equal accuracy, with 95 % intervals.

    The saving is at how many labels random reached the accuracy that it has, less at how many the active curve did; a
    null is a value or bound not yet known, because the active curve (or too many of its draws) has not got there.
    Source: Efron, Tibshirani, "An introduction to the bootstrap" (1993).
    """
    rng = np.random.default_rng(seed)
    rows = len(arms.level)
    weight = rng.multinomial(rows, np.full(rows, 1 / rows), size=draws) / rows
    chance = spread_of_draws(arms.halves) * rng.standard_t(len(arms.halves) - 1, draws)
    gaps = arms.level - arms.random[-1]
    low, high = np.quantile(weight @ gaps + chance, INTERVAL)
    gap = {"active_minus_random": float(gaps.mean()), "low": float(low), "high": float(high)}
    weight, chance = np.vstack([np.full(rows, 1 / rows), weight]), np.append(0.0, chance)  # first what was measured
    drawn = zip(weight @ arms.active.T, weight @ arms.random.T, chance, strict=True)
    saved = np.array([
        labels_to_reach(arms.counts, theirs, theirs[-1]) - labels_to_reach(arms.labels, ours, theirs[-1] - luck)
        for ours, theirs, luck in drawn
    ])  # fmt: skip
    bounds = np.quantile(saved[1:], INTERVAL, method="inverted_cdf")
    return gap, {"saved": float(saved[0]), "low": float(bounds[0]), "high": float(bounds[1])}


def labels_to_reach(labels: Floats, accuracy: Floats, target: float) -> float:
    """The label count at which a curve, made rising by isotonic regression, first reaches `target`; inf if never.

    labels: (p,) rising. Linear between points; never less than the first point's count. Equal to nine digits is
    reached: weighted means of the same rows differ in their last ones.
    """
    from scipy.optimize import isotonic_regression

    rising = isotonic_regression(accuracy).x
    reached = rising >= target - 5e-10
    if not reached[-1]:
        return float("inf")
    place = int(np.argmax(reached))
    if place == 0:
        return float(labels[0])
    share = min(1.0, (target - rising[place - 1]) / (rising[place] - rising[place - 1]))
    return float(labels[place - 1] + share * (labels[place] - labels[place - 1]))


def next_labels(labels: Floats, accuracy: Floats, ahead: float) -> Row | None:
    """What `ahead` more labels bring, by the inverse power law a - b n^-c: gain with a 95 % band; None below 4 points.

    Least squares over a and b for each c of a grid, averaged with the weight that their fit earns; gain >= 0. The band
    is Student's with n - 3 degrees: from few points little is known.
    Source: Figueroa et al., "Predicting sample size required for classification performance" (2012).
    """
    from scipy.special import stdtrit

    if len(labels) < 4 or labels[0] <= 0 or len(np.unique(labels)) < 4:
        return None
    now = labels[-1]
    fits = []
    for curvature in CURVATURES:
        x = -(labels**-curvature)
        centred = x - x.mean()
        spread = float((centred**2).sum())
        slope = max(0.0, float((centred * accuracy).sum()) / spread)
        left = float(((accuracy - accuracy.mean() - slope * centred) ** 2).sum())
        step = now**-curvature - (now + ahead) ** -curvature
        fits.append((slope * step, step**2 / spread, left))
    gain, leverage, left_over = (np.array(column) for column in zip(*fits, strict=True))
    variance = max(float(left_over.min()) / (len(labels) - 3), NEVER_BELOW**2)
    weight = np.exp(-(left_over - left_over.min()) / (2 * variance))
    weight /= weight.sum()
    middle = float(weight @ gain)
    spread = float(np.sqrt(weight @ (variance * leverage + (gain - middle) ** 2)))
    room, reach = 1 - float(accuracy[-1]), float(stdtrit(len(labels) - 3, INTERVAL[1])) * spread
    low, high = np.clip([middle - reach, middle + reach], 0, room)
    return {"labels": ahead, "gain": min(middle, room), "low": float(low), "high": float(high)}


def seconds_per_id(events: list[Row]) -> dict[str, float]:
    """What each id cost in seconds of people's time: the gaps between an annotator's answers; {} without timestamps.

    A gap above PAUSE, or none to measure (a session's first answer), counts as the median gap.
    """
    sessions: dict[tuple[int, str], list[tuple[float, str]]] = {}
    for row in events:
        if row["at"] is not None:
            sessions.setdefault((row["round"], row["annotator"] or ""), []).append((float(row["at"]), row["id"]))
    gaps: list[tuple[str, float | None]] = []
    for answers in sessions.values():
        answers.sort()
        before = [None, *(at for at, _ in answers[:-1])]
        for (at, item), last in zip(answers, before, strict=True):
            gaps.append((item, at - last if last is not None and 0 < at - last <= PAUSE else None))
    known = [gap for _, gap in gaps if gap is not None]
    if not known:
        return {}
    usual = float(np.median(known))
    cost: dict[str, float] = {}
    for item, gap in gaps:
        cost[item] = cost.get(item, 0.0) + (usual if gap is None else gap)
    return cost
