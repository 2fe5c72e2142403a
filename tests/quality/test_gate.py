"""The fold of seed, answers and doubts: hand-computed rounds."""

from __future__ import annotations

import numpy as np
import pytest

from rounds.shipped import shipped_params
from rounds.status import doubts_line
from stages.answers.ledger import labels_known_at
from stages.contract.canonical import Row, jsonl
from stages.contract.identity import order_key
from stages.contract.params import Params
from stages.quality.decision import TABLES, Ledger, Outcome, decide
from stages.quality.gate_result import GateResult, complete_rounds, run_gate
from stages.store.index import Features, Index

N = 40


def params(**gate: object) -> Params:
    return shipped_params({
        "seed": 7, "labels": ["A", "B"],
        "model": {"path": "sklearn.linear_model.LogisticRegression", "params": {"C": 10.0}},
        "gate": gate,
    })  # fmt: skip


def world() -> tuple[Index, np.ndarray, dict[str, str]]:
    """Forty rows in two far clusters; the truth is A left, B right."""
    ids = [f"p{i:02d}" for i in range(N)]
    right = np.arange(N) % 2
    noise = np.random.default_rng(0).normal(0, 0.3, (N, 2))
    matrix = (np.column_stack([right * 6.0 - 3.0, np.zeros(N)]) + noise).astype(np.float32)
    index = Index(ids, [f"sha{i}" for i in range(N)], ["pool"] * N, list(range(N)))
    return index, matrix, {item: "AB"[side] for item, side in zip(ids, right, strict=True)}


class Loop:
    """A small loop in memory: rounds of answers, with the review list frozen when a batch is
    issued.
    """

    def __init__(self, **gate: object) -> None:
        self.params = params(**gate)
        index, matrix, self.truth = world()
        self.features = Features(index, matrix, matrix)
        self.seed: list[Row] = []
        self.rounds: list[Row] = []
        self.asked: list[Row] = []
        self.events: list[Row] = []
        self.verdicts: list[Row] = []

    def round(
        self, *answers: dict[str, str], review: dict[str, str] | None = None, arm: str = "active"
    ) -> Outcome:
        """One round: a dict of answers per annotator (named ann0, ann1, ...), and the answers to
        doubted rows.
        """
        number = len(self.rounds) + 1
        self.verdicts += [{**row, "round": number} for row in self.decide().review]
        asked = {
            **{item: arm for said in answers for item in said},
            **dict.fromkeys(review or {}, "review"),
        }
        for rank, (item, why) in enumerate(asked.items(), start=1):
            self.asked.append({"round": number, "rank": rank, "id": item, "arms": [why]})
        for who, said in enumerate(answers or ({},)):
            self.answer(number, f"ann{who}", {**said, **(review or {})})
        self.rounds.append(
            {"round": number, "asked": len(asked), "answered": len(asked), "state": "accepted"}
        )
        return self.decide()

    def answer(self, number: int, who: str, answers: dict[str, str]) -> None:
        for item, said in answers.items():
            kind = said if said in ("skip", "reject", "empty") else "label"
            label = said if kind == "label" else ""
            self.events.append(
                {"round": number, "id": item, "annotator": who, "kind": kind, "label": label}
            )

    def ledger(self) -> Ledger:
        return Ledger(self.seed, [], self.rounds, self.asked, self.events, self.verdicts)

    def decide(self) -> Outcome:
        return decide(self.ledger(), self.features, self.params)

    def gate(self) -> GateResult:
        return run_gate(self.ledger(), self.features, self.params)

    def checks(self) -> dict[str, str]:
        return {row["code"]: row["outcome"] for row in self.gate().metrics["checks"]}

    def some(self, start: int, stop: int) -> dict[str, str]:
        return dict(list(self.truth.items())[start:stop])


def first_round(loop: Loop, **wrong: str) -> Outcome:
    return loop.round({**loop.some(0, 30), **wrong})


def ids(rows: list[Row]) -> list[str]:
    return [str(row["id"]) for row in rows]


