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
    remedy = "save the access token of Label Studio there"
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(file, "the token cannot be read", remedy) from error
    if not token or len(token.split()) > 1 or not token.isascii():
        raise PipelineError(file, "no access token in it", f"{remedy}, alone")
    return token


def label_config(labels: Sequence[str], image: bool) -> str:
    """The labelling interface: the content, and the labels as a single choice.

    The keys of the first ten are 1 to 9 and 0; where every label is a digit, its key is that digit.
    """
    are_digits = all(len(label) == 1 and label in "0123456789" for label in labels)
    choices = []
    for position, label in enumerate(labels):
        key = label if are_digits else str((position + 1) % 10)
        hotkey = f' hotkey="{key}"' if position < 10 else ""
        choices.append(f"<Choice value={quoteattr(label)}{hotkey}/>")
    shown = '<Image name="item" value="$image"/>' if image else '<Text name="item" value="$text"/>'
    head = '<Choices name="label" toName="item" choice="single" required="true" showInLine="true">'
    return "\n".join(["<View>", shown, head, *choices, "</Choices>", "</View>"])


def title(project: Project, newest: Round) -> str:
    """The name of a round's project there; the same round, the same name."""
    return f"{project.root.name[:20]} round {newest.number:03d} {newest.batch_id()[:8]}"


def send(project: Project, url: str, token: str) -> str:
    """Import the rows that the newest round's project lacks, in order; make it if there is none."""
    newest = project.last_round()
    tasks = newest.to_ask()
    with _server(url, token) as server:
        sent_before = _find(server, title(project, newest))
        number = (sent_before or _create(server, project, newest))["id"]
        there = {task["data"].get("al_id") for task in _export(server, number)}
        lacking = [task for task in tasks if task["al_id"] not in there]
        for start in range(0, len(lacking), _AT_ONCE):
            chunk = [_task(task) for task in lacking[start : start + _AT_ONCE]]
            body = dumps(chunk)  # plain JSON: any text survives in it
            _json(server.post(f"/api/projects/{number}/import", content=body, headers=_JSON))
    sent = f"{len(lacking)} of {len(tasks)} items sent to {url.rstrip('/')}/projects/{number}/data"
    back = f"rounds collect --from label-studio --url {url} --token-file …"
    return f"annotate: {sent}; when they are answered: {back}"


def _create(server: httpx.Client, project: Project, newest: Round) -> Row:
    """A new project of a round, empty yet."""
    tasks = newest.to_ask()
    params = project.params()
    has_images = any("image" in task for task in tasks)
    settings = {
        "title": title(project, newest),
        "label_config": label_config(offered(tasks) or params.labels, has_images),
        "sampling": "Sequential sampling",
        "maximum_annotations": params.surface.annotations_per_item,
        "enable_empty_annotation": False,
        "show_skip_button": True,
        "skip_queue": "IGNORE_SKIPPED",
        "show_collab_predictions": False,
    }
    return dict(_json(server.post("/api/projects/", json=settings)))


_JSON = {"Content-Type": "application/json"}


def _task(row: Row) -> Row:
    """An item as Label Studio gets it: its content and its identity."""
    return {"data": {key: row[key] for key in _CONTENT if key in row}}


def fetch(project: Project, url: str, token: str) -> list[Item]:
    """Every answer in the newest round's project, and in those of rounds that were closed early.

    Raises PipelineError where there is no project of the newest round.
    """
    *earlier, newest = project.rounds()
    closed_early = [issued for issued in earlier if issued.closed_early.is_file()]
    export: list[Row] = []
    with _server(url, token) as server:
        for issued in [newest, *closed_early]:
            sent = _find(server, title(project, issued))
            if sent is not None:
                export += _export(server, sent["id"])
            elif issued is newest:
                send_it = f"rounds annotate --with label-studio --url {url} --token-file …"
                what = f"no project {title(project, newest)!r}"
                raise PipelineError(url, what, f"send it: `{send_it}`")
    return read(Path("label-studio.json"), dumps(export).encode(), "label-studio")[1]


def _find(server: httpx.Client, name: str) -> Row | None:
    """The project of that name, looked for on every page of the list."""
    number = 1
    while True:
        query: dict[str, str | int] = {"page": number, "page_size": 100, "title": name}
        page = _json(server.get("/api/projects/", params=query))
        for project in page["results"]:
            if project["title"] == name:
                return dict(project)
        if not page.get("next"):
            return None
        number += 1


def _export(server: httpx.Client, number: int) -> list[Row]:
    """All tasks of a project with their annotations, skips included, in the order of import."""
    options = {"exportType": "JSON", "download_all_tasks": "true"}
    tasks: list[Row] = _json(server.get(f"/api/projects/{number}/export", params=options))
    return sorted(tasks, key=lambda row: row["id"])


def _json(response: httpx.Response) -> Any:
    """The body of a good response. Raises PipelineError for any other."""
    if response.is_success:
        try:
            return response.json()
        except ValueError as error:
            remedy = "check that --url is Label Studio"
            raise PipelineError(response.url, "the answer is not JSON", remedy) from error
    if response.status_code in (401, 403):
        remedy = "copy it anew from Account & Settings"
        raise PipelineError(response.url, "the token is refused", remedy)
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
        what = f"no Label Studio there ({error})"
        raise PipelineError(url, what, "start it, or correct --url") from error


def _authorization(server: httpx.Client, token: str) -> str:
    """The header's value. A personal access token is exchanged for a short-lived one."""
    is_personal = token.count(".") == 2  # a JWT has three parts
    if not is_personal:
        return f"Token {token}"
    return f"Bearer {_json(server.post('/api/token/refresh/', json={'refresh': token}))['access']}"
