"""Projects whose people change: several rounds of the real commands, with kill -9 in between."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from rounds.adjudicate import Bench
from rounds.project import Project
from stages.contract.canonical import Row, dumps, read_json, read_jsonl
from tests.faults.lives import answers, command, disturb, make_project, run

pytestmark = pytest.mark.slow
TRUTH = "ab"  # the class of a row is the parity of its number
Words = tuple[str, ...]


def type_in(project: Path, *words: str) -> str:
    """What a `rounds` command says; it must end well."""
    done = run(project, command(words))
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def type_in_after_kills(project: Path, *words: str, seed: int, within: float = 6.0) -> str:
    """The same, after the command and all its children were killed at three random moments."""
    rng = random.Random(seed)
    for _ in range(3):
        disturb(project, words, "kill -9 everything", rng.uniform(0.2, within), rng)
    done = run(project, command(words))
    return done.stdout + done.stderr


def newest(project: Path) -> Path:
    return max(path for path in (project / "data" / "rounds").glob("[0-9]*") if path.is_dir())


def answer(project: Path, who: str, wrong: int = 0, only: int | None = None) -> list[str]:
    """Answer the newest batch in a person's file. wrong: every so many-th answer. The ids."""
    folder = newest(project)
    tasks = read_jsonl(folder / "asked.jsonl")[:only]
    rows: list[Row] = []
    for number, task in enumerate(tasks, start=1):
        item = str(task["al_id"])
        side = int(item[-4:]) % 2
        if wrong and number % wrong == 0:
            side = 1 - side
        rows.append(
            {
                "al_id": item, "al_batch": task["al_batch"], "accept": [TRUTH[side]], "answer": "accept",
                "_annotator_id": f"t-{who}", "al_dataset": "t", "_timestamp": 1000 * int(folder.name) + number,
            }
        )  # fmt: skip
    path = folder / "answers" / f"{who}.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.writelines(dumps(row) + "\n" for row in rows)
    return [row["al_id"] for row in rows]


def commits(project: Path, subject: str) -> None:
    run(project, ("git", "add", "-A"))
    assert run(project, ("git", "commit", "-qm", subject)).returncode == 0


def accepted(project: Path) -> dict[str, str]:
    rows = read_jsonl(project / "build" / "gate" / "accepted.jsonl")
    return {row["id"]: row["label"] for row in rows}


def metrics(project: Path, name: str) -> Row:
    document = read_json(project / "metrics" / f"{name}.json")
    assert isinstance(document, dict)
    return document


def params(project: Path, old: str, new: str) -> None:
    path = project / "params.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def curve(project: Path, upto: int) -> list[Row]:
    rows = json.loads((project / "plots" / "learning_curve.json").read_text())
    return [row for row in rows if row["round"] <= upto]


