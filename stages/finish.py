"""finish: label what the machine may label under a bound on its errors, and list what is left.

reads   accepted and doubted labels (gate), what was asked (import_labels), features, the model's
        scores (train), probabilities (calibrate)
writes  build/finish: finished.parquet (id, label, by, confidence, round, annotators) and
        questions.jsonl (what people must still answer, the first to ask first); metrics/finish.json

No stage of the loop: `rounds finish` runs it. Where nothing can be certified it fails before it
writes anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from stages.contract.canonical import write_json, write_jsonl
from stages.contract.params import load
from stages.contract.shell import PATH, one_line_errors
from stages.proof.certificate import Claim
from stages.proof.finished_tables import (
    figures,
    finished_labels,
    questions_left,
    sentence,
    write_labels,
)
from stages.proof.finishing import Folders, finish, read_sources, require_certificate
from stages.proof.second_source import params_with, with_machine


@click.command(help=__doc__)
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--labels", type=PATH, required=True, help="Folder of the imported labels.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--model", type=PATH, required=True, help="Folder of the model's scores.")
@click.option("--probabilities", type=PATH, required=True, help="Folder of the probabilities.")
@click.option("--error", type=float, required=True, help="Share of wrong labels allowed.")
@click.option("--confidence", type=float, required=True, help="How sure the bound is to be.")
@click.option("--commit", required=True, help="The commit that holds the model.")
@click.option("--machine", type=PATH, help="Folder of a machine's answers: a second source.")
@click.option("--finished", type=PATH, required=True, help="Parquet file for the labels.")
@click.option("--questions", type=PATH, required=True, help="JSONL file for what is left.")
@click.option("--metrics", type=PATH, required=True, help="JSON file for the metrics.")
@one_line_errors
def main(
    error: float,
    confidence: float,
    commit: str,
    machine: Path | None,
    finished: Path,
    questions: Path,
    metrics: Path,
    **folders: Path,
) -> str:
    """Read labels and scores, write the finished labels."""
    params = load()
    sources = read_sources(cast(Folders, folders), params)
    if machine is not None:
        params = params_with(params, machine)
        sources = with_machine(sources, machine, params)
    outcome = finish(sources, Claim(error, confidence), params)
    require_certificate(outcome)
    write_labels(finished, finished_labels(outcome, sources, params.labels, commit))
    write_jsonl(questions, questions_left(outcome, sources))
    write_json(metrics, figures(outcome, sources, params.labels, commit))
    return sentence(outcome)


if __name__ == "__main__":
    main()
