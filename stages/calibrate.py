"""calibrate: turn raw scores into probabilities that can be trusted, or say that they cannot.

reads   scores (train), accepted labels (gate)
writes  build/probabilities: pool.npy, test.npy, labelled.npy (out of fold), committee.npy where
        train made one, calibration.json and map.npz (the map itself), kept.parquet of a pool in
        parts; metrics and the reliability data; next: query, validate

The map from scores to probabilities is chosen and judged on labels drawn at random (seed and
control arm) where there are enough of them: labels that active learning chose are a biased sample,
full of hard cases.
"""

from __future__ import annotations

from pathlib import Path

import click

from stages.answers.ledger import read_labels
from stages.contract.canonical import write_bytes, write_json
from stages.contract.params import load
from stages.contract.shell import PATH, one_line_errors
from stages.learning.calibration import calibration_of, without_model
from stages.learning.maps import write_map
from stages.learning.predictions import read_model_facts, read_predictions


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
    model_facts = read_model_facts(model)
    logits = read_predictions(model)
    if model_facts["fitted"]:
        calibration = calibration_of(logits, labels, params.calibrate, params.seed)
    else:
        calibration = without_model(labels)
    logits.mapped(calibration.apply).write(out)
    write_map(out / "map.npz", calibration.apply)
    if (model / "kept.parquet").is_file():  # a pool in parts: which rows these are
        write_bytes(out / "kept.parquet", (model / "kept.parquet").read_bytes())
    passed_on = {"fitted": model_facts["fitted"], "scan": model_facts.get("scan")}
    write_json(out / "calibration.json", {**calibration.facts, **passed_on})
    weight = {key: model_facts[key] for key in ("word_weight",) if key in model_facts}
    write_json(metrics, {**calibration.facts, **weight})
    write_json(plot, calibration.reliability)
    return f"calibrate: {calibration.facts['method']}; {calibration.facts['why']}"


if __name__ == "__main__":
    main()
