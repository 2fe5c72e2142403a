"""How far people agree: with each other, with themselves, and who stands out. Pure functions of labels.

A unit is the list of labels that one example got. All measures are nominal: two labels are the same or they are not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def cohen_kappa(left: Sequence[str], right: Sequence[str]) -> float | None:
    """Agreement of two annotators on the same examples beyond chance, at most 1; None when chance explains all.

    Source: Cohen, "A coefficient of agreement for nominal scales" (1960).
    """
    n = len(left)
    if not n:
        return None
    seen = sum(a == b for a, b in zip(left, right, strict=True)) / n
    first, second = Counter(left), Counter(right)
    chance = sum(first[label] * second[label] for label in first) / n**2
    return None if math.isclose(chance, 1) else (seen - chance) / (1 - chance)


def fleiss_kappa(units: Sequence[Sequence[str]]) -> float | None:
    """Agreement beyond chance of the same number of labels (two or more) per example; None when it has no meaning.

    Source: Fleiss, "Measuring nominal scale agreement among many raters" (1971).
    """
    sizes = {len(unit) for unit in units}
    if len(sizes) != 1 or min(sizes) < 2:
        return None
    size = sizes.pop()
    counts = [Counter(unit) for unit in units]
    seen = sum(sum(c * (c - 1) for c in count.values()) / (size * (size - 1)) for count in counts) / len(units)
    totals = sum(counts, Counter())
    chance = sum((total / (size * len(units))) ** 2 for total in totals.values())
    return None if math.isclose(chance, 1) else (seen - chance) / (1 - chance)


def krippendorff_alpha(units: Sequence[Sequence[str]]) -> float | None:
    """Reliability of labels, at most 1, 0 = chance; any number of labels per example, those with one are left out.

    None when nothing was labelled twice or only one label was ever given.
    Source: Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), nominal data.
    """
    paired = [Counter(unit) for unit in units if len(unit) > 1]
    totals = sum(paired, Counter())
    n = sum(totals.values())
    apart = sum(sum(c * (unit.total() - c) for c in unit.values()) / (unit.total() - 1) for unit in paired)
    chance = sum(c * (n - c) for c in totals.values())
    return 1 - (n - 1) * apart / chance if chance else None


def excess(bad: int, total: int, others_bad: int, others_total: int) -> tuple[float, float]:
    """By how much one share exceeds that of the others, and how many standard errors that is (pooled; 0 if none)."""
    gap = bad / total - others_bad / others_total
    share = (bad + others_bad) / (total + others_total)
    error = math.sqrt(share * (1 - share) * (1 / total + 1 / others_total))
    return gap, gap / error if error else 0.0
