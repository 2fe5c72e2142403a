"""Strategies that pick the rows of a batch one by one, each pick changing what others are worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats, Ints, Mask
from stages.contract.distances import squared_distances, squared_distances_to, squared_norms
from stages.contract.identity import TIE_DIGITS, best_first
from stages.contract.progress import watched
from stages.learning.scoring import margin_of
from stages.strategies import Candidates, Ranking
from stages.strategies._geometry import (
    Points,
    blocks,
    clustered,
    nearest,
)
from stages.strategies.uncertainty import least_confidence_of

LEADERS = 256  # rows brought up to date first, to learn what the next pick is worth at least
TIED = 2 * 10.0**-TIE_DIGITS  # scores closer than this may be equal to nine digits
MEGABYTES = 128  # of distances held at a time


def ranked_batch(candidates: Candidates, count: int) -> Ranking:
    """One by one the row with the best mix of novelty and uncertainty: the picks of modAL.

    Worth of a row = a (1 - 1 / (1 + distance)) + (1 - a) uncertainty, where distance is to the
    nearest labelled or picked row, uncertainty = least confidence x class importance, and a =
    unlabelled / (unlabelled + labelled). Score = uncertainty.
    Source: Cardoso et al., "Ranked batch-mode active learning" (2017).
    """
    confidence = least_confidence_of(candidates.require_probabilities("ranked_batch"))
    uncertainty = confidence * candidates.importance()
    search = _NoveltySearch(candidates, uncertainty)
    for _ in watched("picks", range(count), "row"):
        search.pick()
    picks = search.picks
    reasons = [
        f"novelty and doubt, least confidence {confidence[row]:.3f}{candidates.weight_note(row)}"
        for row in picks
    ]
    return Ranking(np.array(picks, np.intp), uncertainty[picks], reasons, "novel")


class _NoveltySearch:
    """The greedy search of `ranked_batch`, lazily: few distances are computed for each pick.

    A pick can only shorten a row's distance to the nearest label, so that an old distance bounds
    what the row is worth from above. Only rows whose bound reaches the best up-to-date row have
    their distances brought up to date.
    Source: Minoux, "Accelerated greedy algorithms for maximizing submodular set functions" (1978).
    """

    def __init__(self, candidates: Candidates, uncertainty: Floats) -> None:
        self.points = candidates.geometry
        self.uncertainty = uncertainty
        self.labels = len(candidates.labelled)
        self.picks: list[int] = []
        self.distance = _nearest_squared(self.points, candidates.labelled)
        self.novelty = 1 - 1 / (1 + np.sqrt(self.distance))
        # how many of the picks each row's distance takes into account
        self.counted = np.zeros(len(self.points), np.intp)

    def pick(self) -> None:
        """Add the row that is worth most to `picks`."""
        if not self.picks and not self.labels:
            self.picks.append(_best(-_mean_distance(self.points)))  # as modAL's cold start
            return
        unlabelled = len(self.points) - len(self.picks)
        if not self.labels:
            unlabelled += 1  # modAL counts a first pick without labels as unlabelled still
        share = unlabelled / (unlabelled + self.labels + len(self.picks))
        worth = share * self.novelty + (1 - share) * self.uncertainty
        worth[self.picks] = -np.inf
        leaders = np.argpartition(worth, -min(LEADERS, len(worth)))[-LEADERS:]
        if self.picks:
            self._update(leaders, worth, share)
            # the leaders' true worth is known now: only rows with a bound that reaches it can win
            contenders = np.flatnonzero(worth >= worth[leaders].max() - TIED)
            self._update(contenders, worth, share)
        self.picks.append(_best(worth))

    def _update(self, rows: Ints, worth: Floats, share: float) -> None:
        """Bring the distance, novelty and worth of some rows up to date, in place."""
        outdated = rows[self.counted[rows] < len(self.picks)]
        first_unseen = int(self.counted[outdated].min(initial=len(self.picks)))
        _shorten(self.distance, outdated, self.points, self.picks[first_unseen:])
        self.counted[outdated] = len(self.picks)
        novelty = 1 - 1 / (1 + np.sqrt(self.distance[outdated]))
        self.novelty[outdated] = novelty
        worth[outdated] = share * novelty + (1 - share) * self.uncertainty[outdated]
        worth[self.picks] = -np.inf


def _shorten(distance: Floats, rows: Ints, points: Points, picks: list[int]) -> None:
    """Lower the rows' squared distances to those to the picks, in double precision, in place."""
    from scipy.spatial.distance import cdist

    for block in blocks(len(rows), len(picks) + points.shape[1]):
        part = rows[block]
        to_picks = cdist(points[part], points[picks], "sqeuclidean").min(axis=1)
        distance[part] = np.minimum(distance[part], to_picks)


