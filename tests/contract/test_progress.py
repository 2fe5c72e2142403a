"""Laws of the signs of life: a bar counts what was done, the outermost that has one speaks, workers
are silent.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import TruncatedSVD
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from rounds import commands
from rounds.commands import Dvc
from rounds.shipped import shipped_params
from stages.contract import progress as contract_progress
from stages.contract.params import Learner
from stages.contract.progress import WRITER, Progress, progress, watched
from stages.features.whole import text_features
from stages.learning import classifier
from stages.store.space import counting

BAR = re.compile(r"([\w, -]+):\s+\d+%\|.*\| (\d+)/(\d+) \[[\d:]+<([\d:?]+), *([^\]]+)\]")  # tqdm's
CLOCK = re.compile(r"[\w, -]+: \d+ s(, [\d:]+ left as of the last time)?$")

Heard = Callable[[re.Pattern[str]], re.Match[str]]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Waits until something is said that matches, and gives the match; signs come at once and
    without a pause.
    """
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

    monkeypatch.setattr(contract_progress, "_say", say)
    monkeypatch.setattr(contract_progress, "DELAY", 0)
    monkeypatch.setattr(contract_progress, "EVERY", 0.0001)
    return find


def test_a_bar_counts_every_item_with_rate_and_time_left(heard: Heard) -> None:
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


def test_until_a_step_is_done_the_time_that_passed_is_said_and_at_the_end_wiped(
    heard: Heard,
) -> None:
    with progress("word n-grams", 4, "text"):
        assert heard(CLOCK).group() == "word n-grams: 0 s"
    assert heard(re.compile("$")).string == ""


@pytest.mark.parametrize(
    ("at_most", "name"), [(False, "directions"), (True, "directions, at most")]
)
def test_steps_that_may_be_fewer_are_said_to_be(heard: Heard, at_most: bool, name: str) -> None:
    with progress("directions") as told:
        told.total, told.at_most = 13, at_most
        told.update(5)
        assert heard(BAR).groups()[:3] == (name, "5", "13")


