"""The shortlist of a pool in parts: of each part, scored alone, the rows a batch may come from.

Kept are the most doubtful rows and the first of the random permutation, KEPT of each. Together they
stand for the whole pool: the pool is two strata, rows at least as doubtful as the last of the most
doubtful ones and the rest (one where all that were scored are kept), and every kept row stands for
its share of its stratum. Both lists merge, so any split into parts keeps the same rows. With
`query.candidates` only that many rows, drawn anew each round, are scored at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.answers.gate_tables import GateTables, settled
from stages.contract.arrays import Floats, Keys, Matrix, Rows
from stages.contract.canonical import sha256
from stages.contract.identity import TIE_DIGITS, best_first
from stages.contract.params import Params
from stages.examples.places import on_this_machine, shared
from stages.learning.classifier import Classifier
from stages.learning.predictions import ScanFacts
from stages.learning.scoring import margin_of, softmax
from stages.store.fitted import read_fitted
from stages.store.model_file import read_own_model
from stages.store.parts import Part, Pool
from stages.store.workers import mapped

KEPT = 20_000  # rows of each list
BLOCK = 16_384  # rows scored at a time
LITTLE = 50_000  # rows that are scored sooner than workers start
BINS = 20  # of the histogram of doubt


@dataclass(frozen=True)
class Task:
    """One part to be scanned: small values and places, so that a worker reads the rest itself.

    model: the fitted one, empty for none; stamp: a hash of model and fitted, so that a worker that
    outlives a round takes the new ones; out: ascending numbers of the part's rows that may not be
    asked; drawn: which share of the others is scored, and the round that draws them; weights: (k,)
    how much each class matters.
    """

    part: Part
    model: str
    fitted: str
    stamp: str
    out: Rows
    drawn: float
    round: int
    weights: Floats


@dataclass(frozen=True)
class Found:
    """What a part has for a batch: row numbers in the pool with keys and doubts, and counts.

    top: the most doubtful of the rows that were scored, best first; first: rows in the order of the
    permutation.
    """

    top: Rows
    top_keys: Keys
    top_doubt: Floats
    first: Rows
    first_keys: Keys
    first_doubt: Floats
    scored: int
    histogram: NDArray[np.intp]


@dataclass(frozen=True)
class Kept:
    """The rows that stand for the pool, ascending, how many each stands for, the scan's facts."""

    rows: Rows
    stands_for: Floats
    unasked: int
    scored: int
    histogram: list[int]

    def facts(self) -> ScanFacts:
        """The counts, for metrics; `doubt` counts the scored rows by their doubt, in BINS bins.

        Doubt that class weights raise above 1 is in the last bin, so that the bins add up to
        `scored`.
        """
        return {
            "unasked": self.unasked,
            "scored": self.scored,
            "kept": len(self.rows),
            "doubt": self.histogram,
        }


def scan(pool: Pool, model: Path | None, gate: GateTables, params: Params) -> Kept:
    """The rows of the pool that a batch may come from; see the module's text.

    model: the fitted one, None for none.
    """
    said = pool.with_copies(pool.locate(settled(gate, params.query.skip_cooldown)))
    out = np.union1d(pool.blocked, said).astype(np.intp)
    unasked = pool.rows - len(out)
    wanted = params.query.candidates or unasked
    drawn = min(1.0, wanted / max(unasked, 1))
    weights = np.array(params.class_weights) / np.mean(params.class_weights)
    number, fitted = gate.state["rounds"] + 1, pool.folder / "fitted.npz"
    stamp = "".join(sha256(path.read_bytes()) for path in (model, fitted) if path)
    learnt = shared(model, pool.store) if model else "", shared(fitted, pool.store)
    tasks = [
        Task(part.with_full_path(), *learnt, stamp, part.within(out), drawn, number, weights)
        for part in pool.parts
    ]
    return merged(
        list(mapped(scan_part, tasks, params.compute, "score", little=pool.rows < LITTLE)), unasked
    )


