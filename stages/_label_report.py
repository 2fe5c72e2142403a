"""What the gate reports about labels: the values its checks judge, counts by class and annotator, one row per round.

Everything is a function of the cases (stages/_standing.py), so a past round's row does not move when rounds are added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import numpy as np

from stages._agreement import cohen_kappa, excess, fleiss_kappa, krippendorff_alpha
from stages._canonical import Row
from stages._identity import order_key
from stages._near import Near
from stages._params import Params
from stages._standing import SEED, Case, reviewed
from stages._store import Index

FEW = 10  # units (examples answered twice, repeats) needed for a measure of agreement
SOME = 20  # labels needed for a share of one annotator, one round or one arm
STANDS_OUT = 3.0  # standard errors


def answered_share(rounds: list[Row]) -> float | None:
    """Answered rows of the newest round over asked ones; None before the first round."""
    return rounds[-1]["answered"] / rounds[-1]["asked"] if rounds and rounds[-1]["asked"] else None


def label_error_rate(cases: Iterable[Case], error: dict[str, float], newest: int) -> float | None:
    """Mean error probability of the labels given in the newest round; None with fewer than 20 that can be judged."""
    found = [error[case.id] for case in cases if case.id in error and any(v.round == newest for v in case.votes)]
    return float(np.mean(found)) if newest and len(found) >= SOME else None


def units(cases: Iterable[Case], at: int) -> list[list[str]]:
    """The labels that new rows of one round got, one list per example. Doubted rows are left out: they were chosen."""
    new = (case for case in cases if at in case.asked and at not in case.doubted)
    return [[vote.label for vote in case.votes if vote.round == at and vote.kind == "label"] for case in new]


def agreement(cases: Iterable[Case], at: int) -> float | None:
    """Krippendorff's alpha of one round; None with fewer than ten examples that two or more people labelled."""
    paired = [unit for unit in units(cases, at) if len(unit) > 1]
    return krippendorff_alpha(paired) if len(paired) >= FEW else None


def redundancy(asked: list[Row], seed: list[str], index: Index, near: Near) -> list[Row]:
    """Per round: its new rows, how many nearly repeat a row before them in the batch or known earlier, and their share.

    The share is None with fewer than two new rows.
    """
    known, rows = set(seed), list[Row]()
    for number in sorted({int(row["round"]) for row in asked}):
        batch = sorted((row for row in asked if row["round"] == number), key=lambda row: int(row["rank"]))
        new = [row["id"] for row in batch if row["id"] not in known]
        places, before = index.locate(new, "batch"), index.locate(sorted(known), "labels")
        repeated = near.repeats(places, before) | np.tril(near.alike(places, places), -1).any(axis=1)
        share = float(repeated.mean()) if len(new) > 1 else None
        rows.append({"round": number, "asked": len(new), "near_duplicates": int(repeated.sum()), "share": share})
        known |= {row["id"] for row in batch}
    return rows


def leakage(labelled: list[str], index: Index, near: Near) -> float | None:
    """Share of test rows whose near duplicate has a label; None without test rows or labels."""
    test = index.rows("test")
    if test.start == test.stop or not labelled:
        return None
    known = index.locate(labelled, "labels")
    return float(near.repeats(np.arange(test.start, test.stop), known).mean())


def coverage(labels: Iterable[str], classes: list[str]) -> float | None:
    """Share of the classes that have a label; None while there are fewer than ten labels per class on average."""
    counts = Counter(labels)
    return len(counts) / len(classes) if counts.total() >= FEW * len(classes) else None


def annotator_gap(people: dict[str, Row]) -> float | None:
    """The largest excess of an annotator's doubted share over the others', 0 unless it is beyond three standard errors.

    None with fewer than two annotators of 20 judged labels each.
    """
    able = [row for row in people.values() if row["judged"] >= SOME]
    if len(able) < 2:
        return None
    bad, total = sum(row["doubted"] for row in able), sum(row["judged"] for row in able)
    gaps = [excess(r["doubted"], r["judged"], bad - r["doubted"], total - r["judged"]) for r in able]
    return max([gap for gap, errors in gaps if errors > STANDS_OUT], default=0.0)


