"""Rows that people disagree on, side by side with their notes, for one person to decide.

At /owner/disputed of the served page. A decision is a correction (`rounds correct`): a row in the
open round's corrections.jsonl, which beats every answer and counts when that round is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from rounds.correct import amend, whoever
from rounds.history import EVERY_ROUND, cases_of
from rounds.project import Project
from rounds.surfaces.desk import NOTE
from rounds.surfaces.shown import shown_content
from stages.answers.changed import id_then, read_changed, renamed
from stages.answers.prodigy import Answer, NotAnAnswer, read_answer
from stages.answers.standing import SEED, Case, in_force, standing
from stages.contract.canonical import Row, numbered_rows
from stages.contract.errors import PipelineError
from stages.contract.params import Gate

WHY = "adjudicated"


@dataclass(frozen=True)
class Opinion:
    """What one person says of a row. label: "" where none was given; note: a remark, or ""."""

    annotator: str
    label: str
    kind: str
    round: int
    note: str


@dataclass(frozen=True)
class Disputed:
    """A row on which people give different labels.

    stands: the label that counts as things are, None where nothing leads.
    """

    id: str
    content: Row
    opinions: list[Opinion]
    stands: str | None


def is_disputed(case: Case, policy: Gate) -> bool:
    """Whether people's labels differ and nobody has decided: no override, no adjudicator's word."""
    votes = in_force(case, EVERY_ROUND)
    labels = {vote.label for vote in votes if vote.is_label}
    decided = any(
        vote.kind == "override" or (policy.adjudicator and vote.annotator == policy.adjudicator)
        for vote in votes
    )
    return len(labels) > 1 and not decided


def disputed(project: Project) -> list[Disputed]:
    """All disputed rows, those without a leading label first, then by id."""
    params = project.params()
    cases = [case for case in cases_of(project).values() if is_disputed(case, params.gate)]
    stands = {case.id: standing(case, EVERY_ROUND, params.gate).label for case in cases}
    notes = _notes(project, set(stands))
    contents = _contents(project, set(stands))
    rows = [
        Disputed(
            id=case.id,
            content=contents.get(case.id, {}),
            opinions=[
                Opinion(
                    vote.annotator if vote.annotator != SEED else "the seed",
                    vote.label,
                    vote.kind,
                    vote.round,
                    notes.get((case.id, vote.annotator, vote.round), ""),
                )
                for vote in in_force(case, EVERY_ROUND)
            ],
            stands=stands[case.id],
        )
        for case in cases
    ]
    return sorted(rows, key=lambda row: (row.stands is not None, row.id))


def _notes(project: Project, items: set[str]) -> dict[tuple[str, str, int], str]:
    """The last note of each person on each of some items in each round."""
    record = read_changed(project.rounds_folder)
    notes: dict[tuple[str, str, int], str] = {}
    for number, row, answer in _noted(project):
        item = renamed(answer.id or "", number, record)
        if item in items:
            notes[item, answer.annotator, number] = str(row[NOTE])
    return notes


def _noted(project: Project) -> Iterator[tuple[int, Row, Answer]]:
    """Round, row and answer of every answer with a note."""
    for issued in project.rounds():
        for path in issued.answer_files():
            for _, row in numbered_rows(path):
                if row.get(NOTE):
                    try:
                        yield issued.number, row, read_answer(row)
                    except NotAnAnswer:  # import_labels refuses such a row, with file and line
                        continue


def _task_of(project: Project, item: str) -> Row | None:
    """The task of an item as it was asked last."""
    record = read_changed(project.rounds_folder)
    for issued in reversed(project.rounds()):
        name = id_then(item, issued.number, record)
        for task in issued.tasks():
            if task["al_id"] == name:
                return task
    return None


def _contents(project: Project, items: set[str]) -> dict[str, Row]:
    """What people saw of some items, as the page shows it."""
    record = read_changed(project.rounds_folder)
    contents: dict[str, Row] = {}
    for issued in project.rounds():
        for task in issued.tasks():
            item = renamed(str(task["al_id"]), issued.number, record)
            if item in items:
                contents[item] = shown_content(task)
    return contents


class Bench:
    """What the page of disputed rows shows and takes."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def shown(self) -> Row:
        """The disputed rows, and the labels to choose from."""
        rows = [asdict(row) for row in disputed(self._project)]
        return {"labels": self._project.params().labels, "rows": rows}

    def picture(self, item: str) -> object:
        """The picture of an item, as its task holds it; None where it has none."""
        task = _task_of(self._project, item)
        return task.get("image") if task else None

    def decide(self, item: str, label: str, why: str) -> str:
        """Give an item its final label. Raises PipelineError where it has no open dispute."""
        params = self._project.params()
        case = cases_of(self._project).get(item)
        if case is None or not is_disputed(case, params.gate):
            raise PipelineError(item, "nobody disagrees about it any more", "reload the page")
        by = params.gate.adjudicator or whoever(self._project, None)
        amend(self._project, item, label, why.strip() or WHY, by, may_confirm=True)
        return by
