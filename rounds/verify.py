"""`rounds verify`: prove that nothing asked, answered or learnt was changed afterwards.

    ledger    no answered batch and no answer row was changed or removed, in any commit or in the
              working tree
    record    no line of data/rounds/changed.jsonl was changed or removed, and nothing that was
              forgotten is here again
    scheme    no change of the labels (data/scheme.jsonl) was changed or removed, all can be read,
              and params.labels is what they come to
    issue     every batch is byte for byte what export_prodigy had written, by the dvc.lock of its
              commit
    answers   every answer and correction is readable and belongs to its batch
    content   every asked id still carries the content that was judged, or a person said why not
              (`rounds changed`)
    test      no id, and no content, of the test set was ever asked
    lock      the dvc.lock of every round commit describes the very files and params of that
              commit, and the figures (metrics, plots) of HEAD are those in its dvc.lock
    finish    every finished pool was made of what its commit holds, and is what the stage wrote
    machines  no frozen answer of a machine annotator was changed or removed
    replay    (with --replay) the batches, and the labels of finished pools, come out again when
              their commit is run from scratch

Needs git only, --replay excepted. What it cannot see: a history that was rewritten as a whole; sign
or push commits.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath

import click

from rounds.commands import changed_paths, commit_named, git
from rounds.content import changed, not_compared, returned, summary
from rounds.dvc_files import folder_md5, md5, output_md5
from rounds.finished import finishes, replay_finishes
from rounds.machines.kept import machine_faults
from rounds.origins import moved_on, not_asked
from rounds.past import (
    Change,
    Commit,
    Fault,
    answered_at,
    changes,
    faults,
    has_commits,
    imported_rounds,
    lost,
    manifests,
    name_in_round,
    name_merged,
    read_blobs,
    redaction_here,
    round_of_path,
    rounds_over,
    tree_of,
    uncommitted_faults,
)
from rounds.project import Project
from rounds.redaction import Originals, originals
from rounds.reproducible import locks, replay
from rounds.tables_now import pool_of
from rounds.violation import HERE, Violation
from stages.answers.arms import IMPORTED
from stages.answers.changed import CHANGED, read_changed
from stages.answers.forgotten import forgotten_rows
from stages.answers.reading import import_round
from stages.answers.rounds import round_folders
from stages.answers.scheme import SCHEME, require_known_names
from stages.batch.export import fields_of
from stages.contract.canonical import read_jsonl, sha256
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors
from stages.examples.content import exact_bytes
from stages.examples.tables import as_text, read_table

ROUNDS = "data/rounds/"
BATCH = ("asked.jsonl", "batch.jsonl", "manifest.json", "verdicts.jsonl")
RECORD = f"{ROUNDS}{CHANGED}"
LINES = {"scheme": "change of the labels", "record": "line about changed rows"}
NOT_MARKED = "an imported round with a row that is not marked as imported"
NOT_EXPORTED = "not what export_prodigy wrote (dvc.lock)"


def verify(project: Project) -> tuple[list[Violation], list[str]]:
    """All violations, and what could not be checked.

    Raises PipelineError before the first commit.
    """
    if not has_commits(project):
        raise PipelineError(
            project.root, "no commit yet", "git add -A && git commit, then `rounds close`"
        )
    history = changes(project, "data/rounds")
    violations = [
        *ledger(project, history),
        *scheme(project),
        *lines_lost(project, RECORD, "record"),
    ]
    violations += [*locks(project, history), *finishes(project), *machine_faults(project)]
    try:
        round_folders(project.rounds_folder)
    except PipelineError as error:  # a round is missing: the other checks have nothing to stand on
        gap = Violation("answers", HERE, error.where.removeprefix(f"{project.root}/"), error.what)
        return [*violations, gap], ["issue, answers, test: not checked while a round is missing"]
    skipped = not_compared(project)
    asked_tests, notes = tests(project, history, None if skipped else pool_columns(project))
    violations += [*issues(project, history), *answers(project, history)]
    notes += [
        f"issue: round {number} was imported from {origin.get('file')} ({origin.get('tool')}): "
        "nothing proves how its rows were chosen, and no arm counts them"
        for number, origin in imported_rounds(project, history).items()
    ]
    notes += forgotten_notes(project)
    if skipped:
        notes.append(f"content: {skipped}")
    else:
        violations += content(project)
    violations += asked_tests
    return list(dict.fromkeys(violations)), notes  # a merge is looked at from every parent


def ledger(project: Project, history: list[Change]) -> list[Violation]:
    """Rows and files that a commit, or the working tree, changed or removed."""
    history = [change for change in history if round_of_path(change.path)]
    late = rounds_over(project, history)
    # Only these steps can have done wrong: they replace a file, or add to a round that was over.
    suspects = {change.side for change in history if change.old} | {side for side, _ in late}
    steps = [change for change in history if change.side in suspects]
    blobs = _without_forgotten(project, steps)
    had: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for step in steps:
        had[step.commit.id, step.path].append(blobs.get(step.old or "", b""))
    violations = []
    for side, group in groupby(steps, key=lambda change: change.side):
        late_paths = {path for late_side, path in late if late_side == side}
        violations += _step_faults(project, list(group), blobs, late_paths, had)
    return violations + [_ledger_violation(HERE, fault) for fault in uncommitted_faults(project)]


def _without_forgotten(project: Project, steps: list[Change]) -> dict[str, bytes]:
    """The blobs of steps as they are once nothing forgotten stands in them, by their ids."""
    paths = {
        name: step.path.removeprefix(ROUNDS)
        for step in steps
        for name in (step.old, step.new)
        if name is not None
    }
    forgotten = redaction_here(project)
    contents = read_blobs(project, paths)
    return {name: forgotten.of_file(paths[name], data) for name, data in contents.items()}


def _step_faults(
    project: Project,
    steps: list[Change],
    blobs: Mapping[str, bytes],
    late: set[str],
    had: Mapping[tuple[str, str], list[bytes]],
) -> list[Violation]:
    """What one commit, compared with one of its parents, did to the ledger that it may not do.

    late: the paths that belong to a round that was over in every parent. had: by commit and path,
    what its parents had there.
    """
    commit = steps[0].commit
    olds = {step.path: step.old for step in steps}

    def answered(path: str) -> bool:
        """Whether the round of a path was answered in a parent that held the file as it was."""
        same = (
            parent
            for parent in commit.parents
            if f" {olds[path]}\t" in git(project.root, "ls-tree", parent, "--", path)
        )
        return any(answered_at(project, path, parent) for parent in same)

    before = {step.path: blobs.get(step.old or "") for step in steps}
    after = {step.path: blobs.get(step.new or "") for step in steps}
    others = {path: had[commit.id, path] for path in before}
    wrong = faults(before, after, answered, late.__contains__, others)
    if wrong and len(commit.parents) > 1:
        kept = _kept_by_merge(project, commit)
        wrong = [
            fault for fault in wrong if (name_in_round(fault.path), olds[fault.path]) not in kept
        ]
    return [_ledger_violation(commit.id, fault) for fault in wrong]


def _kept_by_merge(project: Project, commit: Commit) -> set[tuple[str, str | None]]:
    """What a merge replaced and kept: names within their round, and blob ids.

    That is the rounds of the other branch, whose folders stand whole in `merged`, and the note that
    a round which both sides closed was closed early, of which each side has one.
    """
    tree = tree_of(project, commit.id)
    kept: set[tuple[str, str | None]] = {
        (name_merged(path), blob) for path, blob in tree.items() if name_merged(path)
    }
    for parent in commit.parents:
        notes = tree_of(project, parent).items()
        kept |= {
            (name_in_round(path), blob)
            for path, blob in notes
            if name_in_round(path) == "closed.json" and path in tree
        }
    return kept


def scheme(project: Project) -> list[Violation]:
    """Lines of the record of changed labels that were changed or removed, or that say nothing."""
    violations = lines_lost(project, SCHEME, "scheme")
    try:
        require_known_names(project.params().labels, project.scheme())
    except PipelineError as error:
        where = error.where.removeprefix(f"{project.root}/")
        violations.append(Violation("scheme", HERE, where, error.what))
    return violations


def lines_lost(project: Project, name: str, check: str) -> list[Violation]:
    """Lines of a record that a commit, or the working tree, changed or removed. name: its path."""
    steps = changes(project, name)
    blobs = read_blobs(
        project, [blob for step in steps for blob in (step.old, step.new) if blob is not None]
    )
    pairs = [
        (step.commit.id, blobs[step.old], blobs.get(step.new or "", b""))
        for step in steps
        if step.old
    ]
    path = project.root / name
    if steps and steps[-1].new:
        here = path.read_bytes() if path.is_file() else b""
        pairs.append((HERE, blobs[steps[-1].new], here))
    violations = []
    for commit, old, new in pairs:
        line = lost(old, new)
        if line:
            what = f"the {LINES[check]} that stood here was changed or removed"
            violations.append(Violation(check, commit, f"{name}:{line}", what))
    return violations


def _ledger_violation(commit: str, fault: Fault) -> Violation:
    where = f"{fault.path}:{fault.line}" if fault.line else fault.path
    return Violation("ledger", commit, where, fault.what)


def issues(project: Project, history: list[Change]) -> list[Violation]:
    """Batches that are not what export_prodigy had written where they were issued."""
    issued = manifests(history)
    at_once = Counter(change.commit.id for change in issued.values())
    names = {number: _frozen_names(change) for number, change in issued.items()}
    locked = {number: f"{change.commit.id}:./dvc.lock" for number, change in issued.items()}
    files = [name for frozen in names.values() for name in frozen.values()]
    blobs = read_blobs(project, [*locked.values(), *files])
    imported = imported_rounds(project, history)
    were = originals(project)
    violations = []
    for number, change in issued.items():
        batch = {name: blobs[full] for name, full in names[number].items() if full in blobs}
        if number in imported:
            if not _is_marked(batch):
                where = f"data/rounds/{number:03d}"
                violations.append(Violation("issue", change.commit.id, where, NOT_MARKED))
            continue
        lock = blobs.get(locked[number], b"")
        if not _is_exported(batch, lock) and not _was_exported(batch, lock, number, were):
            what = NOT_EXPORTED
            together = at_once[change.commit.id]
            if together > 1:
                what += (
                    f"; {together} questions came in this one commit: was it squashed, or moved?"
                )
            where = f"data/rounds/{number:03d}"
            violations.append(Violation("issue", change.commit.id, where, what))
    committed = {number: blobs.get(frozen["manifest.json"]) for number, frozen in names.items()}
    return violations + _uncommitted_issues(project, committed)


def _uncommitted_issues(project: Project, committed: Mapping[int, bytes | None]) -> list[Violation]:
    """Batches of the working tree that are neither committed nor what export_prodigy wrote there.

    committed: the manifest of each round as its commit holds it.
    """
    lock = project.root / "dvc.lock"
    violations = []
    for past in project.rounds():
        paths = [past.folder / name for name in BATCH]
        batch = {path.name: path.read_bytes() for path in paths if path.is_file()}
        manifest = committed.get(past.number)
        if manifest is not None and batch.get("manifest.json") == manifest:
            continue
        if not _is_exported(batch, lock.read_bytes() if lock.is_file() else b""):
            where = f"data/rounds/{past.folder.name}"
            violations.append(Violation("issue", HERE, where, NOT_EXPORTED))
    return violations


def _frozen_names(change: Change) -> dict[str, str]:
    """The git name of each file of a batch in the commit that issued it.

    change: of its manifest.
    """
    folder = PurePosixPath(change.path).parent
    return {name: f"{change.commit.id}:./{folder}/{name}" for name in BATCH}


def _is_marked(batch: Mapping[str, bytes]) -> bool:
    """Whether an imported batch says of every row that no arm chose it."""
    rows = [json.loads(line) for line in batch.get("batch.jsonl", b"").splitlines()]
    return bool(rows) and all(row.get("arms") == [IMPORTED] for row in rows)


def _is_exported(batch: Mapping[str, bytes], lock: bytes) -> bool:
    """Whether the files of a batch are those that a dvc.lock names as export_prodigy's output."""
    hashes = {name: md5(data) for name, data in batch.items()}
    return output_md5(lock, "build/export") == folder_md5(hashes)


