"""validate as a whole: both arms, the same labels learnt once, old points that never move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.contract.canonical import Row, dumps, write_jsonl
from stages.contract.identity import order_key
from stages.contract.params import Params
from stages.learning.classifier import together
from stages.learning.scoring import macro_f1, per_class
from stages.proof.gap import compare, half
from stages.proof.history import History, points, read_history
from stages.proof.next_labels import next_labels
from stages.proof.proof import most_fits
from stages.proof.refits import Judged, Refits, judge_on_control, judge_on_test
from stages.proof.stopping import (
    Circumstances,
    circumstances_before,
    own_confidence_held,
    own_confidence_holds,
    panel,
    stop_set,
)
from stages.store import workers
from tests.proof.conftest import World, make_history


@pytest.mark.parametrize(
    ("rounds", "most", "expected"), [(0, 20, [0]), (3, 20, [0, 1, 2, 3]), (1, 2, [0, 1])]
)
def test_every_round_is_a_point_while_they_are_few(
    rounds: int, most: int, expected: list[int]
) -> None:
    assert points(rounds, most) == expected


@pytest.mark.parametrize("most", [2, 6, 20])
@pytest.mark.parametrize("rounds", [25, 100])
def test_many_rounds_are_thinned_but_the_first_and_the_last_ones_stay(
    rounds: int, most: int
) -> None:
    found = points(rounds, most)
    assert len(found) <= most
    assert found[0] == 0
    assert found[-min(5, most - 1) :] == list(range(rounds + 1 - min(5, most - 1), rounds + 1))


def test_the_curve_has_a_point_per_arm_and_round_with_intervals_and_minutes(world: World) -> None:
    proof = world.prove(make_history(world, 2))
    assert [(row["arm"], row["round"], row["labels"]) for row in proof.curve] == [
        ("active", 0, 12), ("random", 0, 12), ("active", 1, 28), ("random", 1, 16),
        ("active", 2, 44), ("random", 2, 20),
    ]  # fmt: skip
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in proof.curve)
    assert all(0 <= row["ece"] <= 1 and row["log_loss"] >= 0 for row in proof.curve)
    assert proof.curve[2]["minutes"] == pytest.approx(16 * 3 / 60)
    assert proof.facts["judged_on"] == "test set"
    assert {row["class"] for row in proof.recall} == {"a", "b", "c"}
    sure = 1e-9
    assert all(row["low"] - sure <= row["recall"] <= row["high"] + sure for row in proof.recall)
    known = [row for row in proof.recall if row["predicted"]]
    assert known
    assert all(
        row["precision_low"] - sure <= row["precision"] <= row["precision_high"] + sure
        for row in known
    )


def test_twice_gives_the_same_bytes_and_the_order_of_rows_does_not_matter(world: World) -> None:
    history = make_history(world, 2)
    turned = replace(history, asked=history.asked[::-1], known=history.known[::-1])
    first, second, third = (dumps(vars(world.prove(one))) for one in (history, history, turned))
    assert first == second == third


def test_old_points_never_move_when_rounds_are_added_or_labels_corrected(world: World) -> None:
    history = make_history(world, 3)
    wrong = [
        {**history.known[-1], "to_round": 3, "label": "a"},
        {**history.known[-1], "from_round": 3, "label": world.label(history.known[-1]["id"])},
    ]
    later = world.prove(replace(history, known=history.known[:-1] + wrong))
    earlier = world.prove(make_history(world, 2))
    keep = [row for row in later.curve if row["round"] <= 2]
    assert keep == earlier.curve
    assert [row for row in later.stopping if row["round"] <= 2] == earlier.stopping


def test_doubts_are_those_frozen_with_each_batch_and_then_those_of_now_of_accepted_rounds(
    world: World, tmp_path: Path
) -> None:
    tables: dict[str, list[dict[str, Any]]] = {
        "review": [{"id": "a"}] * 3,
        "known": [],
        "redundancy": [],
        "judged": [],
    }
    tables["verdicts"] = [{"round": number, "id": "a"} for number in (1, 1, 2, 3)]
    tables |= {
        name: [{"round": number, "id": "a"} for number in (1, 2, 3)] for name in ("asked", "events")
    }
    for name, rows in tables.items():
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    history = read_history(tmp_path, tmp_path, world.index, 2)  # the third round is held
    assert history.doubts == [2, 1, 3]
    assert (
        [row["round"] for row in history.asked]
        == [row["round"] for row in history.events]
        == [1, 2]
    )
    assert history.seed_ids == frozenset(world.index.ids[240:252])


def test_what_the_walk_passed_is_the_random_arms_whoever_asked_it_but_not_before_the_walk_was_there() -> (
    None
):
    first, second, third, last = sorted("abcd", key=lambda item: order_key(0, item))
    rows = [
        (1, 1, last, "active"),
        (1, 2, second, "active"),
        (1, 3, first, "control"),
        (2, 1, third, "control"),
    ]
    asked = [{"round": at, "rank": rank, "id": item, "arms": [arm]} for at, rank, item, arm in rows]
    known = [
        {"id": row["id"], "from_round": row["round"], "to_round": None, "label": "x"}
        for row in asked
    ]
    history = History(asked, known, [], [0, 0, 0], frozenset(), 2)
    assert history.control(0, 0) == []
    assert history.control(1, 0) == [first]
    assert history.control(2, 0) == [first, second, third]
    assert list(history.arm("random", 1, ["x"], 0)) == [first]
    assert list(history.arm("active", 2, ["x"], 0)) == [last, second]
    assert list(history.arm("all", 2, ["x"], 0)) == [last, second, first, third]


def test_minutes_of_old_points_do_not_grow_by_answers_that_came_later(world: World) -> None:
    history = make_history(world, 2)
    again = (
        "seed-0000",
        history.asked[0]["id"],
    )  # a seed label and one of round 1, asked again in round 2
    more = [
        {"id": item, "round": 2, "annotator": "bob", "kind": "label", "at": 50.0 * place}
        for place, item in enumerate(again)
    ]
    later, earlier = (
        world.prove(replace(history, events=history.events + more)),
        world.prove(make_history(world, 1)),
    )
    assert [row for row in later.curve if row["round"] <= 1] == earlier.curve
    assert [row["minutes"] for row in earlier.curve] == pytest.approx([0, 0, 0.8, 0.2])
    # round 2: 32 and 8 rows at 3 s; both at the usual 3 s and the 50 s measured; random has the
    # seed's alone
    assert [row["minutes"] for row in later.curve[4:]] == pytest.approx(
        [(96 + 53) / 60, (24 + 3) / 60]
    )


def test_the_same_labels_are_learnt_once_whatever_their_order(world: World) -> None:
    refits = Refits(world.index, world.matrix, world.params)
    labelled = {item: int(world.truth[world.index.row_of[item]]) for item in world.index.ids[:30]}
    rows = np.array([200, 3])
    first = refits(labelled, rows)
    second = refits(dict(reversed(labelled.items())), rows)
    assert refits.fits == 1
    assert np.array_equal(first, second)
    assert np.allclose(refits(labelled, rows[:1]), first[:1])
    assert refits.fits == 2
    assert first.sum(axis=1) == pytest.approx([1, 1])


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short a call is, it gets a thread."""
    monkeypatch.setattr(workers, "AT_ONCE", 0.0)


