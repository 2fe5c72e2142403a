"""Who may answer which item: by name, by share, and what changes when people come and go."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from rounds.surfaces.assignment import by_share
from rounds.surfaces.desk import Refused
from stages.contract.errors import PipelineError
from tests.surfaces.conftest import MakeProject
from tests.surfaces.test_desk import answer, open_desk

ITEMS = [f"q{number}" for number in range(3000)]
NAMES = some.dictionaries(some.sampled_from("abcdef"), some.floats(0.01, 100), min_size=2)


def test_shares_are_met_and_the_order_of_names_does_not_matter() -> None:
    shares = {"ann": 2.0, "bo": 1.0, "cy": 0.0}
    got = Counter(name for item in ITEMS for name in by_share(item, shares, 1, 7))
    assert got["ann"] / len(ITEMS) == pytest.approx(2 / 3, abs=0.03)
    assert got["cy"] == 0
    backwards = dict(reversed(shares.items()))
    assert all(by_share(i, shares, 1, 7) == by_share(i, backwards, 1, 7) for i in ITEMS[:50])


@settings(max_examples=30, deadline=None)
@given(NAMES, some.integers(1, 2), some.text(max_size=5))
def test_who_leaves_moves_only_what_was_theirs(
    shares: dict[str, float], count: int, item: str
) -> None:
    before = by_share(item, shares, count, 0)
    assert len(before) == count
    for name in shares:
        others = {other: share for other, share in shares.items() if other != name}
        after = by_share(item, others, count, 0)
        assert (after == before) if name not in before else before - {name} <= after


def test_the_page_gives_each_person_their_own_items_and_refuses_others(
    make_project: MakeProject,
) -> None:
    project = make_project(["one", "two", "three"], surface={"people": {"Ann": 1, "bo": 1}})
    Path("data/assignment.csv").write_text("id,annotator\np-0,Bo\np-1,ann\np-2,bo\np-2,ann\n")
    desk = open_desk(project)
    ann, bo, cy = desk.session("ann"), desk.session("bo"), desk.session("cy")
    assert desk.current(ann) == 1
    assert desk.current(bo) == 0
    assert desk.current(cy) is None
    with pytest.raises(Refused, match="for somebody else"):
        desk.take(ann, 0, "accept", "positive", key="12345678", replaces="")
    answer(desk, ann, 1, "accept", "positive", key="12345678", replaces="")
    assert desk.current(ann) == 2


def test_rows_that_nobody_is_named_for_are_divided_by_share(make_project: MakeProject) -> None:
    texts = [f"text {number}" for number in range(12)]
    desk = open_desk(make_project(texts, surface={"people": {"ann": 1, "bo": 1}}))
    mine = {
        name: [n for n in range(12) if desk.may_answer(name, n)] for name in ("ann", "bo", "cy")
    }
    assert sorted(mine["ann"] + mine["bo"]) == list(range(12))
    assert mine["ann"]
    assert mine["bo"]
    assert mine["cy"] == []


def test_too_few_people_for_the_answers_that_each_row_wants_are_refused(
    make_project: MakeProject,
) -> None:
    project = make_project(["one"], surface={"people": {"ann": 1}, "annotations_per_item": 2})
    with pytest.raises(PipelineError, match=r"1 people have a share, and each row wants 2"):
        open_desk(project)
