"""`rounds report`: one HTML file that needs nothing else, and a summary for a pull request.

A summary for a manager first, then the alarms, the proof, the charts of `dvc plots` (the same
templates, drawn by the Vega that .dvc/plots/page.html bundles), the stopping panel, the annotators,
the current batch, and the audit trail. It reads what the stages wrote, and runs none.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import astuple, dataclass, field
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

import click

from rounds import documents
from rounds.charts import Chart, charts, vega_script
from rounds.commands import commit_named, git
from rounds.decision import FILE, DecisionOfRound, stopped
from rounds.documents import alarms_of, json_option, say
from rounds.looks import gap_charts, surely_ahead
from rounds.machines import figures as machine_figures
from rounds.machines.charts import machine_charts
from rounds.pages import number, render
from rounds.people import GOLD_HEAD, answers_so_far, gold_rows, pace_rows, pairs_of, people_rows
from rounds.people import class_rows as class_rows_of_people
from rounds.project import Project, Round
from rounds.summary import Point, summary
from rounds.surfaces.desk import NOTE
from stages.contract.canonical import Row, numbered_rows, read_json, read_jsonl, sha256, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors

METRICS = ("validate", "gate", "query", "calibration", "machines")
SHOWN_ROWS = 12  # of the current batch
SHOWN_NOTES = 40
CLASS_HEAD = ("class", "rows", "recall [95 %]", "precision [95 %]")
COMPARED = ("labels", "accuracy", "macro_f1", "log_loss", "ece")  # with an earlier commit
Cells = list[list[str]]


@dataclass(frozen=True)
class AuditRow:
    """A round: its batch's id, how many rows that has, hashes of its answer files, a decision."""

    round: int
    batch: str
    rows: int
    answers: str
    decision: str


@dataclass(frozen=True)
class Findings:
    """All that a report tells.

    metrics: the documents of metrics/ by name, empty where the pipeline has not run. before: the
    metrics/validate.json to compare with. classes: the rows of plots/recall.json. batch: the rows
    of the newest round. commits: hash, date and subject, newest first. sure: of which round it was
    proven that the strategy is ahead. pairs, labels: agreement of each two people, and about each
    class. pace: of each person. machine_uses: what machine annotators may do.
    """

    name: str
    metrics: dict[str, Row]
    before: Row
    classes: list[Row]
    charts: list[Chart]
    sure: list[str]
    stop: DecisionOfRound | None
    batch: list[Row]
    rounds: list[AuditRow]
    commits: Cells
    notes: Cells
    pairs: list[list[object]] = field(default_factory=list)
    labels: list[list[object]] = field(default_factory=list)
    pace: list[list[object]] = field(default_factory=list)
    machine_uses: list[str] = field(default_factory=list)

    @property
    def proof(self) -> Row:
        """metrics/validate.json."""
        return self.metrics["validate"]

    @property
    def alarms(self) -> list[Row]:
        """Every alarm that rings, the gate's included."""
        return [*self.metrics["gate"].get("alarms", []), *self.proof["alarms"]]

    @property
    def summary(self) -> list[Point]:
        """What was spent and saved, how good the model is, what to do next."""
        return summary(self.metrics, self.stop)

    @property
    def not_judged(self) -> str:
        """The alarms that cannot be judged, each with its reason; "" for none."""
        return "; ".join(f"{row['code']} ({row['why']})" for row in self.proof["not_judged"])


def find(project: Project, against: str | None = None) -> Findings:
    """Read metrics, plots, rounds and git. against: a commit whose metrics to compare with.

    Raises PipelineError before the first `dvc repro`.
    """
    metrics = {name: read_metrics(project, name) for name in METRICS}
    if not metrics["validate"]:
        where = project.root / "metrics" / "validate.json"
        raise PipelineError(where, "there is nothing to report yet", "run `rounds close`")
    recall = project.root / "plots" / "recall.json"
    rounds = project.rounds()
    cases, events = answers_so_far(project)
    pairs = list(pairs_of(cases))
    return Findings(
        name=project.root.name,
        metrics=metrics,
        before=proof_at(project, against) if against else {},
        classes=read_json(recall) if recall.is_file() else [],
        charts=[*charts(project), *gap_charts(project), *machine_charts(project)],
        sure=surely_ahead(project),
        stop=stopped(project),
        batch=read_jsonl(rounds[-1].folder / "batch.jsonl") if rounds else [],
        rounds=[audit_row(round_) for round_ in rounds],
        commits=commits(project),
        notes=note_rows(rounds),
        pairs=people_rows(pairs),
        labels=class_rows_of_people(pairs),
        pace=pace_rows(events),
        machine_uses=machine_uses(project),
    )


