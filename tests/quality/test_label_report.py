"""What the coded checks measure: rows and not votes, random rows and not doubted ones, by hand and
under the null.
"""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from stages.answers.standing import Case, Vote
from stages.quality.report import agreement, agreement_of_people, drift, label_error_rate, repeats


def asked(arms: list[str]) -> dict[str, object]:
    return {"arms": arms, "rank": 1}


def control_case(number: int, when: int, labels: list[str]) -> Case:
    votes = [Vote(when, f"person-{who}", "label", label) for who, label in enumerate(labels)]
    return Case(f"{when}-{number}", votes, {when: asked(["control"])})


def null_round(
    rng: np.random.Generator, when: int, rows: int, people: int, classes: int
) -> list[Case]:
    """Random rows of one population, labelled by people who nearly always agree."""
    cases = []
    for number in range(rows):
        label = int(rng.integers(classes))
        given = [
            label if rng.random() < 0.95 else int(rng.integers(classes)) for _ in range(people)
        ]
        cases.append(control_case(number, when, [f"c{one}" for one in given]))
    return cases


@pytest.mark.parametrize("people", [1, 3, 5])
@pytest.mark.parametrize(("rows", "classes"), [(20, 12), (60, 3)])
def test_drift_is_found_by_chance_no_more_often_than_its_p_value_says(
    people: int, rows: int, classes: int
) -> None:
    rng = np.random.default_rng(people * rows)
    p_values = [
        drift(
            [
                *null_round(rng, 1, rows, people, classes),
                *null_round(rng, 2, rows, people, classes),
            ],
            2,
        )
        for _ in range(120)
    ]
    below = sum(p is not None and p < 0.05 for p in p_values)
    assert below <= 14  # of 120 draws at .05: 6 expected, 14 or fewer in 999 of 1,000


def test_drift_counts_a_row_once_however_many_people_answered_it() -> None:
    now = [control_case(n, 2, ["a" if n < 12 else "b"]) for n in range(24)]
    before = [control_case(n, 1, ["a" if n < 16 else "b"]) for n in range(24)]
    five = [Case(c.id, c.votes * 5, c.asked) for c in (*now, *before)]
    assert drift(five, 2) == drift([*now, *before], 2)


def test_drift_that_is_there_is_found() -> None:
    now = [control_case(n, 2, ["a"]) for n in range(24)]
    before = [control_case(n, 1, ["b" if n < 16 else "a"]) for n in range(24)]
    value = drift([*now, *before], 2)
    assert value is not None
    assert value < 0.001


@pytest.mark.parametrize(
    ("now", "before", "p_value"),
    [
        ("a" * 19 + "b", "a" * 20, 1.0),  # the one b has to stand on some side
        ("a" * 18 + "bb", "a" * 20, 2 * comb(38, 18) / comb(40, 20)),  # both b on one side: .49
        ("abcdefghijklmnopqrst", "ABCDEFGHIJKLMNOPQRST", 1.0),  # all tables are as far from even
    ],
)
def test_the_p_value_of_drift_is_exact_where_classes_are_rare(
    now: str, before: str, p_value: float
) -> None:
    """By the chi-square distribution they would be .31, .15 and .43."""
    rows = [control_case(n, 2, [label]) for n, label in enumerate(now)]
    rows += [control_case(n, 1, [label]) for n, label in enumerate(before)]
    assert drift(rows, 2) == pytest.approx(p_value, abs=0.02)


def test_a_disputed_row_and_a_late_answer_do_not_count_for_drift() -> None:
    rows = [control_case(n, when, ["a", "b"]) for when in (1, 2) for n in range(30)]
    assert drift(rows, 2) is None
    late = [
        Case(f"{n}", [Vote(2, "ann", "label", "a", late=True)], {2: asked(["control"])})
        for n in range(30)
    ]
    assert (
        drift([*late, *(control_case(n, 1, ["a" if n % 2 else "b"]) for n in range(30))], 2) is None
    )


def test_label_errors_are_those_of_new_rows_not_of_rows_chosen_for_their_doubt() -> None:
    new = [
        Case(f"new-{n}", [Vote(2, "ann", "label", "a")], {2: asked(["active"])}) for n in range(20)
    ]
    again = [
        Case(
            f"again-{n}",
            [Vote(1, "ann", "label", "a"), Vote(2, "ann", "label", "a")],
            {1: asked(["active"]), 2: asked(["review"])},
            {2: {"label": "a", "suggested": "b", "reasons": ["x"]}},
        )
        for n in range(10)
    ]
    error = {case.id: 0.1 for case in new} | {case.id: 0.9 for case in again}
    assert label_error_rate([*new, *again], error, 2) == pytest.approx(0.1)
    assert label_error_rate([*new[:19], *again], error, 2) is None


