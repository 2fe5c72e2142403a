"""`rounds close`: take the answers in, train, choose the next batch, freeze it, and commit it all as one commit.

A transaction that goes forward: every step can be repeated, so after a crash or Ctrl-C the same
command goes on where it stopped, and the commit is the one that would have been made without the
fault.

    lock -> check -> repro -> issue -> take the issue in -> push the data -> git add -> unchanged?
                       -> commit ^
                       | +------------------- answers came in meanwhile: again --------------+
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import click

from rounds.commands import Dvc, Say, changed_paths, git, is_as_committed
from rounds.content import require_same_contents
from rounds.decision import decide, require_open, stopped
from rounds.issue import issue
from rounds.lock import exclusive, turn
from rounds.past import only_appended
from rounds.project import Project, Round
from rounds.renamed_labels import notes, outdated, require_answered_labels, untouched, withdraw
from stages.answers.rounds import FROZEN, read_frozen
from stages.contract.canonical import Row, read_json, sha256, write_bytes, write_json
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors

MADE = ("dvc.lock", "metrics/", "plots/", "data/rounds/", "data/demo/dvc.lock")
READ = ("data/", "stages/", "rounds/", ".dvc/")
WHEN_HELD = (
    "correct the answers (rounds annotate, rounds collect), or move gate.limits or gate.hold in params.yaml and commit "
    "that; then rounds close"
)
ATTEMPTS = 5


def strangers(project: Project) -> list[str]:
    """Changed paths that `close` may not commit, and that the commit would be wrong without.

    Every tracked file that is neither a round's nor made by the pipeline, and new files that the
    pipeline may read: data and code. Other new files (notes, notebooks) are nobody's business.
    """
    tracked = set(git(project.root, "diff", "HEAD", "--name-only", "--relative", "-z").split("\0"))
    changed = [path for path in changed_paths(project.root) if not path.startswith(MADE)]
    return [
        path for path in changed if path in tracked or path.startswith(READ) or path.endswith(".py")
    ]


def snapshot(project: Project) -> dict[str, str]:
    """The hash of every file in data/rounds."""
    files = (
        path
        for path in project.rounds_folder.rglob("*")
        if path.is_file() and path.suffix != ".tmp"
    )
    return {path.relative_to(project.root).as_posix(): sha256(path.read_bytes()) for path in files}


def answered(project: Project, last: Round) -> tuple[int, int]:
    """(answered, asked) rows of a round, as import_labels counts them."""
    from stages.answers.reading import import_round

    _, batch, _ = read_frozen(last.folder)
    found = import_round(last.folder, project.params())
    return (found.rounds[0]["answered"] if found else 0), len(batch)


def begun(project: Project) -> Round | None:
    """The batch that an earlier close, or `rounds issue`, froze and did not commit.

    Raises PipelineError when somebody answered it already: its answers cannot be committed before
    its question.
    """
    rounds = project.rounds()
    if not rounds or is_as_committed(project.root, rounds[-1].folder / "manifest.json"):
        return None
    if rounds[-1].answer_files() or rounds[-1].closed_early.is_file():
        what = f"round {rounds[-1].number} was answered before its question was committed"
        raise PipelineError(
            rounds[-1].answers, what, "move the answers out, `rounds close`, and put them back"
        )
    return rounds[-1]


@dataclass(frozen=True)
class Decision:
    """A person's word on whether the work goes on, and why."""

    stop: bool
    why: str


