"""A person's round in a real browser: by keyboard alone, with company, through reloads and crashes.

Needs Debian's `chromium` and Playwright (extra `browser`), and npm for the accessibility checker;
skips without. LABELROUNDS_SCREENSHOTS=docs/images makes the pictures of the documentation anew.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rounds.init import fill_in, init
from rounds.project import Project
from rounds.roles import Choices
from stages.answers import prodigy
from stages.contract.canonical import Row, numbered_rows
from tests.conftest import write_csv
from tests.faults.going_on import closed_by_hand
from tests.faults.lives import ENVIRONMENT, outcome, run
from tests.surfaces.conftest import MakeProject

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed (extra `browser`)"
)
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"
    ),
]
AXE = "axe-core@4.14.1"
ROOT = Path(__file__).resolve().parents[2]
DIGITS = [str(digit) for digit in range(10)]
# settle() runs when the line is on the disk and the response is not yet sent: the worst moment to
# die in
DIES_ONCE_SAVED = """
import os, signal
from rounds.surfaces.desk import Desk
Desk.settle = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
# A close that takes until a pipe is written to, and brings round 2
CHOOSES_WHEN_TOLD = """
import rounds.keep_going
from pathlib import Path
from tests.surfaces.conftest import committed, text_tasks, write_round

def close(project, **_):
    Path("go").read_text()
    write_round(project.root, 2, text_tasks(["vier", "five"], batch="b2"), "b2")
    committed(project.root)
    return "Round 1: three labels"

rounds.keep_going.close = close
"""


