"""A process that has DVC loaded and runs one DVC command after another.

rounds/commands.py starts it as source, `python -c SOURCE`, in the project's root. Each line of its
standard input is the words of a command, as JSON. What the command prints comes out as DVC prints
it, followed by a line of NUL and its exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from dvc import dvcfile
from dvc.cli import main
from dvc.output import Output
from dvc.utils import serialize, strictyaml
from dvc.utils.serialize import dumps_yaml, modify_yaml, parse_yaml, parse_yaml_for_update
from dvc_data.hashfile._progress import QueryingProgress

State = tuple[tuple[str, int, int, int, int, int], ...]
STAGES = "stages:\n"
SCHEMA = f"schema: '2.0'\n{STAGES}"
STAGE = re.compile(r"^(?=  \S)", re.MULTILINE)  # the first line of a stage in dvc.lock
ALIAS = re.compile(r"[&*]id\d")  # of a value that stands in two places
LONG = re.compile(r"\.\d{9,}e")
MOST_DOCUMENTS = 100

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
    """The writing of dvc.lock, by which one stage is written after it ran, and not all of them.

    DVC parses the whole lock before each of its changes, with the slow parser that keeps comments,
    and writes all of it anew. A stage's lines do not depend on the others, and DVC writes again
    what it wrote before, so the lines of stages that did not change stay as they are. Stages with
    long numbers with an exponent are written again, as DVC may drop the last digit of these.
    """

    def __init__(self, parse: Callable[[str, str], Any]) -> None:
        self._parse = parse

    @contextmanager
    def modify(self, path: str, fs: Any = None) -> Iterator[Any]:
        """What `dvc.utils.serialize.modify_yaml` does: the document to change, written at the end.

        path: of the lock; fs: DVC's file system.
        """
        file = Path(path)
        is_lock = file.name == "dvc.lock" and file.is_file()
        text = file.read_text("utf-8") if is_lock else ""
        document = self._parse(text, path) if text.startswith(SCHEMA) else {}
        parts = parts_of(text, document)
        if parts is None:
            with modify_yaml(path, fs=fs) as new:
                yield new
            return
        before = dict(document["stages"])
        yield document
        stages = document["stages"]
        for name in stages:
            if stages[name] is not before.get(name):
                parts[name] = dumps_yaml({"stages": {name: stages[name]}}).removeprefix(STAGES)
            elif LONG.search(parts[name]):
                again = dumps_yaml(parse_yaml_for_update(STAGES + parts[name], path))
                parts[name] = again.removeprefix(STAGES)
        text = SCHEMA + "".join(parts[name] for name in stages)
        if set(document) != {"schema", "stages"} or ALIAS.search(text):
            text = dumps_yaml(document)
        with file.open("w+", encoding="utf-8") as out:
            out.write(text)


def parts_of(text: str, document: Any) -> dict[str, str] | None:
    """Stage -> its lines in a dvc.lock; None for one that DVC alone would not have written so.

    document: the same, parsed.
    """
    if set(document) != {"schema", "stages"} or "#" in text or ALIAS.search(text):
        return None
    parts = STAGE.split(text.removeprefix(SCHEMA))[1:]
    names = list(document["stages"])
    is_whole = len(parts) == len(names) and SCHEMA + "".join(parts) == text
    return dict(zip(names, parts, strict=True)) if is_whole else None


class Parsed:
    """YAML documents that were parsed before: DVC parses params.yaml for every stage, often."""

    def __init__(self) -> None:
        self._plain = parse_yaml
        self._held: dict[str, Any] = {}

    def parse(self, text: Any, path: str, typ: str = "safe") -> Any:
        """What `dvc.utils.serialize.parse_yaml` does. text: as read from the file just now."""
        if typ != "safe" or not isinstance(text, str):
            return self._plain(text, path, typ)
        if text not in self._held:
            if len(self._held) >= MOST_DOCUMENTS:
                self._held.clear()
            self._held[text] = self._plain(text, path)
        return deepcopy(self._held[text])


class Hashes:
    """What DVC found in folders that stages read, by the state in which it found them.

    DVC looks at every file of a dependency five times for each stage that has it: the rooms of
    stages/ nine times as often. The state is that of every file in it: where it lies, its inode,
    times and size; DVC's own database of hashes goes by the same without one of the two times.
    """

    def __init__(self) -> None:
        self._plain = Output._build  # noqa: SLF001  # DVC has no public hook for this
        self._held: dict[tuple[str, str], tuple[State, Any]] = {}

    def build(self, output: Any, *words: Any, **others: Any) -> Any:
        """What `dvc.output.Output._build` does.

        words: the store, the path, its file system, and the name of the hash.
        """
        plain = partial(self._plain, output, *words, **others)
        if not (output.IS_DEPENDENCY and others.get("dry_run") and len(words) == 4):
            return plain()
        _, path, fs, name = words
        state = state_of(path, output.repo.root_dir) if fs.protocol == "local" else None
        if state is None:
            return plain()
        held = self._held.get((path, name))
        if held is None or held[0] != state:
            held = (state, plain())
            self._held[path, name] = held
        return held[1]


def state_of(folder: str, root: str) -> State | None:
    """The state of all in a folder, and of the .dvcignore files from there up to the root.

    None for a single file, of which DVC looks its hash up by itself, and where a link is in it.
    """
    folders = [Path(folder), *Path(folder).parents]
    try:
        above = folders[: folders.index(Path(root)) + 1]
        states = [entry_state(folder, Path(folder).lstat())]
        states += [_ignored(path) for path in above]
        todo = [folder]
        while todo:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    states.append(entry_state(entry.path, entry.stat(follow_symlinks=False)))
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
    except (OSError, ValueError):
        return None
    if any(stat.S_ISLNK(mode) for _, mode, *_ in states):
        return None
    return tuple(sorted(states))


def entry_state(path: str, state: os.stat_result) -> tuple[str, int, int, int, int, int]:
    """What a file can hardly be changed without: kind, inode, both times and size."""
    times = (state.st_mtime_ns, state.st_ctime_ns)
    return (path, state.st_mode, state.st_ino, *times, state.st_size)


def _ignored(folder: Path) -> tuple[str, int, int, int, int, int]:
    """The state of a folder's .dvcignore, zeros where it has none."""
    path = folder / ".dvcignore"
    try:
        return entry_state(str(path), path.stat())
    except FileNotFoundError:
        return (str(path), 0, 0, 0, 0, 0)


def remember() -> None:
    """Let DVC do once what it does again and again in a round.

    The names are those of the DVC versions that pyproject.toml allows.
    """
    parsed = Parsed().parse
    dvcfile.modify_yaml = Locks(parsed).modify
    serialize._yaml.parse_yaml = parsed  # noqa: SLF001  # where modify_yaml looks it up
    strictyaml.parse_yaml = parsed
    hashes = Hashes()

    def build(output: Any, *words: Any, **others: Any) -> Any:
        return hashes.build(output, *words, **others)

    Output._build = build  # noqa: SLF001  # DVC has no public hook for this


def serve() -> None:
    """Run the commands of the standard input until it ends."""
    accept_braces()
    remember()
    for name in MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        code = main(json.loads(line))
        sys.stdout.write(f"\0{code}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
