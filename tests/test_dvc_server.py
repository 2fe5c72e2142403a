"""The DVC of a close writes dvc.lock as DVC itself does, byte for byte."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from dvc.utils.serialize import modify_yaml

from rounds.dvc_server import Locks

NAMES = ("first", "second", "third")


def entry(draw: int) -> dict[str, Any]:
    """A stage as DVC notes it: words that are folded, numbers of every form, quotes, a list."""
    params = {
        "rate": 1e-05 * draw,
        "share": 0.95,
        "kind": "yes",
        "limit": None,
        "names": ["a", "1.0"],
    }
    deps = [OrderedDict(path=f"data/{draw}.csv", hash="md5", md5=f"{draw:032d}", size=10**draw)]
    return OrderedDict(
        cmd=f"python -m stages.some --out build/features {'--option value ' * 9}{draw}",
        deps=deps,
        params={"params.yaml": OrderedDict(params)},
        outs=[OrderedDict(path="build/out: of it", md5="0e1", nfiles=draw)],
    )


def test_one_change_after_another_writes_what_dvc_would_write(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours" / "dvc.lock", tmp_path / "theirs" / "dvc.lock"
    locks = Locks()
    for step, name in enumerate((*NAMES, *reversed(NAMES), "second", "fourth"), start=1):
        for path, modify in ((ours, locks.modify), (theirs, modify_yaml)):
            path.parent.mkdir(exist_ok=True)
            with modify(str(path)) as document:
                document.setdefault("schema", "2.0")
                document["stages"] = document.get("stages", {})
                document["stages"].update({name: entry(step)})
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_lock_that_somebody_else_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text("schema: '2.0'\nstages:\n  first:\n    cmd: old\n")
    modify = Locks().modify
    with modify(str(path)) as document:
        document["stages"]["second"] = {"cmd": "new"}
    path.write_text(path.read_text().replace("old", "other"))
    with modify(str(path)) as document:
        document["stages"]["third"] = {"cmd": "newer"}
    said = [line.strip() for line in path.read_text().splitlines() if "cmd" in line]
    assert said == ["cmd: other", "cmd: new", "cmd: newer"]
