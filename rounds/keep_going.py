"""Rounds that go on by themselves: an answered batch is closed, and the page shows the next one.

The close is `rounds.close.close`, as `rounds close` runs it, in the main thread; the page answers
in another. So Ctrl-C interrupts a close as it does there, and after a crash of any kind the same
command goes on where it stopped.

    label -> all is answered -> close -> may it go on? -> serve the next batch -> label …
                 ^                |            +- no: wait for an answer or a commit, look again
                 +---- failed ----+

Within the close the next batch is served as soon as it is frozen; its answers wait for the commit
(`rounds.early`). It is served after the commit only where something is to be decided before it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import click

from rounds import early
from rounds.close import RoundHeldError, Work, close, dvc_of, remarks, take_back
from rounds.commands import Dvc, git, is_as_committed
from rounds.decision import last_decision, stopped
from rounds.project import Project, Round
from rounds.surfaces.series import Notice, Series
from rounds.surfaces.serving import closing_words
from stages.contract.canonical import read_json
from stages.contract.errors import PipelineError

COMMAND = "rounds annotate --keep-going"
LOOK = 2.0  # seconds between two looks for what another command did
SOON = 5  # items left at which the libraries of the close are loaded
CHOOSING = Notice(
    "Choosing the next batch …",
    "Your answers are saved. The next card comes by itself.",
    busy=True,
)
ENOUGH = Notice(
    "This batch is done. Thank you.",
    "Whether to go on is being decided. If so, the next card comes by itself.",
    blocks=True,
)
LAST = Notice("That was the last batch. Thank you.", "There is nothing more to label.", blocks=True)
FOR_NOW = Notice(
    "That was the last batch for now. Thank you.",
    "The next one comes by itself when the work is taken up again.",
    blocks=True,
)
LOOKED_AT = Notice(
    "This batch is being looked at.",
    "The answers do not fit together as they should, and whoever runs the project was told what to "
    "do. Your answers are saved, and you may still change them. The next card comes by itself.",
)
FAILED = Notice(
    "The next batch could not be chosen.",
    "Your answers are saved, and whoever runs the project was told what to do. The next card comes "
    "by itself.",
)


@dataclass(frozen=True)
class Pause:
    """Why the work does not go on by itself, as the annotators and the owner are told it."""

    notice: Notice
    owner: str


@dataclass(frozen=True)
class Scene:
    """What may end a pause: the last commit, and how many answers were saved."""

    commit: str
    saved: int


NOWHERE = Scene("", 0)


def committed_round(project: Project) -> Round | None:
    """The newest round whose question is committed; None before the first."""
    for asked in reversed(project.rounds()):
        if is_as_committed(project.root, asked.folder / "manifest.json"):
            return asked
    return None


def first_round(project: Project) -> Round:
    """The round to begin with; the first batch is chosen where there is none yet.

    Raises PipelineError where there is nothing to ask.
    """
    for remark in remarks(project):
        click.echo(remark, err=True)
    newest = committed_round(project)
    if newest is None:
        click.echo("annotate: choosing the first batch", err=True)
        click.echo(close(project, partial=False, push=False, say=_say_stage), err=True)
        newest = project.last_round()
    return newest


def pause_before(project: Project, newest: Round, *, is_over: bool) -> Pause | None:
    """Why the newest round is not to be labelled, or not to be closed; None where it is.

    is_over: every item is answered, or it was closed early. Where it was begun, nobody is asked
    whether to go on with it.
    """
    stop = stopped(project)
    if stop is not None:
        what = f"the work was stopped after round {stop['round']} ({stop['why']})"
        return Pause(LAST, f"{what}; next: rounds report")
    metrics = project.root / "metrics"
    query = metrics / "query.json"
    if is_over and query.is_file():
        asks = read_json(query)
        if asks["round"] > newest.number and not asks["batch"]["rows"]:
            return Pause(LAST, f"nothing more to ask: {asks['state']}; next: rounds status")
    why = advice_to_stop(project)
    if why is not None and not is_over and not newest.answer_files():
        return Pause(ENOUGH, _question_to_the_owner(why))
    return None


def advice_to_stop(project: Project) -> str | None:
    """Why the last proof advises to stop; None where it does not, or the owner goes on."""
    proof = project.root / "metrics" / "validate.json"
    if not proof.is_file():
        return None
    stopping = read_json(proof)["stopping"]
    if stopping["advice"] != "stop" or _goes_on_against_advice(project):
        return None
    return str(stopping["why"])


def _goes_on_against_advice(project: Project) -> bool:
    """Whether the last decision was to go on though the advice was to stop."""
    decision = last_decision(project)
    if decision is None:
        return False
    return decision["decision"] == "continue" and decision["advice"] == "stop"


def _question_to_the_owner(why: str) -> str:
    return (
        f"the advice is to stop ({why}), and you decide: `rounds close --stop --why REASON` or "
        "`rounds close --continue --why REASON` in another terminal; the page waits for that"
    )


class KeepGoing:
    """The work of one `rounds annotate --keep-going`.

    limit: rounds to close, None for no limit. closed: how many were.
    """

    def __init__(self, project: Project, series: Series, limit: int | None) -> None:
        self.closed = 0
        self._project = project
        self._series = series
        self._limit = limit
        self._paused_at: Scene | None = NOWHERE  # the first look looks at everything
        self._took = 0.0  # seconds from the last answer to the next batch, the last time
        self._ready: Dvc | None = None  # started before it is needed

    def run(self) -> str:
        """Go on until Ctrl-C. The sentence that says what was done.

        Raises KeyboardInterrupt where that interrupts a close.
        """
        try:
            self.step()
            while self._series.wait(LOOK):
                self.step()
        finally:
            if self._ready:
                self._ready.end()
        counted = "1 round is" if self.closed == 1 else f"{self.closed} rounds are"
        words = closing_words(self._series, complete=COMMAND, go_on=COMMAND)
        return f"annotate: {counted} closed; {words.removeprefix('annotate: ')}"

    def step(self) -> None:
        """Do all that is to be done now: go over to another round, close it, and so on."""
        while self._step():
            pass
        self._prepare()

    def _step(self) -> bool:
        """Do one thing. Whether another may be to be done at once."""
        if self._nothing_new():
            return False
        newest = committed_round(self._project)
        if newest is None:  # taken back in git by hand
            newest = self._series.desk.round
        desk = self._series.desk
        if early.is_waiting(desk.round) and desk.round.number > newest.number:
            return self._close(newest)  # it failed after the batch was shown
        is_served = newest.number == desk.round.number
        is_over = newest.closed_early.is_file() or (is_served and desk.complete)
        pause = self._pause(newest, is_over=is_over)
        if pause is not None:
            self._wait(pause)
            return False
        self._paused_at = None
        if not is_served:
            self._serve(newest)
            return True
        if is_over:
            self._close(newest)
            return True
        self._series.news = None
        return False

    def _nothing_new(self) -> bool:
        """Whether nothing happened since the last look that would change what is to be done."""
        if self._paused_at is not None:
            return self._paused_at == self._scene()
        desk = self._series.desk
        is_newest = self._project.rounds()[-1].number == desk.round.number
        return is_newest and not desk.complete and not desk.round.closed_early.is_file()

    def _scene(self) -> Scene:
        commit = git(self._project.root, "rev-parse", "HEAD").strip()
        desk = self._series.desk
        if early.is_waiting(desk.round) and not desk.complete:
            return Scene(commit, 0)  # an answer to the next batch mends nothing
        return Scene(commit, self._series.saved)

    def _prepare(self) -> None:
        """Shortly before a batch is answered, have loaded what its close needs."""
        desk = self._series.desk
        is_soon = 0 < len(desk.tasks) - desk.finished <= SOON
        if is_soon and self._ready is None and self._paused_at is None:
            self._ready = dvc_of(self._project, _say_stage)
            self._ready.start()

    def _dvc(self) -> Dvc:
        """What was prepared, where it is as good as a new one; else a new one, not started yet."""
        ready, self._ready = self._ready, None
        if ready is not None:
            if ready.is_current():
                return ready
            ready.end()
        return dvc_of(self._project, _say_stage)

    def _pause(self, newest: Round, *, is_over: bool) -> Pause | None:
        if self._limit is not None and self.closed >= self._limit:
            counted = "the round is" if self.closed == 1 else f"the {self.closed} rounds are"
            return Pause(FOR_NOW, f"{counted} closed; Ctrl-C ends the page; next: {COMMAND}")
        return pause_before(self._project, newest, is_over=is_over)

    def _wait(self, pause: Pause, saved: int | None = None) -> None:
        """Say why the work pauses, until something happens. saved: answers when that began."""
        self._series.news = pause.notice
        click.echo(f"annotate: {pause.owner}", err=True)
        scene = self._scene()
        if saved is not None and scene.saved:
            scene = Scene(scene.commit, saved)
        self._paused_at = scene

    def _serve(self, newest: Round) -> None:
        """Put the next batch before people."""
        self._series.serve(newest)
        self._series.news = None
        count = len(self._series.desk.tasks)
        click.echo(f"annotate: round {newest.number}, {count} items to label", err=True)

    def _close(self, answered: Round) -> bool:
        """Close a round. Whether that worked; where not, say so, and leave it open as it was."""
        saved = self._series.saved
        desk = self._series.desk
        if desk.round.number == answered.number:
            self._series.news = self._choosing()
            who = ", ".join(f"{name} {count}" for name, count in desk.sessions().items())
            click.echo(
                f"annotate: round {answered.number} is answered ({who}); closing it", err=True
            )
        started = time.monotonic()

        def show(new: Round) -> None:
            self._show(new, started)

        work = Work(self._dvc(), show) if self._may_show() else Work(self._dvc())
        try:
            subject = close(self._project, partial=False, push=False, say=_say_stage, work=work)
        except (PipelineError, OSError) as error:
            work.dvc.end()  # where it was refused before DVC had anything to do
            self._failed(error, answered, saved)
            return False
        self.closed += 1
        click.echo(subject, err=True)
        why = advice_to_stop(self._project)
        if why is not None and self._project.last_round().answer_files():
            goes_on = "the batch that was begun goes on, and you decide after it"
            click.echo(f"annotate: the advice is to stop ({why}); {goes_on}", err=True)
        return True

    def _may_show(self) -> bool:
        """Whether nothing is to be decided before people label the next batch."""
        is_last = self._limit is not None and self.closed + 1 >= self._limit
        return not is_last and advice_to_stop(self._project) is None

    def _show(self, new: Round, started: float) -> None:
        """Put the next batch before people while its round is still being proved."""
        early.begin(new)
        if self._series.desk.batch != new.batch_id():
            self._serve(new)
            self._took = time.monotonic() - started

    def _failed(self, error: PipelineError | OSError, answered: Round, saved: int) -> None:
        """Say what is wrong to the owner; the annotators may go on with what is open."""
        with contextlib.suppress(PipelineError, OSError):
            take_back(self._project)
        desk = self._series.desk
        if not desk.round.folder.is_dir():  # shown, answered by nobody, and taken back
            self._series.serve(answered)
            desk = self._series.desk
        if desk.round.number == answered.number and not desk.complete:
            self._series.news = None  # somebody took an answer back meanwhile
            return
        fault = error if isinstance(error, PipelineError) else f"{error.filename}: {error.strerror}"
        click.echo(f"error: {fault}", err=True)
        notice = LOOKED_AT if isinstance(error, RoundHeldError) else FAILED
        again = "an answer that is changed or a commit tries it again by itself"
        self._wait(Pause(notice, f"{again}; so does Ctrl-C and {COMMAND}"), saved)

    def _choosing(self) -> Notice:
        """What the annotators are told, with the time that it took before."""
        if not self._took:
            return CHOOSING
        text = f"{CHOOSING.text} That took {self._took:.0f} seconds the last time."
        return Notice(CHOOSING.title, text, busy=True)


def _say_stage(stage: str) -> None:
    click.echo(f"  {stage} …", err=True)
