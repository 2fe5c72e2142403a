"""The Prodigy recipe of the loop.

    prodigy al.choice DATASET data/rounds/NNN/asked.jsonl -F rounds/surfaces/al_choice.py

Asks the rows in the order of the file, one label each, and keeps every key that `rounds collect`
needs. It imports nothing but Prodigy (1.11 to 1.18), so that it runs in Prodigy's own environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import prodigy  # type: ignore[import-not-found, unused-ignore]  # proprietary, and not on PyPI

try:
    from prodigy.components.stream import get_stream  # type: ignore[import-not-found, unused-ignore]  # from 1.12 on
except ImportError:
    from prodigy.components.loaders import get_stream  # type: ignore[import-not-found, unused-ignore]  # 1.11

Task = dict[str, Any]


def validate_answer(task: Task) -> None:
    """Refuse an accept without exactly one choice while the person still sees the item."""
    if task["answer"] == "accept" and len(task.get("accept", [])) != 1:
        raise ValueError("Choose exactly one label, or skip the item with the space bar.")


def saved(task: Task, dataset: str) -> Task:
    """What Prodigy stores: the task without the bytes of a picture, and the dataset's name.

    The annotator's id begins with that name: whoever reads it can take the rest for a person.
    """
    row = {**task, "al_dataset": dataset}
    if str(row.get("image", "")).startswith("data:"):
        del row["image"]
    return row


@prodigy.recipe(  # type: ignore[untyped-decorator, unused-ignore]  # Prodigy is untyped
    "al.choice",
    dataset=("Dataset to save into, one per round", "positional", None, str),
    source=("The batch: data/rounds/NNN/asked.jsonl", "positional", None, str),
    overlap=("Annotators per item", "option", "o", int),
)
def al_choice(dataset: str, source: str, overlap: int = 1) -> dict[str, Any]:
    """Label a batch of the active-learning loop: one choice per item, in the order of the file."""
    lines = Path(source).read_text(encoding="utf-8").split("\n")
    asked = [json.loads(line) for line in lines if line.strip()]
    count = sum(not task.get("forgotten") for task in asked)
    stream = get_stream(source, rehash=False, dedup=False)
    if count < len(asked):  # what is left of a row that was forgotten cannot be shown
        stream = (task for task in stream if not task.get("forgotten"))

    def before_db(tasks: Iterable[Task]) -> list[Task]:
        return [saved(task, dataset) for task in tasks]

    def on_exit(controller: object) -> None:
        del controller
        export = f"prodigy db-out {json.dumps(dataset)} > answers.jsonl"
        steps = f"{export} && rounds collect answers.jsonl && rounds close"
        print(f"Next: {steps}")  # noqa: T201 - Prodigy has the terminal, and a person reads it

    sharing = {"feed_overlap": False} if overlap == 1 else {"annotations_per_task": overlap}
    return {
        "dataset": dataset,
        "view_id": "choice",
        "stream": stream,
        "validate_answer": validate_answer,
        "before_db": before_db,
        "on_exit": on_exit,
        "config": {
            "choice_style": "single",
            "choice_auto_accept": False,
            "exclude_by": "input",
            "total_examples_target": count,
            **sharing,
        },
    }
