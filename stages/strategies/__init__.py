"""Query strategies: each answers one question, which k candidates are most worth a human label.

The contract is `rank(candidates, count, **params) -> Ranking`. A strategy is a pure function of arrays: it
never sees a model, never trains, never mutates what it was given, and breaks ties by the candidates' keys
(sha256 of seed and id), so a batch does not depend on the order of rows. Add your own by import path:
`query.strategy: mypackage.mymodule.rank`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages._errors import PipelineError, closest

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """What a strategy may know. n candidates, k classes, m labelled rows, d dimensions.

    ids            n ids that may be asked: not labelled, not pending, not in the test set
    keys           (n,) uint64, unique order keys of the ids: smaller wins a tie
    geometry       (n, d) float32; squared distance / 2 = 1 - similarity (rows of mean squared norm 1)
    labelled       (m, d) float32 geometry of the labelled rows
    labelled_class (m,) class index of each labelled row
    probabilities  (n, k) float64, calibrated, rows sum to 1; None while there is no model
    committee      (members, n, k) float64, or None
    class_weights  (k,) >= 0, mean 1: how much each class matters
    trusted        False when calibrate found that the confidence lies
    seed           for seeded randomness
    """

    ids: list[str]
    keys: NDArray[np.uint64]
    geometry: NDArray[np.float32]
    labelled: NDArray[np.float32]
    labelled_class: NDArray[np.intp]
    probabilities: Floats | None
    class_weights: Floats
    trusted: bool
    seed: int
    committee: Floats | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def require_probabilities(self, strategy: str) -> Floats:
        """The probabilities, for a strategy that cannot do without. Raises PipelineError without a model."""
        if self.probabilities is None:
            what = f"strategy {strategy!r} needs a model, and no model could be trained yet"
            raise PipelineError("params.yaml query.strategy", what, "use `auto`, which starts without a model")
        return self.probabilities


@dataclass(frozen=True)
class Ranking:
    """The picks, best first: positions into the candidates, a score each, a reason each, and the regime in a word."""

    positions: NDArray[np.intp]
    scores: Floats
    reasons: list[str]
    regime: str


Rank = Callable[..., Ranking]
