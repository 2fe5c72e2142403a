"""What counts as a near duplicate, and what only looks like one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from stages.quality.report import redundancy
from stages.store.index import Features, Index
from stages.store.near import Near, beyond_chance, features_alike, leakage, near_in


def store(space: np.ndarray, matrix: object = None, test: int = 0) -> Features:
    """Pool rows p000, p001, ..., of which the last `test` ones are test rows instead."""
    n = len(space)
    ids = [f"p{row:03d}" for row in range(n)]
    split = ["pool"] * (n - test) + ["test"] * test
    return Features(
        Index(ids, ids, split, list(range(n))), space if matrix is None else matrix, space
    )


def square(side: int) -> np.ndarray:
    """A grid of side x side points with a mean squared norm of about 1, in an order that is not the
    grid's.
    """
    line = np.linspace(-1.2, 1.2, side)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2).astype(np.float32)
    return grid[np.random.default_rng(0).permutation(len(grid))]


@pytest.mark.parametrize("dims", [1, 2, 3, 6])
def test_chance_brings_few_rows_together_in_any_number_of_dimensions(dims: int) -> None:
    points = np.random.default_rng(dims).random((6000, dims)).astype(np.float32)
    limit = beyond_chance(points, 0.5)
    gaps = Near(points, points, limit, 0.5).repeats(np.arange(1000, 6000), np.arange(1000))
    assert gaps.mean() < 0.004  # 0.001 by the law, and what it takes to read it off 1,000 rows
    assert limit > 0


def test_a_fifth_of_near_copies_hardly_moves_what_chance_explains_and_is_found() -> None:
    points = np.random.default_rng(0).random((1000, 3)).astype(np.float32)
    alone = beyond_chance(points, 0.98)
    points[:100] = points[100:200] + 1e-5
    limit = beyond_chance(points, 0.98)
    assert alone / 5 < limit < alone * 5
    assert Near(points, points, limit, 0.98).repeats(np.arange(100), np.arange(100, 1000)).all()


def test_of_few_rows_the_threshold_tells() -> None:
    for n in range(3):
        assert np.isclose(beyond_chance(np.eye(n, 3, dtype=np.float32), 0.98), 0.04)
    assert np.isclose(beyond_chance(np.eye(40, dtype=np.float32), 0.98), 0.04)


def test_a_table_of_two_columns_leaks_only_what_it_repeats() -> None:
    space = square(20)  # every row has a neighbour of similarity above 0.99
    features = store(space, test=100)
    near = near_in(features, 0, 0.98)
    labelled = [f"p{row:03d}" for row in range(100)]
    assert leakage(labelled, features.index, near) == 0
    space[-1] = space[5] + 1e-3
    assert leakage(labelled, features.index, near_in(store(space, test=100), 0, 0.98)) == 0.01


def test_a_batch_of_two_columns_is_redundant_only_where_it_repeats() -> None:
    space = square(20)
    space[7] = space[3]
    features = store(space)
    asked = [{"round": 1 + row // 20, "rank": row, "id": f"p{row:03d}"} for row in range(40)]
    told = redundancy(asked, ["p050"], features.index, near_in(features, 0, 0.98))
    assert [row["near_duplicates"] for row in told] == [1, 0]
    assert [row["share"] for row in told] == [0.05, 0.0]


def test_sparse_features_must_agree_that_texts_are_alike() -> None:
    space = np.ones((4, 2), np.float32) / np.sqrt(2)
    words = sp.csr_matrix(np.array([[1, 0, 0], [0, 1, 0], [2, 0, 0], [0, 0, 0]], dtype=np.float32))
    near = Near(words, space, 0.04, 0.98)
    rows = np.arange(4)
    expected = [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert near.alike(rows, rows).astype(int).tolist() == expected
    assert near.repeats(rows[:2], rows[2:]).tolist() == [True, False]
    assert features_alike(words, rows[[0, 0]], rows[[1, 2]], 0.98).tolist() == [False, True]
    assert Near(space, space, 0.04, 0.98).alike(rows, rows).all()


def test_rows_are_compared_with_none() -> None:
    space = square(4)
    near = near_in(store(space), 0, 0.98)
    assert near.repeats(np.arange(3), np.arange(0)).tolist() == [False] * 3
    assert near.repeats(np.arange(0), np.arange(3)).tolist() == []
