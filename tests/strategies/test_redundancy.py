"""No near duplicates in a batch or of what is labelled, whatever the strategy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import Make
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.batch.guard import guarded
from stages.store.near import Near, beyond_chance, features_alike, reach
from stages.strategies import Candidates, Ranking
from stages.strategies.registry import resolve


@pytest.mark.parametrize("name", ["random", "margin", "auto", "dbal", "typiclust", "ranked_batch"])
def test_of_identical_rows_one_is_asked(name: str, make: Make) -> None:
    candidates = make(n=60)
    twins = replace(candidates, geometry=np.repeat(candidates.geometry[:20], 3, axis=0))
    ranking, passed = guarded(resolve(name), twins, 10, threshold=0.98)
    assert len(set((ranking.positions // 3).tolist())) == 10
    assert all(not item.like or twins.ids.index(item.like) in ranking.positions for item in passed)
    assert {item.position // 3 for item in passed} <= set((ranking.positions // 3).tolist())


def test_what_resembles_a_labelled_row_is_passed_over_and_told(make: Make) -> None:
    candidates = make(n=30)
    known = replace(
        candidates, labelled=candidates.geometry[:10].copy(), labelled_class=np.arange(10) % 3
    )
    ranking, passed = guarded(resolve("random"), known, 30, threshold=0.98)
    assert sorted(ranking.positions.tolist()) == list(range(10, 30))
    assert sorted(item.position for item in passed) == list(range(10))
    assert {item.like for item in passed} == {""}
    assert all(item.similarity > 0.999 for item in passed)


def test_without_duplicates_the_batch_is_the_strategys_own(make: Make) -> None:
    candidates = make()
    plain = resolve("margin")(candidates, 20)
    ranking, passed = guarded(resolve("margin"), candidates, 20, threshold=0.999)
    assert ranking.positions.tolist() == plain.positions.tolist()
    assert passed == []


def test_a_threshold_above_one_turns_the_guard_off(make: Make) -> None:
    candidates = replace(make(n=9), geometry=np.zeros((9, 5), np.float32))
    assert len(guarded(resolve("random"), candidates, 9, threshold=2.0)[0].positions) == 9


def test_a_pool_of_one_repeated_row_gives_one_pick(make: Make) -> None:
    candidates = make(n=9)
    same = replace(candidates, geometry=np.repeat(candidates.geometry[:1], 9, axis=0))
    ranking, passed = guarded(resolve("random"), same, 5, threshold=0.98)
    assert len(ranking.positions) == 1
    assert len(passed) == 8


@pytest.mark.parametrize("d", [2, 5, 64, 256])
@pytest.mark.parametrize("threshold", [0.98, 1.0])
def test_identical_rows_are_one_however_many_there_are_and_however_long(
    d: int, threshold: float, make: Make
) -> None:
    candidates = make(n=300, m=0, d=d)
    lengths = np.random.default_rng(1).lognormal(size=(100, 1)).astype(np.float32)
    points = (candidates.geometry[:100] * lengths).repeat(3, axis=0)
    known = replace(
        candidates,
        geometry=points,
        labelled=points[:30].copy(),
        labelled_class=np.zeros(30, np.intp),
    )
    ranking, _ = guarded(resolve("random"), known, 80, threshold)
    assert len(set((ranking.positions // 3).tolist())) == len(ranking.positions)
    assert ranking.positions.min() >= 30
    assert (
        len(ranking.positions) > 60
    )  # distinct rows are not taken for copies because most rows have copies


def test_a_large_batch_is_asked_for_in_parts(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.batch.guard.MOST", 8)
    candidates, counts = make(n=60), []

    def rank(part: Candidates, count: int) -> Ranking:
        counts.append(count)
        return resolve("margin")(part, count)

    ranking, _ = guarded(rank, candidates, 30, threshold=2.0)
    assert counts == [8, 8, 8, 6]
    assert ranking.positions.tolist() == resolve("margin")(candidates, 30).positions.tolist()


def test_when_asked_again_a_strategy_sees_what_was_kept_as_labelled_and_the_rest_as_it_was(
    make: Make,
) -> None:
    plain = replace(
        make(n=30, m=3), stands_for=np.arange(30) + 1.0, held_out=np.full((3, 3), 1 / 3)
    )
    candidates = replace(
        plain, geometry=plain.geometry[np.array([0, 0, 0, *range(3, 30)])]
    )  # 0, 1 and 2 are alike
    seen: list[Candidates] = []

    def rank(part: Candidates, count: int) -> Ranking:
        seen.append(part)
        return Ranking(np.arange(count), np.zeros(count), ["first"] * count, "in order")

    ranking, passed = guarded(rank, candidates, 2, threshold=0.98)
    assert ranking.positions.tolist() == [0, 3]
    assert [item.position for item in passed] == [1, 2]
    assert len(seen) == 2  # both copies went at once
    again, rest = seen[1], np.arange(3, 30)
    assert again.ids == [candidates.ids[row] for row in rest]
    for name in ("keys", "geometry", "probabilities", "stands_for"):
        assert (getattr(again, name) == getattr(candidates, name)[rest]).all()
    assert (again.committee == candidates.committee[:, rest]).all()
    assert again.labelled.tolist() == [
        *candidates.labelled.tolist(),
        candidates.geometry[0].tolist(),
    ]
    assert again.labelled_class.tolist() == [0, 1, 2, -1]
    assert again.held_out.tolist() == [[1 / 3] * 3] * 4


def test_in_a_crowded_line_near_means_nearer_than_usual() -> None:
    line = np.linspace(-1, 1, 201, dtype=np.float32)[
        :, None
    ]  # neighbours 0.01 apart: similarity 0.99995
    assert np.isclose(reach(line, 0.98), 0.005**2, rtol=1e-3)


def test_among_distant_rows_near_means_the_threshold() -> None:
    assert np.isclose(reach(np.eye(5, dtype=np.float32), 0.98), 0.04)


@st.composite
def crowds(draw: st.DrawFn) -> tuple[np.ndarray, Any]:
    """(n, d) points with copies, near copies and empty rows, few or many dimensions; and sparse
    features, or none.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d = draw(st.sampled_from([1, 2, 5, 64]))
    centres = rng.normal(size=(draw(st.integers(1, 12)), d))
    spread = draw(st.sampled_from([0.0, 1e-7, 1e-4, 0.02, 0.3]))
    points = centres[rng.integers(0, len(centres), 60)] + spread * rng.normal(size=(60, d))
    points[rng.random(60) < 0.1] = 0
    if draw(st.booleans()):
        points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    matrix = (
        sp.csr_matrix(rng.random((60, 8)) * (rng.random((60, 8)) < 0.3))
        if draw(st.booleans())
        else points
    )
    return points.astype(np.float32), matrix


@settings(deadline=None, max_examples=25)
@given(crowds(), st.sampled_from([0.9, 0.98, 1.0]))
def test_what_the_guard_lets_pass_the_report_counts_for_no_near_duplicate(
    crowd: tuple[np.ndarray, Any], threshold: float
) -> None:
    points, matrix = crowd
    free, labelled = np.arange(45), np.arange(45, 60)
    candidates = Candidates(
        ids=[f"c{row}" for row in free], keys=free.astype(np.uint64), geometry=points[free],
        labelled=points[labelled], labelled_class=np.full(15, -1, np.intp), probabilities=None, committee=None,
        held_out=None, trusted=False, class_weights=np.ones(2), seed=0,
    )  # fmt: skip

    def agree(some: np.ndarray, twin: int) -> np.ndarray:
        return features_alike(matrix, some, np.full(len(some), twin), threshold)

    ranking, _ = guarded(resolve("random"), candidates, 45, threshold, agree, points)
    near = Near(matrix, points, beyond_chance(points, threshold), threshold)
    picks = ranking.positions
    assert not near.repeats(picks, labelled).any()
    assert not np.tril(near.alike(picks, picks), -1).any()
