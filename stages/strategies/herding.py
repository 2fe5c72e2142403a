"""Herding: the rows whose labels would cover most of the uncertainty that no label covers yet.

Every row i has an uncertainty u_i and a radius r_i, the distance to its v-th nearest row, v = (n +
m) / (m + b): how many rows one label has to stand for when m + b labels share n + m rows. A row j
covers i by exp(-d_ij^2 / r_i^2). The next pick is the row that raises sum_i u_i max_j covered_ij
most. With few labels the balls are wide and the picks typical of whole regions; with many they
shrink to single rows and the picks are the most uncertain: one formula from the first label to the
last. With u = 1 it is plain coverage, which needs no model.
"""

from __future__ import annotations

import numpy as np

from stages.contract.arrays import Floats, Ints, Mask
from stages.contract.distances import squared_distances
from stages.contract.identity import TIE_DIGITS
from stages.contract.progress import watched
from stages.learning.scoring import margin_of
from stages.strategies import Candidates, Ranking
from stages.strategies._geometry import Points, blocks, nearest

SAMPLE = 4_096  # rows looked at: their distances to each other take 4 x SAMPLE^2 bytes
ROWS_AT_A_TIME = 512
NEGLIGIBLE = 1e-4  # coverage that is not worth a sum
TINY = 1e-6  # the squared radius of a row among its duplicates


def max_herding(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The rows that cover most of what no label covers; needs no model.

    Score = share of the pool newly covered.
    Source: Bae, Noh, Sutherland, "Generalized coverage for more robust low-budget active learning"
    (2024).
    """
    positions, scores = cover(candidates, candidates.mass(), count, sample)
    reasons = [
        f"typical, stands for {score:.2%} of the pool, which no label covers yet"
        for score in scores
    ]
    return Ranking(positions, scores, reasons, "typical")


def uncertainty_herding(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The rows that cover most of the uncovered uncertainty, (1 - margin) x class importance.

    Score = share of the pool's uncertainty newly covered.
    Source: Bae, Oliveira, Sutherland, "Uncertainty herding: one active learning method for all
    label budgets" (2025); the radius here is that of each row's own neighbourhood, there one for
    all, from the labelled rows.
    """
    margin = margin_of(candidates.require_probabilities("uncertainty_herding"))
    uncertainty = margin * candidates.importance() * candidates.mass()
    positions, scores = cover(candidates, uncertainty, count, sample)
    reasons = [
        f"1 - margin {margin[row]:.3f}{candidates.weight_note(row)}, "
        f"stands for {score:.2%} of the pool's doubt, which no label covers yet"
        for row, score in zip(positions, scores, strict=True)
    ]
    return Ranking(positions, scores, reasons, "doubt")


def cover(
    candidates: Candidates, uncertainty: Floats, count: int, sample: int
) -> tuple[Ints, Floats]:
    """Greedy picks, and the share of all uncertainty that each newly covers."""
    rows, mass = drawn(uncertainty, max(sample, count))
    share = (mass / max(float(mass.sum()), 1e-300)).astype(np.float32)
    pool_size = float(candidates.mass().sum())
    covers, covered = coverage(candidates.geometry[rows], candidates.labelled, pool_size, count)
    gain = np.zeros(len(rows))  # what each row would newly cover
    for block in blocks(len(rows), len(rows)):
        newly = covers[block] - covered[block, None]
        gain += share[block] @ np.maximum(newly, 0, out=newly)
    free: Mask = np.ones(len(rows), np.bool_)
    picks: list[int] = []
    scores: list[float] = []
    for _ in watched("picks", range(count), "row"):
        row = int(np.where(free, np.round(gain, TIE_DIGITS), -1).argmax())
        picks.append(row)
        scores.append(max(float(gain[row]), 0.0))
        free[row] = False
        _mark_covered(row, covers, covered, gain, share)
    return rows[picks], np.array(scores)


def _mark_covered(row: int, covers: Points, covered: Points, gain: Floats, share: Points) -> None:
    """After a pick, lower the gain of all rows and raise what is covered, in place."""
    raised = np.flatnonzero(covers[:, row] > covered + NEGLIGIBLE)
    for part in np.array_split(raised, len(raised) // ROWS_AT_A_TIME + 1):
        before = covered[part, None]
        after = covers[part, row][:, None]
        still_there = np.maximum(covers[part], before) - np.maximum(covers[part], after)
        gain -= share[part] @ (still_there + after - before)
    covered[raised] = covers[raised, row]


def drawn(uncertainty: Floats, sample: int) -> tuple[Ints, Floats]:
    """The rows to look at, ascending, and the uncertainty that each stands for.

    All rows, or a systematic draw of `sample` in proportion to uncertainty (a row drawn twice
    stands for two), filled up with the first rows where too few differ.
    """
    if len(uncertainty) <= sample:
        return np.arange(len(uncertainty)), uncertainty
    total = np.cumsum(uncertainty)
    ticks = (np.arange(sample) + 0.5) / sample * total[-1]
    hits = np.bincount(np.searchsorted(total, ticks), minlength=len(uncertainty))
    hits = hits[: len(uncertainty)].astype(np.float64)
    missing = sample - np.count_nonzero(hits)
    filling = np.flatnonzero(hits == 0)[:missing]
    rows = np.sort(np.concatenate([np.flatnonzero(hits), filling]))
    return rows, hits[rows] * total[-1] / sample


def coverage(points: Points, labelled: Points, n: float, count: int) -> tuple[Points, Points]:
    """How well row j covers row i, (s, s) in [0, 1], and how well the nearest label does, (s,).

    points: (s, d), a sample of n rows; count: picks to be made.
    """
    size = len(points)
    m = len(labelled)
    share = (n + m) / (m + count) * size / n  # rows of the sample that one label has to stand for
    near = min(max(round(share), 1), size - 1)
    covers = np.empty((size, size), np.float32)
    radius = np.ones(size, np.float32)  # squared
    for block in blocks(size, size):
        distances = squared_distances(points[block], points)
        # exactly 0 to itself, which rounding may miss
        distances[np.arange(len(distances)), np.arange(block.start, block.stop)] = 0
        if size > 1:
            radius[block] = np.maximum(np.partition(distances, near, axis=1)[:, near], TINY)
        np.divide(distances, -radius[block, None], out=distances)
        np.exp(distances, out=covers[block])
    return covers, np.exp(-nearest(points, labelled)[1] / radius)
