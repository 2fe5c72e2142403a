"""The nine stages run one after another on a small project, in this process: laws that hold for the
whole.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rounds import status
from rounds.annotate import simulate
from rounds.issue import issue
from rounds.project import Project
from stages.contract.canonical import read_json, read_jsonl
from stages.store.index import read_geometry, read_index, read_model_matrix
from tests.conftest import Small, blobs, write_csv

BATCH = "build/export/asked.jsonl"


def play(small: Small, count: int, noise: float = 0.0, skip: float = 0.0) -> None:
    """Run `count` rounds with the simulated annotator."""
    project = Project(small.root)
    small.run()
    for _ in range(count):
        issue(project)
        simulate(project, small.root / "oracle.csv", noise=noise, skip=skip, seed=0)
        small.run()


def test_every_stage_writes_what_the_next_one_reads(small: Small) -> None:
    play(small, 2, noise=0.1, skip=0.1)
    assert read_json(small.root / "build/gate/state.json")["rounds"] == 2
    curve = read_json(small.root / "plots/learning_curve.json")
    assert {row["arm"] for row in curve} == {"active", "random"}
    assert {row["round"] for row in curve} == {0, 1, 2}
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in curve)
    assert len(read_jsonl(small.root / BATCH)) == 10


def test_twice_gives_the_same_bytes(make_small: Callable[[str], Small]) -> None:
    one, two = make_small("one"), make_small("two")
    for small in (one, two):
        play(small, 1, noise=0.1, skip=0.1)
    folders = ("build", "metrics", "plots", "data")
    assert one.bytes_of(*folders) == two.bytes_of(*folders)


def test_the_order_of_rows_in_the_users_files_changes_no_batch(
    make_small: Callable[[str], Small],
) -> None:
    one, two = make_small("one"), make_small("two")
    for name in ("pool", "seed", "test"):
        path = two.root / "data" / f"{name}.csv"
        header, *rows = path.read_text().splitlines()
        random.Random(3).shuffle(rows)
        path.write_text("\n".join([header, *rows]) + "\n")
    for small in (one, two):
        play(small, 1)
    assert one.bytes_of("build/export", "build/gate", "metrics") == two.bytes_of(
        "build/export", "build/gate", "metrics"
    )


def test_nothing_in_the_test_set_is_asked_not_even_under_another_id(small: Small) -> None:
    rows = [list(row[:3]) for row in small.rows[78:]]
    twins = [[f"twin-{n}", *row[1:3]] for n, row in enumerate(small.rows[18:78])]
    small.write("pool", rows + twins, label=False)
    small.set({("query", "batch_size"): 500})
    small.run()
    asked = {row["al_id"] for row in read_jsonl(small.root / BATCH)}
    assert asked == {row[0] for row in rows} | set()


def test_identical_content_is_asked_once_and_its_label_holds_for_all_copies(small: Small) -> None:
    rows = [list(row[:3]) for row in small.rows[78:]]
    small.write("pool", [*rows, ["copy", *rows[0][1:]]], label=False)
    small.set({("query", "batch_size"): 500})
    small.run()
    project = Project(small.root)
    issue(project)
    asked = [row["al_id"] for row in project.last_round().tasks()]
    assert ("copy" in asked) + (rows[0][0] in asked) == 1
    write_csv(small.root / "oracle.csv", ["id", "label"], [(item, "red") for item in asked])
    simulate(project, small.root / "oracle.csv", noise=0, skip=0, seed=0)
    small.run("import_labels", "gate", "train", "calibrate", "query")
    known = read_jsonl(small.root / "build/gate/accepted.jsonl") + read_jsonl(
        small.root / "build/gate/review.jsonl"
    )
    copies = [row.get("copies") for row in known if row["id"] in {"copy", rows[0][0]}]
    assert copies in ([["copy"]], [[rows[0][0]]], [None])
    assert read_json(small.root / "metrics/query.json")["unasked"] == 0


def test_issuing_a_batch_changes_nothing_that_the_stages_wrote(small: Small) -> None:
    small.run()
    before = small.bytes_of("build", "metrics", "plots")
    issue(Project(small.root))
    small.run()
    assert small.bytes_of("build", "metrics", "plots") == before


def test_a_half_answered_round_is_held_and_moves_no_byte_that_training_reads(small: Small) -> None:
    play(small, 1)
    project = Project(small.root)
    issue(project)
    before = small.bytes_of("build/gate")
    simulate(project, small.root / "oracle.csv", noise=0, skip=0, seed=0)
    answers = project.last_round().answer_files()[0]
    answers.write_bytes(b"".join(answers.read_bytes().splitlines(keepends=True)[:4]))
    small.run("import_labels", "gate")
    assert small.bytes_of("build/gate") == before
    assert "4 of 10" in read_json(small.root / "metrics/gate.json")["held"]
    assert any(
        line.startswith("alarm    V006") and "4 of 10" in line for line in status.report(project)
    )


def test_old_points_of_the_curve_never_move(small: Small) -> None:
    project = Project(small.root)
    small.run()
    seen: list[dict] = []
    for _ in range(4):
        curve = read_json(small.root / "plots/learning_curve.json")
        assert [row for row in curve if row in seen] == seen
        seen = curve
        issue(project)
        simulate(project, small.root / "oracle.csv", noise=0.15, skip=0.05, seed=2)
        small.run()


def test_answers_split_over_files_in_any_order_give_the_same_labels(small: Small) -> None:
    project = Project(small.root)
    small.run()
    issue(project)
    simulate(project, small.root / "oracle.csv", noise=0, skip=0.2, seed=0)
    small.run("import_labels")
    whole = [
        {**row, "file": "", "line": 0}
        for row in read_jsonl(small.root / "build/labels/events.jsonl")
    ]
    folder = project.last_round().answers
    lines = (folder / "oracle.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "oracle.jsonl").unlink()
    random.Random(1).shuffle(lines)
    (folder / "a.jsonl").write_bytes(b"".join(lines[:4] + lines[2:3]))
    (folder / "b.jsonl").write_bytes(b"".join(lines[4:]))
    small.run("import_labels")
    again = [
        {**row, "file": "", "line": 0}
        for row in read_jsonl(small.root / "build/labels/events.jsonl")
    ]
    assert again == whole


def test_without_seed_and_test_the_loop_starts_cold_and_judges_on_the_control_arm(
    small: Small,
) -> None:
    small.set(
        {
            ("data", "seed"): "data/none.csv",
            ("data", "test"): "data/none.csv",
            ("query", "batch_size"): 40,
        }
    )
    small.run()
    assert read_json(small.root / "build/model/model.json")["fitted"] is False
    play(small, 2)
    proof = read_json(small.root / "metrics/validate.json")
    assert proof["judged_on"] == "control arm, cross-validated"
    assert 0.5 < proof["active"]["accuracy"] <= 1


@pytest.mark.parametrize(
    "model",
    [
        {"path": "sklearn.svm.LinearSVC", "params": {}},
        {"path": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 10}},
        {"path": "sklearn.naive_bayes.GaussianNB", "params": {}},
    ],
    ids=lambda model: model["path"].rpartition(".")[2],
)
def test_any_classifier_serves_and_the_model_on_disk_is_byte_stable(
    make_small: Callable[[str], Small], model: dict
) -> None:
    hashes = []
    for name in ("one", "two"):
        small = make_small(name)
        small.set({("model",): model})
        small.run()
        hashes.append(small.bytes_of("build/model"))
    assert hashes[0] == hashes[1]
    assert "build/model/model.skops" in hashes[0]


def test_a_class_without_labels_has_probability_zero_and_keeps_its_column(small: Small) -> None:
    small.set({("labels",): ["amber", "red", "green", "blue"]})
    small.run()
    pool = np.load(small.root / "build/probabilities/pool.npy")
    assert pool.shape[1] == 4
    assert (pool[:, 0] == 0).all()
    assert pool.sum(axis=1) == pytest.approx(np.ones(len(pool)), abs=1e-5)


def texts(count: int) -> list[tuple[str, str, str]]:
    words = {
        "red": "rose cherry ruby tomato fire",
        "green": "grass leaf frog lime mint",
        "blue": "sky sea ice jay navy",
    }
    rng = random.Random(0)
    rows = []
    for number in range(count):
        label = rng.choice(list(words))
        rows.append(
            (
                f"t-{number}",
                f"the {' '.join(rng.choices(words[label].split(), k=3))} no. {number}",
                label,
            )
        )
    return rows


def write_texts(small: Small, kind: str = "text") -> None:
    rows = texts(120)
    write_csv(small.root / "data/pool.csv", ["id", "text"], [row[:2] for row in rows[40:]])
    write_csv(small.root / "data/seed.csv", ["id", "text", "label"], rows[:20])
    write_csv(small.root / "data/test.csv", ["id", "text", "label"], rows[20:40])
    small.set({("data", "text"): "text", ("features", "kind"): kind})


def test_text_becomes_sparse_unit_rows_and_a_dense_geometry(small: Small) -> None:
    write_texts(small)
    small.run()
    matrix, geometry = (
        read_model_matrix(small.root / "build/features"),
        read_geometry(small.root / "build/features"),
    )
    squares = matrix.multiply(matrix).tocsc()
    grams, directions = squares[:, : -geometry.shape[1]], squares[:, -geometry.shape[1] :]
    assert np.asarray(grams.sum(axis=1)).ravel() == pytest.approx(np.ones(120), abs=1e-5)
    assert directions.sum() / 120 == pytest.approx(
        3, rel=0.05
    )  # exactly so on pool and seed, without test
    assert np.linalg.norm(geometry, axis=1) == pytest.approx(np.ones(120), abs=1e-5)
    assert read_json(small.root / "metrics/validate.json")["active"]["accuracy"] > 0.9


def test_a_transformer_by_import_path_makes_the_features(small: Small) -> None:
    write_texts(small, "custom")
    hashing = {
        "path": "sklearn.feature_extraction.text.HashingVectorizer",
        "params": {"n_features": 256},
    }
    small.set({("features", "custom"): hashing})
    small.run("featurize")
    assert read_model_matrix(small.root / "build/features").shape == (120, 256)


def test_vectors_from_parquet_and_from_npy_give_the_same_features(small: Small) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = np.random.default_rng(0).normal(size=(198, 6)).astype(np.float32)
    parts = {"seed": slice(0, 18), "test": slice(18, 78), "pool": slice(78, 198)}
    for name, part in parts.items():
        rows = small.rows[part]
        columns = {
            "id": [row[0] for row in rows],
            "v": list(vectors[part]),
            "label": [row[3] for row in rows],
        }
        pq.write_table(pa.table(columns), small.root / "data" / f"{name}.parquet")
        small.set({("data", name): f"data/{name}.parquet"})
    small.set({("features", "kind"): "precomputed", ("features", "columns"): ["v"]})
    small.run("featurize")
    first = small.bytes_of("build/features")
    np.save(
        small.root / "data/v.npy",
        np.vstack([vectors[parts[name]] for name in ("pool", "seed", "test")]),
    )
    small.set({("features", "vectors"): "data/v.npy"})
    small.run("featurize")
    same = small.bytes_of("build/features")
    assert same["build/features/model.npy"] == first["build/features/model.npy"]
    assert same["build/features/geometry.npy"] == first["build/features/geometry.npy"]


def test_images_are_read_from_files_as_well_as_from_data_uris(small: Small) -> None:
    from PIL import Image

    folder = small.root / "data/pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = []
    for number in range(60):
        value = rng.integers(0, 256, (9, 9), dtype=np.uint8)
        Image.fromarray(value).save(folder / f"{number}.png")
        names.append((f"i-{number}", f"{number}.png", small.labels[number % 3]))
    write_csv(small.root / "data/pool.csv", ["id", "image"], [row[:2] for row in names[20:]])
    write_csv(small.root / "data/seed.csv", ["id", "image", "label"], names[:10])
    write_csv(small.root / "data/test.csv", ["id", "image", "label"], names[10:20])
    small.set(
        {
            ("data", "image"): "image",
            ("data", "images"): "data/pictures",
            ("features", "kind"): "image",
        }
    )
    small.run()
    assert read_model_matrix(small.root / "build/features").shape == (60, 64)
    task = read_jsonl(small.root / BATCH)[0]
    assert task["image"].startswith("data:image/png;base64,")
    assert task["path"].endswith(".png")


def test_without_an_id_column_the_content_is_the_id(small: Small) -> None:
    for name in ("pool", "seed", "test"):
        path = small.root / "data" / f"{name}.csv"
        path.write_text(
            "\n".join(line.partition(",")[2] for line in path.read_text().splitlines()) + "\n"
        )
    small.set({("data", "id"): ""})
    small.run("featurize")
    index = read_index(small.root / "build/features")
    pool = index.rows("pool")
    assert [item[:16] for item in index.ids[pool]] == [sha[:16] for sha in index.sha[pool]]
    assert all(item.startswith("seed-") for item in index.ids[index.rows("seed")])


def test_windows_files_with_bom_and_crlf_are_accepted(make_small: Callable[[str], Small]) -> None:
    unix, windows = make_small("unix"), make_small("windows")
    for name in ("pool", "seed", "test"):
        path = windows.root / "data" / f"{name}.csv"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    for small in (unix, windows):
        small.run("featurize")
    assert unix.bytes_of("build") == windows.bytes_of("build")


def test_csv_jsonl_and_parquet_hold_the_same_project(make_small: Callable[[str], Small]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    projects = {suffix: make_small(suffix) for suffix in ("csv", "jsonl", "parquet")}
    for suffix, small in projects.items():
        for name in ("pool", "seed", "test"):
            header, *lines = (small.root / "data" / f"{name}.csv").read_text().splitlines()
            rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
            path = small.root / "data" / f"{name}.{suffix}"
            if suffix == "jsonl":
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            elif suffix == "parquet":
                pq.write_table(pa.Table.from_pylist(rows), path)
            small.set({("data", name): f"data/{name}.{suffix}"})
        small.run()
    hashes = [small.bytes_of("build/export", "metrics") for small in projects.values()]
    assert hashes[0] == hashes[1] == hashes[2]


def test_the_demo_data_has_planted_wrong_labels_that_clean_seed_can_find(tmp_path: Path) -> None:
    import runpy

    folder = tmp_path / "demo"
    folder.mkdir()
    shutil.copy(Path(__file__).parent.parent / "data/demo/build.py", folder)
    runpy.run_path(str(folder / "build.py"), run_name="__main__")
    oracle = dict(line.split(",") for line in (folder / "oracle.csv").read_text().splitlines()[1:])
    seed = [line.split(",") for line in (folder / "seed.csv").read_text().splitlines()[1:]]
    assert sum(oracle[row[0]] != row[-1] for row in seed) == 5
    assert len(seed) == 50


def test_more_classes_than_seed_rows_is_no_problem(small: Small) -> None:
    small.rows = blobs(198, classes=4)
    small.write("seed", small.rows[:6])
    small.set({("labels",): ["red", "green", "blue", "grey"]})
    small.write("test", small.rows[18:78])
    small.run()
    assert len(read_jsonl(small.root / BATCH)) == 10
