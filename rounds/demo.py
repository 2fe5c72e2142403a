"""`rounds demo`: the whole loop on real handwritten digits, with a simulated annotator.

Every round is a commit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from rounds.annotate import simulate
from rounds.close import close
from rounds.commands import Say, dvc
from rounds.init import CARRIED, carry, start, whole
from rounds.machines.figures import machine_lines
from rounds.machines.simulated import add_to_demo
from rounds.project import Project
from rounds.report import at_any_look, read_metrics
from stages.answers.ledger import read_labels
from stages.contract.canonical import Row, read_json
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.contract.progress import WIPE, watched
from stages.contract.shell import one_line_errors
from stages.examples.tables import as_text, read_table
from stages.learning.classifier import fit
from stages.proof.refits import labels_of_test, truth_of_test
from stages.store.index import read_index, read_model_matrix

NOISE = 0.03  # share of wrong answers of the simulated annotator
SKIP = 0.02  # share of skipped ones
STEP = 10  # labels between two looks at random sampling
REPEATS = 5  # random orders
HEAD = "round  labels  active  random at labels  gap at equal labels    doubted  alarms"


def table_line(facts: Row, gate: Row) -> str:
    """One line of the growing table."""
    active = facts["active"]
    random = facts["random"]
    gap = facts["difference"]
    difference = "-"
    if gap["active_minus_random"] is not None:
        difference = f"{gap['active_minus_random']:+.3f} {at_any_look(gap, '+.3f')}"
    alarms = " ".join(alarm["code"] for alarm in facts["alarms"]) or "-"
    return (
        f"{facts['round']:>5}  {gate['accepted']:>6}  {active['accuracy']:>6.3f}  "
        f"{random['accuracy']:>6.3f} at {random['labels']:>6}  "
        f"{difference:<21}  {gate['review']:>7}  {alarms}"
    )


def labels_random_needs(project: Project, params: Params, accuracy: float) -> list[int]:
    """How many labels random sampling needs for an accuracy, for each of REPEATS random orders.

    The seed's labels count. It is looked at in steps of STEP labels; where an order never gets
    there, the whole pool counts. Only a demonstration can know this: it asks the oracle about
    every row.
    """
    build = project.root / "build"
    index = read_index(build / "features")
    matrix = read_model_matrix(build / "features")
    table = read_table(project.root / "data" / "demo" / "oracle.csv")
    truth = dict(
        zip(map(as_text, table.columns["id"]), map(as_text, table.columns["label"]), strict=True)
    )
    class_of = {label: number for number, label in enumerate(params.labels)}
    seed = read_labels(build / "seed" / "labels.jsonl", params.labels)
    table = read_table(project.root / params.data.test)
    test = truth_of_test(labels_of_test(table, params), index, params)
    pool = index.ids[index.rows("pool")]
    needed = []
    for repeat in watched("random sampling", range(1, REPEATS + 1), "order"):
        order = [pool[row] for row in np.argsort(order_keys(params.seed + repeat, pool))]
        for count in range(STEP, len(pool) + STEP, STEP):
            chosen = order[:count]
            rows = matrix[index.locate([*seed.ids, *chosen], "demo")]
            labels = np.concatenate([seed.classes, [class_of[truth[item]] for item in chosen]])
            model = fit(params.learner, rows, labels, len(params.labels), params.seed)
            reached = (model.scores(matrix[index.rows("test")]).argmax(axis=1) == test).mean()
            if reached >= accuracy or count >= len(pool):
                needed.append(len(seed.ids) + min(count, len(pool)))
                break
    return needed


def saving(project: Project) -> str:
    """The sentence that says what active learning saved."""
    facts = read_json(project.root / "metrics" / "validate.json")["active"]
    needed = labels_random_needs(project, project.params(), facts["accuracy"])
    middle = int(np.median(needed))
    return (
        f"Active learning reached {facts['accuracy']:.3f} accuracy with {facts['labels']} labels.\n"
        f"Random sampling needs {middle} for that (median of {len(needed)} random orders, "
        f"{min(needed)} to {max(needed)}, by the oracle): "
        f"{middle - facts['labels']:+d} labels, {middle / facts['labels']:.1f} times as many."
    )


@click.command()
@click.argument("target", metavar="DIR", default="demo", type=click.Path(path_type=Path))
@click.option(
    "--rounds",
    "count",
    type=click.IntRange(1),
    default=6,
    show_default=True,
    help="How many rounds.",
)
@click.option(
    "--machine", is_flag=True, help="Add two simulated machine annotators, a good and a poor one."
)
@one_line_errors
def command(target: Path, count: int, *, machine: bool) -> str:
    """Make a labelling project in DIR and run the loop with a simulated annotator.

    The annotator gives a few wrong and skipped answers, as people do. Afterwards DIR is a project
    like any other. With --machine every round says how good both machine annotators are, by the
    answers of the control arm alone.
    """
    with whole(target):
        carry(
            target, (*CARRIED, "data/demo/build.py", "data/demo/dvc.yaml", "data/demo/.gitignore")
        )
        start(target, "A labelling project on handwritten digits")
    try:
        return played(target, count, machine=machine)
    except KeyboardInterrupt:
        status = f"cd {target} && rounds status"
        remedy = f"it is a project as far as it came ({status}); for a whole one remove it first"
        raise PipelineError(target, "interrupted", remedy) from None


def loop_lines(project: Project, count: int, say: Say, *, machine: bool = False) -> Iterator[str]:
    """Run the loop for so many rounds; of each a line of the table, when it is closed.

    machine: two simulated machine annotators label all rows after the first close.
    """
    oracle = project.root / "data" / "demo" / "oracle.csv"
    for number in range(count + 1):
        if number:
            simulate(project, oracle, noise=NOISE, skip=SKIP, seed=project.params().seed)
        close(project, partial=False, push=False, say=say)
        if machine and not number:
            add_to_demo(project)
        yield table_line(read_metrics(project, "validate"), read_metrics(project, "gate"))
        query = read_metrics(project, "query")
        if not query["batch"]["rows"]:
            yield f"no round follows: {query['state']}"
            return


def played(target: Path, count: int, *, machine: bool = False) -> str:
    """Run the loop for so many rounds, printing a line of the table for each.

    Returns the sentence that says where the plots are.
    """
    project = Project.find(target)

    def say(stage: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"{WIPE}{stage} …", err=True, nl=False)

    def show(line: str) -> None:
        click.echo((WIPE if sys.stderr.isatty() else "") + line, err=sys.stderr.isatty())

    click.echo(
        f"demo: {target}: pool, seed and test from scikit-learn's digits, "
        "one seed label in ten is wrong",
        err=True,
    )
    click.echo(HEAD)
    for line in loop_lines(project, count, say, machine=machine):
        show(line)
    dvc(project.root, ["plots", "show", "--out", "dvc_plots"], say)
    show("")
    click.echo(saving(project))
    if machine:
        click.echo("\n" + "\n".join(machine_lines(read_metrics(project, "machines"))))
    click.echo(
        f"\nEvery round is a commit, with its plots:  "
        f"cd {target} && git log --oneline && rounds status"
    )
    return (
        f"plots: {target}/dvc_plots/index.html; curves between commits: dvc plots diff HEAD~2 HEAD"
    )
