"""What is left of tables, tasks and answers once some rows are forgotten."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rounds.redaction import _before
from rounds.table_rows import without_rows
from stages.answers.changed import ids_since, renamed
from stages.answers.forgotten import redaction_of
from stages.answers.prodigy import answer_row, finder, read_answer, task
from stages.answers.rounds import read_frozen, to_ask
from stages.contract.canonical import Row, jsonl, sha256, write_jsonl
from stages.contract.errors import PipelineError
from stages.examples.tables import read_table

BATCH = "b" * 64


@pytest.mark.parametrize(
    ("before", "gone", "after"),
    [
        (b"id,text\na,one\nb,two\nc,three\n", {1}, b"id,text\na,one\nc,three\n"),
        (b"\xef\xbb\xbfid,text\r\na,one\r\nb,two", {1}, b"\xef\xbb\xbfid,text\r\na,one\r\n"),
        (b'id,text\na,"1\n2, ""x"""\nb,two\n', {0}, b"id,text\nb,two\n"),
        (b'id,text\nb,two\na,"1\n\n2"\n', {1}, b"id,text\nb,two\n"),
        (b"id,text\na,one\n\nb,two\n", {0, 1}, b"id,text\n"),
    ],
)
def test_a_csv_loses_its_rows_and_keeps_every_other_byte(
    tmp_path: Path, before: bytes, gone: set[int], after: bytes
) -> None:
    path = tmp_path / "pool.csv"
    path.write_bytes(before)
    assert without_rows(path, gone) == after


def test_json_lines_and_parquet_lose_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_bytes(b'{"id": "a"}\n\n{"id":"b"}\n{"id":  "c"}')
    assert without_rows(path, {1}) == b'{"id": "a"}\n\n{"id":  "c"}'
    path = tmp_path / "pool.parquet"
    pq.write_table(pa.table({"id": ["a", "b", "c"], "v": [[1.0], [2.0], [3.0]]}), path)
    path.write_bytes(without_rows(path, {0, 2}))
    table = read_table(path)
    assert table.columns["id"] == ["b"]
    assert table.columns["v"] == [[2.0]]


def a_round(root: Path) -> Path:
    """A batch of two rows in a folder of rounds, of which the first is forgotten."""
    folder = root / "001"
    tasks = [
        task({"text": f"text {name}"}, ["x", "y"], al_id=name, batch_id=BATCH, rank=1, score=0.5)
        for name in ("a", "b")
    ]
    write_jsonl(folder / "asked.jsonl", tasks)
    rows = [{"id": name, "sha": sha256(f"text {name}")} for name in ("a", "b")]
    write_jsonl(folder / "batch.jsonl", rows)
    (folder / "manifest.json").write_text(json.dumps({"batch_id": BATCH}))
    forgotten = {"change": 1, "round": 1, "kind": "forgotten", "id": "a", "sha": rows[0]["sha"]}
    write_jsonl(root / "changed.jsonl", [forgotten])
    return folder


def test_a_task_and_its_answers_keep_what_was_decided_and_nothing_else(tmp_path: Path) -> None:
    folder = a_round(tmp_path)
    redaction = redaction_of(tmp_path)
    before = (folder / "asked.jsonl").read_bytes()
    asked = redaction.of_file("001/asked.jsonl", before)
    assert asked.splitlines()[1] == before.splitlines()[1]
    assert b"text a" not in asked
    tasks = [json.loads(line) for line in asked.splitlines()]
    assert [row["al_id"] for row in to_ask(tasks)] == ["b"]
    assert tasks[0]["options"] == json.loads(before.splitlines()[0])["options"]
    said: dict[str, Row] = {
        name: answer_row(
            json.loads(before.splitlines()[number]),
            label="x",
            answer="accept",
            annotator="ann",
            dataset="t",
            at=12.5,
        )
        for number, name in enumerate(("a", "b"))
    }
    nameless = {key: cell for key, cell in said["a"].items() if key not in ("al_id", "al_batch")}
    rows = [
        {**said["a"], "al_note": "calls herself Eve", "html": "Eve"},
        said["b"],
        nameless,
        {**said["a"], "versions": [{"text": "text a"}]},
        {**said["a"], "answer": "ignore", "al_undone": True},
        {"text": "text a", "label": "y", "answer": "accept", "_annotator_id": "t-bo"},
    ]
    answers = redaction.of_file("001/answers/ann.jsonl", jsonl(rows))
    assert b"text a" not in answers
    assert b"Eve" not in answers
    assert answers.splitlines()[1] == jsonl([said["b"]]).strip()
    assert redaction.of_file("001/answers/ann.jsonl", answers) == answers
    find = finder(tasks)
    for old, line in zip(rows, answers.splitlines(), strict=True):
        was = read_answer(old, ["x", "y", "z"])
        now = read_answer(json.loads(line), ["x", "y", "z"])
        same = ("kind", "label", "annotator", "at", "flagged")
        assert [getattr(was, name) for name in same] == [getattr(now, name) for name in same]
        assert find(now) == (was.id or "a")
    # It is still what was asked when the file is read after it was redacted.
    (folder / "asked.jsonl").write_bytes(asked)
    assert redaction_of(tmp_path).of_file("001/asked.jsonl", before) == asked
    assert redaction.of_file("001/corrections.jsonl", before) == before


