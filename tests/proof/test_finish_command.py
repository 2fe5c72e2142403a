"""`rounds finish` as a user runs it: the real `rounds`, the real `dvc`, the real git;
and what `rounds verify` says of a finished pool that somebody touched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rounds.init import fill_in
from rounds.project import Project
from rounds.verify import verify
from tests.conftest import Small, dvc, rounds, shell

COLUMNS = ["id", "label", "by", "confidence", "round", "annotators"]
LABELS = "build/finish/finished.parquet"
FIGURES = "metrics/finish.json"
IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in {"NAME": "t", "EMAIL": "t@example.org"}.items()
}
Fresh = Callable[[str], Path]

pytestmark = pytest.mark.slow  # two rounds and a replay through DVC


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one round, finished at an error of 0.3; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("finish")
    small = Small(folder / "small")
    tables = [
        word
        for name in ("pool", "seed", "test")
        for word in (f"--{name}", str(small.root / f"data/{name}.csv"))
    ]
    root = folder / "project"
    rounds(folder, "init", str(root), *tables, "--id", "id", **IDENTITY)
    fill_in(
        root / "params.yaml",
        {("query", "batch_size"): 60, ("query", "control_fraction"): 0.9},
    )
    shell(root, "git", "commit", "--quiet", "--all", "-m", "Mostly control rows", **IDENTITY)
    rounds(root, "close", **IDENTITY)
    rounds(root, "annotate", "--oracle", str(small.root / "oracle.csv"))
    rounds(root, "close", **IDENTITY)
    rounds(root, "finish", "--error", "0.3", **IDENTITY)
    return root


@pytest.fixture
def fresh(finished: Path, tmp_path: Path) -> Fresh:
    """A copy of the finished project, to be touched."""
    return lambda name: Path(shutil.copytree(finished, tmp_path / name, symlinks=True))


def violations(root: Path) -> list[tuple[str, str, str]]:
    """(check, file, remedy) of all that `rounds verify` finds."""
    return [(found.check, found.where, found.remedy) for found in verify(Project(root))[0]]


def amended(root: Path) -> None:
    """The last commit, made to hold what lies in the working tree."""
    shell(root, "git", "commit", "--quiet", "--all", "--amend", "--no-edit", **IDENTITY)


def test_the_pool_is_finished_in_one_commit_that_verifies(finished: Path) -> None:
    rows = pq.read_table(finished / LABELS)
    assert rows.column_names == COLUMNS
    machine = rows.filter(pa.compute.starts_with(rows["by"], "model@"))
    model = shell(finished, "git", "log", "-1", "--format=%H", "--", "dvc.lock").strip()
    assert set(machine["by"].to_pylist()) == {f"model@{model[:12]}"}
    figures = json.loads((finished / FIGURES).read_text())
    assert figures["by_machine"] == len(machine) > 0
    questions = (finished / "build/finish/questions.jsonl").read_text().splitlines()
    asked = {json.loads(line)["id"] for line in questions}
    assert not asked & set(rows["id"].to_pylist())
    files = shell(finished, "git", "show", "--name-only", "--format=", "HEAD").split()
    assert files == ["finish/dvc.lock", "finish/dvc.yaml", FIGURES]
    assert shell(finished, "git", "log", "-1", "--format=%s").startswith("Finish: the machine")
    assert shell(finished, "git", "status", "--porcelain") == ""
    assert "up to date" in dvc(finished, "status", "finish/dvc.yaml")
    assert "nothing was changed afterwards" in rounds(finished, "verify")


def test_what_cannot_be_certified_is_said_with_what_it_takes_and_nothing_is_written(
    fresh: Fresh,
) -> None:
    root = fresh("too-strict")
    before = shell(root, "git", "rev-parse", "HEAD")
    labels = (root / LABELS).read_bytes()
    said = (
        r"cannot certify 0\.1 wrong labels at confidence 0\.95 with \d+ control labels: "
        r"about \d+ more control labels are needed; go on with `rounds annotate`"
    )
    with pytest.raises(AssertionError, match=said):
        rounds(root, "finish", "--error", "0.1")
    assert shell(root, "git", "rev-parse", "HEAD") == before
    assert shell(root, "git", "status", "--porcelain") == ""
    assert (root / LABELS).read_bytes() == labels


def test_the_same_command_again_changes_nothing_and_says_so(fresh: Fresh) -> None:
    root = fresh("again")
    before = shell(root, "git", "rev-parse", "HEAD")
    assert "this is committed already" in rounds(root, "finish", "--error", "0.3")
    assert shell(root, "git", "rev-parse", "HEAD") == before


def test_a_label_changed_in_the_table_is_found_and_comes_back(fresh: Fresh) -> None:
    root = fresh("label")
    rows = pq.read_table(root / LABELS).to_pylist()
    rows[0]["label"] = "red" if rows[0]["label"] != "red" else "blue"
    pq.write_table(pa.Table.from_pylist(rows), root / LABELS)
    assert violations(root) == [("finish", LABELS, f"`dvc checkout --force {LABELS}`")]
    dvc(root, "checkout", "--force", LABELS)
    assert violations(root) == []


def test_a_figure_changed_is_found_uncommitted_committed_and_amended(fresh: Fresh) -> None:
    root = fresh("figure")
    honest = (root / FIGURES).read_bytes()
    commit = shell(root, "git", "rev-parse", "HEAD")[:12]
    (root / FIGURES).write_bytes(honest.replace(b'"error": 0.3', b'"error": 0.1'))
    assert violations(root) == [("finish", FIGURES, f"`git checkout -- {FIGURES}`")]
    shell(root, "git", "commit", "--quiet", "--all", "-m", "Nicer", **IDENTITY)
    back = f"`git checkout {commit} -- {FIGURES}`, and commit"
    assert violations(root) == [("lock", FIGURES, ""), ("finish", FIGURES, back)][1:]
    shell(root, "git", "reset", "--quiet", "--soft", "HEAD~1")
    amended(root)
    assert violations(root) == [("finish", FIGURES, "run `rounds finish` again")]


def test_params_changed_in_the_commit_are_found(fresh: Fresh) -> None:
    root = fresh("params")
    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("\nseed: 0", "\nseed: 1"))
    amended(root)
    assert ("finish", "params.yaml", "run `rounds finish` again") in violations(root)


def test_replay_finds_labels_that_no_run_gives_though_all_hashes_agree(fresh: Fresh) -> None:
    root = fresh("forged")
    rows = pq.read_table(root / LABELS).to_pylist()
    rows[0]["label"] = "red" if rows[0]["label"] != "red" else "blue"
    pq.write_table(pa.Table.from_pylist(rows), root / LABELS)
    dvc(root, "commit", "--force", "finish/dvc.yaml")
    amended(root)
    assert violations(root) == []
    with pytest.raises(AssertionError, match=rf"{LABELS}: another file comes out .*\[replay\]"):
        rounds(root, "verify", "--replay")


def test_replay_gives_the_labels_again(finished: Path) -> None:
    said = rounds(finished, "verify", "--replay")
    assert "finished at" in said
    assert ": the same labels" in said
    assert shell(finished, "git", "worktree", "list").count("\n") == 1
