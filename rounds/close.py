"""`rounds close`: take the answers in, train, choose the next batch, and commit the round.

A transaction that goes forward: every step can be repeated, so after a crash or Ctrl-C the same
command goes on where it stopped, and the commit is the one that would have been made without the
fault.

    lock -> check -> choose -> issue -> prove -> push the data -> git add -> unchanged? -> commit
                       ^         |                                               |
                       +---------+-- answers came in meanwhile: again -----------+

Choosing is what the next batch depends on, as far as the stage export_prodigy; proving is the rest.
"""

from __future__ import annotations

import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from rounds import documents
from rounds.commands import (
    QUIET,
    Dvc,
    Say,
    changed_paths,
    git,
    git_bytes,
    is_as_committed,
    is_committed,
)
from rounds.content import require_kept, require_same_contents
from rounds.decision import decide, require_open, stopped
from rounds.documents import RoundState, alarms_of, json_option, say
from rounds.early import require_unanswered, take_in
from rounds.enumeration import listed
from rounds.forget import settle_forgotten
from rounds.issue import issue
from rounds.lock import exclusive, turn
from rounds.newer_params import missing_params, require_params, with_params
from rounds.past import only_appended
from rounds.project import Project, Round
from rounds.remote import default_remote
from rounds.renamed_labels import notes, outdated, require_answered_labels, untouched, withdrawn
from rounds.scheme import settle
from stages.answers.rounds import FROZEN, read_frozen, to_ask
from stages.answers.scheme import SCHEME
from stages.contract.canonical import read_json, sha256, write_bytes, write_json
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors

MADE = (
    "dvc.lock",
    "metrics/",
    "plots/",
    "data/rounds/",
    "data/machines/",
    "data/demo/dvc.lock",
    "finish/",
    "machines/",
    SCHEME,
)
READ = ("data/", "stages/", "rounds/", ".dvc/")
WHEN_HELD = (
    "correct the answers (rounds annotate, rounds collect), or move gate.limits or gate.hold in "
    "params.yaml and commit that; then rounds close"
)
MACHINES = "machines/dvc.yaml"  # only in projects that have machine annotators
ATTEMPTS = 5
NOTHING = "Nothing to commit."
UNPUSHED = Path(".dvc/tmp/unpushed")
CHOOSES = "export_prodigy"  # the stage that ends with the batch


def foreign_changes(project: Project) -> list[str]:
    """Changed paths that `close` may not commit, and that the commit would be wrong without.

    These are tracked files that are neither a round's nor made by the pipeline, and new files that
    the pipeline may read: data and code. Other new files (notes, notebooks) are left alone.
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

    _, _, tasks = read_frozen(last.folder)
    imported = import_round(last.folder, project.params(), project.scheme())
    done = imported.rounds[0]["answered"] if imported else 0
    return done, len(to_ask(tasks))


def unfinished_batch(project: Project) -> Round | None:
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


class RoundHeldError(PipelineError):
    """The gate holds the round: its answers fail a check, or are not complete."""


@dataclass(frozen=True)
class Decision:
    """A person's word on whether the work goes on, and why."""

    stop: bool
    why: str


@dataclass(frozen=True)
class Start:
    """The rounds that a close starts from.

    committed: those that stay, oldest first; unfinished: the batch that was frozen and never
    committed; outdated: the open batch with other labels than params.yaml, to be issued anew.
    """

    committed: list[Round]
    unfinished: Round | None
    outdated: Round | None

    @property
    def last(self) -> Round | None:
        """The round to close, None before the first."""
        return self.committed[-1] if self.committed else None


def _shown_later(_: Round) -> None:
    """A batch that people get to see after its commit."""


def dvc_of(project: Project, say: Say) -> Dvc:
    """A DVC for the `Work` of a close, not started yet."""
    return Dvc(project.root, say)


@dataclass(frozen=True)
class Work:
    """What does the work of a close: DVC, started or not, and who is told of the next batch.

    asked: called with the next batch as soon as it is frozen, before the round is proved and
    committed; maybe again with the same one. Answers to it have to wait for that (`rounds.early`).
    """

    dvc: Dvc
    asked: Callable[[Round], None] = _shown_later


