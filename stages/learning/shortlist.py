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
    """One part to be scanned: small values and paths, so that a worker reads the rest itself.

    model: the fitted one, empty for none; stamp: a hash of model and fitted, so that a worker that
    outlives a round takes the new ones; excluded: ascending numbers of the part's rows that may not
    be asked; drawn: which share of the others is scored, and the round that draws them; weights:
    (k,) how much each class matters.
    """

    part: Part
    model: str
    fitted: str
    stamp: str
    excluded: Rows
    drawn: float
    round: int
    weights: Floats


@dataclass(frozen=True)
class Ranked:
    """Some rows of the pool in an order, with their order keys and doubts, (n,) each."""

    rows: Rows
    keys: Keys
    doubts: Floats

    def at(self, positions: Rows) -> Ranked:
        """Those at some positions, in that order."""
        return Ranked(self.rows[positions], self.keys[positions], self.doubts[positions])


@dataclass(frozen=True)
class PartShortlist:
    """What a part has for a batch.

    doubtful: the most doubtful of the rows that were scored, best first; first: rows in the order
    of the permutation; histogram: (BINS,) of the doubts of all rows that were scored.
    """

    doubtful: Ranked
    first: Ranked
    scored: int
    histogram: NDArray[np.intp]


@dataclass(frozen=True)
class Shortlist:
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


def scan(pool: Pool, model: Path | None, gate: GateTables, params: Params) -> Shortlist:
    """The rows of the pool that a batch may come from; see the module's text.

    model: the fitted one, None for none.
    """
    answered = pool.with_copies(pool.locate(settled(gate, params.query.skip_cooldown)))
    excluded = np.union1d(pool.blocked, answered).astype(np.intp)
    unasked = pool.rows - len(excluded)
    wanted = params.query.candidates or unasked
    fitted = pool.folder / "fitted.npz"
    files = [model, fitted] if model else [fitted]
    stamp = "".join(sha256(path.read_bytes()) for path in files)
    tasks = [
        Task(
            part=part.with_full_path(),
            model=shared(model, pool.store) if model else "",
            fitted=shared(fitted, pool.store),
            stamp=stamp,
            excluded=part.within(excluded),
            drawn=min(1.0, wanted / max(unasked, 1)),
            round=gate.state["rounds"] + 1,
            weights=np.array(params.class_weights) / np.mean(params.class_weights),
        )
        for part in pool.parts
    ]
    parts = mapped(scan_part, tasks, params.compute, "score", little=pool.rows < LITTLE)
    return merged(list(parts), unasked)


def scan_part(task: Task) -> PartShortlist:
    """Score the rows of a part that may be asked, block by block, and keep the few that matter."""
    part = task.part
    free = np.ones(part.rows, np.bool_)
    free[task.excluded] = False
    order = np.asarray(part.order, dtype=np.intp)
    keys = np.empty(part.rows, np.uint64)
    keys[order] = part.keys
    first = order[free[order]][:KEPT]
    doubts = np.zeros(part.rows)
    scored = np.empty(0, np.intp)
    if task.model:
        chosen = free if task.drawn >= 1 else free & (round_share(keys, task.round) < task.drawn)
        scored = np.flatnonzero(chosen)
        classifier, features = _loaded(task.model, task.fitted, task.stamp, len(task.weights))
        # the first of the permutation need a doubt too, whether drawn or not
        rows = np.union1d(scored, first)
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            doubts[block] = doubts_of(classifier, features(part.raw[_run(block)]), task.weights)
    best = scored[best_first(doubts[scored], keys[scored], KEPT)]
    return PartShortlist(
        doubtful=Ranked(part.start + best, keys[best], doubts[best]),
        first=Ranked(part.start + first, keys[first], doubts[first]),
        scored=len(scored),
        histogram=histogram_of(doubts[scored]),
    )


def doubts_of(classifier: Classifier, rows: Matrix, weights: Floats) -> Floats:
    """1 - margin of rows before calibration, times the weight of their class, to nine digits."""
    probabilities = softmax(classifier.scores(rows))
    doubts = margin_of(probabilities)
    if np.ptp(weights) > 0:
        doubts = doubts * (probabilities @ weights)
    return np.asarray(np.round(doubts, TIE_DIGITS))


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


def merged(parts: list[PartShortlist], unasked: int) -> Shortlist:
    """The kept rows of all parts; see the module's text for what each stands for."""
    doubtful = _joined([part.doubtful for part in parts])
    doubtful = doubtful.at(best_first(doubtful.doubts, doubtful.keys, KEPT))
    first = _joined([part.first for part in parts])
    first = first.at(np.argsort(first.keys, kind="stable")[:KEPT])
    scored = sum(part.scored for part in parts)
    rows = np.union1d(doubtful.rows, first.rows).astype(np.intp)
    stands_for = np.full(len(rows), unasked / max(len(rows), 1))
    if len(doubtful.rows) < scored:
        least = doubtful.doubts[-1]
        doubtful_first = first.rows[first.doubts > least]
        is_doubtful = np.isin(rows, doubtful.rows) | np.isin(rows, doubtful_first)
        # as many of the unasked rows are doubtful, in proportion, as of the scored ones
        upper = unasked * len(doubtful.rows) / scored
        n_upper = int(is_doubtful.sum())
        n_lower = len(rows) - n_upper
        of_upper = upper / n_upper
        of_lower = (unasked - upper) / max(1, n_lower)
        stands_for = np.where(is_doubtful, of_upper, of_lower)
    histogram = np.sum([part.histogram for part in parts], axis=0)
    return Shortlist(rows, stands_for, unasked, scored, histogram.tolist())


def _joined(lists: list[Ranked]) -> Ranked:
    """Several lists one after the other."""
    return Ranked(
        rows=np.concatenate([ranked.rows for ranked in lists]).astype(np.intp),
        keys=np.concatenate([ranked.keys for ranked in lists]).astype(np.uint64),
        doubts=np.concatenate([ranked.doubts for ranked in lists]).astype(np.float64),
    )


def _run(rows: Rows) -> Rows | slice:
    """Rows that follow each other as a slice: read without a copy of what is between."""
    follow = rows[-1] - rows[0] == len(rows) - 1
    return slice(int(rows[0]), int(rows[-1]) + 1) if follow else rows


@lru_cache(maxsize=1)
def _loaded(
    model: str, fitted_path: str, _stamp: str, n_classes: int
) -> tuple[Classifier, Callable[[Matrix], Matrix]]:
    """The classifier, and what makes its features of raw ones.

    Logistic regression takes over what the directions of the geometry add, so that no row has to be
    projected. Its weights are in single precision for text, as the features are, and so laid out
    that a product needs no copy: sparse rows are multiplied one by one. Dense ones are not, and
    what is beside a row changes its last digits: double precision, so that rounding takes them away
    and any split into parts gives the same doubts.
    """
    estimator = read_own_model(on_this_machine(model))
    fitted = read_fitted(on_this_machine(fitted_path))
    linear = type(estimator).__name__ == "LogisticRegression"
    folds = fitted.space.beside and linear
    if folds:
        estimator.coef_ = fitted.space.folded(estimator.coef_)
        estimator.n_features_in_ = estimator.coef_.shape[1]
    if linear:
        precision = np.float32 if fitted.rarity.size else np.float64
        estimator.coef_ = np.asfortranarray(estimator.coef_, dtype=precision)
        estimator.intercept_ = estimator.intercept_.astype(precision)
    classifier = Classifier(estimator, np.asarray(estimator.classes_, dtype=np.intp), n_classes)
    return classifier, fitted.features if folds else fitted.widened
