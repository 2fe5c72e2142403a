"""Label Studio over REST: one project per round with the batch in order, and its answers back.

Sending twice adds only what is missing; fetching changes nothing there. The token is a personal
access token (newer servers) or a legacy one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import httpx

from rounds.project import Project, Round
from rounds.surfaces.formats import Item, read
from stages.answers.prodigy import offered
from stages.contract.canonical import Row, dumps
from stages.contract.errors import PipelineError

_TIMEOUT = httpx.Timeout(60.0)
_AT_ONCE = 200  # tasks per import request
_CONTENT = ("text", "image", "al_id", "al_batch")


def read_token(file: Path) -> str:
    """The access token in a file. Raises PipelineError when there is none."""
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(
            file, "the token cannot be read", "save the access token of Label Studio there"
        ) from error
    if not token or len(token.split()) > 1 or not token.isascii():
        raise PipelineError(
            file, "no access token in it", "save the access token of Label Studio there, alone"
        )
    return token


def label_config(labels: Sequence[str], image: bool) -> str:
    """The labelling interface: the content, and the labels as a single choice with keys 1 to 9 and 0.

    Where every label is itself a digit, its key is that digit.
    """
    digits = all(len(label) == 1 and label in "0123456789" for label in labels)
    keys = labels if digits else [str(place % 10) for place in range(1, min(len(labels), 10) + 1)]
    hotkeys = [f' hotkey="{key}"' for key in keys] + [""] * (len(labels) - len(keys))
    choices = [
        f"<Choice value={quoteattr(label)}{key}/>"
        for label, key in zip(labels, hotkeys, strict=True)
    ]
    shown = '<Image name="item" value="$image"/>' if image else '<Text name="item" value="$text"/>'
    head = '<Choices name="label" toName="item" choice="single" required="true" showInLine="true">'
    return "\n".join(["<View>", shown, head, *choices, "</Choices>", "</View>"])


def title(project: Project, newest: Round) -> str:
    """The name of a round's project there; the same round, the same name."""
    return f"{project.root.name[:20]} round {newest.number:03d} {newest.batch_id()[:8]}"


def send(project: Project, url: str, token: str) -> str:
    """Make the newest round's project if there is none, and import the rows that it lacks, in order."""
    newest, params = project.last_round(), project.params()
    tasks, name = newest.tasks(), title(project, newest)
    labels = offered(tasks) or params.labels
    with _server(url, token) as server:
        known = _find(server, name)
        if known is None:
            known = _json(
                server.post(
                    "/api/projects/",
                    json={
                        "title": name,
                        "label_config": label_config(labels, any("image" in row for row in tasks)),
                        "sampling": "Sequential sampling",
                        "maximum_annotations": params.surface.annotations_per_item,
                        "enable_empty_annotation": False,
                        "show_skip_button": True,
                        "skip_queue": "IGNORE_SKIPPED",
                        "show_collab_predictions": False,
                    },
                )
            )
        number = known["id"]
        there = {row["data"].get("al_id") for row in _export(server, number)}
        lacking = [row for row in tasks if row["al_id"] not in there]
        for start in range(0, len(lacking), _AT_ONCE):
            chunk = [_task(row) for row in lacking[start : start + _AT_ONCE]]
            body = dumps(chunk)  # plain JSON: any text survives in it
            _json(server.post(f"/api/projects/{number}/import", content=body, headers=_JSON))
    place = f"{url.rstrip('/')}/projects/{number}/data"
    back = f"rounds collect --from label-studio --url {url} --token-file …"
    return f"annotate: {len(lacking)} of {len(tasks)} items sent to {place}; when they are answered: {back}"


_JSON = {"Content-Type": "application/json"}


def _task(row: Row) -> Row:
    """What Label Studio is told of an item: its content and its identity."""
    return {"data": {key: row[key] for key in _CONTENT if key in row}}


def fetch(project: Project, url: str, token: str) -> list[Item]:
    """Every answer that the newest round's project holds, and those of rounds that were closed before all was answered.

    Raises PipelineError when there is no project of the newest round.
    """
    *earlier, newest = project.rounds()
    export: list[Row] = []
    with _server(url, token) as server:
        for one in [newest, *(one for one in earlier if one.closed_early.is_file())]:
            known = _find(server, title(project, one))
            if known is not None:
                export += _export(server, known["id"])
            elif one is newest:
                remedy = (
                    f"send it: `rounds annotate --with label-studio --url {url} --token-file …`"
                )
                raise PipelineError(url, f"no project {title(project, newest)!r}", remedy)
    return read(Path("label-studio.json"), dumps(export).encode(), "label-studio")[1]


def _find(server: httpx.Client, name: str) -> Row | None:
    """The project of that name, looked for on every page of the list."""
    page = 1
    while True:
        found = _json(
            server.get("/api/projects/", params={"page": page, "page_size": 100, "title": name})
        )
        for known in found["results"]:
            if known["title"] == name:
                return dict(known)
        if not found.get("next"):
            return None
        page += 1


def _export(server: httpx.Client, number: int) -> list[Row]:
    """All tasks of a project with their annotations, skips included, in the order they were imported."""
    options = {"exportType": "JSON", "download_all_tasks": "true"}
    tasks: list[Row] = _json(server.get(f"/api/projects/{number}/export", params=options))
    return sorted(tasks, key=lambda row: row["id"])


def _json(response: httpx.Response) -> Any:
    """The body of a good response. Raises PipelineError for any other."""
    if response.is_success:
        try:
            return response.json()
        except ValueError as error:
            raise PipelineError(
                response.url, "the answer is not JSON", "check that --url is Label Studio"
            ) from error
    if response.status_code in (401, 403):
        raise PipelineError(
            response.url, "the token is refused", "copy it anew from Account & Settings"
        )
    what = f"the server said {response.status_code}: {response.text[:200]}"
    raise PipelineError(response.url, what, "check --url and the server's log")


@contextmanager
def _server(url: str, token: str) -> Iterator[httpx.Client]:
    """A client that is logged in. Raises PipelineError when the server cannot be reached."""
    try:
        with httpx.Client(base_url=url, timeout=_TIMEOUT, follow_redirects=True) as server:
            server.headers["Authorization"] = _authorization(server, token)
            yield server
    except (httpx.TransportError, httpx.InvalidURL, httpx.TooManyRedirects) as error:
        raise PipelineError(
            url, f"no Label Studio there ({error})", "start it, or correct --url"
        ) from error


def _authorization(server: httpx.Client, token: str) -> str:
    """The header's value: a personal access token (a JWT, in three parts) is exchanged for a short-lived one."""
    if token.count(".") != 2:
        return f"Token {token}"
    return f"Bearer {_json(server.post('/api/token/refresh/', json={'refresh': token}))['access']}"
