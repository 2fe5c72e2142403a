"""Every kind of row that Prodigy is known to write, understood."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.answers import prodigy
from stages.answers.prodigy import NotAnAnswer, answer_row, input_hash, keep_last, read_answer
from tests.surfaces.conftest import LABELS, text_tasks

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
CHOICE = {"text": "hi", "options": [{"id": "POS"}], "_view_id": "choice"}


@pytest.mark.parametrize(
    ("row", "kind", "label"),
    [
        ({**CHOICE, "accept": ["POS"], "answer": "accept"}, "label", "POS"),
        ({**CHOICE, "accept": [], "answer": "accept"}, "empty", None),
        ({**CHOICE, "answer": "accept"}, "empty", None),
        ({**CHOICE, "accept": ["POS"], "answer": "reject"}, "reject", None),
        ({**CHOICE, "accept": ["POS"], "answer": "ignore"}, "skip", None),
        (
            {"text": "hi", "accept": ["POS"], "answer": "accept", "_session_id": None},
            "label",
            "POS",
        ),
        (
            {"text": "hi", "label": "SPAM", "answer": "accept", "_view_id": "classification"},
            "label",
            "SPAM",
        ),
        (
            {"text": "hi", "label": "SPAM", "answer": "reject", "_view_id": "classification"},
            "skip",
            None,
        ),
        ({"text": "hi", "label": "SPAM", "answer": "ignore"}, "skip", None),
        (
            {**CHOICE, "config": {"choice_style": "multiple"}, "accept": ["A"], "answer": "accept"},
            "label",
            "A",
        ),
        (
            {**CHOICE, "accept": ["POS"], "answer": "accept", "sessions": ["a"], "versions": [{}]},
            "override",
            "POS",
        ),
        (
            {**CHOICE, "accept": [], "answer": "reject", "sessions": ["a"], "versions": [{}]},
            "reject",
            None,
        ),
    ],
)
def test_each_kind_of_row_is_understood(
    row: dict[str, object], kind: str, label: str | None
) -> None:
    answer = read_answer(row)
    assert (answer.kind, answer.label) == (kind, label)


def test_with_two_labels_a_rejected_binary_label_is_the_other_one() -> None:
    row = {"text": "hi", "label": "SPAM", "answer": "reject"}
    assert read_answer(row, ["SPAM", "HAM"]).label == "HAM"
    assert read_answer(row, ["SPAM", "HAM", "OTHER"]).kind == "skip"
    assert read_answer(row, ["A", "B"]).kind == "skip"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"text": "hi"}, "it has no `answer`"),
        ({"answer": "maybe"}, "`answer` is 'maybe', not accept, reject or ignore"),
        ({"answer": 1}, "`answer` is 1, not a text"),
        (
            {"accept": ["A", "B"], "answer": "accept"},
            "2 choices (A, B) where one label is asked for",
        ),
        (
            {"accept": "A", "answer": "accept"},
            "it was accepted, and has neither a list `accept` nor a `label`",
        ),
        ({"accept": [3], "answer": "accept"}, "`accept` is [3], not a list of labels"),
        ({"label": None, "answer": "accept"}, "`label` is null"),
        ({"al_id": 7, "answer": "ignore"}, "`al_id` is 7, not a text"),
        ({"answer": "ignore", "_timestamp": "now"}, "`_timestamp` is 'now', not a time in seconds"),
        (
            {"answer": "ignore", "_timestamp": float("nan")},
            "`_timestamp` is nan, not a time in seconds",
        ),
        ({"answer": "ignore", "_timestamp": True}, "`_timestamp` is True, not a time in seconds"),
        ({"answer": "ignore", "flagged": "yes"}, "`flagged` is 'yes', not true or false"),
    ],
)
def test_a_malformed_row_says_why(row: dict[str, object], why: str) -> None:
    with pytest.raises(NotAnAnswer) as caught:
        read_answer(row)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({"_annotator_id": "ds-alex"}, "alex"),
        ({"_annotator_id": "ds-mary-ann"}, "mary-ann"),
        ({"_annotator_id": "my-ds-alex", "al_dataset": "my-ds"}, "alex"),
        ({"_annotator_id": "ds-J%C3%BCrgen%20K."}, "Jürgen K."),
        ({"_annotator_id": "ds_review-boss"}, "boss"),
        ({"_annotator_id": "ds-2024-05-01_12-00-07"}, "anonymous"),
        ({"_annotator_id": "my-ds-2024-05-01_12-00-07"}, "anonymous"),
        ({"_annotator_id": "2024-05-01_12-00-07"}, "anonymous"),
        ({"_session_id": "ds-alex"}, "alex"),
        ({"_session_id": None}, "anonymous"),
        ({"_annotator_id": "alex"}, "alex"),
        ({"_annotator_id": "ds-%ff"}, "�"),
        ({}, "anonymous"),
    ],
)
def test_the_annotator_is_the_session_without_the_dataset(
    keys: dict[str, object], name: str
) -> None:
    assert read_answer({"answer": "ignore", **keys}).annotator == name


def test_the_input_hash_is_prodigys() -> None:
    assert input_hash({"text": "hi my name is 0"}) == -784135307
    assert input_hash({"text": "hi my name is 0", "label": "X", "meta": {}}) == -784135307


def test_a_stripped_picture_keeps_the_hash_it_had() -> None:
    task = prodigy.task(
        {"image": "data:image/png;base64,AA==", "path": "a.png"},
        LABELS,
        al_id="x",
        batch_id="b",
        rank=1,
        score=0,
    )
    row = answer_row(
        task, label="positive", answer="accept", annotator="alex", dataset="ds", at=1.0
    )
    assert "image" not in row
    assert row["path"] == "a.png"
    assert read_answer(row).input_hash == input_hash(task)
    assert read_answer({**row, "image": "a.png"}).input_hash == input_hash(task)


def test_a_table_of_fields_gets_a_text_that_prodigy_can_show() -> None:
    task = prodigy.task(
        {"fields": {"age": 7, "name": "Bo"}}, LABELS, al_id="x", batch_id="b", rank=1, score=0
    )
    assert task["text"] == "age: 7\nname: Bo"
    assert task["fields"] == {"age": 7, "name": "Bo"}


@given(text=ANY_TEXT, name=st.text(min_size=1), dataset=st.text("abc-_", min_size=1))
def test_any_text_and_any_name_come_back_from_task_answer_json_and_reading(
    text: str, name: str, dataset: str
) -> None:
    task = prodigy.task({"text": text}, LABELS, al_id="x", batch_id="b", rank=1, score=0)
    row = answer_row(
        task, label="neutral", answer="accept", annotator=name, dataset=dataset, at=3.5
    )
    answer = read_answer(json.loads(json.dumps(row)))
    assert (answer.id, answer.label, answer.text, answer.annotator, answer.at) == (
        "x",
        "neutral",
        text,
        name,
        3.5,
    )
    assert answer.input_hash == input_hash(task)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
CONTENT = ["text", "image", "html", "_input_hash"]
WHO = ["al_batch", "al_dataset", "_timestamp", "_annotator_id"]
KEYS = st.sampled_from(
    [*CONTENT, "answer", "accept", "label", "options", "versions", "flagged", "al_id", *WHO]
)
VALUES = JSON | st.sampled_from(
    ["accept", "reject", "ignore", ["A"], ["A", "B"], 1e400, 10**400, "data:x", "ds-%zz"]
)


@given(st.dictionaries(KEYS, VALUES))
def test_a_row_of_anything_is_an_answer_or_a_reason_never_a_crash(row: dict[str, object]) -> None:
    try:
        answer = read_answer(row, LABELS)
    except NotAnAnswer:
        return
    assert (answer.label is not None) == (answer.kind in {"label", "override"})


def test_items_are_found_by_id_then_by_hash_then_by_text_and_never_by_guess() -> None:
    tasks = text_tasks(["one", "two", "same", "same"])
    find = prodigy.finder(tasks)

    def where(**row: object) -> str | None:
        return find(read_answer({"answer": "ignore", **row}))

    assert where(al_id="p-1", text="one") == "p-1"
    assert where(al_id="elsewhere", text="one") is None
    assert where(text="two") == "p-1"
    assert where(_input_hash=input_hash({"text": "two"})) == "p-1"
    assert where(text="two", html="<b>two</b>") == "p-1"
    assert where(text="two ") is None
    assert where(text="same") is None
    assert where() is None


def test_the_last_word_is_by_time_then_by_line_whatever_the_order_given() -> None:
    def said(label: str, at: float | None, annotator: str = "ds-alex") -> prodigy.Answer:
        row = {
            "al_id": "x",
            "accept": [label],
            "answer": "accept",
            "_timestamp": at,
            "_annotator_id": annotator,
        }
        return read_answer(row)

    rows = [
        (said("A", 5.0), 1),
        (said("B", 4.0), 2),
        (said("C", None), 3),
        (said("D", 1.0, "ds-bo"), 4),
    ]
    for order in (rows, rows[::-1]):
        assert [(answer.annotator, answer.label) for answer, _ in keep_last(order)] == [
            ("alex", "A"),
            ("bo", "D"),
        ]
    assert keep_last([(said("A", 5.0), 1), (said("B", 5.0), 2)])[0][0].label == "B"


@pytest.mark.parametrize(
    ("said", "labels", "kind", "label"),
    [
        ("A+ B- C-", "A B C", "label", "A"),
        ("B- C- A+", "A B C", "label", "A"),
        ("A- A+ B-", "A B C", "label", "A"),  # of one label the later row holds
        ("A- B- C-", "A B C", "skip", None),
        ("A+ B+", "A B C", "skip", None),
        ("A+ B+ C-", "A B C", "skip", None),
        ("A+ B+ A-", "A B C", "label", "B"),
        ("A+ A-", "A B C", "skip", None),
        ("A-", "A B", "label", "B"),
        ("A- B-", "A B", "skip", None),  # neither of the two
        ("A+ B-", "A B", "label", "A"),
    ],
)
@pytest.mark.parametrize("timed", [True, False])
def test_one_persons_binary_rows_about_an_item_are_one_word(
    said: str, labels: str, kind: str, label: str | None, timed: bool
) -> None:
    rows = [
        {"al_id": "x", "label": word[0], "answer": "accept" if word[1] == "+" else "reject"}
        for word in said.split()
    ]
    answers = [
        (read_answer({**row, "_timestamp": float(n) if timed else None}, labels.split()), n)
        for n, row in enumerate(rows)
    ]
    [(answer, _)] = keep_last(answers)
    assert (answer.kind, answer.label) == (kind, label)
