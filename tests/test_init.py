"""`rounds init`: what it makes of tables, and what it refuses before it makes anything."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from ruamel.yaml import YAML

from rounds import init as initial
from rounds.init import init
from rounds.project_tables import in_order
from rounds.roles import Choices
from stages.contract.errors import PipelineError
from stages.contract.progress import Progress
from stages.examples.tables import read_table
from tests.conftest import shell, write_csv

NAMES = Choices(id="nr", label="kind")


def tables(folder: Path) -> dict[str, Path | None]:
    """A pool and a seed of two numbers; the seed has them elsewhere, and a column of its own."""
    pool = write_csv(
        folder / "pool.csv", ["nr", "x", "y"], [[f"p{row}", row, -row] for row in range(9)]
    )
    columns = ["y", "kind", "source", "nr", "x"]
    seed = write_csv(
        folder / "seed.csv", columns, [[2, "a", "web", "s1", 1], [4, "b", "", "s2", 3]]
    )
    return {"pool": pool, "seed": seed, "test": None}


def refused(folder: Path, **changes: Any) -> str:
    """What init says, and that it made nothing."""
    with pytest.raises(PipelineError) as told:
        init(folder / "project", tables(folder), replace(NAMES, **changes))
    assert not (folder / "project").exists()
    return str(told.value).replace(f"{folder}/", "")


def test_a_column_that_no_table_has_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    said = refused(tmp_path, id="mr")
    assert said == (
        "pool.csv:1: no column 'mr', found 'nr', 'x', 'y'; correct --id or the file's header"
    )
    assert "no column 'z'" in refused(tmp_path, numbers=("x", "z"))
    assert "correct --label or" in refused(tmp_path, label="sort")


def test_an_id_that_was_not_named_is_no_number(tmp_path: Path) -> None:
    said = refused(tmp_path, id="")
    assert said == (
        "pool.csv:2: column 'nr' holds 'p0', and others numbers; say what it is: "
        "--id nr if it is the id, --text nr if people judge it, or leave it out: --columns x,y"
    )
    said = refused(tmp_path, id="", numbers=("nr", "x"))
    assert said.startswith("pool.csv:2: column 'nr' holds 'p0' where a number was expected; ")


def test_classes_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, classes=("a", "a")).startswith(
        "--labels: a, a are not two or more distinct classes; "
    )
    assert refused(tmp_path, classes=("a",)).startswith(
        "--labels: a are not two or more distinct classes; "
    )
    assert refused(tmp_path, classes=("a", "bb")) == (
        "seed.csv:3: label 'b' is not among --labels (did you mean 'bb'?); add it there, or correct the row"
    )


def test_a_folder_is_a_pool_only_and_images_need_one(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    with pytest.raises(
        PipelineError,
        match=r"--seed: .*parts is a folder; name a file: only a pool may be in parts",
    ):
        init(tmp_path / "p", {**tables(tmp_path), "seed": tmp_path / "parts"}, NAMES)
    assert refused(tmp_path, images=tmp_path / "none").startswith("--images: none is no folder; ")


def test_what_is_taken_for_a_number_is_told(tmp_path: Path) -> None:
    said = init(tmp_path / "project", tables(tmp_path), NAMES)
    to_start_with = tmp_path / "project" / "rounds" / "_project" / "params.yaml"
    assert (
        to_start_with.read_bytes() == (Path(__file__).parents[1] / "params.yaml").read_bytes()
    )  # whatever the project makes of its own
    assert said.splitlines()[0].endswith("is ready, 2 classes, 2 columns of numbers (x, y)")
    blank = init(tmp_path / "blank", {**tables(tmp_path), "seed": None}, NAMES)
    assert blank.splitlines()[1].endswith(
        "; name your classes in `labels` of params.yaml; git add -A && git commit -m 'Our data'; rounds close"
    )


def test_a_project_lists_its_classes_with_their_counts(tmp_path: Path) -> None:
    columns = ["kind", "x", "z", "y", "nr"]
    test = write_csv(
        tmp_path / "test.csv", columns, [["a", 1, "-", 2, "t1"], ["a", 1, "-", 2, "t2"]]
    )
    root = tmp_path / "it's {1}"
    told = init(root, {**tables(tmp_path), "test": test}, replace(NAMES, classes=("a", "b", "c d")))
    assert told.splitlines()[1].startswith("  proof: 8 of 40 rows a round are drawn at random")
    assert told.splitlines()[2:] == [
        "  seed: 2 rows, a 1, b 1, 'c d' 0",
        "  no seed row of 'c d': found only by chance until answers bring one",
        "  test: 2 rows, a 2, b 0, 'c d' 0",
        "  the folder's path has braces, where `dvc` itself fails; the `rounds` commands work",
        f"next: cd {shlex.quote(str(root))} && rounds close   (issues batch 1)",
    ]


def text_tables(folder: Path, **rows: str) -> dict[str, Path | None]:
    """Tables of text, each given as CSV."""
    paths: dict[str, Path | None] = {}
    for name, text in rows.items():
        path = folder / f"{name}.csv"
        path.write_text(text, encoding="utf-8")
        paths[name] = path
    return paths


TEXT = Choices(id="id", texts=("text",))
POOL = "id,text\n" + "".join(f"p{row},words {row}\n" for row in range(5))
SEED = "id,text,label\ns1,one,card\ns2,two,loan\n"


UNLABELLED = POOL.replace("text", "text,label").replace("words", "w,words")  # five rows as a seed
CAPITAL = "label,by,text,id\nCard,x,one,t1\nloan,y,two,t2\n"
REFUSED: list[tuple[dict[str, str], str]] = [
    (
        {"pool": POOL, "seed": SEED.replace("two", " ")},
        "seed.csv:3: empty text in column 'text'; remove",
    ),
    (
        {"pool": POOL, "seed": SEED.replace("loan", "card")},
        "seed.csv:2: every seed row has the label 'card'; ",
    ),
    (
        {"pool": POOL, "seed": SEED.replace("loan", "")},
        "seed.csv:3: empty label in column 'label'; fill it",
    ),
    (
        {"pool": POOL, "seed": SEED.replace("s2", "p1")},
        "seed.csv:3: id 'p1' stands twice, first at pool.csv:3; ",
    ),
    (
        {"pool": POOL.replace("p3", " "), "seed": SEED},
        "pool.csv:5: id ' ' is blank or not printable; ",
    ),
    ({"pool": SEED, "seed": UNLABELLED}, "seed.csv: the seed has 5 rows and the pool only 2; swap"),
    (
        {"pool": POOL, "data": SEED},
        "--data: --pool is given as well, and --data is pool and seed in one; ",
    ),
    (
        {"data": SEED},
        "--data: all 2 rows of data.csv have a label in column 'label', and none is left to ask; ",
    ),
    (
        {"data": SEED + "s3,x,\n"},
        "data.csv: 2 rows have a label and only 1 have none; add unlabelled rows",
    ),
    ({"pool": POOL, "seed": SEED, "test": CAPITAL}, "seed.csv:2: classes that differ only in case"),
]


@pytest.mark.parametrize(("rows", "said"), REFUSED)
def test_what_the_first_close_would_refuse_is_refused_at_the_users_own_line(
    rows: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(PipelineError) as caught:
        init(tmp_path / "p", text_tables(tmp_path, **rows), TEXT)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(said)
    assert not (tmp_path / "p").exists()


PART = "id,title,body,label\n1,A,a,card\n2,B,b,\n3,C,c,loan\n4,D,d, \n"


@pytest.mark.parametrize("twice", [False, True])
def test_a_table_labelled_in_part_is_pool_and_seed_in_one(
    twice: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial, "start", lambda *_: None)
    path = text_tables(tmp_path, part=PART)["part"]
    given = {"pool": path, "seed": path} if twice else {"data": path}
    told = init(tmp_path / "p", given, replace(TEXT, texts=("title", "body"))).splitlines()
    assert ("  part.csv is pool and seed in one: read as --data" in told) == twice
    assert "  part.csv: 2 labelled rows are the seed, 2 others the pool" in told
    joined = "id,title,body,title + body"
    assert (
        tmp_path / "p/data/pool.csv"
    ).read_text() == f'{joined}\n2,B,b,"B\n\nb"\n4,D,d,"D\n\nd"\n'
    seed = read_table(tmp_path / "p/data/seed.csv").columns
    assert (seed["title + body"], seed["label"]) == (["A\n\na", "C\n\nc"], ["card", "loan"])
    assert YAML(typ="safe").load(tmp_path / "p/params.yaml")["data"]["text"] == "title + body"


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("role", ["seed", "test"])
def test_exports_of_tools_give_the_labels_that_were_accepted_whatever_other_columns_stand_there(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pool, seed and test have columns of their own; of twelve binary rows three were accepted."""
    monkeypatch.setattr(initial, "start", lambda *_: None)
    pool = write_csv(tmp_path / "pool.csv", ["n", "text"], [[row, f"w {row}"] for row in range(9)])
    binary = [
        {"text": text, "label": label, "answer": "accept" if label == right else "reject",
         "_session_id": "d-ana", "score": 0.5}
        for label in ("A", "B", "C")
        for text, right in [("t1", "B"), ("t2", "A"), ("t3", "C"), ("t4", "none of them")]
    ]  # fmt: skip
    studio = [
        {"id": n, "data": {"text": text, "shop": "x"}, "predictions": [],
         "annotations": [{"completed_by": 1, "result": [
             {"from_name": "c", "type": "choices", "value": {"choices": [label]}}]}]}
        for n, (text, label) in enumerate([("s1", "A"), ("s2", "B"), ("s3", "C")])
    ]  # fmt: skip
    files = {"seed": binary, "test": studio} if role == "seed" else {"seed": studio, "test": binary}
    given: dict[str, Path | None] = {"pool": pool}
    given |= {name: lines(tmp_path / f"{name}.jsonl", rows) for name, rows in files.items()}
    told = init(tmp_path / "p", given, Choices(texts=("text",)))
    for name in files:
        tool = "Prodigy" if name == role else "Label Studio"
        rejected = "; no labels: 1 rejected, ignored or not answered" * (name == role)
        said = f"  {name}.jsonl: an export of {tool}, read by its answers: 3 labels{rejected}"
        assert said in told.splitlines()
    found = read_table(tmp_path / f"p/data/{role}.csv").columns
    assert dict(zip(found["text"], found["label"], strict=True)) == {
        "t1": "B",
        "t2": "A",
        "t3": "C",
    }
    other = read_table(tmp_path / f"p/data/{'test' if role == 'seed' else 'seed'}.csv").columns
    assert dict(zip(other["text"], other["label"], strict=True)) == {
        "s1": "A",
        "s2": "B",
        "s3": "C",
    }


