"""What the gate reports about labels: its checks' values, counts by annotator, a row per round.

Everything is a function of the cases (stages/answers/standing.py), so a past round's row does not
move when rounds are added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from stages.answers.ledger import AcceptedLabel, AnsweredRound, Asked, Redundancy, Repeat
from stages.answers.standing import SEED, Case, Vote, reviewed
from stages.contract.identity import order_key
from stages.contract.params import Params
from stages.learning.scoring import cohen_kappa
from stages.quality.agreement import excess, fleiss_kappa, krippendorff_alpha
from stages.store.index import Index
from stages.store.near import Near

FEW = 10  # units (examples answered twice, repeats) needed for a measure of agreement
SOME = 20  # labels needed for a share of one annotator, one round or one arm
STANDS_OUT = 3.0  # standard errors
DRAWS = 9_999  # random tables behind the p-value of drift


class AnnotatorCounts(TypedDict):
    """What one annotator did.

    answers, skip, empty, reject: how many, and how many of each kind; compared: labels of rows that
    others labelled too; error_rate: the share of these that differ from the accepted label;
    judged: labels that the model could judge; doubted: those of them that it doubts.
    """

    answers: int
    skip: int
    empty: int
    reject: int
    judged: int
    doubted: int
    compared: int
    error_rate: float | None
    skip_rate: float


class Agreement(TypedDict):
    """How far people agree; labelled_twice: how many rows two or more of them labelled in a round.

    cohen_kappa: of each pair of annotators, "ann|bob" (`_pair_name`).
    """

    alpha: float | None
    fleiss_kappa: float | None
    cohen_kappa: dict[str, float | None]
    labelled_twice: int


class RoundQuality(TypedDict):
    """A row of plots/label_quality.json.

    flagged: labels doubted after the round; answered: its answered rows; confirmed, contradicted:
    how doubts that it asked about ended; precision: contradicted doubts over decided ones, of all
    rounds so far; agreement, redundancy: of the round.
    """

    round: int
    flagged: int
    answered: int
    confirmed: int
    contradicted: int
    precision: float | None
    agreement: float | None
    redundancy: float | None


def answered_share(rounds: list[AnsweredRound]) -> float | None:
    """Answered rows of the newest round over asked ones; None before the first round."""
    if not rounds or not rounds[-1]["asked"]:
        return None
    return rounds[-1]["answered"] / rounds[-1]["asked"]


def label_error_rate(cases: Iterable[Case], error: dict[str, float], newest: int) -> float | None:
    """Mean error probability of the labels that the newest round's new rows got.

    None with fewer than 20 to judge. Rows that were asked again for a doubt are left out: they were
    chosen for being probably wrong.
    """
    if not newest:
        return None
    judged = [error[case.id] for case in cases if case.id in error and _votes_of(case, newest)]
    return float(np.mean(judged)) if len(judged) >= SOME else None


def _votes_of(case: Case, asked_in: int) -> list[Vote]:
    """The labels that people gave a row when a round asked about it, if nobody doubted it then."""
    if asked_in not in case.asked or asked_in in case.doubted:
        return []
    in_round = [vote for vote in case.votes if vote.round == asked_in]
    return [vote for vote in in_round if vote.kind == "label" and not vote.late]


def _labels_of(case: Case, asked_in: int) -> list[str]:
    return [vote.label for vote in _votes_of(case, asked_in)]


def agreement(cases: Iterable[Case], asked_in: int) -> float | None:
    """Krippendorff's alpha of one round's new rows.

    None with fewer than ten rows that two or more people labelled. Doubted rows are left out: they
    were chosen for their doubt.
    """
    labels = [_labels_of(case, asked_in) for case in cases]
    several = [unit for unit in labels if len(unit) > 1]
    return krippendorff_alpha(several) if len(several) >= FEW else None


def redundancy(
    asked: list[Asked], seed_ids: list[str], index: Index, near: Near
) -> list[Redundancy]:
    """Per round: its new rows, how many of them are near duplicates, and their share.

    A near duplicate nearly repeats a row before it in the batch, or one asked or labelled earlier.
    The share is None with fewer than two new rows.
    """
    earlier = set(seed_ids)
    result: list[Redundancy] = []
    for number in sorted({row["round"] for row in asked}):
        in_round = [row for row in asked if row["round"] == number]
        batch = [row["id"] for row in sorted(in_round, key=lambda row: row["rank"])]
        new_ids = [item for item in batch if item not in earlier]
        new = index.locate(new_ids, "batch")
        of_earlier = near.repeats(new, index.locate(sorted(earlier), "labels"))
        # below the diagonal: each row against those before it in the batch
        of_batch = np.tril(near.alike(new, new), -1).any(axis=1)
        repeated = of_earlier | of_batch
        share = float(repeated.mean()) if len(new_ids) > 1 else None
        result.append(
            {
                "round": number,
                "asked": len(new_ids),
                "near_duplicates": int(repeated.sum()),
                "share": share,
            }
        )
        earlier.update(batch)
    return result


def coverage(labels: Iterable[str], classes: list[str]) -> float | None:
    """Share of the classes that have a label.

    None while there are fewer than ten labels per class on average.
    """
    counts = Counter(labels)
    return len(counts) / len(classes) if counts.total() >= FEW * len(classes) else None


def annotator_gap(people: dict[str, AnnotatorCounts]) -> float | None:
    """The largest excess of an annotator's doubted share over the others'.

    It is 0 unless it is beyond three standard errors. None with fewer than two annotators of 20
    judged labels each.
    """
    judged = [row for row in people.values() if row["judged"] >= SOME]
    if len(judged) < 2:
        return None
    doubted = sum(row["doubted"] for row in judged)
    total = sum(row["judged"] for row in judged)
    gaps = []
    for row in judged:
        others_doubted = doubted - row["doubted"]
        others_total = total - row["judged"]
        gap, errors = excess(row["doubted"], row["judged"], others_doubted, others_total)
        if errors > STANDS_OUT:
            gaps.append(gap)
    return max(gaps, default=0.0)


def drift(cases: Iterable[Case], newest: int) -> float | None:
    """P-value, at least 1e-4, that the newest control rows got the mix of labels of earlier ones.

    A row counts once, with the label that most people gave it when it was asked (a tie: not at
    all): several people's answers to one row are no independent draws. None with fewer than 20 such
    rows on either side, or one class only. The p-value is Monte Carlo, since 20 rows over many
    classes are too few for the chi-square distribution: Pearson's statistic among random tables
    with the same margins. Source: Patefield, "An efficient method of generating random R x C tables
    with given row and column totals" (1981); Phipson, Smyth, "Permutation p-values should never be
    zero" (2010).
    """
    now: Counter[str] = Counter()
    before: Counter[str] = Counter()
    cases = list(cases)
    # A class that was split is compared as a whole with what it was before.
    parts = {part: vote.label for case in cases for vote in case.votes for part in vote.among}
    for case in cases:
        for asked_in, row in case.asked.items():
            label = _majority(_labels_of(case, asked_in)) if "control" in row["arms"] else None
            if label is not None and asked_in <= newest:
                counts = now if asked_in == newest else before
                counts[label] += 1
    for counts in (now, before):
        for part, whole in parts.items():
            counts[whole] += counts.pop(part, 0) if part != whole else 0
    classes = sorted(set(now) | set(before))
    if min(now.total(), before.total()) < SOME or len(classes) < 2:
        return None
    table = np.array([[counts[label] for label in classes] for counts in (now, before)])
    return _same_mix(table, newest)


def _majority(labels: list[str]) -> str | None:
    """The label that stands most often, None for a tie or for none."""
    ranked = Counter(labels).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _same_mix(table: NDArray[np.intp], seed: int) -> float:
    """Monte Carlo p-value of a 2 x k table under independence, given its margins."""
    from scipy.stats import random_table

    rows = table.sum(axis=1)
    columns = table.sum(axis=0)
    expected = np.outer(rows, columns) / table.sum()
    draws = random_table(rows, columns).rvs(DRAWS, random_state=np.random.default_rng(seed))
    observed = ((table - expected) ** 2 / expected).sum()
    by_chance = ((draws - expected) ** 2 / expected).sum(axis=(1, 2))
    return float((1 + np.sum(by_chance >= observed - 1e-9)) / (1 + DRAWS))


def repeats(cases: Iterable[Case], upto: int) -> list[bool]:
    """For every planted repeat that its annotator answered twice: whether both answers are alike.

    A planted repeat is a row that is asked again though nobody doubts it.

    A row that was retracted and asked anew is no repeat: its first label was void.
    """
    alike = []
    for case in cases:
        for asked_in, row in sorted(case.asked.items()):
            planted = row["arms"] == ["review"] and asked_in not in case.doubted
            if planted and asked_in <= upto:
                alike += _alike(case, asked_in)
    return alike


def _alike(case: Case, repeated_in: int) -> list[bool]:
    """Whether each person who answered a repeat said the same before, since the last retraction.

    Not of a row whose class was split since: there the question is another one.
    """
    earlier: dict[str, str] = {}
    alike = []
    for vote in case.votes:
        if vote.kind == "retract" or vote.among:
            earlier.clear()
        if vote.kind != "label" or vote.among:
            continue
        if vote.round < repeated_in:
            earlier[vote.annotator] = vote.label
        elif vote.round == repeated_in and not vote.late and vote.annotator in earlier:
            alike.append(earlier[vote.annotator] == vote.label)
    return alike


def repeat_rows(accepted: list[AcceptedLabel], cases: list[Case], params: Params) -> list[Repeat]:
    """The answered labels to plant again in the next batch, in a seeded order.

    They are `gate.repeat_fraction` of a batch.
    """
    once = {case.id for case in cases if len(case.asked) == 1 and not case.doubted}
    repeatable = sorted(
        (row for row in accepted if row["source"] == "answer" and row["id"] in once),
        key=lambda row: order_key(params.seed + 1, row["id"]),
    )
    count = int(params.gate.repeat_fraction * params.query.batch_size + 1e-9)
    return [{"id": row["id"], "label": row["label"]} for row in repeatable[:count]]


def by_annotator(
    cases: Iterable[Case], final: dict[str, str], error: dict[str, float], threshold: float
) -> dict[str, AnnotatorCounts]:
    """What each annotator did, by name in alphabetical order.

    final: the accepted label of each id; error: the probability that it is wrong; threshold: from
    which on it is doubted. A person's label counts as doubted where the model doubts it, and where
    it lost against a label that the model does not doubt.
    """
    tallies: dict[str, Counter[str]] = {}
    for case in cases:
        people = {vote.annotator for vote in case.votes if vote.kind == "label"}
        for vote in case.votes:
            if vote.annotator == SEED or vote.kind in ("override", "retract"):
                continue
            tally = tallies.setdefault(vote.annotator, Counter())
            tally["answers"] += 1
            tally[vote.kind] += 1
            if vote.kind != "label":
                continue
            if len(people) > 1 and case.id in final:
                tally["compared"] += 1
                tally["against"] += not vote.may_be(final[case.id])
            if case.id in error:
                accepted_is_doubted = error[case.id] >= threshold
                is_accepted = vote.may_be(final.get(case.id, vote.label))
                tally["judged"] += 1
                tally["doubted"] += accepted_is_doubted == is_accepted
    return {name: _counts(tally) for name, tally in sorted(tallies.items())}


def _counts(tally: Counter[str]) -> AnnotatorCounts:
    compared = tally["compared"]
    return {
        "answers": tally["answers"],
        "skip": tally["skip"],
        "empty": tally["empty"],
        "reject": tally["reject"],
        "judged": tally["judged"],
        "doubted": tally["doubted"],
        "compared": compared,
        "error_rate": tally["against"] / compared if compared else None,
        "skip_rate": (tally["skip"] + tally["empty"]) / tally["answers"],
    }


def agreement_of_people(cases: list[Case], only: int | None = None) -> Agreement:
    """Agreement over all rounds, or over `only` one.

    An example is a row as one round asked it. Fleiss' kappa is None unless all examples have as
    many labels.
    """
    labelled: list[list[str]] = []
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for case in cases:
        rounds = case.asked if only is None else [only]
        for asked_in in rounds:
            votes = _votes_of(case, asked_in)
            if len(votes) < 2:
                continue
            labelled.append([vote.label for vote in votes])
            label_of = {vote.annotator: vote.label for vote in votes}
            for left, right in combinations(sorted(label_of), 2):
                pairs.setdefault((left, right), []).append((label_of[left], label_of[right]))
    return {
        "alpha": krippendorff_alpha(labelled) if labelled else None,
        "fleiss_kappa": fleiss_kappa(labelled) if labelled else None,
        "cohen_kappa": {
            _pair_name(*pair): cohen_kappa(*zip(*labels, strict=True))
            for pair, labels in sorted(pairs.items())
        },
        "labelled_twice": len(labelled),
    }


def _pair_name(left: str, right: str) -> str:
    """Two annotators as one key, "ann|bob"; a bar or backslash in a name is escaped by one."""
    escaped = [name.replace("\\", r"\\").replace("|", r"\|") for name in (left, right)]
    return "|".join(escaped)


def round_rows(
    cases: list[Case],
    rounds: list[AnsweredRound],
    doubted_now: int,
    redundancy_rows: list[Redundancy],
) -> list[RoundQuality]:
    """One row per round, the seed's first; doubted_now: how many labels are doubted.

    How many were doubted after a past round is known from what was frozen with the next batch.
    """
    frozen = Counter(number for case in cases for number in case.doubted)
    last = max((row["round"] for row in rounds), default=0)
    ends: Counter[tuple[int, bool | None]] = Counter()
    for case in cases:
        ends.update((doubt["round"], confirmed) for doubt, confirmed in reviewed(case, last))
    answered = {0: 0} | {row["round"]: row["answered"] for row in rounds}
    share = {row["round"]: row["share"] for row in redundancy_rows}
    confirmed = 0
    contradicted = 0
    result: list[RoundQuality] = []
    for number, count in answered.items():
        confirmed += ends[number, True]
        contradicted += ends[number, False]
        decided = confirmed + contradicted
        result.append(
            {
                "round": number,
                "flagged": frozen[number + 1] if number < last else doubted_now,
                "answered": count,
                "confirmed": ends[number, True],
                "contradicted": ends[number, False],
                "precision": contradicted / decided if decided else None,
                "agreement": agreement(cases, number),
                "redundancy": share.get(number),
            }
        )
    return result