def test_a_planted_wrong_label_is_held_back_and_the_right_one_suggested() -> None:
    outcome = first_round(Loop(), p04="B")
    (row,) = outcome.review
    assert (row["id"], row["label"], row["suggested"], row["reasons"], row["asks"]) == (
        "p04",
        "B",
        "A",
        ["label_error"],
        1,
    )
    assert "p04" not in ids(outcome.accepted)
    assert len(outcome.accepted) == 29


def test_a_doubt_that_is_contradicted_with_the_suggested_label_is_resolved_at_once() -> None:
    loop = Loop()
    first_round(loop, p04="B")
    outcome = loop.round({}, review={"p04": "A"})
    (row,) = [row for row in outcome.accepted if row["id"] == "p04"]
    assert (row["label"], row["round"], row["source"], row["arms"]) == (
        "A",
        2,
        "review",
        ["active", "review"],
    )
    assert outcome.state["review_found"] == 1


def test_a_confirmed_label_is_accepted_and_never_flagged_for_the_same_reason_again() -> None:
    loop = Loop()
    first_round(loop, p04="B")
    outcome = loop.round({"p30": "A"}, review={"p04": "B"})
    assert outcome.review == []
    outcome = loop.round({"p31": "B"})
    assert outcome.review == []
    (row,) = [row for row in outcome.accepted if row["id"] == "p04"]
    assert (row["label"], row["round"], row["source"]) == ("B", 1, "answer")


def test_every_id_is_accepted_in_review_or_unlabelled_and_in_one_of_them_only() -> None:
    loop = Loop()
    outcome = first_round(loop, p04="B", p06="skip", p08="reject", p10="empty")
    everything = ids(outcome.accepted) + ids(outcome.review) + ids(outcome.unlabelled)
    assert sorted(everything) == sorted(loop.truth)[:30]
    assert {row["id"]: row["kind"] for row in outcome.unlabelled} == {
        "p06": "skip",
        "p08": "reject",
        "p10": "empty",
    }


def test_labels_known_then_do_not_move_when_rounds_are_added() -> None:
    loop = Loop()
    told: list[dict[str, str]] = []
    for answers, review in [
        ({**loop.some(0, 30), "p04": "B", "p07": "A"}, {}),
        ({"p30": "A"}, {"p04": "B"}),
        ({"p31": "B"}, {"p07": "B"}),
        ({"p32": "A"}, {}),
    ]:
        outcome = loop.round(answers, review=review)
        told.append({row["id"]: row["label"] for row in outcome.accepted})
        for k, then in enumerate(told, start=1):
            assert labels_known_at(outcome.known, k) == then


def test_an_open_round_is_not_looked_at() -> None:
    loop = Loop()
    before = first_round(loop, p04="B")
    loop.verdicts += [{**row, "round": 2} for row in before.review]
    loop.rounds.append({"round": 2, "asked": 2, "answered": 1, "state": "open"})
    loop.asked.append({"round": 2, "rank": 1, "id": "p04", "arms": ["review"]})
    loop.events.append({"round": 2, "id": "p04", "annotator": "ann", "kind": "label", "label": "A"})
    last, pending = complete_rounds(loop.rounds)
    assert last == 1
    assert pending is not None
    after = decide(loop.ledger().until(last), loop.features, loop.params)
    for name in TABLES:
        assert jsonl(getattr(after, name)) == jsonl(getattr(before, name))


def test_a_third_answer_settles_what_neither_the_second_nor_the_model_could() -> None:
    loop = Loop(max_asks=4)
    first_round(loop)
    loop.round({}, review={"p00": "B"})
    assert loop.decide().review[0]["reasons"] == ["disagreement"]
    outcome = loop.round({}, review={"p00": "A"})
    assert outcome.review == []
    assert {row["id"]: row["label"] for row in outcome.accepted}["p00"] == "A"


