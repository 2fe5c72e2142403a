"""The simulated annotator: known labels in, db-out rows out, the same every time."""

from __future__ import annotations

from collections import Counter

import pytest
from click.testing import CliRunner

from rounds import annotate
from rounds.surfaces import oracle
from stages.answers import prodigy
from stages.contract.canonical import read_jsonl, sha256, write_jsonl
from stages.contract.errors import PipelineError
from tests.surfaces.conftest import LABELS, MakeProject, text_tasks


def test_without_noise_it_gives_the_true_label_of_every_task_in_order() -> None:
    tasks = text_tasks(["good", "bad"])
    rows = oracle.answer(tasks, {"p-0": "positive", "p-1": "negative"}, LABELS)
    answers = [prodigy.read_answer(row) for row in rows]
    assert [(a.id, a.batch, a.kind, a.label, a.annotator) for a in answers] == [
        ("p-0", "b1", "label", "positive", "oracle"),
        ("p-1", "b1", "label", "negative", "oracle"),
    ]


def test_what_it_says_of_an_item_does_not_depend_on_the_order_of_the_tasks() -> None:
    tasks = text_tasks([f"text {n}" for n in range(200)])
    truth = dict.fromkeys((row["al_id"] for row in tasks), "positive")
    forward = oracle.answer(tasks, truth, LABELS, noise=0.3, skip=0.2, seed=7)
    backward = oracle.answer(tasks[::-1], truth, LABELS, noise=0.3, skip=0.2, seed=7)
    assert {row["al_id"]: row["accept"] for row in forward} == {
        row["al_id"]: row["accept"] for row in backward
    }


def test_noise_is_another_class_uniformly_and_skips_are_as_frequent_as_asked() -> None:
    tasks = text_tasks([f"text {n}" for n in range(4000)])
    truth = dict.fromkeys((row["al_id"] for row in tasks), "positive")
    rows = oracle.answer(tasks, truth, LABELS, noise=0.2, skip=0.1, seed=1)
    said = Counter(row["accept"][0] if row["accept"] else "skip" for row in rows)
    assert said["skip"] == pytest.approx(400, abs=80)
    assert said["negative"] == pytest.approx(360, abs=80)
    assert said["neutral"] == pytest.approx(360, abs=80)


def test_the_command_writes_the_same_bytes_twice(make_project: MakeProject) -> None:
    project = make_project()
    (project.root / "truth.csv").write_text("id,label\np-0,positive\np-1,negative\np-2,neutral\n")
    target = project.last_round().answers / "oracle.jsonl"
    arguments = ["--oracle", "truth.csv", "--noise", "0.5", "--skip", "0.2", "--seed", "3"]
    first = CliRunner().invoke(annotate.command, arguments)
    assert first.exit_code == 0, first.output
    before = target.read_bytes()
    assert CliRunner().invoke(annotate.command, arguments).exit_code == 0
    assert target.read_bytes() == before
    assert len(read_jsonl(target)) == 3


def test_the_answers_of_a_person_called_oracle_are_not_overwritten(
    make_project: MakeProject,
) -> None:
    project = make_project()
    (project.root / "truth.csv").write_text("id,label\np-0,positive\np-1,negative\np-2,neutral\n")
    target = project.last_round().answers / "oracle.jsonl"
    task = project.last_round().tasks()[0]
    row = prodigy.answer_row(
        task, label="neutral", answer="accept", annotator="oracle", dataset="ours", at=1.0
    )
    write_jsonl(target, [row])
    before = target.read_bytes()
    result = CliRunner().invoke(annotate.command, ["--oracle", "truth.csv"])
    assert result.exit_code == 1
    said = "oracle.jsonl: holds 1 answers that were not simulated, and would be overwritten; give the file another name"
    assert said in result.output
    assert target.read_bytes() == before


def test_without_an_id_column_items_are_known_by_their_exact_content(
    make_project: MakeProject,
) -> None:
    project = make_project(data_id="")
    file = project.root / "truth.csv"
    file.write_text('text,label\n007,neutral\n" good ",positive\nbad,negative\n')
    ids = [sha256("007")[:16], f"seed-{sha256(' good ')[:16]}", f"{sha256('bad')[:16]}-2"]
    known = oracle.known_labels(file, [{"al_id": item} for item in ids], project.params())
    assert known == dict(zip(ids, ["neutral", "positive", "negative"], strict=True))


def test_a_seed_row_asked_again_that_the_file_does_not_have_keeps_its_label(
    make_project: MakeProject,
) -> None:
    project = make_project()
    (project.root / "truth.csv").write_text("id,label\np-0,positive\n")
    (project.root / project.params().data.seed).write_text("id,label\ns-1,neutral\np-0,negative\n")
    tasks = [{"al_id": "p-0"}, {"al_id": "s-1"}]
    known = oracle.known_labels(project.root / "truth.csv", tasks, project.params(), project.root)
    assert known == {"p-0": "positive", "s-1": "neutral"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("id,label\np-0,positive\n", "no label for 2 of 3 asked items: p-1, p-2"),
        (
            "id,label\np-0,Positive\n",
            "truth.csv:2: label 'Positive' is not in labels (did you mean 'positive'?)",
        ),
        (
            "id,label\np-0,positive\np-0,neutral\n",
            "truth.csv:3: 'p-0' is 'positive' above and 'neutral' here",
        ),
        ("id,lable\np-0,positive\n", "no column 'label' (did you mean 'lable'?)"),
    ],
)
def test_a_file_that_does_not_serve_is_refused_in_one_line(
    make_project: MakeProject, table: str, said: str
) -> None:
    project = make_project()
    file = project.root / "truth.csv"
    file.write_text(table)
    with pytest.raises(PipelineError) as caught:
        oracle.known_labels(file, project.last_round().tasks(), project.params())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
