"""The owner's view: its figures by hand, from answers that people gave and from metrics."""

from __future__ import annotations

import re

import pytest

from rounds.owner import Board, curve_svg, next_close
from rounds.people import Pair, class_rows, pace_rows, pairs_of, people_rows
from rounds.surfaces.desk import pace
from rounds.surfaces.series import Series
from stages.answers.ledger import Event
from stages.answers.standing import Case, Vote
from stages.contract.canonical import Row
from tests.surfaces.conftest import MakeProject


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([], None),
        ([5.0], None),
        ([0.0, 4.0, 10.0, 11.0], 4.0),
        ([11.0, 0.0, 10.0, 4.0], 4.0),
        ([0.0, 4.0, 400.0, 408.0], 6.0),  # six and a half minutes are a pause
        ([0.0, 400.0], None),
    ],
)
def test_the_pace_is_the_median_gap_without_pauses(
    times: list[float], seconds: float | None
) -> None:
    assert pace(times) == seconds


def pairs(text: str) -> list[Pair]:
    """`ab cb` are two items that ann and bo labelled: a and b, then c and b."""
    return [Pair(("ann", "bo"), (two[0], two[1])) for two in text.split()]


def test_agreement_of_people_and_of_classes_by_hand() -> None:
    both = pairs("aa aa bb ab")
    # alike 3/4; by chance (3/4)(2/4) + (1/4)(2/4) = 1/2; kappa (3/4 - 1/2) / (1/2) = 1/2
    assert people_rows(both) == [["ann and bo", 4, "75 %", "0.50"]]
    # b: in two pairs, alike in one; a: in three, alike in two
    assert class_rows(both) == [["b", 2, "50 %"], ["a", 3, "67 %"]]
    assert people_rows(pairs("aa")) == [["ann and bo", 1, "100 %", ""]]
    assert people_rows([]) == class_rows([]) == []


def test_only_labels_of_one_round_are_compared() -> None:
    votes = [
        Vote(0, "", "label", "a"),
        Vote(1, "bo", "label", "a"),
        Vote(1, "ann", "label", "b"),
        Vote(1, "cy", "skip", ""),
        Vote(2, "ann", "label", "a"),
        Vote(2, "di", "label", "a", late=True),
    ]
    asked: Row = {"id": "x"}
    case = Case("x", votes=votes, asked={1: asked, 2: asked})  # type: ignore[dict-item]
    assert list(pairs_of([case])) == [Pair(("ann", "bo"), ("b", "a"))]


def test_the_pace_of_people_leaves_out_pauses_and_rounds_are_apart() -> None:
    def at(who: str, number: int, seconds: float, kind: str = "label") -> Event:
        return {
            "round": number, "id": "x", "annotator": who, "kind": kind, "label": "a", "flagged": False,
            "at": seconds, "file": "", "line": 1, "late": False, "order": 0,
        }  # type: ignore[typeddict-item]  # fmt: skip

    events = [at("ann", 1, moment) for moment in (0, 4, 10, 1000)]
    events += [at("ann", 2, 1003), at("bo", 1, 5), at("bo", 1, 9, "withdraw")]
    assert pace_rows(events) == [["ann", 5, "5", "0.0"], ["bo", 1, "", ""]]


def test_the_curve_has_a_line_and_a_band_for_each_arm() -> None:
    rows = [
        {"arm": arm, "labels": labels, "accuracy": 0.5, "low": 0.4, "high": 0.7}
        for arm in ("active", "random")
        for labels in (10, 20)
    ]
    drawn = curve_svg(rows)
    assert re.findall(r">(active|random)</text>", drawn) == ["active", "random"]
    assert drawn.count("<polygon") == 2
    assert curve_svg([]) == ""


def test_before_the_first_close_the_board_says_so_and_shows_what_people_wrote_as_text(
    make_project: MakeProject,
) -> None:
    project = make_project()
    now = 1_700_000_000.0
    series = Series(project, project.last_round(), idle=600, clock=lambda: now)
    board = Board(project, series)
    desk = series.desk
    for number, name in enumerate(["<b>ann</b>", "bo"]):
        session = desk.session(name)
        position = desk.current(session)
        assert position == number
        taken = desk.take(session, position, "accept", "positive", key=f"k{number}", replaces="")
        assert taken is not None
        desk.save(session, taken)
        desk.settle(session, taken)
    series.answered()
    told = board.html(board.people())
    closed = next_close(project, series, {"round": 2})
    series.close()
    assert closed == "Round 1 is closed."
    assert "2 of 3 items are answered" in told
    assert "<td>&lt;b&gt;ann&lt;/b&gt;</td><td>1</td><td>0</td>" in told
    assert "When the last 1 of 3 items are answered, `rounds close` closes round 1" in told
    for words in ("Nothing is known before the first close", "No alarm rings", "two people yet"):
        assert words in told
