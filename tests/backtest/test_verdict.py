"""What replays say, by hand-computed numbers."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from rounds.backtest.chart import svg, ticks
from rounds.backtest.control import ControlFacts, control_rows, smallest_control
from rounds.backtest.tables import control_cells
from rounds.backtest.variants import Variant
from rounds.backtest.verdict import (
    accuracies,
    area,
    labels_to,
    more_repeats,
    paired,
    saving,
    summary,
)


def curve(*heights: float, step: int = 10) -> list[dict[str, float]]:
    return [
        {"n_labels": step * (n + 1), "accuracy": h, "macro_f1": h / 2}
        for n, h in enumerate(heights)
    ]


def test_the_area_is_the_mean_height_by_trapezoids_up_to_a_point() -> None:
    assert area(curve(0.2, 0.6, 0.8), "accuracy", 30) == pytest.approx((0.4 + 0.7) / 2)
    assert area(curve(0.2, 0.6, 0.8), "accuracy", 25) == pytest.approx((0.4 * 10 + 0.65 * 5) / 15)
    assert area(curve(0.2, 0.6), "macro_f1", 20) == pytest.approx(0.2)
    assert area(curve(0.3), "accuracy", 10) == pytest.approx(0.3)


def test_labels_to_a_target_lie_between_points_in_proportion() -> None:
    x, heights = accuracies(
        [curve(0.2, 0.6, 0.5, 0.9), curve(0.6, 0.6, 0.6, 0.6), curve(0.2, 0.3, 0.4, 0.4)]
    )
    assert labels_to(x, heights, 0.5).tolist() == [pytest.approx(17.5), 10, math.inf]


def test_paired_differences_have_students_interval_and_chance() -> None:
    found = paired(np.array([0.01, 0.02, 0.03, 0.0]))
    assert (found["wins"], found["ties"], found["losses"]) == (3, 1, 0)
    assert found["mean"] == pytest.approx(0.015)
    assert found["standard_error"] == pytest.approx(0.012909944 / 2)
    assert found["high"] - found["mean"] == pytest.approx(3.182446305 * 0.012909944 / 2)
    assert found["superior"] == pytest.approx(0.9486, abs=1e-4)  # t = 2.3238 with 3 degrees
    assert paired(np.array([0.02, 0.02]))["superior"] is None
    assert (
        paired(np.array([0.1, 0.1, 0.1]))["superior"] is None
    )  # though their deviation is 1e-17 by rounding
    assert paired(np.array([0.02]))["standard_error"] is None


def test_more_repeats_are_those_that_a_narrow_interval_needs() -> None:
    gaps = np.array([0.01, 0.02, 0.03, 0.0])
    # t(n - 1) x .01291 / sqrt(n) < .015 first holds at n = 6: 2.5706 x .00527 = .01355; at n = 5 it
    # is .01603
    assert more_repeats(gaps) == 2
    assert more_repeats(gaps + 1) == 0
    assert more_repeats(np.array([-0.01, 0.01])) is None
    assert more_repeats(np.array([0.01])) is None


def test_saving_is_the_labels_of_random_over_ones_own() -> None:
    own, random = [curve(0.2, 0.8), curve(0.2, 0.8)], [curve(0.2, 0.5, 0.8), curve(0.2, 0.5, 0.8)]
    found = saving(own, random, 0.8, seed=0)
    assert found["labels_to_target"] == 20
    assert found["saving_factor"] == found["saving_low"] == found["saving_high"] == 1.5
    assert saving(own, random, 0.9, seed=0)["saving_factor"] is None


def test_a_target_that_is_the_mean_of_ones_own_ends_is_reached_there() -> None:
    # the mean of these five along an axis and of a column differ in the last digit
    own = [curve(0.2, height) for height in (0.1, 0.7, 0.3, 0.6, 0.2, 0.9, 0.11, 0.53, 0.77)]
    found = summary({"random": own}, {"random": "random"}, None)
    assert found["strategies"][0]["labels_to_target"] == 20
    x, heights = accuracies(own)
    assert labels_to(x, heights.mean(axis=0)[None] - 1e-12, found["target"]).tolist() == [20]


def test_a_saving_has_no_lower_bound_while_too_many_resamples_miss_the_target() -> None:
    # all three draws are the bad loop in 1 of 27 resamples: their mean, .2, never reaches .4; every
    # other mean does
    own, random = [curve(0.2, 0.9), curve(0.2, 0.9), curve(0.2, 0.2)], [curve(0.2, 0.4)] * 3
    found = saving(own, random, 0.4, seed=0)
    assert found["saving_factor"] == pytest.approx(20 / (10 + 10 * 0.2 / (1.4 / 3)))
    assert found["saving_low"] is None
    assert found["saving_high"] == pytest.approx(20 / (10 + 10 * 0.2 / 0.7))


def test_a_target_that_is_reached_without_labels_has_no_factor() -> None:
    start = [{**point, "n_labels": point["n_labels"] - 10} for point in curve(0.2, 0.8)]
    found = saving([start] * 2, [start] * 2, 0.1, seed=0)
    assert (found["labels_to_target"], found["saving_factor"], found["saving_low"]) == (
        0,
        None,
        None,
    )


def test_one_repeat_is_said_to_tell_nothing_instead_of_that_more_would_not() -> None:
    curves = {"random": [curve(0.2, 0.6)], "mine": [curve(0.2, 0.8)]}
    said = summary(curves, dict.fromkeys(curves, "random"), None)["decision"]["said"]
    assert said.startswith(
        "use mine: 10.00 points of mean accuracy ahead of random, not yet sure; "
    )
    assert said.endswith("one repeat cannot tell it from chance: give --repeats 5 or more")


def test_the_decision_names_the_best_and_how_sure_it_is() -> None:
    repeats = [curve(0.2, 0.6 + gap) for gap in (0.0, 0.1, 0.05)]
    better = [curve(0.2, 0.8 + gap) for gap in (0.0, 0.11, 0.04)]
    found = summary(
        {"random": repeats, "mine": better}, {"random": "random", "mine": "random"}, None
    )
    decision = found["decision"]
    assert (decision["use"], decision["second"], decision["wins"], decision["more_repeats"]) == (
        "mine",
        "random",
        3,
        0,
    )
    assert decision["said"].startswith("use mine: 10.00 points of mean accuracy ahead of random")
    assert decision["said"].endswith("that settles it")
    assert found["target"] == pytest.approx(0.65)
    assert found["strategies"][0]["gain"] is None


def test_areas_end_where_the_shortest_loop_of_a_repeat_ends() -> None:
    curves = {
        "random": [curve(0.2, 0.6, 0.8), curve(0.2, 0.4, 0.9)],
        "mine": [curve(0.2, 0.6), curve(0.2, 0.6, 0.9)],
    }
    random, mine = summary(curves, dict.fromkeys(curves, "random"), 0.5)["strategies"]
    assert random["areas"] == pytest.approx([0.4, (0.3 + 0.65) / 2])
    assert mine["areas"] == pytest.approx([0.4, (0.4 + 0.75) / 2])


def test_a_strategy_is_compared_with_random_of_its_own_model() -> None:
    heights = {"random A": 0.4, "random B": 0.6, "mine B": 0.8}
    curves = {name: [curve(0.2, height)] * 2 for name, height in heights.items()}
    baseline = {"random A": "random A", "random B": "random B", "mine B": "random B"}
    found = {arm["strategy"]: arm for arm in summary(curves, baseline, 0.6)["strategies"]}
    assert found["mine B"]["gain"]["accuracy"]["mean"] == pytest.approx(0.1)
    assert found["mine B"]["saving_factor"] == pytest.approx(20 / (10 + 10 * 0.4 / 0.6))
    assert found["random B"]["gain"] is None


def test_a_larger_control_arm_is_no_choice_between_strategies() -> None:
    curves = {
        name: [curve(0.2, height)]
        for name, height in (("random", 0.6), ("none", 0.8), ("some", 0.7))
    }
    found = summary(curves, dict.fromkeys(curves, "random"), None, ["some"])
    assert (found["decision"]["use"], found["decision"]["second"]) == ("none", "random")
    assert len(found["strategies"]) == 3


def test_strategies_that_cannot_be_told_apart_are_said_to_be_so() -> None:
    same = [curve(0.2, 0.6), curve(0.3, 0.6)]
    found = summary({"random": same, "mine": same}, {"random": "random", "mine": "random"}, 0.5)
    assert "take the simpler one" in found["decision"]["said"]
    assert found["strategies"][1]["gain"]["accuracy"]["ties"] == 2


def proof(
    fraction: float,
    low: float | None,
    high: float | None,
    saved: float | None,
    least: float | None,
    judges: int | None = None,
) -> ControlFacts:
    once = {"low": -1.0, "high": 1.0}  # looked at once: not what is shown
    gap = {"active_minus_random": 0.0, **once, "any_look": {"low": low, "high": high}}
    saving = {"saved": saved, **once, "any_look": {"low": least, "high": None}}
    return {
        "fraction": fraction,
        "gap": {"labels": 100, **gap},
        "saving": {"labels": 100, **saving},
        "judges": judges,
    }


def test_the_control_arm_costs_area_and_tells_the_median_width_and_what_was_surely_shown() -> None:
    arms = {f"c {part}": Variant("mine", control=part) for part in (".3", ".1")}
    proofs = {
        "c .3": [
            proof(0.3, 0.01, 0.05, 40, 10, 60),
            proof(0.3, -0.02, 0.06, 30, -5, 20),
            proof(0.3, 0.02, 0.04, 20, 2),
        ],
        "c .1": [
            proof(0.1, -0.1, 0.1, None, None),
            proof(0.1, None, None, None, None),
            proof(0.1, 0.1, 0.4, 9, -1),
        ],
    }
    few, many = control_rows(
        smallest_control(arms), proofs, {"c .1": [0.8, 0.8, 0.8], "c .3": [0.7, 0.8, 0.75]}
    )
    assert (few["strategy"], few["costs"], few["saved"], few["detects"]) == (
        "c .1",
        None,
        None,
        None,
    )
    assert few["gap_known_to"] == pytest.approx(0.15)  # of .1, .15 and nothing
    assert (few["gap_shown"], few["saving_shown"]) == (pytest.approx(1 / 3), 0)
    assert many["costs"]["mean"] == pytest.approx(0.05)
    assert many["gap_known_to"] == pytest.approx(0.02)  # of .02, .04 and .01
    assert (many["saved"], many["detects"]) == (
        30,
        30,
    )  # savings 40, 30, 20 reach 30, 35, 18 below themselves
    assert (many["gap_shown"], many["saving_shown"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    cells = control_cells([few, many])
    assert cells[0] == (
        "c .1",
        "0.1",
        "-",
        "100",
        "± 0.150",
        "33%",
        "not known",
        "not known",
        "0%",
        "not known",
        "not known",
    )
    assert cells[1] == (
        "c .3",
        "0.3",
        "+0.0500 ± 0.0289",
        "100",
        "± 0.020",
        "67%",
        "30",
        "30",
        "67%",
        "81",  # of 100 labels: (30 / 40)², (35 / 30)², (18 / 20)²
        "60",  # of 60, 20, and no number of them
    )


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.763, 0.86, [0.78, 0.8, 0.82, 0.84, 0.86]),
        (50, 450, [100, 200, 300, 400]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_ticks_are_round_numbers_within_the_axis(
    low: float, high: float, expected: list[float]
) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("width", [1e-3, 0.0973, 1, 7, 3999])
def test_every_axis_has_two_to_seven_ticks(width: float) -> None:
    for low in (0, 0.3 * width, 41):
        assert 2 <= len(ticks(low, low + width)) <= 7


def test_the_bands_stay_within_the_axes_and_every_name_is_there() -> None:
    picture = svg(
        {
            "mine": [curve(0.2, 0.6, 0.9), curve(0.4, 0.9, 1.0)],
            "random": [curve(0.3, 0.3), curve(0.3, 0.5)],
        }
    )
    (mine, other), heights = (
        re.findall(f'<{kind} points="([^"]*)"', picture) for kind in ("polygon", "polyline")
    )
    places = np.array(
        [
            [float(n) for n in pair.split(",")]
            for pair in f"{mine} {other} {' '.join(heights)}".split()
        ]
    )
    assert (places.min(axis=0).tolist(), places.max(axis=0).tolist()) == ([60, 30], [800, 340])
    assert re.findall(r">(mine|random)</text>", picture) == ["mine", "random"]
