"""Tables at a URL are copied in, pinned where that can be, and a URL that moved on is found."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner

import rounds.close
from rounds.__main__ import cli
from rounds.origins import FILES, moved_on, not_asked
from rounds.project import Project
from stages.contract.canonical import read_json
from stages.contract.errors import PipelineError
from stages.contract.params import load
from tests.conftest import blobs
from tests.history.inprocess import Stages, closed, read_yaml

OLD, NEW = "a" * 40, "b" * 40
SPANS = {"pool": slice(40, 80), "seed": slice(0, 12), "test": slice(12, 40)}


def table(name: str, draw: int = 0) -> bytes:
    """One of the three tables as CSV."""
    width = 3 if name == "pool" else 4
    rows = [("id", "x", "y", "label"), *blobs(80, draw)[SPANS[name]]]
    return "".join(",".join(row[:width]) + "\n" for row in rows).encode()


class Hub(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Stands in for the Hub's file system: repositories with commits, and branches that move."""

    protocol = "hf"
    cachable = False
    branches: dict[str, str] = {}  # noqa: RUF012 - set by each test
    commits: dict[str, dict[str, bytes]] = {}  # noqa: RUF012

    @classmethod
    def place(cls, path: str) -> tuple[str, str]:
        """The revision and the path within the repository."""
        rest = cls._strip_protocol(path).removeprefix("datasets/org/shop")
        revision, _, inside = (
            rest.rpartition("@")[2].partition("/") if "@" in rest else ("main", "", rest[1:])
        )
        return revision, inside

    def resolve_path(self, path: str) -> Any:
        """As huggingface_hub's own, for this one repository."""
        revision, inside = self.place(path)
        if revision not in self.commits and revision not in self.branches:
            raise FileNotFoundError(f"{path} (revision not found)")
        return SimpleNamespace(
            repo_type="dataset", repo_id="org/shop", revision=revision, path_in_repo=inside
        )

    def _files(self, path: str) -> tuple[str, dict[str, bytes], str]:
        revision, inside = self.place(path)
        commit = self.branches.get(revision, revision)
        return commit, self.commits[commit], inside

    def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:
        commit, files, inside = self._files(path)
        found = [
            {"name": f"datasets/org/shop@{commit}/{name}", "size": len(data), "type": "file"}
            for name, data in files.items()
            if name.startswith(inside.rstrip("/") + "/") or name == inside
        ]
        if not found:
            raise FileNotFoundError(path)
        return found if detail else [one["name"] for one in found]

    def _open(self, path: str, *_: object, **__: object) -> io.BytesIO:
        _, files, inside = self._files(path)
        return io.BytesIO(files[inside])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A repository with two commits, of which `main` is the older."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    files = {f"data/{name}.csv": table(name) for name in SPANS}
    Hub.commits = {OLD: files, NEW: {**files, "data/pool.csv": table("pool", draw=1)}}
    Hub.branches = {"main": OLD, "v1": OLD}
    known = dict(fsspec.registry)
    fsspec.register_implementation("hf", Hub, clobber=True)

    def repo_info(_self: object, repo_id: str, *, repo_type: str, revision: str) -> Any:
        assert (repo_id, repo_type) == ("org/shop", "dataset")
        return SimpleNamespace(sha=Hub.branches.get(revision, revision))

    monkeypatch.setattr(huggingface_hub, "HfFileSystem", Hub)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    yield Hub
    fsspec.register_implementation(
        "hf", known.get("hf", "huggingface_hub.HfFileSystem"), clobber=True
    )


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git with a name, DVC played by the tests."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ann")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ann@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setattr(rounds.close, "Dvc", Stages)


def init(root: Path, **urls: str) -> str:
    """What `rounds init` says; a failure begins with `error: `."""
    words = [word for name, url in urls.items() for word in (f"--{name}", url)]
    done = CliRunner().invoke(cli, ["init", str(root), *words, "--id", "id"])
    assert done.exit_code in (0, 1), done.exception
    return done.stderr


def urls_of(base: str) -> dict[str, str]:
    """The URLs of the three tables."""
    return {name: f"{base}/{name}.csv" for name in SPANS}


