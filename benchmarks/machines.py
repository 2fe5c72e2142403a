"""Machine annotators: is their accuracy's interval right, what do they save, do certificates hold.

    nice -n 10 python -m benchmarks.machines saved --out build/benchmarks/machines

`coverage`: people look after every 20 control rows, 15 times; how often the interval of any look
ever leaves out the machine's accuracy on the whole pool. `saved`: labels drawn at random that a
model needs for the accuracy of 400 without the machine, when it sees the machine's answers
(machines.features), by how many standard errors behind the best a smaller weight may lie. `finish`:
how much of the rest may be labelled with the machine as a second source and without, and how often
the bound is broken. `witness`: people mistake a tenth of SIZE labels, all on a few kinds of text or
evenly, or none; how well the gate ranks and doubts the mistakes with a machine as a witness
(machines.witness) and without. Each set has its own machine (hand-written rules for chemprot,
GPT-4o's answers for llm_misinfo; a planted one that is 80 % right elsewhere) and three planted poor
ones. Each seed is kept in a file: the same command goes on after a stop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from benchmarks.words import classes_of, cut, params_for, sample
from stages.answers.gate_tables import GateTables
from stages.answers.ledger import Labels
from stages.contract.arrays import Ints, Matrix
from stages.contract.canonical import jsonl, read_json, write_bytes, write_json
from stages.contract.identity import order_keys
from stages.contract.params import Learner, Params
from stages.features.whole import featurize
from stages.learning.classifier import fit
from stages.learning.machine_weight import (
    ERRORS,
    WEIGHTS,
    machine_likelihoods,
    smallest_of_the_best,
)
from stages.learning.maps import Temperature
from stages.learning.word_weight import weighed, word_weight
from stages.proof.any_look_share import share_at_any_look
from stages.proof.certificate import Claim
from stages.proof.finishable import WholePool
from stages.proof.finishing import Sources, finish
from stages.proof.gap import labels_to_reach
from stages.proof.opinions import Shipped
from stages.proof.second_source import params_with, with_machine
from stages.quality.judgement import LabelledRows, judge
from stages.store.index import Features, Index

SETS = ("llm_misinfo", "chemprot", "medical_abstracts")
OWN = {"llm_misinfo": "llm_label", "chemprot": "rule"}
CONFIDENCE = {"llm_misinfo": "llm_confidence"}
POOL = 2000
TESTED = 1000
SIZES = (25, 50, 100, 200, 300, 400, 450, 500)
HUMAN = 400
RULES = (1.0, 2.0, 3.0)  # standard errors; the product: ERRORS
LOOKS = range(20, 301, 20)
NOBODY = -1
SIZE = 500
MISTAKEN = 0.1
KINDS = ("text", "evenly", "none")
ROWS_A_KIND = 20  # of text, on average


@dataclass(frozen=True)
class Answers:
    """A machine's classes, (n,), NOBODY where it has none, and its confidence, (n,)."""

    said: Ints
    confidence: Any


@dataclass(frozen=True)
class Data:
    """A set: features of pool and test, classes, and its machines by name."""

    index: Index
    features: Features
    truth: Ints
    machines: dict[str, Answers]
    params: Params


def planted(truth: Ints, classes: int, seed: int) -> dict[str, Answers]:
    """Poor machines: 40 % right, most of the time one class, always the commonest class."""
    rng = np.random.default_rng(seed)
    rows = len(truth)
    wrong = (truth + rng.integers(1, classes, rows)) % classes
    poor = np.where(rng.random(rows) < 0.4, truth, wrong)
    biased = np.where(rng.random(rows) < 0.7, 0, np.where(rng.random(rows) < 0.5, truth, wrong))
    majority = np.full(rows, np.bincount(truth).argmax())
    good = np.where(rng.random(rows) < 0.8, truth, wrong)
    sure = np.ones(rows)
    every = {"40 % right": poor, "biased": biased, "majority": majority, "80 % right": good}
    return {name: Answers(said, sure) for name, said in every.items()}


def load(name: str) -> Data:
    """A set with its features and machines; "own" is the machine that came with it."""
    pool, test, paths = cut(name)
    pool = sample(pool, range(min(POOL, len(pool))))
    test = sample(test, range(min(TESTED, len(test))))
    params = params_for(paths)
    features, _ = featurize({"pool": pool, "seed": sample(pool, []), "test": test}, params)
    index = features.index
    rows = len(index.ids)
    truth = np.empty(rows, np.intp)
    said = np.full(rows, NOBODY)
    confidence = np.ones(rows)
    position = {label: number for number, label in enumerate(params.labels)}
    for part, table in (("pool", pool), ("test", test)):
        where = index.rows(part)
        order = index.row[where]
        truth[where] = classes_of(table, params.labels)[order]
        if name in OWN:
            cells = [position.get(cell, NOBODY) for cell in table.columns[OWN[name]]]
            said[where] = np.array(cells)[order]
        if name in CONFIDENCE:
            sure = np.array([float(cell) for cell in table.columns[CONFIDENCE[name]]])
            confidence[where] = sure[order]
    machines = planted(truth, len(params.labels), 7)
    good = machines.pop("80 % right")
    own = Answers(said, confidence) if name in OWN else good
    return Data(index, features, truth, {"own": own, **machines}, params)


