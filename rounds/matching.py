"""Which asked item each row of an answer file is about, and what is wrong with the others.

An item is found by `al_id` (and its batch), else by the hash of its content, else by its exact
text. A bare `id` is mostly a number of the tool's own: it is looked at only where nothing better
stands in the row. An identity and a text that belong to different items are refused: one of them is
wrong, and nobody here can know which.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rounds.project import Project, Round
from rounds.surfaces.formats import Item
from stages.answers import prodigy
from stages.answers.prodigy import Answer, NotAnAnswer, conflict_of
from stages.answers.reading import answers_of
from stages.contract.canonical import Row
from stages.contract.errors import closest

_KINDS = {
    "label": "answered",
    "override": "answered",
    "skip": "skipped",
    "reject": "rejected",
    "empty": "empty accepts",
}
Said = tuple[str | None, str | None, str, str, str | None, float | None]


NUMBERED = ("labelstudio", "argilla", "doccano")


class _Bad(Exception):  # noqa: N818 - a verdict on a row
    """Why a row is not taken: the fault's name, and a sentence."""

    def __init__(self, fault: str, why: str) -> None:
        self.fault = fault
        super().__init__(why)


@dataclass
class Sorted:
    """Every item of one file, in one of four heaps.

    good            (line, db-out row with its id and batch, the answer)
    bad             (item, fault, reason)
    earlier         rows of earlier rounds that are held already: a dataset that serves several rounds brings them along
    unanswered      rows that nobody answered
    late            good rows of earlier rounds
    respaced        good rows whose text differs from the text that was asked in blanks or Unicode form alone
    notes           what was lost or left aside without harm, with counts
    from_file_name  the people whom nothing but the file's name names
    """

    good: list[tuple[int, Row, Answer]] = field(default_factory=list)
    bad: list[tuple[Item, str, str]] = field(default_factory=list)
    earlier: int = 0
    unanswered: int = 0
    late: int = 0
    respaced: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    from_file_name: set[str] = field(default_factory=set)

    def counts(self) -> dict[str, int]:
        """What a person wants to know of a file, in the order to tell it; zeros are left out."""
        counts = Counter(_kind_of(answer) for _, _, answer in self.good)
        counts["flagged"] = sum(answer.flagged for _, _, answer in self.good)
        counts["superseded"] = len(self.good) - len(
            {(answer.id, answer.annotator, answer.about) for _, _, answer in self.good}
        )
        counts["items with every offered label rejected"] = self._all_rejected()
        counts.update(fault for _, fault, _ in self.bad)
        counts |= Counter(
            {"unanswered": self.unanswered, "of earlier rounds": self.earlier, "late": self.late}
        )
        counts["with other blanks in the text than asked"] = self.respaced
        return {name: count for name, count in counts.items() if count}

    def _all_rejected(self) -> int:
        """Items of which one label at a time was asked, and none was accepted."""
        binary: dict[tuple[str | None, str], list[Answer]] = defaultdict(list)
        for _, _, answer in self.good:
            if answer.about is not None:
                binary[answer.id, answer.annotator].append(answer)
        return sum(all(answer.label is None for answer in answers) for answers in binary.values())


def _kind_of(answer: Answer) -> str:
    if answer.about is not None and answer.label is None:
        return "labels rejected"
    return _KINDS.get(answer.kind, answer.kind)


def said(answer: Answer, batch: str) -> Said:
    """By what an answer is known again, however it was exported."""
    return batch, answer.id, answer.annotator, answer.kind, answer.label, answer.at


@dataclass(frozen=True)
class Asked:
    """What was asked, and answered: tasks by batch; the batch that is open; answers to earlier ones that are held.

    rounds: the number of the round that asked each id, the latest, for batches that are not open.
    """

    tasks: Mapping[str, Sequence[Row]]
    batch: str
    held: Container[Said] = ()
    rounds: Mapping[str, tuple[int, str]] = field(default_factory=dict)