def test_all_that_one_person_answered_is_withdrawn_and_old_rounds_stay(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    type_in(project, "close")
    for _ in range(2):
        answer(project, "ann", only=4)
        answer(project, "bo", wrong=1)  # all of them wrong
        type_in(project, "close")
    before = curve(project, 2)
    assert metrics(project, "gate")["annotators"].keys() == {"ann", "bo"}
    answer(project, "ann")
    said = type_in_after_kills(
        project,
        "retract",
        "--annotator",
        "bo",
        "--since",
        "1",
        "--why",
        "guessed",
        seed=1,
        within=2.0,
    )
    assert "withdrawn" in said or "no answer since round 1 that counts" in said
    closed = type_in_after_kills(project, "close", seed=2)
    assert "Round 3" in closed or "0 of 8 rows are answered" in closed
    assert curve(project, 2) == before
    assert metrics(project, "gate")["annotators"].keys() == {"ann"}
    assert all(TRUTH[int(item[-4:]) % 2] == label for item, label in accepted(project).items())
    answer(project, "ann")
    type_in(project, "close")
    assert "nothing was changed" in type_in(project, "verify")
    assert run(project, ("git", "status", "--porcelain")).stdout == ""


def test_gold_rows_are_asked_measured_and_never_learnt(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    gold = [f"row-{number:04d}" for number in range(60, 100)]
    table = tmp_path / "gold.csv"
    rows = [f"{item},{TRUTH[int(item[-4:]) % 2]}" for item in gold]
    table.write_text("\n".join(["id,label", *rows]) + "\n")
    params(project, "gold_fraction: 0.05", "gold_fraction: 0.5")
    commits(project, "More gold")
    said = type_in_after_kills(project, "gold", str(table), "--why", "known", seed=3, within=2.0)
    assert "40 in all" in said or "all of them are gold rows already" in said
    type_in(project, "close")
    asked = set()
    for number in range(1, 4):
        batch = read_jsonl(newest(project) / "batch.jsonl")
        planted = {row["id"] for row in batch if "gold" in row["arms"]}
        asked |= planted
        assert len(planted) == 4
        assert planted <= set(gold)
        assert not {row["id"] for row in batch} - planted & set(gold)
        shown = read_jsonl(newest(project) / "asked.jsonl")
        assert all({"gold", "arms"}.isdisjoint(task) for task in shown)
        answer(project, "bo", wrong=1)
        if number == 1:
            said = type_in_after_kills(project, "close", seed=number)
            assert f"Round {number}" in said or "0 of 8 rows are answered" in said
        else:
            type_in(project, "close")
        assert accepted(project).keys().isdisjoint(gold)
    scores = metrics(project, "gate")["gold"]["bo"]
    assert (scores["answers"], scores["right"]) == (12, 0)
    assert len(asked) == 12
    assert "V010" in {row["code"] for row in metrics(project, "gate")["alarms"]}
    assert metrics(project, "gate")["answers"] == 24
    assert "nothing was changed" in type_in(project, "verify")


def test_two_who_closed_on_two_branches_are_merged_and_no_answer_is_lost(tmp_path: Path) -> None:
    ann = make_project(tmp_path)
    type_in(ann, "close")
    answer(ann, "ann")
    type_in(ann, "close")
    bo = (
        tmp_path / "bo"
    )  # a clone without the data remote: tables are in git, the rest is made anew
    run(tmp_path, ("git", "clone", "--quiet", str(ann), str(bo)))
    answer(bo, "bo", only=5)
    type_in(bo, "close", "--partial", "--no-push")
    of_bo = answer(bo, "bo")
    type_in(bo, "close", "--no-push")
    of_bo += answer(bo, "bo", only=3)
    commits(bo, "Answers so far")
    answer(ann, "ann", wrong=4)
    type_in(ann, "close")
    answer(ann, "ann", only=2)
    run(ann, ("git", "remote", "add", "bo", str(bo)))
    run(ann, ("git", "fetch", "--quiet", "bo"))
    everything = answers(ann) | answers(bo)
    said = type_in_after_kills(ann, "merge", "bo/main", seed=4)
    assert "merge: bo/main" in said, said
    assert everything <= answers(ann)
    assert run(ann, ("git", "status", "--porcelain")).stdout == ""
    assert "nothing was changed" in type_in(ann, "verify")
    answer(ann, "ann")
    type_in(ann, "close")
    votes = read_jsonl(ann / "build" / "gate" / "votes.jsonl")
    assert set(of_bo) <= {row["id"] for row in votes if row["annotator"] == "bo"}
    assert "nothing was changed" in type_in(ann, "verify")
    # and back: whoever merges what has merged them is simply moved forward
    run(bo, ("git", "fetch", "--quiet", "origin"))
    assert "ahead" in type_in(bo, "merge", "origin/main")
    assert "nothing was changed" in type_in(bo, "verify")


def test_a_dispute_that_is_decided_on_the_page_is_over(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    run(project, ("git", "config", "user.name", "Ann"))
    params(project, "annotations_per_item: 1", "annotations_per_item: 2")
    params(project, "hold: [G003, G009]", "hold: []")
    commits(project, "Two each")
    type_in(project, "close")
    items = answer(project, "ann")
    answer(project, "bo", wrong=2)
    notes = newest(project) / "answers" / "bo.jsonl"
    rows = [{**row, "al_note": f"hm {row['al_id']}"} for row in read_jsonl(notes)]
    notes.write_text("".join(dumps(row) + "\n" for row in rows))
    bench = Bench(Project(project))
    (first, *others) = bench.shown()["rows"]
    assert {first["id"], *(row["id"] for row in others)} == set(items[1::2])
    notes_shown = {one["annotator"]: one["note"] for one in first["opinions"]}
    assert notes_shown == {"ann": "", "bo": f"hm {first['id']}"}
    assert first["stands"] is None
    right = TRUTH[int(first["id"][-4:]) % 2]
    assert bench.decide(first["id"], right, "") == "Ann"
    assert first["id"] not in {row["id"] for row in bench.shown()["rows"]}
    type_in_after_kills(project, "close", seed=5)
    for _ in range(2):
        assert accepted(project)[first["id"]] == right
        assert first["id"] not in {row["id"] for row in read_jsonl(newest(project) / "batch.jsonl")}
        answer(project, "ann")
        answer(project, "bo")
        type_in(project, "close")
    assert "nothing was changed" in type_in(project, "verify")


def test_history_from_elsewhere_becomes_rounds_that_count_for_no_arm(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    spring = tmp_path / "spring.csv"
    lines = [f"row-{n:04d},{TRUTH[n % 2]},ann,2023-05-01T10:00:{n:02d}Z" for n in range(10)]
    spring.write_text("\n".join(["id,label,annotator,timestamp", *lines]) + "\n")
    summer = tmp_path / "summer.csv"
    lines = [f"row-{n:04d},{TRUTH[n % 2]},bo,2023-07-01T10:00:{n:02d}Z" for n in range(8, 20)]
    summer.write_text("\n".join(["id,label,annotator,timestamp", *lines, "row-9999,a,bo,"]) + "\n")
    type_in_after_kills(project, "import", str(spring), str(summer), seed=6, within=3.0)
    log = run(project, ("git", "log", "--format=%s")).stdout.splitlines()
    assert log[0] == "Imported 2 rounds from spring.csv, summer.csv"
    said = type_in_after_kills(project, "close", seed=7)
    assert "Round 2" in said, said
    for number in range(3, 6):
        answer(project, "ann")
        assert f"Round {number}" in type_in(project, "close")
    rows = {row["id"]: row for row in read_jsonl(project / "build" / "gate" / "accepted.jsonl")}
    doubted = {row["id"] for row in read_jsonl(project / "build" / "gate" / "review.jsonl")}
    assert {f"row-{n:04d}" for n in range(20)} <= rows.keys() | doubted
    assert rows["row-0009"]["annotators"] == ["ann", "bo"]
    learnt = [rows[item] for item in (f"row-{n:04d}" for n in range(20)) if item in rows]
    assert not any("active" in row["arms"] for row in learnt)
    said = type_in(project, "verify")
    assert "nothing was changed" in said
    assert "round 2 was imported from summer.csv (csv)" in said
    history = type_in(project, "history", "row-0009")
    assert "2023-05-01 10:00:09Z" in history
    refused = run(project, command(("import", str(spring))))
    assert "history comes before the first round" in refused.stderr
    # a round that says it was imported may hold no row of an arm
    proof = metrics(project, "validate")
    assert proof["active"]["labels"] < len(rows) + 12
