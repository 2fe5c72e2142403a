"""The batches that people label in one serving of the page, one after another.

The server's thread takes answers, the main thread opens the next batch's desk; they share this
object. A desk is replaced by one assignment, after its round is over: from then on no answer
reaches its files (`Desk.save`), and one that comes late is a vote in the round that is open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from rounds.lock import turn
from rounds.project import Project, Round
from rounds.surfaces.desk import Desk, sole_writer
from rounds.surfaces.label_help import KEYS, given_before, nearest_first


@dataclass(frozen=True)
class Notice:
    """What the page says where it shows no card.

    busy: the next batch is being chosen, so a card comes by itself. blocks: no card is given out.
    """

    title: str
    text: str
    busy: bool = False
    blocks: bool = False


DONE = Notice("The batch is done. Thank you.", "Next, in the terminal: rounds close")
OTHERS = Notice(
    "Nothing left for you at the moment.",
    "Others are still working on the last items. This page looks again by itself.",
)


class Series:
    """The desk that serves, the desks of rounds that are over, and the news for the annotators.

    done: what the page says when every item is answered. goes_on: whether another batch follows
    without a restart. moved: set after every saved answer. saved: how many answers this serving
    took.
    """

    def __init__(
        self,
        project: Project,
        newest: Round,
        *,
        idle: float,
        clock: Callable[[], float],
        done: Notice = DONE,
        goes_on: bool = False,
    ) -> None:
        self.goes_on = goes_on
        self.moved = threading.Event()
        self.saved = 0
        self.news: Notice | None = None
        self._done = done
        self._project = project
        self._idle = idle
        self._clock = clock
        self._held = ExitStack()
        self._over: dict[str, Desk] = {}
        self._held.enter_context(sole_writer(newest))
        self.desk = self._open(newest)

    def _desk_of(self, asked: Round) -> Desk:
        return Desk(self._project, asked, idle=self._idle, clock=self._clock)

    def _open(self, newest: Round) -> Desk:
        """The desk of the round to serve, with its many labels in the order in which they help."""
        desk = self._desk_of(newest)
        if len(desk.labels) > KEYS:
            desk.shown_labels = nearest_first(desk.labels, given_before(self._project, newest))
        return desk

    def serve(self, newest: Round) -> None:
        """Go over to the next round. Raises PipelineError where another server has it."""
        held = ExitStack()
        held.enter_context(sole_writer(newest))
        last = self.desk
        self.desk = self._open(newest)
        last.close()
        self._held.close()
        self._held = held

    def desk_of(self, batch: str) -> Desk | None:
        """The desk of a batch, of the one that is served or one before it; None for another."""
        desk = self.desk
        if batch == desk.batch:
            return desk
        if batch not in self._over:
            earlier = (old for old in self._project.rounds() if old.number < desk.round.number)
            asked = next((old for old in earlier if old.batch_id() == batch), None)
            if asked is None:
                return None
            with turn(desk.round.asked, last=True):  # no file is read while a line is written
                self._over[batch] = self._desk_of(asked)
        return self._over[batch]

    def answered(self) -> None:
        """Note that an answer was saved."""
        self.saved += 1
        self.moved.set()

    def notice(self) -> Notice:
        """What to say to who has no card."""
        if self.news is not None:
            return self.news
        return self._done if self.desk.complete else OTHERS

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until an answer is saved, at most so long. False on Ctrl-C."""
        try:
            self.moved.wait(seconds)
        except KeyboardInterrupt:
            return False
        self.moved.clear()
        return True

    def close(self) -> None:
        """Close the files, and let others serve the round."""
        self.desk.close()
        self._held.close()