def test_of_work_within_work_the_outermost_speaks_of_which_a_step_is_done(heard: Heard) -> None:
    before = threading.active_count()
    with progress("batch"):
        assert heard(CLOCK).group() == "batch: 0 s"
        with progress("picks", 3, "row") as outer:
            outer.update()
            assert heard(BAR).groups()[:3] == ("picks", "1", "3")
            with progress("inner", 5) as inner:
                inner.update()
                outer.update()
                assert heard(re.compile(r"picks.* 2/3 ")), "the outer of the two that count"
            assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_what_cannot_count_is_told_the_time_left_as_of_the_last_time(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(contract_progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with progress("own model"):
        assert heard(CLOCK).group() == "own model: 0 s"
        clock.now += 75
    with progress("another"):
        assert heard(re.compile("another")).string == "another: 0 s"
    with progress("own model"):
        clock.now += 15
        assert (
            heard(re.compile(r".*: 15 s")).string
            == "own model: 15 s, 01:00 left as of the last time"
        )
        clock.now += 61
        assert heard(re.compile(r".*: 76 s")).string == "own model: 76 s"


@pytest.mark.usefixtures("heard")
def test_outside_of_a_project_and_of_what_can_count_no_time_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(contract_progress, "DELAY", -1)
    with progress("model"):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    assert list(watched("texts", "ab", "text")) == ["a", "b"]
    assert list((tmp_path / ".dvc/tmp").iterdir()) == []


def test_a_kept_time_that_cannot_be_read_is_no_time(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".dvc/tmp/took-model").write_bytes(b"\xff")
    with progress("model"):
        assert heard(CLOCK).string == "model: 0 s"


def test_a_worker_process_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        contract_progress, "current_process", lambda: SimpleNamespace(name="LokyProcess-1")
    )
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
def test_every_product_of_the_directions_is_told_and_none_changes_them(
    kind: Any, shape: tuple[int, int]
) -> None:
    known = kind(sp.random(*shape, density=0.1, random_state=0, dtype=np.float32))
    told = Progress()
    svd = TruncatedSVD(10, random_state=0).fit(counting(known, told))
    assert np.array_equal(svd.components_, TruncatedSVD(10, random_state=0).fit(known).components_)
    assert told.done == 2 * svd.n_iter + 3
    assert np.shares_memory(counting(known, told).data, known.data)


@pytest.mark.skipif(
    not hasattr(LogisticRegression, "set_callbacks"), reason="scikit-learn before 1.9 tells nothing"
)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_large_fit_tells_its_steps_and_is_the_same_fit(
    sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows: Any = rng.normal(size=(40, 90))
    labels = rng.integers(0, 3, 40)
    rows = sp.csr_matrix(rows) if sparse else rows
    spec = Learner(path="sklearn.linear_model.LogisticRegression", params={"max_iter": 1000})
    told: list[Progress] = []

    @contextmanager
    def kept(doing: str) -> Iterator[Progress]:
        told.append(Progress(doing))
        yield told[-1]

    monkeypatch.setattr(classifier, "progress", kept)
    small = classifier.fit(spec, rows, labels, 3, 0)
    assert told == []
    monkeypatch.setattr(classifier, "WORTH_SHOWING", 40 * 40 * 3)
    large = classifier.fit(spec, rows, labels, 3, 0)
    steps = int(large.estimator.n_iter_[0]) + 1
    assert [(one.doing, one.total, one.at_most, one.done) for one in told] == [
        ("model", 1001, True, steps)
    ]
    assert np.array_equal(large.estimator.coef_, small.estimator.coef_)
    assert vars(large.estimator).keys() == vars(small.estimator).keys()


def test_a_model_of_the_users_own_tells_the_time_however_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    @contextmanager
    def kept(doing: str) -> Iterator[Progress]:
        told.append(doing)
        yield Progress(doing)

    monkeypatch.setattr(classifier, "progress", kept)
    spec = Learner(path="tests.contract.test_progress.Own", params={})
    classifier.fit(spec, np.eye(2), np.array([0, 1]), 2, 0)
    assert told == ["model"]


class Own(DummyClassifier):
    """As of a module that is not scikit-learn's."""


@pytest.mark.parametrize("hashing", [None, 256])
def test_a_bar_changes_no_feature(hashing: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    options = shipped_params(
        {"features": {"text": {"hashing": hashing, "min_df": 1}}}
    ).features.text
    texts = ["one two three", "two three four", "three four five"]
    shown = text_features(texts, slice(0, 2), options)
    monkeypatch.setattr(
        contract_progress, "current_process", lambda: SimpleNamespace(name="LokyProcess-1")
    )
    silent = text_features(texts, slice(0, 2), options)
    assert np.array_equal(shown.toarray(), silent.toarray())
    assert shown.shape[0] == len(texts)


SLOW = """
import sys
print("\\1half done", file=sys.stderr, flush=True)
open("first").read()
print("\\1", file=sys.stderr, flush=True)
open("second").read()
print(" 28%|##   |Adding images to cache  2.27k/8.00k [00:00<00:01, 3.57kfile/s]\\r", file=sys.stderr, flush=True)
open("third").read()
"""


def test_a_rounds_command_passes_on_what_a_stage_or_dvc_says_and_else_the_time_it_takes(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "LOGGED", 0)
    (tmp_path / "dvc.yaml").write_text("stages: {slow: {cmd: python slow.py}}")
    (tmp_path / "slow.py").write_text(SLOW)
    for name in ("first", "second", "third"):
        os.mkfifo(tmp_path / name)
    named: list[str] = []
    with Dvc(tmp_path, named.append) as dvc:
        dvc("init", "--no-scm")
        work = threading.Thread(target=dvc, args=("repro",))
        work.start()
        assert heard(re.compile("half done")).string == "half done"
        (tmp_path / "first").write_text("go on")
        assert heard(re.compile("slow")).string.startswith("slow: ")
        (tmp_path / "second").write_text("go on")
        dvcs = " 28%|##   |Adding images to cache  2.27k/8.00k [00:00<00:01, 3.57kfile/s]"  # a bar as DVC draws them
        assert heard(re.compile("28%")).string == dvcs.strip()
        (tmp_path / "third").write_text("go on")
        work.join()
    assert named == ["slow"]
    assert (tmp_path / ".dvc/tmp/took-slow").is_file()


@pytest.mark.parametrize(
    ("terminal", "writer", "written"),
    [
        (True, None, "\r\033[Khalf done\r\033[K"),
        (False, None, "half done\n"),
        (False, "project:1", "\1half done\n\1\n"),
        (True, "project:1", "\1half done\n\1\n"),
    ],
)
def test_signs_of_life_go_in_place_to_a_log_or_to_who_started_this(
    terminal: bool, writer: str | None, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WRITER, raising=False)
    if writer:
        monkeypatch.setenv(WRITER, writer)
    stream = StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    contract_progress._say("half done")
    contract_progress._say("")
    assert stream.getvalue() == written
