"""What `rounds verify` says of finished pools: whether the stage ran on what its commit holds."""

from __future__ import annotations

from pathlib import PurePosixPath

from rounds.commands import git
from rounds.dvc_files import md5, parsed
from rounds.finish import FOLDER, PIPELINE
from rounds.past import changes, read_blobs, tree_of
from rounds.project import Project
from rounds.reproducible import LockFault, content_md5, stage_faults
from rounds.violation import Violation

LOCK = f"{FOLDER}/dvc.lock"


def finishes(project: Project) -> list[Violation]:
    """Commits that finished a pool and do not hold what the stage read and wrote.

    HEAD has to hold what the last of them wrote; the loop may have gone on since.
    """
    brought = dict.fromkeys(change.commit.id for change in changes(project, LOCK) if change.new)
    head = git(project.root, "rev-parse", "HEAD").strip()
    commits = list(dict.fromkeys([*brought, *([head] if brought else [])]))
    return [
        Violation("finish", commit, fault.where, f"stage {FOLDER}: {fault.what}")
        for commit in commits
        for fault in finish_faults(project, commit)
        if commit in brought or fault.is_output
    ]


def finish_faults(project: Project, commit: str) -> list[LockFault]:
    """Where the stage's lock and the commit's own files do not agree.

    What DVC keeps is compared by the hashes of the commit's dvc.lock: the stage must have read what
    the loop's stages wrote.
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
