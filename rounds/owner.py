"""The owner's page: how the labelling goes, live and read-only, at /owner of the served page.

Who answered how much and how fast, how far people agree, the alarms, the curve, and what the next
close will do. Of the items themselves it shows nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from rounds.decision import stopped
from rounds.history import cases_of
from rounds.pages import render
from rounds.people import GOLD_HEAD, class_rows, gold_rows, pairs_of, people_rows
from rounds.project import Project
from rounds.report import METRICS, read_metrics
from rounds.summary import summary
from rounds.surfaces.desk import Session
from rounds.surfaces.series import Series
from stages.answers.standing import as_of_now
from stages.contract.canonical import Row, read_json
from stages.contract.errors import PipelineError

ARMS = ("active", "random")


@dataclass(frozen=True)
class Person:
    """One annotator's part of the batch.

    seconds: the median from one answer to the next, pauses left out; None below two answers.
    quiet: seconds since the last sign of life; None before the first of this serving.
    """

    name: str
    answers: int
    skipped: int
    seconds: float | None
    quiet: float | None


def person(session: Session, now: float) -> Person:
    """A session's part of the batch, as of `now` (seconds since 1970)."""
    answers = [said.answer for said in session.said.values()]
    return Person(
        name=session.name,
        answers=len(answers),
        skipped=sum(answer.kind == "skip" for answer in answers),
        seconds=session.pace(),
        quiet=now - session.seen if session.seen else None,
    )


def next_close(project: Project, series: Series, query: Row) -> str:
    """What the next close will do, and when."""
    desk = series.desk
    params = project.params()
    if query.get("round", 0) > desk.round.number:  # the batch after it is chosen
        return f"Round {desk.round.number} is closed."
    left = len(desk.tasks) - desk.finished
    when = "Now"
    if left:
        which = "all" if left == len(desk.tasks) else f"the last {left} of"
        when = f"When {which} {len(desk.tasks)} items are answered"
    how = "the page closes" if series.goes_on else "`rounds close` closes"
    words = f"{when}, {how} round {desk.round.number}: the gate judges its labels, the model "
    words += f"learns from them, and up to {params.query.batch_size} further items are asked."
    if params.query.budget is None:
        return f"{words} No budget is set."
    spent = query.get("answers_spent", 0) + desk.answers
    return f"{words} {spent} of the budget of {params.query.budget} answers are given."


def curve_svg(rows: list[Row]) -> str:
    """The learning curve of both arms with its 95 % bands; "" before the first point."""
    import numpy as np

    from rounds.backtest.chart import Band, svg_of_bands

    bands = {}
    for arm in ARMS:
        points = [row for row in rows if row["arm"] == arm]
        if points:
            columns = ("labels", "accuracy", "low", "high")
            labels, mean, low, high = (np.array([row[key] for row in points]) for key in columns)
            bands[arm] = Band(labels.astype(float), mean, low, high)
    return svg_of_bands(bands) if bands else ""


class Board:
    """The owner's page of what a series serves. What is read from files is read again on change."""

    def __init__(self, project: Project, series: Series) -> None:
        self._project = project
        self._series = series
        self._read: dict[str, object] = {}
        self._as_of: object = None

    def people(self) -> list[Person]:
        """Who takes part in this batch; called by the thread that takes the answers."""
        now = time.time()
        everybody = [person(session, now) for session in self._series.desk.everybody()]
        return [seen for seen in everybody if seen.answers or seen.quiet is not None]

    def html(self, people: list[Person]) -> str:
        """The part of the page that changes."""
        desk = self._series.desk
        notice = self._series.notice()
        files = self._files()
        query = read_metrics(self._project, "query")
        return render(
            "owner.html",
            round=desk.round.number,
            finished=desk.finished,
            total=len(desk.tasks),
            notice=notice if desk.complete or notice.blocks else None,
            people=people,
            **files,
            next_close=next_close(self._project, self._series, query),
        )

    def _files(self) -> dict[str, object]:
        """What the metrics and the answers say; read once for one state of them."""
        root = self._project.root
        paths = [root / "metrics" / f"{name}.json" for name in METRICS]
        state = [path.stat().st_mtime_ns if path.is_file() else 0 for path in paths]
        as_of = (self._series.saved, self._series.desk.batch, state)
        if as_of != self._as_of:
            self._read = self._facts()
            self._as_of = as_of
        return self._read

    def _facts(self) -> dict[str, object]:
        metrics = {name: read_metrics(self._project, name) for name in METRICS}
        stop = stopped(self._project)
        alarms = [
            alarm for name in ("gate", "validate") for alarm in metrics[name].get("alarms", [])
        ]
        try:
            pairs = list(pairs_of(as_of_now(list(cases_of(self._project).values()))))
        except PipelineError:  # an answer file that the next close will refuse, and name
            pairs = []
        curve = self._project.root / "plots" / "learning_curve.json"
        return {
            "summary": summary(metrics, stop) if metrics["validate"] else [],
            "alarms": alarms,
            "pair_rows": people_rows(pairs),
            "class_rows": class_rows(pairs),
            "gold_head": GOLD_HEAD,
            "gold_rows": gold_rows(metrics["gate"]),
            "curve": curve_svg(read_json(curve) if curve.is_file() else []),
        }
