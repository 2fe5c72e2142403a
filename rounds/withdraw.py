"""`rounds retract --annotator NAME`: withdraw all that one person answered, as a whole.

Nothing old is edited: one row for each answered id goes into the open round's corrections.jsonl and
names the person and the round since which. It takes effect when the open round is closed, so what
was known after every earlier round stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable

from rounds.early import take_in
from rounds.history import cases_of
from rounds.lock import exclusive
from rounds.project import Project
from stages.answers.reading import answers_before, answers_of
from stages.answers.standing import Case, Vote, in_force, standing
from stages.contract.canonical import Row, add_lines, jsonl
from stages.contract.errors import PipelineError, closest


def answers_of_person(case: Case, annotator: str, since: int, upto: int) -> list[Vote]:
    """The answers about one example that a person gave from a round on and that still count."""
    return [
        vote
        for vote in in_force(case, upto)
        if vote.annotator == annotator and vote.round >= since and not vote.corrects
    ]


def people_in(cases: Iterable[Case]) -> list[str]:
    """Everybody who answered anything, by name."""
    return sorted(
        {
            vote.annotator
            for case in cases
            for vote in case.votes
            if vote.round and not vote.corrects
        }
    )


def withdraw(project: Project, annotator: str, since: int, why: str, by: str) -> list[Row]:
    """Add the rows that withdraw a person's answers from the round `since` on. Returns them.

    Raises PipelineError for an empty reason, and for a person without such answers.
    """
    if not why.strip():
        raise PipelineError("--why", "no reason given", "say in a few words what was wrong")
    with exclusive(project.root, wait=True):
        take_in(project.root, project.rounds())
        target = project.open_round()
        params = project.params()
        cases = cases_of(project)
        theirs = [
            case
            for case in cases.values()
            if answers_of_person(case, annotator, since, target.number)
        ]
        if not theirs:
            raise _nothing_to_withdraw(annotator, since, people_in(cases.values()))
        labels = project.labels_ever()
        answers = answers_of(target.folder, target.batch_id(), target.tasks(), labels)
        rows: list[Row] = [
            {
                "id": case.id,
                "label": None,
                "was": standing(case, target.number, params.gate).label,
                "why": why.strip(),
                "by": by,
                "annotator": annotator,
                "since": since,
                "after": answers_before(answers, case.id, annotator),
            }
            for case in sorted(theirs, key=lambda case: case.id)
        ]
        add_lines(target.corrections, jsonl(rows))
    return rows


def _nothing_to_withdraw(annotator: str, since: int, people: list[str]) -> PipelineError:
    if annotator in people:
        what = f"{annotator!r} has no answer since round {since} that counts"
        return PipelineError("--since", what, "name an earlier round, or all is well")
    what = f"nobody of the name {annotator!r} has answered{closest(annotator, people)}"
    remedy = f"the annotators are: {', '.join(people) or 'none'}"
    return PipelineError("--annotator", what, remedy)
