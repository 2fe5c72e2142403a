"""Which item an answer is about, whose it is, which is the last word: the odd ways of real
exports.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds import collect
from rounds.shipped import shipped_params
from rounds.surfaces import formats
from rounds.surfaces.formats import own_names
from stages.answers import prodigy as answers_prodigy
from stages.answers.prodigy import conflict_of, keep_last, read_answer
from stages.contract.canonical import Row, write_jsonl
from tests.surfaces.conftest import LABELS, MakeProject, committed, text_tasks, write_round
from tests.surfaces.test_collect import bare_project, row, run, state, write

TEXTS = ("good", "bad", "so so")
TRUTH = ("positive", "negative", "neutral")
RIGHT = [(f"p-{n}", label) for n, label in enumerate(TRUTH)]


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], parting: str = ",") -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=parting)
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue().encode()


def numbered(*columns: str) -> list[list[object]]:
    """Rows of a tool that numbers backwards: its `id` is the number of another item of ours."""
    cells = [
        {"id": f"p-{2 - n}", "al_id": f"p-{n}", "al_batch": "b1", "text": TEXTS[n], "data": TEXTS[n],
         "label": TRUTH[n], "annotator": "1", "annotation_id": 9, "lead_time": 3.2, "Comments": "",
         "timestamp": "01/05/2024 10:03"}
        for n in range(3)
    ]  # fmt: skip
    return [[cell[column] for column in columns] for cell in cells]


STUDIO = ("al_batch", "al_id", "annotation_id", "annotator", "id", "label", "lead_time", "text")
STUDIO_LOST = ("annotation_id", "annotator", "id", "label", "lead_time", "text")
DOCCANO = ("id", "text", "label", "Comments")


def task(n: int, *extra: Row) -> Row:
    chosen = {"from_name": "label", "value": {"choices": [TRUTH[n]]}}
    annotation = {"completed_by": 1, "was_cancelled": False, "result": [chosen, *extra]}
    return {"id": 2 - n, "data": {"text": TEXTS[n], "al_id": f"p-{n}"}, "annotations": [annotation]}


NOTE = {"from_name": "note", "value": {"text": ["not sure"]}}
RATING = {"from_name": "stars", "value": {"rating": 4}}
SECOND = {"from_name": "confidence", "value": {"choices": ["high"]}}
RELATION = {"type": "relation", "value": {}}


def argilla(n: int) -> Row:
    return {
        "id": f"0000-{n}", "fields": {"text": TEXTS[n]}, "metadata": {}, "status": "completed",
        "responses": {"label": [{"value": TRUTH[n], "user_id": "u1"}]},
    }  # fmt: skip


def argilla_old(n: int) -> Row:
    values = {"values": {"label": {"value": TRUTH[n]}}, "user_id": "u1", "status": "submitted"}
    return {"fields": {"text": TEXTS[n]}, "responses": [values]}


def argilla_flat(n: int) -> Row:
    return {
        "id": f"{n}-uuid", "text": TEXTS[n], "label.responses": [TRUTH[n]],
        "label.responses.users": ["u1"], "label.responses.status": ["submitted"],
    }  # fmt: skip


def prodigy(n: int) -> Row:
    return {**row(n, TRUTH[n]), "id": 2 - n}


def all_of(make: Any) -> bytes:
    return json.dumps([make(n) for n in range(3)]).encode()


EXPORTS = {
    "studio.csv": table(STUDIO, numbered(*STUDIO)),
    "studio.tsv": table(STUDIO_LOST, numbered(*STUDIO_LOST), "\t"),
    "studio_min.json": json.dumps(
        [dict(zip(STUDIO, cells, strict=True)) for cells in numbered(*STUDIO)]
    ).encode(),
    "studio_notes.json": all_of(lambda n: task(n, NOTE, RATING, RELATION)),
    "studio_second.json": all_of(lambda n: task(n, SECOND)),
    "doccano.csv": table(DOCCANO, numbered(*DOCCANO)),
    "doccano.jsonl": all_of(lambda n: {"id": f"p-{2 - n}", "text": TEXTS[n], "label": [TRUTH[n]]}),
    "doccano_old.jsonl": all_of(lambda n: {"id": n, "data": TEXTS[n], "label": [TRUTH[n]]}),
    "argilla.json": all_of(argilla),
    "argilla_old.json": all_of(argilla_old),
    "argilla_flat.json": all_of(argilla_flat),
    "prodigy.json": all_of(prodigy),
    "text.csv": table(("text", "label"), numbered("text", "label")),
    "semicolons.csv": b"sep=;\r\n" + table(("al_id", "label"), numbered("al_id", "label"), ";"),
    "ids.jsonl": all_of(lambda n: {"id": f"p-{n}", "label": TRUTH[n]}),
    "local_time.csv": table(
        ("al_id", "label", "timestamp"), numbered("al_id", "label", "timestamp")
    ),
    "utf16.csv": table(("al_id", "label"), numbered("al_id", "label")).decode().encode("utf-16"),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_labels_come_home_to_the_text_that_was_judged_whatever_the_tools_own_ids_are(
    name: str, make_project: MakeProject
) -> None:
    project = make_project(TEXTS)
    Path(name).write_bytes(EXPORTS[name])
    code, output = run(name)
    assert (code, "next: rounds close" in output) == (0, True), output
    assert [(item, label) for item, _, _, label in state(project)] == RIGHT


def test_a_spreadsheet_is_read_and_whole_numbers_stay_whole(make_project: MakeProject) -> None:
    tasks = [{**one, "al_id": str(7 + n)} for n, one in enumerate(text_tasks(TEXTS))]
    project = make_project(tasks=tasks)
    frame = pd.DataFrame({"ID": [7.0, 8.0, 9.0], "Label": TRUTH, "Note": ["", "x", None]})
    frame.to_excel("answers.xlsx", index=False)
    assert run("answers.xlsx")[0] == 0
    assert [(item, label) for item, _, _, label in state(project)] == [("7", "positive"), ("8", "negative"),
                                                                       ("9", "neutral")]  # fmt: skip


def test_a_spreadsheets_whole_numbers_are_the_names_of_classes(make_project: MakeProject) -> None:
    project = make_project(TEXTS, labels=("0", "1", "-1"))
    frame = pd.DataFrame({"text": TEXTS, "label": [1.0, None, -1]})
    frame.to_excel("ana.xlsx", index=False)
    assert run("ana.xlsx")[0] == 0
    kept = [(item, kind, label) for item, _, kind, label in state(project)]
    assert kept == [("p-0", "label", "1"), ("p-1", "skip", None), ("p-2", "label", "-1")]


def test_one_task_alone_is_a_file_too(make_project: MakeProject) -> None:
    project = make_project(TEXTS)
    Path("one.json").write_text(json.dumps(task(1), indent=2))
    run("one.json")
    assert state(project) == [("p-1", "1", "label", "negative")]


def test_what_is_lost_or_left_aside_is_counted(make_project: MakeProject) -> None:
    make_project(TEXTS)
    Path("studio.json").write_bytes(EXPORTS["studio_notes.json"])
    Path("times.csv").write_bytes(EXPORTS["local_time.csv"])
    output = run("studio.json", "times.csv")[1]
    assert "  other controls than the label kept aside: 3 rows" in output
    assert "  time cannot be read: 3 rows" in output


def test_an_interface_made_by_hand_may_name_its_only_control_as_it_likes(
    make_project: MakeProject,
) -> None:
    project = make_project(TEXTS)
    other = task(0)
    other["annotations"][0]["result"][0]["from_name"] = "sentiment"
    both = task(1, {**SECOND, "from_name": "topic"})
    both["annotations"][0]["result"][0]["from_name"] = "sentiment"
    Path("studio.json").write_text(json.dumps([other, both]))
    output = run("studio.json")[1]
    for line in (1, 2):  # `topic` alone, in another row, would be taken for the label otherwise
        assert (
            f"  studio:{line}: `sentiment`, `topic` may each be the label: name one of them `label`"
            in output
        )
    Path("studio.json").write_text(json.dumps([other]))
    run("studio.json")
    assert state(project) == [("p-0", "1", "label", "positive")]


def test_numbered_labels_are_refused_by_name(make_project: MakeProject) -> None:
    make_project(TEXTS)
    Path("old.json").write_text(
        json.dumps([{"id": 1, "text": "good", "annotations": [{"label": 3, "user": 1}]}])
    )
    code, output = run("old.json")
    assert code == 1
    assert "  old:1: its labels are numbers without names: export as JSONL with labels" in output
    assert output.splitlines()[-1] == (
        "error: collect: none of the 1 answers could be used; the lines above say why; "
        "mend them at their source, and collect again"
    )


def test_ids_that_are_ours_beside_the_text_of_another_are_refused(
    make_project: MakeProject,
) -> None:
    """A spreadsheet of which one column was sorted: most ids still stand beside their texts."""
    texts = ("one", "two", "three", "four")
    make_project(texts)
    cells = [("p-0", "one"), ("p-1", "two"), ("p-2", "four"), ("p-3", "three"), ("p-3", "five")]
    Path("mine.csv").write_bytes(
        table(("id", "text", "label"), [(*cell, "neutral") for cell in cells])
    )
    # Of the four known texts two stand beside their own id: too few to believe the ids.
    assert "5 rows: 4 answered, 1 ids that disagree" in run("mine.csv")[1]
    cells[2:] = [("p-2", "three"), ("p-3", "one")]
    Path("ours.csv").write_bytes(
        table(("id", "text", "label"), [(*cell, "neutral") for cell in cells])
    )
    output = run("ours.csv")[1]
    assert (
        "  ours:5: the text beside id 'p-3' is not the one that was asked: it is that of 'p-0'"
        in output
    )


def test_an_id_beside_the_picture_of_another_item_is_refused(make_project: MakeProject) -> None:
    """Pictures have no text to compare: Prodigy's hash of the content says whose it is."""
    shown = [
        {"image": f"data:image/png;base64,{sign * 4}", "path": f"{sign}.png"} for sign in "ABC"
    ]
    tasks = [
        answers_prodigy.task(one, LABELS, al_id=f"p-{n}", batch_id="b1", rank=n + 1, score=0)
        for n, one in enumerate(shown)
    ]
    project = make_project(tasks=tasks)
    rows = [
        answers_prodigy.answer_row(one, label=TRUTH[n], answer="accept", annotator="ana",
                                   dataset="ds", at=1.0)
        for n, one in enumerate(tasks)
    ]  # fmt: skip
    rows[1]["al_id"], rows[2]["al_id"] = "p-2", None
    write("ana.jsonl", rows)
    told = run("ana.jsonl")[1]
    assert "3 rows: 2 answered, 1 ids that disagree with their picture" in told
    assert (
        "  ana:2: the picture beside id 'p-2' is not the one that was asked: it is that of 'p-1'"
        in told
    )
    assert [(item, label) for item, _, _, label in state(project)] == [RIGHT[0], RIGHT[2]]


