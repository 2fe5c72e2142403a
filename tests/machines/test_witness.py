"""A machine annotator as a witness of the gate: heard where people's labels bear it out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rounds.machines.figures import uses
from rounds.shipped import shipped_params
from stages.contract.arrays import Floats, Ints
from stages.contract.params import Params
from stages.quality.judgement import LabelledRows, judge
from stages.quality.machine_witness import NOT_ASKED, machine_view

CLASSES = 3
ROWS = 180
CLOUDS = 18


def settings() -> Params:
    model = {"path": "sklearn.linear_model.LogisticRegression", "params": {"C": 10.0}}
    return shipped_params({"labels": ["a", "b", "c"], "model": model})


def sure(said: Ints) -> Floats:
    """A machine that is sure of what it says; -1: it says nothing."""
    word = np.zeros((len(said), CLASSES))
    answered = np.flatnonzero(said >= 0)
    word[answered, said[answered]] = 1.0
    return word


def says(truth: Ints, right: float, draw: int = 3) -> Ints:
    """What a machine says that is right so often."""
    rng = np.random.default_rng(draw)
    wrong = (truth + rng.integers(1, CLASSES, len(truth))) % CLASSES
    return np.where(rng.random(len(truth)) < right, truth, wrong)


def repeated_mistake() -> tuple[LabelledRows, Ints]:
    """Rows in 18 clouds, six of each class; of two clouds people take every row for another."""
    rng = np.random.default_rng(3)
    cloud = np.arange(ROWS) % CLOUDS
    truth = (cloud // 6).astype(np.intp)
    centres = 1.5 * np.eye(CLOUDS)
    rows = (centres[cloud] + rng.normal(size=(ROWS, CLOUDS))).astype(np.float32)
    labels = np.where(cloud == 0, 1, np.where(cloud == 7, 2, truth)).astype(np.intp)
    ids = [f"r{row:03d}" for row in range(ROWS)]
    return LabelledRows(rows, rows, labels, ids, ids), truth


def test_a_machine_that_knows_something_is_heard_and_one_that_guesses_is_not() -> None:
    rows, truth = repeated_mistake()
    for right, heard in ((0.9, True), (1 / CLASSES, False)):
        word = sure(says(truth, right))
        _, evidence = machine_view(word, rows.labels, rows.ids, settings())
        assert evidence.rows == ROWS
        assert evidence.heard is heard
        assert (evidence.gain > 2 * evidence.error) is heard
    _, evidence = machine_view(sure(np.zeros(ROWS, np.intp)), rows.labels, rows.ids, settings())
    assert not evidence.heard  # always the same class


def test_rows_without_an_answer_say_no_more_than_the_class_shares() -> None:
    rows, truth = repeated_mistake()
    said = says(truth, 0.9)
    said[:100] = -1
    view, evidence = machine_view(sure(said), rows.labels, rows.ids, settings())
    shares = np.bincount(rows.labels) / ROWS
    assert np.exp(view[:100]) == pytest.approx(np.tile(shares, (100, 1)), abs=1e-6)
    assert evidence.rows == ROWS - 100


@pytest.mark.parametrize("answers", [0, 19])
def test_with_few_answers_nothing_is_heard(answers: int) -> None:
    rows, truth = repeated_mistake()
    said = np.where(np.arange(ROWS) < answers, truth, -1)
    _, evidence = machine_view(sure(said), rows.labels, rows.ids, settings())
    assert evidence.rows == answers
    assert not evidence.heard


def test_a_mistake_that_all_learned_witnesses_repeat_is_seen_by_a_machine() -> None:
    rows, truth = repeated_mistake()
    wrong = rows.labels != truth
    threshold = settings().gate.threshold
    alone = judge(rows, settings())
    assert alone.machine == NOT_ASKED
    assert not (alone.errors.probability[wrong] >= threshold).any()
    hearing = judge(replace(rows, said=sure(says(truth, 0.9))), settings())
    assert hearing.machine.heard
    assert (hearing.errors.probability[wrong] >= threshold).mean() > 0.7
    assert (hearing.errors.probability[~wrong] >= threshold).mean() < 0.1


def test_a_machine_that_is_not_heard_changes_nothing() -> None:
    rows, truth = repeated_mistake()
    alone = judge(rows, settings())
    beside = judge(replace(rows, said=sure(says(truth, 1 / CLASSES))), settings())
    assert not beside.machine.heard
    assert beside.errors.probability.tolist() == alone.errors.probability.tolist()
    assert beside.scores.tolist() == alone.scores.tolist()


def test_status_and_report_name_the_witness_only_where_there_is_one() -> None:
    assert uses(settings()) == []
    switched_on = shipped_params({"machines": {"witness": "data/machines/gpt"}})
    assert uses(switched_on) == [
        "machine  the gate may hear data/machines/gpt as a witness (machines.witness)"
    ]
