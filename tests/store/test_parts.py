"""A pool in parts: any split, any number of workers and any format give the same batch; finished
parts are kept.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rounds.annotate import simulate
from rounds.issue import issue
from rounds.project import Project
from rounds.shipped import shipped_params
from stages.contract.canonical import read_json, read_jsonl
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys
from stages.contract.params import load
from stages.examples.content import exact_bytes
from stages.examples.places import list_parts
from stages.examples.tables import Table
from stages.features import in_parts as features_in_parts
from stages.featurize import main as featurize_stage
from stages.learning import shortlist
from stages.learning.classifier import Classifier
from stages.learning.shortlist import PartShortlist, Ranked, merged, round_share
from stages.store.model_file import read_own_model
from stages.store.parts import open_pool, repeated
from stages.store.read import read_features
from tests.conftest import Small, write_csv

RESULTS = ("build/export", "build/gate", "metrics", "plots")
HEADER = ["id", "x", "y"]


def pool_rows(small: Small) -> list[tuple[str, ...]]:
    return [row[:3] for row in small.rows[78:]]


def in_parts(small: Small, *parts: list[tuple[str, ...]], jobs: int = 1) -> Small:
    """The small project with its pool as CSV parts."""
    for number, rows in enumerate(parts):
        write_csv(small.root / "data" / "pool" / f"part-{number}.csv", HEADER, rows)
    small.set({("data", "pool"): "data/pool", ("compute", "n_jobs"): jobs})
    return small


def play(small: Small, count: int) -> None:
    project = Project(small.root)
    small.run()
    for _ in range(count):
        issue(project)
        simulate(project, small.root / "oracle.csv", noise=0.1, skip=0.1, seed=0)
        small.run()


def split(rows: list[tuple[str, ...]], count: int, draw: int) -> list[list[tuple[str, ...]]]:
    """The rows dealt at random into `count` uneven parts."""
    rng = random.Random(draw)
    parts: list[list[tuple[str, ...]]] = [[] for _ in range(count)]
    for place, row in enumerate(rng.sample(rows, len(rows))):
        parts[place if place < count else rng.randrange(count)].append(row)
    return parts


def batch(small: Small) -> list[str]:
    return [row["al_id"] for row in read_jsonl(small.root / "build/export/asked.jsonl")]


@pytest.mark.parametrize("kept", [shortlist.KEPT, 12])
def test_any_split_into_parts_gives_the_same_bytes(
    make_small: Callable[[str], Small], monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(shortlist, "KEPT", kept)
    one = in_parts(make_small("one"), pool_rows(make_small("rows")))
    two = make_small("two")
    in_parts(two, *split(pool_rows(two), 5, draw=1))
    for small in (one, two):
        play(small, 2)
    assert one.bytes_of(*RESULTS) == two.bytes_of(*RESULTS)
    assert read_json(one.root / "metrics/query.json")["scan"]["kept"] <= 2 * kept


@pytest.mark.slow
def test_two_workers_give_the_same_bytes_as_one(make_small: Callable[[str], Small]) -> None:
    one, two = make_small("one"), make_small("two")
    parts = split(pool_rows(one), 3, draw=2)
    for small, jobs in ((one, 1), (two, 2)):
        play(in_parts(small, *parts, jobs=jobs), 1)
    assert one.bytes_of(*RESULTS) == two.bytes_of(*RESULTS)


def test_workers_of_a_command_in_another_folder_read_the_parts_of_this_one(
    make_small: Callable[[str], Small],
) -> None:
    before, now = make_small("before"), make_small("now")
    rows = pool_rows(now)
    in_parts(before, *split(rows, 4, draw=1), jobs=2).run("featurize")
    in_parts(now, *split(rows, 3, draw=2), jobs=2).run("featurize")
    assert open_pool(now.root / "build" / "features").rows == len(rows)


def test_a_pool_in_parts_is_asked_what_the_same_pool_in_one_file_is_asked(
    make_small: Callable[[str], Small],
) -> None:
    one, two = make_small("one"), make_small("two")
    in_parts(two, *split(pool_rows(two), 4, draw=3))
    for small in (one, two):
        play(small, 2)
    assert batch(one) == batch(two)
    assert (
        read_json(one.root / "metrics/query.json")["unasked"]
        == read_json(two.root / "metrics/query.json")["unasked"]
    )


def test_columns_are_found_by_name_and_parts_without_rows_are_none(
    make_small: Callable[[str], Small],
) -> None:
    one, odd = make_small("one"), make_small("odd")
    rows = pool_rows(one)
    in_parts(one, rows[:60], rows[60:])
    in_parts(odd, rows[:60], [])
    folder = odd.root / "data" / "pool"
    write_csv(
        folder / "part-2.csv",
        ["y", "more", "x", "id"],
        [(y, "0", x, item) for item, x, y in rows[60:]],
    )
    write_csv(folder / ".part-3.csv", HEADER, [("hidden", "1", "2")])
    write_csv(folder / "_part-4.csv", HEADER, [("hidden", "1", "2")])
    write_csv(folder / "part-5.csv" / "inner.csv", HEADER, [("inner", "1", "2")])
    (folder / "part-6.jsonl").touch()
    pq.write_table(pa.table({"id": [], "x": [], "y": []}), folder / "part-7.parquet")
    for small in (one, odd):
        play(small, 1)
    assert one.bytes_of("build/gate", "metrics", "plots") == odd.bytes_of(
        "build/gate", "metrics", "plots"
    )
    assert batch(one) == batch(odd)


def test_without_an_id_column_equal_rows_are_one_row_in_any_split(
    make_small: Callable[[str], Small],
) -> None:
    file, one, two = make_small("file"), make_small("one"), make_small("two")
    rows = [row[1:] for row in pool_rows(file)]
    rows += rows[:50] + rows[:20]
    for small, parts in ((file, []), (one, [rows]), (two, [rows[::-1][:70], rows[::-1][70:]])):
        for number, some in enumerate(parts):
            write_csv(small.root / "data" / "pool" / f"part-{number}.csv", ["x", "y"], some)
        write_csv(small.root / "data" / "pool.csv", ["x", "y"], rows)
        for name, some in (
            ("seed", [*small.rows[:18], small.rows[0]]),
            ("test", small.rows[18:78]),
        ):
            write_csv(
                small.root / "data" / f"{name}.csv", ["x", "y", "label"], [row[1:] for row in some]
            )
        write_csv(small.root / "oracle.csv", ["x", "y", "label"], [row[1:] for row in small.rows])
        pool = "data/pool" if parts else "data/pool.csv"
        small.set({("data", "id"): "", ("data", "pool"): pool, ("compute", "n_jobs"): 1})
        play(small, 2)
    assert one.bytes_of(*RESULTS) == two.bytes_of(*RESULTS)
    assert batch(file) == batch(two)
    said = [read_json(small.root / "metrics/query.json")["unasked"] for small in (file, two)]
    assert said[0] == said[1]


def test_texts_in_parquet_jsonl_and_csv_parts_are_the_same_pool(
    make_small: Callable[[str], Small],
) -> None:
    words = ["red apple", "green pear", "blue plum", "red cherry", "green lime", "blue berry"]
    texts = [(f"t-{n:02d}", f"{words[n % 6]} number {n}") for n in range(60)]
    seed = [(f"s-{n}", f"{words[n % 6]} seed {n}", words[n % 6].split()[0]) for n in range(12)]
    projects = []
    for name in ("one", "mixed"):
        small = make_small(name)
        folder = small.root / "data" / "pool"
        cut = [60] if name == "one" else [20, 45, 60]
        for number, (low, high) in enumerate(zip([0, *cut], cut, strict=False)):
            rows = texts[low:high]
            if number == 1:
                lines = [json.dumps({"id": item, "text": text}) for item, text in rows]
                (folder / "part-1.jsonl").write_text("\n".join(lines) + "\n")
            elif number == 2:
                table = pa.table(
                    {"text": [text for _, text in rows], "id": [item for item, _ in rows]}
                )
                pq.write_table(table, folder / "part-2.parquet")
            else:
                write_csv(folder / "part-0.csv", ["id", "text"], rows)
        write_csv(small.root / "data" / "seed.csv", ["id", "text", "label"], seed)
        small.set({
            ("data", "pool"): "data/pool", ("data", "test"): "data/none.csv", ("data", "text"): "text",
            ("features", "kind"): "text", ("features", "text", "hashing"): 512, ("compute", "n_jobs"): 1,
            ("features", "text", "words"): "wordllama",
        })  # fmt: skip
        small.run()
        projects.append(small)
    one, mixed = projects
    assert one.bytes_of(*RESULTS) == mixed.bytes_of(*RESULTS)
    asked = read_jsonl(mixed.root / "build/export/asked.jsonl")
    assert {
        row["al_id"]: row["text"] for row in asked if row["al_id"].startswith("t-")
    }.items() <= dict(texts).items()


@pytest.mark.parametrize("kind", ["numeric", "text", "words"])
def test_a_row_is_scanned_as_the_model_scores_it_whatever_rows_are_beside_it(
    make_small: Callable[[str], Small], kind: str
) -> None:
    small = make_small(kind)
    rows = pool_rows(small)
    in_parts(small, rows[:90], rows[90:])
    if kind != "numeric":
        small.set(
            {
                ("features", "kind"): "text",
                ("features", "text", "hashing"): 512,
                ("features", "text", "words"): "wordllama" if kind == "words" else "none",
                ("data", "text"): "x",
            }
        )
    small.run()
    pool = open_pool(small.root / "build" / "features")
    assert pool is not None
    model, fitted = str(small.root / "build/model/model.skops"), str(pool.folder / "fitted.npz")
    classifier, features = shortlist._loaded(model, fitted, kind, 3)
    raw = pool.parts[0].raw[:]
    own = Classifier(read_own_model(Path(model)), classifier.seen, 3).scores(
        pool.fitted.widened(raw)
    )
    assert np.abs(classifier.scores(features(raw)) - own).max() < 1e-5
    weights = np.ones(3)
    together = shortlist.doubts_of(classifier, features(raw), weights)
    alone = [
        shortlist.doubts_of(classifier, features(raw[row : row + 1]), weights)
        for row in range(raw.shape[0])
    ]
    assert np.array_equal(together, np.concatenate(alone))


def test_vectors_of_a_part_are_used_in_place(small: Small) -> None:
    parts = split(pool_rows(small), 3, draw=4)
    in_parts(small, *parts)
    folder = small.root / "vectors"
    folder.mkdir()
    for number, rows in enumerate(parts):
        np.save(folder / f"part-{number}.npy", np.array([row[1:] for row in rows], np.float32))
    np.save(folder / "seed.npy", np.array([row[1:3] for row in small.rows[:18]], np.float32))
    np.save(folder / "test.npy", np.array([row[1:3] for row in small.rows[18:78]], np.float32))
    small.set({("features", "kind"): "precomputed", ("features", "vectors"): "vectors"})
    small.run()
    assert not list((small.root / "build/features/parts").rglob("raw.npy"))
    before = small.bytes_of("build/features")
    moved = small.root.rename(
        small.root.parent / "moved"
    )  # a clone elsewhere has the same bytes, and other times
    small.root = moved
    for path in (moved / "vectors").iterdir():
        os.utime(path, (0, 0))
    small.run()
    assert small.bytes_of("build/features") == before
    store = read_features(small.root / "build/features", [parts[1][0][0]], shipped_params().compute)
    row = store.index.row_of[parts[1][0][0]]
    assert store.matrix[row].tolist() == pytest.approx(
        [float(cell) for cell in parts[1][0][1:]], abs=1e-6
    )
    assert len(batch(small)) == 10


@pytest.mark.parametrize("kind", ["numeric", "text"])
def test_a_pool_in_parts_starts_cold_and_is_judged_on_its_control_arm(
    make_small: Callable[[str], Small], kind: str
) -> None:
    one, two = make_small("one"), make_small("two")
    for small, parts in ((one, 1), (two, 3)):
        in_parts(small, *split(pool_rows(small), parts, draw=9))
        small.set(
            {
                ("data", "seed"): "data/none.csv",
                ("data", "test"): "data/none.csv",
                ("features", "kind"): kind,
            }
        )
        small.set(
            {("data", "text"): "x" if kind == "text" else "", ("features", "text", "hashing"): 512}
        )
        play(small, 2)
    assert one.bytes_of(*RESULTS) == two.bytes_of(*RESULTS)
    assert read_json(one.root / "metrics/query.json")["answers_spent"] == 20


def test_copies_in_different_parts_are_asked_once_and_test_rows_never(small: Small) -> None:
    rows = pool_rows(small)
    twins = [(f"twin-{row[0]}", *row[1:]) for row in rows]
    tests = [(f"test-{row[0]}", *row[1:3]) for row in small.rows[18:78]]
    in_parts(small, rows[:50] + tests[:30], rows[50:], tests[30:] + twins)
    small.set({("query", "batch_size"): 500})
    small.run()
    assert sorted(batch(small)) == sorted(row[0] for row in rows)
    project = Project(small.root)
    issue(project)
    simulate(project, small.root / "oracle.csv", noise=0, skip=0, seed=0)
    small.run()
    accepted = [row for row in read_jsonl(small.root / "build/gate/accepted.jsonl") if row["round"]]
    assert accepted
    assert all(row["copies"] == [f"twin-{row['id']}"] for row in accepted)
    assert read_json(small.root / "metrics/query.json")["unasked"] == 0
    write_csv(
        small.root / "data/pool/part-3.csv", HEADER, [(f" {row[0]}", *row[1:]) for row in rows]
    )  # sort first
    small.run()
    assert read_json(small.root / "metrics/query.json")["unasked"] == 0
    assert not any(item.startswith(" ") for item in batch(small))


def test_a_new_part_is_featurized_alone_and_a_changed_one_again(small: Small) -> None:
    parts = split(pool_rows(small), 3, draw=5)
    in_parts(small, *parts[:2])
    small.run("featurize")
    store = small.root / "build/features/parts"
    before = {path.name: path.stat().st_ino for path in store.iterdir()}
    in_parts(small, *parts)
    small.run("featurize")
    after = {path.name: path.stat().st_ino for path in store.iterdir()}
    assert before.items() <= after.items()
    assert len(after) == 3
    in_parts(small, parts[0][1:])
    small.run("featurize")
    last = {path.name: path.stat().st_ino for path in store.iterdir()}
    assert len(last) == 3
    assert len(last.items() & after.items()) == 2


def test_parts_that_were_finished_before_an_interrupt_are_kept(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts(small, *split(pool_rows(small), 3, draw=6))
    write = features_in_parts.write_part
    done: list[str] = []

    def interrupted(work: features_in_parts.Work) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(Path(work.target).name)
        write(work)

    monkeypatch.setattr(features_in_parts, "write_part", interrupted)
    with pytest.raises(SystemExit, match="130"):
        small.run("featurize")
    store = small.root / "build/features/parts"
    kept = {path.name: path.stat().st_ino for path in store.iterdir()}
    assert set(kept) == set(done)
    monkeypatch.setattr(features_in_parts, "write_part", write)
    small.run("featurize")
    assert kept.items() <= {path.name: path.stat().st_ino for path in store.iterdir()}.items()


def test_with_candidates_only_about_so_many_rows_are_scored_the_same_for_any_split(
    make_small: Callable[[str], Small], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist, "KEPT", 10)
    one, two = make_small("one"), make_small("two")
    rows = [(f"n-{n:04d}", f"{np.sin(n):.5f}", f"{np.cos(3 * n):.5f}") for n in range(3000)]
    in_parts(one, rows)
    in_parts(two, *split(rows, 4, draw=7))
    for small in (one, two):
        small.set({("query", "candidates"): 1000})
        small.run()
    scan = read_json(one.root / "metrics/query.json")["scan"]
    assert scan["unasked"] == 3000
    assert abs(scan["scored"] - 1000) < 150
    assert one.bytes_of(*RESULTS) == two.bytes_of(*RESULTS)


def test_a_pool_at_a_url_is_the_same_pool(make_small: Callable[[str], Small]) -> None:
    one, two = make_small("one"), make_small("two")
    parts = split(pool_rows(one), 2, draw=8)
    for small in (one, two):
        in_parts(small, *parts)
    two.set({("data", "pool"): f"local://{two.root / 'data' / 'pool'}"})
    for small in (one, two):
        small.run()
    assert one.bytes_of(*RESULTS) == two.bytes_of(*RESULTS)


@given(st.lists(st.lists(st.integers(0, 20), max_size=30), min_size=1, max_size=4))
def test_repeated_finds_every_value_that_stands_twice(columns: list[list[int]]) -> None:
    flat = [value for column in columns for value in column]
    arrays = [np.array(column, np.uint64) for column in columns]
    places = [place for lot in repeated(arrays) for place in lot.tolist()]
    assert sorted(places) == [place for place, value in enumerate(flat) if flat.count(value) > 1]
    values = [flat[place] for place in places]
    assert sum(one != other for one, other in pairwise(values)) == max(
        len(set(values)) - 1, 0
    )  # equal ones together


def found(rows: list[int], doubts: list[float], kept: int) -> PartShortlist:
    """What a part of these rows has, all of them scored; keys are the rows' numbers times seven
    modulo 101.
    """
    row, doubt = np.array(rows), np.array(doubts)
    keys = (row * 7 % 101).astype(np.uint64)
    best = np.lexsort((keys, -doubt))[:kept]
    first = np.argsort(keys)[:kept]
    ranked = Ranked(row, keys, doubt)
    return PartShortlist(ranked.at(best), ranked.at(first), len(rows), np.zeros(2, np.intp))


def test_kept_rows_stand_for_the_whole_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist, "KEPT", 2)
    doubts = [
        0.9,
        0.1,
        0.2,
        0.8,
        0.3,
        0.4,
    ]  # keys 0 7 14 21 28 35: rows 0 and 1 are first, rows 0 and 3 most doubtful
    kept = merged([found([0, 1, 2], doubts[:3], 2), found([3, 4, 5], doubts[3:], 2)], 6)
    assert kept.rows.tolist() == [0, 1, 3]
    assert kept.stands_for.tolist() == [
        1,
        4,
        1,
    ]  # 0 and 3 stand for themselves, 1 for the four less doubtful rows


def test_a_scored_draw_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist, "KEPT", 2)
    kept = merged([found([0, 1, 2, 3], [0.9, 0.1, 0.2, 0.8], 2)], 40)  # 4 of 40 rows were scored
    assert kept.rows.tolist() == [0, 1, 3]
    assert kept.stands_for.tolist() == [10, 20, 10]


def test_no_row_of_the_permutation_is_left_out_because_it_was_not_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shortlist, "KEPT", 3)
    part = found(
        [0, 1, 2, 3], [0.9, 0.0, 0.5, 0.0], 3
    )  # rows 0, 1, 2 are first; of 40 only 0 and 2 were drawn
    drawn = replace(part, doubtful=part.doubtful.at(np.arange(2)), scored=2)
    kept = merged([drawn], 40)
    assert kept.rows.tolist() == [0, 1, 2]
    assert kept.stands_for.tolist() == pytest.approx([40 / 3] * 3)


def test_the_draw_of_a_round_is_uniform_and_unlike_that_of_the_next() -> None:
    keys = order_keys(0, [f"row {n}" for n in range(20_000)])
    first, second = round_share(keys, 1), round_share(keys, 2)
    assert np.abs(np.histogram(first, 10, (0, 1))[0] - 2000).max() < 200
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first, keys.astype(float))[0, 1]) < 0.03


REFUSED = [
    ({}, [["a", "1", "2"], ["b", "1", "3"]], [["b", "4", "5"]],
     "the pool: id 'b' stands twice, in part-0.csv row 2 and in part-1.csv row 1; ids must be unique over pool, seed "
     "and test: rename or remove one"),
    ({("features", "kind"): "text", ("data", "text"): "x"}, [["a", "1", "2"]], [["b", "4", "5"]],
     "params.yaml features.text.hashing: a pool in parts has no vocabulary, and the columns of hashed n-grams are not "
     "set; set it, 65536 suits most"),
    ({("features", "custom"): {"path": "sklearn.decomposition.PCA", "params": {}}, ("features", "kind"): "custom"},
     [["a", "1", "2"]], [["b", "4", "5"]],
     "params.yaml features.custom: sklearn.decomposition.PCA must be fitted, and parts of a pool are featurized alone; "
     "use one that learns nothing, or precompute the vectors (features.kind: precomputed)"),
    ({}, [], [], "data/pool: no rows in any of its parts; add rows, or correct data.pool"),
    ({}, [["a", "1", "two"]], [["b", "4", "5"]],
     "data/pool/part-0.csv:2: column 'y' holds 'two' where a number was expected; fill it, or leave the column out "
     "(name the others)"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "first", "second", "said"), REFUSED)
def test_faults_of_parts_are_told_in_one_line(
    small: Small, changes: dict[tuple[str, ...], object], first: list[list[str]], second: list[list[str]], said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    in_parts(small, [tuple(row) for row in first], [tuple(row) for row in second])
    small.set({("data", "seed"): "data/none.csv", ("data", "test"): "data/none.csv", **changes})
    monkeypatch.chdir(small.root)
    with pytest.raises(SystemExit):
        featurize_stage.main(["--out", "build/features"], standalone_mode=False)
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {said}"


def test_images_in_parts_are_those_of_one_file_and_are_read_one_by_one(
    make_small: Callable[[str], Small],
) -> None:
    one, two = make_small("one"), make_small("two")
    rows = [(f"p-{number}", f"{number}.png") for number in range(40)]
    shades = np.random.default_rng(0).integers(0, 256, (40, 6, 6), np.uint8)
    for small in (one, two):
        (small.root / "pictures").mkdir()
        for (_, name), shade in zip(rows, shades, strict=True):
            Image.fromarray(shade).save(small.root / "pictures" / name)
        small.set({
            ("data", "image"): "file", ("data", "images"): "pictures", ("data", "test"): "data/none.csv",
            ("features", "kind"): "image", ("features", "image", "size"): 4, ("compute", "n_jobs"): 1,
        })  # fmt: skip
        seed = [(*row, small.labels[place % 3]) for place, row in enumerate(rows[:9])]
        write_csv(small.root / "data" / "seed.csv", ["id", "file", "label"], seed)
    write_csv(one.root / "data" / "pool.csv", ["id", "file"], rows[9:])
    for number in range(2):
        write_csv(
            two.root / "data" / "pool" / f"part-{number}.csv", ["id", "file"], rows[9 + number :: 2]
        )
    two.set({("data", "pool"): "data/pool"})
    for small in (one, two):
        small.run()
    assert batch(one) == batch(two)
    assert len(batch(one)) == 10
    table = Table("part.csv", {"file": ["p-0.png", "lost.png"]}, [2, 3])
    (one.root / "pictures" / "p-0.png").write_bytes(b"first")
    images = {"image": "file", "images": str(one.root / "pictures")}
    params = load(one.root / "params.yaml")
    read = exact_bytes(
        table, params.model_copy(update={"data": params.data.model_copy(update=images)})
    )
    assert next(read) == b"first"
    with pytest.raises(PipelineError, match=r"part\.csv:3: image 'lost\.png' not found"):
        next(read)


@pytest.mark.parametrize("wide", ["data/pool/part-1.parquet", "data/test.parquet"])
def test_a_table_whose_vectors_are_longer_is_named(
    small: Small, capsys: pytest.CaptureFixture[str], wide: str
) -> None:
    (small.root / "data" / "pool").mkdir()
    for number, name in enumerate(
        ["data/pool/part-0.parquet", "data/pool/part-1.parquet", "data/test.parquet"]
    ):
        vectors = [
            [1.0, float(number), 3.0][: 3 if name == wide else 2],
            [2.0, 0.0, 1.0][: 3 if name == wide else 2],
        ]
        columns = {
            "id": [f"{number}-a", f"{number}-b"],
            "vector": vectors,
            "label": ["red", "blue"],
        }
        pq.write_table(pa.table(columns), small.root / name)
    small.set({
        ("data", "pool"): "data/pool", ("data", "seed"): "data/none.csv", ("data", "test"): "data/test.parquet",
        ("features", "kind"): "precomputed", ("features", "columns"): ["vector"], ("compute", "n_jobs"): 1,
    })  # fmt: skip
    with pytest.raises(SystemExit):
        small.run("featurize")
    said = "rows of 3 features, and data/pool/part-0.parquet has 2; give all tables vectors of one length"
    assert capsys.readouterr().err == f"error: {wide}: {said}\n"


def test_a_folder_without_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"no \.csv, \.jsonl or \.parquet parts in it"):
        list_parts(str(tmp_path))


def test_a_lost_part_is_told(small: Small) -> None:
    in_parts(small, pool_rows(small))
    small.run("featurize")
    folder = small.root / "build/features"
    next((folder / "parts").iterdir()).rename(small.root / "gone")
    with pytest.raises(
        PipelineError, match=r"the features of part-0\.csv are gone; run `dvc pull` or `dvc repro`"
    ):
        open_pool(folder)


def test_embeddings_of_a_local_model_are_features_and_nothing_is_downloaded(small: Small) -> None:
    model2vec = pytest.importorskip("model2vec")
    tokenizers = pytest.importorskip("tokenizers")
    words = ["[UNK]", "[PAD]", "red", "green", "blue", "apple", "pear", "plum"]
    vocabulary = {word: place for place, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    vectors = np.random.default_rng(0).normal(size=(len(words), 4)).astype(np.float32)
    model2vec.StaticModel(vectors, tokenizer).save_pretrained(str(small.root / "model"))
    texts = [(f"t-{n}", f"{words[2 + n % 3]} {words[5 + n % 2]}") for n in range(30)]
    for number in (0, 1):
        write_csv(
            small.root / "data" / "pool" / f"part-{number}.csv", ["id", "text"], texts[number::2]
        )
    seed = [(f"s-{n}", f"{words[2 + n % 3]} plum", words[2 + n % 3]) for n in range(6)]
    write_csv(small.root / "data" / "seed.csv", ["id", "text", "label"], seed)
    small.set({
        ("data", "pool"): "data/pool", ("data", "test"): "data/none.csv", ("data", "text"): "text",
        ("features", "kind"): "embedding", ("features", "embedding", "model"): "model", ("compute", "n_jobs"): 1,
    })  # fmt: skip
    small.run()
    store = read_features(small.root / "build/features", ["t-0", "t-3"], shipped_params().compute)
    assert store.matrix.shape[1] == 4
    assert batch(small)
    small.set({("features", "embedding", "model"): "no/model"})
    with pytest.raises(SystemExit):
        small.run("featurize")


def test_doubt_that_weights_raise_above_one_is_counted_in_the_last_bin() -> None:
    counts = shortlist.histogram_of(np.array([0.0, 0.04, 0.5, 0.97, 1.0, 1.0000001, 2.9]))
    assert counts.tolist() == [2, *[0] * 9, 1, *[0] * 8, 4]
    assert shortlist.histogram_of(np.empty(0)).tolist() == [0] * 20
