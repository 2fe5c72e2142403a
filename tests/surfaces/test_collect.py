"""Collecting: checked row by row, the same state however often and in whatever pieces it is
done.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from click import Command
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds import annotate, collect, matching
from rounds.project import Project
from rounds.surfaces.desk import Desk
from stages.answers import prodigy, reading
from stages.contract.canonical import Row, jsonl, read_jsonl, write_jsonl
from tests.surfaces.conftest import (
    LABELS,
    MakeProject,
    committed,
    params_text,
    text_tasks,
    write_round,
)

State = list[tuple[str | None, str, str, str | None]]


def row(
    n: int, label: str | None = "positive", *, who: str = "alex", at: float = 1, **changes: object
) -> Row:
    """A db-out row about the n-th of the usual tasks."""
    task = text_tasks(["good", "bad", "so so"])[n]
    verdict: prodigy.Verdict = "accept" if label else "ignore"
    return {
        **prodigy.answer_row(task, label=label, answer=verdict, annotator=who, dataset="ds", at=at),
        **changes,
    }


def state(project: Project) -> State:
    answers = prodigy.keep_last(collect.answers_in(project.last_round(), LABELS))
    return [(answer.id, answer.annotator, answer.kind, answer.label) for answer, _ in answers]


def write(name: str, rows: Sequence[Row]) -> Path:
    path = Path(name)
    write_jsonl(path, rows)
    return path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(collect.command, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_a_db_out_export_is_brought_home_and_told(make_project: MakeProject) -> None:
    project = make_project()
    write("answers.jsonl", [row(0), row(1, None), row(0, "neutral", at=2, flagged=True)])
    code, told = run("answers.jsonl")
    assert code == 0
    assert told.splitlines() == [
        "answers (prodigy): 3 rows: 2 answered, 1 skipped, 1 flagged, 1 superseded; 3 new",
        "round 1: 2 of 3 items are answered",
        "  missing: p-2",
        "collect: done; next: get the 1 missing answers, or `rounds close --partial`",
    ]
    assert state(project) == [("p-0", "alex", "label", "neutral"), ("p-1", "alex", "skip", None)]


def test_a_second_time_nothing_changes(make_project: MakeProject) -> None:
    project = make_project()
    write("answers.jsonl", [row(0), row(1)])
    run("answers.jsonl")
    target = project.last_round().answers / "answers.jsonl"
    before = target.stat()
    code, told = run("answers.jsonl")
    assert (code, "0 new" in told) == (0, True)
    assert (target.stat().st_mtime_ns, target.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_bad_rows_are_told_with_their_lines_and_kept_aside_and_good_ones_are_taken(
    make_project: MakeProject,
) -> None:
    project = make_project()
    bad = [
        row(0, al_id="p-99"),
        row(0, al_batch="other"),
        row(0, "Positive"),
        {**row(0), "accept": ["positive", "neutral"]},
    ]
    write("answers.jsonl", [row(0), *bad])
    with Path("answers.jsonl").open("ab") as file:
        file.write(b"{torn")
    code, told = run("answers.jsonl")
    assert code == 0
    assert told.splitlines()[:8] == [
        "answers (prodigy): 6 rows: 1 answered, 1 unknown ids, 1 wrong batch, 1 unknown labels, 2 malformed; 1 new",
        "  answers:2: id 'p-99' was not asked",
        "  answers:3: batch 'other' is not the one that was asked",
        "  answers:4: label 'Positive' is not in labels (did you mean 'positive'?)",
        "  answers:5: 2 choices (positive, neutral) where one label is asked for",
        "  answers:6: not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))",
        "  the 5 rows that cannot be used are in answers.jsonl.bad.jsonl",
        "round 1: 1 of 3 items are answered",
    ]
    aside = read_jsonl(Path("answers.jsonl.bad.jsonl"))
    assert [kept["line"] for kept in aside] == [2, 3, 4, 5, 6]
    assert aside[0]["row"] == bad[0]
    assert state(project) == [("p-0", "alex", "label", "positive")]


def test_rows_are_put_on_lines_of_their_own_after_a_file_without_a_last_line_end(
    make_project: MakeProject,
) -> None:
    project = make_project()
    target = project.last_round().answers / "answers.jsonl"
    target.write_bytes(jsonl([row(0)]).rstrip())  # put there by hand
    write("answers.jsonl", [row(1)])
    run("answers.jsonl")
    assert [answer[0] for answer in state(project)] == ["p-0", "p-1"]


def test_a_name_that_is_too_long_and_a_target_that_is_no_text_are_told_in_one_line(
    make_project: MakeProject,
) -> None:
    project = make_project()
    long = "n" * 249 + ".jsonl"
    write("answers.jsonl", [row(0)]).rename(long)
    code, told = run(long)
    assert (code, told.count("\n"), "File name too long" in told) == (1, 1, True)
    (project.last_round().answers / "answers.jsonl").write_bytes(b"\xff\n")
    write("answers.jsonl", [row(0)])
    code, told = run("answers.jsonl")
    assert (code, told.count("\n"), "answers.jsonl:1: not UTF-8" in told) == (1, 1, True)


def test_strict_refuses_every_file_for_one_bad_row_and_writes_nothing(
    make_project: MakeProject,
) -> None:
    project = make_project()
    write("answers.jsonl", [row(0), row(0, "x")])
    write("good.jsonl", [row(1)])
    code, told = run("--strict", "good.jsonl", "answers.jsonl")
    assert code == 1
    assert told.startswith("error: answers:2: label 'x' is not in labels")
    assert list(project.last_round().answers.iterdir()) == []
    assert not Path("answers.jsonl.bad.jsonl").exists()


def test_a_dry_run_tells_the_same_and_writes_nothing(make_project: MakeProject) -> None:
    project = make_project()
    write("answers.jsonl", [row(0), row(0, "x")])
    code, told = run("--dry-run", "answers.jsonl")
    assert (code, "1 answered, 1 unknown labels; 1 new" in told) == (0, True)
    assert "bad.jsonl" not in told  # nothing was put aside
    assert list(project.last_round().answers.iterdir()) == []
    assert not Path("answers.jsonl.bad.jsonl").exists()


def test_differing_annotators_and_one_person_under_two_names_are_told(
    make_project: MakeProject,
) -> None:
    make_project()
    rows = [
        row(0, who="ana"),
        row(0, "negative", who="bo"),
        row(1, who="Ana"),
        row(2, None, who="bo"),
    ]
    write("answers.jsonl", rows)
    _, told = run("answers.jsonl")
    assert "  annotators differ on p-0: ana positive, bo negative" in told
    assert "  one person under several names? Ana, ana" in told


def test_rows_of_earlier_rounds_come_along_and_are_passed_over(make_project: MakeProject) -> None:
    project = make_project()
    write("dataset.jsonl", [row(0)])
    run("dataset.jsonl")
    before = project.last_round().answer_files()[0].read_bytes()
    write_round(project.root, 2, text_tasks(["good", "bad", "so so"], batch="b2"), "b2")
    committed(project.root)
    write("dataset.jsonl", [row(0), row(0, al_batch="b2")])
    _, told = run("dataset.jsonl")
    assert "2 rows: 1 answered, 1 of earlier rounds; 1 new" in told
    assert project.rounds()[0].answer_files()[0].read_bytes() == before


def test_rows_that_come_after_their_round_was_closed_go_into_the_open_round(
    make_project: MakeProject,
) -> None:
    project = make_project()
    project.last_round().closed_early.write_text("{}")
    write_round(project.root, 2, text_tasks(["new"], batch="b2"), "b2")
    committed(project.root)
    write("answers.jsonl", [row(0), row(1, "negative"), row(1, al_id="p-9")])
    code, told = run("answers.jsonl")
    assert code == 0
    assert "answers (prodigy): 3 rows: 2 answered, 1 unknown ids, 2 late; 2 new" in told
    assert "  2 came after their round was closed: they count from round 2 on" in told
    assert state(project) == [
        ("p-0", "alex", "label", "positive"),
        ("p-1", "alex", "label", "negative"),
    ]
    assert list(project.rounds()[0].answers.iterdir()) == []
    _, told = run("answers.jsonl")
    assert "3 rows: 1 unknown ids, 2 of earlier rounds; 0 new" in told
    assert len(state(project)) == 2


def test_answers_that_lost_their_id_are_found_by_their_content(make_project: MakeProject) -> None:
    project = make_project()
    write("answers.jsonl", [{"text": "bad", "accept": ["negative"], "answer": "accept"}])
    run("answers.jsonl")
    assert state(project) == [("p-1", "anonymous", "label", "negative")]


def test_other_blanks_in_a_text_are_told_and_another_text_is_refused(
    make_project: MakeProject,
) -> None:
    project = make_project()
    rows = [row(0, text="good "), row(1, text="so so"), row(2, text="something else")]
    write("answers.jsonl", rows)
    lines = run("answers.jsonl")[1].splitlines()
    assert lines[:3] == [
        "answers (prodigy): 3 rows: 1 answered, 2 ids that disagree with their text, "
        "1 with other blanks in the text than asked; 1 new",
        "  answers:2: the text beside id 'p-1' is not the one that was asked: it is that of 'p-2'",
        "  answers:3: the text beside id 'p-2' is not the one that was asked",
    ]
    assert state(project) == [("p-0", "alex", "label", "positive")]


def test_files_of_several_tools_at_once(make_project: MakeProject) -> None:
    project = make_project()
    Path("bo.csv").write_text("id,label\np-1,negative\n")
    Path("cy.jsonl").write_text(json.dumps({"id": 1, "text": "so so", "label": ["neutral"]}) + "\n")
    write("ana.jsonl", [row(0, who="ana")])
    code, told = run("bo.csv", "cy.jsonl", "ana.jsonl")
    assert code == 0
    heads = [line.split(":")[0] for line in told.splitlines() if ": 1 rows" in line]
    assert heads == ["bo (csv)", "cy (doccano)", "ana (prodigy)"]
    assert [(who, label) for _, who, _, label in state(project)] == [
        ("ana", "positive"),
        ("bo", "negative"),
        ("cy", "neutral"),
    ]


def test_a_file_named_like_a_session_of_the_page_does_not_touch_that_sessions_file(
    make_project: MakeProject,
) -> None:
    project = make_project()
    write("session-ana.jsonl", [row(0)])
    run("session-ana.jsonl")
    assert [path.name for path in project.last_round().answer_files()] == [
        "collected-session-ana.jsonl"
    ]


def test_what_cannot_be_collected_is_refused_in_one_line(make_project: MakeProject) -> None:
    project = make_project()
    inside = project.last_round().answers / "x.jsonl"
    write_jsonl(inside, [row(0)])
    for arguments, why in [
        ((str(inside),), "it is in its place already"),
        (("none.jsonl",), "cannot be read (No such file or directory)"),
        (("stages",), "cannot be read (Is a directory)"),
        (("dvc.yaml",), "dvc.yaml: found no rows"),
        (("--from", "label-studio"), "it needs --url and --token-file"),
    ]:
        code, told = run(*arguments)
        assert (code, why in told, told.count("\n")) == (1, True, 1)
    assert run()[0] == 2


@pytest.mark.parametrize("shell", [collect.command, annotate.command])
def test_a_round_that_is_closed_or_not_committed_takes_no_answers(
    make_project: MakeProject, shell: Command
) -> None:
    project = make_project()
    write("answers.jsonl", [row(0)])
    words = ["answers.jsonl"] if shell is collect.command else []
    write_round(project.root, 2, text_tasks(["new"], batch="b2"), "b2")
    told = CliRunner().invoke(shell, words).output
    assert (
        "002: the question of round 2 is not committed yet, so nobody may answer it; run `rounds close`"
        in told
    )
    committed(project.root)
    project.last_round().closed_early.write_text("{}")
    told = CliRunner().invoke(shell, words).output
    assert (
        "002: round 2 is closed, and no other is open; run `rounds close`, which issues the next"
        in told
    )
    assert not list(project.rounds_folder.glob("*/answers/*"))


ANSWERS = st.lists(
    st.builds(
        row,
        st.integers(0, 2),
        st.none() | st.sampled_from(LABELS),
        who=st.sampled_from(["ana", "bo"]),
        at=st.integers(0, 10**6).map(float),
    ),
    max_size=8,
    unique_by=lambda one: one["_timestamp"],
)


@settings(deadline=None, max_examples=25)
@given(ANSWERS, st.data())
def test_any_order_repetition_and_split_of_the_files_gives_the_same_state(
    rows: list[Row], data: st.DataObject
) -> None:
    states = []
    for rearrange in (False, True):
        root = Path(tempfile.mkdtemp())
        try:
            project = bare_project(root)
            pieces = [rows]
            if rearrange:
                again = data.draw(st.lists(st.sampled_from(rows))) if rows else []
                mixed = data.draw(st.permutations(rows + again))
                cut = data.draw(st.integers(0, len(mixed)))
                pieces = data.draw(st.permutations([mixed[:cut], mixed[cut:], mixed[:cut]]))
            for number, piece in enumerate(pieces):
                if piece:
                    (root / f"part-{number}.jsonl").write_bytes(jsonl(piece))
                    collect.collect(project, [root / f"part-{number}.jsonl"])
            states.append(state(project))
        finally:
            shutil.rmtree(root)
    assert states[0] == states[1]


def bare_project(root: Path, texts: Sequence[str] = ("good", "bad", "so so")) -> Project:
    """As `make_project` makes it, in a folder of one's own (hypothesis runs many)."""
    (root / "params.yaml").write_text(params_text(), encoding="utf-8")
    write_round(root, 1, text_tasks(texts), "b1")
    return Project(root)


