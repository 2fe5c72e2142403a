"""data/scheme.jsonl: how the classes changed, and what a label that was given before means now.

Columns of each line:
    change       its number, from 1
    round        rounds issued by then
    corrections  lines that the newest round's corrections.jsonl had then: later ones name labels of
                 after the change
    kind         rename | merge | split | retire | describe
    labels       the classes of before that it is about
    into         what they are now: one class (rename, merge), several (split), or none
    ask_again    retire: whether its rows are asked again
    tables       split: SHA-256 of the seed's and the test's table then, which says whether their
                 labels are older than the split
    text         describe: what the class means
    why, by

The lines are never changed. Answers, frozen batches and the user's tables keep the labels that they
hold; whoever reads them folds the later lines over each label (`meaning`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Literal, get_args

from stages.contract.canonical import Row, numbered_rows, sha256
from stages.contract.errors import PipelineError, closest

SCHEME = "data/scheme.jsonl"
Kind = Literal["rename", "merge", "split", "retire", "describe"]
Retired = Literal["", "again", "left"]
BY_NAME = -1  # instead of a number of changes: the label was given since its name was


@dataclass(frozen=True)
class Change:
    """A line of the record."""

    change: int
    round: int
    corrections: int
    kind: Kind
    labels: tuple[str, ...]
    into: tuple[str, ...] = ()
    ask_again: bool = True
    tables: dict[str, str] = field(default_factory=dict)
    text: str = ""
    why: str = ""
    by: str = ""

    @property
    def parent(self) -> str | None:
        """Of a split, the class that was split; None for any other change."""
        return self.labels[0] if self.kind == "split" else None

    def __str__(self) -> str:
        """The change in a few words, as `spam is called junk`."""
        names = ", ".join(self.labels)
        into = ", ".join(self.into)
        words = {
            "rename": f"{names} is called {into}",
            "merge": f"{names} are {into}",
            "split": f"{names} is split into {into}",
            "retire": f"{names} is retired",
            "describe": f"{names} is described anew",
        }
        return words[self.kind]


@dataclass(frozen=True)
class Meaning:
    """What a label means now.

    label: the class of today; of a retired class its last name. among: where the class was split
    since, the classes that the label may stand for; empty where it is sure. retired: whether the
    class is retired, and if so whether its rows are asked again or left without a label.
    """

    label: str
    among: tuple[str, ...] = ()
    retired: Retired = ""


def meaning(given: str, changes: Iterable[Change]) -> Meaning:
    """What a label means after some changes, all of them later than the label, in their order."""
    now = Meaning(given)
    earlier: list[str] = []  # names that the class had before
    for change in changes:
        if now.retired:
            break
        before = now.label
        now = RULES[change.kind](now, change, earlier)
        if now.label != before:
            earlier.append(before)
    return now


def _one_name(now: Meaning, change: Change, _earlier: list[str]) -> Meaning:
    """A rename or a merge: the classes of the change are one.

    What may be either of two classes that are merged is surely the merged one.
    """
    (into,) = change.into

    def after(label: str) -> str:
        return into if label in change.labels else label

    among = tuple(dict.fromkeys(map(after, now.among)))
    if len(now.among) > len(among) == 1:
        return Meaning(among[0])
    return Meaning(after(now.label), among)


def _split(now: Meaning, change: Change, earlier: list[str]) -> Meaning:
    """A split: the class may be any of the new ones; one of them that it was before is sure."""
    if now.label != change.parent:
        among: list[str] = []
        for label in now.among:
            among += change.into if label == change.parent else (label,)
        return replace(now, among=tuple(dict.fromkeys(among)))
    known = [name for name in reversed(earlier) if name in change.into and name != now.label]
    return Meaning(known[0]) if known else Meaning(now.label, change.into)


def _retire(now: Meaning, change: Change, _earlier: list[str]) -> Meaning:
    """A retired class; what may have been that class or another stays with the others."""
    among = tuple(label for label in now.among if label not in change.labels)
    if now.label in change.labels or (now.among and not among):
        return Meaning(now.label, retired="again" if change.ask_again else "left")
    return replace(now, among=among)


def _same(now: Meaning, _change: Change, _earlier: list[str]) -> Meaning:
    return now


RULES: dict[Kind, Callable[[Meaning, Change, list[str]], Meaning]] = {
    "rename": _one_name,
    "merge": _one_name,
    "split": _split,
    "retire": _retire,
    "describe": _same,
}


def parents(changes: Sequence[Change]) -> list[str]:
    """Classes of today that were split into others: nobody is asked for them any more.

    A class that stays as one of its parts is none. They stay classes, on which the model learns
    rows that nobody has answered again, until they are retired.
    """
    split = [
        meaning(change.labels[0], changes[number:])
        for number, change in enumerate(changes)
        if change.parent and change.parent not in change.into
    ]
    names = (now.label for now in split if now.among and not now.retired)
    return list(dict.fromkeys(names))


def offered_now(labels: Sequence[str], changes: Sequence[Change]) -> list[str]:
    """The classes that people are asked for: all but `parents`, in the order of params.labels."""
    split = parents(changes)
    return [label for label in labels if label not in split]


def labels_after(labels: Sequence[str], change: Change, record: Sequence[Change] = ()) -> list[str]:
    """params.labels after a change; the same again where the change has been made already.

    record: all changes, this one included. A class that was split leaves with its last part, or
    when its parts become one.
    """
    here = [number for number, label in enumerate(labels) if label in change.labels]
    if not here or change.kind == "describe":
        return list(labels)
    at = here[0]
    others = [label for label in labels if label not in change.labels]
    before = [label for label in labels[:at] if label in others]
    new = [*change.labels, *change.into] if change.kind == "split" else change.into
    stays = [label for label in others[len(before) :] if label not in new]
    after = [*(label for label in before if label not in new), *dict.fromkeys(new), *stays]
    return [label for label in after if label in new or _is_current(label, record)]


def _is_current(label: str, record: Sequence[Change]) -> bool:
    """Whether a name still stands for the class that it was last given to."""
    now = meaning(label, changes_of(label, record))
    return now.label == label and not now.retired


def comparable_since(changes: Iterable[Change]) -> int:
    """The round from which on figures of the curve are of the same classes as today's; 0 for all.

    Renamed and merged classes are so in all rounds of the curve, and a retired one is in none. Of a
    class that was split older rounds know the whole alone; where what was left of it is retired,
    they know even less.
    """
    since = 0
    split: set[str] = set()  # names of classes that were split
    for change in changes:
        of_split = bool(split & set(change.labels))
        if change.kind == "split" or (change.kind == "retire" and of_split):
            since = max(since, change.round)
        if change.kind == "split":
            split.add(change.labels[0])
        elif change.kind == "rename" and of_split:
            split.update(change.into)
    return since


def changes_since(label: str, since: int, changes: Sequence[Change]) -> Sequence[Change]:
    """The changes that whoever gave a label did not know. since: how many they knew, or BY_NAME."""
    return changes_of(label, changes) if since == BY_NAME else changes[since:]


def names_ever(labels: Iterable[str], changes: Iterable[Change]) -> list[str]:
    """The classes of today, then all names that a change was about: what answers may hold."""
    named = [name for change in changes for name in (*change.labels, *change.into)]
    return list(dict.fromkeys([*labels, *named]))


def require_known_names(labels: Sequence[str], changes: Sequence[Change]) -> None:
    """Raises PipelineError where params.labels has a name that means something else by now.

    Answers of before hold it, so it would stand for two things.
    """
    for label in labels:
        now = meaning(label, changes_of(label, changes))
        if not _is_current(label, changes):
            became = "was retired" if now.retired else f"is {now.label!r} now"
            what = f"labels: {label!r} {became} ({SCHEME})"
            raise PipelineError("params.yaml", what, "take it out, or give the class another name")


def changes_of(name: str, changes: Sequence[Change]) -> Sequence[Change]:
    """The changes since a name was last given to a class; all where it was there from the start."""
    named = [number for number, change in enumerate(changes, start=1) if name in change.into]
    return changes[named[-1] :] if named else changes


def require_allowed(labels: Sequence[str], changes: Sequence[Change], new: Change) -> None:
    """Raises PipelineError for a change that cannot be made: see the sentences."""
    if not new.why.strip():
        raise PipelineError("--why", "no reason given", "say in a few words why; it is recorded")
    for label in new.labels:
        if label not in labels:
            what = f"{label!r} is no label of params.yaml{closest(label, labels)}"
            raise PipelineError("LABEL", what, "name one that is")
    for name in (*new.labels, *new.into):
        if not name.strip():
            raise PipelineError("LABEL", "a label's name is not blank", "name it")
    if new.kind == "merge" and len(set(new.labels)) < 2:
        raise PipelineError("LABEL", "a merge is of two labels or more", "name another")
    if new.kind == "split":
        _require_a_split(changes, new)
    for name in new.into:
        _require_free(name, labels, changes, new)
    after = [*changes, new]
    if len(offered_now(labels_after(labels, new, after), after)) < 2:
        what = "fewer than two labels would be left to choose from"
        raise PipelineError("LABEL", what, "add another to params.yaml first")


def _require_a_split(changes: Sequence[Change], new: Change) -> None:
    parent = new.labels[0]
    if len(set(new.into)) < 2:
        what = f"{parent!r} would be split into fewer than two"
        raise PipelineError("NEW", what, "name two or more; the label itself may be one of them")
    if parent in parents(changes):
        what = f"{parent!r} is being split already"
        remedy = f"once its rows are answered: rounds labels retire {quote(parent)}"
        raise PipelineError("LABEL", what, remedy)


def _require_free(name: str, labels: Sequence[str], changes: Sequence[Change], new: Change) -> None:
    """Raises PipelineError for a new name that is, or ever was, another class."""
    if new.kind in ("merge", "split") and name in new.labels:
        return
    if name in labels:
        remedy = "name another"
        if new.kind == "rename":
            both = f"{quote(new.labels[0])} {quote(name)}"
            remedy = f"to make them one: rounds labels merge {both}"
        raise PipelineError("NEW", f"{name!r} is a label already", remedy)
    ever = {label for change in changes for label in (*change.labels, *change.into)}
    now = meaning(name, changes_of(name, changes))
    if name in ever and (now.retired or now.label not in new.labels):
        what = f"{name!r} was a label that meant something else, and answers hold it"
        raise PipelineError("NEW", what, "choose a name that was never used")


def read_scheme(path: Path) -> list[Change]:
    """The record, empty where there is no file. Raises PipelineError at file:line."""
    if not path.is_file():
        return []
    changes: list[Change] = []
    for number, row in numbered_rows(path):
        change = _change_of(row)
        if change is None or change.change != len(changes) + 1:
            remedy = f"restore it: git checkout HEAD -- {quote(str(path))}"
            raise PipelineError(f"{path}:{number}", "not a line of `rounds labels`", remedy)
        changes.append(change)
    return changes


def _change_of(row: Row) -> Change | None:
    """A line of the record, None where it is none."""
    columns = Change.__dataclass_fields__
    numbers = [row.get(name) for name in ("change", "round", "corrections")]
    names = [row.get(name) for name in ("labels", "into")]
    whole = (
        set(row) <= set(columns)
        and row.get("kind") in get_args(Kind)
        and all(isinstance(value, int) for value in numbers)
        and all(isinstance(value, list) for value in names)
        and all(isinstance(label, str) for value in names for label in value or ())
        and bool(row.get("labels"))
    )
    if not whole or not _has_parts(row):
        return None
    return Change(**{**row, "labels": tuple(row["labels"]), "into": tuple(row["into"])})


def _has_parts(row: Row) -> bool:
    """Whether a line names as many new classes as its kind makes."""
    count = len(row["into"])
    if row["kind"] in ("rename", "merge"):
        return count == 1
    return count > 1 if row["kind"] == "split" else count == 0


def as_row(change: Change) -> Row:
    """The change as a line of the record; columns that say nothing are left out."""
    row: Row = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in change.__dict__.items()
    }
    if change.kind != "retire":
        del row["ask_again"]
    return {name: value for name, value in row.items() if value not in ("", {})}


def table_meaning(given: str, changes: Sequence[Change], table: str, data_sha: str) -> Meaning:
    """What a label in the seed's or the test's table means now.

    The user may have edited the table since, so a name that is a class of today stands for it. Only
    where the table still has the bytes that it had when a class was split is the label older than
    that. table: seed or test; data_sha: of its bytes.
    """
    now = meaning(given, changes_of(given, changes))
    if now.among or now.retired or now.label != given:
        return now
    for number, change in enumerate(changes):
        if change.parent and change.tables.get(table) == data_sha:
            older = meaning(given, changes[number:])
            if older.among:
                return older
    return now


def sha_of(path: Path) -> str:
    """The SHA-256 of a table's bytes, as `tables` of a split holds it; "" for a missing file."""
    return sha256(path.read_bytes()) if path.is_file() else ""
