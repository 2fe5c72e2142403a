"""`rounds annotate`: put the newest batch before people, or before the simulated annotator."""

from __future__ import annotations

from pathlib import Path

import click

from rounds.lock import exclusive
from rounds.project import Project
from stages._canonical import write_jsonl
from stages._identity import order_key
from stages._shell import one_line_errors

_SECONDS_PER_ROUND = 86_400.0
_CHANCE = click.FloatRange(0, 1)


def simulate(project: Project, file: Path, *, noise: float, skip: float, seed: int) -> str:
    """Answer the newest batch from `file` into answers/oracle.jsonl. The sentence that says so.

    An item that a later round asks again gets a fresh draw: the round is part of the seed.
    """
    from rounds.surfaces import oracle

    newest, params = project.last_round(), project.params()
    tasks = newest.tasks()
    rows = oracle.answer(
        tasks,
        oracle.known_labels(file, tasks, params),
        params.labels,
        noise=noise,
        skip=skip,
        seed=order_key(seed, f"round:{newest.number}"),
        start=oracle.FIRST_ANSWER + newest.number * _SECONDS_PER_ROUND,
    )
    target = newest.answers / "oracle.jsonl"
    write_jsonl(target, rows)
    skipped = sum(row["answer"] == "ignore" for row in rows)
    shown = target.relative_to(project.root)
    return f"annotate: {len(rows)} simulated answers ({skipped} skipped) -> {shown}; next: rounds close"


@click.command()
@click.option("--oracle", "file", type=click.Path(path_type=Path), help="Answer from this file of known labels.")
@click.option("--noise", type=_CHANCE, default=0.0, show_default=True, help="Share of wrong answers.")
@click.option("--skip", type=_CHANCE, default=0.0, show_default=True, help="Share of skipped items.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Which errors and skips.")
@one_line_errors
def command(file: Path, noise: float, skip: float, seed: int) -> str:
    """Label the newest batch."""
    project = Project.find(Path())
    with exclusive(project.root, wait=True):
        return simulate(project, file, noise=noise, skip=skip, seed=seed)
