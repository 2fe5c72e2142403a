"""The seed labels, and those among them that are probably wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stages.answers.ledger import SeedLabel, Suspect, check_label
from stages.answers.scheme import Meaning
from stages.contract.arrays import Geometry, Ints, Matrix
from stages.contract.errors import PipelineError
from stages.contract.params import Params
from stages.examples.tables import Table, as_text
from stages.quality.judgement import Judgement, LabelledRows, judge, suspect_rows
from stages.quality.policy import choose_doubts
from stages.store.index import Index


def seed_labels(
    table: Table, index: Index, params: Params, understood: Callable[[str], Meaning] = Meaning
) -> list[SeedLabel]:
    """id, label and line of every seed row with a label of today's classes, sorted by id.

    understood: what a label of the table means today; rows of retired classes are left out. Raises
    PipelineError, with file and line, for an empty or unknown label and for a seed of one class.
    """
    cells = [as_text(cell) for cell in table.column(params.data.label, "data.label")]
    meanings: list[Meaning] = []
    for row, cell in enumerate(cells):
        if not cell.strip():
            what = f"empty label in column {params.data.label!r}"
            raise PipelineError(table.where(row), what, "fill it or remove the row")
        now = understood(cell)
        if not now.retired:
            check_label(now.label, params.labels, table.where(row))
        meanings.append(now)
    if len(set(cells)) == 1:
        remedy = (
            "add rows of another class, or set data.seed to data/none.csv to start without a seed"
        )
        raise PipelineError(table.where(0), f"every seed row has the label {cells[0]!r}", remedy)
    rows = index.rows("seed")
    labels: list[SeedLabel] = []
    for item, row in zip(index.ids[rows], index.row[rows], strict=True):
        now = meanings[row]
        if now.retired:
            continue
        understood_row: SeedLabel = {"id": item, "label": now.label, "line": table.lines[row]}
        if now.among:
            understood_row["among"] = list(now.among)
        labels.append(understood_row)
    return labels


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
    ids = [row["id"] for row in seed]
    at = index.locate(ids, "seed")
    sha = [index.sha[row] for row in at]
    rows = LabelledRows(matrix[at], geometry[at], classes, ids, sha)
    judgement = judge(rows, params)
    return classes, judgement, suspects(rows, judgement, params)
