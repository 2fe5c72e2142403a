"""What holds for every strategy of the table, and what the registry refuses."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Make
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.contract.canonical import Row
from stages.contract.errors import PipelineError
from stages.strategies import Candidates, Ranking
from stages.strategies.registry import REMOVED, TABLE, Strategy, find, lawful, resolve

ROWS = pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.engine}-{row.name}")


def asked(candidates: Candidates, ranking: Ranking) -> list[str]:
    return [candidates.ids[position] for position in ranking.positions]


def permuted(candidates: Candidates, order: np.ndarray) -> Candidates:
    """The candidates in another order, and their labelled rows last first."""
    return replace(
        candidates,
        labelled=candidates.labelled[::-1],
        labelled_class=candidates.labelled_class[::-1],
        held_out=candidates.held_out[::-1],
        stands_for=candidates.stands_for[order],
        ids=[candidates.ids[row] for row in order],
        keys=candidates.keys[order],
        geometry=candidates.geometry[order],
        probabilities=candidates.probabilities[order],
        committee=candidates.committee[:, order],
    )


@ROWS
@pytest.mark.parametrize("tied", [False, True])
def test_row_order_changes_neither_the_picks_nor_their_scores(
    row: Strategy, tied: bool, make: Make
) -> None:
    candidates = make(tied=tied)
    shares = np.random.default_rng(2).lognormal(size=120)
    candidates = replace(candidates, held_out=candidates.probabilities[:12], stands_for=shares)
    rank = resolve(row.name, row.engine)
    shuffled = permuted(candidates, np.random.default_rng(1).permutation(len(candidates)))
    here, there = rank(candidates, 15), rank(shuffled, 15)
    assert asked(candidates, here) == asked(shuffled, there)
    assert here.scores.tolist() == there.scores.tolist()
    assert (here.reasons, here.regime) == (there.reasons, there.regime)


@ROWS
@pytest.mark.parametrize("count", [1, 15, 120, 500])
def test_a_batch_has_no_repeats_and_is_the_pool_when_the_pool_is_smaller(
    row: Strategy, count: int, make: Make
) -> None:
    candidates = make()
    ranking = resolve(row.name, row.engine)(candidates, count)
    assert len(set(asked(candidates, ranking))) == min(count, 120)


@ROWS
def test_the_input_is_left_as_it_was_and_numpys_global_generator_is_not_used(
    row: Strategy, make: Make
) -> None:
    candidates, same = make(), make()
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 - the global state is what must not move
    resolve(row.name, row.engine)(candidates, 15)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    for name in ("geometry", "labelled", "labelled_class", "probabilities", "committee", "keys"):
        assert (getattr(candidates, name) == getattr(same, name)).all()


@ROWS
def test_an_empty_pool_gives_an_empty_batch(row: Strategy, make: Make) -> None:
    ranking = resolve(row.name, row.engine)(make(n=0), 15)
    assert len(ranking.positions) == 0
    assert ranking.regime == "nothing to ask"


@settings(max_examples=20, deadline=None)
@given(
    draw=st.integers(0, 10**6),
    n=st.integers(1, 40),
    m=st.integers(0, 10),
    k=st.integers(2, 5),
    count=st.integers(1, 12),
)
def test_our_strategies_take_pools_of_any_shape(
    draw: int, n: int, m: int, k: int, count: int
) -> None:
    from conftest import make_candidates

    candidates = make_candidates(n=n, m=m, k=k, draw=draw, tied=draw % 2 == 0)
    for row in TABLE:
        if row.engine == "own":
            assert len(resolve(row.name, row.engine)(candidates, count).positions) == min(n, count)


def odd_pools(make: Make) -> dict[str, Candidates]:
    k = 3
    plain = make(n=12, m=5, d=3)
    certain = np.eye(k)[np.zeros(12, np.intp)]
    missed = plain.committee * (np.arange(k) > 0)  # no member has seen class 0
    missed /= missed.sum(axis=2, keepdims=True)
    return {
        "one row": make(n=1, m=1, d=3, k=k),
        "one row and no label": make(n=1, m=0, d=3, k=k),
        "two rows": make(n=2, m=1, d=3, k=k, tied=True),
        "one dimension": make(n=12, m=5, d=1, k=k),
        "one point": replace(
            plain, geometry=np.ones((12, 3), np.float32), labelled=np.ones((5, 3), np.float32)
        ),
        "nothing but zeros": replace(
            plain, geometry=plain.geometry * 0, labelled=plain.labelled * 0
        ),
        "huge": replace(plain, geometry=plain.geometry * np.float32(1e15)),
        "copies of labelled rows": replace(
            plain, geometry=np.repeat(plain.labelled[:4], 3, axis=0)
        ),
        "labels of no known class": replace(plain, labelled_class=np.full(5, -1)),
        "no doubt at all": replace(
            plain, probabilities=certain, committee=np.repeat(certain[None], 4, axis=0)
        ),
        "nothing but doubt": replace(plain, probabilities=np.full((12, k), 1 / k)),
        "a class that no member saw": replace(
            plain, committee=missed, probabilities=missed.mean(axis=0)
        ),
        "two members": replace(plain, committee=plain.committee[:2]),
    }


@ROWS
def test_every_strategy_fills_its_batch_from_an_odd_pool(row: Strategy, make: Make) -> None:
    rank = resolve(row.name, row.engine)
    for name, candidates in odd_pools(make).items():
        for count in (1, 4, 30):
            ranking = rank(candidates, count)
            assert len(set(asked(candidates, ranking))) == min(count, len(candidates)), name
            assert not any(
                "nan" in reason or "inf" in reason.split() for reason in ranking.reasons
            ), name


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in TABLE
        if {"probabilities", "committee"}.isdisjoint(row.needs) and row.name != "auto"
    ],
    ids=lambda row: f"{row.engine}-{row.name}",
)
def test_a_strategy_that_needs_no_probabilities_is_not_swayed_by_them(
    row: Strategy, make: Make
) -> None:
    bound = (
        {"sample": 50}
        if "sample" in inspect.signature(resolve(row.name, row.engine)).parameters
        else {}
    )
    candidates = make(n=200)
    other = replace(candidates, probabilities=candidates.probabilities[::-1])
    here, there = (
        resolve(row.name, row.engine)(case, 10, **bound).positions.tolist()
        for case in (candidates, other)
    )
    assert here == there


def test_libraries_are_loaded_before_their_threads_are_held_to_one() -> None:
    program = (
        "import sys; from conftest import make_candidates; from threadpoolctl import threadpool_info\n"
        "from stages.strategies.registry import resolve\n"
        "rank, candidates = resolve(*sys.argv[1:]), make_candidates()\n"
        "before = {pool['filepath'] for pool in threadpool_info()}; rank(candidates, 5)\n"
        "print(sorted({pool['filepath'] for pool in threadpool_info()} - before))\n"
    )
    for name, engine in (("prob_cover", "skactiveml"), ("entropy", "modal")):
        assert run(program, "1", name, engine) == "[]\n"


def run(program: str, threads: str, *words: str) -> str:
    """What a program prints in a process with that many threads and that hash seed."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)])
    names = ("PYTHONHASHSEED", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    env = {**os.environ, "PYTHONPATH": path, **dict.fromkeys(names, threads)}
    return subprocess.run(
        [sys.executable, "-c", program, *words], env=env, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.slow
def test_picks_do_not_depend_on_threads_or_the_hash_seed() -> None:
    program = (
        "from conftest import make_candidates; from stages.strategies.registry import TABLE, resolve\n"
        "c = make_candidates(n=3000, m=60, d=16, k=2, draw=3)\n"
        "for row in TABLE:\n"
        "    if row.name not in ('batch_bald', 'prob_cover'):\n"  # small pools only
        "        r = resolve(row.name, row.engine)(c, 40); print(row.path, r.positions.tolist(), r.scores.tolist())\n"
    )
    said = [run(program, threads) for threads in ("1", "2")]
    assert said[0] == said[1]
    assert said[0].count("\n") == len(TABLE) - 2


def test_an_unknown_name_is_refused_with_the_closest_one() -> None:
    with pytest.raises(
        PipelineError, match=re.escape("unknown strategy 'entropi' (did you mean 'entropy'?)")
    ):
        resolve("entropi")


def test_a_strategy_that_left_is_refused_with_the_nearest_that_is_there() -> None:
    said = "strategy 'falcun' is no longer there; use `dbal`, the nearest to it, or `auto`"
    with pytest.raises(PipelineError, match=re.escape(said)):
        find("falcun", "skactiveml")
    names = {row.name for row in TABLE}
    assert set(REMOVED.values()) <= names
    assert not names & set(REMOVED)


def test_uncertainty_is_another_name_for_least_confidence() -> None:
    assert find("uncertainty", "modal").path == "stages.strategies.modal.least_confidence"


def test_a_strategy_that_the_engine_lacks_is_ours() -> None:
    assert find("dbal", "modal").engine == "own"


def test_an_unknown_param_is_refused_by_name(make: Make) -> None:
    with pytest.raises(PipelineError, match="unexpected keyword argument 'prefilters'"):
        resolve("dbal")(make(), 5, prefilters=3)


@pytest.mark.parametrize(
    ("name", "params", "what"),
    [
        (
            "auto",
            {"min_labels": "3"},
            "takes a whole number of 0 or more for min_labels, not '3'; correct it",
        ),
        ("auto", {"min_labels": -1}, "a whole number of 0 or more for min_labels, not -1"),
        ("dbal", {"prefilter": 2.5}, "a whole number of 0 or more for prefilter, not 2.5"),
        ("typiclust", {"sample": True}, "a whole number of 0 or more for sample, not True"),
        ("auto", {"count": 3}, "multiple values for argument 'count'; remove or correct the key"),
    ],
)
def test_a_param_of_the_wrong_kind_is_refused_by_name(
    name: str, params: Row, what: str, make: Make
) -> None:
    with pytest.raises(PipelineError, match=what):
        resolve(name)(make(), 5, **params)


def test_a_param_that_is_a_number_may_be_whole_but_not_nan(make: Make) -> None:
    def drawn(candidates: Candidates, count: int, beta: float = 1.0) -> Ranking:
        return Ranking(np.arange(count), np.full(count, beta), [""] * count, "")

    rank = lawful(drawn, find("random", "own"))
    assert rank(make(), 5, beta=2).scores.tolist() == [2] * 5
    with pytest.raises(PipelineError, match="takes a number of 0 or more for beta, not nan"):
        rank(make(), 5, beta=float("nan"))


def test_a_prefilter_of_nothing_leaves_the_most_doubtful(make: Make) -> None:
    picks = [
        resolve(word)(make(), 9, **params).positions
        for word, params in (("dbal", {"prefilter": 0}), ("margin", {}))
    ]
    assert set(picks[0].tolist()) == set(picks[1].tolist())


@pytest.mark.parametrize("fault", [np.nan, -0.1, 0.9, None])
def test_rows_that_are_not_probabilities_are_refused(fault: float | None, make: Make) -> None:
    candidates = make()
    rows = candidates.probabilities.copy()
    rows[3, 0] = rows[3, 0] + 1e-5 if fault is None else fault
    with pytest.raises(PipelineError, match="does not sum to 1"):
        resolve("margin")(replace(candidates, probabilities=rows), 5)


@pytest.mark.parametrize("name", ["auto", "margin", "dbal", "vote_entropy"])
def test_without_a_usable_model_typical_rows_are_asked_and_the_reason_says_why(
    name: str, make: Make
) -> None:
    candidates = make()
    cases = {
        "no model yet": replace(candidates, probabilities=None, committee=None),
        "labels of one class only": replace(candidates, labelled_class=np.zeros(12, np.intp)),
        "the model's confidence is not trusted": replace(candidates, trusted=False),
    }
    for why, case in cases.items():
        ranking = resolve(name)(case, 5)
        assert ranking.regime == "typical and diverse"
        assert ranking.evidence == why
        assert all(reason.endswith(f"; {why}") for reason in ranking.reasons)


@ROWS
def test_probabilities_that_are_not_trusted_change_no_pick(row: Strategy, make: Make) -> None:
    candidates = replace(
        make(n=60),
        trusted=False,
        held_out=np.full((12, 3), 1 / 3),
    )
    other = replace(
        candidates,
        probabilities=candidates.probabilities[::-1],
        committee=candidates.committee[:, ::-1],
    )
    rank = resolve(row.name, row.engine)
    assert rank(candidates, 9).positions.tolist() == rank(other, 9).positions.tolist()


def test_with_no_labels_at_all_a_batch_is_asked(make: Make) -> None:
    ranking = resolve("margin")(replace(make(m=0), probabilities=None), 8)
    assert len(ranking.positions) == 8


def test_a_committee_strategy_says_that_none_was_trained(make: Make) -> None:
    with pytest.raises(PipelineError, match="strategy 'vote_entropy' needs a committee"):
        resolve("vote_entropy")(replace(make(), committee=None), 5)


def test_class_weights_draw_the_batch_towards_a_class_or_are_refused(make: Make) -> None:
    candidates = make()
    weighed = replace(candidates, class_weights=np.array([2.8, 0.1, 0.1]))
    for row in TABLE:
        if row.weighs:
            rank = resolve(row.name, row.engine, weighted=True)
            shares = [
                candidates.probabilities[rank(case, 20).positions, 0].mean()
                for case in (candidates, weighed)
            ]
            assert shares[1] > shares[0], row
        elif row.name != "random":
            with pytest.raises(PipelineError, match=f"'{row.name}' does not know class weights"):
                resolve(row.name, row.engine, weighted=True)


def test_the_baseline_stays_random_under_class_weights(make: Make) -> None:
    weighed = replace(make(), class_weights=np.array([2.8, 0.1, 0.1]))
    ranks = resolve("random", weighted=True), resolve("random")
    assert ranks[0](weighed, 20).positions.tolist() == ranks[1](make(), 20).positions.tolist()


def test_a_library_that_picks_too_few_or_runs_out_of_numbers_still_fills_the_batch(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import skactiveml.pool

    def query(*_: object, **__: object) -> tuple[np.ndarray, np.ndarray]:
        return np.array([7, 3]), np.full((2, 72), np.inf)

    monkeypatch.setattr(skactiveml.pool.ProbCover, "query", query)
    ranking = resolve("prob_cover", "skactiveml")(make(n=60), 20)
    assert len(set(ranking.positions.tolist())) == 20
    assert np.isfinite(ranking.scores).all()


def test_estimates_of_information_below_zero_do_not_repeat_a_row(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import skactiveml.pool

    monkeypatch.setattr(skactiveml.pool, "batch_bald", lambda *_, **__: np.full((5, 20), -9.0))
    assert len(set(resolve("batch_bald", "skactiveml")(make(n=20), 5).positions.tolist())) == 5


def test_prob_cover_goes_on_quietly_where_no_clusters_are_clear(make: Make) -> None:
    cloud = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    candidates = replace(
        make(n=100, m=0, d=2), geometry=cloud / np.sqrt((cloud**2).sum(axis=1).mean())
    )
    assert len(resolve("prob_cover", "skactiveml")(candidates, 5).positions) == 5
