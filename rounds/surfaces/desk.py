"""The desk behind the page: who gets which item, and the files that keep every answer.

The state is the answer files and nothing else; a restart reads them and goes on. Each session has
one append-only file, answers/session-<name>.jsonl. An answer is acknowledged after its line is on
the disk (answers that wait for it together go there together: `GroupCommit`); a change or an undo
is a further line. Every line carries the key of its answer, made by the browser: sending it again
(after a crash, a lost response) adds nothing, and an answer to an item that has changed meanwhile
(in another tab) is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import statistics
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from rounds.lock import turn
from rounds.project import Project, Round
from rounds.surfaces.assignment import allowed, normal
from stages.answers import prodigy
from stages.answers.prodigy import Answer, NotAnAnswer
from stages.contract.canonical import Row, dumps, numbered_rows
from stages.contract.errors import PipelineError

Verdict = Literal["accept", "reject", "ignore", "undo"]
NOTE = "al_note"  # the key of an answer's row under which a remark on the item stands
HISTORY = 10
PAUSE = 300.0  # seconds between two answers from which a person did something else
LONGEST_NAME = 40
WRITERS = ThreadPoolExecutor(16, thread_name_prefix="disk")  # starts no thread before its work


class Refused(Exception):  # noqa: N818 - said to a person, and mostly no fault
    """An answer that is not taken, with the reason for the annotator. code: the HTTP status."""

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        super().__init__(why)


class RoundOver(Refused):
    """An answer for a round that was closed, or that a newer one has followed."""

    def __init__(self) -> None:
        super().__init__(410, "This round is over. Ask for the new address of the page.")


@dataclass(frozen=True)
class Remark:
    """What a person adds to an answer: that somebody should look at it, and a note on the item."""

    flagged: bool = False
    note: str = ""


NO_REMARK = Remark()


@dataclass(frozen=True)
class Said:
    """A session's standing answer to one item."""

    position: int
    key: str
    answer: Answer
    note: str = ""


@dataclass
class Session:
    """One annotator.

    said         the standing answers by position in the batch, oldest first
    keys         the key of the last answer to each item, undone or not
    held         positions of items on loan, the one to show now last
    cursor       the position before which nothing waits for this session
    busy         held while an answer is saved
    seen         when the last sign of life came
    last_answer  the time of the last answer
    """

    name: str
    said: dict[int, Said] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)
    cursor: int = 0
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    seen: float = 0.0
    last_answer: float = 0.0

    def pace(self) -> float | None:
        """Seconds that an answer of this batch takes; None below two answers."""
        times = (said.answer.at for said in self.said.values())
        return pace(at for at in times if at is not None)


def pace(times: Iterable[float]) -> float | None:
    """The median of the seconds from one answer to the next, without pauses; None for no gap."""
    gaps = [after - before for before, after in pairwise(sorted(times))]
    worked = [gap for gap in gaps if gap <= PAUSE]
    return statistics.median(worked) if worked else None


def session_name(text: str) -> str:
    """The name as it identifies a session: one spelling per person ("  Ana " and "ana" are one).

    Raises Refused for an empty, overlong or unprintable name.
    """
    name = unicodedata.normalize("NFC", " ".join(text.split()).casefold())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Refused(400, f"A name of 1 to {LONGEST_NAME} printable characters, please.")
    return name


def session_file(name: str) -> str:
    """The file of a session; another name, another file.

    Signs that file systems dislike are percent-encoded.
    """

    def encoded(sign: str) -> str:
        is_plain = sign.isalnum() or sign in " _" or not sign.isascii()
        return sign if is_plain else quote(sign, safe="")

    return f"session-{''.join(map(encoded, name))}.jsonl"


