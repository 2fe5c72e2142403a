"""What the gate reports about labels: its checks' values, counts by annotator, a row per round.

Everything is a function of the cases (stages/answers/standing.py), so a past round's row does not
move when rounds are added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from stages.answers.ledger import AcceptedLabel, AnsweredRound, Asked, Redundancy, Repeat
from stages.answers.standing import SEED, Case, Vote, reviewed
from stages.contract.canonical import Row
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


def answered_share(rounds: list[AnsweredRound]) -> float | None:
    """Answered rows of the newest round over asked ones; None before the first round."""
    return rounds[-1]["answered"] / rounds[-1]["asked"] if rounds and rounds[-1]["asked"] else None


def label_error_rate(cases: Iterable[Case], error: dict[str, float], newest: int) -> float | None:
    """Mean error probability of the labels that the newest round's new rows got.

    None with fewer than 20 to judge.

    Rows that were asked again for a doubt are left out: they were chosen for being probably wrong.
    """
    if not newest:
        return None
    judged = [error[case.id] for case in cases if case.id in error and _given(case, newest)]
    return float(np.mean(judged)) if len(judged) >= SOME else None


def _given(case: Case, at: int) -> list[str]:
    """The labels that people gave when a round asked about a row that was not doubted."""
    return [vote.label for vote in _votes_given(case, at)]


def _votes_given(case: Case, at: int) -> list[Vote]:
    """The labels, with names, that people gave in a round to a row that was not doubted."""
    if at not in case.asked or at in case.doubted:
        return []
    return [
        vote for vote in case.votes if vote.round == at and vote.kind == "label" and not vote.late
    ]


def units(cases: Iterable[Case], at: int) -> list[list[str]]:
    """The labels that new rows of one round got, one list per example.

    Doubted rows are left out: they were chosen for their doubt.
    """
    return [_given(case, at) for case in cases if at in case.asked and at not in case.doubted]


def agreement(cases: Iterable[Case], at: int) -> float | None:
    """Krippendorff's alpha of one round.

    None with fewer than ten examples that two or more people labelled.
    """
    paired = [unit for unit in units(cases, at) if len(unit) > 1]
    return krippendorff_alpha(paired) if len(paired) >= FEW else None


def redundancy(asked: list[Asked], seed: list[str], index: Index, near: Near) -> list[Redundancy]:
    """Per round: its new rows, how many of them are near duplicates, and their share.

    A near duplicate nearly repeats a row before it in the batch, or one known earlier.

    The share is None with fewer than two new rows.
    """
    known, rows = set(seed), list[Redundancy]()
    for number in sorted({int(row["round"]) for row in asked}):
        batch = sorted(
            (row for row in asked if row["round"] == number), key=lambda row: int(row["rank"])
        )
        new = [row["id"] for row in batch if row["id"] not in known]
        places, before = index.locate(new, "batch"), index.locate(sorted(known), "labels")
        repeated = near.repeats(places, before) | np.tril(near.alike(places, places), -1).any(
            axis=1
        )
        share = float(repeated.mean()) if len(new) > 1 else None
        rows.append(
            {
                "round": number,
                "asked": len(new),
                "near_duplicates": int(repeated.sum()),
                "share": share,
            }
        )
        known |= {row["id"] for row in batch}
    return rows


def coverage(labels: Iterable[str], classes: list[str]) -> float | None:
    """Share of the classes that have a label.

    None while there are fewer than ten labels per class on average.
    """
    counts = Counter(labels)
    return len(counts) / len(classes) if counts.total() >= FEW * len(classes) else None


def annotator_gap(people: dict[str, Row]) -> float | None:
    """The largest excess of an annotator's doubted share over the others'.

    It is 0 unless it is beyond three standard errors.

    None with fewer than two annotators of 20 judged labels each.
    """
    able = [row for row in people.values() if row["judged"] >= SOME]
    if len(able) < 2:
        return None
    bad, total = sum(row["doubted"] for row in able), sum(row["judged"] for row in able)
    gaps = [
        excess(r["doubted"], r["judged"], bad - r["doubted"], total - r["judged"]) for r in able
    ]
    return max([gap for gap, errors in gaps if errors > STANDS_OUT], default=0.0)


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
    sides = {True: Counter[str](), False: Counter[str]()}
    for case in cases:
        for when, row in case.asked.items():
            label = _majority(_given(case, when)) if "control" in row["arms"] else None
            if label is not None and when <= newest:
                sides[when == newest][label] += 1
    classes = sorted(set(sides[True]) | set(sides[False]))
    if min(side.total() for side in sides.values()) < SOME or len(classes) < 2:
        return None
    table = np.array([[side[label] for label in classes] for side in sides.values()])
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
    seen = ((table - expected) ** 2 / expected).sum()
    by_chance = ((draws - expected) ** 2 / expected).sum(axis=(1, 2))
    return float((1 + np.sum(by_chance >= seen - 1e-9)) / (1 + DRAWS))


def repeats(cases: Iterable[Case], upto: int) -> list[bool]:
    """For every planted repeat that its annotator answered twice: whether both answers are alike.

    A planted repeat is a row that is asked again though nobody doubts it.

    A row that was retracted and asked anew is no repeat: its first label was void.
    """
    alike = []
    for case in cases:
        for when, row in sorted(case.asked.items()):
            if when <= upto and row["arms"] == ["review"] and when not in case.doubted:
                alike += _alike(case, when)
    return alike


def _alike(case: Case, when: int) -> list[bool]:
    """Whether each person who answered a repeat said the same before, since the last retraction."""
    earlier: dict[str, str] = {}
    alike = []
    for vote in case.votes:
        if vote.kind == "retract":
            earlier.clear()
        elif vote.kind == "label" and vote.round < when:
            earlier[vote.annotator] = vote.label
        elif (
            vote.kind == "label"
            and vote.round == when
            and not vote.late
            and vote.annotator in earlier
        ):
            alike.append(earlier[vote.annotator] == vote.label)
    return alike


def repeat_rows(accepted: list[AcceptedLabel], cases: list[Case], params: Params) -> list[Repeat]:
    """The answered labels to plant again in the next batch, in a seeded order.

    They are `gate.repeat_fraction` of a batch.
    """
    once = {case.id for case in cases if len(case.asked) == 1 and not case.doubted}
    able = sorted(
        (row for row in accepted if row["source"] == "answer" and row["id"] in once),
        key=lambda row: order_key(params.seed + 1, row["id"]),
    )
    count = int(params.gate.repeat_fraction * params.query.batch_size + 1e-9)
    return [{"id": row["id"], "label": row["label"]} for row in able[:count]]


def by_annotator(
    cases: Iterable[Case], final: dict[str, str], error: dict[str, float], threshold: float
) -> dict[str, Row]:
    """Counts per annotator.

    Answers, skips, labels that others gave too and those against the accepted one, labels judged,
    and doubted ones of these.

    A label is doubted that the model doubts, or that lost against one that it does not.
    """
    people: dict[str, Counter[str]] = {}
    for case in cases:
        voters = {vote.annotator for vote in case.votes if vote.kind == "label"}
        for vote in case.votes:
            if vote.annotator == SEED or vote.kind in ("override", "retract"):
                continue
            tally = people.setdefault(vote.annotator, Counter())
            tally["answers"] += 1
            tally[vote.kind] += 1
            if vote.kind != "label":
                continue
            if len(voters) > 1 and case.id in final:
                tally["compared"] += 1
                tally["against"] += vote.label != final[case.id]
            if case.id in error:
                tally["judged"] += 1
                doubted = error[case.id] >= threshold
                tally["doubted"] += (
                    doubted if final.get(case.id, vote.label) == vote.label else not doubted
                )
    rows: dict[str, Row] = {}
    for name, tally in sorted(people.items()):
        facts = {
            key: tally[key] for key in ("answers", "skip", "empty", "reject", "judged", "doubted")
        }
        share = tally["against"] / tally["compared"] if tally["compared"] else None
        skips = (tally["skip"] + tally["empty"]) / tally["answers"]
        rows[name] = {
            **facts,
            "compared": tally["compared"],
            "error_rate": share,
            "skip_rate": skips,
        }
    return rows


def kappas(cases: list[Case], only: int | None = None) -> Row:
    """Agreement over all rounds, or over `only` one.

    alpha; Fleiss' kappa where every example has as many labels; Cohen's for each pair of
    annotators (`_pair_name`). An example is a row as one round asked it.
    """
    labelled: list[list[str]] = []
    shared: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for case in cases:
        for when in case.asked:
            votes = _votes_given(case, when) if only in (None, when) else []
            if len(votes) < 2:
                continue
            labelled.append([vote.label for vote in votes])
            label_of = {vote.annotator: vote.label for vote in votes}
            for left, right in combinations(sorted(label_of), 2):
                shared.setdefault((left, right), []).append((label_of[left], label_of[right]))
    return {
        "alpha": krippendorff_alpha(labelled) if labelled else None,
        "fleiss_kappa": fleiss_kappa(labelled) if labelled else None,
        "cohen_kappa": {
            _pair_name(*pair): cohen_kappa(*zip(*labels, strict=True))
            for pair, labels in sorted(shared.items())
        },
        "labelled_twice": len(labelled),
    }


def _pair_name(left: str, right: str) -> str:
    """Two annotators as one key, "ann|bob"; a bar or backslash in a name is escaped by one."""
    escaped = [name.replace("\\", r"\\").replace("|", r"\|") for name in (left, right)]
    return "|".join(escaped)


def round_rows(
    cases: list[Case], rounds: list[AnsweredRound], current: int, spent: list[Redundancy]
) -> list[Row]:
    """One row per round: doubts after it, doubts answered in it, how they ended, and precision.

    current: labels doubted now; spent: the rows of `redundancy`. `flagged` is known for a past
    round by what was frozen with the next batch.
    """
    doubted = Counter(when for case in cases for when in case.doubted)
    ends: Counter[tuple[int, bool | None]] = Counter()
    last = max((int(row["round"]) for row in rounds), default=0)
    for case in cases:
        ends.update((int(doubt["round"]), right) for doubt, right in reviewed(case, last))
    start = {"round": 0, "flagged": doubted[1] if last else current, "answered": 0}
    rows: list[Row] = [{**start, "confirmed": 0, "contradicted": 0}]
    for answered in rounds:
        at = answered["round"]
        facts = {
            "round": at,
            "flagged": doubted[at + 1] if at < last else current,
            "answered": answered["answered"],
        }
        rows.append({**facts, "confirmed": ends[at, True], "contradicted": ends[at, False]})
    share = {row["round"]: row["share"] for row in spent}
    right = wrong = 0
    for row in rows:
        right, wrong = right + row["confirmed"], wrong + row["contradicted"]
        row["precision"] = wrong / (right + wrong) if right + wrong else None
        row["agreement"] = agreement(cases, row["round"])
        row["redundancy"] = share.get(row["round"])
    return rows
