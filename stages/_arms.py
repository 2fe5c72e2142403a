"""Which arm a row counts for: one rule for the gate's labels, the control walk and the proof.

A row counts for the active arm when the strategy picked it in any round so far, and for the control
arm when the walk along the random permutation has passed it, whoever asked it. So a row that was
left open and is asked again by the other arm counts for both, whenever its label comes. Seed rows
that are asked again count for neither: they were chosen by no arm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from stages._canonical import Row
from stages._identity import order_key


def control_reach(asked: Iterable[Row], seed: int) -> int | None:
    """The order key of the furthest row that the control arm asked, in any round; None before any.

    Every ask counts, not only the first one of a row: the walk may come to a row that another arm
    had asked before.
    """
    keys = (order_key(seed, row["id"]) for row in asked if "control" in row["arms"])
    return max(keys, default=None)


def asked_new(asked: Iterable[Row], seed_ids: Collection[str]) -> list[Row]:
    """The asks of rows that have no seed label, in the order in which people got them."""
    new = (row for row in asked if row["id"] not in seed_ids)
    return sorted(new, key=lambda row: (row["round"], row["rank"]))


def active_ids(new: Iterable[Row]) -> list[str]:
    """The ids that the strategy picked, in the order in which it first picked them."""
    return list(dict.fromkeys(row["id"] for row in new if "active" in row["arms"]))


def control_ids(new: Iterable[Row], seed: int) -> list[str]:
    """The ids that the control walk has passed, in the order of the permutation.

    Not in the order in which they were asked: other arms ask some of them earlier, and those are no random draw.
    """
    rows = list(new)
    reach = control_reach(rows, seed)
    if reach is None:
        return []
    passed = {row["id"]: order_key(seed, row["id"]) for row in rows}
    return sorted((item for item in passed if passed[item] <= reach), key=passed.__getitem__)


def arms_by_id(asked: Iterable[Row], seed_ids: Collection[str], seed: int) -> dict[str, list[str]]:
    """The sorted names of the arms that each asked id counts for.

    `review` stands among them where it was asked again for a doubt.
    """
    rows = list(asked)
    arms: dict[str, set[str]] = {row["id"]: set() for row in rows}
    for row in rows:
        arms[row["id"]].update(row["arms"])
    for item in control_ids(asked_new(rows, seed_ids), seed):
        arms[item].add("control")
    return {item: sorted(names) for item, names in arms.items()}
