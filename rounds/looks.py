"""The gap between the arms as the commit of each round measured it, with what may be claimed of it.

What a round claimed stands in its commit, and no later round changes it. The intervals of any look
hold at all of these rounds together.
"""

from __future__ import annotations

import json
from pathlib import Path

from rounds.charts import Chart, filled
from rounds.commands import git
from rounds.project import Project
from stages.contract.canonical import Row, read_json
from stages.contract.errors import PipelineError

METRICS = "metrics/validate.json"
TITLE = "Active minus random: for any look (band) and for one look alone (lines)"


def gap_charts(project: Project) -> list[Chart]:
    """The chart of the gaps of all rounds, where one was measured."""
    rows = gaps(project)
    if not rows:
        return []
    template = read_json(Path(__file__).parent / "templates" / "gap.json")
    return [Chart(TITLE, filled(template, rows, {"x": "round", "y": "gap"}))]


def gaps(project: Project) -> list[Row]:
    """A row for each round that measured a gap, the first round first.

    round; labels of each arm; gap; low, high: at any look; once_low, once_high: looked at once. Of
    several commits of one round the newest counts, and the files as they are before all of them.
    """
    rows: dict[int, Row] = {}
    for facts in _measured(project):
        gap = facts["difference"]
        if gap["active_minus_random"] is None or "any_look" not in gap:
            continue
        rows.setdefault(
            facts["round"],
            {
                "round": facts["round"],
                "labels": gap["labels"],
                "gap": gap["active_minus_random"],
                "low": gap["any_look"]["low"],
                "high": gap["any_look"]["high"],
                "once_low": gap["low"],
                "once_high": gap["high"],
            },
        )
    return [rows[number] for number in sorted(rows)]


def _measured(project: Project) -> list[Row]:
    """Validate's metrics as they are, and as the commits had them, newest first."""
    path = project.root / METRICS
    measured = [read_json(path)] if path.is_file() else []
    try:
        commits = git(project.root, "log", "--format=%H", "--diff-filter=AM", "--", METRICS).split()
    except PipelineError:  # outside git
        return measured
    return measured + [
        json.loads(git(project.root, "show", f"{commit}:./{METRICS}")) for commit in commits
    ]
