"""Rounds that go on by themselves: the same commits as by hand, and nothing lost where they pause."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rounds.close import WHEN_HELD, Decision
from rounds.commands import changed_paths, git
from rounds.init import fill_in
from rounds.keep_going import CHOOSING, KeepGoing, committed_round, first_round
from rounds.project import Project
from rounds.status import next_command, report
from rounds.surfaces.label_help import given_before
from rounds.surfaces.page import LOOPBACK, app
from rounds.surfaces.series import Series
from rounds.verify import verify
from stages.contract.canonical import Row, read_json, read_jsonl, write_json
from stages.contract.errors import PipelineError
from tests.faults.lives import make_project
from tests.history.inprocess import Stages, answer, closed, committed, log

Fresh = Callable[..., Project]


class Page:
    """The page on a project, without a socket; `work` is what its main thread does."""

    def __init__(self, project: Project, limit: int | None = None) -> None:
        self.project = project
        newest = first_round(project)
        self.series = Series(
            project, newest, idle=600, clock=lambda: 1e9, done=CHOOSING, goes_on=True
        )
        images = project.root / "data"
        web = app(self.series, guide="", images=images, hosts=frozenset(LOOPBACK))
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=web), base_url="http://127.0.0.1"
        )
        self.work = KeepGoing(project, self.series, limit)
        self.work.step()

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._client.request(method, path, **options))

    def state(self, name: str = "ann") -> Row:
        told: Row = self._call("GET", f"/api/state?session={name}").json()
        return told

    def send(self, state: Row, label: str | None, *, key: str, **changes: Any) -> httpx.Response:
        """Answer the card of a state, as its tab does."""
        sent = {
            "session": state["session"],
            "batch": state["batch"],
            "position": state["card"]["position"],
            "answer": "accept" if label else "ignore",
            "label": label,
            "flagged": False,
            "key": key,
            "replaces": state["card"]["key"],
            **changes,
        }
        return self._call("POST", "/api/answer", json=sent)

    def truth(self, state: Row) -> str:
        """The true label of a state's card: the parity of the id's number."""
        item = self.series.desk.tasks[state["card"]["position"]]["al_id"]
        return "ab"[int(item[-4:]) % 2]

    def label(self, *people: str, but: int = 0) -> None:
        """Label all that is left of the batch but the last items, in turns."""
        desk = self.series.desk
        left = desk.overlap * len(desk.tasks) - sum(desk.sessions().values())
        for turn in range(left - but):
            state = self.state(people[turn % len(people)])
            key = f"{state['session']}-{state['card']['position']:04d}-{desk.batch[:8]}"
            assert self.send(state, self.truth(state), key=key).status_code == 200

    def title(self) -> str:
        return str(self.state()["notice"]["title"])


@pytest.fixture
def serve() -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def start(project: Project, limit: int | None = None) -> Page:
        pages.append(Page(project, limit))
        return pages[-1]

    yield start
    for page in pages:
        page.series.close()


def trees(project: Project) -> list[str]:
    return git(project.root, "log", "--format=%T %s %b").splitlines()


def by_hand(project: Project, like: Project) -> list[str]:
    """The commits of a project whose rounds get the answer files of another, closed one by one."""
    for number in range(1, like.last_round().number):
        answers = like.root / "data" / "rounds" / f"{number:03d}" / "answers"
        shutil.copytree(answers, project.last_round().answers, dirs_exist_ok=True)
        closed(project)
    return trees(project)


def test_two_people_label_on_and_the_commits_are_those_of_rounds_closed_by_hand(
    project: Fresh, serve: Callable[..., Page], capsys: pytest.CaptureFixture[str]
) -> None:
    one = project(0)
    page = serve(one)
    for _ in range(2):
        page.label("ann", "bo")
        assert page.state()["notice"] == {
            "title": CHOOSING.title,
            "text": page.series.notice().text,
            "busy": True,
        }
        page.work.step()
        assert page.state()["card"]["position"] == 0
    assert page.work.closed == 2
    assert one.last_round().number == 3
    assert changed_paths(one.root) == []
    assert verify(one) == ([], [])
    assert trees(one) == by_hand(project(0, "by hand"), one)
    said = capsys.readouterr().err
    assert "annotate: round 1 is answered (ann 4, bo 4); closing it" in said


def test_an_answer_during_the_close_is_in_its_commit_until_the_next_batch_is_frozen(
    project: Fresh, serve: Callable[..., Page]
) -> None:
    one = project(0)
    page = serve(one)
    page.label("ann")
    state = page.state()
    standing = [page.series.desk.session("ann").keys[0]]

    def change(name: str) -> None:
        if name == "import_labels" and len(standing) < 4:  # the third time the batch is frozen
            key = f"change-{len(standing):04d}"
            card = {"position": 0, "key": standing[-1]}
            label = "ab"[len(standing) % 2]
            assert page.send({**state, "card": card}, label, key=key).status_code == 200
            standing.append(key)

    Stages.hooks = [change]
    page.work.step()
    Stages.hooks = []
    held = git(one.root, "show", "HEAD:./data/rounds/001/answers/session-ann.jsonl").splitlines()
    assert [json.loads(line)["al_key"] for line in held][8:] == standing[1:3]
    late = read_jsonl(one.last_round().answers / "session-ann.jsonl")
    assert [(row["al_batch"], row["al_key"]) for row in late] == [(state["batch"], standing[3])]
    assert changed_paths(one.root) == ["data/rounds/002/answers/session-ann.jsonl"]
    assert one.last_round().number == 2


def label_while(stage: str, page: Page, cards: int) -> None:
    """Let ann and bo label so many cards, once, as soon as a stage is to run."""

    def label(name: str) -> None:
        if name == stage:
            Stages.hooks = []
            left = len(page.series.desk.tasks) - page.series.desk.finished
            page.label("ann", "bo", but=left - cards)

    Stages.hooks = [label]


@pytest.mark.slow
def test_people_label_while_the_round_before_is_proved_and_no_answer_is_committed_before_its_question(
    project: Fresh, serve: Callable[..., Page]
) -> None:
    one = project(0)
    page = serve(one)
    page.label("ann")
    label_while("validate", page, 3)
    page.work.step()
    assert page.work.closed == 1
    assert "answers" not in git(one.root, "ls-tree", "-r", "--name-only", "HEAD", "data/rounds/002")
    files = ["session-ann.jsonl", "session-bo.jsonl"]
    assert [path.name for path in one.last_round().answer_files()] == files
    assert changed_paths(one.root) == [f"data/rounds/002/answers/{name}" for name in files]
    assert not (one.root / "data" / ".early").exists()
    page.label("bo", "ann", "eve")  # bo writes on in a file that was moved, eve begins one
    label_while("package", page, 8)  # all of it: the next close follows at once
    page.work.step()
    assert page.work.closed == 3
    assert verify(one) == ([], [])
    assert changed_paths(one.root) == []
    assert trees(one) == by_hand(project(0, "by hand"), one)


@pytest.mark.slow
def test_killed_while_the_round_is_proved_it_keeps_the_answers_to_the_next_batch(
    project: Fresh, serve: Callable[..., Page]
) -> None:
    one = project(0)
    page = serve(one)
    page.label("ann")
    label_while("validate", page, 3)
    labelling = Stages.hooks[0]

    def label_and_die(name: str) -> None:
        labelling(name)
        if name == "validate":
            raise KeyboardInterrupt

    Stages.hooks = [label_and_die]
    with pytest.raises(KeyboardInterrupt):
        page.work.step()
    Stages.hooks = []
    page.series.close()
    assert len(list(one.last_round().early.glob("*.jsonl"))) == 2
    waiting = "3 answers to round 2 wait in data/.early/002 for the commit of its question"
    assert f"early    {waiting}" in report(one)
    assert next_command(one).startswith("rounds close   (commits the question of round 2")
    page = serve(one)  # it closes the round that was answered, before it serves anything
    assert page.work.closed == 1
    assert page.series.desk.sessions() == {"ann": 2, "bo": 1}
    assert "early" not in {line.split()[0] for line in report(one)}
    page.label("ann", "bo")
    page.work.step()
    assert trees(one) == by_hand(project(0, "by hand"), one)


@pytest.mark.slow
def test_a_commit_that_fails_after_the_next_batch_was_answered_leaves_that_and_is_tried_again(
    project: Fresh, serve: Callable[..., Page], capsys: pytest.CaptureFixture[str]
) -> None:
    one = project(0)
    hook = one.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    page = serve(one)
    page.label("ann")
    label_while("validate", page, 3)
    page.work.step()
    assert "error: git commit: not today; " in capsys.readouterr().err
    assert page.series.desk.round.number == 2
    page.label("ann", but=1)
    page.work.step()
    assert capsys.readouterr().err == ""
    page.label("bo")  # who had the last one on the screen
    assert page.work.closed == 0
    page.work.step()
    assert page.title() == "The next batch could not be chosen."
    assert "error: git commit: not today; " in capsys.readouterr().err
    hook.unlink()
    state = page.state()
    state["card"] = state["history"][0]
    assert page.send(state, page.truth(state), key="the-same-again").status_code == 200
    page.work.step()
    assert page.work.closed == 2
    assert trees(one) == by_hand(project(0, "by hand"), one)


def test_answers_to_a_batch_that_is_not_to_be_asked_any_more_are_kept_and_named(
    project: Fresh, serve: Callable[..., Page]
) -> None:
    one = project(0)
    page = serve(one)
    page.label("ann")
    label_while("validate", page, 3)
    labelling = Stages.hooks[0]

    def label_and_die(name: str) -> None:
        labelling(name)
        if name == "validate":
            raise KeyboardInterrupt

    Stages.hooks = [label_and_die]
    with pytest.raises(KeyboardInterrupt):
        page.work.step()
    Stages.hooks = []
    page.series.close()
    fill_in(one.root / "params.yaml", {("query", "batch_size"): 6})
    git(one.root, "commit", "--quiet", "-m", "Fewer", "--", "params.yaml")
    early = one.last_round().early
    with pytest.raises(PipelineError) as refusal:
        closed(one)
    assert str(refusal.value) == (
        f"{early}: round 2 was answered already, and another batch is to be asked now; undo what "
        "changed in params.yaml, tables or code since; or move the folder away, and `rounds close`"
    )
    assert len(list(early.glob("*.jsonl"))) == 2


@pytest.mark.slow
def test_an_answer_that_comes_after_its_round_is_a_vote_of_the_next_one_and_counts_once(
    project: Fresh, serve: Callable[..., Page]
) -> None:
    one = project(0)
    page = serve(one)
    slow = page.state("bo")  # bo has the first card, and says nothing for a long time
    page.series.desk.session("bo").seen = 0.0
    page.label("ann")
    page.work.step()
    key = "bo-was-late"
    for _ in range(2):  # the second is sent again for want of a response
        response = page.send(slow, "b", key=key)
        assert response.status_code == 200
        assert response.json()["state"]["batch"] == page.series.desk.batch != slow["batch"]
    file = one.last_round().answers / "session-bo.jsonl"
    assert [(row["al_batch"], row["al_key"]) for row in read_jsonl(file)] == [(slow["batch"], key)]
    assert page.send(slow, None, key="undo-it-please", answer="undo").status_code == 409
    assert page.send(slow, "a", key="another-tab", replaces="").status_code == 409
    page.series.close()
    page = serve(one)  # a restart knows it, too
    assert page.send(slow, "b", key=key).status_code == 200
    assert len(read_jsonl(file)) == 1
    page.label("ann", "bo")
    page.work.step()
    assert verify(one) == ([], [])
    events = read_jsonl(one.root / "build/labels/events.jsonl")
    assert [row["round"] for row in events if row["late"]] == [2]
    assert trees(one) == by_hand(project(0, "by hand"), one)


def change_params(project: Project, changes: dict[tuple[str, ...], Any]) -> None:
    """Change params.yaml, as an editor would, and commit."""
    fill_in(project.root / "params.yaml", changes)
    committed(project)


@pytest.mark.slow
@pytest.mark.parametrize("remedy", ["another answer", "another limit"])
def test_a_held_round_is_said_to_both_and_goes_on_after(
    tmp_path: Path, serve: Callable[..., Page], capsys: pytest.CaptureFixture[str], remedy: str
) -> None:
    one = Project(make_project(tmp_path / "p").resolve())
    two_each = {("surface", "annotations_per_item"): 2, ("query", "batch_size"): 12}
    change_params(one, two_each)
    page = serve(one)
    for number in range(6):  # bo takes one for the other
        state = page.state("bo")
        wrong = {"a": "b", "b": "a"}[page.truth(state)]
        assert page.send(state, wrong, key=f"mistaken-{number}").status_code == 200
    page.label("bo", but=12)
    page.label("ann")
    before = trees(one)
    page.work.step()
    assert page.title() == "This batch is being looked at."
    said = capsys.readouterr().err
    assert "the gate holds round 1: held, G003" in said
    assert f"{WHEN_HELD}\nannotate: an answer that is changed or a commit tries it again" in said
    assert trees(one) == before
    assert one.last_round().number == 1
    page.work.step()  # nothing happened: nothing is tried
    assert capsys.readouterr().err == ""
    if remedy == "another answer":
        for number in range(6):
            state = {**page.state("bo"), "card": {"position": number, "key": f"mistaken-{number}"}}
            key = f"looked-again-{number}"
            assert page.send(state, page.truth(state), key=key).status_code == 200
    else:
        git(one.root, "checkout", "--quiet", "--", "params.yaml")
        fill_in(one.root / "params.yaml", {("gate", "limits", "agreement"): -1.0})
        git(one.root, "commit", "--quiet", "-m", "A limit", "--", "params.yaml")
    page.work.step()
    assert one.last_round().number == 2
    assert page.state()["card"]["position"] == 0
    assert verify(one) == ([], [])


@pytest.mark.slow
def test_a_failed_close_leaves_the_round_open_and_its_question_uncommitted(
    project: Fresh, serve: Callable[..., Page], capsys: pytest.CaptureFixture[str]
) -> None:
    one = project(0)
    hook = one.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    page = serve(one)
    page.label("ann")
    page.work.step()
    assert page.title() == "The next batch could not be chosen."
    assert "error: git commit: not today; " in capsys.readouterr().err
    assert one.last_round().number == 1
    hook.unlink()
    state = page.state()
    card = {"position": 0, "key": state["history"][-1]["key"]}
    assert page.send({**state, "card": card}, "a", key="a-changed-mind").status_code == 200
    page.work.step()
    assert one.last_round().number == 2
    assert trees(one) == by_hand(project(0, "by hand"), one)


def test_an_answer_taken_back_during_the_close_is_asked_again_before_the_round_is_closed(
    project: Fresh, serve: Callable[..., Page]
) -> None:
    one = project(0)
    page = serve(one)
    page.label("ann")

    def take_back(name: str) -> None:
        Stages.hooks = []
        state = page.state()
        state["card"] = state["history"][0]
        assert page.send(state, None, key="second-thoughts", answer="undo").status_code == 200

    Stages.hooks = [take_back]
    page.work.step()
    assert one.last_round().number == 1
    assert page.state()["card"]["position"] == 7
    page.label("ann")
    page.work.step()
    assert one.last_round().number == 2
    assert verify(one) == ([], [])


def advise_to_stop(project: Project) -> None:
    """Let the proof advise to stop, as after rounds that change little."""
    path = project.root / "metrics" / "validate.json"
    proof = read_json(path)
    write_json(path, {**proof, "stopping": {**proof["stopping"], "advice": "stop", "why": "calm"}})
    git(project.root, "commit", "--quiet", "--all", "-m", "The advice")


def test_the_advice_to_stop_asks_the_owner_and_goes_on_with_the_decision(
    project: Fresh, serve: Callable[..., Page], capsys: pytest.CaptureFixture[str]
) -> None:
    one = project(1)
    advise_to_stop(one)
    page = serve(one)
    assert page.title() == "This batch is done. Thank you."
    assert page.state()["card"] is None
    said = capsys.readouterr().err
    assert (
        "the advice is to stop (calm), and you decide: `rounds close --stop --why REASON`" in said
    )
    page.work.step()
    assert capsys.readouterr().err == ""
    closed(one, decision=Decision(stop=False, why="one more"))
    page.work.step()
    assert page.state()["card"]["position"] == 0
    page.series.close()
    page = serve(one)  # who decided is not asked again
    assert page.state()["card"]["position"] == 0
    closed(one, decision=Decision(stop=True, why="enough"))
    page.label("ann")
    page.work.step()
    assert page.title() == "That was the last batch. Thank you."
    assert "the work was stopped after round 1 (enough)" in capsys.readouterr().err


@pytest.mark.slow
def test_it_ends_after_n_rounds_and_when_the_budget_is_spent(
    project: Fresh, serve: Callable[..., Page], capsys: pytest.CaptureFixture[str]
) -> None:
    one = project(0)
    page = serve(one, 1)
    page.label("ann")
    page.work.step()
    assert page.title() == "That was the last batch for now. Thank you."
    assert "the round is closed; Ctrl-C ends the page" in capsys.readouterr().err
    assert committed_round(one) == one.last_round()
    page.series.close()
    change_params(one, {("query", "budget"): 16})
    page = serve(one)
    page.label("ann")
    page.work.step()
    assert "nothing more to ask: " in capsys.readouterr().err
    assert one.last_round().number == 2
    assert log(one)[0].startswith("Round 2: ")
    page.work.step()
    assert page.work.closed == 1


@pytest.mark.slow
def test_the_first_batch_is_chosen_and_a_round_closed_elsewhere_is_followed(
    tmp_path: Path, project: Fresh, serve: Callable[..., Page]
) -> None:
    one = project(0)
    git(one.root, "reset", "--quiet", "--hard", "HEAD~1")
    shutil.rmtree(one.root / "data" / "rounds" / "001", ignore_errors=True)
    page = serve(one)
    assert one.last_round().number == 1
    page.label("ann", but=3)
    closed(one, partial=True)
    assert page.state()["batch"] == page.series.desk.batch
    page.work.step()
    assert page.series.desk.round.number == 2
    assert page.state()["card"]["position"] == 0


def test_labels_are_counted_as_people_gave_them_in_earlier_rounds_only(project: Fresh) -> None:
    one = project(1)
    answer(one, label=lambda _: "b")
    given = given_before(one, one.last_round())
    asked = [int(row["al_id"][-4:]) % 2 for row in one.rounds()[0].tasks()]
    assert given == {"a": asked.count(0), "b": asked.count(1)}