@pytest.mark.usefixtures("threads")
def test_threads_that_want_the_same_labels_learn_them_once(world: World) -> None:
    refits = Refits(world.index, world.matrix, world.params)
    labelled = {item: int(world.truth[world.index.row_of[item]]) for item in world.index.ids[:30]}
    wanted = [dict(list(labelled.items())[: 20 + number % 3]) for number in range(30)]
    found = together(lambda one: refits(one, np.arange(5)), wanted, 4)
    assert refits.fits == 3
    alone = [Refits(world.index, world.matrix, world.params)(one, np.arange(5)) for one in wanted]
    assert all(np.array_equal(*pair) for pair in zip(found, alone, strict=True))


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("test", [True, False])
def test_how_many_models_are_fitted_at_once_changes_nothing(world: World, test: bool) -> None:
    told = [
        dumps(
            vars(
                replace(world, params=with_jobs(world, n_jobs)).prove(
                    make_history(world, 6), test=test
                )
            )
        )
        for n_jobs in (1, 2, -1)
    ]
    assert told[0] == told[1] == told[2]


def with_jobs(world: World, n_jobs: int) -> Params:
    """The world's params with so many workers."""
    return world.params.model_copy(
        update={"compute": world.params.compute.model_copy(update={"n_jobs": n_jobs})}
    )


