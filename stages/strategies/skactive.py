"""scikit-activeml's strategies on stored probabilities and the geometry.

Its own code makes every pick. What is not its own: a classifier that only returns the stored rows,
and a bound on what it is given, since several of its strategies hold n x n or n x k x d numbers:
beyond `sample` candidates they see the first in the order of keys, which is a uniform draw (for
strategies on doubt: half of it, the other half the most doubtful). Class weights multiply the
scores of strategies that score rows one by one, and the gradients of `badge`; its other clusterings
do not know them.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skactiveml import pool
from skactiveml.base import SkactivemlClassifier
from skactiveml.classifier import ParzenWindowClassifier
from sklearn.exceptions import ConvergenceWarning

from stages.contract.arrays import Floats
from stages.contract.errors import PipelineError
from stages.contract.identity import best_first
from stages.learning.scoring import margin_of
from stages.strategies import PARAM, Candidates, Ranking, diversity
from stages.strategies.uncertainty import by_score

SAMPLE = 5_000


def _scores(candidates: Candidates, method: str, strategy: str) -> Floats:
    return np.asarray(
        pool.uncertainty_scores(candidates.require_probabilities(strategy), method=method)
    )


def least_confidence(candidates: Candidates, count: int) -> Ranking:
    """The rows whose likeliest class is least likely, by `uncertainty_scores`."""
    scores = _scores(candidates, "least_confident", "least_confidence")
    return by_score(candidates, scores, count, "uncertain", "least confidence {score:.3f}")


def margin(candidates: Candidates, count: int) -> Ranking:
    """The rows whose two likeliest classes are closest, by `uncertainty_scores`; score = 1 - gap."""
    scores = _scores(candidates, "margin_sampling", "margin")
    return by_score(candidates, scores, count, "uncertain", "1 - margin {score:.3f}")


def entropy(candidates: Candidates, count: int) -> Ranking:
    """The rows of the highest entropy in nats, by `uncertainty_scores`."""
    scores = _scores(candidates, "entropy", "entropy")
    return by_score(candidates, scores, count, "uncertain", "entropy {score:.3f}")


def kl_divergence(candidates: Candidates, count: int) -> Ranking:
    """Query by committee: the largest mean divergence of the members from their consensus, in nats."""
    scores = np.asarray(pool.average_kl_divergence(candidates.require_committee("kl_divergence")))
    return by_score(
        candidates, scores, count, "disagreement", "mean divergence from the committee {score:.3f}"
    )


def vote_entropy(candidates: Candidates, count: int) -> Ranking:
    """Query by committee: the most even votes, by scikit-activeml's `vote_entropy` (normalised as it does)."""
    members = candidates.require_committee("vote_entropy")
    scores = np.asarray(pool.vote_entropy(members.argmax(axis=2).T, np.arange(members.shape[2])))
    return by_score(candidates, scores, count, "disagreement", "vote entropy {score:.3f}")


def variation_ratios(candidates: Candidates, count: int) -> Ranking:
    """Query by committee: the smallest share of members that vote for the likeliest class."""
    members = candidates.require_committee("variation_ratios")
    scores = np.asarray(pool.variation_ratios(members.argmax(axis=2).T))
    return by_score(
        candidates, scores, count, "disagreement", "votes against the majority {score:.3f}"
    )


def batch_bald(candidates: Candidates, count: int, sample: int = 1_000) -> Ranking:
    """The largest joint mutual information of the batch and the committee; its own greedy search.

    Its cost grows with members^batch up to its Monte Carlo limit: keep batches small.
    """
    members = candidates.require_committee("batch_bald")
    rows = _bounded(candidates, max(sample, count), doubtful=True)
    utilities = pool.batch_bald(members[:, rows], count, random_state=candidates.seed % 2**32)
    chosen: list[int] = []
    scores: list[float] = []
    for utility in np.asarray(utilities):
        free = np.maximum(
            np.nan_to_num(utility, nan=-1), -1
        )  # information is never negative, its estimate can be
        free[chosen] = -2
        chosen.append(int(best_first(free, candidates.keys[rows], 1)[0]))
        scores.append(float(free[chosen[-1]]))
    reasons = [f"information about the committee, {score:.3f}" for score in scores]
    return Ranking(rows[chosen], np.array(scores), reasons, "disagreement")


