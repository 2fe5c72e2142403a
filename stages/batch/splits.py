"""Rows whose class was split: which of them to ask again first, and how many in one batch."""

from __future__ import annotations

import numpy as np

from stages.answers.gate_tables import GateTables
from stages.answers.ledger import Repeat
from stages.batch.model import Model
from stages.contract.arrays import Floats
from stages.contract.identity import order_key
from stages.contract.params import Params


def repeats_and_splits(
    gate: GateTables, model: Model | None, params: Params
) -> tuple[list[Repeat], list[Repeat]]:
    """The labels to plant again, and the rows to ask which part of a split class they are."""
    planted = [row for row in gate.repeats if not row.get("among")]
    return planted, rows_to_split(gate, model, params)


def rows_to_split(gate: GateTables, model: Model | None, params: Params) -> list[Repeat]:
    """The rows whose class was split and nobody has answered again, the most telling first.

    These are the ones on which the model is least sure which of the parts they are. While it has
    learnt no part, all are alike to it, and a seeded draw decides, which is fair to all parts.
    """
    rows = [row for row in gate.repeats if row.get("among")]
    doubts = np.zeros(len(rows))
    if model is not None:
        at = {item: number for number, item in enumerate(gate.accepted.ids)}
        held_out = model.held_out[[at[row["id"]] for row in rows]]
        doubts = np.round(_doubt_between(rows, held_out, params.labels), 9)
    keys = [order_key(params.seed + 2, row["id"]) for row in rows]
    order = sorted(range(len(rows)), key=lambda number: (-doubts[number], keys[number]))
    return [rows[number] for number in order]


def _doubt_between(rows: list[Repeat], probabilities: Floats, labels: list[str]) -> Floats:
    """(n,) one minus the gap between the two likeliest parts, these taken as all there is.

    probabilities: (n, k). 1 where the model gives the parts no probability at all.
    """
    doubts = np.ones(len(rows))
    column = {label: number for number, label in enumerate(labels)}
    for number, row in enumerate(rows):
        parts = np.sort(probabilities[number, [column[label] for label in row["among"]]])
        if parts.sum() > 0 and len(parts) > 1:
            doubts[number] = 1 - (parts[-1] - parts[-2]) / parts.sum()
    return doubts


def share_of_split(split: int, active: int, spare: int) -> int:
    """How many rows of a batch are asked again for a split.

    As many as the pool leaves free (`spare`), and of the strategy's `active` ones at most half: the
    parts are learnt soon, and the search for new rows goes on. split: how many rows there are.
    """
    return min(split, spare + active // 2)