@pytest.mark.parametrize("column", ["batch", "al_batch", "AL_Batch"])
def test_a_tables_column_of_batches_tells_which_round_an_answer_is_for(
    column: str, make_project: MakeProject
) -> None:
    project = make_project(TEXTS)
    project.last_round().closed_early.write_text("{}")
    write_round(project.root, 2, text_tasks(["so so"], batch="b2"), "b2")  # its p-0 is another text
    committed(project.root)
    rows = [("p-1", "b1", "positive"), ("p-0", "b2", "neutral"), ("p-1", "b3", "neutral")]
    Path("ana.csv").write_bytes(table(("id", column, "label"), rows, ";"))
    told = run("ana.csv")[1]
    assert "3 rows: 2 answered, 1 wrong batch, 1 late; 2 new" in told
    held = collect.answers_in(project.last_round(), LABELS)
    assert [(answer.batch, answer.label) for answer, _ in held] == [
        ("b1", "positive"),
        ("b2", "neutral"),
    ]


def test_the_last_word_counts_whatever_file_it_stands_in(make_project: MakeProject) -> None:
    project = make_project(TEXTS)
    for folder, label in (("first", "positive"), ("second", "negative")):
        Path(folder).mkdir()
        Path(folder, "answers.csv").write_text(f"id,label\np-0,{label}\np-1,neutral\n")
    for folder, label, new in [
        ("first", "positive", 2), ("second", "negative", 1), ("second", "negative", 0), ("first", "positive", 1),
        ("first", "positive", 0),
    ]:  # fmt: skip
        output = run(f"{folder}/answers.csv")[1]
        assert f"; {new} new" in output
        assert state(project) == [
            ("p-0", "answers", "label", label),
            ("p-1", "answers", "label", "neutral"),
        ]
    assert (
        "1 answer of the same person changes: the last word counts; two people?"
        in run("second/answers.csv")[1]
    )


