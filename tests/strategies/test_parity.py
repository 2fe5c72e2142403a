"""Ours equals the libraries, pick by pick, on random and on tied probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Make

from stages.learning.scoring import margin_of
from stages.strategies import batches
from stages.strategies.batches import product_spread
from stages.strategies.modal import ranked_batch as modal_ranked_batch
from stages.strategies.registry import find, lawful, resolve
from stages.strategies.uncertainty import entropy_of, least_confidence_of


def test_the_measures_of_doubt_by_hand() -> None:
    rows = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.7, 0.1]])
    assert margin_of(rows) == pytest.approx([1.0, 0.0, 0.5])
    assert least_confidence_of(rows) == pytest.approx([0.5, 0.0, 0.3])
    assert entropy_of(rows) == pytest.approx([0.693147, 0.0, 0.801819], abs=1e-6)


@pytest.mark.parametrize("name", ["least_confidence", "margin", "entropy"])
@pytest.mark.parametrize("tied", [False, True])
def test_modal_scikit_activeml_and_ours_rank_alike(name: str, tied: bool, make: Make) -> None:
    candidates = make(n=300, tied=tied)
    ours, modal, scikit = (
        resolve(name, engine)(candidates, 300) for engine in ("own", "modal", "skactiveml")
    )
    assert ours.positions.tolist() == modal.positions.tolist() == scikit.positions.tolist()
    assert np.allclose(ours.scores, modal.scores)
    assert np.allclose(ours.scores, scikit.scores)


@pytest.mark.parametrize("m", [0, 1, 25])
@pytest.mark.parametrize(("tied", "d"), [(False, 5), (True, 4)])
def test_ranked_batch_makes_modals_picks_one_by_one(m: int, tied: bool, d: int, make: Make) -> None:
    candidates = make(
        n=300, m=m, d=d, k=4, tied=tied
    )  # with 4 classes the tied values are exact in binary
    ours, modal = (
        lawful(function, find("random", "own"))(candidates, 40)
        for function in (batches.ranked_batch, modal_ranked_batch)
    )
    assert ours.positions.tolist() == modal.positions.tolist()


@pytest.mark.parametrize("m", [0, 1, 40])
def test_ranked_batch_makes_modals_picks_where_most_rows_wait(m: int, make: Make) -> None:
    candidates = make(n=3000, m=m, d=8)
    ours, modal = (resolve("ranked_batch", engine)(candidates, 25) for engine in ("own", "modal"))
    assert ours.positions.tolist() == modal.positions.tolist()


def test_information_density_is_modals(make: Make) -> None:
    candidates = make(n=300)
    ours, modal = (
        resolve("information_density", engine)(candidates, 300) for engine in ("own", "modal")
    )
    assert ours.positions.tolist() == modal.positions.tolist()
    assert np.allclose(ours.scores, modal.scores, atol=1e-5)


def test_modal_and_scikit_activeml_agree_on_vote_entropy(make: Make) -> None:
    candidates = make(n=300, members=7)
    modal, scikit = (
        resolve("vote_entropy", engine)(candidates, 300) for engine in ("modal", "skactiveml")
    )
    assert modal.positions.tolist() == scikit.positions.tolist()


def test_farthest_first_is_scikit_activemls_core_set(make: Make) -> None:
    candidates = make(n=300)
    ours, scikit = (resolve("core_set", engine)(candidates, 40) for engine in ("own", "skactiveml"))
    assert ours.positions.tolist() == scikit.positions.tolist()


def test_factored_badge_makes_scikit_activemls_picks_from_the_same_random_numbers(
    make: Make,
) -> None:
    candidates = make(n=400)
    theirs = resolve("badge", "skactiveml")(candidates, 40).positions
    order = np.argsort(candidates.keys)
    rows = candidates.probabilities[order]
    errors = rows - np.eye(3)[rows.argmax(axis=1)]
    seed = (
        np.random.RandomState(candidates.seed).randint(1, 2**31) * 401 % 2**31
    )  # as scikit-activeml derives it
    ours = order[
        product_spread(
            errors, candidates.geometry[order], 40, np.random.RandomState(seed).random_sample
        )
    ]
    assert ours.tolist() == theirs.tolist()
