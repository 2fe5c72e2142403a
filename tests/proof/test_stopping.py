"""Every stopping criterion against numbers worked out by hand, and the advice they add up to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stages.proof.stopping import Circumstances, panel, predicted_change_of_f, readings, stability

ROW = {
    "kappa": 0.9,
    "change_of_f": 0.1,
    "changed": 0.1,
    "expected_accuracy": 0.7,
    "selected_accuracy": 0.5,
    "active_accuracy": 0.7,
    "random_accuracy": 0.7,
}
MEANS = Circumstances(budget_left=None, batch=40, trusted=True, gain=None, point_worth=None)


def rounds(count: int, **columns: list[Any]) -> list[dict[str, Any]]:
    """Points of a run that goes on: every 40 labels accuracy rises by .05; given columns replace
    its own.
    """
    rows = []
    for number in range(count):
        rising = 0.5 + 0.05 * number
        row = {**ROW, "round": number, "labels": 40 * (number + 1)}
        row |= dict.fromkeys(("expected_accuracy", "active_accuracy", "random_accuracy"), rising)
        rows.append({**row, **{name: column[number] for name, column in columns.items()}})
    rows[0] |= {"kappa": None, "change_of_f": None, "changed": None}
    return rows


def sign(
    name: str, points: list[dict[str, Any]], means: Circumstances = MEANS
) -> tuple[float | None, str]:
    row = next(row for row in readings(points, means) if row["name"] == name)
    return row["value"], row["says"]


def array(*values: int) -> Any:
    return np.array(values, dtype=np.intp)


def test_kappa_is_agreement_beyond_chance() -> None:
    before, after = array(0, 0, 1, 1), array(0, 0, 1, 0)
    # 3 of 4 agree; by chance (2/4)(3/4) + (2/4)(1/4) = 1/2 do; (.75 - .5) / .5 = .5
    assert stability(before, after) == pytest.approx(0.5)


def test_kappa_of_two_constant_models_is_one_when_they_agree_and_zero_when_they_do_not() -> None:
    assert stability(array(1, 1), array(1, 1)) == 1.0
    assert stability(array(1, 1), array(0, 0)) == 0.0


def test_predicted_change_of_f_counts_each_class_and_passes_over_those_nobody_predicts() -> None:
    before, after = array(0, 0, 1, 1), array(0, 0, 1, 0)
    # class 0: 1 - 2*2/(2+3) = .2; class 1: 1 - 2*1/(2+1) = 1/3; class 2 is in neither
    assert predicted_change_of_f(before, after, 3) == pytest.approx((0.2 + 1 / 3) / 2)


@pytest.mark.parametrize(("last", "says"), [(0.991, "stop"), (0.986, "go on")])
def test_stabilizing_predictions_stop_when_the_mean_kappa_of_three_rounds_is_99(
    last: float, says: str
) -> None:
    points = rounds(4, kappa=[None, 0.995, 0.985, last])
    value, said = sign("stabilizing predictions", points)
    assert value == pytest.approx((0.995 + 0.985 + last) / 3)
    assert said == says


def test_stabilizing_predictions_need_three_agreements_to_speak() -> None:
    assert sign("stabilizing predictions", rounds(3, kappa=[None, 1.0, 1.0])) == (
        None,
        "not judged",
    )


@pytest.mark.parametrize(("last", "says"), [(0.003, "stop"), (0.012, "go on")])
def test_predicted_change_of_f_stops_at_half_a_point(last: float, says: str) -> None:
    assert (
        sign("predicted change of F", rounds(4, change_of_f=[None, 0.006, 0.002, last]))[1] == says
    )


@pytest.mark.parametrize(("last", "says"), [(0.0, "stop"), (0.001, "go on")])
def test_classification_change_stops_when_no_class_changes_for_three_rounds(
    last: float, says: str
) -> None:
    assert sign("classification change", rounds(4, changed=[None, 0.0, 0.0, last]))[1] == says


@pytest.mark.parametrize(
    ("last", "value", "says"), [(0.904, 0.004 / 120, "stop"), (0.912, 0.012 / 120, "go on")]
)
def test_performance_convergence_is_the_change_of_expected_accuracy_per_label(
    last: float, value: float, says: str
) -> None:
    points = rounds(4, expected_accuracy=[0.9, 0.9, 0.9, last])
    assert sign("performance convergence", points) == (pytest.approx(value), says)


@pytest.mark.parametrize(("expected", "says"), [(0.985, "stop"), (0.97, "go on")])
def test_the_uncertainty_floor_is_two_expected_errors_in_a_hundred(
    expected: float, says: str
) -> None:
    value, said = sign("uncertainty floor", rounds(2, expected_accuracy=[0.5, expected]))
    assert (value, said) == (pytest.approx(1 - expected), says)


def test_the_uncertainty_floor_is_not_judged_by_confidence_that_lies() -> None:
    means = Circumstances(budget_left=None, batch=40, trusted=False, gain=None, point_worth=None)
    assert sign("uncertainty floor", rounds(2, expected_accuracy=[0.5, 1.0]), means) == (
        None,
        "not judged",
    )


@pytest.mark.parametrize(("share", "says"), [(0.9, "stop"), (0.89, "go on"), (None, "not judged")])
def test_selected_accuracy_asks_whether_the_last_batch_was_known_already(
    share: float | None, says: str
) -> None:
    assert sign("selected accuracy", rounds(2, selected_accuracy=[None, share])) == (share, says)


@pytest.mark.parametrize("arm", ["active", "random"])
@pytest.mark.parametrize(("last", "says"), [(0.805, "stop"), (0.806, "go on")])
def test_a_plateau_is_three_rounds_without_half_a_point_above_the_best_before(
    arm: str, last: float, says: str
) -> None:
    name = {"active": "accuracy plateau", "random": "random-arm plateau"}[arm]
    points = rounds(5, **{f"{arm}_accuracy": [0.7, 0.8, 0.79, last, 0.8]})
    assert sign(name, points) == (pytest.approx(last - 0.8), says)


def test_the_budget_is_exhausted_at_zero_and_not_judged_without_one() -> None:
    spent = Circumstances(budget_left=0, batch=40, trusted=True, gain=None, point_worth=None)
    assert sign("budget exhausted", rounds(2), spent) == (0, "stop")
    assert sign("budget exhausted", rounds(2)) == (None, "not judged")
    assert panel(rounds(2), spent, spent)["advice"] == "stop"


@pytest.mark.parametrize(("worth", "value", "says"), [(70.0, 2.0, "go on"), (50.0, -10.0, "stop")])
def test_marginal_value_weighs_the_best_case_of_the_next_batch_against_its_labels(
    worth: float, value: float, says: str
) -> None:
    # at best .6 points for 40 labels
    gain = {"labels": 40, "gain": 0.003, "low": 0.0, "high": 0.006}
    means = Circumstances(budget_left=None, batch=40, trusted=True, gain=gain, point_worth=worth)
    assert sign("marginal value", rounds(2), means) == (pytest.approx(value), says)


def test_the_advice_is_to_stop_when_the_primary_and_another_agree_for_two_rounds() -> None:
    stable = [None, 0.99, 0.99, 0.99, 0.99]
    calm = [None, 0.0, 0.0, 0.0, 0.0]
    assert panel(rounds(5, kappa=stable, change_of_f=calm), MEANS, MEANS)["advice"] == "stop"
    once = panel(rounds(4, kappa=stable, change_of_f=calm), MEANS, MEANS)
    assert once["advice"] == "go on"
    assert once["why"] == "for one round only: stabilizing predictions, predicted change of F"


def test_the_primary_alone_or_the_others_alone_do_not_stop() -> None:
    assert panel(rounds(5, kappa=[None, 1.0, 1.0, 1.0, 1.0]), MEANS, MEANS)["advice"] == "go on"
    calm: list[Any] = [None, 0.0, 0.0, 0.0, 0.0]
    assert panel(rounds(5, change_of_f=calm, changed=calm), MEANS, MEANS)["advice"] == "go on"


def test_too_few_rounds_are_not_advice_to_go_on() -> None:
    assert panel([], MEANS, MEANS)["advice"] == "not yet known"
    assert panel(rounds(2), MEANS, MEANS)["advice"] == "not yet known"


def test_the_earlier_round_is_read_with_its_own_budget_gain_and_trust() -> None:
    stable = [None, 1.0, 1.0, 1.0, 1.0]
    sure = rounds(5, kappa=stable, expected_accuracy=[0.5, 0.6, 0.7, 0.99, 0.995])
    doubtful = replace(MEANS, trusted=False)
    assert panel(sure, MEANS, MEANS)["advice"] == "stop"
    assert (
        panel(sure, MEANS, doubtful)["why"]
        == "for one round only: stabilizing predictions, uncertainty floor"
    )
    worth = replace(MEANS, point_worth=10.0, gain={"high": 0.001})
    rich = replace(worth, gain={"high": 0.2})
    dear = rounds(5, kappa=stable)
    assert panel(dear, worth, worth)["advice"] == "stop"
    assert panel(dear, worth, rich)["advice"] == "go on"
