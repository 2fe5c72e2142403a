"""The gap over the course of the labels: what the strategy's labels bring, label for label.

The gap at equal labels (stages/proof/gap.py) compares two models, and each rests on one draw of
labels. Here the active arm's first labels are compared with many random draws of as many labels out
of the control arm: their mean is what random sampling gives on average. So at a quarter of the
control labels, and on the way there, little of the control arm's luck is left.

Which rows the models get right is seen on the test set and on judge rows (stages/proof/judges.py);
what the present model says of all other rows helps as far as it agrees with them
(stages/proof/powered.py). Judge rows are drawn by the models after a round and answered in the next
one, so what is claimed is about the round before the last. Nobody learns from them, and neither arm
knows of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from stages.answers.ledger import labels_known_at
from stages.contract.arrays import Floats, Ints
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.learning.classifier import together
from stages.proof.gap import any_look, labels_to_reach
from stages.proof.history import History, LabelSet, first_labels
from stages.proof.judges import front, next_drawn
from stages.proof.powered import Estimate, combined, powered_mean, powered_total
from stages.proof.refits import Refits
from stages.proof.tables import CourseFacts, Interval

FRAME = 20_000  # rows of the pool, a fixed uniform sample, that the models are compared on
SHARE = 4  # the course goes to a quarter of the control labels: draws of so many overlap little
DRAWS = 30  # random draws of control labels
STEPS = 3  # label counts on the way
SAME = 1e-18  # a variance of accuracies that is rounding
ONE_LOOK = 1.96  # standard errors of an interval that is looked at once
MODELS = STEPS * (DRAWS + 1) + 2  # that it fits: of both arms, of the seed and of all labels
FEWEST = 4  # labels of its own that the last step has


@dataclass(frozen=True)
class Course:
    """What the models of the course say of rows that none of them has learnt.

    rows: (n,) of the index; pool: how many of them, the first, are pool rows, the others test rows;
    labels: (STEPS,) label counts, the seed's among them; active: (STEPS, n) classes; random:
    (DRAWS, STEPS, n) classes; control: labels of the control arm; present: (n, k) probabilities by
    the model of all labels; seeded: labels of the seed; start: what the present model believes of
    the accuracy of the seed's model, None without a seed.
    """

    rows: Ints
    pool: int
    labels: Ints
    active: Ints
    random: Ints
    control: int
    present: Floats
    seeded: int
    start: float | None

    def ahead(self, truth: Ints) -> Floats:
        """(n,) the mean gap of each row if its class were this: active right minus random right."""
        right = (self.active == truth).mean(axis=0)
        return np.asarray(right - (self.random == truth).mean(axis=(0, 1)))

    @property
    def disagreement(self) -> Floats:
        """(n,) in [0, 1], the share of random draws' models that say another class."""
        return np.asarray((self.random != self.active).mean(axis=(0, 1)))

    @property
    def believed(self) -> Floats:
        """(n,) `ahead` as the present model expects it to be."""
        rows = np.arange(len(self.rows))
        active = self.present[rows, self.active].mean(axis=0)
        return np.asarray(active - self.present[rows, self.random].mean(axis=(0, 1)))

    @property
    def accuracies(self) -> tuple[Floats, Floats]:
        """(STEPS,) active's and (DRAWS, STEPS) random's accuracies on the pool, as believed."""
        rows = np.arange(self.pool)
        active = self.present[rows, self.active[:, : self.pool]].mean(axis=1)
        return active, self.present[rows, self.random[:, :, : self.pool]].mean(axis=2)


