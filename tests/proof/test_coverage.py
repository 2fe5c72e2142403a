"""Intervals keep their promise: over 200 projects whose two arms are both random, 95 % of them hold
a gap of zero.
"""

from __future__ import annotations

import numpy as np
import pytest

from stages.proof.gap import compare
from stages.proof.refits import Refits, judge_on_control, judge_on_test
from tests.proof.conftest import make_history, make_world


@pytest.mark.slow
@pytest.mark.parametrize("judged_on", ["test", "control"])
def test_the_interval_of_two_random_arms_covers_zero_at_its_nominal_rate(judged_on: str) -> None:
    covered, gaps, saves = [], [], []
    for seed in range(200):
        world = make_world(seed)  # rows are drawn alike, so the order of ids is a random one
        history = make_history(world, 3, active=20, control=20)
        refits = Refits(world.index, world.matrix, world.params)
        truth = world.truth[world.index.rows("test")]
        judge = (
            judge_on_test(refits, truth)
            if judged_on == "test"
            else judge_on_control(refits, history)
        )
        gap, saving = compare(history, judge, world.params)
        covered.append(gap["low"] <= 0 <= gap["high"])
        gaps.append(gap["active_minus_random"])
        saves.append(bool(np.isfinite(saving["low"]) and saving["low"] > 0))
    assert 0.91 <= np.mean(covered) <= 0.99  # three standard errors of 200 draws around .95
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(len(gaps))
    assert (
        np.mean(saves) <= 0.06
    )  # surely saved, where nothing is: 2.5 %, and three standard errors
