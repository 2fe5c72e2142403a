"""`rounds backtest`: replay whole loops on labelled data, and say which strategy to use.

Writes to --out: curves.csv, summary.json, backtest.md, backtest.html, curves.svg; params.yaml and
plan.json say what was replayed, loops/ holds the finished loops, so that the same command goes on
after a stop.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from rounds.backtest.loops import Plan, Variants, claim, filled, run_missing
from rounds.backtest.options import Options
from rounds.backtest.replay import checked_examples, split
from rounds.backtest.results import report
from rounds.backtest.sources import Source, seconds_per_answer, source_of
from rounds.backtest.tables import Results, plain_text
from rounds.backtest.variants import params_of, variants
from rounds.documents import Backtest, json_option, say
from rounds.option_groups import GroupedCommand
from stages.contract.canonical import plain
from stages.contract.params import Params
from stages.contract.shell import PATH, one_line_errors
from stages.examples.tables import read_table

GROUPS = {
    "The data": ("project", "label", "text", "features", "image", "id_column", "test"),
    "What to compare": ("strategy", "features_kind", "model", "calibration", "control"),
    "The loops": (
        "seed_size",
        "batch",
        "rounds",
        "repeats",
        "oracle",
        "noise",
        "no_gate",
        "params",
    ),
    "The results": ("out", "target", "minutes", "jobs", "as_json"),
}


def refuse_what_cannot_run(plan: Plan, chosen: Variants, params: Params) -> None:
    """Raises PipelineError for tables or options that no loop could run with."""
    test = read_table(plan.test) if plan.test else None
    split(checked_examples(read_table(plan.data), test, params), params, plan.seed_size)
    for variant in chosen.values():
        params_of(variant, params)


def plan_of(source: Source, options: Options) -> Plan:
    """What every loop depends on."""
    return Plan(
        data=source.data,
        test=source.test,
        out=options.out,
        seed_size=source.seed_size,
        rounds=source.rounds,
        noise=options.noise,
    )


def document(results: Results, out: Path) -> Backtest:
    """The backtest for a program."""
    decision = results["decision"]
    return Backtest(
        use=decision["use"],
        second=decision["second"],
        said=decision["said"],
        repeats=results["repeats"],
        target=results["target"],
        strategies=[plain(dict(facts)) for facts in results["strategies"]],
        notes=results["notes"],
        out=str(out),
    )


@click.command(cls=GroupedCommand, groups=GROUPS)
@click.argument("data", type=PATH, required=False)
@click.option(
    "--project",
    is_flag=True,
    help="Instead of DATA: the answered rounds of the project you are in.",
)
@click.option("--label", default="", help="Column of labels.")
@click.option("--text", default="", help="Column of text.")
@click.option(
    "--features",
    default="",
    help="Columns of numbers, separated by commas; all: every other column.",
)
@click.option("--image", default="", help="Column of images: data URIs, or files beside DATA.")
@click.option(
    "--id", "id_column", default="", help="Column of unique ids; without it the content is the id."
)
@click.option(
    "--test",
    type=PATH,
    help="Held-out table; without it a quarter is held out, anew in each repeat.",
)
@click.option(
    "--strategy", default="auto", show_default=True, help="[engine:]name[?key=value], by commas."
)
@click.option(
    "--features-kind",
    default="",
    help="Features to compare: kind[?key=value], by commas, as text?words=none.",
)
@click.option(
    "--model", default="", help="Models to compare: import.path[?key=value], separated by commas."
)
@click.option(
    "--calibration", default="", help="Calibration methods to compare, separated by commas."
)
@click.option(
    "--control", default="", help="Fractions of the control arm to compare, separated by commas."
)
@click.option(
    "--seed-size",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    help="Labels to start from.",
)
@click.option(
    "--batch", type=click.IntRange(1), default=40, show_default=True, help="Labels asked per round."
)
@click.option(
    "--rounds", type=click.IntRange(1), default=10, show_default=True, help="Rounds of a loop."
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Loops of each strategy.",
)
@click.option(
    "--oracle",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Also try so many batches a round and keep the best, by their labels: what could be won.",
)
@click.option(
    "--noise",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of wrong answers.",
)
@click.option(
    "--no-gate", is_flag=True, help="Doubt no label: faster, and no answer goes into reviews."
)
@click.option(
    "--params", type=PATH, help="params.yaml to start from; default: what `rounds init` would set."
)
@click.option(
    "--target", type=click.FloatRange(0, 1), help="Accuracy to reach; default: where random ends."
)
@click.option(
    "--minutes", type=PATH, help="A file of real answers: tells minutes by their times, too."
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default=True,
    help="Processes.",
)
@click.option("--out", type=PATH, required=True, help="Folder for the results.")
@json_option
@one_line_errors
def command(as_json: bool, **words: Any) -> str:
    """Replay whole loops on labelled DATA: which strategy to use, and how sure that is."""
    options = Options(**words)
    source = source_of(options)
    plan = plan_of(source, options)
    chosen = variants(
        options.strategy,
        options.features_kind,
        options.model,
        options.calibration,
        options.control,
        options.oracle,
    )
    params_text, params = filled(source.params, source.changes)
    refuse_what_cannot_run(plan, chosen, params)
    pace = seconds_per_answer(options.minutes) if options.minutes else None
    claim(plan, chosen, params_text)
    run_missing(plan, chosen, options.repeats, options.jobs)
    results = report(plan, chosen, options.repeats, options.target, source.notes, pace)
    if as_json:
        say(document(results, options.out))
    else:
        click.echo(plain_text(results))
    return f"backtest: {results['decision']['said']}\nwritten: {options.out / 'backtest.html'}"
