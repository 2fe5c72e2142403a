"""What two learning curves say: the gap at equal labels, the labels saved, what the next labels bring, and minutes.

Two kinds of chance stand between a measured gap and the strategy's own: which rows were judged (a
paired bootstrap over them) and which labels were drawn (seen by learning again from random halves).
Every interval here holds both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.answers.ledger import Event
from stages.contract.arrays import Floats
from stages.contract.canonical import Row
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.classifier import together
from stages.proof.history import ARMS, History, Labelled
from stages.proof.refits import Judge

Bools = NDArray[np.bool_]
INTERVAL = (0.025, 0.975)
PAUSE = 300.0
CURVATURES = np.geomspace(0.05, 3.0, 60)
NEVER_BELOW = 1e-3  # no measured accuracy is surer than this


@dataclass(frozen=True)
class Arms:
    """What both arms get right of the m judged rows.

    active: (points, m), the active curve with its label counts `labels`, rising; random: (few, m),
    the random curve with its label counts `counts`, rising; level: (m,) active with as many labels
    as random's last point; halves: (repeats, m) active minus random, each from a random half of its
    labels.
    """

    labels: Floats
    active: Bools
    counts: Floats
    random: Floats
    level: Bools
    halves: Floats


def spread_of_draws(halves: Floats) -> float:
    """The standard deviation of a mean gap over draws of the labels alone, from its gaps on random halves, (r, m).

    A half drawn without replacement varies as the whole does. What rows and draws do together is
    taken out (two-way analysis of variance): the bootstrap over rows holds it already. Source:
    Politis, Romano, "Large sample confidence regions based on subsamples under minimal assumptions"
    (1994); Scheffe, "The analysis of variance" (1959).
    """
    repeats, rows = halves.shape
    means = halves.mean(axis=1)
    left = halves - means[:, None] - halves.mean(axis=0) + halves.mean()
    within = (left**2).sum() / ((repeats - 1) * max(rows - 1, 1)) / rows
    return float(np.sqrt(max(0.0, means.var(ddof=1) - within)))


def gap_and_saving(arms: Arms, draws: int, seed: int) -> tuple[Row, Row]:
    """Active minus random accuracy at equal labels, and the labels saved at equal accuracy, with 95 % intervals.

    The saving is at how many labels random reached the accuracy that it has, less at how many the
    active curve did; a null is a value or bound not yet known, because the active curve (or too
    many of its draws) has not got there.
    Source: Efron, Tibshirani, "An introduction to the bootstrap" (1993).
    """
    rng = np.random.default_rng(seed)
    rows = len(arms.level)
    weight = rng.multinomial(rows, np.full(rows, 1 / rows), size=draws) / rows
    chance = spread_of_draws(arms.halves) * rng.standard_t(len(arms.halves) - 1, draws)
    gaps = arms.level - arms.random[-1]
    low, high = np.quantile(weight @ gaps + chance, INTERVAL)
    gap = {"active_minus_random": float(gaps.mean()), "low": float(low), "high": float(high)}
    weight, chance = (
        np.vstack([np.full(rows, 1 / rows), weight]),
        np.append(0.0, chance),
    )  # first what was measured
    drawn = zip(weight @ arms.active.T, weight @ arms.random.T, chance, strict=True)
    saved = np.array([
        labels_to_reach(arms.counts, theirs, theirs[-1]) - labels_to_reach(arms.labels, ours, theirs[-1] - luck)
        for ours, theirs, luck in drawn
    ])  # fmt: skip
    bounds = np.quantile(saved[1:], INTERVAL, method="inverted_cdf")
    return gap, {"saved": float(saved[0]), "low": float(bounds[0]), "high": float(bounds[1])}


def labels_to_reach(labels: Floats, accuracy: Floats, target: float) -> float:
    """The label count at which a curve, made rising by isotonic regression, first reaches `target`; inf if never.

    labels: (p,) rising. Linear between points; never less than the first point's count. Equal to
    nine digits is reached: weighted means of the same rows differ in their last ones.
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

    Least squares over a and b for each c of a grid, averaged with the weight that their fit earns;
    gain >= 0. The band is Student's with n - 3 degrees: from few points little is known.
    Source: Figueroa et al., "Predicting sample size required for classification performance"
    (2012).
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


