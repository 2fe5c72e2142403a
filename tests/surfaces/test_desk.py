"""The desk: who gets which item, and that an acknowledged answer is on the disk, once."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rounds.project import Project
from rounds.surfaces.desk import (
    Desk,
    GroupCommit,
    Journal,
    Refused,
    RoundOver,
    Session,
    Taken,
    Verdict,
    Waiting,
    mend,
    save_group,
    session_file,
    session_name,
    sole_writer,
)
from stages.answers import prodigy
from stages.contract.canonical import numbered_rows, write_jsonl
from stages.contract.errors import PipelineError
from tests.surfaces.conftest import MakeProject, write_round

TWO_EACH = {"annotations_per_item": 2}


class Clock:
    """A clock that stands still until it is told."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def open_desk(project: Project, clock: Clock | None = None) -> Desk:
    return Desk(project, project.last_round(), idle=600, clock=clock or Clock())


def answer(
    desk: Desk,
    session: Session,
    position: int,
    verdict: Verdict,
    label: str | None,
    *,
    key: str,
    replaces: str,
) -> None:
    """Take, save and settle an answer, as the page does."""
    taken = desk.take(session, position, verdict, label, key=key, replaces=replaces)
    if taken is not None:
        desk.save(session, taken)
        desk.settle(session, taken)


def say(desk: Desk, name: str, label: str | None = "positive", key: str | None = None) -> int:
    """Answer the session's current item; its position."""
    session = desk.session(name)
    position = desk.current(session)
    assert position is not None
    standing = session.keys.get(position, "")
    verdict: Verdict = "accept" if label else "ignore"
    answer(
        desk,
        session,
        position,
        verdict,
        label,
        key=key or f"{name}-{position}-{standing}",
        replaces=standing,
    )
    return position


def on_disk(project: Project) -> list[tuple[str | None, str, str | None]]:
    """(id, annotator, label) of every standing answer."""
    rows = [
        (prodigy.read_answer(row), (path.name, line))
        for path in project.last_round().answer_files()
        for line, row in numbered_rows(path)
    ]
    return [(answer.id, answer.annotator, answer.label) for answer, _ in prodigy.keep_last(rows)]


def test_items_go_out_in_the_order_of_the_batch_and_none_goes_to_two_people(
    make_project: MakeProject,
) -> None:
    desk = open_desk(make_project([str(n) for n in range(6)]))
    taken = [(name, say(desk, name)) for name in ("ana", "bo", "ana", "ana", "bo", "ana")]
    assert [position for _, position in taken] == [0, 1, 2, 3, 4, 5]
    assert desk.current(desk.session("ana")) is None
    assert desk.finished == 6


def test_with_an_overlap_of_two_every_item_is_answered_by_two_different_people(
    make_project: MakeProject,
) -> None:
    project = make_project([str(n) for n in range(9)], surface=TWO_EACH)
    desk = open_desk(project)
    names = ["ana", "bo", "cy"]
    while any(desk.current(desk.session(name)) is not None for name in names):
        for name in names:
            if desk.current(desk.session(name)) is not None:
                say(desk, name)
    assert Counter(item for item, _, _ in on_disk(project)) == {f"p-{n}": 2 for n in range(9)}
    assert Counter(name for _, name, _ in on_disk(project)) == {"ana": 6, "bo": 6, "cy": 6}


def test_the_items_of_a_silent_session_go_to_others_after_the_idle_time(
    make_project: MakeProject,
) -> None:
    clock = Clock()
    desk = open_desk(make_project(["a", "b"]), clock)
    assert desk.current(desk.session("ana")) == 0
    assert say(desk, "bo") == 1
    assert desk.current(desk.session("bo")) is None
    clock.now += 601
    assert desk.current(desk.session("bo")) == 0
    assert desk.current(desk.session("ana")) is None


def test_a_late_answer_to_an_item_given_away_is_still_kept(make_project: MakeProject) -> None:
    clock = Clock()
    project = make_project(["a"])
    desk = open_desk(project, clock)
    ana = desk.session("ana")
    assert desk.current(ana) == 0
    clock.now += 601
    say(desk, "bo", "negative")
    answer(desk, ana, 0, "accept", "positive", key="ana-late", replaces="")
    assert on_disk(project) == [("p-0", "ana", "positive"), ("p-0", "bo", "negative")]


