"""Doubts over several rounds through the real stages, files and batches: contradiction,
confirmation, ping-pong.
"""

from __future__ import annotations

import numpy as np
import pytest

from rounds.issue import issue
from rounds.project import Project
from rounds.surfaces import oracle
from stages.contract.canonical import Row, read_json, read_jsonl, write_jsonl
from tests.conftest import Small

CORNERS = {"red": (6.0, 0.0), "green": (-3.0, 5.0), "blue": (-3.0, -5.0)}


def turned(label: str) -> str:
    """The next class of the ring."""
    names = list(CORNERS)
    return names[(names.index(label) + 1) % len(names)]


class Life:
    """A project of three far clusters, 30 seed labels and batches of twenty rows, four of which may
    be reviews.
    """

    def __init__(self, small: Small) -> None:
        draw = np.random.default_rng(0)
        names = list(CORNERS)
        rows = []
        for number in range(198):
            label = names[number % 3]
            x, y = np.array(CORNERS[label]) + draw.normal(0, 0.5, 2)
            rows.append((f"r-{number:03d}", f"{x:.4f}", f"{y:.4f}", label))
        self.truth = {row[0]: row[3] for row in rows}
        small.write("seed", rows[:30])
        small.write("test", rows[30:60])
        small.write("pool", [row[:3] for row in rows[60:]], label=False)
        small.set({
            ("query", "batch_size"): 20, ("query", "control_fraction"): 0.2, ("query", "review_fraction"): 0.2,
        })  # fmt: skip
        self.small, self.project = small, Project(small.root)
        small.run()

    def ask(self) -> list[Row]:
        """Issue the next batch: its rows, with their arms."""
        issue(self.project)
        return read_jsonl(self.small.root / "build/batch/batch.jsonl")

    def answer(self, wrong: dict[str, str], *, who: str = "oracle") -> None:
        """Everybody's true label, but for `wrong`; then every stage runs."""
        newest, params = self.project.last_round(), self.project.params()
        rows = oracle.answer(newest.tasks(), {**self.truth, **wrong}, params.labels, annotator=who)
        write_jsonl(newest.answers / f"{who}.jsonl", rows)

    def gate(self, name: str) -> dict[str, Row]:
        """One of the gate's tables, by id."""
        return {row["id"]: row for row in read_jsonl(self.small.root / f"build/gate/{name}.jsonl")}

    def reviewed(self, asked: list[Row]) -> set[str]:
        """The ids of a batch that are asked again."""
        return {row["id"] for row in asked if row["arms"] == ["review"]}

    def settled(self) -> None:
        """Every id that was ever labelled or asked stands in one table, and in one only."""
        tables = [set(self.gate(name)) for name in ("accepted", "review", "unlabelled")]
        asked = {row["id"] for row in read_jsonl(self.small.root / "build/labels/asked.jsonl")}
        seed = {item for item in self.truth if int(item[2:]) < 30}
        assert set.union(*tables) == asked | seed
        assert sum(map(len, tables)) == len(asked | seed)


