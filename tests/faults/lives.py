"""Faults on purpose: a small project lives through a few rounds while its commands are disturbed at
random moments.

After every fault the same command is run again, and must simply work. In the end the answers, the
labels and the trees of all commits must be those of a life that nobody disturbed. Used by the tests
here and by benchmarks/faults.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from rounds.init import init
from rounds.roles import Choices

ENVIRONMENT = {
    **os.environ, "OMP_NUM_THREADS": "1", "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@example.org", "GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z", "PYTHONUNBUFFERED": "1",
    "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],  # `python` of a plain dvc repro
}  # fmt: skip
FAULTS = (
    "kill -9 everything", "kill -9 the command", "kill -9 a child", "SIGINT", "SIGTERM", "the clock goes back a day",
)  # fmt: skip
OVER = (
    "rows are answered",
    "asks this batch already",
    "all is well",
)  # what is said when the first had finished
Words = tuple[str, ...]


@dataclass
class Report:
    """What was tried and what came of it."""

    faults: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    needed_a_person: list[str] = field(default_factory=list)
    dvc_repaired: int = (
        0  # times that DVC could not read its own files after a kill, and `rounds` put them right
    )
    answers_lost: int = 0
    differences: list[str] = field(default_factory=list)


def table(rows: int, first: int, *, labelled: bool) -> str:
    """A CSV of two well-separated, noisy classes in the plane.

    With labels the columns stand in another order, and beside one that the pool does not have.
    """
    rng = random.Random(first)
    lines = ["y,source,label,id,x" if labelled else "id,x,y"]
    for number in range(first, first + rows):
        side = number % 2
        x, y = f"{rng.gauss(side * 2, 1):.4f}", f"{rng.gauss(0, 1):.4f}"
        point = f"row-{number:04d},{x},{y}"
        lines.append(f"{y},{number}.5,{'ab'[side]},row-{number:04d},{x}" if labelled else point)
    return "\n".join(lines) + "\n"


def make_project(folder: Path) -> Path:
    """A project of 100 rows in the folder, committed; the oracle's file stands beside it."""
    tables = folder / "tables"
    tables.mkdir(parents=True)
    (tables / "pool.csv").write_text(table(100, 0, labelled=False))
    (tables / "seed.csv").write_text(table(12, 100, labelled=True))
    (tables / "test.csv").write_text(table(30, 112, labelled=True))
    (folder / "oracle.csv").write_text(table(100, 0, labelled=True))
    project = folder / "project"
    given = {name: tables / f"{name}.csv" for name in ("pool", "seed", "test")}
    init(project, given, Choices(id="id", numbers=("x", "y"), classes=("a", "b")))
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("batch_size: 40", "batch_size: 8"))
    config = project / ".dvc" / "config"
    config.write_text(config.read_text().replace(str(project / ".dvc" / "store"), "store"))
    run(project, ("git", "add", "-A"))
    run(project, ("git", "commit", "-qm", "Ours"))
    return project


def life(rounds: int) -> list[Words]:
    """The commands of a project's life, in order."""
    told: list[Words] = [("close",)]
    for number in range(1, rounds + 1):
        told += [("annotate", "--oracle", "../oracle.csv", "--skip", "0.1")]
        told += [("collect", "../second.jsonl")] if number == 2 else []
        told += [("correct", "row-0100", "b", "--why", "looked again")] if number == 2 else []
        told += (
            [("retract", "row-0101", "--why", "two things in one"), ("dvc", "repro"), ("issue",)]
            if number == 3
            else []
        )
        told += [("close",)]
    return told