def close(
    project: Project,
    *,
    partial: bool,
    push: bool,
    say: Say,
    keep_data: bool = False,
    dry_run: bool = False,
    decision: Decision | None = None,
    work: Work | None = None,
) -> str:
    """Close the last round, or start the first. The commit's subject line.

    keep_data: the data stays in this machine's cache (--no-push); the next close pushes it. Else
    the default remote must be within reach where this close pushes to it, which is looked at before
    anything runs. decision: to stop (no further batch is issued) or to go on after a stop; while
    nothing of the open round is answered, only the decision is committed. Raises PipelineError when
    the round is not answered (unless `partial`), when the tree holds changes that are not this
    round's, when an old answer was changed or removed, when the work was stopped, or when the gate
    holds the round.
    """
    work = work or Work(Dvc(project.root, say))
    with exclusive(project.root, wait=False):
        project.params()  # a fault in params.yaml comes before all others
        push_words = _require_repository(project, push=push)
        if not dry_run:
            _settle_params(project, say)
            _settle(project, say)
        only_appended(project)
        if decision is None:
            require_open(project)
        take_in(project.root, project.rounds())
        start = _start(project, decision)
        last = start.last
        has_answers = last is not None and bool(last.answer_files())
        if last and not start.unfinished and (decision is None or has_answers):
            _require_answers(project, last, partial=partial, dry_run=dry_run)
        push_data = _pushes_data(project, push=push, keep_data=keep_data)
        if dry_run:
            return _plan(last, start.unfinished, push=push)
        with withdrawn(project, start.outdated):
            subject, body = _run(project, start, work, push_data=push_data, decision=decision)
            committed = commit(project, subject, body)
        take_in(project.root, project.rounds())
        if push:
            _push_commits(project, push_words)
        return subject if committed else f"{NOTHING} {subject}"


def _settle_params(project: Project, say: Say) -> None:
    """Give an older project the params that newer code names, in a commit of their own.

    Raises PipelineError while params.yaml holds other changes.
    """
    path = project.root / "params.yaml"
    if not is_committed(project.root, path):
        require_params(project.root)
        return
    with TemporaryDirectory() as folder:
        old = Path(folder) / "params.yaml"
        old.write_bytes(git_bytes(project.root, "show", "HEAD:./params.yaml"))
        missing = missing_params(project.root, old)
        if not missing:
            return
        completed = with_params(old, missing).encode()
        versions = (old.read_bytes(), completed)
    names = ", ".join(missing)
    if path.read_bytes() not in versions:
        what = f"lacks {names}, which newer code names, and has changes that are not committed"
        raise PipelineError(
            path, what, "commit these (git commit params.yaml), then `rounds close`"
        )
    write_bytes(path, completed)
    subject = f"Params that newer code names, as before: {names}"
    git(project.root, "commit", "--quiet", "-m", subject, "--", "params.yaml")
    say(f"params.yaml now holds {names}, each as it was before it had a name")


def _settle(project: Project, say: Say) -> None:
    """Finish what was interrupted: changes of the labels, and rows that were to be forgotten.

    An older project gets the record of its labels.
    """
    if not (project.root / SCHEME).exists():
        write_bytes(project.root / SCHEME, b"")
    for line in settle(project):
        say(f"labels: {line}")
    for item in settle_forgotten(project, say):
        say(f"forgotten: {item}")


def _start(project: Project, decision: Decision | None) -> Start:
    """The rounds to start from.

    Raises PipelineError where the tables, the labels or the files do not allow a close.
    """
    unfinished = unfinished_batch(project)
    rounds = project.rounds()
    if unfinished is not None:
        rounds = [past for past in rounds if past.number != unfinished.number]
    _require_own_changes(project)
    require_kept(project)
    require_same_contents(project)
    require_answered_labels(project)
    last = rounds[-1] if rounds else None
    if last and decision is None and outdated(project, last) and untouched(last):
        return Start(rounds[:-1], unfinished, last)
    return Start(rounds, unfinished, None)


def _run(
    project: Project, start: Start, work: Work, *, push_data: bool, decision: Decision | None
) -> tuple[str, str]:
    """Run the pipeline and put the round into git's index. Subject and body of its commit."""
    subject = None
    if decision is not None:
        subject = decide(project, start.committed, stop=decision.stop, why=decision.why)
    with work.dvc as dvc:
        if subject:
            dvc("repro", "--single-item", "import_labels")
            git(project.root, "add", "--all", "--", *_own_changes(project))
            return subject, ""
        number = start.last.number if start.last else 0
        ask = decision is None or not decision.stop
        return _advance(project, number, work, push_data=push_data, ask=ask)


def _pushes_data(project: Project, *, push: bool, keep_data: bool) -> bool:
    """Whether this close pushes the data.

    Raises PipelineError where it should, and the remote cannot be reached.
    """
    remote = default_remote(project.root)
    if keep_data or not (push or remote.folder):
        return False
    fault = remote.fault()
    if fault:
        raise fault
    return True


