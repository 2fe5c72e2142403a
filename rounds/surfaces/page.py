"""The page: a small local web app that shows one card at a time.

Each answer is saved before the next card is shown.
Reads the newest batch, writes answers/session-<name>.jsonl (see `desk`); what the browser is told
stands in `shown`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rounds.surfaces import adjudication
from rounds.surfaces.desk import (
    Desk,
    GroupCommit,
    Refused,
    Remark,
    RoundOver,
    Session,
    Verdict,
    session_name,
)
from rounds.surfaces.label_help import LabelHelp
from rounds.surfaces.series import Series
from rounds.surfaces.shown import shown_item, shown_state
from stages.answers.prodigy import is_data_uri

STATIC = Path(__file__).parent / "static"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
OWNER = "/owner"
DISPUTED = f"{OWNER}/disputed"
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
    note: str = Field(default="", max_length=2000)
    key: str = Field(pattern=r"^[\w-]{8,64}$")
    replaces: str = Field(max_length=400)


def reply(code: int, body: Mapping[str, Any]) -> Response:
    """JSON that any text survives in, lone surrogates included."""
    return Response(json.dumps(body), code, media_type="application/json")


@dataclass(frozen=True)
class Key:
    """The token that opens the addresses under a path; "" opens them to everybody.

    cookie: the name of the cookie that keeps it.
    """

    path: str
    cookie: str
    token: str

    def fits(self, text: str) -> bool:
        """Whether a text is the token; how long that takes tells nothing of it."""
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.token.encode())


class Guard:
    """Lets through what comes from this page's own browser tabs; puts the headers on what leaves.

    hosts: names that the Host header may carry (against DNS rebinding); empty when a token is
    demanded instead. token: of the annotators; owner: of the owner's view, which opens nothing
    else.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str, owner: str) -> None:
        self._app = app
        self._hosts = hosts
        self._key = Key("/", "labelrounds", token)
        self._owners_key = Key(OWNER, "labelrounds-owner", owner)

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
        is_owners = scope["path"] == OWNER or scope["path"].startswith(f"{OWNER}/")
        key = self._owners_key if is_owners else self._key
        return _token_refusal(key, scope, headers) if key.token else None


def _token_refusal(key: Key, scope: Scope, headers: Headers) -> Response | None:
    """A redirect that makes a cookie of the token in the start page's address, or a refusal.

    Everything else must bring the token along.
    """
    request = Request(scope)
    shown = request.query_params.get("token", "")
    if scope["path"] == key.path and key.fits(shown):
        query = request.url.remove_query_params("token").query
        response = RedirectResponse(f"{key.path}?{query}", 303)
        response.set_cookie(key.cookie, key.token, path=key.path, httponly=True, samesite="lax")
        return response
    bearer = headers.get("authorization", "").removeprefix("Bearer ")
    if key.fits(bearer) or key.fits(request.cookies.get(key.cookie, "")):
        return None
    what = "Open the address with the token that was printed in the terminal."
    return reply(401, {"error": what})


class OwnersBoard(Protocol):
    """What the owner's view shows (`rounds.owner`)."""

    def people(self) -> Any:
        """Who takes part, read by the thread that takes the answers."""

    def html(self, people: Any) -> str:
        """The view with these people; this may run in a thread of its own."""


@dataclass(frozen=True)
class OwnersView:
    """The view of the owner: its token, and what makes its board when it is first looked at.

    bench: of the rows that people disagree on; None where these are not shown.
    """

    token: str
    make: Callable[[], OwnersBoard]
    bench: adjudication.Bench | None = None


class OwnersHandlers:
    """What the addresses of the owner's view answer; none of them takes anything."""

    def __init__(self, make: Callable[[], OwnersBoard]) -> None:
        self._make = make
        self._board: OwnersBoard | None = None
        self._busy = asyncio.Lock()

    async def board(self, _: Request) -> Response:
        """The board as HTML, a part of the page."""
        async with self._busy:  # its files are read once, however many look
            if self._board is None:
                self._board = await run_in_threadpool(self._make)
            people = self._board.people()
            html = await run_in_threadpool(self._board.html, people)
        return Response(html, media_type="text/html")

    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            _fixed(OWNER, (STATIC / "owner.html").read_bytes(), "text/html"),
            _fixed(f"{OWNER}/owner.css", (STATIC / "owner.css").read_bytes(), "text/css"),
            _fixed(f"{OWNER}/owner.js", (STATIC / "owner.js").read_bytes(), "text/javascript"),
            Route(f"{OWNER}/board", self.board),
        ]


