"""Machine annotators as a user has them: the real `rounds`, the real `dvc`, the real git."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rounds.init import fill_in
from stages.contract.canonical import write_jsonl
from tests.conftest import Small, dvc, rounds, shell
from tests.test_newer_params import older

IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in {"NAME": "t", "EMAIL": "t@example.org"}.items()
}

pytestmark = pytest.mark.slow  # two rounds, a finish and a replay through DVC


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one round in which a machine has labelled all rows, nearly all rightly.

    It is one of before machines that has taken newer code: its params.yaml lacks their section.
    """
    folder = tmp_path_factory.mktemp("machines")
    small = Small(folder / "small")
    tables = [
        word
        for name in ("pool", "seed", "test")
        for word in (f"--{name}", str(small.root / f"data/{name}.csv"))
    ]
    root = folder / "project"
    rounds(folder, "init", str(root), *tables, "--id", "id", **IDENTITY)
    changes = {("query", "batch_size"): 60, ("query", "control_fraction"): 0.9}
    fill_in(root / "params.yaml", changes)
    older(root / "params.yaml")
    shell(root, "git", "commit", "--quiet", "--all", "-m", "Mostly control rows", **IDENTITY)
    assert "params.yaml now holds" in rounds(root, "close", **IDENTITY)
    assert "Params that newer code names" in shell(root, "git", "log", "--format=%s", "-2")
    labels = [row[3] for row in small.rows]
    answers = [
        {"id": row[0], "label": label if number % 99 else labels[0], "cost": 0.01}
        for number, (row, label) in enumerate(zip(small.rows, labels, strict=True))
    ]
    write_jsonl(folder / "gpt.jsonl", [*answers, {"id": "stranger", "label": labels[0]}])
    said = rounds(root, "collect", "--machine", "gpt", str(folder / "gpt.jsonl"), **IDENTITY)
    assert "id 'stranger' is in none of pool, seed and test" in said
    rounds(root, "annotate", "--oracle", str(small.root / "oracle.csv"))
    rounds(root, "close", **IDENTITY)
    return root


def test_a_close_judges_the_machine_by_control_rows_and_commits_that(project: Path) -> None:
    figures = json.loads((project / "metrics/machines.json").read_text())["machines"]["gpt"]
    assert figures["control"]["covered"] == figures["control"]["rows"] > 40
    assert 0.8 < figures["control"]["accuracy"] <= 1
    assert figures["cost"]["per_label"] == pytest.approx(0.01)
    assert shell(project, "git", "status", "--porcelain") == ""
    assert "machine  gpt: right" in rounds(project, "status")
    assert "person   not judged" in rounds(project, "machines", **IDENTITY)


def test_no_answer_of_the_machine_is_a_persons(project: Path) -> None:
    gate = json.loads((project / "metrics/gate.json").read_text())
    assert set(gate["annotators"]) == {"oracle"}
    query = json.loads((project / "metrics/query.json").read_text())
    assert query["answers_spent"] == 60


def test_collected_again_nothing_is_new(project: Path) -> None:
    said = rounds(
        project, "collect", "--machine", "gpt", str(project.parent / "gpt.jsonl"), **IDENTITY
    )
    assert "0 new" in said
    assert shell(project, "git", "status", "--porcelain") == ""


def test_the_pool_is_finished_with_it_and_model_and_gate_see_it(project: Path) -> None:
    rounds(project, "finish", "--error", "0.3", "--machine", "gpt", **IDENTITY)
    rows = pq.read_table(project / "build/finish/finished.parquet")
    authors = set(rows["by"].to_pylist()) - {"human"}
    assert len(authors) == 1
    assert authors.pop().endswith("+gpt")
    assert json.loads((project / "metrics/finish.json").read_text())["machine"] == "gpt"
    uses = {("machines", use): "data/machines/gpt" for use in ("features", "witness")}
    fill_in(project / "params.yaml", uses)
    shell(project, "git", "commit", "--quiet", "--all", "-m", "Seen by the model", **IDENTITY)
    dvc(project, "repro")
    model = json.loads((project / "build/model/model.json").read_text())
    assert model["machine_weight"] > 0
    gate = json.loads((project / "metrics/gate.json").read_text())
    assert gate["machine"]["heard"]
    assert set(gate["annotators"]) == {"oracle"}
    assert "(machines.witness)" in rounds(project, "status")
    predicted = rounds(project, "predict", str(project / "data/test.csv"))
    assert predicted
    # what DVC wrote meanwhile goes with the commit: half of it, committed, would be a violation
    shell(project, "git", "reset", "--quiet", "--hard", "HEAD~1")
    dvc(project, "repro")
    assert "nothing was changed" in rounds(project, "verify", "--replay")


def test_the_demo_tells_a_good_machine_from_a_poor_one_that_claims_much(tmp_path: Path) -> None:
    said = rounds(tmp_path, "demo", "digits", "--machine", "--rounds", "1", **IDENTITY)
    root = tmp_path / "digits"
    figures = json.loads((root / "metrics/machines.json").read_text())["machines"]
    assert figures["good"]["test"]["accuracy"] > 0.9
    assert figures["poor"]["test"]["accuracy"] < 0.5
    assert figures["poor"]["calibration"] is None  # eight control rows are too few to say
    for name in figures:
        assert f"{name}: 1797 labels of 1797 answers" in said
        assert figures[name]["control"]["covered"] > 4
    curves = json.loads((root / "plots/machines.json").read_text())
    assert {row["arm"] for row in curves} == {"active", "random", "good", "poor"}
    assert shell(root, "git", "status", "--porcelain") == ""
