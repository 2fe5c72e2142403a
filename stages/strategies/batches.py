"""Strategies that choose the rows of a batch one after the other, each pick changing what the next is worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats
from stages.contract.identity import TIE_DIGITS, best_first
from stages.contract.progress import watched
from stages.learning.scoring import margin_of
from stages.strategies import Candidates, Ranking
from stages.strategies._geometry import (
    Points,
    blocks,
    kmeans,
    nearest,
    squared_distances,
    squared_norms,
)
from stages.strategies.uncertainty import least_confidence_of

LEADERS = 256  # rows brought up to date first, to learn what the next pick is worth at least
TIED = 2 * 10.0**-TIE_DIGITS  # rows closer than this may be equal to nine digits
CELLS_OF_LINKAGE = 4_000  # rows whose distances to each other are held for average linkage


def ranked_batch(candidates: Candidates, count: int) -> Ranking:
    """The picks of modAL's `ranked_batch`: distances are brought up to date only where a row could win the next pick.

    Score of a row = a (1 - 1 / (1 + distance)) + (1 - a) least confidence, a = unlabelled /
    (unlabelled + labelled). A pick only ever shortens the distance to the nearest label, so an old
    distance bounds what a row is worth from above. Rows whose bound is below the worth of the best
    of the leaders wait.
    Source: Cardoso et al., "Ranked batch-mode active learning" (2017); Minoux, "Accelerated greedy
    algorithms" (1978).
    """
    confidence = least_confidence_of(candidates.require_probabilities("ranked_batch"))
    doubt = confidence * candidates.importance()
    points, m = candidates.geometry, len(candidates.labelled)
    gap = _nearest_squared(points, candidates.labelled)
    novelty = 1 - 1 / (1 + np.sqrt(gap))
    counted = np.zeros(len(points), np.intp)  # how many of the picks a row's distance knows of
    chosen: list[int] = []
    for _ in watched("picks", range(count), "row"):
        left = (
            len(points) - len(chosen) + (m == 0)
        )  # modAL counts a first pick without labels as unlabelled still
        share = left / (left + m + len(chosen))
        worth = share * novelty + (1 - share) * doubt if m or chosen else -_mean_distance(points)
        worth[chosen] = -np.inf
        leaders = np.argpartition(worth, -min(LEADERS, len(worth)))[-LEADERS:]
        for _again in range(2 if chosen else 0):
            old = leaders[counted[leaders] < len(chosen)]
            _shorten(gap, old, points, chosen[int(counted[old].min(initial=len(chosen))) :])
            counted[old] = len(chosen)
            novelty[old] = 1 - 1 / (1 + np.sqrt(gap[old]))
            worth[old] = share * novelty[old] + (1 - share) * doubt[old]
            worth[chosen] = -np.inf
            leaders = np.flatnonzero(worth >= worth[leaders].max() - TIED)
        chosen.append(_best(worth))
    reasons = [
        f"novelty and doubt, least confidence {confidence[row]:.3f}{candidates.weighing(row)}"
        for row in chosen
    ]
    return Ranking(np.array(chosen, np.intp), doubt[chosen], reasons, "novel")


def _shorten(gap: Floats, rows: NDArray[np.intp], points: Points, picks: list[int]) -> None:
    """Lower the rows' squared distances to those to the picks, in double precision, in place."""
    from scipy.spatial.distance import cdist

    for block in blocks(len(rows), len(picks) + points.shape[1]):
        part = rows[block]
        gap[part] = np.minimum(
            gap[part], cdist(points[part], points[picks], "sqeuclidean").min(axis=1)
        )


def _best(worth: Floats) -> int:
    """The first row of the highest worth, equal to nine digits."""
    ties = np.flatnonzero(worth >= worth.max() - TIED)
    return int(ties[np.round(worth[ties], TIE_DIGITS).argmax()])


