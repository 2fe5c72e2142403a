"""What may happen to the ledger, and how `rounds verify` finds what may not."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.close import Decision
from rounds.commands import git
from rounds.correct import amend
from rounds.dvc_files import folder_md5, md5
from rounds.history import MANIFESTS
from rounds.past import Fault, changes, closing_commits, faults, lost
from rounds.project import Project
from rounds.reproducible import not_todays
from rounds.verify import verify
from stages.answers.rounds import batch_id
from stages.contract.canonical import dumps, jsonl, read_jsonl, sha256
from tests.history.inprocess import (
    answer,
    closed,
    committed,
    new_project,
    read_yaml,
    rounds_command,
)

Fresh = Callable[..., Project]
LINES = st.lists(
    st.binary(min_size=1, max_size=3).filter(lambda line: b"\n" not in line and b"\r" not in line),
    max_size=6,
)
ANN = "data/rounds/001/answers/ann.jsonl"
BO = "data/rounds/001/answers/bo.jsonl"


def always(_path: str) -> bool:
    return True


def never(_path: str) -> bool:
    return False


@given(LINES, LINES)
def test_added_lines_lose_nothing_wherever_they_stand(old: list[bytes], new: list[bytes]) -> None:
    merged = (
        [line for pair in zip(old, new, strict=False) for line in pair]
        + old[len(new) :]
        + new[len(old) :]
    )
    assert lost(b"\n".join(old), b"\n".join(merged)) == 0


def test_the_first_line_that_is_missing_or_out_of_order_is_named() -> None:
    assert lost(b"a\nb\nc\n", b"a\nc\nb\n") == 3
    assert lost(b"a\n\nb\n", b"a\n") == 3
    assert lost(b"a\n", b"") == 1
    assert lost(b"", b"a\n") == 0


def test_an_answer_file_may_grow_and_be_renamed_but_not_change_vanish_or_swap() -> None:
    assert faults({ANN: b"1\n"}, {ANN: b"1\n2\n"}, always, never) == []
    assert faults({ANN: b"1\n", BO: None}, {ANN: None, BO: b"1\n"}, always, never) == []
    assert faults({ANN: b"1\n"}, {ANN: b"3\n"}, always, never) == [
        Fault(ANN, 1, "the row that stood here was changed")
    ]
    assert faults({ANN: b"1\n"}, {ANN: None}, always, never) == [
        Fault(ANN, 1, "the row that stood here was removed")
    ]
    grown = Fault(ANN, 2, "the row was added after round 1 was over", is_late=True)
    assert faults({ANN: b"1\n"}, {ANN: b"1\n2\n"}, always, always) == [grown]
    assert faults({ANN: b"1\n", BO: None}, {ANN: None, BO: b"1\n"}, always, always) == []
    note = "data/rounds/001/closed.json"
    assert faults({note: None}, {note: b"{}\n"}, always, never) == []
    assert [fault.path for fault in faults({note: None}, {note: b"{}\n"}, always, always)] == [note]
    swapped = faults({ANN: b"1\n", BO: b"2\n"}, {ANN: b"2\n", BO: b"1\n"}, always, never)
    assert [fault.path for fault in swapped] == [ANN, BO]


def test_a_frozen_file_may_change_only_while_nobody_answered() -> None:
    path = "data/rounds/001/asked.jsonl"
    assert faults({path: b"1"}, {path: b"2"}, never, never) == []
    assert faults({path: b"1"}, {path: None}, always, never) == [
        Fault(path, 0, "removed after round 1 was answered")
    ]
    assert faults({path: None}, {path: b"2"}, always, never) == []


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def relabel(line: str) -> str:
    row = json.loads(line)
    row["accept"] = ["b" if row["accept"] == ["a"] else "a"]
    return dumps(row) + "\n"


def redate(line: str, at: float = 5) -> str:
    return dumps({**json.loads(line), "_timestamp": at}) + "\n"


def rewritten(
    folder: Path, change: Callable[[list[dict[str, object]]], list[dict[str, object]]]
) -> None:
    """Rewrite a batch as one would who knows the formats: rows, batch id and hashes all agree."""
    rows = change(read_jsonl(folder / "batch.jsonl"))
    by_id = {row["al_id"]: row for row in read_jsonl(folder / "asked.jsonl")}
    some = next(iter(by_id.values()))
    asked = [
        {**by_id.get(row["id"], {**some, "al_id": row["id"]}), "al_batch": batch_id(rows)}
        for row in rows
    ]
    (folder / "batch.jsonl").write_bytes(jsonl(rows))
    (folder / "asked.jsonl").write_bytes(jsonl(asked))
    manifest = json.loads((folder / "manifest.json").read_text())
    names = ("asked.jsonl", "batch.jsonl", "verdicts.jsonl")
    manifest |= {
        "batch_id": batch_id(rows),
        "sha256": {name: sha256((folder / name).read_bytes()) for name in names},
    }
    (folder / "manifest.json").write_text(dumps(manifest, indent=1) + "\n")
    for path in (folder / "answers").glob("*.jsonl"):
        path.write_bytes(jsonl({**row, "al_batch": batch_id(rows)} for row in read_jsonl(path)))


def swap(path: Path, other: Path) -> None:
    ours, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(ours)


def tamper(project: Project, kind: str, rng: random.Random) -> None:
    """Change what happened, in a round that was answered (a rewritten batch: in any)."""
    number = rng.randint(1, 3)
    folder, any_round = (
        project.rounds_folder / f"{place:03d}" for place in (number, rng.randint(1, 4))
    )
    path = folder / "answers" / rng.choice(["ann.jsonl", "bo.jsonl"])
    other = path.with_name("ann.jsonl" if path.name == "bo.jsonl" else "bo.jsonl")
    next_round = project.rounds_folder / f"{number % 3 + 1:03d}" / "answers" / path.name
    at = rng.randrange(len(path.read_text().splitlines()))
    {
        "edit": lambda: edit(
            path, lambda lines: [*lines[:at], relabel(lines[at]), *lines[at + 1 :]]
        ),
        "re-date": lambda: edit(
            path, lambda lines: [*lines[:at], redate(lines[at]), *lines[at + 1 :]]
        ),
        "delete a row": lambda: edit(path, lambda lines: lines[:at] + lines[at + 1 :]),
        "delete a file": path.unlink,
        "add a row": lambda: edit(path, lambda lines: [*lines, relabel(redate(lines[at], 9e9))]),
        "add a file": lambda: path.with_name("cy.jsonl").write_text(
            path.read_text().replace("t-", "t-other-")
        ),
        "reorder": lambda: edit(path, lambda lines: [*lines[1:], lines[0]]),
        "swap two files": lambda: swap(path, other),
        "swap two rounds' files": lambda: swap(path, next_round),
        "rewrite a batch": lambda: rewritten(any_round, lambda rows: [*rows[1:], rows[0]]),
        "ask a test row": lambda: rewritten(
            any_round, lambda rows: [{**rows[0], "id": "row-0115"}, *rows[1:]]
        ),
        "remove a manifest": (folder / "manifest.json").unlink,
        "delete a round": lambda: shutil.rmtree(folder),
    }[kind]()


KINDS = (
    "edit", "re-date", "delete a row", "delete a file", "add a row", "add a file", "reorder",
    "swap two files", "swap two rounds' files",
    "rewrite a batch", "ask a test row", "remove a manifest", "delete a round",
)  # fmt: skip


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory, identity: None) -> Project:
    """Three closed rounds with two annotators each, and a fourth that is open."""
    project = new_project(tmp_path_factory.mktemp("honest"), 0)
    for _ in range(3):
        answer(project)
        answer(project, "bo", only=5)
        closed(project)
    shutil.rmtree(project.root / "build")
    return project


@pytest.mark.parametrize("kind", KINDS)
def test_verify_finds_every_tampering_committed_or_not(
    honest: Project, tmp_path: Path, kind: str
) -> None:
    rng = random.Random(kind)
    project = Project(Path(shutil.copytree(honest.root, tmp_path / "project")))
    base = git(project.root, "rev-parse", "HEAD").strip()
    for attempt in range(4):
        tamper(project, kind, rng)
        if attempt % 2:
            committed(project, "Nothing to see here")
        found, _ = verify(project)
        assert found, f"{kind}, attempt {attempt}"
        git(project.root, "reset", "--quiet", "--hard", base)
        git(project.root, "clean", "--quiet", "-fd")


def test_a_violation_names_commit_file_and_line_and_verify_exits_with_1(project: Fresh) -> None:
    one = project(1)
    edit(one.root / ANN, lambda lines: [lines[0], relabel(lines[1]), *lines[2:]])
    committed(one)
    bad = git(one.root, "rev-parse", "--short=12", "HEAD").strip()
    done = rounds_command(one, "verify")
    assert done.returncode == 1
    assert f"{bad}  {ANN}:2: the row that stood here was changed  [ledger]" in done.stdout
    assert done.stderr.strip().endswith("docs/history.md for what each means")


def smuggle(project: Project, how: str) -> None:
    """Change what round 1, which is over, says, by means that look harmless."""
    ann, folder = project.root / ANN, (project.root / ANN).parent
    rows = ann.read_bytes().splitlines(keepends=True)
    later = folder.with_name("corrections.jsonl")
    if how == "named so that nobody reads it":
        ann.rename(f"{ann}.bak")
    elif how == "moved to where nobody reads it":
        (folder / "old").mkdir()
        ann.rename(folder / "old" / ann.name)
    elif how == "moved to digits that look like the round's":
        other = project.rounds_folder / "\u0660\u0660\u0661" / "answers"
        other.mkdir(parents=True)
        ann.rename(other / ann.name)
    elif how == "an old row again, as the last word":
        ann.write_bytes(b"".join([*rows, rows[0]]))
    elif how == "an old correction again, as the last word":
        later.write_bytes(later.read_bytes() + later.read_bytes().splitlines(keepends=True)[0])
    elif how == "a renamed file, and a part of it beside":
        ann.rename(folder / "anna.jsonl")
        (folder / "bob.jsonl").write_bytes(rows[0])
    elif how == "a file that nobody read until now":
        (folder / "eve.txt").rename(folder / "eve.jsonl")


SMUGGLED = (
    "named so that nobody reads it", "moved to where nobody reads it", "moved to digits that look like the round's",
    "an old row again, as the last word", "an old correction again, as the last word",
    "a renamed file, and a part of it beside", "a file that nobody read until now",
)  # fmt: skip


@pytest.mark.parametrize("how", SMUGGLED)
def test_rows_are_neither_hidden_nor_smuggled_in_by_names_that_nobody_reads_nor_by_copies(
    project: Fresh, how: str
) -> None:
    one = project(0)
    amend(one, "row-0100", "b", "hm", "Cy")
    amend(one, "row-0100", "a", "no", "Cy")
    answer(one)
    eve = (one.root / ANN).with_name("eve.txt")
    eve.write_text(
        "".join(redate(relabel(line), 9e9) for line in (one.root / ANN).read_text().splitlines())
    )
    closed(one)
    assert verify(one) == ([], [])
    smuggle(one, how)
    assert {found.check for found in verify(one)[0]} == {"ledger"}
    committed(one, "Tidied up")
    head = git(one.root, "rev-parse", "HEAD").strip()
    assert {(found.check, found.commit) for found in verify(one)[0]} == {("ledger", head)}


def test_names_of_authors_and_files_cannot_pass_for_what_git_tells_of_commits(
    project: Fresh,
) -> None:
    one = project(1)
    issued = git(
        one.root, "log", "--format=%H", "--reverse", "--", "data/rounds/001/manifest.json"
    ).split()[0]
    edit(one.root / ANN, lambda lines: [*lines, redate(lines[0], 9e9)])
    git(one.root, "add", "--all")
    forged = f"\x01{issued}\x02{issued}\x02Ann\x022024-01-01T00:00:00Z\x02Round 1"
    git(one.root, "commit", "--quiet", "--author", "Ann\t\x02B <ann@example.org>", "-m", forged)
    assert [found.where for found in verify(one)[0]] == [f"{ANN}:9"]


def test_a_file_name_with_a_line_end_hides_no_uncommitted_row(project: Fresh) -> None:
    one = project(1)
    with (one.root / ANN).open("a") as file:
        file.write(redate((one.root / ANN).read_text().splitlines()[0], 9e9))
    odd = one.root / "data" / "rounds" / "001" / "answers" / "a\nb\nc\nd\ne.jsonl"
    odd.write_text("")
    assert [found.where for found in verify(one)[0]] == [f"{ANN}:9"]


def test_what_people_write_in_commits_and_in_gits_configuration_raises_no_alarm(
    project: Fresh, tmp_path: Path
) -> None:
    one = project(1)
    settings = {
        "gpg.format": "ssh", "user.signingkey": str(tmp_path / "key"), "commit.gpgsign": "true",
        "log.showSignature": "true", "grep.patternType": "fixed", "diff.renames": "copies", "color.ui": "always",
    }  # fmt: skip
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True
    )
    for key, value in settings.items():
        git(one.root, "config", key, value)
    answer(one)
    committed(one, "Round 2: Ann's answers")
    assert verify(one) == ([], [])
    assert max(closing_commits(one, changes(one, MANIFESTS))) == 1
    closed(one)
    assert verify(one) == ([], [])
    assert max(closing_commits(one, changes(one, MANIFESTS))) == 2


def test_a_row_is_not_hidden_behind_a_question_that_is_taken_back_and_put_there_again(
    project: Fresh,
) -> None:
    one = project(1)
    edit(one.root / ANN, lambda lines: [*lines, redate(lines[0], 9e9)])
    shutil.rmtree(one.rounds_folder / "002")
    committed(one, "The next question, later")
    head = git(one.root, "rev-parse", "HEAD").strip()
    git(one.root, "checkout", "--quiet", "HEAD~1", "--", "data/rounds/002")
    committed(one, "Here it is")
    assert [(found.commit, found.where) for found in verify(one)[0]] == [(head, f"{ANN}:9")]


def test_rows_of_a_branch_on_which_the_round_was_open_may_come_into_a_file_of_a_closed_one(
    project: Fresh,
) -> None:
    one = project(0)
    git(one.root, "switch", "--quiet", "-c", "side")
    answer(one, label=lambda _: "a")
    committed(one, "At home")
    git(one.root, "switch", "--quiet", "main")
    answer(one)
    closed(one)
    git(one.root, "merge", "--quiet", "-m", "Both", "side")
    assert len(read_jsonl(one.root / ANN)) > len(one.rounds()[0].tasks())
    assert [found for found in verify(one)[0] if found.check == "ledger"] == []


def test_a_round_that_was_closed_early_is_over_though_nothing_more_is_asked(project: Fresh) -> None:
    one = project(0)
    answer(one, only=3)
    closed(one, partial=True, decision=Decision(stop=True, why="enough"))
    assert verify(one) == ([], [])
    edit(one.root / ANN, lambda lines: [*lines, redate(lines[0], 9e9)])
    committed(one, "One more")
    assert [found.where for found in verify(one)[0] if found.check == "ledger"] == [f"{ANN}:4"]


def test_questions_that_came_in_one_commit_are_told_to_be_a_squash(project: Fresh) -> None:
    one = project(0)
    git(one.root, "switch", "--quiet", "-c", "side")
    for _ in range(2):
        answer(one)
        closed(one)
    git(one.root, "switch", "--quiet", "main")
    git(one.root, "merge", "--quiet", "--squash", "side")
    committed(one, "Two rounds")
    found = verify(one)[0]
    assert [(one.check, one.where) for one in found] == [("issue", "data/rounds/002")]
    assert found[0].what.endswith("2 questions came in this one commit: was it squashed, or moved?")


def test_a_merge_that_drops_a_round_or_edits_a_row_is_named_once(project: Fresh) -> None:
    one = project(1)
    start = git(one.root, "rev-parse", "HEAD~1").strip()
    git(one.root, "switch", "--quiet", "-c", "side", start)
    committed(one, "Meanwhile")
    git(one.root, "merge", "--quiet", "--strategy", "ours", "-m", "Ours", "main")
    assert not (one.rounds_folder / "002").exists()
    found, _ = verify(one)
    assert (ANN, "the row that stood here was removed") in {
        (violation.where.partition(":")[0], violation.what) for violation in found
    }
    git(one.root, "reset", "--quiet", "--hard", "main")
    git(one.root, "switch", "--quiet", "-c", "third", "main")
    committed(one, "Elsewhere")
    git(one.root, "switch", "--quiet", "main")
    committed(one, "Here")
    git(one.root, "merge", "--quiet", "--no-commit", "third")
    edit(one.root / ANN, lambda lines: [relabel(lines[0]), *lines[1:]])
    committed(one, "Merge")
    assert [violation.where for violation in verify(one)[0] if violation.check == "ledger"] == [
        f"{ANN}:1"
    ]


def test_a_committed_fault_is_named_with_the_commit_that_made_it(project: Fresh) -> None:
    one = project(1)
    path = one.last_round().asked
    path.write_text(path.read_text().replace('"rank"', '"rink"', 1))
    where = path.relative_to(one.root).as_posix()
    assert [(violation.commit, violation.where) for violation in verify(one)[0]] == [
        ("working tree", where)
    ]
    committed(one)
    head = git(one.root, "rev-parse", "HEAD").strip()
    (one.root / "notes.txt").write_text("x")
    committed(one, "Later")
    assert [(violation.commit, violation.where) for violation in verify(one)[0]] == [(head, where)]


@pytest.mark.slow
def test_an_edit_stays_known_when_it_is_restored_until_one_counts_from_there(
    project: Fresh,
) -> None:
    one = project(1)
    edit(one.root / ANN, lambda lines: [relabel(lines[0]), *lines[1:]])
    committed(one, "An accident")
    git(one.root, "checkout", "HEAD~1", "--", ANN)
    committed(one, "Restored")
    assert rounds_command(one, "verify").returncode == 1
    assert rounds_command(one, "verify", "--since", "HEAD~1").returncode == 1
    done = rounds_command(one, "verify", "--since", "HEAD")
    assert done.returncode == 0
    assert "since HEAD: 2 violations up to it are not counted" in done.stderr
    edit(one.root / ANN, lambda lines: lines[1:])
    assert rounds_command(one, "verify", "--since", "HEAD").returncode == 1


def test_figures_that_no_stage_wrote_are_found_in_the_last_commit(project: Fresh) -> None:
    one = project(1)
    report = one.root / "metrics" / "validate.json"
    report.write_text(
        re.sub(r'"accuracy": 0\.\d+', '"accuracy": 0.999', report.read_text(), count=1)
    )
    committed(one, "A better figure")
    assert [(found.check, found.where, found.what) for found in verify(one)[0]] == [
        ("lock", "metrics/validate.json", "stage validate: not what it wrote")
    ]


def test_a_round_commit_whose_lock_is_not_its_own_is_found(project: Fresh) -> None:
    one = project(1)
    params = one.root / "params.yaml"
    params.write_text(params.read_text().replace("seed: 0", "seed: 1"))
    git(one.root, "commit", "--quiet", "--amend", "--no-edit", "--all")
    found, _ = verify(one)
    assert {violation.where for violation in found} == {"params.yaml"}
    assert "ran with other params" in found[0].what


def test_what_stands_at_a_url_is_not_in_git_but_all_stages_must_have_read_the_same(
    project: Fresh,
) -> None:
    one = project(1)
    here, there = read_yaml(str(one.root / "params.yaml"))["data"]["pool"], "file:///nowhere/pool"
    for name in ("params.yaml", "dvc.lock"):
        path = one.root / name
        path.write_text(path.read_text().replace(here, there))
    git(one.root, "commit", "--quiet", "--amend", "--no-edit", "--all")
    violations, notes = verify(one)
    assert violations == []
    assert len(notes) == 1
    assert notes[0].startswith(f"content: {there} cannot be listed (")
    assert notes[0].endswith("), so nothing is compared with what was asked")
    lock = one.root / "dvc.lock"
    lock.write_text(
        re.sub(rf"({there}\n.*\n? *md5: )\w{{4}}", r"\g<1>0000", lock.read_text(), count=1)
    )
    git(one.root, "commit", "--quiet", "--amend", "--no-edit", "--all")
    assert {violation.where for violation in verify(one)[0]} == {there}


def test_an_honest_history_of_renames_late_rows_corrections_and_notes_is_accepted(
    project: Fresh,
) -> None:
    one = project(1)
    git(one.root, "mv", ANN, ANN.replace("ann", "annette"))
    committed(one, "Her full name")
    (one.root / "NOTES.md").write_text("Guidelines discussed")
    committed(one, "Notes")
    answer(one)
    closed(one)
    assert verify(one) == ([], [])


def test_replay_names_what_is_not_as_it_was_when_a_round_was_made(project: Fresh) -> None:
    one = project(0)
    then = git(one.root, "rev-parse", "HEAD").strip()
    seen = [not_todays(one, then)]
    for name in (
        "rounds/close.py",
        "stages/strategies/margin.py",
        "params.yaml",
        "requirements.lock",
    ):
        (one.root / name).parent.mkdir(exist_ok=True)
        with (one.root / name).open("a") as file:
            file.write("\n")
        committed(one, name)
        seen.append(not_todays(one, then))
    assert seen == [[], [], ["code"], ["code", "params"], ["code", "params", "environment"]]


def test_folders_are_hashed_as_dvc_hashes_them() -> None:
    listing = (
        '[{"md5": "'
        + md5(b"1")
        + '", "relpath": "a"}, {"md5": "'
        + md5(b"2")
        + '", "relpath": "b/c"}]'
    )
    assert folder_md5({"b/c": md5(b"2"), "a": md5(b"1")}) == md5(listing.encode()) + ".dir"