def note_rows(rounds: list[Round]) -> Cells:
    """Round, id, annotator, what was said and the note of answers with a note, newest round first.

    At most SHOWN_NOTES.
    """
    noted = (
        (round_.number, row)
        for round_ in reversed(rounds)
        for path in round_.answer_files()
        for _, row in numbered_rows(path)
        if row.get(NOTE)
    )
    rows = []
    for number_, row in islice(noted, SHOWN_NOTES):
        person = str(row.get("_annotator_id", "")).partition("-")[2]
        label = ", ".join(row.get("accept", [])) or str(row.get("answer"))
        rows.append([str(number_), str(row.get("al_id")), unquote(person), label, str(row[NOTE])])
    return rows


def machine_uses(project: Project) -> list[str]:
    """What machine annotators are allowed to do; nothing where there is no params.yaml."""
    if not (project.root / "params.yaml").is_file():
        return []
    return machine_figures.uses(project.params())


def read_metrics(project: Project, name: str) -> Row:
    """metrics/NAME.json, empty before the first `dvc repro`."""
    path = project.root / "metrics" / f"{name}.json"
    document: Row = read_json(path) if path.is_file() else {}
    return document


def audit_row(round_: Round) -> AuditRow:
    """What a round was, for who checks it."""
    manifest = round_.manifest()
    decision = round_.folder / FILE
    hashes = [f"{path.name} {sha256(path.read_bytes())[:12]}" for path in round_.answer_files()]
    return AuditRow(
        round=round_.number,
        batch=manifest["batch_id"][:16],
        rows=manifest["rows"],
        answers=", ".join(hashes),
        decision=read_json(decision)["decision"] if decision.is_file() else "",
    )


def proof_at(project: Project, against: str) -> Row:
    """metrics/validate.json of a commit, empty where it has none.

    Raises PipelineError where there is no such commit.
    """
    commit = commit_named(project.root, against, "--against")
    path = "metrics/validate.json"
    if not git(project.root, "ls-tree", "--name-only", commit, "--", path):
        return {}
    document: Row = json.loads(git(project.root, "show", f"{commit}:./{path}"))
    return document


def commits(project: Project) -> Cells:
    """Hash, date and subject of the commits of the rounds, newest first; none outside git."""
    try:
        log = git(project.root, "log", "--format=%h%x00%cs%x00%s", "--", "data/rounds", "metrics")
    except PipelineError:
        return []
    return [line.split("\0") for line in log.splitlines()]


def verdict(proof: Row) -> list[str]:
    """What is proved, in sentences: the arms, their gap, saving, next labels, the advice."""
    lines = [
        f"{name}: accuracy {arm['accuracy']:.3f} [{arm['low']:.3f}, {arm['high']:.3f}] "
        f"with {arm['labels']} labels"
        for name, arm in (("Active arm", proof["active"]), ("Random arm", proof["random"]))
        if arm
    ]
    shipped = proof.get("shipped")
    if shipped:
        scores = f"{shipped['accuracy']:.3f}, ECE {shipped['ece']:.3f}"
        lines.append(f"Model of all {shipped['labels']} labels: {scores}")
    lines += comparison(proof)
    lines += [f"Labels: {line}" for line in scheme_lines(proof)]
    stopping = proof["stopping"]
    return [*lines, f"Advice: {stopping['advice']} ({stopping['why']})"]


def comparison(proof: Row) -> list[str]:
    """The gap between the arms, labels saved, what the proof cost, what 100 labels would gain."""
    lines = ["Active against random: not yet known"]
    gap = proof["difference"]
    if gap["active_minus_random"] is not None:
        difference = f"{gap['active_minus_random']:+.3f} {at_any_look(gap, '+.3f')}"
        alone = f"[{gap['low']:+.3f}, {gap['high']:+.3f}]"
        lines = [
            f"Active - random at {gap['labels']} labels: {difference}; looked at once: {alone}",
            f"Labels saved at equal accuracy: {saved(proof['saving'])}",
            "Intervals hold at all rounds together (95 %), but for the one that says otherwise",
        ]
    lines += pool_words(proof)
    lines += course_words(proof)
    lines += cost_words(proof)
    more = proof["next_100"]
    if more:
        gain, low, high = (100 * more[key] for key in ("gain", "low", "high"))
        lines.append(f"The next 100 labels: {gain:+.1f} points [{low:+.1f}, {high:+.1f}]")
    return lines


