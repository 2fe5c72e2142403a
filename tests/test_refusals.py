"""Bad input: one line that names the place, what is wrong and what to do; exit 1; nothing
half-written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rounds.annotate import simulate
from rounds.issue import issue
from rounds.project import Project
from stages.contract.canonical import dumps, read_jsonl
from stages.contract.errors import PipelineError
from stages.contract.params import load
from tests.conftest import Small, write_csv

Change = Callable[[Small], object]


def edit(name: str, old: str, new: str) -> Change:
    """A change that replaces a text in one of the project's files, once."""

    def change(small: Small) -> None:
        path = small.root / name
        text = path.read_bytes().decode()
        assert old in text
        path.write_bytes(text.replace(old, new, 1).encode())

    return change


def put(name: str, data: bytes) -> Change:
    """A change that writes a file."""
    return lambda small: (small.root / name).write_bytes(data)


def param(value: object, *keys: str) -> Change:
    """A change of one param."""
    return lambda small: small.set({keys: value})


def reseed(rows: list[list[str]]) -> Change:
    return lambda small: small.write("seed", rows)


def texts(rows: list[list[str]]) -> Change:
    def change(small: Small) -> None:
        write_csv(small.root / "data/pool.csv", ["id", "text"], rows)
        small.set(
            {
                ("data", "text"): "text",
                ("data", "seed"): "data/none.csv",
                ("data", "test"): "data/none.csv",
            }
        )
        small.set({("features", "kind"): "text"})

    return change


def pictures(cell: str, images: str = "data/none.csv") -> Change:
    def change(small: Small) -> None:
        write_csv(small.root / "data/pool.csv", ["id", "image"], [["a", cell]])
        small.set(
            {
                ("data", "image"): "image",
                ("data", "seed"): "data/none.csv",
                ("data", "test"): "data/none.csv",
            }
        )
        small.set({("data", "images"): images, ("features", "kind"): "image"})

    return change