def columns_of(answers: Answers, classes: int) -> Any:
    """The machine's answers as stages/machines/columns.py makes them."""
    rows = np.flatnonzero(answers.said != NOBODY)
    cells = (answers.confidence[rows], (rows, answers.said[rows]))
    return sp.csr_matrix(cells, shape=(len(answers.said), classes), dtype=np.float32)


def coverage(data: Data, projects: int) -> dict[str, Any]:
    """How often the interval of any look ever leaves out the accuracy on the whole pool."""
    pool = data.index.rows("pool")
    outcome = {}
    for name, answers in data.machines.items():
        covered = answers.said[pool] != NOBODY
        right = (answers.said[pool] == data.truth[pool])[covered]
        truth = right.mean()
        missed = 0
        once = 0
        widths = []
        for project in range(projects):
            drawn = np.random.default_rng(project).permutation(right)
            looks = [look for look in LOOKS if look <= len(drawn)]
            ends = [share_at_any_look(int(drawn[:look].sum()), look) for look in looks]
            inside = [low <= truth <= high for low, high in ends]
            missed += not all(inside)
            once += not inside[-1]
            widths.append(ends[9][1] - ends[9][0])
        outcome[name] = {
            "accuracy": truth,
            "covers": covered.mean(),
            "ever": missed / projects,
            "last": once / projects,
            "width_at_200": np.mean(widths),
        }
    return outcome


def accuracies(data: Data, seed: int) -> dict[str, Any]:
    """Accuracy on test rows by size: without a machine, and with each by each rule."""
    order = np.random.default_rng(seed).permutation(data.index.rows("pool").stop)
    outcome: dict[str, Any] = {"without": []}
    for name in data.machines:
        outcome |= {f"{name}/{rule:g}": [] for rule in RULES}
        outcome[f"{name}/weight"] = []
    for size in SIZES:
        labelled = np.sort(order[:size])
        words = word_weight(
            data.features.matrix[labelled], data.truth[labelled], data.params.learner.word_columns
        )
        rows = weighed(data.features.matrix, data.params.learner.word_columns, words)
        outcome["without"].append(judged(data, rows, labelled))
        for name, answers in data.machines.items():
            columns = columns_of(answers, len(data.params.labels))
            both = sp.hstack([rows, columns], format="csr")
            likelihoods = machine_likelihoods(
                both[labelled], data.truth[labelled], columns.shape[1]
            )
            picks = {
                rule: 0 if likelihoods is None else smallest_of_the_best(likelihoods, rule)
                for rule in RULES
            }
            by_pick = {0: outcome["without"][-1]}
            for pick in sorted(set(picks.values()) - {0}):
                factor = np.sqrt(WEIGHTS[pick])
                both = sp.hstack([rows, factor * columns], format="csr")
                by_pick[pick] = judged(data, both, labelled)
            for rule, pick in picks.items():
                outcome[f"{name}/{rule:g}"].append(by_pick[pick])
            outcome[f"{name}/weight"].append(WEIGHTS[picks[ERRORS]])
    return outcome


def judged(data: Data, rows: Matrix, known: Ints) -> float:
    """Accuracy on test rows of the model of some labels."""
    learner = Learner(path=data.params.learner.path, params=data.params.learner.params)
    model = fit(learner, rows[known], data.truth[known], len(data.params.labels), 0)
    test = data.index.rows("test")
    return float((model.scores(rows[test]).argmax(axis=1) == data.truth[test]).mean())


