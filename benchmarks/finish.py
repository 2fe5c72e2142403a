"""Finishing a pool: how much of the rest is labelled by the machine, and how often its bound is
broken.

    python -m benchmarks.finish --data DIR --projects 200
    python -m benchmarks.finish --data DIR --loops 100 --sets digits,spambase

The first line draws, for each set, many projects from cached scores: every row is scored by a model
that did not learn from it (five folds over the whole set), a random draw of 100, 200 or 400 rows is
the control arm, all other rows are the rest. For each order of the rows (`model`: the model's own
certainty, as `rounds finish` has it for n-grams; `both`: its and the forest's, as it has it for all
other features) and each way of choosing: the mean share of the rest that the machine labels (0
where nothing is certified), and the share of the projects where more than `error` of its labels are
wrong. `best` is what one could label knowing all answers.

    core      what `rounds finish` does: fixed sequence from about half of the pool
    strictest fixed sequence from the strictest level that no mistake would still prove
    bonferroni  every level at (1 - confidence) / levels
    betting   a wager on the running sum of mistakes, valid at all levels at once
    each      every level at 1 - confidence: no bound for the level that is chosen, but a limit
              to what any test of nested levels can reach
    of-rest   fixed sequence, but the error is counted as a share of the whole rest, as PAC labels
              do

The second line plays whole projects with the pipeline's own code, an active arm among it, and
judges what finishing.py makes of them by the true labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom
from threadpoolctl import threadpool_limits

from benchmarks.labels import Data, load
from benchmarks.stopping import params_of, simulate
from rounds.shipped import shipped_params
from stages.answers.gate_tables import GateTables
from stages.answers.ledger import Labels
from stages.contract.arrays import Matrix
from stages.contract.identity import stratified_folds
from stages.learning.classifier import fit
from stages.learning.maps import Temperature
from stages.learning.scoring import margin_of, softmax
from stages.proof.certificate import (
    LEVELS,
    ROUND,
    Claim,
    Judged,
    Tally,
    certify,
    most_wrong,
    p_values,
    reach_of,
    tally,
)
from stages.proof.finishable import WholePool
from stages.proof.finishing import Sources, finish
from stages.proof.opinions import FOREST, Judge, Shipped
from stages.store.index import Features

SETS = ("digits", "sms_spam+tfidf", "spambase", "banking77+tfidf")
CONTROL = (100, 200, 400)
WAGERS = (0.5, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class Scored:
    """Rows scored by models that did not learn from them, and whether the class is right.

    model, both: certainty by the model alone, and by model and forest.
    """

    model: NDArray[np.float64]
    both: NDArray[np.float64]
    right: NDArray[np.bool_]


def scored(data: Data) -> Scored:
    """Every row of pool and test, out of five folds."""
    sparse = hasattr(data.pool, "tocsr")
    if sparse:
        from scipy.sparse import vstack

        rows = vstack([data.pool, data.test]).tocsr()
    else:
        rows = np.concatenate([data.pool, data.test]).astype(np.float64)
    labels = np.concatenate([data.labels, data.test_labels]).astype(np.intp)
    geometry = projected(rows) if sparse else rows.astype(np.float32)
    options = {"C": 10.0, "max_iter": 1000, "tol": 1e-3}
    path = "sklearn.linear_model.LogisticRegression"
    spec = shipped_params({"model": {"path": path, "params": options}}).learner
    fold = stratified_folds(labels, [str(row) for row in range(len(labels))], 5, 0)
    model, both = np.zeros((2, len(labels)))
    right = np.zeros(len(labels), dtype=np.bool_)
    for part in range(5):
        held = fold == part
        judge = Judge(
            fit(spec, rows[~held], labels[~held], data.classes, 0),
            fit(FOREST, geometry[~held], labels[~held], data.classes, 0),
        )
        model[held] = 1 - margin_of(softmax(judge.classifier.scores(rows[held])))
        both[held] = judge.certainty(rows[held], geometry[held])
        right[held] = judge.classes(rows[held]) == labels[held]
    return Scored(model, both, right)


def projected(rows: Matrix) -> NDArray[np.float32]:
    """A dense space of 128 dimensions, rows of length 1."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    space = make_pipeline(TruncatedSVD(128, random_state=0), Normalizer())
    return np.asarray(space.fit_transform(rows), np.float32)


def in_sequence(proven: NDArray[np.bool_], possible: NDArray[np.intp]) -> float:
    """The share of the last round level that is proven, from the first possible one on."""
    share = 0.0
    for level in possible[ROUND[possible]].tolist():
        if not proven[level]:
            break
        share = float(LEVELS[level])
    return share


def strictest(counts: Tally, claim: Claim) -> float:
    """Fixed sequence, begun at the strictest level that could be proven."""
    possible = np.flatnonzero(most_wrong(counts, claim) >= 0)
    chances = p_values(counts, counts.wrong, claim.error)
    return in_sequence(chances <= 1 - claim.confidence, possible)


def each(counts: Tally, claim: Claim, share: float = 1.0) -> float:
    """The largest level that is proven by itself, at `share` of the risk."""
    chances = p_values(counts, counts.wrong, claim.error)
    return float(LEVELS[ROUND & (chances <= (1 - claim.confidence) * share)].max(initial=0.0))


def betting(counts: Tally, claim: Claim) -> float:
    """The largest level at which a mixture of wagers has won 1 / (1 - confidence).

    exp(-w S + (1 - e^-w) M) is a supermartingale in the rows, most certain first, for S mistakes
    and M expected ones. Source: Howard, Ramdas, McAuliffe, Sekhon (2021).
    """
    expected = counts.judges * claim.error
    won = [np.exp(-w * counts.wrong + (1 - np.exp(-w)) * expected) for w in WAGERS]
    return float(LEVELS[np.mean(won, axis=0) >= 1 / (1 - claim.confidence)].max(initial=0.0))


