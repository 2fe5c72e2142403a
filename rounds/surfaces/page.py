"""The page: a small local web app that shows one card at a time.

Each answer is saved before the next card is shown.
Reads the newest batch, writes answers/session-<name>.jsonl (see `desk`). What the browser is told
of an item is its content and its place in the batch: not its score, its arm, its file name, or what
a model thinks.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import json
import secrets
import socket
import time
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import uvicorn
from markdown_it import MarkdownIt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rounds.project import Project, Round
from rounds.surfaces.desk import Desk, Refused, Said, Session, Verdict, session_name, sole_writer
from stages.answers.prodigy import is_data_uri
from stages.contract.canonical import Row
from stages.contract.errors import PipelineError

STATIC = Path(__file__).parent / "static"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
LARGEST_BODY = 64 * 1024
LARGEST_IMAGE = 32 * 1024 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_WORDS = {"skip": "skipped", "reject": "rejected", "empty": "accepted without a label"}
_MAGIC = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


class Sent(BaseModel):
    """What the browser sends for one answer."""

    model_config = ConfigDict(extra="forbid", strict=True)
    session: str
    batch: str
    position: int = Field(ge=0)
    answer: Verdict
    label: str | None
    flagged: bool
    key: str = Field(pattern=r"^[\w-]{8,64}$")
    replaces: str = Field(max_length=400)


def reply(code: int, body: Mapping[str, Any]) -> Response:
    """JSON that any text survives in, lone surrogates included."""
    return Response(json.dumps(body), code, media_type="application/json")


class Guard:
    """Lets through what comes from this page's own browser tabs; puts the headers on what leaves.

    hosts: names that the Host header may carry (against DNS rebinding); empty when a token is
    demanded instead.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str) -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with a bound on the body."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        left = LARGEST_BODY

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        async def receive_bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise Refused(413, "The request is too large.")
            return message

        refusal = self._refusal(scope, Headers(scope=scope))
        return await (refusal or self._app)(scope, receive_bounded, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        origin = headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname
            is_foreign = origin is not None and urlsplit(origin).netloc != host
        except ValueError:  # brackets that do not match, for instance
            return reply(400, {"error": "The request's Host or Origin is malformed."})
        if self._hosts and name not in self._hosts:
            return reply(403, {"error": f"This page is not served under the name {host[:100]!r}."})
        is_cross_site = scope["path"] != "/" and headers.get("sec-fetch-site") == "cross-site"
        if is_foreign or is_cross_site:
            return reply(403, {"error": "Requests from other sites are refused."})
        size = headers.get("content-length", "0")
        if not size.isdecimal() or int(size[:9]) > LARGEST_BODY:
            return reply(413, {"error": "The request is too large."})
        content_type = headers.get("content-type", "").partition(";")[0]
        if scope["method"] == "POST" and content_type != "application/json":
            return reply(415, {"error": "JSON is expected."})
        return self._token_refusal(scope, headers) if self._token else None

    def _token_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """A redirect that makes a cookie of the token in the start page's address, or a refusal.

        Everything else must bring the token along.
        """
        request = Request(scope)
        shown = request.query_params.get("token", "")
        if scope["path"] == "/" and self._right(shown):
            response = RedirectResponse(f"/?{request.url.remove_query_params('token').query}", 303)
            response.set_cookie("labelrounds", self._token, httponly=True, samesite="lax")
            return response
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self._right(bearer) or self._right(request.cookies.get("labelrounds", "")):
            return None
        what = "Open the address with the token that was printed in the terminal."
        return reply(401, {"error": what})

    def _right(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())


class Handlers:
    """What the page's addresses answer."""

    def __init__(self, desk: Desk, images: Path) -> None:
        self._desk, self._images = desk, images

    async def state(self, request: Request) -> Response:
        """Everything that the page shows to a session."""
        return reply(200, shown_state(self._desk, self._session_of(request)))

    async def item(self, request: Request) -> Response:
        """One card, to look at again."""
        session = self._session_of(request)
        position = self._position(request, request.query_params.get("position", ""))
        return reply(200, shown_item(self._desk, session, position))

    async def answer(self, request: Request) -> Response:
        """Save an answer; the response leaves when it is on the disk."""
        try:
            sent = Sent.model_validate_json(await request.body())
        except ValidationError as error:
            raise Refused(400, "The page sent something odd. Reload it.") from error
        desk = self._desk
        session = desk.session(session_name(sent.session))
        if sent.batch != desk.batch or sent.position >= len(desk.tasks):
            raise Refused(410, "A new batch has begun. Reload the page.")
        try:
            async with session.busy:
                taken = desk.take(
                    session,
                    sent.position,
                    sent.answer,
                    sent.label,
                    key=sent.key,
                    replaces=sent.replaces,
                    flagged=sent.flagged,
                )
                if taken is not None:
                    # One disk for many: the others are served meanwhile.
                    await run_in_threadpool(taken.save)
                    desk.settle(session, taken)
        except Refused as refused:
            return reply(refused.code, {"error": str(refused), "state": shown_state(desk, session)})
        return reply(200, {"state": shown_state(desk, session)})

    async def image(self, request: Request) -> Response:
        """The picture of an item, as what it is, not as what it claims to be."""
        task = self._desk.tasks[self._position(request, request.path_params["position"])]
        data = picture(task.get("image"), self._images)
        kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
        if kind is None:
            raise Refused(404, "There is no picture here.")
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(data, media_type=kind, headers=headers)

    def _session_of(self, request: Request) -> Session:
        """The session that a request names. Raises Refused for a name that cannot be one."""
        return self._desk.session(session_name(request.query_params.get("session", "")))

    def _position(self, request: Request, text: str) -> int:
        """The position that a request names. Raises Refused where the batch has no such item."""
        if request.query_params.get("batch") != self._desk.batch:
            raise Refused(410, "A new batch has begun. Reload the page.")
        position = int(text) if text.isdecimal() and len(text) < 10 else -1
        if not 0 <= position < len(self._desk.tasks):
            raise Refused(404, "There is no such item.")
        return position


def app(desk: Desk, *, guide: str, images: Path, hosts: frozenset[str], token: str = "") -> ASGIApp:
    """The web app.

    guide: guidelines as Markdown. images: the folder that pictures given as paths must lie in.
    """
    markup = MarkdownIt("js-default", {"html": False}).render(guide)
    page = (STATIC / "page.html").read_text(encoding="utf-8").replace("__GUIDE__", markup)
    handlers = Handlers(desk, images)
    routes = [
        _fixed("/", page.encode(), "text/html"),
        _fixed("/page.css", (STATIC / "page.css").read_bytes(), "text/css"),
        _fixed("/page.js", (STATIC / "page.js").read_bytes(), "text/javascript"),
        _fixed("/favicon.ico", b"", "image/x-icon"),
        Route("/api/state", handlers.state),
        Route("/api/item", handlers.item),
        Route("/api/answer", handlers.answer, methods=["POST"]),
        Route("/image/{position}", handlers.image),
    ]
    errors = (Refused, OSError, ClientDisconnect)
    inner = Starlette(routes=routes, exception_handlers=dict.fromkeys(errors, _as_reply))
    return Guard(inner, hosts, token)


def _fixed(path: str, data: bytes, kind: str) -> Route:
    async def serve(_: Request) -> Response:
        return Response(data, media_type=kind)

    return Route(path, serve)


async def _as_reply(_: Request, error: Exception) -> Response:
    """A refusal in its own words; a disk that does not write is worth trying again (503)."""
    return reply(error.code if isinstance(error, Refused) else 503, {"error": str(error)})


def picture(image: object, folder: Path) -> bytes:
    """The bytes of a task's picture: its data URI's, or those of a file inside `folder`.

    Raises Refused for anything else.
    """
    nothing = Refused(404, "There is no picture here.")
    if not isinstance(image, str):
        raise nothing
    if is_data_uri(image):
        try:
            return base64.b64decode(image.partition(",")[2], validate=True)
        except (binascii.Error, ValueError) as error:
            raise Refused(404, "The picture is damaged.") from error
    try:
        path = (folder / image).resolve(strict=True)
        is_inside = path.is_relative_to(folder.resolve()) and path.is_file()
        if is_inside and path.stat().st_size <= LARGEST_IMAGE:
            return path.read_bytes()
    except (OSError, ValueError) as error:
        raise nothing from error
    raise nothing


def shown_content(task: Row) -> Row:
    """The content of a task and nothing else of it; fields in the order of the table."""
    shown: Row = {"text": task.get("text"), "image": "image" in task, "fields": None}
    fields = task.get("fields")
    if isinstance(fields, dict):
        # The text has a line `name: value` for each field, in the table's order; JSON sorts them.
        lines = f"\n{task.get('text')}"
        ordered = sorted(fields.items(), key=lambda field: lines.find(f"\n{field[0]}: "))
        shown["fields"] = [[str(name), str(value)] for name, value in ordered]
    return shown


def shown_item(desk: Desk, session: Session, position: int) -> Row:
    """A card: content, this session's standing answer, and the key that an answer must replace."""
    said = session.said.get(position)
    return {
        **shown_content(desk.tasks[position]),
        "position": position,
        "key": session.keys.get(position, ""),
        "answer": said.answer.kind if said else None,
        "label": said.answer.label if said else None,
        "flagged": said.answer.flagged if said else False,
    }


def shown_past(desk: Desk, said: Said) -> Row:
    """A line of the history."""
    content = shown_content(desk.tasks[said.position])
    return {
        "position": said.position,
        "key": said.key,
        "image": content["image"],
        "text": (content["text"] or "")[:80],
        "said": said.answer.label or _WORDS.get(said.answer.kind, said.answer.kind),
        "flagged": said.answer.flagged,
    }


def shown_state(desk: Desk, session: Session) -> Row:
    """All that the page shows to a session."""
    position = desk.current(session)
    return {
        "session": session.name,
        "batch": desk.batch,
        "labels": desk.labels,
        "card": None if position is None else shown_item(desk, session, position),
        "history": [shown_past(desk, said) for said in desk.history(session)],
        "finished": desk.finished,
        "total": len(desk.tasks),
        "mine": len(session.said),
        "complete": desk.finished == len(desk.tasks),
        "next": "rounds close",
    }


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


def serve(
    project: Project, newest: Round, *, host: str, port: int, idle: float, open_browser: bool
) -> str:
    """Serve the open round's batch until Ctrl-C. The sentence that says how much is left."""
    guide = _guidelines(project)
    is_local = host in LOOPBACK
    token = "" if is_local else secrets.token_urlsafe(24)
    with sole_writer(newest), listen(host, port) as listener:
        desk = Desk(project, newest, idle=idle, clock=time.time)
        web = app(
            desk,
            guide=guide,
            images=project.root / project.params().data.images,
            hosts=frozenset(LOOPBACK) if is_local else frozenset(),
            token=token,
        )
        address = f"http://{_host_name(host)}:{listener.getsockname()[1]}/"
        if token:
            address += f"?token={token}"
        left = f"{len(desk.tasks) - desk.finished} of {len(desk.tasks)} items to label"
        click.echo(f"annotate: round {newest.number}, {left} at {address}", err=True)
        click.echo("annotate: every answer is saved at once; Ctrl-C stops", err=True)
        if open_browser:
            webbrowser.open(address)
        try:
            _run(web, listener)
        finally:
            desk.close()
    return closing_words(desk)


def _run(web: ASGIApp, listener: socket.socket) -> None:
    """Answer requests until Ctrl-C."""
    config = uvicorn.Config(
        web, log_level="warning", access_log=False, timeout_graceful_shutdown=2, lifespan="off"
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def closing_words(desk: Desk) -> str:
    """How much is answered, by whom, and what to type next."""
    total = len(desk.tasks)
    done = f"annotate: {desk.finished} of {total} items are labelled"
    people = ", ".join(f"{name} {count}" for name, count in desk.sessions().items())
    if people:
        done += f" ({people})"
    if desk.finished == total:
        return f"{done}; next: rounds close"
    return f"{done}, {total - desk.finished} are left; go on: rounds annotate"