def asked_in(project: Project, items: Iterable[Item], labels: Sequence[str]) -> Asked:
    """What the items may be about: the newest round, and the earlier ones."""
    newest = project.last_round()
    everything = project.rounds()
    named = {
        batch for item in items if item.row and isinstance(batch := item.row.get("al_batch"), str)
    }
    strange = any(_strange(item, newest) for item in items)
    wanted = [
        one
        for one in everything
        if one.number == newest.number or strange or one.batch_id() in named
    ]
    tasks = {one.batch_id(): one.tasks() for one in wanted}
    rounds = {
        str(row["al_id"]): (one.number, one.batch_id())
        for one in wanted
        for row in tasks[one.batch_id()]
        if one.number != newest.number
    }
    since = [one for one in everything if one.number >= wanted[0].number] if len(wanted) > 1 else []
    held = {
        said(answer, answer.batch or one.batch_id())
        for one in since
        for answer in _answers(one, labels)
    }
    return Asked(tasks, newest.batch_id(), held, rounds)


def _strange(item: Item, newest: Round) -> bool:
    """Whether a row without a batch names an id that the newest round did not ask."""
    if item.row is None or item.row.get("al_batch") is not None:
        return False
    item_id = item.row.get("al_id") or item.bare_id
    return isinstance(item_id, str) and item_id not in {str(row["al_id"]) for row in newest.tasks()}


def _answers(one: Round, labels: Sequence[str]) -> list[Answer]:
    return [
        answer for answer, _ in answers_of(one.folder, one.batch_id(), one.tasks(), list(labels))
    ]


def sort_out(items: Sequence[Item], project: Project, labels: Sequence[str]) -> Sorted:
    """Which items answer the newest batch or an earlier one, and what is wrong with the others."""
    return sorted_by(
        items, asked_in(project, items, labels), labels, before_of(project, items, labels)
    )


def before_of(project: Project, items: Iterable[Item], labels: Sequence[str]) -> list[Answer]:
    """The answers that the open round holds, as far as they can contradict the items: binary rows alone can."""
    if not any(item.row and "label" in item.row and "accept" not in item.row for item in items):
        return []
    return _answers(project.last_round(), labels)


def sorted_by(
    items: Sequence[Item], asked: Asked, labels: Sequence[str], before: Sequence[Answer] = ()
) -> Sorted:  # fmt: skip
    """Every item in exactly one heap. before: answers of the open round that are held already."""
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
            heaps.bad.append((item, bad.fault, str(bad)))
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
    # As import_labels reads it: by the labels that its batch offered.
    answer = _understood(item, prodigy.offered(asked.tasks[batch]) or labels)
    item_id, batch, respaced = _located(item, answer, batch, asked, finders, own_ids=own_ids)
    accepted = prodigy.acceptable(asked.tasks[batch], labels)
    if answer.label is not None and answer.label not in accepted:
        what = f"label {answer.label!r} is not in labels{closest(answer.label, accepted)}"
        raise _Bad("unknown labels", what)
    answer = replace(answer, id=item_id, batch=batch)
    if batch != asked.batch and said(answer, batch) in asked.held:
        heaps.earlier += 1
        return
    heaps.late += batch != asked.batch
    heaps.respaced += respaced
    heaps.notes.update(item.notes)
    if item.annotator_from_file:
        heaps.from_file_name.add(answer.annotator)
    heaps.good.append(
        (item.line, {**(item.row or {}), "al_id": item_id, "al_batch": batch}, answer)
    )


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
        self.by_content = prodigy.finder(tasks)
        self.texts: dict[str, str | None] = {str(row["al_id"]): row.get("text") for row in tasks}

    def of_content(self, answer: Answer) -> str | None:
        """The id of the item with this content, or None."""
        return self.by_content(replace(answer, id=None))

    def agrees(self, item_id: str, answer: Answer) -> bool:
        """Whether the row's text, if it has one, is the one that was asked, but for blanks and Unicode form."""
        text = self.texts[item_id]
        return answer.text is None or text is None or _plain(text) == _plain(answer.text)