@pytest.mark.parametrize("kind", ["override", "retract"])
def test_a_correction_beats_the_votes(kind: str) -> None:
    loop = Loop()
    first_round(loop)
    label = "B" if kind == "override" else ""
    loop.round({"p30": "A"})
    loop.events.append({"round": 2, "id": "p00", "annotator": "boss", "kind": kind, "label": label})
    outcome = loop.decide()
    if kind == "override":
        assert {row["id"]: (row["label"], row["source"]) for row in outcome.accepted}["p00"] == (
            "B",
            "override",
        )
    else:
        assert {row["id"]: row["kind"] for row in outcome.unlabelled}["p00"] == "retract"


def test_flag_confirm_flag_ends_after_the_confirmation_whatever_the_model_thinks_later() -> None:
    loop = Loop()
    first_round(loop, p04="B", p10="B")
    assert set(ids(loop.decide().review)) == {"p04", "p10"}
    loop.round({"p30": "A"}, review={"p04": "B"})  # confirmed
    for start in range(31, 36):
        outcome = loop.round(loop.some(start, start + 1))
        assert ids(outcome.review) == ["p10"]  # never answered, so it waits
    outcome = loop.round({}, review={"p10": "A"})
    assert outcome.review == []
    assert {row["id"]: row["label"] for row in outcome.accepted} == {**loop.some(0, 36), "p04": "B"}
    (metrics,) = [loop.gate().metrics]
    assert (metrics["doubts"]["confirmed"], metrics["doubts"]["contradicted"]) == (1, 1)


def test_a_contradiction_with_a_third_label_is_asked_until_two_agree_and_then_given_up() -> None:
    loop = Loop(max_asks=3)
    first_round(loop)
    loop.round({}, review={"p00": "B"})  # no doubt of the model, so a tie
    (row,) = loop.decide().review
    assert (row["reasons"], row["asks"]) == (["disagreement"], 2)
    outcome = loop.round({}, review={"p00": "skip"})
    assert outcome.review == []
    assert {row["id"]: (row["kind"], row["times"]) for row in outcome.unlabelled} == {
        "p00": ("unresolved", 3)
    }
    assert "p00" not in outcome.final


def test_a_seed_label_that_a_person_corrects_as_suggested_is_settled_for_good() -> None:
    loop = Loop()
    loop.seed = [
        {"id": item, "label": label} for item, label in {**loop.some(0, 30), "p04": "B"}.items()
    ]
    loop.round(loop.some(30, 31))
    assert ids(loop.decide().review) == ["p04"]
    outcome = loop.round({}, review={"p04": "A"})
    assert outcome.review == []
    assert outcome.final["p04"] == "A"
    of_seed = {row["id"]: (row["in_seed"], row["round"]) for row in outcome.accepted}
    assert (of_seed["p04"], of_seed["p05"], of_seed["p30"]) == ((True, 2), (True, 0), (False, 1))
    for start in range(31, 34):
        assert loop.round(loop.some(start, start + 1)).review == []


def test_consensus_needs_two_thirds_and_an_adjudicator_decides_alone() -> None:
    split = ({"p00": "A"}, {"p00": "A"}, {"p00": "B"}, {"p00": "B"}, {"p00": "A"})
    for gate_params, label in [
        ({}, "A"),
        ({"resolve": "consensus"}, None),
        ({"adjudicator": "ann3"}, "B"),
    ]:
        loop = Loop(**gate_params)
        outcome = loop.round(*split)
        assert outcome.final.get("p00") == label
        assert (ids(outcome.review) == ["p00"]) == (label is None)


def test_an_old_answer_stays_in_the_votes_when_it_is_outvoted() -> None:
    loop = Loop()
    first_round(loop, p04="B")
    outcome = loop.round({}, review={"p04": "A"})
    assert [(row["round"], row["label"]) for row in outcome.votes if row["id"] == "p04"] == [
        (1, "B"),
        (2, "A"),
    ]


