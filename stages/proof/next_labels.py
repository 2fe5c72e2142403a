"""What more labels will bring, by the learning curve so far."""

from __future__ import annotations

import numpy as np

from stages.contract.arrays import Floats
from stages.proof.tables import Gain

EXPONENTS = np.geomspace(0.05, 3.0, 60)
NEVER_BELOW = 1e-3  # no measured accuracy is surer than this
FEWEST_POINTS = 4
UPPER = 0.975  # quantile of the upper end of a 95 % band


def next_labels(labels: Floats, accuracy: Floats, ahead: float) -> Gain | None:
    """The gain in accuracy of `ahead` more labels, with a 95 % band; None below four points.

    labels, accuracy: (n,). The inverse power law a - b n^-c is fitted by least squares over a and b
    for each c of a grid, and the gains are averaged with the weight that their fit earns; gain >=
    0. The band is Student's with n - 3 degrees: from few points little is known.
    Source: Figueroa et al., "Predicting sample size required for classification performance"
    (2012).
    """
    from scipy.stats import t

    if len(labels) < FEWEST_POINTS or labels[0] <= 0 or len(np.unique(labels)) < FEWEST_POINTS:
        return None
    fits = [_fit(labels, accuracy, ahead, exponent) for exponent in EXPONENTS]
    gain, leverage, residual = (np.array(column) for column in zip(*fits, strict=True))
    degrees = len(labels) - 3
    variance = max(float(residual.min()) / degrees, NEVER_BELOW**2)
    weight = np.exp(-(residual - residual.min()) / (2 * variance))
    weight /= weight.sum()
    middle = float(weight @ gain)
    # The variance of a mixture: that within each fit, and that between the fits.
    spread = float(np.sqrt(weight @ (variance * leverage + (gain - middle) ** 2)))
    reach = float(t.ppf(UPPER, degrees)) * spread
    room = 1 - float(accuracy[-1])
    low, high = np.clip([middle - reach, middle + reach], 0, room)
    return {"labels": ahead, "gain": min(middle, room), "low": float(low), "high": float(high)}


def _fit(
    labels: Floats, accuracy: Floats, ahead: float, exponent: float
) -> tuple[float, float, float]:
    """The gain by the law with one exponent, its leverage, and the sum of squared residuals."""
    law = -(labels**-exponent)
    centred = law - law.mean()
    spread = float((centred**2).sum())
    slope = max(0.0, float((centred * accuracy).sum()) / spread)
    residual = float(((accuracy - accuracy.mean() - slope * centred) ** 2).sum())
    now = labels[-1]
    step = now**-exponent - (now + ahead) ** -exponent
    return slope * step, step**2 / spread, residual