def close(
    project: Project,
    *,
    partial: bool,
    push: bool,
    say: Say,
    keep_data: bool = False,
    dry_run: bool = False,
    decision: Decision | None = None,
) -> str:
    """Close the last round, or start the first. The commit's subject line.

    keep_data: the data stays in this machine's cache (--no-push); the next close pushes it. Else
    the default store must be within reach, which is looked at before anything runs. decision: to
    stop (no further batch is issued) or to go on after a stop; while nothing of the open round is
    answered, only the decision is committed. Raises PipelineError when the round is not answered
    (unless `partial`), when the tree holds changes that are not this round's, when an old answer
    was changed or removed, when the work was stopped, or when the gate holds the round.
    """
    with exclusive(project.root, wait=False):
        project.params()
        remote = _require_repository(project, push=push)
        only_appended(project)
        if decision is None:
            require_open(project)
        unfinished = begun(project)
        rounds = [
            one for one in project.rounds() if unfinished is None or one.number != unfinished.number
        ]
        last = rounds[-1] if rounds else None
        _require_own_changes(project)
        require_same_contents(project)
        require_answered_labels(project)
        stale = (
            last
            if decision is None and outdated(project, last) and last and untouched(last)
            else None
        )
        if stale:
            rounds = rounds[:-1]
            last = rounds[-1] if rounds else None
        if last and not unfinished and (decision is None or last.answer_files()):
            _require_answers(project, last, partial=partial, dry_run=dry_run)
        data = not keep_data and (push or _remote_is_local(project))
        if data:
            _require_store(project)
        if dry_run:
            return _plan(last, unfinished, push=push)
        if stale:
            withdraw(stale)
        decided = (
            decide(project, rounds, stop=decision.stop, why=decision.why) if decision else None
        )
        with Dvc(project.root, say) as dvc:
            if decided:
                subject, body = decided, ""
                dvc("repro", "--single-item", "import_labels")
                git(project.root, "add", "--all", "--", *_mine(project))
            else:
                ask = decision is None or not decision.stop
                subject, body = _advance(
                    project, last.number if last else 0, dvc, data=data, ask=ask
                )
        committed = commit(project, subject, body)
        if push:
            try:
                git(project.root, "push", *remote)
            except PipelineError as error:
                remedy = (
                    f"the round is committed here: repair it, and {' '.join(['git push', *remote])}"
                )
                raise PipelineError(error.where, error.what, remedy) from error
        return subject if committed else f"Nothing to commit. {subject}"


def _require_own_changes(project: Project) -> None:
    foreign = strangers(project)
    if foreign:
        shown = ", ".join(foreign[:3]) + (
            f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        )
        remedy = "commit them first (git add -A && git commit), or undo them"
        raise PipelineError(project.root, f"changes that are not this round's: {shown}", remedy)
    _mine(project)


def _advance(project: Project, number: int, dvc: Dvc, *, data: bool, ask: bool) -> tuple[str, str]:
    """Bring everything up to round `number`, and the question after it, into git's index. The commit's message.

    Somebody may answer while this runs (the page is open). Then DVC may have noted a file that the
    stage did not see, so import_labels is run again by force, until nothing moves between the first
    look and the last.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            dvc("repro", "--force", "--single-item", "import_labels")
        before = snapshot(project)
        dvc("repro")
        _require_accepted(project, number)
        new = _question(project, ask=ask)
        labels = _hashes(project.root / "build" / "labels")
        dvc("repro", "--single-item", "import_labels")
        if (
            _hashes(project.root / "build" / "labels") == labels
        ):  # else a batch that nobody answered would count
            _push_data(project, dvc, now=data)
            git(project.root, "add", "--all", "--", *_mine(project))
            frozen = (
                {f"data/rounds/{new.folder.name}/{name}" for name in (*FROZEN, "manifest.json")}
                if new
                else set()
            )
            after = snapshot(project)
            if {path: after[path] for path in after.keys() - frozen} == {
                path: before[path] for path in before.keys() - frozen
            }:
                return message(project, number)
        if new and begun(project):
            git(
                project.root,
                "rm",
                "-r",
                "--quiet",
                "--cached",
                "--ignore-unmatch",
                "--",
                str(new.folder),
            )
            shutil.rmtree(new.folder)
    what = "answers keep coming in while the round is being closed"
    raise PipelineError(
        project.rounds_folder, what, "let the annotators pause, then `rounds close` again"
    )


def _push_data(project: Project, dvc: Dvc, *, now: bool) -> None:
    """Push the data of this round, and of rounds that were committed without a push; else note that it waits."""
    waiting = project.root / ".dvc" / "tmp" / "unpushed"
    if not now:
        waiting.parent.mkdir(parents=True, exist_ok=True)
        waiting.touch()
        return
    if waiting.exists():
        dvc("push", "--all-commits")
    dvc("push")
    waiting.unlink(missing_ok=True)


def _question(project: Project, *, ask: bool) -> Round | None:
    """The next batch, frozen; one that an interrupted close froze is kept only if it still is what is to be asked."""
    left, export = begun(project), project.root / "build" / "export" / "manifest.json"
    if left and ask and (left.folder / "manifest.json").read_bytes() == export.read_bytes():
        return left
    if left:
        shutil.rmtree(left.folder)
    return issue(project) if ask else None


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()) for path in folder.iterdir()}


def _mine(project: Project) -> list[str]:
    """Changed paths that are this round's. Raises PipelineError where git is told to ignore some of them."""
    words = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", *MADE)
    for path in git(project.root, *words).split("\0"):
        if path.endswith((".json", ".jsonl", "dvc.lock")):
            remedy = f"`git check-ignore -v {shlex.quote(path)}` names the line that does it; take it out"
            raise PipelineError(
                project.root / path, "git ignores it, so no commit would hold it", remedy
            )
    return [path for path in changed_paths(project.root) if path.startswith(MADE)]


