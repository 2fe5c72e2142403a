"""Answers of one person that are withdrawn as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stages.answers.standing import Case, Vote, as_of_now, history, in_force, standing
from stages.contract.params import load
from tests.conftest import ROOT

MAJORITY = load(ROOT / "params.yaml").gate
NOTHING = ("retract", None)


def withdrawal(round_number: int, who: str, since: int) -> Vote:
    return Vote(round_number, who, "withdraw", "", corrects=True, since=since)


def of(*votes: Vote) -> Case:
    return Case("q", list(votes))


@pytest.mark.parametrize(
    ("votes", "why", "label"),
    [
        ((Vote(1, "bo", "label", "a"), withdrawal(3, "bo", 1)), *NOTHING),
        ((Vote(1, "bo", "label", "a"), withdrawal(3, "bo", 2)), "votes", "a"),
        ((Vote(1, "bo", "label", "a"), withdrawal(3, "ann", 1)), "votes", "a"),
        (
            (Vote(1, "bo", "label", "a"), Vote(1, "ann", "label", "b"), withdrawal(2, "bo", 1)),
            "votes",
            "b",
        ),
        ((withdrawal(2, "bo", 1), Vote(2, "bo", "label", "b")), "votes", "b"),
        (
            (Vote(1, "bo", "label", "a"), Vote(1, "di", "skip", ""), withdrawal(2, "bo", 1)),
            "skip",
            None,
        ),
        (
            (Vote(1, "bo", "override", "a", corrects=True), withdrawal(2, "bo", 1)),
            "override",
            "a",
        ),
        (
            (Vote(0, "", "label", "c"), Vote(1, "bo", "label", "a"), withdrawal(2, "bo", 1)),
            "votes",
            "c",
        ),
        (
            (Vote(1, "bo", "reject", ""), Vote(1, "di", "label", "a"), withdrawal(2, "bo", 1)),
            "votes",
            "a",
        ),
    ],
)
def test_a_withdrawal_leaves_what_others_said_and_decided(
    votes: tuple[Vote, ...], why: str, label: str | None
) -> None:
    settled = standing(of(*votes), 9, MAJORITY)
    assert (settled.why, settled.label) == (why, label)


VOTES = some.lists(
    some.builds(
        Vote,
        some.integers(1, 4),
        some.sampled_from(["ann", "bo", "cy"]),
        some.sampled_from(["label", "skip", "reject", "empty"]),
        some.sampled_from(["a", "b"]),
    ),
    max_size=8,
)


@given(VOTES, some.integers(1, 4), some.sampled_from(["ann", "bo"]))
def test_withdrawn_is_as_if_it_had_never_been_said_and_earlier_rounds_do_not_move(
    votes: list[Vote], since: int, who: str
) -> None:
    votes = sorted(votes, key=lambda vote: vote.round)
    case = of(*votes, withdrawal(5, who, since))
    never = of(*(v for v in votes if v.annotator != who or v.round < since))
    now = standing(case, 5, MAJORITY)
    assert now.label == standing(never, 5, MAJORITY).label
    assert in_force(case, 5) == never.votes
    before = [row for row in history(case, 5, MAJORITY) if row[0] < 5]
    assert before == history(of(*votes), 4, MAJORITY)
    (today,) = as_of_now([case])
    assert today == replace(case, votes=never.votes)
