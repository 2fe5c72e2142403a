"""The batch as Prodigy's JSONL, with the manifest that freezes it."""

from __future__ import annotations

from stages.answers.ledger import BatchRow
from stages.answers.prodigy import task
from stages.answers.rounds import batch_id
from stages.contract.canonical import Row
from stages.contract.params import Params
from stages.examples.content import number_columns
from stages.examples.places import in_parts, list_parts, local
from stages.examples.tables import read_table


def export(batch: list[BatchRow], contents: dict[str, Row], labels: list[str]) -> list[Row]:
    """One task per row of the batch, in its order.

    contents: what a person sees of each id; labels: the classes to choose from.

    The score is the model's uncertainty, the same measure for every arm.
    """
    identity = batch_id(batch)
    return [
        task(
            contents[row["id"]],
            labels,
            al_id=row["id"],
            batch_id=identity,
            rank=row["rank"],
            score=row["doubt"],
        )
        for row in batch
    ]


def fields_of(pool: str, params: Params) -> list[str] | None:
    """The columns to show of rows that have neither text nor image.

    They are the pool's; of a pool in parts, those of its first part.
    """
    if params.data.text or params.data.image:
        return None
    with local(list_parts(pool)[0] if in_parts(pool) else pool) as path:
        return number_columns(read_table(path, may_be_empty=True), params)