def _plan(last: Round | None, unfinished: Round | None, *, push: bool) -> str:
    """What `close` would do now."""
    if unfinished:
        does = f"commit batch {unfinished.number}, which an earlier close froze"
    else:
        does = f"close round {last.number}, " if last else ""
        does += "train, choose and freeze the next batch, and commit"
    return f"close --dry-run: would {does}{', and push' if push else ''}; nothing was changed"


def _require_repository(project: Project, *, push: bool) -> list[str]:
    """The words that `git push` needs here. Raises PipelineError when git cannot commit, or push, as things are."""
    for name in ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply"):
        if (project.root / git(project.root, "rev-parse", "--git-path", name).strip()).exists():
            what = f"a merge or rebase is not finished ({name})"
            raise PipelineError(
                project.root, what, "finish it (git status says how), then `rounds close`"
            )
    if not push:
        return []
    remotes = git(project.root, "remote").split()
    if not remotes:
        raise PipelineError(
            "--push", "this repository has no git remote", "git remote add origin URL"
        )
    branch = git(project.root, "branch", "--show-current").strip()
    if not branch:
        raise PipelineError(
            "--push", "HEAD is on no branch", "git switch -c NAME, or close without --push"
        )
    upstream = git(
        project.root, "for-each-ref", "--format=%(upstream)", f"refs/heads/{branch}"
    ).strip()
    if upstream:
        return []
    return ["--set-upstream", "origin" if "origin" in remotes else remotes[0], branch]


def _require_answers(project: Project, last: Round, *, partial: bool, dry_run: bool) -> None:
    """Raises PipelineError while rows of the round are unanswered, unless the round is closed as it is."""
    done, asked = answered(project, last)
    if done >= asked or last.closed_early.is_file():
        return
    if not partial:
        what = f"round {last.number}: {done} of {asked} rows are answered"
        raise PipelineError(
            last.folder,
            what,
            "go on with `rounds annotate`, or close it so: `rounds close --partial`",
        )
    if not dry_run:
        with turn(last.asked, last=True):
            done, asked = answered(project, last)
            write_json(last.closed_early, {"answered": done, "asked": asked, "partial": True})


def _require_accepted(project: Project, number: int) -> None:
    accepted = read_json(project.root / "build" / "gate" / "state.json")["rounds"]
    if accepted < number:
        gate = read_json(project.root / "metrics" / "gate.json")
        what = f"the gate holds round {number}: {gate.get('held') or 'a check failed'}"
        raise PipelineError(project.root / "metrics" / "gate.json", what, WHEN_HELD)


def _default_remote(project: Project) -> tuple[str, str]:
    """Name and URL of the default DVC remote, empty where there is none; .dvc/config.local comes last, as in DVC."""
    from configparser import ConfigParser

    config = ConfigParser(interpolation=None)  # a path may hold a %
    config.read(
        [project.root / ".dvc" / "config", project.root / ".dvc" / "config.local"], encoding="utf-8"
    )
    name = config.get("core", "remote", fallback="").strip("\"'")
    url = config.get(f"'remote \"{name}\"'", "url", fallback="").strip("\"'")
    return name, url


def _remote_is_local(project: Project) -> bool:
    """Whether the default DVC remote is a folder on this machine, where a push costs next to nothing."""
    _, url = _default_remote(project)
    return bool(url) and "://" not in url


def _require_store(project: Project) -> None:
    """Raises PipelineError where the default store is a folder that cannot be reached, before the run is paid for."""
    name, url = _default_remote(project)
    if not _remote_is_local(project):
        return
    store = (
        project.root / ".dvc" / url
    )  # DVC takes a path from the folder of its config; an absolute one stays
    above = store if store.exists() else store.parent
    if above.is_dir() and os.access(above, os.W_OK):
        return
    remedy = f"name another: `dvc remote modify {shlex.quote(name)} url URL`, or `rounds close --no-push`"
    raise PipelineError(store, f"the DVC remote {name!r} cannot be reached", remedy)


