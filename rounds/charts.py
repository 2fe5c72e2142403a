"""The charts of `dvc plots` as Vega-Lite specs with their rows in them, for a page without DVC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rounds.project import Project
from stages.contract.canonical import Row, read_json
from stages.contract.errors import PipelineError
from stages.contract.params import read_yaml


@dataclass(frozen=True)
class Chart:
    """A title and a Vega-Lite spec with its data."""

    title: str
    spec: Row


def charts(project: Project) -> list[Chart]:
    """The plots of dvc.yaml that have rows, in its order.

    Rows that know people's minutes are drawn a second time, against those.
    """
    drawn = []
    for entry in read_yaml(project.root / "dvc.yaml")["plots"]:
        for path, options in entry.items():
            file = project.root / path
            rows = read_json(file) if file.is_file() else []
            if rows:
                drawn += charts_of(project, rows, dict(options))
    return drawn


def charts_of(project: Project, rows: list[Row], options: Row) -> list[Chart]:
    """One plot of dvc.yaml, and the same against minutes where rows know them."""
    template = read_json(project.root / ".dvc" / "plots" / f"{options['template']}.json")
    axes = [options]
    if any(row.get("minutes") for row in rows):
        title = "The same against people's minutes"
        axes.append({**options, "x": "minutes", "title": title})
    return [Chart(axis["title"], filled(template, rows, axis)) for axis in axes]


def filled(template: Any, rows: list[Row], options: Row) -> Any:
    """A template of DVC with rows and columns in the place of its anchors.

    The title is left to the page; what compares revisions is left out.
    """
    if isinstance(template, dict):
        return {
            key: filled(value, rows, options)
            for key, value in template.items()
            if not _is_left_out(value)
        }
    if isinstance(template, list):
        return [filled(value, rows, options) for value in template if not _is_left_out(value)]
    if template == "<DVC_METRIC_DATA>":
        return rows
    if template == "labels" and options["x"] == "minutes":
        return "minutes"
    columns = {"<DVC_METRIC_X>": options["x"], "<DVC_METRIC_Y>": options["y"]}
    return columns.get(str(template), template)


def _is_left_out(value: Any) -> bool:
    """Whether a part of a template is the title, or tells revisions apart."""
    if isinstance(value, dict):
        return value.get("field") == "rev"
    return value in ("<DVC_METRIC_TITLE>", "rev")


def vega_script(project: Project) -> str:
    """The script element of the bundled Vega, taken from the page that `dvc plots` uses.

    It defines window.vegaEmbed. Raises PipelineError where the page has none.
    """
    path = project.root / ".dvc" / "plots" / "page.html"
    page = path.read_text(encoding="utf-8")
    script = re.search(r'<script type="module">.*?</script>', page, re.DOTALL)
    if script is None:
        raise PipelineError(path, "holds no bundled Vega", "restore the file from git")
    return script[0]
