"""`rounds verify`: prove that the history is what happened: nothing asked, answered or learnt was changed afterwards.

    ledger    no answered batch and no answer row was changed or removed, in any commit or in the working tree
    issue     every batch is byte for byte what export_prodigy had written, by the dvc.lock of its commit
    answers   every answer and correction is readable and belongs to its batch
    content   every asked id still carries the content that was judged, or a person said why not (`rounds changed`)
    test      no id, and no content, of the test set was ever asked
    lock      every round commit reproduces: its dvc.lock describes the very files and params of that commit; and the
              figures (metrics, plots) of HEAD are those in its dvc.lock
    replay    (with --replay) the batches come out again when a round commit is run from scratch

Needs git only, --replay excepted. What it cannot see: a history that was rewritten as a whole; sign
or push commits.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import click
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rounds.commands import Dvc, cache_of, changed_paths, commit_named, git
from rounds.content import changed, not_compared, summary
from rounds.history import MANIFESTS
from rounds.past import (
    Change,
    answered_at,
    changes,
    closing_commits,
    faults,
    has_commits,
    manifests,
    place,
    read_blobs,
    rounds_over,
    tree_of,
    uncommitted_faults,
)  # fmt: skip
from rounds.project import Project
from rounds.tables_now import pool_of
from stages.answers.reading import import_round
from stages.answers.rounds import round_folders
from stages.batch.export import fields_of
from stages.contract.canonical import Row, read_jsonl, sha256, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.progress import watched
from stages.contract.shell import one_line_errors
from stages.examples.content import exact_bytes
from stages.examples.tables import as_text, read_table

HERE = "working tree"
SETTINGS = ("dvc.yaml", "params.yaml")
LOCK_HASH = re.compile(
    rb"\n      md5: (\w+(?:\.dir)?)(?=\n|\Z)"
)  # where DVC writes it: two levels into a stage
LOCK_SIZE = re.compile(rb"\n      (?:size|nfiles): \d+(?=\n|\Z)")
BATCH = ("asked.jsonl", "batch.jsonl", "manifest.json", "verdicts.jsonl")


@dataclass(frozen=True)
class Violation:
    """What is wrong, in which commit (or the working tree), at which file and line."""

    check: str
    commit: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.commit[:12]}  {self.where}: {self.what}  [{self.check}]"


def verify(project: Project) -> tuple[list[Violation], list[str]]:
    """All violations, and what could not be checked. Raises PipelineError before the first commit."""
    if not has_commits(project):
        raise PipelineError(
            project.root, "no commit yet", "git add -A && git commit, then `rounds close`"
        )
    history = changes(project, "data/rounds")
    found = [*ledger(project, history), *locks(project, history)]
    try:
        round_folders(project.rounds_folder)
    except PipelineError as error:  # a round is missing: the other checks have nothing to stand on
        gap = Violation("answers", HERE, error.where.removeprefix(f"{project.root}/"), error.what)
        return [*found, gap], ["issue, answers, test: not checked while a round is missing"]
    skipped = not_compared(project)
    asked_tests, unchecked = tests(project, history, None if skipped else pool_columns(project))
    found += [
        *issues(project, history),
        *answers(project, history),
        *asked_tests,
    ]
    if skipped:
        unchecked.append(f"content: {skipped}")
    else:
        found += content(project)
    return list(dict.fromkeys(found)), unchecked  # a merge is looked at from every parent


def ledger(project: Project, history: list[Change]) -> list[Violation]:
    """Rows and files that a commit, or the working tree, changed or removed."""
    history = [change for change in history if place(change.path)[0]]
    late = rounds_over(project, history)
    edits = {change.side for change in history if change.old} | {side for side, _ in late}
    blobs = read_blobs(
        project,
        [name for step in history if step.side in edits for name in (step.old, step.new) if name],
    )
    found = []
    for side, group in groupby(history, key=lambda change: change.side):
        if side not in edits:
            continue
        steps = list(group)
        olds = {step.path: step.old for step in steps}
        commit = steps[0].commit

        def answered(
            path: str,
            olds: Mapping[str, str | None] = olds,
            parents: tuple[str, ...] = commit.parents,
        ) -> bool:
            same = (
                one
                for one in parents
                if f" {olds[path]}\t" in git(project.root, "ls-tree", one, "--", path)
            )
            return any(answered_at(project, path, parent) for parent in same)

        before = {step.path: blobs.get(step.old or "") for step in steps}
        after = {step.path: blobs.get(step.new or "") for step in steps}

        def over(path: str, side: int = side) -> bool:
            return (side, path) in late

        for fault in faults(before, after, answered, over):
            where = f"{fault.path}:{fault.line}" if fault.line else fault.path
            found.append(Violation("ledger", commit.id, where, fault.what))
    found += [
        Violation(
            "ledger", HERE, f"{fault.path}:{fault.line}" if fault.line else fault.path, fault.what
        )
        for fault in uncommitted_faults(project)
    ]
    return found


def issues(project: Project, history: list[Change]) -> list[Violation]:
    """Batches that are not what export_prodigy had written where they were issued."""
    found = []
    issued = manifests(history)
    at_once = Counter(change.commit.id for change in issued.values())
    names: dict[int, dict[str, str]] = {
        number: {
            name: f"{change.commit.id}:./{PurePosixPath(change.path).parent}/{name}"
            for name in BATCH
        }
        for number, change in issued.items()
    }
    locked = {number: f"{change.commit.id}:./dvc.lock" for number, change in issued.items()}
    blobs = read_blobs(
        project, [*locked.values(), *(name for row in names.values() for name in row.values())]
    )
    for number, change in issued.items():
        files = {name: blobs[full] for name, full in names[number].items() if full in blobs}
        if exported(blobs.get(locked[number], b"")) != folder_md5(
            {name: md5(data) for name, data in files.items()}
        ):
            what = "not what export_prodigy wrote (dvc.lock)"
            if at_once[change.commit.id] > 1:
                what += f"; {at_once[change.commit.id]} questions came in this one commit: was it squashed, or moved?"
            found.append(Violation("issue", change.commit.id, f"data/rounds/{number:03d}", what))
    for one in project.rounds():
        manifest = one.folder / "manifest.json"
        known = blobs.get(names[one.number]["manifest.json"]) if one.number in issued else None
        if known is None or not manifest.is_file() or manifest.read_bytes() != known:
            lock = project.root / "dvc.lock"
            files = {
                name: (one.folder / name).read_bytes()
                for name in BATCH
                if (one.folder / name).is_file()
            }
            made = exported(lock.read_bytes() if lock.is_file() else b"")
            if made != folder_md5({name: md5(data) for name, data in files.items()}):
                where = f"data/rounds/{one.folder.name}"
                found.append(
                    Violation("issue", HERE, where, "not what export_prodigy wrote (dvc.lock)")
                )
    return found


def exported(lock: bytes) -> str | None:
    """The hash of build/export in a dvc.lock."""
    told = re.search(rb"outs:\n\s+- path: build/export\n\s+hash: md5\n\s+md5: (\S+)", lock)
    return told[1].decode() if told else None


def md5(data: bytes) -> str:
    """The hash by which DVC names a file."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def folder_md5(files: Mapping[str, str]) -> str:
    """The hash by which DVC names a folder. files: path within it -> MD5."""
    listing = [
        {"md5": files[name], "relpath": name}
        for name in sorted(files, key=lambda name: name.split("/"))
    ]
    return md5(json.dumps(listing, sort_keys=True).encode()) + ".dir"


