"""The real commands under the real DVC: killed, at once, without room, without write permission,
cloned.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import ORDER
from tests.faults.going_on import GoingOn, closed_by_hand
from tests.faults.lives import (
    ENVIRONMENT,
    Report,
    answers,
    command,
    compare,
    from_tomorrow,
    life,
    live,
    make_project,
    outcome,
    run,
)

RETRACT = ("retract", "row-0101", "--why", "two things in one")
pytestmark = pytest.mark.xdist_group("faults")  # one worker makes the calm life for all


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after one undisturbed round; the one before its first command stands beside it."""
    template = make_project(tmp_path_factory.mktemp("lives") / "template").parent
    project = shutil.copytree(template, template.parent / "calm") / "project"
    report = Report()
    live(project, 1, report, lambda: 0, random.Random(0), {})
    assert report.needed_a_person == []
    assert outcome(project)["verify"] == 0
    return project


@pytest.mark.slow
def test_after_kills_at_random_moments_the_same_commands_give_the_same_commits(calm: Path) -> None:
    project = (
        shutil.copytree(calm.parent.parent / "template", calm.parent.parent / "shaken") / "project"
    )
    report = Report()
    kills = iter((6, 22, 6))  # close, annotate, close
    live(project, 1, report, lambda: next(kills), random.Random(1), {"close": 3.0, "annotate": 0.4})
    compare(calm, project, report)
    assert report.needed_a_person == report.differences == []
    assert report.answers_lost == 0
    assert report.faults.total() >= 20


@pytest.mark.slow
def test_killed_while_it_chooses_the_next_batch_the_page_goes_on_and_the_commit_is_the_same(
    calm: Path, tmp_path: Path
) -> None:
    project = shutil.copytree(calm, tmp_path / "project", symlinks=True)
    with GoingOn(project) as page:
        saved = list(page.label("ann", "bo"))
        page.wait_for("^  train …")
        assert page.state("ann")["notice"]["busy"]
        page.kill(with_children=False)
        page.start()
        page.wait_for("^  validate …")  # the next batch is shown meanwhile
        early = list(islice(page.label("ann", "bo"), 3))
        page.kill(with_children=True)
        page.start()
        page.wait_for("^Round 2: ")
        assert page.state("ann")["card"]["position"] == 3
        assert page.interrupt().endswith(
            "1 round is closed; 3 of 8 items are labelled (ann 2, bo 1), 5 are left; go on: rounds annotate --keep-going"
        )
    waiting = [
        json.loads(line)["al_key"]
        for path in sorted((project / "data" / "rounds" / "003" / "answers").iterdir())
        for line in path.read_text().splitlines()
    ]
    assert sorted(waiting) == sorted(early)
    shutil.rmtree(project / "data" / "rounds" / "003" / "answers")
    rows = [
        json.loads(line)
        for name in ("ann", "bo")
        for line in run(
            project, ("git", "show", f"HEAD:data/rounds/002/answers/session-{name}.jsonl")
        ).stdout.splitlines()
    ]
    assert sorted(row["al_key"] for row in rows) == sorted(saved)
    assert outcome(project) == outcome(closed_by_hand(calm, project, tmp_path / "by hand"))