def test_a_doubt_that_was_confirmed_raises_the_bar_for_the_next() -> None:
    loop = Loop()
    first_round(loop, p04="B", p10="B", p16="B")
    before = loop.decide()
    loop.round({"p30": "A"}, review={"p04": "B", "p10": "B"})
    after = loop.decide()
    assert before.shift == 0
    assert after.shift < -0.3


def test_an_open_round_leaves_every_table_and_says_how_far_it_is() -> None:
    loop = Loop()
    first_round(loop, p04="B")
    before = loop.gate()
    loop.rounds.append({"round": 2, "asked": 20, "answered": 7, "state": "open"})
    loop.verdicts += [{**row, "round": 2} for row in before.outcome.review]
    loop.answer(2, "ann0", {"p04": "A"})
    after = loop.gate()
    assert after.metrics["held"] == "held, 7 of 20 answered"
    assert after.metrics["held_by"] == []
    assert [row["code"] for row in after.metrics["alarms"]] == ["V006"]
    assert before.metrics["alarms"] == []
    for name in TABLES:
        assert jsonl(getattr(after.outcome, name)) == jsonl(getattr(before.outcome, name))
    assert after.plot == before.plot
    assert after.outcome.state == before.outcome.state


def test_every_check_has_an_outcome_and_nothing_to_judge_by_is_never_passed() -> None:
    outcomes = Loop().checks()
    assert list(outcomes) == [f"G{number:03d}" for number in range(1, 11)]
    assert set(outcomes.values()) == {"not_applicable"}


def two_readers(loop: Loop, *, wrong: int) -> dict[str, str]:
    """Two annotators on thirty rows, the second one wrong on the first `wrong` of them."""
    first = loop.some(0, 30)
    other = {
        item: ("BA"["AB".index(label)] if place < wrong else label)
        for place, (item, label) in enumerate(first.items())
    }
    loop.round(first, other)
    return loop.checks()


def test_g001_fails_when_most_of_the_batch_was_not_answered() -> None:
    loop = Loop()
    first_round(loop)
    assert loop.checks()["G001"] == "passed"
    loop.rounds[-1].update(asked=100, state="partial")
    assert loop.checks()["G001"] == "failed"


def test_g002_fails_when_many_labels_of_the_round_look_wrong() -> None:
    loop = Loop()
    first_round(loop)
    assert loop.checks()["G002"] == "passed"
    noisy = Loop(limits={"label_errors": 0.05})
    first_round(noisy, p04="B", p10="B", p16="B", p05="A")
    assert noisy.checks()["G002"] == "failed"


def test_g003_fails_and_holds_the_round_when_annotators_contradict_each_other() -> None:
    assert two_readers(Loop(), wrong=2)["G003"] == "passed"
    loop = Loop()
    assert two_readers(loop, wrong=14)["G003"] == "failed"
    gated = loop.gate()
    assert gated.outcome.upto == 0
    assert gated.outcome.accepted == []
    assert gated.metrics["held"].startswith("held, G003 Krippendorff's alpha")
    assert gated.metrics["held_by"] == ["G003"]
    assert "rewrite the guideline" in gated.metrics["alarms"][0]["do"]
    assert "(Cohen's kappa: " in gated.metrics["alarms"][0]["seen"]
    free = Loop(hold=[])
    two_readers(free, wrong=14)
    assert free.gate().outcome.upto == 1


def test_a_held_round_is_told_with_its_own_kappa_and_not_that_of_all_rounds() -> None:
    """Twenty rows on which two people agree, then twenty of which they agree on ten, as by chance."""
    loop = Loop()
    agreed = loop.some(0, 20)
    loop.round(agreed, dict(agreed))
    first = loop.some(20, 40)
    other = dict(first)
    for item in list(first)[:10]:
        other[item] = "BA"["AB".index(first[item])]
    loop.round(first, other)
    (alarm,) = loop.gate().metrics["alarms"]
    # of all forty rows three in four are labelled alike: (.75 - .5) / .5 = .5
    assert alarm["seen"].endswith("(Cohen's kappa: ann0|ann1 0.00)")


