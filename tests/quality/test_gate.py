"""The fold of seed, answers and doubts: hand-computed rounds."""

from __future__ import annotations

import numpy as np
import pytest

from stages._canonical import Row, jsonl
from stages._ledger import labels_known_at
from stages._params import Params
from stages._store import Index
from stages.gate import TABLES, Features, Ledger, Outcome, complete, decide

N = 40


def params(**gate: object) -> Params:
    return Params.model_validate({
        "seed": 7, "labels": ["A", "B"],
        "data": {"pool": "p", "seed": "s", "test": "t", "label": "label", "images": "i"},
        "features": {"kind": "numeric", "vectors": "v"},
        "model": {"path": "sklearn.linear_model.LogisticRegression", "params": {"C": 10.0}},
        "gate": gate,
    })  # fmt: skip


def world() -> tuple[Index, np.ndarray, dict[str, str]]:
    """Forty rows in two far clusters; the truth is A left, B right."""
    ids = [f"p{i:02d}" for i in range(N)]
    right = np.arange(N) % 2
    noise = np.random.default_rng(0).normal(0, 0.3, (N, 2))
    matrix = (np.column_stack([right * 6.0 - 3.0, np.zeros(N)]) + noise).astype(np.float32)
    index = Index(ids, [f"sha{i}" for i in range(N)], ["pool"] * N, list(range(N)))
    return index, matrix, {item: "AB"[side] for item, side in zip(ids, right, strict=True)}


class Loop:
    """A small loop in memory: rounds of answers, with the review list frozen when a batch is issued."""

    def __init__(self, **gate: object) -> None:
        self.params = params(**gate)
        index, matrix, self.truth = world()
        self.features = Features(index, matrix, matrix)
        self.rounds: list[Row] = []
        self.asked: list[Row] = []
        self.events: list[Row] = []
        self.verdicts: list[Row] = []

    def round(self, answers: dict[str, str], review: dict[str, str] | None = None, who: str = "ann") -> Outcome:
        number = len(self.rounds) + 1
        self.verdicts += [{**row, "round": number} for row in self.gate().review]
        for arm, rows in (("active", answers), ("review", review or {})):
            for rank, (item, said) in enumerate(rows.items(), start=1):
                self.asked.append({"round": number, "rank": rank, "id": item, "arms": [arm]})
                kind = said if said in ("skip", "reject", "empty") else "label"
                label = said if kind == "label" else ""
                self.events.append({"round": number, "id": item, "annotator": who, "kind": kind, "label": label})
        self.rounds.append({"round": number, "asked": 1, "answered": 1, "state": "accepted"})
        return self.gate()

    def ledger(self) -> Ledger:
        return Ledger([], [], self.rounds, self.asked, self.events, self.verdicts)

    def gate(self) -> Outcome:
        return decide(self.ledger(), self.features, self.params)


def first_round(loop: Loop, **wrong: str) -> Outcome:
    return loop.round({**dict(list(loop.truth.items())[:30]), **wrong})


def ids(rows: list[Row]) -> list[str]:
    return [str(row["id"]) for row in rows]


def test_a_planted_wrong_label_is_held_back_and_the_right_one_suggested() -> None:
    outcome = first_round(Loop(), p04="B")
    (row,) = outcome.review
    assert (row["id"], row["label"], row["suggested"], row["reasons"], row["asks"]) == (
        "p04",
        "B",
        "A",
        ["label_error"],
        1,
    )
    assert "p04" not in ids(outcome.accepted)
    assert len(outcome.accepted) == 29


def test_a_doubt_that_is_contradicted_with_the_suggested_label_is_resolved_at_once() -> None:
    loop = Loop()
    first_round(loop, p04="B")
    outcome = loop.round({}, review={"p04": "A"})
    (row,) = [row for row in outcome.accepted if row["id"] == "p04"]
    assert (row["label"], row["round"], row["source"], row["arms"]) == ("A", 2, "review", ["active", "review"])
    assert outcome.state["review_found"] == 1


def test_a_confirmed_label_is_accepted_and_never_flagged_for_the_same_reason_again() -> None:
    loop = Loop()
    first_round(loop, p04="B")
    outcome = loop.round({"p30": "A"}, review={"p04": "B"})
    assert outcome.review == []
    outcome = loop.round({"p31": "B"})
    assert outcome.review == []
    (row,) = [row for row in outcome.accepted if row["id"] == "p04"]
    assert (row["label"], row["round"], row["source"]) == ("B", 1, "answer")


def test_every_id_is_accepted_in_review_or_unlabelled_and_in_one_of_them_only() -> None:
    loop = Loop()
    outcome = first_round(loop, p04="B", p06="skip", p08="reject", p10="empty")
    everything = ids(outcome.accepted) + ids(outcome.review) + ids(outcome.unlabelled)
    assert sorted(everything) == sorted(loop.truth)[:30]
    assert {row["id"]: row["kind"] for row in outcome.unlabelled} == {"p06": "skip", "p08": "reject", "p10": "empty"}


def test_labels_known_then_do_not_move_when_rounds_are_added() -> None:
    loop = Loop()
    told: list[dict[str, str]] = []
    for answers, review in [
        ({**dict(list(loop.truth.items())[:30]), "p04": "B", "p07": "A"}, {}),
        ({"p30": "A"}, {"p04": "B"}),
        ({"p31": "B"}, {"p07": "B"}),
        ({"p32": "A"}, {}),
    ]:
        outcome = loop.round(answers, review)
        told.append({row["id"]: row["label"] for row in outcome.accepted})
        for k, then in enumerate(told, start=1):
            assert labels_known_at(outcome.known, k) == then


def test_an_open_round_is_not_looked_at() -> None:
    loop = Loop()
    before = first_round(loop, p04="B")
    loop.verdicts += [{**row, "round": 2} for row in before.review]
    loop.rounds.append({"round": 2, "asked": 2, "answered": 1, "state": "open"})
    loop.asked.append({"round": 2, "rank": 1, "id": "p04", "arms": ["review"]})
    loop.events.append({"round": 2, "id": "p04", "annotator": "ann", "kind": "label", "label": "A"})
    last, pending = complete(loop.rounds)
    assert last == 1
    assert pending is not None
    after = decide(loop.ledger().until(last), loop.features, loop.params)
    for name in TABLES:
        assert jsonl(getattr(after, name)) == jsonl(getattr(before, name))


def test_a_third_answer_settles_what_neither_the_second_nor_the_model_could() -> None:
    loop = Loop(max_asks=4)
    first_round(loop)
    loop.round({}, review={"p00": "B"})
    assert loop.gate().review[0]["reasons"] == ["disagreement"]
    outcome = loop.round({}, review={"p00": "A"})
    assert outcome.review == []
    assert {row["id"]: row["label"] for row in outcome.accepted}["p00"] == "A"


@pytest.mark.parametrize("kind", ["override", "retract"])
def test_a_correction_beats_the_votes(kind: str) -> None:
    loop = Loop()
    first_round(loop)
    label = "B" if kind == "override" else ""
    loop.round({"p30": "A"})
    loop.events.append({"round": 2, "id": "p00", "annotator": "boss", "kind": kind, "label": label})
    outcome = loop.gate()
    if kind == "override":
        assert {row["id"]: (row["label"], row["source"]) for row in outcome.accepted}["p00"] == ("B", "override")
    else:
        assert {row["id"]: row["kind"] for row in outcome.unlabelled}["p00"] == "retract"
