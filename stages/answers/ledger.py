"""The tables that stages hand each other about labels: one record type for the rows of each.

    build/seed/labels.jsonl      SeedLabel      every seed label, sorted by id
    build/seed/suspects.jsonl    Suspect        the seed labels to be asked again
    build/labels/rounds.jsonl    AnsweredRound  every round with at least one answer
    build/labels/asked.jsonl     Asked          what those rounds asked
    build/labels/events.jsonl    Event          the current answers and corrections
    build/labels/verdicts.jsonl  Verdict        what was doubted when each round's batch was issued
    build/labels/scheme.jsonl    scheme.Change  the record of changed labels, as it is in data
    build/labels/gold.jsonl      GoldLine       what people said of rows with a known answer
    build/labels/planted.jsonl   Planted        which batches asked such rows
    build/labels/checked.jsonl   GoldAnswer     what people answered to such rows
    build/gate/accepted.jsonl    AcceptedLabel  the labels to learn, sorted by id
    build/gate/review.jsonl      Doubt          the doubted labels, worst first
    build/gate/unlabelled.jsonl  Unlabelled     asked ids without a label
    build/gate/known.jsonl       KnownLabel     from when to when each label was the accepted one
    build/gate/votes.jsonl       CountedVote    every person's label that counts
    build/gate/judged.jsonl      JudgedLabel    labels of rows that judge and do not teach
    build/gate/repeats.jsonl     Repeat         labels to plant again in the next batch
    build/gate/gold.jsonl        GoldRow        the rows with a known answer
    build/gate/redundancy.jsonl  Redundancy     near duplicates among the new rows of each round
    build/gate/state.json        GateState      counts

accepted, review and unlabelled share out all ids that have a seed label or were asked to teach:
each id is in exactly one of them. Answers of rows that judge (stages/answers/arms.py) stand in
judged.jsonl alone. Round 0 is the seed. Verdicts are frozen with each issued batch, so what was
doubted then stays known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from stages.answers.scheme import Retired
from stages.contract.canonical import read_jsonl
from stages.contract.errors import PipelineError, closest

Record = TypeVar("Record")

EventKind = Literal["label", "skip", "reject", "empty", "override", "retract", "withdraw"]
BEFORE = 0  # `order` of an event among those about its id in a round: before the correction,
CORRECTION = 1  # the correction itself,
AFTER = 2  # or after it
NO_ANSWERS = ("override", "retract", "withdraw")  # kinds of events that took no person's answer
UnlabelledKind = Literal["skip", "reject", "empty", "retract", "unresolved", "retired"]
RoundState = Literal["open", "partial", "accepted"]


class Labelled(TypedDict):
    """An id and its label, all that `labels_of` needs of a row.

    among: only where the label's class was split and nobody has said since which part it is, the
    classes that it may be (stages/answers/scheme.py).
    """

    id: str
    label: str
    among: NotRequired[list[str]]


class SeedLabel(Labelled):
    """A seed label, and its line in the user's table."""

    line: int


class Suspect(Labelled):
    """A label that is probably wrong.

    suggested: the label that the model holds likeliest; score: how probable an error is, in [0, 1];
    reasons: label_error, conflicting_copy, or disagreement (of people).
    """

    suggested: str
    score: float
    reasons: list[str]


class Doubt(Suspect):
    """A suspect after `asks` answered rounds, the seed counted as one."""

    asks: int


class Verdict(Doubt):
    """A doubt as it was frozen with the batch of `round`; its labels are named as today."""

    round: int


class AnsweredRound(TypedDict):
    """A round with at least one answer, or closed without any.

    asked, answered: rows; state: open while rows lack answers, partial once it was closed in spite
    of that, accepted when every row is answered.
    """

    round: int
    batch_id: str
    asked: int
    answered: int
    state: RoundState


class Picked(TypedDict):
    """A row that is to be asked.

    arms: those that picked it in this round (active, control, review, judge); score: the
    strategy's; doubt: the model's uncertainty, the same measure for every arm; gold: the known
    answer of a row that was planted for it; probability: only of a judge row, that of its draw.
    """

    id: str
    sha: str
    arms: list[str]
    score: float
    doubt: float
    strategy: str
    reason: str
    gold: NotRequired[str]
    probability: NotRequired[float]


class BatchRow(Picked):
    """A row of build/batch/batch.jsonl; rank: its place in the batch, from 1."""

    round: int
    rank: int


class Asked(BatchRow):
    """A row of a batch that was asked.

    ids: only where ids moved since, the id that the row had in its round and after each move
    (stages/answers/arms.py).
    """

    ids: NotRequired[list[str]]


