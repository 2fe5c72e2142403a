"""Labelling projects to test on: small ones made here, and the shared real data where it is
present.
"""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from rounds.init import CARRIED, carry, fill_in
from stages.contract.canonical import sha256
from tests.params_read import only

ROOT = Path(__file__).parent.parent
ORDER = (
    "featurize",
    "clean_seed",
    "import_labels",
    "gate",
    "train",
    "calibrate",
    "query",
    "export_prodigy",
    "validate",
    "package",
)
Rows = Sequence[Sequence[object]]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("LABELROUNDS_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data sets at {folder}: set LABELROUNDS_DATA to their folder")
    return folder


def write_csv(path: Path, header: Sequence[str], rows: Rows) -> Path:
    """A CSV file of some rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def blobs(count: int, draw: int = 0, classes: int = 3) -> list[tuple[str, str, str, str]]:
    """Rows of (id, x, y, class): points around `classes` centres, overlapping a little."""
    rng = np.random.default_rng(draw)
    names = ["red", "green", "blue", "grey"][:classes]
    rows = []
    for number in range(count):
        place = int(rng.integers(classes))
        angle = 2 * np.pi * place / classes
        x, y = 2 * np.cos(angle) + rng.normal(), 2 * np.sin(angle) + rng.normal()
        rows.append((f"r-{number:03d}", f"{x:.4f}", f"{y:.4f}", names[place]))
    return rows


class Small:
    """A small numeric project on disk: 120 pool rows, 18 seed rows, 60 test rows, three classes.

    The labelled tables have their columns in another order than the pool, and one that it lacks.
    """

    labels = ("red", "green", "blue")

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows = blobs(198)
        carry(root, CARRIED)
        self.write("pool", [row[:3] for row in self.rows[78:]], label=False)
        self.write("seed", self.rows[:18])
        self.write("test", self.rows[18:78])
        write_csv(root / "oracle.csv", ["id", "label"], [(row[0], row[3]) for row in self.rows])
        self.set(
            {
                ("labels",): list(self.labels),
                ("data", "pool"): "data/pool.csv",
                ("data", "seed"): "data/seed.csv",
                ("data", "test"): "data/test.csv",
                ("data", "image"): "",
                ("features", "kind"): "numeric",
                ("query", "batch_size"): 10,
                ("query", "control_fraction"): 0.3,
            }
        )

    def write(self, name: str, rows: Rows, *, label: bool = True) -> Path:
        """Write one of the three tables, of rows (id, x, y) or (id, x, y, label)."""
        path = self.root / "data" / f"{name}.csv"
        if not label:
            return write_csv(path, ["id", "x", "y"], rows)
        with_age = [(row[3], n % 7, row[2], row[0], row[1]) for n, row in enumerate(rows)]
        return write_csv(path, ["label", "age", "y", "id", "x"], with_age)

    def set(self, changes: dict[tuple[str, ...], Any]) -> None:
        """Change params."""
        fill_in(self.root / "params.yaml", changes)

    def run(self, *names: str) -> None:
        """Run stages in this process, as dvc.yaml would, in the project's folder."""
        document = YAML(typ="safe")
        params = document.load(self.root / "params.yaml")
        stages = document.load(self.root / "dvc.yaml")["stages"]
        before = Path.cwd()
        os.chdir(self.root)
        try:
            for name in names or ORDER:
                words = shlex.split(stages[name]["cmd"])[3:]
                words = [
                    params[w[2:-1].split(".")[0]][w[2:-1].split(".")[1]] if w[:2] == "${" else w
                    for w in words
                ]
                main = import_module(f"stages.{name}").main
                with only(stages[name]["params"]):
                    main.main(words, standalone_mode=False)
        finally:
            os.chdir(before)

    def bytes_of(self, *folders: str) -> dict[str, str]:
        """The hash of every file under some folders."""
        files = (
            file
            for folder in folders
            for file in sorted((self.root / folder).rglob("*"))
            if file.is_file()
        )
        return {file.relative_to(self.root).as_posix(): sha256(file.read_bytes()) for file in files}


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """A small numeric project, no stage run yet."""
    return Small(tmp_path / "small")


@pytest.fixture
def make_small(tmp_path: Path) -> Callable[[str], Small]:
    """Several small projects side by side."""
    return lambda name: Small(tmp_path / name)


def shell(cwd: Path, *words: str, **environment: str) -> str:
    """What a command prints, stderr included; it must end with exit 0."""
    here = str(Path(sys.executable).parent)
    env = {**os.environ, **environment, "PATH": here + os.pathsep + os.environ["PATH"]}
    env.pop("PYTHONPATH", None)
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def rounds(cwd: Path, *words: str, **environment: str) -> str:
    """What the `rounds` command prints."""
    return shell(cwd, sys.executable, "-m", "rounds", *words, **environment)


def dvc(cwd: Path, *words: str, **environment: str) -> str:
    """What the `dvc` command prints."""
    return shell(cwd, sys.executable, "-m", "dvc", *words, **environment)
