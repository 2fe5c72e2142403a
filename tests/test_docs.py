"""README says what is true: tables made from the code, commands that exist. `python -m
tests.test_docs` rewrites it.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from rounds.__main__ import COMMANDS, GROUPS, cli
from stages.contract.params import load

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def stages_table() -> list[str]:
    """One row per stage, in the order of dvc.yaml."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    rows = ["| stage | what it does | reads | writes |", "|---|---|---|---|"]
    for name, stage in stages.items():
        reads = [dep for dep in stage["deps"] if not dep.startswith("stages/")]
        outs = [*stage.get("outs", []), *stage.get("metrics", [])]
        writes = [out if isinstance(out, str) else next(iter(out)) for out in outs]
        cells = (
            name,
            stage["desc"],
            ", ".join(f"`{dep}`" for dep in reads),
            ", ".join(f"`{out}`" for out in writes),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def params_table() -> list[str]:
    """One row per value of params.yaml: its path, its default, its comment."""
    rows = ["| param | value | meaning |", "|---|---|---|"]
    section = inner = ""
    for line in (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines():
        found = re.match(r"( *)(\w+):\s*(.*?)(?:\s{2,}# (.*))?$", line)
        if not found:
            continue
        indent, key, value, meaning = len(found[1]), found[2], found[3], found[4]
        if value.startswith("# "):  # the comment of a section
            value, meaning = "", None
        if indent == 0:
            section, inner = key, ""
        elif indent == 2:
            inner = "" if value else key
        name = ".".join(
            part for part in ((section, inner, key) if indent == 4 else (section, key)) if part
        )
        name = key if indent == 0 else name
        if value or meaning:
            shown = f"`{value}`" if value else ""
            told = (meaning or "the classes, in the order in which people see them").replace(
                "|", "\\|"
            )
            rows.append(f"| `{name}` | {shown} | {told} |")
    return rows


def commands_table() -> list[str]:
    """One row per command, with the first sentence of its help."""
    context = click.Context(cli)
    rows = ["| command | what it does |", "|---|---|"]
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        rows.append(f"| `rounds {name}` | {command.get_short_help_str(200)} |")
    return rows


def filled(text: str) -> str:
    """README with its tables made anew between the markers."""
    for name, table in (
        ("stages", stages_table()),
        ("params", params_table()),
        ("commands", commands_table()),
    ):
        pattern = re.compile(rf"(<!-- {name} -->\n)(?:\|.*\n)*")
        assert pattern.search(text), name
        text = pattern.sub(lambda found, table=table: found[1] + "\n".join(table) + "\n", text)
    return text


@pytest.mark.parametrize(
    ("word", "said"), [("anotate", "'anotate' (did you mean 'annotate'?)."), ("zzz", "'zzz'.")]
)
def test_a_command_that_is_none_is_told_with_the_closest_one(word: str, said: str) -> None:
    done = CliRunner().invoke(cli, [word])
    assert done.exit_code == 2
    assert done.stderr.endswith(f"Error: No such command {said}\n")


def test_help_sorts_every_command_into_one_group_and_cuts_no_sentence() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(COMMANDS)
    said = CliRunner().invoke(cli, ["--help"]).stdout
    titles = [line for line in said.splitlines() if line.endswith(":") and line[:1].isupper()]
    assert titles == ["Options:", *(f"{title}:" for title in GROUPS)]
    assert "..." not in said.partition("Options:")[2]


def test_readme_tables_are_those_of_the_code() -> None:
    text = README.read_text(encoding="utf-8")
    assert filled(text) == text, "run `python -m tests.test_docs`"


def test_every_value_of_params_has_a_comment() -> None:
    for row in params_table()[2:]:
        assert len(row.split(" | ")[2]) > 10, row


def keys_of(node: dict, path: str = "") -> set[str]:
    """The dotted names of all values of nested mappings."""
    names: set[str] = set()
    for key, value in node.items():
        inner = keys_of(value, f"{path}{key}.") if isinstance(value, dict) and value else set()
        names |= inner or {f"{path}{key}"}
    return names


def test_params_yaml_holds_every_param_there_is() -> None:
    loaded = load(ROOT / "params.yaml").model_dump(by_alias=True)
    written = YAML(typ="safe").load(ROOT / "params.yaml")
    assert keys_of(loaded) - keys_of(written) == set()


def test_every_command_that_the_docs_name_exists() -> None:
    for path in [README, *(ROOT / "docs").glob("*.md")]:
        for word in re.findall(
            r"(?:^|`|&& )rounds ([a-z]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE
        ):
            assert word in COMMANDS, f"{path.name}: rounds {word}"


def test_every_link_between_docs_leads_somewhere() -> None:
    for path in [
        README,
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "data").rglob("*.md"),
    ]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


EXAMPLES = [(name, line) for name, (_, examples) in COMMANDS.items() for line in examples]


@pytest.mark.parametrize(("name", "line"), EXAMPLES)
def test_an_example_of_a_help_text_is_a_command_line_that_its_command_takes(
    name: str, line: str
) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command
    words = shlex.split(
        line.partition(f"rounds {name}")[2].partition("   #")[0].partition(" | ")[0]
    )
    command.make_context(
        name, words
    )  # a UsageError for an unknown option, a bad value, a missing argument
    assert f"  {line}\n" in CliRunner().invoke(cli, [name, "--help"]).output


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
