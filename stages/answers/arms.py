"""Which arm a row counts for: one rule for the gate's labels, the control walk and the proof.

A row counts for the active arm when the strategy picked it in any round so far, and for the control
arm when the walk along the random permutation has passed it, whoever asked it. So a row that was
left open and is asked again by the other arm counts for both, whenever its label comes. Seed rows
that are asked again count for neither: they were chosen by no arm. Nor do rows of imported rounds
(`rounds import`), whose arm is IMPORTED alone, unless the walk passes them.

Some rows are asked to judge and not to teach (SILENT): their answers are counted and kept, but no
model, calibration, doubt or curve learns from them. An arm that wants such a row later asks it as
if nobody had seen it, so what an arm learns does not depend on what was judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from stages.answers.ledger import Asked, BatchRow
from stages.contract.identity import order_key

IMPORTED = "imported"
JUDGE = "judge"  # rows on which the models of both arms disagree, drawn by stages/proof/judges.py
SILENT = frozenset({JUDGE})  # arms whose rows judge and never teach


def teaches(row: BatchRow) -> bool:
    """Whether the answers to a row of a batch are learnt: some arm that teaches asked it."""
    return not SILENT.issuperset(row["arms"])


def ids_of(row: Asked) -> list[str]:
    """The id under which a row was asked, then its id after each time that ids moved since."""
    return row.get("ids", [row["id"]])


def control_reach(asked: Iterable[Asked], seed: int) -> int | None:
    """The order key of the furthest row that a control walk asked, in any round; None before any.

    Every ask counts, not only the first one of a row: the walk may come to a row that another arm
    had asked before. asked: of one walk, between two moves of ids.
    """
    keys = (order_key(seed, ids_of(row)[0]) for row in asked if "control" in row["arms"])
    return max(keys, default=None)


def asked_new(asked: Iterable[Asked], seed_ids: Collection[str]) -> list[Asked]:
    """The asks that teach, of rows without a seed label, in the order in which people got them."""
    new = (row for row in asked if row["id"] not in seed_ids and teaches(row))
    return sorted(new, key=lambda row: (row["round"], row["rank"]))


def active_ids(new: Iterable[Asked]) -> list[str]:
    """The ids that the strategy picked, in the order in which it first picked them."""
    return list(dict.fromkeys(row["id"] for row in new if "active" in row["arms"]))


def control_ids(new: Iterable[Asked], seed: int) -> list[str]:
    """The ids that the control walks have passed, each walk in the order of its permutation.

    Not in the order in which they were asked: other arms ask some of them earlier, and those are no
    random draw. Where ids moved, the permutation is another one, and a new walk begins. Each walk
    is judged by the ids of its time, and passes rows that were asked before it too, whoever asked
    them. So each walk is a uniform draw, and so are all of them together.
    """
    rows = list(new)
    passed: dict[str, None] = {}
    # A row has one id more for each move since it was asked: the oldest walk has the most.
    walks = {len(ids_of(row)) for row in rows}
    for walk in sorted(walks, reverse=True):
        reach = control_reach((row for row in rows if len(ids_of(row)) == walk), seed)
        if reach is not None:
            there = [row for row in rows if len(ids_of(row)) >= walk]
            keys = {row["id"]: order_key(seed, ids_of(row)[-walk]) for row in there}
            reached = [item for item in keys if keys[item] <= reach]
            passed |= dict.fromkeys(sorted(reached, key=keys.__getitem__))
    return list(passed)


def arms_by_id(
    asked: Iterable[Asked], seed_ids: Collection[str], seed: int
) -> dict[str, list[str]]:
    """The sorted names of the arms that each id counts for that was asked to teach.

    `review` stands among them where it was asked again for a doubt.
    """
    rows = [row for row in asked if teaches(row)]
    arms: dict[str, set[str]] = {row["id"]: set() for row in rows}
    for row in rows:
        arms[row["id"]].update(row["arms"])
    for item in control_ids(asked_new(rows, seed_ids), seed):
        arms[item].add("control")
    return {item: sorted(names) for item, names in arms.items()}
