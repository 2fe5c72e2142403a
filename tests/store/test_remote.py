"""Features in a store behind a URL: the same batch as from a folder, nothing half put or half
fetched is ever seen.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rounds.init import fill_in
from rounds.shipped import shipped_params
from stages.contract.canonical import read_json
from stages.contract.errors import PipelineError
from stages.examples.places import (
    DONE,
    copied,
    finished,
    local,
    on_this_machine,
    put,
    rows_of,
    shared,
)
from stages.store.parts import open_pool
from tests.conftest import Small, blobs, dvc, rounds, shell, write_csv
from tests.store.test_cluster import TRANSFORMER, dask_cluster, finish, fragile
from tests.store.test_parts import HEADER, RESULTS, batch, in_parts, play, pool_rows, split


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABELROUNDS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(small: Small, store: str, parts: int = 3) -> Small:
    """The small project in parts, its features in a store."""
    in_parts(small, *split(pool_rows(small), parts, draw=1))
    small.set({("compute", "store"): store})
    return small


@pytest.mark.slow
def test_features_in_a_store_give_the_batches_that_features_in_a_folder_give(
    make_small: Callable[[str], Small], tmp_path: Path
) -> None:
    here, there = make_small("here"), make_small("there")
    in_parts(here, *split(pool_rows(here), 3, draw=1))
    stored(there, f"file://{tmp_path}/store/")
    for small in (here, there):
        play(small, 2)
    assert here.bytes_of(*RESULTS) == there.bytes_of(*RESULTS)
    assert not list((there.root / "build/features").rglob("keys.npy"))
    keys = {row["key"] for row in read_json(there.root / "build/features/parts.json")["parts"]}
    assert keys == {path.name for path in (tmp_path / "store").iterdir()} - {"models"}


@pytest.mark.slow
@pytest.mark.parametrize("seeded", [True, False])
def test_hashed_texts_in_a_store_are_the_texts_in_a_folder(
    make_small: Callable[[str], Small], tmp_path: Path, seeded: bool
) -> None:
    here, there = make_small("here"), make_small("there")
    in_parts(here, *split(pool_rows(here), 3, draw=1))
    stored(there, f"file://{tmp_path}/store")
    for small in (here, there):
        small.set(
            {
                ("data", "text"): "x",
                ("features", "kind"): "text",
                ("features", "text", "hashing"): 512,
            }
        )
        if not seeded:
            small.set({("data", "seed"): "data/none.csv", ("data", "test"): "data/none.csv"})
        play(small, 1)
    assert here.bytes_of(*RESULTS) == there.bytes_of(*RESULTS)


def test_vectors_beside_the_parts_are_put_into_the_store(
    make_small: Callable[[str], Small], tmp_path: Path
) -> None:
    here, there = make_small("here"), make_small("there")
    for small in (here, there):
        parts = split(pool_rows(small), 3, draw=1)
        in_parts(small, *parts)
        tables = {f"part-{number}": rows for number, rows in enumerate(parts)}
        tables |= {
            "seed": [row[:3] for row in small.rows[:18]],
            "test": [row[:3] for row in small.rows[18:78]],
        }
        (small.root / "vectors").mkdir()
        for name, rows in tables.items():
            np.save(
                small.root / "vectors" / f"{name}.npy",
                np.array([row[1:] for row in rows], np.float32),
            )
        small.set({("features", "kind"): "precomputed", ("features", "vectors"): "vectors"})
    there.set({("compute", "store"): f"file://{tmp_path}/store"})
    for small in (here, there):
        small.run()
    assert here.bytes_of(*RESULTS) == there.bytes_of(*RESULTS)
    assert len(list((tmp_path / "store").rglob("raw.npy"))) == 3


def test_a_put_that_was_cut_is_made_again_and_a_finished_one_never(
    small: Small, tmp_path: Path
) -> None:
    stored(small, f"file://{tmp_path}/store")
    small.run("featurize")
    places = sorted((tmp_path / "store").iterdir())
    before = {path: path.stat().st_mtime_ns for place in places for path in place.rglob("*")}
    (places[0] / DONE).unlink()  # as a worker that died before its last word leaves it
    (places[0] / "raw.npy").write_bytes(b"half")
    (places[1] / DONE).write_bytes(b"")  # a file system that shows a file before its content
    small.run("featurize")
    after = {path: path.stat().st_mtime_ns for place in places for path in place.rglob("*")}
    assert {path.parent for path in before if before[path] != after[path]} == set(places[:2])
    small.run()
    assert len(batch(small)) == 10


def test_a_part_that_the_store_has_lost_is_told_in_one_line(
    small: Small, tmp_path: Path, cache: Path
) -> None:
    stored(small, f"file://{tmp_path}/store")
    small.run("featurize")
    for copy in cache.rglob("raw.npy"):
        copy.unlink()
    lost = min((tmp_path / "store").rglob("raw.npy"))
    lost.unlink()
    pool = open_pool(small.root / "build/features")
    assert pool is not None
    with pytest.raises(PipelineError) as error:
        pool.raw(
            pool.locate(row[0] for row in pool_rows(small)),
            shipped_params({"compute": {"n_jobs": 1}}).compute,
        )
    assert str(error.value).startswith(f"file://{lost}: cannot be read from the store (")
    assert str(error.value).endswith(
        "run `dvc repro --force --single-item featurize`, then `dvc repro`"
    )


def test_a_copy_of_the_wrong_size_is_refused_and_not_kept(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "a.npy"
    source.write_bytes(b"whole")
    place = f"file://{tmp_path}/store/key"
    put({"a.npy": source}, place, {"rows": 1})
    (tmp_path / "store/key/a.npy").write_bytes(b"wh")
    with pytest.raises(
        PipelineError,
        match=r"key/a\.npy: 2 bytes came where 5 were put; run the same command again",
    ):
        copied(place, "a.npy")
    assert [path.name for path in cache.rglob("*") if path.is_file()] == [DONE]
    (tmp_path / "store/key/a.npy").write_bytes(b"whole")
    assert (copied(place, "a.npy") / "a.npy").read_bytes() == b"whole"
    (tmp_path / "store/key/a.npy").unlink()
    assert (copied(place, "a.npy") / "a.npy").read_bytes() == b"whole"
    assert finished([place, f"{place}2"]) == {place: {"rows": 1, "files": {"a.npy": 5}}}


def test_a_model_is_put_once_under_its_hash(tmp_path: Path) -> None:
    model = tmp_path / "model.skops"
    model.write_bytes(b"one")
    first = shared(model, f"file://{tmp_path}/store")
    assert shared(model, f"file://{tmp_path}/store") == first
    model.write_bytes(b"two")
    assert shared(model, f"file://{tmp_path}/store") != first
    assert on_this_machine(first).read_bytes() == b"one"
    assert on_this_machine(shared(model, "")) == model.resolve()


def test_a_store_that_others_wrote_to_runs_no_model_of_theirs_and_names_no_file_elsewhere(
    tmp_path: Path,
) -> None:
    model = tmp_path / "model.skops"
    model.write_bytes(b"ours")
    place = shared(model, f"file://{tmp_path}/store")
    (tmp_path / place.removeprefix(f"file://{tmp_path}/")).write_bytes(b"evil")
    with pytest.raises(
        PipelineError, match="is not the file that was put there; see who else may write"
    ):
        on_this_machine(place)
    put({"raw.npy": model}, f"file://{tmp_path}/store/key", {})
    (tmp_path / "store/key" / DONE).write_text('{"files": {"raw/../../../raw.npy": 4}}\n')
    copied(f"file://{tmp_path}/store/key", "raw")
    assert sorted(path.name for path in tmp_path.rglob("raw.npy")) == ["raw.npy"]


def test_a_fault_in_a_part_at_a_url_names_the_url(
    small: Small, capsys: pytest.CaptureFixture[str]
) -> None:
    in_parts(small, [("a", "1", "2")], [("b", "1", "two")])
    url = f"local://{small.root}/data/pool"
    small.set({("data", "pool"): url})
    with pytest.raises(SystemExit):
        small.run("featurize")
    assert (
        f"error: file://{small.root}/data/pool/part-1.csv:2: column 'y' holds 'two'"
        in capsys.readouterr().err
    )
    (small.root / "data/pool/part-1.csv").write_bytes(b"id,x,y\n\xff,1,2\n")
    with pytest.raises(SystemExit):
        small.run("featurize")
    said = capsys.readouterr().err
    assert (
        said
        == f"error: file://{small.root}/data/pool/part-1.csv:2: not UTF-8; save the file as UTF-8\n"
    )


def test_a_part_that_changes_while_it_is_featurized_is_refused(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stages.features import in_parts as features_in_parts

    in_parts(small, *split(pool_rows(small), 2, draw=1))
    small.set({("data", "pool"): f"local://{small.root}/data/pool"})
    write = features_in_parts.write_part

    def late(work: features_in_parts.Work) -> None:
        (small.root / "data/pool/part-1.csv").write_text("id,x,y\nlate,1,2\n")
        write(work)

    monkeypatch.setattr(features_in_parts, "write_part", late)
    with pytest.raises(SystemExit):
        small.run("featurize")
    assert (
        "part-1.csv: was changed in the meantime; run the same command again"
        in capsys.readouterr().err
    )


def test_a_worker_of_another_version_is_refused(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stages.features import one_part

    in_parts(small, *split(pool_rows(small), 2, draw=1))
    monkeypatch.setattr(one_part, "code_hash", lambda: "another version")
    with pytest.raises(SystemExit):
        small.run("featurize")
    assert (
        "its labelrounds or libraries are of other versions than here; install the same"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("rows", [[0], [9, 3, 4, 3], [2, 11]])
def test_of_parquet_at_a_url_only_the_row_groups_that_hold_the_rows_are_read(
    tmp_path: Path, rows: list[int]
) -> None:
    table = pa.table(
        {"id": [f"r{n}" for n in range(12)], "vector": [[float(n)] for n in range(12)]}
    )
    pq.write_table(table, tmp_path / "part.parquet", row_group_size=3)
    for place in (f"local://{tmp_path}/part.parquet", str(tmp_path / "part.parquet")):
        with rows_of(place, rows) as (found, where):
            assert [found.column("id", "data.id")[place] for place in where] == [
                f"r{row}" for row in rows
            ]
            assert [found.where(place).rpartition(":")[2] for place in where] == [
                str(row + 1) for row in rows
            ]
            if place.startswith("local://"):
                assert [vector for [vector] in found.column("vector", "")] == rows
    with (
        pytest.raises(PipelineError, match=r"none\.parquet: cannot be read"),
        rows_of(f"local://{tmp_path}/none.parquet", rows),
    ):
        pass
    with (
        pytest.raises(PipelineError, match=r"none\.csv: cannot be read"),
        local(f"local://{tmp_path}/none.csv"),
    ):
        pass


@contextmanager
def s3_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server, a process of its own, with an empty bucket named `bucket`."""
    pytest.importorskip("moto.server")
    pytest.importorskip(
        "s3fs"
    ).S3FileSystem.clear_instance_cache()  # they hold the address of an earlier server
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        cwd=folder, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stderr is not None
        address = next(line.split()[-1] for line in server.stderr if "Running on" in line)
        threading.Thread(target=server.stderr.read, daemon=True).start()
        for name, value in (
            ("ENDPOINT_URL", address),
            ("ACCESS_KEY_ID", "key"),
            ("SECRET_ACCESS_KEY", "secret"),
        ):
            monkeypatch.setenv(f"AWS_{name}", value)
        httpx.put(f"{address}/bucket").raise_for_status()
        try:
            yield address
        finally:
            server.kill()


