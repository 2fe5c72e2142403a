"""How far people agree: with each other, and who stands out. Pure functions of labels.

A unit is the list of labels that one example got. All measures are nominal: two labels are the same
or they are not. Votes are a table (n, m) of classes, one row per example, one column per annotator,
NaN for none. Only this module and policy.py import cleanlab.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO

import numpy as np

from stages.contract.arrays import Floats

LEAST = 1e-6  # probability
FEW = 20  # examples labelled by two people or more, from which annotators can be weighed
RIGHT = 19.0  # right answers to one wrong one that an annotator is believed before any
USUAL_CARE = 4.0  # answers' worth of belief that an annotator is as often right as all are
OWN_WAYS = 16.0  # answers' worth of belief, for each class, that an annotator errs as all do
SETTLED = 1e-4  # change of a chance at which EM ends
MOST_STEPS = 200  # of EM


def fleiss_kappa(units: Sequence[Sequence[str]]) -> float | None:
    """Agreement beyond chance, where every example has the same number of labels (two or more).

    None where it has not, or where only one label was ever given.

    Source: Fleiss, "Measuring nominal scale agreement among many raters" (1971).
    """
    sizes = {len(unit) for unit in units}
    if len(sizes) != 1 or min(sizes) < 2:
        return None
    size = sizes.pop()
    counts = [Counter(unit) for unit in units]
    pairs = size * (size - 1)
    agreeing = [sum(count * (count - 1) for count in unit.values()) for unit in counts]
    agreed = sum(count / pairs for count in agreeing) / len(units)
    totals = sum(counts, Counter())
    chance = sum((total / (size * len(units))) ** 2 for total in totals.values())
    return None if math.isclose(chance, 1) else (agreed - chance) / (1 - chance)


def krippendorff_alpha(units: Sequence[Sequence[str]]) -> float | None:
    """Reliability of labels, at most 1, 0 = chance; examples may have any number of labels.

    Those with one label are left out.

    None when nothing was labelled twice or only one label was ever given.
    Source: Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), nominal data.
    """
    paired = [Counter(unit) for unit in units if len(unit) > 1]
    totals = sum(paired, Counter())
    n = totals.total()
    # pairs of unlike labels: within examples, and of any two labels
    apart = sum(_unlike(unit) / (unit.total() - 1) for unit in paired)
    chance = _unlike(totals)
    return 1 - (n - 1) * apart / chance if chance else None


def _unlike(counts: Counter[str]) -> int:
    """Ordered pairs of labels that are not the same."""
    n = counts.total()
    return sum(count * (n - count) for count in counts.values())


def excess(bad: int, total: int, others_bad: int, others_total: int) -> tuple[float, float]:
    """By how much one share exceeds that of the others, and how many standard errors that is.

    The error is that of the pooled share; 0 standard errors if it is 0.
    """
    gap = bad / total - others_bad / others_total
    share = (bad + others_bad) / (total + others_total)
    error = math.sqrt(share * (1 - share) * (1 / total + 1 / others_total))
    return gap, gap / error if error else 0.0


def vote_table(votes_by_row: Sequence[Mapping[str, int]]) -> tuple[list[str], Floats]:
    """The annotators by name, and the class each gave each example, (n, m), NaN for none."""
    people = sorted({name for votes in votes_by_row for name in votes})
    table = np.full((len(votes_by_row), len(people)), np.nan)
    for row, votes in enumerate(votes_by_row):
        for column, name in enumerate(people):
            table[row, column] = votes.get(name, np.nan)
    return people, table


def weighable(votes: Floats) -> bool:
    """Whether annotators can be weighed by their votes.

    They can where 20 examples have two votes or more, and somebody ever agrees.
    """
    several = votes[(~np.isnan(votes)).sum(axis=1) > 1]
    ranked = np.sort(several, axis=1)
    return len(several) >= FEW and bool((ranked[:, 1:] == ranked[:, :-1]).any())


def true_classes(prior: Floats, votes: Floats) -> tuple[Floats, Floats]:
    """Chances of each example's true class (n, k), each annotator's share of right answers (m,).

    prior (n, k): chances before anybody was asked, of a model that has not seen the example. Each
    annotator takes each true class for each other with chances of their own, which are fitted with
    the true classes in turn (EM). Few votes say little of so many chances, so what is believed of
    an annotator before any evidence is worth OWN_WAYS answers a class: to be right as often on this
    class as on all, and else to mistake it for what everybody mistakes it for. To be right as often
    as all others is believed with the weight of USUAL_CARE answers, and these are believed to be
    right with the weight of RIGHT right answers to one wrong one.
    Sources: Dawid, Skene, "Maximum likelihood estimation of observer error-rates using the EM
    algorithm" (1979); for the shared beliefs, Kim, Ghahramani, "Bayesian classifier combination"
    (2012).
    """
    n, k = prior.shape
    # one entry for each vote: the row, the annotator, and the class
    rows, people = np.nonzero(~np.isnan(votes))
    classes = votes[rows, people].astype(np.intp)
    log_prior = np.log(np.maximum(prior, LEAST))
    # the first round believes every annotator alike
    answers = np.zeros((votes.shape[1], k, k))
    chances = np.zeros((n, k))
    for _ in range(MOST_STEPS):
        before = chances
        taken_for = _ways(answers)[0]
        weight = log_prior.copy()
        np.add.at(weight, rows, np.log(taken_for[people, :, classes]))
        weight -= weight.max(axis=1, keepdims=True)
        chances = np.exp(weight)
        chances /= chances.sum(axis=1, keepdims=True)
        answers = np.zeros((votes.shape[1], k, k))
        for answer in range(k):
            given = classes == answer
            np.add.at(answers[:, :, answer], people[given], chances[rows[given]])
        if np.abs(chances - before).max(initial=0) < SETTLED:
            break
    return chances, _ways(answers)[1]


def _ways(answers: Floats) -> tuple[Floats, Floats]:
    """What each annotator takes each class for, (m, k, k), and how often each is right, (m,).

    answers (m, k, k): the expected number of each one's answers, by true class and answer.
    """
    k = answers.shape[1]
    right = np.trace(answers, axis1=1, axis2=2)
    total = answers.sum(axis=(1, 2))
    everybody = (right.sum() + RIGHT) / (total.sum() + RIGHT + 1)
    share = (right + USUAL_CARE * everybody) / (total + USUAL_CARE)
    pooled = answers.sum(axis=0)
    others = (pooled + 1) * (1 - np.eye(k))
    others /= others.sum(axis=1, keepdims=True)
    usual = share[:, None, None] * np.eye(k) + (1 - share)[:, None, None] * others
    taken_for = (answers + OWN_WAYS * usual) / (answers.sum(axis=2, keepdims=True) + OWN_WAYS)
    return taken_for, share


def annotator_quality(votes: Floats, probabilities: Floats) -> list[float]:
    """Each annotator's quality in [0, 1], (m,): how their votes fit the others' and the model's.

    probabilities: the model's, (n, k).

    Source: Goh, Tkachenko, Mueller, "CROWDLAB: supervised learning to infer consensus labels"
    (2022).
    """
    from cleanlab.multiannotator import get_label_quality_multiannotator

    voted = (~np.isnan(votes)).any(axis=1)
    result = get_label_quality_multiannotator(
        votes[voted], _untied(probabilities[voted]), verbose=False, return_detailed_quality=False
    )
    by_annotator = result["annotator_stats"].sort_index()
    return [float(value) for value in by_annotator["annotator_quality"]]


def relabel_or_new(votes: Floats, labelled: Floats, new: Floats) -> tuple[Floats, Floats]:
    """ActiveLab scores in [0, 1] of labelled rows (n,) and of new ones (u,), on one scale.

    The row with the lowest is to be asked first.

    votes (n, m), a vote or more per row; labelled (n, k) and new (u, k): probabilities by a model
    that has not seen the rows. Source: Goh, Mueller, "ActiveLab: active learning with re-labeling
    by multiple annotators" (2023).
    """
    from cleanlab.multiannotator import get_active_learning_scores

    with redirect_stdout(StringIO()):  # it remarks on classes that win no vote
        unlabelled = _untied(new) if len(new) else None
        of_labelled, of_new = get_active_learning_scores(votes, _untied(labelled), unlabelled)
    return np.asarray(of_labelled), np.asarray(of_new)


def _untied(probabilities: Floats) -> Floats:
    """The same rows, none with a zero or two equal entries.

    cleanlab would draw a tie of votes by a global generator.
    """
    moved = np.maximum(probabilities, LEAST) * (1 - LEAST * np.arange(probabilities.shape[1]))
    return np.asarray(moved / moved.sum(axis=1, keepdims=True))
