"""Prodigy's JSONL, the one format of the annotation surfaces: what is asked, and what comes back.

The only module that knows Prodigy's keys. A task is a row of asked.jsonl; an answer is a row of
`prodigy db-out`, which the page, the simulated annotator and every importer write as well.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeGuard, TypeVar
from urllib.parse import quote, unquote

import mmh3

from stages.contract.canonical import Row

Kind = Literal["label", "skip", "reject", "empty", "override", "undone"]
Verdict = Literal["accept", "reject", "ignore"]
Line = TypeVar("Line", int, tuple[str, int])

ANONYMOUS = "anonymous"
_CONTENT = ("text", "image", "html", "input")
# What stands in asked.jsonl is not repeated in every answer: 77 options would be no news.
_REPEATED = {"options", "score", "rank"}
# What stays of a task, and of an answer, whose content is forgotten (stages/answers/forgotten.py).
_OF_TASK = ("al_id", "al_batch", "meta", "options", "rank", "score")
_OF_ANSWER = (
    "al_id",
    "al_batch",
    "al_dataset",
    "al_order",
    "al_after",
    "al_undone",
    "answer",
    "accept",
    "label",
    "flagged",
    "_timestamp",
    "_annotator_id",
    "_session_id",
    "_input_hash",
)
_STARTED_AT = re.compile(r"(^|-)\d{4}-\d\d-\d\d[_T ]\d\d-\d\d-\d\d$")


class NotAnAnswer(ValueError):  # noqa: N818 - it is a verdict on a row, and mostly no fault
    """A row of an export that cannot be read as an answer; the message tells a person why."""


@dataclass(frozen=True)
class Answer:
    """What one person said about one item.

    id, batch     al_id and al_batch; None where the row lost them
    input_hash    Prodigy's hash of the content, None where the row has no content
    kind          label: `label` holds
                  override: a reviewer's label, which settles the item
                  skip: none given, ask again
                  reject: a bad item
                  empty: accepted without a choice
                  undone: taken back (only the page writes it; `keep_last` leaves such items out)
    annotator     the session's name, "anonymous" when there was none
    session       the session's id as it stands in the row, "" where there is none
    at            seconds since 1970, None where the row has no time
    about         the one label that a binary row asked about: accepted where `label` is the same
    order, after  of a row without a time: its number in the order of collecting, and the latest
                  time of this person's answers to the item that were there before it
    known         how many changes of the labels (stages/answers/scheme.py) its batch knew
    """

    id: str | None
    batch: str | None
    input_hash: int | None
    text: str | None
    kind: Kind
    label: str | None
    annotator: str
    at: float | None
    flagged: bool
    about: str | None = None
    order: int = 0
    after: float | None = None
    session: str = ""
    known: int = 0

    @property
    def moment(self) -> tuple[float, int]:
        """When it was given: by time, and among answers of one time in the order of collecting."""
        time = self.after if self.at is None else self.at
        return (-math.inf if time is None else time, self.order)


def task(
    content: Mapping[str, object],
    labels: Sequence[str],
    *,
    al_id: str,
    batch_id: str,
    rank: int,
    score: float,
) -> Row:
    """The row that asks for one label: content, options in the order of `labels`, identity.

    content: {"text": str}, {"image": data URI, "path": optional}, or {"fields": {name: value}};
    fields get a text of "name: value" lines as well, which is what Prodigy shows. Nothing that
    changes per round stands in `meta`, so Prodigy's task hash does not change with the round.
    """
    row: Row = {key: value for key, value in content.items() if value is not None}
    fields = content.get("fields")
    if isinstance(fields, Mapping) and "text" not in row:
        row["text"] = "\n".join(f"{name}: {value}" for name, value in fields.items())
    options = [{"id": label, "text": label} for label in labels]
    return {
        **row,
        "options": options,
        "meta": {"id": al_id},
        "al_id": al_id,
        "al_batch": batch_id,
        "rank": rank,
        "score": score,
    }


def offered(tasks: Sequence[Mapping[str, object]]) -> list[str]:
    """The labels that a batch offers, in the order shown: the options of its first task.

    None where that has no options.
    """
    options = tasks[0].get("options") if tasks else None
    if not isinstance(options, list):
        return []
    whole = (option for option in options if isinstance(option, Mapping) and "id" in option)
    return [str(option["id"]) for option in whole]


def acceptable(tasks: Sequence[Mapping[str, object]], labels: Sequence[str]) -> list[str]:
    """The labels that an answer to a batch may hold: those it offers, then the project's others.

    params.labels may change while people answer. What they were offered stays an answer.
    """
    frozen = offered(tasks)
    return [*frozen, *(label for label in labels if label not in frozen)]


def input_hash(row: Mapping[str, object]) -> int:
    """Prodigy's `_input_hash`: signed 32-bit murmur3 of the content that the row has.

    0 when it has none.
    """
    return mmh3.hash("".join(f"{key}={json.dumps(row[key])}" for key in _CONTENT if key in row))


def answer_row(
    task: Mapping[str, object],
    *,
    label: str | None,
    answer: Verdict,
    annotator: str,
    dataset: str,
    at: float | None,
    flagged: bool = False,
    undone: bool = False,
) -> Row:
    """The db-out row of one answer.

    An accept without a label is an empty answer. An image's bytes are left out (path and al_id say
    which it was), and so is what asked.jsonl holds anyway.
    """
    session = session_id(dataset, annotator)
    kept = {key: value for key, value in task.items() if key not in _REPEATED}
    row: Row = {
        **{key: value for key, value in kept.items() if not is_data_uri(value)},
        "_view_id": "choice",
        "config": {"choice_style": "single"},
        "accept": [label] if answer == "accept" and label is not None else [],
        "answer": answer,
        "_input_hash": input_hash(task),
        "_annotator_id": session,
        "_session_id": session,
        "al_dataset": dataset,
    }
    if at is not None:
        row["_timestamp"] = at
    if flagged:
        row["flagged"] = True
    if undone:
        row["al_undone"] = True
    return row


def without_blanks(row: Mapping[str, object], labels: Sequence[str]) -> Row:
    """The row of a choice, without blanks around a label where only so it is one of `labels`.

    A label that has blanks itself stays as it is.
    """
    chosen = row.get("accept")
    if not isinstance(chosen, list):
        return dict(row)
    return {**row, "accept": [_without_blanks(choice, labels) for choice in chosen]}


def _without_blanks(choice: object, labels: Sequence[str]) -> object:
    if not isinstance(choice, str) or choice in labels:
        return choice
    bare = choice.strip()
    return bare if bare in labels else choice


def is_data_uri(value: object) -> bool:
    """Whether a value holds its bytes within itself."""
    return isinstance(value, str) and value.startswith("data:")


def session_id(dataset: str, annotator: str) -> str:
    """Prodigy's `_annotator_id`."""
    return f"{dataset}-{quote(annotator, safe='', errors='replace')}"


