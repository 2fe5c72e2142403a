"""What the readers of all tools share: annotations, and the db-out rows that are made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stages.answers import prodigy
from stages.answers.prodigy import ANONYMOUS, NotAnAnswer, Verdict
from stages.contract.canonical import Row

TIME_LOST = "time cannot be read"
# A number below the first is of that many units a second: seconds, then those of pandas and
# browsers.
UNITS = ((1e11, 1), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
DATES = (19_000_101, 21_001_232)  # as numbers
QUESTION = "label"  # the name that we give the question about the label
# " (1)", " - Copy (2)", " copy 2", " - Kopie", " - copie", " - copia": a second download or copy
_COPY = re.compile(r"(\s*\(\d+\)|[\s_-]+(copy|kopie|copie|copia)(\s*\d+)?)+$", re.IGNORECASE)
_EVERYBODYS = ("all", "unknown")  # files of doccano's that are named after nobody
_IDENTITY = ("al_id", "al_batch")
_CONTENT = (*_IDENTITY, "text", "image", "path")


@dataclass(frozen=True)
class Item:
    """One answer of a file: its line (or element number), and its raw row.

    row                  the db-out row, None where there is none
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
    """The file that is read, and what its rows do not say one by one.

    annotator   who answered, where the rows do not say it
    questions   the names of all questions (controls) that some row of the file answers
    about       the name of the question about the label
    """

    path: Path
    annotator: str | None = None
    questions: frozenset[str] = frozenset()
    about: str = QUESTION

    def person(self) -> str:
        """Who answered, where a row does not say it."""
        return self.annotator or person_of_file(self.path)

    def question(self) -> str:
        """The question about the label: the one of our name, or the only one of the file.

        It is decided for the whole file: a row that answers another question alone gives no label.
        Raises NotAnAnswer where several have other names.
        """
        if self.about in self.questions or not self.questions:
            return self.about
        if len(self.questions) > 1:
            names = ", ".join(sorted(f"`{name}`" for name in self.questions))
            raise NotAnAnswer(f"{names} may each be the label: name one of them `{self.about}`")
        return next(iter(self.questions))


@dataclass(frozen=True)
class Annotation:
    """What one person said of one item, in the words of the tool that they used.

    tool      its name, which the db-out row keeps
    content   the identity and content of the item
    label     the label chosen, None without one
    verdict   accept, reject or ignore
    person    who it was, None where the row does not say it
    time      when it was, in any notation that `seconds_of` reads
    bare_id   the row's own `id`
    notes     what was left aside without harm to the label
    """

    tool: str
    content: Mapping[str, object]
    label: object = None
    verdict: Verdict = "accept"
    person: object = None
    time: object = None
    bare_id: object = None
    notes: Sequence[str] = ()

    def reply(self, file: Source) -> Reply:
        """The annotation as a db-out row.

        Raises NotAnAnswer for a label, an identity or a person that is no text. A time that cannot
        be read is lost, with a note; the label is not.
        """
        if self.label is not None and not isinstance(self.label, str):
            raise NotAnAnswer(f"label {self.label!r} is not a text")
        name = _name_of(self.person)
        seconds = seconds_of(self.time)
        time_is_lost = seconds is None and self.time not in (None, "")
        row = prodigy.answer_row(
            self._texts(),
            label=self.label,
            answer=self.verdict,
            annotator=name or file.person(),
            dataset=self.tool,
            at=seconds,
        )
        return Reply(
            row,
            bare_id=own_id(self.bare_id),
            annotator_from_file=not name and not file.annotator,
            notes=(*self.notes, TIME_LOST) if time_is_lost else tuple(self.notes),
        )

    def _texts(self) -> dict[str, str]:
        """The identity and content that the item has."""
        texts: dict[str, str] = {}
        for key, value in self.content.items():
            if value is not None and not isinstance(value, str):
                raise NotAnAnswer(f"{key} is {value!r}, not a text")
            # An empty text is a content; an empty identity is none.
            if value or (value == "" and key == "text"):
                texts[key] = value
        return texts


@dataclass(frozen=True)
class Reply:
    """One person's answer as a db-out row; see Item for the rest."""

    row: Row
    bare_id: str | None
    annotator_from_file: bool
    notes: tuple[str, ...]


def own_id(value: object) -> str | None:
    """A row's own `id` as a text, None where it has none."""
    text = number_as_text(value)
    return text if isinstance(text, str) and text else None


def _name_of(person: object) -> str:
    """A person's name or number as a text, "" where there is none. Raises NotAnAnswer for lists."""
    if person is None:
        return ""
    if isinstance(person, float) and person.is_integer():
        person = int(person)  # pandas makes 3.0 of a number 3 in a column with gaps
    name = number_as_text(person)
    if not isinstance(name, str):
        raise NotAnAnswer(f"the annotator is {person!r}, not a text")
    return name.strip()


def person_of_file(path: Path) -> str:
    """The person a file is named after: its stem, without the marks of a second download or copy.

    "anonymous" for the names that doccano gives to files of everybody and of nobody.
    """
    name = _COPY.sub("", path.stem).strip() or path.stem
    return ANONYMOUS if name.casefold() in _EVERYBODYS else name


def content_of(*mappings: object) -> Row:
    """The identity and content of an item, each key from the first mapping that has it."""
    content: Row = {}
    for mapping in mappings:
        if isinstance(mapping, Mapping):
            for key in _CONTENT:
                if content.get(key) in (None, "") and mapping.get(key) is not None:
                    content[key] = number_as_text(mapping[key])
    return content


def identity_in(notes: object) -> Row:
    """The identity that a row's metadata keep: an object, or JSON text of one."""
    if isinstance(notes, str) and notes[:1] == "{":
        try:
            notes = json.loads(notes)
        except (ValueError, RecursionError):
            return {}
    return {key: notes.get(key) for key in _IDENTITY} if isinstance(notes, Mapping) else {}


def number_as_text(value: object) -> object:
    """A number as its digits, since many tools make 17 of "17"; anything else as it is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def seconds_of(value: object) -> float | None:
    """Seconds since 1970 of a number or an ISO 8601 time (UTC where it names no zone), or None.

    A number of 13, 16 or 19 digits is of milli-, micro- or nanoseconds; one of eight that is a
    date, as 20240501, is no number of seconds, nor is one below zero.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return _moment(str(value))
    if number < 0 or DATES[0] <= number < DATES[1]:
        return None
    return next((number / a_second for limit, a_second in UNITS if number < limit), None)


def _moment(text: str) -> float | None:
    """Seconds since 1970 of an ISO 8601 time, None for anything else."""
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


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
    read_part: Callable[[object], Reply | None], parts: Sequence[object]
) -> list[Reply | NotAnAnswer | None]:
    """What several people said in one row, each read on its own: one's fault is not another's."""
    replies: list[Reply | NotAnAnswer | None] = []
    for part in parts:
        try:
            replies.append(read_part(part))
        except NotAnAnswer as reason:
            replies.append(reason)
    return replies or [None]
