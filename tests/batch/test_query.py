from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.shipped import shipped_params
from stages.answers.gate_tables import GateTables, why_exhausted
from stages.answers.ledger import Labels
from stages.answers.rounds import batch_id
from stages.batch import compose as module
from stages.batch.compose import compose, pick, sizes, unasked
from stages.batch.model import Model, model_of
from stages.batch.reviews import worth_review
from stages.batch.rows import interleave
from stages.contract.errors import PipelineError
from stages.contract.identity import order_key
from stages.contract.params import Params
from stages.learning.predictions import Predictions
from stages.store.index import Features, Index
from stages.store.near import near_in
from stages.strategies import Ranking
from tests.strategies.conftest import make_candidates

N = 60


def params(people: int = 1, **query: object) -> Params:
    return shipped_params(
        {
            "seed": 5,
            "labels": ["a", "b"],
            "model": {"path": "sklearn.linear_model.LogisticRegression", "params": {}},
            "query": {"strategy": "margin", "batch_size": 10, "control_fraction": 0.2, **query},
            "surface": {"annotations_per_item": people},
        }
    )


def pool_index(n: int = N) -> Index:
    ids = [f"p-{row:02d}" for row in range(n)]
    return Index(ids=ids, sha=[f"h-{item}" for item in ids], split=["pool"] * n, row=list(range(n)))


def gate(accepted=(), review=(), unlabelled=(), rounds: int = 1, answers: int = 0) -> GateTables:
    labels = Labels(
        list(accepted), np.zeros(len(accepted), dtype=np.intp), [{"id": item} for item in accepted]
    )
    return GateTables(
        labels, list(review), list(unlabelled), {"rounds": rounds, "answers": answers}
    )


def doubted(item: str) -> dict[str, object]:
    return {
        "id": item,
        "label": "a",
        "suggested": "b",
        "score": 0.9,
        "reasons": ["label_error"],
        "asks": 1,
    }


def probabilities(n: int = N) -> np.ndarray:
    p = np.random.default_rng(0).random(n)
    return np.column_stack([p, 1 - p])


def model(pool: np.ndarray | None = None) -> Model:
    pool = probabilities() if pool is None else pool
    return Model(pool, np.empty((0, 2)), None, True)


def geometry(n: int = N) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 3)).astype(np.float32)


def features(index: Index, space: np.ndarray | None = None) -> Features:
    space = geometry() if space is None else space
    return Features(index, space, space)


@given(
    st.integers(1, 60), st.floats(0, 0.6), st.floats(0, 0.4), st.none() | st.integers(0, 80), st.integers(0, 80),
    st.integers(0, 70), st.integers(0, 30), st.integers(0, 30),
)  # fmt: skip
def test_the_arms_never_exceed_batch_budget_pool_or_queue(
    size, control, review, budget, spent, free, queue, waiting
) -> None:
    options = params(
        batch_size=size, control_fraction=control, review_fraction=review, budget=budget
    )
    total, active, walked, again, parted = sizes(options, spent, free, queue, waiting)
    assert total == active + walked + again + parted
    assert min(active, walked, again, parted) >= 0
    assert parted <= waiting
    assert total <= size
    assert active + walked <= free
    assert again <= queue
    assert budget is None or total <= max(0, budget - spent)