def message(project: Project, number: int) -> tuple[str, str]:
    """Subject and body of the round's commit: what it found, and what it asks next."""
    facts: dict[str, Row] = {
        name: read_json(project.root / "metrics" / f"{name}.json")
        for name in ("validate", "gate", "query")
    }
    accuracy = [
        f"{arm} {facts['validate'][arm]['accuracy']:.3f} at {facts['validate'][arm]['labels']}"
        for arm in ("active", "random")
        if facts["validate"][arm]
    ]
    labels, flagged = facts["gate"]["accepted"], facts["gate"]["review"]
    subject = f"Round {number}: {labels} labels; {', '.join(accuracy) or 'not judged yet'}; {flagged} doubted"
    rows = facts["query"]["batch"]["rows"]
    decision = stopped(project)
    if decision:
        asks = f"Asks nothing more: stopped, {decision['why']}"
    elif rows:
        asks = f"Asks round {number + 1}: {rows} rows, batch {facts['query']['batch_id']}"
    else:
        asks = f"Asks nothing more: {facts['query']['state']}"
    raised = facts["gate"]["alarms"] + facts["validate"]["alarms"]
    alarms = [f"{alarm['code']} {alarm['title']}: {alarm['seen']}" for alarm in raised]
    return subject, "\n".join(
        [asks, f"Strategy: {facts['query']['strategy']} ({facts['query']['regime']})", *alarms]
    )


def commit(project: Project, subject: str, body: str) -> bool:
    """Commit git's index, which holds this round and nothing else. False when there is nothing to commit.

    Raises PipelineError when the index holds other files, or when a commit hook refuses or rewrites
    the round.
    """
    staged = git(project.root, "diff", "--cached", "--name-only", "--no-relative", "-z").split("\0")
    here = git(project.root, "rev-parse", "--show-prefix").strip("\n")
    foreign = [
        name for name in staged if name and not name.startswith(tuple(here + made for made in MADE))
    ]
    if foreign:
        what = "staged, and not this round's"
        unstage = shlex.quote(f":/{foreign[0]}")
        raise PipelineError(foreign[0], what, f"commit it first, or git restore --staged {unstage}")
    mine = [name.removeprefix(here) for name in staged if name]
    if not mine:
        return False
    before = {
        path: path.read_bytes() for path in (project.root / name for name in mine) if path.is_file()
    }
    try:
        git(
            project.root,
            "-c",
            "gc.auto=0",
            "-c",
            "maintenance.auto=false",
            "commit",
            "-m",
            subject,
            "-m",
            body,
        )
    finally:
        rewritten = [
            path for path, data in before.items() if not path.is_file() or path.read_bytes() != data
        ]
        for path in rewritten:
            write_bytes(path, before[path])
    if rewritten:
        what = f"a commit hook rewrote it, so the commit does not hold what was trained on ({len(rewritten)} files)"
        remedy = "exempt data/rounds, metrics, plots and dvc.lock from that hook, git reset --soft HEAD~1, and close"
        raise PipelineError(rewritten[0], what, remedy)
    return True


@click.command()
@click.option(
    "--partial", is_flag=True, help="Close with what is answered; the rest goes back to the pool."
)
@click.option("--push", is_flag=True, help="Push the commit (git) and its data (dvc) afterwards.")
@click.option(
    "--no-push",
    "keep_data",
    is_flag=True,
    help="Leave the data in the cache here; the next close pushes it.",
)
@click.option(
    "--dry-run", is_flag=True, help="Check everything, say what would be done, change nothing."
)
@click.option("--stop", is_flag=True, help="Stop the work here: no further batch. Needs --why.")
@click.option(
    "--continue",
    "go_on",
    is_flag=True,
    help="Go on after a stop, or against the advice to. Needs --why.",
)
@click.option(
    "--why", default="", help="The reason for --stop or --continue; it stands in the history."
)
@one_line_errors
def command(
    *, partial: bool, push: bool, keep_data: bool, dry_run: bool, stop: bool, go_on: bool, why: str
) -> str:
    """Take the answers in, choose the next batch, and commit the round.

    The first `close` of a project issues batch 1. One commit holds the answers of round k, the
    metrics they brought, and the question of round k+1. Interrupted at any moment, the same command
    goes on where it stopped.
    """
    if push and keep_data:
        raise click.UsageError("--push and --no-push exclude each other")
    if stop and go_on:
        raise click.UsageError("--stop and --continue exclude each other")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    project = Project.find(Path())

    def say(name: str) -> None:
        click.echo(f"  {name} …", err=True)

    decision = Decision(stop, why) if stop or go_on else None
    for note in notes(project):
        click.echo(f"labels: {note}", err=True)
    subject = close(
        project,
        partial=partial,
        push=push,
        keep_data=keep_data,
        say=say,
        dry_run=dry_run,
        decision=decision,
    )
    if dry_run:
        return subject
    if not stop:
        asks = read_json(project.root / "metrics" / "query.json")
        subject += "" if asks["batch"]["rows"] else f"\nAsks nothing more: {asks['state']}"
    waiting = not stop and project.rounds() and not project.rounds()[-1].answer_files()
    return f"{subject}\nnext: " + ("rounds annotate" if waiting else "rounds status")
