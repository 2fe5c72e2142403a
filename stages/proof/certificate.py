"""How much of the rest the machine may label, with an exact bound on its share of wrong labels.

The rest is what nobody has labelled. The model puts it in order, the most certain row first, and
would label the first `share` of it. Each such share is a level; the levels are nested and fixed
beforehand (LEVELS). Control rows judge a level: they are a random draw of the pool, and each was
scored by a model that did not learn from it, so one counts their wrong labels within the level.

    pool          = control rows + known rows (labelled by people, not in the draw) + the rest
    within level  = n control rows, b known rows, m rows of the rest

Of the pool's rows within the level some fixed number W is labelled wrongly by the machine. The draw
of the control rows is random, so the number of wrong ones among them is hypergeometric. With k
wrong control rows and a wrong known rows, the rest holds W - k - a. Were it more than the allowed
share of m, W would be at least floor(error * m) + 1 + a + k; the chance of seeing k or fewer wrong
control rows would then be at most the level's p-value. Which rows the strategy picked does not
matter: that is counted in b and a, and changes W by nothing.

Levels are tested one after the other, from a strict one outwards, each at the full 1 - confidence,
until the first that is not proven (fixed-sequence testing: the first level whose rest is worse than
allowed is passed with a chance of at most 1 - confidence, and without passing it nothing behind it
is reached). So the bound holds for the level that is chosen. Which levels are tested is decided by
how many control rows lie within them, never by their labels.

Source: Clopper, Pearson, "The use of confidence or fiducial limits" (1934), for a finite pool;
Maurer, Hothorn, Lehmacher, "Multiple comparisons in drug clinical trials" (1995); Candes, Ilyas,
Zrnic, "Probably approximately correct labels" (2025); Vishwakarma, Lin, Sala, Korlakai Vinayak,
"Promises and pitfalls of threshold-based auto-labeling" (2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats, Mask

LEVELS = np.arange(5, 101) / 100
ROUND = np.isin(np.arange(5, 101), [*range(5, 96, 5), 97, 98, 99, 100])
# Where the testing begins: half of the rest is enough to be of use. A stricter level comes first
# where so many control rows lie within it that three wrong ones among them would be forgiven.
BEGIN = 0.5
FORGIVEN = 3
# A level that forgives no more wrong control rows than a stricter one is harder to prove than both
# its neighbours: it is passed over where the next that forgives more is at most so far away.
NEAR = 0.16
TIE_DIGITS = 9
MOST_TIMES = 40.0  # how many times today's control rows are considered, at most
STEP = 1.05
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Claim:
    """At most `error` of the machine's labels are wrong, in at least `confidence` of projects."""

    error: float
    confidence: float


@dataclass(frozen=True)
class Judged:
    """Rows with a person's label. reach: (n,), see `reach_of`; wrong: (n,) the machine erred."""

    reach: Floats
    wrong: Mask


@dataclass(frozen=True)
class Tally:
    """What lies within each level, (levels,), the strictest first."""

    rest: Counts
    judges: Counts
    wrong: Counts
    known: Counts
    known_wrong: Counts


@dataclass(frozen=True)
class Step:
    """A level that was tested: how much it holds, what the control rows say, and the verdict.

    most: as many wrong control rows would still prove it; -1 if not even none would.
    """

    share: float
    rest: int
    control: int
    wrong: int
    most: int
    p_value: float
    proven: bool


@dataclass(frozen=True)
class Certificate:
    """The share of the rest that the machine may label, 0 for none, and the levels tested."""

    share: float
    steps: list[Step]

    @property
    def last(self) -> Step | None:
        """The level that was chosen; None when none was proven."""
        proven = [step for step in self.steps if step.proven]
        return proven[-1] if proven else None


def reach_of(certainty: Floats, rest: Floats) -> Floats:
    """The share of the rest that is at least as certain, in [0, 1]; (n,). 0: more certain than all.

    certainty: (n,) of some rows, rest: (m,) of the rest, by one and the same model. So rows that
    different models scored can be compared: each is placed in the order of its own model.
    """
    ordered = np.sort(np.round(rest, TIE_DIGITS))
    less = np.searchsorted(ordered, np.round(certainty, TIE_DIGITS), side="left")
    return np.asarray((len(ordered) - less) / max(len(ordered), 1))


def tally(judges: Judged, known: Judged, rest: Floats) -> Tally:
    """How many rows of each kind lie within each level. rest: (m,) the reach of its own rows."""

    def within(reach: Floats) -> Counts:
        ordered = np.sort(reach)
        return np.searchsorted(ordered, LEVELS + 1e-12, side="right").astype(np.int64)

    return Tally(
        within(rest),
        within(judges.reach),
        within(judges.reach[judges.wrong]),
        within(known.reach),
        within(known.reach[known.wrong]),
    )


