"""The law of the backtest: a replay asks the very ids that the stages ask with the same tables,
params and answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rounds.annotate import simulate
from rounds.backtest.replay import Setting, compare_arms, prepare, replay
from rounds.issue import issue
from rounds.project import Project
from stages.contract.canonical import Row, plain, read_json, read_jsonl
from stages.examples.tables import as_text, read_table
from stages.store.index import SPLITS
from tests.conftest import ORDER, Small, write_csv

ROUNDS = 4
NO_GATE = {
    ("gate", "max_quarantine"): 0.0,
    ("gate", "hold"): [],
    ("clean_seed", "max_suspects"): 0.0,
}
MakeSmall = Callable[[str], Small]


def driven(small: Small, noise: float) -> list[list[Row]]:
    """The batches of a project whose rounds are issued and answered, the stages run as dvc.yaml
    says.
    """
    project = Project(small.root)
    small.run(*ORDER[:-1])
    for _ in range(ROUNDS):
        issue(project)
        simulate(
            project, small.root / "oracle.csv", noise=noise, skip=0.0, seed=project.params().seed
        )
        small.run(*ORDER[1:-1])
    return [read_jsonl(round_.folder / "batch.jsonl") for round_ in project.rounds()]


def given(small: Small) -> Setting:
    """The same project's tables, with the labels that the oracle knows."""
    params = Project(small.root).params()
    oracle = read_table(small.root / "oracle.csv")
    truth = dict(zip(map(as_text, oracle.columns["id"]), oracle.columns["label"], strict=True))
    tables = {split: read_table(small.root / getattr(params.data, split)) for split in SPLITS}
    pool = tables["pool"]
    pool.columns["label"] = [truth[as_text(item)] for item in pool.columns["id"]]
    return prepare(tables, params)


def replayed(small: Small, noise: float) -> list[list[Row]]:
    return [
        turn.batch for turn in replay(given(small), Project(small.root).params(), ROUNDS, noise)
    ][:-1]


@pytest.mark.parametrize(
    ("changes", "noise"),
    [
        ({}, 0.0),
        ({**NO_GATE, ("query", "strategy"): "badge"}, 0.1),
        pytest.param({("seed",): 3, ("query", "strategy"): "margin"}, 0.2, marks=pytest.mark.slow),
        pytest.param({("query", "strategy"): "random"}, 0.2, marks=pytest.mark.slow),
        pytest.param(
            {("query", "strategy"): "vote_entropy", ("query", "review_fraction"): 0.4},
            0.3,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["auto", "no_gate", "margin", "random", "committee"],
)
def test_a_replay_asks_what_the_stages_ask(
    small: Small, changes: dict[tuple[str, ...], Any], noise: float
) -> None:
    small.set(changes)
    asked = driven(small, noise)
    assert len(asked) == ROUNDS
    found = replayed(small, noise)
    assert [[row["id"] for row in batch] for batch in found] == [
        [row["id"] for row in batch] for batch in asked
    ]
    if ("query", "strategy") not in changes or changes[
        "query", "strategy"
    ] != "random":  # which needs no model
        assert found == asked
    if noise == 0.3:
        assert any("review" in row["arms"] for batch in asked for row in batch)


@pytest.mark.slow
def test_annotators_are_weighed_as_in_the_loop_once_many_seed_labels_were_asked_again(
    small: Small,
) -> None:
    wrong = {"red": "green", "green": "blue", "blue": "red"}
    seed = [
        (*row[:3], wrong[row[3]] if place % 3 == 0 else row[3])
        for place, row in enumerate(small.rows[:78])
    ]
    small.write("seed", seed)
    small.write("test", small.rows[78:98])
    small.write("pool", [row[:3] for row in small.rows[98:]], label=False)
    small.set(
        {("query", "batch_size"): 24, ("query", "review_fraction"): 0.5, ("gate", "hold"): []}
    )
    asked = driven(small, 0.0)
    votes = Counter(row["id"] for row in read_jsonl(small.root / "build" / "gate" / "votes.jsonl"))
    assert sum(count > 1 for count in votes.values()) >= 20
    here = replace(given(small), truth={row[0]: row[3] for row in small.rows})
    assert [turn.batch for turn in replay(here, Project(small.root).params(), ROUNDS)][:-1] == asked


@pytest.mark.parametrize("gate", [{}, NO_GATE], ids=["gate", "no_gate"])
def test_the_end_of_a_replay_tells_what_validate_tells(
    small: Small, gate: dict[tuple[str, ...], Any]
) -> None:
    small.set({**gate, ("query", "strategy"): "margin", ("query", "control_fraction"): 0.5})
    driven(small, 0.1)
    small.run("validate")
    proof = read_json(small.root / "metrics" / "validate.json")
    params, here = Project(small.root).params(), given(small)
    found = plain(compare_arms(here, list(replay(here, params, ROUNDS, 0.1)), params))
    assert found[:2] == [proof["difference"], proof["saving"]]
    assert found[0]["low"] < found[0]["high"]


@pytest.mark.slow
def test_without_an_id_column_and_with_copies_in_the_texts_it_is_the_same(small: Small) -> None:
    words = {"red": "fire brick rose", "green": "leaf grass lime", "blue": "sea sky ink"}
    texts = [
        (f"{words[row[3]].split()[n % 3]} and then {n % 13}", row[3])
        for n, row in enumerate(small.rows)
    ]
    for name, part in (("seed", texts[:18]), ("test", texts[18:60]), ("pool", texts[60:])):
        write_csv(small.root / "data" / f"{name}.csv", ["text", "label"], part)
    write_csv(small.root / "oracle.csv", ["text", "label"], dict(texts).items())
    small.set({("data", "id"): "", ("data", "text"): "text", ("features", "kind"): "text"})
    params, tables = Project(small.root).params(), {}
    for split in SPLITS:
        tables[split] = read_table(small.root / getattr(params.data, split))
    asked = driven(small, 0.1)
    found = [turn.batch for turn in replay(prepare(tables, params), params, ROUNDS, 0.1)][:-1]
    assert len({row[0] for row in texts[60:]}) < len(texts[60:])
    assert found == asked