def _best(worth: Floats) -> int:
    """The first row of the highest worth, equal to nine digits."""
    ties = np.flatnonzero(worth >= worth.max() - TIED)
    return int(ties[np.round(worth[ties], TIE_DIGITS).argmax()])


def _nearest_squared(points: Points, others: Points) -> Floats:
    """(n,) squared distance to the nearest other, in double precision; infinite without others."""
    from sklearn.metrics import pairwise_distances_argmin_min

    if not len(others):
        return np.full(len(points), np.inf)
    # for single-precision rows it computes in double precision, block by block
    distance = pairwise_distances_argmin_min(points, others, metric="sqeuclidean")[1]
    return np.asarray(distance, np.float64)


def _mean_distance(points: Points) -> Floats:
    """(n,) mean distance to all rows, in double precision."""
    from sklearn.metrics import pairwise_distances_chunked

    chunks = pairwise_distances_chunked(
        points.astype(np.float64),
        reduce_func=lambda distances, _: distances.mean(axis=1),
        working_memory=MEGABYTES,
    )
    return np.concatenate(list(chunks))


def core_set(candidates: Candidates, count: int) -> Ranking:
    """Farthest first: again and again the row farthest from all labelled and picked rows.

    Score = distance; ties by smaller key. Without labels it starts at the row nearest to the mean.
    Source: Sener, Savarese, "Active learning for convolutional neural networks: a core-set
    approach" (2018), the greedy k-centre.
    """
    points = candidates.geometry
    norms = squared_norms(points)
    no_labels = not len(candidates.labelled)
    distance = nearest(points, candidates.labelled)[1].astype(np.float64)
    if no_labels:
        centre = points.mean(axis=0, dtype=np.float64).astype(np.float32)
        distance = -squared_distances(points, centre[None, :])[:, 0].astype(np.float64)
    free = np.ones(len(points), bool)
    picks: list[int] = []
    scores: list[float] = []
    for _ in watched("picks", range(count), "row"):
        row = int(np.where(free, np.round(distance, TIE_DIGITS), -np.inf).argmax())
        scores.append(float(np.sqrt(max(distance[row], 0))))
        picks.append(row)
        free[row] = False
        to_pick = squared_distances_to(points[row], norms[row], points, norms)
        if no_labels and len(picks) == 1:
            distance = to_pick.astype(np.float64)  # until now it was that to the mean
        else:
            distance = np.minimum(distance, to_pick)
    reasons = [f"far from every label and earlier pick, distance {score:.3f}" for score in scores]
    if no_labels:
        reasons[0] = "nearest to the mean of the pool"
    return Ranking(np.array(picks, np.intp), np.array(scores), reasons, "far")


