"""Which asked item each row of an answer file is about, and what is wrong with the others.

An item is found by `al_id` (and its batch), else by the hash of its content, else by its text. A
text may have come back with other blanks or in another Unicode form, an id as 7.0 for 7. A bare
`id` is mostly a number of the tool's own: it is looked at only where nothing better stands in the
row. An identity and a text that belong to different items are refused: one of them is wrong, and
nobody here can know which.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from rounds.project import Project, Round
from rounds.surfaces.formats import Item
from stages.answers import prodigy
from stages.answers.prodigy import Answer, NotAnAnswer, conflict_of
from stages.answers.reading import answers_of
from stages.answers.rounds import FORGOTTEN
from stages.contract.canonical import Row
from stages.contract.errors import closest

_KINDS = {
    "label": "answered",
    "override": "answered",
    "skip": "skipped",
    "reject": "rejected",
    "empty": "empty accepts",
}
# The tools that number their rows themselves.
NUMBERED = ("labelstudio", "argilla", "doccano")
# What identifies an answer, however it was exported: batch, id, annotator, kind, label, time.
Mark = tuple[str | None, str | None, str, str, str | None, float | None]


class _Bad(Exception):  # noqa: N818 - a verdict on a row
    """Why a row is not taken: the fault's name, and a sentence."""

    def __init__(self, fault: str, why: str) -> None:
        self.fault = fault
        super().__init__(why)


class Taken(NamedTuple):
    """A row that answers an asked item: its line, the db-out row with id and batch, the answer."""

    line: int
    row: Row
    answer: Answer


class Refusal(NamedTuple):
    """A row that cannot be used: the fault's name, which is counted, and the reason in words."""

    item: Item
    fault: str
    why: str


@dataclass
class Sorted:
    """Every item of one file, in one of five heaps: good, bad, earlier, forgotten, unanswered.

    earlier         rows of earlier rounds that were collected before: a dataset that serves
                    several rounds brings them along
    forgotten       rows about what `rounds forget` took out: their content must not come back
    unanswered      rows that nobody answered
    late            good rows of earlier rounds
    respaced        good rows whose text differs from the asked one in blanks or Unicode form alone
    notes           what was lost or left aside without harm, with counts
    from_file_name  the people whom nothing but the file's name names
    new             answers that differ from what their people said before
    """

    good: list[Taken] = field(default_factory=list)
    bad: list[Refusal] = field(default_factory=list)
    earlier: int = 0
    forgotten: int = 0
    unanswered: int = 0
    late: int = 0
    respaced: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    from_file_name: set[str] = field(default_factory=set)
    new: int = 0

    def counts(self) -> dict[str, int]:
        """How many rows of each kind the file holds, in the order of the report, without zeros."""
        answers = [taken.answer for taken in self.good]
        distinct = {(answer.id, answer.annotator, answer.about) for answer in answers}
        counts = Counter(map(_kind_of, answers))
        counts["flagged"] = sum(answer.flagged for answer in answers)
        counts["superseded"] = len(answers) - len(distinct)
        counts["items with every offered label rejected"] = _all_rejected(answers)
        counts.update(refusal.fault for refusal in self.bad)
        counts["unanswered"] += self.unanswered
        counts["of earlier rounds"] += self.earlier
        counts["of forgotten rows, left out"] += self.forgotten
        counts["late"] += self.late
        counts["with other blanks in the text than asked"] = self.respaced
        return {name: count for name, count in counts.items() if count}


def _kind_of(answer: Answer) -> str:
    if answer.about is not None and answer.label is None:
        return "labels rejected"
    return _KINDS.get(answer.kind, answer.kind)


def _all_rejected(answers: Iterable[Answer]) -> int:
    """How many items were asked one label at a time, of which none was accepted."""
    labels: dict[tuple[str | None, str], list[str | None]] = defaultdict(list)
    for answer in answers:
        if answer.about is not None:
            labels[answer.id, answer.annotator].append(answer.label)
    return sum(all(label is None for label in each) for each in labels.values())


def mark_of(answer: Answer, batch: str) -> Mark:
    """What identifies an answer, however it was exported."""
    return batch, answer.id, answer.annotator, answer.kind, answer.label, answer.at


