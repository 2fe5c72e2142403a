"""The tables that stages hand each other about labels: their columns, in one place.

    build/seed/labels.jsonl      id, label, line                         every seed label, sorted by id
    build/seed/suspects.jsonl    id, label, suggested, score, reasons    the seed labels to be asked again
    build/labels/rounds.jsonl    round, batch_id, asked, answered, state one row per round with at least one answer
    build/labels/asked.jsonl     round, rank, id, arms, score, strategy, reason     what those rounds asked
                                                                         (ids, where ids moved: stages/answers/arms.py)
    build/labels/events.jsonl    round, id, annotator, kind, label, flagged, at, file, line, late, order
                                                                         one per current answer or correction
    build/labels/verdicts.jsonl  round, id, label, suggested, score, reasons, asks   what was doubted when it was asked
    build/gate/accepted.jsonl    id, label, round, arms, source, in_seed, annotators, copies, asked_rank; to learn
    build/gate/review.jsonl      id, label, suggested, score, reasons, asks     doubted labels, worst first
    build/gate/unlabelled.jsonl  id, kind, round, times           asked ids without a label (kinds below)
    build/gate/known.jsonl       id, from_round, to_round, label  when a label was the accepted one: from <= k < to
    build/gate/redundancy.jsonl  round, asked, near_duplicates, share   new rows of a round that nearly repeat another
    build/gate/state.json        rounds (accepted so far), answers spent, review_found

`kind` of an event is label, skip, reject, empty, override (an adjudicated label that beats all
others; of several the last) or retract (all answers to the id before it, in its own round too, and
its seed label, are void; what is answered after it counts, in its own round too). `order` tells
that within a round: 0 before the correction of the id, or without one; 1 the correction; 2 after
it. A correction names the answers about its id that stood in its round when it was made (`after` in
corrections.jsonl: fingerprints of their rows); one that does not is the last word of its round.
`late`: the answer came to an earlier round's batch, so it does not answer what this round asked.
`kind` of an unlabelled id is skip, reject, empty, retract, or unresolved: asked `gate.max_asks`
times without an agreement. accepted, review and unlabelled share out all ids that have a seed label
or were asked: each is in exactly one of them. `arms` of an accepted label are all that it counts
for (stages/answers/arms.py). `round` 0 is the seed. `verdicts` are frozen with each issued batch:
what was doubted then stays known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.contract.canonical import Row, read_jsonl
from stages.contract.errors import PipelineError, closest


@dataclass(frozen=True)
class Labels:
    """Labelled ids with their class indices, sorted by id."""

    ids: list[str]
    classes: NDArray[np.intp]
    rows: list[Row]


def read_labels(path: Path, classes: list[str]) -> Labels:
    """The labelled rows of a JSONL table (columns id and label). Raises PipelineError for an unknown label."""
    return labels_of(read_jsonl(path), classes, path)


def labels_of(rows: list[Row], classes: list[str], where: object) -> Labels:
    """Rows with the columns id and label, as Labels. Raises PipelineError for an unknown label."""
    number = {label: place for place, label in enumerate(classes)}
    for row in rows:
        check_label(str(row["label"]), classes, where)
    labels = np.array([number[row["label"]] for row in rows], dtype=np.intp)
    return Labels([row["id"] for row in rows], labels, rows)


def labels_known_at(known: list[Row], at: int) -> dict[str, str]:
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