TABLE: list[tuple[str, Change, str]] = [
    (
        "missing file",
        param("data/pols.csv", "data", "pool"),
        "data/pols.csv: file not found; correct the path, or restore the file (`dvc pull` after a clone)",
    ),
    (
        "empty file",
        put("data/pool.csv", b""),
        "data/pool.csv: the file has no rows; add rows, or correct the path",
    ),
    (
        "header only",
        put("data/pool.csv", b"id,x,y\n"),
        "data/pool.csv: the file has no rows; add rows",
    ),
    (
        "unknown format",
        param("data/README.md", "data", "pool"),
        "data/README.md: unknown table format '.md'; use .csv, .jsonl or .parquet",
    ),
    (
        "missing column",
        param("idd", "data", "id"),
        "data/pool.csv:1: no column 'idd' (did you mean 'id'?), found 'id', 'x', 'y'; correct data.id in params.yaml",
    ),
    (
        "duplicate id",
        edit("data/pool.csv", "r-079", "r-078"),
        "data/pool.csv:3: id 'r-078' stands twice, first at data/pool.csv:2; ids must be unique over pool, seed",
    ),
    (
        "id in pool and test",
        edit("data/test.csv", "r-018", "r-078"),
        "data/test.csv:2: id 'r-078' stands twice, first at data/pool.csv:2",
    ),
    (
        "blank id",
        edit("data/pool.csv", "r-078", " "),
        "data/pool.csv:2: id ' ' is blank or not printable; give the row",
    ),
    (
        "empty text",
        texts([["a", "hello"], ["b", "  "]]),
        "data/pool.csv:3: empty text in column 'text'; remove the row or fill it",
    ),
    (
        "an annotation tool's export as seed",
        put("data/seed.csv", b"id,x,y,label,answer\ns1,1,2,red,accept\ns2,1,2,blue,reject\n"),
        "data/seed.csv:3: its `answer` is 'reject': an annotation tool's export, not a table of labels; let",
    ),
    (
        "an annotation tool's export as test set",
        put("data/test.csv", b'id,x,y,accept,answer\nt1,1,2,"[""red""]",accept\n'),
        "data/test.csv:2: its `answer` is 'accept': an annotation tool's export, not a table of labels; let",
    ),
    (
        "unknown label in the seed",
        edit("data/seed.csv", "\ngreen,", "\nGreen,"),
        "label 'Green' is not in params.labels (did you mean 'green'?); correct the label",
    ),
    (
        "unknown label in the test set",
        edit("data/test.csv", "\ngreen,", "\ngren,"),
        "label 'gren' is not in params.labels (did you mean 'green'?); correct the label",
    ),
    (
        "seed of one class",
        reseed([["a", "1", "1", "red"], ["b", "1", "2", "red"]]),
        "data/seed.csv",
    ),
    (
        "seed larger than the pool",
        lambda small: small.write("pool", [row[:3] for row in small.rows[78:80]], label=False),
        "data/seed.csv: the seed has 18 rows and the pool only 2; swap data.pool and data.seed in params.yaml",
    ),
    (
        "NaN",
        edit("data/pool.csv", "r-078,", "r-078,nan,"),
        "data/pool.csv:2: 4 cells where the header has 3",
    ),
    (
        "not a number",
        put(
            "data/pool.csv",
            b"id,x,y\n" + b"".join(b"p-%d,1,2\n" % n for n in range(30)) + b"p-x,1,NaN\n",
        ),
        "data/pool.csv:32: column 'y' holds 'NaN', numbers must be finite; fill the gap or remove the row",
    ),
    (
        "a word for a number",
        put(
            "data/pool.csv",
            b"id,x,y\n" + b"".join(b"p-%d,1,2\n" % n for n in range(30)) + b"p-x,1,two\n",
        ),
        "data/pool.csv:32: column 'y' holds 'two' where a number was expected; fill it, or leave the column out",
    ),
    (
        "not UTF-8",
        put("data/pool.csv", b"id,x,y\na,1,2\nb\xe9,1,2\n"),
        "data/pool.csv:3: not UTF-8; save the file as UTF-8",
    ),
    (
        "semicolons, as spreadsheets of some countries write them",
        put("data/pool.csv", b"\xef\xbb\xbfid;x;y\r\na;1,5;2\r\n"),
        "data/pool.csv:1: cells stand apart by ';', and commas were expected; save the file as comma-separated UTF-8",
    ),
    (
        "NUL",
        put("data/pool.csv", b"id,x,y\na,1,2\nb\0,1,2\n"),
        "data/pool.csv:3: a NUL character; remove it",
    ),
    (
        "open quote",
        put("data/pool.csv", b'id,x,y\na,1,"2\n'),
        "data/pool.csv:2: not valid CSV (unexpected end of data); repair the quotes",
    ),
    (
        "a column twice",
        put("data/pool.csv", b"id,x,x\na,1,2\n"),
        "data/pool.csv:1: column 'x' stands twice; rename one of them",
    ),
    (
        "a broken picture",
        pictures("data:image/png;base64,AAAA"),
        "data/pool.csv:2: unreadable image (no image format)",
    ),
    (
        "bad base64",
        pictures("data:image/png;base64,###"),
        "data/pool.csv:2: unreadable image (bad base64",
    ),
    (
        "a picture without a folder",
        pictures("a.png"),
        "data/pool.csv:2: image 'a.png' is a path, and data.images names no folder; set data.images in params.yaml",
    ),
    (
        "a picture outside the folder",
        pictures("../../params.yaml", "data/rounds"),
        "data/pool.csv:2: image path '../../params.yaml' leaves the folder data/rounds; keep images inside it",
    ),
    (
        "unknown model",
        param("sklearn.linear_model.LogisticRegresion", "model", "path"),
        "params.yaml model.path: 'sklearn.linear_model' has no 'LogisticRegresion' (did you mean 'LogisticRegression'",
    ),
    (
        "bad model argument",
        param({"C": 1.0, "colour": 2}, "model", "params"),
        "params.yaml model.params: sklearn.linear_model.LogisticRegression refused them",
    ),
    (
        "not a classifier",
        param("sklearn.preprocessing.StandardScaler", "model", "path"),
        "params.yaml model.path: sklearn.preprocessing.StandardScaler has neither predict_proba nor decision_function",
    ),
    (
        "unknown strategy",
        param("margn", "query", "strategy"),
        "unknown strategy 'margn' (did you mean 'margin'?)",
    ),
]


