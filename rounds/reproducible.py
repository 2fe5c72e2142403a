"""Whether a commit's dvc.lock describes it, and whether its batch comes out again.

Two checks of `rounds verify`, `lock` and `replay`. A dvc.lock describes its commit when it names
the very files and params that git holds there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml.error import YAMLError

from rounds.commands import Dvc, cache_of, git
from rounds.dvc_files import (
    NO_LOCK,
    filled,
    fingerprint,
    folder_md5,
    md5,
    param,
    parsed,
    parsed_lock,
)
from rounds.history import MANIFESTS
from rounds.past import (
    Change,
    changes,
    closing_commits,
    imported_rounds,
    manifests,
    read_blobs,
    tree_of,
)
from rounds.project import Project
from rounds.redaction import Originals, originals
from rounds.violation import Violation
from stages.answers.changed import CHANGED, read_record
from stages.contract.canonical import Row, dumps, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.progress import watched

SETTINGS = ("dvc.yaml", "params.yaml")


@dataclass(frozen=True)
class LockFault:
    """What is wrong with a commit's dvc.lock, and at which file.

    is_output: the file is one that a stage wrote.
    """

    where: str
    what: str
    is_output: bool = False


def locks(project: Project, history: list[Change]) -> list[Violation]:
    """Round commits that their dvc.lock does not describe; figures of HEAD that no stage wrote."""
    hashes: dict[str, str] = {}
    violations = []
    closing = [commit.id for commit in closing_commits(project, history).values()]
    head = git(project.root, "rev-parse", "HEAD").strip()
    for commit in watched("verify", list(dict.fromkeys([*closing, head])), "commit"):
        try:
            faults = lock_faults(project, commit, hashes)
        except NO_LOCK:
            faults = [LockFault("dvc.lock", "not of the form that DVC writes")]
        violations += [
            Violation("lock", commit, fault.where, fault.what)
            for fault in faults
            if commit in closing or fault.is_output
        ]
    return violations


def lock_faults(project: Project, commit: str, hashes: dict[str, str]) -> list[LockFault]:
    """What is wrong in a commit whose dvc.lock, dvc.yaml, params.yaml and files do not agree.

    hashes: blob id -> MD5, filled in on the way.
    """
    tree = tree_of(project, commit)
    try:
        documents = _documents(project, tree)
    except (YAMLError, UnicodeDecodeError) as error:
        return [LockFault("dvc.lock", f"not valid YAML ({str(error).splitlines()[0]})")]
    if "dvc.lock" not in documents:
        return [LockFault("dvc.lock", "missing from a round commit")]
    here = _hashes_of_files(project, tree, documents, hashes)
    faults = _stages_faults(documents, here)
    for were in originals(project) if faults else ():
        # What was purged of the history is compared with what the record says it was.
        wrong = {fault.where for fault in faults}
        before = {path: here[path] for path in here}
        before |= {path: content_md5(path, tree, hashes, were) for path in wrong & set(here)}
        faults = min(faults, _stages_faults(documents, before), key=len)
    return faults


def _stages_faults(documents: Mapping[str, Any], here: Mapping[str, str | None]) -> list[LockFault]:
    """What is wrong with each stage of a commit. here: DVC's hash of each file, by path."""
    entries = documents["dvc.lock"]["stages"]
    faults = []
    for name, stage in documents["dvc.yaml"]["stages"].items():
        if name in entries:
            wrong = stage_faults(stage, entries[name], documents["params.yaml"], here)
        else:
            wrong = [LockFault("dvc.lock", "it never ran")]
        faults += [
            LockFault(fault.where, f"stage {name}: {fault.what}", fault.is_output)
            for fault in wrong
        ]
    return faults


def _documents(project: Project, tree: Mapping[str, str]) -> dict[str, Any]:
    """dvc.yaml, params.yaml, and every dvc.lock and .dvc file of a commit's tree, parsed, by path.

    Raises YAMLError or UnicodeDecodeError.
    """
    paths = [
        path
        for path in tree
        if path in SETTINGS or PurePosixPath(path).name == "dvc.lock" or path.endswith(".dvc")
    ]
    blobs = read_blobs(project, [tree[path] for path in paths])
    documents = {}
    for path in paths:
        parse = parsed_lock if path.endswith(".lock") else parsed
        documents[path] = parse(blobs[tree[path]])
    return documents