def test_a_frozen_file_is_known_by_the_hashes_of_the_record_alone(tmp_path: Path) -> None:
    folder = a_round(tmp_path)
    write_jsonl(folder / "verdicts.jsonl", [])
    names = ("asked.jsonl", "batch.jsonl", "verdicts.jsonl")
    hashes = {name: sha256((folder / name).read_bytes()) for name in names}
    batch = sha256((folder / "batch.jsonl").read_bytes())
    (folder / "manifest.json").write_text(json.dumps({"batch_id": batch, "sha256": hashes}))
    read_frozen(folder)
    edited = (folder / "asked.jsonl").read_bytes().replace(b"text a", b"hm")
    (folder / "asked.jsonl").write_bytes(edited)
    with pytest.raises(PipelineError, match="edited after the batch was issued"):
        read_frozen(folder)
    line = {"change": 1, "round": 1, "kind": "redacted", "file": "data/rounds/001/asked.jsonl"}
    line |= {"was": hashes["asked.jsonl"], "now": sha256(edited), "md5": ["p", "q"]}
    with (tmp_path / "changed.jsonl").open("ab") as file:
        file.write(jsonl([line]))
    read_frozen(folder)


def test_an_id_that_is_forgotten_leaves_and_begins_no_new_walk() -> None:
    record: list[Row] = [{"change": 1, "round": 2, "kind": "forgotten", "id": "a", "sha": "s"}]
    assert renamed("a", 2, record) is None
    assert renamed("a", 3, record) == "a"  # another row of that name that came later
    assert ids_since("b", 1, record) == ["b"]
    record.append({"change": 2, "round": 2, "kind": "moved", "id": "b", "to": "a", "sha": "t"})
    assert ids_since("b", 1, record) == ["b", "a"]


def test_a_purged_file_is_compared_with_what_it_was_before_each_command() -> None:
    def line(change: int, was: str, now: str) -> Row:
        return {"change": change, "file": "f", "md5": [was, now]}

    # The second command saw the first version in the history, and the second in the tree.
    rows = [line(1, "o", "r1"), line(2, "o", "r2"), line(2, "r1", "r2")]
    assert _before(rows, 1)["f", "r2"] == "o"
    assert _before(rows, 2) == {("f", "r2"): "r1"}
    # The history had been purged in between.
    rows = [line(1, "o", "r1"), line(2, "r1", "r2")]
    assert _before(rows, 1)["f", "r2"] == "o"


def test_one_number_of_two_branches_stands_for_commands_of_any_kinds() -> None:
    forgotten = {"change": 1, "round": 2, "kind": "forgotten", "id": "a", "sha": "s"}
    moved = {"change": 1, "round": 2, "kind": "moved", "id": "b", "to": "c", "sha": "t"}
    edited = {"change": 1, "round": 2, "kind": "edited", "id": "d", "was": "u", "now": "v"}
    redacted = {"change": 1, "round": 2, "kind": "redacted", "file": "f", "was": "w", "now": "x"}
    for record in permutations([forgotten, moved, edited, redacted]):
        assert renamed("a", 1, record) is None
        assert ids_since("b", 1, record) == ["b", "c"]
        assert ids_since("d", 1, record) == ["d", "d"]  # the pool was permuted anew
    assert ids_since("d", 1, [redacted, forgotten, edited]) == ["d"]