def _was_exported(
    batch: Mapping[str, bytes], lock: bytes, number: int, were: Sequence[Originals]
) -> bool:
    """As `_is_exported`, of a batch in a purged history: with the hashes that the record names."""
    hashes = {name: md5(data) for name, data in batch.items()}
    paths = {name: f"{ROUNDS}{number:03d}/{name}" for name in hashes}
    return any(
        output_md5(lock, "build/export")
        == folder_md5({name: one.get((paths[name], md), md) for name, md in hashes.items()})
        for one in were
    )


def written(project: Project, history: list[Change]) -> dict[str, str]:
    """Path -> the commit that wrote it as it is now; what was changed since is not there."""
    uncommitted = set(changed_paths(project.root))
    return {change.path: change.commit.id for change in history if change.path not in uncommitted}


def answers(project: Project, history: list[Change]) -> list[Violation]:
    """Rounds that import_labels refuses."""
    violations = []
    params = project.params()
    commits = written(project, history)
    try:
        changed_labels = project.scheme()
    except PipelineError:  # `scheme` says so, and what the answers mean is not known
        return []
    for past in project.rounds():
        try:
            import_round(past.folder, params, changed_labels)
        except PipelineError as error:
            where = error.where.removeprefix(f"{project.root}/")
            path = re.sub(r":\d+$", "", where)  # without the line
            violations.append(Violation("answers", commits.get(path, HERE), where, error.what))
    return violations


