"""Judge rows in a whole project: the real stages and git, round after round."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds.project import Project
from rounds.report import course_words
from rounds.verify import verify
from stages.answers.ledger import JudgedLabel, read_rows
from stages.contract.canonical import read_json, read_jsonl
from tests.faults.lives import make_project
from tests.history.inprocess import Stages, answer, closed, committed

ROUNDS = 4


@pytest.mark.slow
def test_judge_rows_are_asked_blind_never_learnt_and_prove_the_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rounds.close.Dvc", Stages)
    project = Project(make_project(tmp_path).resolve())
    text = (project.root / "params.yaml").read_text()
    for before, after in (
        ("judge_rows: 0 ", "judge_rows: 3 "),
        ("batch_size: 8 ", "batch_size: 16 "),
        ("control_fraction: 0.2 ", "control_fraction: 0.6 "),
    ):
        assert before in text
        text = text.replace(before, after)
    (project.root / "params.yaml").write_text(text)
    committed(project)
    closed(project)
    for _ in range(ROUNDS):
        answer(project)
        closed(project)
    judges = [
        row
        for round_ in project.rounds()[:ROUNDS]
        for row in read_jsonl(round_.folder / "batch.jsonl")
        if row["arms"] == ["judge"]
    ]
    assert judges
    assert all(0 < row["probability"] <= 1 for row in judges)
    for task in project.rounds()[ROUNDS - 1].tasks():
        assert "judge" not in str(task)  # nobody sees that a row is one
    gate = project.root / "build" / "gate"
    learnt = {row["id"] for row in read_jsonl(gate / "accepted.jsonl")}
    judged = read_rows(gate / "judged.jsonl", JudgedLabel)
    assert {row["id"] for row in judged} == {row["id"] for row in judges}
    assert {row["id"] for row in judged} - learnt
    facts = read_json(project.root / "metrics" / "validate.json")
    assert facts["cost"]["judge"] == len(judges)
    assert facts["course"]["round"] == ROUNDS - 1
    assert facts["course"]["judge_rows"] > 0
    assert course_words(facts)
    assert facts["pool"]["control_labels"] >= 20
    violations, _ = verify(project)
    assert violations == []