def moved(small: Small, server: str, cluster: str) -> Small:
    """The project with its parts and their features on S3, worked on by a Dask cluster."""
    for part in (small.root / "data/pool").iterdir():
        httpx.put(f"{server}/bucket/pool/{part.name}", content=part.read_bytes()).raise_for_status()
        part.unlink()
    small.set({
        ("data", "pool"): "s3://bucket/pool", ("compute", "store"): "s3://bucket/features",
        ("compute", "backend"): "dask", ("compute", "address"): cluster,
    })  # fmt: skip
    return small


@pytest.mark.slow
def test_on_s3_with_workers_that_share_no_folder_the_batch_is_the_same_and_nothing_large_is_read_here(
    make_small: Callable[[str], Small], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    here, there = make_small("here"), make_small("there")
    for small in (here, there):
        in_parts(small, *split(pool_rows(small), 6, draw=1))
        small.set(
            {
                ("data", "text"): "x",
                ("features", "kind"): "text",
                ("features", "text", "hashing"): 512,
            }
        )
    play(here, 2)
    workers = tmp_path / "workers"
    workers.mkdir()
    with s3_server(tmp_path, monkeypatch) as server, dask_cluster(workers, 2) as address:
        play(moved(there, server, address), 2)
    assert here.bytes_of(*RESULTS) == there.bytes_of(*RESULTS)
    assert not list(cache.rglob("raw*"))
    assert list(cache.rglob("keys.npy"))
    assert all(list((workers / f"cache-{number}").rglob("raw*")) for number in range(2))


DEADLY = """
import os, signal
from pathlib import Path

import fsspec

from stages.features import one_part


def cut(files, place, facts):
    Path({flag!r}).touch()
    there, inside = fsspec.url_to_fs(place)
    name, path = next(iter(files.items()))
    there.put_file(str(path), inside + "/" + name)
    os.kill(os.getpid(), signal.SIGKILL)


if not Path({flag!r}).exists():
    one_part.put = cut
"""


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_of_a_put_changes_nothing(
    make_small: Callable[[str], Small], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, struck = fragile(make_small("calm"), 6, ""), fragile(make_small("struck"), 6, "")
    finish(calm)
    workers, flag = tmp_path / "workers", tmp_path / "killed"
    workers.mkdir()
    (workers / "fragile.py").write_text(TRANSFORMER + DEADLY.format(flag=str(flag)))
    with s3_server(tmp_path, monkeypatch) as server, dask_cluster(workers, 2) as address:
        finish(moved(struck, server, address))
    assert flag.exists()
    assert calm.bytes_of(*RESULTS) == struck.bytes_of(*RESULTS)


@pytest.mark.slow
def test_a_clone_with_the_store_needs_no_recompute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = blobs(200)
    for part in range(3):
        write_csv(
            tmp_path / "pool" / f"part-{part}.csv",
            HEADER,
            [row[:3] for row in rows[80 + part :: 3]],
        )
    for name, some in (("seed", rows[:20]), ("test", rows[20:80])):
        write_csv(tmp_path / f"{name}.csv", [*HEADER, "label"], some)
    oracle = write_csv(tmp_path / "oracle.csv", ["id", "label"], [(row[0], row[3]) for row in rows])
    tables = [
        word
        for name in ("pool", "seed", "test")
        for word in (f"--{name}", name + ".csv" * (name != "pool"))
    ]
    rounds(tmp_path, "init", "shop", *tables, "--id", "id")
    shop, clone, store = tmp_path / "shop", tmp_path / "clone", tmp_path / "store"
    fill_in(shop / "params.yaml", {("compute", "store"): f"file://{store}"})
    shell(shop, "git", "commit", "-qam", "features go into a store")
    rounds(shop, "close")
    rounds(shop, "annotate", "--oracle", str(oracle))
    rounds(shop, "close")
    assert not list((shop / "build/features").rglob("keys.npy"))
    assert "nothing was changed afterwards" in rounds(shop, "verify", "--replay")
    put_before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}

    shell(tmp_path, "git", "clone", "--quiet", str(shop), str(clone))
    monkeypatch.setenv("LABELROUNDS_CACHE", str(tmp_path / "another machine"))
    dvc(clone, "remote", "modify", "--local", "store", "url", str(shop / ".dvc" / "store"))
    dvc(clone, "pull")
    assert "up to date" in dvc(clone, "repro")
    dvc(clone, "repro", "--force", "--no-run-cache")
    assert shell(clone, "git", "status", "--porcelain") == ""
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == put_before
    assert "nothing was changed afterwards" in rounds(clone, "verify")
    assert "answers spent" in rounds(clone, "status")
