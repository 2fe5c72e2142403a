"""Judges of the pool: a row's own label teaches none of them, and the whole of finishing keeps its
bound where the strategy chose by what the control rows had taught.
"""

from __future__ import annotations

import numpy as np
import pytest

from rounds.shipped import shipped_params
from stages.answers.gate_tables import GateTables
from stages.answers.ledger import Labels
from stages.contract.identity import order_keys
from stages.contract.params import Learner, Params
from stages.learning.classifier import Classifier, fit
from stages.learning.maps import Temperature
from stages.proof.certificate import Claim
from stages.proof.finishable import WholePool
from stages.proof.finishing import Sources, finish
from stages.proof.opinions import Judge, Shipped
from stages.store.index import Features, Index

ROWS, CONTROL, ACTIVE = 600, 100, 30
NOISE = 0.06


class Fixed:
    """A fitted classifier that gives the same probabilities to every row."""

    def __init__(self, *probabilities: float) -> None:
        self.probabilities = probabilities
        self.classes_ = np.arange(len(probabilities))

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        """(n, k)."""
        return np.tile(self.probabilities, (len(rows), 1))


def judge(own: Fixed, forest: Fixed) -> Judge:
    """A judge of three classes."""
    seen = np.arange(3)
    return Judge(Classifier(own, seen, 3), Classifier(forest, seen, 3))


@pytest.mark.parametrize(
    ("forest", "certainty"),
    [
        ((0.7, 0.2, 0.1), 0.65 - 0.25),  # the mean of both, and the lead over the next class
        ((0.0, 0.1, 0.9), 0.3 - 0.5),  # the forest turns the classifier down
    ],
)
def test_certainty_is_the_lead_of_the_classifiers_class_by_the_mean_of_both(
    forest: tuple[float, ...], certainty: float
) -> None:
    both = judge(Fixed(0.6, 0.3, 0.1), Fixed(*forest))
    rows = np.zeros((2, 1), np.float32)
    assert both.classes(rows).tolist() == [0, 0]
    assert both.certainty(rows, rows) == pytest.approx([certainty] * 2)


def test_without_a_forest_the_classifier_alone_is_certain() -> None:
    alone = Judge(Classifier(Fixed(0.6, 0.3, 0.1), np.arange(3), 3), None)
    rows = np.zeros((1, 1), np.float32)
    assert alone.certainty(rows, rows) == pytest.approx([0.3])


def settings(depth: int | None) -> Params:
    """Params of two classes and a decision tree."""
    tree = {"path": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": depth}}
    return shipped_params({"labels": ["a", "b"], "model": tree})


def project_of(number: int, params: Params) -> tuple[Sources, dict[str, int]]:
    """A project whose control rows taught the strategy, and what people would say of each row.

    Two clouds of points far apart, NOISE of the labels are the other one: no level has fewer
    mistakes than that.
    """
    rng = np.random.default_rng(number)
    ids = sorted(f"{number}-{row:03d}" for row in range(ROWS))
    truth = rng.integers(0, 2, ROWS)
    rows = (rng.normal(size=(ROWS, 2)) + 5 * truth[:, None]).astype(np.float32)
    people = np.where(rng.random(ROWS) < NOISE, 1 - truth, truth).astype(np.intp)
    control = np.argsort(order_keys(params.seed, ids))[:CONTROL]
    first = fit(params.learner, rows[control], people[control], 2, 0).scores(rows)
    doubt = np.abs(first[:, 0] - first[:, 1]) + rng.random(ROWS)
    active = np.setdiff1d(np.argsort(doubt)[: CONTROL + ACTIVE], control)[:ACTIVE]
    asked = [
        {"id": ids[row], "round": 1, "rank": rank, "arms": [arm]}
        for arm, chosen in (("control", control), ("active", active))
        for rank, row in enumerate(chosen.tolist(), start=1)
    ]
    labelled = np.sort(np.concatenate([control, active]))
    labels = Labels([ids[row] for row in labelled], people[labelled], [])
    state = {"rounds": 1, "answers": len(labelled), "review_found": 0}
    index = Index(ids, ids, ["pool"] * ROWS, list(range(ROWS)))
    features = Features(index, rows, rows)
    model = fit(params.learner, rows[labelled], people[labelled], 2, 0)
    sources = Sources(
        GateTables(labels, [], [], state), asked, [], WholePool(features, params.seed), features,
        Shipped(model, Temperature(1.0)),
    )  # fmt: skip
    return sources, dict(zip(ids, people.tolist(), strict=True))


def broken_in(projects: int, depth: int | None) -> float:
    """The share of projects in which more than 5 % of the machine's labels are not people's."""
    params = settings(depth)
    broken = 0
    for number in range(projects):
        sources, people = project_of(number, params)
        outcome = finish(sources, Claim(0.05, 0.95), params)
        theirs = np.array([people[item] for item in sources.pool.ids(outcome.machine)])
        broken += bool((theirs != outcome.classes).sum() > 0.05 * len(theirs))
    return broken / projects


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Learner(path="sklearn.ensemble.ExtraTreesClassifier", params={"n_estimators": 5})
    monkeypatch.setattr("stages.proof.opinions.FOREST", small)


@pytest.mark.slow
def test_whole_projects_with_an_active_arm_break_the_bound_in_at_most_five_percent() -> None:
    projects = 200
    assert broken_in(projects, depth=2) <= 0.05 + 2 * (0.05 * 0.95 / projects) ** 0.5


def test_a_full_grown_tree_proves_nothing_on_noisy_labels() -> None:
    assert broken_in(5, depth=None) == 0


def test_judges_that_learned_from_their_own_rows_break_the_bound_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the test before is worth: with the folds taken away the same tree breaks the bound."""
    monkeypatch.setattr(
        "stages.proof.finishing.folds_of_labels",
        lambda sources, _: np.full(len(sources.gate.accepted.ids), -1),
    )
    assert broken_in(5, depth=None) == 1
