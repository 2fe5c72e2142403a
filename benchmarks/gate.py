"""The label-quality gate beside cleanlab's filters and no gate: planted mistakes, careless
annotators, cost.

    python -m benchmarks.gate noise --seeds 5 --out build/gate_noise.json
    python -m benchmarks.gate loop  --seeds 5 --out build/gate_loop.json
    python -m benchmarks.gate crowd --seeds 5
    python -m benchmarks.gate people --seeds 3
    python -m benchmarks.gate real
    python -m benchmarks.gate seed --seeds 4
    python -m benchmarks.gate rare --seeds 40
    python -m benchmarks.gate cost  --rows 50000 --what ours
    python -m benchmarks.gate seconds

`noise` has every label judged as in a project (stages/quality/judgement.py). cleanlab's filters
read out-of-fold probabilities of the same model, and `model alone` is the gate with nothing but
these. `rare` has right labels of what the other labels say nothing about.
Datalab takes part where it is installed. Sets beyond scikit-learn's own are read from the folder in
LABELROUNDS_DATA.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections import Counter, defaultdict
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from io import StringIO
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from rounds.init import MODEL
from rounds.shipped import shipped_params
from stages.contract.arrays import Floats, Geometry, Ints, Mask, Matrix
from stages.contract.canonical import read_json, write_json
from stages.contract.identity import order_key
from stages.contract.params import Params
from stages.features.whole import spaces_of, text_features
from stages.learning.classifier import fit, out_of_fold
from stages.learning.scoring import softmax
from stages.quality.agreement import true_classes, vote_table
from stages.quality.decision import Ledger, decide
from stages.quality.error_model import estimate_errors
from stages.quality.judgement import LabelledRows, judge, with_annotators
from stages.quality.policy import choose_doubts
from stages.quality.witnesses import pooled
from stages.store.index import Features, Index
from tests.rare_pools import LAYOUTS, pool

DATA = Path(os.environ.get("LABELROUNDS_DATA", "../shared/data"))
KINDS = ("uniform", "class", "boundary", "novice")
LEVELS = (0.05, 0.1, 0.2, 0.4)
FILTERS = (
    "prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given",
    "low_normalized_margin", "low_self_confidence",
)  # fmt: skip
TEXTS = {
    "banking77": "banking77/train.csv",
    "sms_spam": "sms_spam/all.csv",
    "langid": "langid/train.csv",
}
INTENT_GROUPS = ("first", "second", "third", "fourth")
TESTED = 4000  # test rows at most
SEEDS = "hard0,hard1,hard2,german,diabetes,heart,sonar,ionosphere,splice,digits,cancer,mammographic"
PEOPLE = (  # clear, heat, shared, eyes, leaning: the nearest to CIFAR-10N among 144 tried
    (3.8, 1.0, 0.6, 1.2, 0.3),
    (3.6, 1.5, 0.5, 1.6, 1.2),
    (3.6, 1.0, 0.6, 1.6, 0.6),
    (3.6, 1.5, 0.4, 1.2, 1.2),
    (3.8, 1.5, 0.6, 1.2, 0.6),
    (3.6, 1.5, 0.6, 1.6, 0.9),
    (3.6, 1.0, 0.4, 1.2, 0.6),
    (3.6, 1.5, 0.5, 1.2, 0.9),
)
LANGUAGES, SENTENCES = (
    20,
    6000,
)  # of langid: five labels a class need more rows than its rare languages have
Table = tuple[Matrix, Geometry, Ints]


def read_texts(path: Path) -> tuple[list[str], list[str]]:
    """Texts and labels of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def numbers(name: str) -> tuple[Geometry, Ints]:
    """Standardised numbers and classes: a table of the shared folder, scikit-learn's `cancer`, or
    `hard` and a number.

    hard: three classes of three clusters each, which few labels do not tell apart; odd: the first
    is 3 % of the rows.
    """
    from sklearn.datasets import load_breast_cancer, make_classification
    from sklearn.preprocessing import StandardScaler

    if name.startswith("hard"):
        number = int(name.removeprefix("hard"))
        rows, answers = make_classification(
            4000, 20, n_informative=8, n_redundant=4, n_classes=3, n_clusters_per_class=3, flip_y=0,
            weights=[0.03, 0.37, 0.6] if number % 2 else None, random_state=number,
        )  # fmt: skip
    elif name == "cancer":
        rows, answers = load_breast_cancer(return_X_y=True)
    else:
        table = np.genfromtxt(DATA / f"tabular/{name}.csv", delimiter=",", skip_header=1)
        rows, answers = table[:, :-1], table[:, -1]
    return StandardScaler().fit_transform(rows).astype(np.float32), np.unique(
        answers, return_inverse=True
    )[1]


