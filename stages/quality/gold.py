"""How well each annotator answers gold rows, with an interval that holds at every look."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TypedDict

from stages.answers.ledger import GoldAnswer
from stages.contract.canonical import Row

ALARM = "V010"
ERROR = 0.05  # chance that any interval, of any person at any look, misses the truth


class GoldScore(TypedDict):
    """What one annotator made of gold rows.

    answers: labels given to gold rows; right: those that are the known answer; no_label: skipped,
    rejected or empty ones, which are neither; low, high: interval of the share of right ones;
    since: the first round in which this person answered one wrongly, None for none.
    """

    answers: int
    right: int
    no_label: int
    low: float
    high: float
    since: int | None


def share_at_any_look(right: int, answers: int, error: float) -> tuple[float, float]:
    """Low and high of the share of right answers, in [0, 1], valid at all looks together.

    The shares p under which a uniform mixture of shares is less than 1 / error times as likely:
    B(right + 1, wrong + 1) / (p^right (1 - p)^wrong) < 1 / error. Under the true share that ratio
    is a martingale of mean 1 and exceeds 1 / error ever with a chance of at most `error`.
    Source: Ville, "Étude critique de la notion de collectif" (1939); Robbins, "Statistical methods
    related to the law of the iterated logarithm" (1970).
    """
    from scipy.optimize import brentq
    from scipy.special import betaln, xlog1py, xlogy

    wrong = answers - right
    bound = betaln(right + 1, wrong + 1) + math.log(error)

    def inside(share: float) -> float:
        return float(xlogy(right, share) + xlog1py(wrong, -share) - bound)

    best = right / answers if answers else 0.5
    low = brentq(inside, 0.0, best) if right and inside(0.0) < 0 else 0.0
    high = brentq(inside, best, 1.0) if wrong and inside(1.0) < 0 else 1.0
    return low, high


def gold_scores(answers: Iterable[GoldAnswer]) -> dict[str, GoldScore]:
    """The score of everybody who answered a gold row, by name in alphabetical order.

    All intervals hold together: each person's takes its part of ERROR.
    """
    by_person: dict[str, list[GoldAnswer]] = {}
    for answer in answers:
        by_person.setdefault(answer["annotator"], []).append(answer)
    return {name: _score(by_person[name], ERROR / len(by_person)) for name in sorted(by_person)}


def _score(answers: list[GoldAnswer], error: float) -> GoldScore:
    labels = [answer for answer in answers if answer["label"] is not None]
    verdicts = Counter(answer["label"] == answer["known"] for answer in labels)
    low, high = share_at_any_look(verdicts[True], len(labels), error)
    wrong = [answer["round"] for answer in labels if answer["label"] != answer["known"]]
    return {
        "answers": len(labels),
        "right": verdicts[True],
        "no_label": len(answers) - len(labels),
        "low": low,
        "high": high,
        "since": min(wrong, default=None),
    }


def weakest(scores: dict[str, GoldScore]) -> float | None:
    """The lowest upper end of anybody's interval; None where nobody labelled a gold row."""
    return min((row["high"] for row in scores.values() if row["answers"]), default=None)


def gold_alarms(scores: dict[str, GoldScore], limit: float) -> list[Row]:
    """An alarm for each annotator who surely answers fewer gold rows rightly than the limit."""
    return [
        {
            "code": ALARM,
            "title": "an annotator answers gold rows wrongly",
            "seen": (
                f"{name}: {row['right']} of {row['answers']} gold rows right, surely at most "
                f"{100 * row['high']:.0f} % (limit {100 * limit:.0f} %)"
            ),
            "do": (
                f"go through the guideline with {name}; if these answers cannot be kept: "
                f"rounds retract --annotator {name!r} --since {row['since']} --why REASON"
            ),
        }
        for name, row in scores.items()
        if row["high"] < limit
    ]
