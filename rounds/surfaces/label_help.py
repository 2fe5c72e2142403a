"""What helps people to find a label: what each means, with an example, and an order of many.

The order says nothing of the model: it counts what people answered in earlier rounds, is the same
for all, and stays for the whole batch.
"""

from __future__ import annotations

from collections import Counter
from typing import TypedDict

from rounds.project import Project, Round
from stages.answers.reading import import_round
from stages.answers.scheme import changes_of, meaning
from stages.contract.errors import PipelineError, closest
from stages.examples.tables import as_text, read_table

FILE = "data/labels.csv"
KEYS = 10  # labels that have a key of their own: fewer need no order


class LabelHelp(TypedDict):
    """What a label means, and an example of it; "" where there is none."""

    name: str
    description: str
    example: str


def descriptions(project: Project) -> list[LabelHelp]:
    """The rows of data/labels.csv (name, description, example), none without the file.

    Raises PipelineError for a table without the first two columns, and for a name that is no label.
    """
    path = project.root / FILE
    if not path.is_file():
        return []
    table = read_table(path)
    if len(table) and not {"name", "description"} <= set(table.columns):
        what = f"columns name and description are expected, found {', '.join(table.columns)}"
        raise PipelineError(f"{path}:1", what, "correct the header")
    labels = project.params().labels
    rows = []
    for number in range(len(table)):
        cells = {name: as_text(column[number]) for name, column in table.columns.items()}
        if cells["name"] not in labels:
            what = f"{cells['name']!r} is no label of params.yaml{closest(cells['name'], labels)}"
            remedy = "correct the name, or take the row out"
            raise PipelineError(table.where(number), what, remedy)
        example = cells.get("example", "")
        row = LabelHelp(name=cells["name"], description=cells["description"], example=example)
        rows.append(row)
    return [*rows, *_under_earlier_names(project, rows)]


def _under_earlier_names(project: Project, rows: list[LabelHelp]) -> list[LabelHelp]:
    """The same of classes' earlier names, which a batch of before their change still offers."""
    scheme = project.scheme()
    labels = project.params().labels
    by_name = {row["name"]: row for row in rows}
    earlier: list[LabelHelp] = []
    for name in project.labels_ever():
        now = meaning(name, changes_of(name, scheme)).label
        if name not in labels and now in by_name:
            earlier.append({**by_name[now], "name": name})
    return earlier


def nearest_first(labels: list[str], given: Counter[str]) -> list[str]:
    """Of more labels than keys those given oftenest first, ties as before; fewer are as before."""
    if len(labels) <= KEYS:
        return labels
    return sorted(labels, key=lambda label: -given[label])


def given_before(project: Project, asked: Round) -> Counter[str]:
    """How often people gave each label in the rounds before, by each one's last word."""
    params = project.params()
    before = (one for one in project.rounds() if one.number < asked.number)
    scheme = project.scheme()
    imported = (import_round(one.folder, params, scheme) for one in before)
    events = (event for tables in imported if tables for event in tables.events)
    return Counter(event["label"] for event in events if event["label"] is not None)