def badge(candidates: Candidates, count: int) -> Ranking:
    """k-means++ on the gradient embeddings (p - onehot) x geometry. Score = gradient norm.

    The embeddings of k x d numbers a row are never formed.
    Source: Ash et al., "Deep batch active learning by diverse, uncertain gradient lower bounds"
    (2020).
    """
    probabilities = candidates.require_probabilities("badge")
    errors = probabilities.copy()
    errors[np.arange(len(errors)), probabilities.argmax(axis=1)] -= 1
    errors *= candidates.importance()[:, None]
    rng = np.random.default_rng(candidates.seed)
    picks = product_spread(errors, candidates.geometry, count, rng.random)
    error_norms = np.linalg.norm(errors[picks], axis=1)
    scores = error_norms * np.linalg.norm(candidates.geometry[picks], axis=1)
    reasons = [f"a gradient unlike the rest of the batch, norm {score:.3f}" for score in scores]
    return Ranking(picks, scores, reasons, "gradients")


def product_spread(
    left: Floats, right: Points, count: int, random: Callable[[], float]
) -> NDArray[np.intp]:
    """k-means++ draws, no row twice, of the outer products of left (n, k) and right (n, d) rows.

    The longest product first, then with probability proportional to the squared distance to the
    nearest of those drawn and the origin (a product of length 0 is a gradient that teaches nothing;
    it counts as drawn in scikit-activeml, not in the paper). Where nothing left differs from what
    is drawn, the rest is equally likely. `random` gives numbers in [0, 1).

    Exact in O(n (k + d)) a draw: |g_i - g_j|^2 = |l_i|^2 |r_i|^2 + |l_j|^2 |r_j|^2 - 2 (l_i .
    l_j)(r_i . r_j).
    """
    norms = squared_norms(left) * squared_norms(right).astype(np.float64)
    distance = norms.copy()
    picks: list[int] = []
    for _ in watched("picks", range(count), "row"):
        total = np.cumsum(distance)
        if total[-1] <= 0:
            free = np.setdiff1d(np.arange(len(left)), picks)
            row = int(free[min(int(random() * len(free)), len(free) - 1)])
        elif picks:
            mark = min(random() * total[-1], np.nextafter(total[-1], 0))
            row = int(np.searchsorted(total, mark, side="right"))
        else:
            row = int(distance.argmax())
        to_pick = norms + norms[row] - 2 * (left @ left[row]) * (right @ right[row])
        np.minimum(distance, np.maximum(to_pick, 0, out=to_pick), out=distance)
        picks.append(row)
        distance[row] = 0
    return np.array(picks, np.intp)


def dbal(candidates: Candidates, count: int, prefilter: int = 10) -> Ranking:
    """The rows nearest to the centres of a k-means of the most uncertain rows, weighted by that.

    The k-means sees the count x prefilter most uncertain rows; uncertainty = (1 - margin) x class
    importance. Most uncertain first.
    Source: Zhdanov, "Diverse mini-batch active learning" (2019).
    """
    margin = margin_of(candidates.require_probabilities("dbal"))
    uncertainty = margin * candidates.importance()
    rows = best_first(uncertainty, candidates.keys, max(count, count * prefilter))
    points = candidates.geometry[rows]
    weights = np.maximum(uncertainty[rows], 1e-9)
    centres, _ = clustered(points, count, weights, candidates.seed)
    picks = rows[_one_row_each(centres, points, count)]
    picks = picks[best_first(uncertainty[picks], candidates.keys[picks], count)]
    reasons = [
        f"centre of a doubtful region, 1 - margin {margin[row]:.3f}{candidates.weight_note(row)}"
        for row in picks
    ]
    return Ranking(picks, uncertainty[picks], reasons, "doubt")


def _one_row_each(centres: Points, points: Points, count: int) -> list[int]:
    """For each centre in turn the nearest free point; then the first free ones, `count` in all."""
    free: Mask = np.ones(len(points), np.bool_)
    chosen: list[int] = []
    for distances in squared_distances(centres, points):
        row = int(np.where(free, distances, np.inf).argmin())
        chosen.append(row)
        free[row] = False
    rest = np.flatnonzero(free)[: count - len(chosen)]
    return [*chosen, *rest.tolist()]
