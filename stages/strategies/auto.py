"""The default: herding. Typical and diverse rows while doubt is noise, doubtful and diverse ones once it is not.

Both are one formula (see `herding`); what is decided here is whether the doubt of the model enters
it, from what was measured on labelled rows by models that had not seen them, never from the number
of the round.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats
from stages.learning.scoring import margin_of
from stages.strategies import Candidates, Ranking
from stages.strategies.herding import max_herding, uncertainty_herding

Z = 1.96


def auto(candidates: Candidates, count: int, min_labels: int = 0) -> Ranking:
    """Uncertainty herding, or max herding where doubt cannot be used; reasons, regime and evidence say which and why.

    min_labels: doubt waits until every class has so many labels; raised: longer typical and
    diverse. 0: no wait.
    """
    candidates.require_probabilities("auto")  # without, the registry asks `without_doubt`
    rarest = np.bincount(known_classes(candidates), minlength=len(candidates.class_weights)).min()
    if rarest < min_labels:
        return _typical(
            candidates,
            count,
            f"a class has {rarest} of the {min_labels} labels that doubt waits for",
        )
    usable, measured = doubt_tells_errors(candidates)
    if not usable:
        return _typical(candidates, count, measured)
    return _because(uncertainty_herding(candidates, count), "doubtful and diverse", measured)


def known_classes(candidates: Candidates) -> NDArray[np.intp]:
    """The class index of every labelled row whose class is known."""
    return candidates.labelled_class[candidates.labelled_class >= 0]


def no_doubt(candidates: Candidates) -> str | None:
    """Why there is no doubt to go by, or None: no model yet, one class seen, or confidence that is not trusted."""
    if candidates.probabilities is None:
        return "no model yet"
    if np.unique(known_classes(candidates)).size == 1:
        return "labels of one class only"
    return None if candidates.trusted else "the model's confidence is not trusted"


def without_doubt(candidates: Candidates, count: int) -> Ranking:
    """The typical and diverse rows that are asked when `no_doubt` says why there is none to go by."""
    return _typical(candidates, count, no_doubt(candidates) or "doubt is not wanted")


def _typical(candidates: Candidates, count: int, why: str) -> Ranking:
    return _because(max_herding(candidates, count), "typical and diverse", why)


def _because(ranking: Ranking, regime: str, why: str) -> Ranking:
    reasons = [f"{reason}; {why}" for reason in ranking.reasons]
    return replace(ranking, reasons=reasons, regime=regime, evidence=why)


def doubt_tells_errors(candidates: Candidates) -> tuple[bool, str]:
    """Whether doubt may be used, and what was measured on held-out labelled rows.

    The measure is the area under the ROC curve of 1 - margin for being wrong. Doubt is dropped when
    the area is below one half by more than its standard error, or when no held-out row is right.
    The benefit of the doubt is doubt's: with few labels herding is typical and diverse anyway, and
    asking for proof first cost labels (docs/benchmarks.md).
    Source: Hanley, McNeil, "The meaning and use of the area under a ROC curve" (1982).
    """
    known = candidates.labelled_class >= 0
    if candidates.held_out is None or not known.any():
        return True, "doubt is used, nobody measured it"
    rows = candidates.held_out[known]
    wrong = rows.argmax(axis=1) != candidates.labelled_class[known]
    area, error = roc_area(margin_of(rows), wrong)
    usable = area + error >= 0.5
    said = "doubt is used" if usable else "doubt does not tell errors yet"
    return usable, f"{said} (area {area:.2f} ± {error:.2f} on {len(rows)} held-out labels)"


def roc_area(
    scores: Floats, wrong: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> tuple[float, float]:
    """The chance that a wrong row scores above a right one, ties half, and its standard error.

    Without wrong rows (1, 0): nothing speaks against the scores. Without right ones (0, 0): nothing
    for them.
    """
    bad, good = int(wrong.sum()), int((~wrong).sum())
    if not bad or not good:
        return (0.0, 0.0) if bad else (1.0, 0.0)
    values, places = np.unique(np.round(scores, 9), return_inverse=True)
    ends = np.cumsum(np.bincount(places, minlength=len(values)))
    ranks = (ends - np.bincount(places, minlength=len(values)) + 1 + ends)[places] / 2
    area = (ranks[wrong].sum() - bad * (bad + 1) / 2) / (bad * good)
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (bad - 1) * (one - area**2) + (good - 1) * (two - area**2)
    return float(area), float(np.sqrt(max(variance, 0) / (bad * good)))


def floor_weights(candidates: Candidates, floor: float) -> Floats:
    """Weights of the classes, (k,) in [1, 2]: the less sure that a class is recalled, the more it weighs.

    2 where nothing says that a class is recalled, 1 where the lower Wilson bound (95 %) of its
    held-out recall reaches `floor`, in proportion between. All 1 where nobody measured.
    Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    k = len(candidates.class_weights)
    if candidates.held_out is None or floor <= 0:
        return np.ones(k)
    known = candidates.labelled_class >= 0
    classes = candidates.labelled_class[known]
    right = candidates.held_out[known].argmax(axis=1) == classes
    n = np.bincount(classes, minlength=k).astype(np.float64)
    share = np.bincount(classes, right.astype(np.float64), minlength=k) / np.maximum(n, 1)
    width = Z * np.sqrt(share * (1 - share) * n + Z**2 / 4)
    lower = np.where(n > 0, (share * n + Z**2 / 2 - width) / (n + Z**2), 0)
    return np.asarray(1 + np.clip(floor - lower, 0, None) / floor)
