"""What `rounds verify` says of finished pools.

Whether the stage ran on what its commit holds, and whether what it wrote is there unchanged; with
--replay, whether it comes out again.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from rounds.commands import git, is_as_committed
from rounds.dvc_files import NO_LOCK, md5, parsed
from rounds.finish import FOLDER, PIPELINE
from rounds.past import changes, read_blobs, tree_of
from rounds.project import Project
from rounds.reproducible import (
    LockFault,
    checked_out,
    compare_to_today,
    content_md5,
    stage_faults,
)
from rounds.violation import HERE, Violation

LOCK = f"{FOLDER}/dvc.lock"
STAGE = f"{PIPELINE}:{FOLDER}"
AGAIN = "run `rounds finish` again"
NOT_WRITTEN = "not what the stage finish wrote"


def finishes(project: Project) -> list[Violation]:
    """Commits that finished a pool and do not hold what the stage read and wrote.

    HEAD has to hold what the last of them wrote; the loop may have gone on since. So has the
    working tree, as far as the files are there.
    """
    brought = finishing_commits(project)
    if not brought:
        return []
    head = git(project.root, "rev-parse", "HEAD").strip()
    violations = []
    for commit in dict.fromkeys([*brought, head]):
        for fault in _faults_of(project, commit):
            if commit in brought:
                remedy = AGAIN
            elif fault.is_output:
                remedy = f"`git checkout {brought[-1][:12]} -- {fault.where}`, and commit"
            else:
                continue  # the loop has gone on since
            what = f"stage {FOLDER}: {fault.what}"
            violations.append(Violation("finish", commit, fault.where, what, remedy))
    return [*violations, *in_working_tree(project)]


def finishing_commits(project: Project) -> list[str]:
    """The commits that finished a pool, the oldest first."""
    found = dict.fromkeys(change.commit.id for change in changes(project, LOCK) if change.new)
    return list(found)


def _faults_of(project: Project, commit: str) -> list[LockFault]:
    """As `finish_faults`; a dvc.lock that cannot be read is one."""
    try:
        return finish_faults(project, commit)
    except NO_LOCK:
        return [LockFault(LOCK, "not of the form that DVC writes")]


def finish_faults(project: Project, commit: str) -> list[LockFault]:
    """Where the stage's lock and the commit's own files do not agree.

    What DVC keeps is compared by the hashes of the commit's dvc.lock: the stage must have read what
    the loop's stages wrote. Raises one of NO_LOCK for a file that is none of DVC's.
    """
    tree = tree_of(project, commit)
    names = (PIPELINE, LOCK, "dvc.lock", "params.yaml")
    missing = [name for name in names if name not in tree]
    if missing:
        return [LockFault(missing[0], "missing from a commit that finishes a pool")]
    blobs = read_blobs(project, [tree[name] for name in names])
    stages, lock, loop, params = (parsed(blobs[tree[name]]) for name in names)
    stage, entry = stages["stages"][FOLDER], lock["stages"][FOLDER]
    outs = [out for made in loop["stages"].values() for out in made.get("outs", [])]
    kept = {out["path"]: out["md5"] for out in (*outs, *entry["outs"])}
    files = [file["path"] for kind in ("deps", "outs") for file in entry[kind]]
    wanted = [
        path
        for path in tree
        if path in files or any(str(up) in files for up in PurePosixPath(path).parents)
    ]
    data = read_blobs(project, [tree[path] for path in wanted])
    hashes = {blob: md5(content) for blob, content in data.items()}
    here = {path: content_md5(path, tree, hashes) or kept.get(path) for path in files}
    return stage_faults(stage, entry, params, here)


def in_working_tree(project: Project) -> list[Violation]:
    """Files of the working tree that are not what the stage wrote, by its lock there.

    A file that is not there is no violation: `dvc pull` brings it.
    """
    lock = project.root / LOCK
    if not lock.is_file():
        return []
    try:
        wrote = _written(lock.read_bytes())
    except NO_LOCK:
        what = "not of the form that DVC writes"
        return [Violation("finish", HERE, LOCK, what, f"`git checkout -- {LOCK}`")]
    violations = []
    for path, expected in wrote.items():
        file = project.root / path
        kept = path.startswith("build/")
        if not file.is_file() or md5(file.read_bytes()) == expected:
            continue
        if kept:
            remedy = f"`dvc checkout --force {path}`"
        elif is_as_committed(project.root, file):
            continue  # that is the commit's fault
        else:
            remedy = f"`git checkout -- {path}`"
        violations.append(Violation("finish", HERE, path, NOT_WRITTEN, remedy))
    return violations


def _written(lock: bytes) -> dict[str, str]:
    """Path -> hash of what the stage wrote. Raises one of NO_LOCK for what is no dvc.lock."""
    return {out["path"]: out["md5"] for out in parsed(lock)["stages"][FOLDER]["outs"]}


def replay_finishes(project: Project) -> tuple[list[Violation], list[str]]:
    """Run every commit that finished a pool again from its sources, and compare what it wrote.

    Returns the violations, and a line for each commit.
    """
    violations: list[Violation] = []
    lines: list[str] = []
    for commit in finishing_commits(project):
        comparison = compare_to_today(project, commit)
        name = f"{commit}:./{LOCK}"
        wrote = _written(read_blobs(project, [name])[name])
        with checked_out(project, commit) as dvc:
            dvc("repro", "--force", "--no-run-cache", STAGE)
            others = [path for path in wrote if md5((dvc.root / path).read_bytes()) != wrote[path]]
        if comparison.possible:
            what = "another file comes out when this commit is run again"
            violations += [Violation("replay", commit, path, what, AGAIN) for path in others]
        which = f"another {others[0]}" if others else "the same labels"
        lines.append(f"replay: finished at {commit[:12]}: {which}{comparison.note}")
    return violations, lines
