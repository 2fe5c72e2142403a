"""Strangers' tables as `rounds init` reads them: the right cells, the right lines, and a word on
what was assumed.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from rounds.intake import join_texts, plain_labels, read, write
from rounds.table_readers import Intake
from stages.contract.errors import PipelineError
from stages.examples.tables import Table, as_text, read_table

HEADER = ["id", "text", "label"]
ROWS = [["s1", "Müll, groß", "card"], ["s2", "two\nlines", "loan"]]


def put(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def cells(intake: Intake) -> list[list[str]]:
    """Header and rows."""
    columns = intake.table.columns
    return [
        list(columns),
        *(list(map(as_text, row)) for row in zip(*columns.values(), strict=True)),
    ]


def refusal(path: Path) -> str:
    with pytest.raises(PipelineError) as caught:
        read(path)
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("name", "encoding", "before", "sign", "note"),
    [
        (
            "t.csv",
            "cp1252",
            "",
            ";",
            "read as semicolon-separated, Windows-1252 (if 'Müll' looks wrong, save it as",
        ),
        ("t.csv", "utf-8-sig", "", ";", "read as semicolon-separated"),
        ("t.csv", "utf-8", "sep=|\r\n", "|", "read as bar-separated"),
        ("t.tsv", "utf-8", "", "\t", "read as tab-separated"),
        ("t.txt", "utf-16", "", "\t", "read as tab-separated, UTF-16"),
    ],
)
def test_a_table_of_any_country_is_read_and_its_assumptions_are_named(
    name: str, encoding: str, before: str, sign: str, note: str, tmp_path: Path
) -> None:
    lines = [
        HEADER,
        ["s1", "Müll, groß", "card"],
        ["s2", '"two\nlines"', "loan"],
        ["s3", "a;b".replace(sign, ""), "x"],
    ]
    path = put(
        tmp_path, name, before + "".join(sign.join(line) + "\r\n" for line in lines), encoding
    )
    intake = read(path)
    assert cells(intake)[:3] == [HEADER, *ROWS]
    assert [line - len(before.splitlines()) for line in intake.table.lines] == [2, 3, 5]
    assert intake.notes[0].startswith(f"{name}: {note}")
    copy = write(intake, tmp_path / "copy")
    assert copy.name == "copy.csv"
    assert cells(Intake(read_table(copy))) == cells(intake)  # the stages read it strictly


def test_a_table_that_the_stages_read_is_copied_byte_for_byte(tmp_path: Path) -> None:
    path = put(tmp_path, "T.CSV", "\ufeffid,text\r\n1,a;b\r\n")
    intake = read(path)
    assert (intake.notes, cells(intake)) == ((), [["id", "text"], ["1", "a;b"]])
    copy = write(intake, tmp_path / "pool")
    assert (copy.name, copy.read_bytes()) == ("pool.csv", path.read_bytes())


def test_empty_columns_rows_and_the_index_of_pandas_are_left_out_with_a_count(
    tmp_path: Path,
) -> None:
    trailing = read(put(tmp_path, "t.csv", "id,text,,\n1,a,,\n,,,\n2,b,,\n"))
    assert cells(trailing) == [["id", "text"], ["1", "a"], ["2", "b"]]
    assert trailing.table.lines == [2, 4]
    assert trailing.notes == (
        "t.csv: columns without a name left out (2)",
        "t.csv: blank rows left out (1)",
    )
    index = read(put(tmp_path, "i.csv", ",id,text,,\n0,a,x,,\n1,b,y,,,\n"))
    assert cells(index) == [["id", "text"], ["a", "x"], ["b", "y"]]
    assert index.notes == (
        "i.csv: blank cells beyond the header's columns left out (1 rows)",
        "i.csv: columns without a name left out (3)",
    )


def test_row_numbers_of_pandas_are_no_feature(tmp_path: Path) -> None:
    again = read(put(tmp_path, "t.csv", "Unnamed: 0,x\n7,0.5\n3,0.25\n"))
    assert cells(again) == [["x"], ["0.5"], ["0.25"]]
    assert again.notes == ("t.csv: pandas' row numbers left out (column 'Unnamed: 0')",)
    assert cells(read(put(tmp_path, "n.csv", ",x\n7,0.5\n3,0.25\n"))) == [["x"], ["0.5"], ["0.25"]]
    measured = read(
        put(tmp_path, "m.csv", "Unnamed: 0,x\n7,1\n7,2\n")
    )  # no row numbers: they repeat
    assert (measured.notes, list(measured.table.columns)) == ((), ["Unnamed: 0", "x"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,text,text\n1,a,b\n", "t.csv:1: column 'text' stands twice; rename one of them"),
        (
            "id,text,\n1,a,b\n",
            "t.csv:2: 'b' stands in column 3, which has no name; give the column a name in the header",
        ),
        (
            "id,text,label\n1,a,x\n2,b\n",
            "t.csv:3: 2 cells where the header has 3; quote cells that hold separators",
        ),
        ("id,text\n1,a,b\n", "t.csv:2: 3 cells where the header has 2; quote"),
        ("id;text\n1;a;b\n", "t.csv:2: 3 cells where the header has 2; quote"),
        ('id,text\n1,"a\n', "t.csv:2: not valid CSV (unexpected end of data); repair the quotes"),
        ("id,text\n", "t.csv: the file has no rows; add rows, or correct the path"),
        ("", "t.csv: the file has no rows; add rows, or correct the path"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_at_its_line(
    text: str, said: str, tmp_path: Path
) -> None:
    assert refusal(put(tmp_path, "t.csv", text)).startswith(said)


def test_an_unknown_suffix_and_an_unknown_encoding_are_refused(tmp_path: Path) -> None:
    assert refusal(put(tmp_path, "t.ods", "x")) == (
        "t.ods: unknown table format '.ods'; use .csv, .tsv, .json, .jsonl, .parquet or .xlsx"
    )
    (tmp_path / "b.csv").write_bytes(b"id,text\n1,\x81\n")
    assert (
        refusal(tmp_path / "b.csv")
        == "b.csv:2: neither UTF-8 nor Windows-1252; save the file as UTF-8"
    )


def test_json_is_an_array_or_lines_whatever_the_suffix_says(tmp_path: Path) -> None:
    rows = [{"id": 1, "v": [0.5, 1]}, {"id": 2, "text": "é"}]
    array = read(put(tmp_path, "a.json", json.dumps(rows, indent=1)))
    lines = read(put(tmp_path, "l.json", "".join(json.dumps(row) + "\n" for row in rows)))
    assert (
        array.table.columns
        == lines.table.columns
        == {"id": [1, 2], "v": [[0.5, 1], ""], "text": ["", "é"]}
    )
    assert array.notes == ("a.json: read as a JSON array of 2 objects",)
    assert read_table(write(array, tmp_path / "pool")).columns["v"] == [[0.5, 1], ""]
    assert refusal(put(tmp_path, "n.json", "[1]")).startswith(
        "n.json:1: element 1 is int, an object was expected; "
    )


def test_a_spreadsheet_is_read_as_a_person_sees_it(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    day = dt.datetime(2024, 1, 2)  # noqa: DTZ001 - a spreadsheet knows no zones
    book.active.append(["id", "day", "yes", "label", None])
    book.active.append([12.0, day, True, "007", None])
    book.active.append([None] * 5)
    book.active.append([1234567890123456789, day + dt.timedelta(hours=3), None, 0.5, None])
    book.create_sheet("more").append(["x"])
    book.save(tmp_path / "t.xlsx")
    intake = read(tmp_path / "t.xlsx")
    names, first, second = cells(intake)
    assert (names, first) == (["id", "day", "yes", "label"], ["12", "2024-01-02", "TRUE", "007"])
    assert second[1:] == ["2024-01-02 03:00:00", "", "0.5"]
    assert intake.table.lines == [2, 4]
    assert intake.notes[0] == "t.xlsx: read from sheet 'Sheet', the first of 2"
    assert (
        "t.xlsx: numbers of more than 15 digits, which spreadsheets round: keep as text"
        in intake.notes
    )
    assert write(intake, tmp_path / "pool").name == "pool.csv"


def labels(*words: object) -> Intake:
    return Intake(Table("seed.jsonl", {"label": list(words)}, range(1, len(words) + 1)))


def test_a_list_of_one_label_is_that_label_and_of_none_is_none() -> None:
    unpacked = plain_labels(labels(["card"], '["loan"]', "['fee']", [3], [], "x", "[x]"), "label")
    assert unpacked.table.columns["label"] == ["card", "loan", "fee", 3, "", "x", "[x]"]
    assert unpacked.notes == (
        "seed.jsonl: labels are lists of one; taken out of their lists (5 rows)",
    )


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (
            ["a", "b"],
            "seed.jsonl:2: 2 labels (a, b) where one is asked for; keep one of them, or remove the row",
        ),
        (
            '["a","b"]',
            "seed.jsonl:2: 2 labels (a, b) where one is asked for; keep one of them, or remove the row",
        ),
        ({"a": 1}, 'seed.jsonl:2: the label is an object ({"a": 1}); write one label per row'),
    ],
)
def test_several_labels_in_one_cell_are_refused_at_their_line(label: object, said: str) -> None:
    with pytest.raises(PipelineError) as caught:
        plain_labels(labels("x", label), "label")
    assert str(caught.value) == said


def test_several_columns_of_text_become_one_with_a_blank_line_between() -> None:
    table = Table("t.csv", {"title": ["A", " ", "C"], "body": ["a", "b", None]}, [2, 3, 4])
    joined = join_texts(Intake(table), ["title", "body"], "title + body")
    assert joined.table.columns["title + body"] == ["A\n\na", "b", "C"]
