"""judge_machines: how good each machine annotator is here, by labels of people that it never saw.

reads   the machines' frozen answers, accepted, doubted and counted labels (gate), what was asked
        (import_labels), features, the test table, the arms' learning curve (validate)
writes  metrics/machines.json; plots/machines.json: what a model of machine labels alone reaches,
        beside both arms

No stage of the loop: projects with machines have it in machines/dvc.yaml, and `rounds close` and
`rounds machines` run it. It decides nothing.
"""

from __future__ import annotations

from pathlib import Path

import click

from stages.answers.scheme import read_scheme
from stages.contract.canonical import read_json, write_json
from stages.contract.params import load
from stages.contract.shell import PATH, one_line_errors
from stages.machines.frozen import read_machines
from stages.proof.machines import judged, read_people, sentence, wanted_ids
from stages.proof.scheme_marks import read_test
from stages.store.parts import open_pool
from stages.store.read import read_features


@click.command(help=__doc__)
@click.option("--machines", type=PATH, required=True, help="Folder of the machines' answers.")
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--labels", type=PATH, required=True, help="Folder of the imported labels.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--test", type=PATH, required=True, help="The test table.")
@click.option("--curve", type=PATH, required=True, help="The arms' learning curve.")
@click.option("--metrics", type=PATH, required=True, help="JSON file for the metrics.")
@click.option("--plot", type=PATH, required=True, help="JSON file for the curves.")
@one_line_errors
def main(
    machines: Path,
    gate: Path,
    labels: Path,
    features: Path,
    test: Path,
    curve: Path,
    metrics: Path,
    plot: Path,
) -> str:
    """Read answers and labels, write figures and curves."""
    params = load()
    annotators = read_machines(machines, params.labels)
    people = read_people(gate, labels, params)
    store = read_features(features, wanted_ids(annotators, people), params.compute)
    meanings = read_test(test, read_scheme(labels / "scheme.jsonl"), params)
    whole = open_pool(features) is None
    outcome = judged(annotators, people, meanings, store, read_json(curve), params, whole=whole)
    write_json(metrics, outcome.figures)
    write_json(plot, outcome.curve)
    return sentence(outcome)


if __name__ == "__main__":
    main()
