"""What a killed DVC leaves half written is put right by the next `rounds close`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAML

from rounds.commands import git
from rounds.lock import exclusive, is_lock
from rounds.project import Project

LOCK = """\
schema: '2.0'
stages:
  gate:
    cmd: python -m stages.gate
    deps:
    - path: stages/gate.py
      hash: md5
      md5: 41f98038f20aa062772267b640a18d79
      size: 3
      nfiles: 2
    params:
      params.yaml:
        gate:
          hold: []
        seed: 0
    outs:
    - path: build/gate
      hash: md5
      md5: 1e8fa1d2b8e4d3c06f16b5d2f9e4ac01.dir
  train:
    cmd: python -m stages.train
"""


def test_a_lock_that_was_cut_off_anywhere_is_one_that_dvc_reads_or_is_not_taken_for_one(
    tmp_path: Path,
) -> None:
    path, taken = tmp_path / "dvc.lock", 0
    for length in range(len(LOCK) + 1):
        path.write_text(LOCK[:length])
        if is_lock(path):
            COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(LOCK[:length]))
            taken += 1
    assert is_lock(path)
    assert taken > 100
    assert is_lock(tmp_path / "none")


@pytest.fixture
def broken(tmp_path: Path) -> Project:
    """A project whose dvc.lock and list of readers and writers were cut off."""
    for name, text in {".dvc/tmp/rwlock": "", "dvc.lock": LOCK}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    for words in (("init", "-q"), ("add", "dvc.lock"), (*who, "commit", "-qm", "Round 1")):
        git(tmp_path, *words)
    (tmp_path / "dvc.lock").write_text(LOCK[:250])
    return Project(tmp_path)


def test_a_close_takes_a_broken_lock_from_git_and_forgets_who_was_at_work(broken: Project) -> None:
    with exclusive(broken.root, wait=False):
        assert (broken.root / "dvc.lock").read_text() == LOCK
        assert not (broken.root / ".dvc" / "tmp" / "rwlock").exists()


def test_a_broken_lock_is_left_alone_while_a_dvc_is_at_work(
    broken: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    busy: Callable[[str, Path], bool] = lambda name, _root: not asked.append(name)  # noqa: E731 - a stand-in
    monkeypatch.setattr("rounds.lock.at_work", busy)
    with exclusive(broken.root, wait=False):
        assert (broken.root / "dvc.lock").read_text() == LOCK[:250]
    assert asked == ["dvc"]


def test_locks_of_git_that_died_with_a_writer_are_removed_whatever_the_clock_says(
    broken: Project,
) -> None:
    journal, index = (
        broken.root / ".dvc" / "tmp" / "rounds.lock",
        broken.root / ".git" / "index.lock",
    )
    journal.write_text("999999999 close")
    index.touch()
    os.utime(index, (0, 0))  # the clock went back after the writer had begun
    with exclusive(broken.root, wait=True):
        assert not index.exists()