def test_a_branch_of_the_hub_is_pinned_to_its_commit_in_params_and_lock(
    tmp_path: Path, hub: type[Hub]
) -> None:
    root = tmp_path / "shop"
    said = init(root, **urls_of("hf://datasets/org/shop/data"))
    pinned = urls_of(f"hf://datasets/org/shop@{OLD}/data")
    assert f"  pool: copied from {pinned['pool']}\n" in said
    assert load(root / "params.yaml").data.origin == pinned
    for name in SPANS:
        assert (root / "data" / f"{name}.csv").read_bytes() == table(name)
    project = Project(root.resolve())
    closed(project)
    lock = read_yaml(str(root / "dvc.lock"))["stages"]["featurize"]["params"]["params.yaml"]
    assert lock["data"]["origin"] == pinned
    hub.branches["main"] = NEW
    assert moved_on(root) == []  # a commit does not move
    assert not_asked(root) == []
    init(tmp_path / "later", **urls_of("hf://datasets/org/shop@main/data"))
    assert (tmp_path / "later/data/pool.csv").read_bytes() == table("pool", draw=1)
    init(tmp_path / "tag", **urls_of("hf://datasets/org/shop@v1/data"))
    assert load(tmp_path / "tag/params.yaml").data.origin == pinned
    exact = urls_of(f"hf://datasets/org/shop@{NEW}/data")
    init(tmp_path / "exact", **exact)
    assert load(tmp_path / "exact/params.yaml").data.origin == exact


def test_a_revision_or_library_that_is_not_there_is_one_line(
    tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "hf://datasets/org/shop@nope/data/pool.csv"
    assert init(tmp_path / "shop", pool=url) == (
        f"error: {url}: cannot be read ({url} (revision not found)); correct the URL\n"
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert init(tmp_path / "shop", pool=url) == (
        f"error: {url}: huggingface_hub is not installed, and hf:// needs it; "
        "pip install 'labelrounds[hub]'\n"
    )
    assert not (tmp_path / "shop").exists()


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's own file system in memory, with the three tables."""
    system = fsspec.filesystem("memory")
    for name in SPANS:
        system.pipe_file(f"/shop/{name}.csv", table(name))
    yield system
    system.rm("/shop", recursive=True)


def test_a_url_that_was_written_again_is_found_and_one_that_is_the_same_is_not(
    tmp_path: Path, memory: Any
) -> None:
    root = tmp_path / "shop"
    init(root, **urls_of("memory://shop"))
    assert load(root / "params.yaml").data.origin == urls_of("memory://shop")
    assert set(read_json(root / FILES)) == set(SPANS)
    assert not_asked(root) == [
        "origin: pool, seed, test: copied from a URL; --origin asks it whether the content changed"
    ]
    assert moved_on(root) == []
    memory.pipe_file("/shop/seed.csv", table("seed"))  # the same again
    assert moved_on(root) == []
    other = table("pool", draw=1) + b"r-999,0,0\n"
    memory.pipe_file("/shop/pool.csv", other)
    memory.rm_file("/shop/test.csv")
    found = moved_on(root)
    sizes = f"{len(table('pool'))} -> {len(other)} bytes"
    assert found[0] == (
        f"origin: pool: memory://shop/pool.csv was written again since it was copied ({sizes}); "
        "the project keeps the copy that it was made with"
    )
    assert found[1].startswith("origin: test: memory://shop/test.csv cannot be read (")
    assert found[1].endswith(
        "so nobody knows whether it changed; the project keeps the copy that it was made with"
    )
    assert len(found) == 2


@pytest.mark.slow
def test_parts_are_copied_from_a_folder_or_a_pattern_and_only_as_a_pool(
    tmp_path: Path, memory: Any
) -> None:
    head, *rows = table("pool").decode().splitlines()
    for part in (0, 1):
        memory.pipe_file(
            f"/shop/parts/p-{part}.csv", "\n".join([head, *rows[part::2], ""]).encode()
        )
    memory.pipe_file("/shop/parts/README.md", b"not a table")
    tables = {name: url for name, url in urls_of("memory://shop").items() if name != "pool"}
    for name, url in (("a", "memory://shop/parts"), ("b", "memory://shop/parts/p-*.csv")):
        init(tmp_path / name, pool=url, **tables)
        names = sorted(path.name for path in (tmp_path / name / "data/pool").iterdir())
        assert names == ["p-0.csv", "p-1.csv"]
    said = init(tmp_path / "c", pool="memory://shop/pool.csv", seed="memory://shop/parts")
    assert said == (
        "error: memory://shop/parts: 2 files, and only a pool may be in parts; name one file as --seed\n"
    )


def test_a_fault_in_a_copy_names_the_url(tmp_path: Path, memory: Any) -> None:
    memory.pipe_file("/shop/pool.csv", b"id,x,y\na,1,2\nb,?,2\n")
    said = init(tmp_path / "shop", **urls_of("memory://shop"))
    assert said.startswith("error: memory://shop/pool.csv:3: column 'x' holds '?'"), said
    assert not (tmp_path / "shop").exists()


def test_a_pool_that_dvc_cannot_track_is_refused_where_it_is_named(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("data/demo/pool.csv", "hf://datasets/org/shop/pool.csv", 1))
    with pytest.raises(PipelineError) as raised:
        load(path)
    assert raised.value.what == "data.pool is at hf://, which DVC cannot track in place"
    assert raised.value.remedy == "let `rounds init DIR --pool hf://...` copy it"