def test_an_export_of_which_a_part_is_answered_is_seed_and_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial, "start", lambda *_: None)
    rows = [
        {"text": f"t{n}", "accept": ["A" if n else "B"], "options": [], "_session_id": "d-ana",
         "answer": "accept" if n < 2 else "ignore"}
        for n in range(5)
    ]  # fmt: skip
    init(tmp_path / "p", {"data": lines(tmp_path / "d.jsonl", rows)}, Choices(texts=("text",)))
    assert (tmp_path / "p/data/seed.csv").read_text() == "text,label\nt0,B\nt1,A\n"
    assert (tmp_path / "p/data/pool.csv").read_text() == "text\nt2\nt3\nt4\n"


def test_lists_of_one_label_in_a_seed_are_that_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial, "start", lambda *_: None)
    given = text_tables(tmp_path, pool=POOL)
    rows = [
        {"id": "s1", "text": "one", "label": ["card"]},
        {"id": "s2", "text": "two", "label": ["loan"]},
    ]
    given["seed"] = lines(tmp_path / "seed.jsonl", rows)
    told = init(tmp_path / "p", given, TEXT)
    assert "  seed: 2 rows, card 1, loan 1" in told.splitlines()
    assert (tmp_path / "p/data/seed.csv").read_text() == SEED


