"""Where to begin without a label: typical rows of each class that a machine sees."""

from __future__ import annotations

import numpy as np
import pytest

from stages.batch.cold_start import REGIME, shares_of, typical_by_class
from stages.contract.identity import order_keys
from stages.strategies import Candidates


def candidates(rows: int) -> Candidates:
    rng = np.random.default_rng(4)
    ids = [f"r{row:03d}" for row in range(rows)]
    return Candidates(
        ids=ids,
        keys=order_keys(0, ids),
        geometry=rng.normal(size=(rows, 5)).astype(np.float32),
        labelled=np.empty((0, 5), np.float32),
        labelled_class=np.empty(0, np.intp),
        probabilities=None,
        class_weights=np.ones(3),
        trusted=True,
        seed=0,
    )


@pytest.mark.parametrize(
    ("sizes", "count", "shares"),
    [
        ([50, 30, 20], 6, [2, 2, 2]),
        ([50, 30, 20], 8, [3, 3, 2]),
        ([50, 3, 1], 10, [6, 3, 1]),
        ([2, 1], 10, [2, 1]),
        ([50, 30, 20], 2, [1, 1, 0]),
        ([], 5, []),
    ],
)
def test_every_class_gives_as_many_as_the_others_while_it_has_rows(
    sizes: list[int], count: int, shares: list[int]
) -> None:
    assert shares_of(np.array(sizes, dtype=np.intp), count).tolist() == shares


def test_a_rare_class_of_the_machine_is_asked_about_as_often_as_a_common_one() -> None:
    rows = candidates(90)
    said = {item: "rare" if row < 6 else "common" for row, item in enumerate(rows.ids[:80])}
    ranking = typical_by_class(rows, 9, said)
    picked = [said.get(rows.ids[position], "") for position in ranking.positions]
    assert len(set(ranking.positions.tolist())) == 9
    assert picked[:3] == ["common", "", "rare"]  # in turn, the largest group first
    assert sorted(picked) == [""] * 3 + ["common"] * 3 + ["rare"] * 3


def test_the_reason_does_not_name_the_machines_class() -> None:
    rows = candidates(20)
    ranking = typical_by_class(rows, 4, dict.fromkeys(rows.ids, "secret"))
    assert set(ranking.reasons) == {REGIME}


def test_fewer_candidates_than_wanted_are_all_picked() -> None:
    rows = candidates(3)
    ranking = typical_by_class(rows, 10, {rows.ids[0]: "a"})
    assert sorted(ranking.positions.tolist()) == [0, 1, 2]
