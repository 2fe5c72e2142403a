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
COURSE = "Active minus random over the course, by judge rows: for any look and for one alone"


def gap_charts(project: Project) -> list[Chart]:
    """The charts of the gaps of all rounds, where one was measured, and of those by judge rows."""
    template = read_json(Path(__file__).parent / "templates" / "gap.json")
    drawn = ((TITLE, gaps(project)), (COURSE, gaps(project, "course")))
    return [
        Chart(title, filled(template, rows, {"x": "round", "y": "gap"}))
        for title, rows in drawn
        if rows
    ]


def gaps(project: Project, name: str = "difference") -> list[Row]:
    """A row for each round that measured a gap, the first round first.

    name: of the gap in the metrics: difference, or course, which is of the round before its commit.
    round; labels of each arm; gap; low, high: at any look; once_low, once_high: looked at once. Of
    several commits of one round the newest counts, and the files as they are before all of them.
    """
    rows: dict[int, Row] = {}
    for facts in _measured(project):
        gap = facts.get(name)
        if not gap or gap["active_minus_random"] is None or "any_look" not in gap:
            continue
        number = gap.get("round", facts["round"])
        rows.setdefault(
            number,
            {
                "round": number,
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


def surely_ahead(project: Project) -> list[str]:
    """The first round of which judge rows proved, at any look, that the strategy is ahead."""
    sure = [row for row in gaps(project, "course") if row["low"] > 0]
    if not sure:
        return []
    first = sure[0]
    interval = f"[{first['low']:+.3f}, {first['high']:+.3f}]"
    where = f"over the first {first['labels']} labels, as of round {first['round']}"
    gap = f"{first['gap']:+.3f} {interval}"
    return [f"Surely ahead of random sampling {where}: {gap}; no later round takes that back"]