def course_words(proof: Row) -> list[str]:
    """What the judge rows say of the gap over the course of the labels; nothing without them."""
    course = proof.get("course")
    if not course or course["active_minus_random"] is None:
        return []
    saving = course["saved"]
    gap = f"{course['active_minus_random']:+.3f} {at_any_look(course, '+.3f')}"
    labels = f"{saving['labels']:.1f} labels {at_any_look(saving, '.1f')}"
    where = f"On the way to {course['labels']} labels"
    judges = f"by {course['judge_rows']} judge rows"
    return [f"{where}: active - random {gap}, saved on average {labels} ({judges})"]


def pool_words(proof: Row) -> list[str]:
    """How good the model is over the pool, by control labels and the model's own word."""
    pool = proof.get("pool")
    if not pool:
        return []
    accuracy = pool["accuracy"]
    interval = f"[{accuracy['low']:.3f}, {accuracy['high']:.3f}]"
    worth = accuracy["worth"]
    alone = "" if worth is None else f", worth {worth:.0f} of them without a model"
    value = f"accuracy {accuracy['value']:.3f} {interval}, cross-validated"
    return [f"Over the pool: {value}, by {pool['control_labels']} control labels{alone}"]


def cost_words(proof: Row) -> list[str]:
    """What the proof cost in answers, and what else they brought; nothing in older metrics."""
    cost = proof.get("cost")
    if not cost or not cost["answers"]:
        return []
    spent = f"{cost['control']} answers to control rows"
    brought = "which teach the model, test its confidence and certify `rounds finish`"
    if cost["judge"]:
        spent += f", {brought}, and {cost['judge']} to judge rows, which only judge"
    else:
        spent += f", {brought}"
    return [f"The proof took, of {cost['answers']} answers, {spent}"]


def scheme_lines(proof: Row) -> list[str]:
    """How the labels changed, and what figures can be compared; none where they never did."""
    scheme = proof.get("scheme")
    if not scheme:
        return []
    changed = [f"{change['what']} (since round {change['round']})" for change in scheme["changes"]]
    return [*changed, scheme["note"]]


def saved(saving: Row) -> str:
    """The saving with its interval of any look, or what of it is not yet known."""
    interval = at_any_look(saving, ".0f")
    if saving["saved"] is None:
        return f"not yet known {interval}"
    return f"{saving['saved']:.0f} of {saving['labels']} {interval}"


def at_any_look(estimate: Row, form: str) -> str:
    """The interval that holds at all rounds together, in brackets.

    A bound that the proof, or an older version's metrics, does not know is "not known".
    """
    bounds = estimate.get("any_look", {})
    low, high = (
        "not known" if bounds.get(end) is None else format(bounds[end], form)
        for end in ("low", "high")
    )
    return f"[{low}, {high}]"


def sign_rows(proof: Row) -> Cells:
    """The stopping panel: criterion, value, stops at, says."""
    rows = []
    for sign in proof["stopping"]["signs"]:
        limit = f"{'≥' if sign['at_least'] else '≤'} {number(sign['limit'])}"
        says = f"{sign['says']}: {sign['why']}" if sign["why"] else sign["says"]
        rows.append([sign["name"], number(sign["value"]), limit, says])
    return rows


def class_rows(rows: list[Row]) -> Cells:
    """Each class at the active arm's last point: test rows, recall, precision; low recall first."""
    active = [row for row in rows if row["arm"] == "active"]
    last = [row for row in active if row["round"] == active[-1]["round"]]
    return [
        [
            row["class"],
            number(row["support"]),
            with_interval(row["recall"], row["low"], row["high"]),
            with_interval(row["precision"], row["precision_low"], row["precision_high"]),
        ]
        for row in sorted(last, key=lambda row: row["recall"])
    ]


def with_interval(value: float | None, low: float, high: float) -> str:
    """A share with its interval, "" where there is none."""
    return "" if value is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def annotator_rows(gate: Row) -> Cells:
    """What the gate says of each annotator."""
    keys = ("answers", "skip", "reject", "doubted", "error_rate", "quality")
    return [
        [name, *(number(facts.get(key)) for key in keys)]
        for name, facts in gate.get("annotators", {}).items()
    ]


def calibration_rows(calibration: Row) -> Cells:
    """Each measure of the probabilities before and after calibration."""
    before = calibration.get("before") or {}
    after = calibration.get("after") or {}
    return [[key, number(before[key]), number(after.get(key))] for key in sorted(before)]


