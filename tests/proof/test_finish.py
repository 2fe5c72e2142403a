"""The stage `finish` and `rounds finish` on a small project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from rounds.finish import stage_text
from stages.contract.canonical import read_json, read_jsonl
from stages.finish import main
from stages.proof.certificate import Claim
from tests.conftest import Small
from tests.test_dag import play


def run(small: Small, monkeypatch: pytest.MonkeyPatch, error: float, out: str) -> tuple[int, str]:
    """Run the stage on a project; exit code and what it says."""
    monkeypatch.chdir(small.root)
    inputs = ("gate", "labels", "features", "model", "probabilities")
    words = [word for name in inputs for word in (f"--{name}", f"build/{name}")]
    words += ["--error", str(error), "--confidence", "0.95", "--commit", "abc"]
    files = {
        "finished": "finished.parquet",
        "questions": "questions.jsonl",
        "metrics": "finish.json",
    }
    words += [word for name, file in files.items() for word in (f"--{name}", f"{out}/{file}")]
    done = CliRunner().invoke(main, words)
    return done.exit_code, done.stderr


def labelled(small: Small) -> None:
    """Two rounds, half of each drawn at random."""
    small.set({("query", "control_fraction"): 0.5, ("query", "batch_size"): 32})
    play(small, 2)


def in_parts(small: Small, parts: int) -> None:
    """Cut the pool into parts, with a copy of a row in the last."""
    pool = [row[:3] for row in small.rows[78:]]
    pool.append(("twin", *pool[0][1:]))
    for part in range(parts):
        small.write(f"pool/part-{part}", pool[part::parts], label=False)
    small.set({("data", "pool"): "data/pool"})


def test_nothing_is_written_where_nothing_can_be_certified(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled(small)
    code, said = run(small, monkeypatch, 0.01, "one")
    assert code == 1
    assert "cannot certify 0.01 wrong labels at confidence 0.95 with" in said
    assert not Path("one").exists()


def test_people_and_machine_label_each_row_once_and_the_rest_is_asked(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled(small)
    for out in ("one", "two"):
        code, said = run(small, monkeypatch, 0.4, out)
        assert code == 0, said
    rows = pq.read_table("one/finished.parquet").to_pylist()
    ids = [row["id"] for row in rows]
    facts = read_json(Path("one/finish.json"))
    asked = [row["id"] for row in read_jsonl(Path("one/questions.jsonl"))]
    by_machine = [row for row in rows if row["by"] == "model@abc"]
    assert len(ids) == len(set(ids))
    assert not set(ids) & set(asked)
    assert set(ids) | set(asked) == {row[0] for row in (*small.rows[:18], *small.rows[78:])}
    assert len(by_machine) == facts["by_machine"] > 0
    assert all(row["confidence"] is not None and not row["annotators"] for row in by_machine)
    truth = {row[0]: row[3] for row in small.rows}
    wrong = sum(row["label"] != truth[row["id"]] for row in by_machine)
    assert wrong <= 0.4 * len(by_machine)
    for name in ("finished.parquet", "questions.jsonl", "finish.json"):
        assert (Path("one") / name).read_bytes() == (Path("two") / name).read_bytes()


@pytest.mark.slow
def test_a_pool_in_parts_is_finished_as_one_table_is(
    make_small: Callable[[str], Small], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, figures = [], []
    for parts in (2, 3):
        small = make_small(f"parts-{parts}")
        in_parts(small, parts)
        labelled(small)
        monkeypatch.setattr("stages.proof.finishable.BLOCK", 7 * parts)
        assert run(small, monkeypatch, 0.4, "out")[0] == 0
        rows = pq.read_table("out/finished.parquet").to_pylist()
        labels.append({row["id"]: row for row in rows})
        assert len(rows) == len(labels[-1])
        figures.append(Path("out/finish.json").read_bytes())
    assert labels[0] == labels[1]
    assert figures[0] == figures[1]
    facts = read_json(Path("out/finish.json"))
    asked = {row["id"] for row in read_jsonl(Path("out/questions.jsonl"))}
    distinct = {row[0] for row in (*small.rows[:18], *small.rows[78:])}
    assert set(labels[0]) | asked == distinct | ({"twin"} & set(labels[0]))
    assert 0 < facts["by_machine"] == facts["rest"] - facts["left"]
    first = small.rows[78][0]
    assert ("twin" in labels[0]) == (first in labels[0])
    assert first not in labels[0] or labels[0]["twin"]["label"] == labels[0][first]["label"]


def test_the_claim_and_the_models_commit_stand_in_the_command() -> None:
    text = stage_text(Claim(0.05, 0.95), "abc123")
    assert "--error 0.05 --confidence 0.95 --commit abc123" in text
