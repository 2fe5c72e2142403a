"""query: choose the pool rows most worth a label, mixed with the control arm and doubted labels.

reads   probabilities (calibrate), features and index (featurize), accepted, doubted and skipped ids
        (gate), what was asked (import_labels)
writes  build/batch: batch.jsonl, the ranked batch, passed_over.jsonl, what nearly repeats it or a
        labelled row; metrics/query.json; next: export_prodigy

A batch has three arms, and the annotator cannot tell them apart: `active` is the strategy's pick,
`control` the next ids of a fixed random permutation (the unbiased baseline), `review` the labels
that the gate doubts. With `validate.judge_rows` there is a fourth: `judge`, rows on which the two
arms' models disagree, which nobody learns from.
"""

from __future__ import annotations

from pathlib import Path

import click

from stages.answers.gate_tables import read_gate_tables, settled
from stages.answers.rounds import batch_id
from stages.batch.compose import compose
from stages.batch.model import read_model
from stages.contract.canonical import write_json, write_jsonl
from stages.contract.params import NO_TABLE, Params, load
from stages.contract.progress import progress
from stages.contract.shell import PATH, one_line_errors
from stages.learning.calibration import read_calibration
from stages.machines.frozen import read_machine
from stages.proof.course import draw
from stages.proof.history import read_history
from stages.proof.refits import Refits
from stages.store.parts import read_kept
from stages.store.read import read_features


@click.command(help=__doc__)
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option(
    "--probabilities", type=PATH, required=True, help="Folder of calibrated probabilities."
)
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--labels", type=PATH, required=True, help="Folder of the imported labels.")
@click.option("--out", type=PATH, required=True, help="Folder for the batch.")
@click.option("--metrics", type=PATH, required=True, help="JSON file for the metrics.")
@one_line_errors
def main(
    features: Path, probabilities: Path, gate: Path, labels: Path, out: Path, metrics: Path
) -> str:
    """Read what is known, write the batch."""
    params = load()
    gate_tables = read_gate_tables(gate, params.labels)
    # of a pool in parts only the rows that train kept, which stand for the others
    ids, stands_for = read_kept(probabilities / "kept.parquet") or ([], None)
    store = read_features(features, ids, params.compute)
    with progress("batch"):
        drawn: dict[str, float] = {}
        if params.validate_.judge_rows and stands_for is None:
            history = read_history(gate, labels, store.index, gate_tables.state["rounds"])
            closed = settled(gate_tables, params.query.skip_cooldown)
            drawn = draw(history, Refits(store.index, store.matrix, params), closed)
        model = read_model(probabilities)
        said = _said(params)
        batch = compose(store, model, gate_tables, params, stands_for, drawn, said)
    write_jsonl(out / "batch.jsonl", batch.rows)
    write_jsonl(out / "passed_over.jsonl", batch.passed_over)
    scan = read_calibration(probabilities)["scan"]
    facts = batch.metrics
    scan_metrics = {"scan": scan} if scan else {}
    write_json(metrics, {**facts, **scan_metrics, "batch_id": batch_id(batch.rows)})
    if not batch.rows:
        return f"query: an empty batch: {facts['state']}"
    in_arm = (f"{count} {arm}" for arm, count in facts["batch"].items() if arm != "rows")
    arms = ", ".join(in_arm)
    return f"query: round {facts['round']}: {len(batch.rows)} rows ({arms}); {facts['regime']}"


def _said(params: Params) -> dict[str, str]:
    """A machine's class by id, where params say that it shows where to begin."""
    if params.machines.cold_start == NO_TABLE:
        return {}
    machine = read_machine(Path(params.machines.cold_start), params.labels)
    return {item: str(answer["label"]) for item, answer in machine.labelled.items()}


if __name__ == "__main__":
    main()
