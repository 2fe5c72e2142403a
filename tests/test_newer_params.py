"""A project of before some params: what its params.yaml lacks is added, and nothing else moves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rounds.close
from rounds.commands import git
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


@pytest.mark.parametrize("in_braces", [True, False])
def test_a_file_that_is_laid_out_in_another_way_is_not_written(
    small: Small, *, in_braces: bool
) -> None:
    path = small.root / "params.yaml"
    older(path)
    keys = ("bootstrap: 500", "max_points: 20", "recall_floor: 0.6", "point_worth: null")
    section = f" {{{', '.join(keys)}}}" if in_braces else "".join(f"\n    {key}" for key in keys)
    text = path.read_text()
    path.write_text(re.sub(r"(?ms)^validate:.*?\n\n", f"validate:{section}\n\n", text))
    missing = missing_params(small.root)
    assert "validate.judge_rows" in missing
    with pytest.raises(PipelineError) as fault:
        with_params(path, missing)
    assert str(fault.value) == (
        f"params.yaml: lacks {', '.join(missing)}, and is laid out in another way than a new "
        "project's; add them by hand, and commit that"
    )


def test_a_close_that_was_killed_between_writing_and_commit_goes_on(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small.root / "params.yaml"
    older(path)
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "-m", "Older")):
        git(small.root, *words)

    def killed(root: Path, *words: str) -> str:
        if "commit" in words:
            raise KeyboardInterrupt
        return git(root, *words)

    with monkeypatch.context() as patch:
        patch.setattr(rounds.close, "git", killed)
        with pytest.raises(KeyboardInterrupt):
            rounds.close._settle_params(Project(small.root), lambda _: None)
    assert missing_params(small.root) == {}
    said: list[str] = []
    rounds.close._settle_params(Project(small.root), said.append)
    assert len(said) == 1
    assert git(small.root, "status", "--porcelain", "params.yaml") == ""
    rounds.close._settle_params(Project(small.root), said.append)
    assert len(said) == 1
