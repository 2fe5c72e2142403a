"""`rounds --version` says which code runs, installed or not."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from rounds import shipped
from rounds.__main__ import cli


def said(folder: Path, monkeypatch: pytest.MonkeyPatch, installed: str | None) -> str:
    """What --version says of code in a folder, with a version, or none, installed."""

    def installed_version(name: str) -> str:
        if installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(shipped.metadata, "version", installed_version)
    monkeypatch.setattr(shipped, "__file__", str(folder / "rounds" / "shipped.py"))
    done = CliRunner().invoke(cli, ["--version"])
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.parametrize(
    ("pyproject", "installed", "version"),
    [
        ('[project]\nname = "labelrounds"\nversion = "1.2"\n', "0.9", "1.2"),
        ('[project]\nname = "shop"\nversion = "7"\n', "0.9", "0.9"),
        ("[tool.ruff]\n", None, "unknown"),
        (None, "0.9", "0.9"),
        (None, None, "unknown"),
    ],
)
def test_the_version_is_that_of_the_code_that_runs(
    pyproject: str | None,
    installed: str | None,
    version: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if pyproject is not None:
        (tmp_path / "pyproject.toml").write_text(pyproject)
    assert said(tmp_path, monkeypatch, installed) == f"rounds, version {version}\n"
