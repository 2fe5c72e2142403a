"""Gold rows: measured, never learnt, and an interval that holds however often one looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages.answers.gold import gold_now, gold_rows, still_counted
from stages.answers.ledger import Event, GoldAnswer, GoldLine
from stages.answers.reading import import_labels
from stages.contract.canonical import write_jsonl
from stages.contract.errors import PipelineError
from stages.quality.gold import gold_alarms, gold_scores, share_at_any_look, weakest
from tests.answers.test_import_labels import frozen, params


def said(who: str, label: str | None, number: int = 1, known: str = "a") -> GoldAnswer:
    return {
        "id": "g",
        "round": number,
        "annotator": who,
        "kind": "label" if label else "skip",
        "label": label,
        "known": known,
    }


def test_answers_to_gold_rows_are_measured_and_are_neither_votes_nor_asked_rows(
    tmp_path: Path,
) -> None:
    first = frozen(tmp_path, 1, "xg", gold={"g": "a"})
    second = frozen(tmp_path, 2, "yz")
    first.answer("ann", {"x": "a", "g": "b"}, at=1)
    second.answer("ann", {"y": "a", "z": "b"}, at=2)
    second.answer("bo", {"g": "a"}, at=3, of=first)  # late
    tables = import_labels(tmp_path, params())
    assert [row["id"] for row in tables.asked] == ["x", "y", "z"]
    assert [row["id"] for row in tables.events] == ["x", "y", "z"]
    checked = [
        (row["round"], row["annotator"], row["label"], row["known"]) for row in tables.checked
    ]
    assert checked == [(1, "ann", "b", "a"), (2, "bo", "a", "a")]
    assert tables.planted == [{"id": "g", "round": 1}]
    assert [row["answered"] for row in tables.rounds] == [2, 2]  # people did answer them


LINES: list[GoldLine] = [
    {"id": "g", "label": "a", "round": 0},
    {"id": "h", "label": "a", "round": 0},
    {"id": "i", "label": "b", "round": 0},
    {"id": "h", "label": "b", "round": 2},
    {"id": "g", "label": None, "round": 3},
]


def test_what_is_said_of_gold_rows_while_a_round_is_open_counts_when_that_is_closed() -> None:
    assert gold_now(LINES, 0) == {"g": "a", "h": "a", "i": "b"}
    assert gold_now(LINES, 1) == gold_now(LINES, 0)
    assert gold_now(LINES, 2) == {"g": "a", "h": "b", "i": "b"}
    assert gold_now(LINES, 3) == {"h": "b", "i": "b"}


def test_the_gold_rows_that_were_planted_least_are_planted_next() -> None:
    policy = params()
    assert policy.gate.gold_fraction * policy.query.batch_size == 2
    rows = gold_rows(LINES, [{"id": "g", "round": 1}, {"id": "i", "round": 1}], 1, policy)
    planted = {row["id"] for row in rows if row["plant"]}
    assert [row["id"] for row in rows] == ["g", "h", "i"]
    assert "h" in planted
    assert len(planted) == 2
    # a planting of a round that is still open is not known yet
    assert gold_rows(LINES, [{"id": "h", "round": 2}], 1, policy) == gold_rows(LINES, [], 1, policy)


def test_a_line_that_rounds_gold_did_not_write_is_named(tmp_path: Path) -> None:
    frozen(tmp_path, 1, "x")
    write_jsonl(tmp_path / "gold.jsonl", [{"id": "x", "label": 3, "round": 0}])
    with pytest.raises(PipelineError, match=r"gold\.jsonl:1: not a line of `rounds gold`"):
        import_labels(tmp_path, params())


@pytest.mark.parametrize(
    ("right", "answers", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 1, 0.0, 0.975), (20, 20, 0.7393, 1.0)],
)
def test_the_interval_of_a_share(right: int, answers: int, low: float, high: float) -> None:
    # 0 of 1: B(1, 2) = 1/2 < 20 (1 - p); 20 of 20: B(21, 1) = 1/21, p^20 > .05 / 21.
    assert share_at_any_look(right, answers, 0.05) == pytest.approx((low, high), abs=5e-4)


def test_people_at_the_limit_are_accused_at_any_look_in_at_most_one_of_twenty_lives() -> None:
    draw = np.random.default_rng(0)
    lives = draw.random((150, 120)) < 0.8
    accused = [
        any(
            share_at_any_look(int(life[:looks].sum()), looks, 0.05)[1] < 0.8
            for looks in range(4, 121, 4)
        )
        for life in lives
    ]
    assert sum(accused) <= 7


def test_who_guesses_is_named_with_what_to_type_and_who_knows_is_not() -> None:
    answers = [said("ann", "a", number) for number in range(1, 31)]
    answers += [said("bo", "ab"[number % 2], number) for number in range(1, 41)]
    answers += [said("cy", None), said("cy", "a")]
    scores = gold_scores(answers)
    assert {
        name: (row["right"], row["answers"], row["no_label"]) for name, row in scores.items()
    } == {
        "ann": (30, 30, 0),
        "bo": (20, 40, 0),
        "cy": (1, 1, 1),
    }
    (alarm,) = gold_alarms(scores, 0.8)
    assert alarm["code"] == "V010"
    assert alarm["seen"].startswith("bo: 20 of 40 gold rows right, surely at most 7")
    assert "rounds retract --annotator 'bo' --since 1 --why REASON" in alarm["do"]
    assert weakest(scores) == scores["bo"]["high"]
    assert weakest({}) is None


def test_answers_that_were_withdrawn_no_longer_accuse() -> None:
    withdrawal: Event = {
        "round": 5, "id": "x", "annotator": "bo", "kind": "withdraw", "label": None, "flagged": False,
        "at": None, "file": "", "line": 1, "late": False, "order": 1, "since": 3,
    }  # fmt: skip
    answers = [said("bo", "b", number) for number in range(1, 8)]
    kept = still_counted([*answers, said("ann", "b", 4)], [withdrawal])
    assert [(row["annotator"], row["round"]) for row in kept] == [
        ("bo", 1), ("bo", 2), ("bo", 6), ("bo", 7), ("ann", 4),
    ]  # fmt: skip
