"""The loop on a pool in parts as a user runs it: the real `rounds`, the real `dvc`, the real
git.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.contract.canonical import read_json, read_jsonl
from tests.conftest import blobs, dvc, rounds, shell, write_csv

HEADER = ["id", "x", "y", "label"]


@pytest.mark.slow
def test_a_pool_in_parts_grows_is_cloned_and_is_proved_as_any_other(tmp_path: Path) -> None:
    rows = blobs(260)
    for part in range(3):
        write_csv(
            tmp_path / "pool" / f"part-{part}.csv",
            HEADER[:3],
            [row[:3] for row in rows[80 + part : 200 : 3]],
        )
    write_csv(tmp_path / "seed.csv", HEADER, rows[:20])
    write_csv(tmp_path / "test.csv", HEADER, rows[20:80])
    oracle = write_csv(tmp_path / "oracle.csv", ["id", "label"], [(row[0], row[3]) for row in rows])
    tables = [
        word
        for name in ("pool", "seed", "test")
        for word in (f"--{name}", name + ".csv" * (name != "pool"))
    ]
    rounds(tmp_path, "init", "shop", *tables, "--id", "id")
    shop = tmp_path / "shop"
    assert "/pool" in (shop / "data" / ".gitignore").read_text()
    rounds(shop, "close")
    rounds(shop, "annotate", "--oracle", str(oracle))
    rounds(shop, "close")
    assert "nothing was changed afterwards" in rounds(shop, "verify")
    store = shop / "build" / "features" / "parts"
    before = {path.name: (path / "keys.npy").stat().st_mtime_ns for path in store.iterdir()}

    write_csv(shop / "data" / "pool" / "part-3.csv", HEADER[:3], [row[:3] for row in rows[200:]])
    dvc(shop, "add", "data/pool")
    shell(shop, "git", "commit", "-qam", "60 more rows")
    rounds(shop, "annotate", "--oracle", str(oracle))
    rounds(shop, "close")
    after = {path.name: (path / "keys.npy").stat().st_mtime_ns for path in store.iterdir()}
    assert before.items() <= after.items()
    assert len(after) == 4
    batches = [shop / "data" / "rounds" / number / "batch.jsonl" for number in ("001", "002")]
    asked = {row["id"] for batch in batches for row in read_jsonl(batch)} - {
        row[0] for row in rows[:80]
    }
    assert read_json(shop / "metrics" / "query.json")["unasked"] == 180 - len(asked)
    assert shell(shop, "git", "status", "--porcelain") == ""
    assert "nothing was changed afterwards" in rounds(shop, "verify", "--replay")

    clone = tmp_path / "clone"
    shell(tmp_path, "git", "clone", "--quiet", str(shop), str(clone))
    dvc(clone, "remote", "modify", "--local", "store", "url", str(shop / ".dvc" / "store"))
    dvc(clone, "pull")
    assert "up to date" in dvc(clone, "repro")
    dvc(clone, "repro", "--force", "--no-run-cache")
    assert shell(clone, "git", "status", "--porcelain") == ""
