"""train: fit the classifier on the accepted labels and score all rows that later stages judge.

reads   accepted labels (gate), features (featurize)
writes  build/model: model.skops; pool.npy, test.npy and labelled.npy (logits; labelled rows out of
        fold, in the order of accepted.jsonl), committee.npy where the strategy asks a committee;
        model.json (was a model fitted, on what); of a pool in parts only the rows that a batch may
        come from, and kept.parquet (id, stands_for: how many rows of the pool each stands for);
        next: calibrate
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from stages.answers.gate_tables import read_gate_tables
from stages.contract.canonical import write_json
from stages.contract.params import load
from stages.contract.shell import PATH, one_line_errors
from stages.learning.training import described, learn, predicted
from stages.store.model_file import write_model
from stages.store.near import SAMPLE
from stages.store.parts import open_pool, write_kept
from stages.store.read import gathered, read_features
from stages.strategies.registry import find


@click.command(help=__doc__)
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--out", type=PATH, required=True, help="Folder for the model and its scores.")
@one_line_errors
def main(gate: Path, features: Path, out: Path) -> str:
    """Read accepted labels and features, write the model and its scores."""
    params = load()
    gate_tables = read_gate_tables(gate, params.labels)
    labels = gate_tables.accepted
    store = read_features(features, gate_tables.labelled_ids(), params.compute)
    classifier = learn(labels, store, params)
    facts = described(classifier, labels, params)
    model = out / "model.skops" if classifier is not None else None
    if classifier is not None:
        write_model(out / "model.skops", classifier.estimator)
    pool = open_pool(features)
    if pool is not None:
        from stages.learning.shortlist import scan

        kept = scan(pool, model, gate_tables, params)
        # query sees from the end of the permutation how close rows usually are
        others = np.union1d(pool.locate(gate_tables.labelled_ids()), pool.last(SAMPLE))
        rows = np.union1d(kept.rows, others).astype(np.intp)
        store = gathered(pool, rows, params.compute)
        write_kept(out / "kept.parquet", store.index, kept.rows, kept.stands_for)
        facts["scan"] = kept.facts()
    needed = "committee" in find(params.query.strategy, params.query.engine).needs
    predicted(classifier, labels, store, params, with_committee=needed).write(out)
    write_json(out / "model.json", facts)
    if not facts["fitted"]:
        return f"train: no model yet, {len(labels.ids)} labels of fewer than two classes"
    with_labels = sum(count > 0 for count in facts["per_class"].values())
    classes = f"{with_labels} of {len(params.labels)} classes seen"
    sentence = f"train: fitted on {len(labels.ids)} labels, {classes}"
    if "word_weight" in facts:
        sentence += f"; word vectors weigh {facts['word_weight']:g}, n-grams 1"
    if "machine_weight" in facts:
        sentence += f"; the machine's answers weigh {facts['machine_weight']:g}"
    return sentence


if __name__ == "__main__":
    main()
