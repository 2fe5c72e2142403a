"""gate: decide which labels the next model may learn, and which are asked again.

reads   seed labels and suspects (clean_seed); rounds, rows asked, answers and past doubts
        (import_labels), and answers to gold rows, which it measures and never accepts; features
writes  build/gate: accepted, review, unlabelled, known, issues, repeats, votes, redundancy, gold
        (JSONL), state.json; metrics/gate.json; plots/label_quality.json; next:
        train, query, validate

Rounds are looked at up to the first open one: until that is answered or closed, build/gate keeps
its bytes. A round whose checks fail is held in the same way, with the reason in metrics/gate.json.
"""

from __future__ import annotations

from pathlib import Path

import click

from stages.answers.ledger import (
    AnsweredRound,
    Asked,
    Event,
    GoldAnswer,
    GoldLine,
    Planted,
    SeedLabel,
    Suspect,
    Verdict,
    read_rows,
)
from stages.contract.canonical import write_json, write_jsonl
from stages.contract.errors import PipelineError
from stages.contract.params import load
from stages.contract.shell import PATH, one_line_errors
from stages.machines.columns import sureness
from stages.machines.frozen import read_machine
from stages.quality.decision import TABLES, Ledger
from stages.quality.gate_result import run_gate
from stages.store.near import SAMPLE
from stages.store.read import read_features


@click.command(help=__doc__)
@click.option("--seed", type=PATH, required=True, help="Folder of clean_seed.")
@click.option("--labels", type=PATH, required=True, help="Folder of import_labels.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--out", type=PATH, required=True, help="Folder for the gate's tables.")
@click.option("--metrics", type=PATH, required=True, help="JSON file for counts and checks.")
@click.option("--plot", type=PATH, required=True, help="JSON file with one row per round.")
@one_line_errors
def main(seed: Path, labels: Path, features: Path, out: Path, metrics: Path, plot: Path) -> str:
    """Read the tables, decide, write."""
    params = load()
    said = None
    if params.machines.is_witness:
        machine = read_machine(Path(params.machines.witness), params.labels)
        said = {item: sureness(answer) for item, answer in machine.answers.items()}
    ledger = Ledger(
        seed=read_rows(seed / "labels.jsonl", SeedLabel),
        suspects=read_rows(seed / "suspects.jsonl", Suspect),
        rounds=read_rows(labels / "rounds.jsonl", AnsweredRound),
        asked=read_rows(labels / "asked.jsonl", Asked),
        events=read_rows(labels / "events.jsonl", Event),
        verdicts=read_rows(labels / "verdicts.jsonl", Verdict),
        checked=read_rows(labels / "checked.jsonl", GoldAnswer),
        planted=read_rows(labels / "planted.jsonl", Planted),
        gold=read_rows(labels / "gold.jsonl", GoldLine),
        said=said,
    )
    named = {row["id"] for row in (*ledger.seed, *ledger.suspects, *ledger.asked, *ledger.events)}
    result = run_gate(ledger, read_features(features, named, params.compute, SAMPLE), params)
    for name in TABLES:
        write_jsonl(out / f"{name}.jsonl", getattr(result.outcome, name))
    write_jsonl(out / "redundancy.jsonl", result.redundancy)
    write_json(out / "state.json", result.outcome.state)
    write_json(metrics, result.metrics)
    write_json(plot, result.plot)
    if result.failed and params.gate.on_fail == "stop":
        first = result.failed[0]
        measured = f"{first['value']:.3g}, limit {first['limit']:g}"
        what = f"{first['code']} failed: {first['title']} is {measured}"
        raise PipelineError(metrics, what, first["do"])
    counts = ", ".join(
        f"{result.metrics[name]} {name}" for name in ("accepted", "review", "unlabelled")
    )
    failed = "".join(f"; {row['code']} failed" for row in result.failed)
    held = f"; next round {result.metrics['held']}" if result.metrics["held"] else ""
    return f"gate: round {result.outcome.upto}: {counts}{held}{failed}"


if __name__ == "__main__":
    main()
