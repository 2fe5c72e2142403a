"""Whatever people do, in whatever order: the sources fold to the state, and every example is in
exactly one place.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from rounds.close import answered
from rounds.collect import collect
from rounds.commands import changed_paths, git
from rounds.correct import amend
from rounds.history import cases_of
from rounds.issue import issue
from rounds.project import Project
from rounds.verify import verify
from stages.answers.standing import standing
from stages.contract.canonical import Row, jsonl, read_json, read_jsonl
from stages.contract.errors import PipelineError
from stages.store.index import read_index
from tests.history.inprocess import Stages, answer, closed, said_by

SAYS = st.sampled_from(["truth", "lie", "skip"])


class Loop(RuleBasedStateMachine):
    """Answer, skip, reject, collect (late as well), correct, retract, issue, close and clone, at
    random.
    """

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.project = Project(
            Path(shutil.copytree(self.template, self.folder / "project")).resolve()
        )
        self.rows: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(
        who=st.sampled_from(["ann", "bo"]),
        said=st.lists(SAYS, min_size=8, max_size=8),
        many=st.integers(1, 8),
    )
    def answers(self, who: str, said: list[str], many: int) -> None:
        places = {
            row["al_id"]: place for place, row in enumerate(self.project.last_round().tasks())
        }
        truth = {"truth": "ab", "lie": "ba"}

        def label(item: str) -> str | None:
            kind = said[places[item] % 8]
            return None if kind == "skip" else truth[kind][int(item[-4:]) % 2]

        answer(self.project, who, label, many)

    @rule(
        back=st.integers(0, 2),
        many=st.integers(1, 5),
        said=st.sampled_from(["a", "b", None, "reject"]),
    )
    def collects(self, back: int, many: int, said: str | None) -> None:
        """Another person's export for the open round, or late for one before it; a second time
        brings nothing new.
        """
        one = self.project.rounds()[-1 - min(back, len(self.project.rounds()) - 1)]
        rows = [
            said_by("cy", task, None if said == "reject" else said) for task in one.tasks()[-many:]
        ]
        rows = [
            {**row, "_timestamp": one.number, **({"answer": "reject"} if said == "reject" else {})}
            for row in rows
        ]
        export = self.folder / "export.jsonl"
        export.write_bytes(jsonl(rows))
        before = collected(self.project)
        collect(self.project, [export], strict=True)
        after = collected(self.project)
        assert before <= after
        assert len(after) - len(before) <= many
        assert "; 0 new" in collect(self.project, [export], strict=True)[0][0]
        assert collected(self.project) == after

    @rule(place=st.integers(0, 99), label=st.sampled_from(["a", "b", None]))
    def corrects(self, place: int, label: str | None) -> None:
        cases = sorted(cases_of(self.project))
        item = cases[place % len(cases)]
        try:
            row = amend(self.project, item, label, "on second thought", "Cy")
        except PipelineError as error:
            assert error.remedy == "all is well" or error.where == "ID"  # noqa: PT017 - either is the right refusal
        else:
            assert row["label"] == label

    @precondition(lambda self: self.project.last_round().answer_files())
    @rule(by_hand=st.booleans())
    def closes(self, by_hand: bool) -> None:
        if by_hand and answered(self.project, self.project.last_round())[0] == len(
            self.project.last_round().tasks()
        ):
            Stages(self.project.root, str)("repro")
            issue(self.project)
        closed(self.project, partial=True)
        self.everything_holds()

    def everything_holds(self) -> None:
        root = self.project.root
        assert changed_paths(root) == []
        assert verify(self.project) == ([], [])
        index, gate = read_index(root / "build" / "features"), root / "build" / "gate"
        tables = {
            name: {row["id"] for row in read_jsonl(gate / f"{name}.jsonl")}
            for name in ("accepted", "review", "unlabelled")
        }
        batches = {
            one.number: read_jsonl(one.folder / "batch.jsonl") for one in self.project.rounds()
        }
        done = read_json(gate / "state.json")["rounds"]
        asked = {row["id"] for number, rows in batches.items() if number <= done for row in rows}
        seed, pool = set(index.ids[index.rows("seed")]), set(index.ids[index.rows("pool")])
        unasked = pool - set.union(*tables.values())
        assert not unasked & asked
        assert {row["id"] for row in self.project_batch()} <= unasked | set.union(*tables.values())
        assert pool | seed == unasked | set.union(
            *tables.values()
        )  # labelled, doubted, without a label, or not asked
        assert sum(map(len, tables.values())) == len(
            set.union(*tables.values())
        )  # each id in one table only
        assert set.union(*tables.values()) >= asked | seed
        upto, params = done, self.project.params()
        cases = cases_of(self.project)
        for row in read_jsonl(gate / "accepted.jsonl"):
            assert standing(cases[row["id"]], upto, params.gate).label == row["label"]
        for number, rows in batches.items():
            ids = [row["id"] for row in rows]
            assert len(set(ids)) == len(ids)
            for row in rows:
                then = (
                    standing(cases[row["id"]], number - 1, params.gate)
                    if row["id"] in cases
                    else None
                )
                assert (
                    "review" in row["arms"] or then is None or then.label is None
                )  # else nothing is asked twice

    def project_batch(self) -> list[Row]:
        """The rows that wait for an answer now."""
        return read_jsonl(self.project.last_round().folder / "batch.jsonl")

    @precondition(lambda self: not changed_paths(self.project.root))
    @rule()
    def clones(self) -> None:
        other = self.folder / "clone"
        git(self.project.root, "clone", "--quiet", str(self.project.root), str(other))
        lock = (other / "dvc.lock").read_bytes()
        (other / "dvc.lock").unlink()
        Stages(other, str)("repro")
        assert git(other, "status", "--porcelain", "--", "metrics", "plots") == ""
        for name in ("accepted", "review", "known"):
            here, there = (
                root / "build" / "gate" / f"{name}.jsonl" for root in (self.project.root, other)
            )
            assert here.read_bytes() == there.read_bytes()
        assert b"build/gate" in lock
        shutil.rmtree(other)


def collected(project: Project) -> set[tuple[str, int, str]]:
    """Every answer row on disk with its place."""
    files = [path for one in project.rounds() for path in one.answer_files()]
    return {
        (str(path), line, text)
        for path in files
        for line, text in enumerate(path.read_text().splitlines())
    }


@pytest.mark.slow
def test_no_order_of_events_breaks_the_ledger(
    templates: object, request: pytest.FixtureRequest
) -> None:
    Loop.template = request.getfixturevalue("templates")(0).root
    examples = int(
        os.environ.get("LABELROUNDS_EXAMPLES", "2")
    )  # the wide run that docs/reliability.md tells of: 60
    rules = settings(
        max_examples=examples,
        stateful_step_count=12 if examples == 2 else 24,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Loop, settings=rules)
