"""Agreement measures against values computed by hand or printed in their sources."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.learning.scoring import cohen_kappa
from stages.quality.agreement import (
    annotator_quality,
    excess,
    fleiss_kappa,
    krippendorff_alpha,
    relabel_or_new,
    true_classes,
    vote_table,
    weighable,
)
from stages.quality.error_model import LabelErrors
from stages.quality.judgement import Judgement, with_annotators
from stages.quality.witnesses import Neighbours


def test_cohen_kappa_of_twenty_five_and_fifteen_agreements_in_fifty_is_0_4() -> None:
    left = ["yes"] * 25 + ["no"] * 25
    right = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(left, right) == pytest.approx(0.4)


def test_fleiss_kappa_equals_the_value_printed_for_fourteen_raters_and_ten_subjects() -> None:
    counts = [(0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1)]
    counts += [(7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7)]
    units = [
        [label for label, count in zip("abcde", row, strict=True) for _ in range(count)]
        for row in counts
    ]
    assert fleiss_kappa(units) == pytest.approx(0.20993, abs=1e-5)


def test_krippendorff_alpha_equals_the_printed_value_for_four_observers_with_gaps() -> None:
    units = [
        "111",
        "2232",
        "3333",
        "3333",
        "2222",
        "1234",
        "4444",
        "1121",
        "2222",
        "555",
        "11",
        "3",
    ]
    assert krippendorff_alpha([list(unit) for unit in units]) == pytest.approx(0.743, abs=1e-3)


def test_agreement_has_no_value_where_it_has_no_meaning() -> None:
    assert cohen_kappa([], []) is None
    assert cohen_kappa(["a", "a"], ["a", "a"]) is None
    assert fleiss_kappa([["a", "b"], ["a"]]) is None
    assert krippendorff_alpha([["a"], ["b"]]) is None
    assert krippendorff_alpha([["a", "a"]]) is None


@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=2, max_size=4), min_size=2, max_size=20),
    st.randoms(),
)
def test_alpha_is_at_most_one_and_heeds_neither_the_order_of_units_nor_of_labels(
    units: list[list[str]], draw
) -> None:
    alpha = krippendorff_alpha(units)
    mixed = [draw.sample(unit, len(unit)) for unit in draw.sample(units, len(units))]
    assert krippendorff_alpha(mixed) == (alpha if alpha is None else pytest.approx(alpha))
    assert alpha is None or alpha <= 1


def test_an_excess_is_a_gap_of_shares_in_standard_errors() -> None:
    gap, errors = excess(30, 100, 10, 100)
    assert gap == pytest.approx(0.2)
    assert errors == pytest.approx(0.2 / (0.2 * 0.8 * 0.02) ** 0.5)


def crowd(
    rates: dict[str, float], k: int, n: int = 600
) -> tuple[np.ndarray, list[dict[str, int]], np.ndarray]:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, k, n)
    prior = np.full((n, k), 0.3 / (k - 1))
    prior[np.arange(n), np.where(draw.random(n) < 0.3, draw.integers(0, k, n), truth)] = 0.7
    wrong = [{name: (c + draw.integers(1, k)) % k for name in rates} for c in truth]
    votes = [
        {name: int(c if draw.random() > rate else bad[name]) for name, rate in rates.items()}
        for c, bad in zip(truth, wrong, strict=True)
    ]
    return truth, votes, prior


def test_an_annotators_vote_moves_the_odds_by_how_often_they_are_right() -> None:
    """Ann gave 1 to the first row; Ann and Bob gave 0 to the second.

    Let x and y be the chances of these. All are right x + 2 y of 3 times, beside 19 of 20 before
    any evidence, and each as often as all with the weight of four answers. On one class it is the
    same with the weight of sixteen.
    """
    prior = np.array([[0.8, 0.2], [0.5, 0.5]])
    chances, right = true_classes(prior, np.array([[1.0, np.nan], [0.0, 0.0]]))
    x, y = chances[0, 1], chances[1, 0]
    everybody = (x + 2 * y + 19) / 23
    expected = [(x + y + 4 * everybody) / 6, (y + 4 * everybody) / 5]
    assert right == pytest.approx(expected, abs=1e-4)
    ann_if_1 = (x + 16 * right[0]) / (x + 1 - y + 16)
    ann_if_0 = (1 - x + 16 * (1 - right[0])) / (1 - x + y + 16)
    assert x / (1 - x) == pytest.approx(ann_if_1 / ann_if_0 * 0.2 / 0.8, rel=1e-2)


def test_the_share_of_right_answers_is_found_without_knowing_any() -> None:
    rates = {"ann": 0.02, "bob": 0.1, "careless": 0.4}
    truth, given_, prior = crowd(rates, 4)
    chances, right = true_classes(prior, vote_table(given_)[1])
    said = np.array([[votes[name] for name in rates] for votes in given_])
    assert right == pytest.approx((said == truth[:, None]).mean(axis=0), abs=0.03)
    assert (chances.argmax(axis=1) == truth).mean() > 0.97
    assert 1 - chances.max(axis=1).mean() == pytest.approx(
        (chances.argmax(axis=1) != truth).mean(), abs=0.02
    )


def test_crowdlab_names_the_careless_annotator_too() -> None:
    _, given_, prior = crowd({"ann": 0.02, "bob": 0.1, "careless": 0.4}, 4)
    people, votes = vote_table(given_)
    assert people[int(np.argmin(annotator_quality(votes, prior)))] == "careless"


def test_several_annotators_outweigh_one() -> None:
    """The labels of the careless one are doubted where the others and the model speak against them,
    and only there. Every tenth row has the careless one's vote alone, and keeps its estimate; every
    seventh was not judged, and has no part in the share.
    """
    truth, given_, prior = crowd({"ann": 0.02, "bob": 0.1, "careless": 0.4}, 4)
    labels = np.array([votes["careless"] for votes in given_], dtype=np.intp)
    n = len(truth)
    alone = np.arange(n) % 10 == 0
    judged = np.arange(n) % 7 > 0
    given_ = [
        {"careless": votes["careless"]} if one else votes
        for votes, one in zip(given_, alone, strict=True)
    ]
    estimate = np.linspace(0.1, 0.3, n)
    none = np.zeros(n)
    doubts = LabelErrors(estimate.copy(), labels.copy(), judged, 0.2, 1.0, none)
    found = Judgement(doubts, np.log(prior), none > 0, none, labels, Neighbours(labels, none))
    heeded, quality = with_annotators(found, given_, labels)
    flagged = heeded.errors.probability >= 0.4
    wrong = ~alone & (labels != truth)
    assert min(quality, key=quality.__getitem__) == "careless"
    assert flagged[wrong].mean() > 0.95
    assert flagged[~alone & (labels == truth)].mean() < 0.05
    assert (heeded.errors.suggested == truth)[wrong].mean() > 0.95
    assert np.array_equal(heeded.errors.probability[alone], estimate[alone])
    assert np.array_equal(heeded.errors.suggested[alone], labels[alone])
    assert np.array_equal(heeded.errors.judged, judged)
    assert heeded.errors.share == pytest.approx(heeded.errors.probability[judged].mean())
    assert heeded.errors.share != pytest.approx(heeded.errors.probability.mean(), abs=1e-4)
    assert np.array_equal(found.errors.probability, estimate)
    assert with_annotators(found, [{"ann": 0}] * n, labels) == (found, {})


def test_people_who_agree_cannot_clear_a_row_that_an_exact_copy_contradicts() -> None:
    given_ = [{"ann": 0, "bob": 0, "cy": 0}] * 20 + [{"ann": 1, "bob": 1, "cy": 1}] * 20
    labels = np.array([0] * 20 + [1] * 20, dtype=np.intp)
    conflict = np.isin(np.arange(40), [0, 20])  # one content under two ids, with two labels
    given_errors = np.where(conflict, 0.5, 0.3)
    judged = conflict | (np.arange(40) % 3 > 0)
    doubts = LabelErrors(given_errors, labels.copy(), judged, 0.0, 1.0, np.zeros(40))
    sure = np.log(np.where(np.eye(2)[labels] > 0, 0.99, 0.01))
    near = Neighbours(labels, np.zeros(40))
    found = Judgement(doubts, sure, conflict, np.zeros(40), labels, near)
    heeded = with_annotators(found, given_, labels)[0].errors
    error = heeded.probability
    assert heeded.share == pytest.approx(error[judged].mean())
    assert error[conflict] == pytest.approx([0.5, 0.5])
    assert (error[~conflict] < 1e-4).all()


def test_annotators_are_weighed_from_twenty_shared_examples_on_and_when_somebody_agrees() -> None:
    agreeing, opposed = {"ann": 0, "bob": 0}, {"ann": 0, "bob": 1}
    assert not weighable(vote_table([agreeing] * 19 + [{"ann": 1}])[1])
    assert weighable(vote_table([agreeing] * 20)[1])
    assert not weighable(vote_table([opposed] * 20)[1])


def test_activelab_scores_are_those_computed_by_hand() -> None:
    """One annotator only: cleanlab's weights are 1, so old = (2 q + 1/k) / 3 and new = (max p +
    1/k) / 2.
    """
    votes = np.array([[0.0], [1.0]])
    old, new = relabel_or_new(
        votes, np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([[0.5, 0.5], [0.2, 0.8]])
    )
    assert old == pytest.approx([(2 * 0.9 + 0.5) / 3, (2 * 0.4 + 0.5) / 3], abs=1e-5)
    assert new == pytest.approx([0.5, 0.65], abs=1e-5)


def test_a_row_its_annotators_agree_on_is_asked_after_a_new_one() -> None:
    votes = np.array([[0, 0], [1, 1], [0, 1], [1, np.nan]] * 5)
    labelled = np.tile([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.4, 0.6]], (5, 1))
    old, new = relabel_or_new(votes, labelled, np.array([[0.5, 0.5]]))
    assert old[2] < old[0]
    assert new[0] < old[0]


def test_a_tie_of_votes_falls_the_same_way_every_time_even_for_a_model_without_a_clue() -> None:
    votes = np.array([[0.0, 1.0]] * 10 + [[1.0, 1.0]] * 10)
    clueless = np.full((20, 2), 0.5)
    first, again = (relabel_or_new(votes, clueless, clueless)[0] for _ in range(2))
    assert np.array_equal(first, again)
