"""A row of the test set blocks its copy in the pool, whatever the format, the order and the company
of its columns.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rounds.surfaces.oracle import known_labels
from stages.batch.export import fields_of
from stages.contract.canonical import read_jsonl
from stages.contract.params import load
from stages.examples.content import asked_sha, identities, shown
from stages.examples.tables import Table
from tests.conftest import Small, write_csv

POOL = [(f"p-{row:02d}", str(row), f"{row % 7}.10") for row in range(20)]


def with_copies(small: Small, *, parts: bool) -> None:
    """Pool rows 3 and 5 stand in the test set too, as numbers, one of them in single precision,
    beside a column that the pool does not have.
    """
    test = pd.DataFrame({
        "note": ["checked", "twice", ""], "label": ["red", "green", "blue"], "y": np.array([3.1, 5.1, 9.0], np.float32),
        "id": ["t-0", "t-1", "t-2"], "x": [3.0, 5.0, 99.0],
    })  # fmt: skip
    test.to_parquet(small.root / "data/test.parquet")
    seed = [
        ("s-0", "50", "1", "red", "7"),
        ("s-1", "51", "2", "green", "8"),
        ("s-2", "4.0", "4.1", "blue", "9"),
    ]
    write_csv(small.root / "data/seed.csv", ["id", "x", "y", "label", "age"], seed)
    small.set({("data", "test"): "data/test.parquet"})
    if parts:
        for number, rows in enumerate((POOL[:8], POOL[8:])):
            write_csv(small.root / f"data/pool/part-{number}.csv", ["id", "x", "y"], rows)
        small.set({("data", "pool"): "data/pool", ("compute", "n_jobs"): 1})
    else:
        write_csv(small.root / "data/pool.csv", ["id", "x", "y"], POOL)


@pytest.mark.parametrize("parts", [False, True])
def test_a_pool_row_identical_to_a_test_or_seed_row_is_never_asked(
    small: Small, parts: bool
) -> None:
    with_copies(small, parts=parts)
    small.set({("query", "batch_size"): 20, ("query", "review_fraction"): 0.0})
    small.run()
    asked = {row["id"] for row in read_jsonl(small.root / "build/export/batch.jsonl")}
    expected = {item for item, _, _ in POOL} - {"p-03", "p-04", "p-05"}
    assert asked == expected


def test_a_seed_table_with_more_columns_shows_hashes_and_answers_by_those_of_the_pool(
    small: Small,
) -> None:
    with_copies(small, parts=False)
    write_csv(small.root / "truth.csv", ["y", "x", "note", "label"], [("3.50", "3", "n", "red")])
    params = load(small.root / "params.yaml")
    assert fields_of(str(small.root / "data/pool.csv"), params) == ["x", "y"]
    unnamed = params.model_copy(update={"data": params.data.model_copy(update={"id": ""})})
    pool = Table("pool.csv", {"x": [3.0], "y": [3.5]}, [1])
    seed = Table("seed.csv", {"age": ["7"], "x": ["3"], "y": ["3.50"]}, [2])
    (sha,) = identities(pool, unnamed, "pool")[1]
    task = {"al_id": sha[:16], "fields": shown(seed, 0, unnamed, ["x", "y"])["fields"]}
    assert task["fields"] == {"x": "3", "y": "3.50"}
    assert known_labels(small.root / "truth.csv", [task], unnamed) == {sha[:16]: "red"}
    with_age = {
        "fields": {"age": "7", "x": "3", "y": "3.50"}
    }  # as it was shown by earlier versions
    assert asked_sha(with_age, unnamed, ["x", "y"]) == sha
