"""What a change of params.labels means for the batches that were issued before it.

A batch keeps the labels that it was issued with: every surface offers those, and answers may hold
them. If nobody has answered the open batch yet, the next close issues it anew, with the labels of
today. A label that answers hold must stay in params.labels, or data/scheme.jsonl says what became
of it, because answers are never rewritten; this is checked before any stage runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from rounds.lock import restore_rounds
from rounds.project import Project, Round
from rounds.surfaces.desk import sole_writer
from stages.answers.prodigy import offered
from stages.answers.reading import RETIRED, import_round, retired, retired_words
from stages.answers.rounds import FROZEN
from stages.answers.scheme import require_known_names
from stages.contract.canonical import numbered_rows
from stages.contract.errors import PipelineError


def offered_by(past: Round) -> list[str]:
    """The labels that a round's batch offers.

    Only the first task is read, for a batch of images is long.
    """
    first = next(iter(numbered_rows(past.asked)), None)
    return offered([first[1]]) if first else []


def retired_labels(project: Project) -> dict[str, int]:
    """Labels that answers and corrections hold and params.labels lacks, each with its count."""
    params = project.params()
    rounds = project.rounds()
    if all(set(offered_by(past)) <= set(params.labels) for past in rounds):
        return {}
    scheme = project.scheme()
    imported = (import_round(past.folder, params, scheme) for past in rounds)
    events = [event for tables in imported if tables for event in tables.events]
    return retired(events, params.labels)


def require_answered_labels(project: Project) -> None:
    """Raises PipelineError where people gave labels that params.labels has no more."""
    require_known_names(project.params().labels, project.scheme())
    counts = retired_labels(project)
    if counts:
        what = retired_words(counts, project.params().labels)
        raise PipelineError("params.yaml labels", what, RETIRED)


def outdated(project: Project, past: Round | None) -> bool:
    """Whether a batch offers other labels than the next one would; their order does not matter."""
    frozen = offered_by(past) if past else []
    return bool(frozen) and set(frozen) != set(project.labels_offered())


def untouched(past: Round) -> bool:
    """Whether nobody has answered, corrected or closed a round, so that it may be issued anew."""
    files = [path for path in past.folder.rglob("*") if path.is_file()]
    names = {path.relative_to(past.folder).as_posix() for path in files}
    return names <= {*FROZEN, "manifest.json"}


def notes(project: Project) -> Iterator[str]:
    """The line of `status` and `close` about an open batch with other labels than params.labels."""
    rounds = project.rounds()
    last = rounds[-1] if rounds else None
    if last is None or last.closed_early.is_file() or not outdated(project, last):
        return
    if retired_labels(project):  # that comes first, and is an error of its own
        return
    shown = ", ".join(offered_by(last))
    if untouched(last):
        issued = f"round {last.number} was issued with {shown}"
        yield f"{issued}; nobody has answered, so close issues it anew"
    else:
        now = ", ".join(project.labels_offered())
        yield f"round {last.number} goes on with {shown}, as it was issued; the next asks for {now}"


@contextmanager
def withdrawn(project: Project, past: Round | None) -> Iterator[None]:
    """Take a batch away that nobody has answered; it comes back where the body fails.

    Raises PipelineError while a page is served on it.
    """
    if past is None:
        yield
        return
    with sole_writer(past):
        shutil.rmtree(past.folder)
    try:
        yield
    except BaseException:
        restore_rounds(project.root)
        raise
