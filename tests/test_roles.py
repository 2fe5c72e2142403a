"""What `rounds init` takes the columns of a table for when nobody says what they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from ruamel.yaml import YAML

from rounds import init as initial
from rounds.roles import Choices, Roles, roles_of
from stages.contract.errors import PipelineError
from stages.examples.tables import Table
from tests.conftest import write_csv

TEXTS = ["where is my card", "no, thank you", "it was stolen yesterday", "a loan for my car"]
NOTHING = Choices()


def table(name: str = "pool.csv", **columns: Sequence[Any]) -> Table:
    rows = len(next(iter(columns.values())))
    cells = {column: list(values) for column, values in columns.items()}
    return Table(name, cells, list(range(2, 2 + rows)))


def roles(choices: Choices = NOTHING, /, **columns: Sequence[Any]) -> Roles:
    return roles_of([table(**columns)], choices)


def refusal(choices: Choices = NOTHING, /, **columns: Sequence[Any]) -> str:
    with pytest.raises(PipelineError) as error:
        roles(choices, **columns)
    return str(error.value)


def test_a_column_named_id_and_one_of_text_are_id_and_text() -> None:
    decided = roles(id=["m40", "m41", "m42", "m43"], text=TEXTS, label=["a", "b", "a", "b"])
    assert (decided.kind, decided.columns) == (
        "text",
        {"id": "id", "label": "label", "text": "text", "image": ""},
    )
    assert decided.notes == ["pool.csv: taken from the columns: id 'id', text 'text'"]


def test_ids_that_are_numbers_are_ids_and_no_feature() -> None:
    decided = roles(ID=["7", "3", "12"], x=["1", "2", "3"], y=["0.5", "-1e3", "2"])
    assert (decided.kind, decided.id, decided.numbers) == ("numeric", "ID", [])
    assert decided.notes == ["pool.csv: taken from the columns: id 'ID'"]


def test_a_column_named_id_that_repeats_or_is_not_everywhere_is_no_id() -> None:
    decided = roles(id=["1", "1", "2", "3"], text=TEXTS)
    assert (decided.id, decided.text) == ("", "text")
    assert decided.notes == [
        "pool.csv: taken from the columns: text 'text'; "
        "not used: 'id' (not a different one in every row, so no id)"
    ]
    pool = table(id=["1", "2", "3", "4"], text=TEXTS)
    again = table("seed.csv", id=["4"], text=["one more"], label=["a"])
    assert roles_of([pool, again], NOTHING).id == ""
    without = table("seed.csv", text=["one more"], label=["a"])
    assert "(an id that not every table has)" in roles_of([pool, without], NOTHING).notes[0]
    assert roles_of([pool, table("none.csv", text=[])], NOTHING).id == "id"


def test_row_numbers_constants_dates_and_blank_columns_are_left_out_and_named() -> None:
    columns = {
        "index": ["0", "1", "2", "3"],
        "x": ["1.5", "2", "7", "3"],
        "nr": ["10", "20", "5", "7"],
        "source": ["web"] * 4,
        "when": ["2024-01-02", "2024-02-03 10:15:00", "1.2.2024", "2024-03-01T10:00:00Z"],
        "empty": ["", " ", "", ""],
    }
    decided = roles(**columns)
    assert (decided.kind, decided.numbers) == ("numeric", ["x", "nr"])
    assert decided.notes == [
        "pool.csv: taken from the columns: numbers; not used: 'empty' (blank), 'index' (row numbers), "
        "'source' (the same in every row), 'when' (dates)"
    ]


def test_numbers_of_one_value_stay_numbers_and_all_numbers_need_no_list() -> None:
    decided = roles(x=["0", "0", "0"], y=["1", "", "3"], z=[1, 2.5, None])
    assert (decided.kind, decided.numbers, decided.notes) == ("numeric", [], [])


def test_numbers_and_words_beside_text_are_not_used_and_that_is_said() -> None:
    decided = roles(text=TEXTS, stars=["1", "5", "2", "3"], city=["Rome", "Oslo", "Rome", "Bern"])
    assert decided.text == "text"
    assert decided.notes[0].endswith("; not used: 'city' (words), 'stars' (numbers)")


def test_one_column_of_single_words_or_of_chinese_is_text() -> None:
    assert roles(word=["apple", "pear", "plum"]).text == "word"
    assert roles(word=["我的卡在哪里", "谢谢你们", "昨天被偷了"], n=["1", "2", "3"]).text == "word"


def test_phrases_that_name_a_few_things_are_no_text_beside_text() -> None:
    city = ["New York", "Los Angeles"] * 15
    decided = roles(text=[f"where is my card {row}" for row in range(30)], city=city)
    assert decided.text == "text"


def test_data_uris_are_images_and_so_are_names_of_files_in_the_folder(tmp_path: Path) -> None:
    assert (
        roles(picture=["data:image/png;base64,aa", "data:image/png;base64,bb"]).image == "picture"
    )
    for row in range(2):
        Image.new("L", (2, 2)).save(tmp_path / f"scan {row}.png")
    names = ["scan 0.png", "scan 1.png"]
    decided = roles(Choices(images=tmp_path), file=names, site=["A", "B"])
    assert (decided.kind, decided.image, decided.text) == ("image", "file", "")
    assert decided.notes == [
        "pool.csv: taken from the columns: image 'file'; not used: 'site' (words)"
    ]
    assert refusal(file=names, site=["A", "B"]) == (
        "pool.csv:1: column 'file' names image files, and no folder is named; "
        "say where they lie: --image file --images FOLDER"
    )


AMBIGUOUS: list[tuple[dict[str, Sequence[Any]], str]] = [
    (
        {"title": TEXTS, "body": TEXTS[::-1]},
        "pool.csv:1: columns 'title' and 'body' hold text; say what people judge: --text title or "
        "--text body, or several: --text title --text body",
    ),
    (
        {"picture": ["data:image/png;base64,aa"] * 4, "text": TEXTS},
        "pool.csv:1: column 'picture' holds images and 'text' text; say what people judge: "
        "--image picture --text text, or one of them",
    ),
    (
        {"a": ["data:image/png;base64,aa"] * 4, "b": ["data:image/png;base64,bb"] * 4},
        "pool.csv:1: columns 'a' and 'b' hold images; say what people judge: --image a or --image b",
    ),
    (
        {"x": ["1", "2", "3", "4"], "city": ["Rome", "Oslo", "Rome", "Bern"]},
        "pool.csv:2: column 'city' holds 'Rome', and others numbers; say what it is: "
        "--text city if people judge it, or leave it out: --columns x",
    ),
    (
        {"given": ["Ada", "Bob", "Cy"], "family": ["Poe", "Ray", "Fox"]},
        "pool.csv:1: columns 'given' and 'family' hold words; say what people judge: "
        "--text given or --text family, or several: --text given --text family",
    ),
    (
        {"id": ["1", "2"], "when": ["2024-01-02", "2024-01-03"]},
        "pool.csv:1: no column to judge among 'id', 'when'; "
        "name it with --text, --image or --columns",
    ),
]


@pytest.mark.parametrize(("columns", "said"), AMBIGUOUS)
def test_what_could_be_meant_in_two_ways_is_refused_with_the_options_that_say_it(
    columns: dict[str, Sequence[Any]], said: str
) -> None:
    assert refusal(**columns) == said


def test_what_a_person_names_is_not_decided() -> None:
    columns = {"id": ["a", "b"], "x": ["1", "2"], "text": ["one two", "three four"]}
    assert roles(Choices(texts=("x",)), **columns) == Roles("text", text="x")
    assert roles(Choices(numbers=("x",)), **columns) == Roles("numeric", numbers=["x"])
    assert roles(Choices(image="x"), **columns) == Roles("image", image="x")
    assert roles_of([], Choices(label="kind")) == Roles("text", label="kind")
    assert roles(Choices(id="x"), **columns).id == "x"
    assert roles(Choices(label="text"), x=["1", "2"], text=["a b", "c d"]).kind == "numeric"


@pytest.mark.parametrize("in_parts", [False, True])
def test_init_takes_tables_whose_columns_nobody_named(
    in_parts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial, "start", lambda *_: None)
    rows = [(f"m{row}", text) for row, text in enumerate(TEXTS * 3)]
    pool = tmp_path / "pool.csv"
    write_csv(tmp_path / "parts" / "a.csv" if in_parts else pool, ["id", "text"], rows)
    seed = [("s1", TEXTS[0], "card"), ("s2", TEXTS[3], "loan")]
    write_csv(tmp_path / "seed.csv", ["id", "text", "label"], seed)
    words = [str(tmp_path / "p"), "--pool", str(tmp_path / "parts" if in_parts else pool)]
    words += ["--seed", str(tmp_path / "seed.csv")]
    done = CliRunner().invoke(initial.command, words)
    assert done.exit_code == 0, done.stderr
    name = "a.csv" if in_parts else "pool.csv"
    assert f"  {name}: taken from the columns: id 'id', text 'text'" in done.stderr.splitlines()
    params = YAML(typ="safe").load(tmp_path / "p" / "params.yaml")
    assert (params["data"]["id"], params["data"]["text"]) == ("id", "text")
    assert params["features"]["kind"] == "text"
    assert (params["features"]["text"]["hashing"] is not None) == in_parts
    assert params["features"]["text"]["words"] == "wordllama"


def test_where_the_package_of_word_vectors_is_missing_there_are_none_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial, "is_installed", lambda: False)
    pool = write_csv(
        tmp_path / "pool.csv", ["id", "text"], [(f"r{n}", f"text {n}") for n in range(9)]
    )
    words = [str(tmp_path / "p"), "--pool", str(pool), "--text", "text", "--labels", "a,b"]
    done = CliRunner().invoke(initial.command, words)
    assert done.exit_code == 0, done.stderr
    assert (
        "  no word vectors: wordllama is not installed here; where it has a wheel for the machine: "
        "pip install wordllama==0.4.0.post1, then features.text.words: wordllama in params.yaml"
    ) in done.stderr.splitlines()
    params = YAML(typ="safe").load(tmp_path / "p" / "params.yaml")
    assert params["features"]["text"]["words"] == "none"
