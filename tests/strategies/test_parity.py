"""Ours equals the libraries, pick by pick, on random and on tied probabilities."""

from __future__ import annotations

from dataclasses import replace

import modAL.density
import numpy as np
import pytest
import skactiveml.pool
from conftest import Make

from stages.learning.scoring import margin_of
from stages.strategies import Candidates, Ranking
from stages.strategies.batches import product_spread
from stages.strategies.registry import find, lawful, resolve
from stages.strategies.uncertainty import by_score, least_confidence_of

LAWFUL = find("random", "own")


def test_the_measures_of_doubt_by_hand(make: Make) -> None:
    rows = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.7, 0.1]])
    assert margin_of(rows) == pytest.approx([1.0, 0.0, 0.5])
    assert least_confidence_of(rows) == pytest.approx([0.5, 0.0, 0.3])
    by_hand = {
        "margin": [1.0, 0.0, 0.5],
        "least_confidence": [0.5, 0.0, 0.3],
        "entropy": [0.693147, 0.0, 0.801819],
    }
    for name, scores in by_hand.items():
        ranking = resolve(name)(replace(make(n=3), probabilities=rows), 3)
        assert ranking.scores == pytest.approx(np.array(scores)[ranking.positions], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("least_confidence", "least_confident"),
        ("margin", "margin_sampling"),
        ("entropy", "entropy"),
    ],
)
@pytest.mark.parametrize("tied", [False, True])
def test_modal_and_scikit_activeml_rank_alike(
    name: str, method: str, tied: bool, make: Make
) -> None:
    def scikit(candidates: Candidates, count: int) -> Ranking:
        scores = skactiveml.pool.uncertainty_scores(candidates.probabilities, method=method)
        return by_score(candidates, np.asarray(scores), count, "", "")

    candidates = make(n=300, tied=tied)
    modal = resolve(name)(candidates, 300)
    theirs = lawful(scikit, LAWFUL)(candidates, 300)
    assert modal.positions.tolist() == theirs.positions.tolist()
    assert np.allclose(modal.scores, theirs.scores)


@pytest.mark.parametrize("m", [0, 1, 25])
@pytest.mark.parametrize(("tied", "d"), [(False, 5), (True, 4)])
def test_ranked_batch_makes_modals_picks_one_by_one(m: int, tied: bool, d: int, make: Make) -> None:
    candidates = make(
        n=300, m=m, d=d, k=4, tied=tied
    )  # with 4 classes the tied values are exact in binary
    ours = resolve("ranked_batch")(candidates, 40)
    modal = resolve("benchmarks.peers.ranked_batch")(candidates, 40)
    assert ours.positions.tolist() == modal.positions.tolist()
    assert np.allclose(ours.scores, modal.scores)


@pytest.mark.parametrize("m", [0, 1, 40])
def test_ranked_batch_makes_modals_picks_where_most_rows_wait(m: int, make: Make) -> None:
    candidates = make(n=3000, m=m, d=8)
    ours = resolve("ranked_batch")(candidates, 25)
    modal = resolve("benchmarks.peers.ranked_batch")(candidates, 25)
    assert ours.positions.tolist() == modal.positions.tolist()


def test_information_density_is_modals(make: Make) -> None:
    def modal_density(candidates: Candidates, count: int) -> Ranking:
        density = modAL.density.information_density(candidates.geometry.astype(np.float64))
        doubt = least_confidence_of(candidates.probabilities)
        return by_score(candidates, doubt * np.asarray(density), count, "", "")

    candidates = make(n=300)
    ours = resolve("information_density")(candidates, 300)
    modal = lawful(modal_density, LAWFUL)(candidates, 300)
    assert ours.positions.tolist() == modal.positions.tolist()
    assert np.allclose(ours.scores, modal.scores, atol=1e-5)


def test_modal_and_scikit_activeml_agree_on_vote_entropy(make: Make) -> None:
    def scikit(candidates: Candidates, count: int) -> Ranking:
        votes = candidates.committee.argmax(axis=2).T
        scores = skactiveml.pool.vote_entropy(votes, np.arange(3))
        return by_score(candidates, np.asarray(scores), count, "", "")

    candidates = make(n=300, members=7)
    modal = resolve("vote_entropy")(candidates, 300)
    theirs = lawful(scikit, LAWFUL)(candidates, 300)
    assert modal.positions.tolist() == theirs.positions.tolist()


def test_farthest_first_is_scikit_activemls_core_set(make: Make) -> None:
    candidates = make(n=300)
    ours = resolve("core_set")(candidates, 40)
    theirs = resolve("benchmarks.peers.core_set")(candidates, 40)
    assert ours.positions.tolist() == theirs.positions.tolist()


def test_factored_badge_makes_scikit_activemls_picks_from_the_same_random_numbers(
    make: Make,
) -> None:
    candidates = make(n=400)
    theirs = resolve("benchmarks.peers.badge")(candidates, 40).positions
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
