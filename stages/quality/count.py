"""How many labels are wrong: the share that several witnesses together give evidence of.

Two signs are read. Where the witnesses are surest the truth is clear, so a label that contradicts
them there is wrong; mistakes that fall on clear and hard rows alike show in full. Mistakes of
people fall on hard rows, where a witness that learned from them repeats most. Those show as
`disagreement`: the witnesses contradict the labels more often than they contradict each other.
What this exceeds the first sign by is a part of what was repeated, and counts several times.
Where numbers were measured and a label is an outcome, the same excess arises without any mistake:
equal rows have different labels, because the features do not tell. So there it does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.contract.arrays import Floats, Ints, Mask
from stages.learning.scoring import wilson

PARTS = 5  # groups of equal size, by how clear a row is to the witnesses
REPEATED = 4.0  # mistakes for each that shows as disagreement, where people judge what they see
FEW = 400.0  # labels of which either sign is half believed: few rows make no witness sure
REPEATED_IN_NUMBERS = 2.0  # the same where the features are measured numbers
BY_CHANCE = 0.005  # of disagreement that is no sign of mistakes among numbers
UNTOLD = 0.1  # by which the middle part is contradicted more than the surest: features do not tell
MOST_SHIFT = 20.0  # of log odds


@dataclass(frozen=True)
class WrongShare:
    """The estimated share of wrong labels, and whether the features are found not to tell."""

    share: float
    features_do_not_tell: bool


def share_of_wrong(scores: Floats, labels: Ints, witnessed: float, *, measured: bool) -> WrongShare:
    """The share of n labels that is wrong, by the witnesses' pooled logits (n, k).

    witnessed: by `disagreement`; measured: whether the features are numbers that were measured, not
    what a person looks at. The surest part's contradictions count with the lower end of their
    Wilson interval (95 %), of few labels less. No more labels are wrong than are contradicted.
    Source for the first sign: the anchor points of Liu, Tao, "Classification with noisy labels by
    importance reweighting" (2016).
    """
    parts = _contradicted(scores, labels)
    contradicted = np.concatenate(parts)
    surest = float(parts[0].mean())
    lower = wilson(int(parts[0].sum()), len(parts[0]))[0]
    surely = min(lower, witnessed + lower * len(labels) / (len(labels) + FEW))
    untold = measured and bool(parts[PARTS // 2].mean() - surest > UNTOLD)
    if untold:
        return WrongShare(min(max(witnessed, surely), surest), features_do_not_tell=True)
    excess = max(witnessed - surely, 0.0)
    times = 1 + (REPEATED - 1) * len(labels) / (len(labels) + FEW)
    if measured:
        excess = max(excess - BY_CHANCE, 0.0)
        times = REPEATED_IN_NUMBERS
    share = min(surely + times * excess, float(contradicted.mean()))
    return WrongShare(share, features_do_not_tell=False)


def least_share(scores: Floats, labels: Ints) -> float:
    """A lower bound of the share of wrong labels, by one witness's logits (n, k).

    It is what it contradicts in that part of the rows, by how sure it is, in which it contradicts
    least.
    """
    return min(float(part.mean()) for part in _contradicted(scores, labels))


def _contradicted(scores: Floats, labels: Ints) -> list[Mask]:
    """Which labels the likeliest class contradicts, in PARTS of the rows, the surest first."""
    ranked = np.partition(scores, -2, axis=1)
    surest_first = np.argsort(ranked[:, -2] - ranked[:, -1], kind="stable")
    contradicted = scores.argmax(axis=1) != labels
    return [contradicted[rows] for rows in np.array_split(surest_first, PARTS)]


def with_mean(probability: Floats, share: float) -> Floats:
    """The probabilities (n,) with their log odds all moved alike, so that their mean is `share`.

    0 and 1 stay, so the mean is as near as they allow.
    """
    from scipy.optimize import brentq

    def moved(shift: float) -> Floats:
        odds = probability * np.exp(shift)
        return np.asarray(np.minimum(odds / (odds + 1 - probability), 1.0))

    def beyond(shift: float) -> float:
        return float(moved(shift).mean()) - share

    if not len(probability) or beyond(-MOST_SHIFT) >= 0:
        return moved(-MOST_SHIFT)
    if beyond(MOST_SHIFT) <= 0:
        return moved(MOST_SHIFT)
    return moved(float(brentq(beyond, -MOST_SHIFT, MOST_SHIFT, xtol=1e-9)))
