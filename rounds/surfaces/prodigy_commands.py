"""The commands that put a batch before people in Prodigy, and bring their answers home."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from urllib.parse import quote

import click

from rounds.project import Project

RECIPE = "rounds/surfaces/al_choice.py"


def instructions(project: Project, *, dataset: str, annotators: Sequence[str]) -> str:
    """Print what to type, from the project's root folder; the sentence that sums it up.

    dataset: "" for one per round. Prodigy does not ask again what a dataset holds already, and a
    later round may ask an item again on purpose; so each round has a dataset of its own.
    """
    newest = project.last_round()
    overlap = project.params().surface.annotations_per_item
    batch = newest.asked.relative_to(project.root).as_posix()
    name = shlex.quote(dataset or f"round_{newest.number:03d}")
    sharing = f" --overlap {overlap}" if overlap > 1 else ""
    people = f"PRODIGY_ALLOWED_SESSIONS={shlex.quote(','.join(annotators))} " if annotators else ""
    lines = [
        "# serve, with the project's recipe",
        f"{people}prodigy al.choice {name} {batch}{sharing} -F {RECIPE}",
        "# or without it",
        f"{people}prodigy mark {name} {batch} --view-id choice",
        *(["# one address for each annotator"] if annotators else []),
        *(f"#   http://localhost:8080/?session={quote(person)}" for person in annotators),
        "# bring the answers home",
        f"prodigy db-out {name} > answers.jsonl",
        "rounds collect answers.jsonl",
        "rounds close",
    ]
    click.echo("\n".join(lines))
    return f"annotate: {len(newest.to_ask())} items of round {newest.number} wait in {batch}"
