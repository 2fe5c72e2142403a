"""How much of the rest the machine may label, with an exact bound on its share of wrong labels.

The rest is what nobody has labelled. All rows of the pool are put in order, the most certain first;
the first `share` of the pool is a level. The levels are nested and fixed beforehand (LEVELS). Each
row was scored by a judge that did not learn from it (stages/proof/opinions.py), so all rows of a
level stand alike, labelled or not. Control rows judge a level: they are a random draw of the pool,
and one counts on how many of them the judges err.

    within level = n control rows, b known rows (people's, not of the draw), m rows of the rest

On some fixed number W of the level's rows the judges err. The draw of the control rows is random,
so the number of errors among them is hypergeometric. With k errors on control rows and a on known
rows, the rest holds W - k - a. Which rows the strategy picked does not matter: that is counted in b
and a, and changes W by nothing. Of the m rows the machine labels those m - d where the model of all
labels says what the judge says; so at most W - k - a of its labels are wrong. Were that more than
the allowed share of m - d, W would be at least floor(error * (m - d)) + 1 + a + k; the chance of
seeing k or fewer errors on control rows would then be at most the level's p-value, whatever d is.

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
# Where the testing begins: half of the pool is enough to be of use. A stricter level comes first
# where so many control rows lie within it that three wrong ones among them would be forgiven.
BEGIN = 0.5
FORGIVEN = 3
# A level that forgives no more wrong control rows than a stricter one is harder to prove than both
# its neighbours: it is passed over where the next that forgives more is at most so far away.
NEAR = 0.25
TIE_DIGITS = 9
MOST_TIMES = 40.0  # how many times today's control rows are considered, at most
STEP = 1.05  # how exactly that is said
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
    """What lies within each level, (levels,), the strictest first.

    differ: rows of the rest that the machine leaves out, because its models do not agree on them.
    """

    rest: Counts
    judges: Counts
    wrong: Counts
    known: Counts
    known_wrong: Counts
    differ: Counts


@dataclass(frozen=True)
class Step:
    """A level that was tested: how much it holds, what the control rows say, and the verdict.

    share: of the pool, in (0, 1]; labelled: rows of the rest that the machine would label.

    most: as many wrong control rows would still prove it; -1 if not even none would.
    """

    share: float
    labelled: int
    control: int
    wrong: int
    most: int
    p_value: float
    proven: bool


@dataclass(frozen=True)
class Certificate:
    """The share of the pool within which the machine may label, 0 for none; the levels tested."""

    share: float
    steps: list[Step]

    @property
    def last(self) -> Step | None:
        """The level that was chosen; None when none was proven."""
        proven = [step for step in self.steps if step.proven]
        return proven[-1] if proven else None


def reach_of(certainty: Floats, pool: Floats) -> Floats:
    """The share of the pool that is at least as certain, in (0, 1]; (n,) for some rows of it.

    certainty: (n,) of those rows, pool: (m,) of all. Ties to nine digits are of one reach.
    """
    ordered = np.sort(np.round(pool, TIE_DIGITS))
    less = np.searchsorted(ordered, np.round(certainty, TIE_DIGITS), side="left")
    return np.asarray((len(ordered) - less) / max(len(ordered), 1))


def tally(judges: Judged, known: Judged, rest: Floats, differ: Floats) -> Tally:
    """How many rows of each kind lie within each level.

    rest: (m,) reach of its rows; differ: (d,) of those rows of the rest that are left out.
    """

    def within(reach: Floats) -> Counts:
        ordered = np.sort(reach)
        return np.searchsorted(ordered, LEVELS + 1e-12, side="right").astype(np.int64)

    return Tally(
        within(rest),
        within(judges.reach),
        within(judges.reach[judges.wrong]),
        within(known.reach),
        within(known.reach[known.wrong]),
        within(differ),
    )


def p_values(counts: Tally, wrong: Counts, error: float) -> Floats:
    """The chance of at most so many wrong control rows, were the rest just worse than allowed.

    wrong: (levels,) or (any, levels). 1 for a level without control rows, or
    without a row to label.
    """
    from scipy.stats import hypergeom

    total = counts.judges + counts.known + counts.rest
    labelled = counts.rest - counts.differ
    too_many = np.floor(error * labelled + 1e-9).astype(np.int64) + 1
    all_wrong = np.minimum(too_many + counts.known_wrong + wrong, total)
    chance = hypergeom.cdf(wrong, total, all_wrong, counts.judges)
    return np.where((counts.judges > 0) & (labelled > 0), chance, 1.0)


def most_wrong(counts: Tally, claim: Claim) -> Counts:
    """The most wrong control rows that prove each level, (levels,); -1 where not even none would.

    Found by bisection: the more are wrong, the higher the p-value.
    """
    low = np.full(len(LEVELS), -1, dtype=np.int64)
    high = counts.judges + 1
    while (high - low > 1).any():
        middle = np.maximum((low + high) // 2, 0)
        proven = p_values(counts, middle, claim.error) <= 1 - claim.confidence
        low = np.where(proven & (high - low > 1), middle, low)
        high = np.where(~proven & (high - low > 1), middle, high)
    return low


def to_test(most: Counts) -> list[int]:
    """The levels to test, in their order; none where no level could be proven. Looks at no label.

    most: of `most_wrong`, with no known row counted as wrong and none left out.
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
    """The largest share of the pool that is proven, level by level, under the claim."""
    none = np.zeros_like(counts.rest)
    without_labels = replace(counts, known_wrong=none, differ=none)
    chances = p_values(counts, counts.wrong, claim.error)
    most = most_wrong(counts, claim)
    steps: list[Step] = []
    for level in to_test(most_wrong(without_labels, claim)):
        proven = bool(chances[level] <= 1 - claim.confidence)
        step = Step(
            share=float(LEVELS[level]),
            labelled=int(counts.rest[level] - counts.differ[level]),
            control=int(counts.judges[level]),
            wrong=int(counts.wrong[level]),
            most=int(most[level]),
            p_value=float(chances[level]),
            proven=proven,
        )
        steps.append(step)
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
    most = min(MOST_TIMES, 1 + rest / today)

    def enough(times: float) -> bool:
        return certify(_scaled(counts, times), claim).share > 0

    low = 1.0
    high = min(2.0, most)
    while high < most and not enough(high):
        low = high
        high = min(2 * high, most)
    if not enough(high):
        return None
    while high > STEP * low:
        middle = (low + high) / 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return math.ceil((high - 1) * today)


def _for_a_perfect_model(counts: Tally, claim: Claim) -> int | None:
    """The control rows that prove the whole rest when none of them is wrong."""
    whole = int(counts.rest[-1])
    rows = math.ceil(math.log(1 - claim.confidence) / math.log(1 - claim.error))
    return rows if rows < whole else None


def _scaled(counts: Tally, times: float) -> Tally:
    """The counts with `times` as many control rows, out of the rest; wrong ones rounded up."""
    judges = np.round(counts.judges * times).astype(np.int64)
    wrong = np.ceil(counts.wrong * times - 1e-9).astype(np.int64)
    rest = np.maximum(counts.rest - (judges - counts.judges), counts.differ)
    return replace(counts, judges=judges, wrong=wrong, rest=rest)
