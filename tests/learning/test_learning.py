from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from rounds.shipped import shipped_params
from stages.answers.ledger import Labels
from stages.contract.errors import PipelineError
from stages.contract.params import Learner, Params
from stages.learning.classifier import fit, out_of_fold
from stages.learning.scoring import softmax
from stages.learning.training import committee
from stages.store.index import Features, Index

LOGISTIC = Learner(
    path="sklearn.linear_model.LogisticRegression",
    params={"C": 10.0, "max_iter": 2000, "tol": 1e-8},
)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize("spanned", ["nothing", "by others", "all are empty"])
def test_the_fit_in_row_space_is_the_fit(classes: int, weight: str | None, spanned: str) -> None:
    rng = np.random.default_rng(0)
    rows = sp.random(60, 500, density=0.1, format="lil", random_state=rng)
    rows[:, :4] = rng.normal(size=(60, 4))
    if spanned == "by others":
        rows[10:20], rows[20], rows[21] = rows[:10], 0, rows[0] - 2 * rows[1]
    if spanned == "all are empty":
        rows[:] = 0
    new = sp.random(40, 500, density=0.1, format="csr", random_state=rng)
    labels = np.minimum(np.arange(60) % (2 * classes), classes - 1)
    spec = Learner(path=LOGISTIC.path, params={**LOGISTIC.params, "class_weight": weight})
    ours = softmax(fit(spec, rows.tocsr(), labels, classes, 0).scores(new))
    direct = LogisticRegression(**spec.params).fit(rows.tocsr(), labels).predict_proba(new)
    assert ours == pytest.approx(direct, abs=1e-5)


def test_a_model_that_cannot_learn_the_rows_is_refused_with_the_remedy() -> None:
    spec = Learner(path="sklearn.naive_bayes.MultinomialNB", params={})
    with pytest.raises(
        PipelineError,
        match=r"MultinomialNB cannot learn these rows \(Negative values.*directions: 0",
    ):
        fit(spec, np.array([[1.0], [-1.0]]), np.array([0, 1]), 2, 0)


def test_columns_follow_the_class_list_not_what_was_seen() -> None:
    rows = np.array([[0.0], [1.0], [2.0], [3.0]])
    p = softmax(fit(LOGISTIC, rows, np.array([3, 3, 1, 1]), 5, 0).scores(rows))
    assert (p[:, [0, 2, 4]] == 0).all()
    assert p[0, 3] > 0.5 > p[3, 3]


def test_one_class_alone_has_probability_one() -> None:
    rows = np.zeros((3, 2))
    assert (
        softmax(fit(LOGISTIC, rows, np.array([1, 1, 1]), 3, 0).scores(rows)).tolist()
        == [[0, 1, 0]] * 3
    )


def test_a_decision_function_of_two_classes_gives_two_columns() -> None:
    svm = Learner(path="sklearn.svm.LinearSVC", params={})
    rows = np.array([[0.0], [1.0], [2.0], [3.0]])
    scores = fit(svm, rows, np.array([0, 0, 2, 2]), 3, 0).scores(rows)
    assert scores[:, 0].tolist() == [0.0] * 4
    assert np.isneginf(scores[:, 1]).all()
    assert scores[0, 2] < 0 < scores[3, 2]


@pytest.mark.parametrize(
    "path", ["sklearn.linear_model.LogisticRegression", "sklearn.svm.LinearSVC"]
)
@pytest.mark.parametrize("classes", [2, 3])
def test_scores_are_of_a_row_however_many_are_taken_at_a_time(
    path: str, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sp.csr_matrix(sp.random(20, 40, density=0.2, random_state=0))
    model = fit(Learner(path=path, params={}), rows, np.arange(20) % classes, 4, 0)
    whole = model.scores(rows)
    for module in ("learning.classifier", "contract.progress"):
        monkeypatch.setattr(f"stages.{module}.BLOCK", 7)
    assert np.array_equal(model.scores(rows), whole)
    assert np.isneginf(whole[:, classes:]).all()


def test_no_row_is_scored_by_a_model_that_saw_it() -> None:
    tree = Learner(path="sklearn.neighbors.KNeighborsClassifier", params={"n_neighbors": 1})
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
    ids = [str(row) for row in range(60)]
    seen = softmax(fit(tree, rows, labels, 2, 0).scores(rows)).argmax(axis=1)
    held_out = softmax(out_of_fold(tree, rows, labels, ids, 2, 5, 0)).argmax(axis=1)
    assert (seen == labels).all()
    assert 0.25 < (held_out == labels).mean() < 0.75


def test_a_model_that_returns_nan_is_refused() -> None:
    broken = Learner(path="tests.learning.test_learning.Broken", params={})
    with pytest.raises(
        PipelineError, match="the model returned NaN; scale the features or change the model"
    ):
        fit(broken, np.zeros((2, 1)), np.array([0, 1]), 2, 0).scores(np.zeros((1, 1)))


class Broken:
    classes_ = (0, 1)

    def fit(self, _rows: object, _labels: object) -> Broken:
        return self

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        return np.full((len(rows), 2), np.nan)


def test_nearly_as_many_classes_as_labels_is_no_reason_to_warn() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 3))
    assert fit(LOGISTIC, rows, np.arange(30) % 20, 20, 0).scores(rows).shape == (30, 20)


def test_a_committee_lives_with_a_bootstrap_that_misses_classes() -> None:
    ids = [f"p-{row}" for row in range(8)]
    index = Index(ids, ids, ["pool"] * 8, list(range(8)))
    labels = Labels(ids[:4], np.array([0, 0, 1, 2]), [{"id": item} for item in ids[:4]])
    options = settings(committee=20)
    rows = np.arange(16.0).reshape(8, 2)
    logits = committee(labels, Features(index, rows, rows), options)
    assert logits.shape == (20, 8, 3)
    seen = np.isfinite(logits).all(axis=1)
    assert (
        len({tuple(row) for row in seen.tolist()}) > 2
    )  # members that know one class, two and all
    assert np.allclose([softmax(member).sum(axis=1) for member in logits], 1)


def settings(**query: object) -> Params:
    return shipped_params(
        {
            "seed": 0,
            "labels": ["a", "b", "c"],
            "model": {"path": LOGISTIC.path, "params": {}},
            "query": query,
        }
    )