def course(history: History, refits: Refits, upto: int, n_jobs: int = 1) -> Course | None:
    """The course of both arms as known after round `upto`.

    None while there are too few labels, and where no row of the pool is left to compare on.
    """
    params = refits.params
    random = history.arm("random", upto, params.labels, params.seed)
    active = history.arm("active", upto, params.labels, params.seed)
    seed = {item: label for item, label in active.items() if item in history.seed_ids}
    own = [item for item in random if item not in seed]
    last = len(own) // SHARE
    if last < FEWEST or len(active) < len(seed) + last:
        return None
    counts = np.linspace(0, last, STEPS + 1).round().astype(int)[1:]
    draws = [
        [own[place] for place in np.argsort(order_keys(number, own))]
        for number in range(params.seed + 1, params.seed + DRAWS + 1)
    ]
    wanted: list[LabelSet] = [first_labels(active, len(seed) + count) for count in counts]
    wanted += [
        seed | {item: random[item] for item in draw[:count]} for draw in draws for count in counts
    ]
    rows, pool = _rows(refits, params, {**random, **wanted[STEPS - 1]})
    if not pool:
        return None
    said = together(lambda labelled: refits(labelled, rows).argmax(axis=1), wanted, n_jobs)
    classes = np.array(said, dtype=np.intp)
    present = refits(history.arm("all", upto, params.labels, params.seed), rows)
    start = None
    if seed:
        first = refits(seed, rows).argmax(axis=1)
        start = float(present[np.arange(pool), first[:pool]].mean())
    return Course(
        rows=rows,
        pool=pool,
        labels=counts + len(seed),
        active=classes[:STEPS],
        random=classes[STEPS:].reshape(DRAWS, STEPS, -1),
        control=len(own),
        present=present,
        seeded=len(seed),
        start=start,
    )


def _rows(refits: Refits, params: Params, learnt: Collection[str]) -> tuple[Ints, int]:
    """Pool rows with a content that no model of the course learnt, their count, then test rows."""
    index = refits.index
    contents = {index.sha[index.row_of[item]] for item in learnt}
    frame = index.last(params.seed, FRAME)
    kept = np.array([row for row in frame if index.sha[row] not in contents], dtype=np.intp)
    test = np.arange(len(index.ids))[index.rows("test")]
    return np.concatenate([kept, test]), len(kept)


def draw(history: History, refits: Refits, closed: Collection[str]) -> dict[str, float]:
    """The rows that shall judge the models of now, with the probability of their draw.

    At most `validate.judge_rows`; closed: ids that may not be asked now.
    """
    now = course(history, refits, history.rounds)
    return {} if now is None else drawn_by(now, history, refits, closed)


def drawn_by(
    now: Course, history: History, refits: Refits, closed: Collection[str]
) -> dict[str, float]:
    """The rows that shall judge the models of a course; the parameters are those of `draw`."""
    params = refits.params
    ids = [refits.index.ids[row] for row in now.rows[: now.pool]]
    asked = {row["id"] for row in history.asked} | set(closed)
    most = params.validate_.judge_rows
    return next_drawn(ids, now.disagreement[: now.pool], asked, params.seed, most)


def judged(done: Course, history: History, refits: Refits, truth: Ints) -> tuple[Estimate, int]:
    """The mean gap over the course, and how many judge rows it is known by.

    truth: (n_test,). Its variance is infinite where nothing judges it.
    """
    params = refits.params
    estimates = []
    believed = done.believed
    here = believed[: done.pool]
    if len(truth) > 1:
        classes = np.concatenate([np.zeros(done.pool, dtype=np.intp), truth])
        values = done.ahead(classes)[done.pool :]
        estimates.append(powered_mean(values, believed[done.pool :], here))
    ids = [refits.index.ids[row] for row in done.rows[: done.pool]]
    sizes = done.disagreement[: done.pool]
    asked = {row["id"] for row in history.asked}
    drawn = front(ids, sizes, asked, params.seed)
    known = labels_of_judges(history)
    places = np.array([place for place in drawn.places if ids[place] in known], dtype=np.intp)
    if len(places):
        class_of = {label: number for number, label in enumerate(params.labels)}
        classes = np.zeros(len(done.rows), dtype=np.intp)
        classes[places] = [class_of[known[ids[place]]] for place in places]
        values = done.ahead(classes)[places]
        estimates.append(powered_total(values, places, here, sizes, drawn))
    if not estimates:
        return Estimate(0.0, math.inf), 0
    return combined(estimates), len(places)


def labels_of_judges(history: History) -> dict[str, str]:
    """The label that people gave each row, those that judge and those that teach."""
    taught = labels_known_at(history.known, history.rounds)
    return {row["id"]: row["label"] for row in history.judged} | taught


@dataclass(frozen=True)
class Scatter:
    """How far draws of labels scatter the mean gap: a standard deviation and how well it is known.

    degrees: of freedom of Student's t; 1 where one draw in DRAWS makes all of it.
    """

    error: float
    degrees: float

    def within(self, boundary: float) -> float:
        """What the draws stay within, with the chance that a normal error has of the boundary."""
        from scipy.stats import norm, t

        return self.error * float(t.isf(norm.sf(boundary), self.degrees))


