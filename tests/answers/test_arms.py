"""Which arm a row counts for, by hand: four rows in the order of the permutation, asked over
rounds.
"""

from __future__ import annotations

from stages.answers.arms import active_ids, arms_by_id, asked_new, control_ids, control_reach
from stages.contract.canonical import Row
from stages.contract.identity import order_key
from stages.proof.history import History

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
    assert control_ids(later, 0) == [
        FIRST,
        SECOND,
        THIRD,
    ]  # in the order of the permutation, not of the asks
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


def test_after_ids_moved_each_walk_is_judged_by_the_ids_of_its_time() -> None:
    # The first walk had asked the first of the permutation, and the strategy the last two. Then ids
    # moved: each of the contents has now the id in `to`.
    to = {FIRST: LAST, SECOND: FIRST, THIRD: SECOND, LAST: THIRD}

    def before(item: str, arm: str) -> Row:
        return {**ask(1, 1, to[item], arm), "ids": [item, to[item]]}

    asked = [before(FIRST, "control"), before(THIRD, "active"), before(LAST, "active")]
    # By today's ids the walk would have come to LAST, and every pick would pass for a random draw.
    assert control_ids(asked, 0) == [to[FIRST]]
    assert arms_by_id(asked, set(), 0) == {LAST: ["control"], SECOND: ["active"], THIRD: ["active"]}
    # The next walk asks what is free, from the start of today's permutation: the second content,
    # FIRST today.
    second = [*asked, ask(2, 1, FIRST, "control")]
    assert control_ids(second, 0) == [LAST, FIRST]
    # Rows that the strategy had asked before, and that a later walk passes, are of it by their ids
    # of that time.
    third = [*second, ask(3, 1, THIRD, "control")]
    assert control_ids(third, 0) == [LAST, FIRST, SECOND, THIRD]
    # What was asked after the move says nothing of the first walk, whatever its key.
    assert control_reach(asked, 0) == order_key(0, FIRST)


def test_walks_before_and_after_a_move_are_uniform_draws_together() -> None:
    # 400 contents; ids shift by one after round 1. Each round the walk takes the next 40, the
    # strategy the hardest 40.
    ids = [str(number) for number in range(400)]
    asked: list[Row] = []
    done: set[int] = set()
    for number in (1, 2):
        name = {content: ids[(content + number - 1) % 400] for content in range(400)}
        free = sorted(set(range(400)) - done, reverse=True)
        hard, walk = free[:40], sorted(free, key=lambda content: order_key(3, name[content]))
        new = [content for content in walk if content not in hard][:40]
        for arm, contents in (("active", hard), ("control", new)):
            for content in contents:
                today = ids[(content + 1) % 400]
                moved = {"ids": [name[content], today]} if number == 1 else {}
                asked.append({**ask(number, 1, today, arm), **moved})
        done |= {*hard, *new}
    passed = {(int(item) - 1) % 400 for item in control_ids(asked, 3)}
    hardest = sum(content >= 360 for content in passed)
    assert (
        0.04 <= hardest / len(passed) <= 0.17
    )  # a tenth of the pool; counting every pick it would be 0.3


def test_a_row_that_was_asked_to_judge_alone_is_of_no_arm_until_an_arm_asks_it() -> None:
    asked = [ask(1, 1, FIRST, "judge"), ask(1, 2, LAST, "active"), ask(1, 3, SECOND, "control")]
    assert arms_by_id(asked, set(), 0) == {LAST: ["active"], SECOND: ["control"]}
    assert control_ids(asked_new(asked, set()), 0) == [SECOND]  # the walk has not passed FIRST
    both = [*asked, ask(2, 1, FIRST, "active", "judge")]
    assert arms_by_id(both, set(), 0)[FIRST] == ["active", "control", "judge"]