def drift(cases: Iterable[Case], newest: int) -> float | None:
    """P-value of a chi-square test that control rows got the same mix of labels in the newest round as before.

    None with fewer than 20 control labels on either side, or one class only.
    Source: Pearson, "On the criterion that a given system of deviations ..." (1900).
    """
    now, before = Counter[str](), Counter[str]()
    for case in cases:
        for when, row in case.asked.items():
            if "control" in row["arms"]:
                given = [vote.label for vote in case.votes if vote.round == when and vote.kind == "label"]
                (now if when == newest else before).update(given)
    classes = sorted(set(now) | set(before))
    if min(now.total(), before.total()) < SOME or len(classes) < 2:
        return None
    from scipy.stats import chi2_contingency

    table = [[side[label] for label in classes] for side in (now, before)]
    return float(chi2_contingency(table, correction=False).pvalue)


def repeats(cases: Iterable[Case], upto: int) -> list[bool]:
    """For every planted repeat (asked again, not doubted) that its annotator answered twice: alike or not."""
    found = []
    for case in cases:
        planted = set(sorted(when for when in case.asked if when <= upto)[1:]) - set(case.doubted)
        for vote in case.votes:
            if vote.round in planted and vote.kind == "label":
                own = [
                    v.label for v in case.votes if v.round < vote.round and v.annotator == vote.annotator and v.label
                ]
                found += [own[-1] == vote.label] if own else []
    return found


def repeat_rows(accepted: list[Row], cases: list[Case], params: Params) -> list[Row]:
    """The answered labels to plant again in the next batch, `gate.repeat_fraction` of it, in a seeded order."""
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
    """Counts per annotator: answers, skips, labels against the accepted one, labels judged, and doubted ones of these.

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
                tally["doubted"] += doubted if final.get(case.id, vote.label) == vote.label else not doubted
    rows: dict[str, Row] = {}
    for name, tally in sorted(people.items()):
        facts = {key: tally[key] for key in ("answers", "skip", "empty", "reject", "judged", "doubted")}
        share = tally["against"] / tally["compared"] if tally["compared"] else None
        skips = (tally["skip"] + tally["empty"]) / tally["answers"]
        rows[name] = {**facts, "compared": tally["compared"], "error_rate": share, "skip_rate": skips}
    return rows


def kappas(cases: list[Case]) -> Row:
    """Agreement over all rounds: alpha, Fleiss' kappa where every example has as many labels, Cohen's for each pair."""
    new = [(case, unit) for case in cases for when in case.asked for unit in units([case], when) if len(unit) > 1]
    shared: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for case, _ in new:
        votes = [vote for vote in case.votes if vote.kind == "label" and vote.round not in case.doubted]
        given = {(vote.round, vote.annotator): vote.label for vote in votes}
        for (at, left), (when, right) in combinations(sorted(given), 2):
            if at == when:
                pair = shared.setdefault((left, right), ([], []))
                pair[0].append(given[at, left])
                pair[1].append(given[when, right])
    found = [unit for _, unit in new]
    return {
        "alpha": krippendorff_alpha(found) if found else None,
        "fleiss_kappa": fleiss_kappa(found) if found else None,
        "cohen_kappa": {f"{left}|{right}": cohen_kappa(*pair) for (left, right), pair in sorted(shared.items())},
        "labelled_twice": len(found),
    }


def round_rows(cases: list[Case], rounds: list[Row], current: int, spent: list[Row]) -> list[Row]:
    """One row per round: doubts after it, doubts answered in it and how they ended, precision of doubts so far.

    current: labels doubted now; spent: the rows of `redundancy`. `flagged` is known for a past round by what was frozen
    with the next batch.
    """
    doubted = Counter(when for case in cases for when in case.doubted)
    ends: Counter[tuple[int, bool | None]] = Counter()
    last = max((int(row["round"]) for row in rounds), default=0)
    for case in cases:
        ends.update((int(doubt["round"]), right) for doubt, right in reviewed(case, last))
    start = {"round": 0, "flagged": doubted[1] if last else current, "answered": 0}
    rows: list[Row] = [{**start, "confirmed": 0, "contradicted": 0}]
    for row in rounds:
        at = int(row["round"])
        facts = {"round": at, "flagged": doubted[at + 1] if at < last else current, "answered": row["answered"]}
        rows.append({**facts, "confirmed": ends[at, True], "contradicted": ends[at, False]})
    share = {row["round"]: row["share"] for row in spent}
    right = wrong = 0
    for row in rows:
        right, wrong = right + row["confirmed"], wrong + row["contradicted"]
        row["precision"] = wrong / (right + wrong) if right + wrong else None
        row["agreement"] = agreement(cases, row["round"])
        row["redundancy"] = share.get(row["round"])
    return rows
