"""params.labels changes while a batch is open, or after people have answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from rounds.annotate import simulate
from rounds.collect import collect
from rounds.project import Project
from rounds.renamed_labels import notes, offered_by
from rounds.status import report
from rounds.surfaces.desk import Desk, sole_writer
from rounds.surfaces.oracle import answer as simulated
from rounds.verify import verify
from stages.answers.prodigy import acceptable, offered, task
from stages.contract.canonical import read_jsonl
from stages.contract.errors import PipelineError
from tests.history.inprocess import Stages, answer, closed, committed, new_project

REMEDY = (
    "put the old name back and say what became of it: `rounds labels rename|merge|split|retire` "
    "(docs/changes.md); new names may be added by hand"
)


def asked(labels: list[str]) -> dict[str, object]:
    return task({"text": "t"}, labels, al_id="p", batch_id="x", rank=1, score=0.5)


def test_a_batch_offers_its_own_labels_and_takes_the_new_ones_too() -> None:
    tasks = [asked(["b", "a"])]
    assert offered(tasks) == ["b", "a"]
    assert acceptable(tasks, ["a", "c"]) == ["b", "a", "c"]
    assert offered([{"al_id": "p"}]) == offered([]) == []


def test_a_simulated_annotator_skips_what_the_batch_does_not_offer() -> None:
    (row,) = simulated([asked(["a", "b"])], {"p": "c"}, ["a", "b"])
    assert (row["answer"], row["accept"]) == ("ignore", [])


def labels_are(project: Project, old: str, new: str) -> None:
    """Edit the list of labels in params.yaml, as a person does."""
    path = project.root / "params.yaml"
    text = path.read_text()
    assert text.count(old) == 1, text
    path.write_text(text.replace(old, new))
    committed(project)


def test_labels_that_change_while_people_answer_count_from_the_next_batch_on(
    tmp_path: Path,
) -> None:
    project = new_project(tmp_path / "p", rounds=0)
    answer(project, only=3)
    labels_are(project, '- "b"', '- "b"\n- "c"')
    (note,) = notes(project)
    assert note == "round 1 goes on with a, b, as it was issued; the next asks for a, b, c"
    assert f"labels   {note}" in report(project)
    last = project.last_round()
    assert Desk(project, last, idle=1, clock=lambda: 0).labels == ["a", "b"]
    answer(project)
    closed(project)
    assert offered_by(project.last_round()) == ["a", "b", "c"]
    assert not verify(project)[0]


@pytest.mark.slow
def test_a_batch_that_nobody_answered_is_issued_anew_with_the_new_labels(tmp_path: Path) -> None:
    project = new_project(tmp_path / "p", rounds=0)
    labels_are(project, '- "b"', '- "b"\n- "c"')
    line = "round 1 was issued with a, b; nobody has answered, so close issues it anew"
    assert list(notes(project)) == [line]
    assert report(project)[-1].startswith("next     rounds close   (issues the batch anew")
    with (
        sole_writer(project.last_round()),
        pytest.raises(PipelineError, match="a page is being served"),
    ):
        closed(project)
    closed(project)
    assert [past.number for past in project.rounds()] == [1]
    assert offered_by(project.last_round()) == ["a", "b", "c"]
    assert not list(notes(project))
    answer(project)
    closed(project)
    assert not verify(project)[0]


def test_a_label_renamed_after_it_was_given_is_named_before_anything_runs(tmp_path: Path) -> None:
    project = new_project(tmp_path / "p", rounds=1)
    answer(project, only=2)
    given = [
        row["accept"][0]
        for past in project.rounds()
        for row in read_jsonl(past.answers / "ann.jsonl")
    ]
    labels_are(project, '- "b"', '- "beta"')
    what = f"it lacks 'b' of {given.count('b')} answers"
    ran: list[str] = []
    Stages.hooks.append(ran.append)
    with pytest.raises(PipelineError) as error:
        closed(project, partial=True)
    Stages.hooks.clear()
    assert not ran
    assert str(error.value) == f"params.yaml labels: {what}; {REMEDY}"
    assert report(project)[-2:] == [f"labels   params.yaml labels: {what}", f"next     {REMEDY}"]
    assert not list(notes(project))
    # What the open batch offers is still taken.
    newest = project.last_round()
    item = newest.tasks()[-1]["al_id"]
    source = tmp_path / "bo.csv"
    source.write_text(f"al_id,label\n{item},b\n")
    _, (heaps,) = collect(project, [source])
    assert [answer.label for _, _, answer in heaps.good] == ["b"]
    assert simulate(project, tmp_path / "p" / "oracle.csv", noise=0, skip=0, seed=0).endswith(
        "next: rounds close"
    )