def test_an_answer_without_a_time_counts_from_when_it_was_collected(
    make_project: MakeProject,
) -> None:
    project = make_project(TEXTS)
    Path("ana.csv").write_text("id,label,timestamp\np-0,positive,500\n")
    Path("later.csv").write_text("id,label,annotator\np-0,negative,ana\n")
    Path("older.csv").write_text("id,label,timestamp,annotator\np-0,neutral,400,ana\n")
    Path("newer.csv").write_text("id,label,timestamp,annotator\np-0,neutral,600,ana\n")
    for name, label in [
        ("ana", "positive"),
        ("later", "negative"),
        ("older", "negative"),
        ("newer", "neutral"),
    ]:
        run(f"{name}.csv")
        assert state(project) == [("p-0", "ana", "label", label)]
    run("later.csv")
    assert state(project) == [("p-0", "ana", "label", "negative")]


def test_a_browsers_second_download_is_the_same_person_and_a_name_can_be_given(
    make_project: MakeProject,
) -> None:
    project = make_project(TEXTS)
    Path("ana.csv").write_text("id,label\np-0,positive\n")
    Path("ana (1).csv").write_text("id,label\np-0,negative\n")
    output = run("ana.csv")[1]
    assert (
        "  taken for the answers of ana, after the file's name; --annotator NAME says who" in output
    )
    run("ana (1).csv")
    assert state(project) == [("p-0", "ana", "label", "negative")]
    output = run("ana.csv", "--annotator", "Bo")[1]
    assert "taken for" not in output
    assert state(project)[0] == ("p-0", "Bo", "label", "positive")


