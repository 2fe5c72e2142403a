"""Ids and labels that begin with a minus are words, and a mistyped option is still an error that
names it.
"""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rounds.correct import correct, retract
from rounds.history import command as history
from rounds.plain_words import PlainWords


def run(*words: str) -> tuple[int, str]:
    """Exit code and what a command with an id, a label and an option makes of some words."""

    @click.command(cls=PlainWords, context_settings={"help_option_names": ["-h", "--help"]})
    @click.argument("item")
    @click.argument("label")
    @click.option("--why", required=True)
    def command(item: str, label: str, why: str) -> None:
        click.echo(f"{item}|{label}|{why}")

    done = CliRunner().invoke(command, words)
    return done.exit_code, done.output.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-1", "-2", "--why", "x"], "-1|-2|x"),
        (["--why", "-x", "-abc", "ok"], "-abc|ok|-x"),
        (["-house", "-1", "--why=x"], "-house|-1|x"),
        (["--why", "x", "--", "--id", "-h"], "--id|-h|x"),
        (["a b", "100%", "--why", "ü"], "a b|100%|ü"),
    ],
)
def test_a_word_may_begin_with_a_minus(words: list[str], said: str) -> None:
    assert run(*words) == (0, said)


def test_a_mistyped_option_is_named_and_help_is_help() -> None:
    code, said = run("a", "b", "--wyh", "x")
    assert (code, "No such option" in said, "--wyh" in said) == (2, True, True)
    assert run("-h")[0] == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (correct, ("-17", "-1", "--why", "-")),
        (retract, ("-17", "--why", "-")),
        (history, ("-17",)),
    ],
)
def test_every_command_that_takes_an_id_takes_one_that_begins_with_a_minus(
    command: click.Command,
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 1  # 2 is a word that was not understood
    assert done.stderr.startswith("error: ")
    assert "rounds init" in done.stderr  # all that is missing is a project
