"""The seed labels, and those among them that are probably wrong."""

from __future__ import annotations

import numpy as np

from stages.answers.ledger import SeedLabel, Suspect, check_label
from stages.contract.arrays import Geometry, Ints, Matrix
from stages.contract.errors import PipelineError
from stages.contract.params import Params
from stages.examples.tables import Table, as_text
from stages.quality.judgement import Judgement, LabelledRows, judge, suspect_rows
from stages.quality.policy import choose_doubts
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


def suspects(rows: LabelledRows, judgement: Judgement, params: Params) -> list[Suspect]:
    """Seed labels to ask again, worst first: by gate.policy, within clean_seed.max_suspects."""
    errors = judgement.errors
    share = params.clean_seed.max_suspects
    doubted = choose_doubts(judgement, rows, params, share=share, reviews=params.reviews_a_batch)
    chosen = np.flatnonzero(doubted)
    order = chosen[np.argsort(-np.round(errors.probability[chosen], 9), kind="stable")]
    return suspect_rows(rows, judgement, order, params.labels)


def clean(
    seed: list[SeedLabel], index: Index, matrix: Matrix, geometry: Geometry, params: Params
) -> tuple[Ints, Judgement, list[Suspect]]:
    """The classes of the seed labels, what is found about them, and the suspects.

    seed: its rows, sorted by id; matrix, geometry: of all rows of the index.
    """
    classes = np.array([params.labels.index(row["label"]) for row in seed], dtype=np.intp)
    at = index.rows("seed")
    ids = [row["id"] for row in seed]
    rows = LabelledRows(matrix[at], geometry[at], classes, ids, index.sha[at])
    judgement = judge(rows, params)
    return classes, judgement, suspects(rows, judgement, params)