def _nearest_squared(points: Points, others: Points) -> Floats:
    """(n,) squared distance to the nearest other, in double precision; infinite without others."""
    gap = np.full(len(points), np.inf)
    rows = others.astype(np.float64)
    for block in (
        blocks(len(points), 16 * sum(rows.shape)) if len(others) else ()
    ):  # small: fresh memory is slow
        part = points[block].astype(np.float64)
        cross = np.einsum("ij,ij->i", rows, rows) - 2 * (part @ rows.T)
        gap[block] = np.maximum(cross.min(axis=1) + np.einsum("ij,ij->i", part, part), 0)
    return gap


def _mean_distance(points: Points) -> Floats:
    """(n,) mean distance to all rows, in double precision."""
    mean = np.empty(len(points))
    rows = points.astype(np.float64)
    norms = np.einsum("ij,ij->i", rows, rows)
    for block in watched("distances", list(blocks(len(points), len(points))), "block"):
        gaps = norms[block, None] + norms - 2 * (rows[block] @ rows.T)
        mean[block] = np.sqrt(np.maximum(gaps, 0)).mean(axis=1)
    return mean


def core_set(candidates: Candidates, count: int) -> Ranking:
    """Farthest first: again and again the row farthest from all labelled and picked rows. Score = distance.

    Without labels it starts at the row nearest to the mean. Source: Sener, Savarese, "Active
    learning for convolutional neural networks: a core-set approach" (2018), the greedy k-centre.
    """
    points = candidates.geometry
    norms = squared_norms(points)
    gap = nearest(points, candidates.labelled)[1].astype(np.float64)
    if not len(candidates.labelled):
        centre = points.mean(axis=0, dtype=np.float64).astype(np.float32)
        gap = -squared_distances(points, centre[None, :])[:, 0].astype(np.float64)
    free = np.ones(len(points), bool)
    chosen: list[int] = []
    scores: list[float] = []
    for _ in watched("picks", range(count), "row"):
        row = int(np.where(free, np.round(gap, TIE_DIGITS), -np.inf).argmax())
        scores.append(float(np.sqrt(max(gap[row], 0))))
        chosen.append(row)
        free[row] = False
        new = np.maximum(norms + norms[row] - 2 * (points @ points[row]), 0)
        gap = (
            np.minimum(gap, new)
            if len(chosen) > 1 or len(candidates.labelled)
            else new.astype(np.float64)
        )
    reasons = [f"far from every label and earlier pick, distance {score:.3f}" for score in scores]
    if not len(candidates.labelled):
        reasons[0] = "nearest to the mean of the pool"
    return Ranking(np.array(chosen, np.intp), np.array(scores), reasons, "far")


def badge(candidates: Candidates, count: int) -> Ranking:
    """k-means++ on the gradient embeddings (p - onehot) x geometry, which are never formed. Score = gradient norm.

    Source: Ash et al., "Deep batch active learning by diverse, uncertain gradient lower bounds"
    (2020).
    """
    rows = candidates.require_probabilities("badge")
    errors = rows.copy()
    errors[np.arange(len(rows)), rows.argmax(axis=1)] -= 1
    errors *= candidates.importance()[:, None]
    rng = np.random.default_rng(candidates.seed)
    chosen = product_spread(errors, candidates.geometry, count, rng.random)
    scores = np.linalg.norm(errors[chosen], axis=1) * np.linalg.norm(
        candidates.geometry[chosen], axis=1
    )
    reasons = [f"a gradient unlike the rest of the batch, norm {score:.3f}" for score in scores]
    return Ranking(chosen, scores, reasons, "gradients")


