"""gate: decide which labels the next model may learn, which are asked again, and say how good the labels are.

reads   seed labels and suspects (clean_seed); rounds, rows asked, answers and past doubts (import_labels); features
writes  build/gate: accepted, review, unlabelled, known, votes (JSONL), state.json; metrics/gate.json;
        plots/label_quality.json; next: train, query, validate

Rounds are looked at up to the first open one: until that is answered or closed, build/gate keeps its bytes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from stages._canonical import Row, read_jsonl, write_json, write_jsonl
from stages._identity import order_key
from stages._params import Gate, Params, load
from stages._quality import Doubts, judge, worst
from stages._shell import PATH, one_line_errors
from stages._standing import SEED, Case, Standing, collect, exempt, history, known, reviewed, standing
from stages._store import Index, Matrix, read_index, read_model_matrix


@dataclass(frozen=True)
class Ledger:
    """The label tables as they were read (see stages/_ledger.py)."""

    seed: list[Row]
    suspects: list[Row]
    rounds: list[Row]
    asked: list[Row]
    events: list[Row]
    verdicts: list[Row]

    def until(self, last: int) -> Ledger:
        """The same tables as if no round after `last` had been answered."""
        tables = (self.rounds, self.asked, self.events, self.verdicts)
        return Ledger(self.seed, self.suspects, *([row for row in rows if row["round"] <= last] for rows in tables))


@dataclass(frozen=True)
class Outcome:
    """Everything the gate decides: rows of its tables, and the doubts it rests on."""

    cases: list[Case]
    accepted: list[Row]
    review: list[Row]
    unlabelled: list[Row]
    known: list[Row]
    state: Row


def complete(rounds: list[Row]) -> tuple[int, Row | None]:
    """The last round before any open one (0 for none), and the open one."""
    last = 0
    for row in sorted(rounds, key=lambda row: int(row["round"])):
        if row["state"] == "open":
            return last, row
        last = int(row["round"])
    return last, None


def decide(ledger: Ledger, index: Index, matrix: Matrix, params: Params) -> Outcome:
    """Accepted, review and unlabelled: a partition of all ids that have a seed label or were asked.

    Before the first round the doubts are clean_seed's; afterwards every label is judged anew, with all that is known.
    """
    upto = max((int(row["round"]) for row in ledger.rounds), default=0)
    cases = collect(ledger.seed, ledger.asked, ledger.events, ledger.verdicts)
    stands = {case.id: standing(case, upto, params.gate) for case in cases}
    labelled = [case for case in cases if stands[case.id].label is not None]
    review: list[Row] = []
    if upto == 0:
        review = [{**row, "asks": 1} for row in ledger.suspects]
    elif labelled:
        review = flagged(labelled, stands, index, matrix, upto, params)
    unlabelled: list[Row] = []
    for case in cases:
        if stands[case.id].why == "disagreement":
            review.append(_disputed(case, stands[case.id], upto))
        elif stands[case.id].label is None:
            unlabelled.append(_unlabelled(case, stands[case.id].why, upto))
    asked_out = [row for row in review if row["asks"] >= params.gate.max_asks]
    review = [row for row in review if row["asks"] < params.gate.max_asks]
    review.sort(key=lambda row: (-round(row["score"], 9), order_key(params.seed, row["id"])))
    by_id = {case.id: case for case in cases}
    unlabelled += [_unlabelled(by_id[row["id"]], "unresolved", upto) for row in asked_out]
    out = {row["id"] for row in (*review, *unlabelled)}
    copies = index.copies()
    accepted = [_accepted(case, upto, copies, index, params) for case in labelled if case.id not in out]
    control = [order_key(params.seed, row["id"]) for row in ledger.asked if "control" in row["arms"]]
    spent = sum(1 for row in ledger.events if row["kind"] not in ("override", "retract"))
    found = [right for case in cases for _, right in reviewed(case, upto)]
    state = {
        "rounds": len(ledger.rounds),
        "answers": spent,
        "review_found": sum(right is False for right in found),
        "control_key": str(max(control)) if control else None,
    }
    unlabelled.sort(key=lambda row: str(row["id"]))
    spans = known(cases, upto, out, params.gate)
    return Outcome(cases, accepted, review, unlabelled, spans, state)


def flagged(
    labelled: list[Case], stands: dict[str, Standing], index: Index, matrix: Matrix, upto: int, params: Params
) -> list[Row]:
    """The labels that are likelier wrong than a review is worth, unless people have confirmed them before."""
    ids = [case.id for case in labelled]
    rows = index.locate(ids, "labels")
    names = [str(stands[item].label) for item in ids]
    classes = np.array([params.labels.index(name) for name in names], dtype=np.intp)
    found = judge(matrix[rows], classes, ids, [index.sha[row] for row in rows], params)
    doubtable = np.array([_doubtable(case, stands[case.id], upto, params.gate) for case in labelled], dtype=np.bool_)
    wanted = wanted_by_policy(found, doubtable, params)
    chosen = worst(found.error, wanted, classes, ids, int(params.gate.max_quarantine * len(ids)), params.seed)
    return [
        {
            "id": ids[row],
            "label": names[row],
            "suggested": params.labels[found.suggested[row]],
            "score": float(found.error[row]),
            "reasons": ["label_error"],
            "asks": asks(labelled[row], upto),
        }
        for row in np.flatnonzero(chosen)
    ]


def wanted_by_policy(found: Doubts, doubtable: NDArray[np.bool_], params: Params) -> NDArray[np.bool_]:
    """Which labels to set aside before caps, (n,)."""
    return doubtable & found.judged & (found.error > params.gate.threshold)


def asks(case: Case, upto: int) -> int:
    """How often people were asked for this label: every round that asked it, and the seed."""
    return sum(when <= upto for when in case.asked) + any(vote.annotator == SEED for vote in case.votes)


def _doubtable(case: Case, stand: Standing, upto: int, policy: Gate) -> bool:
    """Whether a model may doubt the label: not after an override, a confirmation, or the last ask with two agreeing."""
    agreed = sum(vote.label == stand.label for vote in stand.votes)
    settled = asks(case, upto) >= policy.max_asks and agreed >= 2
    return stand.why == "votes" and not settled and "label_error" not in exempt(case, str(stand.label), upto)


def _disputed(case: Case, stand: Standing, upto: int) -> Row:
    tally = Counter(vote.label for vote in stand.votes).most_common()
    label, suggested = tally[0][0], tally[1][0]
    return {
        "id": case.id, "label": label, "suggested": suggested, "score": 1 - tally[0][1] / len(stand.votes),
        "reasons": ["disagreement"], "asks": asks(case, upto),
    }  # fmt: skip


def _unlabelled(case: Case, kind: str, upto: int) -> Row:
    of_kind = [vote for vote in case.votes if vote.round <= upto and vote.kind == kind]
    last = max((vote.round for vote in of_kind), default=max((when for when in case.asked if when <= upto), default=0))
    return {"id": case.id, "kind": kind, "round": last, "times": len({vote.round for vote in of_kind})}


def _accepted(case: Case, upto: int, copies: dict[str, list[str]], index: Index, params: Params) -> Row:
    """One row of accepted.jsonl; `round` is where the present label became known."""
    since, stand = 0, standing(case, upto, params.gate)
    for at, then in reversed(history(case, upto, params.gate)):
        if then.label != stand.label:
            break
        since = at
    voters = {vote.annotator for vote in stand.votes if vote.label == stand.label} - {SEED}
    arms = sorted({arm for when, row in case.asked.items() if when <= upto for arm in row["arms"]})
    again = since > min([vote.round for vote in case.votes if vote.kind == "label"], default=since)
    source = "override" if stand.why == "override" else "seed" if since == 0 else "review" if again else "answer"
    same = copies.get(index.sha[index.row_of[case.id]], [])
    return {
        "id": case.id, "label": stand.label, "round": since, "arms": arms, "source": source,
        "annotators": sorted(voters), "copies": [item for item in same if item != case.id],
        "asked_rank": int(case.asked[since]["rank"]) if since in case.asked else 0,
    }  # fmt: skip


@click.command(help=__doc__)
@click.option("--seed", type=PATH, required=True, help="Folder of clean_seed.")
@click.option("--labels", type=PATH, required=True, help="Folder of import_labels.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--out", type=PATH, required=True, help="Folder for the gate's tables.")
@click.option("--metrics", type=PATH, required=True, help="JSON file for counts and checks.")
@click.option("--plot", type=PATH, required=True, help="JSON file with one row per round.")
@one_line_errors
def main(seed: Path, labels: Path, features: Path, out: Path, metrics: Path, plot: Path) -> str:
    """Read the tables, decide, write."""
    params = load()
    paths = [seed / "labels.jsonl", seed / "suspects.jsonl"]
    paths += [labels / f"{name}.jsonl" for name in ("rounds", "asked", "events", "verdicts")]
    ledger = Ledger(*(read_jsonl(path) for path in paths))
    last, pending = complete(ledger.rounds)
    outcome = decide(ledger.until(last), read_index(features), read_model_matrix(features), params)
    for name in ("accepted", "review", "unlabelled", "known"):
        write_jsonl(out / f"{name}.jsonl", getattr(outcome, name))
    write_json(out / "state.json", outcome.state)
    held = f"held, {pending['answered']} of {pending['asked']} answered" if pending else None
    counts = {name: len(getattr(outcome, name)) for name in ("accepted", "review", "unlabelled")}
    write_json(metrics, {**outcome.state, **counts, "held": held})
    write_json(plot, [])
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"gate: round {last}: {said}" + (f"; round {pending['round']} is {held}" if pending else "")


if __name__ == "__main__":
    main()
