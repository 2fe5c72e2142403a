"""A stage's error on its way to the `rounds` command that runs the stage."""

from __future__ import annotations

import pytest

from rounds.commands import _failure
from stages.contract.errors import PipelineError
from stages.contract.progress import WRITER
from stages.contract.shell import one_line_errors

FIELDS = ("a: b.csv:3", "label 'x; y: z' is unknown; 'x' is not", "mend it")


@one_line_errors
def broken() -> str:
    raise PipelineError(*FIELDS)


def test_where_what_and_remedy_reach_the_rounds_command_whatever_signs_they_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(WRITER, "/project:1")
    with pytest.raises(SystemExit):
        broken()
    error = _failure(["repro"], capsys.readouterr().err.splitlines())
    assert (error.where, error.what, error.remedy) == FIELDS


def test_a_person_who_runs_a_stage_reads_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(WRITER, raising=False)
    with pytest.raises(SystemExit):
        broken()
    assert capsys.readouterr().err == f"error: {PipelineError(*FIELDS)}\n"
