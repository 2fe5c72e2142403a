"""Candidates to rank: drawn at random, tied, or by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stages.contract.identity import order_keys
from stages.strategies import Candidates

Make = Callable[..., Candidates]


def make_candidates(
    n: int = 120,
    m: int = 12,
    d: int = 5,
    k: int = 3,
    draw: int = 0,
    members: int = 4,
    tied: bool = False,
) -> Candidates:
    """n candidates and m labelled rows on the unit sphere, with a model's and a committee's
    probabilities.
    """
    rng = np.random.default_rng(draw)
    points = rng.normal(size=(n + m, d)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    committee = rng.dirichlet(np.ones(k), (members, n))
    if tied:
        points = np.sign(points) / np.float32(np.sqrt(d))
        committee = np.eye(k)[rng.integers(0, k, (members, n))] * 0.5 + 0.5 / k
    ids = [f"row-{number}" for number in range(n)]
    return Candidates(
        ids=ids,
        keys=order_keys(7, ids),
        geometry=points[:n],
        labelled=points[n:],
        labelled_class=np.arange(m) % k,
        probabilities=committee.mean(axis=0),
        class_weights=np.ones(k),
        trusted=True,
        seed=7,
        committee=committee,
    )


@pytest.fixture
def make() -> Make:
    return make_candidates