def p_values(counts: Tally, wrong: Counts, error: float) -> Floats:
    """The chance of at most so many wrong control rows, were the rest just worse than allowed.

    wrong: (levels,) or (any, levels). A level without control rows, or without rest, has 1.
    """
    from scipy.stats import hypergeom

    total = counts.judges + counts.known + counts.rest
    too_many = np.floor(error * counts.rest + 1e-9).astype(np.int64) + 1
    all_wrong = np.minimum(too_many + counts.known_wrong + wrong, total)
    chance = hypergeom.cdf(wrong, total, all_wrong, counts.judges)
    return np.where((counts.judges > 0) & (counts.rest > 0), chance, 1.0)


def most_wrong(counts: Tally, claim: Claim) -> Counts:
    """The most wrong control rows that prove each level, (levels,); -1 where not even none do."""
    most = np.full(len(LEVELS), -1, dtype=np.int64)
    growing = np.ones(len(LEVELS), dtype=np.bool_)
    for wrong in range(int(counts.judges.max(initial=0)) + 1):
        proven = p_values(counts, np.full_like(most, wrong), claim.error) <= 1 - claim.confidence
        growing &= proven
        if not growing.any():
            break
        most[growing] = wrong
    return most


def to_test(most: Counts) -> list[int]:
    """The levels to test, in their order; none where no level could be proven. Looks at no label.

    most: of `most_wrong`, with no known row counted as wrong.
    """
    possible = np.flatnonzero(most >= 0)
    usual = possible[LEVELS[possible] >= BEGIN]
    strict = np.flatnonzero(most >= FORGIVEN)
    begins = [int(levels[0]) for levels in (usual, strict) if len(levels)]
    if not begins:
        return []
    # the levels that forgive one more than every stricter one, and where the last of them leads to
    forgiving = np.flatnonzero(np.diff(np.maximum.accumulate(most), prepend=-1) > 0)
    chosen = np.zeros(len(LEVELS), dtype=np.bool_)
    chosen[forgiving] = True
    for this, following in pairwise([*forgiving.tolist(), len(LEVELS)]):
        last = following == len(LEVELS)
        if last or LEVELS[following] - LEVELS[this] > NEAR:
            chosen[this:following] |= ROUND[this:following]
    chosen[: min(begins)] = False
    return [int(level) for level in np.flatnonzero(chosen)]


def certify(counts: Tally, claim: Claim) -> Certificate:
    """The largest share of the rest that is proven, level by level, under the claim."""
    unlabelled = replace(counts, known_wrong=np.zeros_like(counts.known_wrong))
    chances = p_values(counts, counts.wrong, claim.error)
    most = most_wrong(counts, claim)
    steps: list[Step] = []
    for level in to_test(most_wrong(unlabelled, claim)):
        proven = bool(chances[level] <= 1 - claim.confidence)
        steps.append(
            Step(
                share=float(LEVELS[level]),
                rest=int(counts.rest[level]),
                control=int(counts.judges[level]),
                wrong=int(counts.wrong[level]),
                most=int(most[level]),
                p_value=float(chances[level]),
                proven=proven,
            )
        )
        if not proven:
            break
    share = max((step.share for step in steps if step.proven), default=0.0)
    return Certificate(share, steps)


def control_rows_needed(counts: Tally, claim: Claim) -> int | None:
    """About how many more control rows would prove some level, if new ones err like today's.

    None: none would (of those considered), because the model errs too often at every level; or
    there is no control row that tells how often it errs.
    """
    today = int(counts.judges[-1])
    rest = int(counts.rest[-1])
    if not today:
        return _for_a_perfect_model(counts, claim)
    times = STEP
    while times <= MOST_TIMES and (times - 1) * today < rest:
        more = _scaled(counts, times)
        if certify(more, claim).share:
            return math.ceil((times - 1) * today)
        times *= STEP
    return None


def _for_a_perfect_model(counts: Tally, claim: Claim) -> int | None:
    """The control rows that prove the whole rest when none of them is wrong."""
    whole = int(counts.rest[-1])
    rows = math.ceil(math.log(1 - claim.confidence) / math.log(1 - claim.error))
    return rows if rows < whole else None


def _scaled(counts: Tally, times: float) -> Tally:
    """The counts with `times` as many control rows, out of the rest; wrong ones rounded up."""
    judges = np.round(counts.judges * times).astype(np.int64)
    wrong = np.ceil(counts.wrong * times - 1e-9).astype(np.int64)
    rest = np.maximum(counts.rest - (judges - counts.judges), 0)
    return replace(counts, judges=judges, wrong=wrong, rest=rest)
