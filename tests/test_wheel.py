"""The wheel alone, without the clone: installed in a fresh environment, it makes and runs projects.

Needs a package index; the browser's part needs Chromium and Playwright; uvx and pipx are tried
where they are on the PATH (`requirements-dev.lock` has both).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import blobs, write_csv

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
IDENTITY = {
    f"GIT_{who}_{what}": f"{who.lower()}@example.org"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}
ROUNDS = 3

pytestmark = pytest.mark.slow


def run(folder: Path, *words: str | Path) -> str:
    """What a command prints, in an environment that knows nothing of this checkout."""
    done = subprocess.run(
        list(map(str, words)), cwd=folder, env=clean(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def clean() -> dict[str, str]:
    """The environment without Python's own settings, and with somebody to commit as."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    kept.pop("VIRTUAL_ENV", None)
    return {**kept, **IDENTITY}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy of the files that git knows, so that nothing else slips in."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("dist")
    python = tmp_path_factory.mktemp("builder")
    run(python, sys.executable, "-m", "venv", python)
    run(source, python / "bin/pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source)
    (built,) = out.glob("labelrounds-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment that pip installed the wheel into."""
    folder = tmp_path_factory.mktemp("fresh")
    run(folder, sys.executable, "-m", "venv", folder)
    run(folder, folder / "bin/pip", "install", "--quiet", wheel)
    return folder / "bin"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A folder with tables of questions; a question names its intent, so that anybody can tell."""
    rows = [
        (f"q{n:03d}", f"a {label} thing, {x} by {y}", label)
        for n, (_, x, y, label) in enumerate(blobs(260))
    ]
    write_csv(tmp_path / "seed.csv", ["id", "question", "intent"], rows[:20])
    write_csv(tmp_path / "test.csv", ["id", "question", "intent"], rows[20:60])
    write_csv(tmp_path / "pool.csv", ["id", "question"], [row[:2] for row in rows[60:]])
    return tmp_path


@contextmanager
def annotating(rounds: Path, project: Path, *words: str) -> Iterator[str]:
    """The address of the page that the installed command serves."""
    server = subprocess.Popen(
        [str(rounds), "annotate", "--port", "0", *words],
        cwd=project, env=clean(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stderr is not None
        address = next(
            match[0]
            for line in server.stderr
            if (match := re.search(r"http://127\.0\.0\.1:\d+/", line))
        )
        yield address
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


def label(page: Any, rows: int) -> None:
    """Answer so many cards as a person would: read the question, press the label's number."""
    from playwright.sync_api import expect

    for _ in range(rows):
        heading = page.get_by_role("heading", level=2, name=re.compile(r"^Item \d+$"))
        expect(heading).to_be_visible(timeout=300_000)
        number = heading.inner_text()
        text = page.locator("main").inner_text()
        word = re.search(r"a (red|green|blue) thing", text)
        assert word, text
        page.get_by_role("radio", name=word[1]).press("Space")
        page.keyboard.press("a")
        expect(page.get_by_role("heading", name=number, exact=True)).to_be_hidden()


def test_the_wheel_alone_runs_a_demo(installed: Path, tmp_path: Path) -> None:
    said = run(tmp_path, installed / "rounds", "demo", "demo", "--rounds", "1")
    assert "Active learning reached" in said or "next:" in said
    assert "0.1.0" in run(tmp_path, installed / "rounds", "--version")
    assert (tmp_path / "demo" / "data/rounds/001/asked.jsonl").is_file()
    assert (tmp_path / "demo" / "AGENTS.md").is_file()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_project_of_ones_own_goes_three_rounds_in_the_browser_then_predicts_and_finishes(
    installed: Path, tables: Path
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    rounds = installed / "rounds"
    words = "--pool pool.csv --seed seed.csv --test test.csv --text question --label intent"
    run(tables, rounds, "init", "shop", *words.split())
    project = tables / "shop"
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    text = re.sub(r"batch_size: \d+", "batch_size: 8", text)
    text = re.sub(r"control_fraction: [\d.]+", "control_fraction: 0.5", text)
    params.write_text(text, encoding="utf-8")
    run(project, "git", "commit", "--quiet", "--all", "--message", "Small batches")
    run(project, rounds, "close")
    with (
        annotating(rounds, project, "--keep-going", "--rounds", str(ROUNDS)) as address,
        playwright.sync_playwright() as tools,
    ):
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{address}?session=ana")
        label(page, 8 * ROUNDS)
        last = page.get_by_role("heading", name=re.compile("the last batch"))
        playwright.expect(last).to_be_visible(timeout=300_000)
        browser.close()
    assert f"log: {ROUNDS + 1} closed rounds" in run(project, rounds, "log")  # the seed's is one
    run(tables, "cp", "test.csv", "new.csv")
    run(project, rounds, "predict", "../new.csv", "--out", "../labelled.csv")
    assert len((tables / "labelled.csv").read_text().splitlines()) == 41
    assert "the machine labels" in run(
        project, rounds, "finish", "--error", ".3", "--confidence", ".8"
    )
    run(project, rounds, "verify")


@pytest.mark.parametrize("tool", ["uvx", "pipx"])
def test_a_tool_that_installs_commands_runs_a_project_from_anywhere(
    tool: str, wheel: Path, tables: Path
) -> None:
    found = shutil.which(tool) or shutil.which(tool, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{tool} is not installed (requirements-dev.lock)")
    source = {"uvx": ["--from", str(wheel)], "pipx": ["run", "--spec", str(wheel)]}[tool]
    start = [found, *source, "rounds"]
    words = "--pool pool.csv --seed seed.csv --text question --label intent"
    run(tables, *start, "init", "shop", *words.split())
    assert "next" in run(tables / "shop", *start, "status")
