"""Prediction-powered estimates: few labels drawn at random, and a model's word on all rows.

The labels say what is true of a few rows, the model what it believes of every row. The belief's
mean over all rows is corrected by how far belief and truth differ on the labelled ones. How much
the model counts is read off the labelled rows (power tuning), so that a useless model is left out
and, but for the noise of that reading, nothing is lost by asking it.

Source: Angelopoulos, Duchi, Zrnic, "PPI++: efficient prediction-powered inference" (2023); for a
finite pool Cochran, "Sampling techniques" (1977), where this is the regression estimator. The
library ppi-python does the first for infinite populations and brings numba and statsmodels along.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.contract.arrays import Floats, Ints
from stages.proof.judges import Front, total


@dataclass(frozen=True)
class Estimate:
    """A value, and its variance over draws of the labelled rows."""

    value: float
    variance: float

    @property
    def error(self) -> float:
        """The standard error."""
        return math.sqrt(self.variance)


def power(values: Floats, believed: Floats, discount: float = 1.0) -> float:
    """How much of the belief is used, in [0, 1]: the regression slope; 0 without variation.

    values, believed: (m,) of the labelled rows; discount: at most 1, for a belief whose mean is
    itself taken over few rows.
    """
    if len(values) < 2 or not np.var(believed) > 0:
        return 0.0
    slope = np.cov(values, believed)[0, 1] / np.var(believed, ddof=1)
    return float(np.clip(slope * discount, 0, 1))


def powered_mean(
    values: Floats, believed: Floats, elsewhere: Floats, *, within: bool = False
) -> Estimate:
    """The mean of a value over a population, from labelled rows and beliefs.

    values, believed: (m,), m >= 2, of rows drawn at random; elsewhere: (n,) beliefs about the other
    rows. within: whether the labelled rows and those others are the whole population (a pool);
    otherwise both are samples of it (a test set beside a pool).
    """
    labelled, others = len(values), len(elsewhere)
    if not others:
        return Estimate(float(values.mean()), float(values.var(ddof=1)) / labelled)
    if within:
        slope = power(values, believed)
        residual = values - slope * believed
        share = labelled / (labelled + others)
        mean = (believed.sum() + elsewhere.sum()) / (labelled + others)
        variance = _variance(residual) / labelled * (1 - share)
        return Estimate(float(residual.mean() + slope * mean), variance)
    slope = power(values, believed, 1 / (1 + labelled / others))
    residual = values - slope * believed
    variance = _variance(residual) / labelled + slope**2 * _variance(elsewhere) / others
    return Estimate(float(residual.mean() + slope * elsewhere.mean()), variance)


def _variance(values: Floats) -> float:
    """The variance of a row, as if two more rows lay as far off as the furthest does."""
    spread = float(np.abs(values - values.mean()).max(initial=0))
    return float((np.sum((values - values.mean()) ** 2) + 2 * spread**2) / (len(values) + 1))


def powered_total(
    values: Floats, places: Ints, believed: Floats, sizes: Floats, drawn: Front
) -> Estimate:
    """The mean of a value over n rows, from judge rows and beliefs.

    values: (k,) of the judge rows at `places`; believed: (n,); sizes: (n,) how far the models
    disagree on each row, which bounds its value; drawn: the front that the places belong to. Rows
    of the front without a label (people skipped them) are taken for like the others.
    """
    ratio = values / sizes[places]
    slope = power(ratio, believed[places] / sizes[places])
    residual = values - slope * believed[places]
    answered = len(places) / max(drawn.count, 1)
    amount, variance = total(residual, sizes[places], drawn.threshold)
    rows = len(believed)
    mean = (amount / answered + slope * believed.sum()) / rows
    return Estimate(float(mean), variance / answered**2 / rows**2)


def combined(estimates: Sequence[Estimate]) -> Estimate:
    """Independent estimates of one value, each weighted by its precision."""
    if any(estimate.variance == 0 for estimate in estimates):
        return min(estimates, key=lambda estimate: estimate.variance)
    weights = np.array([1 / estimate.variance for estimate in estimates])
    values = np.array([estimate.value for estimate in estimates])
    return Estimate(float(weights @ values / weights.sum()), float(1 / weights.sum()))