@cache
def load(name: str) -> Table:
    """Model features, geometry and true classes of a whole set, in a fixed random order."""
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        matrix, truth = (digits.data / 16).astype(np.float32), digits.target
    elif name not in TEXTS:
        matrix, truth = numbers(name)
    else:
        texts, labels = read_texts(DATA / TEXTS[name])
        if name == "langid":
            top = {label for label, _ in Counter(sorted(labels)).most_common(LANGUAGES)}
            texts = [text for text, label in zip(texts, labels, strict=True) if label in top]
            labels = [label for label in labels if label in top]
        order = np.random.default_rng(0).permutation(len(texts))[
            : SENTENCES if name == "langid" else len(texts)
        ]
        texts = [texts[row] for row in order]
        truth = np.unique([labels[row] for row in order], return_inverse=True)[1]
        matrix = text_features(texts, slice(0, len(texts)), shipped_params().features.text)
    if name not in TEXTS:
        order = np.random.default_rng(0).permutation(len(truth))
        matrix, truth = matrix[order], truth[order]
    beside = shipped_params().features.text.directions
    matrix, geometry = spaces_of(
        matrix, slice(0, len(truth)), 128, 0, unit_rows=name in TEXTS, beside=beside
    )
    return matrix, geometry, truth.astype(np.intp)


def project(classes: int, name: str) -> Params:
    """The params of a new project on the set of this name."""
    kind = "text" if name in TEXTS else "image" if name == "digits" else "numeric"
    model = {
        "path": "sklearn.linear_model.LogisticRegression",
        "params": {"max_iter": 1000, **MODEL[kind]},
    }
    labels = [str(number) for number in range(classes)]
    return shipped_params({"labels": labels, "model": model, "features": {"kind": kind}})


def sample(name: str, rows: int, seed: int) -> tuple[Table, Table]:
    """Three quarters of at most `rows` rows, drawn by seed, are labelled; up to TESTED of all
    others are the test.
    """
    matrix, geometry, truth = load(name)
    order = np.random.default_rng(1000 + seed).permutation(len(truth))
    split = int(0.75 * min(rows, len(order)))
    shown_rows, test = order[:split], order[split : split + TESTED]
    return (matrix[shown_rows], geometry[shown_rows], truth[shown_rows]), (
        matrix[test],
        geometry[test],
        truth[test],
    )