def written(project: Project, history: list[Change]) -> dict[str, str]:
    """Path -> the commit that wrote it as it is now; what was changed since is not there."""
    changed = set(changed_paths(project.root))
    return {change.path: change.commit.id for change in history if change.path not in changed}


def answers(project: Project, history: list[Change]) -> list[Violation]:
    """Rounds that import_labels refuses."""
    found = []
    params, commits = project.params(), written(project, history)
    for one in project.rounds():
        try:
            import_round(one.folder, params)
        except PipelineError as error:
            where = error.where.removeprefix(f"{project.root}/")
            found.append(
                Violation(
                    "answers", commits.get(re.sub(r":\d+$", "", where), HERE), where, error.what
                )
            )
    return found


def content(project: Project) -> list[Violation]:
    """Asked ids whose content is not what was judged, all of them in one violation."""
    rows = changed(project, anew=True)
    return [Violation("content", HERE, project.params().data.pool, summary(rows))] if rows else []


def pool_columns(project: Project) -> list[str] | None:
    """The columns whose values identify a row, as featurize takes them from the pool."""
    return fields_of(pool_of(project), project.params())


def tests(
    project: Project, history: list[Change], columns: list[str] | None
) -> tuple[list[Violation], list[str]]:
    """Test rows that were asked, by id or by content, and a note when the test table is not here.

    columns: see `pool_columns`.
    """
    params = project.params()
    path = project.root / params.data.test
    if not path.is_file():
        return [], [f"test: {params.data.test} is not here; `dvc pull` brings it"]
    table = read_table(path, may_be_empty=True)
    if not len(table):
        return [], []
    shas = {sha256(data) for data in exact_bytes(table, params, columns)}
    ids = (
        {as_text(cell) for cell in table.column(params.data.id, "data.id")}
        if params.data.id
        else set()
    )
    found, commits = [], written(project, history)
    for one in project.rounds():
        batch = f"data/rounds/{one.folder.name}/batch.jsonl"
        rows = read_jsonl(project.root / batch) if (project.root / batch).is_file() else []
        for line, row in enumerate(rows, start=1):
            if row.get("id") in ids or row.get("sha") in shas:
                what = f"id {row['id']!r} is of the test set"
                found.append(Violation("test", commits.get(batch, HERE), f"{batch}:{line}", what))
    return found, []


