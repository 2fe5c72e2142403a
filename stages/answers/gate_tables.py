"""What the gate hands to train and query, and which pool rows may not be asked because of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stages.answers.ledger import (
    CountedVote,
    Doubt,
    GateState,
    GoldRow,
    JudgedLabel,
    Labels,
    Repeat,
    Unlabelled,
    read_labels,
    read_rows,
)
from stages.contract.canonical import read_json

NEVER_AGAIN = ("reject", "unresolved", "retired")
RETRIES = 2  # a skipped id is asked once more after its cool-down, and then never


@dataclass(frozen=True)
class GateTables:
    """What the gate says of the pool.

    Accepted labels, doubted labels (worst first), ids that got no label, state, and labels to plant
    again: asked once more, blind, to see whether people agree with themselves.
    """

    accepted: Labels
    review: list[Doubt]
    unlabelled: list[Unlabelled]
    state: GateState
    repeats: list[Repeat] = field(default_factory=list)
    votes: list[CountedVote] = field(default_factory=list)
    gold: list[GoldRow] = field(default_factory=list)
    judged: list[JudgedLabel] = field(default_factory=list)

    def labelled_ids(self) -> list[str]:
        """The ids that have, had or may get a label again, and those that only judge."""
        others = (*self.review, *self.repeats, *self.gold, *self.judged)
        return [*self.accepted.ids, *(row["id"] for row in others)]


def settled(gate: GateTables, cooldown: int) -> set[str]:
    """Ids that may not be asked now: labelled, doubted, gold, rejected, or skipped and resting.

    A skipped (or emptily accepted) id comes back `cooldown` rounds after its last skip, once; a
    retracted one, and one that nobody answered before its round was closed, at once.
    """
    ids = set(gate.accepted.ids) | {row["id"] for row in (*gate.review, *gate.gold)}
    return ids | {row["id"] for row in (*never_asked_again(gate), *resting(gate, cooldown))}


def never_asked_again(gate: GateTables) -> list[Unlabelled]:
    """The unlabelled rows that are never asked again: rejected, unresolved, or skipped twice."""
    return [
        row
        for row in gate.unlabelled
        if row["kind"] in NEVER_AGAIN or (row["kind"] != "retract" and row["times"] >= RETRIES)
    ]


def resting(gate: GateTables, cooldown: int) -> list[Unlabelled]:
    """The skipped rows that are asked once more, but not before `cooldown` rounds have passed."""
    next_round = gate.state["rounds"] + 1
    return [
        row
        for row in gate.unlabelled
        if row["kind"] not in (*NEVER_AGAIN, "retract")
        and 0 < row["times"] < RETRIES
        and next_round - row["round"] <= cooldown
    ]


def why_exhausted(gate: GateTables, cooldown: int) -> str:
    """Why a pool without a free row is used up, and what brings rows back.

    Rounds pass only while batches are issued, so rows that rest would rest for ever: a shorter rest
    wakes them.
    """
    parts = ["pool exhausted"]
    rest = resting(gate, cooldown)
    if rest:
        # With this rest the one that was skipped last may be asked, and so may all others.
        shorter = gate.state["rounds"] - max(row["round"] for row in rest)
        shorten = f"query.skip_cooldown {shorter} instead of {cooldown}"
        if len(rest) == 1:
            parts.append(f"1 skipped row rests ({shorten} brings it back)")
        else:
            parts.append(f"{len(rest)} skipped rows rest ({shorten} brings them back)")
    gone = len(never_asked_again(gate))
    if gone:
        reason = f"rejected or skipped {RETRIES} times"
        if gone == 1:
            parts.append(f"1 row was {reason}, and is not asked again")
        else:
            parts.append(f"{gone} rows were {reason}, and are not asked again")
    return ", ".join(parts)


def read_gate_tables(folder: Path, labels: list[str]) -> GateTables:
    """The gate's tables."""
    return GateTables(
        read_labels(folder / "accepted.jsonl", labels),
        read_rows(folder / "review.jsonl", Doubt),
        read_rows(folder / "unlabelled.jsonl", Unlabelled),
        read_json(folder / "state.json"),
        read_rows(folder / "repeats.jsonl", Repeat),
        read_rows(folder / "votes.jsonl", CountedVote),
        read_rows(folder / "gold.jsonl", GoldRow),
        read_rows(folder / "judged.jsonl", JudgedLabel),
    )
