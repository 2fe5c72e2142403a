"""Changed labels in the proof: classes judged as one, marks on the curve, what is comparable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypedDict, cast

import numpy as np

from stages.answers.ledger import Repeat, read_rows
from stages.answers.scheme import Change, Meaning, comparable_since, sha_of, table_meaning
from stages.contract.arrays import Ints
from stages.contract.params import Params
from stages.examples.tables import read_table
from stages.proof.refits import Judge, Judged, labels_of_test
from stages.proof.tables import CurvePoint, MarkedPoint


class MarkedChange(TypedDict):
    """A change of the labels, and the first round whose figures are under it."""

    round: int
    what: str


class SchemeFacts(TypedDict):
    """metrics/validate.json `scheme`, only where labels ever changed.

    comparable_since: the round from which on figures are of today's classes; judged_as_one: class
    -> its parts, which the rows that judge do not tell apart yet; note: a sentence for people.
    """

    changes: list[MarkedChange]
    comparable_since: int
    judged_as_one: dict[str, list[str]]
    note: str


@dataclass(frozen=True)
class Scheme:
    """The changes of the labels, and the classes that cannot be judged apart yet.

    wholes: class -> its parts, as rows that judge, or that are learnt, may be any of them still.
    """

    changes: Sequence[Change] = ()
    wholes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def since(self) -> int:
        """The round from which on the curve is comparable."""
        return comparable_since(self.changes)

    def tells_all_apart(self, truth: Ints) -> bool:
        """Whether every row that judges is of one class of today. truth: -1 for retired ones."""
        return not self.wholes and bool((truth >= 0).all())

    def in_facts(self) -> dict[str, SchemeFacts]:
        """The column of metrics/validate.json, none where labels never changed."""
        return {"scheme": self.facts()} if self.changes else {}

    def facts(self) -> SchemeFacts:
        """What metrics/validate.json says of it."""
        return {
            "changes": [{"round": c.round, "what": str(c)} for c in self._shown()],
            "comparable_since": self.since,
            "judged_as_one": {whole: list(parts) for whole, parts in sorted(self.wholes.items())},
            "note": self._note(),
        }

    def marked(self, curve: list[CurvePoint]) -> list[MarkedPoint]:
        """The points, each arm's first one after a change with what had changed."""
        before: dict[str, int] = {}
        points: list[MarkedPoint] = []
        for row in curve:
            point = cast(MarkedPoint, {**row})
            last = before.get(row["arm"], -1)
            new = [str(change) for change in self._shown() if last < change.round <= row["round"]]
            if new:
                point["changed"] = "; ".join(new)
            before[row["arm"]] = row["round"]
            points.append(point)
        return points

    def _shown(self) -> list[Change]:
        """The changes that move figures: all but new descriptions."""
        return [change for change in self.changes if change.kind != "describe"]

    def _note(self) -> str:
        sentences = ["all rounds of the curve are understood under today's labels"]
        if self.since:
            other = f"figures from before round {self.since} are of other classes"
            sentences.append(f"{other}, and no sign or alarm compares across it")
        for whole, parts in sorted(self.wholes.items()):
            one = f"{', '.join(parts)} are judged as one class, {whole}"
            sentences.append(f"{one}, until its rows are told apart, in the test table too")
        return "; ".join(sentences)


def read_test(path: Path, changes: Sequence[Change], params: Params) -> list[Meaning]:
    """What the labels of the test table mean today, in its order; none where it has no rows."""
    table = read_table(path, may_be_empty=True)
    if not len(table):
        return []
    sha = sha_of(path)
    understood = partial(table_meaning, changes=changes, table="test", data_sha=sha)
    return labels_of_test(table, params, understood)


def unsplit(gate: Path, meanings: Iterable[Meaning]) -> dict[str, list[str]]:
    """Class -> its parts, which labelled rows or rows of the test table may all be still.

    gate: the folder of the gate's tables.
    """
    repeats = read_rows(gate / "repeats.jsonl", Repeat)
    learnt = [(row["label"], row.get("among", [])) for row in repeats]
    return wholes_of([*learnt, *((now.label, now.among) for now in meanings)])


def wholes_of(rows: Iterable[tuple[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Class -> its parts, of rows of (label, the parts that it may be)."""
    wholes: dict[str, dict[str, None]] = {}
    for label, among in rows:
        if among:
            wholes.setdefault(label, {}).update(dict.fromkeys(among))
    return {label: list(parts) for label, parts in wholes.items()}


def judged_as(wholes: Mapping[str, Sequence[str]], labels: Sequence[str]) -> Ints:
    """(k,) the class as which each class is judged: the first of those that are judged as one."""
    number = {label: at for at, label in enumerate(labels)}
    same = np.arange(len(labels), dtype=np.intp)
    for whole, parts in wholes.items():
        together = [same[number[label]] for label in (whole, *parts) if label in number]
        same[np.isin(same, together)] = min(together, default=0)
    return same


def coarser(judged: Judged | None, same: Ints) -> Judged | None:
    """What was judged, with classes that are judged as one made one. same: `judged_as`."""
    if judged is None or np.array_equal(same, np.arange(len(same))):
        return judged
    probabilities = np.zeros_like(judged.probabilities)
    for column, whole in enumerate(same):
        probabilities[:, whole] += judged.probabilities[:, column]
    return Judged(same[judged.truth], probabilities)


def coarse_judge(judge: Judge, same: Ints) -> Judge:
    """A judge that does not tell apart what is judged as one."""
    return lambda labelled, upto: coarser(judge(labelled, upto), same)