def locks(project: Project, history: list[Change]) -> list[Violation]:
    """Round commits whose dvc.lock does not describe them, and figures of HEAD that no stage wrote."""
    hashes: dict[str, str] = {}
    found = []
    closing = dict.fromkeys(commit.id for commit in closing_commits(project, history).values())
    head = git(project.root, "rev-parse", "HEAD").strip()
    for commit in watched("verify", list(dict.fromkeys([*closing, head])), "commit"):
        try:
            wrong = lock_faults(project, commit, hashes)
        except (LookupError, TypeError, AttributeError):
            wrong = [("dvc.lock", "not of the form that DVC writes")]
        found += [
            Violation("lock", commit, where, what)
            for where, what in wrong
            if commit in closing or what.endswith("not what it wrote")
        ]
    return found


def lock_faults(project: Project, commit: str, hashes: dict[str, str]) -> list[tuple[str, str]]:
    """(file, what is wrong) of a commit whose dvc.lock, dvc.yaml, params.yaml and files do not agree.

    hashes: blob id -> MD5, filled in on the way.
    """
    tree = tree_of(project, commit)
    settings = [
        path
        for path in tree
        if path in SETTINGS or PurePosixPath(path).name == "dvc.lock" or path.endswith(".dvc")
    ]
    blobs = read_blobs(project, [tree[path] for path in settings])
    try:
        documents = {
            path: (parsed_lock if path.endswith(".lock") else parsed)(blobs[tree[path]])
            for path in settings
        }
    except (YAMLError, UnicodeDecodeError) as error:
        return [("dvc.lock", f"not valid YAML ({str(error).splitlines()[0]})")]
    if "dvc.lock" not in documents:
        return [("dvc.lock", "missing from a round commit")]
    params, lock = documents["params.yaml"], documents["dvc.lock"]["stages"]
    made = {
        (PurePosixPath(path).parent / out["path"]).as_posix(): out["md5"]
        for path, document in documents.items()
        if path.endswith((".lock", ".dvc"))
        for stage in document.get("stages", {"": document}).values()
        for out in stage.get("outs", [])
    }
    files = {
        file["path"]
        for entry in lock.values()
        for kind in ("deps", "outs")
        for file in entry.get(kind, [])
    }
    needed = [
        blob
        for path, blob in tree.items()
        if path in files or any(str(up) in files for up in PurePosixPath(path).parents)
    ]
    unknown = [blob for blob in needed if blob not in hashes]
    hashes |= {blob: md5(data) for blob, data in read_blobs(project, unknown).items()}
    here = {path: content_md5(path, tree, hashes) or made.get(path) for path in files}
    outside = (
        dep for entry in lock.values() for dep in entry.get("deps", []) if "://" in dep["path"]
    )
    here |= {
        dep["path"]: fingerprint(dep) for dep in outside
    }  # not in git: all stages must have read the same
    found = []
    for name, stage in documents["dvc.yaml"]["stages"].items():
        told = (
            stage_faults(stage, lock[name], params, here)
            if name in lock
            else [("dvc.lock", "it never ran")]
        )
        found += [(where, f"stage {name}: {what}") for where, what in told]
    return found


