"""The error model and the other findings, on data whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.shipped import shipped_params
from stages.contract.params import Params
from stages.quality.error_model import Coverage, coverage_of, estimate_errors
from stages.quality.judgement import (
    LabelledRows,
    class_balance,
    duplicate_groups,
    judge,
    order_p_value,
    outliers,
)
from stages.quality.policy import choose_doubts, cleanlab_issues, reviewed_shift, shifted
from stages.quality.witnesses import (
    alike,
    disagreement,
    forest_view,
    neighbour_view,
    neighbours,
    pooled,
    witnessed_share,
)
from stages.store.near import Near


def params(classes: int = 2, **gate: object) -> Params:
    return shipped_params({
        "seed": 7, "labels": [f"c{number}" for number in range(classes)],
        "model": {"path": "sklearn.linear_model.LogisticRegression", "params": {"max_iter": 500}},
        "gate": gate,
    })  # fmt: skip


def blobs(
    n: int, classes: int, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (n, 2) around well-parted centres, their classes, and labels of which a share is
    wrong, evenly.
    """
    draw = np.random.default_rng(seed)
    truth = np.arange(n) % classes
    angle = 2 * np.pi * truth / classes
    points = np.column_stack([np.cos(angle), np.sin(angle)]) + draw.normal(0, 0.15, (n, 2))
    labels = truth.copy()
    wrong = draw.permutation(n)[: int(noise * n)]
    labels[wrong] = (truth[wrong] + draw.integers(1, classes, len(wrong))) % classes
    return points.astype(np.float32), truth, labels.astype(np.intp)


def judged(points: np.ndarray, labels: np.ndarray, classes: int, **gate: object):
    ids = [f"r{row}" for row in range(len(labels))]
    return judge(LabelledRows(points, points, labels, ids, ids), params(classes, **gate))


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("classes", [2, 5])
def test_planted_mistakes_between_well_parted_classes_are_found_and_their_share_estimated(
    noise: float, classes: int
) -> None:
    points, truth, labels = blobs(400, classes, noise)
    found = judged(points, labels, classes).errors
    bad = labels != truth
    flagged = found.probability >= 0.4
    assert (flagged & bad).sum() >= 0.93 * bad.sum()
    assert (flagged & ~bad).sum() <= max(0.05, noise / 4) * bad.sum()
    assert found.share == pytest.approx(noise, abs=0.05)
    assert (found.suggested == truth)[bad].mean() > 0.95


def logits(said: list[int], k: int = 2) -> np.ndarray:
    return 4.0 * np.eye(k)[said]


def test_what_witnesses_hold_against_the_labels_beyond_each_other_is_the_labels_fault() -> None:
    """Of ten labels two are wrong. Witnesses who agree: .2 against the labels, 0 apart, so .2.

    Each wrong once, on different rows: against (.3 + .3) / 2, apart .2, so (.3 - .2) / (1 - .2 * 2)
    = 1/6, times what chance leaves of it: of a million such rows all, of a thousand 1 / (1 + .2 *
    .8 / 1000 / .6^2 / .06^2) = .890, of ten .0749.
    """
    truth = [0, 1] * 5
    labels = np.array([1, 0, *truth[2:]])
    assert disagreement([logits(truth), logits(truth)], labels) == pytest.approx(0.2)
    one, other = truth.copy(), truth.copy()
    one[4], other[5] = 1, 0
    for copies, left in ((100_000, 1.0), (100, 0.8901), (1, 0.0749)):
        views = [np.tile(logits(said), (copies, 1)) for said in (one, other)]
        assert disagreement(views, np.tile(labels, copies)) == pytest.approx(left / 6, abs=2e-4)
    assert disagreement([logits(one), logits(other)], np.array(truth)) == 0
    assert disagreement([logits(one)], labels) is None
    assert disagreement([logits(truth), logits(truth)], np.zeros(10, dtype=np.intp)) is None


@pytest.mark.parametrize("seed", range(4))
def test_a_small_clean_seed_of_a_hard_problem_is_not_taken_for_a_dirty_one(seed: int) -> None:
    """Eighty right labels of three classes that no witness can tell well apart."""
    from sklearn.datasets import make_classification

    points, labels = make_classification(
        80, 20, n_informative=8, n_classes=3, n_clusters_per_class=3, flip_y=0, random_state=seed
    )
    found = judged(points / np.sqrt((points**2).sum(axis=1).mean()), labels, 3).errors
    assert found.share < 0.1
    assert (found.probability >= 0.4).mean() < 0.1