@dataclass(frozen=True)
class Asked:
    """What was asked, and which answers to earlier batches were collected before.

    tasks      the rows of each batch
    batch      the one that is open
    collected  the marks of answers to earlier batches
    rounds     of batches that are not open, the latest round that asked each id: number and batch
    """

    tasks: Mapping[str, Sequence[Row]]
    batch: str
    collected: Container[Mark] = ()
    rounds: Mapping[str, tuple[int, str]] = field(default_factory=dict)


def asked_in(project: Project, items: Sequence[Item], labels: Sequence[str]) -> Asked:
    """What the items may be about: the newest round, and earlier ones where an item needs them."""
    newest = project.last_round()
    all_rounds = project.rounds()
    batches = [item.row.get("al_batch") for item in items if item.row]
    named = {batch for batch in batches if isinstance(batch, str)}
    ids = {str(task["al_id"]) for task in newest.tasks()}
    needs_all = any(_is_of_another_round(item, ids) for item in items)
    wanted = [
        issued
        for issued in all_rounds
        if issued.number == newest.number or needs_all or issued.batch_id() in named
    ]
    tasks = {issued.batch_id(): issued.tasks() for issued in wanted}
    rounds = {
        str(task["al_id"]): (issued.number, issued.batch_id())
        for issued in wanted
        if issued.number != newest.number
        for task in tasks[issued.batch_id()]
    }
    # Answers to an earlier batch stand in its own round, or came late and stand in a later one.
    since = [issued for issued in all_rounds if issued.number >= wanted[0].number] if rounds else []
    collected = {
        mark_of(answer, answer.batch or issued.batch_id())
        for issued in since
        for answer in _answers(issued, labels)
    }
    return Asked(tasks, newest.batch_id(), collected, rounds)


def _is_of_another_round(item: Item, ids: Container[str]) -> bool:
    """Whether a row without a batch names an id that is not one of the newest round's."""
    if item.row is None or item.row.get("al_batch") is not None:
        return False
    item_id = item.row.get("al_id") or item.bare_id
    return isinstance(item_id, str) and item_id not in ids


def _answers(issued: Round, labels: Sequence[str]) -> list[Answer]:
    pairs = answers_of(issued.folder, issued.batch_id(), issued.tasks(), list(labels))
    return [answer for answer, _ in pairs]


def sort_out(items: Sequence[Item], project: Project, labels: Sequence[str]) -> Sorted:
    """Which items answer the newest batch or an earlier one, and what is wrong with the others."""
    asked = asked_in(project, items, labels)
    return sorted_by(items, asked, labels, before_of(project, items, labels))


def before_of(project: Project, items: Iterable[Item], labels: Sequence[str]) -> list[Answer]:
    """The open round's answers, where the items have binary rows, which they may contradict."""
    if not any(item.row and "label" in item.row and "accept" not in item.row for item in items):
        return []
    return _answers(project.last_round(), labels)


def sorted_by(
    items: Sequence[Item], asked: Asked, labels: Sequence[str], before: Sequence[Answer] = ()
) -> Sorted:
    """Every item in exactly one heap. before: answers that the open round has already."""
    finders = {batch: Finder(rows) for batch, rows in asked.tasks.items()}
    own_ids = _ids_are_ours(items, finders[asked.batch], labels)
    heaps = Sorted()
    for item in items:
        if item.row is None and not item.why:
            heaps.unanswered += 1
            continue
        try:
            _take(heaps, item, asked, finders, labels, own_ids=own_ids)
        except _Bad as bad:
            heaps.bad.append(Refusal(item, bad.fault, str(bad)))
    _refuse_conflicts(heaps, items, before)
    return heaps


