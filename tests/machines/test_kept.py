"""`rounds verify` and a machine's frozen answers: they are only ever added to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rounds.commands import git
from rounds.machines.freeze import append, folder_of
from rounds.machines.kept import machine_faults
from rounds.project import Project
from stages.contract.errors import PipelineError
from stages.machines.frozen import checked_answer
from tests.conftest import ROOT

ANSWERS = "data/machines/gpt/answers.jsonl"


def commit(root: Path, subject: str) -> None:
    git(root, "add", "--all")
    git(root, "-c", "user.name=t", "-c", "user.email=t@e", "commit", "--quiet", "-m", subject)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    for item in ("r1", "r2", "r3"):
        answer = checked_answer({"id": item, "label": "card"}, ["card"], "t")
        append(tmp_path / "data/machines/gpt", [answer])
        commit(tmp_path, item)
    return Project(tmp_path)


def test_answers_that_were_only_added_are_no_violation(project: Project) -> None:
    assert machine_faults(project) == []


def test_a_changed_row_is_found_in_the_working_tree_and_in_the_commit_that_holds_it(
    project: Project,
) -> None:
    path = project.root / ANSWERS
    path.write_text(path.read_text().replace('"r2"', '"r9"'))
    (found,) = machine_faults(project)
    assert (found.commit, found.where) == ("working tree", f"{ANSWERS}:2")
    commit(project.root, "Edited")
    (found,) = machine_faults(project)
    assert found.commit == git(project.root, "rev-parse", "HEAD").strip()
    assert found.where == f"{ANSWERS}:2"


def test_a_file_that_is_gone_is_found(project: Project) -> None:
    (project.root / ANSWERS).unlink()
    assert [found.where for found in machine_faults(project)] == [f"{ANSWERS}:1"]


def test_a_machines_name_is_that_of_a_folder(project: Project) -> None:
    shutil.copy(ROOT / "params.yaml", project.root)
    assert folder_of(project, "gpt") == project.root / "data/machines/gpt"
    with pytest.raises(PipelineError, match=r"'\.\./x' is no name for a machine"):
        folder_of(project, "../x")
