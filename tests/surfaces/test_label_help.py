"""What helps to find a label: descriptions with an example, and an order of many labels."""

from __future__ import annotations

from collections import Counter

import pytest

from rounds.surfaces.label_help import descriptions, nearest_first
from rounds.surfaces.series import Series
from stages.contract.errors import PipelineError
from tests.conftest import write_csv
from tests.surfaces.conftest import MakeProject

MANY = [f"intent_{number}" for number in range(12)]


def test_descriptions_are_the_rows_of_the_table_and_the_example_may_be_missing(
    make_project: MakeProject,
) -> None:
    project = make_project()
    assert descriptions(project) == []
    path = project.root / "data" / "labels.csv"
    write_csv(path, ["name", "description", "example"], [("negative", "disliked", "never again")])
    assert descriptions(project) == [
        {"name": "negative", "description": "disliked", "example": "never again"}
    ]
    write_csv(path, ["name", "description"], [("negative", "disliked")])
    assert descriptions(project)[0]["example"] == ""


def test_a_description_of_no_label_and_a_table_without_its_columns_are_named_with_the_line(
    make_project: MakeProject,
) -> None:
    project = make_project()
    path = project.root / "data" / "labels.csv"
    write_csv(path, ["name", "description"], [("neutral", "so so"), ("negativ", "bad")])
    with pytest.raises(PipelineError) as caught:
        descriptions(project)
    assert str(caught.value) == (
        f"{path}:3: 'negativ' is no label of params.yaml (did you mean 'negative'?); "
        "correct the name, or take the row out"
    )
    write_csv(path, ["label", "text"], [("neutral", "so so")])
    with pytest.raises(PipelineError, match="columns name and description are expected, found"):
        descriptions(project)


def test_many_labels_are_ordered_by_how_often_they_were_given_and_few_are_left_as_they_are() -> (
    None
):
    given = Counter({"intent_7": 3, "intent_2": 3, "intent_11": 5})
    assert nearest_first(MANY, given)[:4] == ["intent_11", "intent_2", "intent_7", "intent_0"]
    assert sorted(nearest_first(MANY, given)) == sorted(MANY)
    assert nearest_first(["a", "b"], Counter(b=9)) == ["a", "b"]


def test_the_order_is_shown_and_any_label_may_be_chosen(make_project: MakeProject) -> None:
    project = make_project(labels=MANY)
    series = Series(project, project.last_round(), idle=600, clock=lambda: 1e9)
    assert series.desk.shown_labels == MANY
    series.close()