def test_rounds_in_which_all_was_skipped_are_no_sign_that_the_model_is_settled(
    world: World,
) -> None:
    history = make_history(world, 3)
    skipped = {row["id"] for row in history.asked if row["round"] == 2}
    calm = world.prove(
        replace(history, known=[row for row in history.known if row["id"] not in skipped])
    )
    assert [row["round"] for row in calm.stopping] == [0, 1, 3]
    assert calm.stopping[-1]["selected_accuracy"] is not None
    assert all(row["kappa"] < 1 for row in calm.stopping[1:])
    assert {row["round"] for row in calm.curve} == {0, 1, 2, 3}


def test_arms_that_hold_the_same_labels_share_their_model(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[Any] = []
    from stages.proof import refits

    honest = refits.fit
    monkeypatch.setattr(
        refits, "fit", lambda *given: (learnt.append(given[1].tobytes()), honest(*given))[1]
    )
    world.prove(make_history(world, 3))
    again = [rows for rows in set(learnt) if learnt.count(rows) > 1]
    assert again == [
        learnt[0]
    ]  # the seed's, once for the rows that judge and once for the stop set
    assert learnt.count(learnt[0]) == 2


def test_without_a_test_set_both_arms_are_judged_on_the_control_arm_and_it_says_so(
    world: World,
) -> None:
    proof = world.prove(make_history(world, 3, control=12), test=False)
    assert proof.facts["judged_on"] == "control arm, cross-validated"
    assert {row["round"] for row in proof.curve} == {2, 3}
    assert proof.facts["difference"]["active_minus_random"] is not None


def test_no_label_of_the_control_arm_is_predicted_by_a_model_that_learnt_it(world: World) -> None:
    history = make_history(world, 3, control=12)
    seen: list[tuple[set[str], set[int]]] = []

    class Watched(Refits):
        def __call__(self, labelled: dict[str, int], rows: Any) -> Any:
            seen.append((set(labelled), set(rows.tolist())))
            return super().__call__(labelled, rows)

    refits = Watched(world.index, world.matrix, world.params)
    judge = judge_on_control(refits, history)
    for name in ("active", "random"):
        assert judge(history.arm(name, 3, world.params.labels, world.params.seed), 3) is not None
    assert seen
    for learnt, rows in seen:
        assert not {world.index.row_of[item] for item in learnt} & rows


def test_cross_validated_arms_learn_from_equally_many_labels(world: World) -> None:
    history = make_history(world, 3, control=12)
    sizes: dict[str, list[int]] = {"active": [], "random": []}
    for name, found in sizes.items():

        class Watched(Refits):
            def __call__(
                self, labelled: dict[str, int], rows: Any, found: list[int] = found
            ) -> Any:
                found.append(len(labelled))
                return super().__call__(labelled, rows)

        judge = judge_on_control(Watched(world.index, world.matrix, world.params), history)
        arm = history.arm(name, 3, world.params.labels, world.params.seed)
        judge(dict(list(arm.items())[:40]), 3)
    assert (
        max(
            abs(a - b)
            for a, b in zip(sorted(sizes["active"]), sorted(sizes["random"]), strict=True)
        )
        <= 2
    )


@pytest.mark.parametrize(("active", "control"), [(16, 4), (4, 16)])
def test_the_arms_are_compared_at_the_labels_of_the_smaller_one(
    world: World, active: int, control: int
) -> None:
    history, params = make_history(world, 3, active=active, control=control), world.params
    arms = {name: history.arm(name, 3, params.labels, params.seed) for name in ("active", "random")}
    equal = 12 + 3 * 4  # the seed's and the smaller arm's own
    assert min(map(len, arms.values())) == equal
    honest = judge_on_test(
        Refits(world.index, world.matrix, params), world.truth[world.index.rows("test")]
    )
    judged: list[dict[str, int]] = []
    gap, saving = compare(
        history, lambda one, upto: (judged.append(one), honest(one, upto))[1], params
    )
    assert gap["labels"] == saving["labels"] == equal
    firsts = {name: dict(list(arm.items())[:equal]) for name, arm in arms.items()}
    assert firsts["active"] in judged
    assert firsts["random"] in judged
    assert max(len(one) for one in judged if not set(one) <= set(arms["active"])) == equal
    right = {name: honest(one, 3) for name, one in firsts.items()}
    assert right["active"] is not None
    assert right["random"] is not None
    measured = right["active"].correct.mean() - right["random"].correct.mean()
    assert gap["active_minus_random"] == pytest.approx(measured)


def test_where_the_seed_teaches_everything_nothing_is_saved_and_the_alarm_says_so(
    world: World,
) -> None:
    easy = replace(world, matrix=np.eye(3, dtype=np.float32)[world.truth] * 20)
    facts = easy.prove(make_history(world, 3, control=10)).facts
    assert [facts["difference"][key] for key in ("active_minus_random", "low", "high")] == [0, 0, 0]
    assert [facts["saving"][key] for key in ("saved", "low", "high")] == [0, 0, 0]
    assert "V001" in [row["code"] for row in facts["alarms"]]


def test_selected_accuracy_is_of_the_rows_the_strategy_asked_next_by_the_model_before(
    world: World,
) -> None:
    history, params = make_history(world, 2), world.params
    arms = [history.arm("active", at, params.labels, params.seed) for at in (1, 2)]
    new = {item: label for item, label in arms[1].items() if item not in arms[0]}
    rows = world.index.locate(list(new), "here")
    said = Refits(world.index, world.matrix, params)(
        history.arm("all", 1, params.labels, params.seed), rows
    )
    expected = (said.argmax(axis=1) == np.array(list(new.values()))).mean()
    assert 0 < expected < 1
    assert world.prove(history).stopping[2]["selected_accuracy"] == pytest.approx(expected)


def test_before_the_first_round_there_is_a_point_and_no_verdict(world: World) -> None:
    facts = world.prove(make_history(world, 0)).facts
    assert facts["difference"] == {
        "labels": 12,
        "active_minus_random": None,
        "low": None,
        "high": None,
        "any_look": {"low": None, "high": None},
    }
    assert facts["saving"]["saved"] is None
    assert facts["next_100"] is None
    assert facts["stopping"]["advice"] == "not yet known"
    assert facts["alarms"] == []


def test_a_project_without_labels_is_judged_not_at_all(world: World) -> None:
    history = replace(make_history(world, 0), known=[])
    facts = world.prove(history).facts
    assert facts["active"] is None
    assert facts["random"] is None
    assert ("V007", "nothing is labelled yet") in [
        (row["code"], row["why"]) for row in facts["not_judged"]
    ]


def test_classes_are_never_seen_where_every_round_was_skipped(world: World) -> None:
    facts = world.prove(replace(make_history(world, 3), known=[])).facts
    (alarm,) = (row for row in facts["alarms"] if row["code"] == "V008")
    assert alarm["seen"] == "no label of 'a', 'b', 'c' after 3 rounds"


def test_the_stop_set_is_pool_rows_that_the_control_arm_reaches_last(world: World) -> None:
    sample = stop_set(world.index, 0)
    assert set(sample.tolist()) == set(range(240))
    first = make_history(world, 1, control=5).control(1, 0)
    assert not {world.index.row_of[item] for item in first} & set(sample[-100:].tolist())


def test_precision_recall_and_f1_of_a_class_by_hand_and_their_mean_over_the_classes_that_occur() -> (
    None
):
    truth, said = (
        np.array(classes, dtype=np.intp) for classes in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 0])
    )
    first, second, nobody = per_class(truth, said, 3)
    assert (first["recall"], first["precision"], first["f1"]) == pytest.approx(
        (2 / 3, 2 / 3, 2 / 3)
    )
    assert (second["recall"], second["precision"], second["f1"]) == pytest.approx(
        (1 / 2, 1 / 2, 1 / 2)
    )
    assert (nobody["recall"], nobody["precision"], nobody["f1"], nobody["support"]) == (
        None,
        None,
        None,
        0,
    )
    assert macro_f1(truth, said, 3) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_halves_keep_the_seed_and_treat_shared_labels_alike() -> None:
    left, right = ({"s": 0, **{f"{name}{n}": 0 for n in range(10)}} for name in ("x", "x"))
    assert half(left, frozenset("s"), 1) == half(right, frozenset("s"), 1)
    assert len(half(left, frozenset("s"), 1)) == 6
    assert "s" in half(left, frozenset("s"), 1)
    assert half(left, frozenset("s"), 1) != half(left, frozenset("s"), 2)