def _hashes_of_files(
    project: Project, tree: Mapping[str, str], documents: Mapping[str, Any], hashes: dict[str, str]
) -> dict[str, str | None]:
    """DVC's hash of each file that dvc.lock names: as git holds it, else as DVC says it made it.

    What lies at a URL is in neither: there all stages must have read the same. hashes: blob id ->
    MD5, filled in on the way.
    """
    entries = list(documents["dvc.lock"]["stages"].values())
    listed = [
        file for entry in entries for kind in ("deps", "outs") for file in entry.get(kind, [])
    ]
    paths = {file["path"] for file in listed}
    unknown = [
        blob
        for path, blob in tree.items()
        if blob not in hashes
        and (path in paths or any(str(up) in paths for up in PurePosixPath(path).parents))
    ]
    hashes |= {blob: md5(data) for blob, data in read_blobs(project, unknown).items()}
    made = _made(documents)
    here = {path: content_md5(path, tree, hashes) or made.get(path) for path in paths}
    for entry in entries:
        for dep in entry.get("deps", []):
            if "://" in dep["path"]:
                here[dep["path"]] = fingerprint(dep)
    return here


def _made(documents: Mapping[str, Any]) -> dict[str, str]:
    """DVC's hash of every output that a dvc.lock or .dvc file names, by its path."""
    made = {}
    for path, document in documents.items():
        if not path.endswith((".lock", ".dvc")):
            continue
        folder = PurePosixPath(path).parent
        for stage in document.get("stages", {"": document}).values():
            for out in stage.get("outs", []):
                made[(folder / out["path"]).as_posix()] = out["md5"]
    return made


def stage_faults(
    stage: Row, entry: Row, params: Row, here: Mapping[str, str | None]
) -> list[LockFault]:
    """Where a stage of dvc.yaml and its entry in dvc.lock disagree. here: path -> DVC's hash."""
    faults = []
    if entry["cmd"].split() != filled(stage["cmd"], params).split():
        faults.append(LockFault("dvc.lock", "ran another command"))
    if {filled(path, params) for path in stage["deps"]} != {dep["path"] for dep in entry["deps"]}:
        faults.append(LockFault("dvc.lock", "had other dependencies"))
    ran_with = entry.get("params", {}).get("params.yaml", {})
    if ran_with != {key: param(params, key) for key in stage.get("params", [])}:
        faults.append(LockFault("params.yaml", "ran with other params"))
    faults += [
        LockFault(file["path"], "not what it read")
        for file in entry.get("deps", [])
        if here[file["path"]] != fingerprint(file)
    ]
    faults += [
        LockFault(file["path"], "not what it wrote", is_output=True)
        for file in entry.get("outs", [])
        if here[file["path"]] != fingerprint(file)
    ]
    return faults


def content_md5(
    path: str, tree: Mapping[str, str], hashes: Mapping[str, str], were: Originals | None = None
) -> str | None:
    """DVC's hash of a file or folder as a commit holds it; None when git does not hold it.

    were: of files that lost what is forgotten, the hash that they had before.
    """
    were = were or {}

    def of_file(name: str) -> str:
        digest = hashes[tree[name]]
        return were.get((name, digest), digest)

    if path in tree:
        return of_file(path)
    inside = {name[len(path) + 1 :]: of_file(name) for name in tree if name.startswith(f"{path}/")}
    return folder_md5(inside) if inside else None


def replay(project: Project) -> tuple[list[Violation], list[str]]:
    """Run every issuing commit again, from its own sources, code and params; compare the batch.

    Returns the violations, and a line for each round.
    """
    violations: list[Violation] = []
    lines: list[str] = []
    history = changes(project, MANIFESTS)
    issued = manifests(history)
    imported = imported_rounds(project, history)
    for number, change in issued.items():
        if number in imported:
            lines.append(f"replay: round {number}: imported, so no commit chose it")
            continue
        commit = change.commit.id
        if _is_purged(project, commit):
            why = "what was forgotten since is purged from its commit"
            lines.append(f"replay: round {number}: not comparable: {why}")
            continue
        path = f"data/rounds/{number:03d}/batch.jsonl"
        name = f"{commit}:./{path}"
        comparison = compare_to_today(project, commit)
        same = run_again(project, commit) == read_blobs(project, [name])[name]
        if not same and comparison.possible:
            what = "another batch comes out when this commit is run again"
            violations.append(Violation("replay", commit, path, what))
        which = "the same batch" if same else "another batch"
        lines.append(f"replay: round {number}: {which}{comparison.note}")
    return violations, lines


