"""Rounds that go on by themselves: an answered batch is closed, and the page shows the next one.

The close is `rounds.close.close`, as `rounds close` runs it, in the main thread; the page answers
in another. So Ctrl-C interrupts a close as it does there, and after a crash of any kind the same
command goes on where it stopped.

    label -> all is answered -> close -> may it go on? -> serve the next batch -> label …
                 ^                |            +- no: wait for an answer or a commit, look again
                 +---- failed ----+
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import click

from rounds.close import RoundHeldError, close, remarks, take_back
from rounds.commands import git, is_as_committed
from rounds.decision import last_decision, stopped
from rounds.project import Project, Round
from rounds.surfaces.series import Notice, Series
from rounds.surfaces.serving import closing_words
from stages.contract.canonical import read_json
from stages.contract.errors import PipelineError

COMMAND = "rounds annotate --keep-going"
LOOK = 2.0  # seconds between two looks for what another command did
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
    proof = metrics / "validate.json"
    if not is_over and not newest.answer_files() and proof.is_file():
        stopping = read_json(proof)["stopping"]
        if stopping["advice"] == "stop" and not _goes_on_against_advice(project):
            return Pause(ENOUGH, _question_to_the_owner(stopping["why"]))
    return None


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
        self._took = 0.0  # seconds of the last close

    def run(self) -> str:
        """Go on until Ctrl-C. The sentence that says what was done.

        Raises KeyboardInterrupt where that interrupts a close.
        """
        self.step()
        while self._series.wait(LOOK):
            self.step()
        counted = "1 round is" if self.closed == 1 else f"{self.closed} rounds are"
        words = closing_words(self._series, complete=COMMAND, go_on=COMMAND)
        return f"annotate: {counted} closed; {words.removeprefix('annotate: ')}"

    def step(self) -> None:
        """Do all that is to be done now: go over to another round, close it, and so on."""
        while self._step():
            pass

    def _step(self) -> bool:
        """Do one thing. Whether another may be to be done at once."""
        if self._nothing_new():
            return False
        newest = committed_round(self._project)
        if newest is None:  # taken back in git by hand
            newest = self._series.desk.round
        is_served = newest.number == self._series.desk.round.number
        is_over = newest.closed_early.is_file() or (is_served and self._series.desk.complete)
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
        return Scene(commit, self._series.saved)

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
        self._paused_at = scene if saved is None else Scene(scene.commit, saved)

    def _serve(self, newest: Round) -> None:
        """Put the next batch before people."""
        self._series.serve(newest)
        self._series.news = None
        count = len(self._series.desk.tasks)
        click.echo(f"annotate: round {newest.number}, {count} items to label", err=True)

    def _close(self, answered: Round) -> None:
        """Close a round; where that fails, say so, and leave it open as it was."""
        saved = self._series.saved
        self._series.news = self._choosing()
        who = ", ".join(f"{name} {count}" for name, count in self._series.desk.sessions().items())
        click.echo(f"annotate: round {answered.number} is answered ({who}); closing it", err=True)
        started = time.monotonic()
        try:
            subject = close(self._project, partial=False, push=False, say=_say_stage)
        except (PipelineError, OSError) as error:
            self._failed(error, saved)
            return
        self.closed += 1
        self._took = time.monotonic() - started
        click.echo(subject, err=True)

    def _failed(self, error: PipelineError | OSError, saved: int) -> None:
        """Say what is wrong to the owner; the annotators may go on with what is open."""
        with contextlib.suppress(PipelineError, OSError):
            take_back(self._project)
        if not self._series.desk.complete:  # somebody took an answer back meanwhile
            self._series.news = None
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