def product_spread(
    left: Floats, right: Points, count: int, random: Callable[[], float]
) -> NDArray[np.intp]:
    """k-means++ draws, no row twice, from the products left_i x right_i of an (n, k) and an (n, d) array.

    The longest product first, then with probability proportional to the squared distance to the
    nearest of those drawn and the origin (which, a gradient that teaches nothing, counts as drawn
    in scikit-activeml, not in the paper).

    Exact in O(n (k + d)) a draw: |g_i - g_j|^2 = |l_i|^2 |r_i|^2 + |l_j|^2 |r_j|^2 - 2 (l_i .
    l_j)(r_i . r_j). `random` gives numbers in [0, 1). Where nothing left differs from what is
    drawn, the rest is equally likely.
    """
    norms = np.einsum("ij,ij->i", left, left) * squared_norms(right).astype(np.float64)
    gap = norms.copy()
    chosen: list[int] = []
    for _ in watched("picks", range(count), "row"):
        total = np.cumsum(gap)
        if total[-1] <= 0:
            free = np.setdiff1d(np.arange(len(left)), chosen)
            row = int(free[min(int(random() * len(free)), len(free) - 1)])
        elif chosen:
            mark = min(random() * total[-1], np.nextafter(total[-1], 0))
            row = int(np.searchsorted(total, mark, side="right"))
        else:
            row = int(gap.argmax())
        new = norms + norms[row] - 2 * (left @ left[row]) * (right @ right[row])
        np.minimum(gap, np.maximum(new, 0, out=new), out=gap)
        chosen.append(row)
        gap[row] = 0
    return np.array(chosen, np.intp)


def dbal(candidates: Candidates, count: int, prefilter: int = 10) -> Ranking:
    """The row nearest to each centre of a k-means, weighted by doubt, of the count x prefilter most doubtful rows.

    Best first by doubt = (1 - margin) x class importance.
    Source: Zhdanov, "Diverse mini-batch active learning" (2019).
    """
    margin = margin_of(candidates.require_probabilities("dbal"))
    doubt = margin * candidates.importance()
    rows = best_first(doubt, candidates.keys, max(count, count * prefilter))
    points = candidates.geometry[rows]
    centres, _ = kmeans(points, count, np.maximum(doubt[rows], 1e-9), candidates.seed)
    free = np.ones(len(rows), bool)
    chosen: list[int] = []
    for gaps in squared_distances(centres, points):
        chosen.append(int(np.where(free, gaps, np.inf).argmin()))
        free[chosen[-1]] = False
    chosen += np.flatnonzero(free)[
        : count - len(chosen)
    ].tolist()  # fewer distinct points than picks
    picks = rows[chosen]
    picks = picks[best_first(doubt[picks], candidates.keys[picks], count)]
    reasons = [
        f"centre of a doubtful region, 1 - margin {margin[row]:.3f}{candidates.weighing(row)}"
        for row in picks
    ]
    return Ranking(picks, doubt[picks], reasons, "doubt")


def cluster_margin(candidates: Candidates, count: int, prefilter: int = 10) -> Ranking:
    """The count x prefilter most doubtful rows in average-linkage clusters, visited in turn, the smallest first.

    Within a cluster the most doubtful goes first; clusters are cut where they are `count`. The
    original clusters the whole pool; here only the prefiltered rows (at most 4,000 or count) are,
    so the cost does not grow with n.
    Source: Citovsky et al., "Batch active learning at scale" (2021).
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    margin = margin_of(candidates.require_probabilities("cluster_margin"))
    doubt = margin * candidates.importance()
    rows = best_first(doubt, candidates.keys, max(count, min(count * prefilter, CELLS_OF_LINKAGE)))
    owner = np.zeros(len(rows), np.intp)
    if len(rows) > max(count, 1) and len(rows) <= CELLS_OF_LINKAGE:
        tree = linkage(candidates.geometry[rows].astype(np.float64), "average")
        owner = np.asarray(fcluster(tree, count, "maxclust"), np.intp)
    size = np.bincount(owner)
    turn = np.empty(
        len(rows), np.intp
    )  # how many rows of its cluster go before a row; rows are best first
    for cluster in np.unique(owner):
        members = np.flatnonzero(owner == cluster)
        turn[members] = np.arange(len(members))
    first = np.lexsort((np.arange(len(rows)), size[owner], turn))[:count]
    picks = rows[first]
    reasons = [
        f"number {turn[place] + 1} by doubt of {size[owner[place]]} alike, 1 - margin {margin[rows[place]]:.3f}"
        + candidates.weighing(rows[place])
        for place in first
    ]
    return Ranking(picks, doubt[picks], reasons, "doubt")
