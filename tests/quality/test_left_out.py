"""Left-out scores are those of a model fitted without the row."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from stages.learning import left_out as module
from stages.learning.left_out import left_out_logits


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
