"""The interval of a share that is right however often it is looked at.

People look after every round, and stop when they like what they see. An interval for one look that
was fixed beforehand would then leave out the truth too often.
"""

from __future__ import annotations

import math

LEVEL = 0.05


def share_at_any_look(right: int, rows: int, level: float = LEVEL) -> tuple[float, float]:
    """The shares, from low to high, that no number of looks rules out; (0, 1) without a row.

    right: of `rows` drawn at random so far. A share p is ruled out where what was seen is 1/level
    times as probable under a mixture of all shares, each alike, as under p; the ratio is a
    martingale where p is the truth, so it ever gets there in at most `level` of all projects.
    Rows that are drawn without replacement tell more than this counts with.

    Source: Ville, "Etude critique de la notion de collectif" (1939); Robbins, "Statistical methods
    related to the law of the iterated logarithm" (1970); Hoeffding, "Probability inequalities for
    sums of bounded random variables" (1963), for draws without replacement.
    """
    from scipy.optimize import brentq
    from scipy.special import xlog1py, xlogy
    from scipy.stats import binom

    if not rows:
        return 0.0, 1.0
    share = right / rows
    # under the mixture every count from 0 to `rows` is alike probable
    limit = math.log(level / (rows + 1))
    ways = float(binom.logpmf(right, rows, share) - xlogy(right, share))
    ways -= float(xlog1py(rows - right, -share))

    def excess(p: float) -> float:
        return float(ways + xlogy(right, p) + xlog1py(rows - right, -p) - limit)

    low = float(brentq(excess, 1e-300, share)) if right else 0.0
    high = float(brentq(excess, share, 1 - 1e-16)) if right < rows else 1.0
    return low, high
