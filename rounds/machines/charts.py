"""The machines' learning curves beside people's, in labels, and in money where that is known."""

from __future__ import annotations

from rounds.charts import Chart, filled
from rounds.pages import TEMPLATES
from rounds.project import Project
from stages.contract.canonical import Row, read_json

IN_LABELS = "Models taught by people and by each machine alone, by labels"
IN_MONEY = "The same by what the labels cost"


def machine_charts(project: Project) -> list[Chart]:
    """The charts of plots/machines.json; none in projects without machines."""
    path = project.root / "plots" / "machines.json"
    rows: list[Row] = read_json(path) if path.is_file() else []
    people = {"active", "random"}
    if not any(row["arm"] not in people for row in rows):
        return []
    template = read_json(TEMPLATES / "machines.json")
    drawn = [Chart(IN_LABELS, filled(template, rows, {"x": "labels", "y": "accuracy"}))]
    paid = [row for row in rows if row["cost"] is not None]
    if any(row["arm"] in people for row in paid) and any(row["arm"] not in people for row in paid):
        spec = filled(template, paid, {"x": "cost", "y": "accuracy"})
        spec["encoding"]["x"]["title"] = "cost"
        drawn.append(Chart(IN_MONEY, spec))
    return drawn