def test_the_budget_of_the_params_reaches_the_panel(world: World) -> None:
    query = world.params.query.model_copy(update={"budget": 40})
    tight = replace(world, params=world.params.model_copy(update={"query": query}))
    assert (
        tight.prove(make_history(world, 2), answers=40).facts["stopping"]["why"]
        == "the budget is spent"
    )
    assert (
        tight.prove(make_history(world, 2), answers=39).facts["stopping"]["why"]
        != "the budget is spent"
    )
    surface = world.params.surface.model_copy(
        update={"annotations_per_item": 2}
    )  # one answer is left, a row takes two
    pairs = replace(tight, params=tight.params.model_copy(update={"surface": surface}))
    assert (
        pairs.prove(make_history(world, 2), answers=39).facts["stopping"]["why"]
        == "the budget is spent"
    )


def test_the_panel_weighs_what_the_next_batch_brings_by_the_active_curve(world: World) -> None:
    worth = world.params.validate_.model_copy(update={"point_worth": 30.0})
    weighing = replace(world, params=world.params.model_copy(update={"validate_": worth}))
    proof = weighing.prove(make_history(world, 5))
    active = [(row["labels"], row["accuracy"]) for row in proof.curve if row["arm"] == "active"]
    told = next_labels(
        *(np.array(column, dtype=np.float64) for column in zip(*active, strict=True)), ahead=20
    )
    assert told is not None
    (sign,) = (row for row in proof.facts["stopping"]["signs"] if row["name"] == "marginal value")
    assert sign["value"] == pytest.approx(100 * told["high"] * 30 - 20)


