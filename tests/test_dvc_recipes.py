"""What docs/dvc.md says one can do with DVC itself, done on a project of two closed rounds."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from handbook.metrics import FILES, all_keys
from rounds.init import fill_in
from tests.conftest import ROOT, Small, dvc, rounds, shell

IDENTITY = {
    f"GIT_{who}_{what}": "ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dvc recipes")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose batches 1 and 2 were answered; batch 3 is open."""
    home = tmp_path_factory.mktemp("recipes")
    Small(home / "small")
    tables = [f"--{name}=small/data/{name}.csv" for name in ("pool", "seed", "test")]
    rounds(home, "init", "shop", *tables, "--id", "id", "--columns", "x,y", **IDENTITY)
    shop = home / "shop"
    rounds(shop, "close", **IDENTITY)
    fill_in(shop / "params.yaml", {("query", "batch_size"): 12})
    shell(shop, "git", "commit", "--quiet", "--all", "--message", "Small batches", **IDENTITY)
    for _ in range(2):
        rounds(shop, "annotate", "--oracle", "../small/oracle.csv")
        rounds(shop, "close", **IDENTITY)
    return shop


def python(folder: Path, code: str) -> str:
    """What a Python program prints in a folder."""
    return shell(folder, sys.executable, "-c", code)


def recipe(name: str, page: str = "dvc.md") -> str:
    """The code block of a page of docs/ that follows the mark of that name."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    match = re.search(rf"<!-- recipe: {name} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert match, name
    return match[1]


def test_a_what_if_leaves_the_project_as_it_was_and_shows_beside_it(project: Path) -> None:
    before = shell(project, "git", "rev-parse", "HEAD")
    said = shell(project, "bash", "-euc", recipe("what-if"), **IDENTITY)
    assert shell(project, "git", "rev-parse", "HEAD") == before
    assert shell(project, "git", "status", "--porcelain") == ""
    assert "query.strategy" in said
    assert "margin" in said
    assert "what-if" in said
    words = ("for-each-ref", "refs/exps", "--format=%(objectname)")
    commit = shell(project, "git", *words).split()[0]  # an experiment is no branch
    batch = json.loads(shell(project, "git", "show", f"{commit}:metrics/query.json"))
    assert batch["strategy"].endswith("margin")
    own = json.loads((project / "metrics" / "query.json").read_text())
    assert own["batch_id"] != batch["batch_id"]


def test_params_metrics_and_plots_of_rounds_are_compared(project: Path) -> None:
    said = shell(project, "bash", "-euc", recipe("compare"))
    assert "query.batch_size" in said
    assert "metrics/validate.json" in said
    assert "index.html" in said


def test_labels_and_model_of_a_commit_are_read_by_dvc_api(project: Path) -> None:
    said = python(project, recipe("api"))
    labels = re.search(r"(\d+) labels", said)
    assert labels
    assert int(labels[1]) >= 18
    assert re.search(r"\['\w+', '\w+', '\w+'\]", said)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server on this machine with a bucket named data."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    address = f"http://{host}:{port}"
    import boto3

    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="data")
    yield address
    server.stop()


def test_a_clone_fetches_one_round_from_a_shared_bucket(
    project: Path, bucket: str, tmp_path: Path
) -> None:
    pytest.importorskip("dvc_s3", reason="dvc-s3 is not installed")
    here = tmp_path / "here"
    there = tmp_path / "there"
    shutil.copytree(project, here, symlinks=True)
    shell(tmp_path, "git", "clone", "--quiet", str(here), str(there))
    words = recipe("remote").replace("s3://bucket/shop", "s3://data/shop")
    endpoint = f"dvc remote modify --local shared endpointurl {bucket}\n"
    script = words.replace("dvc push", endpoint + "dvc push")
    shell(here, "bash", "-euc", script, **IDENTITY)
    shell(there, "git", "pull", "--quiet")
    dvc(there, "remote", "modify", "--local", "shared", "endpointurl", bucket)
    shell(there, "bash", "-euc", recipe("fetch"))
    assert (there / "build" / "gate" / "accepted.jsonl").is_file()


def test_a_round_is_logged_to_another_tracker(project: Path, tmp_path: Path) -> None:
    prints = "print(name, value, step)"  # MLflow itself is not installed
    (tmp_path / "mlflow.py").write_text(f"def log_metric(name, value, step):\n    {prints}\n")
    code = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{recipe('log')}"
    assert re.search(r"^active\.accuracy 0\.\d+ 2$", python(project, code), re.MULTILINE)


def test_a_clone_is_told_where_the_data_is_and_holds_the_same(project: Path) -> None:
    said = shell(project.parent, "bash", "-euc", recipe("clone", "moving.md"))
    assert "round    3: 0 of 12 rows answered" in said
    clone = project.parent / "copy"
    assert (clone / "build" / "predictor" / "CARD.md").is_file()
    shell(clone, "bash", "-euc", recipe("check", "moving.md"))


def test_dvc_knows_the_model_as_an_artifact(project: Path) -> None:
    assert "CARD.md" in dvc(project, "ls", ".", "build/predictor")
    artifacts = YAML(typ="safe").load(project / "dvc.yaml")["artifacts"]
    assert artifacts["predictor"]["path"] == "build/predictor"


def test_every_key_of_the_metrics_is_in_the_reference(project: Path) -> None:
    written = {f"metrics/{path.name}" for path in (project / "metrics").glob("*.json")}
    assert written == set(FILES)
    for file in FILES:
        keys = set(json.loads((project / file).read_text(encoding="utf-8")))
        assert keys <= all_keys(file), file