def planted(
    kind: str, level: float, sampled: Table, clean: Floats | None, draw: np.random.Generator
) -> Ints:
    """The labels with a share of `level` wrong.

    uniform: evenly; class: each class for one other; boundary: the second choice of the project's
    model (clean: (n, k) its out-of-fold probabilities, having seen the truth), on rows in
    proportion to the chance it gives that; novice: what a model that saw eight examples per class
    and a third of the dimensions would say, on rows that it doubts.
    """
    from sklearn.linear_model import LogisticRegression

    _, geometry, truth = sampled
    n, k = len(truth), int(truth.max()) + 1
    count, labels = int(level * n), truth.copy()
    if kind == "boundary" and clean is not None:
        rivals = clean.copy()
        rivals[np.arange(n), truth] = -1
        rows = np.argsort(-(np.log(rivals.max(axis=1) + 1e-3) + draw.gumbel(size=n)))[:count]
        labels[rows] = rivals[rows].argmax(axis=1)
        return labels
    if kind == "novice":
        seen = draw.permutation(geometry.shape[1])[: max(4, geometry.shape[1] // 3)]
        some = np.concatenate([draw.permutation(np.flatnonzero(truth == c))[:8] for c in range(k)])
        model = LogisticRegression(C=10, max_iter=300).fit(geometry[some][:, seen], truth[some])
        chances = np.full((n, k), 1e-6)
        chances[:, model.classes_] = model.predict_proba(geometry[:, seen]) + 1e-6
        chances[np.arange(n), truth] = 0
        rows = np.argsort(-(np.log(chances.sum(axis=1)) + draw.gumbel(size=n)))[:count]
        for row in rows:
            labels[row] = draw.choice(k, p=chances[row] / chances[row].sum())
        return labels
    rows = draw.permutation(n)[:count]
    ring = draw.permutation(k)
    after = np.empty(k, dtype=np.intp)
    after[ring] = np.roll(ring, 1)
    labels[rows] = (
        after[truth[rows]] if kind == "class" else (truth[rows] + draw.integers(1, k, count)) % k
    )
    return labels


@dataclass(frozen=True)
class Case:
    """n labels with planted mistakes, and what is said of them.

    logits     (n, k) the project's model, out of fold: what cleanlab's filters read
    error      (n,) the gate's error probability, 0 where it does not judge
    alone      (n,) the same by the model alone, as for probabilities that a user brings
    """

    labels: Ints
    logits: Floats
    error: Floats
    alone: Floats


def judged_case(
    sampled: Table, name: str, kind: str, level: float, seed: int, folder: Path
) -> Case:
    """Mistakes of a kind planted, and judged as in a project: kept in `folder` once computed."""
    matrix, geometry, truth = sampled
    n, k = len(truth), int(truth.max()) + 1
    path = folder / f"{name}_{n}_{seed}_{kind}_{level}.npz"
    if path.exists():
        return Case(**np.load(path))
    params, ids = project(k, name), [f"r{row}" for row in range(n)]
    clean = None
    if kind == "boundary":
        perfect = folder / f"clean_{name}_{n}_{seed}.npy"
        if not perfect.exists():
            folder.mkdir(parents=True, exist_ok=True)
            np.save(perfect, softmax(out_of_fold(params.learner, matrix, truth, ids, k, 5, 99)))
        clean = np.load(perfect)
    labels = planted(kind, level, sampled, clean, np.random.default_rng(seed)) if level else truth
    logits = out_of_fold(params.learner, matrix, labels, ids, k, 5, 0)
    rows = LabelledRows(matrix, geometry, labels, ids, ids)
    nowhere = LabelledRows(None, geometry[:, :0], labels, ids, ids)
    error = judge(rows, params).errors.probability
    alone = judge(nowhere, params, logits).errors.probability
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(path, labels=labels, logits=logits, error=error, alone=alone)
    return Case(labels, logits, error, alone)


def flags(case: Case, params: Params) -> tuple[dict[str, Mask], dict[str, Floats]]:
    """Each method's flags (n,), and the scores of those that rank."""
    from cleanlab.filter import find_label_issues

    labels = case.labels
    n = len(labels)
    chances = softmax(case.logits)
    scores = {
        "ours": case.error,
        "ours, model alone": case.alone,
        "cleanlab self-confidence": 1 - chances[np.arange(n), labels],
    }
    threshold = params.gate.threshold
    by_method = {name: scores[name] >= threshold for name in ("ours", "ours, model alone")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="May not flag all label issues in class")
        for name in FILTERS:
            by_method[f"cleanlab {name}"] = find_label_issues(
                labels, chances, filter_by=name, n_jobs=1
            )
        if find_spec("datasets"):
            from cleanlab import Datalab

            # it fails on a class that no label names
            classes, columns = np.unique(labels, return_inverse=True)
            lab = Datalab({"label": columns}, label_name="label", verbosity=0)
            lab.find_issues(pred_probs=softmax(case.logits[:, classes]), issue_types={"label": {}})
            by_method["Datalab"] = lab.get_issues("label")["is_label_issue"].to_numpy()
    by_method["no gate"] = np.zeros(n, dtype=bool)
    return by_method, scores


def noise_once(
    name: str, rows: int, kind: str, level: float, seed: int, folder: Path, *, final: bool
) -> list[dict[str, object]]:
    """A row per method: precision, recall, F1, share flagged, AUPRC, and, if asked, the final
    model's test accuracy.

    Two more for the final model: what is learnt once people have corrected what was flagged, and
    from exactly the right labels, which no gate can better by leaving out.
    """
    from sklearn.metrics import average_precision_score

    sampled, (test, _, answers) = sample(name, rows, seed)
    params = project(int(sampled[2].max()) + 1, name)
    case = judged_case(sampled, name, kind, level, seed, folder)
    labels = case.labels
    bad = labels != sampled[2]
    by_method, scores = flags(case, params)
    facts = {"set": name, "kind": kind, "level": level, "seed": seed}

    def learnt(kept: Mask, labels_of: Ints) -> float:
        model = fit(params.learner, sampled[0][kept], labels_of[kept], len(params.labels), 0)
        return float((model.scores(test).argmax(axis=1) == answers).mean())

    rows_out: list[dict[str, object]] = []
    for method, flagged in by_method.items():
        hit = float((flagged & bad).sum())
        precision, recall = hit / max(flagged.sum(), 1), hit / max(bad.sum(), 1)
        row = {
            **facts,
            "method": method,
            "flagged": float(flagged.mean()),
            "precision": precision,
            "recall": recall,
        }
        row["f1"] = 2 * precision * recall / max(precision + recall, 1e-9)
        if final and method in ("ours", "no gate", "cleanlab prune_by_noise_rate"):
            row["accuracy"] = learnt(~flagged, labels)
        rows_out.append(row)
    if final:
        reviewed = np.where(by_method["ours"], sampled[2], labels)
        rows_out.append(
            {
                **facts,
                "method": "ours, after review",
                "accuracy": learnt(np.ones_like(bad), reviewed),
            }
        )
        rows_out.append(
            {**facts, "method": "exactly the wrong left out", "accuracy": learnt(~bad, labels)}
        )
    if bad.any():
        rows_out += [
            {**facts, "method": method, "auprc": float(average_precision_score(bad, score))}
            for method, score in scores.items()
        ]
    return rows_out


def table(rows: list[dict[str, object]], value: str, by: tuple[str, ...]) -> list[str]:
    """Mean and standard error of a value by method and level (or what `by` names), as Markdown."""
    cells: dict[tuple[str, tuple[object, ...]], list[float]] = defaultdict(list)
    for row in rows:
        if value in row:
            cells[str(row["method"]), tuple(row[key] for key in by)].append(float(str(row[value])))
    columns = sorted(
        {key for _, key in cells}, key=lambda key: [(isinstance(part, str), part) for part in key]
    )
    lines = [
        f"| {value} | " + " | ".join(" ".join(map(str, key)) for key in columns) + " |",
        "|" + "---|" * (len(columns) + 1),
    ]
    for method in dict.fromkeys(method for method, _ in cells):
        shown = []
        for key in columns:
            values = np.array(cells.get((method, key), []))
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0
            shown.append(f"{values.mean():.3f} ± {error:.3f}" if len(values) else "")
        lines.append(f"| {method} | " + " | ".join(shown) + " |")
    return lines


@click.group()
def main() -> None:
    """Benchmarks of the gate."""


@main.command()
@click.option("--sets", default="digits,spambase,sms_spam,langid,banking77")
@click.option(
    "--rows",
    default=2000,
    help="Rows per set and seed; three quarters are labelled, the rest is the test.",
)
@click.option("--seeds", default=5)
@click.option("--first", default=0, help="The first seed.")
@click.option("--finals", default=2, help="Seeds whose final model is fitted: most of the time.")
@click.option(
    "--cache", "folder", type=click.Path(path_type=Path), default=Path("build/gate_views")
)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def noise(
    sets: str, rows: int, seeds: int, first: int, finals: int, folder: Path, out: Path
) -> None:
    """Planted mistakes: who finds them, and what the final model is worth."""
    results: list[dict[str, object]] = []
    for seed in range(first, first + seeds):
        for name in sets.split(","):
            started = time.perf_counter()
            for kind, level in [("none", 0.0), *product(KINDS, LEVELS)]:
                final = seed < first + finals
                results += noise_once(name, rows, kind, level, seed, folder, final=final)
            write_json(out, results)
            click.echo(f"{name}, seed {seed}: {time.perf_counter() - started:.0f} s", err=True)
    report(results)


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
def show(out: Path) -> None:
    """The tables of a `noise` run that was written to OUT."""
    report(read_json(out))


def report(results: list[dict[str, object]]) -> None:
    """Print the tables; means over levels leave the novice's mistakes out, which have their own
    column.
    """
    usual = [row for row in results if row["kind"] != "novice"]
    wrong = [row for row in usual if row["level"]]
    tables = [table(wrong, value, ("level",)) for value in ("f1", "precision", "recall", "auprc")]
    tables += [
        table([row for row in results if row["level"]], "f1", ("kind", "level")),
        table(wrong, "f1", ("set",)),
    ]
    tables += [
        table(wrong, "f1", ("set", "level")),
        table([row for row in results if not row["level"]], "flagged", ("set",)),
    ]
    tables += [table(usual, "accuracy", ("level",)), table(usual, "accuracy", ("set", "level"))]
    for lines in tables:
        click.echo("\n".join(lines) + "\n")


def loop_once(seed: int, mode: str, rounds: int, batch: int) -> list[dict[str, object]]:
    """One loop on digits: label and model accuracy after each round, by answers spent.

    Three annotators (3, 8 and 19 % wrong, 10 % on average) share the rows; new rows are drawn at
    random. mode: `no gate`, `gate` (doubted labels are held back, none is asked again), `gate +
    relabelling` (a fifth of a batch).
    """
    matrix, geometry, truth = load("digits")
    params = project(10, "digits")
    draw = np.random.default_rng(seed)
    pool = 1300
    lines = range(len(truth))
    names = [f"r{line:04d}" for line in lines]
    index = Index(names, [str(line) for line in lines], ["pool"] * len(truth), list(lines))
    features = Features(index, matrix, geometry)
    fresh = sorted(index.ids[:pool], key=lambda item: order_key(seed, item))
    rates = {"ann": 0.03, "bob": 0.08, "cleo": 0.19}
    ledger = Ledger([], [], [], [], [], [])
    rows = []
    outcome = decide(ledger, features, params)
    for number in range(1, rounds + 1):
        again = (
            [row["id"] for row in outcome.review][: batch // 5]
            if mode == "gate + relabelling"
            else []
        )
        asked = again + [fresh.pop(0) for _ in range(batch - len(again))]
        ledger.verdicts.extend({**row, "round": number} for row in outcome.review)
        for rank, item in enumerate(asked):
            who = str(draw.choice(sorted(rates)))
            right = truth[index.row_of[item]]
            answered = right if draw.random() > rates[who] else (right + draw.integers(1, 10)) % 10
            arms = ["review"] if item in again else ["active"]
            ledger.asked.append({"round": number, "rank": rank, "id": item, "arms": arms})
            ledger.events.append(
                {
                    "round": number,
                    "id": item,
                    "annotator": who,
                    "kind": "label",
                    "label": str(answered),
                }
            )
        ledger.rounds.append(
            {"round": number, "asked": batch, "answered": batch, "state": "accepted"}
        )
        outcome = decide(ledger, features, params)
        final = outcome.final
        if mode == "no gate":
            final = {row["id"]: row["label"] for row in ledger.events}
        places = index.locate(sorted(final), "-")
        accepted_classes = np.array([int(final[item]) for item in sorted(final)], dtype=np.intp)
        model = fit(params.learner, matrix[places], accepted_classes, 10, 0)
        accuracy = float((model.scores(matrix[pool:]).argmax(axis=1) == truth[pool:]).mean())
        rows.append({"method": mode, "seed": seed, "answers": number * batch, "labels": len(final),
                     "correct": float((accepted_classes == truth[places]).mean()),
                     "accuracy": accuracy,
                     "doubted": len(outcome.review)})  # fmt: skip
    return rows


@main.command()
@click.option("--seeds", default=5)
@click.option("--rounds", default=12)
@click.option("--batch", default=100)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def loop(seeds: int, rounds: int, batch: int, out: Path) -> None:
    """A whole loop with three annotators of different care: what a spent answer buys."""
    results = []
    for seed in range(seeds):
        for mode in ("no gate", "gate", "gate + relabelling"):
            results += loop_once(seed, mode, rounds, batch)
        write_json(out, results)
    shown = [row for row in results if row["answers"] in {batch * n for n in (2, 4, 8, rounds)}]
    for value in ("correct", "accuracy", "labels", "doubted"):
        click.echo("\n".join(table(shown, value, ("answers",))) + "\n")


def confused(
    seed: int, clear: float, heat: float, shared: float, eyes: float, leaning: float
) -> tuple[Ints, Ints, Floats]:
    """True classes, labels with 9 % mistakes, and a model's probabilities of 20,000 examples of ten
    classes.

    Every example has a view of its own on the classes, more confusing for hard ones. To the model
    the true class stands out by `clear`, and it is `heat` times too sure; people see `shared` of
    the view through `eyes` of noise, and are mistaken where it is closest; the model learned from
    them: it is drawn to the given label by up to `leaning`.
    """
    draw, n, k = np.random.default_rng(seed), 20_000, 10
    truth, at = draw.integers(0, k, n), np.arange(n)
    alike = draw.normal(size=(k, k)) * 0.8
    view = (draw.normal(size=(n, k)) + ((alike + alike.T) / 2)[truth]) * np.sqrt(
        draw.gamma(2.0, 0.5, n)
    )[:, None]
    view[at, truth] = 0
    seen = shared * view + eyes * draw.normal(size=(n, k))
    seen[at, truth] = -np.inf
    mistaken = np.argsort(clear * shared - seen.max(axis=1) + 0.5 * draw.gumbel(size=n))[
        : int(0.09 * n)
    ]
    labels = truth.copy()
    labels[mistaken] = seen[mistaken].argmax(axis=1)
    scores = 1.2 * view
    scores[at, truth] += clear
    scores[at, labels] += leaning * draw.random(n)
    return truth, labels, softmax(heat * scores)


@main.command()
@click.option("--seeds", default=3)
def people(seeds: int) -> None:
    """Mistakes like people's, on probabilities alone: simulations near the published figures of
    CIFAR-10N-aggregate.

    Those are, for a ResNet-18: cleanlab's default precision .88, recall .55, F1 .67;
    predicted_neq_given F1 .75; area of the self-confidence ranking .875.
    """
    from cleanlab.filter import find_label_issues
    from sklearn.metrics import average_precision_score

    results: list[dict[str, object]] = []
    for number, setting in enumerate(PEOPLE):
        for seed in range(seeds):
            truth, labels, chances = confused(seed, *setting)
            bad, own = labels != truth, chances[np.arange(len(truth)), labels]
            scores = np.log(chances + 1e-12)
            flagged = {
                name: find_label_issues(labels, chances, filter_by=name, n_jobs=1)
                for name in FILTERS
            }
            error = estimate_errors(pooled([scores], labels), labels, 5).probability
            flagged["ours"] = error >= 0.4
            for method, flag in flagged.items():
                hit = float((flag & bad).sum())
                row: dict[str, object] = {
                    "method": method,
                    "setting": number,
                    "f1": 2 * hit / (flag.sum() + bad.sum()),
                }
                results.append(
                    row
                    | {
                        "precision": hit / max(flag.sum(), 1),
                        "recall": hit / bad.sum(),
                        "all": "mean",
                    }
                )
            for method, score in (("ours", error), ("self-confidence", 1 - own)):
                area = float(average_precision_score(bad, score))
                results.append({"method": method, "setting": number, "auprc": area, "all": "mean"})
    for value, by in (
        ("f1", "setting"),
        ("f1", "all"),
        ("precision", "all"),
        ("recall", "all"),
        ("auprc", "all"),
    ):
        click.echo("\n".join(table(results, value, (by,))) + "\n")


@main.command()
def real() -> None:
    """Real and sparse mistakes of CIFAR-10 on probabilities alone; two crowds without features."""
    from cleanlab.filter import find_label_issues
    from sklearn.metrics import average_precision_score

    for name in ("cifar10n_worst_resnet18", "cifar10s_resnet18"):
        arrays = np.load(DATA / name / "arrays.npz")
        labels = arrays["noisy_labels"].astype(np.intp)
        chances = arrays["pred_probs"].astype(np.float64)
        chances /= chances.sum(axis=1, keepdims=True)
        bad = labels != arrays["true_labels"]
        logits = pooled([np.log(np.maximum(chances, 1e-12))], labels)
        errors = estimate_errors(logits, labels, 5)
        flagged = {
            kind: find_label_issues(labels, chances, filter_by=kind, n_jobs=1) for kind in FILTERS
        }
        flagged["ours"] = errors.probability >= project(2, "made").gate.threshold
        for method, mask in flagged.items():
            f1 = 2 * (mask & bad).sum() / (mask.sum() + bad.sum())
            click.echo(f"{name} {method}: F1 {f1:.3f}, flagged {mask.mean():.3f}")
        own = chances[np.arange(len(labels)), labels]
        areas = [average_precision_score(bad, score) for score in (errors.probability, 1 - own)]
        click.echo(f"{name} AP ours {areas[0]:.3f}, self-confidence {areas[1]:.3f}")
        click.echo(f"{name} wrong {bad.mean():.3f}, estimated {errors.share:.3f}")
    for name in ("cf_amt", "ms"):
        say_crowd(name)


def say_crowd(name: str) -> None:
    """Right labels of a crowd without features, by four methods, and by-worker quality.

    CROWDLAB needs a model's probabilities; here all classes are alike to it, and to ours.
    """
    from cleanlab.multiannotator import get_label_quality_multiannotator

    votes, truth = crowd_table(name)
    k = int(np.nanmax(votes)) + 1
    even = np.full((len(truth), k), 1 / k)
    counts = (votes[:, :, None] == np.arange(k)).sum(axis=1)
    ours, quality = true_classes(even, votes)
    # cleanlab draws ties of equal chances by a global generator: the first class is a hair likelier
    untied = even * (1 - 1e-6 * np.arange(k))
    untied /= untied.sum(axis=1, keepdims=True)
    with redirect_stdout(StringIO()):
        crowdlab = get_label_quality_multiannotator(votes, untied, verbose=False)
    labels = {
        "ours": ours.argmax(axis=1),
        "majority": counts.argmax(axis=1),
        "Dawid-Skene": dawid_skene(votes, k).argmax(axis=1),
        "CROWDLAB": crowdlab["label_quality"]["consensus_label"].to_numpy(),
    }
    right = ", ".join(f"{who} {(resolved == truth).mean():.3f}" for who, resolved in labels.items())
    cast = ~np.isnan(votes)
    share = ((votes == truth[:, None]) & cast).sum(axis=0) / cast.sum(axis=0)
    fits = np.corrcoef(quality, share)[0, 1]
    click.echo(f"{name} right labels: {right}; correlation of quality with truth {fits:.2f}")


def dawid_skene(votes: Floats, k: int) -> Floats:
    """Chances of the true classes, (n, k), by Dawid and Skene (1979): each worker by oneself.

    100 steps of EM from the shares of the votes; a hundredth of an answer is added to each count.
    """
    rows, people = np.nonzero(~np.isnan(votes))
    answers = votes[rows, people].astype(np.intp)
    chances = np.zeros((len(votes), k))
    np.add.at(chances, (rows, answers), 1.0)
    chances /= chances.sum(axis=1, keepdims=True)
    for _ in range(100):
        taken_for = np.full((votes.shape[1], k, k), 0.01)
        for answer in range(k):
            cells = answers == answer
            np.add.at(taken_for[:, :, answer], people[cells], chances[rows[cells]])
        taken_for /= taken_for.sum(axis=2, keepdims=True)
        weight = np.tile(np.log(chances.mean(axis=0) + 1e-12), (len(votes), 1))
        np.add.at(weight, rows, np.log(taken_for[people, :, answers]))
        chances = softmax(weight)
    return chances


def crowd_table(name: str) -> tuple[Floats, Ints]:
    """The votes of a crowd, (items, workers), NaN for none, and the true classes, (items,)."""
    with (DATA / "crowds" / name / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (DATA / "crowds" / name / "truth.csv").open(encoding="utf-8", newline="") as file:
        true = {row["item"]: int(row["label"]) for row in csv.DictReader(file)}
    votes: dict[str, dict[str, int]] = {item: {} for item in sorted(true)}
    for row in rows:
        votes[row["item"]][row["worker"]] = int(row["label"])
    return vote_table(list(votes.values()))[1], np.array([true[item] for item in votes])


def crowd_once(name: str, seed: int) -> list[dict[str, object]]:
    """Whom to believe of three annotators (novices, 5, 10 and 20 % wrong) who each skip three rows
    in ten.

    The labels are the votes' majority (ties to the first class); wrong ones are to be found. Every
    method reads the same out-of-fold probabilities; ours its neighbours and its forest as well.
    right: share of the right labels among those that a method would take.
    """
    from cleanlab.multiannotator import get_label_quality_multiannotator
    from sklearn.metrics import average_precision_score

    sampled, _ = sample(name, 2000, seed)
    truth, draw = sampled[2], np.random.default_rng(seed)
    n, k = len(truth), int(truth.max()) + 1
    votes = np.column_stack(
        [planted("novice", rate, sampled, None, draw) for rate in (0.05, 0.1, 0.2)]
    ).astype(float)
    votes[draw.random(votes.shape) < 0.3] = np.nan
    votes[np.isnan(votes).all(axis=1), 0] = truth[np.isnan(votes).all(axis=1)]
    labels = (votes[:, :, None] == np.arange(k)).sum(axis=1).argmax(axis=1)
    params, ids = project(k, name), [f"r{row}" for row in range(n)]
    votes_by_row = [
        {str(who): int(vote) for who, vote in enumerate(row) if not np.isnan(vote)} for row in votes
    ]
    judged = judge(LabelledRows(sampled[0], sampled[1], labels, ids, ids), params)
    heeded = with_annotators(judged, votes_by_row, labels)[0].errors
    chances = softmax(out_of_fold(params.learner, sampled[0], labels, ids, k, 5, 0))
    crowdlab = get_label_quality_multiannotator(votes, chances, verbose=False)["label_quality"]
    consensus, quality = (
        crowdlab[f"consensus_{name}"].to_numpy() for name in ("label", "quality_score")
    )
    bad = labels != truth
    crowded = np.where(consensus == labels, 1 - quality, quality)
    rows: list[dict[str, object]] = []
    for method, error, taken in (
        ("majority", np.zeros(n), labels),
        ("CROWDLAB", crowded, consensus),
        ("ours, votes not heeded", judged.errors.probability, None),
        ("ours", heeded.probability, np.where(heeded.probability > 0.5, heeded.suggested, labels)),
    ):
        flagged = error >= params.gate.threshold
        hit = float((flagged & bad).sum())
        row: dict[str, object] = {
            "method": method,
            "set": name,
            "seed": seed,
            "wrong": float(bad.mean()),
        }
        row |= {"f1": 2 * hit / max(flagged.sum() + bad.sum(), 1), "estimated": float(error.mean())}
        row |= {"auprc": float(average_precision_score(bad, error))}
        rows.append(row | ({"right": float((taken == truth).mean())} if taken is not None else {}))
    return rows


@main.command("seed")
@click.option("--sets", default=SEEDS)
@click.option("--seeds", default=4)
def seed_command(sets: str, seeds: int) -> None:
    """Seeds as projects start with them: what is doubted of 60, 150 and 500 labels, some of them
    wrong, and what for.

    Cost, per hundred labels: a review 1, a mistake left in 2.5 (gate.review_cost and
    gate.error_cost).
    """
    found: list[dict[str, object]] = []
    for name, size, level, seed in product(
        sets.split(","), (60, 150, 500), (0.0, 0.05, 0.125, 0.25), range(seeds)
    ):
        rows = np.random.default_rng(seed).permutation(len(load(name)[2]))[:size]
        sampled = matrix, geometry, truth = (
            load(name)[0][rows],
            load(name)[1][rows],
            load(name)[2][rows],
        )
        if len(truth) < size:
            continue
        params, ids = project(int(load(name)[2].max()) + 1, name), [f"r{row}" for row in rows]
        labels = planted("uniform", level, sampled, None, np.random.default_rng(seed))
        labelled = LabelledRows(matrix, geometry, labels, ids, ids)
        judgement = judge(labelled, params)
        flagged = choose_doubts(
            judgement,
            labelled,
            params,
            share=params.clean_seed.max_suspects,
            reviews=params.reviews_a_batch,
        )
        bad = labels != truth
        hits, cost = int((flagged & bad).sum()), flagged.sum() + 2.5 * (bad & ~flagged).sum()
        row: dict[str, object] = {
            "method": f"{size} labels",
            "level": level,
            "doubted": float(flagged.mean()),
        }
        row |= {"estimated": judgement.errors.share, "cost": 100 * float(cost) / size}
        row |= {"precision": hits / flagged.sum()} if flagged.any() else {}
        found.append(row | ({"recall": hits / bad.sum()} if bad.any() else {}))
    for value in ("doubted", "estimated", "precision", "recall", "cost"):
        click.echo("\n".join(table(found, value, ("level",))) + "\n")


@main.command()
@click.option("--seeds", default=40)
@click.option("--first", default=0, help="The first seed.")
def rare(seeds: int, first: int) -> None:
    """Right labels of what the other labels say nothing about, in pools of 20 to 100 labels.

    doubted: share of the pools in which any of them is doubted; found: share of the mistakes that
    are, planted among at least ten labels of their class and place.
    """
    found: list[dict[str, object]] = []
    for layout, kind, seed in product(LAYOUTS, ("text", "numeric"), range(first, first + seeds)):
        made = pool(seed, layout, kind)
        if made is None:
            continue
        errors = judge(made.rows, made.params).errors
        flagged = errors.judged & (errors.probability >= made.params.gate.threshold)
        bad = made.rows.labels != made.truth
        doubted = float((flagged & made.rare).any())
        for method in (layout, kind, "all"):
            row: dict[str, object] = {"method": method, "pools": "all", "doubted": doubted}
            others = ~bad & ~made.rare
            row["other right labels doubted"] = float(flagged[others].mean())
            if (bad & made.covered).any():
                row["found"] = float(flagged[bad & made.covered].mean())
            found.append(row)
    for value in ("doubted", "found", "other right labels doubted"):
        click.echo("\n".join(table(found, value, ("pools",))) + "\n")


@main.command()
@click.option("--sets", default="digits,spambase,sms_spam,langid,banking77")
@click.option("--seeds", default=5)
def crowd(sets: str, seeds: int) -> None:
    """Three annotators of different care on the same rows: the gate beside CROWDLAB and the
    majority.
    """
    found: list[dict[str, object]] = []
    for name, seed in product(sets.split(","), range(seeds)):
        found += crowd_once(name, seed)
        click.echo(f"{name}, seed {seed}", err=True)
    for value in ("f1", "auprc", "wrong", "estimated", "right"):
        click.echo("\n".join(table(found, value, ("set",))) + "\n")


@main.command()
@click.option("--rows", default=50_000)
@click.option("--what", type=click.Choice(["ours", "trained", "datalab"]), default="ours")
def cost(rows: int, what: str) -> None:
    """Time and memory of finding all issues of rows x 128 floats, ten classes, given the model's
    probabilities.

    `trained`: ours, which computes them as well: a cross-validated logistic regression and a
    forest.
    """
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 10, rows)
    centres = draw.normal(size=(10, 128)) * 0.15
    points = (centres[truth] + draw.normal(size=(rows, 128)) / np.sqrt(128)).astype(np.float32)
    labels = np.where(draw.random(rows) < 0.1, draw.integers(0, 10, rows), truth).astype(np.intp)
    scores = -((points @ centres.T) * -20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.process_time()
    if what != "datalab":
        ids = [f"r{row}" for row in range(rows)]
        rows_made = LabelledRows(points, points, labels, ids, ids)
        judged = judge(rows_made, project(10, "made"), scores if what == "ours" else None)
        issues = int((judged.errors.probability >= 0.4).sum())
        result = f"{issues} label issues, {int((judged.outlier > 3).sum())} outliers"
    else:
        from cleanlab import Datalab

        lab = Datalab({"label": labels}, label_name="label", verbosity=0)
        lab.find_issues(features=points, pred_probs=softmax(scores))
        result = str(lab.get_issue_summary()[["issue_type", "num_issues"]].to_dict("records"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.process_time() - started
    memory = f"peak {peak:.0f} MB ({before:.0f} before)"
    click.echo(f"{what}: {rows} rows: {seconds:.1f} s of processor, {memory}; {result}")


@dataclass(frozen=True)
class Timed:
    """What a program took, its start included: processor and wall-clock seconds, and its words."""

    processor: float
    wall: float
    said: str


def timed(words: list[str]) -> Timed:
    """Run a program to its end. Raises CalledProcessError where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    # idle threads of BLAS would count as work
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    said = subprocess.run(words, check=True, capture_output=True, text=True, env=alone).stdout
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Timed(processor, wall, said)


def timed_table(path: Path, rows: int, classes: int) -> Mask:
    """Writes texts with 10 % wrong labels, evenly; which rows these are, (n,).

    Four classes: intents in 17 languages, ten of the forty in alphabetical order a class. More:
    sentences in as many languages.
    """
    import pandas as pd

    draw = np.random.default_rng(0)
    if classes == len(INTENT_GROUPS):
        texts, intents = read_texts(DATA / "injongo_intent/train.csv")
        number = {intent: place for place, intent in enumerate(sorted(set(intents)))}
        group = [INTENT_GROUPS[number[intent] * classes // len(number)] for intent in intents]
    else:
        table = pd.read_parquet(DATA / "langid/pool_1m.parquet", columns=["text", "label"])
        texts = table["text"].tolist()
        group = table["label"].tolist()
    taken = draw.permutation(len(texts))[:rows]
    names = sorted({group[row] for row in taken})
    truth = np.array([names.index(group[row]) for row in taken])
    wrong = draw.random(rows) < 0.1
    labels = np.where(wrong, (truth + draw.integers(1, len(names), rows)) % len(names), truth)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row, label in zip(taken, labels, strict=True):
            writer.writerow([" ".join(texts[row].split()), names[label]])
    return wrong


@main.command()
@click.option("--sizes", default="3000x4,10000x4,30000x83", help="Rows x classes, with commas.")
@click.option("--peers-up-to", default=10_000, help="Rows up to which the peers take part.")
def seconds(sizes: str, peers_up_to: int) -> None:
    """Processor time of `rounds inspect` on texts beside five folds of scikit-learn and cleanlab.

    Each is a program of its own, its start included. `the same n-grams`: logistic regression on the
    features of a new project; `words`: on scikit-learn's default features.
    """
    for size in sizes.split(","):
        rows, classes = (int(part) for part in size.split("x"))
        with TemporaryDirectory() as folder:
            path = Path(folder) / "table.csv"
            wrong = timed_table(path, rows, classes)
            out = Path(folder) / "out.csv"
            words = [sys.executable, "-m", "rounds", "inspect", str(path), "--label", "label"]
            took = timed([*words, "--text", "text", "--out", str(out)])
            with out.open(encoding="utf-8", newline="") as file:
                flagged = [int(row["line"]) - 2 for row in csv.DictReader(file) if row["flagged"]]
            say_timed(size, "rounds inspect", took, flagged, wrong)
            if rows > peers_up_to:
                continue
            peer = [sys.executable, "-m", "benchmarks.gate_peer", str(path)]
            for name, options in (("the same n-grams", []), ("words", ["--words"])):
                took = timed([*peer, *options])
                say_timed(size, name, took, json.loads(took.said), wrong)


def say_timed(size: str, name: str, took: Timed, flagged: list[int], wrong: Mask) -> None:
    """One line about one program: its time and the F1 of what it flags."""
    hit = int(wrong[flagged].sum())
    f1 = 2 * hit / (len(flagged) + int(wrong.sum()))
    click.echo(
        f"{size} {name}: {took.processor:.1f} s of processor, {took.wall:.1f} s on the clock, "
        f"F1 {f1:.3f}"
    )


if __name__ == "__main__":
    main()
