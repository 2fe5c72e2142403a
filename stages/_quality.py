"""Which labels are probably wrong, and what else is odd about them: shared by clean_seed, gate and `rounds inspect`.

Everything here is a function of arrays; decisions about rounds, people and queues are in gate.
Distances are those of the geometry: similarity = 1 - squared distance / 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from stages._agreement import annotator_quality, true_classes, vote_table, weighable
from stages._canonical import Row
from stages._identity import order_keys
from stages._learning import out_of_fold, softmax
from stages._near import SAMPLE, Near, beyond_chance, said_alike
from stages._params import Params
from stages._progress import watched
from stages._scoring import wilson
from stages._store import Matrix

Floats = NDArray[np.float64]
Geometry = NDArray[np.float32]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]

NEIGHBOURS = 15
TREES, TREE_ROWS = 100, 5000  # a forest for doubt, not for accuracy: small trees, bounded in time and memory
TEMPERATURES = tuple(1.5 * 0.8**step for step in range(14))  # of the truth, relative to a calibrated model
LONE_WITNESS = 0.32  # the temperature at most, where nothing tells how far a model's doubt is ignorance
SUREST = 0.2  # share of the rows, those where a lone witness is surest, on which its contradictions are believed
PRIOR_WRONG, PRIOR_RIGHT = 1.0, 19.0  # before any evidence: one label in twenty is wrong, worth twenty labels
PRIOR_CONFUSION = 10.0  # labels' worth of belief that mistakes fall evenly on the other classes
PRIOR_EXCESS = 0.06  # standard deviation of the share of wrong labels that witnesses tell, before any evidence
MIN_LABELS = 20  # fewer labels than this are not judged
MIN_EVIDENCE = 2.0  # standard errors by which labels must fit the scores better than shuffled ones, to be judged
FIT_ROWS = 10_000  # the few numbers of the error model are fitted on at most this many labels
SHIFT_PRIOR, SHIFT_LEAST, SHIFT_MOST = 0.5, -3.0, 1.0  # in log odds of error
SUPPORTED = 0.5  # of the median similarity to the nearest other row: below it, a row is like nothing in training
PROBABLY_WRONG = 0.5
BLOCK = 2**24  # elements of a block of distances
OUTLIER = 3.0  # times the median distance to the neighbours
TINY = 1e-300


@dataclass(frozen=True)
class Doubts:
    """What is known about n labels: how likely each is wrong, and what it should be instead.

    error     (n,) probability in [0, 1] that the label is wrong; 0 where not judged
    suggested (n,) the likeliest other class, or the label itself where not judged
    judged    (n,) False where the evidence is too thin: few labels in all or of the class, or a model without a clue
    noise     estimated share of wrong labels among the judged ones, in [0, 1]
    sharpness temperature at which softmax(scores / sharpness) are the chances of the true class
    """

    error: Floats
    suggested: Ints
    judged: Mask
    noise: float
    sharpness: float = 1.0


@dataclass(frozen=True)
class Neighbours:
    """The nearest other rows of n rows, nearest first: rows (n, k), squared distances (n, k)."""

    rows: Ints
    squared: Geometry


def neighbours(geometry: Geometry, k: int = NEIGHBOURS) -> Neighbours:
    """The k nearest other rows (all, when there are fewer), exactly, in blocks of bounded memory. Ties by row.

    The k-th smallest of the minima of k groups or more bounds the k-th smallest distance: only what lies within the
    bound is sorted.
    """
    n = len(geometry)
    k = max(0, min(k, n - 1))
    rows, squared = np.zeros((n, k), dtype=np.intp), np.zeros((n, k), dtype=np.float32)
    space = np.ascontiguousarray(geometry, dtype=np.float32)
    norms = np.einsum("ij,ij->i", space, space)
    step, width = max(16, BLOCK // max(n, 1)), max(1, min(32, n // max(2 * k, 1)))
    for start in watched("neighbours", range(0, n if k else 0, step), "block"):
        part = space[start : start + step]
        distance = part @ space.T
        distance *= -2
        distance += norms
        at = np.arange(len(part))
        distance[at, start + at] = np.inf
        least = np.minimum.reduceat(distance, np.arange(0, n, width), axis=1)
        bound = np.partition(least, k - 1, axis=1)[:, k - 1]
        row, column = np.nonzero(distance <= bound[:, None])
        found = distance[row, column]
        order = np.lexsort((column, found, row))
        best = order[np.searchsorted(row, at)[:, None] + np.arange(k)]
        rows[start : start + step] = column[best]
        squared[start : start + step] = np.maximum(found[best] + norms[start : start + step, None], 0)
    return Neighbours(rows, squared)


def neighbour_view(near: Neighbours, labels: Ints, n_classes: int) -> Floats:
    """Logits (n, n_classes) from the labels of the nearest other rows, nearer ones counting more."""
    n, k = near.rows.shape
    share = np.bincount(labels, minlength=n_classes) / max(n, 1)
    votes = np.zeros((n, n_classes))
    if k:
        weight = np.exp(-near.squared / max(float(np.median(near.squared[:, -1])), 1e-9))
        for place in range(k):
            votes[np.arange(n), labels[near.rows[:, place]]] += weight[:, place]
    return np.asarray(np.log((votes + share) / (votes.sum(axis=1, keepdims=True) + 1) + 1e-9))


def forest_view(geometry: Geometry, labels: Ints, n_classes: int, seed: int) -> Floats:
    """Out-of-bag logits (n, n_classes) of extremely randomised trees, each grown, read and dropped.

    Source: Geurts, Ernst, Wehenkel, "Extremely randomized trees" (2006).
    """
    from sklearn import config_context
    from sklearn.tree import ExtraTreeClassifier

    n, space = len(labels), np.ascontiguousarray(geometry, dtype=np.float32)
    share = np.bincount(labels, minlength=n_classes) / max(n, 1)
    total, seen, draw = np.zeros((n, n_classes)), np.zeros(n), np.random.default_rng(seed)
    with config_context(skip_parameter_validation=True):  # with the checks of the rows, a third of a small tree
        for number in watched("trees", range(TREES if n >= MIN_LABELS else 0), "tree"):
            bag = draw.integers(0, n, min(n, TREE_ROWS))
            tree = ExtraTreeClassifier(max_features="sqrt", min_samples_leaf=2, random_state=seed + number)
            tree.fit(space[bag], labels[bag], check_input=False)
            out = np.flatnonzero(np.bincount(bag, minlength=n) == 0)
            if len(out):
                total[np.ix_(out, tree.classes_)] += tree.predict_proba(space[out], check_input=False)
            seen[out] += 1
    return np.asarray(np.log((total + share) / (seen[:, None] + 1) + 1e-9))


def pooled(views: Sequence[Floats], labels: Ints) -> Floats:
    """One set of logits (n, k) from several out-of-sample ones: a weighted sum, calibrated to the labels as they are.

    The weights (>= 0) have the highest likelihood under a weak prior of equal shares. One view alone is rescaled.
    Source: Genest, Zidek, "Combining probability distributions" (1986): the logarithmic opinion pool.
    """
    from scipy.optimize import minimize

    shifted = [np.maximum(view - view.max(axis=1, keepdims=True), -30.0) for view in views]
    some = np.linspace(0, len(labels) - 1, min(len(labels), FIT_ROWS)).astype(np.intp)
    parts = [view[some] for view in shifted]
    given = [part[np.arange(len(some)), labels[some]] for part in parts]
    start = np.full(len(views), -math.log(len(views)))

    def loss(log_weight: Floats) -> tuple[float, Floats]:
        weight = np.exp(log_weight)
        chances = softmax(sum((w * part for w, part in zip(weight, parts, strict=True)), np.zeros_like(parts[0])))
        own = chances[np.arange(len(some)), labels[some]]
        slope = [
            w * float(((chances * part).sum(axis=1) - told).sum())
            for w, part, told in zip(weight, parts, given, strict=True)
        ]
        away = log_weight - start
        return float(-np.log(own + TINY).sum() + away @ away / 2), np.asarray(slope) + away

    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-5.0, 3.0)] * len(views)).x
    return np.asarray(sum((w * view for w, view in zip(np.exp(best), shifted, strict=True)), np.zeros_like(shifted[0])))


def disagreement(views: Sequence[Floats], labels: Ints) -> float | None:
    """Share of wrong labels by what several witnesses say of each other; None for one witness.

    views: logits (n, k) each. Witnesses that learned apart contradict each other as often as each contradicts the
    truth. What they contradict the labels beyond that is the labels' fault, as far as chance does not make it: the
    share is the posterior mean for a normal prior at 0, so few labels that nobody can tell well apart say nearly
    nothing. Source: Jiang, Nagarajan, Baek, Kolter, "Assessing generalization of SGD via disagreement" (2022); no such
    claim is made there for witnesses of different kinds: benchmarks/gate.py has it.
    """
    said, n, k = [view.argmax(axis=1) for view in views], len(labels), len(np.unique(labels))
    if len(said) < 2 or k < 2:
        return None
    against = float(np.mean([(one != labels).mean() for one in said]))
    apart = float(np.mean([(one != other).mean() for one, other in combinations(said, 2)]))
    room = max(1 - apart * k / (k - 1), 0.1)
    chance = apart * (1 - apart) / n / room**2
    return min(max((against - apart) / room / (1 + chance / PRIOR_EXCESS**2), 0.0), 1.0)


def witnessed_share(views: Sequence[Floats], labels: Ints, near: Neighbours) -> float | None:
    """`disagreement` on the rows that are like something in training; None for one witness, 0 on fewer than MIN_LABELS.

    Of a row unlike all others the neighbours and the forest know nothing: both fall back on the commonest class. That
    they agree is then no sign of a wrong label, but of the same ignorance.
    """
    if len(views) < 2:
        return None
    seen = supported(near)
    if seen.sum() < MIN_LABELS:
        return 0.0
    return disagreement([view[seen] for view in views], labels[seen])


def supported(near: Neighbours) -> Mask:
    """Whether something else among the rows is like each of them, (n,); all are where nothing tells distances.

    Like: at least half as similar as the nearest row usually is. A text that shares no words with another has a
    similarity near 0; and so has a row of numbers that is as far from all others as two rows drawn at random are.
    """
    if not near.rows.shape[1]:
        return np.ones(len(near.rows), dtype=np.bool_)
    similarity = 1 - near.squared[:, 0].astype(np.float64) / 2
    return np.asarray(similarity >= SUPPORTED * np.median(similarity))


def doubts(scores: Floats, labels: Ints, min_class: int, witnessed: float | None = None) -> Doubts:
    """How likely each of n labels is wrong, from calibrated out-of-sample logits (n, k) and class indices (n,).

    A label is either right, drawn from softmax(scores / t), or wrong: a true class y drawn from it was taken for
    the label with chance q[y, label]. The share of wrong labels, q and t are fitted by maximum a posteriori (EM).
    So far only mistakes that no doubt of the model explains are found. Calibrated to wrong labels, a model takes the
    others for its own ignorance; how many those are, `witnessed` tells (the share of wrong labels by `disagreement`).
    Witnesses that learned from such mistakes repeat about half of them, so their excess counts twice, and t is lowered
    until the fitted share of wrong labels is as large. A lone witness is taken at the likeliest t or LONE_WITNESS, the
    lower of the two, and sharper still until as many are wrong as it contradicts where it is surest.
    Sources: for the noise model, Natarajan et al., "Learning with noisy labels" (2013); for EM over it, Dawid, Skene,
    "Maximum likelihood estimation of observer error-rates using the EM algorithm" (1979).
    """
    n, k = scores.shape
    counts = np.bincount(labels, minlength=k)
    judged = counts[labels] >= min_class
    classes = np.flatnonzero(counts)
    if judged.sum() < MIN_LABELS or len(classes) < 2:
        return _unjudged(labels)
    place, rows = np.searchsorted(classes, labels), np.flatnonzero(judged)
    narrow = scores[:, classes]
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), FIT_ROWS)).astype(np.intp)]
    if _evidence(softmax(narrow[some]), place[some]) < MIN_EVIDENCE:
        return _unjudged(labels)
    fitted = _fit_sharpness(narrow[some], place[some], witnessed)
    error, suggested = np.zeros(n), labels.copy()
    for part in np.array_split(rows, max(1, len(rows) * len(classes) // BLOCK)):
        own, other = _explained(softmax(narrow[part], fitted.temperature), place[part], fitted.confusion)
        mistaken = fitted.wrong * other.sum(axis=1)
        error[part] = mistaken / (mistaken + (1 - fitted.wrong) * own + TINY)
        other[np.arange(len(part)), place[part]] = -1
        suggested[part] = classes[other.argmax(axis=1)]
    return Doubts(error, suggested, judged, float(error[judged].mean()), fitted.temperature)


def _evidence(chances: Floats, place: Ints) -> float:
    """How much better labels fit their chances (n, k) than the same labels shuffled do, in standard errors.

    Source: the permutation moments of Mantel, "The detection of disease clustering ..." (1967).
    """
    told, given = chances - chances.mean(axis=0), np.eye(chances.shape[1])[place]
    given -= given.mean(axis=0)
    variance = float(((told.T @ told) * (given.T @ given)).sum()) / max(len(place) - 1, 1)
    return float((told * given).sum()) / math.sqrt(variance) if variance > 0 else 0.0


@dataclass(frozen=True)
class _Fit:
    """The error model: log posterior, share of wrong labels, q (k, k), and the temperature it was fitted at."""

    posterior: float
    wrong: float
    confusion: Floats
    temperature: float


def _fit_sharpness(scores: Floats, place: Ints, witnessed: float | None) -> _Fit:
    """The likeliest temperature and, from there, the sharper one at which enough labels are wrong (see `doubts`)."""
    fits = (_Fit(*_fit_errors(softmax(scores, t), place), t) for t in TEMPERATURES)
    likeliest = now = next(fits)
    for now in fits:
        if now.posterior < likeliest.posterior:
            break
        likeliest = now
    tried, sharper = [likeliest], chain([now], fits)
    if witnessed is None:
        while tried[-1].temperature > LONE_WITNESS:
            tried = [next(sharper)]
        goal = _surely_contradicted(scores, place)
    else:
        goal = 2 * witnessed - likeliest.wrong
    while tried[-1].wrong < goal and (one := next(sharper, None)):
        tried.append(one)
    return min(tried, key=lambda one: abs(one.wrong - goal))


def _surely_contradicted(scores: Floats, place: Ints) -> float:
    """Share of labels that differ from the likeliest class among the SUREST of rows, its lower Wilson bound (95 %).

    Where a witness is surest the truth is clear, so that the label must be wrong; and clear examples are mistaken no
    more often than others. So it bounds the share of wrong labels from below.
    Source: the anchor points of Liu, Tao, "Classification with noisy labels by importance reweighting" (2016).
    """
    ranked = np.partition(scores, -2, axis=1)
    rows = np.argsort(ranked[:, -2] - ranked[:, -1], kind="stable")[: max(1, int(SUREST * len(scores)))]
    against = int((scores[rows].argmax(axis=1) != place[rows]).sum())
    return wilson(against, len(rows))[0]


def _explained(chances: Floats, place: Ints, confusion: Floats) -> tuple[Floats, Floats]:
    """The chance of each label if it is right (n,), and by each other true class if it is wrong (n, k)."""
    at = np.arange(len(place))
    other = chances * confusion[:, place].T
    other[at, place] = 0
    return chances[at, place], other


def _fit_errors(chances: Floats, place: Ints) -> tuple[float, float, Floats]:
    """Log posterior, share of wrong labels, and q (k, k): the chance that a wrong label of true class y is z."""
    n, k = chances.shape
    even = np.full((k, k), 1 / (k - 1))
    np.fill_diagonal(even, 0)
    confusion, wrong = even, PRIOR_WRONG / (PRIOR_WRONG + PRIOR_RIGHT)
    posterior = -math.inf
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(k))
    present = np.flatnonzero(np.bincount(place, minlength=k))
    for _ in range(30):
        own, other = _explained(chances, place, confusion)
        mistaken = wrong * other.sum(axis=1)
        total = mistaken + (1 - wrong) * own + TINY
        before, posterior = posterior, float(np.log(total).sum())
        posterior += PRIOR_WRONG * math.log(wrong) + PRIOR_RIGHT * math.log1p(-wrong)
        posterior += PRIOR_CONFUSION * float((even * np.log(confusion + TINY))[even > 0].sum())
        flips = np.zeros((k, k))
        flips[:, present] = np.add.reduceat((other * (wrong / total)[:, None])[order], starts[present], axis=0).T
        confusion = (flips + PRIOR_CONFUSION * even) / (flips.sum(axis=1, keepdims=True) + PRIOR_CONFUSION)
        wrong = (float((mistaken / total).sum()) + PRIOR_WRONG) / (n + PRIOR_WRONG + PRIOR_RIGHT)
        if posterior - before < 1e-4 * n:
            break
    return posterior, wrong, confusion


@dataclass(frozen=True)
class Judgement:
    """All that is found about n labelled rows.

    doubts     how likely each label is wrong
    scores     (n, k) calibrated out-of-sample logits that the doubts rest on; all 0 below MIN_LABELS rows
    conflict   (n,) True where an exact copy of the row has another label
    outlier    (n,) mean distance to the neighbours over the median one; above OUTLIER is far from everything
    duplicates (n,) number of the group of near duplicates, -1 for none
    near       the neighbours among the rows that are left when exact copies with the same label are taken out
    """

    doubts: Doubts
    scores: Floats
    conflict: Mask
    outlier: Floats
    duplicates: Ints
    near: Neighbours


def judge(
    matrix: Matrix, geometry: Geometry, labels: Ints, ids: list[str], sha: list[str], params: Params,
    given: Floats | None = None,
) -> Judgement:  # fmt: skip
    """What can be found about n labelled rows by what has not seen them: the user's model, the neighbours, a forest.

    With `given` out-of-sample logits (n, k) nothing is trained, and the matrix is not looked at: the neighbours alone
    are a second witness. A geometry of no columns has no neighbours. A row and its exact copy with the same label are
    judged as one: a copied mistake cannot vouch for itself. Copies with different labels cannot all be right: each is
    wrong with at least the share of copies that contradict it.
    """
    n, k = len(labels), len(params.labels)
    first: dict[tuple[str, int], int] = {}
    place = np.array([first.setdefault((key, int(c)), len(first)) for key, c in zip(sha, labels, strict=True)], np.intp)
    keep = np.unique(place, return_index=True)[1]
    kept, space = labels[keep], np.asarray(geometry[keep])
    near = neighbours(space, NEIGHBOURS if space.shape[1] else 0)
    scores, found = np.zeros((len(keep), k)), _unjudged(kept)
    if len(keep) >= MIN_LABELS:
        if given is None:
            names, folds = [ids[row] for row in keep], params.quality.folds
            model = out_of_fold(params.model, matrix[keep], kept, names, k, folds, params.seed)
            views = [model, neighbour_view(near, kept, k), forest_view(space, kept, k, params.seed)]
        else:
            views = [given[keep], *([neighbour_view(near, kept, k)] if space.shape[1] else [])]
        scores = pooled(views, kept)
        found = doubts(scores, kept, params.quality.min_class, witnessed_share(views, kept, near))
        found = not_known(found, kept, supported(near))
    same = np.bincount(place, minlength=len(keep))[place]
    copies = np.unique(np.array(sha, dtype=str), return_inverse=True)[1] if n else place
    against = 1 - same / np.bincount(copies)[copies] if n else np.zeros(0)
    features, alike = matrix[keep] if given is None else space, params.quality.near_duplicate
    group = duplicate_groups(
        near, Near(features, space, beyond_chance(space[:: 1 + len(space) // SAMPLE], alike), alike)
    )[place]
    sizes = np.bincount(group, minlength=1)[group] if n else group
    error, judged = np.maximum(found.error[place], against), found.judged[place] | (against > 0)
    spread = replace(found, error=error, suggested=found.suggested[place], judged=judged)
    group = np.where(sizes > 1, group, -1)
    return Judgement(spread, scores[place], against > 0, outliers(near)[place], group, near)


def with_annotators(
    found: Judgement, given: Sequence[Mapping[str, int]], labels: Ints
) -> tuple[Judgement, dict[str, float]]:
    """The judgement that heeds every vote on rows that several people labelled, and each annotator's quality.

    given: for each of the n rows, the class each annotator gave it; labels (n,): what is judged. Rows with one vote
    keep their doubt, and so do all while annotators cannot be weighed. People who agree on a row cannot clear it of the
    doubt that an exact copy with another label casts: there the larger of both doubts holds.
    """
    people, votes = vote_table(given)
    if not weighable(votes):
        return found, {}
    told = found.doubts
    chances = true_classes(softmax(found.scores, told.sharpness), votes)[0]
    at = np.arange(len(labels))
    several = (~np.isnan(votes)).sum(axis=1) > 1
    error = np.where(several, 1 - chances[at, labels], told.error)
    error = np.where(found.conflict, np.maximum(error, told.error), error)
    chances[at, labels] = -1
    suggested = np.where(several, chances.argmax(axis=1), told.suggested)
    noise = float(error[told.judged].mean()) if told.judged.any() else 0.0
    quality = dict(zip(people, annotator_quality(votes, softmax(found.scores)), strict=True))
    return replace(found, doubts=replace(told, error=error, suggested=suggested, noise=noise)), quality


def not_known(found: Doubts, labels: Ints, seen: Mask) -> Doubts:
    """The doubts without those about rows that are like nothing else, and none surer than n labels allow.

    By Laplace's rule of succession n labels cannot make a mistake likelier than (n + 1) / (n + 2).
    """
    judged = found.judged & seen
    n = int(judged.sum())
    error = np.where(judged, found.error * (n + 1) / (n + 2), 0.0)
    noise = float(error[judged].mean()) if n else 0.0
    return replace(found, error=error, suggested=np.where(judged, found.suggested, labels), judged=judged, noise=noise)


def _unjudged(labels: Ints) -> Doubts:
    return Doubts(np.zeros(len(labels)), labels.copy(), np.zeros(len(labels), dtype=np.bool_), 0.0)


def class_balance(labels: Ints, n_classes: int) -> Floats:
    """How many labels each label's class has beside the mean of all classes, (n,) in (0, 1]; 1: as many, or more."""
    counts = np.bincount(labels, minlength=n_classes)
    return np.asarray(np.minimum(1.0, counts[labels] * n_classes / max(len(labels), 1)))


