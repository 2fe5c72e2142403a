"""What the readers of all tools share: items, replies, and the db-out row of another tool's answer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stages.answers import prodigy
from stages.answers.prodigy import NotAnAnswer, Verdict
from stages.contract.canonical import Row

TIME_LOST = "time cannot be read"
MILLISECONDS = (1e11, 1e14)  # of what is too large for seconds
DATES = (19_000_101, 21_001_232)  # as numbers
QUESTION = "label"  # the name that we give the question about the label
# " (1)", " - Copy (2)", " copy 2", " - Kopie", " - copie", " - copia": a second download or copy
_COPY = re.compile(r"(\s*\(\d+\)|[\s_-]+(copy|kopie|copie|copia)(\s*\d+)?)+$", re.IGNORECASE)
_IDENTITY = ("al_id", "al_batch")
_CONTENT = (*_IDENTITY, "text", "image", "path")


@dataclass(frozen=True)
class Item:
    """One answer of a file: its line (or element number), raw row, and the db-out row if there is one.

    why                  the reason why there is none; "" with no row: nobody has answered it
    bare_id              the row's own `id`: the tool's number, or perhaps ours
    annotator_from_file  nothing but the file's name says who answered
    notes                what was lost or left aside without harm to the label
    """

    line: int
    raw: object
    row: Row | None
    why: str = ""
    bare_id: str | None = None
    annotator_from_file: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """The file that is read, who answered where its rows do not say it, and what its rows answer.

    questions: the names of all questions (controls) that some row of the file answers
    """

    path: Path
    annotator: str | None = None
    questions: frozenset[str] = frozenset()

    def question(self) -> str:
        """The question about the label: the one of our name, or the only one of the file.

        It is decided for the whole file: a row that answers another question alone gives no label.
        Raises NotAnAnswer where several have other names.
        """
        if QUESTION in self.questions or not self.questions:
            return QUESTION
        if len(self.questions) > 1:
            names = ", ".join(sorted(f"`{name}`" for name in self.questions))
            raise NotAnAnswer(f"{names} may each be the label: name one of them `{QUESTION}`")
        return next(iter(self.questions))


@dataclass(frozen=True)
class Reply:
    """One person's answer as a db-out row; see Item for the rest."""

    row: Row
    bare_id: str | None
    annotator_from_file: bool
    notes: tuple[str, ...]


def person_of_file(path: Path) -> str:
    """The person a file is named after: its stem, without the marks of a second download or copy."""
    return _COPY.sub("", path.stem).strip() or path.stem


def content_of(*places: object) -> Row:
    """The identity and content of an item, each key from the first place that has it."""
    content: Row = {}
    for place in places:
        if isinstance(place, Mapping):
            for key in _CONTENT:
                if content.get(key) in (None, "") and place.get(key) is not None:
                    content[key] = _number_as_text(place[key])
    return content


def identity_in(notes: object) -> Row:
    """The identity that a row's metadata keep: an object, or JSON text of one."""
    if isinstance(notes, str) and notes[:1] == "{":
        try:
            notes = json.loads(notes)
        except (ValueError, RecursionError):
            return {}
    return {key: notes.get(key) for key in _IDENTITY} if isinstance(notes, Mapping) else {}


def _number_as_text(value: object) -> object:
    """An identity like 007 stays a text, but many tools make a number of 17."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else value


def reply(
    content: Mapping[str, object],
    file: Source,
    *,
    tool: str,
    label: object,
    answer: Verdict = "accept",
    person: object = None,
    at: object = None,
    bare_id: object = None,
    notes: Sequence[str] = (),
) -> Reply:
    """The answer of another tool. Raises NotAnAnswer for a label that is no text.

    A time that cannot be read is lost, with a note; the label is not.
    """
    if label is not None and not isinstance(label, str):
        raise NotAnAnswer(f"label {label!r} is not a text")
    kept = {key: value for key, value in content.items() if value is not None}
    for key, value in kept.items():
        if not isinstance(value, str):
            raise NotAnAnswer(f"{key} is {value!r}, not a text")
    seconds = seconds_of(at)
    lost = seconds is None and at not in (None, "")
    name = "" if person is None else str(person)
    row = prodigy.answer_row(
        {key: value for key, value in kept.items() if value != "" or key == "text"},
        label=label,
        answer=answer,
        annotator=name or file.annotator or person_of_file(file.path),
        dataset=tool,
        at=seconds,
    )
    own_id = None if bare_id is None or isinstance(bare_id, bool) else str(bare_id)
    return Reply(
        row,
        bare_id=own_id or None,
        annotator_from_file=not name and not file.annotator,
        notes=(*notes, TIME_LOST) if lost else tuple(notes),
    )


def seconds_of(value: object) -> float | None:
    """Seconds since 1970 of a number or an ISO 8601 time (UTC where it names no zone), or None.

    A number of thirteen digits is milliseconds; one of eight that is a date, as 20240501, is no
    number of seconds.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = _moment(str(value))
    if MILLISECONDS[0] <= seconds < MILLISECONDS[1]:
        seconds /= 1000
    return seconds if math.isfinite(seconds) and not DATES[0] <= seconds < DATES[1] else None


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def single(labels: object) -> str | None:
    """The one label of a list, None of an empty one. Raises NotAnAnswer for two."""
    if not isinstance(labels, list):
        raise NotAnAnswer(f"labels are {labels!r}, not a list")
    if len(labels) > 1:
        names = ", ".join(map(str, labels))
        raise NotAnAnswer(f"{len(labels)} labels ({names}) where one is asked for")
    if labels and not isinstance(labels[0], str):
        raise NotAnAnswer(f"label {labels[0]!r} is not a text")
    return labels[0] if labels else None


def each(
    read_one: Callable[[object], Reply | None], parts: Sequence[object]
) -> list[Reply | NotAnAnswer | None]:
    """What several people said in one row, each read on its own: one's fault is not another's."""
    replies: list[Reply | NotAnAnswer | None] = []
    for part in parts:
        try:
            replies.append(read_one(part))
        except NotAnAnswer as reason:
            replies.append(reason)
    return replies or [None]