def test_a_planted_repeat_is_one_and_a_row_asked_anew_after_a_retraction_is_none() -> None:
    first = Vote(1, "ann", "label", "a")
    second = Vote(2, "ann", "label", "b")
    gone = Vote(1, "ann", "retract", "")
    planted = Case("x", [first, second], {1: asked(["active"]), 2: asked(["review"])})
    anew = Case("y", [first, gone, second], {1: asked(["active"]), 2: asked(["active"])})
    voided = Case("z", [first, gone, second], {1: asked(["active"]), 2: asked(["review"])})
    doubted = Case(
        "d", [first, second], planted.asked, {2: {"label": "a", "suggested": "b", "reasons": []}}
    )
    assert repeats([planted], 2) == [False]
    assert repeats([anew, voided, doubted], 2) == []
    assert repeats([planted], 1) == []


def test_kappa_of_one_round_is_that_rounds_own() -> None:
    def pair(number: int, when: int, first: str, second: str) -> Case:
        votes = [Vote(when, "ann", "label", first), Vote(when, "bob", "label", second)]
        return Case(f"{when}-{number}", votes, {when: asked(["active"])})

    good = [pair(n, 1, "ab"[n % 2], "ab"[n % 2]) for n in range(10)]
    bad = [pair(n, 2, "ab"[n % 2], "ba"[n % 2]) for n in range(10)]
    assert agreement_of_people([*good, *bad])["cohen_kappa"] == {"ann|bob": pytest.approx(0.0)}
    assert agreement_of_people([*good, *bad], 2)["cohen_kappa"] == {"ann|bob": pytest.approx(-1.0)}
    assert agreement_of_people([*good, *bad], 1)["cohen_kappa"] == {"ann|bob": pytest.approx(1.0)}


def test_kappa_tells_pairs_apart_whose_names_hold_a_bar() -> None:
    """`a|b` with `c` agree, `a` with `b|c` do not: one key for both would keep one of the two."""

    def pair(number: int, left: str, right: str, labels: str) -> Case:
        votes = [Vote(1, left, "label", labels[0]), Vote(1, right, "label", labels[1])]
        return Case(f"{left}-{number}", votes, {1: asked(["active"])})

    agree = [pair(n, "a|b", "c", "xx" if n % 2 else "yy") for n in range(10)]
    differ = [pair(n, "a", "b|c", "xy" if n % 2 else "yx") for n in range(10)]
    assert agreement_of_people([*agree, *differ])["cohen_kappa"] == {
        r"a|b\|c": pytest.approx(-1.0),
        r"a\|b|c": pytest.approx(1.0),
    }


def test_kappa_counts_a_row_that_two_rounds_asked_once_for_each() -> None:
    twice = [
        Case(
            f"{n}",
            [Vote(when, who, "label", "ab"[n % 2]) for when in (1, 2) for who in ("ann", "bob")],
            {1: asked(["active"]), 2: asked(["review"])},
        )
        for n in range(5)
    ]
    once = [
        Case(
            f"o{n}",
            [Vote(1, "ann", "label", "ab"[n % 2]), Vote(1, "bob", "label", "ba"[n % 2])],
            {1: asked(["active"])},
        )
        for n in range(10)
    ]
    # of 20 examples ten agree; ann says a 6 + 5 times, bob 6 + 5: chance (11 x 11 + 9 x 9) / 400
    chance = (11 * 11 + 9 * 9) / 400
    kappa = agreement_of_people([*twice, *once])["cohen_kappa"]["ann|bob"]
    assert kappa == pytest.approx((0.5 - chance) / (1 - chance))


def test_agreement_leaves_late_answers_out() -> None:
    pairs = [
        Case(
            f"{n}",
            [Vote(1, "ann", "label", "ab"[n % 2]), Vote(1, "bob", "label", "ab"[n % 2])],
            {1: asked(["active"])},
        )
        for n in range(10)
    ]
    assert agreement(pairs, 1) == 1.0
    late = [
        Case(c.id, [c.votes[0], Vote(1, "bob", "label", "c", late=True)], c.asked) for c in pairs
    ]
    assert agreement(late, 1) is None