def _take(
    heaps: Sorted,
    item: Item,
    asked: Asked,
    finders: Mapping[str, Finder],
    labels: Sequence[str],
    *,
    own_ids: bool,
) -> None:
    """Put one answered item on its heap. Raises _Bad for one that cannot be used."""
    answer = _understood(item, labels)
    batch = asked.batch if answer.batch is None else answer.batch
    if batch not in asked.tasks:
        raise _Bad("wrong batch", f"batch {answer.batch!r} is not the one that was asked")
    accepted = prodigy.acceptable(asked.tasks[batch], labels)
    item = _without_blanks(item, accepted)
    # As import_labels reads it: by the labels that its batch offered.
    answer = _understood(item, prodigy.offered(asked.tasks[batch]) or labels)
    match = _located(item, answer, batch, asked, finders[batch], own_ids=own_ids)
    if answer.label is not None and answer.label not in accepted:
        what = f"label {answer.label!r} is not in labels{closest(answer.label, accepted)}"
        raise _Bad("unknown labels", what)
    answer = replace(answer, id=match.item_id, batch=match.batch)
    if match.item_id in finders[match.batch].forgotten:
        heaps.forgotten += 1
        return
    is_late = match.batch != asked.batch
    if is_late and mark_of(answer, match.batch) in asked.collected:
        heaps.earlier += 1
        return
    heaps.late += is_late
    heaps.respaced += match.respaced
    heaps.notes.update(item.notes)
    if item.annotator_from_file:
        heaps.from_file_name.add(answer.annotator)
    row = {**(item.row or {}), "al_id": match.item_id, "al_batch": match.batch}
    heaps.good.append(Taken(item.line, row, answer))


def _without_blanks(item: Item, labels: Sequence[str]) -> Item:
    """The item, its choice without the blanks around it where only so it is one of the labels."""
    if item.row is None:
        return item
    return replace(item, row=prodigy.without_blanks(item.row, labels))


def _understood(item: Item, labels: Sequence[str]) -> Answer:
    if item.row is None:
        raise _Bad("malformed", item.why)
    try:
        return prodigy.read_answer(item.row, labels)
    except NotAnAnswer as reason:
        raise _Bad("malformed", str(reason)) from reason


class Finder:
    """The asked items of one batch, found by identity or content."""

    def __init__(self, tasks: Sequence[Row]) -> None:
        self._by_content = prodigy.finder(tasks)
        self.texts: dict[str, str | None] = {str(task["al_id"]): task.get("text") for task in tasks}
        self.forgotten = {str(task["al_id"]) for task in tasks if task.get(FORGOTTEN)}
        self._pictures = {str(task["al_id"]) for task in tasks if "image" in task}
        self._by_plain_text: dict[str, str | None] = {}
        for item_id, text in self.texts.items():
            if text is not None:
                plain = _plain(text)
                is_shared = plain in self._by_plain_text
                self._by_plain_text[plain] = None if is_shared else item_id

    def of_content(self, answer: Answer) -> str | None:
        """The id of the item with this content, or None."""
        exact = self._by_content(replace(answer, id=None))
        if exact is not None or answer.text is None:
            return exact
        return self._by_plain_text.get(_plain(answer.text))

    def named(self, item_id: str) -> str | None:
        """The asked id that is meant: the very one, the same but for blanks, or the same number."""
        if item_id in self.texts:
            return item_id
        if item_id.strip() in self.texts:
            return item_id.strip()
        number = item_id.removesuffix(".0")
        other = number if number != item_id else f"{item_id}.0"  # pandas' way with whole numbers
        return other if other in self.texts and number.isdecimal() else None

    def agrees(self, item_id: str, answer: Answer) -> bool:
        """Whether the row has no text, or the one that was asked, but for blanks and Unicode."""
        text = self.texts[item_id]
        return answer.text is None or text is None or _plain(text) == _plain(answer.text)

    def shown(self, item_id: str) -> str:
        """What people were shown of an item, in a word."""
        if item_id in self._pictures:
            return "picture"
        return "content" if self.texts[item_id] is None else "text"

    def respaced(self, item_id: str, answer: Answer) -> bool:
        """Whether the row has a text, and not exactly the one that was asked."""
        return answer.text is not None and answer.text != self.texts[item_id]


