"""clean_seed and gate as commands, on small files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from rounds.shipped import shipped_params
from stages import clean_seed, featurize, gate
from stages.contract.canonical import read_json, read_jsonl, write_jsonl

PARAMS: dict[str, Any] = {
    "seed": 7,
    "labels": ["ham", "spam"],
    "data": {
        "pool": "pool.csv",
        "seed": "seed.csv",
        "test": "none.csv",
        "image": "",
        "images": "none.csv",
    },
    "features": {"kind": "numeric", "vectors": "none.csv"},
    "model": {"path": "sklearn.linear_model.LogisticRegression", "params": {}},
}
COMMAND = [
    "--table",
    "seed.csv",
    "--features",
    "build/features",
    "--scheme",
    "scheme.jsonl",
    "--out",
    "build/seed",
    "--metrics",
    "seed.json",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A numeric project of 60 pool rows and 30 seed rows, seed row s4 with a wrong label."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(3)
    write_params(PARAMS)
    (tmp_path / "none.csv").write_text("id\n")
    rows = [(f"p{i}", 3 * (i % 2) + 0.3 * draw.normal()) for i in range(60)]
    (tmp_path / "pool.csv").write_text("id,x\n" + "".join(f"{item},{x}\n" for item, x in rows))
    seed = [
        (f"s{i}", 3 * (i % 2) + 0.3 * draw.normal(), ("ham", "spam")[i % 2 if i != 4 else 1])
        for i in range(30)
    ]
    write_seed([f"{item},{x},{label}" for item, x, label in seed])
    return tmp_path


def write_params(changes: dict[str, Any]) -> None:
    Path("params.yaml").write_text(json.dumps(shipped_params(changes).model_dump(by_alias=True)))


def write_seed(lines: list[str]) -> None:
    Path("seed.csv").write_text("id,x,label\n" + "".join(f"{line}\n" for line in lines))


def run(*, exit_code: int = 0) -> str:
    CliRunner().invoke(featurize.main, ["--out", "build/features"], catch_exceptions=False)
    result = CliRunner().invoke(clean_seed.main, COMMAND, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


def test_the_planted_wrong_seed_label_is_the_one_suspect(project: Path) -> None:
    assert run() == "clean_seed: 30 labels, 30 could be judged, 1 suspects\n"
    (row,) = read_jsonl(project / "build/seed/suspects.jsonl")
    assert (row["id"], row["label"], row["suggested"]) == ("s4", "spam", "ham")
    assert len(read_jsonl(project / "build/seed/labels.jsonl")) == 30


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["a,1,ham", "b,2,Spam"],
            "seed.csv:3: label 'Spam' is not in params.labels (did you mean 'spam'?); correct the label",
        ),
        (
            ["a,1,ham", "b,2,"],
            "seed.csv:3: empty label in column 'label'; fill it or remove the row",
        ),
        (
            ["a,1,ham", "b,2,ham"],
            "seed.csv:2: every seed row has the label 'ham'; add rows of another class",
        ),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_seed_that_cannot_be_used_is_refused_in_one_line(lines: list[str], said: str) -> None:
    write_seed(lines)
    assert run(exit_code=1).startswith(f"error: {said}")


def test_a_seed_of_ten_rows_or_none_is_read_and_not_judged(project: Path) -> None:
    write_seed([f"s{i},{i % 2},{('ham', 'spam')[i % 2]}" for i in range(8)])
    assert run() == "clean_seed: 8 labels, 0 could be judged, 0 suspects\n"
    assert read_json(project / "seed.json")["estimated_error_rate"] is None
    write_seed([])
    assert run() == "clean_seed: 0 labels, 0 could be judged, 0 suspects\n"


def run_gate(project: Path, *, exit_code: int = 0) -> str:
    for name in ("rounds", "asked", "events", "verdicts", "gold", "planted", "checked"):
        write_jsonl(project / f"build/labels/{name}.jsonl", [])
    folders = [
        "--seed",
        "build/seed",
        "--labels",
        "build/labels",
        "--features",
        "build/features",
        "--out",
        "build/gate",
    ]
    files = ["--metrics", "gate.json", "--plot", "plot.json"]
    result = CliRunner().invoke(gate.main, [*folders, *files], catch_exceptions=False)
    assert result.exit_code == exit_code
    return result.output


def test_with_on_fail_stop_a_failed_check_ends_with_exit_1_after_the_report(project: Path) -> None:
    write_seed(
        [f"s{row},{3 * (row % 2) + row / 1000},{('ham', 'spam')[row % 2]}" for row in range(40)]
    )
    write_params({**PARAMS, "labels": ["ham", "spam", "eggs"], "gate": {"on_fail": "stop"}})
    run()
    said = run_gate(project, exit_code=1)
    assert said.startswith(
        "error: gate.json: G006 failed: share of the classes that have an accepted label is 0.667"
    )
    assert [row["outcome"] for row in read_json(project / "gate.json")["checks"]].count(
        "failed"
    ) == 1


def test_before_the_first_round_the_suspects_are_the_review_queue(project: Path) -> None:
    run()
    assert run_gate(project) == "gate: round 0: 29 accepted, 1 review, 0 unlabelled\n"
    assert [row["id"] for row in read_jsonl(project / "build/gate/review.jsonl")] == ["s4"]
    assert read_json(project / "build/gate/state.json") == {
        "answers": 0, "review_found": 0, "rounds": 0
    }  # fmt: skip
    assert read_json(project / "gate.json")["held"] is None
