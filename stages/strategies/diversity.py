"""Strategies on the geometry: what is typical, what is not covered yet, and where among it the doubt lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats
from stages.contract.identity import best_first
from stages.contract.progress import watched
from stages.learning.scoring import margin_of
from stages.strategies import Candidates, Ranking
from stages.strategies._geometry import blocks, kmeans, squared_distances, typicality
from stages.strategies.uncertainty import by_score, least_confidence_of

SAMPLE = 20_000  # rows that a clustering looks at, the first in key order: a uniform draw
CLUSTERS = 1_000


def typiclust(
    candidates: Candidates, count: int, sample: int = SAMPLE, clusters: int = CLUSTERS
) -> Ranking:
    """The most typical row of each of the largest clusters without a label; needs no model. Score = typicality.

    The geometry is cut into m + count clusters, at most `clusters` (and never fewer than count +
    1), on a uniform sample. Source: Hacohen, Dekel, Weinshall, "Active learning on a budget:
    opposite strategies suit high and low budgets" (2022).
    """
    positions, scores, held = _uncovered(
        candidates, count, np.ones(len(candidates)), 1.0, sample, clusters
    )
    reasons = [
        f"typical of {_region(labels)}, typicality {score:.3f}"
        for labels, score in zip(held, scores, strict=True)
    ]
    return Ranking(positions, scores, reasons, "typical")


def weighted_coverage(
    candidates: Candidates, count: int, sample: int = SAMPLE, clusters: int = CLUSTERS
) -> Ranking:
    """As typiclust, but clusters by their summed doubt, and in each the row of the highest score.

    Score = doubt x square root of typicality; doubt = (1 - margin) x class importance.
    """
    doubt = margin_of(candidates.require_probabilities("weighted_coverage"))
    positions, scores, held = _uncovered(
        candidates, count, doubt * candidates.importance(), 0.5, sample, clusters
    )
    reasons = [
        f"doubtful and typical of {_region(labels)}, 1 - margin {doubt[row]:.3f}{candidates.weighing(row)}"
        for row, labels in zip(positions, held, strict=True)
    ]
    return Ranking(positions, scores, reasons, "coverage")


def _region(labels: int) -> str:
    return (
        f"a region of {labels} labels and earlier picks" if labels else "a region without a label"
    )


def _uncovered(
    candidates: Candidates, count: int, mass: Floats, power: float, sample: int, clusters: int
) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp]]:
    """One row from each cluster, clusters by (labels held, - summed mass), rows by mass x typicality^power.

    With fewer clusters than picks it goes round again, each cluster giving its next best row.
    Returns positions, their scores, and how many labels and earlier picks the cluster of each
    holds.
    """
    rows = np.arange(min(len(candidates), max(sample, count)))
    points = candidates.geometry[rows]
    wanted = max(min(len(candidates.labelled) + count, clusters), count + 1)
    together = np.concatenate([points, candidates.labelled])
    centres, owner = kmeans(together, wanted, np.ones(len(together)), candidates.seed)
    owner, held = owner[: len(rows)], np.bincount(owner[len(rows) :], minlength=len(centres))
    masses = np.bincount(owner, mass[rows], len(centres))
    first_key = np.full(len(centres), np.iinfo(np.uint64).max)
    np.minimum.at(first_key, owner, candidates.keys[rows])
    turn = np.empty(len(rows), np.intp)  # how many rows of its cluster go before a row
    place = np.empty(len(centres), np.intp)
    place[np.lexsort((first_key, -np.round(masses, 9), held))] = np.arange(len(centres))
    score = np.empty(len(rows))
    for cluster in range(len(centres)):
        members = np.flatnonzero(owner == cluster)
        score[members] = typicality(points[members]) ** power * mass[rows[members]]
        turn[members[best_first(score[members], candidates.keys[rows[members]], len(members))]] = (
            np.arange(len(members))
        )
    order = np.lexsort((place[owner], turn))[:count]
    return rows[order], score[order], held[owner[order]] + turn[order]


def information_density(candidates: Candidates, count: int) -> Ranking:
    """Least confidence x mean similarity 1 / (1 + distance) to the candidates, with O(n) memory.

    Above 20,000 rows the mean is over a uniform sample of that size.
    Source: Settles, Craven, "An analysis of active learning strategies for sequence labeling tasks"
    (2008).
    """
    doubt = least_confidence_of(candidates.require_probabilities("information_density"))
    points, others = candidates.geometry, candidates.geometry[:SAMPLE]
    density = np.empty(len(points))
    for block in watched("density", list(blocks(len(points), len(others))), "block"):
        gaps = np.sqrt(squared_distances(points[block], others))
        density[block] = (1 / (1 + gaps)).mean(axis=1, dtype=np.float64)
    return by_score(candidates, doubt * density, count, "uncertain", "doubt x density {score:.3f}")