def finished(data: Data, seed: int, out: Path, claim: Claim) -> dict[str, Any]:
    """Share of the rest, and whether the bound is broken, without a machine and with each."""
    pool = np.arange(data.index.rows("pool").stop)
    ids = [data.index.ids[row] for row in pool]
    params = data.params.model_copy(update={"seed": seed})
    control = np.argsort(order_keys(seed, ids))[:HUMAN]
    labelled = np.sort(control)
    labels = Labels([ids[row] for row in labelled], data.truth[labelled], [])
    asked = [
        {"id": ids[row], "round": 1, "rank": rank, "arms": ["control"]}
        for rank, row in enumerate(control.tolist(), start=1)
    ]
    state = {"rounds": 1, "answers": len(labelled), "review_found": 0}
    model = fit(
        params.learner,
        data.features.matrix[labelled],
        data.truth[labelled],
        len(params.labels),
        seed,
    )
    sources = Sources(
        GateTables(labels, [], [], state),  # type: ignore[arg-type]  # rows as read back
        asked,  # type: ignore[arg-type]  # rows as read back
        [],
        WholePool(data.features, seed),
        data.features,
        Shipped(model, Temperature(1.0)),
    )
    outcome = {"without": _outcome(data, sources, claim, params)}
    for name, answers in data.machines.items():
        folder = out / f"machine-{name.split()[0]}"
        rows = [
            {"id": item, "label": params.labels[said], "confidence": float(sure)}
            for item, said, sure in zip(
                data.index.ids, answers.said, answers.confidence, strict=True
            )
            if said != NOBODY
        ]
        write_bytes(folder / "answers.jsonl", jsonl(rows))
        seeing = params_with(params, folder)
        both = with_machine(sources, folder, seeing)
        outcome[name] = _outcome(data, both, claim, seeing)
    return outcome


def _outcome(data: Data, sources: Sources, claim: Claim, params: Params) -> dict[str, Any]:
    done = finish(sources, claim, params)
    wrong = int((data.truth[done.machine] != done.classes).sum())
    return {
        "share": len(done.machine) / len(done.population.rest),
        "broken": wrong > claim.error * len(done.machine) + 1e-9,
    }


