"""`python -m handbook.screenshots`: the pictures of the tutorial, taken of the real page.

It makes the tutorial's project in a temporary folder, closes three rounds with known answers, and
looks at the report and the next batch with Chromium. docs/images/made_of.json holds the hash of the
page's code at that time, so that a test can say when pictures are older than what they show.
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
CODE = {  # picture -> the files that decide what it shows
    "tutorial-page.png": ("rounds/surfaces/static/page.*",),
    "tutorial-report.png": ("rounds/templates/report.html", "rounds/templates/page.css"),
}
PERSON = {
    f"GIT_{who}_{what}": "Ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
WIDTH = 1100  # pixels of the window
HEIGHT = 760


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
def served(project: Path) -> Iterator[str]:
    """The address of the page that serves the project's batch."""
    command = [sys.executable, "-m", "rounds", "annotate", "--port", "0"]
    server = subprocess.Popen(
        command, cwd=project, env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    try:
        found = (re.search(r"http://127\.0\.0\.1:\d+/", line) for line in server.stderr)
        yield next(match[0] for match in found if match)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


def shoot_page(browser: Any, address: str) -> None:
    """The page with three questions answered and the label of the fourth chosen."""
    with (TUTORIAL / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = {row["question"]: row["intent"] for row in csv.DictReader(file)}
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.goto(f"{address}?session=ada")
    for number in range(1, 5):
        page.get_by_role("heading", name=f"Item {number}", exact=True).wait_for()
        shown = page.locator("main").inner_text()
        (label,) = {intent for question, intent in truth.items() if question in shown.split("\n")}
        page.get_by_role("radio", name=label).check()
        if number < 4:
            page.keyboard.press("a")
    page.screenshot(path=IMAGES / "tutorial-page.png")


def main() -> None:
    """Make project, pictures, and the note of what they were made of."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as tools:
        home = Path(folder)
        shutil.copy(TUTORIAL / "questions.csv", home)
        rounds(
            home, "init", "shop", "--data", "questions.csv", "--text", "question",
            "--label", "intent",
        )  # fmt: skip
        shop = home / "shop"
        rounds(shop, "close")
        for _ in range(3):
            rounds(shop, "annotate", "--oracle", str(TUTORIAL / "truth.csv"))
            rounds(shop, "close")
        rounds(shop, "report")
        browser = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with served(shop) as address:
            shoot_page(browser, address)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto((shop / "report.html").as_uri())
        page.screenshot(path=IMAGES / "tutorial-report.png")
        browser.close()
    notes = {name: code_hash(patterns) for name, patterns in CODE.items()}
    MADE_OF.write_text(json.dumps(notes, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
