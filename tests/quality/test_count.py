"""How many labels are wrong: cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rounds.status import doubts_line
from stages.learning.scoring import wilson
from stages.quality.count import least_share, share_of_wrong, with_mean


def ranked(contradicted: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of five times 1,000 rows, surest first; so many of each are contradicted."""
    lead = np.arange(5000, 0, -1) / 1000
    labels = np.zeros(5000, dtype=np.intp)
    for part, count in enumerate(contradicted):
        labels[1000 * part : 1000 * part + count] = 1
    return np.column_stack([lead, np.zeros(5000)]), labels


def test_mistakes_that_are_as_common_on_clear_rows_are_counted_where_witnesses_are_surest() -> None:
    scores, labels = ranked([100, 110, 120, 200, 300])
    found = share_of_wrong(scores, labels, 0.06, measured=False)
    assert found.share == pytest.approx(wilson(100, 1000)[0])
    assert not found.features_do_not_tell


def test_outcomes_that_features_do_not_tell_are_no_mistakes_and_what_people_see_is() -> None:
    """The same contradictions: measured numbers, of which no more than the surest part counts."""
    scores, labels = ranked([20, 60, 200, 300, 400])
    measured = share_of_wrong(scores, labels, 0.12, measured=True)
    assert measured.features_do_not_tell
    assert measured.share == pytest.approx(0.02)
    surely = wilson(20, 1000)[0]
    seen = share_of_wrong(scores, labels, 0.12, measured=False)
    times = 1 + 3 * 5000 / 5400
    assert seen.share == pytest.approx(min(surely + times * (0.12 - surely), 0.196))


def test_a_lone_witness_is_contradicted_at_least_where_it_is_contradicted_least() -> None:
    scores, labels = ranked([300, 200, 210, 220, 400])
    assert least_share(scores, labels) == pytest.approx(0.2)


def test_odds_move_alike_until_their_mean_is_the_share() -> None:
    moved = with_mean(np.array([0.0, 0.5, 0.2, 1.0]), 0.5)
    assert moved.mean() == pytest.approx(0.5)
    odds = moved[1:3] / (1 - moved[1:3])
    assert odds[0] / odds[1] == pytest.approx(4.0)
    assert moved[0] == 0
    assert moved[3] == pytest.approx(1)


def test_status_says_how_many_doubts_were_right_with_an_interval() -> None:
    """Wilson's 95 % interval of 3 of 4 is .301 to .954."""
    gate = {"doubts": {"contradicted": 3, "confirmed": 1}}
    assert doubts_line(gate) == ["doubts   3 of 4 that people decided were right: 75% [30%, 95%]"]
    assert doubts_line({"doubts": {"contradicted": 0, "confirmed": 0}}) == []
