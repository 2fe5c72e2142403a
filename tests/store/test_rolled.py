"""Rolled n-grams are those of scikit-learn's analysers."""

from __future__ import annotations

import numpy as np
import pytest

from rounds.shipped import shipped_params
from stages.store import rolled as module
from stages.store.rolled import repeated_columns, rolled

TEXTS = [
    "",
    "a",
    "a b",
    "  Two  words, two\nlines ",
    "x_y z-w q.",
    "\u00e9t\u00e9 \u6f22\u5b57",
    "aaaa aaaa",
]


def test_the_counts_of_each_text_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    monkeypatch.setattr(module, "CHARACTERS", 8)  # several blocks
    counts = np.exp(rolled(TEXTS, shipped_params().features.text, 22).data - 1)
    words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
    characters = CountVectorizer(analyzer="char_wb", ngram_range=(2, 5))
    both = [words.fit_transform(TEXTS), characters.fit_transform(TEXTS)]
    expected = np.concatenate([np.concatenate([m[row].data for m in both]) for row in range(7)])
    assert sorted(counts.round().astype(int)) == sorted(expected)


def test_columns_of_one_row_are_left_out() -> None:
    counts = rolled(["ab", "ab", "cd"], shipped_params().features.text, 18)
    kept = repeated_columns(counts, 2)
    assert kept.shape[1] == len(np.intersect1d(counts[0].indices, counts[1].indices))
    assert not kept[2].nnz