def content(project: Project) -> list[Violation]:
    """Asked ids whose content is not what was judged, all of them in one violation."""
    rows = changed(project, anew=True)
    pool = project.params().data.pool
    violations = [Violation("content", HERE, pool, summary(rows))] if rows else []
    back = returned(project)
    if back:
        violations.append(Violation("record", HERE, back.where, back.what, back.remedy))
    return violations


def forgotten_notes(project: Project) -> list[str]:
    """What is accepted because somebody said that rows are forgotten, a line for each command."""
    rows = forgotten_rows(read_changed(project.rounds_folder))
    said = groupby(rows, key=lambda row: (row["change"], row["round"], row["why"], row["by"]))
    notes = []
    for (_, number, why, by), lines in said:
        count = len({line["id"] for line in lines})
        who = "1 row" if count == 1 else f"{count} rows"
        kept = "their content is gone from data/rounds, ids and decisions are proven as before"
        notes.append(f"forgotten: {who} in round {number}, {why} ({by}): {kept}")
    return notes


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
    ids = set()
    if params.data.id:
        ids = {as_text(cell) for cell in table.column(params.data.id, "data.id")}
    commits = written(project, history)
    violations = []
    for past in project.rounds():
        batch = f"data/rounds/{past.folder.name}/batch.jsonl"
        rows = read_jsonl(project.root / batch) if (project.root / batch).is_file() else []
        for line, row in enumerate(rows, start=1):
            if row.get("id") in ids or row.get("sha") in shas:
                where = f"{batch}:{line}"
                what = f"id {row['id']!r} is of the test set"
                violations.append(Violation("test", commits.get(batch, HERE), where, what))
    return violations, []


