"""`rounds predict`, `rounds.load`: what leaves the project says what the project says."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from rounds import load
from rounds.__main__ import cli
from rounds.commands import git
from stages.contract.canonical import read_json
from stages.contract.errors import PipelineError
from stages.contract.params import load as load_params
from stages.examples.blocks import read_blocks
from stages.examples.tables import read_table
from stages.learning.maps import Curves, Map, Steps, Temperature, read_map, write_map
from stages.prediction.card import card
from stages.prediction.predictor import Predictor, is_beyond, nearest_labelled
from stages.store.index import read_index
from tests.conftest import Small, dvc
from tests.shapes import (
    TABLES,
    as_they_are,
    cut_in_parts,
    embedding_in_parts,
    images_in_parts,
    texts_in_parts,
    use_images,
    use_texts,
    with_custom,
    with_embedding,
    with_hashing,
    with_vectors,
    with_words,
    words_in_parts,
)


@pytest.mark.parametrize(
    "shape",
    [
        as_they_are, use_texts, with_hashing, with_words, with_custom, texts_in_parts, words_in_parts,
        cut_in_parts, use_images, images_in_parts, with_embedding, embedding_in_parts, with_vectors,
    ],
)  # fmt: skip
def test_the_raw_rows_are_given_the_probabilities_of_the_project_to_the_last_byte(
    small: Small, shape: Callable[[Small], None]
) -> None:
    shape(small)
    small.run()
    model = load(small.root)
    for split in ("pool", "test"):
        known = np.load(small.root / "build" / "probabilities" / f"{split}.npy")
        ids = kept_ids(small, split)
        made = dict[str, np.ndarray]()
        place = small.root / load_params(small.root / "params.yaml").data.model_dump()[split]
        for path in sorted(place.iterdir()) if place.is_dir() else [place]:
            for block in read_blocks(path, 7):  # whatever the size of the blocks
                probabilities = model.of_table(block).probabilities
                assert model.probabilities(block).tobytes() == probabilities.tobytes()
                made |= dict(zip(block.columns["id"], probabilities, strict=True))
        assert np.array([made[item] for item in ids]).tobytes() == known.tobytes()


def kept_ids(small: Small, split: str) -> list[str]:
    """The ids of the rows of build/probabilities, in their order."""
    kept = small.root / "build" / "probabilities" / "kept.parquet"
    if split == "pool" and kept.is_file():
        return list(pq.read_table(kept).column("id").to_pylist())
    index = read_index(small.root / "build" / "features")
    return index.ids[index.rows(split)]  # type: ignore[arg-type]  # pool or test


def test_word_vectors_are_named_where_they_count(small: Small) -> None:
    with_words(small)
    small.run()
    weight = read_json(small.root / "build/model/model.json")["word_weight"]
    assert read_json(small.root / "metrics/calibration.json")["word_weight"] == weight
    assert load(small.root).facts["word_weight"] == weight
    card = (small.root / "build/predictor/CARD.md").read_text()
    said = f"they weigh {weight:g} where n-grams weigh 1" if weight else "the labels gave them no"
    assert f"word vectors of wordllama 0.4.0.post1 (MIT licence): {said}" in card


def test_a_project_from_before_word_vectors_keeps_its_features(small: Small) -> None:
    use_texts(small)
    small.run()
    features = small.bytes_of("build/features")
    path = small.root / "params.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.lstrip().startswith("words:")))
    small.run()
    assert small.bytes_of("build/features") == features
    arrays = dict(np.load(small.root / "build/predictor/fitted.npz"))
    texts = ["red apple alpha beta", "a blue plum"]
    expected = load(small.root).predict_proba(texts)
    del arrays["words"], arrays["spread"]
    np.savez(small.root / "build/predictor/fitted.npz", **arrays)
    assert load(small.root).predict_proba(texts).tobytes() == expected.tobytes()


def test_rows_can_be_a_frame_columns_dicts_or_texts(small: Small) -> None:
    use_texts(small)
    small.run()
    model = load(small.root / "build" / "predictor")
    texts = ["red apple alpha beta", "a blue plum", "green pear"]
    expected = model.predict_proba(texts)
    assert model.classes_ == list(small.labels)
    assert expected.shape == (3, 3)
    assert np.allclose(expected.sum(axis=1), 1)
    for rows in (
        pd.DataFrame({"note": texts, "other": 1}),
        {"note": texts},
        [{"note": text} for text in texts],
    ):
        assert model.predict_proba(rows).tobytes() == expected.tobytes()
    assert model.predict(texts) == ["red", "blue", "green"]
    pool = pd.read_csv(small.root / "data" / "pool.csv")["note"].tolist()
    assert model.unlike(pool).mean() <= 0.02
    assert model.unlike(["ЩЩЩЩ"]).tolist() == [True]


def test_what_lies_beyond_a_limit_is_decided_exactly_however_many_are_asked_about() -> None:
    rng = np.random.default_rng(3)
    labelled = rng.normal(size=(40, 5)).astype(np.float32)
    near = labelled[rng.integers(0, 40, 300)] + rng.normal(0, 1e-4, (300, 5)).astype(np.float32)
    rows = np.vstack([near, labelled, 100 * rng.normal(size=(60, 5)).astype(np.float32)])
    exact = nearest_labelled(rows, labelled)
    for limit in (0.0, float(np.median(exact)), float(exact[7]), float(exact.max()), np.inf):
        beyond = is_beyond(rows, labelled, limit)
        assert beyond.tolist() == (exact > limit).tolist()
        one_by_one = [bool(is_beyond(rows[row : row + 1], labelled, limit)[0]) for row in range(99)]
        assert one_by_one == beyond[:99].tolist()
    assert is_beyond(rows, labelled[:0], 1.0).all()


def test_faults_name_the_row_as_featurize_names_them(small: Small, tmp_path: Path) -> None:
    small.run()
    model = load(small.root)
    with pytest.raises(
        PipelineError, match=r"^rows:2: column 'y' holds 'x' where a number was expected"
    ):
        model.predict([{"x": 1, "y": 2}, {"x": 1, "y": "x"}])
    with pytest.raises(PipelineError, match=r"^rows:1: no column 'y'"):
        model.predict([{"x": 1}])
    with pytest.raises(PipelineError) as fault:
        load(tmp_path)
    assert str(fault.value) == (
        f"{tmp_path}: no predictor here; name a folder that `rounds close` or `dvc repro` wrote (build/predictor)"
    )


def predict(
    small: Small, monkeypatch: pytest.MonkeyPatch, *words: str, fed: str = ""
) -> tuple[str, str]:
    """What the command prints, and what it says."""
    monkeypatch.chdir(small.root)
    done = CliRunner().invoke(cli, ["predict", *words], input=fed)
    assert done.exit_code in (0, 1), done.exception
    return done.stdout, done.stderr


def test_files_pipes_and_folders_of_parts_say_the_same(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_in_parts(small)
    small.run()
    parts = small.root / "data" / "parts"
    files = [str(path) for path in sorted(parts.iterdir())]
    _, said = predict(small, monkeypatch, *files, "--out", "all.jsonl")
    assert said.startswith("predict: 120 rows in all.jsonl, by the model of round 0")
    assert "; its confidence is unknown: " in said
    rows = [json.loads(line) for line in (small.root / "all.jsonl").read_text().splitlines()]
    printed, _ = predict(small, monkeypatch, "-", fed=Path(files[0]).read_text())
    table = list(csv.DictReader(printed.splitlines()))
    assert [row["id"] for row in table] == [row["id"] for row in rows[:50]]
    for name in ("confidence", "p_red", "p_blue"):
        here = np.array([row[name] for row in table], dtype=np.float32)
        assert (
            here.tobytes() == np.array([row[name] for row in rows[:50]], dtype=np.float32).tobytes()
        )
    _, said = predict(small, monkeypatch, "data/parts", "--out", "predicted")
    assert "predict: 120 rows in predicted, by the model of round 0" in said
    made = pd.concat(
        pd.read_parquet(small.root / "predicted" / f"{name}.parquet") for name in "abc"
    )
    assert made["id"].tolist() == [row["id"] for row in rows]
    there = np.array([row["p_green"] for row in rows], dtype=np.float32)
    assert made["p_green"].to_numpy().tobytes() == there.tobytes()


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        ("a.csv", b"id,x,y\na,1,2\n\nb,1\n", "a.csv:4: 2 cells where the header has 3"),
        ("a.csv", b"id,x\na,1\n", "a.csv:1: no column 'y', found 'id', 'x'"),
        ("a.csv", b"id,x,y\na,1,nan\n", "a.csv:2: column 'y' holds 'nan', numbers must be finite"),
        ("a.jsonl", b'{"x":1,"y":2}\n{"x":1,"y":null}\n', "a.jsonl:2: column 'y' holds None where a number"),
        ("a.jsonl", b'{"x":1,"y":2}\n{"x":1,\n', "a.jsonl:2: not a JSON object"),
        ("a.parquet", b"PAR1 no", "a.parquet: not a readable Parquet file"),
        ("a.txt", b"x", "a.txt: unknown table format '.txt'"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused_by_file_and_line_from_a_file_and_a_pipe(
    small: Small, taught: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, fault: str
) -> None:
    path = small.root / name
    path.write_bytes(data)
    printed, said = predict(small, monkeypatch, str(path), "--model", str(taught))
    assert said.startswith(f"error: {small.root}/{fault}"), said
    assert printed == ""
    if path.suffix in (".csv", ".jsonl"):
        words = ("-", "--format", path.suffix[1:], "--model", str(taught))
        printed, said = predict(small, monkeypatch, *words, fed=data.decode())
        assert said.startswith(f"error: stdin{fault.removeprefix(name)}"), said
        assert printed == ""


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of numbers after all its stages."""
    made = Small(tmp_path_factory.mktemp("taught") / "small")
    made.run()
    return made.root


