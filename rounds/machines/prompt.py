"""What a language model is told: the classes, what each means, an example of each.

The text lies in data/machines/NAME/prompt.md, where people may edit it before the first answer.
What was sent once is kept beside it under its hash, which stands in every answer.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from rounds.project import Project
from rounds.surfaces.label_help import descriptions
from stages.contract.canonical import Row, sha256, write_bytes
from stages.contract.errors import PipelineError

FILE = "prompt.md"
KEPT = "prompts"
DIGITS = 12
ASK = (
    'Answer with one JSON object and nothing else: {"label": "<one of the classes, spelled exactly '
    'as above>", "confidence": <from 0 to 1: how probable it is that your label is right>}'
)


def digits_of(text: str) -> str:
    """The first digits of a prompt's hash."""
    return sha256(text)[:DIGITS]


def prompt_text(project: Project) -> str:
    """A prompt made of params.labels, data/labels.csv and the guidelines that people get."""
    params = project.params()
    help_of = {row["name"]: row for row in descriptions(project)}
    lines = ["You label examples for a data set. Name the one class that fits the example best."]
    lines += ["", "The classes:"]
    for label in params.labels:
        row = help_of.get(label)
        meaning = f": {row['description']}" if row and row["description"] else ""
        lines.append(f"- {label}{meaning}")
        if row and row["example"]:
            lines.append(f"  Example: {row['example']}")
    if params.surface.instructions:
        guidelines = (project.root / params.surface.instructions).read_text(encoding="utf-8")
        lines += ["", "The guidelines that people follow:", "", guidelines.strip()]
    return "\n".join([*lines, "", ASK, ""])


def prompt_of(project: Project, folder: Path) -> tuple[str, bool]:
    """The prompt of a machine, made where there is none yet, and whether it was made now."""
    path = folder / FILE
    if path.is_file():
        return path.read_text(encoding="utf-8"), False
    text = prompt_text(project)
    write_bytes(path, text.encode())
    return text, True


def keep(folder: Path, text: str, suffix: str = ".md") -> str:
    """Keep what a machine was told under its hash; the digits of that."""
    digits = digits_of(text)
    path = folder / KEPT / f"{digits}{suffix}"
    if not path.is_file():
        write_bytes(path, text.encode())
    return digits


def shown_to_model(content: Row) -> str:
    """A row as a model of language reads it. Raises PipelineError for an image without text."""
    if "text" in content:
        return str(content["text"])
    if "fields" in content:
        return json.dumps(content["fields"], ensure_ascii=False, sort_keys=True)
    what = "--url sends text or numbers, and these rows are images"
    raise PipelineError("rounds machine", what, "use --command with a program that reads images")


@dataclass(frozen=True)
class Reply:
    """What a reply of a language model says: label and confidence, None where it says none."""

    label: str | None
    confidence: float | None


def read_reply(text: str, labels: list[str]) -> Reply:
    """The label in a reply: of a JSON object in it, else the whole reply, else the one class named.

    Case and quotes do not matter; a reply that names two classes names none.
    """
    by_name = {label.casefold().strip(): label for label in labels}
    for match in re.finditer(r"\{[^{}]*\}", text):
        try:
            document = json.loads(match[0])
        except json.JSONDecodeError:
            continue
        label = by_name.get(str(document.get("label", "")).casefold().strip())
        if label is not None:
            return Reply(label, _confidence(document.get("confidence")))
    bare = by_name.get(text.strip().strip("\"'`*.").casefold())
    if bare is not None:
        return Reply(bare, None)
    named = [
        label
        for name, label in by_name.items()
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text.casefold())
    ]
    return Reply(named[0] if len(named) == 1 else None, None)


def _confidence(value: object) -> float | None:
    """A confidence in [0, 1], as such or in per cent; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if 1 < value <= 100:
        value = value / 100
    return float(value) if 0 <= value <= 1 else None