def _plain(text: str) -> str:
    """A text without what tools change in it: Unicode's composed form, single blanks."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _is_numbered(item: Item) -> bool:
    """Whether the row is of a tool that numbers its rows itself."""
    return item.row is not None and item.row.get("al_dataset") in NUMBERED


def _located(
    item: Item,
    answer: Answer,
    batch: str,
    asked: Asked,
    finders: Mapping[str, Finder],
    *,
    own_ids: bool,
) -> tuple[str, str, bool]:
    """The id of the item that a row is about, its batch, and whether its text was respaced. Raises _Bad."""
    finder = finders[batch]
    content = finder.of_content(answer)
    named = answer.id
    if named is None and item.bare_id is not None and (content is None or own_ids):
        if _is_numbered(item) and answer.text is None:
            what = f"nothing but the tool's own number {item.bare_id!r} says which item it is"
            raise _Bad("unknown ids", f"{what}: export it with its text, or with al_id")
        named = item.bare_id
    if named is None:
        if content is None:
            raise _Bad("unknown ids", "no asked item has this content")
        return content, batch, False
    if named not in finder.texts:
        return _elsewhere(named, answer, batch, asked)
    if not finder.agrees(named, answer) or content not in (None, named):
        other = f": it is that of {content!r}" if content else ""
        what = f"the text beside id {named!r} is not the one that was asked{other}"
        raise _Bad("ids that disagree with their text", what)
    text = finder.texts[named]
    return named, batch, answer.text is not None and answer.text != text


def _elsewhere(named: str, answer: Answer, batch: str, asked: Asked) -> tuple[str, str, bool]:
    """An id that its batch did not ask: what another round holds of it already, or a refusal that names the round."""
    if batch == asked.batch and named in asked.rounds:
        number, earlier = asked.rounds[named]
        if said(replace(answer, id=named), earlier) in asked.held:
            return named, earlier, False
        remedy = f"name its batch (al_batch {earlier[:12]}…), or use `rounds correct`"
        raise _Bad(
            "of another round", f"id {named!r} was asked in round {number}, which is over; {remedy}"
        )
    raise _Bad("unknown ids", f"id {named!r} was not asked")


def _ids_are_ours(items: Iterable[Item], finder: Finder, labels: Sequence[str]) -> bool:
    """Whether the bare ids of a file are ours: most of those beside a text that was asked are that item's id.

    Then a text that belongs to another id is a fault of the row, and not a sign of the tool's own
    numbers.
    """
    same = other = 0
    for item in items:
        if item.row is None or item.bare_id is None or item.row.get("al_id") is not None:
            continue
        try:
            content = finder.of_content(prodigy.read_answer(item.row, labels))
        except NotAnAnswer:
            continue
        if content is not None:
            same += content == item.bare_id
            other += content != item.bare_id
    return same > other


def _refuse_conflicts(heaps: Sorted, items: Sequence[Item], before: Sequence[Answer]) -> None:
    """Put aside the binary rows of one person that accept several labels for one item, or another than is held."""
    groups: dict[tuple[str | None, str], list[tuple[Answer, int]]] = defaultdict(list)
    for answer in sorted(before, key=lambda answer: answer.moment):
        groups[answer.id, answer.annotator].append((answer, 0))
    for line, _, answer in heaps.good:
        groups[answer.id, answer.annotator].append((answer, line))
    conflicts = {
        key: labels for key, answers in groups.items() if (labels := conflict_of(_as_said(answers)))
    }
    if not conflicts:
        return
    by_line = {item.line: item for item in items}
    kept = []
    for line, row, answer in heaps.good:
        labels = conflicts.get((answer.id, answer.annotator), [])
        if answer.about is not None and answer.about in labels and answer.label == answer.about:
            what = (
                f"{answer.annotator} accepted several labels for {answer.id!r}: {', '.join(labels)}"
            )
            heaps.bad.append((by_line[line], "accepted with several labels", what))
        else:
            kept.append((line, row, answer))
    heaps.good = kept


def _as_said(answers: Sequence[tuple[Answer, int]]) -> list[tuple[Answer, int]]:
    """Held answers and new ones in the order in which they count; a new one without a time comes after all held."""

    def moment(pair: tuple[Answer, int]) -> tuple[tuple[float, int], int]:
        answer, line = pair
        fresh = line > 0 and answer.at is None
        return ((math.inf, 0) if fresh else answer.moment, line)

    return sorted(answers, key=moment)