def mistaken(data: Data, rows: Ints, kind: str, seed: int) -> Ints:
    """People's labels of some rows, (n,): MISTAKEN of them wrong, on few kinds of text or evenly.

    A kind of text is a cluster of the geometry: there people take its commonest class for another.
    """
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(seed)
    truth = data.truth[rows]
    labels = truth.copy()
    classes = len(data.params.labels)
    most = int(MISTAKEN * len(rows))
    if kind == "evenly":
        wrong = rng.choice(len(rows), most, replace=False)
        labels[wrong] = (truth[wrong] + rng.integers(1, classes, most)) % classes
    if kind == "text":
        kinds = KMeans(len(rows) // ROWS_A_KIND, n_init=1, random_state=seed)
        cluster = kinds.fit_predict(np.asarray(data.features.geometry[rows], np.float64))
        for number in rng.permutation(cluster.max() + 1):
            left = most - int((labels != truth).sum())
            inside = np.flatnonzero(cluster == number)
            common = np.bincount(truth[inside]).argmax()
            taken = inside[truth[inside] == common][:left]
            labels[taken] = (common + rng.integers(1, classes)) % classes
    return labels


def sure_of(answers: Answers, rows: Ints, classes: int) -> Any:
    """How sure a machine is of each class, (n, classes)."""
    return columns_of(answers, classes)[rows].toarray().astype(np.float64)


def witnessed(data: Data, seed: int) -> dict[str, Any]:
    """What the gate makes of labels, by kind of mistakes, without and with each machine."""
    rows = np.sort(np.random.default_rng(seed).permutation(data.index.rows("pool").stop)[:SIZE])
    ids = [data.index.ids[row] for row in rows]
    classes = len(data.params.labels)
    outcome: dict[str, Any] = {}
    for kind in KINDS:
        labels = mistaken(data, rows, kind, seed)
        blind = LabelledRows(
            data.features.matrix[rows], data.features.geometry[rows], labels, ids, ids
        )
        wrong = labels != data.truth[rows]
        outcome[f"{kind}/without"] = doubted(blind, wrong, data.params)
        for name, answers in data.machines.items():
            hearing = replace(blind, said=sure_of(answers, rows, classes))
            outcome[f"{kind}/{name}"] = doubted(hearing, wrong, data.params)
    return outcome


def doubted(rows: LabelledRows, wrong: Any, params: Params) -> dict[str, float]:
    """Average precision of the ranking, and labels beyond the threshold: how many, and of these
    the wrong ones.
    """
    from sklearn.metrics import average_precision_score

    judgement = judge(rows, params)
    error = judgement.errors.probability
    beyond = error >= params.gate.threshold
    return {
        "precision": float(average_precision_score(wrong, error)) if wrong.any() else 0.0,
        "wrong": float(wrong.sum()),
        "doubted": float(beyond.sum()),
        "rightly": float((beyond & wrong).sum()),
        "heard": float(judgement.machine.heard),
    }


def witness_lines(name: str, runs: list[Any]) -> list[str]:
    """A line for each kind of mistakes and machine: means over the seeds."""
    lines = []
    for key in runs[0]:
        kind = key.partition("/")[0]
        cells = {fact: [run[key][fact] for run in runs] for fact in runs[0][key]}
        means = "  ".join(f"{fact} {np.mean(values):.3f}" for fact, values in cells.items())
        before = [run[f"{kind}/without"]["precision"] for run in runs]
        gains = np.array(cells["precision"]) - before
        error = gains.std(ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else np.nan
        lines.append(f"{name}  {key:<18} {means}  gain {gains.mean():+.3f} ± {error:.3f}")
    return lines


def saved_of(data: Data, path: Path, seed: int) -> Any:
    """The accuracies of a seed, kept in a file."""
    return kept(path, lambda: accuracies(data, seed))


def finished_of(data: Data, path: Path, seed: int, claim: Claim) -> Any:
    """The finished pools of a seed, kept in a file."""
    return kept(path, lambda: finished(data, seed, path.parent, claim))


def witnessed_of(data: Data, path: Path, seed: int) -> Any:
    """The gate's doubts of a seed, kept in a file."""
    return kept(path, lambda: witnessed(data, seed))


def coverage_lines(name: str, outcome: dict[str, Any]) -> list[str]:
    """A line for each machine."""
    lines = []
    for machine, facts in outcome.items():
        cells = "  ".join(f"{key} {value:.3f}" for key, value in facts.items())
        lines.append(f"{name}  {machine:<11} {cells}")
    return lines


def finish_lines(name: str, runs: list[Any]) -> list[str]:
    """The mean share of the rest, and how often the bound is broken."""
    lines = []
    for machine in runs[0]:
        share = np.mean([run[machine]["share"] for run in runs])
        broken = np.mean([run[machine]["broken"] for run in runs])
        lines.append(f"{name}  {machine:<11} share {share:.3f}  broken {broken:.3f}")
    return lines


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What a file holds; made and written where it is not there."""
    if not path.is_file():
        write_json(path, make())
    return read_json(path)


def saved_lines(name: str, runs: list[Any]) -> list[str]:
    """Labels needed for the accuracy of HUMAN without a machine, over those without one."""
    sizes = np.array(SIZES, dtype=np.float64)
    without = np.array([run["without"] for run in runs])
    target = without.mean(axis=0)[SIZES.index(HUMAN)]
    alone = labels_to_reach(sizes, without.mean(axis=0), target)
    lines = [f"{name}: {target:.3f} right with {HUMAN} labels of people, {len(runs)} seeds"]
    lines.append("  without          " + " ".join(f"{value:.3f}" for value in without.mean(axis=0)))
    for key in [key for key in runs[0] if key != "without"]:
        values = np.array([run[key] for run in runs])
        if key.endswith("/weight"):
            weights = " ".join(f"{value:.1f}" for value in values.mean(axis=0))
            lines.append(f"  {key:<16} {weights}")
            continue
        need = labels_to_reach(sizes, values.mean(axis=0), target)
        gains = values - without
        error = gains.mean(axis=1).std(ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else np.nan
        cells = " ".join(f"{gain:+.3f}" for gain in gains.mean(axis=0))
        mean = f"mean gain {gains.mean():+.4f} ± {error:.4f}"
        lines.append(f"  {key:<16} needs {need / alone:.2f}; {mean}; {cells}")
    return lines


@click.command(help=__doc__)
@click.argument("what", type=click.Choice(["coverage", "saved", "finish", "witness"]))
@click.option("--sets", default=",".join(SETS), show_default=True)
@click.option("--seeds", default=5, show_default=True)
@click.option("--projects", default=400, show_default=True, help="Of `coverage`.")
@click.option("--error", default=0.15, show_default=True, help="Of `finish`.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(what: str, sets: str, seeds: int, projects: int, error: float, out: Path) -> None:
    """Print the table."""
    with threadpool_limits(1):
        for name in sets.split(","):
            data = load(name)
            if what == "coverage":
                lines = coverage_lines(name, coverage(data, projects))
            elif what == "witness":
                paths = [out / f"witness-{name}-{seed}.json" for seed in range(seeds)]
                runs = [witnessed_of(data, path, seed) for seed, path in enumerate(paths)]
                lines = witness_lines(name, runs)
            elif what == "saved":
                runs = [
                    saved_of(data, out / f"saved-{name}-{seed}.json", seed) for seed in range(seeds)
                ]
                lines = saved_lines(name, runs)
            else:
                claim = Claim(error, 0.95)
                paths = [out / f"finish-{name}-{error:g}-{seed}.json" for seed in range(seeds)]
                runs = [finished_of(data, path, seed, claim) for seed, path in enumerate(paths)]
                lines = finish_lines(name, runs)
            click.echo("\n".join(lines))


if __name__ == "__main__":
    main()
