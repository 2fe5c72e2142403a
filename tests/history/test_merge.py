"""Two branches that both went on, put together by one command."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import rounds.merge
from rounds.commands import changed_paths, git
from rounds.history import MANIFESTS, life
from rounds.merge import merge
from rounds.past import changes, closing_commits
from rounds.project import Project
from rounds.verify import verify
from stages.answers.reading import import_round
from stages.contract.canonical import read_jsonl, write_bytes
from stages.contract.errors import PipelineError
from tests.history.inprocess import Stages, answer, closed, committed

pytestmark = pytest.mark.slow
Fresh = Callable[..., Project]


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds.merge, "Dvc", Stages)


def merged(project: Project, branch: str) -> str:
    return merge(project, branch, lambda _: None)


def two_that_went_on(one: Project) -> tuple[set[str], set[str]]:
    """Branch bo closes round 2 in part and answers some of its round 3; main closes round 2 whole.

    What each asks in round 3.
    """
    git(one.root, "switch", "--quiet", "-c", "bo")
    answer(one, "bo", only=4)
    closed(one, partial=True)
    theirs = {str(task["al_id"]) for task in one.last_round().tasks()}
    answer(one, "bo", only=5)
    committed(one, "Bo's answers to his round 3")
    git(one.root, "switch", "--quiet", "main")
    answer(one, "ann")
    closed(one)
    return {str(task["al_id"]) for task in one.last_round().tasks()}, theirs


def test_both_went_on_and_ours_stays_while_theirs_counts_from_our_open_round_on(
    project: Fresh,
) -> None:
    one = project(1)
    _, theirs = two_that_went_on(one)
    ours = one.last_round().asked.read_bytes()
    said = merged(one, "bo")
    assert "1 round of the other side, whose answers count from round 3 on" in said
    assert changed_paths(one.root) == []
    assert one.last_round().asked.read_bytes() == ours
    assert verify(one) == ([], [])
    names = {path.name for path in (one.rounds_folder / "002" / "answers").iterdir()}
    assert names == {"ann.jsonl", "bo.jsonl"}
    assert import_round(one.last_round().folder, one.params()) is None  # nobody began our round
    assert 3 not in closing_commits(one, changes(one, MANIFESTS))
    answer(one, "ann")
    closed(one)
    rows = {row["id"]: row for row in read_jsonl(one.root / "build" / "gate" / "accepted.jsonl")}
    of_bo = [item for item in theirs if "bo" in rows.get(item, {"annotators": []})["annotators"]]
    assert len(of_bo) == 5
    assert all(rows[item]["arms"] for item in of_bo)
    assert any(row["annotator"] == "bo" for row in life(one, of_bo[0])["answers"])
    assert verify(one) == ([], [])
    merged_file = next(one.rounds_folder.glob("003/merged/*/answers/bo.jsonl"))
    write_bytes(merged_file, b"")
    committed(one, "hm")
    assert "ledger" in {violation.check for violation in verify(one)[0]}


def test_what_the_other_side_says_later_is_taken_in_once(project: Fresh) -> None:
    one = project(1)
    two_that_went_on(one)
    merged(one, "bo")
    answer(one, "ann")
    closed(one)
    git(one.root, "switch", "--quiet", "bo")
    answer(one, "bo")  # all of his round 3, the first five once more in the same words
    closed(one)
    git(one.root, "switch", "--quiet", "main")
    merged(one, "bo")
    answer(one, "ann")
    closed(one)
    votes = read_jsonl(one.root / "build" / "gate" / "votes.jsonl")
    by_bo = [row["id"] for row in votes if row["annotator"] == "bo" and row["round"] > 2]
    assert len(by_bo) == len(set(by_bo)) == 8
    assert verify(one) == ([], [])


def test_a_merge_that_was_killed_is_given_up_and_done_again(project: Fresh) -> None:
    one = project(1)
    two_that_went_on(one)
    head = git(one.root, "rev-parse", "HEAD")

    def die(stage: str) -> None:
        if stage == "gate":
            raise KeyboardInterrupt

    Stages.hooks = [die]
    with pytest.raises(KeyboardInterrupt):
        merged(one, "bo")
    assert git(one.root, "rev-parse", "HEAD") == head
    Stages.hooks = []
    merged(one, "bo")
    assert verify(one) == ([], [])
    assert changed_paths(one.root) == []
    assert "holds nothing new" in merged(one, "bo")


def test_two_edits_of_the_params_are_left_to_a_person_and_nothing_is_changed(
    project: Fresh,
) -> None:
    one = project(1)
    params = one.root / "params.yaml"
    text = params.read_text()
    git(one.root, "switch", "--quiet", "-c", "bo")
    params.write_text(text.replace("batch_size: 8", "batch_size: 7"))
    committed(one, "Seven")
    git(one.root, "switch", "--quiet", "main")
    params.write_text(text.replace("batch_size: 8", "batch_size: 9"))
    committed(one, "Nine")
    head = git(one.root, "rev-parse", "HEAD")
    with pytest.raises(PipelineError, match=r"both branches changed params\.yaml"):
        merged(one, "bo")
    assert git(one.root, "rev-parse", "HEAD") == head
    assert changed_paths(one.root) == []
    params.write_text(text)
    with pytest.raises(PipelineError, match=r"changes that are no answers: params\.yaml"):
        merged(one, "bo")