def test_undo_brings_the_last_item_back_and_a_change_replaces_the_answer(
    make_project: MakeProject,
) -> None:
    project = make_project()
    desk = open_desk(project)
    ana = desk.session("ana")
    say(desk, "ana", "positive")
    say(desk, "ana", "positive")
    answer(desk, ana, 1, "undo", None, key="undo-one", replaces=ana.keys[1])
    answer(desk, ana, 0, "undo", None, key="undo-two", replaces=ana.keys[0])
    assert on_disk(project) == []
    assert (desk.finished, desk.current(ana)) == (0, 0)
    assert say(desk, "ana", "neutral") == 0
    assert say(desk, "ana", "negative") == 1
    answer(desk, ana, 0, "reject", None, key="change-it", replaces=ana.keys[0])
    assert [said.position for said in desk.history(ana)] == [0, 1]
    assert on_disk(project) == [("p-0", "ana", None), ("p-1", "ana", "negative")]
    with pytest.raises(Refused, match="nothing to undo"):
        answer(desk, ana, 2, "undo", None, key="undo-odd", replaces="")


def test_an_item_whose_answer_was_undone_is_the_next_of_that_person_and_of_nobody_else(
    make_project: MakeProject,
) -> None:
    desk = open_desk(make_project())
    ana = desk.session("ana")
    say(desk, "ana")
    assert desk.current(ana) == 1
    answer(desk, ana, 0, "undo", None, key="undo-one", replaces=ana.keys[0])
    assert desk.current(desk.session("bo")) == 2
    assert desk.current(ana) == 0


def test_what_a_person_says_after_an_undo_is_the_last_word_here_and_after_a_restart(
    make_project: MakeProject,
) -> None:
    """The clock goes back by an hour between the two: the page's own order counts."""
    project, clock = make_project(), Clock()
    desk = open_desk(project, clock)
    ana = desk.session("ana")
    say(desk, "ana", "positive", key="key-first")
    answer(desk, ana, 0, "undo", None, key="key-undo", replaces="key-first")
    for seen in ("", "key-first"):
        with pytest.raises(Refused, match="another tab"):
            answer(desk, ana, 0, "accept", "neutral", key="key-other", replaces=seen)
    clock.now -= 3600
    answer(desk, ana, 0, "accept", "negative", key="key-again", replaces="key-undo")
    assert on_disk(project) == [("p-0", "ana", "negative")]
    desk.close()
    again = open_desk(project, clock)
    ana = again.session("ana")
    assert [said.answer.label for said in again.history(ana)] == ["negative"]
    answer(again, ana, 0, "accept", "neutral", key="key-last", replaces="key-again")
    assert on_disk(project) == [("p-0", "ana", "neutral")]


def test_of_answers_in_several_files_the_latest_stands_whatever_the_files_are_called(
    make_project: MakeProject,
) -> None:
    project = make_project()
    task = project.last_round().tasks()[0]
    for name, label, at in (("b", "neutral", 9), ("a", "negative", 20), ("c", "positive", 5)):
        row = prodigy.answer_row(
            task, label=label, answer="accept", annotator="ana", dataset="ds", at=at
        )
        write_jsonl(project.last_round().answers / f"{name}.jsonl", [row])
    desk = open_desk(project)
    assert [said.answer.label for said in desk.history(desk.session("ana"))] == ["negative"]
    assert on_disk(project) == [("p-0", "ana", "negative")]


def test_the_same_answer_sent_again_is_acknowledged_and_written_once(
    make_project: MakeProject,
) -> None:
    project = make_project()
    desk = open_desk(project)
    say(desk, "ana", key="the-same-key")
    answer(desk, desk.session("ana"), 0, "accept", "positive", key="the-same-key", replaces="")
    again = open_desk(project)
    answer(again, again.session("ana"), 0, "accept", "positive", key="the-same-key", replaces="")
    assert len((project.last_round().answers / "session-ana.jsonl").read_text().splitlines()) == 1


def test_a_second_tab_that_saw_the_item_unanswered_is_refused(make_project: MakeProject) -> None:
    project = make_project()
    desk = open_desk(project)
    say(desk, "ana", "positive")
    with pytest.raises(Refused, match="another tab") as caught:
        answer(desk, desk.session("ana"), 0, "accept", "negative", key="other-tab", replaces="")
    assert caught.value.code == 409
    assert on_disk(project) == [("p-0", "ana", "positive")]


def test_an_accept_needs_a_label_of_the_project(make_project: MakeProject) -> None:
    desk = open_desk(make_project())
    for label in (None, "Positive", ""):
        with pytest.raises(Refused, match="Choose one of the labels first"):
            answer(desk, desk.session("ana"), 0, "accept", label, key="any-key-1", replaces="")


def test_a_restart_goes_on_where_it_stopped(make_project: MakeProject) -> None:
    project = make_project([str(n) for n in range(5)])
    desk = open_desk(project)
    say(desk, "ana", "positive")
    say(desk, "ana", None)
    say(desk, "bo", "neutral")
    answer(
        desk,
        desk.session("ana"),
        1,
        "undo",
        None,
        key="undo-it-1",
        replaces=desk.session("ana").keys[1],
    )
    desk.close()
    again = open_desk(project)
    assert again.sessions() == {"ana": 1, "bo": 1}
    assert again.current(again.session("ana")) == 1
    assert [said.answer.label for said in again.history(again.session("ana"))] == ["positive"]
    assert again.session("ana").keys == desk.session("ana").keys


