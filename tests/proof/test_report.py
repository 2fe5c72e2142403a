"""The report holds what it must, escapes what people wrote, and loads nothing from anywhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rounds.charts import charts, filled, vega_script
from rounds.commands import git
from rounds.decision import decide, require_open, stopped
from rounds.pages import markdown_text
from rounds.project import Project
from rounds.report import class_rows, find, html, markdown, saved, verdict
from rounds.report import command as report
from stages.contract.canonical import write_json, write_jsonl
from stages.contract.errors import PipelineError
from tests.proof.conftest import World, make_history

ROOT = Path(__file__).parents[2]
EVIL = "<script>alert(1)</script>|`x`"


@pytest.fixture
def project(tmp_path: Path, world: World) -> Project:
    """A project of two answered rounds and an open one, its metrics and plots written, all
    committed.
    """
    for name in ("dvc.yaml", ".dvc/plots", "stages/query.py"):
        origin, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target)
        else:
            shutil.copyfile(origin, target)
    proof = world.prove(make_history(world, 2))
    proof.facts["alarms"] = [
        {"code": "V003", "title": "redundant queries", "seen": EVIL, "do": "look"}
    ]
    write_json(tmp_path / "metrics" / "validate.json", proof.facts)
    write_json(
        tmp_path / "metrics" / "gate.json",
        {"held": None, "annotators": {EVIL: {"answers": 3, "skip": 0}}},
    )
    for name in ("recall", "redundancy", "stopping", "confusion"):
        write_json(tmp_path / "plots" / f"{name}.json", getattr(proof, name))
    write_json(tmp_path / "plots" / "learning_curve.json", proof.curve)
    for number in (1, 2, 3):
        folder = tmp_path / "data" / "rounds" / f"{number:03d}"
        row = {
            "rank": 1,
            "id": EVIL,
            "arms": ["active"],
            "score": 0.5,
            "strategy": "auto",
            "reason": "typical",
        }
        write_jsonl(folder / "batch.jsonl", [row])
        write_json(folder / "manifest.json", {"batch_id": f"{number}" * 64, "rows": 1})
        if number < 3:
            write_jsonl(folder / "answers" / "ann.jsonl", [{"al_id": "x"}])
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    for key, value in (("user.name", "t"), ("user.email", "t@localhost")):
        git(tmp_path, "config", key, value)
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "-m", "Round 2")
    return Project(tmp_path)


class Page(HTMLParser):
    """What a browser would load, and the text it would show."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.words: list[str] = []
        self.script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.script = tag in {"script", "style"}
        self.loads += [value or "" for key, value in attrs if key in {"src", "href"}]

    def handle_endtag(self, _tag: str) -> None:
        self.script = False

    def handle_data(self, data: str) -> None:
        if not self.script:
            self.words.append(data)


def page(project: Project) -> tuple[str, Page]:
    text = html(find(project), vega_script(project))
    parsed = Page()
    parsed.feed(text)
    return text, parsed


def test_the_page_loads_nothing_and_tells_alarms_first(project: Project) -> None:
    _, parsed = page(project)
    shown = " ".join(parsed.words)
    assert parsed.loads == []
    assert (
        shown.index("V003 redundant queries")
        < shown.index("What is proved")
        < shown.index("Stopping panel")
    )
    for word in (
        "stabilizing predictions",
        "Audit trail",
        "1111111111111111",
        "Round 2",
        "ann.jsonl",
        "typical",
    ):
        assert word in shown


def test_what_people_wrote_is_shown_and_never_run(project: Project) -> None:
    text, parsed = page(project)
    assert "<script>alert" not in text
    assert EVIL in " ".join(parsed.words)
    assert "<script>" not in markdown(find(project))


def test_every_chart_is_a_complete_vega_lite_spec(project: Project) -> None:
    drawn = charts(project)
    assert [chart.title for chart in drawn][:2] == [
        "Accuracy against labels, active and random, with 95 % bands", "The same against people's minutes",
    ]  # fmt: skip
    assert len(drawn) == 6
    for chart in drawn:
        text = json.dumps(chart.spec)
        assert "DVC_METRIC" not in text
        assert '"rev"' not in text
        assert chart.spec["data"]["values"]
    minutes = json.dumps(drawn[1].spec["encoding"])
    assert '"minutes"' in minutes
    assert '"labels"' not in minutes


def test_classes_are_told_with_intervals_the_lowest_recall_first() -> None:
    place = {"low": 0.1, "high": 0.625, "precision_low": 0.5, "precision_high": 1.0}
    rows = [
        {"arm": arm, "round": at, "class": name, "support": 4, "recall": recall, "precision": precise, **place}
        for arm, at, name, recall, precise in (
            ("active", 1, "a", 0.0, 0.0), ("active", 2, "a", 0.5, 0.75), ("active", 2, "b", 0.25, None),
            ("random", 2, "a", 1.0, 1.0),
        )
    ]  # fmt: skip
    low, high = "0.25 [0.10, 0.62]", "0.50 [0.10, 0.62]"
    assert class_rows(rows) == [["b", "4", low, ""], ["a", "4", high, "0.75 [0.50, 1.00]"]]
    assert class_rows([]) == []


