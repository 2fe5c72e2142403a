from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA

from stages.contract import progress
from stages.store.space import fit_space

ROWS = sp.csr_matrix(
    np.array([[1, 0, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0.8, 0.6]], np.float32)
)


def test_the_classifier_sees_a_text_and_its_place_among_the_directions_of_the_pool() -> None:
    space = fit_space(ROWS, 2, 0, unit_rows=True, beside=3)
    seen = space.widened(ROWS).toarray()
    assert seen[:, :4] == pytest.approx(ROWS.toarray())
    assert (seen[:, 4:] ** 2).sum(axis=1).mean() == pytest.approx(3)
    assert seen[:, 4:] == pytest.approx(space.beside * (ROWS.toarray() @ space.basis), rel=1e-5)


def test_texts_of_the_same_kind_of_words_are_nearer_to_the_classifier_than_their_words_say() -> (
    None
):
    seen = fit_space(ROWS, 2, 0, unit_rows=True, beside=3).widened(ROWS).toarray()
    unit = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.6  # the two share one word of two
    assert unit[0] @ unit[2] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("rows", [ROWS.toarray(), sp.csr_matrix(np.ones((2, 3), np.float32))])
def test_dense_features_and_too_few_rows_are_left_as_they_are(rows: object) -> None:
    space = fit_space(rows, 2, 0, unit_rows=isinstance(rows, sp.csr_matrix), beside=3)
    assert space.widened(rows) is rows


def test_folded_weights_score_a_row_as_its_widened_row_is_scored() -> None:
    space, weights = (
        fit_space(ROWS, 2, 0, unit_rows=True, beside=3),
        np.random.default_rng(0).normal(size=(3, 6)),
    )
    expected = pytest.approx(space.widened(ROWS) @ weights.T, rel=1e-5)
    found = ROWS @ space.folded(weights).T
    assert found == expected


@pytest.mark.parametrize(
    "rows", [ROWS, np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)]
)
@pytest.mark.parametrize("block", [1, 2, 3])
def test_no_block_changes_what_is_seen_or_where_it_lies(
    rows: Any, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> tuple[Any, ...]:
        space = fit_space(rows, 2, 0, unit_rows=sp.issparse(rows), beside=3)
        seen, geometry = space.both(rows)
        return space.projected(rows), seen.toarray() if sp.issparse(seen) else seen, geometry

    whole = made()
    monkeypatch.setattr(progress, "BLOCK", block)
    for found, expected in zip(made(), whole, strict=True):
        assert found == pytest.approx(expected, abs=1e-6)
        assert found.dtype == expected.dtype


def test_no_rows_have_as_many_columns_as_others() -> None:
    seen, geometry = fit_space(ROWS, 2, 0, unit_rows=True, beside=3).both(ROWS[:0])
    assert seen.shape == (0, 6)
    assert geometry.shape == (0, 2)


@pytest.mark.parametrize("n", [6, 200])
def test_directions_of_dense_rows_are_the_principal_components_the_largest_entry_positive(
    n: int,
) -> None:
    rows = np.random.default_rng(0).normal(size=(n, 8)) * np.arange(1, 9) + 100
    basis = fit_space(rows, 3, 0, unit_rows=False).basis
    assert np.abs(basis) == pytest.approx(
        np.abs(PCA(3, svd_solver="full").fit(rows).components_.T), abs=1e-8
    )
    assert basis.T @ basis == pytest.approx(np.eye(3), abs=1e-12)
    assert (basis.max(axis=0) == np.abs(basis).max(axis=0)).all()