def test_who_a_row_names_is_who_answered_whatever_name_was_given(make_project: MakeProject) -> None:
    project = make_project(TEXTS)
    rows = [("p-0", "positive", "Cy"), ("p-1", "negative", ""), ("p-2", "neutral", " ")]
    Path("ana.csv").write_bytes(table(("id", "label", "annotator"), rows))
    told = run("ana.csv", "--annotator", "Bo")[1]
    assert "taken for" not in told
    assert [who for _, who, _, _ in state(project)] == ["Cy", "Bo", "Bo"]


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("ana.csv", "ana"), ("ana (1).csv", "ana"), ("ana (12).csv", "ana"), ("ana copy.csv", "ana"),
        ("ana copy 2.csv", "ana"), ("ana - Copy (3).csv", "ana"), ("ana - Kopie.csv", "ana"),
        ("copy.csv", "copy"), ("ana2.csv", "ana2"), ("(1).csv", "(1)"), ("photocopy.csv", "photocopy"),
    ],
)  # fmt: skip
def test_the_person_of_a_file(name: str, person: str) -> None:
    assert formats.person_of_file(Path(name)) == person


@pytest.mark.parametrize("name", ["all.jsonl", "Unknown (1).jsonl"])
def test_doccanos_files_of_everybody_and_nobody_are_no_persons(
    name: str, make_project: MakeProject
) -> None:
    project = make_project(TEXTS)
    rows = [{"id": n, "text": TEXTS[n], "label": [TRUTH[n]]} for n in range(3)]
    write(name, rows)
    told = run(name)[1]
    assert (
        "  taken for the answers of anonymous, whom neither the rows nor the file's name name; "
        "--annotator NAME says who"
    ) in told.splitlines()
    assert {who for _, who, _, _ in state(project)} == {"anonymous"}
    assert "taken for" not in run(name, "--annotator", "Bo")[1]


def session(n: int, label: str, began: str, at: float) -> Row:
    return row(n, label, at=at, _annotator_id=f"ds-{began}", _session_id=f"ds-{began}")


