"""`rounds inspect --self-test`: how many mistakes planted in one's own labels the gate finds.

Mistakes are planted where nothing is doubted, at a known rate and in two ways, and every label is
judged again. What people get wrong lies between the two: mistakes that fall on any row, and those
that fall on hard rows and are what the witnesses take to be likeliest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypedDict

import numpy as np

from stages.contract.arrays import Floats, Ints, Mask
from stages.learning.scoring import wilson
from stages.quality.judgement import Judgement, LabelledRows

SHARE = 0.05  # of the rows
LEAST = 1e-3  # error probability: so a row that seems clear may be mistaken as well

Flags = Callable[[LabelledRows], Mask]


class SelfTest(TypedDict):
    """What became of one way of planting mistakes.

    mistakes: `evenly` (any row, any other class) or `on hard rows` (the likeliest other class);
    planted, found: how many, and how many of those are flagged; doubts: labels that are flagged now
    and were not before; recall: found / planted, precision: found / doubts, None for no doubts; the
    intervals are Wilson's, 95 %.
    """

    mistakes: str
    planted: int
    found: int
    recall: float
    recall_interval: tuple[float, float]
    doubts: int
    precision: float | None
    precision_interval: tuple[float, float]


def self_test(
    rows: LabelledRows, judgement: Judgement, flagged: Mask, flags: Flags, seed: int
) -> list[SelfTest]:
    """What is found of planted mistakes, of each kind.

    judgement, flagged (n,): what is said of the labels as they are; flags: what is flagged of rows
    with other labels, (n,). Labels that are not judged, or flagged already, stay as they are. Empty
    where there are no others.
    """
    clean = np.flatnonzero(judgement.errors.judged & ~flagged)
    count = min(max(1, round(SHARE * len(rows.labels))), len(clean))
    if not count:
        return []
    tests = []
    for kind in ("evenly", "on hard rows"):
        draw = np.random.default_rng(seed)
        labels = _with_mistakes(kind, rows.labels, judgement, clean, count, draw)
        wrong = labels != rows.labels
        doubted = flags(replace(rows, labels=labels)) & ~(flagged & ~wrong)
        tests.append(_counted(kind, wrong, doubted))
    return tests


def _with_mistakes(
    kind: str,
    labels: Ints,
    judgement: Judgement,
    clean: Ints,
    count: int,
    draw: np.random.Generator,
) -> Ints:
    """The labels (n,) with `count` of the rows in `clean` mistaken."""
    classes = np.unique(labels)
    planted = labels.copy()
    if kind == "evenly":
        chosen = clean[draw.permutation(len(clean))[:count]]
        right = np.searchsorted(classes, labels[chosen])
        steps = draw.integers(1, len(classes), count)
        planted[chosen] = classes[(right + steps) % len(classes)]
        return planted
    doubt: Floats = np.log(judgement.errors.probability[clean] + LEAST)
    # the largest sums with Gumbel noise are a draw without replacement, in proportion to the doubt
    chosen = clean[np.argsort(-(doubt + draw.gumbel(size=len(clean))), kind="stable")[:count]]
    planted[chosen] = judgement.errors.suggested[chosen]
    return planted


def _counted(kind: str, wrong: Mask, doubted: Mask) -> SelfTest:
    """Recall and precision of the new doubts."""
    planted = int(wrong.sum())
    recovered = int((wrong & doubted).sum())
    doubts = int(doubted.sum())
    return {
        "mistakes": kind,
        "planted": planted,
        "found": recovered,
        "recall": recovered / planted,
        "recall_interval": wilson(recovered, planted),
        "doubts": doubts,
        "precision": recovered / doubts if doubts else None,
        "precision_interval": wilson(recovered, doubts) if doubts else (0.0, 1.0),
    }


def lines(tests: list[SelfTest]) -> list[str]:
    """The tests in words, a line each."""
    if not tests:
        return ["self-test: not applicable (no label could be judged)"]
    return [
        f"self-test, mistakes {test['mistakes']}: {test['found']} of {test['planted']} planted "
        f"found, {_share(test['recall'], test['recall_interval'])}; "
        f"of {test['doubts']} new doubts {test['found']} are planted, "
        f"{_share(test['precision'], test['precision_interval'])}"
        for test in tests
    ]


def _share(share: float | None, interval: tuple[float, float]) -> str:
    """A share with its interval, in percent."""
    if share is None:
        return "no share"
    return f"{share:.0%} [{interval[0]:.0%}, {interval[1]:.0%}]"