def test_g004_fails_when_the_batch_repeats_itself() -> None:
    loop = Loop()
    first_round(loop)
    far = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float32)
    loop.features = Features(loop.features.index, loop.features.matrix, far)
    assert loop.checks()["G004"] == "passed"
    far[:20] = far[0]
    loop.features = Features(loop.features.index, loop.features.matrix, far)
    assert loop.checks()["G004"] == "failed"


def test_g005_fails_when_a_test_row_nearly_repeats_a_labelled_row() -> None:
    for place, verdict in ((100.0, "passed"), (0.0, "failed")):
        loop = Loop()
        first_round(loop)
        index, matrix = loop.features.index, loop.features.matrix
        longer = Index(
            [*index.ids, "t0"], [*index.sha, "t"], [*index.split, "test"], [*index.row, 0]
        )
        rows = np.vstack([matrix, matrix[:1] + place]).astype(np.float32)
        loop.features = Features(longer, rows, rows)
        assert loop.checks()["G005"] == verdict


def test_g006_fails_when_a_class_has_no_label_though_there_are_many() -> None:
    loop = Loop()
    first_round(loop)
    assert loop.checks()["G006"] == "passed"
    loop = Loop()
    loop.round(dict.fromkeys(loop.some(0, 30), "A"))
    assert loop.checks()["G006"] == "failed"


def test_g007_fails_for_an_annotator_whose_labels_are_doubted_more() -> None:
    for wrong, verdict in ((0, "passed"), (8, "failed")):
        loop = Loop(max_quarantine=1.0)
        loop.round(loop.some(0, 20))
        other = loop.some(20, 40)
        for item in list(other)[:wrong]:
            other[item] = "BA"["AB".index(other[item])]
        loop.round({}, other)
        assert loop.checks()["G007"] == verdict


def test_g007_fails_for_the_one_of_three_readers_of_the_same_rows_who_is_outvoted() -> None:
    for wrong, verdict in ((1, "passed"), (14, "failed")):
        loop = Loop(hold=[])
        rows = loop.some(0, 30)
        last = dict(rows)
        for item in list(rows)[:wrong]:
            last[item] = "BA"["AB".index(rows[item])]
        loop.round(rows, dict(rows), last)
        assert loop.checks()["G007"] == verdict
        people = loop.gate().metrics["annotators"]
        assert people["ann2"]["doubted"] - people["ann0"]["doubted"] >= wrong - 2


def test_g008_fails_when_random_rows_suddenly_get_other_labels() -> None:
    for fixed, verdict in ((False, "passed"), (True, "failed")):
        loop = Loop()
        loop.round(loop.some(0, 20), arm="control")
        later = loop.some(20, 40)
        loop.round(dict.fromkeys(later, "A") if fixed else later, arm="control")
        assert loop.checks()["G008"] == verdict


def test_g009_fails_and_holds_when_people_contradict_themselves_on_planted_repeats() -> None:
    for wrong, verdict in ((1, "passed"), (6, "failed")):
        loop = Loop(repeat_fraction=0.3)
        outcome = first_round(loop)
        planted = {row["id"]: row["label"] for row in outcome.repeats}
        assert len(planted) == 12
        for item in list(planted)[:wrong]:
            planted[item] = "BA"["AB".index(planted[item])]
        loop.round(planted, arm="review")
        assert loop.checks()["G009"] == verdict
        assert loop.gate().outcome.upto == (2 if verdict == "passed" else 1)


def test_the_plot_has_a_row_per_round_and_old_rows_never_move() -> None:
    loop = Loop()
    first_round(loop, p04="B", p07="A")
    plots = [loop.gate().plot]
    for review in ({"p04": "B"}, {"p07": "B"}, {}):
        loop.round(loop.some(28 + len(loop.rounds), 30 + len(loop.rounds)), review=review)
        plots.append(loop.gate().plot)
        for old in plots[:-1]:
            assert plots[-1][: len(old)] == old
    facts = [
        (row["round"], row["flagged"], row["confirmed"], row["contradicted"]) for row in plots[-1]
    ]
    assert facts == [(0, 0, 0, 0), (1, 2, 0, 0), (2, 1, 1, 0), (3, 0, 0, 1), (4, 0, 0, 0)]
    assert plots[-1][-1]["precision"] == 0.5