def test_a_row_far_from_all_labels_is_marked_and_counted(
    small: Small, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed = "id,x,y\nnear,2,0\nfar,900,900\n"
    printed, said = predict(small, monkeypatch, "-", "--model", str(taught), fed=fed)
    rows = {row["id"]: row["unlike"] for row in csv.DictReader(printed.splitlines())}
    assert rows == {"near": "false", "far": "true"}
    assert "; 1 of them is unlike anything labelled: do not trust it there" in said


def test_vectors_of_another_length_and_a_missing_column_of_them_are_refused(
    make_small: Callable[[str], Small],
) -> None:
    of_column, of_array = make_small("column"), make_small("array")
    with_vectors(of_column)
    with_vectors(of_array, vectors="data/all.npy")
    data = of_array.root / "data"
    vectors = [pd.read_parquet(data / f"{name}.parquet")["vector"] for name in TABLES]
    np.save(data / "all.npy", np.vstack([np.vstack(one) for one in vectors]))
    model = trained(of_column)
    with pytest.raises(PipelineError, match=r"^rows:1: vectors of 3 numbers, and the model was"):
        model.predict({"vector": [[1.0, 2.0, 3.0]]})
    of_file = trained(of_array)
    rows = {"vector": [[1.0, 2.0], [-1.0, 0.5]]}
    assert of_file.predict_proba(rows).tobytes() == model.predict_proba(rows).tobytes()
    with pytest.raises(PipelineError, match=r"^rows:1: the model was taught with vectors of a"):
        of_file.predict([{"id": "a"}])


def trained(small: Small) -> Predictor:
    """The predictor of the project as it stands."""
    small.run()
    return load(small.root)


def test_the_card_gives_recall_and_precision_of_each_class_with_intervals(small: Small) -> None:
    """By hand: 8 of 10 red ones found, 8 of 9 called red; Wilson's intervals."""
    small.run()
    facts = json.loads((small.root / "build/predictor/predictor.json").read_text())
    counts = [("red", "red", 8), ("red", "blue", 2), ("blue", "red", 1), ("blue", "blue", 4)]
    confusion = [
        {"actual": actual, "predicted": predicted, "count": count}
        for actual, predicted, count in counts
    ]
    lines = card(facts, {}, confusion).splitlines()
    red = facts["per_class"]["red"]
    assert f"| red | {red} | 0.800 (0.49 to 0.94) | 0.889 (0.57 to 0.98) |" in lines
    assert any(line.endswith("| not measured | not measured |") for line in lines)  # green


def test_the_model_of_another_commit_predicts_files_and_folders_of_parts(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC itself keeps the folder and gives it back."""
    cut_in_parts(small)
    small.run()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ann")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ann@example.org")
    git(small.root, "init", "--quiet")
    dvc(small.root, "commit", "--force", "package")
    git(small.root, "add", "--all")
    git(small.root, "commit", "--quiet", "-m", "Round 0")
    predict(small, monkeypatch, "data/parts", "--out", "first")
    small.set({("model", "params", "C"): 0.01})
    small.run("train", "calibrate", "package")
    predict(small, monkeypatch, "data/parts", "--out", "now")
    _, said = predict(small, monkeypatch, "data/parts", "--out", "then", "--commit", "HEAD")
    assert said.startswith("predict: 120 rows in then, by the model of round 0")
    first = small.bytes_of("first")
    assert set(small.bytes_of("now").values()).isdisjoint(first.values())
    then = {name.replace("then/", "first/"): sha for name, sha in small.bytes_of("then").items()}
    assert then == first
    assert sorted(path.name for path in (small.root / "then").iterdir()) == [
        "a.parquet", "b.parquet", "c.parquet",
    ]  # fmt: skip
    _, said = predict(small, monkeypatch, "data/parts", "--out", "x", "--commit", "nope")
    assert said.startswith(f"error: {small.root} at nope: the model cannot be fetched (")


def test_a_bad_row_leaves_no_file(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    small.run()
    bad = small.write("bad", [("a", 1, 2), ("b", "?", 3)], label=False)
    _, said = predict(small, monkeypatch, str(bad), "--out", "out.csv")
    assert said == (
        f"error: {bad}:3: column 'x' holds '?' where a number was expected; "
        "fill it, or leave the column out (name the others)\n"
    )
    assert not list(small.root.glob("*out.csv*"))


def test_before_there_is_a_model_the_command_says_what_to_do(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.write("seed", [])
    small.run()
    _, said = predict(small, monkeypatch, "data/test.csv")
    assert said.endswith(
        "there is no model yet, 0 labels of fewer than two classes; label more and run `rounds close`\n"
    )
    assert "There is no model yet" in (small.root / "build/predictor/CARD.md").read_text()


def test_the_card_says_what_it_learnt_and_how_good_it_is(small: Small) -> None:
    small.run()
    card = (small.root / "build" / "predictor" / "CARD.md").read_text(encoding="utf-8")
    assert "It learnt from 18 labels, up to round 0." in card
    proof = json.loads((small.root / "metrics" / "validate.json").read_text())["shipped"]
    assert f"Accuracy {proof['accuracy']:.3f} (95 % interval {proof['low']:.3f} to" in card
    for label in small.labels:
        assert f"| {label} | " in card


def test_the_same_round_gives_the_same_folder(small: Small) -> None:
    use_texts(small)
    small.run()
    before = small.bytes_of("build/predictor")
    small.run("featurize", "train", "calibrate", "package")
    assert small.bytes_of("build/predictor") == before


@pytest.mark.parametrize(
    "chosen",
    [
        Temperature(1 / 3),
        Curves(np.array([1 / 3, 2.0, 0.7]), np.array([0.1, -1 / 7, 0.0])),
        Steps([np.array([0.1, 0.5]), np.array([0.2]), np.array([0.0, 1.0])],
              [np.array([0.0, 1 / 3]), np.array([0.5]), np.array([0.2, 0.9])]),
    ],
)  # fmt: skip
def test_a_map_is_read_back_as_it_was_written(chosen: Map, tmp_path: Path) -> None:
    write_map(tmp_path / "map.npz", chosen)
    scores = np.random.default_rng(0).normal(size=(50, 3)) * 3
    scores[7, 1] = -np.inf
    assert read_map(tmp_path / "map.npz")(scores).tobytes() == chosen(scores).tobytes()


@pytest.mark.parametrize(
    "text",
    ["id,a\n1,x\n", '\ufeffid,a\r\n1,"x\r\ny"\r\n\r\n2,z\r\n', "id,a\n", 'id,a\n1,é\n2,""\n3,x'],
)
def test_blocks_hold_what_the_table_holds(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    whole = read_table(path, may_be_empty=True)
    blocks = list(read_blocks(path, 1))
    assert [line for block in blocks for line in block.lines] == list(whole.lines)
    for name in whole.columns if len(whole) else ():
        assert [cell for block in blocks for cell in block.columns[name]] == whole.columns[name]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"id,a\n1,\xff\n", "t.csv:2: not UTF-8; save the file as UTF-8"),
        (b"id,a\n1\n", "t.csv:2: 1 cells where the header has 2; quote cells that hold commas or line ends"),
        (b"id;a\n1;2\n", "t.csv:1: cells stand apart by ';', and commas were expected; save the file as comma-separated UTF-8, or as .jsonl or .parquet"),
    ],
)  # fmt: skip
def test_blocks_refuse_what_the_table_refuses(data: bytes, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    for read in (lambda: read_table(path), lambda: list(read_blocks(path, 5))):
        with pytest.raises(PipelineError) as raised:
            read()
        assert str(raised.value).endswith(fault)
