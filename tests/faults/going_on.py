"""`rounds annotate --keep-going` as a process that is killed and started again, and people who label."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import psutil

from rounds.project import Project
from stages.contract.canonical import Row
from tests.faults.lives import ENVIRONMENT, command, run


class GoingOn:
    """The command, on one port through all its lives."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self._port = "0"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self._process = subprocess.Popen(
            command(("annotate", "--keep-going", "--port", self._port)),
            cwd=self.project,
            env=ENVIRONMENT,
            stderr=subprocess.PIPE,
            text=True,
        )
        told = self.wait_for(r"http://127\.0\.0\.1:(\d+)/")
        self.url = told[0]
        self._port = told[1]

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in a line that it says from now on."""
        assert self._process.stderr is not None
        said: list[str] = []
        for line in self._process.stderr:
            found = re.search(pattern, line)
            if found:
                return found
            said.append(line)
        raise AssertionError("".join(said))

    def kill(self, *, with_children: bool) -> None:
        """kill -9."""
        top = psutil.Process(self._process.pid)
        victims = [*(top.children(recursive=True) if with_children else []), top]
        for victim in victims:
            victim.kill()
        self._end()

    def interrupt(self) -> str:
        """Ctrl-C; what it says last."""
        self._process.send_signal(signal.SIGINT)
        said: str = self._process.communicate(timeout=120)[1]
        return said.splitlines()[-1]

    def _end(self) -> None:
        self._process.wait(timeout=60)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill(with_children=True)

    def state(self, name: str) -> Row:
        """What the page shows to a person."""
        told: Row = httpx.get(f"{self.url}api/state", params={"session": name}).json()
        return told

    def label(self, *people: str) -> Iterator[str]:
        """Label the batch in turns, each row with its true label; the keys that were acknowledged."""
        tasks = Project(self.project).last_round().tasks()
        for turn in range(len(tasks)):
            state = self.state(people[turn % len(people)])
            card = state["card"]
            label = "ab"[int(tasks[card["position"]]["al_id"][-4:]) % 2]
            sent = {
                "session": state["session"], "batch": state["batch"], "position": card["position"],
                "answer": "accept", "label": label, "flagged": False, "replaces": card["key"],
                "key": f"{state['session']}-{state['batch'][:8]}-{card['position']}",
            }  # fmt: skip
            assert httpx.post(f"{self.url}api/answer", json=sent).status_code == 200
            yield sent["key"]


def closed_by_hand(start: Path, like: Path, folder: Path) -> Path:
    """A copy of the project `start`, whose rounds get the answer files of `like` and are closed."""
    project = shutil.copytree(start, folder, symlinks=True)
    first = Project(project).last_round().number
    for number in range(first, Project(like).last_round().number):
        answers = Path("data", "rounds", f"{number:03d}", "answers")
        shutil.copytree(like / answers, project / answers, dirs_exist_ok=True)
        done = run(project, command(("close",)))
        assert done.returncode == 0, done.stderr
    return project