@settings(max_examples=25, deadline=None)
@given(
    people=st.integers(1, 5), size=st.integers(1, 30), budget=st.integers(0, 100), answers=st.integers(0, 100),
    queue=st.integers(0, 8), planted=st.integers(0, 8), share=st.floats(0, 0.5),
)  # fmt: skip
def test_answers_given_and_those_that_a_batch_asks_for_never_exceed_the_budget(
    people: int, size: int, budget: int, answers: int, queue: int, planted: int, share: float
) -> None:
    names = [f"p-{row:02d}" for row in range(queue + planted)]
    state = gate(names[queue:], [doubted(name) for name in names[:queue]], answers=answers)
    state = replace(state, repeats=[{"id": name, "label": "a"} for name in names[queue:]])
    options = params(people, batch_size=size, budget=budget, review_fraction=share)
    held_out = np.tile([0.9, 0.1], (planted, 1))
    batch = compose(features(pool_index()), replace(model(), held_out=held_out), state, options)
    most = max(0, budget - answers)
    assert len(batch.rows) * people <= most
    assert len(batch.rows) == min(size, most // people)  # and no more is left out than has to be
    assert (batch.metrics["state"] == "budget spent") == (most < people)


def test_a_budget_of_a_hundred_answers_is_fifty_rows_of_two_people() -> None:
    options = params(2, batch_size=30, budget=100)
    assert sizes(options, 0, 500, 0)[0] == 30
    assert sizes(options, 60, 500, 0)[0] == 20
    assert sizes(options, 99, 500, 0)[0] == 0
    batch = compose(features(pool_index()), model(), gate(answers=99), options)
    assert (
        batch.metrics["state"],
        batch.metrics["answers_spent"],
        batch.metrics["budget_left"],
    ) == (
        "budget spent",
        99,
        0,
    )


def test_a_batch_holds_nothing_labelled_doubted_rejected_or_resting() -> None:
    unlabelled = [
        {"id": "p-03", "kind": "reject", "round": 1, "times": 1},
        {"id": "p-04", "kind": "skip", "round": 1, "times": 1},
        {"id": "p-05", "kind": "skip", "round": 1, "times": 2},
    ]
    state = gate(["p-00", "p-01"], [doubted("p-02")], unlabelled)
    assert set(unasked(pool_index(), state, cooldown=2)) == set(range(6, N))


def test_a_skipped_row_returns_once_after_its_cooldown() -> None:
    skipped = [{"id": "p-04", "kind": "skip", "round": 1, "times": 1}]
    returns = [
        4 in unasked(pool_index(), gate(unlabelled=skipped, rounds=k), cooldown=2)
        for k in (1, 2, 3, 4)
    ]
    assert returns == [False, False, True, True]


def test_the_control_arm_is_the_next_part_of_the_fixed_permutation() -> None:
    batch = compose(features(pool_index()), model(), gate(), params())
    walk = sorted((f"p-{row:02d}" for row in range(N)), key=lambda item: order_key(5, item))
    control = {row["id"] for row in batch.rows if "control" in row["arms"]}
    assert control == set(walk[: len(control)])
    assert len(batch.rows) == 10
    assert sum("active" in row["arms"] for row in batch.rows) == 8


def test_a_row_that_both_arms_want_is_asked_once_and_counts_for_both() -> None:
    first = min((f"p-{row:02d}" for row in range(N)), key=lambda item: order_key(5, item))
    p = probabilities()
    p[int(first[2:])] = [0.5, 0.5]
    rows = compose(features(pool_index()), model(p), gate(), params()).rows
    assert [row["arms"] for row in rows if row["id"] == first] == [["active", "control"]]
    assert len({row["id"] for row in rows}) == len(rows) == 10
    assert sum("control" in row["arms"] for row in rows) == 3


def crowd(review: list[dict[str, object]]) -> tuple[GateTables, Model]:
    """Twenty accepted rows that ann and bob label alike, and doubted rows that ann labelled `a`."""
    state = gate([f"p-{row:02d}" for row in range(20)], review)
    votes = [
        {"id": item, "annotator": who, "label": "a"}
        for item in state.accepted.ids
        for who in ("ann", "bob")
    ]
    votes += [{"id": row["id"], "annotator": "ann", "label": "a"} for row in review]
    return replace(state, votes=votes), replace(model(), held_out=np.tile([0.9, 0.1], (20, 1)))


@pytest.mark.parametrize(
    ("batch", "new", "asked"),
    [
        (3, [0.2, 0.4, 0.5, 0.9], ["p-41"]),  # .2 .3* .4 | .5 .6* .9
        (5, [0.2, 0.4, 0.5, 0.9], ["p-41", "p-40"]),  # .2 .3* .4 .5 .6* | .9
        (1, [0.3, 0.9], ["p-41"]),  # a tie goes to the doubt
        (2, [0.1, 0.2, 0.9], []),
    ],
)
def test_a_doubt_is_asked_again_when_it_is_among_the_best_questions_of_a_batch(
    monkeypatch: pytest.MonkeyPatch, batch: int, new: list[float], asked: list[str]
) -> None:
    def scores(
        votes: np.ndarray, labelled: np.ndarray, fresh: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        assert votes.shape == (22, 2)
        assert len(labelled) == 22
        assert len(fresh) == len(new)
        return np.array([0.6, 0.3] + [0.0] * 20), np.array(new)

    monkeypatch.setattr("stages.batch.reviews.relabel_or_new", scores)
    state, known = crowd([doubted("p-40"), doubted("p-41")])
    found = worth_review(
        state, pool_index(), known, np.arange(50, 50 + len(new)), params(batch_size=batch)
    )
    assert [row["id"] for row in found] == asked


@pytest.mark.parametrize(("certain", "asked"), [(0.999, ["p-40"]), (0.5, [])])
def test_with_several_annotators_review_and_new_rows_compete_for_the_batch(
    certain: float, asked: list[str]
) -> None:
    pool = np.tile([certain, 1 - certain], (N, 1))
    pool[40] = [0.2, 0.8]  # the model contradicts the doubted label
    state, known = crowd([doubted("p-40")])
    rows = compose(features(pool_index()), replace(known, pool=pool), state, params()).rows
    assert [row["id"] for row in rows if row["arms"] == ["review"]] == asked
    assert len(rows) == 10


def test_with_one_annotator_the_gates_own_order_holds() -> None:
    state, known = crowd([doubted("p-40"), doubted("p-41")])
    alone = replace(state, votes=[vote for vote in state.votes if vote["annotator"] == "ann"])
    assert (
        worth_review(alone, pool_index(), known, np.arange(50, N), params(batch_size=1))
        == state.review
    )


def test_doubted_labels_are_asked_again_within_their_share() -> None:
    review = [doubted("p-00"), doubted("p-01"), doubted("p-02")]
    rows = compose(features(pool_index()), model(), gate(review=review), params()).rows
    assert [row["id"] for row in rows if row["arms"] == ["review"]] == ["p-00"]


@settings(max_examples=20, deadline=None)
@given(
    st.permutations(range(N)),
    st.sampled_from(["margin", "entropy", "least_confidence", "random", "auto"]),
)
def test_the_order_of_the_pool_does_not_change_the_batch(order, strategy) -> None:
    base = pool_index()
    moved = Index(
        [base.ids[r] for r in order],
        [base.sha[r] for r in order],
        base.split,
        [base.row[r] for r in order],
    )
    plain = compose(features(base), model(), gate(), params(strategy=strategy))
    moved_space = geometry()[list(order)]
    same = compose(
        Features(moved, moved_space, moved_space),
        model(probabilities()[list(order)]),
        gate(),
        params(strategy=strategy),
    )
    assert batch_id(plain.rows) == batch_id(same.rows)


def skipped(item: str, number: int, times: int = 1, kind: str = "skip") -> dict[str, object]:
    return {"id": item, "kind": kind, "round": number, "times": times}


def test_a_used_up_pool_says_what_rests_and_what_brings_it_back() -> None:
    ids = [f"p-{row:02d}" for row in range(N)]
    rest = [
        skipped(ids[0], 2),
        skipped(ids[1], 3),
        skipped(ids[2], 1, times=2),
        skipped(ids[3], 3, kind="reject"),
    ]
    state = gate(ids[4:], unlabelled=rest, rounds=3)
    said = (
        "pool exhausted, 2 skipped rows rest (query.skip_cooldown 0 instead of 2 brings them back)"
    )
    gone = ", 2 rows were rejected or skipped 2 times, and are not asked again"
    assert compose(features(pool_index()), model(), state, params()).metrics["state"] == said + gone
    assert why_exhausted(gate(unlabelled=rest[:1], rounds=3), 2) == (
        "pool exhausted, 1 skipped row rests (query.skip_cooldown 1 instead of 2 brings it back)"
    )
    assert unasked(pool_index(), gate(unlabelled=rest[:1], rounds=3), cooldown=1)[0] == 0
    assert why_exhausted(gate(ids), 2) == "pool exhausted"


def test_interleaving_keeps_the_active_order_and_loses_nothing() -> None:
    rows = [{"id": str(n), "arms": ["active"] if n % 3 else ["control"]} for n in range(12)]
    again = [{"id": "x", "arms": ["review"]}]
    mixed = interleave(rows, again, seed=0)
    active = [row["id"] for row in mixed if "active" in row["arms"]]
    assert active == [row["id"] for row in rows if "active" in row["arms"]]
    assert sorted(row["id"] for row in mixed) == sorted(row["id"] for row in rows + again)
    assert interleave(rows, again, seed=0) == mixed


@pytest.mark.parametrize(
    ("query", "state", "said"),
    [
        ({"budget": 7}, {"answers": 7}, "budget spent"),
        ({}, {"accepted": [f"p-{r:02d}" for r in range(N)]}, "pool"),
    ],
)
def test_with_nothing_to_ask_the_batch_is_empty_and_says_why(query, state, said) -> None:
    batch = compose(features(pool_index()), model(), gate(**state), params(**query))
    assert batch.rows == []
    assert batch.metrics["state"].startswith(said)


def test_a_batch_larger_than_the_pool_is_the_whole_pool_and_says_so() -> None:
    batch = compose(features(pool_index()), model(), gate(), params(batch_size=500))
    assert sorted(row["id"] for row in batch.rows) == [f"p-{row:02d}" for row in range(N)]
    assert batch.metrics["state"] == "ready, the rest of the pool"
    assert compose(features(pool_index()), model(), gate(), params()).metrics["state"] == "ready"


def weighted_state() -> tuple[GateTables, Model]:
    """Ten labels of each class; held out, all of class b are taken for a."""
    labelled = [f"p-{row:02d}" for row in range(20)]
    state = gate(labelled)
    known = replace(state, accepted=replace(state.accepted, classes=np.repeat([0, 1], 10)))
    return known, replace(model(), held_out=np.tile([0.8, 0.2], (20, 1)))


def test_class_weights_auto_draws_the_batch_towards_a_class_that_is_not_recalled() -> None:
    known, trained = weighted_state()
    shares = {}
    for name, options in {
        "none": {},
        "auto": {"class_weights": "auto"},
        "given": {"class_weights": {"b": 2}},
    }.items():
        rows = compose(
            features(pool_index()), trained, known, params(control_fraction=0.0, **options)
        ).rows
        shares[name] = np.mean([trained.pool[int(row["id"][2:]), 1] for row in rows])
    assert shares["auto"] > shares["none"]
    assert shares["given"] > shares["none"]


def test_class_weights_are_refused_for_a_strategy_that_does_not_know_them() -> None:
    known, trained = weighted_state()
    asked = params(strategy="core_set", class_weights="auto")
    with pytest.raises(
        PipelineError, match="'core_set' does not know class weights; remove them, or use `auto`"
    ):
        compose(features(pool_index()), trained, known, asked)


def test_planted_repeats_are_asked_again_within_the_batch() -> None:
    planted = [{"id": "p-00", "label": "a"}, {"id": "p-01", "label": "b"}]
    state = replace(gate(["p-00", "p-01"]), repeats=planted)
    known = replace(model(), held_out=np.full((2, 2), 0.5))
    rows = compose(features(pool_index()), known, state, params()).rows
    assert len(rows) == 10
    again = [row for row in rows if row["reason"] == "planted repeat"]
    assert sorted(row["id"] for row in again) == ["p-00", "p-01"]
    assert sum("active" in row["arms"] for row in rows) == 6
    assert sum("control" in row["arms"] for row in rows) >= 2
    assert {tuple(row["arms"]) for row in again} == {("review",)}


def test_without_a_model_the_first_batch_is_asked_all_the_same() -> None:
    rows = compose(features(pool_index()), None, gate(rounds=0), params(strategy="auto")).rows
    assert len(rows) == 10
    assert {row["doubt"] for row in rows} == {0.0}


def test_the_metrics_say_which_regime_a_batch_is_of_and_why() -> None:
    said = {}
    for name, trained in (
        ("cold", None),
        ("lying", replace(model(), trusted=False)),
        ("warm", model()),
    ):
        metrics = compose(
            features(pool_index()), trained, gate(rounds=0), params(strategy="auto")
        ).metrics
        said[name] = metrics["regime"], metrics["evidence"]
    assert said == {
        "cold": ("typical and diverse", "no model yet"),
        "lying": ("typical and diverse", "the model's confidence is not trusted"),
        "warm": ("doubtful and diverse", "doubt is used, nobody measured it"),
    }


def test_a_param_of_a_users_strategy_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
    from stages.strategies.uncertainty import random
    def rank(candidates, count, threshold, rank): return random(candidates, count)
    """
    (tmp_path / "any_name.py").write_text(dedent(code), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    options = params(strategy="any_name.rank", params={"threshold": 0.5, "rank": 1})
    assert len(compose(features(pool_index()), model(), gate(), options).rows) == 10


def test_a_copy_of_something_settled_is_not_asked_although_its_id_comes_first() -> None:
    base = pool_index(8)
    index = replace(
        base, sha=["h-p-07", "h-p-06", "h-p-05", "h-p-03", *base.sha[4:]]
    )  # p-03 is like no other
    unlabelled = [
        {"id": "p-06", "kind": "reject", "round": 1, "times": 1},
        {"id": "gone", "kind": "reject", "round": 1},
    ]
    state = gate(["p-07"], [doubted("p-05")], [{**row, "times": 1} for row in unlabelled])
    assert unasked(index, state, cooldown=2).tolist() == [3, 4]


def test_what_a_batch_passed_over_is_told_with_what_it_is_like() -> None:
    space = geometry()
    space[30:34] = space[
        :4
    ]  # 0 and 1 are labelled, 2 and 3 are asked with 32 and 33 or instead of them
    options = params(batch_size=56, control_fraction=0.0)
    batch = compose(
        features(pool_index(), space),
        replace(model(), held_out=np.full((2, 2), 0.5)),
        gate(["p-00", "p-01"]),
        options,
    )
    asked = {row["id"] for row in batch.rows}
    told = {row["id"]: row["like"] for row in batch.passed_over}
    assert {"p-30": None, "p-31": None}.items() <= told.items()
    twins = {"p-02": "p-32", "p-32": "p-02", "p-03": "p-33", "p-33": "p-03"}
    rest = {item: like for item, like in told.items() if like}
    assert len(rest) == 2
    assert rest.items() <= twins.items()
    assert set(rest.values()) <= asked
    assert {row["similarity"] for row in batch.passed_over} == {1.0}
    assert batch.metrics["near_duplicates_passed_over"] == 4


def test_the_pool_and_not_what_is_left_of_it_tells_how_close_rows_usually_are() -> None:
    """Forty labelled rows far apart and twenty free ones in a line, a thousandth from each other.
    By the free rows' own distances none is near; the gate's checks would count every one.
    """
    space = geometry()
    space[40:] = [0.1, 0.1, 0.1]
    space[40:, 0] += np.arange(20, dtype=np.float32) / 1000
    labelled = [f"p-{row:02d}" for row in range(40)]
    trained = replace(model(), held_out=np.full((40, 2), 0.5))
    store = features(pool_index(), space)
    batch = compose(store, trained, gate(labelled), params(control_fraction=0.0))
    assert len(batch.rows) == 1
    assert batch.metrics["near_duplicates_passed_over"] == 19
    near = near_in(store, 5, 0.98)
    assert near.alike(np.arange(40, 60), np.arange(40, 60)).all()


def test_a_pool_of_near_duplicates_of_labelled_rows_is_not_called_exhausted() -> None:
    same = np.ones((N, 3), np.float32) / np.float32(np.sqrt(3))
    trained = replace(model(), held_out=np.full((1, 2), 0.5))
    batch = compose(
        features(pool_index(), same), trained, gate(["p-00"]), params(control_fraction=0.0)
    )
    assert batch.rows == []
    assert batch.metrics["state"] == "nothing but near duplicates of labelled rows is left"
    assert batch.metrics["unasked"] == N - 1


def test_a_batch_of_doubted_labels_alone_says_so() -> None:
    labelled = [f"p-{row:02d}" for row in range(1, N)]
    trained = replace(model(), held_out=np.full((N - 1, 2), 0.5))
    batch = compose(features(pool_index()), trained, gate(labelled, [doubted("p-00")]), params())
    assert [row["id"] for row in batch.rows] == ["p-00"]
    assert batch.metrics["state"] == "ready, doubted labels only"


def test_mean_doubt_is_unknown_without_a_model() -> None:
    assert (
        compose(features(pool_index()), None, gate(rounds=0), params()).metrics["mean_doubt"]
        is None
    )
    assert compose(features(pool_index()), model(), gate(), params()).metrics["mean_doubt"] > 0


@pytest.mark.parametrize("factor", [1.8, 0.9, np.nan])
def test_rows_that_do_not_sum_to_one_are_refused_and_not_scaled(factor: float) -> None:
    pool = probabilities().astype(np.float32)
    pool[3] *= np.float32(factor)
    with pytest.raises(PipelineError, match="probabilities hold NaN, a value outside"):
        compose(
            features(pool_index()),
            model_of(Predictions(pool, pool[:0], pool[:0], None), "trusted"),
            gate(),
            params(),
        )


def test_what_single_precision_took_from_a_sum_is_put_back() -> None:
    pool = np.random.default_rng(0).dirichlet(np.ones(10_000), 20).astype(np.float32)
    assert np.allclose(
        model_of(Predictions(pool, pool[:0], pool[:0], None), "trusted").pool.sum(axis=1),
        1,
        rtol=0,
        atol=1e-12,
    )


def test_of_a_pool_in_parts_rows_that_stand_for_nothing_are_not_asked_and_the_others_weigh_what_they_stand_for() -> (
    None
):
    shares = np.zeros(N)
    shares[10:14] = [1, 2, 3, 94]
    batch = compose(features(pool_index()), model(), gate(), params(), shares)
    assert sorted(row["id"] for row in batch.rows) == ["p-10", "p-11", "p-12", "p-13"]
    assert batch.metrics["unasked"] == 100
    p = probabilities()[10:14]
    assert batch.metrics["mean_doubt"] == pytest.approx(
        ((1 - abs(p[:, 0] - p[:, 1])) * shares[10:14]).sum() / 100
    )


@pytest.mark.parametrize("heavy", [11, 40])
def test_the_default_of_a_pool_in_parts_asks_first_where_rows_stand_for_most(heavy: int) -> None:
    shares = np.ones(N)
    shares[heavy] = 1e6
    options = params(strategy="auto", batch_size=2, control_fraction=0.0)
    assert f"p-{heavy}" in {
        row["id"] for row in compose(features(pool_index()), None, gate(), options, shares).rows
    }


def test_the_control_arm_takes_its_share_of_what_is_left_of_the_pool() -> None:
    batch = compose(
        features(pool_index(5), geometry(5)), model(probabilities(5)), gate(), params(batch_size=20)
    )
    assert batch.metrics["batch"] == {"rows": 5, "active": 4, "control": 1, "review": 0}


def test_the_places_of_control_rows_change_from_round_to_round() -> None:
    batches = [
        compose(features(pool_index()), model(), gate(rounds=k), params()).rows for k in range(4)
    ]
    assert len({tuple(row["arms"] == ["control"] for row in rows) for rows in batches}) > 1


def test_a_doubted_label_is_no_evidence_but_its_row_is_not_asked_in_disguise() -> None:
    space = geometry()
    space[40] = space[20]
    known, trained = weighted_state()
    state = replace(known, review=[doubted("p-20")])
    batch = compose(
        features(pool_index(), space),
        trained,
        state,
        params(strategy="auto", batch_size=60, control_fraction=0.0),
    )
    assert str(batch.metrics["evidence"]).endswith("on 20 held-out labels)")
    assert [row["id"] for row in batch.passed_over] == ["p-40"]


@pytest.mark.parametrize(
    ("verdict", "trusted"), [("trusted", True), ("unknown", True), ("lying", False)]
)
def test_only_confidence_that_was_shown_to_lie_is_not_used(verdict: str, trusted: bool) -> None:
    pool = probabilities().astype(np.float32)
    assert model_of(Predictions(pool, pool[:0], pool[:0], None), verdict).trusted is trusted


def test_random_sampling_is_left_as_chance_has_it() -> None:
    same = np.ones((N, 3), np.float32)
    rows = compose(
        features(pool_index(), same),
        model(),
        gate(),
        params(strategy="random", control_fraction=0.0),
    ).rows
    walk = sorted((f"p-{row:02d}" for row in range(N)), key=lambda item: order_key(5, item))
    assert [row["id"] for row in rows] == walk[:10]


def test_texts_of_which_the_geometry_knows_nothing_are_no_near_duplicates() -> None:
    ids, base = gate().accepted.ids, pool_index()
    words = sp.csr_matrix(np.eye(N, dtype=np.float32))  # no two rows share a word
    hub = np.ones((N, 3), np.float32)  # and all lie at one place of the geometry
    batch = compose(Features(base, words, hub), model(), gate(), params(control_fraction=0.0))
    assert len(batch.rows) == 10
    assert batch.metrics["near_duplicates_passed_over"] == 0
    copies = sp.csr_matrix(np.ones((N, 1), np.float32))  # every row says the same
    batch = compose(Features(base, copies, hub), model(), gate(), params(control_fraction=0.0))
    assert [row["arms"] for row in batch.rows] == ([["active"]] if not ids else [])


def test_gold_rows_take_active_places_carry_their_answer_and_are_asked_for_nothing_else() -> None:
    index = pool_index()
    gold = [{"id": f"p-{row:02d}", "label": "a", "plant": row < 2} for row in range(4)]
    plain = compose(features(index), model(), gate(), params())
    batch = compose(features(index), model(), replace(gate(), gold=gold), params())
    planted = {row["id"]: row for row in batch.rows if row["arms"] == ["gold"]}
    assert sorted(planted) == ["p-00", "p-01"]
    assert all(row["gold"] == "a" for row in planted.values())
    assert batch.metrics["batch"] == {
        **plain.metrics["batch"],
        "active": plain.metrics["batch"]["active"] - 2,
        "gold": 2,
    }
    assert not {"p-02", "p-03"} & {row["id"] for row in batch.rows}
    assert "gold" not in plain.metrics["batch"]
    stranger = replace(gate(), gold=[{"id": "p-01", "label": "c", "plant": True}])
    with pytest.raises(PipelineError, match=r"is not in params\.labels"):
        compose(features(index), model(), stranger, params())


def test_drawn_rows_judge_in_the_place_of_active_rows_and_count_for_an_arm_that_wants_them() -> (
    None
):
    options = params(batch_size=10, control_fraction=0.2, review_fraction=0.0)
    plain = compose(features(pool_index()), model(), gate(), options)
    best = next(row["id"] for row in plain.rows if row["arms"] == ["active"])
    asked = {row["id"] for row in plain.rows}
    free = next(f"p-{row:02d}" for row in range(N - 1, 0, -1) if f"p-{row:02d}" not in asked)
    batch = compose(
        features(pool_index()), model(), gate(), options, drawn={free: 0.25, best: 0.25}
    )
    rows = {row["id"]: row for row in batch.rows}
    assert rows[free]["arms"] == ["judge"]
    assert rows[free]["probability"] == 0.25
    assert rows[best]["arms"] == ["active", "judge"]
    assert batch.metrics["batch"] == {"rows": 9, "active": 6, "control": 2, "review": 0, "judge": 2}
    assert "probability" not in plain.rows[0]


def test_the_version_of_auto_is_that_of_the_params_and_of_no_other_strategy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked_with: list[tuple[str, dict[str, object]]] = []

    def resolve(name: str, *_engine: object, **_weighted: object) -> object:
        def rank(_candidates: object, _count: int, **words: object) -> Ranking:
            asked_with.append((name, words))
            return Ranking(np.arange(2), np.zeros(2), ["", ""], "stub")

        return rank

    monkeypatch.setattr(module, "resolve", resolve)
    candidates = make_candidates(n=4)
    for query in ({"auto": 1}, {"auto": 2, "params": {"min_labels": 3}}, {"strategy": "margin"}):
        own = params(**{"strategy": "auto", **query})
        pick(candidates, 2, own, lambda rows, _twin: np.ones(len(rows), bool), candidates.geometry)
    assert asked_with == [
        ("auto", {"version": 1}),
        ("auto", {"version": 2, "min_labels": 3}),
        ("margin", {}),
    ]
