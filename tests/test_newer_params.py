"""A project of before some params: what its params.yaml lacks is added, and nothing else moves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rounds.machines.freeze import folder_of
from rounds.newer_params import missing_params, require_params, with_params
from rounds.project import Project
from stages.contract.errors import PipelineError
from stages.contract.params import load
from tests.conftest import Small
from tests.test_architecture import NEWER

NAMED = {
    "features.text.words",
    "machines.answer_cost",
    "machines.cold_start",
    "machines.features",
    "machines.witness",
    "validate.judge_rows",
}  # NEWER values that a pipeline names one by one


def older(path: Path) -> None:
    """Take away every line of a params.yaml that a project of before them lacks."""
    text = path.read_text()
    text = re.sub(r"(?ms)^machines:.*?\n\n", "", text)
    for name in ("words", "auto", "origin", "gold_fraction", "gold", "judge_rows", "people"):
        text = re.sub(rf"(?m)^ +{name}: .*\n", "", text)
    path.write_text(text)


def test_a_new_project_lacks_nothing(small: Small) -> None:
    assert missing_params(small.root) == {}
    require_params(small.root)


def test_an_older_project_gets_what_it_did_before_and_keeps_every_line(small: Small) -> None:
    path = small.root / "params.yaml"
    older(path)
    before = path.read_text()
    missing = missing_params(small.root)
    assert missing == {name: NEWER[name] for name in NAMED}
    path.write_text(with_params(path, missing))
    assert missing_params(small.root) == {}
    after = path.read_text().splitlines()
    assert [line for line in before.splitlines() if line not in after] == []
    assert "  # what machine annotators may do" in next(row for row in after if "machines:" in row)
    written = load(path)
    path.write_text(before)
    assert written == load(path)


def test_every_command_that_needs_them_says_in_one_line_what_is_missing(small: Small) -> None:
    older(small.root / "params.yaml")
    named = ", ".join(sorted(NAMED))
    what = rf"params\.yaml: lacks {named}, which newer code names; `rounds close` adds what is"
    with pytest.raises(PipelineError, match=what):
        require_params(small.root)
    with pytest.raises(PipelineError, match=what):
        folder_of(Project(small.root), "gpt")