def test_answers_that_came_by_another_tool_count(make_project: MakeProject) -> None:
    project = make_project()
    row = prodigy.answer_row(
        project.last_round().tasks()[0],
        label="neutral",
        answer="accept",
        annotator="Ana",
        dataset="ds",
        at=5,
    )
    write_jsonl(project.last_round().answers / "export.jsonl", [row])
    desk = open_desk(project)
    assert desk.finished == 1
    assert desk.current(desk.session("ana")) == 1


def test_a_torn_last_line_is_cut_off_and_a_whole_one_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "session-ana.jsonl"
    for before, after in [
        (b'{"a":1}\n{"b', b'{"a":1}\n'),
        (b'{"a":1}\n\0\0\0', b'{"a":1}\n'),
        (b'{"a":1}\n{"b":2}', b'{"a":1}\n{"b":2}\n'),
        (b'{"a":1}\n12', b'{"a":1}\n'),
        (b'{"a":1}\n', b'{"a":1}\n'),
        (b"", b""),
        (b"{", b""),
    ]:
        file.write_bytes(before)
        mend(file)
        assert file.read_bytes() == after


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(min_value=0, max_value=2000))
def test_after_a_crash_at_any_byte_every_whole_line_is_there_and_nothing_else(
    tmp_path: Path, cut: int
) -> None:
    lines = [json.dumps({"n": n, "text": "ä" * n}).encode() + b"\n" for n in range(12)]
    data = b"".join(lines)[:cut]
    file = tmp_path / "session.jsonl"
    file.write_bytes(data)
    mend(file)
    kept = file.read_bytes()
    assert b"".join(lines).startswith(kept)
    assert kept.count(b"\n") in (data.count(b"\n"), data.count(b"\n") + 1)
    assert not kept or kept.endswith(b"\n")