def test_sessions_without_a_name_that_contradict_each_other_are_told_and_counted(
    make_project: MakeProject,
) -> None:
    project = make_project()
    monday = [session(n, TRUTH[n], "2024-01-01_10-00-00", n) for n in range(3)]
    write("monday.jsonl", monday)
    assert "sessions without a name" not in run("monday.jsonl")[1]
    tuesday = [session(n, "neutral", "2024-01-02_10-00-00", 10 + n) for n in range(3)]
    write("tuesday.jsonl", tuesday)
    line = (
        "  sessions without a name contradict each other on 2 items (p-0, p-1): they count as one "
        "person, whose last word it is; open Prodigy with ?session=NAME, or collect each one's "
        "file with --annotator NAME"
    )
    assert line in run("--dry-run", "tuesday.jsonl")[1].splitlines()
    assert line in run("tuesday.jsonl")[1].splitlines()
    assert line in run("tuesday.jsonl")[1].splitlines()
    assert {label for _, _, _, label in state(project)} == {"neutral"}


def test_a_name_can_be_given_to_a_session_without_one(make_project: MakeProject) -> None:
    project = make_project()
    write("monday.jsonl", [session(0, "positive", "2024-01-01_10-00-00", 1)])
    run("monday.jsonl", "--annotator", "Ana 50%")
    assert state(project) == [("p-0", "Ana 50%", "label", "positive")]


@pytest.mark.parametrize("times", [("", "", ""), ("2024-05-01",) * 3])
def test_a_label_that_is_given_again_in_the_same_words_is_the_last_word(
    times: Sequence[str], make_project: MakeProject
) -> None:
    project = make_project()
    labels = ("positive", "negative", "positive")
    rows = [("p-0", label, time) for label, time in zip(labels, times, strict=True)]
    Path("ana.csv").write_bytes(table(("id", "label", "timestamp"), rows))
    for _ in range(2):
        run("ana.csv")
        assert state(project) == [("p-0", "ana", "label", "positive")]


def test_a_text_that_came_back_with_other_blanks_finds_its_item_if_only_one_has_it(
    make_project: MakeProject,
) -> None:
    project = make_project(("so  so\n", "caf\u00e9 noir", "a b", "a  b"))
    texts = (" so so", "cafe\u0301\u00a0noir", "a b ")
    Path("ana.csv").write_bytes(table(("text", "label"), [(text, "neutral") for text in texts]))
    told = run("ana.csv")[1]
    assert "2 answered, 1 unknown ids, 2 with other blanks in the text than asked; 2 new" in told
    assert [item for item, _, _, _ in state(project)] == ["p-0", "p-1"]


def test_pandas_way_with_whole_numbers_is_the_same_id(make_project: MakeProject) -> None:
    tasks = [{**task, "al_id": f"{n}{'.0' * (n == 2)}"} for n, task in enumerate(text_tasks(TEXTS))]
    project = make_project(tasks=tasks)
    write("ana.jsonl", [{"id": float(n), "label": TRUTH[n]} for n in range(3)])
    run("ana.jsonl")
    assert [(item, label) for item, _, _, label in state(project)] == list(
        zip(("0", "1", "2.0"), TRUTH, strict=True)
    )


def test_blanks_around_an_id_are_no_part_of_it_unless_it_was_asked_so(
    make_project: MakeProject,
) -> None:
    tasks = [
        {**one, "al_id": name}
        for one, name in zip(text_tasks(TEXTS), ("7", " 7", "8"), strict=True)
    ]
    project = make_project(tasks=tasks)
    Path("ana.csv").write_text("id,label\n7,positive\n 7,negative\n 8\t,neutral\n")
    run("ana.csv")
    said = [(item, label) for item, _, _, label in state(project)]
    assert said == [(" 7", "negative"), ("7", "positive"), ("8", "neutral")]


def test_blanks_around_a_label_are_no_part_of_it_unless_a_class_has_them(
    make_project: MakeProject,
) -> None:
    project = make_project(("a", "b", "c", "d"), labels=("card", "card ", "loan"))
    rows = [("p-0", "card "), ("p-1", " loan\t"), ("p-2", " card"), ("p-3", "Loan ")]
    Path("ana.csv").write_bytes(table(("id", "label"), rows))
    for new in (3, 0):
        told = run("ana.csv")[1]
        assert f"4 rows: 3 answered, 1 unknown labels; {new} new" in told
    assert "  ana:5: label 'Loan ' is not in labels (did you mean 'loan'?)" in told
    kept = keep_last(collect.answers_in(project.last_round(), ("card", "card ", "loan")))
    assert [answer.label for answer, _ in kept] == ["card ", "loan", "card"]


