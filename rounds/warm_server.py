"""A process that has the libraries loaded and runs each stage in a fork of itself.

rounds/warm.py starts it as source, `python -c SOURCE NUMBER` (of an open socket), in the project's
root. It imports nothing of `rounds`, and no stage: each fork imports the project's own code anew,
so an edit between two stages counts. It ends when its standard input does, which is when the
process that started it ends, however that ends.

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
from typing import TypedDict

# What most stages load, the first needed first. One that is missing or broken is left to the stage,
# which says so.
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


def serve(listener: socket.socket) -> None:
    """Answer requests until the standard input ends."""
    import stages  # noqa: F401  # the project's: it says how numpy adds up, before numpy is loaded

    for name in LIBRARIES:
        with suppress(Exception):
            importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "stages"]:
        del sys.modules[name]
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in selector.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                answer(connection)
            connection.close()


def answer(connection: socket.socket) -> None:
    """Run the stage that is asked for, in a fork, and send its exit code. Ends this process."""
    request, streams, _, _ = socket.recv_fds(connection, MESSAGE, 3)
    child = os.fork()
    if child == 0:
        threading.Thread(target=end_with, args=(connection,), daemon=True).start()
        run(json.loads(request), streams)
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


def run(request: Request, streams: list[int]) -> None:
    """Become the `python -m` of the request, on the three streams."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    module, *words = request["words"]
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
