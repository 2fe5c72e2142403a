"""Labels are renamed, merged, split and retired while a project goes on, and commands are killed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rounds.commands import git
from rounds.history import life, lines_of
from rounds.init import init
from rounds.labels import labels, under_todays_names
from rounds.project import Project
from rounds.renamed_labels import offered_by
from rounds.roles import Choices
from rounds.scheme import change_labels, settle, unfinished_changes
from rounds.status import report
from rounds.verify import verify
from stages.answers.ledger import AcceptedLabel, read_rows
from stages.answers.scheme import SCHEME, Change, as_row, read_scheme
from stages.contract.canonical import add_lines, jsonl, read_json, read_jsonl
from stages.contract.errors import PipelineError
from tests.faults.lives import command, disturb, run
from tests.history.inprocess import answer, closed, committed, log

CENTRES = {"a": (0, 0), "b": (4, 0), "c": (0, 4), "d": (4, 4)}


def change(kind: str, words: str, into: str = "", **rest: object) -> Change:
    return Change(
        0, 0, 0, kind, tuple(words.split()), tuple(into.split()), why="w", by="me", **rest
    )  # type: ignore[arg-type]  # short


def test_a_change_is_one_commit_and_what_a_kill_left_is_finished_by_the_next_close(
    project: Callable[[int], Project],
) -> None:
    here = project(1)
    (done,) = change_labels(here, change("rename", "a", "alpha"))
    assert done == "a is called alpha"
    assert log(here)[0] == "Labels: a is called alpha"
    assert here.params().labels == ["alpha", "b"]
    assert not git(here.root, "status", "--porcelain")
    assert report(here)[-1].startswith("next     rounds close   (issues the batch anew")
    # The line was written, and then the power failed.
    add_lines(
        here.root / SCHEME,
        jsonl([as_row(Change(2, 2, 0, "rename", ("b",), ("beta",), why="w", by="me"))]),
    )
    assert [str(one) for one in unfinished_changes(here)] == ["b is called beta"]
    assert report(here)[-1] == "next     rounds close   (finishes it)"
    closed(here)
    assert here.params().labels == ["alpha", "beta"]
    assert offered_by(here.last_round()) == ["alpha", "beta"]
    accepted = read_rows(here.root / "build" / "gate" / "accepted.jsonl", AcceptedLabel)
    assert {row["label"] for row in accepted} == {"alpha", "beta"}
    assert not verify(here)[0]
    asked = read_jsonl(here.rounds()[0].folder / "batch.jsonl")[0]["id"]
    assert any(", now " in line for line in lines_of(life(here, asked)))
    # A line that is changed later is found, and nothing goes on from it.
    path = here.root / SCHEME
    path.write_text(path.read_text().replace('"alpha"', '"gamma"'))
    with pytest.raises(PipelineError, match="lines are only ever added"):
        settle(here)
    committed(here)
    assert any(one.check == "scheme" and one.where == f"{SCHEME}:1" for one in verify(here)[0])


def test_what_would_be_committed_with_a_change_by_chance_is_refused(
    project: Callable[[int], Project],
) -> None:
    here = project(1)
    params = here.root / "params.yaml"
    params.write_text(params.read_text() + "# mine\n")
    with pytest.raises(PipelineError, match="this change would commit them too"):
        change_labels(here, change("rename", "a", "alpha"))
    assert not read_scheme(here.root / SCHEME)


def table(rows: int, first: int, *, labelled: bool) -> str:
    """A CSV of four classes in the plane; a row's class follows from its number."""
    rng = random.Random(first)
    lines = ["id,x,y,label" if labelled else "id,x,y"]
    for number in range(first, first + rows):
        label = "abcd"[number % 4]
        x, y = CENTRES[label]
        point = f"row-{number:04d},{rng.gauss(x, 1):.4f},{rng.gauss(y, 1):.4f}"
        lines.append(f"{point},{label}" if labelled else point)
    return "\n".join(lines) + "\n"


