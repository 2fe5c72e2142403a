"""How good a machine is here: intervals of any look, the alternative annotator test, figures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from stages.machines.frozen import Machine, MachineAnswer
from stages.proof.alternative_annotator import alt_test
from stages.proof.any_look_share import share_at_any_look
from stages.proof.machine_curve import counts_of, people_pass
from stages.proof.machine_quality import HumanLabels, machine_figures, votes_by_person


def answer(item: str, label: str | None, **more: object) -> MachineAnswer:
    return MachineAnswer(
        **{  # type: ignore[typeddict-item]
            "id": item,
            "label": label,
            "confidence": None,
            "probabilities": None,
            "raw": "",
            "prompt": "",
            "model": "",
            "version": "",
            "cost": None,
            **more,
        }
    )


def machine(labels: dict[str, str | None], cost: float | None = None) -> Machine:
    return Machine("m", {item: answer(item, label) for item, label in labels.items()}, cost)


def test_nothing_is_ruled_out_without_a_row() -> None:
    assert share_at_any_look(0, 0) == (0.0, 1.0)


def test_of_one_right_row_only_shares_below_a_fortieth_are_ruled_out() -> None:
    # pmf(1; 1, p) = p, and the limit is .05 / 2
    low, high = share_at_any_look(1, 1)
    assert low == pytest.approx(0.025)
    assert high == 1


@pytest.mark.parametrize(("right", "rows"), [(0, 7), (3, 10), (81, 100), (400, 400)])
def test_the_ends_are_where_the_count_is_as_improbable_as_the_limit(right: int, rows: int) -> None:
    low, high = share_at_any_look(right, rows)
    for end in {low, high} - {0.0, 1.0}:
        assert binom.pmf(right, rows, end) == pytest.approx(0.05 / (rows + 1), rel=1e-6)
    assert low <= right / rows <= high


def test_of_projects_that_look_again_and_again_at_most_one_in_twenty_ever_misses_the_share() -> (
    None
):
    rng = np.random.default_rng(3)
    share = 0.81
    rows = 60
    limits = [
        [share_at_any_look(right, n) for right in range(n + 1)] for n in range(10, rows + 1, 10)
    ]
    missed = 0
    for _ in range(1000):
        rights = np.cumsum(rng.random(rows) < share)
        ends = [limits[look][rights[n - 1]] for look, n in enumerate(range(10, rows + 1, 10))]
        missed += any(not low <= share <= high for low, high in ends)
    assert missed <= 1000 * 0.05


def crowd(rows: int, right: dict[str, float], draw: int = 0) -> dict[str, dict[str, str]]:
    """Labels of some people, each right with a probability, of two classes; the truth is a."""
    rng = np.random.default_rng(draw)
    return {
        name: {f"r{row}": "a" if rng.random() < share else "b" for row in range(rows)}
        for name, share in right.items()
    }


def test_a_machine_as_good_as_people_may_stand_for_one_and_a_poor_one_may_not() -> None:
    people = crowd(300, {"ada": 0.85, "bob": 0.85, "cyd": 0.85})
    good = alt_test(crowd(300, {"m": 0.9}, draw=1)["m"], people)
    poor = alt_test(crowd(300, {"m": 0.5}, draw=1)["m"], people)
    assert (good.passes, good.winning_rate) == (True, 1.0)
    assert (poor.passes, poor.winning_rate) == (False, 0.0)
    assert poor.advantage is not None
    assert good.advantage is not None
    assert poor.advantage < good.advantage


def test_two_people_cannot_tell() -> None:
    people = crowd(100, {"ada": 0.9, "bob": 0.9})
    outcome = alt_test(people["ada"], people)
    assert outcome.passes is None
    assert "3 people with 30 rows" in outcome.why


def test_a_person_with_few_shared_rows_is_not_compared() -> None:
    people = crowd(100, {"ada": 0.9, "bob": 0.9, "cyd": 0.9})
    people["dan"] = dict(list(people["ada"].items())[:29])
    assert alt_test(people["ada"], people).people == 3


PEOPLE = HumanLabels(
    control={"c1": "a", "c2": "a", "c3": "b", "c4": "b"},
    answered={"c1": "a", "c2": "a", "c3": "b", "c4": "b", "x1": "b"},
    test={},
    votes={"ada": {"c1": "a", "c3": "b"}, "bob": {"x1": "b"}},
)


def test_figures_by_hand() -> None:
    labels = {"c1": "a", "c2": "b", "c3": "b", "c4": None, "x1": "a", "elsewhere": "a"}
    figures = machine_figures(machine(labels, cost=1.0), PEOPLE, ["a", "b"])
    control = figures["control"]
    assert (control["rows"], control["covered"], control["right"]) == (4, 3, 2)
    assert control["accuracy"] == pytest.approx(2 / 3)
    assert control["coverage"] == 0.75
    assert figures["answered"]["right"] == 2
    assert figures["confusion"] == {"a": {"a": 1, "b": 1}, "b": {"b": 1}}
    assert figures["by_class"]["a"]["recall"] == 0.5
    assert figures["by_class"]["b"]["precision"] == 0.5
    assert figures["people"]["ada"] == {"rows": 2, "same": 2, "share": 1.0}
    assert figures["people"]["bob"] == {"rows": 1, "same": 0, "share": 0.0}
    assert figures["cost"]["per_label"] == pytest.approx(0.2)
    assert figures["cost"]["per_right"] == pytest.approx(0.3)
    assert figures["calibration"] is None
    assert figures["test"] is None


def test_a_sure_machine_that_errs_is_badly_calibrated() -> None:
    control = {f"c{row}": "a" for row in range(40)}
    answers = {
        item: answer(item, "a" if row % 2 else "b", confidence=0.9)
        for row, item in enumerate(control)
    }
    people = HumanLabels(control, control, {}, {})
    figures = machine_figures(Machine("m", answers, None), people, ["a", "b"])
    assert figures["calibration"] == {
        "rows": 40,
        "mean": 0.9,
        "right": 0.5,
        "ece": pytest.approx(0.4),
    }
    assert figures["cost"] is None


def test_the_seed_is_nobody_and_a_persons_last_label_counts() -> None:
    votes = [
        {"id": "r1", "label": "b", "round": 2, "annotator": "ada"},
        {"id": "r1", "label": "a", "round": 1, "annotator": "ada"},
        {"id": "r1", "label": "a", "round": 0, "annotator": ""},
    ]
    assert votes_by_person(votes) == {"ada": {"r1": "b"}}  # type: ignore[arg-type]


def test_the_points_of_a_curve_double() -> None:
    assert counts_of(0) == []
    assert counts_of(30) == [30]
    assert counts_of(400) == [50, 100, 200, 400]


def point(arm: str, labels: int, accuracy: float) -> dict[str, object]:
    return {"arm": arm, "labels": labels, "accuracy": accuracy, "low": 0, "high": 1, "cost": None}


def test_people_pass_a_machine_where_their_curve_crosses_its_last_point() -> None:
    ours = [point("m", 50, 0.6), point("m", 100, 0.7)]
    people = [point("active", 20, 0.5), point("active", 40, 0.8), point("random", 20, 0.9)]
    # from .5 at 20 to .8 at 40: .7 is reached at 33
    assert people_pass(ours, people) == {"best": 0.7, "labels": 33}  # type: ignore[arg-type]
    assert people_pass(ours, people[:1]) == {"best": 0.7, "labels": None}  # type: ignore[arg-type]
