"""Laws of the signs of life: a bar counts what was done, only the outermost speaks, workers are silent."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import LogisticRegression

from rounds.commands import BAR, CLOCK
from stages import _progress
from stages._learning import fit
from stages._params import Import, TextFeatures
from stages._progress import Told, progress, watched
from stages._space import counting
from stages.featurize import text_features

Heard = Callable[[re.Pattern[str]], re.Match[str]]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Waits until something is said that matches, and gives the match; signs come at once and without a pause."""
    said: list[str] = []
    more = threading.Condition()

    def say(text: str) -> None:
        with more:
            said.append(text.strip())
            more.notify_all()

    def find(pattern: re.Pattern[str]) -> re.Match[str]:
        with more:
            assert more.wait_for(lambda: any(pattern.match(text) for text in said), 60)
            return next(match for text in reversed(said) if (match := pattern.match(text)))

    monkeypatch.setattr(_progress, "_say", say)
    monkeypatch.setattr(_progress, "DELAY", 0)
    monkeypatch.setattr(_progress, "_interval", lambda: 0.001)
    return find


def test_a_bar_counts_every_item_and_close_repeats_it(heard: Heard) -> None:
    seen = []
    for item in watched("word n-grams", list("abcd"), "text"):
        if seen:
            name, done, total, left, rate = heard(
                re.compile(BAR.pattern.replace(r"(\d+)/", f"({len(seen)})/"))
            ).groups()
            assert (name, done, total) == ("word n-grams", str(len(seen)), "4")
            assert left != "?"
            assert rate.endswith(("text/s", "s/text"))
        seen.append(item)
    assert seen == list("abcd")


def test_until_a_step_is_done_the_time_that_passed_is_said_and_at_the_end_wiped(heard: Heard) -> None:
    with progress("word n-grams", 4, "text"):
        assert heard(CLOCK).group() == "word n-grams: 0 s"
    assert not heard(re.compile("$")).group()


@pytest.mark.parametrize(("at_most", "name"), [(False, "directions"), (True, "directions, at most")])
def test_steps_that_may_be_fewer_are_said_to_be(heard: Heard, at_most: bool, name: str) -> None:
    with progress("directions") as told:
        told.total, told.at_most = 13, at_most
        told.update(5)
        assert heard(BAR).groups()[:3] == (name, "5", "13")


@pytest.mark.usefixtures("heard")
def test_only_the_outermost_speaks() -> None:
    outer = threading.active_count()
    for _ in watched("outer", [1, 2], "thing"):
        assert threading.active_count() == outer + 1
        with progress("inner"):
            assert list(watched("inner", [1, 2, 3], "thing")) == [1, 2, 3]
            assert threading.active_count() == outer + 1
    assert threading.active_count() == outer


def test_a_worker_process_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "current_process", lambda: SimpleNamespace(name="LokyProcess-1"))
    before = threading.active_count()
    for _ in watched("parts", [1, 2], "part"):
        assert threading.active_count() == before


def test_after_an_error_others_speak_again(heard: Heard) -> None:
    with suppress(InterruptedError):
        for _ in watched("first", [1, 2], "thing"):
            raise InterruptedError
    with suppress(InterruptedError), progress("model"):
        raise InterruptedError
    with progress("second"):
        assert heard(re.compile("second"))


@pytest.mark.parametrize("shape", [(60, 200), (200, 60)])
@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, sp.csr_array])
def test_every_product_of_the_directions_is_told_and_none_changes_them(kind: Any, shape: tuple[int, int]) -> None:
    known = kind(sp.random(*shape, density=0.1, random_state=0, dtype=np.float32))
    told = Told()
    svd = TruncatedSVD(10, random_state=0).fit(counting(known, told))
    assert np.array_equal(svd.components_, TruncatedSVD(10, random_state=0).fit(known).components_)
    assert told.done == 2 * svd.n_iter + 3
    assert np.shares_memory(counting(known, told).data, known.data)


@pytest.mark.skipif(not hasattr(LogisticRegression, "set_callbacks"), reason="scikit-learn before 1.9 tells nothing")
@pytest.mark.parametrize("sparse", [False, True])
def test_a_fit_tells_its_steps_and_is_the_same_fit(sparse: bool) -> None:
    rng = np.random.default_rng(0)
    rows: Any = rng.normal(size=(40, 90))
    labels = rng.integers(0, 3, 40)
    rows = sp.csr_matrix(rows) if sparse else rows
    spec = Import(path="sklearn.linear_model.LogisticRegression", params={"max_iter": 1000})
    told = Told()
    watched_fit, plain_fit = fit(spec, rows, labels, 3, 0, told), fit(spec, rows, labels, 3, 0)
    assert told == Told(1001, int(watched_fit.estimator.n_iter_[0]) + 1, at_most=True)
    assert np.array_equal(watched_fit.estimator.coef_, plain_fit.estimator.coef_)
    assert vars(watched_fit.estimator).keys() == vars(plain_fit.estimator).keys()


@pytest.mark.parametrize("hashing", [None, 256])
def test_a_bar_changes_no_feature(hashing: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    options = TextFeatures(hashing=hashing, min_df=1)
    texts = ["one two three", "two three four", "three four five"]
    shown = text_features(texts, slice(0, 2), options)
    monkeypatch.setattr(_progress, "current_process", lambda: SimpleNamespace(name="LokyProcess-1"))
    silent = text_features(texts, slice(0, 2), options)
    assert np.array_equal(shown.toarray(), silent.toarray())
    assert shown.shape[0] == len(texts)
