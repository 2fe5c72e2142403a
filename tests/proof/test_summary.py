"""The summary for a manager: every sentence from figures by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rounds.decision import DecisionOfRound
from rounds.summary import model_words, next_words, saved_words, spent, summary

GO_ON = {"advice": "go on", "why": "no sign says stop"}
STOP = {"advice": "stop", "why": "for two rounds: kappa"}
ALARM = {"code": "V003", "title": "redundant queries", "seen": "30 %", "do": "look"}


def metrics(**proof: Any) -> dict[str, Any]:
    """The documents of metrics/, of a project without alarms that is to go on."""
    return {
        "gate": {"accepted": 130, "review": 4, "annotators": {"ann": {}, "bo": {}}, "alarms": []},
        "query": {"answers_spent": 90, "batch": {"rows": 8}, "state": "ready"},
        "validate": {
            "saving": {"labels": 120, "saved": 31.6, "low": 12.2, "high": 44.0},
            "shipped": {"accuracy": 0.918, "labels": 130},
            "active": None,
            "judged_on": "test rows",
            "stopping": GO_ON,
            "alarms": [],
            **proof,
        },
    }


def test_four_questions_are_answered_in_sentences() -> None:
    told = summary(metrics(), None)
    assert [point.answer for point in told] == [
        "90 answers of 2 people; 130 labels are accepted (the seed's included), 4 are doubted and "
        "asked again.",
        "Choosing what to label saved about 32 labels for the accuracy that 120 labels drawn at "
        "random reach (95 % interval 12 to 44).",
        "Of 100 rows it labels about 92 rightly, judged on the test rows; 130 labels.",
        "Go on labelling: `rounds annotate` (no sign says stop).",
    ]


@pytest.mark.parametrize(
    ("saving", "said"),
    [
        ((None, None, None), "Not yet known: "),
        ((-5.4, -9.0, 2.0), "cost about 5 labels"),
        ((5.4, 0.0, 12.0), "0 to 12). It is not sure that anything was saved."),
        ((5.4, None, 12.0), "not known to 12). It is not sure that anything was saved."),
        ((5.4, 1.0, None), "1 to not known)."),
    ],
)
def test_a_saving_that_is_not_sure_is_not_told_as_one(
    saving: tuple[float | None, ...], said: str
) -> None:
    row = dict(zip(("saved", "low", "high"), saving, strict=True), labels=60)
    assert said in saved_words(row)


def test_the_model_is_judged_by_the_active_arm_where_nothing_else_is_and_by_nothing_without_rows() -> (
    None
):
    arm = {"accuracy": 0.805, "low": 0.752, "high": 0.851, "labels": 40}
    proof = {"shipped": None, "active": arm, "judged_on": "control arm"}
    assert model_words(proof) == (
        "Of 100 rows it labels about 80 rightly (95 % interval 75 to 85), judged on the control "
        "arm; 40 labels."
    )
    assert model_words({**proof, "active": None}).startswith("Not judged yet")


def test_what_to_do_next_is_the_decision_then_the_alarm_then_the_advice() -> None:
    stop = DecisionOfRound(decision="stop", why="enough", advice="stop", round=3)
    assert next_words(metrics(), stop) == "The work was stopped after round 3: enough."
    told = next_words(metrics(alarms=[ALARM], stopping=STOP), None)
    assert told.startswith("1 alarm is open; first V003, redundant queries: look. The advice is to")
    assert "`rounds close --stop --why REASON`" in told
    used_up = metrics()
    used_up["query"] = {"answers_spent": 9, "batch": {"rows": 0}, "state": "budget spent"}
    assert next_words(used_up, None) == "Nothing more is asked: budget spent."


def test_before_the_first_close_nothing_is_known_of_the_spending() -> None:
    assert spent({}, {}) == "Not yet known."
