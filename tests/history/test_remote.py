"""A default DVC remote that cannot be reached is found before anything runs, whatever kind it is."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from rounds import close as closing
from rounds import remote as remotes
from rounds.project import Project
from rounds.remote import Remote, default_remote
from stages.contract.errors import PipelineError
from tests.history.inprocess import Stages, answer, closed, committed

Fresh = Callable[..., Project]
# What dvc-s3 does with DVC's settings, as far as these tests need it: that package is not a dependency.
DVC_S3 = """
from functools import cached_property
from dvc_objects.fs.base import ObjectFileSystem

class S3FileSystem(ObjectFileSystem):
    protocol = "s3"
    REQUIRES = {"s3fs": "s3fs"}
    PARAM_CHECKSUM = "etag"

    def _prepare_credentials(self, **config):
        return {"client_kwargs": {"endpoint_url": config.get("endpointurl")}}

    @cached_property
    def fs(self):
        from s3fs import S3FileSystem
        return S3FileSystem(**self.fs_args)

    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("s3://")
"""


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server, a process of its own, with an empty bucket named `bucket`."""
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        cwd=tmp_path_factory.mktemp("s3"), stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stderr is not None
        address = next(line.split()[-1] for line in server.stderr if "Running on" in line)
        threading.Thread(target=server.stderr.read, daemon=True).start()
        httpx.put(f"{address}/bucket").raise_for_status()
        try:
            yield address
        finally:
            server.kill()


@pytest.fixture
def on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC can read S3, and finds credentials."""
    if importlib.util.find_spec("dvc_s3") is None:
        (tmp_path / "shim").mkdir()
        (tmp_path / "shim" / "dvc_s3.py").write_text(DVC_S3)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shim"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


def pointed(project: Project, *lines: str) -> Remote:
    """The project with another default remote, described by some lines of DVC's config."""
    text = "[core]\n    remote = shop\n['remote \"shop\"']\n" + "".join(
        f"    {row}\n" for row in lines
    )
    (project.root / ".dvc" / "config").write_text(text)
    committed(project)
    return default_remote(project.root)


def fault_of(remote: Remote) -> str:
    fault = remote.fault()
    return "" if fault is None else fault.what


@pytest.mark.slow
@pytest.mark.usefixtures("on_s3")
def test_an_s3_remote_is_reached_when_it_is_empty_and_not_without_its_bucket_or_server(
    project: Fresh, s3_server: str
) -> None:
    one = project(0)
    endpoint = f"endpointurl = {s3_server}"
    assert fault_of(pointed(one, "url = s3://bucket", endpoint)) == ""
    assert fault_of(pointed(one, "url = s3://bucket/not/yet/there", endpoint)) == ""
    httpx.put(f"{s3_server}/bucket/there/files/md5/aa/b", content=b"x").raise_for_status()
    assert fault_of(pointed(one, "url = s3://bucket/there", endpoint)) == ""
    said = fault_of(pointed(one, "url = s3://bukket/there", endpoint))
    assert "the DVC remote 'shop' cannot be reached (FileNotFoundError: " in said
    assert "there is no bucket 'bukket'" in said
    said = fault_of(pointed(one, "url = s3://bucket/there", "endpointurl = http://127.0.0.1:9"))
    assert "(EndpointConnectionError: Could not connect to the endpoint URL" in said


@pytest.mark.slow
@pytest.mark.usefixtures("on_s3")
def test_a_close_that_would_push_names_the_remote_before_the_run_and_goes_on_without_a_push(
    project: Fresh, s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = project(0)
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "hub")], check=True)
    subprocess.run(
        ["git", "remote", "add", "origin", str(tmp_path / "hub")], cwd=one.root, check=True
    )
    pointed(one, "url = s3://gone/shop", f"endpointurl = {s3_server}")
    answer(one)
    ran: list[str] = []
    Stages.hooks = [ran.append]
    with pytest.raises(PipelineError) as error:
        closed(one, push=True)
    assert not ran
    assert str(error.value).startswith(
        "s3://gone/shop: the DVC remote 'shop' cannot be reached (FileNotFoundError: "
    )
    assert error.value.remedy == (
        "name another: `dvc remote modify shop url URL`, or `rounds close --no-push`"
    )
    assert closed(one, keep_data=True).startswith("Round 1:")
    assert (one.root / ".dvc" / "tmp" / "unpushed").exists()

    # A close that pushes no data says so, and closes.
    answer(one)
    monkeypatch.chdir(one.root)
    done = CliRunner().invoke(closing.command, [])
    assert done.exit_code == 0, done.stderr
    first = done.stderr.splitlines()[0]
    assert first.startswith("data: s3://gone/shop: the DVC remote 'shop' cannot be reached (")
    assert "the data stays in the cache here until a close with --push; name another" in first
    answer(one)
    assert "data: " not in CliRunner().invoke(closing.command, ["--no-push"]).stderr