@pytest.mark.parametrize(
    ("verdict", "ece", "holds"),
    [("trusted", 0.15, True), ("trusted", 0.17, False), ("lying", 0.0, False)],
)
def test_a_models_own_confidence_holds_by_what_calibration_found_before_it_and_chance_allows(
    world: World, verdict: str, ece: float, holds: bool
) -> None:
    calibration = {
        "verdict": verdict,
        "before": {"ece": ece, "ece_by_chance": 0.06},
    }  # max_ece is .1
    assert own_confidence_holds(calibration, world.params) is holds


def believing(confidence: float, right: int) -> Judged:
    """A hundred rows of which a model is this sure, and right about so many."""
    probabilities = np.tile([confidence, (1 - confidence) / 2, (1 - confidence) / 2], (100, 1))
    return Judged(np.repeat(np.array([0, 1], dtype=np.intp), [right, 100 - right]), probabilities)


@pytest.mark.parametrize(
    ("enough", "right", "held"),
    [
        (16, 80, True),
        (17, 80, False),
        (16, 67, True),
        (16, 65, False),
    ],  # ECE 0, 0, .13 and .15; by chance .03
)
def test_earlier_confidence_is_trusted_by_the_rule_of_today(
    world: World, enough: int, right: int, *, held: bool
) -> None:
    history = make_history(world, 2)  # the seed's 12 and 4 control labels after round 1
    options = world.params.calibrate.model_copy(update={"min_random_labels": enough})
    params = world.params.model_copy(update={"calibrate": options})
    asked: list[tuple[int, int]] = []

    def judge(labelled: dict[str, int], upto: int) -> Judged:
        asked.append((len(labelled), upto))
        return believing(0.8, right)

    assert own_confidence_held(history, 1, judge, params) is held
    assert asked == ([(12 + 16, 1)] if enough == 16 else [])
    assert own_confidence_held(history, 1, lambda _labelled, _upto: None, params) is False


