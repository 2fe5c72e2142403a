"""The rooms of the house: who may enter whom, that nothing imports a script, and that dvc.yaml and
the map say so.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
PIPELINES = (  # the loop, and what commands alone run
    "dvc.yaml",
    "rounds/finish_stage.yaml",
    "rounds/machines/stage.yaml",
)
STAGES = {
    name: stage
    for file in PIPELINES
    for name, stage in YAML(typ="safe").load(ROOT / file)["stages"].items()
}
BASE = {"contract"}
MAY_IMPORT = {
    "contract": set(),
    "examples": BASE,
    "answers": BASE,
    "store": {*BASE, "examples"},
    "features": {*BASE, "examples", "machines", "store"},
    "learning": {*BASE, "examples", "answers", "store"},
    "strategies": {*BASE, "learning"},
    "quality": {*BASE, "examples", "answers", "store", "learning"},
    "batch": {*BASE, "examples", "answers", "store", "learning", "quality", "strategies"},
    "machines": BASE,
    "proof": {*BASE, "examples", "answers", "store", "learning", "machines"},
    "prediction": {*BASE, "examples", "answers", "store", "features", "learning", "machines"},
}
LONGEST_SCRIPT = 150
LONGEST_FUNCTION = 40  # lines, its docstring not counted
MOST_PARAMETERS = 8


@cache
def project_imports(path: Path) -> frozenset[str]:
    """The dotted names of the project that a file imports, `from a import b` as a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in names if name.split(".")[0] in {"stages", "rounds"})


def room_of(path: Path) -> str:
    """The room that a file of stages/ lies in; "" for a script."""
    parts = path.relative_to(ROOT / "stages").parts
    return parts[0] if len(parts) > 1 else ""


@cache
def arrows() -> dict[str, frozenset[str]]:
    """Room -> the other rooms that its files import."""
    found: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    for path in (ROOT / "stages").rglob("*.py"):
        if room_of(path):
            rooms = {name.split(".")[1] for name in project_imports(path) if name.count(".")}
            found[room_of(path)] |= (rooms & set(MAY_IMPORT)) - {room_of(path)}
    return {room: frozenset(rooms) for room, rooms in found.items()}


def test_every_folder_of_stages_is_a_room_that_says_what_it_holds() -> None:
    folders = {
        path.name
        for path in (ROOT / "stages").iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }
    assert folders == set(MAY_IMPORT)
    for room in folders:
        doc = ast.get_docstring(
            ast.parse((ROOT / "stages" / room / "__init__.py").read_text(encoding="utf-8"))
        )
        assert doc, room


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_it_may(room: str) -> None:
    assert arrows()[room] <= MAY_IMPORT[room]


def test_the_table_of_directions_has_no_circle() -> None:
    order: list[str] = []
    while len(order) < len(MAY_IMPORT):
        free = [
            room
            for room, others in MAY_IMPORT.items()
            if room not in order and others <= set(order)
        ]
        assert free, "a circle"
        order += free


@pytest.mark.parametrize("folder", ["stages", "rounds"])
def test_nothing_imports_a_script(folder: str) -> None:
    scripts = {f"stages.{stage}" for stage in STAGES}
    for path in (ROOT / folder).rglob("*.py"):
        assert not project_imports(path) & scripts, path


def test_a_file_of_stages_is_a_script_of_a_stage_or_lies_in_a_room() -> None:
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert scripts == set(STAGES)
    for stage in STAGES:
        lines = (ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8").splitlines()
        assert len(lines) <= LONGEST_SCRIPT, stage


def lines_of_body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function, from `def` on, without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    assert docstring.end_lineno is not None
    return lines - (docstring.end_lineno - docstring.lineno + 1)


@pytest.mark.parametrize("folder", ["stages", "rounds"])
def test_a_function_has_at_most_forty_lines_and_eight_parameters(folder: str) -> None:
    too_large = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = node.args
                parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                if lines_of_body(node) > LONGEST_FUNCTION or len(parameters) > MOST_PARAMETERS:
                    too_large.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not too_large


@cache
def rooms_needed(stage: str) -> frozenset[str]:
    """The rooms of all files that a stage's script imports, directly or not."""
    todo = [ROOT / "stages" / f"{stage}.py"]
    seen: set[Path] = set(todo)
    while todo:
        for name in project_imports(todo.pop()):
            parts = name.split(".")
            module = ROOT.joinpath(*parts)
            for file in (
                module.with_suffix(".py"),
                module / "__init__.py",
                module.parent / "__init__.py",
            ):
                if file.is_file() and file not in seen:
                    seen.add(file)
                    todo.append(file)
    return frozenset(room_of(path) for path in seen) - {""}


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_that_a_stage_depends_on_is_its_script_and_the_rooms_it_needs(stage: str) -> None:
    code = {dep for dep in STAGES[stage]["deps"] if dep.startswith("stages/")}
    rooms = {f"stages/{room}" for room in rooms_needed(stage)}
    assert code == {f"stages/{stage}.py", "stages/__init__.py"} | rooms


def test_the_map_has_every_room_and_every_arrow() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^\| `(\w+)/` \|.*\| ([^|]*) \|$", text, flags=re.MULTILINE)
    rows = {room: frozenset(re.findall(r"\w+", others)) - {"nothing"} for room, others in drawn}
    assert rows == arrows()


def test_the_map_names_every_module_of_the_peoples_half() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = {path.name for path in (ROOT / "rounds").glob("*.py")} - {"__init__.py"}
    assert not {name for name in modules if f"`rounds/{name}`" not in text}


def test_every_file_that_the_map_names_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:stages|rounds|tests|docs|data)/[\w/.]+\.\w+)`", text))
    assert len(named) > 20
    assert not {name for name in named if not (ROOT / name).is_file()}
