"""What the witnesses have never seen is not known, and not wrong."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from stages.quality.judgement import judge
from tests.rare_pools import LAYOUTS, pool

POOLS = 9  # of each layout and kind; benchmarks/gate.py has hundreds
RUNS_AT_MOST = 0.05
FOUND_AT_LEAST = 0.75  # with so few labels; 88 % over all pools of the benchmark


@pytest.mark.slow
def test_right_labels_of_what_was_never_seen_are_not_doubted_and_mistakes_elsewhere_are() -> None:
    doubted = Counter[bool]()
    found = Counter[bool]()
    for layout, kind, seed in product(LAYOUTS, ("text", "numeric"), range(POOLS)):
        made = pool(seed, layout, kind)
        if made is None:
            continue
        errors = judge(made.rows, made.params).errors
        flagged = errors.judged & (errors.probability >= made.params.gate.threshold)
        doubted[bool((flagged & made.rare).any())] += 1
        wrong = (made.rows.labels != made.truth) & made.covered
        found.update(flagged[wrong].tolist())
    assert doubted.total() >= 60
    assert doubted[True] <= RUNS_AT_MOST * doubted.total()
    assert found[True] >= FOUND_AT_LEAST * found.total() > 0


def test_labels_of_clusters_that_overlap_make_no_pool() -> None:
    kept = [pool(seed, "elsewhere", "numeric") is not None for seed in range(20)]
    assert 0 < np.mean(kept) < 1
