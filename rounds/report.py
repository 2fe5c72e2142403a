"""`rounds report`: one HTML file that needs nothing else, and a Markdown summary for a pull request. Reads, never runs.

Alarms first, then the proof, the charts of `dvc plots` (the same templates, drawn by the Vega that
.dvc/plots/page.html bundles), the stopping panel, the annotators, the current batch, and the audit
trail.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import click

from rounds.commands import commit_named, git
from rounds.decision import FILE, stopped
from rounds.project import Project
from stages.contract.canonical import Row, dumps, read_json, read_jsonl, sha256, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.params import read_yaml
from stages.contract.shell import one_line_errors

METRICS = ("validate", "gate", "query", "calibration")
SHOWN_ROWS = 12
CLASS_HEAD = ("class", "rows", "recall [95 %]", "precision [95 %]")
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #5b6470; --line: #d8dde3; --paper: #fff; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #9aa4b0; --line: #39424d; --paper: #14181d;
  --bad: #ff8f82; } }
@media print { :root { --ink: #000; --dim: #444; --line: #ccc; --paper: #fff; --bad: #900; color-scheme: light; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; } .dim { color: var(--dim); }
.alarm { border-left: 4px solid var(--bad); padding: .2rem .8rem; margin: .5rem 0; } .alarm b { color: var(--bad); }
table { border-collapse: collapse; font-size: .9rem; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:nth-child(-n+2) { white-space: nowrap; }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem; } .chart { max-width: 100%; overflow-x: auto; }
.chart b { display: block; }
.chart svg text { fill: var(--ink) !important; } .chart svg .role-axis-grid line { stroke: var(--line) !important; }
.chart svg .role-axis-domain line, .chart svg .role-axis-tick line { stroke: var(--dim) !important; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } h2 { break-after: avoid; }
  tr, .chart, .alarm { break-inside: avoid; } table { display: table; }
  .charts { display: grid; grid-template-columns: 1fr 1fr; } .chart svg { max-width: 100%; height: auto; } }
"""
DRAW = """
const config = {background: null, view: {stroke: null}};
for (const place of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(place.querySelector("script").textContent);
  const target = place.appendChild(document.createElement("div"));
  window.vegaEmbed(target, spec, {actions: false, renderer: "svg", config});
}
"""


@dataclass(frozen=True)
class Chart:
    """A title and a Vega-Lite spec with its data."""

    title: str
    spec: Row


@dataclass(frozen=True)
class Findings:
    """All that a report tells. Metrics are empty where the pipeline has not run."""

    name: str
    metrics: dict[str, Row]
    before: Row
    classes: list[Row]
    charts: list[Chart]
    decision: Row | None
    batch: list[Row]
    rounds: list[Row]
    commits: list[list[str]]

    @property
    def proof(self) -> Row:
        """metrics/validate.json."""
        return self.metrics["validate"]

    @property
    def alarms(self) -> list[Row]:
        """Every alarm that rings, the gate's included."""
        return [*self.metrics["gate"].get("alarms", []), *self.proof["alarms"]]

    @property
    def open(self) -> str:
        """The alarms that cannot be judged, each with its reason; "" for none."""
        return "; ".join(f"{row['code']} ({row['why']})" for row in self.proof["not_judged"])


def find(project: Project, against: str | None = None) -> Findings:
    """Read metrics, plots, rounds and git. against: a commit whose metrics to compare with.

    Raises PipelineError before the first `dvc repro`.
    """
    found: dict[str, Row] = {}
    for name in METRICS:
        path = project.root / "metrics" / f"{name}.json"
        found[name] = read_json(path) if path.is_file() else {}
    if not found["validate"]:
        where = project.root / "metrics" / "validate.json"
        raise PipelineError(where, "there is nothing to report yet", "run `rounds close`")
    before = then(project, against) if against else {}
    rounds = project.rounds()
    audit = []
    for one in rounds:
        manifest = one.manifest()
        answers = [f"{path.name} {sha256(path.read_bytes())[:12]}" for path in one.answer_files()]
        note = read_json(one.folder / FILE)["decision"] if (one.folder / FILE).is_file() else ""
        audit.append({"round": one.number, "batch": manifest["batch_id"][:16], "rows": manifest["rows"],
                      "answers": ", ".join(answers), "decision": note})  # fmt: skip
    batch = read_jsonl(rounds[-1].folder / "batch.jsonl") if rounds else []
    file = project.root / "plots" / "recall.json"
    classes = read_json(file) if file.is_file() else []
    drawn, stop = charts(project), stopped(project)
    return Findings(
        project.root.name, found, before, classes, drawn, stop, batch, audit, commits(project)
    )


