"""The seed labels, and those among them that are probably wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.answers.ledger import SeedLabel, Suspect, check_label
from stages.contract.arrays import Matrix
from stages.contract.errors import PipelineError
from stages.contract.params import Params
from stages.examples.tables import Table, as_text
from stages.quality.judgement import Judgement, judge
from stages.quality.policy import doubt
from stages.store.index import Index


def seed_labels(table: Table, index: Index, params: Params) -> list[SeedLabel]:
    """id, label and line of every seed row, sorted by id.

    Raises PipelineError, with file and line, for an empty or unknown label and for a seed of one
    class.
    """
    cells = [as_text(cell) for cell in table.column(params.data.label, "data.label")]
    for row, label in enumerate(cells):
        if not label.strip():
            what = f"empty label in column {params.data.label!r}"
            raise PipelineError(table.where(row), what, "fill it or remove the row")
        check_label(label, params.labels, table.where(row))
    if len(set(cells)) == 1:
        remedy = (
            "add rows of another class, or set data.seed to data/none.csv to start without a seed"
        )
        raise PipelineError(table.where(0), f"every seed row has the label {cells[0]!r}", remedy)
    rows = index.rows("seed")
    places = zip(index.ids[rows], index.row[rows], strict=True)
    return [{"id": item, "label": cells[row], "line": table.lines[row]} for item, row in places]


def suspects(
    seed: list[SeedLabel], classes: NDArray[np.intp], found: Judgement, params: Params
) -> list[Suspect]:
    """The seed labels to be asked again, worst first: chosen by gate.policy, within clean_seed.max_suspects."""
    ids = [row["id"] for row in seed]
    error, able = found.doubts.error, np.ones(len(ids), dtype=np.bool_)
    share = params.clean_seed.max_suspects
    chosen = np.flatnonzero(
        doubt(found, error, classes, ids, able, share, params, reviews=params.reviews_a_batch)
    )
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
    seed: list[SeedLabel],
    index: Index,
    matrix: Matrix,
    geometry: NDArray[np.float32],
    params: Params,
) -> tuple[NDArray[np.intp], Judgement, list[Suspect]]:
    """The classes of the seed labels, what is found about them, and the suspects. Matrix, geometry: of all rows."""
    classes = np.array([params.labels.index(row["label"]) for row in seed], dtype=np.intp)
    rows, ids = index.rows("seed"), [row["id"] for row in seed]
    found = judge(matrix[rows], geometry[rows], classes, ids, index.sha[rows], params)
    return classes, found, suspects(seed, classes, found, params)
