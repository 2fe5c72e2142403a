"""Stages without their start: while a command drives DVC, they run as forks of a warm process.

Half of a close of a small project is Python loading the same libraries ten times. DVC knows nothing
of this: it runs `python -m stages.train …` as always, and finds on the PATH a `python` that hands
the words to the warm process (rounds/warm_server.py). Whatever is missing (the process was killed,
a platform without fork, words that are no stage) makes that `python` the real one again.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# Runs isolated and without site-packages, so that it costs 20 ms.
STAND_IN = """
import json, os, socket, sys
real, path, *words = sys.argv[1:]
if words[:1] == ["-m"] and words[1:] and words[1].startswith("stages."):
    request = {"words": words[1:], "environment": dict(os.environ), "folder": os.getcwd()}
    try:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
        code = connection.recv(16)
    except OSError:
        code = b""
    if code:
        code = int(code)
        sys.exit(code if code >= 0 else 128 - code)
os.execv(real, [real, *words])
"""


class Warm:
    """The warm process and the `python` that leads to it; neither where forking is not safe.

    root: the project; environment: of DVC and the stages.
    """

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self.root = root
        self.environment = dict(environment)
        self._folder = tempfile.TemporaryDirectory(prefix="rounds-", ignore_cleanup_errors=True)
        self._listener: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        if sys.platform == "linux":
            self._listen(Path(self._folder.name))

    def _listen(self, folder: Path) -> None:
        """Open the socket and put a `python` before the real one on the PATH."""
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(folder / "socket"))
        except OSError:  # the name of the temporary folder is too long for a socket
            return
        listener.listen()
        self._listener = listener
        real = shlex.quote(sys.executable)
        words = (
            f"{real} -I -S -c {shlex.quote(STAND_IN)} {real} {shlex.quote(str(folder / 'socket'))}"
        )
        stand_in = folder / "python"
        stand_in.write_text(f'#!/bin/sh\nexec {words} "$@"\n', "utf-8")
        stand_in.chmod(0o700)
        self.environment["PATH"] = f"{folder}{os.pathsep}{self.environment['PATH']}"

    def start(self, group: int) -> None:
        """Start the process. group: the process group that it joins, DVC's, to be killed along."""
        if self._listener is None:
            return
        source = Path(__file__).with_name("warm_server.py").read_text("utf-8")
        self._server = subprocess.Popen(
            [sys.executable, "-c", source, str(self._listener.fileno())],
            cwd=self.root,
            env=self.environment,
            pass_fds=[self._listener.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=group,
        )
        self._listener.close()  # else nobody would notice that the process is gone

    def stop(self) -> None:
        """End the process and remove its folder."""
        if self._server is not None:
            self._server.communicate()
        self._folder.cleanup()