@pytest.mark.parametrize(
    ("change", "said"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_bad_data_is_refused_in_one_line(
    small: Small, change: Change, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "model" in said or "strategy" in said:
        small.set({("model", "params"): {}})
    change(small)
    with pytest.raises(SystemExit) as caught:
        small.run()
    assert caught.value.code == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert said in line
    assert "; " in line


PARAMS: list[tuple[str, Change, str]] = [
    (
        "unknown param",
        edit("params.yaml", "  batch_size: 10", "  batch_sise: 10"),
        "unknown param 'query.batch_sise' (did you mean 'batch_size'?); correct the key",
    ),
    (
        "unknown section",
        edit("params.yaml", "query:", "querry:"),
        "unknown param 'querry' (did you mean 'query'?)",
    ),
    (
        "wrong type",
        edit("params.yaml", "batch_size: 10", "batch_size: ten"),
        "query.batch_size: input should be a valid integer, found 'ten'; correct the value",
    ),
    (
        "out of range",
        edit("params.yaml", "control_fraction: 0.3", "control_fraction: 1.3"),
        "query.control_fraction: input should be less than or equal to 1, found 1.3; correct the value",
    ),
    (
        "one of a few",
        edit("params.yaml", "method: auto", "method: platt"),
        "calibrate.method: input should be 'none', 'temperature', 'sigmoid', 'isotonic' or 'auto', found 'platt'",
    ),
    (
        "shares above one",
        edit("params.yaml", "control_fraction: 0.3", "control_fraction: 0.95"),
        "control_fraction + review_fraction is above 1; lower one of them",
    ),
    (
        "no test set as null",
        edit("params.yaml", "test: data/test.csv", "test: null"),
        "data.test: input should be a valid string, found None; write data/none.csv (a table without rows) for none",
    ),
    (
        "one label",
        param(["red"], "labels"),
        "labels: list should have at least 2 items, found ['red']; correct the value",
    ),
    (
        "labels twice",
        param(["red", "red"], "labels"),
        "labels must be distinct and not blank; repair the list",
    ),
    (
        "no class has weight",
        param({"red": 0, "green": 0, "blue": 0}, "query", "class_weights"),
        "query.class_weights are 0 for every class; give more to those you care about",
    ),
    ("missing value", edit("params.yaml", "seed: 0", ""), "param 'seed' is missing; add it"),
    ("not YAML", edit("params.yaml", "seed: 0", "seed: [0"), "not valid YAML"),
]


@pytest.mark.parametrize(
    ("change", "said"), [row[1:] for row in PARAMS], ids=[row[0] for row in PARAMS]
)
def test_bad_params_are_refused_with_their_line(small: Small, change: Change, said: str) -> None:
    change(small)
    with pytest.raises(PipelineError) as caught:
        load(small.root / "params.yaml")
    text = str(caught.value)
    assert said in text
    assert text.startswith(f"{small.root / 'params.yaml'}:")
    assert text.removeprefix(f"{small.root / 'params.yaml'}:").partition(":")[0].isdecimal()


@pytest.mark.parametrize(
    ("name", "section", "remedy"),
    [
        ("committee", "query", "add `committee: 5`, as a new project has it"),
        ("hold", "gate", 'add `hold: ["G003", "G009"]`, as a new project has it'),
        ("budget", "query", "add `budget: null`, as a new project has it"),
    ],
)
def test_a_missing_param_is_named_with_the_value_of_a_new_project(
    small: Small, name: str, section: str, remedy: str
) -> None:
    path = small.root / "params.yaml"
    lines = [
        line
        for line in path.read_text().splitlines(keepends=True)
        if not line.startswith(f"  {name}:")
    ]
    path.write_text("".join(lines))
    with pytest.raises(PipelineError) as caught:
        Project(small.root).params()
    at = lines.index(f"{section}:\n") + 1
    assert str(caught.value) == f"{path}:{at}: param '{section}.{name}' is missing; {remedy}"


def answered(small: Small) -> Path:
    """A project with one answered round; the file of its answers."""
    small.run()
    project = Project(small.root)
    issue(project)
    simulate(project, small.root / "oracle.csv", noise=0, skip=0, seed=0)
    return project.last_round().answer_files()[0]


def first_row(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        rows = read_jsonl(path)
        rows[0] |= changes
        path.write_text("".join(dumps(row) + "\n" for row in rows))

    return change


def edit_batch(path: Path) -> None:
    asked = path.parent.parent / "asked.jsonl"
    asked.write_text(asked.read_text().replace('"rank":1', '"rank":9', 1))


def forge_round(path: Path) -> None:
    folder = path.parent.parent.parent / "002" / "answers"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(path.read_bytes())


ANSWERS: list[tuple[str, Callable[[Path], None], str]] = [
    (
        "another batch",
        first_row(al_batch="f" * 64),
        "data/rounds/001/answers/oracle.jsonl:1: answers batch ffffffffffff, round 001 asked batch",
    ),
    (
        "unknown id",
        first_row(al_id="nobody"),
        "data/rounds/001/answers/oracle.jsonl:1: id 'nobody' was not asked in round 001; remove the row",
    ),
    (
        "unknown label",
        first_row(accept=["Red"], answer="accept"),
        "data/rounds/001/answers/oracle.jsonl:1: label 'Red' is not in params.labels (did you mean 'red'?); correct",
    ),
    (
        "two choices",
        first_row(accept=["red", "blue"], answer="accept"),
        "data/rounds/001/answers/oracle.jsonl:1: 2 choices (red, blue) where one label is asked for; repair the row",
    ),
    (
        "not JSON",
        lambda path: path.write_bytes(path.read_bytes() + b"\n{oops\n") and None,
        "data/rounds/001/answers/oracle.jsonl:12: not a JSON object",
    ),
    (
        "an edited batch",
        edit_batch,
        "data/rounds/001/asked.jsonl: edited after the batch was issued",
    ),
    (
        "a batch never issued",
        forge_round,
        "data/rounds/002: answers to a batch that was never issued (no manifest.json); remove the folder",
    ),
]


@pytest.mark.parametrize(
    ("change", "said"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_bad_answers_are_refused_with_file_and_line(
    small: Small, change: Callable[[Path], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(answered(small))
    with pytest.raises(SystemExit) as caught:
        small.run("import_labels")
    assert caught.value.code == 1
    assert f"error: {said}" in capsys.readouterr().err
