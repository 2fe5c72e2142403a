"""`rounds export`: what leaves the project is what the round accepted, and other programs read it."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import rounds.close
import rounds.dataset.command
from rounds.__main__ import cli
from rounds.commands import git
from rounds.dataset.card import yaml_text
from rounds.project import Project
from stages.contract.canonical import read_jsonl, write_json
from stages.proof.finished_tables import write_labels
from tests.conftest import Small
from tests.history.inprocess import Stages, answer, closed, committed
from tests.shapes import as_they_are, images_in_parts, truth_of, use_images, use_texts, with_vectors

Shape = Callable[[Small], None]


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git with a name, DVC played by the tests, the Hub out of reach."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ann")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ann@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setattr(rounds.close, "Dvc", Stages)
    monkeypatch.setattr(rounds.dataset.command, "Dvc", Stages)


def closed_project(small: Small) -> Project:
    """The project after one answered round: Ann says the truth, Bob too, but skips green ones."""
    project = Project(small.root.resolve())
    git(project.root, "init", "--quiet", "--initial-branch", "main")
    committed(project)
    closed(project)
    truth = truth_of(small)
    answer(project, "ann", truth.__getitem__)
    answer(project, "bob", lambda item: truth[item] if truth[item] != "green" else None)
    closed(project)
    return project


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Project]:
    """Projects made once, by their shape."""
    return {}


@pytest.fixture
def project_of(
    templates: dict[str, Project], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Shape], Project]:
    """A fresh copy of a closed project of some shape."""

    def fresh(shape: Shape) -> Project:
        if shape.__name__ not in templates:
            small = Small(tmp_path_factory.mktemp(shape.__name__) / "shop")
            shape(small)
            templates[shape.__name__] = closed_project(small)
        root = templates[shape.__name__].root
        return Project(Path(shutil.copytree(root, tmp_path / "shop", symlinks=True)).resolve())

    return fresh


def export(project: Project, *words: str) -> str:
    """What `rounds export` says."""
    here = Path.cwd()
    os.chdir(project.root)
    try:
        done = CliRunner().invoke(cli, ["export", *words])
    finally:
        os.chdir(here)
    assert done.exit_code in (0, 1), done.exception
    return done.stderr


def loaded(folder: Path, cache: Path) -> Any:
    """What `datasets.load_dataset` makes of a folder, and what mlcroissant does: the same rows."""
    datasets = pytest.importorskip("datasets")
    datasets.config.HF_HUB_OFFLINE = True
    datasets.disable_progress_bars()
    data = datasets.load_dataset(str(folder), cache_dir=str(cache))
    croissant = pytest.importorskip("mlcroissant")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own libraries' deprecations
        other = croissant.Dataset(str(folder / "croissant.json"))
        issues = other.metadata.ctx.issues
        assert not issues.errors
        assert not issues.warnings
        for split, rows in data.items():
            records = list(other.records(split))
            ids = [record[f"{split}/id"].decode() for record in records]
            assert ids == rows["id"]
            labels = [record[f"{split}/label"].decode() for record in records]
            assert labels == [rows.features["label"].int2str(one) for one in rows["label"]]
    return data


@pytest.mark.parametrize(
    "shape",
    [
        use_texts,
        use_images,
        *(
            pytest.param(shape, marks=pytest.mark.slow)
            for shape in (as_they_are, images_in_parts, with_vectors)
        ),
    ],
)
def test_other_programs_read_every_row_with_its_class_votes_and_content(
    project_of: Callable[[Shape], Project], shape: Shape, tmp_path: Path
) -> None:
    project = project_of(shape)
    out = tmp_path / "out"
    said = export(project, str(out))
    assert said.startswith("export: ")
    assert said.endswith(f"next: read {out}/README.md, and load_dataset('{out}')\n")
    data = loaded(out, tmp_path / "cache")
    assert set(data) == {"train", "test"}
    classes = data["train"].features["label"]
    assert classes.names == ["red", "green", "blue"]
    accepted = read_jsonl(project.root / "build/gate/accepted.jsonl")
    rows = {row["id"]: row for row in data["train"]}
    assert sorted(rows) == sorted(row["id"] for row in accepted)
    votes = read_jsonl(project.root / "build/gate/votes.jsonl")
    for known in accepted:
        row = rows[known["id"]]
        assert classes.int2str(row["label"]) == known["label"]
        assert row["round"] == known["round"]
        assert row["arms"] == known["arms"]
        mine = sorted(
            (vote["annotator"], vote["label"]) for vote in votes if vote["id"] == row["id"]
        )
        assert sorted((vote["annotator"], vote["label"]) for vote in row["votes"]) == mine
        brought = git(project.root, "show", "--format=", "--name-only", row["commit"]).split()
        assert f"data/rounds/{known['round'] + 1:03d}/manifest.json" in brought
    assert {row["id"] for row in data["test"]} == {f"r-{number:03d}" for number in range(18, 78)}
    assert not set(data["test"]["id"]) & set(rows)


def test_content_is_what_the_tables_hold(
    project_of: Callable[[Shape], Project], tmp_path: Path
) -> None:
    project = project_of(images_in_parts)
    export(project, str(tmp_path / "out"))
    table = pq.read_table(tmp_path / "out/data/train.parquet").to_pylist()
    folder = project.root / "data" / "images"
    named = [row for row in table if row["scan"]["path"]]
    assert 0 < len(named) < len(table)
    for row in named:
        assert row["scan"]["bytes"] == (folder / row["scan"]["path"]).read_bytes()
    assert all(row["scan"]["bytes"].startswith(b"\x89PNG") for row in table)


def test_numbers_and_vectors_keep_their_kind(
    project_of: Callable[[Shape], Project], tmp_path: Path
) -> None:
    project = project_of(with_vectors)
    export(project, str(tmp_path / "out"))
    schema = pq.read_schema(tmp_path / "out/data/train.parquet")
    assert schema.field("vector").type == pa.list_(pa.float32())


def test_the_same_commit_gives_the_same_bytes_and_an_export_replaces_an_export(
    project_of: Callable[[Shape], Project], tmp_path: Path
) -> None:
    project = project_of(use_texts)
    for name in ("a", "b", "b"):
        assert export(project, str(tmp_path / name), "--license", "mit").startswith("export: ")
    first = {path.name: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    again = {path.name: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()}
    assert first == again
    assert set(first) == {
        "README.md", "croissant.json", "export.json", "train.parquet", "test.parquet",
    }  # fmt: skip
    assert git(project.root, "status", "--porcelain") == ""


def test_nothing_but_an_untouched_export_is_overwritten(
    project_of: Callable[[Shape], Project], tmp_path: Path
) -> None:
    project = project_of(use_texts)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    assert export(project, str(mine)) == (
        f"error: {mine}: not an export: it holds 'notes.txt' and no export.json; "
        "name another folder; nothing was changed\n"
    )
    (mine / "notes.txt").rename(mine / ".gitattributes")  # a clone of an empty repository
    assert export(project, str(mine)).startswith("export: ")
    with (mine / "README.md").open("a") as file:
        file.write("My own words.\n")
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    assert export(project, str(mine)) == (
        f"error: {mine}/README.md: edited since it was exported; "
        f"move it out of {mine}, or name another folder; nothing was changed\n"
    )
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before


def test_names_of_annotators_can_stay_at_home(
    project_of: Callable[[Shape], Project], tmp_path: Path
) -> None:
    project = project_of(use_texts)
    assert "the names of annotators are in it" in export(project, str(tmp_path / "named"))
    said = export(project, str(tmp_path / "numbered"), "--anonymous")
    assert "the names of annotators" not in said
    named = pq.read_table(tmp_path / "named/data/train.parquet").to_pylist()
    numbered = pq.read_table(tmp_path / "numbered/data/train.parquet").to_pylist()
    people = {vote["annotator"] for row in numbered for vote in row["votes"]}
    assert people == {"", "annotator-1", "annotator-2"}
    for path in (tmp_path / "numbered").rglob("*.*"):
        assert b"t-ann" not in path.read_bytes()
    for one, other in zip(named, numbered, strict=True):
        assert [vote["label"] for vote in one["votes"]] == [
            vote["label"] for vote in other["votes"]
        ]
        assert len(one["annotators"]) == len(other["annotators"])


def test_what_the_test_set_holds_is_no_training_row(
    project_of: Callable[[Shape], Project], tmp_path: Path
) -> None:
    project = project_of(as_they_are)
    accepted = read_jsonl(project.root / "build/gate/accepted.jsonl")
    table = project.root / "data" / "test.csv"
    first = (project.root / "data" / "seed.csv").read_text().splitlines()[1]
    item = "r-000"
    assert item in first
    table.write_text(table.read_text() + first.replace(item, "t-copy") + "\n")
    committed(project)
    closed(project, partial=True)
    said = export(project, str(tmp_path / "out"))
    assert "  1 labelled rows left out: the test set has their content\n" in said
    rows = pq.read_table(tmp_path / "out/data/train.parquet").column("id").to_pylist()
    assert sorted(rows) == sorted({row["id"] for row in accepted} - {item})
    assert "1 labelled rows are left out" in (tmp_path / "out/README.md").read_text()


def finished(project: Project, model: str) -> None:
    """Play `rounds finish`: two labels by the machine, committed."""
    rows = [
        {
            "id": item, "label": "blue", "by": f"model@{model}", "confidence": 0.9, "round": 1,
            "annotators": [],
        }
        for item in ("r-190", "r-191")
    ]  # fmt: skip
    write_labels(project.root / "build/finish/finished.parquet", [rows])  # type: ignore[arg-type]
    facts = {"model": model, "claim": {"error": 0.05, "confidence": 0.95}}
    write_json(project.root / "metrics/finish.json", facts)
    (project.root / "finish").mkdir(exist_ok=True)
    for name in ("dvc.yaml", "dvc.lock"):
        (project.root / "finish" / name).write_text("stages: {}\n")
    committed(project, "Finish")


def test_labels_by_the_machine_are_a_split_of_their_own_while_its_model_is_the_present_one(
    project_of: Callable[[Shape], Project], tmp_path: Path
) -> None:
    project = project_of(as_they_are)
    model = git(project.root, "log", "-1", "--format=%H", "--", "dvc.lock").strip()
    finished(project, model[:12])
    export(project, str(tmp_path / "out"))
    data = loaded(tmp_path / "out", tmp_path / "cache")
    assert data["machine"]["id"] == ["r-190", "r-191"]
    assert data["machine"]["confidence"] == [0.9, 0.9]
    assert set(data["machine"]["commit"]) == {model}
    assert "at most 0.05 are wrong, at confidence 0.95" in (tmp_path / "out/README.md").read_text()
    finished(project, "0" * 12)  # by the model of another round
    said = export(project, str(tmp_path / "out"))
    assert "the pool was finished before the last round: `rounds finish` again" in said
    assert not (tmp_path / "out/data/machine.parquet").exists()


def test_answers_that_wait_are_closed_first(
    project_of: Callable[[Shape], Project], tmp_path: Path
) -> None:
    project = project_of(as_they_are)
    answer(project, "ann", lambda _item: "red")
    said = export(project, str(tmp_path / "out"))
    assert said.endswith("close the round first: `rounds close`\n")
    assert not (tmp_path / "out").exists()


def test_classes_are_read_as_they_are_called_whatever_yaml_makes_of_them() -> None:
    yaml = pytest.importorskip("yaml")
    names = ["no", "1e3", "null", "a: b", 'say "x"', "é\u2028", "#1", "0x10", "~", " lead"]
    head = yaml.safe_load(yaml_text({"names": {str(n): name for n, name in enumerate(names)}}))
    assert head == {"names": {str(n): name for n, name in enumerate(names)}}


def test_a_column_of_content_keeps_its_name_before_one_that_export_adds(
    project_of: Callable[[Shape], Project], tmp_path: Path
) -> None:
    def rounds_as_content(small: Small) -> None:
        for path in (small.root / "data").glob("*.csv"):
            header, rows = path.read_text().split("\n", 1)
            names = ["round" if name == "x" else name for name in header.split(",")]
            path.write_text(",".join(names) + "\n" + rows)

    project = project_of(rounds_as_content)
    export(project, str(tmp_path / "out"))
    table = pq.read_table(tmp_path / "out/data/train.parquet")
    assert table.schema.field("round").type == pa.float64()
    assert set(table.column("round_").to_pylist()) <= {0, 1}
    assert np.isfinite(table.column("round").to_numpy()).all()