def issue_rows(ids: list[str], labels: Ints, found: Judgement, names: list[str]) -> list[Row]:
    """One row per label, the likeliest mistakes first: the whole ranking, with every score that was computed."""
    order = np.lexsort((np.array(ids, dtype=str), -np.round(found.doubts.error, 9)))
    balance = class_balance(labels, len(names))
    return [
        {
            "id": ids[row],
            "label": names[labels[row]],
            "suggested": names[found.doubts.suggested[row]],
            "error": found.doubts.error[row] if found.doubts.judged[row] else None,
            "conflict": found.conflict[row],
            "outlier": found.outlier[row],
            "duplicates": int(found.duplicates[row]) if found.duplicates[row] >= 0 else None,
            "class_balance": balance[row],
        }
        for row in order
    ]


def cleanlab_issues(scores: Floats, labels: Ints) -> Mask:
    """Label errors as cleanlab chooses them, (n,): confident learning, `find_label_issues` as it comes.

    Source: Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in dataset labels" (2021).
    """
    from cleanlab.filter import find_label_issues

    classes, place = np.unique(labels, return_inverse=True)
    return np.asarray(find_label_issues(place, softmax(scores[:, classes]), n_jobs=1), dtype=np.bool_)


def reviewed_shift(scores: Floats, wrong: Mask) -> float:
    """By how much log odds of error are to be moved, given the doubts people answered: scores (n,) and outcomes (n,).

    Past doubts that were confirmed lower it, contradicted ones raise it. Maximum a posteriori with a normal prior of
    deviation SHIFT_PRIOR, and at most SHIFT_MOST: reviews look only at the most doubtful labels, and what they teach
    about those must not turn the many that nobody doubted into suspects. 0 without answers.
    """
    from scipy.optimize import minimize_scalar

    odds = np.log(np.clip(scores, 0.01, 0.99) / (1 - np.clip(scores, 0.01, 0.99)))

    def loss(shift: float) -> float:
        moved = odds + shift
        return float(np.logaddexp(0, moved).sum() - moved[wrong].sum() + shift**2 / (2 * SHIFT_PRIOR**2))

    return float(minimize_scalar(loss, bounds=(SHIFT_LEAST, SHIFT_MOST), method="bounded").x) if len(odds) else 0.0


