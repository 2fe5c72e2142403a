"""A command whose reader leaves, as in `rounds inspect … | head -1`, does all that it was asked to
do.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, blobs, write_csv


def unread(cwd: Path, *words: str, both: bool = False) -> subprocess.CompletedProcess[str]:
    """A `rounds` command whose standard output (`both`: and errors) nobody reads: the pipe's other
    end is closed.
    """
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        return subprocess.run(
            [sys.executable, "-m", "rounds", *words], cwd=cwd, env=environment, text=True, check=False,
            stdout=writer, stderr=writer if both else subprocess.PIPE,
        )  # fmt: skip
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    ("limit", "code", "both"), [("1", 0, False), ("1", 0, True), ("0", 1, False)]
)
def test_inspect_into_a_closed_pipe_writes_its_file_and_keeps_its_exit_code(
    tmp_path: Path, limit: str, code: int, *, both: bool
) -> None:
    rows = [
        [x, y, "red" if at == 0 else label]
        for at, (_, x, y, label) in enumerate(blobs(60, classes=2))
    ]
    table = write_csv(tmp_path / "table.csv", ["x", "y", "label"], rows)
    words = ("inspect", table.name, "--label", "label", "--features", "all", "--out", "doubts.csv")
    done = unread(tmp_path, *words, "--fail-over", limit, both=both)
    assert done.returncode == code
    if not both:
        last = (
            f"error: {table.name}: "
            if code
            else f"inspect: {table.name}: ranked labels in doubts.csv"
        )
        assert done.stderr.splitlines()[-1].startswith(last)
        assert "Traceback" not in done.stderr
        assert "Broken pipe" not in done.stderr
    with (tmp_path / "doubts.csv").open(encoding="utf-8", newline="") as file:
        assert sorted(int(row["line"]) for row in csv.DictReader(file)) == list(range(2, 62))


def test_help_into_a_closed_pipe_is_no_failure(tmp_path: Path) -> None:
    done = unread(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