class Handlers:
    """What the page's addresses answer."""

    def __init__(self, series: Series, images: Path) -> None:
        self._series = series
        self._images = images
        self._disk = GroupCommit()

    async def state(self, request: Request) -> Response:
        """Everything that the page shows to a session."""
        return reply(200, shown_state(self._series, self._session_of(request).name))

    async def item(self, request: Request) -> Response:
        """One card, to look at again."""
        session = self._session_of(request)
        position = self._position(request, request.query_params.get("position", ""))
        if not self._series.desk.may_answer(session.name, position):
            raise Refused(404, "That item is for somebody else.")
        return reply(200, shown_item(self._series.desk, session, position))

    async def answer(self, request: Request) -> Response:
        """Save an answer; the response leaves when it is on the disk."""
        try:
            sent = Sent.model_validate_json(await request.body())
        except ValidationError as error:
            raise Refused(400, "The page sent something odd. Reload it.") from error
        desk = self._series.desk
        session = desk.session(session_name(sent.session))
        asked = self._series.desk_of(sent.batch)
        if asked is None or sent.position >= len(asked.tasks):
            raise Refused(410, "A new batch has begun. Reload the page.")
        try:
            async with session.busy:
                await self._save(sent, asked, desk, session)
        except RoundOver as over:
            if self._series.goes_on:  # the page sends it again until the next batch is there
                raise Refused(503, "the next batch is being chosen.") from over
            return self._refusal(over, session)
        except Refused as refused:
            return self._refusal(refused, session)
        self._series.answered()
        return reply(200, {"state": shown_state(self._series, session.name)})

    async def _save(self, sent: Sent, asked: Desk, desk: Desk, session: Session) -> None:
        """Save an answer to the batch of `asked` in the round of `desk`, the one that is open."""
        if asked is not desk and sent.answer == "undo":
            raise Refused(409, "That batch is closed. Whoever runs the project can correct it.")
        person = session if asked is desk else asked.session(session.name)
        taken = asked.take(
            person,
            sent.position,
            sent.answer,
            sent.label,
            key=sent.key,
            replaces=sent.replaces,
            remark=Remark(sent.flagged, sent.note.strip()),
        )
        if taken is not None:
            # One disk for many: the others are served meanwhile.
            await self._disk.save(desk, session, taken)
            asked.settle(person, taken)

    def _refusal(self, refused: Refused, session: Session) -> Response:
        """The reason, and the true state."""
        state = shown_state(self._series, session.name)
        return reply(refused.code, {"error": str(refused), "state": state})

    async def image(self, request: Request) -> Response:
        """The picture of an item."""
        task = self._series.desk.tasks[self._position(request, request.path_params["position"])]
        return picture_response(task.get("image"), self._images)

    def _session_of(self, request: Request) -> Session:
        """The session that a request names. Raises Refused for a name that cannot be one."""
        return self._series.desk.session(session_name(request.query_params.get("session", "")))

    def _position(self, request: Request, text: str) -> int:
        """The position that a request names. Raises Refused where the batch has no such item."""
        desk = self._series.desk
        if request.query_params.get("batch") != desk.batch:
            raise Refused(410, "A new batch has begun. Reload the page.")
        position = int(text) if text.isdecimal() and len(text) < 10 else -1
        if not 0 <= position < len(desk.tasks):
            raise Refused(404, "There is no such item.")
        return position


def app(
    series: Series,
    *,
    guide: str,
    images: Path,
    hosts: frozenset[str],
    token: str = "",
    owner: OwnersView | None = None,
    labels: Sequence[LabelHelp] = (),
) -> ASGIApp:
    """The web app.

    guide: guidelines as Markdown. images: the folder that pictures given as paths must lie in.
    labels: what they mean.
    """
    markup = MarkdownIt("js-default", {"html": False}).render(guide)
    page = (STATIC / "page.html").read_text(encoding="utf-8").replace("__GUIDE__", markup)
    handlers = Handlers(series, images)
    routes = [
        _fixed("/", page.encode(), "text/html"),
        _fixed("/page.css", (STATIC / "page.css").read_bytes(), "text/css"),
        _fixed("/page.js", (STATIC / "page.js").read_bytes(), "text/javascript"),
        _fixed("/favicon.ico", b"", "image/x-icon"),
        _fixed("/api/labels", json.dumps(list(labels)).encode(), "application/json"),
        Route("/api/state", handlers.state),
        Route("/api/item", handlers.item),
        Route("/api/answer", handlers.answer, methods=["POST"]),
        Route("/image/{position}", handlers.image),
        *(OwnersHandlers(owner.make).routes() if owner else []),
        *(_disputed_routes(owner.bench, images) if owner and owner.bench else []),
    ]
    errors = (Refused, OSError, ClientDisconnect)
    inner = Starlette(routes=routes, exception_handlers=dict.fromkeys(errors, _as_reply))
    return Guard(inner, hosts, token, owner.token if owner else "")


def _disputed_routes(bench: adjudication.Bench, images: Path) -> list[Route]:
    """The page of disputed rows, under the owner's token."""
    files = adjudication.static(STATIC)
    fixed = [_fixed(f"{DISPUTED}{name}", *file) for name, file in files.items()]
    rows = adjudication.routes(DISPUTED, bench, lambda image: picture_response(image, images))
    return [*fixed, *rows]


def picture_response(image: object, folder: Path) -> Response:
    """A task's picture, as what it is, not as what it claims to be. Raises Refused for none."""
    data = picture(image, folder)
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        raise Refused(404, "There is no picture here.")
    headers = {"Cache-Control": "private, max-age=86400, immutable"}
    return Response(data, media_type=kind, headers=headers)


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