def test_a_template_keeps_everything_but_its_anchors() -> None:
    template = {
        "mark": "bar",
        "data": {"values": "<DVC_METRIC_DATA>"},
        "layer": [{"field": "rev"}, {"field": "a"}],
    }
    assert filled(template, [{"a": 1}], {"x": "labels", "y": "a"}) == {
        "mark": "bar", "data": {"values": [{"a": 1}]}, "layer": [{"field": "a"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("saving", "told"),
    [
        (
            {"saved": 16.2, "low": 9.0, "high": 20.0, "any_look": {"low": 1.6, "high": 26.0}},
            "16 of 80 [2, 26]",
        ),
        ({"saved": 16.2, "any_look": {"low": None, "high": 26.0}}, "16 of 80 [not known, 26]"),
        (
            {"saved": None, "any_look": {"low": None, "high": -3.0}},
            "not yet known [not known, -3]",
        ),
        # of an older version, which knew intervals of one look only
        ({"saved": 16.2, "low": 9.0, "high": 20.0}, "16 of 80 [not known, not known]"),
    ],
)
def test_a_saving_is_told_with_what_is_not_known_of_it(saving: dict[str, Any], told: str) -> None:
    assert saved({"labels": 80, **saving}) == told


def test_before_the_first_round_the_verdict_is_not_yet_known(world: World) -> None:
    told = verdict(json.loads(json.dumps(world.prove(make_history(world, 0)).facts)))
    assert "Active against random: not yet known" in told


def test_the_summary_compares_with_an_older_commit(project: Project) -> None:
    metrics = project.root / "metrics" / "validate.json"
    facts = json.loads(metrics.read_text())
    old = facts["active"]["accuracy"]
    facts["active"]["accuracy"] = 0.9876
    write_json(metrics, facts)
    told = markdown(find(project, "HEAD"))
    assert f"| active accuracy | {old:.4g} | 0.9876 |" in told
    assert "random accuracy" not in told
    assert "| before | now |" not in markdown(find(project))


def test_a_base_without_metrics_or_with_the_same_ones_has_nothing_to_compare(
    project: Project,
) -> None:
    assert "| before | now |" not in markdown(find(project, "HEAD"))
    git(project.root, "rm", "--quiet", "--cached", "metrics/validate.json")
    git(project.root, "commit", "--quiet", "-m", "as after `rounds init`")
    assert "| before | now |" not in markdown(find(project, "HEAD"))
    with pytest.raises(PipelineError, match="'nowhere' is no commit"):
        find(project, "nowhere")


def test_the_summary_lists_what_could_not_be_judged(project: Project) -> None:
    told = markdown(find(project))
    assert "- Not judged: V001 (fewer than 3 rounds); " in told


def test_markdown_cells_keep_their_row() -> None:
    assert markdown_text("a|b\n<c>") == r"a\|b \<c\>"


def test_the_command_writes_one_file_or_prints_the_summary(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    assert CliRunner().invoke(report, []).exit_code == 0
    assert (project.root / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (
        CliRunner()
        .invoke(report, ["--md"])
        .output.startswith(f"### {markdown_text(project.root.name)}: round 2")
    )


def test_without_metrics_the_next_command_is_named(tmp_path: Path, project: Project) -> None:
    (project.root / "metrics" / "validate.json").unlink()
    with pytest.raises(PipelineError, match="run `rounds close`"):
        find(project)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_a_browser_draws_every_chart_offline_without_a_complaint(
    project: Project, tmp_path: Path
) -> None:
    text, _ = page(project)
    target = tmp_path / "report.html"
    target.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=20000",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", target.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert len(re.findall(r"<svg", done.stdout)) >= len(charts(project))


def test_a_decision_while_the_next_question_is_open_names_a_commit_of_its_own(
    project: Project,
) -> None:
    assert (
        decide(project, project.rounds(), stop=True, why="the curve is flat")
        == "Stop after round 2: the curve is flat"
    )
    found = stopped(project)
    assert found is not None
    assert (found["round"], found["why"], found["advice"]) == (
        2,
        "the curve is flat",
        "not yet known",
    )
    with pytest.raises(PipelineError, match="--continue"):
        require_open(project)
    assert "Stopped" in " ".join(page(project)[1].words)


def test_the_last_decision_counts(project: Project) -> None:
    decide(project, project.rounds(), stop=True, why="flat")
    decide(project, project.rounds(), stop=False, why="a new class came up")
    assert stopped(project) is None
    require_open(project)


def test_a_decision_on_the_round_being_closed_is_left_to_its_commit(project: Project) -> None:
    assert decide(project, project.rounds()[:2], stop=True, why="flat") is None
    assert (project.rounds_folder / "002" / "decision.json").is_file()


def test_a_decision_needs_a_reason_and_something_to_decide_on(project: Project) -> None:
    with pytest.raises(PipelineError, match="needs its reason"):
        decide(project, project.rounds(), stop=True, why=" ")
    with pytest.raises(PipelineError, match="no round was answered yet"):
        decide(project, project.rounds()[2:], stop=True, why="flat")
