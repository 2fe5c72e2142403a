"""Whether a machine's frozen answers were only ever added to: part of `rounds verify`."""

from __future__ import annotations

from rounds.machines.freeze import FOLDER
from rounds.past import changes, lost, read_blobs, tree_of
from rounds.project import Project
from rounds.redaction import forgotten_of
from rounds.violation import HERE, Violation
from stages.machines.frozen import ANSWERS

WHAT = "a machine's answer that stood here was changed or removed"


def machine_faults(project: Project) -> list[Violation]:
    """Frozen answers that a commit, or the working tree, changed or removed."""
    history = [
        change
        for change in changes(project, FOLDER)
        if change.path.endswith(f"/{ANSWERS}") and change.old is not None
    ]
    names = [name for change in history for name in (change.old, change.new) if name is not None]
    blobs = read_blobs(project, names)
    forgotten = forgotten_of(project)
    violations = []
    for change in history:
        old = blobs[change.old] if change.old is not None else b""
        new = blobs[change.new] if change.new is not None else b""
        line = lost(forgotten.of_file(change.path, old), forgotten.of_file(change.path, new))
        if line:
            where = f"{change.path}:{line}"
            restore = f"`git checkout {change.commit.id[:12]}~ -- {change.path}`, and commit"
            violations.append(Violation("machines", change.commit.id, where, WHAT, restore))
    return [*violations, *_in_working_tree(project)]


def _in_working_tree(project: Project) -> list[Violation]:
    """What the working tree lacks of the answers of HEAD."""
    violations = []
    committed = tree_of(project, "HEAD")
    paths = [path for path in committed if path.startswith(f"{FOLDER}/")]
    paths = [path for path in paths if path.endswith(f"/{ANSWERS}")]
    blobs = read_blobs(project, [committed[path] for path in paths])
    forgotten = forgotten_of(project)
    for path in paths:
        file = project.root / path
        here = file.read_bytes() if file.is_file() else b""
        before = blobs[committed[path]]
        line = lost(forgotten.of_file(path, before), forgotten.of_file(path, here))
        if line:
            restore = f"`git checkout HEAD -- {path}`"
            violations.append(Violation("machines", HERE, f"{path}:{line}", WHAT, restore))
    return violations
