"""`rounds init`: what it makes of tables, and what it refuses before it makes anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from ruamel.yaml import YAML

from rounds import init as initial
from rounds.init import init
from stages._errors import PipelineError
from stages._progress import Told
from tests.conftest import shell, write_csv

NAMES = {"id": "nr", "label": "kind", "text": "", "image": ""}


def tables(folder: Path) -> dict[str, Path | None]:
    """A pool and a seed of two numbers."""
    pool = write_csv(folder / "pool.csv", ["nr", "x", "y"], [[f"p{row}", row, -row] for row in range(9)])
    seed = write_csv(folder / "seed.csv", ["nr", "x", "y", "kind"], [["s1", 1, 2, "a"], ["s2", 3, 4, "b"]])
    return {"pool": pool, "seed": seed, "test": None}


def refused(folder: Path, **changes: Any) -> str:
    """What init says, and that it made nothing."""
    given: dict[str, Any] = {"columns": NAMES, "kind": "numeric", "numbers": [], "labels": [], **changes}
    with pytest.raises(PipelineError) as told:
        init(folder / "project", tables(folder), **given)
    assert not (folder / "project").exists()
    return str(told.value).replace(f"{folder}/", "")


def test_a_column_that_no_table_has_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    said = refused(tmp_path, columns={**NAMES, "id": "mr"})
    assert said == ("pool.csv:1: no column 'mr', found 'nr', 'x', 'y'; correct --id or the file's header")
    assert "no column 'z'" in refused(tmp_path, numbers=["x", "z"])
    assert "correct --label or" in refused(tmp_path, columns={**NAMES, "label": "sort"})


def test_an_id_that_was_not_named_is_no_number(tmp_path: Path) -> None:
    said = refused(tmp_path, columns={**NAMES, "id": ""})
    assert said.startswith("pool.csv:2: column 'nr' holds 'p0' where a number was expected; ")


def test_classes_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, labels=["a", "a"]).startswith("--labels: a, a are not two or more distinct classes; ")
    assert refused(tmp_path, labels=["a"]).startswith("--labels: a are not two or more distinct classes; ")
    assert refused(tmp_path, labels=["a", "bb"]) == (
        "seed.csv:3: label 'b' is not among --labels (did you mean 'bb'?); add it there, or correct the row"
    )


def test_a_folder_is_a_pool_only_and_images_need_one(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    with pytest.raises(PipelineError, match=r"--seed: .*parts is a folder; name a file: only a pool may be in parts"):
        init(tmp_path / "p", {**tables(tmp_path), "seed": tmp_path / "parts"}, NAMES, "numeric", [], [])
    assert refused(tmp_path, images=tmp_path / "none").startswith("--images: none is no folder; ")


def test_what_is_taken_for_a_number_is_told(tmp_path: Path) -> None:
    said = init(tmp_path / "project", tables(tmp_path), NAMES, "numeric", [], [])
    assert said.splitlines()[0].endswith("is ready, 2 classes, 2 columns of numbers (x, y)")
    blank = init(tmp_path / "blank", {**tables(tmp_path), "seed": None}, NAMES, "numeric", [], [])
    assert blank.splitlines()[1].endswith(
        "; name your classes in `labels` of params.yaml; git add -A && git commit -m 'Our data'; rounds close"
    )


@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_init_leaves_nothing_and_says_so(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tables(tmp_path)
    root = tmp_path / "project"
    if there:
        root.mkdir()

    def interrupted(*_: object) -> None:
        assert (root / "data/pool.csv").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(initial, "start", interrupted)
    words = [str(root), *(f"--{name}={path}" for name, path in given.items() if path), "--id=nr", "--label=kind"]
    done = CliRunner().invoke(initial.command, words)
    assert done.exit_code == 130
    assert done.stderr == "error: interrupted; nothing is lost: run the same command again\n"
    assert list(root.iterdir()) == []
    monkeypatch.undo()
    assert CliRunner().invoke(initial.command, words).exit_code == 0


def test_a_folder_of_images_comes_along_and_dvc_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "png").mkdir()
    for row in range(6):
        Image.new("L", (4, 4), color=row * 40).save(tmp_path / "png" / f"{row}.png")
    pool = write_csv(tmp_path / "pool.csv", ["file"], [[f"{row}.png"] for row in range(6)])
    names = {"id": "", "label": "kind", "text": "", "image": "file"}
    root, told = tmp_path / "project", dict[str, Told]()

    @contextmanager
    def kept(doing: str, total: int, unit: str) -> Iterator[Told]:
        yield told.setdefault(doing, Told(doing, total, unit))

    monkeypatch.setattr(initial, "progress", kept)
    init(root, {"pool": pool, "seed": None, "test": None}, names, "image", [], ["a", "b"], tmp_path / "png")
    assert {doing: (one.done, one.total, one.unit) for doing, one in told.items()} == {"copy images": (6, 6, "file")}
    assert YAML(typ="safe").load(root / "params.yaml")["data"]["images"] == "data/images"
    assert shell(root, "git", "status", "--porcelain") == ""
    assert "data/images.dvc" in shell(root, "git", "ls-files", "data")
    assert "data/images/" not in shell(root, "git", "ls-files", "data")
    shell(root, "dvc", "repro", "featurize")


def test_a_project_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    root = tmp_path / "größer, als #1" / "ein projekt"
    init(root, tables(tmp_path), NAMES, "numeric", [], [])
    assert (root / ".gitattributes").is_file()
    told = shell(root, "dvc", "remote", "list")  # which wraps long lines
    assert "".join(str(root / ".dvc" / "store").split()) in "".join(told.split())
