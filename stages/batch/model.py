"""What the batch asks of the model: calibrated probabilities, in double precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats
from stages.learning.calibration import Verdict, read_calibration
from stages.learning.predictions import Predictions, read_predictions

ROUNDING = 1e-4  # by which the sum of many single-precision probabilities may be off


@dataclass(frozen=True)
class Model:
    """The probabilities that calibrate wrote.

    pool: (n_pool, k); held_out: (m, k) of accepted labels, out of fold; committee: (members,
    n_pool, k), or None; trusted: False where the confidence lies.
    """

    pool: Floats
    held_out: Floats
    committee: Floats | None
    trusted: bool


def read_model(folder: Path) -> Model | None:
    """What calibrate wrote; None when no model was fitted."""
    calibration = read_calibration(folder)
    if not calibration["fitted"]:
        return None
    return model_of(read_predictions(folder), calibration["verdict"])


def model_of(probabilities: Predictions, verdict: Verdict) -> Model:
    """Probabilities in double precision, and whether uncertainty may be used."""
    committee = probabilities.committee
    return Model(
        pool=_rescaled(probabilities.pool),
        held_out=_rescaled(probabilities.labelled),
        committee=None if committee is None else _rescaled(committee),
        trusted=verdict != "lying",
    )


def _rescaled(probabilities: NDArray[np.float32]) -> Floats:
    """In double precision, with what rounding took from the sums of rows put back."""
    double = probabilities.astype(np.float64)
    total = double.sum(axis=-1, keepdims=True)
    return np.asarray(double / np.where(np.abs(total - 1) < ROUNDING, total, 1))
