"""Serving the page: its address, its tokens, and the thread that answers the browsers.

The main thread is free for other work meanwhile (`rounds.keep_going`), and gets Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import click
import uvicorn
from starlette.types import ASGIApp

from rounds.adjudicate import Bench
from rounds.project import Project, Round
from rounds.surfaces.label_help import descriptions
from rounds.surfaces.page import LOOPBACK, OWNER, OwnersBoard, OwnersView, app
from rounds.surfaces.series import DONE, Notice, Series
from stages.contract.errors import PipelineError

SHORTEST_TOKEN = 32


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises PipelineError where the port is taken, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)  # before the address is printed: a browser that comes at once waits
    except OSError as error:
        listener.close()
        what = f"cannot listen there ({error.strerror})"
        remedy = "choose another --port (0 finds a free one)"
        raise PipelineError(f"{host}:{port}", what, remedy) from error
    return listener


def _host_name(host: str) -> str:
    """The host as people reach it: this machine's name where the server listens everywhere."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - the user's wish, compared, not bound
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _guidelines(project: Project) -> str:
    """The project's guidelines, "" for none. Raises PipelineError where the file is missing."""
    name = project.params().surface.instructions
    if not name:
        return ""
    path = project.root / name
    if not path.is_file():
        remedy = "correct the path, or leave it empty"
        raise PipelineError("params.yaml surface.instructions", f"no file {path}", remedy)
    return path.read_text(encoding="utf-8")


def kept_token(project: Project, name: str) -> str:
    """The secret part of an address: made once, so that a restart keeps everybody's address.

    It stands in .dvc/tmp, which git ignores, readable by its owner alone; without the file there
    will be another one.
    """
    path = project.root / ".dvc" / "tmp" / f"{name}-token"
    if path.is_file():
        token = path.read_text("ascii").strip()
        if len(token) >= SHORTEST_TOKEN:
            return token
    token = secrets.token_urlsafe(24)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return token


@dataclass(frozen=True)
class Address:
    """Where the page is served. host, port: as the user wishes; port 0: any free one."""

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it, so that no token is demanded."""
        return self.host in LOOPBACK


@contextlib.contextmanager
def serving(
    project: Project,
    newest: Round,
    address: Address,
    *,
    idle: float,
    open_browser: bool = False,
    done: Notice = DONE,
    goes_on: bool = False,
    board: Callable[[Series], OwnersBoard],
) -> Iterator[Series]:
    """Serve a round's batch, and those that follow it, as long as the block lasts.

    idle: seconds until silent people's items go to others. board: makes the owner's view.
    """
    guide = _guidelines(project)
    token = "" if address.is_local else kept_token(project, "page")
    owners_token = kept_token(project, "owner")
    with listen(address.host, address.port) as listener:
        series = Series(project, newest, idle=idle, clock=time.time, done=done, goes_on=goes_on)
        web = app(
            series,
            guide=guide,
            images=project.root / project.params().data.images,
            hosts=frozenset(LOOPBACK) if address.is_local else frozenset(),
            token=token,
            labels=descriptions(project),
            owner=OwnersView(owners_token, partial(board, series), Bench(project)),
        )
        site = f"http://{_host_name(address.host)}:{listener.getsockname()[1]}"
        url = f"{site}/?token={token}" if token else f"{site}/"
        click.echo(f"annotate: {_left(series)} at {url}", err=True)
        click.echo(f"annotate: for you alone: {site}{OWNER}?token={owners_token}", err=True)
        click.echo("annotate: every answer is saved at once; Ctrl-C stops", err=True)
        if open_browser:
            webbrowser.open(url)
        try:
            with _answering(web, listener):
                yield series
        finally:
            series.close()


@contextlib.contextmanager
def _answering(web: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Answer requests in a thread as long as the block lasts."""
    config = uvicorn.Config(
        web, log_level="warning", access_log=False, timeout_graceful_shutdown=2, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="page")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _left(series: Series) -> str:
    """Which round is served, and how much of it is left."""
    total = len(series.desk.tasks)
    left = total - series.desk.finished
    return f"round {series.desk.round.number}, {left} of {total} items to label"


def closing_words(series: Series, *, complete: str, go_on: str) -> str:
    """How much is answered, by whom, and what to type next: `complete`, or `go_on` where not."""
    desk = series.desk
    total = len(desk.tasks)
    done = f"annotate: {desk.finished} of {total} items are labelled"
    people = ", ".join(f"{name} {count}" for name, count in desk.sessions().items())
    if people:
        done += f" ({people})"
    if desk.complete:
        return f"{done}; next: {complete}"
    return f"{done}, {total - desk.finished} are left; go on: {go_on}"