def batch_rows(batch: list[Row]) -> Cells:
    """The first rows of the current batch with the reason for each."""
    return [
        [
            number(row["rank"]),
            row["id"],
            " + ".join(row["arms"]),
            number(row["score"]),
            row["strategy"],
            row["reason"],
        ]
        for row in batch[:SHOWN_ROWS]
    ]


def batch_arms(batch: list[Row]) -> str:
    """How many rows of the batch each arm asks."""
    counts = Counter(arm for row in batch for arm in row["arms"])
    return ", ".join(f"{count} {arm}" for arm, count in counts.items()) or "none"


def moved_rows(before: Row, proof: Row) -> Cells:
    """The figures of the proof that differ from an earlier one; none without an earlier one."""
    rows = []
    for arm in ("active", "random", "shipped") if before else ():
        then = before.get(arm) or {}
        now = proof.get(arm) or {}
        rows += [
            [f"{arm} {key}", number(then.get(key)), number(now.get(key))]
            for key in COMPARED
            if then.get(key) != now.get(key)
        ]
    return rows


def html(findings: Findings, vega: str) -> str:
    """The whole report. vega: the script element that defines window.vegaEmbed."""
    calibration = findings.metrics["calibration"]
    return render(
        "report.html",
        title=f"{findings.name}: round {findings.proof['round']}",
        vega=vega,
        summary=findings.summary,
        proof=findings.proof,
        alarms=findings.alarms,
        not_judged=findings.not_judged,
        verdict=[*verdict(findings.proof), *findings.sure],
        stop=findings.stop,
        charts=findings.charts,
        class_head=CLASS_HEAD,
        class_rows=class_rows(findings.classes),
        calibration_why=calibration.get("why", "not judged yet"),
        calibration_rows=calibration_rows(calibration),
        sign_rows=sign_rows(findings.proof),
        annotator_rows=annotator_rows(findings.metrics["gate"]),
        gold_head=GOLD_HEAD,
        gold_rows=gold_rows(findings.metrics["gate"]),
        pair_rows=findings.pairs,
        label_rows=findings.labels,
        pace_rows=findings.pace,
        machine_head=machine_figures.HEAD,
        machine_uses=findings.machine_uses,
        machine_rows=machine_figures.machine_rows(findings.metrics["machines"]),
        batch_arms=batch_arms(findings.batch),
        batch_rows=batch_rows(findings.batch),
        notes=findings.notes,
        audit_rows=[astuple(row) for row in findings.rounds],
        commits=findings.commits,
    )


def markdown(findings: Findings) -> str:
    """A summary for a comment on a pull request."""
    return render(
        "report.md",
        name=findings.name,
        summary=findings.summary,
        proof=findings.proof,
        alarms=findings.alarms,
        not_judged=findings.not_judged,
        verdict=[*verdict(findings.proof), *findings.sure],
        machine_lines=[
            *machine_figures.status_lines(findings.metrics["machines"]),
            *findings.machine_uses,
        ],
        moved=moved_rows(findings.before, findings.proof),
        sign_rows=sign_rows(findings.proof),
        class_head=CLASS_HEAD,
        class_rows=class_rows(findings.classes),
    )


def document(findings: Findings, out: str | None) -> documents.Report:
    """The report for a program. out: the HTML file that holds it."""
    return documents.Report(
        project=findings.name,
        round=findings.proof["round"],
        summary=[
            documents.Question(question=point.question, answer=point.answer)
            for point in findings.summary
        ],
        alarms=alarms_of(findings.metrics["gate"], findings.proof),
        not_judged=findings.not_judged,
        verdict=[*verdict(findings.proof), *findings.sure],
        out=out,
    )


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The HTML file.",
)
@click.option("--md", is_flag=True, help="Print the Markdown summary instead.")
@click.option(
    "--against", metavar="REV", help="With --md: compare with the metrics of this commit."
)
@json_option
@one_line_errors
def command(out: Path, md: bool, against: str | None, as_json: bool) -> str:
    """One file that works offline: alarms, proof, curves, batch, audit trail."""
    project = Project.find(Path())
    findings = find(project, against)
    if as_json:
        say(document(findings, None if md else str(out)))
    if md:
        if not as_json:
            click.echo(markdown(findings))
        return f"report: Markdown ({len(findings.alarms)} alarms)"
    write_bytes(out, html(findings, vega_script(project)).encode())
    return f"report: {out} ({len(findings.charts)} charts, {len(findings.alarms)} alarms)"
