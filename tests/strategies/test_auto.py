"""The default: what it measures, how it decides, and that what it says is what it did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import Make

from stages.strategies import Candidates
from stages.strategies.auto import auto, floor_weights, has_unit_rows, roc_area
from stages.strategies.herding import drawn, max_herding, uncertainty_herding
from stages.strategies.registry import resolve


def test_the_roc_area_of_a_perfect_order_is_one_and_of_ties_one_half() -> None:
    wrong = np.array([False, False, True, True])
    assert roc_area(np.array([0.1, 0.2, 0.8, 0.9]), wrong)[0] == 1
    assert roc_area(np.array([0.9, 0.8, 0.2, 0.1]), wrong)[0] == 0
    assert roc_area(np.full(4, 0.5), wrong)[0] == 0.5
    assert roc_area(np.array([0.1, 0.8, 0.2, 0.9]), wrong)[0] == 0.75


def test_the_standard_error_of_the_area_is_hanley_and_mcneils() -> None:
    # A = 3/4, 2 wrong and 2 right: Q1 = 0.6, Q2 = 9/14; (3/16 + (0.6 - 9/16) + (9/14 - 9/16)) / 4
    # under the root
    expected = np.sqrt((3 / 16 + 0.6 - 9 / 16 + 9 / 14 - 9 / 16) / 4)
    assert np.isclose(
        roc_area(np.array([0.1, 0.8, 0.2, 0.9]), np.array([False, False, True, True]))[1], expected
    )


def test_without_errors_nothing_speaks_against_doubt_and_without_successes_nothing_for_it() -> None:
    assert roc_area(np.ones(3), np.zeros(3, bool)) == (1.0, 0.0)
    assert roc_area(np.ones(3), np.ones(3, bool)) == (0.0, 0.0)


def test_doubt_that_tells_errors_is_used(make: Make) -> None:
    candidates = replace(
        make(k=2), labelled=make().labelled[:4], labelled_class=np.array([0, 1, 1, 1]),
        held_out=np.array([[0.95, 0.05], [0.05, 0.95], [0.55, 0.45], [0.55, 0.45]]),
    )  # fmt: skip
    ranking = resolve("auto")(candidates, 5)
    assert ranking.regime == "doubtful and diverse"
    assert all(
        reason.endswith("; doubt is used (area 1.00 ± 0.00 on 4 held-out labels)")
        for reason in ranking.reasons
    )


def test_the_second_version_asks_by_regions_once_every_class_of_texts_is_seen(make: Make) -> None:
    def asked(candidates: Candidates, version: int) -> tuple[list[int], str]:
        ranking = resolve("auto")(candidates, 10, version=version)
        return ranking.positions.tolist(), ranking.regime

    seen = make(m=9, d=20)  # three labels of each of three classes
    by_regions = resolve("weighted_coverage")(seen, 10).positions.tolist()
    by_doubt = resolve("uncertainty_herding")(seen, 10).positions.tolist()
    assert by_regions != by_doubt
    assert asked(seen, 2) == (by_regions, "doubtful regions")
    assert asked(seen, 1) == (by_doubt, "doubtful and diverse")
    reasons = resolve("auto")(seen, 10, version=2).reasons
    assert all("; every class is seen, doubt is used" in reason for reason in reasons)
    for other in (
        make(m=8, d=20),  # a class has two labels
        replace(seen, geometry=2 * seen.geometry, labelled=2 * seen.labelled),  # not of unit length
    ):
        assert asked(other, 2) == asked(other, 1)
    is_blank = np.arange(120) < 12  # texts that share nothing with the others have length 0
    assert has_unit_rows(replace(seen, geometry=np.where(is_blank[:, None], 0, seen.geometry)))
    is_blank = np.arange(120) < 13
    assert not has_unit_rows(replace(seen, geometry=np.where(is_blank[:, None], 0, seen.geometry)))


def test_doubt_waits_for_so_many_labels_of_every_class(make: Make) -> None:
    candidates = make(m=11)  # 4, 4 and 3 labels
    assert resolve("auto")(candidates, 5, min_labels=3).regime == "doubtful and diverse"
    ranking = resolve("auto")(candidates, 5, min_labels=4)
    assert ranking.regime == "typical and diverse"
    assert ranking.reasons[0].endswith("; a class has 3 of the 4 labels that doubt waits for")


def test_doubt_that_is_noise_is_not_used_and_the_reason_gives_the_figures(make: Make) -> None:
    candidates = replace(
        make(k=2), labelled=make().labelled[:4], labelled_class=np.array([0, 1, 0, 1]),
        held_out=np.array([[0.6, 0.4], [0.4, 0.6], [0.1, 0.9], [0.9, 0.1]]),
    )  # fmt: skip
    ranking = resolve("auto")(candidates, 5)
    assert ranking.regime == "typical and diverse"
    assert ranking.positions.tolist() == resolve("max_herding")(candidates, 5).positions.tolist()
    assert ranking.reasons[0].endswith(
        "doubt does not tell errors yet (area 0.00 ± 0.00 on 4 held-out labels)"
    )


def test_doubt_below_one_half_by_less_than_its_error_is_used_and_rows_of_no_known_class_are_not_counted(
    make: Make,
) -> None:
    doubts = np.array(
        [0.2, 0.4, 0.3, 0.1, 1.0]
    )  # two right, two wrong: of four pairs one is in order, area 1/4
    sure = np.column_stack([1 - doubts / 2, doubts / 2])
    classes = np.array([0, 0, 1, 1, -1])
    candidates = replace(make(k=2, m=5), labelled_class=classes, held_out=sure)
    ranking = resolve("auto")(candidates, 5)
    assert ranking.regime == "doubtful and diverse"
    assert ranking.evidence == "doubt is used (area 0.25 ± 0.28 on 4 held-out labels)"


def test_rows_of_no_known_class_do_not_count_for_floor_weights(make: Make) -> None:
    candidates = replace(
        make(k=2, m=3), labelled_class=np.array([0, -1, 0]), held_out=np.eye(2)[[0, 0, 1]]
    )
    assert np.allclose(
        floor_weights(candidates, 0.5), [1 + (0.5 - 0.0945312) / 0.5, 2]
    )  # 1 of 2, as above


def test_a_class_that_is_surely_recalled_weighs_one_and_an_unseen_class_two(make: Make) -> None:
    candidates = make(k=3, m=100)
    classes = np.repeat([0, 1], 50)
    rows = np.eye(3)[classes]
    weights = floor_weights(replace(candidates, labelled_class=classes, held_out=rows), 0.6)
    assert weights.tolist() == [1, 1, 2]


def test_the_floor_weight_follows_the_lower_wilson_bound(make: Make) -> None:
    # 1 of 2 recalled: Wilson 95 % lower bound = (1 + z^2 / 2 - z sqrt(1/2 + z^2 / 4)) / (2 + z^2) =
    # 0.0945
    candidates = replace(make(k=2, m=2), labelled_class=np.zeros(2, np.intp), held_out=np.eye(2))
    assert np.allclose(floor_weights(candidates, 0.5), [1 + (0.5 - 0.0945312) / 0.5, 2])


def test_equal_doubt_makes_uncertainty_herding_max_herding(make: Make) -> None:
    candidates = replace(make(k=2), probabilities=np.full((120, 2), 0.5))
    plain, doubtful = (
        rank_(candidates, 20).positions.tolist() for rank_ in (max_herding, uncertainty_herding)
    )
    assert plain == doubtful


def test_the_first_of_two_groups_to_be_asked_is_the_doubtful_one(make: Make) -> None:
    candidates = make(n=40, k=2, d=2)
    two = np.repeat(np.array([[1, 0], [0, 1]], np.float32), 20, axis=0)
    spread = two + np.random.default_rng(0).normal(scale=0.01, size=two.shape).astype(np.float32)
    sure = np.repeat([[1.0, 0.0], [0.6, 0.4]], 20, axis=0)
    ranking = auto(replace(candidates, geometry=spread, probabilities=sure, labelled=-two[:12]), 2)
    assert ranking.positions[0] >= 20


@pytest.mark.parametrize("sample", [10, 50])
def test_a_bounded_draw_keeps_the_sum_of_doubt_and_prefers_the_doubtful(sample: int) -> None:
    doubt = np.concatenate([np.zeros(500), np.ones(100)])
    rows, mass = drawn(doubt, sample)
    assert len(rows) == len(set(rows.tolist())) == sample
    assert (rows >= 500).all()
    assert np.isclose(mass.sum(), doubt.sum())
