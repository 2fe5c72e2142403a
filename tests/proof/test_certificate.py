"""How much of the rest the machine may label: cases computed by hand, and how often the bound is
broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
    rows = np.floor(LEVELS * rest + 1e-9).astype(np.int64)
    return Tally(rows, inside, mistakes, none, none, none)


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
    known = replace(counts, known=counts.rest // 10, known_wrong=counts.wrong + 3)
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
    errs = replace(counts, wrong=counts.judges // 2)
    assert control_rows_needed(errs, CLAIM) is None


def test_the_testing_ends_at_the_first_level_that_is_not_proven() -> None:
    counts = counts_of(400, 100_000)
    wrong = np.where(LEVELS > 0.7, 30, 0)
    steps = certify(replace(counts, wrong=wrong), CLAIM).steps
    assert [step.proven for step in steps] == [True] * (len(steps) - 1) + [False]
    assert steps[-2].share <= 0.7 < steps[-1].share


def test_reach_is_the_share_of_the_pool_that_is_as_certain() -> None:
    reach = reach_of(np.array([0.95, 0.9, 0.5, 0.05]), np.array([0.1, 0.2, 0.9, 0.9]))
    assert reach.tolist() == [0, 0.5, 0.5, 1]


def test_rows_on_which_the_models_differ_make_the_limit_stricter() -> None:
    counts = counts_of(20, 100)
    # 20 of the 100 are left out: 4 of the other 80 may be wrong, so 5 in all are too many
    differ = replace(counts, differ=counts.rest // 5)
    by_hand = comb(115, 20) / comb(120, 20)
    assert p_values(differ, differ.wrong, 0.05)[-1] == pytest.approx(by_hand)
    # none is left to be labelled
    assert p_values(replace(counts, differ=counts.rest), counts.wrong, 0.05)[-1] == 1


def test_the_order_of_rows_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    reach, wrong, rest = rng.random(150), rng.random(150) < 0.02, rng.random(900)
    mixed = rng.permutation(150)
    none = np.empty(0)
    again = Judged(reach[mixed], wrong[mixed])
    one = certify(tally(Judged(reach, wrong), NOBODY, rest, none), CLAIM)
    two = certify(tally(again, NOBODY, rng.permutation(rest), none), CLAIM)
    assert one == two


PROJECTS = 250
BY_CHANCE = 2 * (0.05 * 0.95 / PROJECTS) ** 0.5


def broken_in(
    share_of: Callable[[Tally], float], control: int, flat: float, differing: float = 0.0
) -> float:
    """The share of simulated projects in which more than 5 % of the machine's labels are wrong.

    Of 1200 rows a share of `flat` is wrong wherever the model is sure or not: no error rate is
    harder to bound. control: rows drawn; differing: on such a share the model and its judge differ.
    """
    broken = 0
    for project in range(PROJECTS):
        rng = np.random.default_rng([project, int(1000 * flat)])
        reach = reach_of(certainty := rng.random(1200), certainty)
        wrong, differ = rng.random(1200) < flat, rng.random(1200) < differing
        judges, rest = np.split(rng.permutation(1200), [control])
        left_out = reach[rest][differ[rest]]
        counts = tally(Judged(reach[judges], wrong[judges]), NOBODY, reach[rest], left_out)
        share = share_of(counts)
        labelled = (reach[rest] <= share + 1e-12) & ~differ[rest]
        broken += bool(share) and wrong[rest][labelled].mean() > CLAIM.error
    return broken / PROJECTS


@pytest.mark.parametrize(
    ("control", "flat", "differing"), [(100, 0.06, 0.0), (200, 0.055, 0.0), (200, 0.06, 0.02)]
)
def test_the_bound_is_broken_in_at_most_five_percent_of_projects_at_the_hardest_error_rates(
    control: int, flat: float, differing: float
) -> None:
    def share_of(counts: Tally) -> float:
        return certify(counts, CLAIM).share

    assert broken_in(share_of, control, flat, differing) <= 0.05 + BY_CHANCE


def test_that_law_refuses_a_level_chosen_after_looking_at_all() -> None:
    def looked_first(counts: Tally) -> float:
        proven = p_values(counts, counts.wrong, CLAIM.error) <= 1 - CLAIM.confidence
        return float(LEVELS[proven].max(initial=0.0))

    assert broken_in(looked_first, 200, 0.055) > 0.05 + BY_CHANCE


def test_that_law_refuses_a_bound_that_forgets_one_wrong_row() -> None:
    def forgets(counts: Tally) -> float:
        return certify(replace(counts, wrong=np.maximum(counts.wrong - 1, 0)), CLAIM).share

    assert broken_in(forgets, 100, 0.06) > 0.05 + BY_CHANCE


def test_people_who_differ_in_18_percent_err_in_10_percent() -> None:
    assert error_of(0.18) == pytest.approx(0.1)
    assert error_of(0.0) == 0
    assert error_of(0.9) == 0.5