def shifted(error: Floats, shift: float) -> Floats:
    """Probabilities with their log odds moved by `shift`; 0 and 1 stay."""
    moved = error * math.exp(shift)
    return np.asarray(moved / (moved + 1 - error))


def doubt(
    found: Judgement,
    error: Floats,
    labels: Ints,
    ids: list[str],
    able: Mask,
    share: float,
    params: Params,
    *,
    reviews: int | None,
) -> Mask:
    """The labels to set aside and ask again, (n,): by gate.policy, among `able`, at most `share` of all.

    threshold: error at least the cost of a review over the cost of an error; budget: what one batch can ask;
    cleanlab: what cleanlab would remove. A doubt that people will not soon be asked about costs a label and buys
    nothing: under `threshold`, beyond what two batches can review, only labels that are likelier wrong than right by
    the model's own, uncorrected account are set aside. The most doubtful first, ties by seed and id. Never more than
    half of a class: a model that doubts most labels of a class does not know the class. reviews: how many labels one
    batch asks again; None where nobody is asked.
    """
    limit = int(share * len(labels))
    wanted = able & found.doubts.judged
    if params.gate.policy == "threshold":
        wanted &= error >= params.gate.threshold
    elif params.gate.policy == "cleanlab":
        wanted &= cleanlab_issues(found.scores, labels) | found.conflict
    elif reviews is not None:
        limit = min(limit, reviews)
    soon = len(labels) if reviews is None else 2 * reviews
    chosen = np.zeros(len(labels), dtype=np.bool_)
    room = np.bincount(labels, minlength=1) // 2
    rows = np.flatnonzero(wanted)
    keys = order_keys(params.seed, (ids[row] for row in rows))
    for place, row in enumerate(rows[np.lexsort((keys, -np.round(error[rows], 9)))]):
        if params.gate.policy == "threshold" and place >= soon and found.doubts.error[row] < PROBABLY_WRONG:
            continue
        if limit > 0 and room[labels[row]] > 0:
            room[labels[row]] -= 1
            limit -= 1
            chosen[row] = True
    return chosen


