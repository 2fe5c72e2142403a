"""The files that a backtest writes of its finished loops."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rounds.backtest import control, tables, verdict
from rounds.backtest.chart import svg
from rounds.backtest.loops import ControlFacts, Plan, Variants, loop_file
from rounds.backtest.tables import Results
from rounds.backtest.variants import baselines
from stages.contract.canonical import Row, read_json, write_bytes, write_json
from stages.contract.params import load

Loops = dict[str, list[Row]]  # by variant, the finished loops in the order of repeats
Curves = dict[str, list[list[Row]]]  # by variant and repeat, the points of each loop


def read_loops(plan: Plan, chosen: Variants, repeats: int) -> Loops:
    """Every finished loop."""
    return {
        name: [read_json(loop_file(plan.out, number, name)) for number in range(repeats)]
        for name in chosen
    }


def curves_csv(curves: Curves, labels: Sequence[str]) -> bytes:
    """Every point of every loop as CSV."""
    measured = ("n_labels", *verdict.MEASURES)
    recalls = [f"recall_{label}" for label in labels]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["strategy", "repeat", *measured, *recalls, "seconds"])
    for name, own in curves.items():
        for repeat, curve in enumerate(own):
            for point in curve:
                scores = [point[measure] for measure in measured]
                seconds = round(point["seconds"], 3)
                writer.writerow([name, repeat, *scores, *point["recall"], seconds])
    return text.getvalue().encode()


def results_of(
    plan: Plan, chosen: Variants, loops: Loops, target: float | None, notes: Sequence[str]
) -> Results:
    """What the loops tell. notes: what a reader must know of the data."""
    curves = {name: [loop["points"] for loop in own] for name, own in loops.items()}
    smallest = control.smallest_control(chosen)
    larger = [name for name in chosen if smallest[name] != name]
    oracles = [name for name, variant in chosen.items() if variant.tried]
    summary = verdict.summary(curves, baselines(chosen.values()), target, larger, oracles)
    areas = {facts["strategy"]: facts["areas"] for facts in summary["strategies"]}
    return Results(
        **summary,
        control=control.control_rows(smallest, control_facts(loops), areas),
        notes=[
            *notes,
            *exhausted_note(plan, curves),
            *oracle_note(oracles),
            target_note(summary["target"]),
        ],
    )


def control_facts(loops: Loops) -> dict[str, list[ControlFacts]]:
    """For each variant that has a control arm, what it tells at the end of each loop."""
    facts = {
        name: [loop["control"] for loop in own if "control" in loop] for name, own in loops.items()
    }
    return {name: rows for name, rows in facts.items() if rows}


def exhausted_note(plan: Plan, curves: Curves) -> list[str]:
    """A note where a loop ended before its last round."""
    rounds = min(len(curve) for own in curves.values() for curve in own) - 1
    if rounds >= plan.rounds:
        return []
    ended = f"A loop ended after {rounds} of {plan.rounds} rounds"
    return [f"{ended}: its pool was exhausted, all areas end there."]


def oracle_note(oracles: Sequence[str]) -> list[str]:
    """What an oracle is, where one was run."""
    if not oracles:
        return []
    note = (
        f"{oracles[0]}: of so many batches a round, each from a random half of the pool, it keeps "
        "the one whose labels teach most, judged on pool rows that are never asked. No project can "
        "do that; more batches would win a little more. of the oracle: the gain as a share of its."
    )
    return [note]


def target_note(target: float) -> str:
    """What the columns of the table mean."""
    columns = "area: the mean accuracy along the curve; ±: one standard error"
    return f"Target accuracy {target:.4f}; {columns}."


def add_minutes(results: Results, seed_size: int, seconds: float) -> None:
    """Add people's minutes to the target, at so many seconds an answer, and a note of each."""
    for facts in results["strategies"]:
        labels = facts["labels_to_target"]
        if labels is None:
            continue
        minutes = (labels - seed_size) * seconds / 60
        facts["minutes_to_target"] = minutes
        note = f"{facts['strategy']}: {minutes:.1f} minutes of answers to the target."
        results["notes"].append(note)


def write_results(out: Path, results: Results, loops: Loops, labels: Sequence[str]) -> None:
    """Write curves.csv, summary.json, the pages and the picture."""
    curves = {name: [loop["points"] for loop in own] for name, own in loops.items()}
    picture = svg(curves)
    write_bytes(out / "curves.csv", curves_csv(curves, labels))
    write_json(out / "summary.json", results)
    write_bytes(out / "curves.svg", picture.encode())
    write_bytes(out / "backtest.md", tables.markdown(results).encode())
    write_bytes(out / "backtest.html", tables.html(results, picture).encode())


def report(
    plan: Plan,
    chosen: Variants,
    repeats: int,
    target: float | None,
    notes: Sequence[str],
    seconds_per_answer: float | None,
) -> Results:
    """Write every file of the finished loops. What they tell."""
    loops = read_loops(plan, chosen, repeats)
    results = results_of(plan, chosen, loops, target, notes)
    if seconds_per_answer is not None:
        add_minutes(results, plan.seed_size, seconds_per_answer)
    labels = load(plan.out / "params.yaml").labels
    write_results(plan.out, results, loops, labels)
    return results
