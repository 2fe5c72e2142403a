"""Which arm a row counts for, by hand: four rows in the order of the permutation, asked over rounds."""

from __future__ import annotations

from stages._arms import active_ids, arms_by_id, asked_new, control_ids, control_reach
from stages._canonical import Row
from stages._identity import order_key
from stages.validate import History

FIRST, SECOND, THIRD, LAST = sorted("abcd", key=lambda item: order_key(0, item))


def ask(number: int, rank: int, item: str, *arms: str) -> Row:
    return {"round": number, "rank": rank, "id": item, "arms": list(arms)}


def test_a_control_row_left_open_and_picked_later_counts_for_both_arms() -> None:
    asked = [ask(1, 1, LAST, "active"), ask(1, 2, FIRST, "control"), ask(2, 1, FIRST, "active")]
    assert arms_by_id(asked, set(), 0) == {LAST: ["active"], FIRST: ["active", "control"]}
    assert active_ids(asked) == [LAST, FIRST]
    assert control_ids(asked, 0) == [FIRST]
    known = [{"id": FIRST, "from_round": 2, "to_round": None, "label": "x"}]  # answered in round 2
    history = History(asked, known, [], [0, 0, 0], frozenset(), 2)
    assert history.arm("active", 2, ["x"], 0) == {FIRST: 0}
    assert history.arm("random", 2, ["x"], 0) == {FIRST: 0}
    assert history.arm("random", 1, ["x"], 0) == {}  # its label had not come


def test_a_picked_row_left_open_that_the_walk_asks_later_moves_the_walk_to_it() -> None:
    asked = [ask(1, 1, THIRD, "active"), ask(1, 2, FIRST, "control"), ask(1, 3, SECOND, "active")]
    later = [*asked, ask(2, 1, THIRD, "control")]
    assert control_reach(asked, 0) == order_key(0, FIRST)
    assert control_ids(asked, 0) == [FIRST]
    assert control_reach(later, 0) == order_key(0, THIRD)
    assert control_ids(later, 0) == [FIRST, SECOND, THIRD]  # in the order of the permutation, not of the asks
    assert active_ids(later) == [THIRD, SECOND]


def test_what_the_walk_has_passed_is_a_control_row_of_the_accepted_labels_too() -> None:
    asked = [ask(1, 1, SECOND, "active"), ask(1, 2, FIRST, "control"), ask(2, 1, THIRD, "control")]
    assert arms_by_id(asked[:2], set(), 0) == {SECOND: ["active"], FIRST: ["control"]}
    assert arms_by_id(asked, set(), 0)[SECOND] == ["active", "control"]


def test_the_active_order_is_that_of_the_first_pick_not_of_the_first_ask() -> None:
    asked = [ask(2, 1, SECOND, "active"), ask(3, 1, FIRST, "active"), ask(1, 1, FIRST, "control")]
    assert active_ids(asked_new(asked, set())) == [SECOND, FIRST]


def test_a_seed_row_that_is_asked_again_is_of_no_arm_but_review() -> None:
    asked = [ask(1, 1, FIRST, "review"), ask(1, 2, LAST, "control")]
    assert arms_by_id(asked, {FIRST}, 0) == {FIRST: ["review"], LAST: ["control"]}
    assert control_reach([ask(1, 1, FIRST, "review")], 0) is None
