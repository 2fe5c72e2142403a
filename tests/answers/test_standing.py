"""What votes settle on, line by line: small cases with their outcome written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rounds.shipped import shipped_params
from stages.answers.standing import (
    SEED,
    Case,
    Vote,
    collect,
    exempt,
    known_labels,
    reviewed,
    standing,
)
from stages.contract.params import Gate


def by(**changes: Any) -> Gate:
    """The policy of a new project, with some values changed."""
    return shipped_params({"gate": changes}).gate


MAJORITY, CONSENSUS = by(resolve="majority"), by(resolve="consensus")


def case(*votes: str, doubted: dict[int, str] | None = None) -> Case:
    """Votes as "round annotator kind label", or "round annotator label"; doubts as round ->
    suggested label.
    """
    told = [
        (int(r), who, *((kind, *label) if kind in KINDS else ("label", kind)))
        for r, who, kind, *label in parts(votes)
    ]
    rows = {
        when: {"label": "a", "suggested": label, "reasons": ["r"]}
        for when, label in (doubted or {}).items()
    }
    return Case("q", [Vote(*row, *[""] * (4 - len(row))) for row in told], {}, rows)


KINDS = ("label", "skip", "reject", "empty", "override", "retract")


def parts(votes: tuple[str, ...]) -> list[list[str]]:
    return [vote.split() for vote in votes]


@pytest.mark.parametrize(
    ("votes", "policy", "label", "why"),
    [
        (("1 ann a", "1 bo reject"), MAJORITY, None, "reject"),
        (("1 ann a", "1 bo reject", "1 cy a"), MAJORITY, "a", "votes"),
        (("1 ann a", "1 bo a", "1 cy b"), CONSENSUS, "a", "votes"),
        (("1 ann a", "1 bo a", "1 cy a", "1 di b", "1 ed b"), CONSENSUS, None, "disagreement"),
        (("1 cy override a", "2 cy override b", "2 di a", "2 ed a"), MAJORITY, "b", "override"),
        (("1 ann a", "2 cy retract"), MAJORITY, None, "retract"),
        (("2 ann a", "2 cy retract"), MAJORITY, None, "retract"),
        (
            ("2 cy retract", "2 ann a"),
            MAJORITY,
            "a",
            "votes",
        ),  # in the order given: said after it, in its own round
        (("0 seed b", "2 bo b", "2 cy retract", "2 ann a"), MAJORITY, "a", "votes"),
        (("1 cy override b", "2 cy retract", "2 ann a"), MAJORITY, "a", "votes"),
        (("1 ann a", "2 cy retract", "2 bo skip"), MAJORITY, None, "skip"),
        (("2 cy retract", "3 ann skip"), MAJORITY, None, "skip"),
        (("1 ann empty",), MAJORITY, None, "empty"),
        (("1 di a", "1 ed a", "1 cy b", "2 cy b"), by(adjudicator="ed"), "a", "votes"),
        (("1 ed a", "1 cy b", "1 di b", "2 ed c"), by(adjudicator="ed"), "c", "votes"),
    ],
)
def test_votes_settle_on(votes: tuple[str, ...], policy: Gate, label: str | None, why: str) -> None:
    found = standing(case(*votes), 9, policy)
    assert (found.label, found.why) == (label, why)


@pytest.mark.parametrize(
    ("votes", "doubted", "at", "label"),
    [
        (
            ("0 seed a", "2 ann b"),
            {2: "b"},
            2,
            "b",
        ),  # asked again, and the model's word given: the tie is broken
        (
            ("0 seed a", "1 ann b"),
            {2: "b"},
            2,
            None,
        ),  # who said it before the model did was not asked again
        (("1 ann a", "1 bo b"), {1: "a"}, 1, "a"),
        (("0 seed a", "2 ann b"), {3: "b"}, 2, None),  # a doubt of a later round is not known yet
        (("0 seed a", "2 ann b"), {2: "c"}, 2, None),
        (("0 seed a", "3 ann b"), {2: "b", 3: "a"}, 3, "b"),
    ],
)
def test_a_tie_is_broken_by_who_was_asked_again(
    votes: tuple[str, ...], doubted: dict[int, str], at: int, label: str | None
) -> None:
    assert standing(case(*votes, doubted=doubted), at, MAJORITY).label == label


def test_a_vote_of_a_later_round_is_not_counted() -> None:
    assert standing(case("1 ann a", "2 ann b", "2 bo b"), 1, MAJORITY).label == "a"


def test_a_label_that_more_than_half_confirmed_is_not_doubted_for_that_reason_again() -> None:
    assert exempt(case("2 ann a", "2 bo b", doubted={2: "b"}), "a", 2) == set()
    assert exempt(case("2 ann a", "2 bo a", "2 cy b", doubted={2: "b"}), "a", 2) == {"r"}
    assert exempt(case("2 ann a", doubted={2: "b"}), "a", 1) == set()


def test_a_doubted_label_was_not_known_from_the_round_before_it_was_asked_again() -> None:
    def spans(one: Case, upto: int, current: set[str]) -> list[tuple[Any, ...]]:
        rows = known_labels([one], upto, current, MAJORITY)
        return [(row["from_round"], row["to_round"], row["label"]) for row in rows]

    doubted = case("0 seed a", "2 ann a", doubted={2: "b"})
    assert spans(doubted, 2, set()) == [(0, 1, "a"), (2, None, "a")]
    assert spans(doubted, 2, {"q"}) == [(0, 1, "a")]
    assert spans(doubted, 1, {"q"}) == [(0, 1, "a")]
    assert spans(doubted, 1, set()) == [(0, None, "a")]
    assert spans(case("0 seed a", "2 ann b", "2 bo b"), 3, set()) == [(0, 2, "a"), (2, None, "b")]


def event(number: int, who: str, kind: str, label: str, **more: Any) -> dict[str, Any]:
    return {"id": "q", "round": number, "annotator": who, "kind": kind, "label": label, **more}


def settled(*events: dict[str, Any], seed: str | None = None) -> tuple[str | None, str]:
    (one,) = collect([{"id": "q", "label": seed}] if seed else [], [], events, [])
    found = standing(one, 9, MAJORITY)
    return found.label, found.why


@pytest.mark.parametrize(("early", "late"), [("ann", "zoe"), ("zoe", "ann")])
def test_of_two_overrides_in_one_round_the_later_holds_whoever_gave_it(
    early: str, late: str
) -> None:
    rows = [event(1, early, "override", "a", at=1.0), event(1, late, "override", "b", at=2.0)]
    assert settled(*rows) == settled(*reversed(rows)) == ("b", "override")
    untimed = [event(1, early, "override", "a"), event(1, late, "override", "b", at=2.0)]
    assert settled(*reversed(untimed)) == ("b", "override")
    lines = [
        event(1, early, "override", "a", file="f", line=9),
        event(1, late, "override", "b", file="f", line=10),
    ]
    assert settled(*reversed(lines)) == ("b", "override")


@pytest.mark.parametrize("by", ["ann", "zoe"])
def test_a_correction_and_a_reviewers_answer_hold_in_the_order_in_which_they_came(by: str) -> None:
    correction = event(1, by, "override", "a", order=1)
    assert settled(event(1, "max", "override", "b", at=5.0, order=0), correction) == (
        "a",
        "override",
    )
    assert settled(event(1, "max", "override", "b", at=5.0, order=2), correction) == (
        "b",
        "override",
    )


def test_whether_a_row_was_skipped_or_left_empty_last_goes_by_time_not_by_name() -> None:
    rows = [event(1, "zoe", "skip", "", at=1.0), event(1, "ann", "empty", "", at=2.0)]
    assert settled(*rows) == (None, "empty")


def test_what_came_late_to_an_earlier_question_is_a_vote_but_confirms_no_doubt() -> None:
    doubt = {
        "id": "q",
        "round": 2,
        "label": "a",
        "suggested": "b",
        "reasons": ["label_error"],
        "score": 0.9,
    }
    asked = [{"id": "q", "round": number, "rank": 1, "arms": ["active"]} for number in (1, 2)]
    late = event(2, "bo", "label", "b", at=4.0, late=True)
    (one,) = collect([], asked, [event(1, "ann", "label", "a", at=1.0), late], [doubt])
    assert reviewed(one, 2) == [(doubt, None)]
    assert (
        standing(one, 2, MAJORITY).why == "disagreement"
    )  # nobody who was asked again gave the model's word
    again = event(2, "cy", "label", "b", at=5.0)
    (one,) = collect([], asked, [event(1, "ann", "label", "a", at=1.0), again], [doubt])
    assert reviewed(one, 2) == [(doubt, False)]
    assert standing(one, 2, MAJORITY).label == "b"


def test_a_disagreement_of_people_suggests_nothing_that_could_break_a_later_tie() -> None:
    one = case("1 ann a", "1 bo b", "2 cy a", "2 di b", doubted={2: "b"})
    one.doubted[2]["reasons"] = ["disagreement"]
    assert standing(one, 2, MAJORITY).label is None
    assert (
        standing(case("1 ann a", "1 bo b", "2 cy a", "2 di b", doubted={2: "b"}), 2, MAJORITY).label
        == "b"
    )


def test_the_seed_has_no_name_that_a_person_could_have() -> None:
    (one,) = collect([{"id": "q", "label": "a"}], [], [event(1, "seed", "label", "b")], [])
    assert [vote.annotator for vote in one.votes] == [SEED, "seed"]
    assert standing(one, 1, by(adjudicator="seed")).label == "b"
    assert standing(one, 0, by(adjudicator="seed")).label == "a"
    assert standing(one, 1, MAJORITY).why == "disagreement"


def test_a_disagreement_of_people_is_no_doubt_that_could_be_confirmed() -> None:
    """Its label is that of one of them: that the third says the same confirms nothing."""
    one = case("1 ann a", "1 bo b", "2 cy a", doubted={2: "b"})
    one.asked[2] = {"id": "q", "round": 2, "rank": 1, "arms": ["review"]}
    one.doubted[2]["reasons"] = ["disagreement"]
    assert reviewed(one, 2) == []
    one.doubted[2]["reasons"] = ["label_error"]
    assert [right for _, right in reviewed(one, 2)] == [True]