OWN = {"id": "Ref", "text": "Question", "label": "intent"}  # a project's own names


def own_cells(*columns: str) -> list[list[object]]:
    """Rows of the project's own table, with a number of somebody else's in `id`."""
    cells = [
        {"id": f"p-{2 - n}", "Ref": f"p-{n}", "Question": TEXTS[n], "intent": TRUTH[n],
         "annotation_id": 9, "lead_time": 1.5, "annotator": "1", "channel": "web"}
        for n in range(3)
    ]  # fmt: skip
    return [[cell[column] for column in columns] for cell in cells]


def own_task(n: int) -> Row:
    """A task that was imported into Label Studio by hand, with two questions of choices."""
    made = task(n, {**SECOND, "from_name": "sure"})
    made["annotations"][0]["result"][0]["from_name"] = "intent"
    return {**made, "data": {"Question": TEXTS[n], "id": f"p-{2 - n}"}}


OWN_STUDIO = ("annotation_id", "annotator", "id", "lead_time", "Question", "channel", "intent")
OWN_FILES = {
    "ids.csv": table(("channel", "Ref", "intent"), own_cells("channel", "Ref", "intent")),
    "ids_and_numbers.tsv": table(("id", "intent", "Ref"), own_cells("id", "intent", "Ref"), "\t"),
    "texts.csv": table(("Question", "intent"), own_cells("Question", "intent"), ";"),
    "texts.jsonl": all_of(lambda n: {"Question": TEXTS[n], "label": TRUTH[n], "id": f"p-{2 - n}"}),
    "studio.json": all_of(own_task),
    "studio.csv": table(OWN_STUDIO, own_cells(*OWN_STUDIO)),
    "argilla.json": all_of(lambda n: {**argilla(n), "id": f"p-{2 - n}", "fields": {"Question": TEXTS[n]}}),
    "doccano.jsonl": all_of(lambda n: {"id": n, "Question": TEXTS[n], "label": [TRUTH[n]]}),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN_FILES)
def test_the_projects_own_names_of_columns_are_understood(
    name: str, make_project: MakeProject
) -> None:
    project = make_project(TEXTS, columns=OWN)
    Path(name).write_bytes(OWN_FILES[name])
    assert run(name)[0] == 0
    assert [(item, label) for item, _, _, label in state(project)] == RIGHT


def test_an_own_id_beside_the_text_of_another_item_is_refused(make_project: MakeProject) -> None:
    project = make_project(TEXTS, columns=OWN)
    rows = [("p-0", "good"), ("p-2", "so so"), ("p-1", "good")]
    cells = [(*cell, "neutral") for cell in rows]
    Path("ana.csv").write_bytes(table(("ref", "question", "intent"), cells))
    told = run("ana.csv")[1]
    assert (
        "  ana:4: the text beside id 'p-1' is not the one that was asked: it is that of 'p-0'"
        in told
    )
    assert [item for item, _, _, _ in state(project)] == ["p-0", "p-2"]


def test_names_that_mean_something_in_every_file_are_never_a_projects_own() -> None:
    data = shipped_params({"data": {"id": "annotator", "text": "Answer", "label": "status"}}).data
    assert own_names(data) == {}
    usual = shipped_params({"data": {"id": "id", "text": "text", "label": "label"}}).data
    assert own_names(usual) == {}


def binary(n: int, label: str, verdict: str, at: float | None = 1.0) -> Row:
    base = {
        "text": TEXTS[n],
        "al_id": f"p-{n}",
        "al_batch": "b1",
        "label": label,
        "answer": verdict,
    }
    return {**base, "_view_id": "classification", "_annotator_id": "ds-ana", "_timestamp": at}