def test_spellings_are_merged_in_the_projects_own_tables_or_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial, "start", lambda *_: None)
    given = text_tables(
        tmp_path, pool=POOL, seed=SEED + "s3,three,Card \n", test="label,by,id,text\nLOAN,bo,t1,x\n"
    )
    told = init(tmp_path / "m", given, replace(TEXT, spelling="merge")).splitlines()
    assert "  seed.csv: 'Card ' is now 'card' (1 rows)" in told
    assert "  test.csv: 'LOAN' is now 'loan' (1 rows)" in told
    assert YAML(typ="safe").load(tmp_path / "m/params.yaml")["labels"] == ["card", "loan"]
    assert (tmp_path / "m/data/seed.csv").read_text() == SEED + "s3,three,card\n"
    init(tmp_path / "k", given, replace(TEXT, spelling="keep"))
    assert YAML(typ="safe").load(tmp_path / "k/params.yaml")["labels"] == [
        "Card ",
        "LOAN",
        "card",
        "loan",
    ]
    assert (tmp_path / "k/data/seed.csv").read_bytes() == (tmp_path / "seed.csv").read_bytes()


def test_labels_of_a_pool_are_not_used_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial, "start", lambda *_: None)
    given = text_tables(tmp_path, pool=PART.replace("title", "text"))
    told = init(tmp_path / "p", given, replace(TEXT, classes=("-1", "0")))
    assert "part" not in told
    assert (
        "  pool.csv: 2 of 4 pool rows have a label in 'label', which is not used; give it as --data instead"
        in told
    )