def test_ignorance_that_the_witnesses_share_with_nobody_is_not_taken_for_mistakes() -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 10, 2000)
    views = []
    for _ in range(3):  # each is wrong on its own fifth of the rows
        said = np.where(draw.random(2000) < 0.2, draw.integers(0, 10, 2000), truth)
        views.append(3.0 * np.eye(10)[said] + draw.normal(0, 0.5, (2000, 10)))
    for noise in (0.0, 0.1):
        labels = np.where(draw.random(2000) < noise, (truth + 1) % 10, truth)
        found = estimate_errors(pooled(views, labels), labels, 5, disagreement(views, labels))
        flagged = found.probability >= 0.4
        assert flagged.mean() == pytest.approx(noise, abs=0.02)
        assert noise == 0 or flagged[labels != truth].mean() > 0.9


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.4])
def test_a_lone_witness_that_learned_from_many_mistakes_is_believed_where_it_is_surest(
    noise: float,
) -> None:
    """With two classes and 40 % wrong a calibrated model says .6 at most, as if every example were
    hard.
    """
    draw = np.random.default_rng(0)
    truth = np.arange(3000) % 2
    side = draw.normal(2.0, 1.0, 3000) * np.where(truth, 1, -1)
    labels = np.where(draw.random(3000) < noise, 1 - truth, truth)
    found = estimate_errors(pooled([np.column_stack([-side, side])], labels), labels, 5)
    flagged = found.probability >= 0.4
    assert found.share == pytest.approx(noise, abs=0.05)
    assert flagged[labels == truth].mean() < 0.04
    assert noise == 0 or flagged[labels != truth].mean() > 0.85


def test_sparse_features_get_outliers_and_near_duplicates_from_the_dense_geometry() -> None:
    import scipy.sparse as sp

    points, truth, labels = blobs(200, 3, 0.1)
    points[1] = points[0] + 1e-4
    points[7] = 30
    ids = [f"r{row}" for row in range(200)]
    dense, sparse = (
        judge(LabelledRows(matrix, points, labels, ids, ids), params(3))
        for matrix in (points, sp.csr_array(points))
    )
    assert (sparse.errors.probability >= 0.4)[labels != truth].mean() > 0.9
    assert np.allclose(sparse.errors.probability, dense.errors.probability, atol=0.05)
    assert sparse.outlier[7] > 3
    assert sparse.duplicates[0] == sparse.duplicates[1] >= 0


def test_with_given_probabilities_nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    points, truth, labels = blobs(200, 2, 0.1)
    for name in ("out_of_fold", "forest_view"):
        monkeypatch.delattr(f"stages.quality.judgement.{name}")
    ids = [f"r{row}" for row in range(200)]
    for space in (points, points[:, :0]):
        found = judge(
            LabelledRows(None, space, labels, ids, ids), params(2), logits(truth.tolist())
        )
        assert np.array_equal(found.errors.probability >= 0.4, labels != truth)


def test_clean_labels_are_left_alone() -> None:
    points, _, labels = blobs(400, 4, 0.0)
    assert (judged(points, labels, 4).errors.probability >= 0.4).sum() == 0


@pytest.mark.parametrize("seed", range(5))
def test_labels_that_no_model_can_explain_are_not_judged(seed: int) -> None:
    draw = np.random.default_rng(seed)
    points, labels = (
        draw.normal(size=(300, 2)).astype(np.float32),
        draw.integers(0, 2, 300).astype(np.intp),
    )
    assert not judged(points, labels, 2).errors.judged.any()


@pytest.mark.parametrize("n", [0, 1, 2, 10, 19])
def test_too_few_labels_are_not_judged(n: int) -> None:
    points, _, labels = blobs(n, 2, 0.0)
    found = judged(points, labels, 2).errors
    assert not found.judged.any()
    assert not found.probability.any()
    assert np.array_equal(found.suggested, labels)


def test_a_class_with_one_example_is_not_judged_and_does_not_disturb_the_others() -> None:
    points, _, labels = blobs(100, 2, 0.0)
    labels[3] = 2
    found = judged(points, labels, 3).errors
    assert not found.judged[3]
    assert found.judged.sum() == 99


def test_one_class_alone_is_not_judged() -> None:
    points, _, _ = blobs(50, 2, 0.0)
    assert not judged(points, np.zeros(50, dtype=np.intp), 2).errors.judged.any()


