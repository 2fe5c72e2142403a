"""The oracle of a backtest: of several batches the one that teaches most, never seeing the test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rounds.backtest import oracle
from rounds.backtest.tables import cells, head
from rounds.backtest.verdict import summary
from rounds.shipped import shipped_params
from stages.contract.canonical import read_json
from stages.store.index import Index
from tests.backtest.test_backtest import HEADER, backtest
from tests.backtest.test_verdict import curve
from tests.conftest import blobs, write_csv


def test_the_first_of_the_best_batches_is_kept_and_judges_are_never_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [f"row {number}" for number in range(40)]
    index = Index(ids, ids, ["pool"] * 40, list(range(40)))
    proposed: list[Any] = []
    judging: list[Any] = []
    accuracies = iter([0.5, 0.7, 0.7, 0.6])

    def compose(_features: Any, _model: Any, _gate: Any, params: Any, allowed: Any) -> Any:
        proposed.append((params.query.strategy, allowed > 0))
        return SimpleNamespace(rows=[{"id": f"batch {len(proposed)}"}])

    def accuracy(*words: Any) -> float:
        judging.append(words[-1])
        return next(accuracies)

    monkeypatch.setattr(oracle, "compose", compose)
    monkeypatch.setattr(oracle, "_accuracy_with", accuracy)
    features: Any = SimpleNamespace(index=index)
    gate: Any = SimpleNamespace(state={"rounds": 2})
    chosen = oracle.best_of(4, features, None, gate, shipped_params(), {})
    assert chosen == [{"id": "batch 2"}]
    assert [strategy for strategy, _ in proposed] == ["auto", "random", "margin", "badge"]
    assert all(judges.sum() == 10 for judges in judging)  # a quarter of the pool
    assert all(np.array_equal(judges, judging[0]) for judges in judging)
    assert not any((allowed & judging[0]).any() for _, allowed in proposed)
    assert len({allowed.tobytes() for _, allowed in proposed}) == 4  # other halves


def test_a_gain_is_told_as_a_share_of_the_oracles_and_the_oracle_is_no_choice() -> None:
    curves = {
        "random": [curve(0.5, 0.5), curve(0.5, 0.5)],
        "margin": [curve(0.5, 0.52), curve(0.5, 0.54)],
        "oracle?batches=9": [curve(0.5, 0.6), curve(0.5, 0.6)],
    }
    found = summary(curves, dict.fromkeys(curves, "random"), None, [], ["oracle?batches=9"])
    assert [facts["of_oracle"] for facts in found["strategies"]] == [
        None,
        pytest.approx(0.3),  # .015 of .05
        pytest.approx(1.0),
    ]
    assert found["decision"]["use"] == "margin"
    assert head(found["strategies"])[-1] == "of the oracle"
    assert [row[-1] for row in cells(found["strategies"])] == ["100%", "30%", "-"]


def test_an_oracle_runs_beside_the_strategies(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", HEADER, blobs(120))
    done = backtest(data, "--strategy", "margin", "--oracle", "2", "--repeats", "1")
    assert done.exit_code == 0, done.output
    found = read_json(tmp_path / "out" / "summary.json")
    names = [facts["strategy"] for facts in found["strategies"]]
    assert names == ["random", "margin", "oracle?batches=2"]
    assert any(note.startswith("oracle?batches=2: of so many") for note in found["notes"])
    assert found["decision"]["use"] in {"random", "margin"}
