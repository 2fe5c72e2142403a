"""The warm process: a stage that runs in it does what `python -m` does, and nothing depends on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rounds.commands import Dvc, environment
from rounds.warm import Warm
from tests.conftest import Small, shell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks safely")
STAGE = """
import os, sys
print("numpy" in sys.modules, sys.argv[1:], os.getcwd(), os.environ.get("WHO"), sys.stdin.read())
print("to stderr", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    """A warm process of a project whose only stage says what it was given."""
    stages = tmp_path / "stages"
    (stages / "room").mkdir(parents=True)
    (stages / "__init__.py").write_text("import os; os.environ['SAID'] = 'first'")
    (stages / "room" / "shelf.py").write_text("BOOKS = 5")
    (stages / "say.py").write_text(STAGE)
    process = Warm(tmp_path, {**environment(tmp_path), "WHO": "Ann"})
    process.start(os.getpgid(0))
    yield process
    process.stop()


def say(warm: Warm, words: str) -> subprocess.CompletedProcess[str]:
    """`python -m stages.say WORDS`, as DVC runs it: by a shell that finds `python` on the PATH."""
    return subprocess.run(
        f"python -m stages.say {words}", cwd=warm.root, env=warm.environment, shell=True, text=True,
        input="typed", capture_output=True, check=False,
    )  # fmt: skip


def test_a_stage_gets_its_words_folder_environment_and_streams_and_gives_its_exit_code(
    warm: Warm,
) -> None:
    done = say(warm, "0 'two words'")
    assert done.stdout == f"True ['0', 'two words'] {warm.root} Ann typed\n"
    assert done.stderr == "to stderr\n"
    assert done.returncode == 0
    assert say(warm, "3").returncode == 3


def test_code_that_changed_since_the_last_stage_counts(warm: Warm) -> None:
    assert say(warm, "0").returncode == 0
    stage = warm.root / "stages" / "say.py"
    stage.write_text("import os, stages.room.shelf as s; print(s.BOOKS, os.environ['SAID'])")
    assert say(warm, "0").stdout == "5 first\n"
    (warm.root / "stages" / "room" / "shelf.py").write_text("BOOKS = 7")
    assert say(warm, "0").stdout == "7 first\n"
    stage.write_text("raise SystemExit(7)")
    assert say(warm, "0").returncode == 7


def test_a_stage_that_fails_says_so(warm: Warm) -> None:
    (warm.root / "stages" / "say.py").write_text("1 / 0")
    done = say(warm, "0")
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_a_stage_that_is_killed_has_failed(warm: Warm) -> None:
    (warm.root / "stages" / "say.py").write_text("import os; os.kill(os.getpid(), 9)")
    assert say(warm, "0").returncode == 137


def test_without_the_warm_process_the_real_python_runs(warm: Warm) -> None:
    assert warm._server
    warm._server.kill()
    warm._server.wait()
    assert say(warm, "3").stdout == f"False ['3'] {warm.root} Ann typed\n"
    assert say(warm, "3").returncode == 3


def test_other_commands_go_to_the_real_python(warm: Warm) -> None:
    words = ["python", "-c", "import sys; print(sys.executable, 'numpy' in sys.modules)"]
    done = subprocess.run(
        " ".join([*words[:2], f'"{words[2]}"']), env=warm.environment, shell=True, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{sys.executable} False\n"


def test_who_kills_the_command_kills_the_stage(warm: Warm) -> None:
    os.mkfifo(warm.root / "wait")
    (warm.root / "stages" / "say.py").write_text(
        "import os; print(os.getpid(), flush=True); open('wait').read()"
    )
    command = subprocess.Popen(
        ["python", "-m", "stages.say"], cwd=warm.root, env=warm.environment, text=True,
        executable=str(Path(warm.environment["PATH"].partition(os.pathsep)[0]) / "python"),
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert command.stdout
    stage = psutil.Process(int(command.stdout.readline()))
    command.kill()
    command.communicate()
    psutil.wait_procs([stage], timeout=30)
    assert not stage.is_running()


@pytest.mark.slow
def test_a_round_is_the_same_when_the_warm_process_is_killed_in_it(small: Small) -> None:
    shell(small.root, "git", "init", "--quiet")
    names = ("build", "metrics", "plots")  # as far as train
    ran: list[str] = []
    with Dvc(small.root, ran.append) as dvc:
        dvc("repro", "train")
    undisturbed = small.bytes_of(*names)

    def kill(stage: str) -> None:
        if stage == "gate":
            assert run.warm._server
            run.warm._server.kill()

    with Dvc(small.root, kill) as run:
        run("repro", "--force", "train")
    assert "gate" in ran
    assert small.bytes_of(*names) == undisturbed
