"""Uncertainty herding: the rows whose labels would cover most of the doubt that no label covers yet.

Every row i has a doubt u_i and a radius r_i, the distance to its v-th nearest row, v = (n + m) / (m
+ b): what one label has to stand for when m + b labels share n + m rows. A row j covers i by
exp(-d_ij^2 / r_i^2). The next pick is the row that raises sum_i u_i max_j covered_ij most. With few
labels the balls are wide and the picks typical of whole regions; with many they shrink to single
rows and the picks are the most doubtful: one formula from the first label to the last, and with u =
1 it is plain coverage, which needs no model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats
from stages.contract.identity import TIE_DIGITS
from stages.contract.progress import watched
from stages.learning.scoring import margin_of
from stages.strategies import Candidates, Ranking
from stages.strategies._geometry import Points, blocks, nearest, squared_distances

SAMPLE = 4_096  # rows looked at: their distances to each other take 4 x SAMPLE^2 bytes
NEGLIGIBLE = 1e-4  # coverage that is not worth a sum
TINY = 1e-6  # the squared radius of a row among its duplicates


def max_herding(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The rows that cover most of what no label covers; needs no model. Score = share of the pool newly covered.

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
    """The rows that cover most of the uncovered doubt, (1 - margin) x class importance. Score = share of all doubt.

    Source: Bae, Oliveira, Sutherland, "Uncertainty herding: one active learning method for all
    label budgets" (2025); the radius here is that of each row's own neighbourhood, there one for
    all, from the labelled rows.
    """
    doubt = margin_of(candidates.require_probabilities("uncertainty_herding"))
    positions, scores = cover(
        candidates, doubt * candidates.importance() * candidates.mass(), count, sample
    )
    reasons = [
        f"1 - margin {doubt[row]:.3f}{candidates.weighing(row)}, "
        f"stands for {score:.2%} of the pool's doubt, which no label covers yet"
        for row, score in zip(positions, scores, strict=True)
    ]
    return Ranking(positions, scores, reasons, "doubt")


def cover(
    candidates: Candidates, doubt: Floats, count: int, sample: int
) -> tuple[NDArray[np.intp], Floats]:
    """Greedy picks, and the share of all doubt that each newly covers; see the module's text."""
    rows, mass = drawn(doubt, max(sample, count))
    mass = (mass / max(float(mass.sum()), 1e-300)).astype(np.float32)
    covers, covered = coverage(
        candidates.geometry[rows], candidates.labelled, float(candidates.mass().sum()), count
    )
    gain = np.zeros(len(rows))
    for block in blocks(len(rows), len(rows)):
        more = covers[block] - covered[block, None]
        gain += mass[block] @ np.maximum(more, 0, out=more)
    free = np.ones(len(rows), bool)
    chosen: list[int] = []
    scores: list[float] = []
    for _ in watched("picks", range(count), "row"):
        row = int(np.where(free, np.round(gain, TIE_DIGITS), -1).argmax())
        chosen.append(row)
        scores.append(max(float(gain[row]), 0.0))
        free[row] = False
        raised = np.flatnonzero(covers[:, row] > covered + NEGLIGIBLE)
        for part in np.array_split(raised, len(raised) // 512 + 1):
            before, after = covered[part, None], covers[part, row][:, None]
            gain -= mass[part] @ (
                np.maximum(covers[part], before) - np.maximum(covers[part], after) + after - before
            )
        covered[raised] = covers[raised, row]
    return rows[chosen], np.array(scores)


def drawn(doubt: Floats, sample: int) -> tuple[NDArray[np.intp], Floats]:
    """The rows to look at, ascending, and the doubt that each stands for.

    All rows, or a systematic draw of `sample` in proportion to doubt (a row drawn twice stands for
    two), filled up with the first rows where too few differ.
    """
    if len(doubt) <= sample:
        return np.arange(len(doubt)), doubt
    total = np.cumsum(doubt)
    ticks = (np.arange(sample) + 0.5) / sample * total[-1]
    hits = np.bincount(np.searchsorted(total, ticks), minlength=len(doubt))[: len(doubt)]
    hits = hits.astype(np.float64)
    missing = sample - np.count_nonzero(hits)
    rows = np.sort(np.concatenate([np.flatnonzero(hits), np.flatnonzero(hits == 0)[:missing]]))
    return rows, hits[rows] * total[-1] / sample


def coverage(points: Points, labelled: Points, n: float, count: int) -> tuple[Points, Points]:
    """How well row j of the points covers row i, (s, s), and how well the nearest label covers i, (s,)."""
    size, m = len(points), len(labelled)
    share = (n + m) / (m + count) * size / n  # rows of the sample that one label has to stand for
    near = min(max(round(share), 1), size - 1)
    covers = np.empty((size, size), np.float32)
    radius = np.ones(size, np.float32)
    for block in blocks(size, size):
        gaps = squared_distances(points[block], points)
        gaps[np.arange(len(gaps)), np.arange(block.start, block.stop)] = 0
        if size > 1:
            radius[block] = np.maximum(np.partition(gaps, near, axis=1)[:, near], TINY)
        np.divide(gaps, -radius[block, None], out=gaps)
        np.exp(gaps, out=covers[block])
    return covers, np.exp(-nearest(points, labelled)[1] / radius)
