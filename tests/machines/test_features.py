"""A machine's answers as features: columns, their weight by labels, and finishing with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from rounds.finish import stage_text
from rounds.shipped import shipped_params
from stages.contract.canonical import write_jsonl
from stages.contract.errors import PipelineError
from stages.contract.params import MACHINE_COLUMNS, Learner, Params
from stages.learning.classifier import fit
from stages.learning.machine_weight import WEIGHTS, machine_weight, smallest_of_the_best
from stages.machines.columns import beside, machine_columns
from stages.machines.frozen import read_machine
from stages.proof.certificate import Claim
from stages.proof.finishing import Sources, finish
from stages.proof.second_source import params_with, with_machine
from tests.proof.test_opinions import project_of

LOGISTIC = "sklearn.linear_model.LogisticRegression"


def test_a_column_holds_how_sure_the_machine_is_of_its_class(tmp_path: Path) -> None:
    rows = [
        {"id": "r1", "label": "b", "confidence": 0.75},
        {"id": "r2", "label": "a"},
        {"id": "r3", "label": None},
        {"id": "r4", "probabilities": {"a": 0.25, "c": 0.5}},
    ]
    write_jsonl(tmp_path / "answers.jsonl", rows)
    machine = read_machine(tmp_path)
    columns = machine_columns(machine, ["r2", "r1", "unasked", "r3", "r4"])
    expected = [[1, 0, 0], [0, 0.75, 0], [0, 0, 0], [0, 0, 0], [0.25, 0, 0.5]]
    assert columns.shape == (5, MACHINE_COLUMNS)
    assert not columns[:, 3:].count_nonzero()
    columns = columns[:, :3]
    assert columns.toarray().tolist() == expected
    dense = beside(np.ones((5, 2), np.float32), columns)
    assert dense[1].tolist() == [1, 1, 0, 0.75, 0]
    sparse = beside(sp.csr_matrix(np.ones((5, 2), np.float32)), columns)
    assert sparse.toarray().tolist() == dense.tolist()


def rows_of(draw: int, right: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that say little, classes, and one-hot answers that are right so often."""
    rng = np.random.default_rng(draw)
    classes = rng.integers(0, 3, 200)
    own = rng.normal(size=(200, 6)) + 0.3 * np.eye(6)[classes]
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    wrong = (classes + rng.integers(1, 3, 200)) % 3
    said = np.where(rng.random(200) < right, classes, wrong)
    return own.astype(np.float32), classes, np.eye(3, dtype=np.float32)[said]


@pytest.mark.parametrize("sparse", [True, False])
def test_labels_give_a_good_machine_weight_and_none_to_one_that_guesses(sparse: bool) -> None:
    def weight(right: float) -> float:
        own, classes, said = rows_of(1, right)
        rows = np.hstack([own, said])
        return machine_weight(sp.csr_matrix(rows) if sparse else rows, classes, 3)

    assert weight(0.9) > 0
    assert weight(1 / 3) == 0


def test_without_labels_enough_or_answers_a_machine_has_no_weight() -> None:
    own, classes, said = rows_of(1, 0.9)
    rows = np.hstack([own, said])
    assert machine_weight(rows[:19], classes[:19], 3) == 0
    assert machine_weight(np.hstack([own, np.zeros_like(said)]), classes, 3) == 0
    assert machine_weight(rows[:1].repeat(50, axis=0), classes[:1].repeat(50), 3) == 0


def test_of_weights_that_differ_by_chance_the_smallest_is_taken() -> None:
    alike = np.array([[-1.0, -1.2, -1.1, -0.9], [-1.1, -1.0, -1.1, -0.9]])
    better = np.array([[-1.0, -1.2, -1.1, -0.9], [-0.5, -0.7, -0.5, -0.4]])
    assert smallest_of_the_best(alike) == 0
    assert smallest_of_the_best(better) == 1


