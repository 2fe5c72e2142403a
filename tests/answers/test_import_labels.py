"""What a round's files say: which answers count for its batch, and what stood before a
correction.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rounds.shipped import shipped_params
from stages.answers.prodigy import answer_row, task
from stages.answers.reading import answers_before, answers_of, import_labels, import_round
from stages.answers.rounds import FROZEN, batch_id
from stages.answers.standing import collect, standing
from stages.contract.canonical import Row, read_json, read_jsonl, sha256, write_json, write_jsonl
from stages.contract.errors import PipelineError
from stages.contract.params import Params

LABELS = ["a", "b"]


def params(people: int = 1) -> Params:
    return shipped_params({
        "seed": 0, "labels": LABELS,
        "model": {"path": "sklearn.linear_model.LogisticRegression", "params": {}},
        "surface": {"annotations_per_item": people},
    })  # fmt: skip


@dataclass(frozen=True)
class Frozen:
    """A round on disk, as `rounds issue` leaves it."""

    folder: Path
    tasks: list[Row]

    def answer(
        self, who: str, labels: dict[str, str], *, at: float | None, of: Frozen | None = None
    ) -> None:
        """Add rows to a person's file; `of`: the round whose question they answer."""
        asked = {row["al_id"]: row for row in (of or self).tasks}
        path = self.folder / "answers" / f"{who}.jsonl"
        path.parent.mkdir(exist_ok=True)
        old = path.read_bytes() if path.is_file() else b""
        rows = [
            answer_row(asked[item], label=label, answer="accept", annotator=who, dataset="t", at=at)
            for item, label in labels.items()
        ]
        write_jsonl(path, rows)
        path.write_bytes(old + path.read_bytes())

    def correct(self, item: str, label: str | None, by: str = "cy", **more: Any) -> None:
        row = {"id": item, "label": label, "was": "a", "why": "looked again", "by": by, **more}
        write_jsonl(self.folder / "corrections.jsonl", [row])

    def withdraw(self, item: str, who: str, **more: Any) -> None:
        """Add the row that withdraws a person's answers about an id."""
        path = self.folder / "corrections.jsonl"
        row = {"id": item, "label": None, "was": "a", "why": "no care", "by": "di"}
        row |= {"annotator": who, "since": 1, **more}
        write_jsonl(path, [*(read_jsonl(path) if path.is_file() else []), row])

    def before(self, item: str, who: str | None = None) -> list[str]:
        batch = read_json(self.folder / "manifest.json")["batch_id"]
        return answers_before(answers_of(self.folder, batch, self.tasks, LABELS), item, who)


def frozen(root: Path, number: int, ids: str, gold: dict[str, str] | None = None) -> Frozen:
    folder = root / f"{number:03d}"
    folder.mkdir(parents=True)
    batch: list[Row] = [
        {"id": item, "rank": rank, "arms": ["active"]} for rank, item in enumerate(ids, start=1)
    ]
    for row in batch:
        if gold and row["id"] in gold:
            row |= {"arms": ["gold"], "gold": gold[row["id"]]}
    name = batch_id([{**row, "round": number} for row in batch])
    rows = [{**row, "round": number} for row in batch]
    tasks = [
        task(
            {"text": f"text {row['id']}"},
            LABELS,
            al_id=row["id"],
            batch_id=name,
            rank=row["rank"],
            score=0.0,
        )
        for row in rows
    ]
    for file, table in zip(FROZEN, (tasks, rows, []), strict=True):
        write_jsonl(folder / file, table)
    hashes = {file: sha256((folder / file).read_bytes()) for file in FROZEN}
    write_json(folder / "manifest.json", {"batch_id": name, "sha256": hashes})
    return Frozen(folder, tasks)


def standing_of(root: Path, item: str, seed: str | None = None) -> tuple[str | None, str]:
    tables = import_labels(root, params())
    seed_rows = [{"id": item, "label": seed}] if seed else []
    (case,) = (
        case
        for case in collect(seed_rows, tables.asked, tables.events, tables.verdicts)
        if case.id == item
    )
    stand = standing(case, 9, params().gate)
    return stand.label, stand.why


def test_a_late_answer_to_an_older_batch_does_not_complete_a_row_that_is_asked_again(
    tmp_path: Path,
) -> None:
    first, second = frozen(tmp_path, 1, "xyz"), frozen(tmp_path, 2, "zw")
    first.answer("ann", {"x": "a", "y": "b"}, at=1)
    second.answer("ann", {"w": "a"}, at=3)
    second.answer("late", {"z": "b"}, at=4, of=first)
    tables = import_round(second.folder, params())
    assert tables is not None
    (row,) = tables.rounds
    assert (row["answered"], row["asked"], row["state"]) == (1, 2, "open")
    assert {(event["id"], event["late"]) for event in tables.events} == {("w", False), ("z", True)}
    second.answer("bo", {"z": "a"}, at=5)
    again = import_round(second.folder, params())
    assert again is not None
    assert again.rounds[0]["state"] == "accepted"


