"""validate: prove, against random sampling, whether active learning saves labels. Chooses nothing.

reads   accepted and known labels (gate), what was asked and answered (import_labels), features,
        probabilities, the test table, data/scheme.jsonl, which says what became of labels
writes  metrics/validate.json; plots/learning_curve.json, recall.json, redundancy.json,
        stopping.json, confusion.json

Point k of the curve uses the labels as they were known at round k, for both arms: `active` learns
from the seed and what the strategy asked, `random` from the seed and the control arm, whose ids
chance alone chose. Without a test set both are judged on the control arm's labels by
cross-validation, which is unbiased and says so. (Weighting actively chosen labels instead, as LURE
does, needs a strategy that could have chosen any row; the best ones cannot.) The stopping panel is
made here, because it needs the models of earlier rounds, refitted from the labels known then.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from stages.answers.ledger import GateState, read_labels
from stages.answers.scheme import read_scheme
from stages.contract.canonical import read_json, read_jsonl, write_json
from stages.contract.params import load
from stages.contract.progress import progress
from stages.contract.shell import PATH, one_line_errors
from stages.learning.calibration import read_calibration
from stages.learning.predictions import read_predictions
from stages.proof.history import read_history
from stages.proof.pool import pool_facts
from stages.proof.proof import Shipped, most_fits, prove, sentence
from stages.proof.refits import truth_of_test
from stages.proof.scheme_marks import Scheme, read_test, unsplit
from stages.proof.stopping import STOP_SET
from stages.store.parts import open_pool
from stages.store.read import read_features


@click.command(help=__doc__)
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--labels", type=PATH, required=True, help="Folder of the imported labels.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--test", type=PATH, required=True, help="The test table.")
@click.option("--scheme", type=PATH, required=True, help="The record of changed labels.")
@click.option(
    "--probabilities", type=PATH, required=True, help="Folder of calibrated probabilities."
)
@click.option("--metrics", type=PATH, required=True, help="JSON file for the metrics.")
@click.option(
    "--plots",
    type=PATH,
    nargs=5,
    required=True,
    help="JSON: curve, recall, redundancy, stopping, confusion.",
)
@one_line_errors
def main(
    gate: Path,
    labels: Path,
    features: Path,
    test: Path,
    scheme: Path,
    probabilities: Path,
    metrics: Path,
    plots: tuple[Path, ...],
) -> str:
    """Read history and truth, write curves, metrics, alarms and the stopping panel."""
    params = load()
    state: GateState = read_json(gate / "state.json")
    store = read_features(features, _named(gate, labels), params.compute, STOP_SET)
    history = read_history(gate, labels, store.index, state["rounds"])
    predictions = read_predictions(probabilities)
    changes = read_scheme(scheme)
    meanings = read_test(test, changes, params)
    truth = truth_of_test(meanings, store.index, params)
    tested = bool((truth >= 0).any())
    shipped = Shipped(
        truth if tested else np.empty(0, dtype=np.intp),
        predictions.test.astype(np.float64),
        read_calibration(probabilities),
    )
    with progress("models", most_fits(state["rounds"], params, tested=tested), "model") as bar:
        changed = Scheme(changes, unsplit(gate, meanings))
        proof = prove(history, store, shipped, state["answers"], params, bar.update, changed)
    facts = proof.facts
    if open_pool(features) is None and shipped.calibration["fitted"]:
        facts["pool"] = pool_facts(
            read_labels(gate / "accepted.jsonl", params.labels),
            predictions.labelled.astype(np.float64),
            predictions.pool.astype(np.float64),
            store.index,
            params.labels,
        )
    write_json(metrics, facts)
    for path, rows in zip(plots, proof.plotted, strict=True):
        write_json(path, rows)
    return sentence(proof.facts)


def _named(gate: Path, labels: Path) -> set[str]:
    """The ids whose features are needed."""
    tables = (labels / "asked.jsonl", gate / "known.jsonl", gate / "accepted.jsonl")
    return {row["id"] for table in tables for row in read_jsonl(table)}


if __name__ == "__main__":
    main()
