"""What labels that were given before a change of the labels mean after it: laws, and cases by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rounds.shipped import shipped_params
from stages.answers.ledger import Asked
from stages.answers.scheme import (
    Change,
    Meaning,
    as_row,
    comparable_since,
    labels_after,
    meaning,
    offered_now,
    parents,
    read_scheme,
    require_allowed,
    require_known_names,
    table_meaning,
)
from stages.answers.standing import Case, Vote, known_labels, standing
from stages.contract.canonical import jsonl
from stages.contract.errors import PipelineError

LABELS = ["a", "b", "c", "d"]
NAMES = st.sampled_from(LABELS)


def change(kind: str, labels: str, into: str = "", number: int = 1, **rest: object) -> Change:
    """A change; labels and into are words of one letter each."""
    return Change(number, 1, 0, kind, tuple(labels), tuple(into), why="w", **rest)  # type: ignore[arg-type]  # short


def numbered(changes: list[Change]) -> list[Change]:
    return [Change(**{**one.__dict__, "change": at}) for at, one in enumerate(changes, start=1)]


@given(NAMES)
def test_a_rename_there_and_back_changes_nothing(label: str) -> None:
    there_and_back = [change("rename", "a", "z"), change("rename", "z", "a")]
    assert meaning(label, there_and_back) == Meaning(label)
    after = labels_after(labels_after(LABELS, there_and_back[0]), there_and_back[1])
    assert after == LABELS


@given(NAMES, st.sampled_from(["z", "a", "b"]))
def test_a_merge_made_twice_is_a_merge_made_once(label: str, into: str) -> None:
    merge = change("merge", "ab", into)
    assert meaning(label, [merge, merge]) == meaning(label, [merge])
    once = labels_after(LABELS, merge)
    assert labels_after(once, merge) == once
    assert sorted(once) == sorted({into if name in "ab" else name for name in LABELS})


@given(
    NAMES,
    st.permutations(
        [change("rename", "a", "z"), change("merge", "bc", "y"), change("retire", "d")]
    ),
)
def test_changes_of_different_labels_may_come_in_any_order(label: str, order: list[Change]) -> None:
    expected = {
        "a": Meaning("z"), "b": Meaning("y"), "c": Meaning("y"), "d": Meaning("d", retired="again"),
    }  # fmt: skip
    assert meaning(label, order) == expected[label]


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(["rename", "merge", "retire", "split"]), max_size=5), NAMES, st.data()
)
def test_what_a_label_means_is_a_class_of_today_or_was_retired(
    kinds: list[str], label: str, data: st.DataObject
) -> None:
    """Whatever people do that is allowed, an old label is a class, or one of classes, or retired."""
    labels = list(LABELS)
    record: list[Change] = []
    for number, kind in enumerate(kinds):
        subject = data.draw(st.sampled_from(labels))
        other = data.draw(st.sampled_from(labels))
        into = {"rename": f"n{number}", "merge": other, "retire": "", "split": f"n{number}"}[kind]
        of = tuple(dict.fromkeys([subject, other])) if kind == "merge" else (subject,)
        names = {"retire": (), "split": (into, f"m{number}")}.get(kind, (into,))
        new = Change(number + 1, number, 0, kind, of, names, why="w")  # type: ignore[arg-type]  # one of the kinds
        try:
            require_allowed(labels, record, new)
        except PipelineError:
            continue
        record.append(new)
        labels = labels_after(labels, new, record)
        assert labels_after(labels, new, record) == labels
    record = numbered(record)
    now = meaning(label, record)
    assert now.retired or now.label in labels
    assert set(now.among) <= set(labels)
    assert not set(offered_now(labels, record)) & set(parents(record))
    require_known_names(labels, record)


def test_what_was_merged_is_known_again_when_the_merged_label_is_split_into_the_same() -> None:
    record = [change("merge", "ab", "m"), change("split", "m", "ab")]
    assert meaning("a", record) == Meaning("a")
    assert meaning("b", record) == Meaning("b")
    assert meaning("m", record[1:]) == Meaning("m", ("a", "b"))


def test_a_split_that_is_merged_again_was_never_there() -> None:
    record = [change("split", "a", "xy"), change("merge", "xy", "a")]
    assert meaning("a", record) == meaning("x", record[1:]) == Meaning("a")
    assert parents(record[:1]) == ["a"]
    assert not parents(record)
    split = labels_after(LABELS, record[0])
    assert labels_after(split, record[1], record) == LABELS


def test_a_part_that_is_retired_leaves_the_others_and_a_retired_parent_leaves_none() -> None:
    split = change("split", "a", "xyz")
    assert meaning("a", [split, change("retire", "x")]) == Meaning("a", ("y", "z"))
    assert meaning("a", [split, change("retire", "a", ask_again=False)]).retired == "left"
    assert meaning("x", [change("retire", "a")]) == Meaning("x")


def test_a_label_split_off_leaves_the_old_name_a_class_that_is_asked_for() -> None:
    record = [change("split", "a", "ax")]
    assert meaning("a", record) == Meaning("a", ("a", "x"))
    assert labels_after(LABELS, record[0]) == ["a", "x", "b", "c", "d"]
    assert offered_now(["a", "x", "b"], record) == ["a", "x", "b"]


def test_a_table_is_older_than_a_split_only_while_it_has_the_bytes_of_then() -> None:
    record = [change("split", "a", "ax", tables={"test": "then"})]
    assert table_meaning("a", record, "test", "then") == Meaning("a", ("a", "x"))
    assert table_meaning("a", record, "test", "edited since") == Meaning("a")
    assert table_meaning("a", [change("rename", "a", "z")], "test", "any") == Meaning("z")


def test_only_splits_and_their_ends_break_the_curve() -> None:
    others = [Change(1, 5, 0, "rename", ("a",), ("z",)), Change(2, 6, 0, "retire", ("b",))]
    assert comparable_since(others) == 0
    split = Change(3, 7, 0, "split", ("z",), ("x", "y"))
    renamed = Change(4, 8, 0, "rename", ("z",), ("o",))
    assert comparable_since([*others, split, renamed]) == 7
    assert comparable_since([*others, split, renamed, Change(5, 9, 0, "retire", ("o",))]) == 9


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (change("rename", "a", "b"), "'b' is a label already"),
        (change("rename", "a", "o"), "'o' was a label that meant something else"),
        (change("rename", "q", "z"), "'q' is no label of params.yaml"),
        (change("merge", "a", "z"), "a merge is of two labels or more"),
        (change("split", "a", "z"), "'a' would be split into fewer than two"),
        (change("split", "a", "zb"), "'b' is a label already"),
        (change("merge", "abcd", "z"), "fewer than two labels would be left"),
    ],
)
def test_what_cannot_be_done_is_refused(new: Change, said: str) -> None:
    record = [change("rename", "o", "c")]
    with pytest.raises(PipelineError, match=said):
        require_allowed(LABELS, record, new)


def test_a_name_put_back_by_hand_that_means_something_else_is_refused() -> None:
    with pytest.raises(PipelineError, match="'a' is 'z' now"):
        require_known_names(["a", "z", "b"], [change("rename", "a", "z")])
    with pytest.raises(PipelineError, match="'a' was retired"):
        require_known_names(["a", "b"], [change("retire", "a")])


def test_the_record_is_read_as_it_was_written_and_an_odd_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scheme.jsonl"
    assert read_scheme(path) == []
    record = numbered(
        [change("split", "a", "xy", tables={"seed": "s"}), change("retire", "b", ask_again=False)]
    )
    path.write_bytes(jsonl(as_row(one) for one in record))
    assert read_scheme(path) == record
    path.write_bytes(path.read_bytes() + jsonl([{**as_row(record[0]), "change": 2}]))
    with pytest.raises(PipelineError, match=r"scheme.jsonl:3: not a line of `rounds labels`"):
        read_scheme(path)


def case(*votes: Vote) -> Case:
    asked: dict[int, Asked] = {}
    return Case("p", list(votes), asked)


OLD = Vote(1, "ann", "label", "a", among=("x", "y"))
GATE = shipped_params().gate


def test_a_split_label_stays_the_parent_until_somebody_names_a_part() -> None:
    assert standing(case(OLD), 3, GATE).label == "a"
    assert standing(case(OLD), 3, GATE).among == ("x", "y")
    told = case(OLD, Vote(2, "bo", "label", "y"))
    assert standing(told, 1, GATE).label == "a"
    assert standing(told, 2, GATE).label == "y"
    assert not standing(told, 2, GATE).among
    spans = [
        (row["label"], row["from_round"], row["to_round"])
        for row in known_labels([told], 2, set(), GATE)
    ]
    assert spans == [("a", 1, 2), ("y", 2, None)]


def test_an_old_answer_speaks_for_the_part_that_most_people_name_and_against_another_class() -> (
    None
):
    parts = [Vote(2, "bo", "label", "x"), Vote(2, "cy", "label", "y")]
    assert standing(case(OLD, *parts), 2, GATE).why == "disagreement"
    assert standing(case(OLD, *parts, Vote(3, "di", "label", "y")), 3, GATE).label == "y"
    assert standing(case(OLD, Vote(2, "bo", "label", "b")), 2, GATE).why == "disagreement"
    assert (
        standing(case(OLD, Vote(2, "bo", "label", "b"), Vote(2, "cy", "label", "x")), 2, GATE).label
        == "x"
    )


def test_a_retired_label_leaves_its_rows_without_one_and_loses_where_it_had_lost() -> None:
    left = Vote(1, "ann", "label", "a", retired="left")
    again = Vote(1, "ann", "label", "a", retired="again")
    others = [Vote(1, "bo", "label", "b"), Vote(1, "cy", "label", "b")]
    assert standing(case(left), 1, GATE).why == "retired"
    assert standing(case(again), 1, GATE).why == "retract"
    assert standing(case(left, others[0]), 1, GATE).label is None
    assert standing(case(left, *others), 1, GATE).label == "b"
    adjudicated = Vote(2, "di", "override", "a", retired="left")
    assert standing(case(*others, adjudicated), 2, GATE).label is None