def test_one_label_at_a_time_is_the_one_that_was_accepted_and_all_rejected_is_a_skip(
    make_project: MakeProject,
) -> None:
    project = make_project(TEXTS)
    rows = [binary(n, label, "accept" if label == TRUTH[n] else "reject", 1.0 + 10 * k + n)
            for k, label in enumerate(LABELS) for n in (0, 1)]  # fmt: skip
    rows += [binary(2, label, "reject", 90.0) for label in LABELS]
    write("binary.jsonl", rows)
    output = run("binary.jsonl")[1]
    assert (
        "9 rows: 2 answered, 7 labels rejected, 1 items with every offered label rejected; 9 new"
        in output
    )
    assert state(project) == [
        ("p-0", "ana", "label", "positive"), ("p-1", "ana", "label", "negative"), ("p-2", "ana", "skip", None),
    ]  # fmt: skip
    assert "; 0 new" in run("binary.jsonl")[1]


def test_several_labels_accepted_for_one_item_are_a_conflict_and_put_aside(
    make_project: MakeProject,
) -> None:
    project = make_project(TEXTS)
    rows = [
        binary(0, "positive", "accept"),
        binary(0, "negative", "accept", 2.0),
        binary(1, "negative", "accept"),
    ]
    rows.insert(1, binary(0, "neutral", "reject", 1.5))
    write("binary.jsonl", rows)
    output = run("binary.jsonl")[1]
    # The rejected third label is no answer alone: the item is missing, and not skipped.
    assert "4 rows: 1 answered, 3 accepted with several labels; 1 new" in output
    assert "  binary:1: ana accepted several labels for 'p-0': negative, positive" in output
    assert "  missing: p-0, p-2" in output
    assert state(project) == [("p-1", "ana", "label", "negative")]


VERDICTS = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(["accept", "reject", "choose"])), max_size=8
)


@given(VERDICTS, st.randoms())
def test_binary_rows_are_one_word_about_what_was_last_said_of_each_label(
    said: list[tuple[str, str]], random: Any
) -> None:
    pairs = []
    for n, (label, verdict) in enumerate(said):
        one = binary(0, label, verdict, float(n))
        if verdict == "choose":
            one = row(0, label, who="ana", at=float(n))
        pairs.append((read_answer(one, LABELS), n))
    since = max((n for n, (_, verdict) in enumerate(said) if verdict == "choose"), default=-1)
    last = dict(said[since + 1 :])
    accepted = sorted(label for label, verdict in last.items() if verdict == "accept")
    mixed = list(pairs)
    random.shuffle(mixed)
    kept = [(answer.kind, answer.label) for answer, _ in keep_last(mixed)]
    assert conflict_of(pairs) == (accepted if len(accepted) > 1 else [])
    if not said:
        assert kept == []
    elif last:
        assert kept == [("label", accepted[0])] if len(accepted) == 1 else [("skip", None)]
    else:
        assert kept == [("label", said[since][0])]


def test_an_id_of_a_round_that_is_over_is_told_with_its_round(make_project: MakeProject) -> None:
    project = make_project(TEXTS)
    Path("ana.csv").write_text("id,label\np-0,positive\np-1,negative\np-2,neutral\n")
    run("ana.csv")
    write_round(project.root, 2, [{**one, "al_id": f"q-{n}"} for n, one in
                                  enumerate(text_tasks(["x", "y"], batch="b2"))], "b2")  # fmt: skip
    committed(project.root)
    Path("ana.csv").write_text("id,label\np-0,positive\np-1,positive\nq-0,neutral\n")
    output = run("ana.csv")[1]
    assert "ana (csv): 3 rows: 1 answered, 1 of another round, 1 of earlier rounds; 1 new" in output
    assert (
        "  ana:3: id 'p-1' was asked in round 1, which is over; name its batch (al_batch b1…), or use"
        in output
    )
    assert state(project) == [("q-0", "ana", "label", "neutral")]


def test_rows_that_a_hand_put_into_the_answers_combine_as_well(make_project: MakeProject) -> None:
    project = make_project(TEXTS)
    folder = project.last_round().answers
    write_jsonl(folder / "a.jsonl", [binary(0, "positive", "accept", None)])
    write_jsonl(folder / "b.jsonl", [binary(0, "negative", "reject", None)])
    assert state(project) == [("p-0", "ana", "label", "positive")]


