"""The Prodigy recipe, called as the plain function it is, with a stand-in for Prodigy or the real
one.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from rounds import annotate
from stages.answers import prodigy as answers_prodigy
from stages.contract.canonical import read_jsonl, write_jsonl
from tests.surfaces.conftest import LABELS, MakeProject, text_tasks

RECIPE = Path(__file__).resolve().parents[2] / "rounds" / "surfaces" / "al_choice.py"
try:
    REAL = importlib.util.find_spec("prodigy") is not None
except ValueError:  # a stand-in without a spec
    REAL = False


def stand_in(stream_module: str, asked: list[dict[str, Any]]) -> dict[str, ModuleType]:
    """Modules that offer of Prodigy what the recipe uses; what it asks for is noted in `asked`."""

    def recipe(name: str, **arguments: tuple[object, ...]) -> Callable[[Any], Any]:
        asked.append({"recipe": name, "arguments": arguments})
        return lambda function: function

    def get_stream(source: str, **options: object) -> list[Any]:
        asked.append({"source": source, **options})
        return read_jsonl(Path(source))

    prodigy, components = ModuleType("prodigy"), ModuleType("prodigy.components")
    prodigy.recipe = recipe  # type: ignore[attr-defined]  # that is what a stand-in is
    stream = ModuleType(stream_module)
    stream.get_stream = get_stream  # type: ignore[attr-defined]  # that is what a stand-in is
    return {"prodigy": prodigy, "prodigy.components": components, stream_module: stream}


def load() -> Any:
    """The recipe's function, from its file, as `prodigy -F` loads it."""
    spec = importlib.util.spec_from_file_location("al_choice", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.al_choice


@pytest.fixture(
    params=["prodigy.components.stream", "prodigy.components.loaders"],
    ids=["1.12 and later", "1.11"],
)
def recipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    asked: list[dict[str, Any]] = []
    for name, module in stand_in(request.param, asked).items():
        monkeypatch.setitem(sys.modules, name, module)
    function = load()
    function.asked = asked
    return function


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    file = tmp_path / "asked.jsonl"
    write_jsonl(file, text_tasks(["one", "two"]))
    return file


def test_it_serves_the_rows_in_order_unhashed_and_undeduplicated(recipe: Any, batch: Path) -> None:
    components = recipe("round_001", str(batch))
    assert [row["al_id"] for row in components["stream"]] == ["p-0", "p-1"]
    assert recipe.asked[0]["recipe"] == "al.choice"
    assert recipe.asked[1] == {"source": str(batch), "rehash": False, "dedup": False}
    assert (components["dataset"], components["view_id"]) == ("round_001", "choice")
    assert components["config"] == {
        "choice_style": "single",
        "choice_auto_accept": False,
        "exclude_by": "input",
        "total_examples_target": 2,
        "feed_overlap": False,
    }


def test_several_annotators_per_item_are_asked_for_by_task(recipe: Any, batch: Path) -> None:
    config = recipe("d", str(batch), 2)["config"]
    assert config["annotations_per_task"] == 2
    assert "feed_overlap" not in config


def test_an_accept_needs_exactly_one_choice_and_other_answers_none(
    recipe: Any, batch: Path
) -> None:
    validate = recipe("d", str(batch))["validate_answer"]
    validate({"answer": "accept", "accept": ["positive"]})
    validate({"answer": "ignore", "accept": []})
    validate({"answer": "reject"})
    for accept in ({}, {"accept": []}, {"accept": ["positive", "negative"]}):
        with pytest.raises(ValueError, match="Choose exactly one label"):
            validate({"answer": "accept", **accept})


def test_what_it_saves_is_read_with_the_right_annotator_and_without_the_pictures_bytes(
    recipe: Any, batch: Path
) -> None:
    task = answers_prodigy.task(
        {"image": "data:image/png;base64,AA==", "path": "a.png"},
        LABELS,
        al_id="x",
        batch_id="b",
        rank=1,
        score=0,
    )
    answered = {
        **task,
        "answer": "accept",
        "accept": ["neutral"],
        "_annotator_id": "my-set-ana",
        "_input_hash": 7,
    }
    saved = recipe("my-set", str(batch))["before_db"]([answered])
    assert "image" not in saved[0]
    assert saved[0]["path"] == "a.png"
    assert answers_prodigy.read_answer(saved[0]).annotator == "ana"
    assert answered["image"].startswith("data:")


def test_at_the_end_it_says_what_to_type(
    recipe: Any, batch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe("round_001", str(batch))["on_exit"](None)
    assert capsys.readouterr().out == (
        'Next: prodigy db-out "round_001" > answers.jsonl && rounds collect answers.jsonl && rounds close\n'
    )


@pytest.mark.skipif(not REAL, reason="Prodigy is not installed here (it needs a licence)")
def test_with_the_real_prodigy_the_components_are_what_it_expects(batch: Path) -> None:
    components = load()("round_001", str(batch))
    assert [row["al_id"] for row in components["stream"]] == ["p-0", "p-1"]


def test_annotate_prints_the_commands_for_serving_people_and_collecting(
    make_project: MakeProject,
) -> None:
    make_project(surface={"annotations_per_item": 2})
    result = CliRunner().invoke(
        annotate.command, ["--with", "prodigy", "--annotator", "ana", "--annotator", "Bo K."]
    )
    assert result.exit_code == 0
    people, batch = "PRODIGY_ALLOWED_SESSIONS='ana,Bo K.'", "data/rounds/001/asked.jsonl"
    assert result.stdout.splitlines() == [
        "# serve, with the project's recipe",
        f"{people} prodigy al.choice round_001 {batch} --overlap 2 -F rounds/surfaces/al_choice.py",
        "# or without it",
        f"{people} prodigy mark round_001 {batch} --view-id choice",
        "# one address for each annotator",
        "#   http://localhost:8080/?session=ana",
        "#   http://localhost:8080/?session=Bo%20K.",
        "# bring the answers home",
        "prodigy db-out round_001 > answers.jsonl",
        "rounds collect answers.jsonl",
        "rounds close",
    ]