class Server:
    """`rounds annotate` in a process of its own, on one port through all its lives."""

    def __init__(self, project: Project, *words: str, first: str = "") -> None:
        self._root, self._port, self._words = project.root, "0", words
        self.start(first)

    def start(self, first: str = "") -> None:
        words = ["--port", self._port, *self._words]
        code = f"{first}\nfrom rounds.annotate import command\ncommand({words})"
        # as a shell starts it in the background: deaf to Ctrl-C, until it says otherwise
        deaf = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
        self._process = subprocess.Popen(
            [*deaf, sys.executable, "-c", code],
            cwd=self._root,
            env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        told = self.wait_for(r"http://127\.0\.0\.1:(\d+)/")
        self.url, self._port = told[0], told[1]

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in a line that it says from now on."""
        assert self._process.stderr is not None
        said: list[str] = []
        for line in self._process.stderr:
            if found := re.search(pattern, line):
                return found
            said.append(line)
        raise AssertionError("".join(said))

    def stand_still(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def wait(self) -> None:
        self._process.wait(timeout=20)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def interrupt(self) -> str:
        """Ctrl-C; what it says last."""
        self._process.send_signal(signal.SIGINT)
        said: str = self._process.communicate(timeout=20)[1]
        return said.splitlines()[-1]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def serve() -> Iterator[Any]:
    servers = []

    def start(project: Project, *words: str, first: str = "") -> Server:
        servers.append(Server(project, *words, first=first))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config) -> str:
    """The source of the accessibility checker, fetched from npm once by each worker.

    Two npm that install into one folder at once remove each other's files.
    """
    name = f"axe-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    folder = (
        Path(pytestconfig.cache.mkdir(name)) if pytestconfig.cache else Path(".pytest_cache", name)
    )
    file = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not file.is_file():
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), AXE]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"{AXE} cannot be fetched from npm: {error}")
    return file.read_text(encoding="utf-8")


def open_page(chromium: Any, url: str, **options: Any) -> Any:
    """A fresh browser profile on `url`; a script error or a policy violation fails the test at the
    next `calm`.
    """
    page = chromium.new_context(**options).new_page()
    page.set_default_timeout(15_000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page.faults.append(line.text))
    page.on("dialog", lambda dialog: page.faults.append(dialog.message))
    page.goto(url)
    return page


def item(page: Any, number: int) -> None:
    """Wait for a card."""
    playwright.expect(
        page.get_by_role("heading", level=2, name=f"Item {number}", exact=True)
    ).to_be_visible()


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core finds wrong by WCAG 2.2 A and AA and by its best practices."""
    page.evaluate(axe)
    found = page.evaluate("axe.run().then((result) => result.violations)")
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


def standing(project: Project) -> list[tuple[str | None, str, str, str | None]]:
    """(id, annotator, kind, label) of every standing answer."""
    rows = [
        (prodigy.read_answer(row), (path.name, line))
        for path in project.last_round().answer_files()
        for line, row in numbered_rows(path)
    ]
    return [(a.id, a.annotator, a.kind, a.label) for a, _ in prodigy.keep_last(rows)]


def digit_tasks(count: int) -> list[Row]:
    """scikit-learn's digits as pictures."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    tasks = []
    for n, pixels in enumerate(load_digits().images[:count]):
        file = io.BytesIO()
        Image.fromarray((255 - pixels * 15.9).astype(np.uint8)).save(file, "PNG")
        uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        tasks.append(
            prodigy.task(
                {"image": uri}, DIGITS, al_id=f"d-{n}", batch_id="b1", rank=n + 1, score=0.5
            )
        )
    return tasks


def shoot(page: Any, name: str) -> None:
    """A picture for the documentation, when it is asked for."""
    if folder := os.environ.get("LABELROUNDS_SCREENSHOTS"):
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=ROOT / folder / f"{name}.png")


def test_a_person_labels_a_whole_round_of_digits_by_keyboard_alone(
    make_project: MakeProject, serve: Any, chromium: Any
) -> None:
    project = make_project(tasks=digit_tasks(12), labels=DIGITS)
    server = serve(project)
    page = open_page(chromium, server.url)
    press(page, "Tab", *"Ana", "Enter")
    for n in range(12):
        item(page, n + 1)
        press(page, str(n % 10), "a")  # the first ten pictures are 0 to 9, then 0, 1
    playwright.expect(page.get_by_text("The batch is done")).to_be_visible()
    playwright.expect(page.get_by_text("rounds close")).to_be_visible()
    assert standing(project) == sorted((f"d-{n}", "ana", "label", str(n % 10)) for n in range(12))
    assert page.faults == []
    assert (
        server.interrupt() == "annotate: 12 of 12 items are labelled (ana 12); next: rounds close"
    )


def test_skip_reject_flag_undo_and_a_change_in_the_history_by_keyboard_alone(
    make_project: MakeProject, serve: Any, chromium: Any
) -> None:
    project = make_project(["one", "two", "three", "four"])
    page = open_page(chromium, serve(project).url + "?session=ana")
    item(page, 1)
    press(page, "a")
    playwright.expect(page.get_by_role("alert")).to_have_text("Choose a label first.")
    press(page, "1", "Enter")
    item(page, 2)
    press(page, "Space")
    item(page, 3)
    press(page, "x")
    item(page, 4)
    press(page, "Control+s", "Backspace")
    item(page, 3)
    press(page, "Backspace")
    item(page, 2)
    press(page, "f", "2", "a")
    item(page, 3)
    press(page, "3", "a")
    item(page, 4)
    first = page.get_by_role("button", name="Change item 1, answered positive")
    first.focus()
    press(page, "Enter")
    playwright.expect(page.get_by_role("heading", name="Change item 1")).to_be_focused()
    playwright.expect(page.get_by_role("radio", name="positive")).to_be_checked()
    press(page, "Escape")
    item(page, 4)
    first.focus()
    press(page, "Enter")
    playwright.expect(page.get_by_role("heading", name="Change item 1")).to_be_focused()
    press(page, "3", "a")
    item(page, 4)
    assert standing(project) == [
        ("p-0", "ana", "label", "neutral"),
        ("p-1", "ana", "label", "negative"),
        ("p-2", "ana", "label", "neutral"),
    ]
    flagged = [
        row["al_id"]
        for _, row in numbered_rows(project.last_round().answer_files()[0])
        if "flagged" in row
    ]
    assert flagged == ["p-1"]
    assert page.faults == []


@pytest.mark.slow
def test_two_annotators_at_once_share_the_batch(
    make_project: MakeProject, serve: Any, chromium: Any
) -> None:
    project = make_project([str(n) for n in range(5)])
    url = serve(project).url
    ana, bo = (open_page(chromium, f"{url}?session={name}") for name in ("ana", "bo"))
    item(ana, 1)
    item(bo, 2)
    press(ana, "1", "a")
    item(ana, 3)
    press(bo, "2", "a")
    item(bo, 4)
    press(ana, "1", "a")
    item(ana, 5)
    press(bo, "2", "a")
    playwright.expect(bo.get_by_text("Nothing left for you at the moment")).to_be_visible()
    press(ana, "1", "a")
    playwright.expect(ana.get_by_text("The batch is done")).to_be_visible()
    said = [(name, label) for _, name, _, label in standing(project)]
    assert said == [("ana", "positive"), ("bo", "negative")] * 2 + [("ana", "positive")]


@pytest.mark.slow
def test_a_second_tab_of_one_session_cannot_answer_twice(
    make_project: MakeProject, serve: Any, chromium: Any
) -> None:
    project = make_project()
    one = open_page(chromium, serve(project).url + "?session=ana")
    item(one, 1)
    two = one.context.new_page()
    two.goto(one.url)
    item(two, 1)
    press(one, "1", "a")
    item(one, 2)
    press(two, "2", "a")
    playwright.expect(two.get_by_role("alert")).to_have_text(re.compile("answered meanwhile"))
    item(two, 2)
    assert standing(project) == [("p-0", "ana", "label", "positive")]


def test_a_reload_in_the_middle_shows_the_same_card(
    make_project: MakeProject, serve: Any, chromium: Any
) -> None:
    page = open_page(chromium, serve(make_project()).url + "?session=ana")
    item(page, 1)
    press(page, "1", "a")
    item(page, 2)
    page.reload()
    item(page, 2)
    playwright.expect(page.get_by_text("1 of 3")).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", ["before the answer is saved", "after it is saved and before it is acknowledged"]
)
def test_killed_between_click_and_response_the_answer_is_there_once_after_the_restart(
    make_project: MakeProject, serve: Any, chromium: Any, moment: str
) -> None:
    project = make_project()
    server = serve(project)
    if moment.startswith("after"):
        server.kill()
        server.start(DIES_ONCE_SAVED)
    page = open_page(chromium, server.url + "?session=ana")
    item(page, 1)
    page.get_by_role("radio", name="negative").check()
    if moment.startswith("after"):
        page.get_by_role("button", name="Accept").click()
        server.wait()
    else:
        server.stand_still()
        page.get_by_role("button", name="Accept").click()
        server.kill()
    playwright.expect(page.get_by_role("alert")).to_have_text(re.compile("Not saved yet"))
    item(page, 1)
    server.start()
    item(page, 2)
    press(page, "1", "a")
    item(page, 3)
    rows = [row for path in project.last_round().answer_files() for _, row in numbered_rows(path)]
    assert [(row["al_id"], row["accept"]) for row in rows] == [
        ("p-0", ["negative"]),
        ("p-1", ["positive"]),
    ]


@pytest.mark.slow
def test_a_script_in_a_pool_row_is_shown_as_text(
    make_project: MakeProject, serve: Any, chromium: Any
) -> None:
    odd = "<script>alert(1)</script><img src=x onerror=alert(2)> {{7*7}}"
    page = open_page(chromium, serve(make_project([odd, "b"])).url + "?session=ana")
    playwright.expect(page.locator("#content")).to_have_text(odd)
    press(page, "1", "a")
    item(page, 2)
    playwright.expect(page.get_by_role("button", name="Change item 1")).to_contain_text("<script>")
    assert page.faults == []


def test_one_of_many_labels_is_found_by_typing(
    make_project: MakeProject, serve: Any, chromium: Any
) -> None:
    labels = [f"intent {n}" for n in range(40)] + ["card arrival"]
    project = make_project(["where is it", "b"], labels=labels)
    page = open_page(chromium, serve(project).url + "?session=ana")
    item(page, 1)
    press(page, "/", *"arriv", "Enter", "a")
    item(page, 2)
    assert standing(project) == [("p-0", "ana", "label", "card arrival")]


@pytest.mark.parametrize(("size", "scheme"), [((1100, 760), "light"), ((390, 844), "dark")])
def test_the_accessibility_checker_finds_nothing(
    make_project: MakeProject,
    serve: Any,
    chromium: Any,
    axe: str,
    scheme: str,
    size: tuple[int, int],
) -> None:
    guide = {"instructions": "guide.md"}
    tasks = digit_tasks(3)
    project = make_project(tasks=tasks, labels=DIGITS, surface=guide)
    (project.root / "guide.md").write_text("# Digits\n\nLabel what you *see*.\n")
    url = serve(project).url
    view = {"viewport": {"width": size[0], "height": size[1]}, "color_scheme": scheme}
    page = open_page(chromium, url, **view)
    playwright.expect(page.get_by_role("heading", name="Who is labelling?")).to_be_visible()
    assert violations(page, axe) == []
    page.goto(url + "?session=ana")
    item(page, 1)
    press(page, "0", "a")
    item(page, 2)
    for summary in page.get_by_role("group").filter(has=page.locator("summary")).all():
        summary.locator("summary").click()
    press(page, "a")
    assert violations(page, axe) == []
    press(page, "1", "f")
    shoot(page, f"page-{scheme}" if size[0] > 1000 else f"page-{scheme}-phone")
    page.get_by_role("button", name="Change item 1").click()
    playwright.expect(page.get_by_role("heading", name="Change item 1")).to_be_focused()
    assert violations(page, axe) == []
    press(page, "Escape")
    for n in (2, 3):
        item(page, n)
        press(page, str(n - 1), "a")
    playwright.expect(page.get_by_text("The batch is done")).to_be_visible()
    assert violations(page, axe) == []


@pytest.mark.slow
def test_long_content_is_scrolled_by_keyboard_and_passes_the_checker(
    make_project: MakeProject, serve: Any, chromium: Any, axe: str
) -> None:
    labels = [f"intent {n}" for n in range(77)]
    page = open_page(
        chromium, serve(make_project(["word " * 20_000], labels=labels)).url + "?session=ana"
    )
    item(page, 1)
    playwright.expect(page.get_by_role("region", name="The item")).to_have_attribute(
        "tabindex", "0"
    )
    assert violations(page, axe) == []


@pytest.mark.slow
def test_the_next_batch_comes_by_itself_to_all_while_the_page_says_what_happens(
    make_project: MakeProject, serve: Any, chromium: Any, axe: str
) -> None:
    project = make_project()
    os.mkfifo(project.root / "go")
    server = serve(project, "--keep-going", first=CHOOSES_WHEN_TOLD)
    ana, bo = (open_page(chromium, f"{server.url}?session={name}") for name in ("ana", "bo"))
    item(ana, 1)
    item(bo, 2)
    press(bo, "2", "a")
    item(bo, 3)
    press(ana, "1", "a")
    playwright.expect(ana.get_by_text("Nothing left for you at the moment")).to_be_visible()
    press(bo, "3", "a")
    for page in (ana, bo):
        title = page.get_by_role("heading", name="Choosing the next batch …")
        playwright.expect(title).to_be_visible()
        playwright.expect(page.get_by_role("progressbar", name="being chosen")).to_be_visible()
    assert violations(ana, axe) == []
    shoot(ana, "page-choosing")
    ana.reload()
    playwright.expect(ana.get_by_role("heading", name="Choosing the next batch")).to_be_visible()
    (project.root / "go").write_text("go")
    for page in (ana, bo):  # who looked first has the first card
        card = page.get_by_role("heading", level=2, name=re.compile("^Item [12]$"))
        playwright.expect(card).to_be_focused()
        playwright.expect(page.locator("#content")).to_have_text(re.compile("vier|five"))
    press(bo, "1", "a")
    playwright.expect(bo.get_by_text("1 of 2 ·")).to_be_visible()
    assert ana.faults == bo.faults == []


def test_help_a_note_and_zoom_by_keyboard_and_the_checker_finds_nothing(
    make_project: MakeProject, serve: Any, chromium: Any, axe: str
) -> None:
    labels = [f"a_very_long_intent_name_{n}" for n in range(11)] + ["card_arrival"]
    options = [{"id": label, "text": label} for label in labels]
    tasks = [{**task, "options": options} for task in digit_tasks(2)]
    project = make_project(tasks=tasks, labels=labels)
    write_csv(
        project.root / "data" / "labels.csv",
        ["name", "description", "example"],
        [(labels[0], "not this", ""), ("card_arrival", "asks where a card is", "Where is it?")],
    )
    page = open_page(chromium, serve(project).url + "?session=ana")
    item(page, 1)
    press(page, "?")
    playwright.expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert violations(page, axe) == []
    press(page, "x", "Escape", "l", *"where card")  # x is no answer while a dialog is open
    meaning = page.get_by_role("dialog", name="What the labels mean")
    playwright.expect(meaning.get_by_text("asks where a card is")).to_be_visible()
    playwright.expect(meaning.get_by_text("not this")).to_have_count(0)
    assert violations(page, axe) == []
    press(page, "Escape", "z")
    playwright.expect(page.locator("#content")).to_have_class(re.compile("zoomed"))
    press(page, "n", *"too dark, x", "Escape", "2", "a")
    item(page, 2)
    playwright.expect(page.locator("#content")).not_to_have_class(re.compile("zoomed"))
    playwright.expect(page.get_by_label("A note on this item")).to_be_hidden()
    playwright.expect(page.get_by_role("button", name="Change item 1")).to_contain_text("✎")
    press(page, "1", "a")
    playwright.expect(page.get_by_text(re.compile("2 of 2 · 2 by you · .* s each"))).to_be_visible()
    rows = [row for path in project.last_round().answer_files() for _, row in numbered_rows(path)]
    noted = [(row["accept"], row.get("al_note")) for row in rows]
    assert noted == [([labels[1]], "too dark, x"), ([labels[0]], None)]
    assert page.faults == []


def digits_project(folder: Path) -> Project:
    """A labelling project of a few of scikit-learn's digits, six a batch."""
    from sklearn.datasets import load_digits

    tasks = digit_tasks(150)
    rows = [
        (task["al_id"], task["image"], str(label))
        for task, label in zip(tasks, load_digits().target, strict=False)
    ]
    header = ["id", "image", "label"]
    tables = {
        "pool": write_csv(folder / "pool.csv", header[:2], [row[:2] for row in rows[:60]]),
        "seed": write_csv(folder / "seed.csv", header, rows[60:100]),
        "test": write_csv(folder / "test.csv", header, rows[100:]),
    }
    root = folder / "project"
    init(root, tables, Choices(id="id", image="image", classes=tuple(DIGITS)))
    fill_in(root / "params.yaml", {("query", "batch_size"): 6})
    config = root / ".dvc" / "config"
    config.write_text(config.read_text().replace(str(root / ".dvc" / "store"), "store"))
    run(root, ("git", "commit", "-qam", "Small batches"))
    return Project(root)


@pytest.mark.slow
def test_two_people_label_three_rounds_of_digits_without_a_terminal_through_a_reload_and_a_kill(
    tmp_path: Path, serve: Any, chromium: Any, axe: str
) -> None:
    project = digits_project(tmp_path)
    server = serve(project, "--keep-going", "--rounds", "3")
    start = shutil.copytree(project.root, tmp_path / "start", symlinks=True)
    people = [open_page(chromium, f"{server.url}?session={name}") for name in ("ana", "bo")]
    for page in people:
        page.set_default_timeout(300_000)
    for number in (1, 2, 3):
        for turn in range(6):
            page = people[turn % 2]
            done = page.get_by_text(f"{turn} of 6 ·")
            playwright.expect(done).to_be_visible(timeout=300_000)
            card = page.get_by_role("heading", level=2, name=re.compile("^Item "))
            playwright.expect(card).to_be_visible(timeout=300_000)
            press(page, str((number + turn) % 10), "a")
            playwright.expect(page.get_by_text(f"{turn + 1} of 6 ·")).to_be_visible()
            people[1 - turn % 2].reload()
        if number == 2:
            server.wait_for("round 2 is answered")  # round 1 was still being proved till here
            server.wait_for("  query …")
            playwright.expect(
                people[0].get_by_role("heading", name="Choosing the next batch")
            ).to_be_visible()
            people[0].reload()
            server.kill()
            playwright.expect(people[1].locator("#done")).to_contain_text("no connection")
            server._words = ("--keep-going", "--rounds", "2")
            server.start()
    last = people[0].get_by_role("heading", name="That was the last batch")
    playwright.expect(last).to_be_visible(timeout=300_000)
    owner = open_page(chromium, server.wait_for(r"for you alone: (\S+)")[1])
    playwright.expect(owner.get_by_role("heading", name="The curve so far")).to_be_visible()
    playwright.expect(owner.get_by_role("cell", name="bo", exact=True)).to_be_visible()
    for page in (people[0], owner):
        assert violations(page, axe) == []
        assert [fault for fault in page.faults if "ERR_" not in fault] == []  # while it was down
    shoot(owner, "owner")
    rounds = [project.root / f"data/rounds/{number:03d}/answers" for number in (1, 2, 3)]
    rows = [row for one in rounds for path in one.iterdir() for _, row in numbered_rows(path)]
    assert len(rows) == len({row["al_key"] for row in rows}) == 18
    log = run(project.root, ("git", "log", "--format=%s", "--grep=^Round ")).stdout
    assert [line.split(":")[0] for line in log.splitlines()] == [f"Round {n}" for n in (3, 2, 1, 0)]
    assert outcome(project.root) == outcome(
        closed_by_hand(start, project.root, tmp_path / "by hand")
    )
