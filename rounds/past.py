"""What git knows of data/rounds: which commit brought which file, and whether any was changed.

The ledger (batches, answers, corrections) may only be added to. Nothing here needs DVC or the
tables that the pipeline makes. A change is what one commit (or the working tree) did to one file,
compared with one parent of the commit; so a merge is compared with each of its parents.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from shlex import quote

from rounds.commands import changed_paths, git, git_bytes
from rounds.project import Project
from stages.answers.forgotten import Redaction, redaction_of
from stages.answers.rounds import FROZEN
from stages.contract.canonical import Row
from stages.contract.errors import PipelineError

FIXED = (*FROZEN, "manifest.json", "closed.json")
OF_A_MERGE = re.compile(r"merged/[^/]+/(.+)", re.DOTALL)
ROWS = re.compile(r"(merged/[^/]+/)?(answers/[^/]+\.jsonl|corrections\.jsonl|closed\.json)")
IN_ROUND = re.compile(r"data/rounds/([0-9]{3,})/(.+)", re.DOTALL)
COMMIT = "%H%x09%P%x09%aI%x09%an"  # as git's --format: id, parents, author's date, author


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
    """A row or file of the ledger that is not what it was.

    line: 0 for the whole file. is_late: the row was added after its round was over.
    """

    path: str
    line: int
    what: str
    is_late: bool = False


def read_blobs(project: Project, names: Iterable[str]) -> dict[str, bytes]:
    """The contents of git objects, by id or `COMMIT:./path`; unknown ones are left out.

    One git process reads them all.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    feed = ("\n".join(wanted) + "\n").encode()
    output = git_bytes(project.root, "cat-file", "--batch", feed=feed)
    contents: dict[str, bytes] = {}
    start = 0
    for name in wanted:
        # A line `<id> <type> <size>`, then the content and a newline; or `<name> missing`.
        line_end = output.index(b"\n", start)
        head = output[start:line_end].split(b" ")
        start = line_end + 1
        if head[-1] == b"missing":
            continue
        size = int(head[2])
        contents[name] = output[start : start + size]
        start += size + 1
    return contents


def changes(project: Project, *paths: str, at: str = "HEAD") -> list[Change]:
    """Every change of the paths that a commit descends from, parents before children.

    Raises PipelineError in a shallow clone, where the oldest commit seems to have brought
    everything.
    """
    if git(project.root, "rev-parse", "--is-shallow-repository").strip() == "true":
        remedy = "git fetch --unshallow (in CI: fetch-depth: 0)"
        raise PipelineError(project.root, "a shallow clone, without the history", remedy)
    # Between the commits: nobody who chose the names of authors and files can know it.
    separator = secrets.token_hex(16)
    log = git(
        project.root,
        *("-c", "log.showRoot=true", "log", "-z", "--topo-order", "--reverse", "--full-history"),
        *("--diff-merges=separate", "--raw", "--no-abbrev", "--no-renames", "--relative"),
        *("--no-show-signature", f"--format={separator}{COMMIT}", at, "--", *paths),
    )
    return [
        change
        for side, section in enumerate(log.split(separator)[1:])
        for change in _changes_in(section, side)
    ]


def _commit(line: str) -> Commit:
    """A commit as git prints it in the form COMMIT."""
    identity, parents, date, author = line.split("\t", 3)
    return Commit(identity, tuple(parents.split()), date, author)


def _changes_in(section: str, side: int) -> Iterator[Change]:
    """What git's log says of one commit and one of its parents: a line, then facts and paths."""
    head, *entries = section.replace("\n", "\0", 1).split("\0")
    commit = _commit(head)
    entries = [entry for entry in entries if entry]
    for facts, path in zip(entries[::2], entries[1::2], strict=True):
        _, _, old, new, _ = facts.strip().split(" ")
        yield Change(commit, side, path, _blob(old), _blob(new))


def _blob(identity: str) -> str | None:
    """The id of a blob; None for the zeros that git writes where there is none."""
    return identity if identity.strip("0") else None


def has_commits(project: Project) -> bool:
    """Whether HEAD exists."""
    return bool(git(project.root, "rev-list", "--all", "--max-count=1").strip())


def closing_commits(project: Project, history: list[Change], at: str = "HEAD") -> dict[int, Commit]:
    """Round number -> the commit that closed it.

    That commit brought the next question; for the last round its subject says that it closed it.
    A commit that imported rounds closed none.
    history: of the manifests, up to the commit `at`.
    """
    imported = imported_rounds(project, history)
    closings = {
        number - 1: change.commit
        for number, change in manifests(history).items()
        if number not in imported
    }
    last = max(closings, default=-1) + 1
    issued = manifests(history)
    # Not every subject that begins so: "Round 3: Ann's answers" is a person's.
    pattern = f"^Round {last}: [0-9]* labels; "
    matching = ("--basic-regexp", f"--grep={pattern}")
    words = ("log", "--no-show-signature", f"--format={COMMIT}", *matching, at)
    path = f"data/rounds/{last:03d}/manifest.json"
    for line in git(project.root, *words).splitlines() if last in issued or not last else ():
        commit = _commit(line)
        # The round of that number on a branch that was merged is another one.
        here = git(project.root, "rev-parse", f"{commit.id}:./{path}").strip() if last else ""
        if not last or here == issued[last].new:
            closings[last] = commit
            break
    return dict(sorted(closings.items()))


