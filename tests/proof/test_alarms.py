"""Each alarm once ringing and once silent, and never silent for want of evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stages.proof.alarms import CHECKS, Evidence, alarms
from stages.quality.checks import held_round


def arm(name: str, accuracy: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "arm": name,
            "round": number,
            "labels": 50 + 40 * number,
            "accuracy": value,
            "high": value + 0.02,
        }
        for number, value in enumerate(accuracy)
    ]


def recall(label: str, values: list[float], support: int = 30) -> list[dict[str, Any]]:
    return [
        {
            "arm": "active",
            "round": number,
            "class": label,
            "recall": value,
            "high": value + 0.1,
            "support": support,
        }
        for number, value in enumerate(values)
    ]


def gap(
    value: float | None, low: float | None, high: float | None, width: float = 0.05
) -> dict[str, Any]:
    """A gap with its interval of any look; looked at once, it is surely far above zero."""
    bounds = {"low": low, "high": high}
    return {
        "labels": 90,
        "active_minus_random": value,
        "low": 0.5,
        "high": 0.5 + width,
        "any_look": bounds,
    }


def saving(value: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    """A saving with its interval of any look; looked at once, it is surely large."""
    bounds = {"low": low, "high": high}
    return {"labels": 90, "saved": value, "low": 50.0, "high": 60.0, "any_look": bounds}


GOOD = Evidence(
    rounds=3,
    gap=gap(0.05, 0.02, 0.08),
    saving=saving(30.0, 10.0, 40.0),
    course=None,
    control=40,
    curve=arm("active", [0.7, 0.8, 0.85, 0.9]),
    recall=recall("a", [0.9, 0.9, 0.9, 0.9]) + recall("b", [0.2, 0.4, 0.6, 0.8], support=5),
    redundancy=[{"round": 3, "asked": 40, "near_duplicates": 1, "share": 0.025}],
    doubts=[3, 2, 2, 1],
    calibration={"verdict": "trusted", "why": "the gap is small"},
    labels_of={"a": 50, "b": 10},
    leaked=0.0,
    recall_floor=0.6,
    most_redundant=0.3,
    most_leaked=0.02,
)
BAD = {
    "V001": {"gap": gap(0.0, -0.03, 0.03), "saving": saving(0.0, -20.0, 20.0)},
    "V002": {"curve": arm("active", [0.7, 0.86, 0.85, 0.85]), "doubts": [1, 2, 6, 9]},
    "V003": {"redundancy": [{"round": 3, "asked": 40, "near_duplicates": 20, "share": 0.5}]},
    "V004": {"recall": recall("b", [0.1, 0.1, 0.12, 0.1], support=5)},
    "V005": {"calibration": {"verdict": "lying", "why": "the gap is .3"}},
    "V007": {"leaked": 0.04},
    "V008": {"labels_of": {"a": 50, "b": 0}},
    "V009": {"control": 12},
}  # fmt: skip


def codes(evidence: Evidence) -> list[str]:
    return [row["code"] for row in alarms(evidence)[0]]


def test_redundancy_and_leakage_ring_above_the_limits_that_the_project_set() -> None:
    repeats = [{"round": 3, "asked": 40, "near_duplicates": 10, "share": 0.25}]
    seen = replace(GOOD, redundancy=repeats, leaked=0.015)
    assert codes(seen) == []
    assert codes(replace(seen, most_redundant=0.2, most_leaked=0.01)) == ["V003", "V007"]


def test_a_healthy_project_raises_nothing_and_leaves_nothing_open() -> None:
    assert alarms(GOOD) == ([], [])


@pytest.mark.parametrize("code", sorted(CHECKS))
def test_each_alarm_rings_for_its_failure_alone(code: str) -> None:
    assert codes(replace(GOOD, **BAD[code])) == [code]


@pytest.mark.parametrize("code", sorted(CHECKS))
def test_an_alarm_names_what_was_seen_and_what_to_do(code: str) -> None:
    (row,) = alarms(replace(GOOD, **BAD[code]))[0]
    assert row["title"]
    assert any(letter.isdigit() for letter in row["seen"])
    assert row["do"]


def test_a_gap_that_covers_zero_is_no_alarm_while_labels_are_surely_saved() -> None:
    evidence = replace(GOOD, gap=BAD["V001"]["gap"])
    assert codes(evidence) == []


@pytest.mark.parametrize(
    ("value", "high", "rings"),
    [(0.03, 0.07, False), (0.01, 0.02, True), (0.01, 0.021, False), (-0.01, 0.05, True)],
)
def test_a_gap_that_may_be_worth_it_is_not_yet_sure_and_a_small_or_missing_one_rings(
    value: float, high: float, rings: bool
) -> None:
    found = gap(value, -0.02, high)
    raised, open_ = alarms(replace(GOOD, gap=found, saving=BAD["V001"]["saving"]))
    assert [row["code"] for row in raised] == (["V001"] if rings else [])
    assert [row["code"] for row in open_] == ([] if rings else ["V001"])
    assert rings or "ahead, not yet surely" in open_[0]["why"]


def test_a_small_control_arm_is_told_instead_of_a_verdict_on_the_strategy() -> None:
    evidence = replace(GOOD, **BAD["V001"], control=12)
    raised, open_ = alarms(evidence)
    assert [row["code"] for row in raised] == ["V009"]
    assert [(row["code"], row["why"]) for row in open_] == [
        ("V001", "the control arm is too small to tell")
    ]


def test_an_active_arm_without_labels_is_not_put_down_to_the_control_arm() -> None:
    none = gap(None, None, None)
    raised, open_ = alarms(replace(GOOD, gap=none, saving=saving(None, None, None), control=120))
    assert raised == []
    assert {row["code"]: row["why"] for row in open_} == dict.fromkeys(
        ("V001", "V009"), "the strategy has too few labels of its own to compare"
    )
    (row,) = alarms(replace(GOOD, gap=none, control=0))[0]
    assert (row["code"], row["do"]) == (
        "V009",
        "raise query.control_fraction: the proof needs labels drawn at random",
    )  # waiting would bring none


def test_a_wide_gap_that_covers_zero_means_a_small_control_arm() -> None:
    wide = gap(0.0, -0.3, 0.3, width=0.16)
    assert codes(replace(GOOD, gap=wide, saving=BAD["V001"]["saving"])) == ["V009"]


def test_an_interval_of_any_look_may_be_wide_where_the_gap_is_known_precisely() -> None:
    assert codes(replace(GOOD, gap=gap(0.03, -0.3, 0.3))) == []


def test_a_wide_interval_asks_for_test_rows_too_where_there_is_a_test_set() -> None:
    wide = gap(0.0, -0.3, 0.3, width=0.16)
    evidence = replace(GOOD, gap=wide, saving=BAD["V001"]["saving"])
    (tested,), (untested,) = (alarms(replace(evidence, leaked=leaked))[0] for leaked in (0.0, None))
    assert (
        tested["seen"] == "the interval of the gap between the arms is 0.160 wide, from 40 labels"
    )
    assert tested["do"].startswith("give more test rows, raise query.control_fraction, or wait")
    assert "test rows" not in untested["do"]


def test_flags_that_rise_with_accuracy_and_stalls_without_flags_are_no_alarm() -> None:
    assert codes(replace(GOOD, doubts=[1, 2, 6, 9])) == []
    assert codes(replace(GOOD, curve=arm("active", [0.7, 0.86, 0.85, 0.85]))) == []


@pytest.mark.parametrize(
    ("doubts", "rings"),
    [([4, 7, 9], False), ([4, 9, 11], True), ([0, 0, 2], False), ([0, 0, 3], True)],
)
def test_flags_must_rise_by_more_than_chance(doubts: list[int], rings: bool) -> None:
    stalled = replace(GOOD, curve=arm("active", [0.7, 0.86, 0.85, 0.85]), doubts=doubts)
    assert codes(stalled) == (["V002"] if rings else [])


def test_the_rarest_class_that_stays_behind_is_named_and_one_that_clearly_rose_is_not() -> None:
    flat = [0.1, 0.1, 0.1, 0.12]
    (row,) = alarms(replace(GOOD, recall=recall("many", flat, 40) + recall("few", flat, 5)))[0]
    assert row["seen"] == "recall of 'few' went from 0.10 to 0.12 while accuracy rose"
    assert (
        codes(replace(GOOD, recall=recall("b", [0.1, 0.1, 0.2, 0.21]))) == []
    )  # .1 [, .2] to .21 [, .31]
    assert codes(replace(GOOD, recall=recall("b", [0.1, 0.1, 0.2, 0.19]))) == ["V004"]


def test_a_class_without_test_rows_is_told_and_never_counts_as_one_that_does_well() -> None:
    raised, open_ = alarms(replace(GOOD, labels_of={"a": 50, "b": 10, "c": 4}))
    assert raised == []
    assert [(row["code"], row["why"]) for row in open_] == [
        ("V004", "no row that judges is of 'c'")
    ]


def test_a_rare_class_is_no_alarm_while_accuracy_does_not_rise() -> None:
    assert codes(replace(GOOD, **BAD["V004"], curve=arm("active", [0.9, 0.9, 0.9, 0.91]))) == []


def test_checks_that_cannot_be_judged_say_so() -> None:
    unknown = {"verdict": "unknown", "why": "49 labels, 100 are needed to judge"}
    none = {"labels": 50, "active_minus_random": None, "low": None, "high": None}
    evidence = replace(
        GOOD,
        rounds=0,
        gap=none,
        curve=GOOD.curve[:1],
        redundancy=[],
        doubts=[3],
        calibration=unknown,
        leaked=None,
    )
    raised, open_ = alarms(evidence)
    assert raised == []
    assert {row["code"] for row in open_} == set(CHECKS)


def test_a_held_round_is_an_alarm_that_says_what_holds_it_and_an_accepted_one_is_not() -> None:
    (open_,) = held_round("held, 3 of 40 answered", [], {"ann|bob": 0.5})
    assert (open_["code"], open_["seen"]) == ("V006", "held, 3 of 40 answered")
    assert "rounds close --partial" in open_["do"]
    kappas = {"ann|bob": 0.5, "ann|cat": None, "bob|cat": -0.1}
    (failed,) = held_round("held, G003 alpha: 0.1", [{"do": "rewrite the guideline"}], kappas)
    assert failed["seen"] == "held, G003 alpha: 0.1 (Cohen's kappa: ann|bob 0.50, bob|cat -0.10)"
    assert failed["do"] == "rewrite the guideline"
    assert held_round(None, [], {}) == []