def then(project: Project, against: str) -> Row:
    """metrics/validate.json of a commit, empty where it has none. Raises PipelineError where there is no commit."""
    commit, path = commit_named(project.root, against, "--against"), "metrics/validate.json"
    held = git(project.root, "ls-tree", "--name-only", commit, "--", path)
    found: Row = json.loads(git(project.root, "show", f"{commit}:./{path}")) if held else {}
    return found


def commits(project: Project) -> list[list[str]]:
    """Hash, date and subject of every commit that touched the rounds, newest first; none outside git."""
    try:
        log = git(project.root, "log", "--format=%h%x00%cs%x00%s", "--", "data/rounds", "metrics")
    except PipelineError:
        return []
    return [line.split("\0") for line in log.splitlines()]


def charts(project: Project) -> list[Chart]:
    """The plots of dvc.yaml that have rows, in its order; the learning curve a second time against minutes."""
    drawn = []
    for entry in read_yaml(project.root / "dvc.yaml")["plots"]:
        for path, options in entry.items():
            file = project.root / path
            rows = read_json(file) if file.is_file() else []
            template = read_json(project.root / ".dvc" / "plots" / f"{options['template']}.json")
            axes = [dict(options)]
            if any(row.get("minutes") for row in rows):
                axes.append(
                    {**options, "x": "minutes", "title": "The same against people's minutes"}
                )
            drawn += [Chart(one["title"], filled(template, rows, one)) for one in axes if rows]
    return drawn


def filled(template: Any, rows: list[Row], options: Row) -> Any:
    """A template of DVC with its anchors replaced, the title left to the page, without what compares revisions."""
    if isinstance(template, dict):
        return {
            key: filled(value, rows, options)
            for key, value in template.items()
            if not _of_many(value)
        }
    if isinstance(template, list):
        return [filled(value, rows, options) for value in template if not _of_many(value)]
    if template == "<DVC_METRIC_DATA>":
        return rows
    if template == "labels" and options["x"] == "minutes":
        return "minutes"
    return {"<DVC_METRIC_X>": options["x"], "<DVC_METRIC_Y>": options["y"]}.get(
        str(template), template
    )


def _of_many(value: Any) -> bool:
    return value in ("<DVC_METRIC_TITLE>", "rev") or (
        isinstance(value, dict) and value.get("field") == "rev"
    )


def verdict(proof: Row) -> list[str]:
    """What is proved, in sentences: the arms, their gap, the saving, the next labels, the advice."""
    told = [
        f"{name}: accuracy {arm['accuracy']:.3f} [{arm['low']:.3f}, {arm['high']:.3f}] with {arm['labels']} labels"
        for name, arm in (("Active arm", proof["active"]), ("Random arm", proof["random"])) if arm
    ]  # fmt: skip
    if proof.get("shipped"):
        shipped = proof["shipped"]
        told.append(
            f"Model of all {shipped['labels']} labels: {shipped['accuracy']:.3f}, ECE {shipped['ece']:.3f}"
        )
    gap, saving, more = proof["difference"], proof["saving"], proof["next_100"]
    if gap["active_minus_random"] is None:
        told.append("Active against random: not yet known")
    else:
        interval = f"[{gap['low']:+.3f}, {gap['high']:+.3f}]"
        told.append(
            f"Active - random at {gap['labels']} labels: {gap['active_minus_random']:+.3f} {interval}"
        )
        told.append(f"Labels saved at equal accuracy: {saved(saving)}")
    if more:
        points = [100 * more[key] for key in ("gain", "low", "high")]
        told.append(
            f"The next 100 labels: {points[0]:+.1f} points [{points[1]:+.1f}, {points[2]:+.1f}]"
        )
    return [*told, f"Advice: {proof['stopping']['advice']} ({proof['stopping']['why']})"]


