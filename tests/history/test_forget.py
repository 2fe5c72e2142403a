"""Rows are forgotten: their content leaves the project, and every command goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import rounds.forget
from rounds.commands import git
from rounds.content import require_same_contents
from rounds.correct import amend
from rounds.forget import forget, settle_forgotten
from rounds.history import life, lines_of
from rounds.past import only_appended
from rounds.project import Project
from rounds.status import report
from rounds.verify import verify
from stages.contract.canonical import read_jsonl
from stages.contract.errors import PipelineError
from tests.history.inprocess import answer, closed, committed, log

pytestmark = pytest.mark.slow
Fresh = Callable[..., Project]


def quiet(_: str) -> None:
    pass


def content_of(project: Project, item: str) -> str:
    """The cells of a pool row, as they stand in the table; a row of these tests has no other."""
    pool = project.root / project.params().data.pool
    line = next(row for row in pool.read_text().splitlines() if row.startswith(f"{item},"))
    return line.partition(",")[2].partition(",")[0]


def files_with(project: Project, words: str) -> list[str]:
    """The files of the working tree, but for what the next close makes anew, that hold words."""
    made = {".git", ".dvc", "build", "metrics", "plots"}
    files = (path for path in project.root.rglob("*") if path.is_file())
    names = [
        path.relative_to(project.root) for path in files if words.encode() in path.read_bytes()
    ]
    return sorted(str(name) for name in names if name.parts[0] not in made)


def asked_in(project: Project, number: int) -> list[str]:
    return [
        str(row["id"]) for row in read_jsonl(project.rounds()[number - 1].folder / "batch.jsonl")
    ]


def test_what_is_forgotten_leaves_the_tree_and_every_command_goes_on(project: Fresh) -> None:
    here = project(2)
    item = asked_in(here, 1)[0]
    words = content_of(here, item)
    assert len(files_with(here, words)) > 1
    before = life(here, item)
    with pytest.raises(PipelineError, match="'row-9' has no row and was never asked"):
        forget(here, ["row-9"], "w", "me", quiet)
    with pytest.raises(PipelineError, match="no reason given"):
        forget(here, [item], " ", "me", quiet)
    (line,) = forget(here, [item], "asked to", "me", quiet)
    assert (line["id"], line["kind"]) == (item, "forgotten")
    assert files_with(here, words) == []
    assert log(here)[0] == "Forgotten: 1 row"
    assert git(here.root, "status", "--porcelain") == ""
    only_appended(here)
    violations, notes = verify(here)
    assert violations == []
    assert any(note.startswith("forgotten: 1 row in round 3, asked to (me)") for note in notes)
    assert report(here)[-1] == "next     rounds annotate"
    # What was decided is kept, and learnt from no more.
    after = life(here, item)
    assert [row["label"] for row in after["answers"]] == [row["label"] for row in before["answers"]]
    assert after["label"] is None
    assert "  round 3    forgotten  asked to (me)" in lines_of(after)
    answer(here)
    closed(here)
    accepted = read_jsonl(here.root / "build" / "gate" / "accepted.jsonl")
    assert item not in {row["id"] for row in accepted}
    assert verify(here)[0] == []
    assert git(here.root, "status", "--porcelain") == ""


def test_a_row_of_the_open_batch_is_not_asked_any_more(project: Fresh) -> None:
    here = project(1)
    items = asked_in(here, 2)
    answer(here, only=3)
    # One that was answered, and one that was not.
    forget(here, [items[0], items[5]], "spam", "me", quiet)
    assert [task["al_id"] for task in here.last_round().to_ask()] == [
        item for item in items if item not in {items[0], items[5]}
    ]
    assert any(line.startswith("round    2: 2 of 6 rows answered") for line in report(here))
    answered = here.last_round().answers / "ann.jsonl"
    rows = read_jsonl(answered)
    assert rows[0]["forgotten"] is True
    answer_others(here)
    assert closed(here).startswith("Round 2:")
    assert verify(here)[0] == []


def answer_others(project: Project) -> None:
    """Answer what can be asked of the newest batch."""
    path = answer(project)
    gone = {task["al_id"] for task in project.last_round().tasks() if task.get("forgotten")}
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"forgotten"' in line or not any(i in line for i in gone)]
    path.write_text("".join(kept))


def test_what_was_interrupted_is_finished_by_the_next_close(
    project: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = project(1)
    item = asked_in(here, 1)[0]
    words = content_of(here, item)
    moments = iter(range(100))
    real = rounds.forget.write_bytes

    def dies(path: Path, data: bytes) -> None:
        if next(moments) == 1:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(rounds.forget, "write_bytes", dies)
    with pytest.raises(KeyboardInterrupt):
        forget(here, [item], "asked to", "me", quiet)
    assert log(here)[0] != "Forgotten: 1 row"
    answer(here)
    closed(here)
    assert log(here)[1] == "Forgotten: 1 row"
    assert files_with(here, words) == []
    assert verify(here)[0] == []
    assert settle_forgotten(here, quiet) == []


def test_what_comes_back_is_refused_until_it_is_forgotten_again(project: Fresh) -> None:
    here = project(1)
    item = asked_in(here, 1)[0]
    pool = here.root / here.params().data.pool
    asked = here.rounds()[0].asked
    tables = pool.read_bytes()
    batch = asked.read_bytes()
    forget(here, [item], "asked to", "me", quiet)
    for path, data in ((pool, tables), (asked, batch)):
        path.write_bytes(data)
        committed(here, "restored by mistake")
        with pytest.raises(PipelineError, match=f"holds what was forgotten: '{item}'"):
            require_same_contents(here)
        assert "record" in {violation.check for violation in verify(here)[0]}
        forget(here, [item], "asked to", "me", quiet)
        require_same_contents(here)
        assert verify(here)[0] == []


def test_an_edit_beside_what_is_forgotten_is_still_found(project: Fresh) -> None:
    here = project(1)
    item, other = asked_in(here, 1)[:2]
    forget(here, [item], "asked to", "me", quiet)
    answers = here.rounds()[0].answers / "ann.jsonl"
    text = answers.read_text()
    line = next(row for row in text.splitlines() if item in row)
    for wrong in (text.replace(line + "\n", ""), text.replace(other, item)):
        answers.write_text(wrong)
        assert "ledger" in {violation.check for violation in verify(here)[0]}
    answers.write_text(text)
    record = here.rounds_folder / "changed.jsonl"
    record.write_text(record.read_text().replace("asked to", "no reason"))
    committed(here, "hm")
    assert "record" in {violation.check for violation in verify(here)[0]}


def test_answers_that_a_killed_close_left_waiting_are_there_for_a_correction(
    project: Fresh,
) -> None:
    here = project(1)
    item = asked_in(here, 2)[0]
    path = answer(here)
    newest = here.last_round()
    newest.early.parent.mkdir()
    path.parent.rename(newest.early)
    row = amend(here, item, "a" if int(item[-4:]) % 2 else "b", "looked again", "me")
    assert len(row["after"]) == 1
    assert path.is_file()
    assert not newest.early.exists()