def read_answer(row: Mapping[str, object], labels: Sequence[str] = ()) -> Answer:
    """One db-out row, understood. Raises NotAnAnswer for one that is malformed or chose twice.

    `accept` counts only under answer == "accept". A binary row names its label in `label`: accepted
    it is the label; rejected it is the other one of two `labels`, and otherwise says too little (a
    skip). `keep_last` puts the binary rows of one item together. Whether a label is one of the
    project's is the caller's question.
    """
    answer = _text(row, "answer")
    if answer is None:
        raise NotAnAnswer("it has no `answer`")
    if answer not in ("accept", "reject", "ignore"):
        raise NotAnAnswer(f"`answer` is {answer!r}, not accept, reject or ignore")
    kind, label = _kind_and_label(row, answer, labels)
    if kind == "label" and row.get("versions"):  # only a review has them
        kind = "override"
    at = row.get("_timestamp")
    if not _is_time(at):
        raise NotAnAnswer(f"`_timestamp` is {at!r}, not a time in seconds")
    order, after = _collected(row)
    flagged = row.get("flagged") or False
    if not isinstance(flagged, bool):
        raise NotAnAnswer(f"`flagged` is {flagged!r}, not true or false")
    session = _text(row, "_annotator_id") or _text(row, "_session_id") or ""
    return Answer(
        id=_text(row, "al_id"),
        batch=_text(row, "al_batch"),
        input_hash=content_hash(row),
        text=_text(row, "text"),
        kind=kind,
        label=label,
        annotator=_annotator(row, session),
        at=None if at is None else float(at),
        flagged=flagged,
        about=_text(row, "label") if _is_binary(row) and answer != "ignore" else None,
        order=order,
        after=after,
        session=session,
    )


