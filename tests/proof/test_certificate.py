"""How much of the rest the machine may label: cases computed by hand, and how often the bound is
broken.
"""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from stages.proof.certificate import (
    LEVELS,
    Claim,
    Judged,
    Tally,
    certify,
    control_rows_needed,
    most_wrong,
    p_values,
    reach_of,
    tally,
)
from stages.proof.people import error_of

CLAIM = Claim(0.05, 0.95)
NOBODY = Judged(np.empty(0), np.empty(0, dtype=np.bool_))


def counts_of(control: int, rest: int, wrong: int = 0) -> Tally:
    """Control rows spread evenly over the levels, their mistakes only among the least certain."""
    none = np.zeros(len(LEVELS), dtype=np.int64)
    mistakes = none.copy()
    mistakes[-1] = wrong
    inside = np.floor(LEVELS * control + 1e-9).astype(np.int64)
    return Tally(np.floor(LEVELS * rest + 1e-9).astype(np.int64), inside, mistakes, none, none)


def test_a_p_value_is_the_hypergeometric_chance_computed_by_hand() -> None:
    counts = counts_of(20, 100)
    # 5 of 100 may be wrong, so 6 are too many; none of the 20 drawn out of 120 is one of them
    by_hand = comb(114, 20) / comb(120, 20)
    assert p_values(counts, counts.wrong, 0.05)[-1] == pytest.approx(by_hand)
    # one wrong control row: 7 wrong ones in all, at most one of them drawn
    one = (comb(113, 20) + 7 * comb(113, 19)) / comb(120, 20)
    assert p_values(counts, counts.wrong + 1, 0.05)[-1] == pytest.approx(one)


def test_known_mistakes_beyond_the_draw_are_counted_out() -> None:
    counts = counts_of(20, 100)
    known = Tally(counts.rest, counts.judges, counts.wrong, counts.rest // 10, counts.wrong + 3)
    # 20 drawn of 130, of which 10 are known and 3 of these wrong: 9 wrong ones in all
    assert p_values(known, known.wrong, 0.05)[-1] == pytest.approx(comb(121, 20) / comb(130, 20))


@pytest.mark.parametrize(("control", "most"), [(58, -1), (59, 0), (93, 1), (124, 2), (153, 3)])
def test_in_a_large_pool_it_takes_as_many_rows_as_the_binomial_says(
    control: int, most: int
) -> None:
    assert most_wrong(counts_of(control, 10_000_000), CLAIM)[-1] == most


def test_nothing_is_certified_with_too_few_control_rows_and_it_says_how_many_more() -> None:
    counts = counts_of(40, 100_000)
    assert certify(counts, CLAIM).share == 0
    assert 19 <= (control_rows_needed(counts, CLAIM) or 0) <= 22
    assert control_rows_needed(counts_of(0, 100_000), CLAIM) == 59


def test_a_model_that_always_errs_is_helped_by_no_control_rows() -> None:
    counts = counts_of(100, 100_000)
    errs = Tally(counts.rest, counts.judges, counts.judges // 2, counts.known, counts.known_wrong)
    assert control_rows_needed(errs, CLAIM) is None


def test_the_testing_ends_at_the_first_level_that_is_not_proven() -> None:
    counts = counts_of(400, 100_000)
    wrong = np.where(LEVELS > 0.7, 30, 0)
    steps = certify(Tally(counts.rest, counts.judges, wrong, counts.known, wrong * 0), CLAIM).steps
    assert [step.proven for step in steps] == [True] * (len(steps) - 1) + [False]
    assert steps[-2].share <= 0.7 < steps[-1].share


def test_reach_is_the_share_of_the_rest_that_is_as_certain() -> None:
    reach = reach_of(np.array([0.95, 0.9, 0.5, 0.05]), np.array([0.1, 0.2, 0.9, 0.9]))
    assert reach.tolist() == [0, 0.5, 0.5, 1]


def test_the_order_of_rows_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    reach, wrong, rest = rng.random(150), rng.random(150) < 0.02, rng.random(900)
    mixed = rng.permutation(150)
    one = certify(tally(Judged(reach, wrong), NOBODY, rest), CLAIM)
    two = certify(tally(Judged(reach[mixed], wrong[mixed]), NOBODY, rng.permutation(rest)), CLAIM)
    assert one == two


@pytest.mark.parametrize("flat", [0.05, 0.06])
def test_the_bound_is_broken_in_at_most_five_percent_of_projects_at_the_hardest_error_rates(
    flat: float,
) -> None:
    broken, projects = 0, 400
    for project in range(projects):
        rng = np.random.default_rng([project, int(1000 * flat)])
        certainty, wrong = rng.random(1200), rng.random(1200) < flat
        judges, rest = np.split(rng.permutation(1200), [200])
        own = reach_of(certainty[rest], certainty[rest])
        drawn = Judged(reach_of(certainty[judges], certainty[rest]), wrong[judges])
        share = certify(tally(drawn, NOBODY, own), CLAIM).share
        within = own <= share + 1e-12
        broken += bool(share) and wrong[rest][within].mean() > CLAIM.error
    by_chance = 3 * (0.05 * 0.95 / projects) ** 0.5
    assert broken / projects <= 0.05 + by_chance


def test_people_who_differ_in_18_percent_err_in_10_percent() -> None:
    assert error_of(0.18) == pytest.approx(0.1)
    assert error_of(0.0) == 0
    assert error_of(0.9) == 0.5