def second_annotator(project: Path) -> None:
    """An export of another person for the newest round, beside the project."""
    newest = max((project / "data" / "rounds").glob("[0-9]*"))
    rows = [
        json.loads(line) for line in (newest / "answers" / "oracle.jsonl").read_text().splitlines()
    ]
    told = [
        {**row, "_annotator_id": "second-Bo", "_session_id": "second-Bo", "al_dataset": "second"}
        for row in rows
    ]
    (project.parent / "second.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))


def run(project: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A finished process."""
    return subprocess.run(
        words, cwd=project, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def command(words: Words) -> list[str]:
    return (
        [sys.executable, "-m", *words]
        if words[0] == "dvc"
        else [sys.executable, "-m", "rounds", *words]
    )


def disturb(project: Path, words: Words, fault: str, after: float, rng: random.Random) -> bool:
    """Start a command and do it harm after some seconds. Whether it was still running then."""
    process = subprocess.Popen(
        command(words),
        cwd=project,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        pass
    else:
        return False
    if fault == "the clock goes back a day":
        from_tomorrow(project)
        process.wait(900)
        return True
    top = psutil.Process(process.pid)
    children = top.children(recursive=True)
    number = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}.get(fault, signal.SIGKILL)
    victims = [*children, top]
    if fault == "kill -9 a child" and children:
        victims = [rng.choice(children)]
    elif fault != "kill -9 everything":
        victims = [top]
    for victim in victims:
        try:
            victim.send_signal(number)
        except psutil.NoSuchProcess:
            continue
    process.wait(900)
    return True


def from_tomorrow(project: Path) -> None:
    """Date every file a day later: what a project looks like to a clock that was set back."""
    for path in project.rglob("*"):
        with contextlib.suppress(OSError):
            at = path.lstat().st_mtime + 86_400
            os.utime(path, (at, at), follow_symlinks=False)


def live(
    project: Path,
    rounds: int,
    report: Report,
    kills: Callable[[], int],
    rng: random.Random,
    pace: dict[str, float],
) -> None:
    """Take a project through its life, each command disturbed as often as `kills` says before it
    may finish.
    """
    for words in life(rounds):
        if words[0] == "collect":
            second_annotator(project)
        commits = heads(project)
        for _ in range(kills()):
            fault = rng.choice(FAULTS)
            after = rng.triangular(0.05, pace.get(words[0], 2.0), 0.05)
            if not disturb(project, words, fault, after, rng):
                if words[0] == "close":
                    break
                continue
            report.faults[fault] += 1
            report.commands[words[0]] += 1
        started = time.monotonic()
        done = run(project, command(words))
        if done.returncode and words[0] == "dvc":
            run(project, command(("status",)))
            report.dvc_repaired += 1
            done = run(project, command(words))
        pace[words[0]] = max(time.monotonic() - started, pace.get(words[0], 0) * 0.7)
        finished_before = any(said in done.stderr for said in OVER)
        if words[0] == "close":
            finished_before &= heads(project) == commits + 1
        if done.returncode and not finished_before:
            report.needed_a_person.append(f"{' '.join(words)}: {done.stderr.strip()[-300:]}")
            return


def heads(project: Path) -> int:
    return int(run(project, ("git", "rev-list", "--count", "HEAD")).stdout)


def outcome(project: Path) -> dict[str, object]:
    """All that must not depend on faults: commits with their trees, labels, and what git and DVC
    say of the tree.
    """
    return {
        "commits": run(project, ("git", "log", "--format=%T %s %b")).stdout,
        "status": run(project, ("git", "status", "--porcelain")).stdout,
        "accepted": (project / "build" / "gate" / "accepted.jsonl").read_text(),
        "dvc": run(project, (sys.executable, "-m", "dvc", "status"))
        .stdout.strip()
        .splitlines()[-1:],
        "fsck": run(project, ("git", "fsck", "--no-dangling", "--no-progress")).stdout,
        "verify": run(project, command(("verify",))).returncode,
    }


def answers(project: Path) -> set[str]:
    """Every answer row on disk."""
    files = (project / "data" / "rounds").rglob("*.jsonl")
    return {
        line for path in files if "answers" in path.parts for line in path.read_text().splitlines()
    }


def compare(calm: Path, disturbed: Path, report: Report) -> None:
    """Note what differs between a calm and a disturbed life."""
    report.answers_lost += len(answers(calm) - answers(disturbed))
    expected, found = outcome(calm), outcome(disturbed)
    for key, value in expected.items():
        if found[key] != value:
            report.differences.append(
                f"{key}: {str(found[key])[-300:]!r} instead of {str(value)[-300:]!r}"
            )


def clone_faults(project: Path, folder: Path) -> list[str]:
    """What is wrong with a clone of each round commit: it must be up to date, and a forced run must
    change nothing.

    The forced runs differ in hash seed and number of threads.
    """
    wrong = []
    told = run(project, ("git", "log", "--format=%H %s", "--grep=^Round ")).stdout.splitlines()
    for number, line in enumerate(told):
        commit, _, subject = line.partition(" ")
        clone = folder / f"clone-{number}"
        run(folder, ("git", "clone", "--quiet", "--no-checkout", str(project), str(clone)))
        run(clone, ("git", "checkout", "--quiet", "--detach", commit))
        environment = {
            **ENVIRONMENT,
            "PYTHONHASHSEED": str(number),
            "OMP_NUM_THREADS": str(1 + number % 2),
        }
        dvc = [sys.executable, "-m", "dvc"]
        steps = (
            ("remote", "modify", "--local", "store", "url", str(project / ".dvc" / "store")),
            ("pull",),
            ("status",),
            ("repro",),
            ("repro", "--force", "--no-run-cache"),
        )
        for words in steps:
            done = subprocess.run(
                [*dvc, *words],
                cwd=clone,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            clean = run(clone, ("git", "status", "--porcelain")).stdout == ""
            if (
                done.returncode
                or not clean
                or (words[0] == "status" and "up to date" not in done.stdout)
            ):
                wrong.append(
                    f"{subject[:12]}, dvc {' '.join(words)}: {done.stdout[-200:]}{done.stderr[-200:]}"
                )
            if words == ("repro",) and "Running stage" in done.stdout:
                wrong.append(f"{subject[:12]}: repro was not a no-op")
    return wrong