def test_negative_classes_are_named_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initial, "start", lambda *_: None)
    pool = text_tables(tmp_path, pool=POOL)["pool"]
    for place, words in enumerate((["--labels", "-1,0,1"], ["--labels=-1,0,1"])):
        root = tmp_path / str(place)
        done = CliRunner().invoke(
            initial.command, [str(root), f"--pool={pool}", "--text=text", *words]
        )
        assert done.exit_code == 0, done.stderr
        assert YAML(typ="safe").load(root / "params.yaml")["labels"] == ["-1", "0", "1"]


def test_whole_numbers_are_sorted_by_value() -> None:
    assert in_order({"10", "-2", "9", "-10"}) == ["-10", "-2", "9", "10"]
    assert in_order({"10", "9", "a"}) == ["10", "9", "a"]


@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_init_leaves_nothing_and_says_so(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tables(tmp_path)
    root = tmp_path / "project"
    if there:
        root.mkdir()

    def interrupted(*_: object) -> None:
        assert (root / "data/pool.csv").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(initial, "start", interrupted)
    words = [
        str(root),
        *(f"--{name}={path}" for name, path in given.items() if path),
        "--id=nr",
        "--label=kind",
    ]
    done = CliRunner().invoke(initial.command, words)
    assert done.exit_code == 130
    assert done.stderr == "error: interrupted; nothing is lost: run the same command again\n"
    assert list(root.iterdir()) == []
    monkeypatch.undo()
    assert CliRunner().invoke(initial.command, words).exit_code == 0


@pytest.mark.slow
def test_a_folder_of_images_comes_along_and_dvc_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "png").mkdir()
    for row in range(6):
        Image.new("L", (4, 4), color=row * 40).save(tmp_path / "png" / f"{row}.png")
    pool = write_csv(tmp_path / "pool.csv", ["file"], [[f"{row}.png"] for row in range(6)])
    choices = Choices(label="kind", image="file", images=tmp_path / "png", classes=("a", "b"))
    root, told = tmp_path / "project", dict[str, Progress]()

    @contextmanager
    def kept(doing: str, total: int, unit: str) -> Iterator[Progress]:
        yield told.setdefault(doing, Progress(doing, total, unit))

    monkeypatch.setattr(initial, "progress", kept)
    init(root, {"pool": pool, "seed": None, "test": None}, choices)
    assert {doing: (one.done, one.total, one.unit) for doing, one in told.items()} == {
        "copy images": (6, 6, "file")
    }
    assert YAML(typ="safe").load(root / "params.yaml")["data"]["images"] == "data/images"
    assert shell(root, "git", "status", "--porcelain") == ""
    assert "data/images.dvc" in shell(root, "git", "ls-files", "data")
    assert "data/images/" not in shell(root, "git", "ls-files", "data")
    shell(root, "dvc", "repro", "featurize")


def test_a_project_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    root = tmp_path / "größer, als #1" / "ein projekt"
    said = init(root, tables(tmp_path), NAMES)
    assert said.splitlines()[-1] == f"next: cd '{root}' && rounds close   (issues batch 1)"
    assert (root / ".gitattributes").is_file()
    told = shell(root, "dvc", "remote", "list")  # which wraps long lines
    assert "".join(str(root / ".dvc" / "store").split()) in "".join(told.split())


def test_a_project_that_was_moved_or_copied_writes_nothing_to_where_it_was(tmp_path: Path) -> None:
    first = tmp_path / "100% first"
    init(first, tables(tmp_path), NAMES)
    moved = first.rename(tmp_path / "moved")
    copied = Path(shutil.copytree(moved, tmp_path / "copied"))
    before = sorted(moved.rglob("*"))
    (copied / "data" / "large").write_text("one more file")
    shell(copied, "dvc", "add", "data/large")
    shell(copied, "dvc", "push")
    assert [path.name for path in (copied / ".dvc" / "store").iterdir()] == ["files"]
    assert sorted(moved.rglob("*")) == before
    assert not first.exists()


def test_dvc_keeps_what_lies_under_a_folder_whose_name_has_braces(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "parts" / "a {b}.csv",
        ["nr", "x", "y"],
        [[f"p{row}", row, -row] for row in range(9)],
    )
    root = tmp_path / "{a} ${b} [c]"
    init(root, {**tables(tmp_path), "pool": tmp_path / "parts"}, NAMES)
    assert "data/pool.dvc" in shell(root, "git", "ls-files", "data")