@pytest.mark.slow
def test_a_clone_pulls_is_up_to_date_and_passes_verify(calm: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", str(calm), str(tmp_path / "clone")], check=True)
    project = tmp_path / "clone"
    store = str(calm / ".dvc" / "store")
    assert (
        run(
            project,
            (sys.executable, "-m", "dvc", "remote", "modify", "--local", "store", "url", store),
        ).returncode
        == 0
    )
    assert known_at(project, "HEAD~1") == known_at(
        calm, "HEAD~1"
    )  # from the remote, for want of a cache
    assert run(project, (sys.executable, "-m", "dvc", "pull")).returncode == 0
    assert (
        run(project, (sys.executable, "-m", "dvc", "status")).stdout.strip()
        == "Data and pipelines are up to date."
    )
    assert run(project, command(("verify",))).returncode == 0
    assert run(project, ("git", "status", "--porcelain")).stdout == ""


def known_at(project: Path, commit: str) -> list[str]:
    """What `rounds labels` prints as known at a commit, checked against what that commit says of
    itself.
    """
    told = run(
        project, command(("labels", "--as-of", commit, "--format", "jsonl"))
    ).stdout.splitlines()
    said = json.loads(run(project, ("git", "show", f"{commit}:metrics/gate.json")).stdout)
    assert len(told) == said["accepted"]
    return told


@pytest.mark.slow
def test_labels_are_told_as_they_were_known_at_any_commit(calm: Path) -> None:
    then, now = known_at(calm, "HEAD~1"), known_at(calm, "HEAD")
    accepted = (calm / "build" / "gate" / "accepted.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in now] == [json.loads(line)["id"] for line in accepted]
    assert {json.loads(line)["round"] for line in then} == {0}
    assert {json.loads(line)["round"] for line in now} == {0, 1}
    for words in (("labels", "--as-of"), ("verify", "--since"), ("report", "--md", "--against")):
        said = run(calm, command((*words, "nonsense"))).stderr
        assert f"error: {words[-1]}: 'nonsense' is no commit; name one of `rounds log`" in said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting is not permitted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def answered(calm: Path, place: Path) -> Path:
    project = shutil.copytree(calm, place / "project", symlinks=True)
    shutil.copyfile(calm.parent / "oracle.csv", place / "oracle.csv")
    assert run(project, command(("annotate", "--oracle", "../oracle.csv"))).returncode == 0
    return project


@pytest.mark.slow
def test_a_full_disk_stops_a_close_in_one_line_and_with_room_again_it_works(
    calm: Path, tmp_path: Path, small_disk: Path
) -> None:
    expected = answered(calm, tmp_path / "calm")
    assert run(expected, command(("close",))).returncode == 0
    project = answered(calm, small_disk)
    for spare in (0, 20_000, 60_000, 150_000, 400_000):
        free = shutil.disk_usage(small_disk).free
        (small_disk / "filler").write_bytes(b"\0" * max(0, free - spare))
        done = run(project, command(("close",)))
        (small_disk / "filler").unlink()
        if not done.returncode:
            break
        assert "Traceback" not in done.stderr
        assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 1, (
            done.stderr
        )
    if done.returncode:
        done = run(project, command(("close",)))
    assert done.returncode == 0, done.stderr
    assert outcome(project) == outcome(expected)


@pytest.mark.slow
def test_a_read_only_project_is_refused_in_one_line_and_loses_nothing(
    calm: Path, small_disk: Path
) -> None:
    project = answered(calm, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    commands = (
        ("close",), ("annotate", "--oracle", "../oracle.csv"), ("issue",), ("correct", "row-0100", "b", "--why", "x"),
    )  # fmt: skip
    told = [run(project, command(words)) for words in commands]
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    for done in told:
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
    assert run(project, command(("close",))).returncode == 0


@pytest.mark.slow
def test_a_full_disk_refuses_answers_and_corrections_in_one_line_and_takes_them_when_there_is_room(
    calm: Path, small_disk: Path
) -> None:
    project = answered(calm, small_disk)
    said = next((project / "data/rounds/002/answers").iterdir()).read_text()
    (small_disk / "late.jsonl").write_text(said.replace("oracle-oracle", "oracle-bo"))
    before = answers(project)
    commands = (("annotate", "--oracle", "../oracle.csv"), ("collect", "../late.jsonl"), RETRACT)
    (small_disk / "filler").write_bytes(b"\0" * shutil.disk_usage(small_disk).free)
    for words in commands:
        done = run(project, command(words))
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
    assert answers(project) == before
    (small_disk / "filler").unlink()
    for words in commands:
        assert run(project, command(words)).returncode == 0
    assert len(answers(project)) == 2 * len(before) - len(answers(calm))
    assert run(project, command(("close",))).returncode == 0
    assert outcome(project)["verify"] == 0


@pytest.mark.slow
def test_when_the_clock_goes_back_a_day_before_every_command_the_commits_are_the_same(
    calm: Path,
) -> None:
    project = (
        shutil.copytree(calm.parent.parent / "template", calm.parent.parent / "yesterday")
        / "project"
    )
    for day, words in enumerate(life(1)):
        from_tomorrow(project)
        date = f"2024-01-{20 - day}T00:00:00Z"
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        done = subprocess.run(
            command(words), cwd=project, env={**ENVIRONMENT, **dates}, check=False
        )
        assert done.returncode == 0
    assert outcome(project) == outcome(calm)
    log, calm_log = (
        run(one, command(("log", "--json"))).stdout.splitlines() for one in (project, calm)
    )
    assert [line.partition('"decision"')[2] for line in log] == [
        line.partition('"decision"')[2] for line in calm_log
    ]


@pytest.mark.slow
def test_after_a_repro_that_died_writing_its_own_files_status_makes_the_same_command_work(
    calm: Path, tmp_path: Path
) -> None:
    project = shutil.copytree(calm, tmp_path / "project", symlinks=True)
    lock, running = project / "dvc.lock", project / ".dvc" / "tmp" / "rwlock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[: whole.index(b"md5: ") + 3])
    running.write_text('{"read": {"')
    assert run(project, command(("dvc", "repro"))).returncode != 0
    for words in (("log",), ("verify",), ("report",)):
        assert run(project, command(words)).returncode == 0
    told = run(project, command(("status",)))
    assert told.returncode == 0
    assert told.stderr.startswith(
        "repaired dvc.lock, which a killed DVC had left half written\nrepaired .dvc/tmp/rwlock,"
    )
    assert "repaired" not in run(project, command(("status",))).stderr
    assert run(project, command(("dvc", "repro"))).returncode == 0
    assert lock.read_bytes() == whole


@pytest.mark.slow
def test_every_stage_of_a_plain_repro_that_is_killed_on_its_own_runs_again(calm: Path) -> None:
    project = (
        shutil.copytree(calm.parent.parent / "template", calm.parent.parent / "killed") / "project"
    )
    rng, killed = random.Random(0), []
    for stage in ORDER:
        process = subprocess.Popen(
            command(("dvc", "repro")),
            cwd=project,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        begun = (
            line for line in process.stdout if line.startswith(f"Running stage '{stage}'".encode())
        )
        killed.append(any(kill_stage(process.pid, stage, rng.uniform(0, 0.15)) for _ in begun))
        process.communicate()
    assert sum(killed) >= len(ORDER) - 2  # one that was quicker than its murderer is no failure
    assert run(project, command(("dvc", "repro"))).returncode == 0
    assert run(project, command(("close",))).returncode == 0
    ours = run(project, ("git", "log", "--format=%T %s %b")).stdout
    assert ours == run(calm, ("git", "log", "--format=%T %s %b", "HEAD~1")).stdout


def kill_stage(dvc: int, stage: str, after: float) -> bool:
    """Kill a stage's process some seconds after it began; False when it had ended by then."""
    while not (
        found := [
            child for child in psutil.Process(dvc).children(recursive=True) if runs(child, stage)
        ]
    ):
        if psutil.Process(dvc).status() == psutil.STATUS_ZOMBIE:
            return False
    psutil.wait_procs(found, timeout=after)
    alive = [child for child in found if child.is_running()]
    for child in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    return bool(alive)


def runs(process: psutil.Process, stage: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return f"stages.{stage}" in process.cmdline()
    return False


@pytest.mark.slow
def test_two_closes_at_once_and_a_collect_meanwhile_happen_in_some_order(
    calm: Path, tmp_path: Path
) -> None:
    project = answered(calm, tmp_path)
    (tmp_path / "late.jsonl").write_text(
        next((project / "data/rounds/002/answers").iterdir())
        .read_text()
        .replace("oracle-oracle", "oracle-bo")
    )
    first, second, late = (
        subprocess.Popen(
            command(words), cwd=project, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
        )
        for words in (("close",), ("close",), ("collect", "../late.jsonl"))
    )
    told = [process.communicate()[1] for process in (first, second, late)]
    assert sorted([first.returncode, second.returncode]) == [0, 1]
    said = told[0] + told[1]
    assert (
        "another `rounds close` is at work here" in said or "0 of 8 rows are answered" in said
    )  # it came after
    assert late.returncode == 0
    if (
        project / "data/rounds/003/answers"
    ).exists():  # collect came last: bo's answers wait in the open round
        assert (
            run(project, ("git", "status", "--porcelain")).stdout == "?? data/rounds/003/answers/\n"
        )
        assert run(project, command(("close", "--partial"))).returncode == 0
    found = outcome(project)
    assert (found["status"], found["verify"], found["dvc"]) == (
        "",
        0,
        ["Data and pipelines are up to date."],
    )


@pytest.mark.slow
def test_answers_changed_on_the_page_during_a_close_are_in_its_commit_and_later_ones_are_refused(
    calm: Path, tmp_path: Path
) -> None:
    project = answered(calm, tmp_path)
    page = subprocess.Popen(
        command(("annotate", "--port", "0")),
        cwd=project,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert page.stderr is not None
    url = next(
        found[0] for line in page.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+/", line))
    )
    closing = subprocess.Popen(
        command(("close",)), cwd=project, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    assert closing.stderr is not None
    state = httpx.get(f"{url}api/state?session=oracle").json()
    saved: list[str] = []

    def change(label: str) -> int:
        item = httpx.get(
            f"{url}api/item", params={"session": "oracle", "batch": state["batch"], "position": 0}
        ).json()
        key = f"change-{len(saved)}"
        sent = {
            "session": "oracle",
            "batch": state["batch"],
            "position": 0,
            "answer": "accept",
            "label": label,
        }
        done = httpx.post(
            f"{url}api/answer", json={**sent, "flagged": False, "key": key, "replaces": item["key"]}
        )
        saved.extend([key] if done.status_code == 200 else [])
        return done.status_code

    for number, line in enumerate(closing.stderr):
        assert line.startswith("  ") or re.match(r"\w+: \d+ s|Round 2|next: ", line)
        if number < 4:
            assert change("ab"[number % 2]) == 200
    closing.communicate()
    assert closing.returncode == 0
    assert change("a") == 410
    page.send_signal(signal.SIGINT)
    page.communicate()
    held = run(
        project, ("git", "show", "HEAD:data/rounds/002/answers/session-oracle.jsonl")
    ).stdout.splitlines()
    assert [json.loads(line)["al_key"] for line in held] == saved
    found = outcome(project)
    assert (found["status"], found["verify"], found["dvc"]) == (
        "",
        0,
        ["Data and pipelines are up to date."],
    )


@pytest.mark.slow
def test_a_close_works_in_a_linked_worktree_detached_signed_with_a_hook_and_without_autostage(
    calm: Path, tmp_path: Path
) -> None:
    project, linked = (
        shutil.copytree(calm, tmp_path / "project", symlinks=True),
        tmp_path / "linked",
    )
    shutil.copyfile(calm.parent / "oracle.csv", tmp_path / "oracle.csv")
    run(project, ("git", "worktree", "add", "--quiet", "--detach", str(linked)))
    config, hook = linked / ".dvc" / "config", project / ".git" / "hooks" / "pre-commit"
    config.write_text(config.read_text().replace("autostage = true", "autostage = false"))
    run(linked, ("git", "commit", "--quiet", "--all", "-m", "By hand"))
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    run(linked, ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")))
    for key, value in (
        ("gpg.format", "ssh"),
        ("user.signingkey", str(tmp_path / "key")),
        ("commit.gpgsign", "true"),
    ):
        run(linked, ("git", "config", key, value))
    assert run(linked, command(("annotate", "--oracle", "../oracle.csv"))).returncode == 0
    done = run(linked, command(("close",)))
    assert done.returncode == 0, done.stderr
    assert "BEGIN SSH SIGNATURE" in run(linked, ("git", "cat-file", "commit", "HEAD")).stdout
    assert (tmp_path / "hooked").exists()
    found = outcome(linked)
    assert (found["status"], found["verify"], found["dvc"]) == (
        "",
        0,
        ["Data and pipelines are up to date."],
    )
    assert outcome(project)["commits"] == outcome(calm)["commits"]


@pytest.mark.slow
def test_replay_gives_every_batch_again_with_the_params_of_then(calm: Path, tmp_path: Path) -> None:
    project = shutil.copytree(calm, tmp_path / "project", symlinks=True)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("batch_size: 8", "batch_size: 6"))
    run(project, ("git", "commit", "-qam", "Smaller batches"))
    done = run(project, command(("verify", "--replay")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("the same batch (its own params, not today's)") == 2
    assert run(project, ("git", "worktree", "list")).stdout.count("\n") == 1


@pytest.mark.slow
def test_replay_takes_tables_that_dvc_keeps_from_its_cache(calm: Path) -> None:
    project = (
        shutil.copytree(calm.parent.parent / "template", calm.parent.parent / "large") / "project"
    )
    for words in (
        ("git", "rm", "--quiet", "--cached", "data/pool.csv"),
        (sys.executable, "-m", "dvc", "add", "data/pool.csv"),
        ("git", "add", "--all"),
        ("git", "commit", "--quiet", "-m", "A large pool"),
        command(("close",)),
    ):
        assert run(project, words).returncode == 0
    (project / "data" / "pool.csv").unlink()
    shared = (project / ".dvc" / "cache").rename(project.parent / "größer, #1")
    (project / ".dvc" / "config.local").write_text(
        f'[cache]\n    dir = "{shared}"\n', encoding="utf-8"
    )
    done = run(project, command(("verify", "--replay")))
    assert (done.returncode, "replay: round 1: the same batch\n" in done.stderr) == (0, True), (
        done.stderr
    )
    shared.rename(project.parent / "gone")
    done = run(project, command(("verify", "--replay")))
    assert done.stderr.startswith("error: verify --replay: tables of ")
    assert done.stderr.endswith("are not in DVC's cache; `dvc fetch --all-commits` brings them\n")
