"""What git knows of the rounds: which commit brought which file, and whether any was changed.

The ledger (batches, answers, corrections) may only be added to.

Nothing here needs DVC or the derived tables. A change is one file of data/rounds as one commit (or
the working tree) changed it against one of its parents, so a merge is looked at from every side.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from shlex import quote

from rounds.commands import changed_paths, git, git_bytes
from rounds.project import Project
from stages.answers.rounds import FROZEN
from stages.contract.errors import PipelineError

FIXED = (*FROZEN, "manifest.json", "closed.json")
COMMIT = "%H%x09%P%x09%aI%x09%an"


@dataclass(frozen=True)
class Commit:
    """A commit; `parents` are ids, `date` is the author's, ISO 8601."""

    id: str
    parents: tuple[str, ...]
    date: str
    author: str


@dataclass(frozen=True)
class Change:
    """Blob ids of a path before and after a commit, None where it was absent.

    `side` differs from parent to parent.
    """

    commit: Commit
    side: int
    path: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Fault:
    """A row or file of the ledger that is not what it was: path, line (0: the whole file), what."""

    path: str
    line: int
    what: str


def read_blobs(project: Project, names: Iterable[str]) -> dict[str, bytes]:
    """The contents of git objects, by id or `COMMIT:./path`; unknown ones are left out.

    One git process reads them all.
    """
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


def changes(project: Project, *paths: str, at: str = "HEAD") -> list[Change]:
    """Every change of the paths that a commit descends from, parents before children.

    Raises PipelineError in a shallow clone, where the oldest commit seems to have brought
    everything.
    """
    if git(project.root, "rev-parse", "--is-shallow-repository").strip() == "true":
        remedy = "git fetch --unshallow (in CI: fetch-depth: 0)"
        raise PipelineError(project.root, "a shallow clone, without the history", remedy)
    mark = secrets.token_hex(16)  # whoever chose the names of authors and files did not know it
    told = git(
        project.root, "-c", "log.showRoot=true", "log", "-z", "--topo-order", "--reverse",
        "--full-history",
        "--diff-merges=separate", "--raw", "--no-abbrev", "--no-renames", "--relative",
        "--no-show-signature",
        f"--format={mark}{COMMIT}", at, "--", *paths,
    )  # fmt: skip
    return [
        change
        for side, section in enumerate(told.split(mark)[1:])
        for change in _section(section, side)
    ]


def _commit(told: str) -> Commit:
    """What git tells of a commit in the form COMMIT."""
    identity, parents, date, author = told.split("\t", 3)
    return Commit(identity, tuple(parents.split()), date, author)


def _section(section: str, side: int) -> Iterator[Change]:
    head, *entries = section.replace("\n", "\0", 1).split("\0")
    commit = _commit(head)
    entries = [entry for entry in entries if entry]
    for facts, path in zip(entries[::2], entries[1::2], strict=True):
        _, _, old, new, _ = facts.strip().split(" ")
        yield Change(
            commit, side, path, old if old.strip("0") else None, new if new.strip("0") else None
        )


def has_commits(project: Project) -> bool:
    """Whether HEAD exists."""
    return bool(git(project.root, "rev-list", "--all", "--max-count=1").strip())


def closing_commits(project: Project, history: list[Change], at: str = "HEAD") -> dict[int, Commit]:
    """Round number -> the commit that closed it.

    That commit brought the next question, or the note that there is none.

    history: of the manifests, up to the commit `at`.
    """
    found: dict[int, Commit] = {}
    for number, change in manifests(history).items():
        found[number - 1] = change.commit
    last = max(found, default=-1) + 1
    subject = (
        "--basic-regexp",
        f"--grep=^Round {last}: [0-9]* labels; ",
    )  # not "Round 3: Ann's answers", a person's
    said = git(
        project.root, "log", "-1", "--no-show-signature", f"--format={COMMIT}", *subject, at
    ).strip()
    if said:
        found[last] = _commit(said)
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
    found = re.fullmatch(r"data/rounds/([0-9]{3,})/(.+)", path, re.DOTALL)
    return (int(found[1]), found[2]) if found else (0, "")


def is_rows(path: str) -> bool:
    """Whether an open round may get a file of this path: answers, corrections, its closing note.

    Only what import_labels reads: not answers/old/ann.jsonl, nor answers/ann.jsonl.bak.
    """
    return bool(
        re.fullmatch(r"answers/[^/]+\.jsonl|corrections\.jsonl|closed\.json", place(path)[1])
    )