def stage_faults(
    stage: Row, entry: Row, params: Row, here: Mapping[str, str | None]
) -> list[tuple[str, str]]:
    """(file, what is wrong) where a stage of dvc.yaml and its entry in dvc.lock disagree. here: path -> DVC's hash."""
    found = []
    if entry["cmd"].split() != filled(stage["cmd"], params).split():
        found.append(("dvc.lock", "ran another command"))
    if {filled(path, params) for path in stage["deps"]} != {dep["path"] for dep in entry["deps"]}:
        found.append(("dvc.lock", "had other dependencies"))
    if entry.get("params", {}).get("params.yaml", {}) != {
        key: param(params, key) for key in stage.get("params", [])
    }:
        found.append(("params.yaml", "ran with other params"))
    for kind, what in (("deps", "not what it read"), ("outs", "not what it wrote")):
        found += [
            (file["path"], what)
            for file in entry.get(kind, [])
            if here[file["path"]] != fingerprint(file)
        ]
    return found


def fingerprint(file: Row) -> str:
    """DVC's hash of a file in dvc.lock, or what stands for it at a URL."""
    return str(next(file[key] for key in ("md5", "etag", "checksum") if key in file))


@functools.lru_cache(maxsize=1024)
def parsed(document: bytes) -> Any:
    """A YAML document."""
    return YAML(typ="safe", pure=True).load(document.decode())


def parsed_lock(document: bytes) -> Any:
    """A dvc.lock. From round to round only its hashes differ, and ruamel.yaml takes its time: the rest is read once."""
    hashes = [value.decode() for value in LOCK_HASH.findall(document)]
    numbers = map(str, itertools.count())
    alike = LOCK_SIZE.sub(
        b"", LOCK_HASH.sub(lambda _: b"\n      md5: " + next(numbers).encode(), document)
    )
    lock = parsed(alike)
    stages = {
        name: stage
        | {
            k: [file | {"md5": hashes[file["md5"]]} for file in stage.get(k, [])]
            for k in ("deps", "outs")
        }
        for name, stage in lock["stages"].items()
    }
    return {**lock, "stages": stages}


def param(params: Row, name: str) -> Any:
    """The value of a param by its dotted name."""
    return functools.reduce(lambda node, key: node[key], name.split("."), params)


def filled(text: str, params: Row) -> str:
    """A text of dvc.yaml with its ${a.b} replaced by params."""
    return re.sub(r"\$\{([\w.]+)\}", lambda found: str(param(params, found[1])), text)


def content_md5(path: str, tree: Mapping[str, str], hashes: Mapping[str, str]) -> str | None:
    """DVC's hash of a file or folder as a commit's tree holds it; None when git does not hold it."""
    if path in tree:
        return hashes[tree[path]]
    inside = {
        name[len(path) + 1 :]: hashes[blob]
        for name, blob in tree.items()
        if name.startswith(f"{path}/")
    }
    return folder_md5(inside) if inside else None


