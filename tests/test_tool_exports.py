"""Exports of annotation tools given as seed: only what people accepted is a label, and what is none
is counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from rounds.table_readers import Intake
from rounds.tool_exports import labelled, tool_of
from stages.contract.errors import PipelineError
from stages.examples.tables import Table

Rows = Sequence[Mapping[str, Any]]


def table(rows: Rows) -> Intake:
    """Rows as the reader of JSON leaves them: a key that a row lacks is an empty cell."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name, "") for row in rows] for name in names}
    return Intake(Table("x.jsonl", columns, range(1, len(rows) + 1)))


def outcome(rows: Rows, *, whole: bool = False) -> tuple[dict[str, str], str]:
    """The label of each text, and the note."""
    intake = labelled(table(rows), "label", also_unlabelled=whole)
    columns = intake.table.columns
    return dict(zip(columns["text"], columns["label"], strict=True)), intake.notes[-1].removeprefix(
        "x.jsonl: "
    )


def binary(text: str, label: str, answer: str, person: str = "ada") -> dict[str, str]:
    return {"text": text, "label": label, "answer": answer, "_annotator_id": f"d-{person}"}


def test_a_rejected_label_is_no_label() -> None:
    rows = [
        binary("t1", "A", "accept"),
        binary("t2", "A", "reject"),
        binary("t3", "B", "ignore"),
        binary("t4", "B", "accept"),
    ]
    assert outcome(rows) == (
        {"t1": "A", "t4": "B"},
        "an export of Prodigy, read by its answers: 2 labels; no labels: 2 rejected, ignored or not answered",
    )
    assert outcome(rows, whole=True)[0] == {"t1": "A", "t2": "", "t3": "", "t4": "B"}


def test_one_label_at_a_time_is_the_one_accepted_and_two_are_a_conflict() -> None:
    rows = [binary("t1", "A", "accept"), binary("t1", "B", "reject"), binary("t1", "C", "reject")]
    rows += [binary("t2", "A", "accept"), binary("t2", "B", "accept")]
    told, note = outcome(rows)
    assert told == {"t1": "A"}
    assert note.endswith("1 labels; no labels: 1 on which answers differ")


def choice(text: str, accept: list[str], answer: str, person: str = "ada") -> dict[str, Any]:
    options = [{"id": "A", "text": "A"}, {"id": "B", "text": "B"}]
    return {
        "text": text,
        "options": options,
        "accept": accept,
        "answer": answer,
        "_annotator_id": f"d-{person}",
    }


def test_choices_count_only_when_accepted_and_the_last_word_of_a_person_counts() -> None:
    rows = [
        choice("t1", ["A"], "accept"),
        choice("t1", ["B"], "accept"),
        choice("t2", ["A"], "reject"),
    ]
    assert outcome(rows)[0] == {"t1": "B"}


def test_the_majority_of_people_decides_and_a_tie_is_no_label() -> None:
    rows = [
        choice("t1", [label], "accept", person)
        for label, person in [("A", "x"), ("B", "y"), ("A", "z")]
    ]
    rows += [choice("t2", [label], "accept", person) for label, person in [("A", "x"), ("B", "y")]]
    told, note = outcome(rows)
    assert told == {"t1": "A"}
    assert note.endswith("no labels: 1 on which answers differ")


def test_label_studio_argilla_and_flat_exports_are_read_by_their_answers() -> None:
    def task(text: str, *said: str) -> dict[str, Any]:
        results = [
            [{"from_name": "c", "type": "choices", "value": {"choices": [word]}}] for word in said
        ]
        annotations = [
            {"result": result, "completed_by": person}
            for person, result in enumerate(results, start=1)
        ]
        return {"id": 7, "data": {"text": text, "nr": f"k-{text}"}, "annotations": annotations}

    assert outcome([task("t1", "A", "B", "B"), task("t2", "A", "B"), task("t3")])[0] == {"t1": "B"}
    kept = labelled(table([task("t1", "A")]), "label").table.columns
    assert kept == {"text": ["t1"], "nr": ["k-t1"], "label": ["A"]}

    responses = {"label.responses": ["A", "B"], "label.responses.users": ["u", "v"]}
    argilla = [
        {
            "id": "a",
            "text": "t1",
            **responses,
            "label.responses.status": ["submitted", "discarded"],
        },
        {"id": "b", "text": "t2", "label.responses": None},
    ]
    assert outcome(argilla)[0] == {"t1": "A"}

    flat = [
        {"id": row, "text": f"t{row}", "annotation_id": 9, "lead_time": 1.5} for row in (1, 1, 2)
    ]
    people = [
        {**row, "annotator": who, "label": word}
        for row, who, word in zip(flat, "xyx", ["A", "B", "A"], strict=True)
    ]
    assert outcome(people)[0] == {"t2": "A"}


