"""What a reason says of a row is true of that row."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import Make
from scipy.stats import entropy

from stages.learning.scoring import margin_of
from stages.strategies import Candidates
from stages.strategies.registry import TABLE, Strategy, resolve
from stages.strategies.uncertainty import least_confidence_of


def entropy_of(rows: np.ndarray) -> np.ndarray:
    return entropy(rows, axis=1)


SAID = {"1 - margin": margin_of, "least confidence": least_confidence_of, "entropy": entropy_of}
WEIGHTS = np.array([1.9, 0.7, 0.4])
DOUBT = pytest.mark.parametrize(
    "row",
    [row for row in TABLE if "probabilities" in row.needs],
    ids=lambda row: f"{row.engine}-{row.name}",
)


@DOUBT
@pytest.mark.parametrize("weights", [np.ones(3), WEIGHTS], ids=["alike", "weighed"])
def test_the_doubt_that_a_reason_gives_is_the_rows_own(
    row: Strategy, weights: np.ndarray, make: Make
) -> None:
    candidates = replace(make(), class_weights=weights)
    ranking = resolve(row.name, row.engine)(candidates, 15)
    for position, reason in zip(ranking.positions, ranking.reasons, strict=True):
        p = candidates.probabilities[[position]]
        for words, of in SAID.items():
            for said in re.findall(rf"(?<!\w ){words} (\d\.\d+)", reason):
                assert said == f"{of(p)[0]:.3f}", reason
        weighed = re.findall(r"class weight (\d\.\d+)", reason)
        assert weighed in ([], [f"{(p @ weights)[0]:.2f}"])
        assert bool(weighed) == (
            weights is WEIGHTS and row.weighs and any(word in reason for word in (*SAID, "density"))
        )


def groups(make: Make, sizes: tuple[int, ...], labelled: tuple[int, ...]) -> Candidates:
    """Tight groups of rows at the unit vectors, and a label in the middle of some of them."""
    n, space = sum(sizes), np.eye(len(sizes), dtype=np.float32)
    near = np.random.default_rng(0).normal(scale=1e-3, size=(n, len(sizes))).astype(np.float32)
    plain = make(n=n, m=len(labelled), d=len(sizes))
    return replace(
        plain,
        geometry=space[np.repeat(np.arange(len(sizes)), sizes)] + near,
        labelled=space[list(labelled)],
    )


def test_typiclust_counts_the_labels_and_picks_of_a_region(make: Make) -> None:
    candidates = groups(make, (10, 30, 20), (0,))
    copies = replace(
        candidates, geometry=np.round(candidates.geometry)
    )  # three points, so three regions at most
    ranking = resolve("typiclust", "own")(copies, 4)
    assert np.digitize(ranking.positions, [10, 40]).tolist() == [1, 2, 0, 1]
    assert [reason.partition(",")[0] for reason in ranking.reasons] == [
        *["typical of a region without a label"] * 2, *["typical of a region of 1 labels and earlier picks"] * 2,
    ]  # fmt: skip


def test_regions_without_a_label_go_before_larger_ones_with_one(make: Make) -> None:
    candidates = groups(make, (30, 10, 20), (0,))
    ranking = resolve("typiclust", "own")(
        replace(candidates, geometry=np.round(candidates.geometry)), 3
    )
    assert np.digitize(ranking.positions, [30, 40]).tolist() == [2, 1, 0]


def test_herding_says_what_share_of_the_pool_a_pick_stands_for(make: Make) -> None:
    ranking = resolve("max_herding", "own")(groups(make, (20, 60, 20), ()), 3)
    assert ranking.reasons[0].startswith("typical, stands for ")
    shares = [float(re.search(r"([\d.]+)%", reason)[1]) for reason in ranking.reasons]
    assert shares[0] > shares[1] >= shares[2] > 0
    assert sum(shares) <= 100


def test_core_sets_first_pick_without_labels_is_no_farthest_row(make: Make) -> None:
    candidates = make(n=30, m=0)
    ranking = resolve("core_set", "own")(candidates, 3)
    middle = np.linalg.norm(candidates.geometry - candidates.geometry.mean(axis=0), axis=1).argmin()
    assert (ranking.positions[0], ranking.reasons[0]) == (middle, "nearest to the mean of the pool")
    gap = np.linalg.norm(candidates.geometry[ranking.positions[1]] - candidates.geometry[middle])
    assert ranking.reasons[1] == f"far from every label and earlier pick, distance {gap:.3f}"
