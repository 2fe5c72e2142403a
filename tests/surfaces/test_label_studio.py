"""Label Studio: what is sent and what is understood; and a round with a real server.

The server's test needs Label Studio in an environment of its own (it pins some sixty packages): it
uses the one that LABELROUNDS_LABEL_STUDIO names (the path of the `label-studio` command), else it
makes one, which takes minutes and the network.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest
from click.testing import CliRunner

from rounds import annotate, collect
from rounds.surfaces import label_studio
from stages.contract.errors import PipelineError
from tests.surfaces.conftest import LABELS, MakeProject
from tests.surfaces.test_collect import state

RELEASE = "label-studio==1.23.2"
LEGACY = "0123456789abcdef0123456789abcdef01234567"
QUIET = {
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
}


def test_the_labelling_interface_holds_the_labels_in_order_escaped_and_with_keys() -> None:
    labels = ['a "quoted" <one> & more', *(f"label {n}" for n in range(11))]
    root = ET.fromstring(label_studio.label_config(labels, image=False))
    choices = list(root.iter("Choice"))
    assert [choice.get("value") for choice in choices] == labels
    assert [choice.get("hotkey") for choice in choices] == [*"1234567890", None, None]
    assert [choice.get("choice") for choice in root.iter("Choices")] == ["single"]


def test_labels_that_are_digits_have_themselves_as_keys() -> None:
    root = ET.fromstring(label_studio.label_config(["0", "1", "7"], image=True))
    assert [choice.get("hotkey") for choice in root.iter("Choice")] == ["0", "1", "7"]
    assert [image.get("value") for image in root.iter("Image")] == ["$image"]


@pytest.mark.parametrize("text", ["", " \n", "two words", "t\u00f6ken"])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PipelineError, match="no access token in it"):
        label_studio.read_token(file)
    with pytest.raises(PipelineError, match="cannot be read"):
        label_studio.read_token(tmp_path / "none")


def test_a_server_that_is_not_there_is_one_line(make_project: MakeProject) -> None:
    project = make_project()
    for url in ("http://127.0.0.1:1", "nowhere", "http://[bad"):
        with pytest.raises(PipelineError, match="no Label Studio there") as caught:
            label_studio.send(project, url, "token")
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="session")
def command(pytestconfig: pytest.Config) -> str:
    """The `label-studio` command of an environment of its own."""
    if known := os.environ.get("LABELROUNDS_LABEL_STUDIO"):
        return known
    folder = (
        Path(pytestconfig.cache.mkdir("label-studio"))
        if pytestconfig.cache
        else Path(".pytest_cache/label-studio")
    )
    found = folder / "bin" / "label-studio"
    if not found.is_file():
        try:
            subprocess.run(
                [sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True
            )
            install = [str(folder / "bin" / "pip"), "install", "--quiet", RELEASE]
            subprocess.run(install, check=True, capture_output=True, timeout=1200)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"{RELEASE} cannot be installed: {error}")
    return str(found)


@pytest.fixture(scope="module")
def server(command: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a fresh server on this machine. It is ours if it knows our token: on a busy port
    it would move on.
    """
    folder = tmp_path_factory.mktemp("label-studio")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = f"start --no-browser --internal-host 127.0.0.1 --port {port} --data-dir {folder} --username a@b.c"
    arguments += f" --password secret-pass-1 --user-token {LEGACY} --enable-legacy-api-token"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [command, *arguments.split()], env=os.environ | QUIET, stdout=log, stderr=log
        )
    transport = httpx.HTTPTransport(
        retries=10
    )  # with growing pauses; a refused connection is tried again
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=60)
    client.headers["Authorization"] = f"Token {LEGACY}"
    try:
        assert client.get("/api/users/").json()[0]["email"] == "a@b.c"
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(timeout=60)


def run(what: Any, *arguments: str) -> str:
    result = CliRunner().invoke(what.command, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.label_studio
@pytest.mark.parametrize("kind", ["legacy token", "personal access token"])
def test_a_round_with_a_real_server(
    make_project: MakeProject, server: httpx.Client, kind: str
) -> None:
    odd = "<script>alert(1)</script> & \u200b\u202e\n\r\n second line \U0001f600"
    project = make_project(["good", odd, "so so", "last"], surface={"annotations_per_item": 2})
    root = project.root.rename(
        project.root.with_name(kind)
    )  # the server's project bears the folder's name
    os.chdir(root)
    project = type(project)(root)
    token = (
        LEGACY if kind == "legacy token" else server.post("/api/token/", json={}).json()["token"]
    )
    (root / "token").write_text(token)
    where = ["--url", str(server.base_url), "--token-file", "token"]

    assert "4 of 4 items sent" in run(annotate, "--with", "label-studio", *where)
    assert "0 of 4 items sent" in run(annotate, "--with", "label-studio", *where)

    known = {
        one["title"].partition(" round")[0]: one["id"]
        for one in server.get("/api/projects/").json()["results"]
    }
    number = known[kind[:20]]
    settings = server.get(f"/api/projects/{number}/").json()
    assert (settings["sampling"], settings["maximum_annotations"]) == ("Sequential sampling", 2)
    tasks = server.get("/api/tasks/", params={"project": number}).json()["tasks"]
    tasks.sort(key=lambda task: task["id"])
    assert [task["data"]["text"] for task in tasks] == ["good", odd, "so so", "last"]
    assert all(set(task["data"]) == {"text", "al_id", "al_batch"} for task in tasks)

    def choose(label: str) -> dict[str, object]:
        result = {
            "from_name": "label",
            "to_name": "item",
            "type": "choices",
            "value": {"choices": [label]},
        }
        return {"result": [result]}

    for task, body in zip(
        tasks,
        [choose(LABELS[0]), choose(LABELS[1]), {"result": [], "was_cancelled": True}],
        strict=False,
    ):
        assert server.post(f"/api/tasks/{task['id']}/annotations/", json=body).is_success
    told = run(collect, "--from", "label-studio", *where)
    assert "4 rows: 2 answered, 1 skipped, 1 unanswered; 3 new" in told
    assert "missing: p-3" in told
    expected = [("p-0", "label", LABELS[0]), ("p-1", "label", LABELS[1]), ("p-2", "skip", None)]
    assert [(item, *said) for item, _, *said in state(project)] == expected
    assert "; 0 new" in run(collect, "--from", "label-studio", *where)

    export = server.get(
        f"/api/projects/{number}/export",
        params={"exportType": "JSON", "download_all_tasks": "true"},
    )
    (root / "by-hand.json").write_bytes(export.content)
    assert "by-hand (label-studio): 4 rows: 2 answered, 1 skipped, 1 unanswered" in run(
        collect, "by-hand.json"
    )
    assert [(item, *said) for item, _, *said in state(project)] == expected


@pytest.mark.label_studio
def test_a_wrong_token_and_a_project_never_sent_are_told_in_one_line(
    make_project: MakeProject, server: httpx.Client
) -> None:
    project = make_project()
    with pytest.raises(PipelineError, match="the token is refused"):
        label_studio.send(project, str(server.base_url), "f" * 40)
    with pytest.raises(PipelineError, match="no project 'project round 001 b1'"):
        label_studio.fetch(project, str(server.base_url), LEGACY)
