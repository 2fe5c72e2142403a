"""The rules of the house, read off the code: who imports whom, and that dvc.yaml tells the truth
about it.
"""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache, reduce
from operator import attrgetter, getitem
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.contract.errors import PipelineError
from stages.contract.params import load
from tests.params_read import only, outside, read_by, recorded, values

ROOT = Path(__file__).parent.parent
PIPELINE = {
    name: stage
    for file in ("dvc.yaml", "rounds/finish_stage.yaml", "rounds/machines/stage.yaml")
    for name, stage in YAML(typ="safe").load(ROOT / file)["stages"].items()
}
STAGES = sorted(PIPELINE)
VALUES = sorted(values())
NEWER: dict[str, object] = {
    "features.text.words": "none",
    "query.auto": 1,
    "data.origin": {},
    "machines.answer_cost": None,
    "gate.gold_fraction": 0.05,
    "gate.limits.gold": 0.8,
    "machines.features": "data/none.csv",
    "validate.judge_rows": 0,
    "machines.cold_start": "data/none.csv",
    "machines.witness": "data/none.csv",
    "surface.people": {},
}  # and what projects do that lack it


@cache
def imported_modules(path: Path, *, top_level: bool = False) -> frozenset[str]:
    """The dotted names that a file imports, `from a import b` as a.b and a; all of them, or at
    module level only.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


@cache
def project_files(path: Path) -> frozenset[Path]:
    """The project's files that a file imports, directly or not, itself and the packages' __init__
    included.
    """
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
    entries = [
        *PIPELINE[stage].get("outs", []),
        *PIPELINE[stage].get("metrics", []),
        *PIPELINE[stage].get("plots", []),
    ]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


@pytest.mark.parametrize("stage", STAGES)
def test_every_path_in_a_command_is_a_dep_or_an_out(stage: str) -> None:
    words = [
        word for word in shlex.split(PIPELINE[stage]["cmd"]) if "/" in word or word.startswith("${")
    ]
    assert words
    assert set(words) <= deps(stage) | outs(stage)


@pytest.mark.parametrize("name", [name for name in VALUES if name not in NEWER])
def test_a_value_that_params_yaml_does_not_hold_is_refused_at_its_section(
    name: str, tmp_path: Path
) -> None:
    document = YAML().load(ROOT / "params.yaml")
    *sections, last = name.split(".")
    node = document
    for key in sections:
        node = node[key]
    del node[last]
    path = tmp_path / "params.yaml"
    YAML().dump(document, path)
    with pytest.raises(PipelineError) as caught:
        load(path)
    written = path.read_text().splitlines()
    at = int(str(caught.value).removeprefix(f"{path}:").partition(":")[0])
    assert at == 1 if not sections else written[at - 1].strip().startswith(f"{sections[-1]}:")
    assert str(caught.value) == (
        f"{path}:{at}: param {name!r} is missing; add it; params.yaml of a new project "
        "(`rounds init`) has the value to start with"
    )


@pytest.mark.parametrize(("name", "default"), NEWER.items())
def test_a_project_that_lacks_a_newer_value_works_as_before(
    name: str, default: object, tmp_path: Path
) -> None:
    *sections, last = name.split(".")
    document = YAML().load(ROOT / "params.yaml")
    section = reduce(getitem, sections, document)
    del section[last]
    if not section:
        del document[name.partition(".")[0]]
    path = tmp_path / "params.yaml"
    YAML().dump(document, path)
    field = name.replace("validate.", "validate_.")  # a method of pydantic has the name
    assert attrgetter(field)(load(path)) == default


@cache
def read_by_code(stage: str) -> frozenset[str]:
    """The values of params.yaml that a stage and its modules read."""
    file = ROOT / "stages" / f"{stage}.py"
    return frozenset(read_by(file, project_files(file)))


def params_read(stage: str) -> frozenset[str]:
    """The same, and those that dvc.yaml's own ${…} for the stage fill in."""
    filled_in = re.findall(r"\$\{([\w.]+)\}", " ".join([PIPELINE[stage]["cmd"], *deps(stage)]))
    return read_by_code(stage) | set(filled_in)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_every_value_of_params_that_it_and_its_modules_read(stage: str) -> None:
    assert outside(read_by_code(stage), PIPELINE[stage]["params"]) == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_a_whole_section_of_params_only_where_it_reads_most_of_it(stage: str) -> None:
    read = params_read(stage)
    for listed in PIPELINE[stage]["params"]:
        inside = [path for path in VALUES if f"{path}.".startswith(f"{listed}.")]
        unread = [path for path in inside if outside({path}, read)]
        assert inside
        assert 4 * len(unread) <= len(inside), f"{listed} is listed, and {unread} are not read"


def test_reading_params_is_seen_through_names_sections_and_properties(tmp_path: Path) -> None:
    stage = tmp_path / "stage.py"
    stage.write_text(
        "from stages.contract.params import Gate, Limits, Params, load\n"
        "def never(params: Params) -> int:\n    return params.clean_seed.max_suspects\n"
        "def strict(policy: Gate) -> float:\n    return policy.threshold\n"
        "def every(limits: Limits, name: str) -> float:\n    return getattr(limits, name)\n"
        "TABLE = {'strict': strict}\n"
        "class Judge:\n"
        "    def __init__(self, params: Params) -> None:\n        self.params, self.seed = params, params.seed\n"
        "    def size(self) -> int:\n        return self.params.reviews_a_batch\n"
        "def main() -> None:\n    params = load()\n    options, hold = params.validate_, params.gate.hold\n"
        "    Judge(params).size(), TABLE, options.bootstrap, every(params.gate.limits, 'x'), params.model.path\n"
    )
    assert read_by(stage, [stage]) == {
        "seed", "model", "gate.review_cost", "gate.error_cost", "gate.hold", "gate.limits", "validate.bootstrap",
        "query.batch_size", "query.review_fraction",
    }  # fmt: skip


def test_reading_params_is_recorded_while_a_stage_runs() -> None:
    with recorded() as read:
        params = load(ROOT / "params.yaml")
        assert read == set()  # checking them is not using them
        assert params.reviews_a_batch == 4
        assert params.model.path
        params.features.model_dump()
    assert read == {"query.batch_size", "query.review_fraction", "model", "features"}
    assert params.seed == 0
    assert "seed" not in read
    with (
        pytest.raises(AssertionError, match=r"gate\.limits\.drift"),
        only(["gate.limits.answered", "gate.hold"]),
    ):
        assert params.gate.limits.drift


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
        "cleanlab": {"stages/quality/policy.py", "stages/quality/agreement.py"},
        "click": {"stages/contract/shell.py", *(f"stages/{stage}.py" for stage in STAGES)},
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
    assert users == {"stages/answers/prodigy.py"}