def _bounded(candidates: Candidates, sample: int, *, doubtful: bool) -> NDArray[np.intp]:
    """Rows to look at, in the order of keys: all, or a uniform draw, half of it the most doubtful if they matter."""
    n = len(candidates)
    if n <= sample or not doubtful or candidates.probabilities is None:
        return np.arange(min(n, sample))
    doubt = margin_of(candidates.probabilities)
    doubt[: sample // 2] = -1
    return np.sort(
        np.concatenate(
            [np.arange(sample // 2), best_first(doubt, candidates.keys, sample - sample // 2)]
        )
    )


def _seeded(candidates: Candidates, kind: Any, *, clusters: bool = False, **options: object) -> Any:
    """One of its strategies with the candidates' seed, which its k-means takes too where it `clusters`."""
    seed = {"random_state": candidates.seed % 2**32}
    return kind(**seed, **({"cluster_algo_dict": seed} if clusters else {}), **options)


def _stored(candidates: Candidates, rows: NDArray[np.intp]) -> SkactivemlClassifier:
    """What scikit-activeml takes for a fitted classifier; successive votes are those of the committee's members."""

    class Stored(SkactivemlClassifier):  # type: ignore[misc]  # scikit-activeml has no types
        def __init__(self) -> None:
            super().__init__()
            self.classes = self.classes_ = np.arange(len(candidates.class_weights))
            self.asked = 0

        def fit(self, *_: object) -> Stored:
            return self

        def predict_proba(self, _: object) -> Floats:
            return candidates.require_probabilities("skactiveml")[rows]

        def predict(self, _: object) -> NDArray[np.intp]:
            members = candidates.require_committee("drop_query")
            votes = [members.mean(axis=0), *members][self.asked % (len(members) + 1)]
            self.asked += 1
            return np.asarray(votes[rows].argmax(axis=1))

    return Stored()


def _picked(
    candidates: Candidates, count: int, sample: int, strategy: Any, reason: str, regime: str, stored: str = "",
    extra: dict[str, object] | None = None, scale: Floats | None = None,
) -> Ranking:  # fmt: skip
    """The strategy's own query on the bounded candidates; `stored` names the argument that takes the classifier.

    scale: (n,) factors of the candidates' geometry.
    """
    rows = _bounded(candidates, max(sample, count), doubtful=bool(stored))
    space = np.concatenate([candidates.geometry[rows], candidates.labelled]).astype(np.float64)
    if scale is not None:
        space[: len(rows)] *= scale[rows, None]
    classes = np.concatenate(
        [np.full(len(rows), np.nan), candidates.labelled_class.astype(np.float64)]
    )
    options = {stored: _stored(candidates, rows), f"fit_{stored}": False} if stored else extra or {}
    with (
        warnings.catch_warnings()
    ):  # fewer distinct points than clusters: it goes on with fewer, and so do we
        warnings.simplefilter("ignore", category=ConvergenceWarning)
        warnings.simplefilter(
            "ignore", category=RuntimeWarning
        )  # its sums overflow far from every label: NaN
        warnings.filterwarnings("ignore", message="'batch_size=")  # and then it picks fewer
        warnings.filterwarnings(
            "ignore", message="The maximum purity"
        )  # no clear clusters: the purest radius serves
        picks, utilities = strategy.query(
            space, classes, batch_size=count, return_utilities=True, **options
        )
    values = np.nan_to_num(np.asarray(utilities)[np.arange(len(picks)), picks], posinf=0, neginf=0)
    first = np.sort(
        np.unique(picks, return_index=True)[1]
    )  # Badge repeats itself where all gradients are equal
    rest = np.setdiff1d(np.arange(len(rows)), picks)[: count - len(first)]
    reasons = [reason.format(score=value) for value in values[first]]
    reasons += ["drawn at random: the strategy tells no more rows apart"] * len(rest)
    scores = np.concatenate([values[first], np.zeros(len(rest))])
    return Ranking(rows[np.concatenate([np.asarray(picks)[first], rest])], scores, reasons, regime)


def badge(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """k-means++ on gradient embeddings, by `Badge`; a gradient is as long as its row's class importance says."""
    candidates.require_probabilities("badge")
    reason, strategy = "a gradient unlike the rest of the batch", _seeded(candidates, pool.Badge)
    return _picked(
        candidates,
        count,
        sample,
        strategy,
        reason,
        "gradients",
        "clf",
        scale=candidates.importance(),
    )


def core_set(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The greedy k-centre, by `CoreSet`."""
    reason = "far from every label and earlier pick, distance {score:.3f}"
    return _picked(candidates, count, sample, _seeded(candidates, pool.CoreSet), reason, "far")


def typiclust(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The typical row of each large cluster without a label, by `TypiClust`; ours where every cluster holds one."""
    strategy = _seeded(candidates, pool.TypiClust, clusters=True)
    try:
        return _picked(
            candidates,
            count,
            sample,
            strategy,
            "typical of its region, typicality {score:.3f}",
            "typical",
        )
    except UnboundLocalError:  # its own fault where no cluster is left
        return diversity.typiclust(candidates, count)


def prob_cover(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The rows whose balls cover most of what no label covers, by `ProbCover`."""
    classes = len(candidates.class_weights)
    deltas = (
        [0.2] if len(candidates) + len(candidates.labelled) < classes else None
    )  # too few to choose a radius by
    strategy = _seeded(candidates, pool.ProbCover, clusters=True, n_classes=classes, deltas=deltas)
    return _picked(
        candidates,
        count,
        sample,
        strategy,
        "covers {score:.0f} rows that no label covers",
        "coverage",
    )


def max_herding(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The rows that raise the kernel coverage of the pool most, by `MaxHerding`."""
    reason = "raises the coverage of the pool by {score:.5f}"
    return _picked(
        candidates, count, sample, _seeded(candidates, pool.MaxHerding), reason, "coverage"
    )


def falcun(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """Doubtful rows with unlike probabilities, by `Falcun`."""
    candidates.require_probabilities("falcun")
    reason = "doubtful, unlike the rest of the batch"
    return _picked(
        candidates, count, sample, _seeded(candidates, pool.Falcun), reason, "doubt", "clf"
    )


def clue(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The rows nearest to the centres of an entropy-weighted k-means, by `Clue`."""
    candidates.require_probabilities("clue")
    strategy = _seeded(candidates, pool.Clue, clusters=True)
    return _picked(
        candidates, count, sample, strategy, "centre of a doubtful region", "doubt", "estimator"
    )


def drop_query(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """Centres of the rows on which the committee mostly contradicts its consensus, by `DropQuery`.

    The committee's members stand for the dropout predictions of the original, which need a model.
    """
    members = len(candidates.require_committee("drop_query"))
    strategy = _seeded(candidates, pool.DropQuery, clusters=True, n_dropout_samples=max(members, 3))
    return _picked(
        candidates, count, sample, strategy, "centre of a disputed region", "disagreement", "clf"
    )


def _by_evidence(
    candidates: Candidates, count: int, sample: int, kind: Any, reason: str
) -> Ranking:
    """By the classes of labelled rows nearby, weighted by distance: evidence that needs no trained model."""
    known = candidates.labelled_class >= 0
    window = ParzenWindowClassifier(classes=np.arange(len(candidates.class_weights)))
    window.fit(
        candidates.labelled[known].astype(np.float64),
        candidates.labelled_class[known].astype(np.float64),
    )
    extra: dict[str, object] = {"clf": window, "fit_clf": False}
    return _picked(
        candidates, count, sample, _seeded(candidates, kind), reason, "uncertain", extra=extra
    )


def epistemic(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The rows about which more labels nearby would tell most, by `EpistemicUncertaintySampling`.

    The evidence is that of a Parzen window on the labelled geometry. Raises PipelineError for more
    than two classes.
    """
    if len(candidates.class_weights) != 2:
        what = "strategy 'epistemic' is for two classes"
        raise PipelineError(PARAM, what, "use `probabilistic`, which rests on the same evidence")
    reason = "little evidence nearby, epistemic uncertainty {score:.3f}"
    return _by_evidence(candidates, count, sample, pool.EpistemicUncertaintySampling, reason)


def probabilistic(candidates: Candidates, count: int, sample: int = SAMPLE) -> Ranking:
    """The rows of the highest expected gain by label density and evidence nearby, by `ProbabilisticAL` (McPAL)."""
    return _by_evidence(
        candidates, count, sample, pool.ProbabilisticAL, "expected gain {score:.4f}"
    )