def test_collected_rows_keep_what_order_they_came_in() -> None:
    timed = read_answer({**answers_prodigy.answer_row({"al_id": "x"}, label="A", answer="accept", annotator="ana",
                                               dataset="ds", at=5.0)})  # fmt: skip
    later = read_answer({**answers_prodigy.answer_row({"al_id": "x"}, label="B", answer="accept", annotator="ana",
                                               dataset="ds", at=None), "al_order": 1, "al_after": 5.0})  # fmt: skip
    assert [answer.label for answer, _ in keep_last([(later, 1), (timed, 2)])] == ["B"]


def test_a_second_label_accepted_in_a_later_file_is_kept_aside_until_the_first_is_taken_back(
    make_project: MakeProject,
) -> None:
    project = make_project(TEXTS)
    write("first.jsonl", [binary(0, "positive", "accept", None)])
    write("second.jsonl", [binary(0, "negative", "accept", None)])
    run("first.jsonl")
    code, output = run("second.jsonl")
    assert code == 1
    assert "  second:1: ana accepted several labels for 'p-0': negative, positive" in output
    assert state(project) == [("p-0", "ana", "label", "positive")]
    write("back.jsonl", [binary(0, "positive", "reject", None)])
    run("back.jsonl")
    assert run("second.jsonl")[0] == 0
    assert state(project) == [("p-0", "ana", "label", "negative")]


@pytest.mark.parametrize("tool", ["studio", "doccano", "argilla"])
def test_a_tools_own_number_alone_names_no_item(tool: str, make_project: MakeProject) -> None:
    project = make_project(TEXTS)
    rows = {
        "studio": {"id": "p-1", "annotation_id": 1, "lead_time": 1, "label": "positive"},
        "doccano": {"id": "p-1", "label": ["positive"]},
        "argilla": {"id": "p-1", "label.responses": ["positive"], "label.responses.users": ["u"],
                    "label.responses.status": ["submitted"]},
    }  # fmt: skip
    Path("answers.json").write_text(json.dumps([rows[tool]]))
    code, output = run("answers.json")
    assert code == 1
    assert (
        "nothing but the tool's own number 'p-1' says which item it is: export it with its text"
        in output
    )
    assert state(project) == []


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1714564800", 1714564800.0),
        ("1714564800123", 1714564800.123),
        ("1714564800123456", 1714564800.123456),
        ("1714564800123456789", 1714564800.1234567),
        ("2024-05-01 12:00:00 UTC", 1714564800.0),
        ("20240501", None),
        ("01/05/2024", None),
        ("2024-13-45", None),
        ("-1", None),
        ("1e30", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_times_are_seconds_or_parts_of_them_or_iso_8601_and_never_guessed(
    written: str, seconds: float | None
) -> None:
    _, items = formats.read(Path("a.csv"), f"id,label,timestamp\np-0,A,{written}\n".encode())
    assert items[0].row is not None
    assert items[0].row.get("_timestamp") == seconds
    assert bool(items[0].notes) == (seconds is None)


MIXED = st.one_of(
    st.builds(lambda n, label: {**row(n, label), "_timestamp": None}, st.integers(0, 1), st.sampled_from(LABELS)),
    st.builds(row, st.integers(0, 1), st.sampled_from(LABELS), at=st.sampled_from([1.0, 2.0])),
    st.builds(
        lambda n, label, verdict, at: {**binary(n, label, verdict, at), "_annotator_id": "ds-alex"},
        st.integers(0, 1), st.sampled_from(LABELS), st.sampled_from(["accept", "reject", "ignore"]),
        st.sampled_from([None, 1.0, 2.0]),
    ),
)  # fmt: skip


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(MIXED, min_size=1, max_size=4), min_size=1, max_size=3))
def test_a_file_collected_again_at_once_adds_nothing(files: list[list[Row]]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        project = bare_project(root)
        for number, rows in enumerate(files):
            export = root / f"part-{number}.jsonl"
            write_jsonl(export, rows)
            collect.collect(project, [export])
            after = state(project)
            assert "; 0 new" in collect.collect(project, [export])[0][0]
            assert state(project) == after
    finally:
        shutil.rmtree(root)
