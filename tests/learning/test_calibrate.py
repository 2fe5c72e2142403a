from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration import HARM, drawn, ece
from rounds.shipped import shipped_params
from stages.answers.ledger import Labels
from stages.contract.identity import stratified_folds
from stages.contract.params import Params
from stages.learning.calibration import (
    FITTERS,
    calibrate,
    calibration_of,
    choose,
    drawn_at_random,
    isotonic,
    sigmoid,
    surely_better,
    temperature,
)
from stages.learning.predictions import Predictions
from stages.learning.scoring import expected_calibration_error, softmax, wilson


def params(**options: object) -> Params:
    return shipped_params(
        {
            "seed": 1,
            "labels": ["a", "b", "c"],
            "model": {"path": "sklearn.linear_model.LogisticRegression", "params": {}},
            "calibrate": options,
        }
    )


def honest(n: int, scale: float, draw: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose truth is drawn from softmax(logits), then multiplied by `scale`: above 1 is
    overconfident.
    """
    rng = np.random.default_rng(draw)
    scores = rng.normal(size=(n, 3)) * 2
    truth = np.array([rng.choice(3, p=row) for row in softmax(scores)])
    return scores * scale, truth


def test_softmax_keeps_a_class_that_was_never_seen_at_zero() -> None:
    p = softmax(np.array([[0.0, 0.0, -np.inf], [-np.inf, -np.inf, -np.inf]]))
    assert p[0].tolist() == [0.5, 0.5, 0.0]
    assert p[1] == pytest.approx([1 / 3] * 3)


def test_ece_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, False, True, True])
    assert expected_calibration_error(confidence, correct, 10) == pytest.approx(
        0.5 * 0.45 + 0.5 * 0.45
    )


def test_wilson_by_hand() -> None:
    low, high = wilson(8, 10)
    assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("scale", [0.5, 2.0, 4.0])
def test_temperature_recovers_the_scale_that_was_put_in(scale: float) -> None:
    scores, truth = honest(20_000, scale)
    fitted = temperature(scores, truth)
    assert fitted(scores) == pytest.approx(softmax(scores, scale), abs=0.02)


def test_rows_of_a_class_that_no_training_row_showed_do_not_move_the_temperature() -> None:
    scores, truth = honest(600, 2.0)
    unseen = np.column_stack([scores[:200, :2], np.full(200, -np.inf)])
    both = np.vstack([scores, unseen])
    fitted = temperature(both, np.concatenate([truth, np.full(200, 2)]))
    assert fitted(scores) == pytest.approx(temperature(scores, truth)(scores), abs=1e-4)


@pytest.mark.parametrize("fitter", [temperature, sigmoid, isotonic])
def test_every_map_gives_probabilities_and_repairs_overconfidence(fitter) -> None:
    scores, truth = honest(3000, 4.0)
    new, new_truth = honest(3000, 4.0, draw=1)
    before = softmax(new)
    after = fitter(scores, truth)(new)
    assert after.sum(axis=1) == pytest.approx(np.ones(3000))
    assert after.min() >= 0

    def ece(p: np.ndarray) -> float:
        return expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == new_truth, 10)

    assert ece(before) > 0.1
    assert ece(after) < 0.05


@pytest.mark.parametrize("fitter", [temperature, sigmoid, isotonic])
def test_an_unseen_class_stays_at_zero_through_every_map(fitter) -> None:
    scores, truth = honest(400, 2.0)
    scores[:, 2] = -np.inf
    truth = truth % 2
    assert (fitter(scores, truth)(scores)[:, 2] == 0).all()


def test_auto_leaves_honest_scores_alone_and_repairs_lying_ones() -> None:
    for scale, expected in ((1.0, "none"), (4.0, "temperature")):
        scores, truth = honest(500, scale)
        fold = stratified_folds(truth, [str(row) for row in range(500)], 5, 0)
        assert choose("auto", scores, truth, fold)[0] == expected


UNLUCKY = [
    (72, 5, 100), (48, 5, 100), (163, 10, 100), (12, 10, 150), (26, 5, 100), (10, 10, 100),
    (51, 10, 100), (51, 10, 150), (41, 5, 150), (71, 2, 100), (14, 2, 100), (158, 5, 150),
]  # fmt: skip


@pytest.mark.parametrize(("number", "classes", "labels"), UNLUCKY)
def test_a_gain_that_chance_explains_brings_no_map_to_honest_scores(
    number: int, classes: int, labels: int
) -> None:
    """Draws of `benchmarks.calibration` where the likeliest map is better by one standard error,
    and makes the population's ECE worse by .05 to .11.
    """
    draw = drawn(number, classes, labels, 1.0)
    fold = stratified_folds(draw.truth, [f"id-{row}" for row in range(labels)], 5, 0)
    chosen = choose("auto", draw.scores, draw.truth, fold)[0]
    before = ece(softmax(draw.population), draw.chances)
    assert ece(FITTERS[chosen](draw.scores, draw.truth)(draw.population), draw.chances) <= (
        before + HARM
    )


@pytest.mark.parametrize(("factor", "classes"), [(2.0, 5), (4.0, 2), (0.5, 5)])
def test_scores_that_clearly_lie_get_their_map_in_most_draws(factor: float, classes: int) -> None:
    chosen = []
    for number in range(10):
        draw = drawn(number, classes, 150, factor)
        fold = stratified_folds(draw.truth, [f"id-{row}" for row in range(150)], 5, 0)
        chosen.append(choose("auto", draw.scores, draw.truth, fold)[0])
    assert sum(name != "none" for name in chosen) >= 8


def test_a_map_takes_a_simpler_ones_place_where_its_gain_is_above_1_645_standard_errors() -> None:
    """Gains of 1 and -1 with mean .2 over 100 rows: the standard error is .0985, by hand."""
    none = np.full(100, 2.0)
    gain = np.where(np.arange(100) < 60, 1.0, -1.0)
    losses = {"none": none, "temperature": none - gain}
    assert surely_better(losses) == "temperature"  # .2 / .0985 = 2.03
    assert surely_better(losses, 2.1) == "none"
    weaker = np.where(np.arange(100) < 58, 1.0, -1.0)  # .16 / .0992 = 1.61
    assert surely_better({"none": none, "temperature": none - weaker}) == "none"
    # No better than the temperature, though surely better than none; then better than both.
    assert surely_better({**losses, "sigmoid": none - gain}) == "temperature"
    assert surely_better({**losses, "sigmoid": none - 2 * gain}) == "sigmoid"


def judged(n: int, scale: float, **options: object):
    scores, truth = honest(n, scale)
    ids = [f"id-{row}" for row in range(n)]
    return calibrate(scores, truth, ids, params(**options).calibrate, seed=1).facts


def test_confidence_is_trusted_only_when_it_was_shown_to_hold() -> None:
    assert judged(400, 1.0)["verdict"] == "trusted"
    assert judged(400, 5.0, method="none")["verdict"] == "lying"
    assert judged(400, 5.0)["verdict"] == "trusted"
    few = judged(40, 1.0)
    assert (few["verdict"], few["trusted"]) == ("unknown", False)
    assert few["why"] == "40 labels drawn at random, 100 are needed to judge"
    assert judged(4, 1.0)["why"] == "4 labels drawn at random are too few to judge"


def hard_tenth(rng: np.random.Generator, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A population of honest logits times `scale`; in a hard tenth of it the truth is any class."""
    scores = rng.normal(size=(6000, 3)) * 2
    truth = np.array([rng.choice(3, p=row) for row in softmax(scores)])
    hard = rng.random(6000) < 0.1
    truth[hard] = rng.integers(0, 3, hard.sum())
    return scores * scale, truth, hard


def least_margin(
    rng: np.random.Generator, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same without hard rows; chosen is the tenth with the least margin, as a strategy
    chooses.
    """
    scores = rng.normal(size=(6000, 3)) * 2
    truth = np.array([rng.choice(3, p=row) for row in softmax(scores)])
    ranked = np.sort(softmax(scores), axis=1)
    margin = ranked[:, 2] - ranked[:, 1]
    return scores * scale, truth, margin <= np.quantile(margin, 0.1)


@pytest.mark.parametrize("population", [hard_tenth, least_margin])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_labels_that_a_strategy_chose_neither_judge_nor_harm(population, scale: float) -> None:
    """60 random labels and 80 of the hard ones: unknown, and no map makes the population's ECE
    worse by over .02.
    """
    for draw in range(12):
        rng = np.random.default_rng(draw)
        scores, truth, hard = population(rng, scale)
        by_chance = rng.choice(len(truth), 60, replace=False)
        rows = np.concatenate([by_chance, rng.choice(np.flatnonzero(hard), 80, replace=False)])
        accepted = [
            {"in_seed": False, "arms": ["control"] if row < 60 else ["active"]}
            for row in range(140)
        ]
        labels = Labels([f"id-{row}" for row in range(140)], truth[rows], accepted)
        logits = Predictions(scores[:0], scores[:0], scores[rows], None)
        found = calibration_of(logits, labels, params().calibrate, seed=1)
        assert found.facts["verdict"] == "unknown"
        assert found.facts["why"] == "60 labels drawn at random, 100 are needed to judge"

        def ece(p: np.ndarray, truth: np.ndarray = truth) -> float:
            return expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == truth, 10)

        assert ece(found.apply(scores)) <= ece(softmax(scores)) + 0.02


@pytest.mark.parametrize("method", ["auto", "temperature", "sigmoid", "isotonic"])
@pytest.mark.parametrize("labels", [10, 30, 60, 99])
def test_there_is_no_map_until_enough_random_labels_can_judge_it(labels: int, method: str) -> None:
    scores, truth = honest(labels, 6.0)
    ids = [f"id-{row}" for row in range(labels)]
    found = calibrate(scores, truth, ids, params(method=method).calibrate, seed=1)
    assert (found.facts["method"], found.facts["verdict"]) == ("none", "unknown")
    assert np.array_equal(found.apply(scores), softmax(scores))


def test_with_enough_random_labels_the_method_is_the_one_that_was_asked_for() -> None:
    assert judged(100, 6.0)["method"] == "temperature"
    assert judged(400, 1.0, method="isotonic")["method"] == "isotonic"


def test_random_labels_are_the_seed_and_what_the_control_walk_has_passed() -> None:
    arms = [[], ["review"], ["active"], ["active", "control"], ["control"]]
    rows = [{"id": str(row), "in_seed": row < 2, "arms": names} for row, names in enumerate(arms)]
    labels = Labels([row["id"] for row in rows], np.zeros(5, dtype=np.intp), rows)
    assert drawn_at_random(labels).tolist() == [True, True, False, True, True]