class Journal:
    """An append-only file of lines; what `append` returned from is on the disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._whole = os.fstat(self._file).st_size
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def append(self, line: str) -> None:
        """Write one line, whole or not at all. Raises OSError when the disk refuses it."""
        data = line.encode() + b"\n"
        whole = self._whole + len(data)
        self._cut()
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):  # then before the next line
                self._cut()
            raise
        self._whole = whole

    def _cut(self) -> None:
        """Remove the part of a line that is left where the disk refused the rest."""
        if os.fstat(self._file).st_size > self._whole:
            os.ftruncate(self._file, self._whole)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)


@dataclass(frozen=True)
class Taken:
    """An answer on its way to the disk."""

    line: str
    said: Said


def mend(path: Path) -> int:
    """Cut off the torn last line that a crash left behind. The number of bytes removed.

    Nobody was told that it was saved. A last line that is whole but for its line end is kept.
    """
    data = path.read_bytes()
    tail = data[data.rfind(b"\n") + 1 :]
    if not tail:
        return 0
    with path.open("r+b") as file:
        try:
            whole = isinstance(json.loads(tail), dict)
        except ValueError:
            whole = False
        if whole:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        else:
            file.truncate(len(data) - len(tail))
        file.flush()
        os.fsync(file.fileno())
    return 0 if whole else len(tail)


@contextlib.contextmanager
def sole_writer(newest: Round) -> Iterator[None]:
    """Hold the round's answers for one server, without a line that a crash left torn.

    Raises PipelineError when another server has them.
    """
    folder = newest.answers_now()
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        what = "a page is being served on this round"
        raise PipelineError(folder, what, "use that one, or stop it with Ctrl-C") from error
    else:
        for path in folder.glob("session-*.jsonl"):
            mend(path)
        yield
    finally:
        os.close(handle)


@dataclass
class Waiting:
    """An answer that waits for the disk. saved: done when it is there, or refused."""

    desk: Desk
    session: Session
    taken: Taken
    saved: asyncio.Future[None]


class GroupCommit:
    """Saves in groups: the answers that come while one group goes to the disk are the next group.

    So many people at once cost one look whether the round is open, and their lines are flushed at
    the same time, of which a disk makes one work. An answer is settled, and acknowledged, after its
    own line was flushed.
    """

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def save(self, desk: Desk, session: Session, taken: Taken) -> None:
        """Return when the answer is on the disk. One of a session at a time.

        Raises OSError where the disk fails, RoundOver where the round is over.
        """
        saved = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(desk, session, taken, saved))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await saved

    async def _write(self) -> None:
        while self._waiting:
            group = self._waiting
            self._waiting = []
            try:
                faults = await asyncio.to_thread(save_group, group)
            except Exception as error:  # noqa: BLE001  # each request answers it, whatever it is
                faults = [error] * len(group)
            except BaseException:
                for answer in group:
                    answer.saved.cancel()
                raise
            for answer, fault in zip(group, faults, strict=True):
                if answer.saved.done():  # its request was given up
                    continue
                if fault is None:
                    answer.saved.set_result(None)
                else:
                    answer.saved.set_exception(fault)


def save_group(group: Sequence[Waiting]) -> list[Exception | None]:
    """What became of each answer of a group, saved desk by desk."""
    faults: dict[int, Exception | None] = {}
    for desk in dict.fromkeys(answer.desk for answer in group):
        rows = [row for row, answer in enumerate(group) if answer.desk is desk]
        answers = [(group[row].session, group[row].taken) for row in rows]
        faults |= zip(rows, desk.save_all(answers), strict=True)
    return [faults[row] for row in range(len(group))]


class Desk:
    """A batch, its sessions, and the rules by which items go out and answers come in.

    clock: seconds since 1970. idle: seconds without a sign of life after which a session's items
    are given to others. overlap: answers wanted per item, each from another person. The round may
    be one that is over: then answers that came late, in files of later rounds, count as well.
    """

    def __init__(
        self, project: Project, newest: Round, *, idle: float, clock: Callable[[], float]
    ) -> None:
        params = project.params()
        self.batch = newest.batch_id()
        self.tasks = newest.to_ask()
        # Labels changed in params.yaml since are for the next batch; this one asks as issued.
        self.labels = prodigy.offered(self.tasks) or params.labels
        self.shown_labels = self.labels  # in the order of the page
        self.overlap = params.surface.annotations_per_item
        self.round = newest
        self._project = project
        self._idle = idle
        self._clock = clock
        self._allowed = allowed(project, [str(task["al_id"]) for task in self.tasks])
        self.finished = 0  # items with all the answers they want
        self._sessions: dict[str, Session] = {}
        self._answered: list[set[str]] = [set() for _ in self.tasks]
        self._loans: list[set[str]] = [set() for _ in self.tasks]
        self._journals: dict[str, Journal] = {}
        self._read_answers()

    def _read_answers(self) -> None:
        """Everything that was answered before, by whichever tool."""
        find = prodigy.finder(self.tasks)
        positions = {str(task["al_id"]): position for position, task in enumerate(self.tasks)}
        answers = []
        for number, path, line, row in self._answer_rows():
            try:
                answer = prodigy.read_answer(row, self.labels)
            except NotAnAnswer:  # import_labels refuses such a row, with file and line
                continue
            # Without a batch's name it answers the round that it stands in.
            own = answer.batch == self.batch
            own |= answer.batch is None and number == self.round.number
            item = find(answer) if own else None
            if item is not None:
                key = str(row.get("al_key") or f"{path.name}:{line}")
                order = (answer.moment, number, path.name, line)
                note = str(row.get(NOTE) or "")
                answers.append((order, Said(positions[item], key, answer, note)))
                session = self._session_of(answer)
                session.last_answer = max(session.last_answer, answer.at or 0.0)
        for _, said in sorted(answers, key=lambda entry: entry[0]):
            self._stand(self._session_of(said.answer), said)

    def _answer_rows(self) -> Iterator[tuple[int, Path, int, Row]]:
        """Round, file, line and row of every answer in this round and in later ones."""
        for round_ in self._project.rounds():
            if round_.number >= self.round.number:
                for path in sorted(round_.answers_now().glob("*.jsonl")):
                    for line, row in numbered_rows(path):
                        yield round_.number, path, line, row

    def _session_of(self, answer: Answer) -> Session:
        """The session of who gave an answer, by whichever tool."""
        return self.session(" ".join(answer.annotator.split()).casefold())

    def session(self, name: str) -> Session:
        """The session of that name, begun when it is new."""
        return self._sessions.setdefault(name, Session(name))

    def _stand(self, session: Session, said: Said) -> None:
        """Let an answer replace what the session said of the item before."""
        session.said.pop(said.position, None)
        session.keys[said.position] = said.key
        names = self._answered[said.position]
        self.finished -= len(names) >= self.overlap
        if said.answer.kind == "undone":
            names.discard(session.name)
            self._free(said.position)
        else:
            session.said[said.position] = said
            names.add(session.name)
        self.finished += len(names) >= self.overlap

    def _free(self, position: int) -> None:
        """An item may be asked again: nobody's search may have passed it."""
        for session in self._sessions.values():
            session.cursor = min(session.cursor, position)

    def _recall_idle(self) -> None:
        """Take the items of silent sessions back."""
        now = self._clock()
        for session in self._sessions.values():
            if session.held and now - session.seen > self._idle:
                for position in session.held:
                    self._loans[position].discard(session.name)
                    self._free(position)
                session.held.clear()

    def may_answer(self, name: str, position: int) -> bool:
        """Whether an item is a person's to answer: it is assigned to them, or to nobody."""
        people = self._allowed[position]
        return people is None or normal(name) in people

    def current(self, session: Session) -> int | None:
        """The item that the session is to answer now, or None when there is none for it.

        The first in the order of the batch that still wants an answer, counting those on loan to
        others.
        """
        session.seen = self._clock()
        self._recall_idle()
        while session.held:
            if session.held[-1] not in session.said:
                return session.held[-1]
            self._give_back(session, session.held[-1])
        for position in range(session.cursor, len(self.tasks)):
            taken = self._answered[position] | self._loans[position]
            is_open = session.name not in taken and len(taken) < self.overlap
            if is_open and self.may_answer(session.name, position):
                session.held.append(position)
                self._loans[position].add(session.name)
                return position
            session.cursor = position + 1  # whatever frees an item sets the cursor back
        return None

    def _give_back(self, session: Session, position: int) -> None:
        if position in session.held:
            session.held.remove(position)
        self._loans[position].discard(session.name)

    def take(
        self,
        session: Session,
        position: int,
        verdict: Verdict,
        label: str | None,
        *,
        key: str,
        replaces: str,
        remark: Remark = NO_REMARK,
    ) -> Taken | None:
        """An answer that may stand; None for one that stands already.

        Save it, then `settle` it, before the session's next.
        replaces: the key of the answer that the annotator saw standing, "" when there was none.
        Raises Refused for an accept without a label of the project, and for an item that was
        answered meanwhile (in another tab).
        """
        session.seen = self._clock()
        standing = session.keys.get(position, "")
        if key == standing:
            return None
        if not self.may_answer(session.name, position):
            raise Refused(403, "That item is for somebody else.")
        if verdict == "accept" and label not in self.labels:
            raise Refused(400, "Choose one of the labels first.")
        if verdict == "undo" and position not in session.said:
            raise Refused(409, "There is nothing to undo here.")
        if replaces != standing:
            raise Refused(409, "This item was answered meanwhile, perhaps in another tab.")
        # Times of a session go forward even where the machine's clock goes back.
        now = max(self._clock(), session.last_answer + 0.001)
        row = prodigy.answer_row(
            self.tasks[position],
            label=label if verdict == "accept" else None,
            answer="ignore" if verdict == "undo" else verdict,
            annotator=session.name,
            dataset="page",
            at=round(now, 3),
            flagged=remark.flagged,
            undone=verdict == "undo",
        )
        row["al_key"] = key
        if remark.note:
            row[NOTE] = remark.note
        return Taken(dumps(row), Said(position, key, prodigy.read_answer(row), remark.note))

    def save(self, session: Session, taken: Taken) -> None:
        """Return when the answer is on the disk.

        Raises OSError where the disk fails, RoundOver where the round is over.
        """
        fault = self.save_all([(session, taken)])[0]
        if fault is not None:
            raise fault

    def save_all(self, answers: Sequence[tuple[Session, Taken]]) -> list[Exception | None]:
        """Return when answers of different sessions are on the disk; this may run in a thread.

        What became of each: None where it is saved, else the OSError of the disk, or RoundOver.
        """
        try:
            with self._taking():
                if len(answers) == 1:
                    return [self._save_line(answers[0])]
                return list(WRITERS.map(self._save_line, answers))
        except (RoundOver, OSError) as fault:
            return [fault] * len(answers)

    def _save_line(self, answer: tuple[Session, Taken]) -> OSError | None:
        """Save one answer; the fault of the disk, None where there was none."""
        session, taken = answer
        try:
            self._journal(session).append(taken.line)
        except OSError as fault:
            return fault
        return None

    def settle(self, session: Session, taken: Taken) -> None:
        """Let a saved answer stand; an item whose answer was undone is the session's next."""
        position = taken.said.position
        answer = taken.said.answer
        session.last_answer = answer.at or 0.0
        self._stand(session, taken.said)
        self._give_back(session, position)
        if answer.kind == "undone":
            session.held.append(position)
            self._loans[position].add(session.name)

    def _journal(self, session: Session) -> Journal:
        """The session's file, made with its first answer."""
        if session.name not in self._journals:
            path = self.round.answers_now() / session_file(session.name)
            self._journals[session.name] = Journal(path)
        return self._journals[session.name]

    @contextlib.contextmanager
    def _taking(self) -> Iterator[None]:
        """Hold the round open while an answer is saved.

        Raises RoundOver where it was closed, or a newer one issued.
        """
        folder = self.round.folder
        following = folder.with_name(f"{self.round.number + 1:03d}")
        with turn(self.round.asked, last=False):
            is_open = self.round.asked.exists() and not following.exists()
            if self.round.closed_early.exists() or not is_open:
                raise RoundOver
            yield

    @property
    def complete(self) -> bool:
        """Whether every item has all the answers it wants."""
        return self.finished == len(self.tasks)

    def history(self, session: Session) -> list[Said]:
        """The session's last answers, newest first."""
        return list(islice(reversed(session.said.values()), HISTORY))

    def everybody(self) -> list[Session]:
        """Every session, by name."""
        return [self._sessions[name] for name in sorted(self._sessions)]

    @property
    def answers(self) -> int:
        """How many standing answers the batch has."""
        return sum(len(names) for names in self._answered)

    def sessions(self) -> dict[str, int]:
        """How many items each annotator has answered."""
        return {
            name: len(session.said)
            for name, session in sorted(self._sessions.items())
            if session.said
        }

    def close(self) -> None:
        """Close the files."""
        for journal in self._journals.values():
            journal.close()
        self._journals.clear()
