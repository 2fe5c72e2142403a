"""The shapes of real exports: which label each row gives, and which rows give none."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.surfaces import formats
from rounds.surfaces.formats.argilla import NO_STATUS
from rounds.surfaces.formats.label_studio import ASIDE
from stages.answers import prodigy as answers_prodigy
from stages.contract.errors import PipelineError

Seen = tuple[str | None, str | None, str, str | None, str]


def seen(data: bytes) -> list[Seen | str]:
    """(al_id, bare id, kind, label, annotator) of every answer; of any other row why there is
    none.
    """
    result: list[Seen | str] = []
    for item in formats.read(Path("ana (1).csv"), data)[1]:
        if item.row is None:
            result.append(item.why)
            continue
        answer = answers_prodigy.read_answer(item.row, ["A", "B", "C"])
        result.append((answer.id, item.bare_id, answer.kind, answer.label, answer.annotator))
    return result


def notes(data: bytes) -> list[tuple[str, ...]]:
    return [item.notes for item in formats.read(Path("ana.json"), data)[1]]


def array(*rows: Any) -> bytes:
    return json.dumps(rows).encode()


# Label Studio


def choices(control: str, *labels: str) -> dict[str, Any]:
    value = {"choices": list(labels)}
    return {"from_name": control, "to_name": "item", "type": "choices", "value": value}


def task(n: int, *results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    annotation = {"completed_by": 4, "was_cancelled": False, "result": list(results), **changes}
    return {"id": n, "data": {"text": f"t{n}", "al_id": f"p-{n}"}, "annotations": [annotation]}


RELATION = {"from_id": "x", "to_id": "y", "type": "relation", "direction": "right"}  # no `value`


def test_a_relation_of_label_studio_has_no_value_and_costs_no_label() -> None:
    data = array(task(1, choices("label", "A"), RELATION))
    assert seen(data) == [("p-1", None, "label", "A", "4")]
    assert notes(data) == [(ASIDE,)]


def test_a_second_question_that_was_answered_alone_is_no_label() -> None:
    """Both questions have a class B: only the file as a whole tells which one is the label."""
    data = array(
        task(1, choices("label", "A"), choices("sure", "B")), task(2, choices("sure", "B"))
    )
    assert seen(data) == [("p-1", None, "label", "A", "4"), ("p-2", None, "empty", None, "4")]
    apart = array(task(1, choices("mood", "A")), task(2, choices("topic", "B")))
    assert seen(apart) == ["`mood`, `topic` may each be the label: name one of them `label`"] * 2


def test_what_a_model_predicted_or_nobody_submitted_is_no_label() -> None:
    said = {"result": [choices("label", "B")], "completed_by": 9}
    guessed = {**task(1, choices("label", "A")), "predictions": [said], "drafts": [said]}
    unseen = {**task(2), "annotations": [], "predictions": [said], "drafts": [said]}
    assert seen(array(guessed, unseen)) == [("p-1", None, "label", "A", "4"), ""]


def test_a_skip_needs_no_question() -> None:
    skipped = task(3, was_cancelled=True)
    data = array(task(1, choices("mood", "A")), task(2, choices("topic", "B")), skipped)
    assert seen(data)[2] == ("p-3", None, "skip", None, "4")


FLAT = "annotation_id,annotator,created_at,id,lead_time,{},text,updated_at,was_cancelled\n"


def flat(control: str, *cells: tuple[str, bool]) -> bytes:
    rows = [
        f'{n},a@b.c,,{n},3.1,"{label}",t{n},,{cancelled}\n'
        for n, (label, cancelled) in enumerate(cells)
    ]
    return (FLAT.format(control) + "".join(rows)).encode()


def test_what_was_skipped_in_label_studios_csv_is_a_skip_whatever_was_chosen_before() -> None:
    assert seen(flat("label", ("A", False), ("B", True), ("", True), ("", False))) == [
        (None, "0", "label", "A", "a@b.c"),
        (None, "1", "skip", None, "a@b.c"),
        (None, "2", "skip", None, "a@b.c"),
        (None, "3", "empty", None, "a@b.c"),
    ]


def test_the_label_of_a_flat_export_may_stand_under_the_only_control_of_another_name() -> None:
    assert seen(flat("mood", ("A", False))) == [(None, "0", "label", "A", "a@b.c")]
    row = {"annotation_id": 1, "annotator": 4, "id": 7, "lead_time": 1.5, "text": "t"}
    assert seen(array({**row, "mood": "A", "topic": "B"})) == [
        "`mood`, `topic` may each be the label: name one of them `label`"
    ]
    assert seen(array(row)) == [
        "no column `label` in Label Studio's row (it has annotation_id, annotator, id, lead_time, text)"
    ]


def test_a_flat_row_without_the_control_was_submitted_empty() -> None:
    row = {"annotation_id": 1, "annotator": 4, "id": 7, "lead_time": 1.5, "text": "t"}
    data = array({**row, "label": "A", "note": "hm"}, {**row, "note": "hm"})
    assert seen(data) == [(None, "7", "label", "A", "4"), (None, "7", "empty", None, "4")]
    several = array({**row, "label": {"choices": ["A", "B"]}})
    assert seen(several) == ["2 labels (A, B) where one is asked for"]


# Argilla


def record(n: int, **cells: Any) -> dict[str, Any]:
    """A flattened record of Argilla 2, as its file and the Hub have it."""
    return {"id": f"u{n}", "status": "pending", "_server_id": f"s{n}", "text": f"t{n}", **cells}


def responses(labels: list[Any], states: list[Any]) -> dict[str, Any]:
    users = [f"w{n}" for n in range(len(labels))]
    name = "label.responses"
    return {name: labels, f"{name}.users": users, f"{name}.status": states}


def test_argillas_flattened_records_give_every_submitted_response() -> None:
    answered = responses(["A", "B", None, 3], ["submitted", "draft", "discarded", "submitted"])
    unanswered = dict.fromkeys(answered)  # to_list fills records without responses up with null
    assert seen(array(record(1, **answered), record(2, **unanswered))) == [
        (None, "u1", "label", "A", "w0"),
        "",
        (None, "u1", "skip", None, "w2"),
        (None, "u1", "label", "3", "w3"),
        "",
    ]
    assert seen(array(record(1, **responses([["A"], ["A", "B"]], ["submitted"] * 2)))) == [
        (None, "u1", "label", "A", "w0"),
        "2 labels (A, B) where one is asked for",
    ]


def test_a_response_without_a_status_is_taken_as_submitted_and_counted() -> None:
    null = responses(["A"], [None])
    without = {name: cell for name, cell in null.items() if not name.endswith(".status")}
    nested = {"fields": {"text": "t1"}, "metadata": {"al_id": "p-1"}, "status": "pending"}
    nested["responses"] = {"label": [{"value": "A", "user_id": "w0"}]}
    data = array(record(1, **null), record(2, **without))
    assert [one[3] for one in seen(data) if one] == ["A", "A"]
    assert notes(data) == [(NO_STATUS,)] * 2
    assert seen(array(nested)) == [("p-1", None, "label", "A", "w0")]
    assert notes(array(nested)) == [(NO_STATUS,)]
    assert notes(array(record(1, **responses(["A"], ["submitted"])))) == [()]


def test_a_record_that_answers_another_question_alone_has_no_label() -> None:
    sure = {"sure": [{"value": "B", "user_id": "w0"}]}
    both = {"fields": {}, "responses": {"label": [{"value": "A", "user_id": "w0"}], **sure}}
    assert seen(array(both, {"fields": {}, "responses": sure})) == [
        (None, None, "label", "A", "w0"),
        "",
    ]


def test_argillas_table_by_columns_is_read_by_row() -> None:
    rows = [
        record(1, **responses(["A"], ["submitted"])),
        record(2, **responses(["B"], ["submitted"])),
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert seen(json.dumps(columns).encode()) == seen(array(*rows))


def test_argillas_lists_in_a_csv_are_read_as_json_and_else_refused() -> None:
    header = b"id,text,label.responses,label.responses.users,label.responses.status\n"
    good = b'u,t,"[""A"", ""B""]","[""w"", ""x""]","[""submitted"", ""submitted""]"\n'
    assert [one[3:] for one in seen(header + good)] == [("A", "w"), ("B", "x")]
    bad = seen(header + b"u,t,['A' 'B'],['w' 'x'],['submitted' 'submitted']\n")
    assert bad == ["\"['A' 'B']\" is no list: export as JSON, since a CSV cannot hold lists"]


def test_feedback_records_of_argilla_1_from_the_hub() -> None:
    answers = [
        {"user_id": "w0", "value": "A", "status": "submitted"},
        {"user_id": "w1", "value": None, "status": "discarded"},
        {"user_id": "w2", "value": "B", "status": "draft"},
    ]
    row = {"text": "t", "label-suggestion": None, "external_id": "p-1", "metadata": "{}"}
    kept = '{"al_id": "p-2", "al_batch": "b1"}'
    data = array({**row, "label": answers}, {**row, "label": answers[:1], "metadata": kept})
    assert seen(data) == [
        (None, "p-1", "label", "A", "w0"),
        (None, "p-1", "skip", None, "w1"),
        "",
        ("p-2", "p-1", "label", "A", "w0"),
    ]
    assert seen(array({**row, "label": answers}, {**row, "label": []}))[-1] == ""


def test_text_classification_records_of_argilla_1() -> None:
    row = {"inputs": {"text": "t"}, "prediction": [{"label": "B", "score": 0.9}], "id": "u"}
    states = [("A", "Validated"), (None, "Discarded"), (None, "Default"), ("B", "Edited")]
    data = array(
        *({**row, "annotation": a, "annotation_agent": "bo", "status": s} for a, s in states)
    )
    assert seen(data) == [
        (None, "u", "label", "A", "bo"),
        (None, "u", "skip", None, "bo"),
        "",
        "",
    ]


# doccano


def test_doccanos_annotations_are_read_where_their_labels_have_names() -> None:
    row = {"id": 1, "text": "t", "meta": {"al_id": "p-1"}, "annotation_approver": None}
    named = {**row, "annotations": [{"label": "A", "user": 3}, {"label": "B", "user": 5}]}
    numbered = {**row, "annotations": [{"label": 2, "user": 3}]}
    assert seen(array({**row, "annotations": []}, named, numbered)) == [
        "",
        ("p-1", "1", "label", "A", "3"),
        ("p-1", "1", "label", "B", "5"),
        "its labels are numbers without names: export as JSONL with labels",
    ]


def test_a_label_beside_empty_annotations_is_doccanos() -> None:
    row = {"id": 1, "text": "t", "label": ["A"], "annotations": []}
    assert formats.read(Path("ana.jsonl"), array(row))[0] == "doccano"
    assert seen(array(row)) == [(None, "1", "label", "A", "ana")]


def test_doccanos_images_keep_their_file_names() -> None:
    items = formats.read(Path("ana.jsonl"), array({"filename": "cat.png", "label": ["A"]}))[1]
    assert [item.row["path"] for item in items if item.row] == ["cat.png"]


# Plain tables


@pytest.mark.parametrize("which", ["al_id", "text", "id"])
def test_a_table_with_verdicts_is_a_plain_one_and_keeps_its_annotators(which: str) -> None:
    data = f"{which},label,annotator,answer\np-1,A,bo,\np-2,B,cy,accept\np-3,C,,reject\n".encode()
    name, items = formats.read(Path("ana.csv"), data)
    answers = [answers_prodigy.read_answer(item.row) for item in items if item.row]
    said = [(answer.kind, answer.label, answer.annotator) for answer in answers]
    assert (name, said) == (
        "csv",
        [("label", "A", "bo"), ("label", "B", "cy"), ("reject", None, "ana")],
    )


def test_a_json_row_with_a_verdict_and_an_annotator_is_a_plain_one() -> None:
    row = {"al_id": "p-1", "label": "A", "annotator": "bo", "answer": "accept"}
    assert seen(array(row)) == [("p-1", None, "label", "A", "bo")]
    numbered = {"al_id": 7, "accept": ["A"], "answer": "accept", "_session_id": "ds-cy"}
    assert seen(array(numbered)) == [("7", None, "label", "A", "cy")]
    prodigy = {"al_id": "p-1", "label": "A", "answer": "accept", "_session_id": "ds-cy"}
    assert seen(array({**prodigy, "annotator": "bo"})) == [("p-1", None, "label", "A", "cy")]


def test_whole_numbers_are_ids_too_and_identities_may_stand_in_metadata() -> None:
    assert seen(array({"al_id": 7, "label": "A"})) == [("7", None, "label", "A", "ana")]
    meta = {"text": "t", "label": "A", "meta": {"al_id": "p-1"}}
    assert seen(array(meta)) == [("p-1", None, "label", "A", "ana")]
    studio = task(1, choices("label", "A"))
    studio["data"]["al_id"] = 7
    assert seen(array(studio)) == [("7", None, "label", "A", "4")]


def test_a_label_that_is_no_text_is_refused_by_its_value() -> None:
    rows = array({"id": "a", "label": 1.5}, {"id": "b", "label": True})
    assert seen(rows) == ["label 1.5 is not a text", "label True is not a text"]


PLAIN = [(None, "p-1", "label", "A", "ana"), (None, "p-2", "label", "B", "ana")]


@pytest.mark.parametrize(
    "data",
    [
        b'"sep=;"\r\nid;label\r\np-1;A\r\np-2;B\r\n',
        b"sep=\t\r\nid\tlabel\r\np-1\tA\r\np-2\tB\r\n",
        b"id|label\np-1|A\np-2|B\n",
        b"id,label,,\np-1,A\np-2,B,,,,,\n,,,\n  ,\n",
        '[{"id": "p-1", "label": "A"}, {"id": "p-2", "label": "B"}]'.encode("utf-16"),
        '{"id": "p-1", "label": "A"}\r\n{"id": "p-2", "label": "B"}\r\n'.encode("utf-16"),
        b'{"id": {"0": "p-1", "1": "p-2"}, "label": {"0": "A", "1": "B"}}',
    ],
)
def test_the_same_table_in_the_ways_of_spreadsheets_shells_and_pandas(data: bytes) -> None:
    assert seen(data) == PLAIN


def test_prodigys_rows_through_a_windows_shell_are_utf_16() -> None:
    row = {"text": "t", "accept": ["A"], "answer": "accept", "_session_id": "ds-cy"}
    data = (json.dumps(row) + "\r\n").encode("utf-16")
    assert seen(data) == [(None, None, "label", "A", "cy")]
    assert notes(data) == [("read as UTF-16",)]


def test_a_workbook_may_begin_with_an_empty_sheet_and_blank_rows() -> None:
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer) as book:
        pd.DataFrame().to_excel(book, sheet_name="Cover", index=False)
        table = pd.DataFrame({"id": ["p-1", None, "p-2"], "label": ["A", None, "B"]})
        table.to_excel(book, sheet_name="Answers", index=False, startrow=2)
    assert seen(buffer.getvalue()) == PLAIN
    lines = [item.line for item in formats.read(Path("ana.xlsx"), buffer.getvalue())[1]]
    assert lines == [4, 6]


def test_a_missing_cell_of_python_or_pandas_is_no_label_no_person_and_no_id() -> None:
    data = b'[{"al_id": "p-1", "label": "A", "annotator": NaN}, {"al_id": "p-2", "label": NaN}]'
    assert seen(data) == [("p-1", None, "label", "A", "ana"), ("p-2", None, "skip", None, "ana")]
    numbered = array({"al_id": "p-1", "label": "A", "annotator": 3.0, "id": 8.0})
    assert seen(numbered) == [("p-1", "8.0", "label", "A", "3")]


def test_blanks_around_a_name_make_no_other_person_and_a_list_is_nobodys_name() -> None:
    assert seen(b"al_id,label,annotator\np-1,A, bo \n") == [("p-1", None, "label", "A", "bo")]
    several = array({"al_id": "p-1", "label": "A", "annotator": ["bo", "cy"]})
    assert seen(several) == ["the annotator is ['bo', 'cy'], not a text"]


def test_a_parquet_file_is_read_by_its_rows() -> None:
    buffer = io.BytesIO()
    hub = {"text": "t", "label": [{"user_id": "w", "value": "A", "status": "submitted"}]}
    pd.DataFrame([hub]).to_parquet(buffer)
    assert seen(buffer.getvalue()) == [(None, None, "label", "A", "w")]
    with pytest.raises(PipelineError, match="not a Parquet file"):
        formats.read(Path("torn.parquet"), buffer.getvalue()[:40])


def test_bytes_of_no_table_are_told_without_control_signs() -> None:
    with pytest.raises(PipelineError) as error:
        formats.read(Path("x.gz"), b"\x1f\x8b\x08\x00\xff")
    assert str(error.value).isprintable()


def test_a_zip_archive_is_to_be_unpacked() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("all.jsonl", "{}")
    with pytest.raises(PipelineError) as error:
        formats.read(Path("project.zip"), buffer.getvalue())
    assert str(error.value) == "project.zip: a zip archive; unpack it, and collect the files in it"


SHAPES = [
    task(1, choices("label", "A"), RELATION),
    {"annotation_id": 1, "annotator": 4, "id": 7, "lead_time": 1.5, "text": "t", "label": "A"},
    record(1, **responses(["A"], ["submitted"])),
    {
        "fields": {"text": "t"},
        "metadata": {},
        "responses": {"label": [{"value": "A", "user_id": "w"}]},
    },
    {"fields": {}, "responses": [{"values": {"label": {"value": "A"}}, "user_id": "w"}]},
    {
        "text": "t",
        "label": [{"user_id": "w", "value": "A", "status": "submitted"}],
        "metadata": "{}",
    },
    {"inputs": {"text": "t"}, "annotation": "A", "annotation_agent": "w", "status": "Validated"},
    {"id": 1, "text": "t", "annotations": [{"label": "A", "user": 3}]},
]
ODD = st.sampled_from(
    [None, True, 1, 1e308, "", "{", "[1]", [], {}, [[]], [{}], {"a": []}, [None, 2]]
)


def mutated(value: Any, data: st.DataObject) -> Any:
    """The value with one odd thing somewhere in it."""
    inner = (
        list(value)
        if isinstance(value, dict)
        else list(range(len(value)))
        if isinstance(value, list)
        else []
    )
    if not inner or data.draw(st.integers(0, 3)) == 0:
        return data.draw(ODD)
    where = data.draw(st.sampled_from(inner))
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[where] = mutated(value[where], data)
    return copy


@given(st.sampled_from(SHAPES), st.data())
def test_an_odd_value_anywhere_costs_no_other_row(
    shape: dict[str, Any], data: st.DataObject
) -> None:
    tool = formats.read(Path("ana.json"), array(shape))[0]
    rows = array(shape, mutated(shape, data))
    items = formats.read(Path("ana.json"), rows, tool)[1]
    assert {item.line for item in items} == {1, 2}
    assert all(item.row is None or not item.why for item in items)