def test_a_hundred_and_fifty_classes_are_judged() -> None:
    draw = np.random.default_rng(0)
    truth = np.arange(1500) % 150
    points = (draw.normal(size=(150, 20))[truth] * 3 + draw.normal(size=(1500, 20))).astype(
        np.float32
    )
    scores = -(
        (
            points[:, None, :]
            - (np.array([points[truth == c].mean(axis=0) for c in range(150)]))[None]
        )
        ** 2
    ).sum(2)
    labels = truth.copy()
    labels[:75] = (labels[:75] + 1) % 150
    found = estimate_errors(pooled([scores.astype(np.float64)], labels), labels, 5)
    assert (found.probability[:75] >= 0.4).mean() > 0.9
    assert (found.probability[75:] >= 0.4).mean() < 0.02


def test_copies_with_different_labels_are_doubted_by_the_share_that_contradicts_them() -> None:
    points, _, labels = blobs(60, 2, 0.0)
    points[1], points[3] = points[0], points[0]
    labels[:4] = [0, 0, 1, 1]  # rows 0, 1 and 3 are one example; row 3 says otherwise
    ids = [f"r{row}" for row in range(60)]
    sha = ["x", "x", "r2", "x", *ids[4:]]
    found = judge(LabelledRows(points, points, labels, ids, sha), params(2))
    assert found.conflict.tolist()[:4] == [True, True, False, True]
    assert found.errors.probability[3] >= 2 / 3
    assert len({int(found.duplicates[row]) for row in (0, 1, 3)}) == 1
    assert found.duplicates[0] >= 0


def test_a_copied_mistake_does_not_vouch_for_itself() -> None:
    points, _, labels = blobs(100, 2, 0.0)
    points[:10] = points[0]
    labels[:10] = 1  # ten copies of one example of class 0
    ids = [f"r{row}" for row in range(100)]
    found = judge(LabelledRows(points, points, labels, ids, ["x"] * 10 + ids[10:]), params(2))
    assert (found.errors.probability[:10] >= 0.4).all()


def test_neighbours_are_exact_and_do_not_depend_on_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    expected = np.argsort(squared, axis=1)[:, :7]
    assert np.array_equal(neighbours(points, 7).rows, expected)
    monkeypatch.setattr("stages.quality.witnesses.BLOCK", 200 * 16)
    assert np.array_equal(neighbours(points, 7).rows, expected)
    assert neighbours(points[:3], 7).rows.shape == (3, 2)
    assert neighbours(points[:0], 7).rows.shape == (0, 0)


def test_a_label_of_a_rare_class_says_how_rare_it_is() -> None:
    labels = np.array([0] * 6 + [1] * 2 + [2])
    assert class_balance(labels, 3) == pytest.approx([1] * 6 + [2 / 3] * 2 + [1 / 3])
    assert class_balance(labels, 4)[-1] == pytest.approx(
        4 / 9
    )  # a class without labels counts in the mean


def test_a_far_row_is_an_outlier_and_near_rows_share_a_group() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    points[0] = 40
    points[1] = points[2] + 1e-4
    near = neighbours(points)
    assert outliers(near).argmax() == 0
    assert outliers(near)[0] > 3
    group = duplicate_groups(near, Near(points, points, 0.002, 0.999))
    assert group[1] == group[2]
    assert np.bincount(group).max() == 2


def test_views_never_look_at_the_label_they_are_about() -> None:
    points, _, labels = blobs(80, 2, 0.0)
    other = labels.copy()
    other[5] = 1 - other[5]
    near = neighbours(points)
    mine = [
        neighbour_view(near, each, 2)[5] - np.log(np.bincount(each) / 80 + 1e-9)
        for each in (labels, other)
    ]
    assert np.allclose(mine[0], mine[1], atol=0.5)
    assert neighbour_view(near, other, 2)[5].argmax() == labels[5]
    assert forest_view(points, other, 2, 0)[5].argmax() == labels[5]


def test_rows_in_an_order_that_matters_are_told_from_shuffled_ones() -> None:
    points, truth, _ = blobs(200, 4, 0.0)
    in_order = points[np.argsort(truth, kind="stable")]
    assert order_p_value(neighbours(in_order), 0) == pytest.approx(0.01)
    assert order_p_value(neighbours(points[np.random.default_rng(5).permutation(200)]), 0) > 0.05
    assert order_p_value(neighbours(points[:10]), 0) is None


