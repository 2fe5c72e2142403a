"""Exports of annotation tools given as seed or test, made into a table of one label per example.

A row that was rejected or ignored names no label. What several people said of one example is
settled by majority, and an example on which they tie has no label. What is left out is counted, for
a person.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rounds.surfaces import formats
from rounds.surfaces.formats import argilla, label_studio
from rounds.table_readers import Intake
from stages.answers.prodigy import Answer, NotAnAnswer, read_answer
from stages.contract.canonical import Row, dumps
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
    "accept", "al_batch", "al_dataset", "al_undone", "annotation_id", "annotator", "answer",
    "created_at", "flagged", "inserted_at", "label", "labels", "lead_time", "priority", "rank",
    "score", "status", "updated_at", "was_cancelled",
}  # fmt: skip


def tool_of(table: Table, label: str) -> str | None:
    """The tool (a key of TOOLS) whose export a table is, by what only that tool writes; else None.

    label: the column of labels; a table whose labels stand in `answer` is no export.
    """
    columns = table.columns
    verdicts = columns["answer"] if "answer" in columns and label != "answer" else []
    if verdicts and all(cell in ANSWERS for cell in verdicts):
        return "prodigy"
    if any(isinstance(cell, list) for cell in columns.get("annotations", [])):
        is_task = any(isinstance(cell, dict) for cell in columns.get("data", []))
        return "label-studio" if is_task else "doccano"
    if any(argilla.recognised(row) or _is_argilla_text(row.get(label)) for row in _rows(table)):
        return "argilla"
    return "label-studio" if label_studio.is_flat(columns) else None


def _cells(table: Table) -> Iterator[Row]:
    """Every row as {column: cell}."""
    names = list(table.columns)
    for cells in zip(*table.columns.values(), strict=True):
        yield dict(zip(names, cells, strict=True))


def _rows(table: Table) -> Iterator[Row]:
    """The rows as their tool wrote them: without empty cells, with lists in place of their JSON."""
    for row in _cells(table):
        yield {name: _unfolded(cell) for name, cell in row.items() if cell != ""}


def _unfolded(cell: Any) -> Any:
    """The list that a CSV's cell spells as JSON; any other cell as it is."""
    if isinstance(cell, str) and cell[:1] == "[":
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell


def _is_argilla_text(cell: object) -> bool:
    """Whether a label is what Python prints of the responses of Argilla 1, which is no JSON."""
    return isinstance(cell, str) and cell.startswith("[{") and "'user_id'" in cell


@dataclass
class Votes:
    """What each person said of one example, in the order of the file.

    labels_by_person  the labels that each accepted; of several, nobody can know which is meant
    settled           the label that a reviewer gave
    """

    content: Mapping[str, Any]
    line: int
    labels_by_person: dict[str, set[str]] = field(default_factory=dict)
    settled: str | None = None

    def label(self) -> str | None:
        """The label that most people gave, None where there is none or where they tie."""
        if self.settled is not None:
            return self.settled
        single = [labels for labels in self.labels_by_person.values() if len(labels) == 1]
        best = Counter(next(iter(labels)) for labels in single).most_common(2)
        is_tie = len(best) == 2 and best[0][1] == best[1][1]
        return best[0][0] if best and not is_tie else None

    def add(self, answer: Answer, *, is_binary: bool) -> None:
        """Take in one answer.

        is_binary: it is about one label, and says nothing of the person's other labels.
        """
        labels = self.labels_by_person.setdefault(answer.annotator, set())
        if answer.kind == "override":
            self.settled = answer.label
        if not is_binary:
            labels.clear()  # the last word on the whole counts
        if answer.label is not None:
            labels.add(answer.label)

    def why_no_label(self) -> str:
        """Why `label` is None, for a person."""
        if any(self.labels_by_person.values()):
            return "on which answers differ"
        return "rejected, ignored or not answered"


def labelled(intake: Intake, label: str, *, also_unlabelled: bool = False) -> Intake:
    """The table itself, or the labels that a tool's export holds, in a column `label`, with notes.

    also_unlabelled: keep the examples without a label, which are to be asked, with an empty cell.
    Raises PipelineError at file:line for an answer that cannot be read, and for an export without
    any label.
    """
    tool = tool_of(intake.table, label)
    if tool is None:
        return intake
    source = Path(intake.table.path)
    votes = _votes(intake.table, tool, label)
    decided = [vote for vote in votes if vote.label() is not None]
    reasons = Counter(vote.why_no_label() for vote in votes if vote.label() is None)
    others = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    what = f"an export of {TOOLS[tool]}, read by its answers: {len(decided)} labels"
    if not decided:
        what += f", no labels: {others}" if others else ""
        raise PipelineError(source, what, "leave it out, or add answers")
    note = f"{source.name}: {what}" + (f"; no labels: {others}" if others else "")
    kept = votes if also_unlabelled else decided
    names = dict.fromkeys(name for vote in kept for name in vote.content)
    columns = {name: [vote.content.get(name, "") for vote in kept] for name in names}
    columns[label] = [vote.label() or "" for vote in kept]
    table = Table(source, columns, [vote.line for vote in kept])
    return Intake(table, (*intake.notes, note), rewritten=True)


def _votes(table: Table, tool: str, label: str) -> list[Votes]:
    """The votes on every example of an export that `formats.read` knows.

    Raises PipelineError at file:line for an answer that cannot be read, and for a flat export of
    Label Studio without the column of labels.
    """
    source = Path(table.path)
    is_flat = tool == "label-studio" and label_studio.is_flat(table.columns)
    if is_flat:
        table.column(label, "--label")
    rows = list(_cells(table) if is_flat else _rows(table))
    data = "".join(json.dumps(row, default=str) + "\n" for row in rows).encode()
    _, items = formats.read(source, data, tool, question=label)
    votes: dict[str, Votes] = {}
    for item in items:
        row = rows[item.line - 1]
        line = table.lines[item.line - 1]
        content = example(row)
        if is_flat:
            content.pop(label, None)
        # A flat row is one annotation: the other controls beside the label differ by person.
        key = str(row["id"]) if is_flat and "id" in row else dumps(content)
        vote = votes.setdefault(key, Votes(content, line))
        try:
            if item.why:
                raise NotAnAnswer(item.why)
            if item.row is not None:
                is_binary = tool == "prodigy" and "accept" not in row and "options" not in row
                vote.add(read_answer(item.row), is_binary=is_binary)
        except NotAnAnswer as reason:
            what = f"a row of an export of {TOOLS[tool]} that cannot be read: {reason}"
            raise PipelineError(f"{source}:{line}", what, "repair or remove the row") from reason
    return list(votes.values())


def example(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The example of an exported row: its plain cells, without the tool's notes on the answer."""
    inner = [raw[key] for key in ("data", "fields", "inputs") if isinstance(raw.get(key), dict)]
    content = dict(inner[0] if inner else raw)
    if inner and "data" not in raw and "id" in raw:
        content.setdefault("id", raw["id"])  # Argilla's, which the user may have given
    if isinstance(content.get("data"), str):
        content.setdefault("text", content.pop("data"))  # doccano 1.5
    return {name: cell for name, cell in content.items() if _is_content(name, cell)}


def _is_content(name: str, cell: object) -> bool:
    if name in NOTES or name.startswith("_") or name.endswith("-suggestion") or "." in name:
        return False
    return isinstance(cell, str | int | float | bool)