def _push_commits(project: Project, words: list[str]) -> None:
    """Push the branch. Raises PipelineError with what to type once it works again."""
    try:
        git(project.root, "push", *words)
    except PipelineError as error:
        again = " ".join(["git push", *words])
        remedy = f"the round is committed here: repair it, and {again}"
        raise PipelineError(error.where, error.what, remedy) from error


def _require_own_changes(project: Project) -> None:
    """Raises PipelineError for changes that are not this round's, or that git ignores."""
    foreign = foreign_changes(project)
    if foreign:
        what = f"changes that are not this round's: {listed(foreign, 3)}"
        remedy = "commit them first (git add -A && git commit), or undo them"
        raise PipelineError(project.root, what, remedy)
    _own_changes(project)


def _advance(
    project: Project, number: int, work: Work, *, push_data: bool, ask: bool
) -> tuple[str, str]:
    """Bring round `number`, and the question after it, into git's index. The commit's message.

    Somebody may answer while this runs (the page is open). Then DVC may have noted a file that the
    stage did not see, so import_labels is run again by force, until nothing moves between the first
    look and the last. The next batch is shown to nobody before that is so as far as its choice.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            work.dvc("repro", "--force", "--single-item", "import_labels")
        before = snapshot(project)
        work.dvc("repro", CHOOSES)
        _require_accepted(project, number)
        new = _question(project, ask=ask)
        if _moved(project, before, new):
            _take_back_unfinished(project, new)
            continue
        labels = _hashes(project.root / "build" / "labels")
        if new:
            work.asked(new)
        work.dvc("repro")
        if (project.root / MACHINES).is_file():
            work.dvc("repro", "--single-item", f"{MACHINES}:judge_machines")
        # If the labels changed after the batch was chosen, somebody answered the new batch
        # meanwhile, and its round would count as closed.
        if _hashes(project.root / "build" / "labels") == labels:
            _push_data(project, work.dvc, now=push_data)
            git(project.root, "add", "--all", "--", *_own_changes(project))
            if not _moved(project, before, new):
                return message(project, number)
        _take_back_unfinished(project, new)
    what = "answers keep coming in while the round is being closed"
    remedy = "let the annotators pause, then `rounds close` again"
    raise PipelineError(project.rounds_folder, what, remedy)


def _moved(project: Project, before: dict[str, str], new: Round | None) -> bool:
    """Whether data/rounds holds other files than before, those of the new batch left out."""
    return _without_question(snapshot(project), new) != _without_question(before, new)


def _take_back_unfinished(project: Project, new: Round | None) -> None:
    """Take the new batch back. Raises PipelineError where somebody answered it."""
    if new and unfinished_batch(project):
        _take_back(project, new)


def _without_question(files: dict[str, str], new: Round | None) -> dict[str, str]:
    """The files of a snapshot but for those that issuing the new batch wrote."""
    if new is None:
        return files
    issued = {f"data/rounds/{new.folder.name}/{name}" for name in (*FROZEN, "manifest.json")}
    return {path: content for path, content in files.items() if path not in issued}


def take_back(project: Project) -> None:
    """Remove a batch that a close froze and failed to commit, so that its round stays open.

    Raises PipelineError where somebody answered that batch already.
    """
    with exclusive(project.root, wait=True):
        new = unfinished_batch(project)
        if new:
            _take_back(project, new)


def _take_back(project: Project, new: Round) -> None:
    """Remove a batch that was issued and not committed, from the tree and from git's index.

    Raises PipelineError where somebody answered it.
    """
    with turn(new.asked, last=True):
        require_unanswered(new)
        words = ("rm", "-r", "--quiet", "--cached", "--ignore-unmatch", "--")
        git(project.root, *words, str(new.folder))
        shutil.rmtree(new.folder)


def _push_data(project: Project, dvc: Dvc, *, now: bool) -> None:
    """Push the data of this round and of rounds committed without a push, or note that it waits."""
    if not now:
        note_unpushed(project.root)
        return
    waiting = project.root / UNPUSHED
    if waiting.exists():
        dvc("push", "--all-commits")
    dvc("push")
    waiting.unlink(missing_ok=True)


def note_unpushed(root: Path) -> None:
    """Note that commits have data that was not pushed: the next close that pushes does it."""
    waiting = root / UNPUSHED
    waiting.parent.mkdir(parents=True, exist_ok=True)
    waiting.touch()


def _question(project: Project, *, ask: bool) -> Round | None:
    """The next batch, frozen.

    A batch that an interrupted close froze is kept only if it still is what is to be asked.
    """
    unfinished = unfinished_batch(project)
    if unfinished is not None:
        frozen = unfinished.folder / "manifest.json"
        export = project.root / "build" / "export" / "manifest.json"
        if ask and frozen.read_bytes() == export.read_bytes():
            return unfinished
        _take_back(project, unfinished)
    return issue(project) if ask else None


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()) for path in folder.iterdir()}


def _own_changes(project: Project) -> list[str]:
    """Changed paths that are this round's. Raises PipelineError where git ignores some of them."""
    words = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", *MADE)
    for path in git(project.root, *words).split("\0"):
        if path.endswith((".json", ".jsonl", "dvc.lock")):
            names_it = f"`git check-ignore -v {shlex.quote(path)}` names the line that does it"
            remedy = f"{names_it}; take it out"
            what = "git ignores it, so no commit would hold it"
            raise PipelineError(project.root / path, what, remedy)
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
    """The words that `git push` needs here. Raises PipelineError when it or a commit must fail."""
    for name in ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply"):
        if (project.root / git(project.root, "rev-parse", "--git-path", name).strip()).exists():
            what = f"a merge or rebase is not finished ({name})"
            remedy = "finish it (git status says how), then `rounds close`"
            raise PipelineError(project.root, what, remedy)
    if not push:
        return []
    remotes = git(project.root, "remote").split()
    if not remotes:
        what = "this repository has no git remote"
        raise PipelineError("--push", what, "git remote add origin URL")
    branch = git(project.root, "branch", "--show-current").strip()
    if not branch:
        remedy = "git switch -c NAME, or close without --push"
        raise PipelineError("--push", "HEAD is on no branch", remedy)
    words = ("for-each-ref", "--format=%(upstream)", f"refs/heads/{branch}")
    if git(project.root, *words).strip():
        return []
    remote = "origin" if "origin" in remotes else remotes[0]
    return ["--set-upstream", remote, branch]


