"""Left-out scores are those of a model fitted without the row."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from stages.learning import left_out as module
from stages.learning.left_out import left_out_logits
from stages.quality import judgement
from stages.quality.judgement import LabelledRows, judge
from stages.store.space import fit_space, row_products, space_of_few
from tests.quality.test_quality import blobs, params


def test_a_rows_own_label_does_not_move_its_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the penalty fixed, whatever a row is called, its lead of one class over the other stays
    but for the shares of the classes.
    """
    monkeypatch.setattr(module, "RIDGES", (1.0,))
    monkeypatch.setattr(module, "SHARPNESS", (4.0,))
    draw = np.random.default_rng(0)
    labels = np.arange(400) % 2
    points = draw.normal(size=(400, 12)) + labels[:, None] * 0.8
    rows = csr_matrix(points.astype(np.float32))
    before = left_out_logits(rows, labels, 3)
    turned = labels.copy()
    turned[7] = 1 - turned[7]
    after = left_out_logits(rows, turned, 3)
    lead = before[7, 1] - before[7, 0]
    assert after[7, 1] - after[7, 0] == pytest.approx(lead, abs=0.1)
    assert (before[:, 2] <= before[:, :2].min(axis=1)).all()
    assert (before.argmax(axis=1) == labels).mean() > 0.9


def test_products_of_sparse_rows_are_exact_with_columns_that_most_rows_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stages.store.space.OTHERS", 7)
    draw = np.random.default_rng(0)
    rows = random_array((50, 30), density=0.1, rng=draw, format="lil")
    rows[:, 3] = 2.0
    rows = csr_matrix(rows, dtype=np.float32)
    expected = rows.toarray() @ rows[:20].toarray().T
    assert row_products(rows, rows[:20]) == pytest.approx(expected, abs=1e-5)


def test_directions_by_the_rows_inner_products_are_those_of_the_features() -> None:
    draw = np.random.default_rng(0)
    strong = draw.normal(size=(60, 4)) * [8, 6, 4, 2] @ draw.normal(size=(4, 300))
    rows = csr_matrix((strong + 0.01 * draw.normal(size=strong.shape)).astype(np.float32))
    few = space_of_few(rows, 4, 0, 3.0)
    usual = fit_space(rows, 4, 0, unit_rows=True, beside=3.0)
    assert np.abs((few.basis * usual.basis).sum(axis=0)) == pytest.approx(1, abs=1e-3)
    assert few.beside == pytest.approx(usual.beside, rel=1e-3)


@pytest.mark.parametrize("many", [False, True])
def test_folds_are_replaced_only_where_there_are_many_texts(
    monkeypatch: pytest.MonkeyPatch, *, many: bool
) -> None:
    points, truth, labels = blobs(120, 2, 0.1)
    monkeypatch.setattr(judgement, "FOLDS_UP_TO", 100 if many else 120)
    monkeypatch.delattr(judgement, "out_of_fold" if many else "left_out_logits")
    ids = [f"r{row}" for row in range(120)]
    found = judge(LabelledRows(csr_matrix(points), points, labels, ids, ids), params(2))
    assert np.array_equal(found.errors.probability >= 0.4, labels != truth)