class Event(TypedDict):
    """What one person last said about an id in a round, or what a correction says of it.

    kind: label | skip | reject (a bad example) | empty (accepted without a label)
        | override: an adjudicated label, which beats all others; of several the last holds
        | retract: the answers to the id before it, in its own round too, and its seed label are
          void; what is answered after it counts, in its own round too.
        | withdraw: as retract, of the answers of `annotator` alone that were given from the round
          `since` on.
    at: seconds since 1970, None without a time. file, line: where the row stands.
    late: the answer came to an earlier round's batch, so it does not answer what this round asked.
    order: within the round, 0 before the correction of the id or without one, 1 the correction,
    2 after it. A correction names the answers about its id that stood in its round when it was made
    (`after` in corrections.jsonl: fingerprints of their rows). One that names none is the last word
    of its round.
    The label is understood as of today (stages/answers/scheme.py). among: where its class was split
    since, the classes that it may be; retired: where its class was retired, whether the row is
    asked again. known: while it is read, how many changes of the labels its batch knew.
    """

    round: int
    id: str
    annotator: str
    kind: EventKind
    label: str | None
    flagged: bool
    at: float | None
    file: str
    line: int
    late: bool
    order: int
    among: NotRequired[list[str]]
    retired: NotRequired[Retired]
    known: NotRequired[int]
    since: NotRequired[int]


class AcceptedLabel(Labelled):
    """A label to learn.

    round: where it became known; arms: all that it counts for (stages/answers/arms.py); source:
    seed, answer, review or override; in_seed: whether the id has a seed label; annotators: who gave
    the label; copies: other ids of the same content; asked_rank: its rank in the batch, 0 for none.
    """

    round: int
    arms: list[str]
    source: str
    in_seed: bool
    annotators: list[str]
    copies: list[str]
    asked_rank: int


class Unlabelled(TypedDict):
    """An asked id without a label: why, in which round that was said last, and in how many rounds.

    unresolved: asked `gate.max_asks` times without an agreement; retired: its class is no more, and
    it is not asked again.
    """

    id: str
    kind: UnlabelledKind
    round: int
    times: int


class KnownLabel(Labelled):
    """A label that was the accepted one after the rounds from_round <= k < to_round.

    to_round: None while it still is.
    """

    from_round: int
    to_round: int | None


class CountedVote(Labelled):
    """A person's label that no retraction took away; annotator: empty for a seed label."""

    round: int
    annotator: str


class JudgedLabel(Labelled):
    """A label that people gave a row which judges and does not teach.

    round: where it was asked last; annotators: who gave the label.
    """

    round: int
    annotators: list[str]


class Repeat(Labelled):
    """A label to be asked once more, blind, to see whether people agree with themselves.

    Or, with `among`, to be told which part of a class that was split it is.
    """


class GoldLine(TypedDict):
    """An id's known answer, None where it has none any more; round: rounds issued by then."""

    id: str
    label: str | None
    round: int


class Planted(TypedDict):
    """A gold row of a batch."""

    id: str
    round: int


class GoldRow(Labelled):
    """A row with a known answer, which is never learnt; plant: whether the next batch asks it."""

    plant: bool


class GoldAnswer(TypedDict):
    """What a person answered to a gold row, and the known answer that was frozen with its batch.

    label: None where the answer names none.
    """

    id: str
    round: int
    annotator: str
    kind: EventKind
    label: str | None
    known: str


class Redundancy(TypedDict):
    """How many of a round's new rows nearly repeat another, and their share.

    share: None with fewer than two new rows.
    """

    round: int
    asked: int
    near_duplicates: int
    share: float | None


class GateState(TypedDict):
    """Rounds accepted so far, answers they took, and doubts that turned out to be right."""

    rounds: int
    answers: int
    review_found: int


@dataclass(frozen=True)
class Labels:
    """Labelled ids with their class indices, sorted by id, and the rows that they come from."""

    ids: list[str]
    classes: NDArray[np.intp]
    rows: list[AcceptedLabel]


def read_rows(path: Path, record: type[Record]) -> list[Record]:  # noqa: ARG001 - for mypy
    """The rows of a JSONL table that this pipeline wrote, as records of the type named above.

    record: tells the type checker what a row holds; the columns are not checked again.
    """
    return cast(list[Record], read_jsonl(path))


def read_labels(path: Path, classes: list[str]) -> Labels:
    """The labelled rows of a JSONL table. Raises PipelineError for an unknown label."""
    return labels_of(read_rows(path, AcceptedLabel), classes, path)


def labels_of(rows: list[AcceptedLabel], classes: list[str], where: object) -> Labels:
    """Labelled rows with their class indices. Raises PipelineError for an unknown label."""
    for row in rows:
        check_label(str(row["label"]), classes, where)
    class_of = {label: index for index, label in enumerate(classes)}
    labels = np.array([class_of[row["label"]] for row in rows], dtype=np.intp)
    return Labels([row["id"] for row in rows], labels, rows)


def labels_known_at(known: list[KnownLabel], at: int) -> dict[str, str]:
    """Each id's label that was accepted after round `at`, from the rows of known.jsonl."""
    return {
        row["id"]: row["label"]
        for row in known
        if row["from_round"] <= at and (row["to_round"] is None or at < row["to_round"])
    }


def check_label(label: str, classes: list[str], where: object) -> None:
    """Raises PipelineError, naming the closest class, when `label` is not one of `classes`."""
    if label not in classes:
        what = f"label {label!r} is not in params.labels{closest(label, classes)}"
        raise PipelineError(where, what, "correct the label, or add the class to params.labels")