def seconds_per_id(events: list[Event]) -> dict[str, float]:
    """What each id cost in seconds of people's time: the gaps between an annotator's answers; {} without timestamps.

    A gap above PAUSE, or none to measure (a session's first answer), counts as the median gap.
    """
    sessions: dict[tuple[int, str], list[tuple[float, str]]] = {}
    for row in events:
        if row["at"] is not None:
            sessions.setdefault((row["round"], row["annotator"] or ""), []).append(
                (float(row["at"]), row["id"])
            )
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


HALVES = 10
STEPS = 9


def compare(history: History, judge: Judge, params: Params, n_jobs: int = 1) -> tuple[Row, Row]:
    """The gap between the arms at as many labels as random has, and the labels saved, as known at the last round.

    The active curve is learnt anew in fine steps, in the order in which its labels were asked. Of a
    longer random arm the first along the permutation are taken, which are a random draw too. The
    random curve is the seed's point, the mean of its halves, and its last point: fine steps would
    be as noisy, and seem to be there sooner. Null while one of the arms has nothing of its own, or
    cannot be judged.
    """
    last = history.rounds
    random, active = (
        history.arm(arm, last, params.labels, params.seed) for arm in ("random", "active")
    )
    equal, seeded = min(len(random), len(active)), sum(item in history.seed_ids for item in active)
    gap: Row = {"labels": equal, "active_minus_random": None, "low": None, "high": None}
    saving: Row = {"labels": equal, "saved": None, "low": None, "high": None}

    if equal - seeded < 2:
        return gap, saving
    steps = (
        np.concatenate([np.linspace(seeded, equal, STEPS), np.linspace(equal, len(active), 5)])
        .round()
        .astype(int)
    )
    firsts = {
        ("active", count): dict(list(active.items())[:count])
        for count in np.unique([*steps, equal]).tolist()
    }
    firsts["random", equal] = dict(list(random.items())[:equal])
    wanted: dict[tuple[str, int, int], Labelled] = {
        (*key, 0): labelled for key, labelled in firsts.items()
    }
    for repeat in range(1, HALVES + 1):
        for arm in ARMS:
            wanted[arm, equal, repeat] = half(
                firsts[arm, equal], history.seed_ids, params.seed + repeat
            )
    judged = together(lambda labelled: judge(labelled, last), list(wanted.values()), n_jobs)
    correct = {key: one.correct for key, one in zip(wanted, judged, strict=True) if one is not None}
    level, against = correct.get(("active", equal, 0)), correct.get(("random", equal, 0))
    if level is None or against is None:
        return gap, saving
    curve = {
        count: right
        for (arm, count, repeat), right in correct.items()
        if arm == "active" and not repeat
    }
    both = [
        (correct["active", equal, repeat], correct["random", equal, repeat])
        for repeat in range(1, HALVES + 1)
        if {("active", equal, repeat), ("random", equal, repeat)} <= correct.keys()
    ]
    if len(both) < 2:
        return gap, saving
    halves = np.array(both, dtype=np.float64)
    theirs = {
        len(wanted["random", equal, 1]): halves[:, 1].mean(axis=0),
        equal: against.astype(np.float64),
    }
    if seeded in curve:
        theirs = {seeded: curve[seeded].astype(np.float64), **theirs}
    arms = Arms(np.array(list(curve), dtype=np.float64), np.array(list(curve.values())),
                np.array(list(theirs), dtype=np.float64), np.array(list(theirs.values())), level,
                halves[:, 0] - halves[:, 1])  # fmt: skip
    told = gap_and_saving(arms, params.validate_.bootstrap, params.seed)
    return {**gap, **told[0]}, {**saving, **told[1]}


def half(labelled: Labelled, seed_ids: frozenset[str], seed: int) -> Labelled:
    """The seed's labels and a random half of the others, the same half of what two arms share."""
    own = [item for item in labelled if item not in seed_ids]
    kept = {own[place] for place in np.argsort(order_keys(seed, own))[: (len(own) + 1) // 2]}
    return {item: label for item, label in labelled.items() if item in seed_ids or item in kept}