def make_project(folder: Path) -> Project:
    tables = folder / "tables"
    tables.mkdir(parents=True)
    (tables / "pool.csv").write_text(table(160, 0, labelled=False))
    (tables / "seed.csv").write_text(table(20, 160, labelled=True))
    (tables / "test.csv").write_text(table(60, 180, labelled=True))
    root = folder / "project"
    given = {name: tables / f"{name}.csv" for name in ("pool", "seed", "test")}
    init(root, given, Choices(id="id", numbers=("x", "y"), classes=tuple("abcd")))
    params = root / "params.yaml"
    text = params.read_text().replace("batch_size: 40", "batch_size: 12")
    params.write_text(text.replace("control_fraction: 0.2", "control_fraction: 0.3"))
    run(root, ("git", "add", "-A"))
    run(root, ("git", "commit", "-qm", "Ours"))
    return Project(root.resolve())


def answered(project: Project, names: dict[str, list[str]]) -> None:
    """Answer the newest batch: of each true class the first name that the batch offers."""
    offered = offered_by(project.last_round())

    def label(item: str) -> str:
        true = "abcd"[int(item[-4:]) % 4]
        return next(name for name in names.get(true, [true]) if name in offered)

    answer(project, label=label)


def killed_then_done(project: Project, rng: random.Random, *words: str) -> None:
    """A command that is killed with -9 somewhere, then typed again until it has worked."""
    disturb(project.root, words, "kill -9 everything", rng.uniform(0.3, 6), rng)
    done = run(project.root, command(words))
    over = ("is no label of params.yaml", "is a label already", "rows are answered")
    assert done.returncode == 0 or any(word in done.stderr for word in over), done.stderr


@pytest.mark.slow
def test_labels_change_over_rounds_of_the_real_pipeline_with_kills_and_the_proof_holds(
    tmp_path: Path,
) -> None:
    project = make_project(tmp_path)
    rng = random.Random(24)
    names: dict[str, list[str]] = {}
    killed_then_done(project, rng, "close")

    def round_of(**now: str) -> None:
        names.update({true: words.split() for true, words in now.items()})
        answered(project, names)
        killed_then_done(project, rng, "close")
        assert not git(project.root, "status", "--porcelain")
        assert not verify(project)[0]

    def labels_command(*words: str) -> None:
        killed_then_done(project, rng, "labels", *words, "--why", "w")
        assert not git(project.root, "status", "--porcelain")

    round_of()
    first = git(project.root, "rev-parse", "HEAD").strip()
    labels_command("rename", "a", "alpha")
    round_of(a="alpha a")
    labels_command("merge", "b", "c", "bc")
    round_of(b="bc b", c="bc c")
    before = read_json(project.root / "metrics" / "gate.json")["by_class"]
    assert set(before) == {"alpha", "bc", "d"}
    labels_command("split", "alpha", "a1", "a2")
    killed_then_done(project, rng, "close")  # nobody had answered, so it is issued anew
    assert offered_by(project.last_round()) == ["a1", "a2", "bc", "d"]
    for _ in range(3):
        round_of(a="a1")
    gate = read_json(project.root / "metrics" / "gate.json")
    assert gate["by_class"]["a1"]["accepted"] > 0
    assert gate.get("unsplit", {}).get("alpha", 0) < before["alpha"]["accepted"]
    scheme = read_json(project.root / "metrics" / "validate.json")["scheme"]
    assert scheme["judged_as_one"] == {"alpha": ["a1", "a2"]}
    assert scheme["comparable_since"] == 4
    labels_command("retire", "d", "--leave")
    round_of(d="bc")
    labels_command("retire", "alpha", "--ask-again")
    round_of()
    accepted = read_rows(project.root / "build" / "gate" / "accepted.jsonl", AcceptedLabel)
    assert {row["label"] for row in accepted} == {"a1", "bc"}
    curve = read_json(project.root / "plots" / "learning_curve.json")
    assert {row["changed"] for row in curve if "changed" in row} >= {
        "a is called alpha",
        "b, c are bc",
    }
    then = labels(project, first)
    assert {row["label"] for row in then} == set("abcd")
    assert {row["label"] for row in under_todays_names(project, then, first)} == {"bc"}
    clone = Path(shutil.copytree(project.root, tmp_path / "again", symlinks=True))
    before_again = (clone / "dvc.lock").read_bytes()
    again = run(clone, command(("dvc", "repro", "-f", "--no-run-cache")))
    assert again.returncode == 0, again.stderr
    assert (clone / "dvc.lock").read_bytes() == before_again