def test_doccanos_annotations_of_several_people_are_settled_and_numbered_labels_refused() -> None:
    def example(text: str, *labels: object) -> dict[str, Any]:
        said = [{"label": label, "user": user} for user, label in enumerate(labels)]
        return {"id": 4, "text": text, "annotations": said, "meta": {"source": "web"}}

    rows = [example("t1", "A", "B", "B"), example("t2"), example("t3", "A")]
    note = "an export of doccano, read by its answers: 2 labels; "
    note += "no labels: 1 rejected, ignored or not answered"
    assert outcome(rows) == ({"t1": "B", "t3": "A"}, note)
    with pytest.raises(PipelineError, match=r"x.jsonl:1: .*doccano.*labels are numbers without"):
        labelled(table([example("t1", 3)]), "label")


def hub(text: str, *said: tuple[str | None, str]) -> dict[str, Any]:
    """A record of Argilla 1 as the Hub keeps it: the question's column holds the responses."""
    responses = [
        {"user_id": f"u{person}", "value": value, "status": status}
        for person, (value, status) in enumerate(said)
    ]
    return {"text": text, "label": responses, "label-suggestion": "B", "external_id": f"k-{text}"}


def test_argillas_records_from_the_hub_are_read_by_their_responses() -> None:
    rows = [
        hub("t1", ("A", "submitted")),
        hub("t2", (None, "discarded")),
        hub("t3"),
        hub("t4", ("B", "draft"), ("A", "submitted")),
    ]
    note = "an export of Argilla, read by its answers: 2 labels; "
    note += "no labels: 2 rejected, ignored or not answered"
    assert outcome(rows) == ({"t1": "A", "t4": "A"}, note)
    kept = labelled(table(rows[:1]), "label").table.columns
    assert kept == {"text": ["t1"], "external_id": ["k-t1"], "label": ["A"]}


def test_argillas_question_of_another_name_is_the_column_of_labels() -> None:
    rows = [
        {"text": "t1", "mood.responses": ["A"], "mood.responses.users": ["u"], **other}
        for other in [{"topic.responses": ["x"], "topic.responses.users": ["u"]}]
    ]
    kept = labelled(table(rows), "mood").table.columns
    assert kept == {"text": ["t1"], "mood": ["A"]}


def test_text_classification_records_of_argilla_1_have_their_label_in_annotation() -> None:
    record = {"id": "a", "inputs": {"text": "t1"}, "annotation": "A", "annotation_agent": "u"}
    rows = [
        {**record, "status": "Validated", "text": "t1", "multi_label": False},
        {**record, "status": "Default", "inputs": {"text": "t2"}, "annotation": None},
    ]
    assert outcome(rows)[0] == {"t1": "A"}
    assert list(labelled(table(rows), "label").table.columns) == ["text", "id", "label"]


def test_what_python_prints_of_argillas_responses_is_refused_by_name() -> None:
    cell = "[{'user_id': 'u1', 'value': None, 'status': 'discarded'}]"
    with pytest.raises(
        PipelineError, match=r"x.jsonl:1: a row of an export of Argilla that cannot"
    ):
        labelled(table([{"text": "t", "label": cell}]), "label")
    as_json = json.dumps(hub("t", ("A", "submitted"))["label"])
    assert outcome([{"text": "t", "label": as_json}])[0] == {"t": "A"}


def test_what_was_skipped_in_label_studios_flat_export_is_no_label() -> None:
    row = {"id": 1, "text": "t1", "annotation_id": 9, "lead_time": "", "annotator": "x"}
    rows = [
        {**row, "label": "A", "was_cancelled": "True"},
        {**row, "id": 2, "text": "t2", "label": "B", "was_cancelled": "False"},
    ]
    assert outcome(rows)[0] == {"t2": "B"}
    assert list(labelled(table(rows), "label").table.columns) == ["id", "text", "label"]


def test_two_peoples_notes_do_not_make_two_examples_of_one_flat_task() -> None:
    row = {"id": 1, "text": "t1", "annotation_id": 9, "lead_time": 1.5}
    rows = [
        {**row, "annotator": person, "note": person, "label": label}
        for person, label in [("x", "A"), ("y", "B"), ("z", "B")]
    ]
    assert outcome(rows)[0] == {"t1": "B"}
    assert len(labelled(table(rows), "label").table) == 1


def test_a_table_of_labels_is_no_export() -> None:
    plain = table([{"text": "t", "label": "A"}])
    assert labelled(plain, "label") is plain
    quiz = table([{"text": "t", "answer": "Paris", "label": "A"}])
    assert tool_of(quiz.table, "label") is None
    assert (
        tool_of(table([{"text": "t", "answer": "accept"}]).table, "answer") is None
    )  # classes of the user's


def test_an_answer_that_cannot_be_read_is_refused_at_its_line() -> None:
    with pytest.raises(PipelineError) as caught:
        labelled(
            table([choice("t1", ["A"], "accept"), choice("t2", ["A", "B"], "accept")]), "label"
        )
    assert str(caught.value) == (
        "x.jsonl:2: a row of an export of Prodigy that cannot be read: 2 choices (A, B) where one label is asked for; "
        "repair or remove the row"
    )
    with pytest.raises(
        PipelineError,
        match="0 labels, no labels: 1 rejected, ignored or not answered; leave it out",
    ):
        labelled(table([binary("t", "A", "reject")]), "label")
