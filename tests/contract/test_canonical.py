from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.contract.canonical import dumps, jsonl, numbered_rows, plain, read_jsonl, write_jsonl
from stages.contract.errors import PipelineError, closest

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_equal_values_give_equal_text_whatever_their_order_or_number_type() -> None:
    assert dumps({"b": np.float32(0.5), "a": (1, np.int64(2))}) == '{"a":[1,2],"b":0.5}'
    assert dumps({"a": [1, 2], "b": 0.5}) == '{"a":[1,2],"b":0.5}'


def test_floats_are_rounded_to_nine_digits_and_have_one_zero() -> None:
    assert dumps([0.1 + 0.2, -0.0, 1e-12, math.inf, math.nan]) == "[0.3,0.0,0.0,null,null]"


@given(st.dictionaries(st.text(max_size=8), values, max_size=4))
def test_a_row_survives_the_file_whatever_its_text(row: dict[str, object]) -> None:
    text = dumps(row)
    assert "\n" not in text
    assert json.loads(text) == plain(row)
    assert dumps(json.loads(text)) == text


@given(
    st.lists(st.dictionaries(st.text(max_size=4), st.text(), min_size=1, max_size=2), max_size=5)
)
def test_rows_come_back_with_line_separators_and_surrogates_in_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_jsonl(path, rows)
    assert read_jsonl(path) == rows


def test_line_numbers_count_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\r\n\r\n\n{"a":2}')
    assert list(numbered_rows(path)) == [(1, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"{", "not a JSON object"),
        (b"[1]", "a JSON object was expected, found list"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, what: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a":1}\n\n' + line + b"\n")
    with pytest.raises(PipelineError) as caught:
        read_jsonl(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert what in str(caught.value)


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_jsonl(tmp_path / "rows.jsonl", [{"a": 1}, {"a": object()}])
    assert list(tmp_path.iterdir()) == []
    assert jsonl([]) == b""


def test_the_closest_word_is_found_first_by_case_then_by_likeness() -> None:
    assert closest("Spam", ["ham", "spam"]) == " (did you mean 'spam'?)"
    assert closest("batch_sise", ["batch_size", "budget"]) == " (did you mean 'batch_size'?)"
    assert closest("zzz", ["ham", "spam"]) == ""
