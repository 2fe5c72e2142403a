"""The maps from a classifier's scores to probabilities, and their file.

Each map takes logits (n, k) and returns probabilities (n, k) whose rows sum to 1. Which one suits,
and how its numbers are found, is decided in stages/learning/calibration.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats
from stages.contract.errors import PipelineError
from stages.learning.scoring import softmax


class Map(Protocol):
    """A function from logits to probabilities that is made of a few arrays."""

    def __call__(self, scores: Floats, /) -> Floats:
        """Probabilities (n, k) of logits (n, k)."""
        ...

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """The numbers that it is made of, by name."""
        ...


@dataclass(frozen=True)
class Temperature:
    """softmax(scores / value); 1 leaves the model's own probabilities as they are."""

    value: float = 1.0

    def __call__(self, scores: Floats, /) -> Floats:
        """See `Map`."""
        return softmax(scores, self.value)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """See `Map`."""
        return {"temperature": np.array(self.value)}


@dataclass(frozen=True)
class Curves:
    """One logistic curve a class over its log odds against the rest; slopes and shifts are (k,)."""

    slopes: Floats
    shifts: Floats

    def __call__(self, scores: Floats, /) -> Floats:
        """See `Map`."""
        return normalised(logistic(self.slopes * log_odds(scores) + self.shifts), scores)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """See `Map`."""
        return {"slopes": self.slopes, "shifts": self.shifts}


@dataclass(frozen=True)
class Steps:
    """One rising function a class over its probability: its corners (m,) and their heights (m,)."""

    corners: list[Floats]
    heights: list[Floats]

    def __call__(self, scores: Floats, /) -> Floats:
        """See `Map`."""
        own = softmax(scores)
        curves = zip(self.corners, self.heights, strict=True)
        raised = [np.interp(own[:, column], *curve) for column, curve in enumerate(curves)]
        return normalised(np.maximum(np.column_stack(raised), 1e-6), scores)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """See `Map`."""
        lengths = np.array([len(corners) for corners in self.corners], dtype=np.float64)
        corners = np.concatenate(self.corners)
        return {"lengths": lengths, "corners": corners, "heights": np.concatenate(self.heights)}


PLAIN = Temperature()  # the model's own probabilities


def logistic(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), without overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -500, 500))))


def log_odds(scores: Floats) -> Floats:
    """ln(p / (1 - p)) of softmax probabilities, held within [-30, 30]."""
    p = np.clip(softmax(scores), 1e-13, 1 - 1e-13)
    return np.asarray(np.clip(np.log(p) - np.log1p(-p), -30, 30))


def normalised(values: Floats, scores: Floats) -> Floats:
    """Rows scaled to sum to 1, classes never seen (score -inf) kept at 0."""
    values = np.where(np.isfinite(scores), values, 0.0)
    total = values.sum(axis=1, keepdims=True)
    return np.where(total > 0, values / np.where(total > 0, total, 1.0), softmax(scores))


def write_map(path: Path, chosen: Map) -> None:
    """Save a map's arrays, in full precision; the same map gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **chosen.arrays())  # type: ignore[arg-type]  # numpy names its own options there


def read_map(path: Path) -> Map:
    """The map that `write_map` saved. Raises PipelineError for a file of another kind."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    if "temperature" in arrays:
        return Temperature(float(arrays["temperature"]))
    if "slopes" in arrays:
        return Curves(arrays["slopes"], arrays["shifts"])
    if "lengths" in arrays:
        ends = np.cumsum(arrays["lengths"].astype(np.intp))[:-1]
        corners = np.split(arrays["corners"], ends)
        return Steps(corners, np.split(arrays["heights"], ends))
    raise PipelineError(path, "not a calibration map", "run `dvc repro`")