def scan_part(task: Task) -> Found:
    """Score the rows of a part that may be asked, block by block, and keep the few that matter."""
    part = task.part
    free = np.ones(part.rows, np.bool_)
    free[task.out] = False
    order = np.asarray(part.order, dtype=np.intp)
    keys = np.empty(part.rows, np.uint64)
    keys[order] = part.keys
    first = order[free[order]][:KEPT]
    doubts = np.zeros(part.rows)
    drawn = np.flatnonzero(
        free if task.drawn >= 1 else free & (round_share(keys, task.round) < task.drawn)
    )
    if not task.model:
        drawn = drawn[:0]
    else:
        classifier, features = _loaded(task.model, task.fitted, task.stamp, len(task.weights))
        rows = np.union1d(drawn, first) if task.drawn < 1 else drawn
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            doubts[block] = doubts_of(classifier, features(part.raw[_run(block)]), task.weights)
    best = drawn[best_first(doubts[drawn], keys[drawn], KEPT)]
    histogram = histogram_of(doubts[drawn])
    top = part.start + best, keys[best], doubts[best]
    return Found(*top, part.start + first, keys[first], doubts[first], len(drawn), histogram)


def doubts_of(classifier: Classifier, rows: Matrix, weights: Floats) -> Floats:
    """1 - margin of rows before calibration, times the weight of their class, to nine digits."""
    probabilities = softmax(classifier.scores(rows))
    doubt = margin_of(probabilities)
    return np.asarray(
        np.round(doubt if np.ptp(weights) == 0 else doubt * (probabilities @ weights), TIE_DIGITS)
    )


def histogram_of(doubts: Floats) -> NDArray[np.intp]:
    """(BINS,) counts of doubts in equal bins over [0, 1].

    What class weights raise above 1 is in the last.
    """
    return np.histogram(np.minimum(doubts, 1.0), BINS, (0, 1))[0].astype(np.intp)


def round_share(keys: Keys, number: int) -> Floats:
    """A number in [0, 1) per order key, uniform, and unlike that of any other round.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014): the
    finalizer of SplitMix64.
    """
    mixed = keys + np.uint64(number * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed ^ (mixed >> np.uint64(31))) / 2**64)


def merged(found: list[Found], unasked: int) -> Kept:
    """The kept rows of all parts; see the module's text for what each stands for."""

    def joined(name: str) -> NDArray[np.generic]:
        return np.concatenate([getattr(part, name) for part in found])

    doubt, keys = joined("top_doubt").astype(np.float64), joined("top_keys").astype(np.uint64)
    best = best_first(doubt, keys, KEPT)
    top = joined("top").astype(np.intp)[best]
    front = np.argsort(joined("first_keys"), kind="stable")[:KEPT]
    first, first_doubt = (
        joined("first").astype(np.intp)[front],
        joined("first_doubt").astype(np.float64)[front],
    )
    scored = sum(part.scored for part in found)
    rows = np.union1d(top, first).astype(np.intp)
    stands_for = np.full(len(rows), unasked / max(len(rows), 1))
    if len(top) < scored:
        least = doubt[best][-1]
        doubtful = np.isin(rows, top) | np.isin(rows, first[first_doubt > least])
        upper = unasked * len(top) / scored
        stands_for = np.where(
            doubtful, upper / doubtful.sum(), (unasked - upper) / max(1, int((~doubtful).sum()))
        )
    histogram = np.sum([part.histogram for part in found], axis=0)
    return Kept(rows, stands_for, unasked, scored, histogram.tolist())


def _run(rows: Rows) -> Rows | slice:
    """Rows that follow each other as a slice: read without a copy of what is between."""
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows[-1] - rows[0] == len(rows) - 1 else rows


@lru_cache(maxsize=1)
def _loaded(
    model: str, fitted: str, _stamp: str, n_classes: int
) -> tuple[Classifier, Callable[[Matrix], Matrix]]:
    """The classifier, and what makes its features of raw ones.

    Logistic regression takes over what the directions of the geometry add, so that no row has to be
    projected. Its weights are in single precision for text, as the features are, and so laid out
    that a product needs no copy: sparse rows are multiplied one by one. Dense ones are not, and
    what is beside a row changes its last digits: double precision, so that rounding takes them away
    and any split into parts gives the same doubts.
    """
    estimator, taught = read_own_model(on_this_machine(model)), read_fitted(on_this_machine(fitted))
    linear = type(estimator).__name__ == "LogisticRegression"
    folds = taught.space.beside and linear
    if folds:
        estimator.coef_ = taught.space.folded(estimator.coef_)
        estimator.n_features_in_ = estimator.coef_.shape[1]
    if linear:
        precision = np.float32 if taught.rarity.size else np.float64
        estimator.coef_ = np.asfortranarray(estimator.coef_, dtype=precision)
        estimator.intercept_ = estimator.intercept_.astype(precision)
    classifier = Classifier(estimator, np.asarray(estimator.classes_, dtype=np.intp), n_classes)
    return classifier, taught.features if folds else taught.widened
