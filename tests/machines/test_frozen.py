"""A machine's frozen answers: what is taken, what is refused, and which answer counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds.machines.freeze import append
from stages.contract.canonical import write_jsonl
from stages.contract.errors import PipelineError
from stages.machines.frozen import checked_answer, read_machine, read_machines

LABELS = ["card", "cash"]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"label": "card"}, "the id is missing"),
        ({"id": 7, "label": "card"}, "the id is missing"),
        ({"id": "r1", "label": "crad"}, "did you mean 'card'?"),
        ({"id": "r1", "label": "card", "confidence": 1.2}, "a number from 0 to 1 was expected"),
        ({"id": "r1", "label": "card", "confidence": float("nan")}, "a number from 0 to 1"),
        ({"id": "r1", "label": "card", "confidence": True}, "a number from 0 to 1"),
        ({"id": "r1", "label": "card", "cost": -1}, "a number from 0 or more"),
        ({"id": "r1", "probabilities": {"card": 0.7, "cash": 0.7}}, "probabilities sum to 1.4"),
        ({"id": "r1", "probabilities": {"crad": 0.7}}, "did you mean 'card'?"),
        ({"id": "r1", "label": "card", "confidnce": 1}, "did you mean 'confidence'?"),
        ({"id": "r1", "label": "card", "model": 4}, "model is no text"),
    ],
)
def test_a_row_that_is_no_answer_is_refused(row: dict[str, object], fault: str) -> None:
    with pytest.raises(PipelineError, match="f:3") as refused:
        checked_answer(row, LABELS, "f:3")
    assert fault in str(refused.value)


def test_a_row_of_probabilities_alone_has_the_greatest_one_as_its_label() -> None:
    row = checked_answer({"id": "r1", "probabilities": {"cash": 0.7, "card": 0.3}}, LABELS, "f:1")
    assert (row["label"], row["confidence"]) == ("cash", 0.7)


def test_the_last_answer_to_a_row_counts_and_all_are_paid(tmp_path: Path) -> None:
    rows = [
        {"id": "r1", "label": "card", "cost": 0.5},
        {"id": "r2", "label": None, "raw": "I cannot say"},
        {"id": "r1", "label": "cash", "cost": 0.25},
    ]
    write_jsonl(tmp_path / "gpt" / "answers.jsonl", rows)
    (machine,) = read_machines(tmp_path, LABELS)
    assert machine.name == "gpt"
    assert {item: row["label"] for item, row in machine.answers.items()} == {
        "r1": "cash",
        "r2": None,
    }
    assert list(machine.labelled) == ["r1"]
    assert machine.cost == 0.75


def test_a_class_that_params_no_longer_have_counts_as_no_label(tmp_path: Path) -> None:
    rows = [{"id": "r1", "label": "cheque", "probabilities": {"cheque": 0.6, "card": 0.4}}]
    write_jsonl(tmp_path / "answers.jsonl", rows)
    machine = read_machine(tmp_path, LABELS)
    assert machine.answers["r1"]["label"] is None


def test_an_answer_is_added_once_and_nothing_is_removed(tmp_path: Path) -> None:
    first = checked_answer({"id": "r1", "label": "card"}, LABELS, "f:1")
    second = checked_answer({"id": "r1", "label": "cash"}, LABELS, "f:2")
    assert append(tmp_path, [first]) == 1
    before = (tmp_path / "answers.jsonl").read_bytes()
    assert append(tmp_path, [first, second, second]) == 1
    assert (tmp_path / "answers.jsonl").read_bytes().startswith(before)
    assert read_machine(tmp_path, LABELS).answers["r1"]["label"] == "cash"


def test_no_folder_no_machine(tmp_path: Path) -> None:
    assert read_machines(tmp_path / "machines", LABELS) == []


def test_answers_without_a_cost_count_as_dear_as_the_others(tmp_path: Path) -> None:
    rows = [
        {"id": "r1", "label": "card", "cost": 0.5},
        {"id": "r2", "label": None, "cost": 0.25},
        {"id": "r3", "label": "card"},
        {"id": "r4", "label": "cash"},
    ]
    write_jsonl(tmp_path / "answers.jsonl", rows)
    machine = read_machine(tmp_path)
    assert machine.cost == 0.75
    # four answers, 0.375 each, for three labels
    assert machine.label_cost == pytest.approx(0.5)
