"""A small labelling project with one issued batch, made by hand: what the surfaces stand on."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rounds.project import Project
from rounds.shipped import shipped_params
from stages.answers import prodigy
from stages.contract.canonical import Row, jsonl, write_bytes, write_json

LABELS = ("positive", "negative", "neutral")


def text_tasks(
    texts: Sequence[str], labels: Sequence[str] = LABELS, batch: str = "b1"
) -> list[Row]:
    """One task per text, ids p-0, p-1, …"""
    return [
        prodigy.task({"text": text}, labels, al_id=f"p-{n}", batch_id=batch, rank=n + 1, score=0.5)
        for n, text in enumerate(texts)
    ]


def params_text(
    labels: Sequence[str] = LABELS,
    data_id: str = "id",
    surface: Row | None = None,
    columns: Row | None = None,
) -> str:
    """The params.yaml of a project whose people read texts. columns: other values of `data`."""
    data = {
        "pool": "p.csv",
        "seed": "s.csv",
        "test": "t.csv",
        "images": "data",
        "text": "text",
        "image": "",
    }
    changes = {
        "seed": 1,
        "labels": list(labels),
        "data": {**data, "id": data_id, **(columns or {})},
        "features": {"kind": "text"},
    }
    return json.dumps(
        shipped_params({**changes, "surface": surface or {}}).model_dump(by_alias=True), indent=1
    )


def write_round(root: Path, number: int, tasks: Sequence[Row], batch: str) -> None:
    """Freeze a batch as `rounds issue` does."""
    folder = root / "data" / "rounds" / f"{number:03d}"
    data = jsonl(tasks)
    write_bytes(folder / "asked.jsonl", data)
    manifest = {"batch_id": batch, "rows": len(tasks), "asked": hashlib.sha256(data).hexdigest()}
    write_json(folder / "manifest.json", manifest)
    (folder / "answers").mkdir()


def committed(root: Path) -> None:
    """Commit all that is there."""
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    for words in (["init", "-q"], ["add", "--all"], [*who, "commit", "-qm", "A round"]):
        subprocess.run(["git", *words], cwd=root, check=True)


MakeProject = Callable[..., Project]


@pytest.fixture
def make_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeProject:
    """make(texts or tasks, surface={param: value}) -> a project, which becomes the working
    directory.
    """

    def make(
        texts: Sequence[str] = ("good", "bad", "so so"),
        *,
        tasks: Sequence[Row] | None = None,
        labels: Sequence[str] = LABELS,
        surface: Row | None = None,
        data_id: str = "id",
        columns: Row | None = None,
    ) -> Project:
        root = tmp_path / "project"
        (root / "stages").mkdir(parents=True)
        (root / "stages" / "query.py").touch()
        (root / "dvc.yaml").touch()
        (root / "params.yaml").write_text(
            params_text(labels, data_id, surface, columns), encoding="utf-8"
        )
        write_round(root, 1, text_tasks(texts, labels) if tasks is None else tasks, "b1")
        committed(root)
        monkeypatch.chdir(root)
        return Project(root)

    return make
