"""What is never trusted: pickles, unreviewed types, unsafe YAML."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import skops.io
from ruamel.yaml import YAML
from sklearn.linear_model import LogisticRegression

from rounds.init import CARRIED
from stages.contract.errors import PipelineError
from stages.store.model_file import read_model, write_model

ROOT = Path(__file__).parents[2]
CODE = sorted(path for name in ("stages", "rounds") for path in (ROOT / name).rglob("*.py"))


class Unknown:
    """A type that nobody reviewed."""


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_code_unpickles_evaluates_or_reads_yaml_unsafely(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    forbidden = r"\bimport (pickle|dill|marshal|shelve)\b|\bjoblib\.(load|dump)\b|"
    forbidden += r"allow_pickle=True|\byaml\.(unsafe_)?load\(|typ=.unsafe"
    assert not re.search(forbidden, text)
    assert not re.search(r"(?<![\w.])(eval|exec)\(", text)
    assert "shell=True" not in text


def test_a_model_is_loaded_only_if_all_its_types_were_reviewed(tmp_path: Path) -> None:
    model = LogisticRegression().fit(np.array([[0.0], [1.0]]), [0, 1])
    write_model(tmp_path / "model.skops", model)
    assert read_model(tmp_path / "model.skops").coef_.shape == (1, 1)
    (tmp_path / "bad.skops").write_bytes(skops.io.dumps(Unknown()))
    with pytest.raises(
        PipelineError, match=r"holds types that were not reviewed: .*Unknown; review them"
    ):
        read_model(tmp_path / "bad.skops")


def test_gitlabs_job_runs_what_githubs_does() -> None:
    assert ".gitlab-ci.yml" in CARRIED
    read = YAML(typ="safe", pure=True).load
    job = read(ROOT / ".gitlab-ci.yml")["labels"]
    steps = read(ROOT / ".github" / "workflows" / "labels.yml")["jobs"]["round"]["steps"]
    commands = [line for step in steps for line in step.get("run", "").splitlines()]
    ours = [line.partition(" --against ")[0] for line in commands if "gh pr" not in line]
    theirs = [line.partition(" --against ")[0] for line in job["script"]]
    assert [line for line in theirs if line.startswith(("pip", "python", "dvc"))] == ours
    assert job["variables"]["GIT_DEPTH"] == "0"


def test_every_project_verifies_its_history_in_ci() -> None:
    assert ".github/workflows/labels.yml" in CARRIED
    workflow = YAML(typ="safe", pure=True).load(ROOT / ".github" / "workflows" / "labels.yml")
    assert "data/rounds/**" in workflow["on"]["pull_request"]["paths"]
    checkout, *_ = steps = workflow["jobs"]["round"]["steps"]
    assert checkout["with"] == {"fetch-depth": 0}  # the whole history
    assert [
        step
        for step in steps
        if step.get("run") == "python -m rounds verify" and "continue-on-error" not in step
    ]