def scatter(done: Course) -> Scatter:
    """How far draws of labels scatter the mean gap; an error of 0 where no draw differs.

    The active arm's labels are taken for as scattered as a random draw of as many, which those of a
    good strategy are not: it is a claim that holds for two equal arms too. With v the variance of
    the drawn means, and a share s of the control labels in each draw, the mean of all draws has
    at most v s / (1 - s), and one draw v / (1 - s). Of a rare class most draws see nothing and one
    sees all, and a variance of such draws is hardly known: the degrees of freedom fall with their
    kurtosis k, to 2 n / (k - 1). Source: Hoeffding, "A class of statistics with asymptotically
    normal distribution" (1948); for the variance of a variance Cramer, "Mathematical methods of
    statistics" (1946).
    """
    _, random = done.accuracies
    share = 1 / SHARE
    means = random.mean(axis=1)
    away = means - means.mean()
    drawn = float(means.var(ddof=1))
    if drawn < SAME:
        return Scatter(0.0, 1.0)
    kurtosis = float((away**4).mean() / (away**2).mean() ** 2)
    degrees = float(np.clip(2 * DRAWS / max(kurtosis - 1, 1e-9), 1, DRAWS - 1))
    return Scatter(math.sqrt(drawn * ((1 + share) / (1 - share) + 1 / DRAWS)), degrees)


def saved(done: Course, gap: float) -> float:
    """The labels saved, on average over the course, if the mean gap is this.

    A gap is turned into labels along the curve of the arm that is ahead, as the present model
    believes it to run: how many labels earlier that arm had the accuracy that the other has. So a
    gap of zero saves none, and two arms that change places change the sign. At most the labels that
    an arm chose itself.
    """
    active, drawn = done.accuracies
    ahead = active if gap >= 0 else drawn.mean(axis=0)
    labels = done.labels.astype(np.float64)
    if done.start is not None:
        labels = np.concatenate([[done.seeded], labels])
        ahead = np.concatenate([[done.start], ahead])
    steps = range(len(ahead) - STEPS, len(ahead))
    fewer = [labels[k] - labels_to_reach(labels, ahead, ahead[k] - abs(gap)) for k in steps]
    # A curve that falls on its way reaches the lower accuracy no later than it is.
    return float(np.copysign(max(0.0, float(np.mean(fewer))), gap)) if gap else 0.0


def course_facts(
    history: History, refits: Refits, truth: Ints, n_jobs: int = 1
) -> CourseFacts | None:
    """The gap over the course as of the round before the last; None while there are few labels."""
    upto = history.rounds - 1
    done = course(history, refits, upto, n_jobs) if upto > 0 else None
    return None if done is None else facts_of(done, history, refits, truth)


def facts_of(done: Course, history: History, refits: Refits, truth: Ints) -> CourseFacts:
    """The gap over a course of the round before the last; truth: (n_test,) classes."""
    gap, judges = judged(done, history, refits, truth)
    draws = scatter(done)
    unknown: Interval = {"low": None, "high": None}
    facts: CourseFacts = {
        "round": history.rounds - 1,
        "labels": int(done.labels[-1]),
        "control": done.control,
        "judge_rows": judges,
        "active_minus_random": None,
        **unknown,
        "any_look": unknown,
        "error_of_rows": None,
        "error_of_draws": draws.error or None,
        "saved": {"labels": None, **unknown, "any_look": unknown},
    }
    if not math.isfinite(gap.variance) or not draws.error:
        return facts
    once = _around(gap, draws, ONE_LOOK)
    ever = _around(gap, draws, any_look(done.control))
    facts["active_minus_random"] = gap.value
    facts["error_of_rows"] = gap.error
    facts["low"], facts["high"] = once["low"], once["high"]
    facts["any_look"] = ever
    facts["saved"] = {
        "labels": saved(done, gap.value),
        **_saved_between(done, once),
        "any_look": _saved_between(done, ever),
    }
    return facts


def _around(gap: Estimate, draws: Scatter, boundary: float) -> Interval:
    """The interval of a gap, as wide as a normal error would need so many standard errors.

    Each of the two errors, of rows and of draws, gets the quantile of its own.
    """
    half = math.hypot(gap.error * boundary, draws.within(boundary))
    return {"low": gap.value - half, "high": gap.value + half}


def _saved_between(done: Course, gaps: Interval) -> Interval:
    low, high = gaps["low"], gaps["high"]
    return {
        "low": None if low is None else saved(done, low),
        "high": None if high is None else saved(done, high),
    }
