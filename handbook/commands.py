"""The commands as click knows them: what each does, its words, its options, its examples."""

from __future__ import annotations

import inspect

import click

from handbook.markdown import code, table
from rounds.__main__ import COMMANDS, GROUPS, cli

CONTEXT = click.Context(cli, info_name="rounds")


def command_of(name: str) -> click.Command:
    """A command of `rounds` by its name."""
    command = cli.get_command(CONTEXT, name)
    assert command is not None
    return command


def commands_table() -> list[str]:
    """One row a command, in the groups of `rounds --help`, with the first sentence of its help."""
    rows = [
        (f"[`rounds {name}`](#rounds-{name})", title, command_of(name).get_short_help_str(200))
        for title, names in GROUPS.items()
        for name in names
    ]
    return table(("command", "group", "what it does"), rows)


def command_options() -> list[str]:
    """A section a command: usage, help, options, examples."""
    lines: list[str] = []
    for names in GROUPS.values():
        for name in names:
            lines += section(name)
    return lines[:-1]  # no blank line before the end of the block


def section(name: str) -> list[str]:
    """The section of one command, a blank line last."""
    command = command_of(name)
    context = click.Context(command, info_name=name, parent=CONTEXT)
    usage = f"rounds {name} {' '.join(command.collect_usage_pieces(context))}"
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    lines = [f"### rounds {name}", "", f"    {usage}", ""]
    for paragraph in text.split("\n\n"):
        lines += [paragraph_text(paragraph), ""]
    options = [option_row(option, context) for option in command.params]
    described = [row for row in options if row is not None]
    if described:
        lines += [*table(("option", "meaning"), described), ""]
    return [*lines, "```sh", *COMMANDS[name][1], "```", ""]


def paragraph_text(paragraph: str) -> str:
    """A paragraph of a help text; one whose lines are laid out by hand stays as it is."""
    lines = paragraph.strip("\n").splitlines()
    if any(line.startswith("  ") for line in lines):
        return "\n".join(f"    {line}" for line in lines)
    return " ".join(line.strip() for line in lines)


def option_row(option: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    """Name and meaning of an option as `--help` shows them; None for words and hidden ones."""
    record = option.get_help_record(context)
    if record is None:
        return None
    words, meaning = record
    return code(words), meaning