@pytest.mark.slow
def test_contradicted_confirmed_and_disputed_labels_settle_for_good_over_six_rounds(
    small: Small,
) -> None:
    life = Life(small)
    first = [row["id"] for row in life.ask() if "active" in row["arms"]][:3]
    contradicted, confirmed, disputed = first
    wrong = {item: turned(life.truth[item]) for item in first}
    life.answer(wrong)
    small.run()
    assert set(life.gate("review")) == set(first)
    assert {item: row["suggested"] for item, row in life.gate("review").items()} == {
        i: life.truth[i] for i in first
    }

    asked = life.ask()
    assert life.reviewed(asked) == set(first)
    third = turned(wrong[disputed])
    assert len({third, wrong[disputed], life.truth[disputed]}) == 3
    life.answer({confirmed: wrong[confirmed], disputed: third})
    small.run()
    life.settled()
    accepted = life.gate("accepted")
    assert (accepted[contradicted]["label"], accepted[contradicted]["source"]) == (
        life.truth[contradicted],
        "review",
    )
    assert accepted[confirmed]["label"] == wrong[confirmed]
    assert life.gate("review")[disputed]["reasons"] == ["disagreement"]

    assert life.reviewed(life.ask()) == {disputed}
    life.answer({})
    small.run()
    assert life.gate("accepted")[disputed]["label"] == life.truth[disputed]

    for _ in range(
        3
    ):  # the model still finds the confirmed label odd: nobody is asked about it again
        assert not life.reviewed(life.ask()) & set(first)
        life.answer({})
        small.run()
        life.settled()
        assert life.gate("accepted")[confirmed]["label"] == wrong[confirmed]
        assert not set(life.gate("review")) & set(first)
    doubts = read_json(small.root / "metrics/gate.json")["doubts"]
    assert (doubts["confirmed"], doubts["contradicted"]) == (
        1,
        2,
    )  # the disputed one once: that people then disagree is no doubt of the gate's
    known = [
        row
        for row in read_jsonl(small.root / "build/gate/known.jsonl")
        if row["id"] == contradicted
    ]
    assert [(row["from_round"], row["to_round"], row["label"]) for row in known] == [
        (2, None, life.truth[contradicted])
    ]
    votes = [
        row["label"]
        for row in read_jsonl(small.root / "build/gate/votes.jsonl")
        if row["id"] == disputed
    ]
    assert votes == [wrong[disputed], third, life.truth[disputed]]


def test_a_doubt_that_nobody_answers_waits_and_is_asked_again_until_somebody_does(
    small: Small,
) -> None:
    life = Life(small)
    item = next(row["id"] for row in life.ask() if "active" in row["arms"])
    life.answer({item: turned(life.truth[item])})
    small.run()
    for _ in range(2):
        assert item in life.reviewed(life.ask())
        newest = life.project.last_round()
        life.answer({})
        rows = read_jsonl(newest.answers / "oracle.jsonl")
        skipped = [
            {**row, "answer": "ignore", "accept": []} if row["al_id"] == item else row
            for row in rows
        ]
        write_jsonl(newest.answers / "oracle.jsonl", skipped)
        small.run()
        life.settled()
    assert life.gate("unlabelled")[item]["kind"] == "unresolved"  # asked three times


def test_with_two_annotators_activelab_shares_the_batch_between_review_and_new_rows(
    small: Small,
) -> None:
    life = Life(small)
    # ActiveLab compares probabilities: it is looked at here with a model whose confidence has been
    # judged
    small.set({("surface", "annotations_per_item"): 2, ("calibrate", "min_random_labels"): 30})
    for _ in range(2):
        asked = life.ask()
        new = [row["id"] for row in asked if "active" in row["arms"]][:6]
        life.answer({})
        life.answer({item: turned(life.truth[item]) for item in new}, who="careless")
        small.run()
        life.settled()
    queue = life.gate("review")
    again = life.reviewed(life.ask())
    assert (
        len(again) == 4
    )  # a tie of two people is a better question than a new row of a clear cluster
    assert again <= set(queue)
    assert len(queue) > 4
    people = read_json(small.root / "metrics/gate.json")["annotators"]
    assert (
        people["careless"]["error_rate"] > people["oracle"]["error_rate"]
        or people["oracle"]["error_rate"] is None
    )


@pytest.mark.parametrize("policy", ["budget", "cleanlab"])
def test_the_other_policies_find_the_planted_labels_as_well(small: Small, policy: str) -> None:
    life = Life(small)
    small.set({("gate", "policy"): policy})
    planted = [row["id"] for row in life.ask() if "active" in row["arms"]][:2]
    life.answer({item: turned(life.truth[item]) for item in planted})
    small.run()
    assert set(planted) <= set(life.gate("review"))
    assert len(life.gate("review")) <= 4
