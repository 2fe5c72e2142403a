"""Query strategies: each says which rows are most worth a human label.

The contract is `rank(candidates, count, **params) -> Ranking`. A strategy is a pure function of
arrays: it never sees a model, never trains, and never changes what it is given. `registry.resolve`
finds one by name and hands it the candidates in the order of their keys (sha256 of seed and id) on
one thread, so that a batch depends neither on the order of rows nor on the machine. Add your own by
import path: `query.strategy: mypackage.mymodule.rank`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats, Ints
from stages.contract.errors import PipelineError

PARAM = "params.yaml query.strategy"


class NoModelError(PipelineError):
    """A strategy needs probabilities, and there is no model that could give them."""


@dataclass(frozen=True)
class Candidates:
    """What a strategy may know. n candidates, k classes, m labelled rows, d dimensions.

    ids            n ids that may be asked: not labelled, not pending, not in the test set
    keys           (n,) uint64, unique order keys of the ids: smaller wins a tie
    geometry       (n, d) float32; squared distance / 2 = 1 - similarity (mean squared norm 1)
    labelled       (m, d) float32 geometry of the labelled rows
    labelled_class (m,) class index of each labelled row, -1 where not known yet
    probabilities  (n, k) float64, calibrated, rows sum to 1; None while there is no model, and to
                   every strategy where uncertainty must not be used (labels of one class only, or
                   confidence that calibrate found to lie)
    committee      (members, n, k) float64, or None as probabilities are
    held_out       (m, k) calibrated probabilities of the labelled rows by models that have not
                   seen them, or None
    class_weights  (k,) >= 0, mean 1: how much each class matters
    trusted        False when calibrate found that the confidence lies
    seed           for seeded randomness
    stands_for     (n,) > 0, how many rows of a pool in parts each stands for; None: each for itself
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
    held_out: Floats | None = None
    stands_for: Floats | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, rows: Ints) -> Candidates:
        """The candidates at some rows, in that order; what is labelled stays as it is."""
        probabilities = self.probabilities
        committee = self.committee
        stands_for = self.stands_for
        return replace(
            self,
            ids=[self.ids[row] for row in rows.tolist()],
            keys=self.keys[rows],
            geometry=self.geometry[rows],
            probabilities=None if probabilities is None else probabilities[rows],
            committee=None if committee is None else committee[:, rows],
            stands_for=None if stands_for is None else stands_for[rows],
        )

    def require_probabilities(self, strategy: str) -> Floats:
        """The probabilities, for a strategy that cannot do without. Raises NoModelError without."""
        if self.probabilities is None:
            what = f"strategy {strategy!r} needs a model, and no model could be trained yet"
            raise NoModelError(PARAM, what, "use `auto`, which starts without a model")
        return self.probabilities

    def require_committee(self, strategy: str) -> Floats:
        """The committee's probabilities. Raises NoModelError where no committee was trained."""
        if self.committee is None:
            what = f"strategy {strategy!r} needs a committee, and none was trained"
            remedy = "use `auto`, or label more rows so that a committee can be trained"
            raise NoModelError(PARAM, what, remedy)
        return self.committee

    def mass(self) -> Floats:
        """(n,) how many rows of the pool each stands for."""
        return np.ones(len(self)) if self.stands_for is None else self.stands_for

    def importance(self) -> Floats:
        """(n,) each row's expected class weight; 1 where all classes weigh the same."""
        if self.probabilities is None or np.ptp(self.class_weights) == 0:
            return np.ones(len(self))
        return np.asarray(self.probabilities @ self.class_weights)

    def weight_note(self, position: int) -> str:
        """What a reason adds about a row's class weight; empty where all classes weigh the same."""
        if self.probabilities is None or np.ptp(self.class_weights) == 0:
            return ""
        return f", class weight {self.probabilities[position] @ self.class_weights:.2f}"


@dataclass(frozen=True)
class Ranking:
    """The picks, best first: positions into the candidates, with a score and a reason each.

    regime: what the picks were chosen by, in a word; evidence: why, for strategies that choose
    between regimes.
    """

    positions: NDArray[np.intp]
    scores: Floats
    reasons: list[str]
    regime: str
    evidence: str = ""


Rank = Callable[..., Ranking]
