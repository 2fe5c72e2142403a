"""Judge rows in a whole project: the real stages, round after round, without a test set."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds.init import fill_in
from stages.answers.ledger import JudgedLabel, read_rows
from stages.contract.canonical import read_json, read_jsonl
from tests.conftest import Small, rounds, shell


@pytest.mark.slow
def test_judge_rows_are_asked_blind_never_learnt_and_prove_the_course(tmp_path: Path) -> None:
    small = Small(tmp_path / "made")
    project = tmp_path / "project"
    rounds(
        tmp_path, "init", str(project), "--pool", str(small.root / "data" / "pool.csv"),
        "--seed", str(small.root / "data" / "seed.csv"),
    )  # fmt: skip
    changes = {
        ("validate", "judge_rows"): 3,
        ("query", "batch_size"): 15,
        ("query", "control_fraction"): 0.6,
    }
    fill_in(project / "params.yaml", changes)
    shell(project, "git", "commit", "-qam", "Judge rows")
    rounds(project, "close")
    for _ in range(4):
        rounds(project, "annotate", "--oracle", str(small.root / "oracle.csv"))
        rounds(project, "close")
    judges = [
        row
        for batch in sorted(project.glob("data/rounds/*/batch.jsonl"))
        for row in read_jsonl(batch)
        if row["arms"] == ["judge"]
    ]
    assert judges
    assert all(0 < row["probability"] <= 1 for row in judges)
    for task in read_jsonl(project / "data" / "rounds" / "004" / "asked.jsonl"):
        assert "judge" not in str({key: task[key] for key in task if key != "text"})
    learnt = {row["id"] for row in read_jsonl(project / "build" / "gate" / "accepted.jsonl")}
    judged = read_rows(project / "build" / "gate" / "judged.jsonl", JudgedLabel)
    asked = [row for row in judges if row["round"] <= 4]
    assert {row["id"] for row in judged} == {row["id"] for row in asked}
    assert {row["id"] for row in judged} - learnt
    facts = read_json(project / "metrics" / "validate.json")
    assert facts["cost"]["judge"] == len(asked)
    assert facts["course"]["round"] == 3
    assert facts["course"]["judge_rows"] > 0
    assert "judge rows" in rounds(project, "status")
    rounds(project, "verify")
