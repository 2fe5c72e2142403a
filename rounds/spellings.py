"""Class names that mean the same and are written differently: refused, or merged into one.

"Card ", "card" and "CARD"; 0, 0.0 and False; letters that look alike only because Unicode has two
ways to write them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from stages.contract.errors import PipelineError

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII)
TRUTH = {"true": Decimal(1), "false": Decimal(0)}  # as numpy and pandas count them
SHOWN = 3  # groups of spellings that a refusal names


@dataclass(frozen=True)
class Labelled:
    """A label and where it stands: in a row of a table, or in an option of the command line."""

    label: str
    where: str


def essence(label: str) -> str | Decimal:
    """A label without case, blanks, invisible signs and Unicode's variants; a number's value."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    invisible = {"Cf", "Zs", "Zl", "Zp", "Cc"}
    bare = "".join(sign for sign in folded if unicodedata.category(sign) not in invisible)
    if NUMBER.fullmatch(bare):
        return Decimal(bare)
    return TRUTH.get(bare, bare)


def spellings(labels: Iterable[str]) -> list[list[str]]:
    """Groups of two or more labels that differ only in spelling, in the order of appearance."""
    groups: dict[str | Decimal, list[str]] = {}
    for label in dict.fromkeys(labels):
        groups.setdefault(essence(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def refuse_spellings(labelled: Sequence[Labelled]) -> None:
    """Raises PipelineError for labels that differ only in spelling, with the first row of each."""
    first: dict[str, str] = {}
    for item in labelled:
        first.setdefault(item.label, item.where)
    groups = spellings(first)
    if not groups:
        return
    named = [
        " and ".join(f"{label!r} ({first[label]})" for label in group) for group in groups[:SHOWN]
    ]
    if len(groups) > SHOWN:
        named.append(f"{len(groups) - SHOWN} more such groups")
    what = (
        "classes that differ only in case, blanks, Unicode form or number format: "
        f"{', '.join(named)}"
    )
    remedy = (
        "make each group one class with --merge-spellings, "
        "or several on purpose with --keep-spellings"
    )
    raise PipelineError(first[groups[0][0]], what, remedy)


def merged(labelled: Sequence[Labelled], chosen: Sequence[str]) -> dict[str, str]:
    """For each spelling that goes, the one to use in its place.

    That is one of `chosen`, else the most frequent, else the first. Of numbers a whole one comes
    before 0.0 and False; blanks at the ends are taken off.
    """
    counts = Counter(item.label for item in labelled)
    instead: dict[str, str] = {}
    for group in spellings([*chosen, *counts]):
        named = [label for label in group if label in chosen]
        # 0.0 is what a gap in a column makes of 0, and False what a database does: the whole
        # number is meant. max() takes the first of equals, in the order of appearance.
        whole = [label for label in group if label.strip().isdecimal()]
        frequent = max(whole or group, key=lambda label: counts[label])
        best = named[0] if named else " ".join(frequent.split())
        instead |= {label: best for label in group if label != best and label not in chosen}
    return instead
