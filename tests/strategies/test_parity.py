"""Ours equals the libraries, pick by pick, on random and on tied probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Make

from stages.strategies.registry import resolve


@pytest.mark.parametrize("name", ["least_confidence", "margin", "entropy"])
@pytest.mark.parametrize("tied", [False, True])
def test_modal_and_ours_rank_alike(name: str, tied: bool, make: Make) -> None:
    candidates = make(n=300, tied=tied)
    ours, theirs = (resolve(name, engine)(candidates, 300) for engine in ("own", "modal"))
    assert ours.positions.tolist() == theirs.positions.tolist()
    assert np.allclose(ours.scores, theirs.scores)