def outliers(near: Neighbours) -> Floats:
    """How far each row lies from its neighbours, (n,): mean distance over the median one; above 3 is an outlier.

    Source: Kuan, Mueller, "Back to the basics: revisiting out-of-distribution detection baselines" (2022).
    """
    if not near.rows.shape[1]:  # alone, so neither near nor far
        return np.zeros(len(near.rows))
    mean = np.sqrt(near.squared.astype(np.float64)).mean(axis=1)
    return np.asarray(mean / max(float(np.median(mean)), 1e-9))


def duplicate_groups(near: Neighbours, rows: Near) -> Ints:
    """A group number per row, (n,): rows linked by near duplicates among their neighbours share it."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(near.rows)
    if not n:
        return np.zeros(0, dtype=np.intp)
    left, column = np.nonzero(near.squared <= rows.limit)
    right = near.rows[left, column]
    linked = said_alike(rows.matrix, left, right, rows.threshold)
    links = coo_array((linked.astype(np.int8), (left, right)), shape=(n, n))
    links.eliminate_zeros()
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.intp)


def order_p_value(near: Neighbours, seed: int, draws: int = 99) -> float | None:
    """How likely neighbours would stand this close together in the file if its order did not matter, in (0, 1].

    A permutation test on the mean distance of places between neighbours; None with fewer than 20 rows.
    """
    n = len(near.rows)
    if n < MIN_LABELS:
        return None
    draw = np.random.default_rng(seed)
    found = np.abs(near.rows - np.arange(n)[:, None]).mean()
    lower = 0
    for _ in range(draws):
        order = draw.permutation(n)
        lower += bool(np.abs(order[near.rows] - order[:, None]).mean() <= found)
    return (lower + 1) / (draws + 1)
