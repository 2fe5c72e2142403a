"""A labelling project whose stages run inside the test process: real git, the real stages, DVC
played by 60 lines.

What DVC does here (run what changed, remove outs first, write dvc.lock) is checked against the real
one in tests/faults, where `rounds verify` reads the real dvc.lock.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

from ruamel.yaml import YAML

from rounds.close import close
from rounds.commands import git
from rounds.dvc_files import filled, folder_md5, md5, param
from rounds.project import Project
from stages.contract.canonical import Row, dumps
from stages.contract.errors import PipelineError
from tests.faults.lives import make_project
from tests.params_read import only

Hook = Callable[[str], None]


class Stages:
    """Stands in for rounds.commands.Dvc. `hooks` are called with the name of every stage before it
    runs.
    """

    hooks: ClassVar[list[Hook]] = []

    def __init__(self, root: Path, _say: Callable[[str], None]) -> None:
        self.root = root

    def start(self) -> None:
        pass

    def end(self) -> None:
        pass

    def is_current(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, *words: str) -> None:
        if words[0] != "repro":
            return
        with contextlib.chdir(self.root):
            lock = read_yaml("dvc.lock")["stages"] if Path("dvc.lock").is_file() else {}
            params = read_yaml("params.yaml")
            for name, stage in read_yaml("dvc.yaml")["stages"].items():
                if "--single-item" not in words or name in words:
                    lock[name] = run_stage(
                        name, stage, params, lock.get(name), force="--force" in words
                    )
                if name in words:
                    break  # a named stage and, in the order of the file, those before it
            unshared = json.loads(json.dumps({"schema": "2.0", "stages": lock}))  # no YAML anchors
            with Path("dvc.lock").open("w") as file:
                YAML().dump(unshared, file)


def read_yaml(path: str) -> Row:
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(Path(path))))


def content(path: str) -> str | None:
    place = Path(path)
    if place.is_dir():
        files = (
            file for file in place.rglob("*") if file.is_file() and "__pycache__" not in file.parts
        )
        hashes = {
            file.relative_to(place).as_posix(): md5(file.read_bytes())
            for file in files
            if file.suffix != ".tmp"
        }
        return folder_md5(hashes)
    return md5(place.read_bytes()) if place.is_file() else None


def run_stage(name: str, stage: Row, params: Row, before: Row | None, *, force: bool) -> Row:
    deps = [filled(path, params) for path in stage["deps"]]
    keys = [
        next(iter(out)) if isinstance(out, dict) else out
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
    ]
    entry = {
        "cmd": " ".join(filled(stage["cmd"], params).split()),
        "deps": [{"path": path, "md5": content(path)} for path in deps],
        "params": {"params.yaml": {key: param(params, key) for key in stage.get("params", [])}},
    }
    same = before and all(before[key] == value for key, value in entry.items())
    if (
        same
        and not force
        and before["outs"] == [{"path": key, "hash": "md5", "md5": content(key)} for key in keys]
    ):
        return before
    for hook in Stages.hooks:
        hook(name)
    for key in keys:
        shutil.rmtree(key) if Path(key).is_dir() else Path(key).unlink(missing_ok=True)
    words = shlex.split(entry["cmd"])
    told = io.StringIO()
    with contextlib.redirect_stderr(told), only(stage.get("params", [])):
        try:
            import_module(words[2]).main(words[3:], standalone_mode=False)
        except SystemExit as error:
            line = next(line for line in told.getvalue().splitlines() if line.startswith("error: "))
            raise PipelineError(name, line, "see above") from error
    entry["deps"] = [
        {"path": path, "md5": content(path)} for path in deps
    ]  # as DVC does: after the run
    return {**entry, "outs": [{"path": key, "hash": "md5", "md5": content(key)} for key in keys]}


def said_by(who: str, task: Row, label: str | None = "") -> Row:
    """One answer; without a label the true one, the parity of the id's number; None: a skip."""
    item = task["al_id"]
    said = "ab"[int(item[-4:]) % 2] if label == "" else label
    kind = (
        {"answer": "ignore", "accept": []}
        if said is None
        else {"answer": "accept", "accept": [said]}
    )
    facts = {
        "al_id": item,
        "al_batch": task["al_batch"],
        "options": [],
        "_annotator_id": f"t-{who}",
        **kind,
    }
    return {**facts, "al_dataset": "t"}


def answer(
    project: Project,
    who: str = "ann",
    label: Callable[[str], str | None] | None = None,
    only: int | None = None,
) -> Path:
    """Answer the newest batch, appending to one file per person; by default with the true
    labels.
    """
    newest = project.last_round()
    rows = []
    for task in newest.tasks()[:only]:
        row = said_by(who, task, label(task["al_id"])) if label else said_by(who, task)
        rows.append({**row, "_timestamp": newest.number * 1000 + task["rank"]})
    path = newest.answers / f"{who}.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.writelines(dumps(row) + "\n" for row in rows)
    return path


def closed(project: Project, **options: Any) -> str:
    """`rounds close`, with its options by name."""
    return close(project, **{"partial": False, "push": False, **options}, say=lambda _: None)


def committed(project: Project, subject: str = "by hand") -> None:
    git(project.root, "add", "--all")
    git(project.root, "commit", "--quiet", "--allow-empty", "-m", subject)


def log(project: Project) -> list[str]:
    return git(project.root, "log", "--format=%s").splitlines()


def rounds_command(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    """A `rounds` command as a person types it."""
    return subprocess.run(
        [sys.executable, "-m", "rounds", *words],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
    )


def new_project(folder: Path, rounds: int) -> Project:
    """A project with some closed rounds and the next one open."""
    project = Project(make_project(folder).resolve())
    closed(project)
    for _ in range(rounds):
        answer(project)
        closed(project)
    return project