def faults(
    before: Mapping[str, bytes | None],
    after: Mapping[str, bytes | None],
    answered: Callable[[str], bool],
    over: Callable[[str], bool],
) -> list[Fault]:
    """What a step from `before` to `after` did to the ledger that it may not do.

    Both hold the changed paths only.

    Answers and corrections: the old rows must still stand, in their order, in the same file; or, if
    the file is gone, in one that is new (a rename). A round that is over gets no new rows. Frozen
    files of an answered round and notes of a closing must be what they were. answered, over:
    whether the round of a path was so before the step.
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
            folder = PurePosixPath(path).parent
            beside = [
                other for other in after if is_rows(other) and PurePosixPath(other).parent == folder
            ]
            moved = (after[other] for other in beside if before.get(other) is None)
            if new is None and any(data and not lost(old, data) for data in moved):
                continue
            line = lost(old, new or b"")
            if line:
                found.append(Fault(path, line, f"the row that stood here was {gone}"))
    wrong = {fault.path for fault in found}
    return found + [fault for fault in late_rows(before, after, over) if fault.path not in wrong]


def late_rows(
    before: Mapping[str, bytes | None],
    after: Mapping[str, bytes | None],
    over: Callable[[str], bool],
) -> Iterator[Fault]:
    """The first row of each file that a step added to a round that was over.

    A copy of an old row is one too: where rows have no time, the last line is the last word.
    """
    held: dict[int, Counter[bytes]] = defaultdict(Counter)
    for path, old in before.items():
        if old and is_rows(path):
            held[place(path)[0]].update(old.splitlines())
    for path, new in after.items():
        if new and is_rows(path) and over(path):
            number = place(path)[0]
            line = added(new, held[number])
            if line:
                yield Fault(path, line, f"the row was added after round {number} was over")


def lost(old: bytes, new: bytes) -> int:
    """The first line of `old` that `new` lacks or has in another order, from 1; 0 for none."""
    if new.startswith(old):
        return 0
    lines = iter(new.splitlines())
    for number, line in enumerate(old.splitlines(), start=1):
        if line.strip() and all(other != line for other in lines):
            return number
    return 0


def added(new: bytes, held: Counter[bytes]) -> int:
    """The first line of `new` that `held` has no (further) one of, counted from 1; 0 for none.

    The lines are taken out of `held`.
    """
    first = 0
    for number, line in enumerate(new.splitlines(), start=1):
        held[line] -= bool(line.strip())
        if held[line] < 0 and not first:
            first = number
    return first


def signs_of_the_end(path: str) -> tuple[str, str]:
    """What a commit holds once a path's round is over: the next question, or a closing note."""
    number = place(path)[0]
    return f"data/rounds/{number + 1:03d}/manifest.json", f"data/rounds/{number:03d}/closed.json"


def rounds_over(project: Project, history: list[Change]) -> set[tuple[int, str]]:
    """(side, path) of the steps that change rows of a round that was over before.

    Over in every parent of their commit, that is.

    What a merge takes from one of its parents was not written by it.
    """
    written = Counter((change.commit.id, change.path) for change in history)
    issued = [
        change
        for change in history
        if change.path.endswith("manifest.json") and change.new and not change.old
    ]
    begun = {(change.side, place(change.path)[0] - 1) for change in issued}
    steps = [
        change
        for change in history
        if is_rows(change.path)
        and change.new
        and change.commit.parents
        and written[change.commit.id, change.path] == len(change.commit.parents)
        and (change.side, place(change.path)[0]) not in begun
    ]
    names = {
        (one.side, one.path): [
            [f"{up}:./{sign}" for sign in signs_of_the_end(one.path)] for up in one.commit.parents
        ]
        for one in steps
    }
    held = read_blobs(project, [name for ups in names.values() for signs in ups for name in signs])
    return {
        step
        for step, ups in names.items()
        if all(any(name in held for name in signs) for signs in ups)
    }


def uncommitted_faults(project: Project) -> list[Fault]:
    """What the working tree did to the ledger of HEAD that it may not do."""
    paths = [path for path in changed_paths(project.root) if place(path)[0]]
    if not paths or not has_commits(project):
        return []
    held = {
        path: blob
        for path, blob in tree_of(project, "HEAD").items()
        if path.startswith("data/rounds/")
    }
    old = read_blobs(project, [held[path] for path in paths if path in held])
    now = {path: project.root / path for path in paths}
    return faults(
        {path: old.get(held.get(path, "")) for path in paths},
        {path: file.read_bytes() if file.is_file() else None for path, file in now.items()},
        answered=lambda path: any(other.startswith(signs_of_an_answer(path)) for other in held),
        over=lambda path: any(sign in held for sign in signs_of_the_end(path)),
    )


def tree_of(project: Project, commit: str) -> dict[str, str]:
    """Path -> blob id of every file that a commit holds in the project's folder."""
    listed = git(project.root, "ls-tree", "-r", "-z", commit).split("\0")
    return {
        path: facts.split()[2]
        for facts, _, path in (entry.partition("\t") for entry in listed if entry)
    }


def signs_of_an_answer(path: str) -> tuple[str, str]:
    """How the paths begin that a commit holds when the round of a path was answered, or closed."""
    folder = f"data/rounds/{PurePosixPath(path).parts[2]}"
    return f"{folder}/answers/", f"{folder}/closed.json"


def answered_at(project: Project, path: str, commit: str) -> bool:
    """Whether the round that a path belongs to had answers, or was closed, in a commit."""
    return bool(git(project.root, "ls-tree", "-r", commit, "--", *signs_of_an_answer(path)).strip())


def only_appended(project: Project) -> None:
    """Raises PipelineError when the working tree lacks or changes what the ledger of HEAD holds."""
    for fault in uncommitted_faults(project):
        where = project.root / fault.path
        what = f"{fault.what}; answers are only ever added".replace(";", ",")
        restore = f"git checkout HEAD -- {quote(fault.path)}"
        remedy = f"{restore}, and use `rounds correct` or `rounds retract`"
        if "added" in fault.what:
            remedy = "take it out of there, and bring it in with `rounds collect`"
        raise PipelineError(f"{where}:{fault.line}" if fault.line else where, what, remedy)
