"""A process that has DVC loaded and runs one DVC command after another.

rounds/commands.py starts it as source, `python -c SOURCE`, in the project's root. Each line of its
standard input is the words of a command, as JSON. What the command prints comes out as DVC prints
it, followed by a line of NUL and its exit code.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dvc import dvcfile
from dvc.cli import main
from dvc.utils.serialize import dumps_yaml, modify_yaml
from dvc.utils.serialize._yaml import parse_yaml_for_update
from dvc_data.hashfile._progress import QueryingProgress

# What DVC loads in the midst of its first command.
MODULES = (
    "dvc.commands.data_sync",
    "dvc.commands.repro",
    "dvc.dependency",
    "dvc.repo",
    "dvc.repo.push",
    "dvc.repo.reproduce",
    "dvc.repo.scm_context",
    "dvc.repo.worktree",
    "dvc.stage.cache",
    "dvc.stage.run",
    "dvc_data.index.push",
    "dvc_objects.fs.local",
    "ruamel.yaml",
    "scmrepo.git",
)


def accept_braces() -> None:
    """Double the braces in the names of folders that a bar of DVC shows.

    DVC formats such a name as the template of the bar, which fails where it has braces.
    """
    bars: Any = QueryingProgress
    plain = bars.__init__

    def start(bar: Any, *words: Any, name: str | None = None, **others: Any) -> None:
        plain(bar, *words, name=(name or "").replace("{", "{{").replace("}", "}}"), **others)

    bars.__init__ = start


class Locks:
    """The dvc.lock files as they were last written here, so that none is parsed at every stage.

    That is half of DVC's own time in a round. DVC reads a lock before each of its changes, with the
    slow parser that keeps comments. Here it gets the document of its last change again where the
    file still holds what that wrote, byte for byte. Of that document the stages that changed are
    parsed again, so that the next change writes what it would write after a parse of the whole.
    """

    def __init__(self) -> None:
        self._written: dict[str, tuple[str, Any]] = {}

    @contextmanager
    def modify(self, path: str, fs: Any = None) -> Iterator[Any]:
        """What `dvc.utils.serialize.modify_yaml` does: the document to change, written at the end.

        path: of the lock; fs: DVC's file system.
        """
        file = Path(path)
        if file.name != "dvc.lock" or not file.is_file():
            with modify_yaml(path, fs=fs) as new:
                yield new
            return
        text = file.read_text("utf-8")
        held, document = self._written.pop(path, ("", None))
        if held != text:
            document = parse_yaml_for_update(text, path)
        stages = document.get("stages", {})
        before = dict(stages)
        yield document
        text = dumps_yaml(document)
        with file.open("w+", encoding="utf-8") as out:
            out.write(text)
        if set(document) <= {"schema", "stages"} and document["stages"] is stages:
            for name, entry in list(stages.items()):
                if entry is not before.get(name):
                    alone = dumps_yaml({name: entry})
                    stages[name] = parse_yaml_for_update(alone, path)[name]
            self._written[path] = (text, document)


def serve() -> None:
    """Run the commands of the standard input until it ends."""
    accept_braces()
    dvcfile.modify_yaml = Locks().modify
    for name in MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        code = main(json.loads(line))
        sys.stdout.write(f"\0{code}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
