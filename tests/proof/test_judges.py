"""Judge rows: a draw of known probability that depends on nothing but its lots."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rounds.shipped import shipped_params
from stages.proof.course import course, course_facts, draw, facts_of, saved, scatter
from stages.proof.history import History
from stages.proof.judges import front, lots, next_drawn, total
from stages.proof.plan import control_to_show, judges_for, judges_to_show, planned
from stages.proof.powered import (
    Estimate,
    combined,
    power,
    powered_mean,
    powered_total,
)
from stages.proof.refits import Refits
from tests.proof.conftest import World, make_history, make_world

IDS = [f"row-{number:03d}" for number in range(200)]
SIZES = np.random.default_rng(0).choice([0.0, 0.1, 0.5, 1.0], 200)


def test_the_front_is_all_that_was_asked_before_the_first_row_that_was_not() -> None:
    sizes = np.ones(200)
    by_lot = [IDS[place] for place in np.argsort(lots(3, IDS))]
    asked = {*by_lot[:4], by_lot[7]}  # the eighth was asked for another reason
    drawn = front(IDS, sizes, asked, 3)
    assert [IDS[place] for place in drawn.places] == by_lot[:4]
    assert drawn.threshold == np.sort(lots(3, IDS))[4]


def test_rows_on_which_the_models_agree_are_never_drawn_and_a_full_draw_has_no_threshold() -> None:
    drawn = front(IDS, SIZES, IDS, 0)
    assert sorted(drawn.places) == np.flatnonzero(SIZES).tolist()
    assert drawn.threshold == np.inf


def test_what_was_drawn_for_earlier_models_judges_later_ones_and_is_not_asked_again() -> None:
    first = next_drawn(IDS, np.ones(200), set(), 0, 5)
    assert set(next_drawn(IDS, np.ones(200), first, 0, 5)).isdisjoint(first)
    assert front(IDS, np.ones(200), first, 0).count == 5
    both = {**first, **next_drawn(IDS, np.ones(200), first, 0, 5)}
    assert front(IDS, np.ones(200), both, 0).count == 10
    assert next_drawn(IDS, np.zeros(200), set(), 0, 5) == {}


def test_the_total_over_judge_rows_and_its_variance_are_right_on_average_over_the_lots() -> None:
    truth = SIZES * np.random.default_rng(1).choice([-1.0, 1.0], 200, p=[0.3, 0.7])
    estimates = []
    for seed in range(200):
        asked = next_drawn(IDS, SIZES, set(), seed, 25)
        drawn = front(IDS, SIZES, asked, seed)
        places = drawn.places
        estimates.append(total(truth[places], SIZES[places], drawn.threshold))
    values, variances = np.array(estimates).T
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - truth.sum()) < 3.5 * error
    assert 0.7 < variances.mean() / values.var(ddof=1) < 1.5


def test_with_all_rows_judged_nothing_is_left_to_chance() -> None:
    drawn = front(IDS, SIZES, IDS, 0)
    values = SIZES[drawn.places]
    believed = np.zeros(200)
    estimate = powered_total(values, drawn.places, believed, SIZES, drawn)
    assert estimate == Estimate(pytest.approx(SIZES.mean()), 0.0)


def test_a_model_that_is_right_leaves_nothing_to_chance_and_a_useless_one_is_left_out() -> None:
    draw = np.random.default_rng(2)
    truth = draw.normal(size=400)
    right = powered_mean(truth[:40], truth[:40], truth[40:], within=True)
    assert right.value == pytest.approx(truth.mean())
    assert right.variance == pytest.approx(0)
    useless = np.ones(400)
    plain = powered_mean(truth[:40], useless[:40], useless[40:], within=True)
    assert plain.value == pytest.approx(truth[:40].mean())
    assert power(truth, -truth) == 0.0  # a model that says the opposite is not believed


def test_a_powered_mean_covers_the_pool_and_is_narrower_than_the_plain_one() -> None:
    draw = np.random.default_rng(3)
    covered = []
    ratio = []
    for _ in range(150):
        belief = draw.random(500)
        truth = (draw.random(500) < belief).astype(float)
        estimate = powered_mean(truth[:60], belief[:60], belief[60:], within=True)
        covered.append(abs(estimate.value - truth.mean()) <= 1.96 * estimate.error)
        ratio.append(estimate.variance / (truth[:60].var(ddof=1) / 60 * (1 - 60 / 500)))
    assert np.mean(covered) > 0.92
    assert np.mean(ratio) < 0.85


def test_estimates_are_weighted_by_their_precision() -> None:
    both = combined([Estimate(1.0, 1.0), Estimate(4.0, 0.5)])
    assert both.value == pytest.approx(3.0)
    assert both.variance == pytest.approx(1 / 3)
    assert combined([Estimate(1.0, 1.0), Estimate(4.0, 0.0)]) == Estimate(4.0, 0.0)


@pytest.fixture(scope="module")
def judging() -> tuple[World, History, Refits]:
    """A project of seven rounds that asked twelve judge rows in its last."""
    world = make_world(seed=4, pool=200, test=40)
    options = world.params.validate_.model_copy(update={"judge_rows": 12})
    world = replace(world, params=world.params.model_copy(update={"validate_": options}))
    refits = Refits(world.index, world.matrix, world.params)
    history = make_history(world, 7)
    drawn = draw(without_judges(replace(history, rounds=6)), refits, ())
    assert len(drawn) == 12
    rows = [{"id": item, "round": 7, "rank": 99, "arms": ["judge"]} for item in drawn]
    judged = [{"id": item, "round": 7, "label": world.label(item)} for item in drawn]
    return world, replace(history, asked=[*history.asked, *rows], judged=judged), refits


def without_judges(history: History) -> History:
    """The same history as if nobody had judged, up to its last round."""
    asked = [
        row for row in history.asked if row["round"] <= history.rounds and row["arms"] != ["judge"]
    ]
    return replace(history, asked=asked, judged=[])


def claim(judging: tuple[World, History, Refits], history: History, *, test: bool = True) -> Any:
    """The gap over the course as of a history."""
    world, _, refits = judging
    truth = world.truth[world.index.rows("test")] if test else np.empty(0, dtype=np.intp)
    return course_facts(history, refits, truth)


def test_judge_rows_prove_the_gap_over_the_course_without_a_test_set(
    judging: tuple[World, History, Refits],
) -> None:
    history = judging[1]
    facts = claim(judging, history, test=False)
    assert facts["round"] == 6
    assert facts["judge_rows"] >= 12
    assert facts["any_look"]["low"] < facts["low"] < facts["active_minus_random"] < facts["high"]
    assert facts["saved"]["any_look"]["low"] <= facts["saved"]["low"] <= facts["saved"]["labels"]
    assert claim(judging, history)["error_of_rows"] < facts["error_of_rows"]
    assert claim(judging, without_judges(history), test=False)["active_minus_random"] is None


def test_what_was_judged_changes_neither_arm(judging: tuple[World, History, Refits]) -> None:
    world, history, _ = judging
    silent = without_judges(history)
    for arm in ("active", "random", "all"):
        told = [one.arm(arm, 7, world.params.labels, 4) for one in (history, silent)]
        assert told[0] == told[1]


def test_a_round_that_comes_later_changes_no_claim_of_an_earlier_one(
    judging: tuple[World, History, Refits],
) -> None:
    world, history, _ = judging
    grown = make_history(world, 8)
    rows = [row for row in history.asked if row["arms"] == ["judge"]]
    later = replace(grown, asked=[*grown.asked, *rows], judged=history.judged)
    assert claim(judging, later)["round"] == 7
    as_of_then = replace(later, rounds=7, asked=[row for row in later.asked if row["round"] <= 7])
    assert claim(judging, as_of_then) == claim(judging, history)


def test_a_mean_gap_of_zero_saves_nothing_and_arms_that_change_places_change_the_sign(
    judging: tuple[World, History, Refits],
) -> None:
    _, history, refits = judging
    done = course(history, refits, 6)
    assert done is not None
    level = replace(done, active=done.random[0], random=done.random)
    assert saved(done, 0.0) == 0.0
    few, more = saved(level, 0.01), saved(level, 0.1)
    assert 0 <= few <= more <= done.labels[-1] - done.seeded
    assert saved(level, -0.05) <= 0


def test_a_plan_says_how_many_judge_rows_a_gap_takes_before_the_first_batch() -> None:
    # 30 control labels: sqrt(2 (log 2 + 2 log 20)) = 3.657 standard errors; 3.657² 0.75 = 10.03
    assert judges_for(0.1, 0.2, 30) == math.ceil(3.657**2 * (0.2**2 - 0.1**2) / 0.1**2) == 41
    assert judges_for(0.05, 0.2, 30) > 4 * judges_for(0.1, 0.2, 30)
    said = planned(shipped_params({"query": {"batch_size": 40, "control_fraction": 0.2}}))
    assert "8 of 40 rows a round are drawn at random, 30 by round 4" in said
    nothing = planned(shipped_params({"query": {"control_fraction": 0.0}}))
    assert "nothing is proven" in nothing


def test_more_judge_rows_are_needed_for_a_smaller_gap_and_none_help_where_draws_hide_it(
    judging: tuple[World, History, Refits],
) -> None:
    world, history, refits = judging
    done = course(history, refits, 6)
    assert done is not None
    truth = world.truth[done.rows[: done.pool]]
    right = replace(done, active=np.tile(world.truth[done.rows], (3, 1)))
    needed = judges_to_show(right, truth)
    assert needed is not None
    assert needed >= 1
    level = replace(done, active=done.random[0])
    assert judges_to_show(level, truth) is None
    assert control_to_show(100, 40, 30) == pytest.approx(56.25)
    assert control_to_show(100, None, 30) is None


def test_a_spread_that_one_draw_makes_is_hardly_known_and_without_one_nothing_is_judged(
    judging: tuple[World, History, Refits],
) -> None:
    _, history, refits = judging
    done = course(history, refits, 6)
    assert done is not None
    assert scatter(done).degrees > 5
    alike = replace(done, random=np.repeat(done.random[:1], len(done.random), axis=0))
    assert scatter(alike).error == 0
    assert facts_of(alike, history, refits, np.empty(0, dtype=np.intp))["any_look"]["low"] is None
    odd = replace(alike, random=np.concatenate([alike.random[1:], done.random[1:2]]))
    assert 1 <= scatter(odd).degrees < 2.3  # one in thirty: kurtosis 28
    assert scatter(odd).within(3) > 10 * scatter(odd).error