def test_who_answers_here_and_then_late_to_an_older_batch_has_answered_here(tmp_path: Path) -> None:
    first, second = frozen(tmp_path, 1, "z"), frozen(tmp_path, 2, "z")
    second.answer("ann", {"z": "a"}, at=3)
    second.answer("ann", {"z": "b"}, at=4, of=first)
    tables = import_round(second.folder, params())
    assert tables is not None
    assert tables.rounds[0]["answered"] == 1
    assert [(event["label"], event["late"]) for event in tables.events] == [
        ("b", True)
    ]  # the last word


def test_two_people_are_wanted_and_a_late_one_is_not_the_second(tmp_path: Path) -> None:
    first, second = frozen(tmp_path, 1, "z"), frozen(tmp_path, 2, "z")
    second.answer("ann", {"z": "a"}, at=3)
    second.answer("bo", {"z": "a"}, at=4, of=first)
    tables = import_round(second.folder, params(people=2))
    assert tables is not None
    assert (tables.rounds[0]["answered"], tables.rounds[0]["state"]) == (0, "open")


@pytest.mark.parametrize("who", ["ann", "bo"])
@pytest.mark.parametrize("later", [None, 1.0, 99.0])
def test_what_is_answered_after_a_retraction_counts_whatever_the_clock_says(
    tmp_path: Path, later: float | None, who: str
) -> None:
    one = frozen(tmp_path, 1, "z")
    one.answer("ann", {"z": "a"}, at=50)
    one.correct("z", None, after=one.before("z"))
    assert standing_of(tmp_path, "z", seed="a") == (None, "retract")
    one.answer(who, {"z": "b"}, at=later)
    assert standing_of(tmp_path, "z", seed="a") == ("b", "votes")
    (one.folder / "answers" / "ann.jsonl").rename(one.folder / "answers" / "moved.jsonl")
    assert standing_of(tmp_path, "z", seed="a") == ("b", "votes")


def test_a_retraction_that_does_not_say_what_it_came_after_is_the_last_word_of_its_round(
    tmp_path: Path,
) -> None:
    one, two = frozen(tmp_path, 1, "z"), frozen(tmp_path, 2, "z")
    one.correct("z", None)
    one.answer("ann", {"z": "a"}, at=50)
    assert standing_of(tmp_path, "z") == (None, "retract")
    two.answer("ann", {"z": "b"}, at=60)
    assert standing_of(tmp_path, "z") == ("b", "votes")


def test_a_correction_whose_after_is_no_list_of_texts_is_named_by_file_and_line(
    tmp_path: Path,
) -> None:
    one = frozen(tmp_path, 1, "z")
    one.answer("ann", {"z": "a"}, at=1)
    one.correct("z", None, after=3)
    with pytest.raises(PipelineError) as error:
        import_round(one.folder, params())
    said = "`after` is a list of fingerprints of the answers before the correction"
    remedy = "write it with `rounds correct` or `rounds retract`"
    assert str(error.value) == f"{one.folder / 'corrections.jsonl'}:1: {said}; {remedy}"


def test_a_person_called_seed_or_oracle_is_a_person(tmp_path: Path) -> None:
    one = frozen(tmp_path, 1, "z")
    for who in ("seed", "oracle"):
        one.answer(who, {"z": "b"}, at=1)
    tables = import_labels(tmp_path, params())
    (case,) = collect([{"id": "z", "label": "a"}], tables.asked, tables.events, [])
    assert [vote.annotator for vote in case.votes] == ["", "oracle", "seed"]
    assert standing(case, 1, params().gate).label == "b"
    assert standing(case, 0, shipped_params({"gate": {"adjudicator": "seed"}}).gate).label == "a"
    assert standing(case, 1, shipped_params({"gate": {"adjudicator": "seed"}}).gate).label == "b"


def test_a_withdrawal_takes_one_persons_answers_and_what_they_say_after_it_counts(
    tmp_path: Path,
) -> None:
    one = frozen(tmp_path, 1, "z")
    one.answer("ann", {"z": "a"}, at=50)
    one.answer("bo", {"z": "b"}, at=51)
    one.withdraw("z", "bo", after=one.before("z", "bo"))
    assert standing_of(tmp_path, "z") == ("a", "votes")
    one.answer("bo", {"z": "b"}, at=1)  # the clock of another machine
    assert standing_of(tmp_path, "z") == (None, "disagreement")


def test_a_withdrawal_and_a_correction_of_one_id_in_one_round_both_count(tmp_path: Path) -> None:
    one = frozen(tmp_path, 1, "z")
    one.answer("bo", {"z": "b"}, at=51)
    one.correct("z", "a", after=one.before("z"))
    one.withdraw("z", "bo", after=one.before("z", "bo"))
    assert standing_of(tmp_path, "z") == ("a", "override")
    tables = import_round(one.folder, params())
    assert tables is not None
    assert [(row["kind"], row["annotator"]) for row in tables.events if row["order"] == 1] == [
        ("override", "cy"),
        ("withdraw", "bo"),
    ]


@pytest.mark.parametrize("wrong", [{"since": 0}, {"since": "1"}, {"annotator": ""}, {"label": "a"}])
def test_a_withdrawal_without_a_round_or_a_name_is_refused(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    one = frozen(tmp_path, 1, "z")
    one.answer("bo", {"z": "b"}, at=51)
    one.withdraw("z", "bo", **wrong)
    with pytest.raises(PipelineError, match="a withdrawal names an `annotator`"):
        import_round(one.folder, params())