def _require_answers(project: Project, last: Round, *, partial: bool, dry_run: bool) -> None:
    """Raises PipelineError while rows are unanswered, unless the round is closed as it is."""
    done, asked = answered(project, last)
    if done >= asked or last.closed_early.is_file():
        return
    if not partial:
        what = f"round {last.number}: {done} of {asked} rows are answered"
        remedy = "go on with `rounds annotate`, or close it so: `rounds close --partial`"
        raise PipelineError(last.folder, what, remedy)
    if not dry_run:
        with turn(last.asked, last=True):
            done, asked = answered(project, last)
            write_json(last.closed_early, {"answered": done, "asked": asked, "partial": True})


def _require_accepted(project: Project, number: int) -> None:
    """Raises RoundHeldError where the gate did not accept the round."""
    accepted = read_json(project.root / "build" / "gate" / "state.json")["rounds"]
    if accepted < number:
        gate = read_json(project.root / "metrics" / "gate.json")
        what = f"the gate holds round {number}: {gate.get('held') or 'a check failed'}"
        raise RoundHeldError(project.root / "metrics" / "gate.json", what, WHEN_HELD)


def message(project: Project, number: int) -> tuple[str, str]:
    """Subject and body of the round's commit: what it found, and what it asks next."""
    metrics = project.root / "metrics"
    proof = read_json(metrics / "validate.json")
    gate = read_json(metrics / "gate.json")
    query = read_json(metrics / "query.json")
    accuracy = [
        f"{arm} {proof[arm]['accuracy']:.3f} at {proof[arm]['labels']}"
        for arm in ("active", "random")
        if proof[arm]
    ]
    judged = ", ".join(accuracy) or "not judged yet"
    subject = f"Round {number}: {gate['accepted']} labels; {judged}; {gate['review']} doubted"
    decision = stopped(project)
    if decision:
        asks = f"Asks nothing more: stopped, {decision['why']}"
    elif query["batch"]["rows"]:
        rows = query["batch"]["rows"]
        asks = f"Asks round {number + 1}: {rows} rows, batch {query['batch_id']}"
    else:
        asks = f"Asks nothing more: {query['state']}"
    strategy = f"Strategy: {query['strategy']} ({query['regime']})"
    raised = [*gate["alarms"], *proof["alarms"]]
    alarms = [f"{alarm['code']} {alarm['title']}: {alarm['seen']}" for alarm in raised]
    return subject, "\n".join([asks, strategy, *alarms])