def test_metrics_count_by_class_and_annotator() -> None:
    loop = Loop(hold=[])
    two_readers(loop, wrong=2)
    correction = {"round": 1, "id": "p29", "annotator": "boss", "kind": "override", "label": "B"}
    loop.events.append(correction)
    metrics = loop.gate().metrics
    assert metrics["answers"] == 2 * 30  # what the budget counts: not rows, and no correction
    assert metrics["agreement"]["labelled_twice"] == 30
    assert metrics["agreement"]["cohen_kappa"] == {
        "ann0|ann1": pytest.approx(metrics["agreement"]["fleiss_kappa"], abs=0.01)
    }
    assert metrics["annotators"]["ann1"]["answers"] == 30
    assert sum(row["accepted"] for row in metrics["by_class"].values()) == metrics["accepted"]
    assert metrics["review"] == 2  # two against two: asked again


def test_a_retracted_answer_leaves_the_old_rounds_as_they_were() -> None:
    loop = Loop()
    then = first_round(loop).final
    loop.round({"p30": "A"})
    loop.events.append(
        {"round": 2, "id": "p00", "annotator": "boss", "kind": "retract", "label": ""}
    )
    outcome = loop.decide()
    assert labels_known_at(outcome.known, 1) == then
    assert "p00" not in labels_known_at(outcome.known, 2)


def test_error_and_skip_rates_are_counted_per_annotator() -> None:
    loop = Loop(hold=[])
    rows = loop.some(0, 30)
    wrong = {item: "BA"["AB".index(label)] for item, label in list(rows.items())[:3]}
    loop.round(rows, {**rows, **dict.fromkeys(list(rows)[20:], "skip")}, {**rows, **wrong})
    people = loop.gate().metrics["annotators"]
    assert [people[name]["skip_rate"] for name in ("ann0", "ann1", "ann2")] == pytest.approx(
        [0, 1 / 3, 0]
    )
    assert people["ann2"]["error_rate"] == pytest.approx(0.1)
    assert people["ann0"]["error_rate"] == 0


def test_an_accepted_label_counts_for_every_arm_that_asked_it_and_for_the_walk_that_passed_it() -> (
    None
):
    loop = Loop()
    first, second, third = sorted(loop.truth, key=lambda item: order_key(7, item))[:3]
    loop.round({second: "skip"})  # the strategy picked it; nobody knew
    loop.round({first: "skip"}, arm="control")
    loop.round({first: loop.truth[first], second: loop.truth[second]})
    arms = {row["id"]: row["arms"] for row in loop.decide().accepted}
    assert arms == {first: ["active", "control"], second: ["active"]}
    outcome = loop.round({third: loop.truth[third]}, arm="control")
    arms = {row["id"]: row["arms"] for row in outcome.accepted}
    assert arms == {first: ["active", "control"], second: ["active", "control"], third: ["control"]}


def test_votes_that_a_retraction_took_away_are_not_among_those_that_count() -> None:
    loop = Loop()
    loop.round(loop.some(0, 30))
    retract = {
        "round": 2,
        "id": "p04",
        "annotator": "cy",
        "kind": "retract",
        "label": None,
        "order": 1,
    }
    loop.events.append(retract)
    outcome = loop.round({"p30": "A", "p04": "B"})  # said before the retraction, in its round
    assert [row["label"] for row in outcome.votes if row["id"] == "p04"] == []
    assert {row["id"]: row["kind"] for row in outcome.unlabelled} == {"p04": "retract"}
    for event in loop.events:
        if event["round"] == 2 and event["id"] == "p04" and event["kind"] == "label":
            event["order"] = 2  # said after it
    votes = [row["label"] for row in loop.decide().votes if row["id"] == "p04"]
    assert votes == ["B"]