def test_the_panels_earlier_point_has_the_budget_and_the_gain_of_its_time(world: World) -> None:
    query = world.params.query.model_copy(update={"budget": 130})
    params = world.params.model_copy(update={"query": query})
    history = make_history(world, 6)  # 20 answers a round
    again = [
        {**row, "kind": "override"} for row in history.events if row["round"] == 6
    ]  # no answers of annotators
    history = replace(history, events=[*history.events, *again])
    proof = world.prove(history)
    then = [row for row in proof.curve if row["round"] <= 5]
    active = [(row["labels"], row["accuracy"]) for row in then if row["arm"] == "active"]
    gain = next_labels(
        *(np.array(column, dtype=np.float64) for column in zip(*active, strict=True)), ahead=20
    )
    before = circumstances_before(
        history,
        proof.stopping,
        proof.curve,
        lambda _labelled, _upto: believing(0.8, 80),
        120,
        params,
    )
    assert before.budget_left == 130 - (120 - 20)
    assert before.gain == gain is not None
    assert before.trusted is False  # 12 + 5 * 4 labels drawn at random, 100 are wanted
    skipped = [
        row for row in proof.stopping if row["round"] != 5
    ]  # a round that taught nothing is no point
    assert (
        circumstances_before(
            history, skipped, proof.curve, lambda *_: None, 120, params
        ).budget_left
        == 130 - 80
    )


def test_the_panel_is_given_the_circumstances_of_its_earlier_point_and_not_those_of_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Circumstances, Circumstances]] = []

    def panel_of(points: list[Row], now: Circumstances, before: Circumstances) -> Row:
        seen.append((now, before))
        return panel(points, now, before)

    monkeypatch.setattr("stages.proof.proof.panel", panel_of)
    query = world.params.query.model_copy(update={"budget": 130})
    tight = replace(world, params=world.params.model_copy(update={"query": query}))
    tight.prove(make_history(world, 2), answers=40)  # 20 answers a round
    ((now, before),) = seen
    assert (now.budget_left, before.budget_left) == (90, 110)


@pytest.mark.parametrize(
    ("redundancy", "leakage", "rings"),
    [
        (0.1, 0.01, {"V003", "V007"}),
        (0.1, 0.03, {"V003"}),
        (0.3, 0.01, {"V007"}),
        (0.3, 0.03, set()),
    ],
)
def test_the_limits_of_the_project_reach_the_alarms_of_redundancy_and_leakage(
    world: World, redundancy: float, leakage: float, rings: set[str]
) -> None:
    """A quarter of the last batch are repeats, and 3 of the 150 test rows are rows of the seed."""
    matrix = world.matrix.copy()
    test = world.index.rows("test").start
    seed = world.index.rows("seed").start
    matrix[test : test + 3] = matrix[seed : seed + 3]
    limits = world.params.gate.limits.model_copy(
        update={"redundancy": redundancy, "leakage": leakage}
    )
    gate = world.params.gate.model_copy(update={"limits": limits})
    params = world.params.model_copy(update={"gate": gate})
    history = make_history(world, 1)
    repeats = [{"round": 1, "asked": 20, "near_duplicates": 5, "share": 0.25}]
    proof = replace(world, matrix=matrix, params=params).prove(replace(history, redundancy=repeats))
    raised = {row["code"] for row in proof.facts["alarms"]}
    assert raised & {"V003", "V007"} == rings


def test_the_chart_of_near_duplicates_draws_the_limit_that_the_project_set(world: World) -> None:
    limits = world.params.gate.limits.model_copy(update={"redundancy": 0.35})
    gate = world.params.gate.model_copy(update={"limits": limits})
    strict = replace(world, params=world.params.model_copy(update={"gate": gate}))
    history = make_history(world, 2)
    assert strict.prove(history).redundancy == [
        {**row, "limit": 0.35} for row in history.redundancy
    ]


def test_the_shipped_model_is_judged_and_its_confusions_are_counted(world: World) -> None:
    proof = world.prove(make_history(world, 1))  # the stand-in model says "a" to everything
    truth = world.truth[world.index.rows("test")]
    assert proof.facts["shipped"]["accuracy"] == pytest.approx((truth == 0).mean())
    assert [(row["actual"], row["predicted"], row["count"]) for row in proof.confusion] == [
        (label, "a", int((truth == place).sum())) for place, label in enumerate("abc")
    ]


@pytest.mark.parametrize(("rounds", "test"), [(0, True), (3, True), (3, False)])
def test_progress_counts_every_model_and_knows_how_many_there_are_at_most(
    world: World, rounds: int, test: bool
) -> None:
    ticks: list[int] = []
    world.prove(make_history(world, rounds, control=12), test=test, tick=lambda: ticks.append(1))
    most = most_fits(rounds, world.params, tested=test)
    assert (most / 4 if rounds else 0) < len(ticks) <= most
