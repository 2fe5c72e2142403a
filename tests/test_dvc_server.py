"""The DVC of a close writes dvc.lock as DVC itself does, byte for byte."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import dumps_yaml, modify_yaml

from rounds.dvc_server import Locks, Parsed, state_of

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
    locks = Locks(Parsed().parse)
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
    modify = Locks(Parsed().parse).modify
    with modify(str(path)) as document:
        document["stages"]["second"] = {"cmd": "new"}
    path.write_text(path.read_text().replace("old", "other"))
    with modify(str(path)) as document:
        document["stages"]["third"] = {"cmd": "newer"}
    said = [line.strip() for line in path.read_text().splitlines() if "cmd" in line]
    assert said == ["cmd: other", "cmd: new", "cmd: newer"]


ODD = (
    0.1 + 0.2,
    1e20,
    "yes",
    "1_000",
    "it's",
    "a\tb",
    "word " * 40,
    "",
    " lead",
    "two\nlines\n",
    "é",
    [],
    {},
    [[1], ["- a"]],
)


@pytest.mark.parametrize("odd", ODD)
def test_a_stage_that_does_not_change_keeps_the_bytes_that_dvc_would_write_again(
    tmp_path: Path, odd: Any
) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text(dumps_yaml({"schema": "2.0", "stages": {"odd": {"cmd": "a", "value": odd}}}))
    alike = tmp_path / "theirs" / "dvc.lock"
    alike.parent.mkdir()
    alike.write_bytes(path.read_bytes())
    for file, modify in ((path, Locks(Parsed().parse).modify), (alike, modify_yaml)):
        with modify(str(file)) as document:
            document["stages"]["new"] = {"cmd": "b"}
    assert path.read_bytes() == alike.read_bytes()


def test_a_folder_has_another_state_after_every_change_in_it(tmp_path: Path) -> None:
    room = tmp_path / "stages" / "room"
    room.mkdir(parents=True)
    (room / "shelf.py").write_text("BOOKS = 5")
    states = [state_of(str(room), str(tmp_path))]

    def changed(change: Callable[[], object]) -> None:
        change()
        states.append(state_of(str(room), str(tmp_path)))

    changed(lambda: (room / "shelf.py").write_text("BOOKS = 7"))
    changed((room / "new.py").touch)
    changed(lambda: (room / "new.py").rename(room / "renamed.py"))
    changed((room / "renamed.py").unlink)
    changed(lambda: (tmp_path / ".dvcignore").write_text("shelf.py"))
    changed(lambda: os.utime(room / "shelf.py", (1, 1)))
    assert len(set(states)) == len(states)
    assert None not in states
    assert states[-1] == state_of(str(room), str(tmp_path))


def test_what_is_not_there_is_a_file_or_holds_a_link_has_no_state(tmp_path: Path) -> None:
    assert state_of(str(tmp_path / "none"), str(tmp_path)) is None
    (tmp_path / "file").touch()
    assert state_of(str(tmp_path / "file"), str(tmp_path)) is None
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert state_of(str(tmp_path), str(tmp_path)) is None


def test_what_was_parsed_before_is_another_document_each_time() -> None:
    parse = Parsed().parse
    first = parse("a: [1, 2]", "x.yaml")
    first["a"].append(3)
    assert parse("a: [1, 2]", "x.yaml") == {"a": [1, 2]}
    assert parse("", "x.yaml") == {}