def imported_rounds(project: Project, history: list[Change]) -> dict[int, Row]:
    """Round number -> where it came from, of the rounds that `rounds import` made."""
    blobs = {number: str(change.new) for number, change in manifests(history).items()}
    contents = read_blobs(project, blobs.values())
    found: dict[int, Row] = {}
    for number, blob in blobs.items():
        manifest = json.loads(contents[blob])
        if isinstance(manifest, dict) and isinstance(manifest.get("imported"), dict):
            found[number] = manifest["imported"]
    return found


def manifests(history: list[Change]) -> dict[int, Change]:
    """Round number -> the change that brought the manifest as it is now."""
    newest = {change.path: change.new for change in history}
    first: dict[int, Change] = {}
    for change in history:
        is_manifest = name_in_round(change.path) == "manifest.json"
        if is_manifest and change.new and change.new == newest[change.path]:
            first.setdefault(round_of_path(change.path), change)
    return dict(sorted(first.items()))


def round_of_path(path: str) -> int:
    """The number of the round whose folder in data/rounds holds a path; 0 for another path."""
    match = IN_ROUND.fullmatch(path)
    return int(match[1]) if match else 0


def name_in_round(path: str) -> str:
    """A path from its round's folder, as in answers/ann.jsonl; "" for a path of no round."""
    match = IN_ROUND.fullmatch(path)
    return match[2] if match else ""


def name_merged(path: str) -> str:
    """A path in a round that was merged, from that round's folder; "" for any other path."""
    match = OF_A_MERGE.fullmatch(name_in_round(path))
    return match[1] if match else ""


def is_rows(path: str) -> bool:
    """Whether an open round may get a file of this path: answers, corrections, its closing note.

    Only what import_labels reads: not answers/old/ann.jsonl, nor answers/ann.jsonl.bak.
    """
    return bool(ROWS.fullmatch(name_in_round(path)))


def faults(
    before: Mapping[str, bytes | None],
    after: Mapping[str, bytes | None],
    answered: Callable[[str], bool],
    over: Callable[[str], bool],
    others: Mapping[str, list[bytes]] | None = None,
) -> list[Fault]:
    """What a step did to the ledger that it may not do.

    - What was merged from another branch stays as it was there.
    - The frozen files of an answered round, and the note that a round is closed, stay as they were.
    - Rows of answers and corrections stay, in their order, in their file; or in a new file, if the
      old one is gone (it was renamed).
    - A round that is over gets no new rows.

    before, after: the content of each changed path, None where there is no file. answered, over:
    whether the round of a path was so before the step. others: of a merge, what its other parents
    had at each path, whose rows the merge did not add.
    """
    wrong: list[Fault] = []
    for path, old in before.items():
        new = after.get(path)
        if old is None or old == new:
            continue
        gone = "removed" if new is None else "changed"
        if name_merged(path):
            wrong.append(Fault(path, 0, f"{gone} after it was merged"))
        elif name_in_round(path) in FIXED:
            if answered(path):
                what = f"{gone} after round {round_of_path(path)} was answered"
                wrong.append(Fault(path, 0, what))
        elif is_rows(path) and not (new is None and _is_renamed(path, old, before, after)):
            line = lost(old, new or b"")
            if line:
                wrong.append(Fault(path, line, f"the row that stood here was {gone}"))
    paths = {fault.path for fault in wrong}
    late = late_rows(before, after, over, others or {})
    return wrong + [fault for fault in late if fault.path not in paths]


def _is_renamed(
    path: str,
    old: bytes,
    before: Mapping[str, bytes | None],
    after: Mapping[str, bytes | None],
) -> bool:
    """Whether a new file of the same folder holds all rows of a file that is gone."""
    folder = PurePosixPath(path).parent
    return any(
        content and not lost(old, content)
        for other, content in after.items()
        if before.get(other) is None and is_rows(other) and PurePosixPath(other).parent == folder
    )


def late_rows(
    before: Mapping[str, bytes | None],
    after: Mapping[str, bytes | None],
    over: Callable[[str], bool],
    others: Mapping[str, list[bytes]],
) -> Iterator[Fault]:
    """The first row of each file that a step added to a round that was over.

    A copy of an old row counts as added: where rows have no time, the last line is the last word.
    """
    old_rows: dict[int, Counter[bytes]] = defaultdict(Counter)
    for path, old in before.items():
        if is_rows(path):
            rows: Counter[bytes] = Counter()
            for content in (old or b"", *others.get(path, [])):
                rows |= Counter(content.splitlines())
            old_rows[round_of_path(path)].update(rows)
    for path, new in after.items():
        if new and is_rows(path) and over(path):
            number = round_of_path(path)
            line = added(new, old_rows[number])
            if line:
                what = f"the row was added after round {number} was over"
                yield Fault(path, line, what, is_late=True)


