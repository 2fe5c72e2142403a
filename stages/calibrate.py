"""calibrate: turn raw scores into probabilities that mean what they say, and say whether they can be trusted.

reads   scores (train), accepted labels (gate)
writes  build/probabilities: pool.npy, test.npy, labelled.npy (out of fold), committee.npy where train made one,
        calibration.json and map.npz (the map itself), kept.parquet of a pool in parts; metrics and the reliability
        data; next: query, validate

The map from scores to probabilities is chosen and judged on labels drawn at random (seed and
control arm) where there are enough of them: labels that active learning chose are a biased sample,
full of hard cases.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from stages.answers.ledger import read_labels
from stages.contract.canonical import read_json, write_array, write_bytes, write_json
from stages.contract.params import load
from stages.contract.shell import PATH, one_line_errors
from stages.learning.calibration import Rows, calibration_of
from stages.learning.maps import write_map


@click.command(help=__doc__)
@click.option("--model", type=PATH, required=True, help="Folder of the model's scores.")
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--out", type=PATH, required=True, help="Folder for the probabilities.")
@click.option("--metrics", type=PATH, required=True, help="JSON file for the metrics.")
@click.option("--plot", type=PATH, required=True, help="JSON file for the reliability rows.")
@one_line_errors
def main(model: Path, gate: Path, out: Path, metrics: Path, plot: Path) -> str:
    """Read scores and labels, write probabilities and how far to trust them."""
    params = load()
    labels = read_labels(gate / "accepted.jsonl", params.labels)
    trained = read_json(model / "model.json")
    fitted = bool(trained["fitted"])
    committee = np.load(model / "committee.npy") if (model / "committee.npy").is_file() else None
    pool, test, labelled = (np.load(model / f"{name}.npy") for name in ("pool", "test", "labelled"))
    scores = Rows(pool, test, labelled, committee)
    calibration = calibration_of(scores, fitted, labels, params)
    rows = scores.mapped(calibration.apply)
    for name in ("pool", "test", "labelled", "committee"):
        if getattr(rows, name) is not None:
            write_array(out / f"{name}.npy", getattr(rows, name))
    if (model / "kept.parquet").is_file():  # a pool in parts: which rows these are
        write_bytes(out / "kept.parquet", (model / "kept.parquet").read_bytes())
    write_map(out / "map.npz", calibration.apply)
    write_json(
        out / "calibration.json",
        {**calibration.facts, "fitted": fitted, "scan": trained.get("scan")},
    )
    write_json(metrics, calibration.facts)
    write_json(plot, calibration.reliability)
    return f"calibrate: {calibration.facts['method']}; {calibration.facts['why']}"


if __name__ == "__main__":
    main()
