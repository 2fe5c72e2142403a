"""A person's decision to stop or to go on: what `rounds close` does with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rounds.close import close
from rounds.commands import changed_paths, git
from rounds.project import Project
from rounds.status import next_command
from rounds.verify import verify
from stages._canonical import read_json
from stages._errors import PipelineError
from tests.history.inprocess import answer, closed, log

Fresh = Callable[..., Project]


def decided(project: Project, *, stop: bool, why: str = "flat") -> str:
    return close(project, partial=False, push=False, say=lambda _: None, decision="stop" if stop else "continue", why=why)


def test_a_stop_closes_the_answered_round_and_asks_nothing_more(project: Fresh) -> None:
    one = project(0)
    answer(one)
    decided(one, stop=True)
    assert [each.number for each in one.rounds()] == [1]
    body = git(one.root, "log", "-1", "--format=%B")
    assert body.startswith("Round 1: ")
    assert "Asks nothing more: stopped: flat" in body
    assert read_json(one.root / "data/rounds/001/decision.json")["decision"] == "stop"
    assert changed_paths(one.root) == []
    assert next_command(one).startswith("rounds report")


def test_after_a_stop_a_close_is_refused_until_somebody_decides_to_go_on(project: Fresh) -> None:
    one = project(0)
    answer(one)
    decided(one, stop=True)
    with pytest.raises(PipelineError, match="stopped after round 1: flat; take it up again"):
        closed(one)
    decided(one, stop=False, why="a new class")
    assert [each.number for each in one.rounds()] == [1, 2]
    assert changed_paths(one.root) == []
    answer(one)
    closed(one)
    assert verify(one) == ([], [])


def test_a_stop_while_the_next_question_is_open_is_a_commit_of_its_own(project: Fresh) -> None:
    one = project(1)
    assert decided(one, stop=True) == "Stop after round 1: flat"
    assert log(one)[0] == "Stop after round 1: flat"
    assert changed_paths(one.root) == []
    assert verify(one) == ([], [])


def test_a_decision_that_cannot_be_carried_out_changes_nothing(project: Fresh) -> None:
    one = project(1)
    with pytest.raises(PipelineError, match="needs its reason"):
        decided(one, stop=True, why="")
    with (one.root / "params.yaml").open("a") as file:
        file.write("\n")
    with pytest.raises(PipelineError, match="not this round's"):
        decided(one, stop=True)
    assert not list(one.rounds_folder.glob("*/decision.json"))
