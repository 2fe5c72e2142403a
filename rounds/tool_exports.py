"""Exports of annotation tools given as seed or test: people's answers made into a table of one label per example.

A row that was rejected or ignored names no label. What several people said of one example is
settled by majority, and an example on which they tie has no label. What is left out is counted, for
a person.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rounds.surfaces import formats
from rounds.table_readers import Intake
from stages.answers.prodigy import Answer, NotAnAnswer, read_answer
from stages.contract.canonical import dumps
from stages.contract.errors import PipelineError
from stages.examples.tables import ANSWERS, Table

TOOLS = {
    "prodigy": "Prodigy",
    "label-studio": "Label Studio",
    "argilla": "Argilla",
    "doccano": "doccano",
}
# The tool's own notes on an answer; what is left of a row is the example.
NOTES = {
    "accept", "al_batch", "al_dataset", "al_undone", "annotation_id", "annotator", "answer", "created_at", "flagged",
    "label", "labels", "lead_time", "priority", "rank", "score", "status", "updated_at", "inserted_at",
}  # fmt: skip


def tool_of(table: Table, label: str) -> str | None:
    """The tool (a key of TOOLS) whose export a table is, told by the columns that only that tool writes; else None.

    label: the column of labels; a table whose labels stand in `answer` is no export.
    """
    columns = table.columns
    if (
        label != "answer"
        and "answer" in columns
        and all(cell in ANSWERS for cell in columns["answer"])
    ):
        return "prodigy"
    if "annotations" in columns and any(isinstance(cell, list) for cell in columns["annotations"]):
        is_task = "data" in columns and any(isinstance(cell, dict) for cell in columns["data"])
        return "label-studio" if is_task else "doccano"
    if any(name.endswith(".responses") for name in columns):
        return "argilla"
    if "responses" in columns and any(
        isinstance(cell, list | dict) for cell in columns["responses"]
    ):
        return "argilla"
    if {"annotation_id", "lead_time"} <= set(columns):
        return "label-studio-flat"
    return None


@dataclass
class Votes:
    """What each person said of one example, in the order of the file."""

    content: Mapping[str, Any]
    line: int
    said: dict[str, set[str]] = field(default_factory=dict)  # by person
    settled: str | None = None  # by a reviewer

    def label(self) -> str | None:
        """The label that most people gave, None where there is none or where they tie."""
        if self.settled is not None:
            return self.settled
        counts = Counter(next(iter(labels)) for labels in self.said.values() if len(labels) == 1)
        best = counts.most_common(2)
        if not best or (len(best) == 2 and best[0][1] == best[1][1]):
            return None
        return best[0][0]

    def hear(self, answer: Answer, *, binary: bool) -> None:
        """Take in one answer. binary: it is about one label, and says nothing of the person's other labels."""
        labels = self.said.setdefault(answer.annotator, set())
        if answer.kind == "override":
            self.settled = answer.label
        if not binary:
            labels.clear()  # the last word on the whole counts
        if answer.label is not None:
            labels.add(answer.label)


def labelled(intake: Intake, label: str, *, also_unlabelled: bool = False) -> Intake:
    """The table itself, or the table of labels that a tool's export holds, in a column `label`, with notes.

    also_unlabelled: keep the examples without a label, which are to be asked, with an empty cell.
    Raises PipelineError at file:line for an answer that cannot be read, and for an export without
    any label.
    """
    tool = tool_of(intake.table, label)
    if tool is None:
        return intake
    source = Path(intake.table.path)
    if tool == "label-studio-flat":
        votes = _flat(intake.table, label)
        title = "Label Studio"
    else:
        votes = _read(intake.table, source, tool)
        title = TOOLS[tool]
    decided = [vote for vote in votes if vote.label() is not None]
    counts = Counter(_reason(vote) for vote in votes if vote.label() is None)
    others = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    note = f"{source.name}: an export of {title}, read by its answers: {len(decided)} labels"
    note += f"; no labels: {others}" if others else ""
    if not decided:
        raise PipelineError(
            source, note.partition(": ")[2].replace(";", ","), "leave it out, or add answers"
        )
    kept = votes if also_unlabelled else decided
    names = dict.fromkeys(name for vote in kept for name in vote.content)
    columns = {name: [vote.content.get(name, "") for vote in kept] for name in names}
    columns[label] = [vote.label() or "" for vote in kept]
    table = Table(source, columns, [vote.line for vote in kept])
    return Intake(table, (*intake.notes, note), rewritten=True)


def _reason(vote: Votes) -> str:
    if any(vote.said.values()):
        return "on which answers differ"
    return "rejected, ignored or not answered"


def _read(table: Table, source: Path, tool: str) -> list[Votes]:
    """The votes on every example of an export that `formats.read` knows."""
    names = list(table.columns)
    rows = [
        dict(zip(names, cells, strict=True)) for cells in zip(*table.columns.values(), strict=True)
    ]
    rows = [{name: cell for name, cell in row.items() if cell != ""} for row in rows]
    rows = [{name: _unfolded(cell) for name, cell in row.items()} for row in rows]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    _, items = formats.read(source, data, tool)
    votes: dict[str, Votes] = {}
    for item in items:
        where = f"{source}:{table.lines[item.line - 1]}"
        if item.why:
            raise PipelineError(where, _unreadable(tool, item.why), "repair or remove the row")
        raw = rows[item.line - 1]
        content = example(raw)
        vote = votes.setdefault(dumps(content), Votes(content, table.lines[item.line - 1]))
        if item.row is None:
            continue
        try:
            answer = read_answer(item.row)
        except NotAnAnswer as reason:
            raise PipelineError(
                where, _unreadable(tool, str(reason)), "repair or remove the row"
            ) from reason
        vote.hear(answer, binary=tool == "prodigy" and "accept" not in raw and "options" not in raw)
    return list(votes.values())


def _unreadable(tool: str, why: str) -> str:
    return f"a row of an export of {TOOLS[tool]} that cannot be read: {why.replace(';', ',')}"


def _unfolded(cell: Any) -> Any:
    """The list that a CSV's cell spells as JSON; any other cell as it is."""
    if isinstance(cell, str) and cell[:1] == "[":
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell


def _flat(table: Table, label: str) -> list[Votes]:
    """The votes of Label Studio's CSV and JSON-MIN: one row per annotation, the label in a column of the user's."""
    cells = table.column(label, "--label")
    names = list(table.columns)
    votes: dict[str, Votes] = {}
    for row, line in enumerate(table.lines):
        raw = {name: table.columns[name][row] for name in names if name != label}
        content = example(raw)
        vote = votes.setdefault(dumps(content), Votes(content, line))
        word = cells[row]
        if isinstance(word, list | dict) or str(word).startswith(("{", "[")):
            raise PipelineError(
                table.where(row), f"several labels ({word}) where one is asked for", "keep one"
            )
        labels = vote.said.setdefault(str(raw.get("annotator", "")), set())
        labels.clear()
        if str(word).strip():
            labels.add(str(word))
    return list(votes.values())


def example(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The example of an exported row: its plain cells, without what the tool noted about the answer."""
    inner = raw.get("data")
    if not isinstance(inner, dict):
        inner = raw.get("fields")
    content = dict(inner) if isinstance(inner, dict) else dict(raw)
    if isinstance(content.get("data"), str):
        content.setdefault("text", content.pop("data"))  # doccano 1.5
    return {name: cell for name, cell in content.items() if _is_content(name, cell)}


def _is_content(name: str, cell: object) -> bool:
    if name in NOTES or name.startswith("_") or "." in name:
        return False
    return isinstance(cell, str | int | float | bool)
