"""What finished replays say: gain over random with its error, labels saved, and which to use.

Everything is paired: the variants of one repeat share seed labels, test rows and random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np

from stages.contract.arrays import Floats

Curve = Sequence[Mapping[str, float]]  # the points of one loop, with n_labels, accuracy, macro_f1
Curves = Mapping[str, Sequence[Curve]]  # by variant, one curve per repeat, in the same order
Areas = dict[str, dict[str, Floats]]  # by variant and measure, one area per repeat
MEASURES = ("accuracy", "macro_f1")
DRAWS = 2000  # resamples of repeats behind the interval of the saving
ENOUGH = 10_000  # repeats; more than that will not be run


class Paired(TypedDict):
    """A summary of paired differences.

    standard_error, low, high, superior: None with one repeat, or where all differences are equal.
    superior: the probability that the mean is above 0. wins, ties, losses: numbers of repeats.
    """

    mean: float
    standard_error: float | None
    low: float | None
    high: float | None
    superior: float | None
    wins: int
    ties: int
    losses: int


class Saving(TypedDict):
    """Labels to the target; factor: labels of random over one's own, with its 95 % interval."""

    labels_to_target: float | None
    saving_factor: float | None
    saving_low: float | None
    saving_high: float | None


class VariantFacts(Saving):
    """One variant against random sampling with the same model.

    areas: of accuracy, by repeat. area: the means by measure. gain: the paired differences by
    measure, None for random itself. of_oracle: the gain in accuracy as a share of what the oracle
    gains over the same baseline, None where there is no oracle or it gains nothing.
    """

    strategy: str
    baseline: str
    areas: list[float]
    area: dict[str, float]
    gain: dict[str, Paired] | None
    final_accuracy: float
    of_oracle: float | None
    minutes_to_target: NotRequired[float]


class Decision(TypedDict):
    """Which variant to use, and the same as a sentence (`said`).

    second: the next best, None where only one variant was run.
    """

    use: str
    second: str | None
    said: str


class Lead(Decision, Paired):
    """A decision with the paired differences between the best and the second."""

    more_repeats: int | None


class Summary(TypedDict):
    """What all variants tell together."""

    repeats: int
    target: float
    strategies: list[VariantFacts]
    decision: Decision


def area(curve: Curve, measure: str, until: float) -> float:
    """The mean height of a curve from its first point to `until` labels, by trapezoids."""
    x = np.array([point["n_labels"] for point in curve])
    y = np.array([point[measure] for point in curve])
    grid = np.unique(np.append(x[x < until], until))
    heights = np.interp(grid, x, y)
    if len(grid) == 1:
        return float(heights[0])
    return float(np.trapezoid(heights, grid) / (until - grid[0]))


def accuracies(curves: Sequence[Curve]) -> tuple[Floats, Floats]:
    """Labels (p,), the mean over repeats, and accuracies (n, p) at the p points that all n have."""
    points = list(zip(*curves, strict=False))
    labels = np.array([np.mean([point["n_labels"] for point in same]) for same in points])
    heights = np.array([[point["accuracy"] for point in same] for same in points]).T
    return labels, heights


def labels_to(x: Floats, heights: Floats, target: float) -> Floats:
    """The labels (d,) at which each of d curves first reaches `target`; infinity where none does.

    heights: (d, p), at the labels x (p,). Between two points in proportion. Equal to nine digits is
    reached: the target often is the mean of these heights.
    """
    rows = np.arange(len(heights))
    reached = heights >= target - 5e-10
    after = reached.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    rise = heights[rows, after] - heights[rows, before]
    missing = target - heights[rows, before]
    share = np.where(after > 0, missing / np.where(rise > 0, rise, 1), 0)
    labels = x[before] + np.minimum(share, 1) * (x[after] - x[before])
    return np.where(reached.any(axis=1), labels, np.inf)


def paired(gaps: Floats) -> Paired:
    """Mean of paired differences (n,), its error and interval, wins, ties and losses.

    Interval and probability are Student's t with n - 1 degrees (flat prior); None with fewer than
    two repeats or when all differences are equal. Source: Gosset, "The probable error of a mean"
    (1908).
    """
    from scipy.stats import t

    gaps = np.round(gaps, 9)
    mean = float(gaps.mean())
    facts = Paired(
        mean=mean,
        standard_error=None,
        low=None,
        high=None,
        superior=None,
        wins=int((gaps > 0).sum()),
        ties=int((gaps == 0).sum()),
        losses=int((gaps < 0).sum()),
    )
    if np.ptp(gaps) == 0:  # the deviation itself may be 1e-17 by rounding
        return facts
    error = float(gaps.std(ddof=1) / math.sqrt(len(gaps)))
    half = float(t.ppf(0.975, len(gaps) - 1)) * error
    facts["standard_error"] = error
    facts["low"] = mean - half
    facts["high"] = mean + half
    facts["superior"] = float(t.cdf(mean / error, len(gaps) - 1))
    return facts


def more_repeats(gaps: Floats) -> int | None:
    """How many more repeats a 95 % interval needs to leave out 0, if mean and spread stay.

    None when none would do, or when there is only one repeat.
    """
    from scipy.stats import t

    mean = abs(float(gaps.mean()))
    if mean < 1e-9 or len(gaps) < 2:
        return None
    spread = float(gaps.std(ddof=1))
    counts = np.arange(len(gaps), ENOUGH)
    settled = t.ppf(0.975, counts - 1) * spread / np.sqrt(counts) < mean
    return int(counts[settled.argmax()] - len(gaps)) if settled.any() else None


