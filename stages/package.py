"""package: put the model together with all it needs, from a raw row to a calibrated probability.

reads   features (featurize), the model (train), its map to probabilities (calibrate), accepted
        labels (gate), what validate found
writes  build/predictor (see stages/prediction/predictor.py): a folder that predicts without the
        project, and its model card; next: `rounds predict`, `rounds.load`
"""

from __future__ import annotations

from pathlib import Path

import click

from stages.contract.params import load
from stages.contract.shell import PATH, one_line_errors
from stages.prediction.packing import Made, pack


@click.command(help=__doc__)
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--model", type=PATH, required=True, help="Folder of the model.")
@click.option("--probabilities", type=PATH, required=True, help="Folder of the probabilities.")
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--proof", type=PATH, required=True, help="The metrics of validate.")
@click.option("--confusion", type=PATH, required=True, help="Its table of mistakes.")
@click.option("--out", type=PATH, required=True, help="Folder for the predictor.")
@one_line_errors
def main(out: Path, **made: Path) -> str:
    """Read what the round made, write the predictor."""
    facts = pack(Made(**made), out, load())
    if not facts["fitted"]:
        return "package: no model yet, so nothing to predict with"
    card = out / "CARD.md"
    return (
        f"package: the model of round {facts['round']}, {facts['labels']} labels; its card: {card}"
    )


if __name__ == "__main__":
    main()
