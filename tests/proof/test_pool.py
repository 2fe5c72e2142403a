"""What control labels and the model together say of the pool."""

from __future__ import annotations

import numpy as np
import pytest

from stages.answers.ledger import Labels
from stages.proof.cost import proof_cost
from stages.proof.pool import pool_facts
from stages.store.index import Index

N = 400
IDS = [f"p-{row:03d}" for row in range(N)]
INDEX = Index(IDS, [f"sha-{item}" for item in IDS], ["pool"] * N, list(range(N)))
CLASSES = ["a", "b", "c"]


def accepted(rows: list[int], truth: np.ndarray, *arms: str) -> Labels:
    """Labelled rows of the pool, all of the same arms."""
    table = [{"id": IDS[row], "label": CLASSES[truth[row]], "arms": list(arms)} for row in rows]
    return Labels([IDS[row] for row in rows], truth[rows], table)


def believed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities, and classes drawn by them."""
    draw = np.random.default_rng(seed)
    probabilities = draw.dirichlet([0.3] * 3, N)
    truth = np.array([draw.choice(3, p=row) for row in probabilities])
    return probabilities, truth


def test_a_model_that_knows_all_leaves_nothing_open() -> None:
    _, truth = believed(0)
    sure = np.eye(3)[truth]
    rows = list(range(60))
    facts = pool_facts(accepted(rows, truth, "control"), sure[rows], sure, INDEX, CLASSES)
    assert facts is not None
    assert facts["control_labels"] == 60
    assert facts["accuracy"]["value"] == facts["accuracy"]["low"] == 1
    for number, name in enumerate(CLASSES):
        assert facts["share"][name]["value"] == pytest.approx(np.mean(truth == number))
        assert facts["recall"][name]["value"] == pytest.approx(1)


def test_labels_that_the_strategy_chose_do_not_count_and_few_control_labels_say_nothing() -> None:
    probabilities, truth = believed(0)
    rows = list(range(100))
    chosen = accepted(rows, truth, "active")
    assert pool_facts(chosen, probabilities[rows], probabilities, INDEX, CLASSES) is None


def test_the_intervals_cover_the_pool_and_are_worth_more_labels_than_were_drawn() -> None:
    covered = {"accuracy": [], "share": [], "recall": []}
    worth = []
    for seed in range(25):
        probabilities, truth = believed(seed)
        rows = np.random.default_rng([seed, 1]).permutation(N)[:80].tolist()
        labels = accepted(rows, truth, "control")
        facts = pool_facts(labels, probabilities[rows], probabilities, INDEX, CLASSES)
        assert facts is not None
        said = probabilities.argmax(axis=1)
        right = np.mean(said == truth)
        covered["accuracy"].append(facts["accuracy"]["low"] <= right <= facts["accuracy"]["high"])
        worth.append(facts["share"]["a"]["worth"])
        for number, name in enumerate(CLASSES):
            share = facts["share"][name]
            covered["share"].append(share["low"] <= np.mean(truth == number) <= share["high"])
            recall = facts["recall"][name]
            true = np.mean(said[truth == number] == number)
            covered["recall"].append(recall["low"] <= true <= recall["high"])
    assert all(np.mean(seen) >= 0.9 for seen in covered.values())
    assert np.median(worth) > 100


def test_the_cost_of_the_proof_is_what_neither_the_strategy_nor_a_doubt_asked() -> None:
    arms = {"a": ["active"], "b": ["control"], "c": ["active", "control"], "d": ["judge"]}
    arms |= {"e": ["active", "judge"], "f": ["review"]}
    asked = [{"round": 1, "id": item, "arms": names} for item, names in arms.items()]
    events = [{"round": 1, "id": item, "kind": "label"} for item in arms]
    events += [{"round": 1, "id": "d", "kind": "skip"}, {"round": 1, "id": "b", "kind": "override"}]
    assert proof_cost(asked, events) == {"answers": 7, "control": 1, "judge": 2}