def _collected(row: Mapping[str, object]) -> tuple[int, float | None]:
    """`order` and `after` of an answer, which `rounds collect` gives to rows without a time."""
    order = row.get("al_order", 0)
    after = row.get("al_after")
    if isinstance(order, bool) or not isinstance(order, int) or not _is_time(after):
        what = f"`al_order` is {order!r} and `al_after` {after!r}, not a number and a time"
        raise NotAnAnswer(what)
    return order, None if after is None else float(after)


def _is_time(value: object) -> TypeGuard[int | float | None]:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)


def _is_binary(row: Mapping[str, object]) -> bool:
    """Whether a row asked about one label, accept or reject."""
    return "accept" not in row and "options" not in row and "label" in row


def _kind_and_label(
    row: Mapping[str, object], answer: str, labels: Sequence[str]
) -> tuple[Kind, str | None]:
    """The kind of an answer and its label, before review is considered."""
    if answer == "ignore":
        return ("undone" if row.get("al_undone") is True else "skip"), None
    if _is_binary(row):
        return _binary(row, answer, labels)
    if answer == "reject":
        return "reject", None
    chosen = row.get("accept")
    if chosen is None and "options" in row:
        return "empty", None
    if not isinstance(chosen, list):
        raise NotAnAnswer("it was accepted, and has neither a list `accept` nor a `label`")
    if any(not isinstance(choice, str) for choice in chosen):
        raise NotAnAnswer(f"`accept` is {chosen!r}, not a list of labels")
    if len(chosen) > 1:
        choices = ", ".join(chosen)
        raise NotAnAnswer(f"{len(chosen)} choices ({choices}) where one label is asked for")
    return ("label", chosen[0]) if chosen else ("empty", None)


def _binary(
    row: Mapping[str, object], answer: str, labels: Sequence[str]
) -> tuple[Kind, str | None]:
    """What a row says that asked about one label: that label, the other one of two, or nothing."""
    label = _text(row, "label")
    if label is None:
        raise NotAnAnswer("`label` is null")
    if answer == "accept":
        return "label", label
    others = [other for other in labels if other != label]
    if len(labels) == 2 and len(others) == 1:
        return "label", others[0]
    return "skip", None


def _text(row: Mapping[str, object], key: str) -> str | None:
    value = row.get(key)
    if value is None or isinstance(value, str):
        return value
    raise NotAnAnswer(f"`{key}` is {value!r}, not a text")


def _finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an int too large for a float
        return False


def content_hash(row: Mapping[str, object]) -> int | None:
    """The hash of the content; of a picture without its bytes, the one that Prodigy noted."""
    image = row.get("image")
    has_content = any(key in row for key in _CONTENT)
    if has_content and (image is None or is_data_uri(image)):
        return input_hash(row)
    noted = row.get("_input_hash")
    return noted if isinstance(noted, int) and not isinstance(noted, bool) else None


def is_anonymous(session: str) -> bool:
    """Whether a session's id names nobody: it is empty, or ends with the time when it began."""
    return not session or _STARTED_AT.search(session) is not None


def _annotator(row: Mapping[str, object], session: str) -> str:
    """The name in "<dataset>-<name>"; without the dataset's name, what follows the first hyphen."""
    if is_anonymous(session):
        return ANONYMOUS
    dataset = _text(row, "al_dataset")
    if dataset is not None and session.startswith(f"{dataset}-"):
        name = session[len(dataset) + 1 :]
    else:
        name = session.partition("-")[2] or session
    return unquote(name) or ANONYMOUS