def test_an_annotator_called_seed_or_oracle_is_reported_and_counted_like_anybody_else() -> None:
    for name in ("ann", "seed", "oracle"):
        loop = Loop()
        loop.seed = [{"id": item, "label": label} for item, label in loop.some(30, 40).items()]
        loop.round(loop.some(0, 30))
        for event in loop.events:
            event["annotator"] = name
        gated = loop.gate()
        assert {who: row["answers"] for who, row in gated.metrics["annotators"].items()} == {
            name: 30
        }
        (row,) = [row for row in gated.outcome.accepted if row["id"] == "p00"]
        assert (row["annotators"], row["source"]) == ([name], "answer")
        (row,) = [row for row in gated.outcome.accepted if row["id"] == "p30"]
        assert (row["annotators"], row["source"]) == ([], "seed")


def test_a_doubt_that_two_rounds_left_open_is_not_given_up_before_anybody_answered_it() -> None:
    loop = Loop(max_asks=3)
    first_round(loop, p04="B")
    for item in ("p30", "p31"):
        loop.round({item: loop.truth[item]}, review={"p04": "B"})
        loop.events = [
            event for event in loop.events if event["id"] != "p04" or event["round"] == 1
        ]  # closed early
    outcome = loop.decide()
    assert [(row["id"], row["asks"]) for row in outcome.review] == [("p04", 1)]
    assert outcome.unlabelled == []


def test_answers_to_rows_that_judge_are_counted_and_kept_and_change_nothing_else() -> None:
    plain = Loop()
    first_round(plain, p04="B")
    judging = Loop()
    first_round(judging, p04="B")
    judging.asked.append({"round": 1, "rank": 31, "id": "p33", "arms": ["judge"]})
    judging.answer(1, "ann0", {"p33": "B"})
    without, outcome = plain.decide(), judging.decide()
    assert outcome.judged == [{"id": "p33", "label": "B", "round": 1, "annotators": ["ann0"]}]
    assert outcome.state["answers"] == without.state["answers"] + 1
    for table in TABLES:
        if table != "judged":
            assert getattr(outcome, table) == getattr(without, table)
    assert judging.gate().redundancy == plain.gate().redundancy


def test_an_arm_that_asks_a_judged_row_learns_its_own_answer_and_not_the_judges() -> None:
    loop = Loop()
    loop.asked.append({"round": 1, "rank": 31, "id": "p33", "arms": ["judge"]})
    loop.answer(1, "ann0", {"p33": "A"})
    first_round(loop)
    outcome = loop.round({"p33": "B"})
    assert {row["id"]: row["label"] for row in outcome.known}["p33"] == "B"
    assert outcome.judged == [{"id": "p33", "label": "A", "round": 1, "annotators": ["ann0"]}]


def test_a_correction_of_a_row_that_only_judges_corrects_the_judgement_alone() -> None:
    loop = Loop()
    first_round(loop)
    loop.asked.append({"round": 1, "rank": 31, "id": "p33", "arms": ["judge"]})
    loop.answer(1, "ann0", {"p33": "B"})
    loop.events.append(
        {"round": 1, "id": "p33", "annotator": "x", "kind": "override", "label": "A", "order": 1}
    )
    outcome = loop.decide()
    (row,) = outcome.judged
    assert (row["id"], row["label"]) == ("p33", "A")
    assert "p33" not in outcome.final


def test_status_says_how_many_doubts_were_right_with_an_interval() -> None:
    """Wilson's 95 % interval of 3 of 4 is .301 to .954."""
    gate = {"doubts": {"contradicted": 3, "confirmed": 1}}
    assert doubts_line(gate) == ["doubts   3 of 4 that people decided were right: 75% [30%, 95%]"]
    assert doubts_line({"doubts": {"contradicted": 0, "confirmed": 0}}) == []
