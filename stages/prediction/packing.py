"""Putting a predictor together from what the stages of a round wrote."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.answers.gate_tables import GateTables, read_gate_tables
from stages.contract.arrays import Geometry
from stages.contract.canonical import read_json, write_array, write_bytes, write_json
from stages.contract.params import Params
from stages.features.featurizer import FILES
from stages.learning.calibration import CalibrationFacts, read_calibration
from stages.learning.predictions import ModelFacts, read_model_facts
from stages.prediction.card import card
from stages.prediction.predictor import FORMAT, PredictorFacts, usual_distance
from stages.store.index import Features
from stages.store.near import SAMPLE
from stages.store.read import read_features


@dataclass(frozen=True)
class Made:
    """The folders of a round that a predictor is made from, and what validate found."""

    features: Path
    model: Path
    probabilities: Path
    gate: Path
    proof: Path
    confusion: Path


def pack(made: Made, out: Path, params: Params) -> PredictorFacts:
    """Write the predictor to a folder, whole; what predictor.json says of it."""
    gate = read_gate_tables(made.gate, params.labels)
    store = read_features(made.features, gate.accepted.ids, params.compute, last=SAMPLE)
    labelled = store.geometry[store.index.locate(gate.accepted.ids, made.gate)]
    calibration = read_calibration(made.probabilities)
    distance = usual_distance(_others(store, gate.accepted.ids, params.seed), labelled)
    facts = described(gate, read_model_facts(made.model), calibration, distance, params)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    if facts["fitted"]:
        files = [made.features / name for name in FILES]
        for path in (*files, made.model / "model.skops", made.probabilities / "map.npz"):
            if path.is_file():
                shutil.copyfile(path, out / path.name)
        write_array(out / "labelled.npy", np.asarray(labelled))
    write_bytes(
        out / "CARD.md", card(facts, read_json(made.proof), read_json(made.confusion)).encode()
    )
    write_json(out / "predictor.json", facts)
    return facts


def described(
    gate: GateTables,
    trained: ModelFacts,
    calibration: CalibrationFacts,
    unlike_beyond: float,
    params: Params,
) -> PredictorFacts:
    """What predictor.json says."""
    facts: PredictorFacts = {
        "format": FORMAT,
        "fitted": trained["fitted"],
        "classes": params.labels,
        "round": gate.state["rounds"],
        "labels": trained["labels"],
        "per_class": trained["per_class"],
        "seed": params.seed,
        "data": params.data.model_dump(),
        "features": params.features.model_dump(),
        "model": params.model.model_dump(),
        "calibration": {
            "method": calibration["method"],
            "verdict": calibration["verdict"],
            "why": calibration["why"],
        },
        "unlike_beyond": unlike_beyond if np.isfinite(unlike_beyond) else None,
    }
    if "word_weight" in trained:
        facts["word_weight"] = trained["word_weight"]
    if params.learner.machine_columns:
        facts["machine_columns"] = params.learner.machine_columns
    return facts


def _others(store: Features, labelled: Sequence[str], seed: int) -> Geometry:
    """Where the rows of a uniform sample of the pool lie that have no label."""
    have_label = set(labelled)
    last = store.index.last(seed, SAMPLE)
    rows = [row for row in last if store.index.ids[row] not in have_label]
    return np.asarray(store.geometry[np.array(rows, dtype=np.intp)])
