from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rounds.close
from rounds.project import Project
from tests.history.inprocess import Stages, new_project


@pytest.fixture(scope="session", autouse=True)
def identity() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Ann")
            patch.setenv(f"GIT_{role}_EMAIL", "ann@example.org")
        patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        patch.setattr(rounds.close, "Dvc", Stages)
        yield


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory, identity: None) -> Callable[[int], Project]:
    made: dict[int, Project] = {}

    def template(count: int) -> Project:
        if count not in made:
            made[count] = new_project(tmp_path_factory.mktemp(f"after{count}"), count)
        return made[count]

    return template


@pytest.fixture
def project(
    tmp_path: Path, templates: Callable[[int], Project]
) -> Iterator[Callable[[int], Project]]:
    """A fresh copy of a project after some rounds."""

    def fresh(count: int, name: str = "project") -> Project:
        return Project(
            Path(shutil.copytree(templates(count).root, tmp_path / name, symlinks=True)).resolve()
        )

    yield fresh
    Stages.hooks = []
