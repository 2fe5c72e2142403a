"""Alarms: each failure that active-learning projects die of, with the sign that shows it and what to do about it."""

from __future__ import annotations

from stages._canonical import Row
from stages._params import Params

ROUNDS_TO_TELL = 3
REDUNDANT = 0.2


def alarms(
    facts: Row, curve: list[Row], recall: list[Row], repeats: list[Row], calibration: Row, params: Params
) -> list[Row]:
    """The alarms that ring now: code, title, what was seen, what to do. Empty when all is well.

    facts: validate's metrics with `difference`; curve, recall, repeats: the plot rows; calibration: calibrate's facts.
    """
    tests = (
        _tracks_random(facts),
        _redundant(repeats),
        _minority_flat(curve, recall, params),
        _confidence_lies(calibration),
        _class_never_seen(recall, facts),
    )
    return [alarm for alarm in tests if alarm is not None]


def _alarm(code: str, title: str, seen: str, remedy: str) -> Row:
    return {"code": code, "title": title, "seen": seen, "do": remedy}


def _tracks_random(facts: Row) -> Row | None:
    gap = facts["difference"]
    if facts["round"] < ROUNDS_TO_TELL or gap["low"] is None or gap["low"] > 0:
        return None
    seen = (
        f"active - random = {gap['active_minus_random']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}] "
        f"at {gap['labels']} labels"
    )
    remedy = "the saving is not shown: check calibration, try another query.strategy, or raise query.control_fraction"
    return _alarm("V001", "active learning tracks random sampling", seen, remedy)


def _redundant(repeats: list[Row]) -> Row | None:
    if not repeats or repeats[-1]["share"] <= REDUNDANT:
        return None
    last = repeats[-1]
    seen = f"{last['near_duplicates']} of {last['asked']} rows of round {last['round']} nearly repeat another"
    return _alarm("V003", "redundant queries", seen, "use a strategy with a diversity term: query.strategy: auto")


def _minority_flat(curve: list[Row], recall: list[Row], params: Params) -> Row | None:
    """The rarest class below the floor while accuracy rose clearly and its recall did not."""
    active = [row for row in curve if row["arm"] == "active"]
    if len(active) < ROUNDS_TO_TELL or active[-1]["accuracy"] <= active[0]["high"]:
        return None
    rows = [row for row in recall if row["arm"] == "active"]
    now = {row["class"]: row for row in rows if row["round"] == active[-1]["round"]}
    then = {row["class"]: row for row in rows if row["round"] == active[0]["round"]}
    for label, row in sorted(now.items(), key=lambda item: item[1]["support"]):
        if row["high"] < params.validate_.recall_floor and row["recall"] <= then[label]["high"]:
            seen = f"recall of {label!r} went from {then[label]['recall']:.2f} to {row['recall']:.2f}, accuracy rose"
            remedy = "raise the weight of the class, or add seed examples of it"
            return _alarm("V004", "a class stays behind while accuracy rises", seen, remedy)
    return None


def _confidence_lies(calibration: Row) -> Row | None:
    if calibration["verdict"] != "lying":
        return None
    remedy = "set calibrate.method: auto, or change the model; until then batches are chosen by diversity alone"
    return _alarm("V005", "the model's confidence cannot be trusted", calibration["why"], remedy)


def _class_never_seen(recall: list[Row], facts: Row) -> Row | None:
    never = [
        row["class"]
        for row in recall
        if row["arm"] == "active" and row["round"] == facts["round"] and row["recall"] == 0
    ]
    if facts["round"] < ROUNDS_TO_TELL or not never:
        return None
    seen = f"no test row of {', '.join(map(repr, never[:5]))} is recognised after {facts['round']} rounds"
    return _alarm("V008", "a class is never recognised", seen, "add seed examples of it, or check its name in labels")
