"""What every round claimed of the gap is read from its commit, whatever comes later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rounds.looks import gap_charts, gaps, surely_ahead
from rounds.project import Project
from stages.contract.canonical import write_json
from tests.conftest import shell


def proof(number: int, value: float | None, half: float = 0.1) -> dict[str, Any]:
    """validate's metrics of a round; at any look the interval is twice as wide."""
    bounds = [None, None] if value is None else [value - half, value + half]
    wide = [None, None] if value is None else [value - 2 * half, value + 2 * half]
    gap = {"labels": 20 * number, "active_minus_random": value, "low": bounds[0]}
    gap |= {"high": bounds[1], "any_look": {"low": wide[0], "high": wide[1]}}
    return {"round": number, "difference": gap}


def committed(root: Path, *metrics: dict[str, Any]) -> Project:
    """A repository with a commit for each of some metrics."""
    (root / "data").mkdir(parents=True)
    shell(root, "git", "init", "--quiet")
    for facts in metrics:
        write_json(root / "metrics" / "validate.json", facts)
        shell(root, "git", "add", "-A")
        shell(
            root, "git", "-c", "user.name=Ann", "-c", "user.email=a@b", "commit", "--quiet",
            "--allow-empty", "-m", "round",
        )  # fmt: skip
    return Project(root)


def claims(project: Project) -> list[tuple[int, float, float]]:
    return [(row["round"], row["low"], row["once_low"]) for row in gaps(project)]


def test_each_round_keeps_what_its_newest_commit_claimed(tmp_path: Path) -> None:
    told = [proof(0, None), proof(1, 0.5), proof(2, 0.25), proof(2, 0.75), proof(3, 1.5, 0.5)]
    project = committed(tmp_path, *told)
    assert claims(project) == [(1, 0.3, 0.4), (2, 0.55, 0.65), (3, 0.5, 1.0)]
    before = gaps(project)
    write_json(tmp_path / "metrics" / "validate.json", proof(4, 0.0, 0.25))  # not yet committed
    assert gaps(project)[:3] == before
    assert claims(project)[3] == (4, -0.5, -0.25)


def test_metrics_of_a_version_that_knew_one_look_only_claim_nothing(tmp_path: Path) -> None:
    old = proof(1, 0.5)
    del old["difference"]["any_look"]
    project = committed(tmp_path, old, proof(2, 0.25))
    assert claims(project) == [(2, 0.05, 0.15)]


def test_the_chart_holds_a_row_for_each_round_and_there_is_none_without_a_gap(
    tmp_path: Path,
) -> None:
    (chart,) = gap_charts(committed(tmp_path / "some", proof(1, 0.5), proof(2, 0.25)))
    assert [row["round"] for row in chart.spec["data"]["values"]] == [1, 2]
    assert gap_charts(committed(tmp_path / "none", proof(0, None))) == []


def test_a_round_that_was_surely_ahead_by_its_judge_rows_stays_so(tmp_path: Path) -> None:
    told = []
    for number, value in ((2, 0.1), (3, 0.5), (4, 0.15)):
        facts = proof(number, None)
        course = proof(number - 1, value)["difference"] | {"round": number - 1}
        told.append(facts | {"course": course})
    project = committed(tmp_path, *told)
    assert [row["round"] for row in gaps(project, "course")] == [1, 2, 3]
    (chart,) = gap_charts(project)
    assert "judge rows" in chart.title
    (line,) = surely_ahead(project)
    assert "round 2" in line
    assert surely_ahead(committed(tmp_path / "none", proof(1, 0.5), told[0])) == []
