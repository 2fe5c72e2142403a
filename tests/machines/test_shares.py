"""Shares of classes by control labels and a machine's word; and what the machine's curve sees."""

from __future__ import annotations

import numpy as np
import pytest

from rounds.machines.figures import uses
from rounds.shipped import shipped_params
from stages.contract.params import MACHINE_COLUMNS
from stages.proof.machine_shares import class_shares
from stages.proof.machines import own_refits
from stages.store.index import Features, Index
from tests.machines.test_quality import machine

ROWS = 400
IDS = [f"r{row:03d}" for row in range(ROWS)]
INDEX = Index(IDS, IDS, ["pool"] * ROWS, list(range(ROWS)))


def truth_and_machine(right: float) -> tuple[dict[str, str], dict[str, str | None]]:
    rng = np.random.default_rng(8)
    truth = {item: "a" if rng.random() < 0.3 else "b" for item in IDS}
    other = {"a": "b", "b": "a"}
    said: dict[str, str | None] = {
        item: label if rng.random() < right else other[label] for item, label in truth.items()
    }
    return truth, said


@pytest.mark.parametrize(("right", "narrower"), [(0.95, 0.75), (0.5, 1.02)])
def test_a_good_machine_narrows_the_interval_and_a_poor_one_costs_nothing(
    right: float, narrower: float
) -> None:
    truth, said = truth_and_machine(right)
    control = {item: truth[item] for item in IDS[:100]}
    table = class_shares(machine(said), control, INDEX, ["a", "b"])
    assert table is not None
    row = table["a"]
    assert (row["high"] - row["low"]) / 2 <= narrower * row["half"]
    share = np.mean([label == "a" for label in truth.values()])
    assert row["low"] <= share <= row["high"]
    assert row["by_people"] == pytest.approx(np.mean([truth[item] == "a" for item in IDS[:100]]))


def test_a_machine_that_is_always_right_leaves_no_doubt() -> None:
    truth, _ = truth_and_machine(1.0)
    control = {item: truth[item] for item in IDS[:50]}
    table = class_shares(machine(dict(truth)), control, INDEX, ["a", "b"])
    assert table is not None
    share = np.mean([label == "a" for label in truth.values()])
    assert table["a"]["value"] == pytest.approx(share)
    assert table["a"]["high"] - table["a"]["low"] == pytest.approx(0, abs=1e-9)


def test_nineteen_control_labels_are_too_few() -> None:
    truth, said = truth_and_machine(0.9)
    control = {item: truth[item] for item in IDS[:19]}
    assert class_shares(machine(said), control, INDEX, ["a", "b"]) is None


def test_a_machines_curve_is_of_models_that_do_not_see_its_answers() -> None:
    params = shipped_params({"labels": ["a", "b"]})
    machines = params.machines.model_copy(update={"features": "data/machines/gpt"})
    seeing = params.model_copy(update={"machines": machines})
    rows = np.ones((ROWS, 3 + MACHINE_COLUMNS), np.float32)
    refits = own_refits(Features(INDEX, rows, rows), seeing)
    assert refits.matrix.shape == (ROWS, 3)
    assert refits.params.learner.machine_columns == 0
    assert own_refits(Features(INDEX, rows, rows), params).matrix.shape == rows.shape


def test_what_a_machine_is_allowed_to_do_is_said() -> None:
    params = shipped_params({"labels": ["a", "b"]})
    assert uses(params) == []
    paths = {"features": "data/machines/gpt", "cold_start": "data/machines/rules"}
    machines = params.machines.model_copy(update=paths)
    assert uses(params.model_copy(update={"machines": machines})) == [
        "machine  the classifier sees the answers of data/machines/gpt (machines.features)",
        "machine  data/machines/rules says where to begin, until there is a model (machines.cold_start)",
    ]
