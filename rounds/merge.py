"""`rounds merge BRANCH`: bring another branch's answers and closed rounds home, in one commit.

Answers to rounds that both branches asked are put together: they are one file per person, and of a
file that both changed the rows of both stay. Where both branches closed a round and went on, each
asked another question under the same number. Ours stays, and theirs moves, as it stands, into our
open round: data/rounds/004/merged/003-<batch>. What people answered there counts from the closing
of our open round on. Everything that is computed is computed anew.

    commit own answers -> git merge, uncommitted -> settle rounds -> repro -> commit

Killed at any moment, the same command gives the merge up and begins again.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import click

from rounds.close import note_unpushed
from rounds.commands import Dvc, Say, changed_paths, commit_named, git, git_bytes
from rounds.content import require_kept
from rounds.early import take_in
from rounds.enumeration import listed
from rounds.forget import take_out
from rounds.lock import exclusive
from rounds.past import only_appended, read_blobs, round_of_path, tree_of
from rounds.project import Project
from rounds.surfaces.desk import sole_writer
from stages.answers.rounds import MERGED
from stages.contract.canonical import read_json, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors

ROUNDS = "data/rounds"
COMPUTED = ("dvc.lock", "metrics", "plots")
LISTS = ("gold.jsonl", "changed.jsonl")  # of data/rounds: lines are only added
NEXT = "next: rounds status"
MARK = Path(".dvc/tmp/merging")  # holds the id of the commit that a merge is at work with


@dataclass(frozen=True)
class Sides:
    """Which rounds two branches have. shared: the same question on both; ours, theirs: others."""

    commit: str
    shared: list[int]
    ours: list[int]
    theirs: list[int]


def sides_of(project: Project, commit: str) -> Sides:
    """The rounds of HEAD and of another commit, told apart by their manifests."""
    ours = _manifests(project, "HEAD")
    theirs = _manifests(project, commit)
    shared = [number for number in ours if theirs.get(number) == ours[number]]
    return Sides(
        commit,
        shared,
        [number for number in ours if number not in shared],
        [number for number in theirs if number not in shared],
    )


def _manifests(project: Project, commit: str) -> dict[int, str]:
    """Round number -> the blob of its manifest, in the order of the numbers."""
    tree = tree_of(project, commit)
    found = {
        round_of_path(path): blob
        for path, blob in tree.items()
        if path == f"{ROUNDS}/{round_of_path(path):03d}/manifest.json"
    }
    return dict(sorted(found.items()))


def merge(project: Project, branch: str, say: Say) -> str:
    """Merge a branch. The sentence that says what it brought.

    Raises PipelineError for changes that are not answers, for conflicts that a person has to
    settle, and where both sides went on and our newest round is not open.
    """
    root = project.root
    with exclusive(root, wait=False):
        commit = commit_named(root, branch, "BRANCH")
        _give_up_unfinished(root, commit)
        only_appended(project)
        take_in(root, project.rounds())
        require_kept(project)
        _commit_answers(project)
        if _is_ancestor(root, commit, "HEAD"):
            return f"merge: {branch} holds nothing new; {NEXT}"
        if _is_ancestor(root, "HEAD", commit):
            git(root, "merge", "--quiet", "--ff-only", commit)
            return f"merge: {branch} is ahead of this branch, which is now the same; {NEXT}"
        sides = sides_of(project, commit)
        if sides.ours and sides.theirs:
            project.open_round()
        with contextlib.ExitStack() as stack:
            if project.rounds():
                stack.enter_context(sole_writer(project.last_round()))
            _merge_files(project, sides, branch)
            if take_out(project, say, is_held=True):
                git(root, "add", "--update", "--", ".")
            _recompute(project, say)
            git(root, "add", "--all", "--", ROUNDS, *_present(root, COMPUTED))
            git(root, "commit", "--quiet", "-m", f"Merged {branch}: {_brought(sides)}")
        (root / MARK).unlink(missing_ok=True)
        note_unpushed(root)
    return f"merge: {branch}: {_brought(sides)}{_held(project)}; {NEXT}"


def _present(root: Path, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if (root / name).exists()]


def _is_ancestor(root: Path, one: str, other: str) -> bool:
    words = ["git", "merge-base", "--is-ancestor", one, other]
    return subprocess.run(words, cwd=root, capture_output=True, check=False).returncode == 0


def _give_up_unfinished(root: Path, commit: str) -> None:
    """Undo what an interrupted merge of the same commit left. Raises PipelineError for another."""
    head = root / git(root, "rev-parse", "--git-path", "MERGE_HEAD").strip()
    mark = root / MARK
    is_ours = mark.is_file() and mark.read_text(encoding="utf-8") == commit
    if head.is_file() and not is_ours:
        what = "a merge is not finished (MERGE_HEAD)"
        raise PipelineError(root, what, "finish it, or `git merge --abort`, then `rounds merge`")
    if head.is_file():
        git(root, "reset", "--quiet", "--hard", "HEAD")
    if is_ours:
        for folder in (root / ROUNDS).glob(f"*/{MERGED}"):
            git(root, "clean", "--quiet", "-d", "--force", "--", str(folder))
    mark.unlink(missing_ok=True)


def _commit_answers(project: Project) -> None:
    """Commit what was answered here since. Raises PipelineError for other changes."""
    root = project.root
    foreign = [path for path in changed_paths(root) if not path.startswith(f"{ROUNDS}/")]
    tracked = set(git(root, "diff", "HEAD", "--name-only", "--relative", "-z").split("\0"))
    foreign = [path for path in foreign if path in tracked or path.startswith("data/")]
    if foreign:
        what = f"changes that are no answers: {listed(foreign, 3)}"
        raise PipelineError(
            root, what, "commit them first (git add -A && git commit), or undo them"
        )
    if changed_paths(root):
        git(root, "add", "--all", "--", ROUNDS)
        if git(root, "diff", "--cached", "--name-only").strip():
            git(root, "commit", "--quiet", "-m", "Answers before a merge")


def _merge_files(project: Project, sides: Sides, branch: str) -> None:
    """Merge all files into index and working tree. Raises PipelineError, with nothing changed.

    What has to be settled by a person is neither rounds nor anything computed.
    """
    root = project.root
    write_bytes(root / MARK, sides.commit.encode())
    words = ["git", "merge", "--no-ff", "--no-commit", "--quiet", sides.commit]
    done = subprocess.run(words, cwd=root, capture_output=True, check=False, text=True)
    head = root / git(root, "rev-parse", "--git-path", "MERGE_HEAD").strip()
    if not head.is_file():
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise PipelineError(f"git merge {branch}", said, "repair it and run the same command again")
    _settle_rounds(project, sides)
    _settle_lists(project, sides)
    _take_computed(root, "HEAD" if sides.ours or not sides.theirs else sides.commit)
    conflicts = git(root, "diff", "--name-only", "--diff-filter=U", "-z").split("\0")
    open_ones = [path for path in conflicts if path]
    if open_ones:
        git(root, "reset", "--quiet", "--hard", "HEAD")
        for folder in (root / ROUNDS).glob(f"*/{MERGED}"):
            git(root, "clean", "--quiet", "-d", "--force", "--", str(folder))
        (root / MARK).unlink()
        what = f"both branches changed {listed(open_ones, 3)}, which a person has to settle"
        settle = f"make it the same on both (git checkout {branch} -- FILE, or edit; git commit)"
        raise PipelineError(root, what, f"{settle}, then `rounds merge {branch}` again")


def _settle_rounds(project: Project, sides: Sides) -> None:
    """Keep our rounds, and move theirs of other questions into our open one."""
    root = project.root
    for number in sides.shared:
        for name in ("closed.json", "decision.json"):
            path = f"{ROUNDS}/{number:03d}/{name}"
            if path in tree_of(project, "HEAD"):
                git(root, "checkout", "HEAD", "--", path)
    if not (sides.ours and sides.theirs):
        return
    target = root / ROUNDS / f"{max(sides.ours):03d}"
    for number in sorted({*sides.ours, *sides.theirs}):
        folder = f"{ROUNDS}/{number:03d}"
        git(root, "rm", "-r", "--quiet", "--force", "--ignore-unmatch", "--", folder)
        shutil.rmtree(root / folder, ignore_errors=True)
        if number in sides.ours:
            git(root, "checkout", "HEAD", "--", folder)
    tree = tree_of(project, sides.commit)
    for number in sides.theirs:
        _move_in(project, tree, number, target)
    git(root, "add", "--all", "--", ROUNDS)


def _move_in(project: Project, tree: dict[str, str], number: int, target: Path) -> None:
    """Write the folder of a round of another branch, as it stands, into one of ours."""
    folder = f"{ROUNDS}/{number:03d}/"
    blobs = {path: blob for path, blob in tree.items() if path.startswith(folder)}
    contents = read_blobs(project, blobs.values())
    batch = json.loads(contents[blobs[f"{folder}manifest.json"]])["batch_id"]
    for path, blob in blobs.items():
        name = PurePosixPath(path).relative_to(folder)
        if name.parts[0] == MERGED:  # it had merged rounds itself: they stand beside it
            write_bytes(target / name, contents[blob])
        else:
            write_bytes(target / MERGED / f"{number:03d}-{batch[:12]}" / name, contents[blob])


def _settle_lists(project: Project, sides: Sides) -> None:
    """Of lists in data/rounds that both sides added to, keep the lines of both: ours, then theirs.

    Git's own way is kept where it found no conflict.
    """
    root = project.root
    ours = tree_of(project, "HEAD")
    theirs = tree_of(project, sides.commit)
    for name in LISTS:
        path = f"{ROUNDS}/{name}"
        if path in ours and path in theirs and ours[path] != theirs[path]:
            blobs = read_blobs(project, [ours[path], theirs[path]])
            lines = [*blobs[ours[path]].splitlines(), *blobs[theirs[path]].splitlines()]
            write_bytes(root / path, b"".join(line + b"\n" for line in dict.fromkeys(lines)))
            git(root, "add", "--", path)


def _take_computed(root: Path, commit: str) -> None:
    """The figures and DVC's notes as a commit has them; they are computed anew afterwards."""
    for name in COMPUTED:
        git(root, "rm", "-r", "--quiet", "--force", "--ignore-unmatch", "--cached", "--", name)
        if git_bytes(root, "ls-tree", commit, "--", name).strip():
            git(root, "checkout", commit, "--", name)


def _recompute(project: Project, say: Say) -> None:
    with Dvc(project.root, say) as dvc:
        dvc("repro")


def _brought(sides: Sides) -> str:
    """What came with a merge, for a person."""
    count = len(sides.theirs)
    rounds_ = "1 round" if count == 1 else f"{count} rounds"
    if not count:
        return "answers to the same rounds"
    if not sides.ours:
        return f"{rounds_} that the other side asked"
    return f"{rounds_} of the other side, whose answers count from round {max(sides.ours)} on"


def _held(project: Project) -> str:
    """That the gate holds a round now that both sides' answers are together; "" where not."""
    path = project.root / "metrics" / "gate.json"
    held = read_json(path).get("held") if path.is_file() else None
    return f"; the gate says: {held}" if held else ""


@click.command()
@click.argument("branch")
@one_line_errors
def command(branch: str) -> str:
    """Merge another branch, or another machine's: nobody's answer is lost, and no file conflicts.

    Also where both closed the same round, or closed it in part: the question that stands on this
    branch stays, and what was asked and answered on the other one counts from the closing of the
    open round on. Fetch the branch first (git fetch).
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    project = Project.find(Path())
    return merge(project, branch, lambda stage: click.echo(f"  {stage} …", err=True))
