"""The default strategy: herding, with the model's uncertainty wherever it tells errors.

With uncertainty it asks for uncertain and diverse rows, without for typical and diverse ones. Both
are one formula (see `herding`). Whether uncertainty enters it is decided by what was measured on
labelled rows with models that had not seen them, never by the number of the round.

Version 2, for texts: once every class has some labels, each region without a label is asked once,
the most doubtful regions first (weighted coverage). Until then doubt is what finds the classes.
Afterwards the most doubtful rows may be those that no label makes clearer (docs/benchmarks.md).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stages.contract.arrays import Floats, Ints, Mask
from stages.contract.distances import squared_norms
from stages.learning.scoring import margin_of, wilson
from stages.strategies import Candidates, Ranking
from stages.strategies.diversity import weighted_coverage
from stages.strategies.herding import max_herding, uncertainty_herding

SEEN = 3  # labels of every class from which version 2 asks by regions
UNIT = 1e-3  # by which the squared length of a text's row may differ from 1
MOST = 0.9  # share of such rows from which the geometry is that of texts or embeddings
Z = 1.96  # of a 95 % interval; to two digits, as it always was: so the same batches are chosen


def auto(candidates: Candidates, count: int, min_labels: int = 0, version: int = 1) -> Ranking:
    """Uncertainty herding; max herding where uncertainty does not tell errors.

    Reasons, regime and evidence say which of the two, and why. min_labels: uncertainty waits until
    every class has so many labels; 0: it does not wait. version: 2 asks texts by weighted coverage
    once every class has SEEN labels; 1 never does.
    """
    candidates.require_probabilities("auto")  # the registry then asks `without_uncertainty`
    classes = known_classes(candidates)
    rarest = np.bincount(classes, minlength=len(candidates.class_weights)).min()
    if rarest < min_labels:
        why = f"a class has {rarest} of the {min_labels} labels that doubt waits for"
        return _typical(candidates, count, why)
    usable, evidence = uncertainty_tells_errors(candidates)
    if not usable:
        return _typical(candidates, count, evidence)
    if version >= 2 and rarest >= SEEN and has_unit_rows(candidates):
        ranking = weighted_coverage(candidates, count)
        return _explained(ranking, "doubtful regions", f"every class is seen, {evidence}")
    ranking = uncertainty_herding(candidates, count)
    return _explained(ranking, "doubtful and diverse", evidence)


def has_unit_rows(candidates: Candidates) -> bool:
    """Whether distances are between rows of unit length, as those of texts and embeddings are.

    A text that shares no n-gram with the others has length 0: a tenth of the rows may.
    """
    of_unit_length = np.abs(squared_norms(candidates.geometry) - 1) <= UNIT
    return bool(of_unit_length.mean() >= MOST)


def known_classes(candidates: Candidates) -> Ints:
    """The class index of every labelled row whose class is known."""
    return candidates.labelled_class[candidates.labelled_class >= 0]


def why_no_uncertainty(candidates: Candidates) -> str | None:
    """Why uncertainty must not be used (no model, one class, untrusted confidence), or None."""
    if candidates.probabilities is None:
        return "no model yet"
    if np.unique(known_classes(candidates)).size == 1:
        return "labels of one class only"
    return None if candidates.trusted else "the model's confidence is not trusted"


def without_uncertainty(candidates: Candidates, count: int) -> Ranking:
    """The typical and diverse rows that are asked where uncertainty must not be used."""
    return _typical(candidates, count, why_no_uncertainty(candidates) or "doubt is not wanted")


def _typical(candidates: Candidates, count: int, why: str) -> Ranking:
    return _explained(max_herding(candidates, count), "typical and diverse", why)


def _explained(ranking: Ranking, regime: str, why: str) -> Ranking:
    reasons = [f"{reason}; {why}" for reason in ranking.reasons]
    return replace(ranking, reasons=reasons, regime=regime, evidence=why)


def uncertainty_tells_errors(candidates: Candidates) -> tuple[bool, str]:
    """Whether uncertainty may be used, and what was measured on held-out labelled rows.

    The measure is the area under the ROC curve of 1 - margin as a sign of being wrong. Uncertainty
    is used unless held-out rows show that it does not predict errors: the area is below one half by
    more than its standard error, or no held-out row is right. With few labels herding is typical
    and diverse anyway, and asking for proof first cost labels (docs/benchmarks.md).
    Source: Hanley, McNeil, "The meaning and use of the area under a ROC curve" (1982).
    """
    has_class = candidates.labelled_class >= 0
    if candidates.held_out is None or not has_class.any():
        return True, "doubt is used, nobody measured it"
    probabilities = candidates.held_out[has_class]
    wrong = probabilities.argmax(axis=1) != candidates.labelled_class[has_class]
    area, error = roc_area(margin_of(probabilities), wrong)
    usable = area + error >= 0.5
    verdict = "doubt is used" if usable else "doubt does not tell errors yet"
    measured = f"area {area:.2f} ± {error:.2f} on {len(wrong)} held-out labels"
    return usable, f"{verdict} ({measured})"


def roc_area(scores: Floats, wrong: Mask) -> tuple[float, float]:
    """The chance that a wrong row scores above a right one, ties half, and its standard error.

    Without wrong rows (1, 0): nothing speaks against the scores. Without right ones (0, 0): nothing
    speaks for them.
    """
    from scipy.stats import rankdata

    bad = int(wrong.sum())
    good = int((~wrong).sum())
    if not bad:
        return 1.0, 0.0
    if not good:
        return 0.0, 0.0
    ranks = rankdata(np.round(scores, 9))  # ties share their mean rank
    area = (ranks[wrong].sum() - bad * (bad + 1) / 2) / (bad * good)
    # the chance that two wrong rows both score above one right row, and one above two right ones
    two_wrong = area / (2 - area)
    two_right = 2 * area**2 / (1 + area)
    variance = area * (1 - area)
    variance += (bad - 1) * (two_wrong - area**2)
    variance += (good - 1) * (two_right - area**2)
    return float(area), float(np.sqrt(max(variance, 0) / (bad * good)))


def floor_weights(candidates: Candidates, floor: float) -> Floats:
    """Weights of the classes, (k,) in [1, 2]: the less sure that a class is recalled, the higher.

    2 where nothing says that a class is recalled, 1 where the lower Wilson bound (95 %) of its
    held-out recall reaches `floor`, in proportion between. All 1 where nobody measured.
    """
    k = len(candidates.class_weights)
    if candidates.held_out is None or floor <= 0:
        return np.ones(k)
    has_class = candidates.labelled_class >= 0
    classes = candidates.labelled_class[has_class]
    right = candidates.held_out[has_class].argmax(axis=1) == classes
    labels = np.bincount(classes, minlength=k).tolist()
    recalled = np.bincount(classes[right], minlength=k).tolist()
    surely = [wilson(hits, trials, Z)[0] for hits, trials in zip(recalled, labels, strict=True)]
    return np.asarray(1 + np.clip(floor - np.array(surely), 0, None) / floor)
