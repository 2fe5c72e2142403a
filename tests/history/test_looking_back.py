"""`rounds history`, `log`, `labels`, `correct` and `retract`: what was, told from git and the
sources.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from rounds import labels as labels_module
from rounds.close import Decision, message
from rounds.commands import git
from rounds.correct import amend, whoever
from rounds.history import cases_of, life, lines_of
from rounds.init import fill_in
from rounds.labels import COLUMNS, as_csv, as_parquet, notes_at
from rounds.log import line_of, rows
from rounds.project import Project
from rounds.verify import verify
from stages.answers.reading import import_labels
from stages.answers.standing import standing
from stages.contract.canonical import read_json, read_jsonl, write_jsonl
from stages.contract.errors import PipelineError
from tests.history.inprocess import answer, closed, committed, rounds_command
from tests.history.long import fabricate

Fresh = Callable[..., Project]


def first_asked(project: Project, number: int = 1) -> str:
    return str(read_jsonl(project.rounds_folder / f"{number:03d}" / "batch.jsonl")[0]["id"])


def test_a_life_names_every_step_and_its_commit_across_a_rename_and_a_merge(project: Fresh) -> None:
    one = project(0)
    issued = git(one.root, "rev-parse", "HEAD").strip()
    item = first_asked(one)
    git(one.root, "switch", "--quiet", "-c", "side")
    answer(one)
    committed(one, "Answers on a branch")
    answered = git(one.root, "rev-parse", "HEAD").strip()
    git(one.root, "mv", "data/rounds/001/answers/ann.jsonl", "data/rounds/001/answers/moved.jsonl")
    committed(one, "Rename")
    git(one.root, "switch", "--quiet", "main")
    (one.root / "README.txt").write_text("x")
    committed(one, "Meanwhile")
    git(one.root, "merge", "--quiet", "--no-ff", "-m", "Merge", "side")
    closed(one)
    amend(one, item, "a" if life(one, item)["label"] == "b" else "b", "looked again", "Cy")
    answer(one)
    closed(one)
    facts = life(one, item)
    assert facts["asked"][0] | {"commit": issued, "round": 1, "rank": 1} == facts["asked"][0]
    told = facts["answers"][0]
    assert (told["file"], told["line"]) == ("data/rounds/001/answers/moved.jsonl", 1)
    assert (told["commit"], told["author"], told["annotator"], told["surface"]) == (
        answered,
        "Ann",
        "ann",
        "t",
    )
    assert [(row["round"], row["why"]) for row in facts["judged"]] == [
        (1, "votes"),
        (2, "override"),
    ]
    correction = facts["corrections"][0]
    assert (correction["by"], correction["why"], correction["was"]) == (
        "Cy",
        "looked again",
        told["label"],
    )
    assert [row["label"] for row in facts["trained"]] == [told["label"], correction["label"]]
    text = "\n".join(lines_of(facts))
    for part in (
        "asked      rank 1",
        "answered",
        "corrected",
        "looked again",
        "trained on in 2 round commits",
        answered[:8],
    ):
        assert part in text


def test_a_life_knows_rows_of_windows_and_times_that_no_calendar_has(project: Fresh) -> None:
    one = project(0)
    path = answer(one)
    row = json.loads(path.read_bytes().splitlines()[0])
    odd = [{**row, "_timestamp": at} for at in (1700000000.0, 1700000000000000.0)]
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(json.dumps(row).encode() + b"\r\n" for row in odd))
    committed(one)
    facts = life(one, row["al_id"])
    assert {told["commit"] for told in facts["answers"]} == {
        git(one.root, "rev-parse", "HEAD").strip()
    }
    told = "\n".join(lines_of(facts))
    assert "by ann 2023-11-14 22:13:20Z (t)" in told
    assert "by ann at 1700000000000000.0 (t)" in told


def test_a_shallow_clone_is_told_to_fetch_its_history(project: Fresh, tmp_path: Path) -> None:
    one = project(1)
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{one.root}", "shallow")
    other = Project(tmp_path / "shallow")
    for look in (verify, rows, lambda there: life(there, first_asked(one))):
        with pytest.raises(
            PipelineError, match="a shallow clone, without the history; git fetch --unshallow"
        ):
            look(other)


@pytest.mark.slow
def test_a_correction_takes_effect_with_its_round_and_moves_no_old_point_of_the_curve(
    project: Fresh,
) -> None:
    one = project(2)
    curve = one.root / "plots" / "learning_curve.json"
    before = [point for point in read_json(curve) if point["round"] < 3]
    item = first_asked(one)
    was = {row["id"]: row["label"] for row in read_jsonl(one.root / "build/gate/accepted.jsonl")}[
        item
    ]
    row = amend(one, item, "b" if was == "a" else "a", "misread", "Cy")
    assert row == {
        "id": item,
        "label": row["label"],
        "was": was,
        "why": "misread",
        "by": "Cy",
        "after": [],
    }
    amend(one, "row-0100", None, "not an example", "Cy")
    assert (
        len(import_labels(one.rounds_folder, one.params()).rounds) == 2
    )  # corrections alone answer no round
    answer(one)
    closed(one)
    assert [point for point in read_json(curve) if point["round"] < 3] == before
    now = {row["id"]: row["label"] for row in read_jsonl(one.root / "build/gate/accepted.jsonl")}
    assert now[item] == row["label"]
    assert "row-0100" not in now
    assert verify(one) == ([], [])
    amend(one, item, was, "it was right", "Cy")
    with pytest.raises(PipelineError, match=f"{item}' has the label '{was}' now"):
        amend(one, item, was, "again", "Cy")


def test_a_correction_has_a_name_and_a_line_of_its_own(
    project: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = project(1)
    git(one.root, "config", "user.name", "")
    monkeypatch.setenv("LOGNAME", "cy")
    assert [whoever(one, by) for by in ("Di", " ", None)] == ["Di", "cy", "cy"]
    git(one.root, "config", "user.name", "Bo")
    assert whoever(one, "") == "Bo"
    amend(one, "row-0100", "b", "one", "Cy")
    path = one.last_round().corrections
    path.write_bytes(path.read_bytes().rstrip())  # as some editors leave it
    amend(one, "row-0101", "a", "two", "Cy")
    assert [row["id"] for row in read_jsonl(path)] == ["row-0100", "row-0101"]


def test_without_any_name_a_correction_asks_for_one(
    project: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = project(1)
    git(one.root, "config", "user.name", "")

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nobody)
    with pytest.raises(
        PipelineError, match="--by: neither git nor the system knows your name; say it: --by NAME"
    ):
        whoever(one, None)


def test_labels_of_another_branch_name_the_commits_of_that_branch(
    project: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = project(0)
    git(one.root, "switch", "--quiet", "-c", "side")
    answer(one)
    closed(one)
    side = git(one.root, "rev-parse", "HEAD").strip()
    git(one.root, "switch", "--quiet", "main")
    answer(one, label=lambda _: "a")
    closed(one)
    accepted = {
        "id": "q",
        "label": "a",
        "round": 1,
        "source": "votes",
        "arms": [],
        "annotators": [],
        "asked_rank": 1,
        "copies": [],
    }
    monkeypatch.setattr(labels_module, "accepted_at", lambda *_: [accepted])
    assert [labels_module.labels(one, name)[0]["commit"] for name in ("side", "HEAD")] == [
        side, git(one.root, "rev-parse", "HEAD").strip()
    ]  # fmt: skip


def test_the_last_of_several_corrections_in_a_round_holds(project: Fresh) -> None:
    one = project(1)
    item = first_asked(one)
    was = life(one, item)["label"]
    other = "b" if was == "a" else "a"
    amend(one, item, other, "hm", "Cy")
    amend(one, item, None, "hm, hm", "Di")
    amend(one, item, other, "no, really", "Cy")
    answer(one)
    closed(one)
    now = {row["id"]: row["label"] for row in read_jsonl(one.root / "build/gate/accepted.jsonl")}
    assert now[item] == other


def test_what_is_answered_after_a_retraction_in_its_own_round_counts_and_what_was_said_before_does_not(
    project: Fresh,
) -> None:
    one = project(0)
    item = first_asked(one)
    answer(one, label=lambda _: "a", only=3)
    amend(one, item, None, "two products in one text", "Cy")
    assert standing(cases_of(one)[item], 1, one.params().gate).why == "retract"
    answer(one, "bo", label=lambda _: "b", only=3)
    found = standing(cases_of(one)[item], 1, one.params().gate)
    assert (found.label, [vote.annotator for vote in found.votes]) == ("b", ["bo"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("row-9999", "a", "x"), "'row-9999' has no label and was never asked"),
        (("row-0101", "bb", "x"), "LABEL: label 'bb' is not in params.labels (did you mean 'b'?)"),
        (("row-0101", "a", " "), "--why: no reason given; say in a few words what was wrong"),
    ],
)
def test_a_correction_that_makes_no_sense_is_refused_in_one_line(
    project: Fresh, words: tuple[str, str, str], said: str
) -> None:
    with pytest.raises(PipelineError) as error:
        amend(project(0), *words, by="Cy")
    assert said in str(error.value)


def test_without_an_open_round_a_correction_says_what_to_do(project: Fresh) -> None:
    one = project(0)
    answer(one, only=3)
    closed(one, partial=True)
    one.last_round().closed_early.write_text("{}")
    with pytest.raises(
        PipelineError, match=r"round 2 is closed, and no other is open; run `rounds close`"
    ):
        amend(one, "row-0101", "a", "x", "Cy")


def test_a_bad_correction_row_is_named_by_file_and_line(project: Fresh) -> None:
    one = project(0)
    answer(one)
    one.last_round().corrections.write_text(
        '\n{"id": "row-0101", "label": 1, "why": "x", "by": "y"}\n'
    )
    with pytest.raises(PipelineError, match=r"001/corrections.jsonl:2: a correction is"):
        closed(one)


@pytest.mark.slow
def test_the_log_shows_what_was_reported_beside_what_is_known_now(project: Fresh) -> None:
    one = project(2)
    told = rows(one)
    assert [row["round"] for row in told] == [0, 1, 2]
    assert told[0]["labels"] == 12
    assert told[2]["labels"] == read_json(one.root / "metrics" / "gate.json")["accepted"]
    assert all(row["active"]["then"] == row["active"]["now"] for row in told)
    assert told[2]["commit"] == git(one.root, "rev-parse", "HEAD").strip()
    moved = {**told[1], "active": {"labels": 1, "then": 0.5, "now": 0.75}}
    assert "0.500   0.750" in line_of(moved)
    answer(one)
    closed(one, decision=Decision(stop=True, why="good enough"))
    told = rows(one)
    assert [row["decision"] and row["decision"]["decision"] for row in told] == [
        None,
        None,
        None,
        "stop",
    ]
    issued = json.loads(git(one.root, "show", f"{told[2]['commit']}:metrics/query.json"))
    asked_by = f"{issued['strategy']} ({issued['regime'] or '-'})"
    state = read_json(one.root / "metrics" / "query.json")["state"]
    advice = read_json(one.root / "metrics" / "validate.json")["stopping"]["advice"]
    assert re.search(
        rf"{re.escape(asked_by)} +{state}; {advice}; stop: good enough", line_of(told[3])
    )
    done = rounds_command(one, "log", "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == told


def test_a_row_of_the_log_names_the_strategy_that_asked_that_rounds_batch(project: Fresh) -> None:
    one = project(1)  # batch 2 was asked by auto
    fill_in(one.root / "params.yaml", {("query", "strategy"): "margin"})
    committed(one, "From now on margin")
    answer(one)
    closed(one)  # batch 3 is asked by margin
    answer(one)
    closed(one)
    told = rows(one)
    assert [row["strategy"] for row in told] == [None, "auto", "auto", "margin"]
    assert [row["next_batch"] for row in told] == ["ready"] * 4
    heads = rounds_command(one, "log").stdout.splitlines()
    assert heads[0].index("asked by") == heads[4].index("margin (")
    assert heads[0].index("next batch") == heads[4].index("ready")


def test_an_alarm_of_the_gate_stands_in_the_log_and_in_the_commit(project: Fresh) -> None:
    one = project(1)
    path = one.root / "metrics" / "gate.json"
    alarm = {"code": "V006", "title": "round held", "seen": "alpha 0.1", "do": "look"}
    path.write_text(json.dumps(read_json(path) | {"alarms": [alarm]}))
    git(one.root, "commit", "--quiet", "--amend", "--no-edit", "--", "metrics/gate.json")
    assert rows(one)[-1]["alarms"][0] == "V006"
    assert "V006 round held: alpha 0.1" in message(one, 1)[1].splitlines()


def test_labels_as_csv_are_safe_for_spreadsheets() -> None:
    row = dict.fromkeys(COLUMNS) | {
        "id": "=1+1",
        "label": "@x",
        "arms": ["active", "control"],
        "annotators": [],
        "notes": ["ana: blurred", "ben: which?"],
        "round": 3,
    }
    told = next(csv.DictReader(io.StringIO(as_csv([row], raw=False).decode())))
    assert (told["id"], told["label"], told["arms"], told["round"], told["notes"]) == (
        "'=1+1",
        "'@x",
        "active; control",
        "3",
        "ana: blurred; ben: which?",
    )
    assert next(csv.DictReader(io.StringIO(as_csv([row], raw=True).decode())))["id"] == "=1+1"
    assert as_parquet([row]).startswith(b"PAR1")


def test_labels_have_the_notes_of_the_answers_that_count(project: Fresh) -> None:
    one = project(0)
    path = answer(one)
    first, second, *others = read_jsonl(path)
    ben = answer(one, "ben")
    named = {**read_jsonl(ben)[0], "al_note": "which <one>?"}
    write_jsonl(ben, [named])
    again = {**second, "_timestamp": 5000.0}
    noted = [{**first, "al_note": "blurred"}, {**second, "al_note": "never mind"}]
    write_jsonl(path, [*noted, *others, again])
    elsewhere = {**others[0], "_timestamp": 9000.0}
    write_jsonl(path.with_name("other.jsonl"), [elsewhere])
    noted_there = {**others[0], "al_note": "of an earlier answer"}
    write_jsonl(path, [*noted, noted_there, *others[1:], again])
    committed(one, "Answers with notes")
    head = git(one.root, "rev-parse", "HEAD").strip()
    assert notes_at(one, head) == {first["al_id"]: ["ann: blurred", "ben: which <one>?"]}
    assert notes_at(one, f"{head}~1") == {}


@pytest.mark.parametrize(
    ("label", "written"), [("-1", "-1"), ("+0.5", "+0.5"), ("-1+2", "'-1+2"), ("-a", "'-a")]
)
def test_a_class_named_by_a_negative_number_keeps_its_name_in_csv(label: str, written: str) -> None:
    row = dict.fromkeys(COLUMNS) | {
        "id": "a",
        "label": label,
        "arms": [],
        "annotators": [],
        "notes": [],
    }
    assert next(csv.DictReader(io.StringIO(as_csv([row], raw=False).decode())))["label"] == written


@pytest.mark.slow
def test_10_000_labels_in_100_rounds_are_looked_back_on_and_verified(
    tmp_path: Path,
) -> None:
    project = fabricate(tmp_path / "long", 100, 100)
    facts = life(project, "n050-0050")
    assert verify(project) == ([], [])
    assert facts["label"] == "7"
    assert facts["answers"][0]["line"] == 51
    assert facts["asked"][0]["rank"] == 51
    assert len(facts["trained"]) == 51


def test_labels_take_their_format_from_the_files_name(
    project: Callable[[int], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = dict.fromkeys(COLUMNS) | {
        "id": "q1",
        "label": "x",
        "arms": [],
        "annotators": [],
        "notes": [],
    }
    monkeypatch.chdir(project(1).root)
    monkeypatch.setattr(labels_module, "labels", lambda *_: [row])
    heads = {"a.jsonl": b"{", "a.PARQUET": b"PAR1", "a.csv": b"id,", "a.txt": b"id,"}
    for name, head in heads.items():
        assert CliRunner().invoke(labels_module.command, ["--out", name]).exit_code == 0
        assert Path(name).read_bytes().startswith(head)
    assert (
        CliRunner().invoke(labels_module.command, ["--out", "b.csv", "--format", "jsonl"]).exit_code
        == 0
    )
    assert Path("b.csv").read_bytes().startswith(b"{")