def saved(saving: Row) -> str:
    """The saving with its interval, or what of it is not yet known."""
    low, high = (
        "not known" if saving[key] is None else f"{saving[key]:.0f}" for key in ("low", "high")
    )
    if saving["saved"] is None:
        return f"not yet known [{low}, {high}]"
    return f"{saving['saved']:.0f} of {saving['labels']} [{low}, {high}]"


def number(value: Any) -> str:
    """A cell's text: floats with four significant digits, nothing for none."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def sign_rows(proof: Row) -> list[list[str]]:
    """The stopping panel: criterion, value, stops at, says."""
    rows = []
    for sign in proof["stopping"]["signs"]:
        limit = f"{'≥' if sign['at_least'] else '≤'} {number(sign['limit'])}"
        rows.append(
            [
                sign["name"],
                number(sign["value"]),
                limit,
                sign["says"] + (f": {sign['why']}" if sign["why"] else ""),
            ]
        )
    return rows


def class_rows(rows: list[Row]) -> list[list[str]]:
    """Each class of the active arm's last point with its test rows, recall and precision, the lowest recall first."""

    def share(row: Row, value: str, low: str, high: str) -> str:
        return "" if row[value] is None else f"{row[value]:.2f} [{row[low]:.2f}, {row[high]:.2f}]"

    active = [row for row in rows if row["arm"] == "active"]
    last = [row for row in active if row["round"] == active[-1]["round"]]
    return [
        [row["class"], number(row["support"]), share(row, "recall", "low", "high"),
         share(row, "precision", "precision_low", "precision_high")]
        for row in sorted(last, key=lambda row: row["recall"])
    ]  # fmt: skip


def annotator_rows(gate: Row) -> list[list[str]]:
    """What the gate says of each annotator."""
    keys = ("answers", "skip", "reject", "doubted", "error_rate", "quality")
    return [
        [name, *(number(facts.get(key)) for key in keys)]
        for name, facts in gate.get("annotators", {}).items()
    ]


