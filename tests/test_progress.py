"""Laws of the signs of life: a bar counts what was done, only the outermost speaks, workers are silent."""

from __future__ import annotations

import threading
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
from stages._progress import Told, progress, waiting, watched
from stages._space import counting
from stages.featurize import text_features


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "DELAY", 0)
    monkeypatch.setattr(_progress, "_interval", lambda: 0.0)


def test_a_bar_counts_every_item_and_close_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(watched("word n-grams", list("abcd"), "text")) == list("abcd")
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    found = [match.groups() for line in lines if (match := BAR.match(line))]
    assert [(name, done, total) for name, done, total, _, _ in found][-1] == ("word n-grams", "4", "4")
    assert all(rate.endswith(("text/s", "s/text")) for *_, rate in found if "?" not in rate)


def test_only_the_outermost_bar_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in watched("outer", [1, 2], "thing"):
        assert list(watched("inner", [1, 2, 3], "thing")) == [1, 2, 3]
        with waiting("clock"):
            pass
    err = capsys.readouterr().err
    assert "outer" in err
    assert "inner" not in err
    assert "clock" not in err


def test_a_worker_process_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "current_process", lambda: SimpleNamespace(name="LokyProcess-1"))
    list(watched("parts", [1, 2], "part"))
    with waiting("model"), progress("models", 1, "model") as bar:
        bar.update()
    assert capsys.readouterr().err == ""


def test_a_step_that_does_not_tell_how_far_it_is_shows_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    twice = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            twice.set()

    monkeypatch.setattr(_progress, "_say", say)
    with waiting("directions"):
        assert twice.wait(60)
    assert CLOCK.match(said[0].strip())
    assert not said[-1].strip()  # the line is wiped


@pytest.mark.parametrize(("at_most", "name"), [(False, "directions"), (True, "directions, at most")])
def test_a_step_that_tells_how_far_it_is_shows_a_bar(at_most: bool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    bar = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if BAR.match(text.strip()):
            bar.set()

    monkeypatch.setattr(_progress, "_say", say)
    with waiting("directions") as told:
        told.total, told.at_most = 13, at_most
        told.done = 5
        assert bar.wait(60)
    found = next(match.groups() for text in said if (match := BAR.match(text.strip())))
    assert found[:3] == (name, "5", "13")
    assert found[3] != "?"  # the time left


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
    assert told == Told(int(watched_fit.estimator.n_iter_[0]) + 1, 1001, at_most=True)
    assert np.array_equal(watched_fit.estimator.coef_, plain_fit.estimator.coef_)
    assert vars(watched_fit.estimator).keys() == vars(plain_fit.estimator).keys()


def test_after_an_error_bars_speak_again(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(InterruptedError):
        for _ in watched("first", [1, 2], "thing"):
            raise InterruptedError
    with suppress(InterruptedError), waiting("model"):
        raise InterruptedError
    list(watched("second", [1], "thing"))
    assert "second" in capsys.readouterr().err


@pytest.mark.parametrize("hashing", [None, 256])
def test_a_bar_changes_no_feature(hashing: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    options = TextFeatures(hashing=hashing, min_df=1)
    texts = ["one two three", "two three four", "three four five"]
    shown = text_features(texts, slice(0, 2), options)
    monkeypatch.setattr(_progress, "current_process", lambda: SimpleNamespace(name="LokyProcess-1"))
    silent = text_features(texts, slice(0, 2), options)
    assert np.array_equal(shown.toarray(), silent.toarray())
    assert shown.shape[0] == len(texts)
