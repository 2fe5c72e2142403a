"""scikit-activeml's strategies on stored probabilities and the geometry.

Its own code makes every pick. What is added is a bound on the rows that it is given, since several
of its strategies hold n x n numbers: beyond `sample` candidates they see the first in the order of
keys, which is a uniform draw (`batch_bald`: half of it, the other half the most uncertain). Class
weights multiply the scores of strategies that score rows one by one; the others ignore them.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skactiveml import pool
from sklearn.exceptions import ConvergenceWarning

from stages.contract.identity import best_first
from stages.learning.scoring import margin_of
from stages.strategies import Candidates, Ranking, diversity
from stages.strategies.uncertainty import by_score

SAMPLE = 5_000
FEW_BATCH_SIZES = "'batch_size="  # it picks fewer rows than asked for; the batch is filled up
UNCLEAR_CLUSTERS = "The maximum purity"  # ProbCover then takes the purest radius


def kl_divergence(candidates: Candidates, count: int) -> Ranking:
    """Query by committee: the largest mean divergence of the members from their consensus, in nats.

    Source: McCallum, Nigam, "Employing EM and pool-based active learning for text classification"
    (1998).
    """
    scores = np.asarray(pool.average_kl_divergence(candidates.require_committee("kl_divergence")))
    reason = "mean divergence from the committee {score:.3f}"
    return by_score(candidates, scores, count, "disagreement", reason)


def variation_ratios(candidates: Candidates, count: int) -> Ranking:
    """Query by committee: the smallest share of members that vote for the likeliest class."""
    members = candidates.require_committee("variation_ratios")
    scores = np.asarray(pool.variation_ratios(members.argmax(axis=2).T))
    reason = "votes against the majority {score:.3f}"
    return by_score(candidates, scores, count, "disagreement", reason)


def batch_bald(candidates: Candidates, count: int, sample: int = 1_000) -> Ranking:
    """The largest joint mutual information of the batch and the committee; its own greedy search.

    Its cost grows with members^batch up to its Monte Carlo limit: keep batches small.
    """
    members = candidates.require_committee("batch_bald")
    rows = _half_uncertain(candidates, max(sample, count))
    utilities = pool.batch_bald(members[:, rows], count, random_state=candidates.seed % 2**32)
    chosen: list[int] = []
    scores: list[float] = []
    for utility in np.asarray(utilities):
        # information is never negative, but its estimate can be; it marks its own picks with NaN
        score = np.maximum(np.nan_to_num(utility, nan=-1), -1)
        score[chosen] = -2
        row = int(best_first(score, candidates.keys[rows], 1)[0])
        chosen.append(row)
        scores.append(float(score[row]))
    reasons = [f"information about the committee, {score:.3f}" for score in scores]
    return Ranking(rows[chosen], np.array(scores), reasons, "disagreement")


def _half_uncertain(candidates: Candidates, sample: int) -> NDArray[np.intp]:
    """At most `sample` rows, ascending: half a uniform draw, half the most uncertain others."""
    if len(candidates) <= sample or candidates.probabilities is None:
        return np.arange(min(len(candidates), sample))
    half = sample // 2
    uncertainty = margin_of(candidates.probabilities)
    uncertainty[:half] = -1  # they are in the uniform half
    most_uncertain = best_first(uncertainty, candidates.keys, sample - half)
    return np.sort(np.concatenate([np.arange(half), most_uncertain]))


def typiclust(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The typical row of each large cluster without a label, by `TypiClust`.

    Where every cluster holds a label it fails, and our own `typiclust` picks.
    """
    strategy = pool.TypiClust(**_seeds(candidates, clusters=True))
    reason = "typical of its region, typicality {score:.3f}"
    try:
        return _queried(candidates, count, sample, strategy, reason, "typical")
    except UnboundLocalError:  # a fault of scikit-activeml where no cluster is left
        return diversity.typiclust(candidates, count)


def prob_cover(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The rows whose balls cover most of what no label covers, by `ProbCover`."""
    classes = len(candidates.class_weights)
    too_few_for_a_radius = len(candidates) + len(candidates.labelled) < classes
    radii = [0.2] if too_few_for_a_radius else None
    seeds = _seeds(candidates, clusters=True)
    strategy = pool.ProbCover(**seeds, n_classes=classes, deltas=radii)
    reason = "covers {score:.0f} rows that no label covers"
    return _queried(candidates, count, sample, strategy, reason, "coverage")


def max_herding(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The rows that raise the kernel coverage of the pool most, by `MaxHerding`."""
    strategy = pool.MaxHerding(**_seeds(candidates, clusters=False))
    reason = "raises the coverage of the pool by {score:.5f}"
    return _queried(candidates, count, sample, strategy, reason, "coverage")


def _seeds(candidates: Candidates, *, clusters: bool) -> dict[str, Any]:
    """The candidates' seed as its strategies take it; of those with a k-means for that, too."""
    seed: dict[str, Any] = {"random_state": candidates.seed % 2**32}
    return {**seed, "cluster_algo_dict": dict(seed)} if clusters else seed


def _queried(
    candidates: Candidates, count: int, sample: int, strategy: Any, reason: str, regime: str
) -> Ranking:
    """The strategy's own picks among the first rows in key order, filled up to `count` picks.

    reason: a format string of the pick's own `score`, which is what the strategy calls utility.
    """
    rows = np.arange(min(len(candidates), max(sample, count)))
    space = np.concatenate([candidates.geometry[rows], candidates.labelled]).astype(np.float64)
    unlabelled = np.full(len(rows), np.nan)  # how scikit-activeml marks rows that may be picked
    classes = np.concatenate([unlabelled, candidates.labelled_class.astype(np.float64)])
    with warnings.catch_warnings():
        # fewer distinct points than clusters: it goes on with fewer
        warnings.simplefilter("ignore", category=ConvergenceWarning)
        warnings.simplefilter("ignore", category=RuntimeWarning)  # sums that overflow become NaN
        for message in (FEW_BATCH_SIZES, UNCLEAR_CLUSTERS):
            warnings.filterwarnings("ignore", message=message)
        picks, utilities = strategy.query(space, classes, batch_size=count, return_utilities=True)
    values = np.asarray(utilities)[np.arange(len(picks)), picks]
    values = np.nan_to_num(values, posinf=0, neginf=0)
    # TypiClust repeats itself where rows are equal: each row counts once, where it came first
    first = np.sort(np.unique(picks, return_index=True)[1])
    rest = np.setdiff1d(rows, picks)[: count - len(first)]
    reasons = [reason.format(score=value) for value in values[first]]
    reasons += ["drawn at random: the strategy tells no more rows apart"] * len(rest)
    scores = np.concatenate([values[first], np.zeros(len(rest))])
    positions = np.concatenate([np.asarray(picks)[first], rest])
    return Ranking(positions, scores, reasons, regime)
