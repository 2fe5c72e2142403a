"""A process that has the libraries loaded and runs each stage in a fork of itself.

rounds/warm.py starts it as source, `python -c SOURCE NUMBER` (of an open socket), in the project's
root. It imports nothing of `rounds`. The rooms of `stages` are loaded, too; where a file of theirs
was touched since, a fork imports all of them anew, so an edit between two stages counts. It ends
when its standard input does, which is when the process that started it ends, however that ends.

    python (the stand-in on the PATH)  --- words, folder, environment, 0 1 2 -->  server
    python                             <-------------- exit code ---------------  its fork
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

# What most stages load in the midst of their work, the first needed first. One that is missing or
# broken is left to the stage, which says so.
LIBRARIES = (
    "click",
    "pydantic",
    "ruamel.yaml",
    "numpy",
    "scipy.sparse",
    "pandas",
    "pyarrow.parquet",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.neighbors",
    "sklearn.ensemble",
    "sklearn.metrics",
    "scipy.stats",
    "cleanlab.filter",
    "skops.io",
)
MESSAGE = 1 << 20  # bytes of the words and the environment at most


class Request(TypedDict):
    """What a stand-in asks for: `python -m WORDS` in a folder and an environment."""

    words: list[str]
    environment: dict[str, str]
    folder: str


class Code:
    """The project's own modules, as loaded at some moment.

    as_of: when each of their files was last touched, and its size.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.as_of = self._now()

    def _now(self) -> dict[str, tuple[int, int]]:
        states = {}
        for path in (self._root / "stages").rglob("*.py"):
            with suppress(OSError):
                state = path.stat()
                states[str(path)] = (state.st_mtime_ns, state.st_size)
        return states

    def load(self) -> None:
        """Load the rooms, which the stages import; not the stages, which run as `__main__`."""
        for path in sorted(self._root.glob("stages/*/[!_]*.py")):
            with suppress(Exception):
                importlib.import_module(f"stages.{path.parent.name}.{path.stem}")

    def refresh(self, folder: str) -> None:
        """In the fork of a stage that runs in this folder: forget what may have changed."""
        if self._now() == self.as_of and Path(folder) == self._root:
            importlib.reload(sys.modules["stages"])  # it sets the environment that is its own
            return
        for name in [name for name in sys.modules if name.partition(".")[0] == "stages"]:
            del sys.modules[name]


def serve(listener: socket.socket) -> None:
    """Answer requests until the standard input ends."""
    code = Code(Path.cwd())
    import stages  # noqa: F401  # the project's: it says how numpy adds up, before numpy is loaded

    for name in LIBRARIES:
        with suppress(Exception):
            importlib.import_module(name)
    code.load()
    gc.freeze()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in selector.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                answer(connection, code)
            connection.close()
            collect(os.WNOHANG)
    collect(0)


def collect(options: int) -> None:
    """Wait for the forks that ended (os.WNOHANG) or for all (0): their time counts as used."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def answer(connection: socket.socket, code: Code) -> None:
    """Run the stage that is asked for, in a fork, and send its exit code. Ends this process."""
    request, streams, _, _ = socket.recv_fds(connection, MESSAGE, 3)
    child = os.fork()
    if child == 0:
        threading.Thread(target=end_with, args=(connection,), daemon=True).start()
        run(json.loads(request), streams, code)
    for stream in streams:
        os.close(stream)
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode("ascii"))
    os._exit(0)


def end_with(connection: socket.socket) -> None:
    """End this process when the stand-in ends that asked for it: who kills that means the stage."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def run(request: Request, streams: list[int], code: Code) -> None:
    """Become the `python -m` of the request, on the three streams."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    module, *words = request["words"]
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    code.refresh(request["folder"])
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