def lost(old: bytes, new: bytes) -> int:
    """The number (from 1) of the first line of `old` that `new` lacks or has in another order.

    0 where `new` holds them all, in their order.
    """
    if new.startswith(old):
        return 0
    lines = iter(new.splitlines())
    for number, line in enumerate(old.splitlines(), start=1):
        if line.strip() and all(other != line for other in lines):
            return number
    return 0


def added(new: bytes, old_rows: Counter[bytes]) -> int:
    """The number (from 1) of the first line of `new` that is none of the old rows; 0 for none.

    The lines of `new` are taken out of `old_rows`, so a second copy of a row is added, too.
    """
    first = 0
    for number, line in enumerate(new.splitlines(), start=1):
        old_rows[line] -= bool(line.strip())
        if old_rows[line] < 0 and not first:
            first = number
    return first


def signs_of_the_end(path: str) -> tuple[str, str]:
    """What a commit holds once a path's round is over: the next question, or a closing note."""
    number = round_of_path(path)
    return f"data/rounds/{number + 1:03d}/manifest.json", f"data/rounds/{number:03d}/closed.json"


def rounds_over(project: Project, history: list[Change]) -> set[tuple[int, str]]:
    """(side, path) of the steps that change rows of a round that was over before.

    A step counts if the round was over in every parent of its commit. What a merge takes from one
    of its parents is not counted: the merge did not write it.
    """
    parents_changed = Counter((change.commit.id, change.path) for change in history)
    # The very step that issues a round may still bring answers to the one before it.
    ending = {
        (change.side, round_of_path(change.path) - 1)
        for change in history
        if change.path.endswith("manifest.json") and change.new and not change.old
    }
    steps = [
        change
        for change in history
        if is_rows(change.path)
        and change.new
        and change.commit.parents
        and parents_changed[change.commit.id, change.path] == len(change.commit.parents)
        and (change.side, round_of_path(change.path)) not in ending
    ]
    # For each parent of a step's commit, the git names of the files that show the round's end.
    signs = {
        (step.side, step.path): [
            [f"{parent}:./{sign}" for sign in signs_of_the_end(step.path)]
            for parent in step.commit.parents
        ]
        for step in steps
    }
    names = [name for parents in signs.values() for parent in parents for name in parent]
    existing = read_blobs(project, names)
    return {
        step
        for step, parents in signs.items()
        if all(any(name in existing for name in parent) for parent in parents)
    }


def uncommitted_faults(project: Project) -> list[Fault]:
    """What the working tree did to the ledger of HEAD that it may not do."""
    paths = [path for path in changed_paths(project.root) if round_of_path(path)]
    if not paths or not has_commits(project):
        return []
    committed = {
        path: blob
        for path, blob in tree_of(project, "HEAD").items()
        if path.startswith("data/rounds/")
    }
    old = read_blobs(project, [committed[path] for path in paths if path in committed])
    files = {path: project.root / path for path in paths}
    forgotten = redaction_here(project)
    return faults(
        without_forgotten(forgotten, {path: old.get(committed.get(path, "")) for path in paths}),
        without_forgotten(
            forgotten,
            {path: file.read_bytes() if file.is_file() else None for path, file in files.items()},
        ),
        answered=lambda path: any(name.startswith(signs_of_an_answer(path)) for name in committed),
        over=lambda path: any(sign in committed for sign in signs_of_the_end(path)),
    )


def redaction_here(project: Project) -> Redaction:
    """What is forgotten of the batches that are here; nothing where they cannot be read."""
    try:
        return redaction_of(project.rounds_folder)
    except PipelineError:  # import_labels and `rounds verify` say what is wrong with them
        return Redaction({}, {})


def without_forgotten(
    forgotten: Redaction, contents: Mapping[str, bytes | None]
) -> dict[str, bytes | None]:
    """Files of data/rounds, by path, as they are once nothing forgotten stands in them.

    Two versions are compared so: what `rounds forget` took out of one of them is no edit.
    """
    return {
        path: data and forgotten.of_file(path.removeprefix("data/rounds/"), data)
        for path, data in contents.items()
    }


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
        file = project.root / fault.path
        where = f"{file}:{fault.line}" if fault.line else file
        remedy = "take it out of there, and bring it in with `rounds collect`"
        if not fault.is_late:
            restore = f"git checkout HEAD -- {quote(fault.path)}"
            remedy = f"{restore}, and use `rounds correct` or `rounds retract`"
        raise PipelineError(where, f"{fault.what}, answers are only ever added", remedy)