@given(st.lists(st.tuples(st.floats(0.02, 0.98), st.booleans()), max_size=30))
@settings(deadline=None)
def test_confirmations_never_raise_and_contradictions_never_lower_the_correction(
    ends: list[tuple[float, bool]],
) -> None:
    scores, wrong = np.array([s for s, _ in ends]), np.array([w for _, w in ends], dtype=bool)
    now = reviewed_shift(scores, wrong)
    assert reviewed_shift(np.append(scores, 0.7), np.append(wrong, True)) >= now - 1e-6
    assert reviewed_shift(np.append(scores, 0.7), np.append(wrong, False)) <= now + 1e-6


def test_a_correction_keeps_the_ranking_and_the_ends() -> None:
    assert reviewed_shift(np.zeros(0), np.zeros(0, dtype=bool)) == 0
    moved = shifted(np.array([0.0, 0.2, 0.8, 1.0]), -1.0)
    assert moved[0] == 0
    assert moved[3] == 1
    assert 0 < moved[1] < 0.2 < moved[2] < 0.8


@pytest.mark.parametrize(("policy", "count"), [("threshold", 20), ("budget", 4), ("cleanlab", 20)])
def test_each_policy_sets_aside_the_most_doubtful_labels(policy: str, count: int) -> None:
    points, truth, labels = blobs(200, 2, 0.1)
    rules = params(2, policy=policy)
    ids = [f"r{row}" for row in range(200)]
    rows = LabelledRows(points, points, labels, ids, ids)
    chosen = choose_doubts(judge(rows, rules), rows, rules, share=0.3, reviews=4)
    assert chosen.sum() == pytest.approx(count, abs=2)
    assert (labels != truth)[chosen].mean() > 0.9


def test_never_more_than_the_allowed_share_nor_half_of_a_class_is_set_aside() -> None:
    points, _, labels = blobs(200, 2, 0.0)
    error = np.where(labels == 0, 0.99, 0.0)
    found = judged(points, labels, 2)
    found = replace(found, errors=replace(found.errors, probability=error))
    ids = [f"r{row}" for row in range(200)]
    rows = LabelledRows(points, points, labels, ids, ids)
    assert choose_doubts(found, rows, params(2), share=1.0, reviews=4).sum() == 50
    assert choose_doubts(found, rows, params(2), share=0.1, reviews=4).sum() == 20


def test_no_more_is_set_aside_than_two_batches_can_review_unless_it_is_probably_wrong() -> None:
    points, _, labels = blobs(200, 2, 0.0)
    error = np.where(np.arange(200) < 60, 0.45, 0.0)
    error[100:103] = 0.7
    found = judged(points, labels, 2)
    found = replace(found, errors=replace(found.errors, probability=error))
    ids = [f"r{row}" for row in range(200)]
    rows = LabelledRows(points, points, labels, ids, ids)
    chosen = choose_doubts(found, rows, params(2), share=1.0, reviews=4)
    assert chosen[100:103].all()
    assert chosen.sum() == 8


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40))
def test_reviews_move_the_doubt_by_a_bounded_step_in_the_direction_of_what_they_found(ends) -> None:
    scores, wrong = (
        np.array([score for score, _ in ends]),
        np.array([end for _, end in ends], dtype=bool),
    )
    shift = reviewed_shift(scores, wrong)
    assert -3 <= shift <= 1
    if len(ends) and wrong.all():
        assert shift >= 0
    if len(ends) and not wrong.any():
        assert shift <= 0


def test_cleanlab_is_asked_with_classes_that_may_be_missing() -> None:
    points, truth, labels = blobs(200, 2, 0.1)
    scores = np.full((200, 4), -np.inf)
    scores[:, [0, 3]] = judged(points, labels, 2).scores
    issues = cleanlab_issues(scores, np.where(labels == 1, 3, 0))
    assert issues[labels != truth].mean() > 0.8


