"""clean_seed: read the seed labels and name those that are probably wrong. Drops nothing.

reads   the seed table; features (featurize)
writes  build/seed/labels.jsonl, suspects.jsonl and issues.jsonl, metrics/seed.json; next: gate, which has the
        suspects asked again
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from stages._canonical import Row, write_json, write_jsonl
from stages._errors import PipelineError
from stages._ledger import check_label
from stages._params import Params, load
from stages._quality import OUTLIER, Judgement, doubt, issue_rows, judge
from stages._shell import PATH, one_line_errors
from stages._store import Index, Matrix, read_features
from stages._tables import Table, as_text, read_labelled


def seed_labels(table: Table, index: Index, params: Params) -> list[Row]:
    """id, label and line of every seed row, sorted by id.

    Raises PipelineError, with file and line, for an empty or unknown label and for a seed of one class.
    """
    cells = [as_text(cell) for cell in table.column(params.data.label, "data.label")]
    for row, label in enumerate(cells):
        if not label.strip():
            what = f"empty label in column {params.data.label!r}"
            raise PipelineError(table.where(row), what, "fill it or remove the row")
        check_label(label, params.labels, table.where(row))
    if len(set(cells)) == 1:
        remedy = "add rows of another class, or set data.seed to data/none.csv to start without a seed"
        raise PipelineError(table.where(0), f"every seed row has the label {cells[0]!r}", remedy)
    rows = index.rows("seed")
    places = zip(index.ids[rows], index.row[rows], strict=True)
    return [{"id": item, "label": cells[row], "line": table.lines[row]} for item, row in places]


def suspects(seed: list[Row], classes: NDArray[np.intp], found: Judgement, params: Params) -> list[Row]:
    """The seed labels to be asked again, worst first: chosen by gate.policy, within clean_seed.max_suspects."""
    ids = [row["id"] for row in seed]
    error, able = found.doubts.error, np.ones(len(ids), dtype=np.bool_)
    share = params.clean_seed.max_suspects
    chosen = np.flatnonzero(doubt(found, error, classes, ids, able, share, params, reviews=params.reviews_a_batch))
    order = chosen[np.argsort(-np.round(error[chosen], 9), kind="stable")]
    return [
        {
            "id": ids[row],
            "label": seed[row]["label"],
            "suggested": params.labels[found.doubts.suggested[row]],
            "score": error[row],
            "reasons": ["conflicting_copy" if found.conflict[row] else "label_error"],
        }
        for row in order
    ]


def clean(
    seed: list[Row], index: Index, matrix: Matrix, geometry: NDArray[np.float32], params: Params
) -> tuple[NDArray[np.intp], Judgement, list[Row]]:
    """The classes of the seed labels, what is found about them, and the suspects. Matrix, geometry: of all rows."""
    classes = np.array([params.labels.index(row["label"]) for row in seed], dtype=np.intp)
    rows, ids = index.rows("seed"), [row["id"] for row in seed]
    found = judge(matrix[rows], geometry[rows], classes, ids, index.sha[rows], params)
    return classes, found, suspects(seed, classes, found, params)


@click.command(help=__doc__)
@click.option("--table", type=PATH, required=True, help="The seed table (params.data.seed).")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--out", type=PATH, required=True, help="Folder for labels.jsonl and suspects.jsonl.")
@click.option("--metrics", type=PATH, required=True, help="JSON file for the counts.")
@one_line_errors
def main(table: Path, features: Path, out: Path, metrics: Path) -> str:
    """Read the seed, judge it, write labels, suspects and counts."""
    params = load()
    store = read_features(features, [], params.compute)
    seed = seed_labels(read_labelled(table, params.data.label), store.index, params)
    classes, found, doubted = clean(seed, store.index, store.matrix, store.geometry, params)
    write_jsonl(out / "labels.jsonl", seed)
    write_jsonl(out / "suspects.jsonl", doubted)
    write_jsonl(out / "issues.jsonl", issue_rows([row["id"] for row in seed], classes, found, params.labels))
    counts = {label: int((classes == place).sum()) for place, label in enumerate(params.labels)}
    judged = int(found.doubts.judged.sum())
    write_json(metrics, {
        "labels": len(seed), "judged": judged, "suspects": len(doubted), "by_class": counts,
        "estimated_error_rate": found.doubts.noise if judged else None,
        "outliers": int((found.outlier > OUTLIER).sum()), "near_duplicates": int((found.duplicates >= 0).sum()),
        "conflicting_copies": int(found.conflict.sum()),
    })  # fmt: skip
    return f"clean_seed: {len(seed)} labels, {judged} could be judged, {len(doubted)} suspects"


if __name__ == "__main__":
    main()