def of_rest(counts: Tally, claim: Claim) -> float:
    """Fixed sequence for the wrong labels as a share of the whole rest."""
    total = counts.judges + counts.rest
    too_many = int(claim.error * counts.rest[-1] + 1e-9) + 1
    wrong = np.minimum(too_many + counts.wrong, total)
    chances = hypergeom.cdf(counts.wrong, total, wrong, counts.judges)
    few = counts.rest < too_many  # more labels cannot be wrong than are given
    return in_sequence(few | (chances <= 1 - claim.confidence), np.arange(len(LEVELS)))


WAYS: dict[str, Callable[[Tally, Claim], float]] = {
    "core": lambda counts, claim: certify(counts, claim).share,
    "strictest": strictest,
    "bonferroni": lambda counts, claim: each(counts, claim, 1 / ROUND.sum()),
    "betting": betting,
    "each": each,
    "of-rest": of_rest,
}


def drawn(
    certainty: NDArray[np.float64],
    right: NDArray[np.bool_],
    control: int,
    claim: Claim,
    projects: int,
) -> dict[str, tuple[float, float]]:
    """Per way the mean share that the machine labels, and how often the bound is broken."""
    results: dict[str, list[tuple[float, bool]]] = {name: [] for name in (*WAYS, "best")}
    everywhere = reach_of(certainty, certainty)
    none = np.empty(0)
    nobody = Judged(none, none.astype(np.bool_))
    for project in range(projects):
        order = np.random.default_rng([control, project]).permutation(len(right))
        judges, rest = order[:control], order[control:]
        own = everywhere[rest]
        counts = tally(Judged(everywhere[judges], ~right[judges]), nobody, own, none)
        mistakes = tally(Judged(own, ~right[rest]), nobody, own, none).wrong
        fine = mistakes <= np.floor(claim.error * counts.rest + 1e-9)
        results["best"].append((float(counts.rest[fine].max(initial=0) / len(rest)), False))
        for name, way in WAYS.items():
            share = way(counts, claim)
            level = int(np.searchsorted(LEVELS, share - 1e-9))
            of = counts.rest[-1] if name == "of-rest" else counts.rest[level]
            broken = share > 0 and mistakes[level] > np.floor(claim.error * of + 1e-9)
            labelled = float(counts.rest[level] / len(rest)) if share else 0.0
            results[name].append((labelled, bool(broken)))
    return {
        name: (float(np.mean([s for s, _ in rows])), float(np.mean([b for _, b in rows])))
        for name, rows in results.items()
    }


def played(data: Data, seed: int, rounds: int, claim: Claim) -> tuple[int, float, bool, float]:
    """A whole project with an active arm: control labels, share, whether it broke, best share."""
    params = params_of(data, "auto", seed, data.batch, 0.2)
    done = simulate(data, params, rounds, 4000)
    index, labels = done.index, done.history.arm("all", rounds, params.labels, seed)
    ids = sorted(labels)
    gate = GateTables(
        Labels(ids, np.array([labels[item] for item in ids], dtype=np.intp), []), [], [],
        {"rounds": rounds, "answers": len(ids), "review_found": 0},
    )  # fmt: skip
    model = fit(
        params.learner,
        done.refits.matrix[index.locate(ids, "played")],
        gate.accepted.classes,
        data.classes,
        seed,
    )
    taught = Features(index, done.refits.matrix, done.geometry)
    pool = WholePool(taught, params.seed)
    shipped = Shipped(model, Temperature(1.0))
    sources = Sources(gate, done.history.asked, [], pool, taught, shipped)
    outcome = finish(sources, claim, params)
    scores = model.scores(done.refits.matrix[index.rows("pool")])
    right = scores.argmax(axis=1) == done.truth[index.rows("pool")]
    rest = outcome.population.rest
    order = rest[np.argsort(-(1 - margin_of(softmax(scores[rest]))), kind="stable")]
    mistakes = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    best = np.flatnonzero(mistakes <= claim.error).max(initial=-1) + 1
    broken = (~right[outcome.machine]).sum() > claim.error * len(outcome.machine) + 1e-9
    share = len(outcome.machine) / max(len(rest), 1)
    return len(outcome.population.control), share, bool(broken), best / max(len(rest), 1)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--error", type=float, default=0.05)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--projects", type=int, default=200)
    parser.add_argument("--loops", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=25)
    words = parser.parse_args()
    claim = Claim(words.error, words.confidence)
    for name in words.sets.split(","):
        data = load(name, words.data)
        with threadpool_limits(1):
            if words.loops:
                runs = [played(data, seed, words.rounds, claim) for seed in range(words.loops)]
                control, share, broken, best = np.array(runs, dtype=np.float64).mean(axis=0)
                print(
                    f"{name:<16} {control:>5.0f}  {share:.2f} / {broken:.3f}  best {best:.2f}",
                    flush=True,
                )
                continue
            rows = scored(data)
            print(f"{name}: {len(rows.right)} rows, accuracy {rows.right.mean():.3f}")
            for order, certainty in (("model", rows.model), ("both", rows.both)):
                for control in CONTROL:
                    shares = drawn(certainty, rows.right, control, claim, words.projects)
                    cells = "  ".join(f"{way} {s:.2f} / {b:.3f}" for way, (s, b) in shares.items())
                    print(f"  {order:<6}{control:>4}  {cells}", flush=True)


if __name__ == "__main__":
    main()