@pytest.mark.parametrize("sparse", [True, False])
def test_the_weight_is_part_of_the_coefficients(sparse: bool) -> None:
    own, classes, said = rows_of(2, 0.9)
    rows = np.hstack([own, said])
    matrix = sp.csr_matrix(rows) if sparse else rows
    learner = Learner(path=LOGISTIC, params={"C": 10.0}, machine_columns=3)
    model = fit(learner, matrix[:150], classes[:150], 3, 0)
    assert model.machine_weight in WEIGHTS[1:]
    right = (model.scores(matrix[150:]).argmax(axis=1) == classes[150:]).mean()
    without = fit(Learner(path=LOGISTIC, params={"C": 10.0}), own[:150], classes[:150], 3, 0)
    assert right > (without.scores(own[150:]).argmax(axis=1) == classes[150:]).mean() + 0.1


def answered(sources: Sources, people: dict[str, int], folder: Path, right: float) -> None:
    """Freeze the answers of a machine that says what people say so often."""
    rng = np.random.default_rng(5)
    rows = [
        {"id": item, "label": "ab"[label if rng.random() < right else 1 - label]}
        for item, label in people.items()
    ]
    write_jsonl(folder / "answers.jsonl", rows)


def logistic() -> Params:
    model = {"path": LOGISTIC, "params": {"C": 10.0}}
    return shipped_params({"labels": ["a", "b"], "model": model})


def test_a_good_second_source_lets_more_rows_be_labelled_under_the_same_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Learner(path="sklearn.ensemble.ExtraTreesClassifier", params={"n_estimators": 5})
    monkeypatch.setattr("stages.proof.opinions.FOREST", small)
    params = logistic()
    sources, people = project_of(3, params)
    answered(sources, people, tmp_path / "gpt", right=1.0)
    claim = Claim(0.05, 0.95)
    alone = finish(sources, claim, params)
    seeing = params_with(params, tmp_path / "gpt")
    outcome = finish(with_machine(sources, tmp_path / "gpt", seeing), claim, seeing)
    # people contradict the features in 6 of 100 rows: only the machine knows which
    assert len(outcome.machine) > len(alone.machine)
    theirs = np.array([people[item] for item in sources.pool.ids(outcome.machine)])
    assert (theirs != outcome.classes).mean() <= 0.05


def test_a_second_source_that_the_model_sees_already_or_that_is_silent_is_refused(
    tmp_path: Path,
) -> None:
    params = logistic()
    sources, _ = project_of(3, params)
    seeing = params_with(params, tmp_path / "gpt")
    with pytest.raises(PipelineError, match=r"sees the answers of .*gpt already"):
        params_with(seeing, tmp_path / "gpt")
    write_jsonl(tmp_path / "gpt" / "answers.jsonl", [{"id": "x", "label": None}])
    with pytest.raises(PipelineError, match="gpt has labelled no row"):
        with_machine(sources, tmp_path / "gpt", seeing)


def test_the_stage_names_the_machine_only_where_there_is_one() -> None:
    without = stage_text(Claim(0.05, 0.95), "abc")
    assert "data/machines" not in without
    text = stage_text(Claim(0.05, 0.95), "abc", "gpt")
    assert "--commit abc --machine data/machines/gpt\n" in text
    assert "\n      - data/machines/gpt\n" in text


@pytest.mark.slow
@pytest.mark.parametrize("right", [0.4, 0.9])
def test_certificates_with_a_second_source_are_broken_in_at_most_five_percent(
    right: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Learner(path="sklearn.ensemble.ExtraTreesClassifier", params={"n_estimators": 5})
    monkeypatch.setattr("stages.proof.opinions.FOREST", small)
    params = logistic()
    claim = Claim(0.05, 0.95)
    seeing = params_with(params, tmp_path / "m")
    projects = 60
    broken = 0
    for number in range(projects):
        # 6 % of people's labels contradict the features: nearly every certificate is broken
        sources, people = project_of(number, params)
        answered(sources, people, tmp_path / "m", right)
        outcome = finish(with_machine(sources, tmp_path / "m", seeing), claim, seeing)
        theirs = np.array([people[item] for item in sources.pool.ids(outcome.machine)])
        broken += bool((theirs != outcome.classes).sum() > 0.05 * len(theirs))
    assert broken <= projects * (0.05 + 2 * (0.05 * 0.95 / projects) ** 0.5)