def by_page(project: Project, name: str, label: str) -> None:
    """Answer the first item as the page does."""
    desk = Desk(project, project.last_round(), idle=600, clock=lambda: 1_700_000_000.0)
    session = desk.session(name)
    taken = desk.take(session, 0, "accept", label, key=f"{name}-12345678", replaces="")
    assert taken is not None
    desk.save(session, taken)
    desk.close()


ODD = st.text(st.characters(codec=None, exclude_categories=()), max_size=60) | st.sampled_from(
    [
        "\u200bzero\u200dwidth",
        "<b>&amp;</b>\r\n",
        "أهلا\u202e",
        "\ud800",
        "y" * 100_000,
        "",
        " ",
        "\x85\u2028",
    ]
)


@settings(deadline=None, max_examples=60)
@given(ODD, st.sampled_from(LABELS), st.booleans())
def test_any_text_comes_home_from_export_answer_and_collect_with_its_id_and_label(
    text: str, label: str, lost: bool
) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        project = bare_project(root, [text])
        exported = project.last_round().tasks()[0]
        answered = prodigy.answer_row(
            exported, label=label, answer="accept", annotator="ana", dataset="ds", at=1
        )
        if lost:
            answered = {
                key: value
                for key, value in answered.items()
                if not key.startswith("al_") and key != "meta"
            }
        (root / "one.jsonl").write_text(json.dumps(answered))
        collect.collect(project, [root / "one.jsonl"])
        assert state(project) == [("p-0", "ana", "label", label)]
        by_page(project, "bo", label)
        imported = reading.answers_of(project.last_round().folder, "b1", [exported], list(LABELS))
        said = [(answer.id, answer.annotator, answer.label) for answer, _ in imported]
        assert said == [("p-0", "ana", label), ("p-0", "bo", label)]
    finally:
        shutil.rmtree(root)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["good", "label", "id", "batch", "late", "json", "list"]), max_size=12)
)
def test_as_many_rows_are_accounted_for_as_were_in_the_file(kinds: list[str]) -> None:
    from rounds.surfaces import formats

    made = {
        "good": json.dumps(row(0)),
        "label": json.dumps(row(0, "nope")),
        "id": json.dumps(row(0, al_id="q")),
        "batch": json.dumps(row(0, al_batch="old")),
        "late": json.dumps(row(0, "negative", al_batch="old")),
        "json": "{",
        "list": "[1]",
    }
    data = "\n\n".join(["", *(made[kind] for kind in kinds)]).encode()
    _, items = formats.read(Path("x"), data, "prodigy")
    tasks = {"b1": text_tasks(["good"]), "old": text_tasks(["good"], batch="old")}
    held = {("old", "p-0", "alex", "label", "positive", 1.0)}
    found = matching.sorted_by(items, matching.Asked(tasks, "b1", held), LABELS)
    assert len(found.good) + len(found.bad) + found.earlier + found.unanswered == len(kinds)
    assert (found.earlier, found.late) == (kinds.count("batch"), kinds.count("late"))