def saving(own: Sequence[Curve], random: Sequence[Curve], target: float, seed: int) -> Saving:
    """Labels that the mean curves need to a target accuracy, and how many times random needs them.

    The interval is a bootstrap over repeats. A value is None where the target is not reached, a
    bound where too many resamples do not reach it. Where random does not get there, it is counted
    at its last point, so that the saving is at least what is said.
    Source: Efron, Tibshirani (1993), percentiles over repeats.
    """
    n = len(own)
    resamples = np.random.default_rng(seed).integers(0, n, (DRAWS if n > 1 else 0, n))
    rows = np.vstack([np.arange(n), resamples])  # the first row is the repeats as they are

    def labels_needed(curves: Sequence[Curve]) -> Floats:
        x, heights = accuracies(curves)
        return labels_to(x, heights[rows].mean(axis=1), target)

    needed = labels_needed(own)
    last_of_random = accuracies(random)[0][-1]
    needed_by_random = np.minimum(labels_needed(random), last_of_random)
    # infinity below: 0 where the target is not reached; 0 below: no factor, it is reached at once
    zeros = np.zeros_like(needed)
    factors = np.divide(needed_by_random, needed, out=zeros, where=needed > 0)
    low = high = 0.0
    if n > 1:
        low, high = np.quantile(factors[1:], [0.025, 0.975], method="inverted_cdf")
    return Saving(
        labels_to_target=float(needed[0]) if math.isfinite(needed[0]) else None,
        saving_factor=float(factors[0]) or None,
        saving_low=float(low) or None,
        saving_high=float(high) or None,
    )


def summary(
    curves: Curves,
    baseline: Mapping[str, str],
    target: float | None,
    not_compared: Collection[str] = (),
    oracles: Collection[str] = (),
) -> Summary:
    """Each variant against its baseline, and the decision.

    target: an accuracy; None: what the first baseline has in the end. not_compared: names that are
    no choice between strategies (the same with a larger control arm, which costs and tells), left
    out of the decision; and so are oracles, which choose with the labels known.
    """
    first = next(iter(baseline.values()))
    if target is None:
        target = float(accuracies(curves[first])[1][:, -1].mean())
    areas = areas_of(curves)
    facts = [variant_facts(name, baseline[name], curves, areas, target) for name in curves]
    won = {row["baseline"]: row["gain"] for row in facts if row["strategy"] in oracles}
    for row in facts:
        row["of_oracle"] = share_of(row["gain"], won.get(row["baseline"]))
    no_choice = {*not_compared, *oracles}
    compared = [row for row in facts if row["strategy"] not in no_choice]
    best_first = sorted(compared, key=lambda row: -row["area"]["accuracy"])
    return Summary(
        repeats=len(curves[first]),
        target=target,
        strategies=facts,
        decision=decide([row["strategy"] for row in best_first], areas),
    )


def share_of(
    gain: Mapping[str, Paired] | None, possible: Mapping[str, Paired] | None
) -> float | None:
    """A gain in accuracy as a share of a possible one; None without either, or nothing to gain."""
    if gain is None or possible is None or possible["accuracy"]["mean"] <= 0:
        return None
    return gain["accuracy"]["mean"] / possible["accuracy"]["mean"]


def areas_of(curves: Curves) -> Areas:
    """The areas under all curves; those of one repeat end where the shortest of its loops ends."""
    repeats = range(min(len(own) for own in curves.values()))
    ends = [min(own[repeat][-1]["n_labels"] for own in curves.values()) for repeat in repeats]
    return {
        name: {
            measure: np.array(
                [area(curve, measure, end) for curve, end in zip(own, ends, strict=True)]
            )
            for measure in MEASURES
        }
        for name, own in curves.items()
    }


def variant_facts(
    name: str, baseline: str, curves: Curves, areas: Areas, target: float
) -> VariantFacts:
    """One variant against its baseline."""
    own = areas[name]
    gain = None
    if name != baseline:
        gain = {measure: paired(own[measure] - areas[baseline][measure]) for measure in MEASURES}
    saved = saving(curves[name], curves[baseline], target, seed=0)
    return VariantFacts(
        strategy=name,
        baseline=baseline,
        areas=own["accuracy"].tolist(),
        area={measure: float(own[measure].mean()) for measure in MEASURES},
        gain=gain,
        final_accuracy=float(accuracies(curves[name])[1][:, -1].mean()),
        of_oracle=None,
        labels_to_target=saved["labels_to_target"],
        saving_factor=saved["saving_factor"],
        saving_low=saved["saving_low"],
        saving_high=saved["saving_high"],
    )


def decide(best_first: Sequence[str], areas: Areas) -> Decision:
    """The best by mean area, how it compares with the second, and what would settle it."""
    best = best_first[0]
    if len(best_first) == 1:
        return Decision(use=best, second=None, said=f"only {best} was run")
    second = best_first[1]
    gaps = areas[best]["accuracy"] - areas[second]["accuracy"]
    lead = paired(gaps)
    more = more_repeats(gaps)
    sure = "not yet sure"
    if lead["superior"]:
        sure = f"better than {second} with probability {lead['superior']:.2f}"
    ahead = f"{100 * lead['mean']:.2f} points of mean accuracy ahead of {second}"
    said = f"use {best}: {ahead}, {sure}; {what_settles(lead, more, len(gaps))}"
    return Lead(use=best, second=second, more_repeats=more, said=said, **lead)


def what_settles(lead: Paired, more: int | None, repeats: int) -> str:
    """What it takes to be sure that the best is better than the second."""
    if lead["low"] is not None and lead["low"] > 0:
        return "that settles it"
    if repeats < 2:
        return "one repeat cannot tell it from chance: give --repeats 5 or more"
    if more is None:
        return "more repeats would hardly tell them apart: take the simpler one"
    return f"about {more} more repeats would settle it, if the difference stays"