@click.command()
@click.option(
    "--replay",
    "again",
    is_flag=True,
    help="Run every round commit again and compare batches and finished labels (slow).",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per violation.")
@click.option(
    "--since",
    metavar="COMMIT",
    help="Count only what came after a commit whose violations you know.",
)
@click.option(
    "--origin",
    is_flag=True,
    help="Also ask the URLs that tables were copied from whether they changed (network).",
)
@one_line_errors
def command(again: bool, as_json: bool, since: str | None, origin: bool) -> str:
    """Prove that no question, answer or label was changed afterwards.

    Exit 1 if any was, naming each.
    """
    project = Project.find(Path())
    violations, notes = verify(project)
    notes += moved_on(project.root) if origin else not_asked(project.root)
    if again:
        for replayed in (replay, replay_finishes):
            differing, lines = replayed(project)
            violations += differing
            notes += lines
    if since:
        commit = commit_named(project.root, since, "--since")
        earlier = set(git(project.root, "rev-list", commit).split())
        later = [violation for violation in violations if violation.commit not in earlier]
        notes.append(
            f"since {since}: {len(violations) - len(later)} violations up to it are not counted"
        )
        violations = later
    for violation in violations:
        click.echo(json.dumps(violation.__dict__) if as_json else str(violation))
    for note in notes:
        click.echo(note, err=True)
    if violations:
        what = f"{len(violations)} violations; see docs/history.md for what each means"
        click.echo(f"error: verify: {what}", err=True)
        sys.exit(1)
    return f"verify: {len(project.rounds())} rounds, nothing was changed afterwards"
