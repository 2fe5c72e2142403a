"""Estimates from learning curves: hand-computed cases and laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, t

from stages.answers.pace import seconds_per_id
from stages.proof.gap import (
    Arms,
    any_look,
    gap_and_saving,
    labels_to_reach,
    spreads_of_draws,
    variances,
)
from stages.proof.next_labels import next_labels

LABELS = np.array([50.0, 100.0, 200.0])


@pytest.mark.parametrize(
    ("target", "labels"),
    [(0.4, 50.0), (0.5, 50.0), (0.6, 75.0), (0.75, 150.0), (0.8, 200.0), (0.81, np.inf)],
)
def test_labels_to_reach_an_accuracy_are_read_off_the_curve(target: float, labels: float) -> None:
    assert labels_to_reach(LABELS, np.array([0.5, 0.7, 0.8]), target) == pytest.approx(labels)


def test_a_dip_in_the_curve_is_smoothed_before_reading() -> None:
    # .9 and .7 become .8, .8: reached where the rise to .8 ends
    assert labels_to_reach(LABELS, np.array([0.5, 0.9, 0.7]), 0.8) == pytest.approx(100)


def test_what_rounding_alone_keeps_below_the_target_has_reached_it() -> None:
    assert labels_to_reach(LABELS, np.array([0.5, 0.7, 0.8 - 1e-12]), 0.8) == 200


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, 1), st.floats(0, 0.2))
def test_a_higher_accuracy_never_needs_fewer_labels(
    curve: list[float], target: float, more: float
) -> None:
    accuracy = np.array(curve)
    assert labels_to_reach(LABELS, accuracy, target) <= labels_to_reach(
        LABELS, accuracy, target + more
    )


def test_the_inverse_power_law_is_found_again_and_its_gain_foretold() -> None:
    labels = np.array([50.0, 100, 150, 200, 250, 300])
    told = next_labels(labels, 0.95 - 2 * labels**-0.6, 100)
    truth = 2 * (300**-0.6 - 400**-0.6)
    assert told is not None
    assert told["gain"] == pytest.approx(truth, rel=0.05)
    assert told["low"] <= truth <= told["high"]


def test_extrapolation_needs_four_points_and_never_promises_more_than_perfection() -> None:
    assert next_labels(LABELS, np.array([0.5, 0.6, 0.7]), 100) is None
    told = next_labels(np.array([10.0, 20, 30, 40]), np.array([0.7, 0.8, 0.9, 0.99]), 1000)
    assert told is not None
    assert told["high"] <= 0.01 + 1e-9


def test_the_band_of_what_comes_next_holds_the_truth_of_noisy_curves() -> None:
    labels, rng = np.arange(50.0, 300, 50), np.random.default_rng(0)
    truth = 2 * (250**-0.6 - 350**-0.6)
    held = []
    for _ in range(200):
        told = next_labels(labels, 0.9 - 2 * labels**-0.6 + rng.normal(0, 0.01, 5), 100)
        assert told is not None
        held.append(told["low"] <= truth <= told["high"])
    assert np.mean(held) >= 0.9


def test_a_falling_or_flat_curve_foretells_no_gain_and_never_a_loss() -> None:
    labels = np.array([10.0, 20, 30, 40])
    for accuracy in ([0.9, 0.8, 0.7, 0.6], [0.8, 0.8, 0.8, 0.8]):
        told = next_labels(labels, np.array(accuracy), 100)
        assert told is not None
        assert (told["gain"], told["low"]) == pytest.approx((0, 0))
        assert told["high"] > 0
    assert next_labels(labels, np.ones(4), 100) == {"labels": 100, "gain": 0, "low": 0, "high": 0}


def test_the_variance_of_draws_is_that_of_means_and_rows_explain_a_part() -> None:
    # means .5 and -.5, no residual
    assert variances(np.array([[0.5, 0.5], [-0.5, -0.5]])) == pytest.approx((0.5, 0))
    # both means 0; residuals of 1 each, 4 in all, for one degree and two rows
    assert variances(np.array([[1.0, -1.0], [-1.0, 1.0]])) == pytest.approx((0, 2))
    # means 1.5 and 0; residuals of a quarter each, .25 in all
    assert variances(np.array([[2.0, 1.0], [0.0, 0.0]])) == pytest.approx((1.125, 0.125))


def test_a_spread_of_few_repeats_makes_a_shift_that_is_t_distributed() -> None:
    rng = np.random.default_rng(0)
    halves = np.repeat(rng.normal(size=(10, 1)), 5, axis=1)  # rows explain nothing
    shifts = spreads_of_draws(halves, 40_000, rng) * rng.standard_normal(40_000)
    expected = t(9, scale=halves[:, 0].std(ddof=1))
    assert kstest(shifts, expected.cdf).pvalue > 0.01


def test_a_spread_that_happens_to_look_like_none_may_still_be_one() -> None:
    # the repeats differ no more than judging two rows explains
    halves = np.array([[1.0, -0.8], [-0.9, 1.0], [0.1, 0.0]])
    total, by_rows = variances(halves)
    assert total < by_rows
    spreads = spreads_of_draws(halves, 1000, np.random.default_rng(0))
    assert 0 < (spreads > 0).mean() < 1


def arms(active: float, random: float, rows: int = 400, spread: float = 0.0) -> Arms:
    """Two arms with such accuracies; the active curve rises from .5 at 50 labels to `active` at 100
    and 200.
    """
    right = [np.arange(rows) < share * rows for share in (0.5, active, active)]
    halves = np.tile([[spread], [-spread]], (5, rows)) + 0.0
    theirs = np.array(
        [np.arange(rows) < share * rows for share in (0.5, (0.5 + random) / 2, random)],
        dtype=np.float64,
    )
    return Arms(LABELS, np.array(right), np.array([50.0, 75, 100]), theirs, right[1], halves)


def test_equal_arms_have_no_gap_and_save_nothing() -> None:
    gap, saving = gap_and_saving(arms(0.8, 0.8), 100, 200, 0)
    nothing = {"low": 0.0, "high": 0.0}
    assert gap == {"labels": 100, "active_minus_random": 0.0, **nothing, "any_look": nothing}
    assert saving["saved"] == pytest.approx(0)


def test_a_better_active_arm_saves_labels_within_an_interval() -> None:
    gap, saving = gap_and_saving(arms(0.8, 0.65), 100, 500, 0)
    assert gap["active_minus_random"] == pytest.approx(0.15)
    assert 0 < gap["low"] < 0.15 < gap["high"]
    assert saving["saved"] == pytest.approx(25)
    assert saving["low"] < 25 < saving["high"]


@pytest.mark.parametrize(("start", "half", "saved"), [(150, 180, 10), (150, 200, 0), (200, 200, 0)])
def test_an_accuracy_that_random_had_sooner_is_no_saving(
    start: int, half: int, saved: float
) -> None:
    # perfect in the end, both; active at 20 labels, random at 30, at 20, or with the 10 of the
    # seed, as active too
    rows, perfect = np.arange(200), np.ones(200, np.bool_)
    ours = np.array([rows < start, perfect, perfect, perfect])
    theirs = np.array([rows < start, rows < half, perfect], dtype=np.float64)
    labels = np.array([10.0, 20, 30, 40])
    judged = Arms(labels, ours, labels[:3], theirs, perfect, np.zeros((10, 200)))
    for seed in range(5):  # weights add up to one but for rounding
        gap, saving = gap_and_saving(judged, 100, 500, seed)
        assert (gap["low"], gap["high"]) == pytest.approx((0, 0), abs=1e-12)
        bounds = [saving["low"], saving["high"], *saving["any_look"].values()]
        assert [saving["saved"], *bounds] == pytest.approx([saved] * 5)


def test_a_saving_that_the_curve_cannot_show_is_not_a_number() -> None:
    _, saving = gap_and_saving(arms(0.7, 0.8), 100, 200, 0)
    assert not np.isfinite(saving["saved"])
    assert not np.isfinite(saving["low"])


def test_chance_in_the_labels_widens_the_interval() -> None:
    for narrow, wide in zip(
        *(gap_and_saving(arms(0.8, 0.65, spread=spread), 100, 500, 0) for spread in (0.0, 0.05)),
        strict=True,
    ):
        assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])


def test_any_look_needs_more_standard_errors_than_one_look() -> None:
    # the clock of 30 control labels is 1: sqrt((1 + 1) (log 2 + 2 log 20))
    assert any_look(30) == pytest.approx(3.6564, abs=1e-4)
    assert any_look(300) == pytest.approx(np.sqrt(1.1 * (np.log(11) + 2 * np.log(20))))
    assert all(any_look(control) > 1.96 for control in range(30, 5000))


def test_of_two_equal_arms_one_project_in_twenty_ever_claims_a_gap_at_any_look() -> None:
    # The gap of two arms whose labels are drawn alike, as a mean of as many differences as there
    # are control labels, is looked at after every 10 of them.
    labels = np.arange(10, 1001, 10)
    steps = np.random.default_rng(0).normal(0, np.sqrt(10), (4000, len(labels)))
    standardised = steps.cumsum(axis=1) / np.sqrt(labels)
    boundary = np.array([any_look(count) for count in labels.tolist()])
    assert (abs(standardised) > boundary).any(axis=1).mean() <= 0.05
    assert (abs(standardised) > 1.96).any(axis=1).mean() > 0.3


def test_the_interval_of_any_look_holds_that_of_one_look() -> None:
    for control in (10, 100, 1000):
        for estimate in gap_and_saving(arms(0.8, 0.65, spread=0.05), control, 500, 0):
            assert estimate["any_look"]["low"] < estimate["low"]
            assert estimate["high"] < estimate["any_look"]["high"]


def event(
    item: str, at: float | None, annotator: str = "ann", number: int = 1
) -> dict[str, object]:
    return {"id": item, "at": at, "annotator": annotator, "round": number}


def test_an_answer_costs_the_time_since_the_last_and_pauses_count_as_usual() -> None:
    events = [
        event("a", 0),
        event("b", 4),
        event("c", 10),
        event("d", 5000),
        event("a", 7000, "bo"),
        event("b", 7008, "bo"),
    ]
    # known gaps 4, 6, 8: usual 6; a first answer and a pause cost that
    assert seconds_per_id(events) == {"a": 12, "b": 12, "c": 6, "d": 6}


def test_answers_at_one_moment_and_the_next_round_after_a_short_while_cost_what_is_usual() -> None:
    events = [
        event("a", 0),
        event("b", 4),
        event("c", 4),
        event("d", 200, number=2),
        event("e", 204, number=2),
    ]
    assert seconds_per_id(events) == dict.fromkeys("abcde", 4)


def test_without_timestamps_there_is_no_cost() -> None:
    assert seconds_per_id([event("a", None), event("b", None)]) == {}
