"""Laws of the signs of life: a bar counts what was done, only the outermost speaks, workers are silent."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest

from rounds.commands import BAR, CLOCK
from stages import _progress
from stages._params import TextFeatures
from stages._progress import progress, waiting, watched
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
