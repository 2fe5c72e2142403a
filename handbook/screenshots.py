"""`python -m handbook.screenshots`: the pictures of the docs, taken of the real pages.

It makes the tutorial's project in a temporary folder, closes three rounds with known answers, and
looks at the report, the next batch and its owner's view with Chromium. The page in other states is
shot by the tests that bring it there (tests/surfaces/test_page_in_chromium.py).
docs/images/made_of.json holds the hash of the pages' code at that time, so that a test can say when
pictures are older than what they show.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
MADE_OF = IMAGES / "made_of.json"
TUTORIAL = ROOT / "docs" / "tutorial"
PAGE = ("rounds/surfaces/static/page.*",)
REPORT = ("rounds/templates/report.html", "rounds/templates/page.css")
BY_TESTS = {  # shot by tests whose names have one of these words
    "page-light.png": PAGE,
    "page-dark-phone.png": PAGE,
    "page-choosing.png": PAGE,
}
SHOOTING = "accessibility_checker_finds_nothing or next_batch_comes_by_itself"
CODE = {  # picture -> the files that decide what it shows
    "tutorial-page.png": PAGE,
    "tutorial-report.png": REPORT,
    "owner.png": ("rounds/surfaces/static/owner.*",),
    **BY_TESTS,
}
PERSON = {
    f"GIT_{who}_{what}": "Ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
WIDTH = 1100  # pixels of the window
HEIGHT = 760
CARD_HEIGHT = 430  # below it the page of a short text is empty


def code_hash(patterns: tuple[str, ...]) -> str:
    """The hash of the files that decide what a picture shows."""
    files = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    return sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def rounds(folder: Path, *words: str) -> None:
    """Run a `rounds` command of this checkout in a folder."""
    command = [sys.executable, "-m", "rounds", *words]
    subprocess.run(command, cwd=folder, env=environment(), check=True)


def environment() -> dict[str, str]:
    """The environment, with this checkout's code and somebody to commit as."""
    return {**os.environ, **PERSON, "PYTHONPATH": str(ROOT)}


@contextmanager
def served(project: Path) -> Iterator[tuple[str, str]]:
    """The address of the page that serves the project's batch, and that of its owner's view."""
    command = [sys.executable, "-m", "rounds", "annotate", "--port", "0"]
    server = subprocess.Popen(
        command, cwd=project, env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    try:
        addresses = (re.search(r"http://127\.0\.0\.1:\d+/\S*", line) for line in server.stderr)
        printed = (match[0] for match in addresses if match)
        yield next(printed), next(printed)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


def shoot_page(browser: Any, address: str) -> None:
    """The page with three questions answered and the label of the fourth chosen."""
    with (TUTORIAL / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = {row["question"]: row["intent"] for row in csv.DictReader(file)}
    page = browser.new_page(viewport={"width": WIDTH, "height": CARD_HEIGHT})
    page.goto(f"{address}?session=ada")
    for number in range(1, 5):
        page.get_by_role("heading", name=f"Item {number}", exact=True).wait_for()
        shown = page.locator("main").inner_text()
        (label,) = {intent for question, intent in truth.items() if question in shown.split("\n")}
        page.get_by_role("radio", name=label).check()
        if number < 4:
            page.keyboard.press("a")
    page.screenshot(path=IMAGES / "tutorial-page.png")


def shoot_owner(browser: Any, address: str) -> None:
    """What the owner sees meanwhile."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.goto(address)
    page.get_by_role("heading", name="Summary").wait_for()
    page.screenshot(path=IMAGES / "owner.png")


def shoot_report(browser: Any, project: Path) -> None:
    """The top of a project's report."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.goto((project / "report.html").as_uri())
    page.screenshot(path=IMAGES / "tutorial-report.png")


def tutorial_project(home: Path) -> Path:
    """The tutorial's project after three closed rounds, the next batch open."""
    shutil.copy(TUTORIAL / "questions.csv", home)
    words = "--data questions.csv --text question --label intent"
    rounds(home, "init", "shop", *words.split())
    shop = home / "shop"
    rounds(shop, "close")
    for _ in range(3):
        rounds(shop, "annotate", "--oracle", str(TUTORIAL / "truth.csv"))
        rounds(shop, "close")
    rounds(shop, "report")
    return shop


def shoot_in_tests(folder: Path) -> None:
    """The pictures that tests take on their way, those of BY_TESTS kept."""
    words = ["-n", "0", "-k", SHOOTING, "tests/surfaces/test_page_in_chromium.py"]
    settings = {**os.environ, "LABELROUNDS_SCREENSHOTS": str(folder)}
    subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, env=settings, check=True)
    for name in BY_TESTS:
        shutil.copyfile(folder / name, IMAGES / name)


def main() -> None:
    """Make projects, pictures, and the note of what they were made of."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shoot_in_tests(home)
        shop = tutorial_project(home)
        with sync_playwright() as tools:
            browser = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            shoot_report(browser, shop)
            with served(shop) as (address, owner):
                shoot_page(browser, address)
                shoot_owner(browser, owner)
            browser.close()
    notes = {name: code_hash(patterns) for name, patterns in CODE.items()}
    MADE_OF.write_text(json.dumps(notes, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
