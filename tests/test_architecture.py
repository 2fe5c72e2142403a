"""The rules of the house, read off the code: who imports whom, and that dvc.yaml tells the truth about it."""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
STAGES = sorted(PIPELINE)
PARAM_FILES = {"data/none.csv"}


def imported_modules(path: Path, *, top_level: bool = False) -> set[str]:
    """The dotted names that a file imports, `from a import b` as a.b and a; all of them, or at module level only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def project_files(path: Path) -> frozenset[Path]:
    """The project's files that a file imports, directly or not, itself and the packages' __init__ included."""
    found = {path}
    todo = [path]
    while todo:
        for name in imported_modules(todo.pop()):
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                module = ROOT.joinpath(*parts[:depth])
                for file in (module.with_suffix(".py"), module / "__init__.py"):
                    if file.is_file() and parts[0] in {"stages", "rounds"} and file not in found:
                        found.add(file)
                        todo.append(file)
    return frozenset(found)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def deps(stage: str) -> set[str]:
    return set(PIPELINE[stage]["deps"])


def outs(stage: str) -> set[str]:
    entries = [*PIPELINE[stage].get("outs", []), *PIPELINE[stage].get("metrics", []), *PIPELINE[stage].get("plots", [])]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_that_a_stage_imports_is_a_dep_of_it_and_no_other_is(stage: str) -> None:
    needed = {relative(file) for file in project_files(ROOT / "stages" / f"{stage}.py")}
    code = {dep for dep in deps(stage) if dep.startswith("stages/")}
    if "stages/strategies" in code:
        needed = {file for file in needed if not file.startswith("stages/strategies/")} | {"stages/strategies"}
    assert code == needed


@pytest.mark.parametrize("stage", STAGES)
def test_every_path_in_a_command_is_a_dep_or_an_out(stage: str) -> None:
    words = [word for word in shlex.split(PIPELINE[stage]["cmd"]) if "/" in word or word.startswith("${")]
    assert words
    assert set(words) <= deps(stage) | outs(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reads_only_the_params_that_dvc_yaml_lists(stage: str) -> None:
    read = set()
    for file in project_files(ROOT / "stages" / f"{stage}.py"):
        if file.name != "_params.py":
            read |= set(re.findall(r"\bparams\.([a-z_]+)", file.read_text(encoding="utf-8").replace("params.yaml", "")))
    sections = {"seed", "labels", "data", "features", "model", "quality", "clean_seed", "gate", "calibrate", "query"}
    sections |= {"validate_", "surface"}
    mine = {name.rstrip("_") for name in own_params(stage) & sections}
    listed = {name.partition(".")[0] for name in PIPELINE[stage]["params"]}
    assert mine <= listed
    assert {f"{name}_" if name == "validate" else name for name in listed} <= read


def own_params(stage: str) -> set[str]:
    """The sections of params that the stage's own module reads."""
    text = (ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8").replace("params.yaml", "")
    return set(re.findall(r"\bparams\.([a-z_]+)", text))


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_described(stage: str) -> None:
    assert PIPELINE[stage]["desc"].endswith(".")


@pytest.mark.parametrize("file", sorted((ROOT / "stages").rglob("*.py")), ids=relative)
def test_stages_import_neither_dvc_nor_rounds_nor_another_stage(file: Path) -> None:
    names = imported_modules(file)
    assert not {name for name in names if name.split(".")[0] in {"dvc", "rounds"}}
    others = {f"stages.{stage}" for stage in STAGES} - {f"stages.{file.stem}"}
    assert not names & others


@pytest.mark.parametrize("library", ["modAL", "skactiveml", "cleanlab", "click"])
def test_a_library_stays_in_its_room(library: str) -> None:
    rooms = {
        "modAL": {"stages/strategies/modal.py"},
        "skactiveml": {"stages/strategies/skactive.py"},
        "cleanlab": {"stages/_quality.py", "stages/_agreement.py"},
        "click": {"stages/_shell.py", *(f"stages/{stage}.py" for stage in STAGES)},
    }[library]
    users = {
        relative(file)
        for file in (ROOT / "stages").rglob("*.py")
        if library in {name.split(".")[0] for name in imported_modules(file)}
    }
    assert users <= rooms


@pytest.mark.parametrize("stage", STAGES)
def test_heavy_libraries_are_imported_by_the_function_that_needs_them(stage: str) -> None:
    heavy = {"sklearn", "cleanlab", "modAL", "skactiveml", "pandas", "skops"}
    for file in project_files(ROOT / "stages" / f"{stage}.py"):
        top = {name.split(".")[0] for name in imported_modules(file, top_level=True)}
        assert file.parent.name == "strategies" or not top & heavy


def test_prodigys_keys_stand_in_one_module_of_the_stages() -> None:
    keys = ("_input_hash", "_task_hash", "_annotator_id", "_session_id", "_view_id", "_timestamp")
    users = {
        relative(file)
        for file in (ROOT / "stages").rglob("*.py")
        if any(key in file.read_text(encoding="utf-8") for key in keys)
    }
    assert users == {"stages/_prodigy.py"}