def lonely() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sixty rows in two clusters with right labels, twenty more, each alone in a direction of its
    own; the geometry, the labels, and what a witness says that falls back on the first class.
    """
    clusters = np.repeat(np.eye(22)[:2], 30, axis=0)
    geometry = np.vstack([clusters, np.eye(22)[2:]]).astype(np.float32)
    labels = np.repeat([0, 1], [30, 50])
    fallback = np.repeat([0, 1, 0], [30, 30, 20])
    return geometry, labels, fallback


def test_witnesses_that_agree_only_where_nothing_is_like_a_row_are_no_sign_of_wrong_labels() -> (
    None
):
    """Sixty rows in two clusters with right labels; twenty more, each alone in a direction of its
    own.
    """
    geometry, labels, fallback = lonely()
    views = [np.eye(2)[fallback] * 5] * 2
    near = neighbours(geometry, 5)
    seen = coverage_of(near, alike(near, geometry), labels).seen
    assert seen.tolist() == [True] * 60 + [False] * 20
    assert disagreement(views, labels) == pytest.approx(0.25)
    assert witnessed_share(views, labels, seen) == 0.0
    assert witnessed_share(views[:1], labels, seen) is None


def test_ignorance_that_the_witnesses_share_makes_nobody_elses_label_doubtful(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same rows. Two witnesses err on five hard ones each, which says nothing of the labels;
    that both miss the twenty that nothing is like would say that a seventh of all are wrong.
    """
    geometry, labels, fallback = lonely()
    views = [5.0 * np.eye(2)[fallback] for _ in range(2)]
    for view, hard in zip(views, (slice(0, 5), slice(5, 10)), strict=True):
        view[hard] = 8.0 * np.eye(2)[1 - fallback[hard]]
    monkeypatch.setattr("stages.quality.judgement._views", lambda *_: views)
    ids = [f"r{row}" for row in range(80)]
    found = judge(LabelledRows(geometry, geometry, labels, ids, ids), params(2)).errors
    assert found.judged.tolist() == [True] * 60 + [False] * 20
    assert found.share < 0.02
    assert found.probability.max() < 0.1  # .81 by their word on all rows


def test_what_the_witnesses_have_never_seen_is_not_known() -> None:
    """Two crowded blobs, and one right label far from both, of a class that was seen in the other
    blob alone.
    """
    points, _, labels = blobs(80, 2, 0.0)
    alone = np.vstack([points, [[60.0, -60.0, *[0.0] * (points.shape[1] - 2)]]]).astype(np.float32)
    given = np.append(labels, 1 - labels[-1]).astype(np.intp)
    rows = LabelledRows(
        alone, alone, given, [f"r{row}" for row in range(81)], [f"s{row}" for row in range(81)]
    )
    found = judge(rows, params(2))
    assert not found.errors.judged[80]
    assert found.errors.probability[80] == 0
    assert found.errors.judged[:80].mean() > 0.9


def test_no_doubt_is_surer_than_the_number_of_labels_allows() -> None:
    """Thirty-nine labels and one that every witness contradicts: 40 / 41 at most, though without
    the bound it is 1 to nine digits. A fortieth, which nothing is like, is not judged.
    """
    labels = np.array([0, 1] * 20)
    scores = 40.0 * np.eye(2)[labels]
    scores[[4, 7]] = scores[[5, 6]]
    similar = np.where(np.arange(40) == 7, 0, 1_000_000)
    found = estimate_errors(scores, labels, 5, 0.025, Coverage(similar, 0 * similar))
    assert found.probability[4] == pytest.approx(40 / 41, abs=1e-6)
    assert not found.judged[7]
    assert found.judged.sum() == 39
    assert found.probability[7] == 0
    assert found.suggested[[4, 7]].tolist() == [1, 1]
    assert found.share == pytest.approx(found.probability[found.judged].mean())


def test_a_label_that_few_rows_are_like_keeps_a_least_chance_to_be_right() -> None:
    """(agreeing + 1/2) / (similar + 1) x (3 / (3 + similar))^2, by hand."""
    coverage = Coverage(np.array([0, 1, 3, 15]), np.array([0, 1, 0, 3]))
    assert coverage.least_chance(2) == pytest.approx(
        [1 / 2, 3 / 4 * 9 / 16, 1 / 8 / 4, 3.5 / 16 / 36]
    )
    assert coverage.seen.tolist() == [False, True, True, True]


def test_rows_alike_are_nearer_in_ratio_to_a_usual_neighbour_than_to_a_row_at_random() -> None:
    """Two clusters of corners 1 apart, 100 from each other: like are 1 and sqrt(2), not 100."""
    square = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    points = np.vstack([square, square + np.array([100, 0], dtype=np.float32)])
    like = alike(neighbours(points, 7), points)
    assert like.tolist() == [[True] * 3 + [False] * 4] * 8
    assert alike(neighbours(square[:, :0], 0), square[:, :0]).shape == (4, 0)


def test_more_classes_than_half_of_the_rows_are_no_reason_to_warn() -> None:
    points, _, _ = blobs(24, 2, 0.0)
    assert forest_view(points, np.arange(24), 24, 0).shape == (24, 24)
    assert not judged(points, np.arange(24) // 2, 12).errors.judged.any()
    assert not judged(points, np.arange(24) // 3 * 2, 16).errors.judged.any()
