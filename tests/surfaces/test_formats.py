"""What every tool exports, read as answers; and that no row is ever lost or brings the importer
down.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.surfaces import formats
from rounds.surfaces.formats import Item
from stages.answers import prodigy
from stages.contract.errors import PipelineError

PRODIGY = {
    "text": "a",
    "al_id": "p-0",
    "accept": ["POS"],
    "answer": "accept",
    "_annotator_id": "ds-alex",
}
ANNOTATION = {
    "id": 5,
    "completed_by": 3,
    "was_cancelled": False,
    "created_at": "2024-05-01T12:00:00.5Z",
    "result": [
        {"from_name": "label", "to_name": "item", "type": "choices", "value": {"choices": ["POS"]}}
    ],
}
STUDIO = {
    "id": 1,
    "data": {"text": "a", "al_id": "p-0", "al_batch": "b1"},
    "annotations": [ANNOTATION],
}
ARGILLA = {
    "id": "p-0",
    "status": "completed",
    "text": "a",
    "label.responses": ["POS", "NEG", "NEG", None],
    "label.responses.users": ["u1", "u2", "u3", "u4"],
    "label.responses.status": ["submitted", "submitted", "draft", "discarded"],
}
DOCCANO = {"id": 17, "text": "a", "label": ["POS"], "Comments": []}
CSV = "id,label,annotator,timestamp,answer\n007,POS,ana,2024-05-01T12:00:00,\nx,,bo,7,\ny,NA,,,\nz,POS,ana,,reject\n"


def said(items: list[Item]) -> list[tuple[str | None, str, str | None, str]]:
    """(al_id, or else the bare id; kind, label, annotator) of every row that is an answer."""
    answers = [(prodigy.read_answer(item.row), item) for item in items if item.row is not None]
    return [(one.id or item.bare_id, one.kind, one.label, one.annotator) for one, item in answers]


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def studio(**changes: Any) -> dict[str, Any]:
    return {**STUDIO, "annotations": [{**ANNOTATION, **changes}]}


@pytest.mark.parametrize(
    ("data", "name", "answers"),
    [
        (lines(PRODIGY), "prodigy", [("p-0", "label", "POS", "alex")]),
        (json.dumps([PRODIGY]).encode(), "prodigy", [("p-0", "label", "POS", "alex")]),
        (json.dumps([STUDIO]).encode(), "label-studio", [("p-0", "label", "POS", "3")]),
        (
            json.dumps([studio(was_cancelled=True, result=[])]).encode(),
            "label-studio",
            [("p-0", "skip", None, "3")],
        ),
        (
            json.dumps([studio(result=[])], indent=2).encode(),
            "label-studio",
            [("p-0", "empty", None, "3")],
        ),
        (
            json.dumps([studio(completed_by={"id": 3, "email": "a@b.c"})]).encode(),
            "label-studio",
            [("p-0", "label", "POS", "a@b.c")],
        ),
        (
            lines(ARGILLA),
            "argilla",
            [
                ("p-0", "label", "POS", "u1"),
                ("p-0", "label", "NEG", "u2"),
                ("p-0", "skip", None, "u4"),
            ],
        ),
        (lines(DOCCANO), "doccano", [("17", "label", "POS", "file")]),
        (lines({**DOCCANO, "label": []}), "doccano", []),
        (
            b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode(),
            "csv",
            [
                ("007", "label", "POS", "ana"),
                ("x", "skip", None, "bo"),
                ("y", "label", "NA", "file"),
                ("z", "reject", None, "ana"),
            ],
        ),
    ],
)
def test_each_tools_export_is_recognised_and_read(
    data: bytes, name: str, answers: list[Any]
) -> None:
    found, items = formats.read(Path("file.x"), data)
    assert (found, said(items)) == (name, answers)


def test_times_are_read_as_numbers_or_as_iso_8601() -> None:
    _, items = formats.read(Path("a.csv"), CSV.encode())
    assert [prodigy.read_answer(item.row).at for item in items if item.row] == [
        1714564800.0,
        7.0,
        None,
        None,
    ]
    _, items = formats.read(Path("a.json"), json.dumps([STUDIO]).encode())
    assert items[0].row is not None
    assert items[0].row["_timestamp"] == 1714564800.5


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [
        (lines(PRODIGY) + b"{\n", 2, "not JSON (Expecting property name"),
        (lines(PRODIGY) + b"\n\n7\n", 4, "an object was expected, found int"),
        (lines(PRODIGY) + b'{"a":"\xff"}\n', 2, "not JSON ('utf-8' codec"),
        (lines(PRODIGY) + b"[" * 900 + b"]" * 900, 2, "nested too deeply"),
        (lines(PRODIGY) + b"[" * 100_000, 2, "not JSON"),
        (
            json.dumps([studio(result=[{"from_name": "label", "value": 7}])]).encode(),
            1,
            "a result of `label` has no `choices`",
        ),
        (
            json.dumps([STUDIO, {"data": {}, "text": "x"}]).encode(),
            2,
            "it is no task with `data` and `annotations`",
        ),
        (lines({**DOCCANO, "label": ["A", "B"]}), 1, "2 labels (A, B) where one is asked for"),
        (
            lines({"a.responses": [], "b.responses": []}),
            1,
            "`a`, `b` may each be the label: name one of them `label`",
        ),
        (b"id,label\np,A,B\n", 2, "3 cells where the header has 2"),
        (b"id,label\np,\xff\nq,\xc3\xa9\n", 2, "not UTF-8"),
        (b"id,label,answer\np,A,yes\n", 2, "answer is 'yes', not accept, reject or ignore"),
    ],
)
def test_a_row_that_cannot_be_read_says_where_and_why(data: bytes, line: int, why: str) -> None:
    _, items = formats.read(Path("file.x"), data)
    bad = [item for item in items if item.why]
    assert [item.line for item in bad] == [line]
    assert why in bad[0].why


def test_a_stray_quote_in_a_csv_loses_no_text_of_the_rows_that_it_swallows() -> None:
    _, items = formats.read(Path("a.csv"), b'id,label\np,"A\nq,B\nr,C\n')
    assert [(item.line, item.raw) for item in items] == [(2, 'p,"A\nq,B\nr,C\n')]
    _, items = formats.read(Path("a.csv"), b'id,label\np,A,extra\n"q\nq",B\n')
    assert [(item.line, item.raw) for item in items] == [
        (2, "p,A,extra\n"),
        (3, {"id": "q\nq", "label": "B"}),
    ]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"[]", b'{"a":1}\n', b"hello,world\n1,2\n"])
def test_a_file_of_no_known_tool_is_refused_with_the_choices(data: bytes) -> None:
    with pytest.raises(PipelineError, match="--format prodigy"):
        formats.read(Path("file.x"), data)


def test_only_line_ends_end_a_csv_row() -> None:
    _, items = formats.read(Path("a.csv"), "id,label\na\u2028b\x0c,A\x85\r\nc,B\rd,C".encode())
    rows = [(item.bare_id, item.row["accept"]) for item in items if item.row]
    assert rows == [("a\u2028b\x0c", ["A\x85"]), ("c", ["B"]), ("d", ["C"])]


def test_a_format_can_be_forced() -> None:
    name, items = formats.read(Path("x"), lines({"answer": "maybe"}), "prodigy")
    assert (name, len(items)) == ("prodigy", 1)


REAL = [
    lines(PRODIGY, PRODIGY),
    json.dumps([STUDIO, STUDIO]).encode(),
    lines(ARGILLA),
    lines(DOCCANO),
    CSV.encode(),
]
JUNK = st.sampled_from(
    [b'"', b"{", b"}", b"[", b"]", b",", b"\n", b"null", b"\xff", b"1e999", b"\0", b"\\ud800", b":"]
)


@given(
    st.sampled_from(REAL),
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 8), JUNK | st.binary(max_size=3)),
        min_size=1,
        max_size=4,
    ),
    st.none() | st.sampled_from(list(formats.READERS)),
)
def test_a_mutated_file_is_never_a_crash(
    data: bytes, edits: list[tuple[int, int, bytes]], forced: str | None
) -> None:
    for place, drop, new in edits:
        data = data[:place] + new + data[place + drop :]
    try:
        _, items = formats.read(Path("file.x"), data, forced)
    except PipelineError:
        return
    for item in items:
        assert not (item.row is not None and item.why)
        if item.row is not None:
            with contextlib.suppress(prodigy.NotAnAnswer):
                prodigy.read_answer(item.row, ["POS", "NEG"])


VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([["POS"], {}, []]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)


@given(st.data())
def test_every_row_of_a_file_comes_out_whatever_its_values_are(data: st.DataObject) -> None:
    for real, name in (
        (PRODIGY, "prodigy"),
        (STUDIO, "label-studio"),
        (ARGILLA, "argilla"),
        (DOCCANO, "doccano"),
    ):
        rows = []
        for _ in range(3):
            row = json.loads(json.dumps(real))
            inner = (
                row["annotations"][0]
                if name == "label-studio" and data.draw(st.booleans())
                else row
            )
            inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(VALUE)
            rows.append(row)
        _, items = formats.read(Path("file.x"), lines(*rows), name)
        assert {item.line for item in items} == {1, 2, 3}


def test_one_persons_bad_answer_does_not_take_the_others_in_its_row_along() -> None:
    two = {
        **STUDIO,
        "annotations": [{**ANNOTATION, "result": [7]}, {**ANNOTATION, "completed_by": 4}],
    }
    items = formats.read(Path("x.json"), lines(two))[1]
    assert (said(items), [item.why for item in items]) == (
        [("p-0", "label", "POS", "4")],
        ["a result is 7, not an object", ""],
    )
    odd = {**ARGILLA, "label.responses.status": ["odd", "submitted", "draft", "discarded"]}
    items = formats.read(Path("x.json"), lines(odd))[1]
    assert said(items) == [("p-0", "label", "NEG", "u2"), ("p-0", "skip", None, "u4")]
    assert [bool(item.why) for item in items] == [True, False, False, False]


@pytest.mark.parametrize("parting", [";", "\t"])
def test_cells_may_be_parted_as_a_spreadsheet_elsewhere_parts_them(parting: str) -> None:
    text = f'id{parting}label{parting}annotator\r\n"p{parting}0"{parting}a,b{parting}ana\r\n'
    assert said(formats.read(Path("x.csv"), text.encode())[1]) == [
        (f"p{parting}0", "label", "a,b", "ana")
    ]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (
            b"id,label,Label\np-0,POS,NEG\n",
            "x.csv: two columns `label`; name one of them otherwise",
        ),
        (
            b"p-0,POS\n",
            "x.csv: found the columns p-0, pos; answers of Prodigy, Label Studio, Argilla or doccano, and tables",
        ),
        (
            b"a,b\n1,2\n",
            "x.csv: found the columns a, b; answers of Prodigy, Label Studio, Argilla or doccano, and",
        ),
        (b"\n", "x.csv: found no rows; answers of"),
    ],
)
def test_a_file_that_cannot_be_meant_so_says_why(data: bytes, what: str) -> None:
    with pytest.raises(PipelineError) as error:
        formats.read(Path("x.csv"), data)
    assert str(error.value).startswith(what)
