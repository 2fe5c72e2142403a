"""The addresses of the page of disputed rows, under the owner's token (`rounds.adjudicate`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rounds.surfaces.desk import Refused
from stages.contract.canonical import Row, dumps
from stages.contract.errors import PipelineError


class Decision(BaseModel):
    """What the browser sends for one decision."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: str
    label: str
    why: str = Field(default="", max_length=2000)


class Bench(Protocol):
    """Who knows the disputed rows, and keeps decisions."""

    def shown(self) -> Row:
        """The rows and the labels."""

    def picture(self, item: str) -> object:
        """An item's picture, as its task holds it."""

    def decide(self, item: str, label: str, why: str) -> str:
        """Keep a decision; who is said to have decided."""


def routes(
    prefix: str, bench: Bench, response_of_picture: Callable[[object], Response]
) -> list[Route]:
    """The addresses. response_of_picture: what a browser gets of a task's picture."""

    async def rows(_: Request) -> Response:
        return Response(dumps(await run_in_threadpool(bench.shown)), media_type="application/json")

    async def picture(request: Request) -> Response:
        item = request.query_params.get("id", "")
        return response_of_picture(await run_in_threadpool(bench.picture, item))

    async def decide(request: Request) -> Response:
        try:
            said = Decision.model_validate_json(await request.body())
        except ValidationError as error:
            raise Refused(400, "The page sent something odd. Reload it.") from error
        try:
            by = await run_in_threadpool(bench.decide, said.id, said.label, said.why)
        except PipelineError as error:
            raise Refused(409, str(error)) from error
        return Response(dumps({"by": by}), media_type="application/json")

    return [
        Route(f"{prefix}/rows", rows),
        Route(f"{prefix}/picture", picture),
        Route(f"{prefix}/decide", decide, methods=["POST"]),
    ]


def static(folder: Path) -> dict[str, tuple[bytes, str]]:
    """The files of the page: address after the prefix -> content and media type."""
    return {
        "": ((folder / "disputed.html").read_bytes(), "text/html"),
        "/disputed.js": ((folder / "disputed.js").read_bytes(), "text/javascript"),
    }
