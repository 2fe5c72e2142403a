"""Agreement measures against values computed by hand or printed in their sources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages._agreement import cohen_kappa, excess, fleiss_kappa, krippendorff_alpha


def test_cohen_kappa_of_twenty_five_and_fifteen_agreements_in_fifty_is_0_4() -> None:
    left = ["yes"] * 25 + ["no"] * 25
    right = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(left, right) == pytest.approx(0.4)


def test_fleiss_kappa_equals_the_value_printed_for_fourteen_raters_and_ten_subjects() -> None:
    counts = [(0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1)]
    counts += [(7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7)]
    units = [[label for label, count in zip("abcde", row, strict=True) for _ in range(count)] for row in counts]
    assert fleiss_kappa(units) == pytest.approx(0.20993, abs=1e-5)


def test_krippendorff_alpha_equals_the_printed_value_for_four_observers_with_gaps() -> None:
    units = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
    assert krippendorff_alpha([list(unit) for unit in units]) == pytest.approx(0.743, abs=1e-3)


def test_agreement_has_no_value_where_it_has_no_meaning() -> None:
    assert cohen_kappa([], []) is None
    assert cohen_kappa(["a", "a"], ["a", "a"]) is None
    assert fleiss_kappa([["a", "b"], ["a"]]) is None
    assert krippendorff_alpha([["a"], ["b"]]) is None
    assert krippendorff_alpha([["a", "a"]]) is None


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=2, max_size=4), min_size=2, max_size=20), st.randoms())
def test_alpha_is_at_most_one_and_heeds_neither_the_order_of_units_nor_of_labels(units: list[list[str]], draw) -> None:
    alpha = krippendorff_alpha(units)
    mixed = [draw.sample(unit, len(unit)) for unit in draw.sample(units, len(units))]
    assert krippendorff_alpha(mixed) == (alpha if alpha is None else pytest.approx(alpha))
    assert alpha is None or alpha <= 1


def test_an_excess_is_a_gap_of_shares_in_standard_errors() -> None:
    gap, errors = excess(30, 100, 10, 100)
    assert gap == pytest.approx(0.2)
    assert errors == pytest.approx(0.2 / (0.2 * 0.8 * 0.02) ** 0.5)
