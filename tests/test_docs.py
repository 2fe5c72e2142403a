"""The docs say what is true: tables made from the code, commands that exist, links that lead
somewhere. `python -m handbook` rewrites what is generated.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner
from ruamel.yaml import YAML

from handbook.blocks import BLOCK, BLOCKS, renewed
from handbook.errors import raised
from handbook.notebook import PAGE, page_of, written
from handbook.pipeline import params_rows
from rounds.__main__ import COMMANDS, GROUPS, cli
from stages.contract.params import load

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
BESIDE = [ROOT / name for name in ("CONTRIBUTING.md", "AGENTS.md", "CHANGELOG.md", "SECURITY.md")]


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


def test_what_is_generated_is_what_the_code_says() -> None:
    assert not renewed(), "run `python -m handbook`"
    written = [name for page in PAGES for name, _ in BLOCK.findall(page.read_text("utf-8"))]
    assert sorted(written) == sorted(BLOCKS), "a block stands once, on one page"


def test_most_errors_can_be_looked_up_with_what_to_do() -> None:
    errors = raised()
    assert len(errors) > 300
    open_ended = [error.where for error in errors if not (error.what and error.remedy)]
    assert len(open_ended) < len(errors) / 8, "name `what` and `remedy` where they are raised"


def test_readme_can_be_read_in_a_few_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < 120


def test_every_page_stands_in_the_sites_menu_once() -> None:
    menu = re.findall(
        r"^ +- (?:.*: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE
    )
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in PAGES[1:]]
    beside = [page for page in menu if not (ROOT / "docs" / page).exists()]
    assert sorted(menu) == sorted([*pages, *beside]), "name new pages in the nav of mkdocs.yml"


def test_the_notebooks_page_is_the_notebook_as_it_ran() -> None:
    notebook = written()
    assert PAGE.read_text(encoding="utf-8") == page_of(notebook), (
        "run `python -m handbook.notebook`"
    )
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert kinds == {"stream"}, "an error, or a picture"


def test_every_value_of_params_has_a_comment() -> None:
    for name, _, meaning in params_rows():
        assert len(meaning) > 10, name


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
    for path in PAGES:
        for word in re.findall(
            r"(?:^|`|&& )rounds ([a-z]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE
        ):
            assert word in COMMANDS, f"{path.name}: rounds {word}"


def test_every_link_between_docs_leads_somewhere() -> None:
    for path in [*PAGES, *BESIDE, *(ROOT / "data").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_every_link_to_a_heading_finds_it() -> None:
    for page in [*PAGES, *BESIDE]:
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", text):
            there = page.parent / target if target else page
            if there.suffix == ".md":
                assert anchor in anchors(there), f"{page.name}: {target}#{anchor}"


def test_every_param_that_the_docs_name_exists() -> None:
    names = {name for name, _, _ in params_rows()}
    sections = {name.rpartition(".")[0] for name in names} | {name.split(".")[0] for name in names}
    heads = "|".join(sorted({name.split(".")[0] for name in names if "." in name}))
    pattern = re.compile(rf"`((?:{heads})\.[a-z_.]+)(?::[^`]*)?`")
    for page in PAGES:
        for word in pattern.findall(page.read_text(encoding="utf-8")):
            known = word in names | sections or any(name.startswith(f"{word}.") for name in names)
            assert known or (ROOT / word).exists(), f"{page.name}: `{word}`"


def test_every_file_of_the_code_that_the_docs_name_exists() -> None:
    for page in PAGES:
        for word in re.findall(
            r"`((?:stages|rounds|tests|benchmarks|handbook)/[\w/]+\.\w+)", page.read_text("utf-8")
        ):
            mine = word.endswith("/mine.py")  # an example of a file of the reader's own
            assert mine or (ROOT / word).exists(), f"{page.name}: {word}"


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


def test_the_tab_key_completes_commands_and_options() -> None:
    complete = BashComplete(cli, {}, "rounds", "_ROUNDS_COMPLETE").get_completions
    assert [item.value for item in complete([], "cl")] == ["close"]
    assert [item.value for item in complete(["close"], "--pa")] == ["--partial"]


def command_lines() -> list[tuple[str, str]]:
    """(page, line) of every `rounds` command in the docs' shell blocks."""
    lines = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.DOTALL):
            commands = block.replace("\\\n", " ").splitlines()
            parts = [
                part.strip()
                for line in commands
                for part in re.split(r"&&|\||;", line.partition("  #")[0])
            ]
            lines += [(page.name, part) for part in parts if part.startswith("rounds ")]
    return lines


def test_every_command_line_of_the_docs_is_one_that_its_command_takes() -> None:
    lines = command_lines()
    assert len(lines) > 50
    for page, line in lines:
        words = shlex.split(line, comments=True)[1:]
        command = cli.get_command(click.Context(cli), words[0])
        if command is None:
            assert words[0].startswith("-"), f"{page}: {line}"
            continue
        try:
            command.make_context(words[0], words[1:])
        except click.exceptions.Exit:  # --help
            continue
        except click.UsageError as error:
            raise AssertionError(f"{page}: {line}: {error.message}") from error