def commit(project: Project, subject: str, body: str) -> bool:
    """Commit git's index, which holds this round alone. False when there is nothing to commit.

    Raises PipelineError when the index holds other files, or when a commit hook refuses or rewrites
    the round.
    """
    names = _staged(project)
    if not names:
        return False
    paths = [project.root / name for name in names]
    before = {path: path.read_bytes() for path in paths if path.is_file()}
    try:
        git(project.root, *QUIET, "commit", "-m", subject, "-m", body)
    finally:
        rewritten = [
            path for path, data in before.items() if not path.is_file() or path.read_bytes() != data
        ]
        for path in rewritten:
            write_bytes(path, before[path])
    if rewritten:
        why = "so the commit does not hold what was trained on"
        what = f"a commit hook rewrote it, {why} ({len(rewritten)} files)"
        exempt = "exempt data/rounds, metrics, plots and dvc.lock from that hook"
        raise PipelineError(rewritten[0], what, f"{exempt}, git reset --soft HEAD~1, and close")
    return True


def _staged(project: Project) -> list[str]:
    """The paths in git's index that differ from HEAD, all of this round.

    Raises PipelineError for one that is not.
    """
    listed = git(project.root, "diff", "--cached", "--name-only", "--no-relative", "-z")
    names = [name for name in listed.split("\0") if name]
    here = git(project.root, "rev-parse", "--show-prefix").strip("\n")
    made = tuple(here + path for path in MADE)
    foreign = [name for name in names if not name.startswith(made)]
    if foreign:
        unstage = shlex.quote(f":/{foreign[0]}")
        remedy = f"commit it first, or git restore --staged {unstage}"
        raise PipelineError(foreign[0], "staged, and not this round's", remedy)
    return [name.removeprefix(here) for name in names]


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
@json_option
@one_line_errors
def command(
    *,
    partial: bool,
    push: bool,
    keep_data: bool,
    dry_run: bool,
    stop: bool,
    go_on: bool,
    why: str,
    as_json: bool,
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
    for remark in remarks(project, push_data=push or keep_data):
        click.echo(remark, err=True)
    subject = close(
        project,
        partial=partial,
        push=push,
        keep_data=keep_data,
        say=lambda stage: click.echo(f"  {stage} …", err=True),
        dry_run=dry_run,
        decision=Decision(stop, why) if stop or go_on else None,
    )
    sentence = subject if dry_run else _with_next(project, subject, stop=stop)
    if as_json:
        say(document(project, subject, sentence, dry_run=dry_run))
    return sentence


def document(project: Project, subject: str, sentence: str, *, dry_run: bool) -> documents.Close:
    """The close for a program. sentence: what a person reads, the next command last."""
    metrics = project.root / "metrics"
    gate, proof = (
        read_json(path) if path.is_file() else {}
        for path in (metrics / "gate.json", metrics / "validate.json")
    )
    committed = not dry_run and not subject.startswith(NOTHING)
    rounds = project.rounds()
    newest = None
    if rounds:
        done, asked = answered(project, rounds[-1])
        newest = RoundState(number=rounds[-1].number, asked=asked, answered=done)
    return documents.Close(
        dry_run=dry_run,
        subject=subject,
        committed=committed,
        commit=git(project.root, "rev-parse", "HEAD").strip() if committed else None,
        rounds=gate.get("rounds"),
        open=newest,
        alarms=alarms_of(gate, proof),
        next="rounds close" if dry_run else sentence.rpartition("next: ")[2],
    )


def remarks(project: Project, *, push_data: bool = False) -> Iterator[str]:
    """What to know before a close: labels that changed, a remote elsewhere that is out of reach.

    push_data: whether it was said what becomes of the data, so that the remote needs no remark.
    """
    for note in notes(project):
        yield f"labels: {note}"
    remote = default_remote(project.root)
    fault = None if push_data or remote.folder else remote.fault()
    if fault:
        kept = "the data stays in the cache here until a close with --push"
        yield f"data: {fault.where}: {fault.what}, and {kept}; {fault.remedy}"


def _with_next(project: Project, subject: str, *, stop: bool) -> str:
    """The commit's subject, why nothing more is asked if so, and the next command."""
    if stop:
        return f"{subject}\nnext: rounds status"
    query = read_json(project.root / "metrics" / "query.json")
    if not query["batch"]["rows"]:
        subject += f"\nAsks nothing more: {query['state']}"
    rounds = project.rounds()
    waiting = bool(rounds) and not rounds[-1].answer_files()
    return f"{subject}\nnext: " + ("rounds annotate" if waiting else "rounds status")
