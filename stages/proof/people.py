"""People's own mistakes, as far as labels that were given twice betray them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from stages.answers.ledger import Asked, CountedVote, Verdict
from stages.answers.standing import SEED
from stages.learning.scoring import wilson


@dataclass(frozen=True)
class Agreement:
    """Pairs of labels of one row, how many differ, and the share of wrong labels that this implies.

    error, error_high: estimate and upper end of its 95 % interval; None without a pair.
    """

    pairs: int
    differ: int
    error: float | None
    error_high: float | None


def repeated_labels(
    votes: Iterable[CountedVote], asked: Iterable[Asked], verdicts: Iterable[Verdict]
) -> Agreement:
    """What labels given twice say of people's mistakes; rows asked again for a doubt are left out.

    They were chosen because they look wrong, and would exaggerate. What counts is two people's
    labels of one round, and a planted repeat. People who make the same mistake are not found out.
    """
    doubts = {(row["round"], row["id"]) for row in verdicts}
    reviews = {(row["round"], row["id"]) for row in asked if "review" in row["arms"]} & doubts
    by_id: dict[str, list[CountedVote]] = defaultdict(list)
    for vote in votes:
        if vote["annotator"] != SEED and (vote["round"], vote["id"]) not in reviews:
            by_id[vote["id"]].append(vote)
    pairs = [pair for labels in by_id.values() for pair in combinations(labels, 2)]
    differ = sum(first["label"] != second["label"] for first, second in pairs)
    if not pairs:
        return Agreement(0, 0, None, None)
    _, high = wilson(differ, len(pairs))
    return Agreement(len(pairs), differ, error_of(differ / len(pairs)), error_of(high))


def error_of(differing: float) -> float:
    """The share of wrong labels e of two people who differ in such a share of rows: 2 e (1 - e).

    At most one half. For more than two classes people who err differ a little more often, so this
    is rather too high than too low. Source: Dawid, Skene, "Maximum likelihood estimation of
    observer error-rates using the EM algorithm" (1979), for two alike observers.
    """
    return float((1 - max(0.0, 1 - 2 * differing) ** 0.5) / 2)