def replay(project: Project) -> tuple[list[Violation], list[str]]:
    """Run every issuing commit again from its own sources, code and params, and compare the batch, byte for byte.

    Code and params are always the commit's own; only the environment is today's. So a round is
    comparable when its commit has the requirements.lock of today; code and params that are not
    today's are named.
    """
    found: list[Violation] = []
    told: list[str] = []
    issued = manifests(changes(project, MANIFESTS))
    for number, change in issued.items():
        commit = change.commit.id
        name = f"data/rounds/{number:03d}/batch.jsonl"
        others = not_todays(project, commit)
        same = (
            run_again(project, commit)
            == read_blobs(project, [f"{commit}:./{name}"])[f"{commit}:./{name}"]
        )
        if not same and "environment" not in others:
            found.append(
                Violation(
                    "replay", commit, name, "another batch comes out when this commit is run again"
                )
            )
        note = f" (its own {' and '.join(others)}, not today's)" if others else ""
        if "environment" in others:
            note = f" (not comparable: {' and '.join(others)} are not today's)"
        told.append(
            f"replay: round {number}: {'the same batch' if same else 'another batch'}{note}"
        )
    return found, told


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
    """The batch.jsonl that a commit makes of its sources, in a worktree of its own that is removed afterwards.

    Raises PipelineError when tables that DVC keeps are not in its cache.
    """
    prefix = git(project.root, "rev-parse", "--show-prefix").strip()
    with TemporaryDirectory() as folder:
        top = Path(folder).resolve() / "replay"
        git(project.root, "worktree", "add", "--quiet", "--detach", str(top), commit)
        root = top / prefix
        try:
            config = (
                f'[cache]\n    dir = "{cache_of(project.root)}"\n[core]\n    autostage = false\n'
            )
            write_bytes(root / ".dvc" / "config.local", config.encode())
            tables = git(root, "ls-files", "-z", "*.dvc").split("\0")[:-1]
            with Dvc(root, lambda _: None) as dvc:
                try:
                    if tables:
                        dvc("checkout", *tables)
                except PipelineError as error:
                    what = f"tables of {commit[:12]} are not in DVC's cache"
                    raise PipelineError(
                        "verify --replay", what, "`dvc fetch --all-commits` brings them"
                    ) from error
                dvc("repro", "--force", "--no-run-cache", "export_prodigy")
            return (root / "build" / "export" / "batch.jsonl").read_bytes()
        finally:
            git(project.root, "worktree", "remove", "--force", str(top))


@click.command()
@click.option(
    "--replay",
    "again",
    is_flag=True,
    help="Run every round commit again and compare the batches (slow).",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per violation.")
@click.option(
    "--since",
    metavar="COMMIT",
    help="Count only what came after a commit whose violations you know.",
)
@one_line_errors
def command(again: bool, as_json: bool, since: str | None) -> str:
    """Prove that no question, answer or label was changed afterwards. Exit 1 if any was, naming each."""
    project = Project.find(Path())
    found, notes = verify(project)
    if again:
        differing, told = replay(project)
        found, notes = found + differing, notes + told
    if since:
        seen = set(
            git(project.root, "rev-list", commit_named(project.root, since, "--since")).split()
        )
        every, found = (
            len(found),
            [violation for violation in found if violation.commit not in seen],
        )
        notes.append(f"since {since}: {every - len(found)} violations up to it are not counted")
    for violation in found:
        click.echo(json.dumps(violation.__dict__) if as_json else str(violation))
    for note in notes:
        click.echo(note, err=True)
    if found:
        click.echo(
            f"error: verify: {len(found)} violations; see docs/history.md for what each means",
            err=True,
        )
        sys.exit(1)
    return f"verify: {len(project.rounds())} rounds, nothing was changed afterwards"
