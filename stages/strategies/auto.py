"""The default strategy: typical and diverse while doubt is noise, then doubtful and diverse."""

from __future__ import annotations

import numpy as np

from stages.strategies import Candidates, Ranking
from stages.strategies.diversity import typiclust, weighted_coverage


def rank(candidates: Candidates, count: int) -> Ranking:
    """Typical rows of uncovered regions without a usable model (none, one class seen, or confidence that lies),
    else doubt-weighted coverage."""
    one_class = np.unique(candidates.labelled_class).size < 2
    if candidates.probabilities is None or one_class or not candidates.trusted:
        return typiclust(candidates, count)
    return weighted_coverage(candidates, count)
