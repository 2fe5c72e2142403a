"""What git knows of the rounds: which commit brought which file, and whether the ledger was only ever added to.

Nothing here needs DVC or the derived tables. A change is one file of data/rounds as one commit (or the working tree)
changed it against one of its parents, so a merge is looked at from every side.
"""

from __future__ import annotations

from collections import Counter
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
    """Every change of the paths that HEAD descends from, parents before children.

    Raises PipelineError in a shallow clone, where the oldest commit seems to have brought everything.
    """
    if git(project.root, "rev-parse", "--is-shallow-repository").strip() == "true":
        remedy = "git fetch --unshallow (in CI: fetch-depth: 0)"
        raise PipelineError(project.root, "a shallow clone, without the history", remedy)
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


def is_rows(path: str) -> bool:
    """Whether a path is a file of answers or corrections, or the note of a closing: what an open round may get."""
    rest = place(path)[1]
    return rest in ("corrections.jsonl", "closed.json") or rest.startswith("answers/")


def faults(
    before: Mapping[str, bytes | None],
    after: Mapping[str, bytes | None],
    answered: Callable[[str], bool],
    over: Callable[[str], bool],
) -> list[Fault]:
    """What a step from `before` to `after` (the changed paths only) did to the ledger that it may not do.

    Answers and corrections: the old rows must still stand, in their order, in the same file; or, if the file is gone,
    in one that is new (a rename). A round that is over gets no new rows. Frozen files of an answered round and notes of
    a closing must be what they were. answered, over: whether the round of a path was so before the step.
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
        elif is_rows(path):
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
    wrong = {fault.path for fault in found}
    return found + [fault for fault in late_rows(before, after, over) if fault.path not in wrong]


def late_rows(
    before: Mapping[str, bytes | None], after: Mapping[str, bytes | None], over: Callable[[str], bool]
) -> Iterator[Fault]:
    """The first row of each file that a step added to a round that was over."""
    for path, new in after.items():
        if new and is_rows(path) and over(path):
            number = place(path)[0]
            line = added(new, [old for other, old in before.items() if old and place(other)[0] == number])
            if line:
                yield Fault(path, line, f"the row was added after round {number} was over")


def lost(old: bytes, new: bytes) -> int:
    """The first line of `old` that `new` does not hold in the same order, counted from 1; 0 when it holds them all."""
    if new.startswith(old):
        return 0
    lines = iter(new.splitlines())
    for number, line in enumerate(old.splitlines(), start=1):
        if line.strip() and all(other != line for other in lines):
            return number
    return 0


def added(new: bytes, olds: Iterable[bytes]) -> int:
    """The first line of `new` that stands in none of `olds`, counted from 1; 0 when there is none."""
    held = {line for old in olds for line in old.splitlines()}
    lines = enumerate(new.splitlines(), start=1)
    return next((number for number, line in lines if line.strip() and line not in held), 0)


def signs_of_the_end(path: str, commit: str) -> list[str]:
    """Names of what a commit holds when the round of a path is over: the next question, or the note of its closing."""
    number = place(path)[0]
    files = (f"{number + 1:03d}/manifest.json", f"{number:03d}/closed.json")
    return [f"{commit}:./data/rounds/{file}" for file in files]


def rounds_over(project: Project, history: list[Change]) -> set[tuple[int, str]]:
    """(side, path) of the steps that change rows of a round that was over in every parent of their commit.

    What a merge takes from one of its parents was not written by it.
    """
    written = Counter((change.commit.id, change.path) for change in history)
    begun = {(change.side, place(change.path)[0] - 1) for change in history if change.path.endswith("manifest.json")}
    steps = [
        change
        for change in history
        if is_rows(change.path)
        and change.new
        and change.commit.parents
        and written[change.commit.id, change.path] == len(change.commit.parents)
        and (change.side, place(change.path)[0]) not in begun
    ]
    names = {(one.side, one.path): [signs_of_the_end(one.path, up) for up in one.commit.parents] for one in steps}
    held = read_blobs(project, [name for ups in names.values() for signs in ups for name in signs])
    return {step for step, ups in names.items() if all(any(name in held for name in signs) for signs in ups)}


def uncommitted_faults(project: Project) -> list[Fault]:
    """What the working tree did to the ledger of HEAD that it may not do."""
    paths = [path for path in changed_paths(project.root) if place(path)[0]]
    signs = {path: signs_of_the_end(path, "HEAD") for path in paths}
    names = [f"HEAD:./{path}" for path in paths] + [name for both in signs.values() for name in both]
    old = read_blobs(project, names) if has_commits(project) else {}
    now = {path: project.root / path for path in paths}
    after = {path: file.read_bytes() if file.is_file() else None for path, file in now.items()}
    return faults(
        {path: old.get(f"HEAD:./{path}") for path in paths},
        after,
        answered=lambda path: answered_at(project, path, "HEAD"),
        over=lambda path: any(name in old for name in signs[path]),
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
        if "added" in fault.what:
            remedy = "take it out of there, and bring it in with `rounds collect`"
        raise PipelineError(f"{where}:{fault.line}" if fault.line else where, what, remedy)