def _plain(text: str) -> str:
    """A text without the differences that tools make: composed Unicode, single blanks."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _is_numbered(item: Item) -> bool:
    """Whether the row is of a tool that numbers its rows itself."""
    return item.row is not None and item.row.get("al_dataset") in NUMBERED


class _Match(NamedTuple):
    """The asked item that a row is about, its batch, and whether its text came back otherwise."""

    item_id: str
    batch: str
    respaced: bool


def _located(
    item: Item, answer: Answer, batch: str, asked: Asked, finder: Finder, *, own_ids: bool
) -> _Match:
    """The item that a row is about. Raises _Bad where none can be known.

    finder: of the batch. own_ids: whether the bare ids of the file are ours.
    """
    content = finder.of_content(answer)
    item_id = answer.id
    if item_id is None and item.bare_id is not None and (content is None or own_ids):
        if _is_numbered(item) and answer.text is None:
            what = f"nothing but the tool's own number {item.bare_id!r} says which item it is"
            raise _Bad("unknown ids", f"{what}: export it with its text, or with al_id")
        item_id = item.bare_id
    if item_id is None:
        if content is None:
            raise _Bad("unknown ids", "no asked item has this content")
        return _Match(content, batch, finder.respaced(content, answer))
    named = finder.named(item_id)
    if named is None:
        return _elsewhere(item_id, answer, batch, asked)
    if not finder.agrees(named, answer) or content not in (None, named):
        other = f": it is that of {content!r}" if content else ""
        shown = finder.shown(named)
        what = f"the {shown} beside id {named!r} is not the one that was asked{other}"
        raise _Bad(f"ids that disagree with their {shown}", what)
    return _Match(named, batch, finder.respaced(named, answer))


def _elsewhere(item_id: str, answer: Answer, batch: str, asked: Asked) -> _Match:
    """The answer of another round that was collected before, by an id that this batch did not ask.

    Raises _Bad otherwise, with the round that asked it.
    """
    if batch == asked.batch and item_id in asked.rounds:
        number, earlier = asked.rounds[item_id]
        if mark_of(replace(answer, id=item_id), earlier) in asked.collected:
            return _Match(item_id, earlier, respaced=False)
        remedy = f"name its batch (al_batch {earlier[:12]}…), or use `rounds correct`"
        what = f"id {item_id!r} was asked in round {number}, which is over; {remedy}"
        raise _Bad("of another round", what)
    raise _Bad("unknown ids", f"id {item_id!r} was not asked")


def _ids_are_ours(items: Iterable[Item], finder: Finder, labels: Sequence[str]) -> bool:
    """Whether the bare ids of a file are ours: most of those beside an asked text are its item's.

    Then a text that belongs to another id is a fault of the row, and not a sign of the tool's own
    numbers.
    """
    same = 0
    other = 0
    for item in items:
        if item.row is None or item.bare_id is None or item.row.get("al_id") is not None:
            continue
        try:
            content = finder.of_content(prodigy.read_answer(item.row, labels))
        except NotAnAnswer:
            continue
        if content is not None:
            is_same = finder.named(item.bare_id) == content
            same += is_same
            other += not is_same
    return same > other


def _refuse_conflicts(heaps: Sorted, items: Sequence[Item], before: Sequence[Answer]) -> None:
    """Put aside the binary rows about an item for which a person accepts several labels.

    They are compared with each other, and with the answers that the person gave before. The labels
    rejected beside them are no answer alone: the item is still to be answered.
    """
    pairs_of: dict[tuple[str | None, str], list[tuple[Answer, int]]] = defaultdict(list)
    for answer in before:
        pairs_of[answer.id, answer.annotator].append((answer, 0))
    for taken in heaps.good:
        pairs_of[taken.answer.id, taken.answer.annotator].append((taken.answer, taken.line))
    accepted = {key: conflict_of(sorted(pairs, key=_moment)) for key, pairs in pairs_of.items()}
    if not any(accepted.values()):
        return
    by_line = {item.line: item for item in items}
    kept = []
    for taken in heaps.good:
        answer = taken.answer
        labels = accepted[answer.id, answer.annotator]
        if labels and answer.about is not None:
            names = ", ".join(labels)
            what = f"{answer.annotator} accepted several labels for {answer.id!r}: {names}"
            refusal = Refusal(by_line[taken.line], "accepted with several labels", what)
            heaps.bad.append(refusal)
        else:
            kept.append(taken)
    heaps.good = kept


def _moment(pair: tuple[Answer, int]) -> tuple[tuple[float, int], int]:
    """By what answers are sorted into the order in which they count. line: 0 for an earlier answer.

    A new answer without a time comes after all earlier ones.
    """
    answer, line = pair
    is_last = line > 0 and answer.at is None
    return ((math.inf, 0) if is_last else answer.moment, line)
