"""Strategies on the geometry: the typical rows of each region, and density times uncertainty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats, Ints
from stages.contract.identity import TIE_DIGITS, best_first
from stages.contract.progress import progress
from stages.learning.scoring import margin_of
from stages.strategies import Candidates, Ranking
from stages.strategies._geometry import clustered, typicality
from stages.strategies.uncertainty import by_score, least_confidence_of

SAMPLE = 20_000  # rows that are looked at, the first in key order: a uniform draw
CLUSTERS = 1_000
MEGABYTES = 128  # of distances held at a time


def typiclust(
    candidates: Candidates, count: int, sample: int = SAMPLE, clusters: int = CLUSTERS
) -> Ranking:
    """The most typical row of each of the largest clusters without a label. Score = typicality.

    The geometry is cut into m + count clusters, at most `clusters` (and never fewer than count +
    1), on a uniform sample. Clusters with the fewest labels go first, of these the largest, then
    the one with the smallest key. With fewer clusters than picks it goes round again, each cluster
    giving its next most typical row. Needs no model.
    Source: Hacohen, Dekel, Weinshall, "Active learning on a budget: opposite strategies suit high
    and low budgets" (2022).
    """
    mass = np.ones(len(candidates))
    rows, score, labels_and_picks = _uncovered(candidates, count, mass, 1.0, sample, clusters)
    reasons = [
        f"typical of {_region(number)}, typicality {value:.3f}"
        for number, value in zip(labels_and_picks, score, strict=True)
    ]
    return Ranking(rows, score, reasons, "typical")


def weighted_coverage(
    candidates: Candidates, count: int, sample: int = SAMPLE, clusters: int = CLUSTERS
) -> Ranking:
    """As typiclust, clusters by their summed doubt, and in each the row of the highest score.

    Score = doubt x square root of typicality; doubt = (1 - margin) x class importance.
    """
    margin = margin_of(candidates.require_probabilities("weighted_coverage"))
    mass = margin * candidates.importance() * candidates.mass()
    rows, score, labels_and_picks = _uncovered(candidates, count, mass, 0.5, sample, clusters)
    reasons = [
        f"doubtful and typical of {_region(number)}, 1 - margin {margin[row]:.3f}"
        f"{candidates.weight_note(row)}"
        for row, number in zip(rows, labels_and_picks, strict=True)
    ]
    return Ranking(rows, score, reasons, "coverage")


def _uncovered(
    candidates: Candidates, count: int, mass: Floats, power: float, sample: int, clusters: int
) -> tuple[Ints, Floats, Ints]:
    """A row of each cluster; clusters by fewest labels, then most mass, then smallest key.

    Within a cluster by mass x typicality ** power. Returns the rows, their scores, and what the
    cluster of each holds when it is picked: labels, and earlier picks.
    """
    rows = np.arange(min(len(candidates), max(sample, count)))
    points = candidates.geometry[rows]
    keys = candidates.keys[rows]
    wanted = max(min(len(candidates.labelled) + count, clusters), count + 1)
    together = np.concatenate([points, candidates.labelled])
    centres, cluster = clustered(together, wanted, np.ones(len(together)), candidates.seed)
    cluster_of_row = cluster[: len(rows)]
    labels = np.bincount(cluster[len(rows) :], minlength=len(centres))
    score, turn = _best_first_by_cluster(points, keys, cluster_of_row, mass[rows], power)
    priority = _emptiest_first(cluster_of_row, labels, keys, mass[rows])
    order = np.lexsort((priority[cluster_of_row], turn))[:count]
    return rows[order], score[order], labels[cluster_of_row[order]] + turn[order]


def _best_first_by_cluster(
    points: NDArray[np.float32],
    keys: NDArray[np.uint64],
    cluster: Ints,
    mass: Floats,
    power: float,
) -> tuple[Floats, Ints]:
    """(n,) the score of each row in its cluster, and how many rows go before it there."""
    score = np.empty(len(points))
    turn = np.empty(len(points), np.intp)
    for number in np.unique(cluster):
        members = np.flatnonzero(cluster == number)
        score[members] = typicality(points[members]) ** power * mass[members]
        best = best_first(score[members], keys[members], len(members))
        turn[members[best]] = np.arange(len(members))
    return score, turn


def _emptiest_first(cluster: Ints, labels: Ints, keys: NDArray[np.uint64], mass: Floats) -> Ints:
    """(c,) the place of each cluster in turn: fewest labels, then most mass, then smallest key."""
    size = np.round(np.bincount(cluster, mass, minlength=len(labels)), TIE_DIGITS)
    first_key = np.full(len(labels), np.iinfo(np.uint64).max)
    np.minimum.at(first_key, cluster, keys)
    priority = np.empty(len(labels), np.intp)
    priority[np.lexsort((first_key, -size, labels))] = np.arange(len(labels))
    return priority


def _region(labels_and_picks: int) -> str:
    if labels_and_picks:
        return f"a region of {labels_and_picks} labels and earlier picks"
    return "a region without a label"


def information_density(candidates: Candidates, count: int) -> Ranking:
    """Least confidence x mean similarity 1 / (1 + distance) to the candidates; ties by key.

    modAL's formula in bounded memory: distances are taken in blocks, and above 20,000 rows the mean
    is over a uniform sample of that size.
    Source: Settles, Craven, "An analysis of active learning strategies for sequence labeling tasks"
    (2008).
    """
    from sklearn.metrics import pairwise_distances_chunked

    uncertainty = least_confidence_of(candidates.require_probabilities("information_density"))
    points = candidates.geometry
    chunks = pairwise_distances_chunked(
        points,
        points[:SAMPLE],
        reduce_func=lambda distances, _: (1 / (1 + distances)).mean(axis=1, dtype=np.float64),
        working_memory=MEGABYTES,
    )
    with progress("density", len(points), "row") as bar:
        parts: list[Floats] = []
        for part in chunks:
            parts.append(part)
            bar.update(len(part))
    scores = uncertainty * np.concatenate(parts)
    return by_score(candidates, scores, count, "uncertain", "doubt x density {score:.3f}")
