"""What git knows of the rounds: which commit brought which file, and whether the ledger was only ever added to.

Nothing here needs DVC or the derived tables. A change is one file of data/rounds as one commit (or the working tree)
changed it against one of its parents, so a merge is looked at from every side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from rounds.commands import changed_paths, git, git_bytes
from rounds.project import Project
from stages._errors import PipelineError
from stages._rounds import FROZEN

FIXED = (*FROZEN, "manifest.json", "closed.json")


@dataclass(frozen=True)
class Commit:
    """A commit; `parents` are ids, `date` is the author's, ISO 8601."""

    id: str
    parents: tuple[str, ...]
    author: str
    date: str
    subject: str


@dataclass(frozen=True)
class Change:
    """Blob ids of a path before and after a commit, None where it was absent; `side` differs from parent to parent."""

    commit: Commit
    side: int
    path: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Fault:
    """A row or file of the ledger that is not what it was: its path, line (0: the whole file) and what is wrong."""

    path: str
    line: int
    what: str


def read_blobs(project: Project, names: Iterable[str]) -> dict[str, bytes]:
    """The contents of git objects, by id or `COMMIT:./path`; unknown ones are left out. One git process for all."""
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    told = git_bytes(project.root, "cat-file", "--batch", feed=("\n".join(wanted) + "\n").encode())
    found: dict[str, bytes] = {}
    place = 0
    for name in wanted:
        end = told.index(b"\n", place)
        head = told[place:end].split(b" ")
        place = end + 1
        if head[-1] == b"missing":
            continue
        found[name] = told[place : place + int(head[2])]
        place += int(head[2]) + 1
    return found


def changes(project: Project, *paths: str) -> list[Change]:
    """Every change of the paths that HEAD descends from, parents before children."""
    form = "--format=%x01%H%x02%P%x02%an%x02%aI%x02%s"
    told = git(
        project.root, "-c", "log.showRoot=true", "log", "-z", "--topo-order", "--reverse", "--full-history",
        "--diff-merges=separate", "--raw", "--no-abbrev", "--no-renames", "--relative", form, "--", *paths,
    )  # fmt: skip
    return [change for side, section in enumerate(told.split("\x01")[1:]) for change in _section(section, side)]


def _section(section: str, side: int) -> Iterator[Change]:
    head, *entries = section.replace("\n", "\0", 1).split("\0")
    identity, parents, author, date, subject = head.split("\x02")
    commit = Commit(identity, tuple(parents.split()), author, date, subject)
    entries = [entry for entry in entries if entry]
    for facts, path in zip(entries[::2], entries[1::2], strict=True):
        _, _, old, new, _ = facts.strip().split(" ")
        yield Change(commit, side, path, old if old.strip("0") else None, new if new.strip("0") else None)


def has_commits(project: Project) -> bool:
    """Whether HEAD exists."""
    return bool(git(project.root, "rev-list", "--all", "--max-count=1").strip())


def closing_commits(project: Project, history: list[Change]) -> dict[int, Commit]:
    """Round number -> the commit that closed it: it brought the next question, or says so when there is none."""
    found: dict[int, Commit] = {}
    for number, change in manifests(history).items():
        found[number - 1] = change.commit
    last = max(found, default=-1) + 1
    said = git(project.root, "log", "-1", f"--grep=^Round {last}: ", "--format=%H%x02%P%x02%an%x02%aI%x02%s").strip()
    if said:
        identity, parents, author, date, subject = said.split("\x02")
        found[last] = Commit(identity, tuple(parents.split()), author, date, subject)
    return dict(sorted(found.items()))


def manifests(history: list[Change]) -> dict[int, Change]:
    """Round number -> the change that brought the manifest as it is now."""
    newest: dict[str, str | None] = {}
    for change in history:
        newest[change.path] = change.new
    found: dict[int, Change] = {}
    for change in history:
        number, rest = place(change.path)
        if rest == "manifest.json" and change.new and change.new == newest[change.path]:
            found.setdefault(number, change)
    return dict(sorted(found.items()))


def place(path: str) -> tuple[int, str]:
    """(round number, path within the round) of a path in data/rounds; (0, "") for another."""
    parts = PurePosixPath(path).parts
    if parts[:2] != ("data", "rounds") or len(parts) < 4 or not parts[2].isdecimal():
        return 0, ""
    return int(parts[2]), "/".join(parts[3:])


def faults(
    before: Mapping[str, bytes | None], after: Mapping[str, bytes | None], answered: Callable[[str], bool]
) -> list[Fault]:
    """What a step from `before` to `after` (the changed paths only) did to the ledger that it may not do.

    Answers and corrections: the old rows must still stand, in their order, in the same file; or, if the file is gone,
    in one that is new (a rename). Frozen files of an answered round and notes of a closing must be what they were.
    answered: whether the round of a path had answers before the step.
    """
    found: list[Fault] = []
    for path, old in before.items():
        number, rest = place(path)
        new = after.get(path)
        if old is None or old == new:
            continue
        gone = "removed" if new is None else "changed"
        if rest in FIXED:
            if answered(path):
                found.append(Fault(path, 0, f"{gone} after round {number} was answered"))
        elif rest == "corrections.jsonl" or rest.startswith("answers/"):
            moved = [
                data
                for other, data in after.items()
                if before.get(other) is None and data and place(other)[0] == number and place(other)[1][:8] == rest[:8]
            ]
            if new is None and any(not lost(old, data) for data in moved):
                continue
            line = lost(old, new or b"")
            if line:
                found.append(Fault(path, line, f"the row that stood here was {gone}"))
    return found


def lost(old: bytes, new: bytes) -> int:
    """The first line of `old` that `new` does not hold in the same order, counted from 1; 0 when it holds them all."""
    if new.startswith(old):
        return 0
    lines = iter(new.splitlines())
    for number, line in enumerate(old.splitlines(), start=1):
        if line.strip() and all(other != line for other in lines):
            return number
    return 0


def uncommitted_faults(project: Project) -> list[Fault]:
    """What the working tree did to the ledger of HEAD that it may not do."""
    paths = [path for path in changed_paths(project.root) if place(path)[0]]
    old = read_blobs(project, [f"HEAD:./{path}" for path in paths]) if has_commits(project) else {}
    now = {path: project.root / path for path in paths}
    after = {path: file.read_bytes() if file.is_file() else None for path, file in now.items()}
    return faults(
        {path: old.get(f"HEAD:./{path}") for path in paths}, after, lambda path: answered_at(project, path, "HEAD")
    )


def answered_at(project: Project, path: str, commit: str) -> bool:
    """Whether the round that a path belongs to had answers, or was closed, in a commit."""
    folder = "/".join(PurePosixPath(path).parts[:3])
    return bool(git(project.root, "ls-tree", commit, "--", f"{folder}/answers", f"{folder}/closed.json").strip())


def only_appended(project: Project) -> None:
    """Raises PipelineError when the working tree changed or removed what the ledger of HEAD holds."""
    for fault in uncommitted_faults(project):
        where = project.root / fault.path
        what = f"{fault.what}; answers are only ever added".replace(";", ",")
        remedy = f"git checkout HEAD -- {fault.path}, and use `rounds correct` or `rounds retract`"
        raise PipelineError(f"{where}:{fault.line}" if fault.line else where, what, remedy)
