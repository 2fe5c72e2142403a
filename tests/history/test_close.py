"""`rounds close` is a transaction: it goes forward from wherever it was interrupted, and commits
its round only.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import rounds.close
from rounds.close import WHEN_HELD, Decision, _with_next
from rounds.collect import collect
from rounds.commands import changed_paths, git
from rounds.correct import amend
from rounds.history import life
from rounds.lock import exclusive, turn
from rounds.project import Project
from rounds.status import next_command, report
from rounds.surfaces.desk import Desk, Journal, Refused
from rounds.verify import verify
from stages.answers.reading import import_round
from stages.contract.canonical import jsonl, read_json, read_jsonl, write_json
from stages.contract.errors import PipelineError
from tests.faults.lives import make_project
from tests.history.inprocess import Stages, answer, closed, committed, log, said_by

Fresh = Callable[..., Project]


def trees(project: Project) -> list[str]:
    return git(project.root, "log", "--format=%T %s").splitlines()


def test_a_close_is_one_commit_of_answers_metrics_and_the_next_question(project: Fresh) -> None:
    one = project(0)
    answer(one)
    closed(one)
    names = set(git(one.root, "show", "--name-only", "--format=", "HEAD").split())
    assert {
        "data/rounds/001/answers/ann.jsonl",
        "data/rounds/002/asked.jsonl",
        "dvc.lock",
        "metrics/gate.json",
    } <= names
    assert changed_paths(one.root) == []
    assert verify(one) == ([], [])


@pytest.mark.parametrize(
    "path", ["params.yaml", "stages/query.py", "data/extra.csv", "strategy.py"]
)
def test_a_change_that_the_commit_would_need_but_is_not_the_rounds_is_refused(
    project: Fresh, path: str
) -> None:
    one = project(0)
    answer(one)
    with (one.root / path).open("a") as file:
        file.write("\n")
    with pytest.raises(PipelineError, match=f"not this round's: {path}; commit them first"):
        closed(one)


def test_other_files_of_the_user_are_neither_committed_nor_in_the_way(project: Fresh) -> None:
    one = project(0)
    answer(one)
    (one.root / "notes.txt").write_text("mine")
    closed(one)
    assert changed_paths(one.root) == ["notes.txt"]


@pytest.mark.parametrize("pattern", ["ann.jsonl", "/data/rounds/*/asked.jsonl", "metrics/"])
def test_what_git_is_told_to_ignore_is_not_left_out_of_a_commit(
    project: Fresh, pattern: str
) -> None:
    one = project(0)
    answer(one)
    if pattern == "metrics/":
        git(one.root, "rm", "--quiet", "-r", "--cached", "metrics")
        git(one.root, "commit", "--quiet", "-m", "Figures are made, not kept")
    before = git(one.root, "rev-parse", "HEAD")
    exclude = one.root / ".git" / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text(pattern)
    with pytest.raises(
        PipelineError, match="git ignores it, so no commit would hold it; `git check-ignore -v"
    ):
        closed(one)
    assert git(one.root, "rev-parse", "HEAD") == before
    exclude.write_text("")
    closed(one)
    assert verify(one) == ([], [])


@pytest.mark.parametrize("name", ["ann.jsonl", "ann's answers, 2.jsonl", 'a "$HOME" & b.jsonl'])
def test_the_command_that_names_the_line_of_gitignore_can_be_typed_as_it_stands(
    project: Fresh, name: str
) -> None:
    one = project(0)
    answer(one).rename(one.last_round().answers / name)
    exclude = one.root / ".git" / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text("a*.jsonl\n!asked.jsonl\n")
    with pytest.raises(PipelineError) as error:
        closed(one)
    command = error.value.remedy.removeprefix("`").removesuffix(
        "` names the line that does it; take it out"
    )
    done = subprocess.run(
        command, shell=True, cwd=one.root, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(".git/info/exclude:1:a*.jsonl\t")


def test_answers_behind_a_symbolic_link_are_refused(project: Fresh, tmp_path: Path) -> None:
    one = project(0)
    elsewhere = answer(one).rename(tmp_path / "ann.jsonl")
    link = one.last_round().answers / "ann.jsonl"
    link.symlink_to(elsewhere)
    with pytest.raises(
        PipelineError, match=r"001/answers/ann.jsonl: a symbolic link, whose rows git does not hold"
    ):
        closed(one)
    committed(one)
    told = [(violation.check, violation.where, violation.commit) for violation in verify(one)[0]]
    assert told == [
        (
            "answers",
            link.relative_to(one.root).as_posix(),
            git(one.root, "rev-parse", "HEAD").strip(),
        )
    ]


def test_a_round_with_open_rows_is_closed_only_on_request_and_the_rest_returns_to_the_pool(
    project: Fresh,
) -> None:
    one = project(0)
    answer(one, only=3)
    with pytest.raises(
        PipelineError, match=r"round 1: 3 of 8 rows are answered; go on .* --partial"
    ):
        closed(one)
    assert not one.last_round().closed_early.exists()
    closed(one, partial=True)
    assert read_json(one.root / "data/rounds/001/closed.json") == {
        "answered": 3,
        "asked": 8,
        "partial": True,
    }
    unasked = read_json(one.root / "metrics" / "query.json")["unasked"]
    assert unasked == 100 - 3


def test_a_dry_run_checks_everything_and_changes_nothing(project: Fresh) -> None:
    one = project(0)
    with pytest.raises(PipelineError, match="0 of 8"):
        closed(one, dry_run=True)
    answer(one)
    before = trees(one), changed_paths(one.root)
    assert closed(one, dry_run=True).startswith("close --dry-run: would close round 1, train")
    assert (trees(one), changed_paths(one.root)) == before


def test_a_second_close_at_the_same_time_is_refused(project: Fresh) -> None:
    one = project(0)
    answer(one)
    with (
        exclusive(one.root, wait=False),
        pytest.raises(PipelineError, match="another `rounds close` is at work"),
    ):
        closed(one)


class Killed(BaseException):
    """Stands for a crash: nothing catches it."""


@pytest.mark.slow
def test_a_close_that_stops_anywhere_is_finished_by_the_next_and_the_commit_is_the_same(
    project: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = project(1, "calm")
    answer(calm)
    closed(calm)
    expected = trees(calm)
    run, step = rounds.close.git, 0
    steps = {"count": 0, "stop": 0}

    def counted(*words: object) -> str:
        steps["count"] += 1
        if steps["count"] == steps["stop"]:
            raise Killed
        return run(*words)  # type: ignore[arg-type]  # passed through

    def hooked(_name: str) -> None:
        steps["count"] += 1
        if steps["count"] == steps["stop"]:
            raise Killed

    one = project(1, "shaken")
    answer(one)
    Stages.hooks = [hooked]
    monkeypatch.setattr(rounds.close, "git", counted)
    for step in range(1, 100):
        steps.update(count=0, stop=step)
        try:
            closed(one)
        except Killed:
            continue
        break
    assert step > 12
    assert trees(one) == expected
    assert changed_paths(one.root) == []
    assert verify(one) == ([], [])


@pytest.mark.slow
def test_answers_that_come_in_during_a_close_are_all_in_it_or_all_after_it(project: Fresh) -> None:
    one = project(1)
    answer(one)
    second = []

    def late(name: str) -> None:
        if name == "calibrate" and not second:
            second.append(answer(one, "bo", only=2))

    Stages.hooks = [late]
    closed(one)
    assert verify(one) == ([], [])
    assert changed_paths(one.root) == []
    voices = [
        row["annotators"] for row in read_jsonl(one.root / "build" / "gate" / "accepted.jsonl")
    ]
    assert voices.count(["ann", "bo"]) == 2


@pytest.mark.slow
def test_the_page_may_be_open_during_a_close_and_what_it_saved_is_in_the_commit(
    project: Fresh,
) -> None:
    one = project(1)
    answer(one)
    desk = Desk(one, one.last_round(), idle=600, clock=lambda: 1e9)
    session, fates = desk.session("ann"), []

    def changes_an_answer(name: str) -> None:
        key = f"key-{len(fates)}-{name}"
        taken = desk.take(
            session, 0, "accept", "ab"[len(fates) % 2], key=key, replaces=session.keys[0]
        )
        assert taken is not None
        try:
            desk.save(session, taken)
        except Refused as refused:
            fates.append((name, refused.code, key))
        else:
            desk.settle(session, taken)
            fates.append((name, 200, key))

    def tries(name: str) -> None:
        if len(fates) < 12 or one.last_round().number == 3:
            changes_an_answer(name)

    Stages.hooks = [tries]
    closed(one)
    saved = {key for _, code, key in fates if code == 200}
    assert ("import_labels", 410) in {
        (name, code) for name, code, _ in fates
    }  # it runs again when the next batch is frozen
    assert len(saved) > 5
    held = git(one.root, "show", "HEAD:./data/rounds/002/answers/session-ann.jsonl")
    assert {json.loads(line)["al_key"] for line in held.splitlines()} == saved
    assert changed_paths(one.root) == []
    assert verify(one) == ([], [])
    desk.close()


def test_a_round_does_not_end_while_the_page_is_saving_an_answer(
    project: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = project(1)
    newest = one.last_round()
    desk = Desk(one, newest, idle=600, clock=lambda: 1e9)
    session = desk.session("ann")
    taken = desk.take(session, 0, "accept", "a", key="12345678", replaces="")
    assert taken is not None

    def append(_journal: Journal, _line: str) -> None:
        with newest.asked.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # what `turn(last=True)` waits for

    monkeypatch.setattr(Journal, "append", append)
    desk.save(session, taken)
    with turn(newest.asked, last=True):
        pass
    desk.close()


def test_an_answer_that_came_after_a_partial_close_counts_from_the_open_round_on(
    project: Fresh,
) -> None:
    one = project(1)
    tasks = one.last_round().tasks()
    answer(one, only=3)
    closed(one, partial=True)
    curve = read_json(one.root / "plots" / "learning_curve.json")
    late = one.root.parent / "late.jsonl"
    late.write_bytes(jsonl(said_by("bo", task) for task in tasks[2:6]))
    collect(one, [late])
    assert (
        import_round(one.last_round().folder, one.params()) is None
    )  # late answers answer nothing that is asked now
    assert changed_paths(one.root) == ["data/rounds/003/answers/late.jsonl"]
    answer(one)
    closed(one)
    assert verify(one) == ([], [])
    assert [
        point
        for point in read_json(one.root / "plots" / "learning_curve.json")
        if point["round"] < 3
    ] == curve
    votes = read_jsonl(one.root / "build" / "gate" / "votes.jsonl")
    assert {row["id"] for row in votes if row["annotator"] == "bo"} == {
        task["al_id"] for task in tasks[2:6]
    }
    assert {row["round"] for row in votes if row["annotator"] == "bo"} == {3}
    told = life(one, tasks[5]["al_id"])["answers"][-1]
    assert (told["round"], told["file"], told["line"]) == (
        3,
        "data/rounds/003/answers/late.jsonl",
        4,
    )
    before = (one.rounds_folder / "002").rglob("*")
    assert not [path for path in before if path.name == "late.jsonl"]


def test_a_close_works_on_a_detached_head_and_in_a_linked_worktree(
    project: Fresh, tmp_path: Path
) -> None:
    one = project(1)
    git(one.root, "checkout", "--quiet", "--detach")
    answer(one)
    closed(one)
    assert log(one)[0].startswith("Round 2:")
    with pytest.raises(PipelineError, match=r"--push: .*no git remote"):
        closed(one, push=True)
    git(one.root, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "linked"))
    other = Project((tmp_path / "linked").resolve())
    answer(other)
    closed(other)
    assert log(other)[0].startswith("Round 3:")
    assert log(one)[0].startswith("Round 2:")


def test_push_sends_the_branch_and_sets_its_upstream(project: Fresh, tmp_path: Path) -> None:
    one = project(0)
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "init", "-q", "--bare", str(bare)], check=True)
    git(one.root, "remote", "add", "origin", str(bare))
    git(one.root, "switch", "--quiet", "-c", "our/labels-2")
    answer(one)
    closed(one, push=True)
    assert git(one.root, "status", "-sb").startswith("## our/labels-2...origin/our/labels-2")
    git(one.root, "checkout", "--quiet", "--detach")
    with pytest.raises(PipelineError, match="HEAD is on no branch; git switch -c NAME"):
        closed(one, push=True)


def test_a_push_that_fails_says_that_the_round_is_committed_and_what_is_left_to_do(
    project: Fresh, tmp_path: Path
) -> None:
    one = project(0)
    git(one.root, "remote", "add", "origin", str(tmp_path / "nowhere.git"))
    answer(one)
    with pytest.raises(
        PipelineError, match=r"committed here: repair it, and git push --set-upstream origin main$"
    ):
        closed(one, push=True)
    assert log(one)[0].startswith("Round 1:")


def test_in_a_folder_of_a_larger_repository_what_others_staged_is_not_committed(
    project: Fresh, tmp_path: Path
) -> None:
    top = tmp_path / "größer, als #1"
    one = Project(
        Path(shutil.copytree(project(0).root, top / "ein projekt", symlinks=True)).resolve()
    )
    shutil.move(one.root / ".git", top / ".git")
    committed(one, "Moved")
    answer(one)
    theirs = "their Ann's notes.txt"
    (top / theirs).write_text("half done")
    git(top, "add", theirs)
    with pytest.raises(PipelineError) as error:
        closed(one)
    told, remedy = str(error.value).split("; commit it first, or ")
    assert told == f"{theirs}: staged, and not this round's"
    subprocess.run(remedy, shell=True, cwd=one.root, check=True)
    closed(one)
    assert (
        git(top, "show", "--name-only", "--format=", "-z", "HEAD")
        .split("\0")[0]
        .startswith("ein projekt/data")
    )
    assert git(top, "status", "--porcelain", "-z") == f"?? {theirs}\0"
    assert verify(one) == ([], [])


def test_an_unfinished_merge_is_refused(project: Fresh) -> None:
    one = project(0)
    answer(one)
    (one.root / ".git" / "MERGE_HEAD").write_text(git(one.root, "rev-parse", "HEAD"))
    with pytest.raises(PipelineError, match="a merge or rebase is not finished"):
        closed(one)


def hook(project: Project, text: str) -> Path:
    path = project.root / ".git" / "hooks" / "pre-commit"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_refusing_hook_stops_the_commit_and_the_next_close_makes_it(project: Fresh) -> None:
    one = project(0)
    answer(one)
    path = hook(one, "echo 'no commits on Fridays' >&2; exit 1")
    with pytest.raises(PipelineError, match="no commits on Fridays"):
        closed(one)
    path.unlink()
    closed(one)
    assert log(one)[0].startswith("Round 1:")
    assert verify(one) == ([], [])


@pytest.mark.parametrize("end", ["exit 1", "git add -A"])
def test_a_hook_that_rewrites_the_round_is_found_and_the_files_are_put_back(
    project: Fresh, end: str
) -> None:
    one = project(0)
    answer(one)
    hook(
        one,
        f"for f in metrics/gate.json data/rounds/001/answers/ann.jsonl; do echo >> $f; done; {end}",
    )
    with pytest.raises(PipelineError):
        closed(one)
    assert not (one.root / "metrics" / "gate.json").read_text().endswith("\n\n")


def test_commits_are_signed_when_git_says_so(project: Fresh, tmp_path: Path) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed")
    one = project(0)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True
    )
    for key, value in (
        ("gpg.format", "ssh"),
        ("user.signingkey", str(tmp_path / "key")),
        ("commit.gpgsign", "true"),
    ):
        git(one.root, "config", key, value)
    answer(one)
    closed(one)
    assert "BEGIN SSH SIGNATURE" in git(one.root, "cat-file", "commit", "HEAD")


def test_an_edited_old_answer_stops_the_close(project: Fresh) -> None:
    one = project(1)
    old = one.root / "data/rounds/001/answers/ann.jsonl"
    old.write_text(old.read_text().replace('"a"', '"b"', 1))
    answer(one)
    with pytest.raises(
        PipelineError, match=r"001/answers/ann.jsonl:\d: the row that stood here was changed"
    ):
        closed(one)


def test_a_batch_frozen_under_old_params_is_asked_anew(project: Fresh) -> None:
    one = project(1)
    answer(one)
    Stages.hooks = []
    newest = one.last_round().number
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds.close, "commit", _crash)
        with pytest.raises(Killed):
            closed(one)
    assert one.last_round().number == newest + 1
    params = one.root / "params.yaml"
    params.write_text(params.read_text().replace("batch_size: 8", "batch_size: 6"))
    git(one.root, "commit", "--quiet", "-m", "Smaller batches", "--", "params.yaml")
    closed(one)
    assert len(one.last_round().tasks()) == 6
    assert verify(one) == ([], [])


def _crash(*_: object) -> bool:
    raise Killed


def test_two_annotators_on_two_branches_merge_without_a_conflict(project: Fresh) -> None:
    one = project(1)
    git(one.root, "switch", "--quiet", "-c", "bo")
    answer(one, "bo", only=5)
    committed(one, "Bo's answers")
    git(one.root, "switch", "--quiet", "main")
    answer(one, "ann")
    committed(one, "Ann's answers")
    git(one.root, "merge", "--quiet", "-m", "Both", "bo")
    closed(one)
    assert verify(one) == ([], [])
    assert log(one)[0].startswith("Round 2:")


def test_one_persons_answers_and_corrections_on_two_branches_merge_without_a_conflict(
    project: Fresh,
) -> None:
    one = project(1)
    for branch, item, label in (("laptop", "row-0100", "a"), ("main", "row-0101", "b")):
        git(one.root, "switch", "--quiet", *(["-c"] if branch != "main" else []), branch)
        answer(one, only=4 if branch == "laptop" else None, label=lambda _, label=label: label)
        amend(one, item, "ba"[int(item[-1])], "looked again", "Cy")
        committed(one, f"On {branch}")
    git(one.root, "merge", "--quiet", "-m", "Both", "laptop")
    closed(one)
    assert verify(one) == ([], [])
    assert len(read_jsonl(one.rounds_folder / "002" / "answers" / "ann.jsonl")) == 12
    assert len(read_jsonl(one.rounds_folder / "002" / "corrections.jsonl")) == 2


def test_a_decision_to_stop_is_a_commit_after_which_nothing_is_asked_until_it_is_taken_back(
    project: Fresh,
) -> None:
    one = project(1)
    answer(one)
    closed(one, decision=Decision(stop=True, why="good enough"))
    said = git(one.root, "log", "-1", "--format=%b").splitlines()
    assert said[0] == "Asks nothing more: stopped, good enough"
    status = report(one)
    assert "stopped  after round 2: good enough" in status
    assert status[-1] == (
        "next     rounds report   "
        "(or take the work up again: `rounds close --continue --why REASON`)"
    )
    assert len(one.rounds()) == 2
    assert changed_paths(one.root) == []
    with pytest.raises(
        PipelineError, match="the work was stopped after round 2: good enough; take it up again"
    ):
        closed(one)
    closed(one, decision=Decision(stop=False, why="a new class"))
    assert len(one.rounds()) == 3
    closed(one, decision=Decision(stop=True, why="no budget"))
    assert log(one)[0] == "Stop after round 2: no budget"
    assert changed_paths(one.root) == []
    assert verify(one) == ([], [])


def test_status_of_a_round_that_a_check_holds_says_how_to_go_on(project: Fresh) -> None:
    one = project(1)
    answer(one)
    path = one.root / "metrics" / "gate.json"
    gate = read_json(path)
    assert next_command(one) == "rounds close"
    write_json(path, {**gate, "rounds": 1, "held": "a check failed", "held_by": ["G003"]})
    assert next_command(one) == WHEN_HELD
    # The gate looked before the last answers came.
    write_json(path, {**gate, "rounds": 1, "held": "held, 3 of 40 answered", "held_by": []})
    assert next_command(one) == "rounds close"


def test_when_all_was_skipped_and_the_pool_is_used_up_a_person_reads_what_brings_rows_back(
    tmp_path: Path,
) -> None:
    project = Project(make_project(tmp_path / "p").resolve())
    params = project.root / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("batch_size: 8", "batch_size: 200"))
    committed(project)
    closed(project)
    answer(project, label=lambda _: None)
    told = closed(project)
    why = "pool exhausted, 100 skipped rows rest (query.skip_cooldown 0 instead of 2 brings them back)"
    assert _with_next(project, told, stop=False).splitlines() == [
        log(project)[0],
        f"Asks nothing more: {why}",
        "next: rounds status",
    ]
    assert git(project.root, "log", "-1", "--format=%b").splitlines()[0] == (
        f"Asks nothing more: {why}"
    )
    assert report(project)[-1] == (
        f"next     nothing more to ask: {why}; `rounds report` sums up; to go on, change that in "
        "params.yaml (or add rows to the pool), commit, and rounds close"
    )
    params.write_text(params.read_text().replace("skip_cooldown: 2", "skip_cooldown: 0"))
    committed(project)
    closed(project)
    assert len(project.rounds()) == 2
    assert len(project.last_round().tasks()) == 100