def _is_purged(project: Project, commit: str) -> bool:
    """Whether a commit of before a `rounds forget` lacks what that took out.

    Of tables that DVC keeps, that its cache has the old ones no more.
    """
    rows = [row for row in read_record(project.rounds_folder) if row["kind"] == "redacted"]
    if not rows:
        return False
    tree = tree_of(project, commit)
    name = f"data/rounds/{CHANGED}"
    recorded = read_blobs(project, [tree[name]]).get(tree[name], b"") if name in tree else b""
    later = [row for row in rows if dumps(row).encode() not in recorded.splitlines()]
    if not later:
        return False
    blobs = read_blobs(project, [tree[row["file"]] for row in later if row["file"] in tree])
    purged = any(
        md5(blobs[tree[row["file"]]]) == row["md5"][1] for row in later if row["file"] in tree
    )
    return purged or _lacks_tables(project, tree, later)


def _lacks_tables(project: Project, tree: Mapping[str, str], rows: list[Row]) -> bool:
    """Whether DVC's cache lacks a table that a commit names and that rows have left since."""
    cache = Path(cache_of(project.root)) / "files" / "md5"
    names = [f"{row['file']}.dvc" for row in rows]
    blobs = read_blobs(project, [tree[name] for name in names if name in tree])
    digests = [parsed(data)["outs"][0]["md5"] for data in blobs.values()]
    return any(not (cache / digest[:2] / digest[2:]).is_file() for digest in digests)


@dataclass(frozen=True)
class Comparison:
    """Whether what a commit makes today can be compared with what it made; a note on that."""

    possible: bool
    note: str


def compare_to_today(project: Project, commit: str) -> Comparison:
    """How a commit stands to today: it runs its own code and params in today's environment.

    So it is comparable when it has the requirements.lock of today; code and params that are not
    today's are named.
    """
    others = not_todays(project, commit)
    if "environment" in others:
        return Comparison(False, f" (not comparable: {' and '.join(others)} are not today's)")
    note = f" (its own {' and '.join(others)}, not today's)" if others else ""
    return Comparison(True, note)


def not_todays(project: Project, commit: str) -> list[str]:
    """Which of code, params and environment differ between a commit and HEAD."""
    kinds = {
        "code": ("*.py", "dvc.yaml", ":!rounds"),
        "params": ("params.yaml",),
        "environment": ("requirements.lock",),
    }
    return [
        kind
        for kind, paths in kinds.items()
        if git(project.root, "diff", "--name-only", "--relative", commit, "HEAD", "--", *paths)
    ]


def run_again(project: Project, commit: str) -> bytes:
    """The batch.jsonl that a commit makes of its sources. Raises as `checked_out`."""
    with checked_out(project, commit) as dvc:
        dvc("repro", "--force", "--no-run-cache", "export_prodigy")
        return (dvc.root / "build" / "export" / "batch.jsonl").read_bytes()


@contextmanager
def checked_out(project: Project, commit: str) -> Iterator[Dvc]:
    """A DVC in a worktree of its own that holds a commit; the worktree is removed afterwards.

    Raises PipelineError when tables that DVC keeps are not in its cache.
    """
    prefix = git(project.root, "rev-parse", "--show-prefix").strip()
    with TemporaryDirectory() as folder:
        top = Path(folder).resolve() / "replay"
        git(project.root, "worktree", "add", "--quiet", "--detach", str(top), commit)
        root = top / prefix
        try:
            cache = f'[cache]\n    dir = "{cache_of(project.root)}"\n'
            config = cache + "[core]\n    autostage = false\n"
            write_bytes(root / ".dvc" / "config.local", config.encode())
            with Dvc(root, lambda _: None) as dvc:
                _check_out_tables(root, commit, dvc)
                yield dvc
        finally:
            git(project.root, "worktree", "remove", "--force", str(top))


def _check_out_tables(root: Path, commit: str, dvc: Dvc) -> None:
    """Bring the tables that DVC keeps. Raises PipelineError where its cache does not have them."""
    tables = git(root, "ls-files", "-z", "*.dvc").split("\0")[:-1]
    if not tables:
        return
    try:
        dvc("checkout", *tables)
    except PipelineError as error:
        what = f"tables of {commit[:12]} are not in DVC's cache"
        remedy = "`dvc fetch --all-commits` brings them"
        raise PipelineError("verify --replay", what, remedy) from error
