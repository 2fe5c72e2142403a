"""Gold rows: pool rows whose right answer is known, planted among the others to check people.

    data/rounds/gold.jsonl    what `rounds gold` wrote, append-only; of several lines about an id
                              the last counts; columns: id, label (null: a gold row no longer),
                              round (rounds issued by then), why, by

The known answer is frozen with each batch that asks the row (`gold` in batch.jsonl), so that a
later change of the list moves nothing that was measured. What people answer to a gold row is
measured and never learnt: it is no vote, and the row is in no arm.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from shlex import quote

from stages.answers.ledger import Asked, Event, GoldAnswer, GoldLine, GoldRow, Picked, Planted
from stages.contract.canonical import numbered_rows
from stages.contract.errors import PipelineError
from stages.contract.identity import order_key
from stages.contract.params import Params

GOLD = "gold.jsonl"
ARM = "gold"


def is_gold(row: Picked) -> bool:
    """Whether a row of a batch was planted for its known answer."""
    return ARM in row["arms"]


def known_answers(batch: Iterable[Asked]) -> dict[str, str]:
    """The known answer of each gold row of a batch, by id."""
    return {row["id"]: row["gold"] for row in batch if is_gold(row)}


def read_gold(folder: Path) -> list[GoldLine]:
    """The lines about gold rows, none where nobody named any.

    Raises PipelineError at file:line for a line that is not one of `rounds gold`.
    """
    path = folder / GOLD
    lines: list[GoldLine] = []
    for number, row in numbered_rows(path) if path.is_file() else ():
        label = row.get("label", 0)
        is_whole = isinstance(row.get("id"), str) and isinstance(row.get("round"), int)
        if not is_whole or not (label is None or isinstance(label, str)):
            what = "not a line of `rounds gold`"
            remedy = f"restore it: git checkout HEAD -- {quote(str(path))}"
            raise PipelineError(f"{path}:{number}", what, remedy)
        lines.append({"id": row["id"], "label": label, "round": row["round"]})
    return lines


def gold_now(lines: Iterable[GoldLine], upto: int) -> dict[str, str]:
    """Id -> known answer of the rows that are gold rows after round `upto`.

    What was said while a later round was open counts when that is accepted, so that an open round
    moves nothing.
    """
    gold: dict[str, str] = {}
    for line in lines:
        if line["round"] <= upto:
            gold.pop(line["id"], None)
            if line["label"] is not None:
                gold[line["id"]] = line["label"]
    return gold


def gold_rows(
    lines: Iterable[GoldLine], planted: Iterable[Planted], upto: int, params: Params
) -> list[GoldRow]:
    """All gold rows after round `upto`, sorted by id, with those that the next batch asks marked.

    These are `gate.gold_fraction` of a batch, rounded up: the least planted ones, ties by seed and
    id.
    """
    gold = gold_now(lines, upto)
    times = Counter(row["id"] for row in planted if row["round"] <= upto)
    order = sorted(gold, key=lambda item: (times[item], order_key(params.seed + 2, item)))
    count = math.ceil(params.gate.gold_fraction * params.query.batch_size - 1e-9)
    chosen = set(order[:count])
    return [{"id": item, "label": gold[item], "plant": item in chosen} for item in sorted(gold)]


def gold_answer(event: Event, known: str) -> GoldAnswer:
    """What a person answered to a gold row, beside the known answer."""
    return {
        "id": event["id"],
        "round": event["round"],
        "annotator": event["annotator"],
        "kind": event["kind"],
        "label": event["label"],
        "known": known,
    }


def still_counted(answers: Iterable[GoldAnswer], events: Iterable[Event]) -> list[GoldAnswer]:
    """The answers to gold rows without those of people whose answers were withdrawn since."""
    withdrawn = {
        (event["annotator"], event["since"], event["round"])
        for event in events
        if event["kind"] == "withdraw"
    }
    return [
        answer
        for answer in answers
        if not any(
            who == answer["annotator"] and since <= answer["round"] <= until
            for who, since, until in withdrawn
        )
    ]
