from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.contract.identity import best_first, order_key, order_keys, stratified_folds


def test_the_key_is_the_head_of_the_hash_of_seed_and_id() -> None:
    assert order_key(3, "p-17") == int(hashlib.sha256(b"3:p-17").hexdigest()[:16], 16)


scores = st.lists(st.sampled_from([0.0, 0.1, 0.1 + 1e-12, 0.5, 1.0]), min_size=1, max_size=40)


@given(scores, st.integers(0, 50), st.randoms(use_true_random=False))
def test_best_first_is_a_full_sort_by_score_then_key_and_ignores_row_order(
    values, count, random
) -> None:
    keys = order_keys(0, [f"id-{place}" for place in range(len(values))])
    expected = sorted(range(len(values)), key=lambda row: (-round(values[row], 9), int(keys[row])))[
        :count
    ]
    assert best_first(np.array(values), keys, count).tolist() == expected
    order = list(range(len(values)))
    random.shuffle(order)
    shuffled = best_first(np.array(values)[order], keys[order], count)
    assert [order[row] for row in shuffled] == expected


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.integers(2, 5))
def test_folds_are_even_within_each_class_and_do_not_depend_on_row_order(labels, folds) -> None:
    ids = [f"id-{place}" for place in range(len(labels))]
    fold = stratified_folds(np.array(labels), ids, folds, seed=1)
    for label in set(labels):
        sizes = np.bincount(fold[np.array(labels) == label], minlength=folds)
        assert sizes.max() - sizes.min() <= 1
    again = stratified_folds(np.array(labels)[::-1], ids[::-1], folds, seed=1)
    assert again[::-1].tolist() == fold.tolist()