def batch_rows(batch: list[Row]) -> list[list[str]]:
    """The first rows of the current batch with the reason for each."""
    keys = ("rank", "id", "arms", "score", "strategy", "reason")
    return [
        [" + ".join(row[key]) if key == "arms" else number(row[key]) for key in keys]
        for row in batch[:SHOWN_ROWS]
    ]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """An HTML table, every cell escaped."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    whole = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return whole if body else '<p class="dim">Nothing yet.</p>'


def alarm_html(found: Findings) -> str:
    """The alarms, and what could not be judged."""
    rows = [
        f'<div class="alarm"><b>{escape(row["code"])} {escape(row["title"])}</b><br>{escape(row["seen"])}<br>'
        f"To do: {escape(row['do'])}</div>"
        for row in found.alarms
    ]
    return "".join(rows or ["<p>No alarm rings.</p>"]) + (
        f'<p class="dim">Not judged: {escape(found.open)}</p>' if found.open else ""
    )


def html(found: Findings, vega: str) -> str:
    """The whole report. vega: the script that defines window.vegaEmbed."""
    proof = found.proof
    arms = Counter(arm for row in found.batch for arm in row["arms"])
    before, after = (found.metrics["calibration"].get(when) or {} for when in ("before", "after"))
    calibrated = [[key, number(before[key]), number(after.get(key))] for key in sorted(before)]
    sections = {
        "Alarms": alarm_html(found),
        "What is proved": "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in verdict(proof)) + "</ul>"
        + (f"<p><b>Stopped</b>: {escape(found.decision['why'])}</p>" if found.decision else ""),
        "Charts": '<div class="charts">' + "".join(map(chart_html, found.charts)) + "</div>",
        "Classes (active arm)": table(CLASS_HEAD, class_rows(found.classes)),
        "Calibration": f"<p>{escape(str(found.metrics['calibration'].get('why', 'not judged yet')))}</p>"
        + table(["", "before", "after"], calibrated),
        "Stopping panel": table(["criterion", "value", "stops at", "says"], sign_rows(proof)),
        "Annotators": table(
            ["annotator", "answers", "skipped", "rejected", "doubted", "error rate", "quality"],
            annotator_rows(found.metrics["gate"]),
        ),
        f"Current batch: {', '.join(f'{count} {arm}' for arm, count in arms.items()) or 'none'}": table(
            ["rank", "id", "arm", "score", "strategy", "reason"], batch_rows(found.batch)
        ),
        "Audit trail: rounds": table(
            ["round", "batch", "rows", "answers (SHA-256)", "decision"],
            [[number(cell) for cell in row.values()] for row in found.rounds],
        ),
        "Audit trail: commits": table(["commit", "date", "subject"], found.commits),
    }  # fmt: skip
    body = "".join(
        f"<section><h2>{escape(title)}</h2>{content}</section>"
        for title, content in sections.items()
    )
    title = f"{found.name}: round {proof['round']}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>{vega}</head>'
        f'<body><h1>{escape(title)}</h1><p class="dim">Judged on the {escape(proof["judged_on"])}.</p>{body}'
        f'<script type="module">{DRAW}</script></body></html>\n'
    )


def chart_html(chart: Chart) -> str:
    """A place for a chart, its spec inside."""
    spec = dumps(chart.spec).replace("<", "\\u003c")
    return f'<div class="chart"><b>{escape(chart.title)}</b><script type="application/json">{spec}</script></div>'


def markdown(found: Findings) -> str:
    """A summary for a comment on a pull request."""
    proof, before = found.proof, found.before
    lines = [f"### {cell(found.name)}: round {proof['round']}", ""]
    lines += [
        f"- **{row['code']} {row['title']}**: {cell(row['seen'])}. {row['do']}"
        for row in found.alarms
    ]
    lines += ["- No alarm rings."] if not found.alarms else []
    lines += [f"- Not judged: {cell(found.open)}"] if found.open else []
    lines += ["", *(f"- {cell(line)}" for line in verdict(proof)), ""]
    moved = [
        f"| {arm} {key} | {number(old)} | {number(new)} |"
        for arm in ("active", "random", "shipped")
        for key in ("labels", "accuracy", "macro_f1", "log_loss", "ece")
        if (old := (before.get(arm) or {}).get(key)) != (new := (proof.get(arm) or {}).get(key))
        and before
    ]
    lines += ["| | before | now |", "|---|---|---|", *moved, ""] if moved else []
    lines += ["<details><summary>Stopping panel and classes</summary>", ""]
    lines += ["| criterion | value | stops at | says |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in sign_rows(proof)]
    lines += ["", f"| {' | '.join(CLASS_HEAD)} |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in class_rows(found.classes)]
    return "\n".join([*lines, "", "</details>", ""])


def cell(text: str) -> str:
    """Text that Markdown and HTML leave as it is."""
    return re.sub(r"([\\|`*_\[\]<>])", r"\\\1", text.replace("\n", " "))


def bundle(project: Project) -> str:
    """The script element of the bundled Vega, taken from the page that `dvc plots` uses."""
    path = project.root / ".dvc" / "plots" / "page.html"
    found = re.search(
        r'<script type="module">.*?</script>', path.read_text(encoding="utf-8"), re.DOTALL
    )
    if found is None:
        raise PipelineError(path, "holds no bundled Vega", "restore the file from git")
    return found[0]


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("report.html"), show_default=True,
              help="The HTML file.")  # fmt: skip
@click.option("--md", is_flag=True, help="Print the Markdown summary instead.")
@click.option(
    "--against", metavar="REV", help="With --md: compare with the metrics of this commit."
)
@one_line_errors
def command(out: Path, md: bool, against: str | None) -> str:
    """Everything about the project in one file that works offline: alarms, proof, curves, batch, audit trail."""
    project = Project.find(Path())
    found = find(project, against)
    if md:
        click.echo(markdown(found))
        return f"report: Markdown ({len(found.alarms)} alarms)"
    write_bytes(out, html(found, bundle(project)).encode())
    return f"report: {out} ({len(found.charts)} charts, {len(found.alarms)} alarms)"