class Refusing(BaseHTTPRequestHandler):
    """A web server that lists no folder."""

    def do_GET(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        pass


def test_a_web_server_has_answered_whatever_it_says_and_one_that_is_down_has_not(
    project: Fresh,
) -> None:
    one = project(0)
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        assert fault_of(pointed(one, f"url = http://127.0.0.1:{port}/shop")) == ""
        server.shutdown()
    assert "Cannot connect to host 127.0.0.1:9" in fault_of(
        pointed(one, "url = http://127.0.0.1:9/x")
    )


def test_a_remote_that_needs_what_is_not_installed_or_does_not_answer_is_out_of_reach(
    project: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = project(0)
    assert "dvc-hdfs" in fault_of(pointed(one, "url = hdfs://nowhere/shop"))
    monkeypatch.setattr(remotes, "SECONDS", 0.01)
    assert "(no answer within 0.01 seconds)" in fault_of(pointed(one, "url = http://127.0.0.1:9/x"))


def test_a_remote_that_would_ask_a_person_for_a_password_is_not_tried(project: Fresh) -> None:
    one = project(0)
    remote = pointed(one, "url = webdav://127.0.0.1:9/shop", "ask_password = true")
    assert "dvc-webdav" in fault_of(remote) or fault_of(remote) == ""
    remote = pointed(one, "url = http://127.0.0.1:9/shop", "ask_password = true")
    assert fault_of(remote) == ""


def test_a_folder_is_reached_where_it_can_be_made_and_a_project_may_have_no_remote(
    project: Fresh, tmp_path: Path
) -> None:
    one = project(0)
    for url in (tmp_path / "new", f"file://{tmp_path}/new", "../new"):
        assert fault_of(pointed(one, f"url = {url}")) == ""
    assert fault_of(pointed(one, f"url = {tmp_path}/no/such")) == (
        "the DVC remote 'shop' cannot be reached"
    )
    (one.root / ".dvc" / "config").write_text("")
    assert default_remote(one.root).fault() is None


def test_a_name_with_blanks_can_be_typed_as_it_is_printed(tmp_path: Path) -> None:
    fault = Remote(tmp_path, "our shop", str(tmp_path / "no" / "such")).fault()
    assert fault is not None
    assert "`dvc remote modify 'our shop' url URL`" in fault.remedy


def test_a_batch_that_was_withdrawn_is_back_where_a_stage_fails_or_the_close_is_killed(
    project: Fresh,
) -> None:
    one = project(1)
    params = one.root / "params.yaml"
    params.write_text(params.read_text().replace('- "b"', '- "b"\n- "c"'))
    committed(one)
    folder = one.last_round().folder
    asked = (folder / "asked.jsonl").read_bytes()

    def fails(name: str) -> None:
        if name == "gate":
            raise PipelineError("gate", "no memory", "free some")

    Stages.hooks = [fails]
    with pytest.raises(PipelineError, match="no memory"):
        closed(one)
    assert (folder / "asked.jsonl").read_bytes() == asked
    assert one.last_round().number == 2

    shutil.rmtree(folder)  # as a close that was killed leaves it
    (one.root / ".dvc" / "tmp" / "rounds.lock").write_text("999999 close")
    with pytest.raises(PipelineError, match="no memory"):
        closed(one)
    assert (folder / "asked.jsonl").read_bytes() == asked
    Stages.hooks = []
    closed(one)
    assert (folder / "asked.jsonl").read_bytes() != asked