@pytest.mark.parametrize("also", ["cut off at once", "cut off before the next line"])
def test_a_full_disk_is_an_error_and_leaves_no_half_line(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch, also: str
) -> None:
    project = make_project()
    desk = open_desk(project)
    say(desk, "ana")
    whole = os.write

    def half(handle: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", full)
        return whole(handle, data[:20])

    def full(_handle: int, _data: object) -> int:
        raise OSError(28, "No space left on device")

    cut = os.ftruncate
    monkeypatch.setattr(os, "write", half)
    if also == "cut off before the next line":
        monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(OSError, match="No space"):
        say(desk, "ana", "negative")
    monkeypatch.setattr(os, "write", whole)
    monkeypatch.setattr(os, "ftruncate", cut)
    if also == "cut off at once":
        assert on_disk(project) == [("p-0", "ana", "positive")]
    assert say(desk, "ana", "negative") == 1
    assert len(on_disk(project)) == 2


def test_a_round_that_was_closed_takes_no_more_answers(make_project: MakeProject) -> None:
    project = make_project()
    desk = open_desk(project)
    say(desk, "ana")
    write_round(project.root, 2, project.last_round().tasks(), "b2")
    with pytest.raises(Refused, match="round is over") as caught:
        say(desk, "ana")
    assert caught.value.code == 410


def test_times_of_a_session_go_forward_even_when_the_clock_goes_back(
    make_project: MakeProject,
) -> None:
    project = make_project()
    clock = Clock()
    desk = open_desk(project, clock)
    say(desk, "ana")
    clock.now -= 100
    say(desk, "ana")
    rows = [row for _, row in numbered_rows(project.last_round().answers / "session-ana.jsonl")]
    assert rows[0]["_timestamp"] < rows[1]["_timestamp"]


def test_two_servers_cannot_serve_one_round(make_project: MakeProject) -> None:
    newest = make_project().last_round()
    refused = pytest.raises(PipelineError, match="a page is being served on this round")
    with sole_writer(newest), refused, sole_writer(newest):
        pass
    with sole_writer(newest):
        pass


def test_a_name_is_one_person_however_it_is_typed() -> None:
    assert session_name("  Ana  María ") == session_name("ana mari\u0301a") == "ana maría"
    for odd in ("", "  ", "x" * 41, "a\0b", "a\u202eb", "\ud800"):
        with pytest.raises(Refused, match="printable"):
            session_name(odd)


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_a_session_file_is_a_plain_file_name_and_belongs_to_one_name(one: str, other: str) -> None:
    try:
        names = session_name(one), session_name(other)
    except Refused:
        return
    files = [session_file(name) for name in names]
    assert (files[0] == files[1]) == (names[0] == names[1])
    for file in files:
        assert "/" not in file
        assert len(file.encode()) < 256


def test_a_late_answer_to_an_earlier_batch_does_not_take_a_row_off_the_desk(
    make_project: MakeProject,
) -> None:
    project = make_project()
    late = prodigy.answer_row(
        {**project.last_round().tasks()[0], "al_batch": "b0"},
        label="positive", answer="accept", annotator="bo", dataset="t", at=1.0,
    )  # fmt: skip
    write_jsonl(project.last_round().answers / "late.jsonl", [late])
    desk = open_desk(project)
    assert desk.finished == 0
    assert desk.current(desk.session("ann")) == 0
    assert (
        desk.current(desk.session("bo")) == 1
    )  # ann has the first; bo may answer it as well, later


def test_answers_that_wait_for_the_disk_go_there_together(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project([str(n) for n in range(6)])
    desk = open_desk(project)
    groups: list[list[str]] = []
    begun = threading.Event()
    go_on = threading.Event()

    def noted(group: Sequence[Waiting]) -> list[Exception | None]:
        groups.append([waiting.session.name for waiting in group])
        begun.set()
        assert go_on.wait(30)
        return save_group(group)

    monkeypatch.setattr("rounds.surfaces.desk.save_group", noted)

    async def label() -> None:
        disk = GroupCommit()
        saving = []
        for name in ("ana", "bo", "cy", "di"):
            session = desk.session(name)
            position = desk.current(session)
            assert position is not None
            taken = desk.take(session, position, "accept", "positive", key="k" * 8, replaces="")
            assert taken is not None
            saving.append(asyncio.create_task(disk.save(desk, session, taken)))
            if name == "ana":
                await asyncio.to_thread(begun.wait, 30)
        await asyncio.sleep(0)  # the others have joined the queue
        assert not any(task.done() for task in saving)
        go_on.set()
        await asyncio.gather(*saving)

    asyncio.run(label())
    assert groups == [["ana"], ["bo", "cy", "di"]]
    assert sorted(annotator for _, annotator, _ in on_disk(project)) == ["ana", "bo", "cy", "di"]


def test_a_disk_that_refuses_one_file_refuses_its_answer_alone(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project([str(n) for n in range(3)])
    desk = open_desk(project)
    answers: list[tuple[Session, Taken]] = []
    for name in ("ana", "bo"):
        session = desk.session(name)
        position = desk.current(session)
        assert position is not None
        taken = desk.take(session, position, "accept", "positive", key="k" * 8, replaces="")
        assert taken is not None
        answers.append((session, taken))
    plain = Journal.append

    def refuse(journal: Journal, line: str) -> None:
        if '"page-bo"' in line:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(journal, line)

    monkeypatch.setattr(Journal, "append", refuse)
    saved, refused = desk.save_all(answers)
    assert saved is None
    assert isinstance(refused, OSError)
    assert [annotator for _, annotator, _ in on_disk(project)] == ["ana"]
    monkeypatch.setattr(Journal, "append", plain)
    assert desk.save_all([answers[1]]) == [None]
    assert [annotator for _, annotator, _ in on_disk(project)] == ["ana", "bo"]


def test_a_fault_that_nobody_foresaw_reaches_every_request_and_the_next_answers_are_saved(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project([str(n) for n in range(3)])
    desk = open_desk(project)
    session = desk.session("ana")
    position = desk.current(session)
    assert position is not None
    taken = desk.take(session, position, "accept", "positive", key="k" * 8, replaces="")
    assert taken is not None

    def broken(_group: Sequence[Waiting]) -> list[Exception | None]:
        raise ValueError("nobody foresaw this")

    async def label() -> None:
        disk = GroupCommit()
        with monkeypatch.context() as patch:
            patch.setattr("rounds.surfaces.desk.save_group", broken)
            with pytest.raises(ValueError, match="nobody foresaw this"):
                await disk.save(desk, session, taken)
        await disk.save(desk, session, taken)

    asyncio.run(label())
    assert [annotator for _, annotator, _ in on_disk(project)] == ["ana"]


def test_a_group_that_comes_after_its_round_is_refused_whole(make_project: MakeProject) -> None:
    project = make_project([str(n) for n in range(3)])
    desk = open_desk(project)
    session = desk.session("ana")
    position = desk.current(session)
    assert position is not None
    taken = desk.take(session, position, "accept", "positive", key="k" * 8, replaces="")
    assert taken is not None
    project.last_round().closed_early.write_text("{}")
    (fault,) = desk.save_all([(session, taken)])
    assert isinstance(fault, RoundOver)
    assert on_disk(project) == []
