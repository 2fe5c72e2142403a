"""Projects whose rows change: several rounds of the real commands, with kill -9 in between."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from stages.answers.arms import control_reach
from stages.answers.ledger import Asked, read_rows
from stages.contract.canonical import read_jsonl
from stages.contract.identity import order_key
from tests.faults.lives import command, make_project, run, table
from tests.faults.test_people import (
    accepted,
    answer,
    commits,
    newest,
    params,
    type_in,
    type_in_after_kills,
)

pytestmark = pytest.mark.slow


def pool_of(project: Path) -> list[dict[str, str]]:
    with (project / "data" / "pool.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def put_pool(project: Path, rows: list[dict[str, str]]) -> None:
    with (project / "data" / "pool.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def with_a_label(project: Path) -> dict[str, str]:
    """The labels that are accepted or doubted, by id."""
    doubted = read_jsonl(project / "build" / "gate" / "review.jsonl")
    return accepted(project) | {row["id"]: row["label"] for row in doubted}


def closed_after_a_kill(project: Path, number: int) -> None:
    """Close a round whose close is killed at random moments; all is clean afterwards."""
    said = type_in_after_kills(project, "close", seed=number, within=8.0)
    assert f"Round {number}" in said or "0 of " in said, said
    assert "nothing was changed" in type_in(project, "verify")
    assert run(project, ("git", "status", "--porcelain")).stdout == ""


def test_rows_are_forgotten_mended_added_and_renamed_and_the_proof_holds(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    params(project, "hold: [G003, G009]", "hold: []")
    commits(project, "Nothing is held")
    type_in(project, "close")
    gone, mended, *_ = answer(project, "ann")
    words = next(row["x"] for row in pool_of(project) if row["id"] == gone)
    type_in_after_kills(project, "forget", gone, "--why", "asked to", seed=21, within=3.0)
    held = run(project, ("git", "grep", "--untracked", "-l", "-F", words)).stdout
    assert held == ""
    closed_after_a_kill(project, 1)
    assert gone not in with_a_label(project)

    # A mended row is asked about; rows come, and another test table.
    rows = [{**row, "x": "0.1234"} if row["id"] == mended else row for row in pool_of(project)]
    (project.parent / "more.csv").write_text(table(20, 200, labelled=False))
    with (project.parent / "more.csv").open(newline="") as file:
        put_pool(project, [*rows, *csv.DictReader(file)])
    (project / "data" / "test.csv").write_text(table(24, 300, labelled=True))
    commits(project, "A mended row, more rows, another test")
    answer(project, "ann")
    refused = run(project, command(("close",))).stderr
    assert "1 asked id carries another content than was judged" in refused
    assert "--texts-edited" in refused
    assert "--ids-moved" in refused
    words_said = ("changed", "--texts-edited", "--why", "a typing error")
    type_in_after_kills(project, *words_said, seed=22, within=2.0)
    closed_after_a_kill(project, 2)
    assert mended in with_a_label(project)
    answer(project, "ann")
    type_in(project, "close")

    # The walk of the control arm has passed all rows up to the one that it has reached, new ones too.
    asked = read_rows(project / "build" / "labels" / "asked.jsonl", Asked)
    reach = control_reach(asked, 0)
    assert reach is not None
    known = {row["id"] for row in asked} | {
        row["id"] for row in read_jsonl(newest(project) / "batch.jsonl")
    }
    assert {row["id"] for row in pool_of(project) if order_key(0, row["id"]) <= reach} <= known

    # Ids are other rows now; a shift by two keeps what the tests take for the truth.
    before = with_a_label(project)
    rows = pool_of(project)
    ids = [row["id"] for row in rows]
    put_pool(project, [{**row, "id": ids[at - 2]} for at, row in enumerate(rows)])
    commits(project, "Exported anew")
    answer(project, "ann")
    assert "--ids-moved" in run(project, command(("close",))).stderr
    words_said = ("changed", "--ids-moved", "--why", "exported anew")
    type_in_after_kills(project, *words_said, seed=23, within=2.0)
    closed_after_a_kill(project, 4)
    new = {item: ids[at - 2] for at, item in enumerate(ids)}
    labels = with_a_label(project)
    assert all(labels[new[item]] == label for item, label in before.items() if item in new)