def finder(tasks: Iterable[Mapping[str, object]]) -> Callable[[Answer], str | None]:
    """Tells which of the asked tasks an answer is about: its al_id, or None.

    It goes by id; without an id by input hash, then by exact text. An id that was not asked is not
    looked up by content, and content that two tasks share finds neither.
    """
    ids: set[str] = set()
    by_hash: dict[int, str | None] = {}
    by_text: dict[str, str | None] = {}
    for row in tasks:
        item = str(row["al_id"])
        ids.add(item)
        content = hash_of_task(row)
        by_hash[content] = None if content in by_hash else item
        text = row.get("text")
        if isinstance(text, str):
            by_text[text] = None if text in by_text else item

    def find(answer: Answer) -> str | None:
        if answer.id is not None:
            return answer.id if answer.id in ids else None
        item = None if answer.input_hash is None else by_hash.get(answer.input_hash)
        if not item and answer.text is not None:
            item = by_text.get(answer.text)
        return item

    return find


def hash_of_task(row: Mapping[str, object]) -> int:
    """The hash of a task's content; of what was forgotten, as it was noted then."""
    noted = row.get("_input_hash")
    return noted if isinstance(noted, int) else input_hash(row)


def task_without_content(row: Mapping[str, object]) -> Row:
    """What stays of a task whose content is forgotten; the content's hash, to find its answers."""
    return {**{key: row[key] for key in _OF_TASK if key in row}, "_input_hash": hash_of_task(row)}


def answer_without_content(row: Mapping[str, object]) -> Row:
    """What stays of an answer to something that is forgotten: it says the same, and shows nothing.

    Notes go too, and whatever a tool wrote beside the answer.
    """
    kept = {key: row[key] for key in _OF_ANSWER if key in row}
    if "options" in row:  # with it, no `accept` is an empty answer
        kept["options"] = []
    if row.get("versions"):  # a reviewer's answer, which settles the item
        kept["versions"] = [{}]
    return kept


def keep_last(answers: Iterable[tuple[Answer, Line]]) -> list[tuple[Answer, Line]]:
    """The last word of each annotator on each item, if it was not taken back.

    The last is the latest by time; an answer without a time is earlier than all others, unless it
    was collected after them (`Answer.after`); then by order of collecting, then by line. Binary
    rows about several labels of one item are one word (`verdict_of`). Give answers their id first
    (`finder`). The result is in the order of (id, annotator), whatever the order given.
    """
    by_person: dict[tuple[str, str], list[tuple[Answer, Line]]] = {}
    for answer, line in sorted(answers, key=lambda pair: (pair[0].moment, pair[1])):
        by_person.setdefault((answer.id or "", answer.annotator), []).append((answer, line))
    last = [verdict_of(by_person[key]) for key in sorted(by_person)]
    return [(answer, line) for answer, line in last if answer.kind != "undone"]


def verdict_of(answers: Sequence[tuple[Answer, Line]]) -> tuple[Answer, Line]:
    """What one person's answers to one item come to, given in the order in which they were said.

    The last answer counts; of binary rows the last about each label, since the latest row that
    chose among all: one label accepted is the label, whatever others were rejected. None accepted
    is a skip (of two labels the rejection of one is the other), and so are several accepted, which
    `conflict_of` names.
    """
    recent = _recent_binary(answers)
    if len(recent) <= 1:
        return answers[-1]
    accepted = [(answer, line) for answer, line in recent.values() if answer.label == answer.about]
    if len(accepted) == 1:
        return accepted[0]
    answer, line = answers[-1]
    return replace(answer, kind="skip", label=None), line


def conflict_of(answers: Sequence[tuple[Answer, Line]]) -> list[str]:
    """The labels that one person's binary rows accept for one item, sorted, where they are several.

    answers: in the order in which they were given.
    """
    recent = _recent_binary(answers)
    accepted = [label for label, (answer, _) in recent.items() if answer.label == label]
    return sorted(accepted) if len(accepted) > 1 else []


def _recent_binary(answers: Sequence[tuple[Answer, Line]]) -> dict[str, tuple[Answer, Line]]:
    """The last binary row about each label, since the last row that was not binary."""
    recent: dict[str, tuple[Answer, Line]] = {}
    for answer, line in answers:
        if answer.about is None:
            recent.clear()
        else:
            recent[answer.about] = (answer, line)
    return recent
