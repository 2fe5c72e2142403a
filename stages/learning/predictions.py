"""What a model says of pool, test and labelled rows: logits (train), probabilities (calibrate)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from stages.contract.canonical import read_json, write_array
from stages.learning.maps import Map

Table = NDArray[np.float32]


class ScanFacts(TypedDict):
    """How a pool in parts was scored, in rows (stages/learning/shortlist.py).

    unasked: all that may be asked; scored: of these; kept: a batch may come from them; doubt: the
    scored rows counted by their uncertainty, in equal bins over [0, 1].
    """

    unasked: int
    scored: int
    kept: int
    doubt: list[int]


class ModelFacts(TypedDict):
    """build/model/model.json: what was fitted on what.

    fitted: whether there is a model at all; labels: accepted ones; per_class: their counts; scan:
    of a pool in parts, how its rows were scored; word_weight: how much word vectors count, where
    the model sees them (stages/learning/word_weight.py); machine_weight: the same of a machine's
    answers (stages/learning/machine_weight.py).
    """

    fitted: bool
    labels: int
    per_class: dict[str, int]
    scan: NotRequired[ScanFacts]
    word_weight: NotRequired[float]
    machine_weight: NotRequired[float]


def read_model_facts(folder: Path) -> ModelFacts:
    """The facts that train left beside the model."""
    return cast(ModelFacts, read_json(folder / "model.json"))


@dataclass(frozen=True)
class Predictions:
    """Logits or probabilities, (n, k) float32 each.

    labelled: of the accepted labels, each row by a model that has not seen it, in the order of
    accepted.jsonl; committee: (members, n_pool, k), None where the strategy asks for none.
    """

    pool: Table
    test: Table
    labelled: Table
    committee: Table | None

    def mapped(self, calibration_map: Map) -> Predictions:
        """The probabilities that a calibration map makes of these logits."""

        def probabilities(logits: Table) -> Table:
            return calibration_map(logits.astype(np.float64)).astype(np.float32)

        committee = None
        if self.committee is not None:
            committee = np.array([probabilities(member) for member in self.committee])
        return Predictions(
            probabilities(self.pool),
            probabilities(self.test),
            probabilities(self.labelled),
            committee,
        )

    def write(self, folder: Path) -> None:
        """Save pool.npy, test.npy, labelled.npy, and committee.npy where there is a committee."""
        write_array(folder / "pool.npy", self.pool)
        write_array(folder / "test.npy", self.test)
        write_array(folder / "labelled.npy", self.labelled)
        if self.committee is not None:
            write_array(folder / "committee.npy", self.committee)


def read_predictions(folder: Path) -> Predictions:
    """What `Predictions.write` saved."""
    committee = folder / "committee.npy"
    return Predictions(
        np.load(folder / "pool.npy"),
        np.load(folder / "test.npy"),
        np.load(folder / "labelled.npy"),
        np.load(committee) if committee.is_file() else None,
    )
