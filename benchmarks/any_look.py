"""Any look: do claims that are made round after round hold? Simulated projects, the truth known.

    python -m benchmarks.any_look --kind aa --set digits --projects 400 --out aa.jsonl
    python -m benchmarks.any_look --kind saving --set digits --projects 50 --out saving.jsonl

aa: two random arms of 20 labels a round each, looked at after each of 15 rounds; the true gap is
zero, so every claim is wrong. saving: whole projects of 20 rounds of 30 answers with `auto`; how
many are sure of the saving, at the last round or at any round before. Judge rows are drawn from the
models of each round as the product draws them, and take the place of active rows.

The arms are learnt anew by ridge regression in closed form, which stands for the product's model
and takes a fraction of its time; the strategy of `--kind saving` asks by the product's own. One
line per project is appended to --out, and what is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.intervals import claimed, random_project, resampled
from benchmarks.labels import Data, load
from benchmarks.stopping import Simulated, params_of, simulate
from stages.contract.canonical import Row, dumps
from stages.proof.course import Course, course, drawn_by, facts_of
from stages.proof.gap import compare
from stages.proof.history import History
from stages.proof.refits import Refits, judge_on_test

ROUNDS = 15
LABELS = 20  # of each arm, in a round of two random arms
JUDGES = 6  # judge rows a round
BATCH = 30  # answers a round of a whole project
CONTROL = 9  # of which are control rows
PENALTY = 10.0
NO_TEST = np.empty(0, dtype=np.intp)


class Ridge(Refits):
    """The classifier's stand-in: ridge regression of one-hot classes, in closed form."""

    def _learnt(self, labels: list[tuple[str, int]], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        learnt = self.index.locate([item for item, _ in labels], "simulated")
        wanted = np.eye(len(self.params.labels))[[label for _, label in labels]]
        points = np.asarray(self.matrix)[learnt]
        centre = points.mean(axis=0)
        points = points - centre
        kernel = points @ points.T + PENALTY * np.eye(len(points))
        weights = points.T @ np.linalg.solve(kernel, wanted - wanted.mean(axis=0))
        scores = (np.asarray(self.matrix)[rows] - centre) @ weights + wanted.mean(axis=0)
        likely = np.exp(8 * (scores - scores.max(axis=1, keepdims=True)))
        return np.asarray(likely / likely.sum(axis=1, keepdims=True), dtype=np.float32)


def after(done: Simulated, number: int) -> History:
    """The history of a project after a round, without judge rows."""
    asked = [row for row in done.history.asked if row["round"] <= number]
    return replace(done.history, asked=asked, rounds=number, doubts=[0] * (number + 1))


def looked_at(done: Simulated, rounds: int) -> Iterator[tuple[History, Course | None]]:
    """The histories of a project's rounds, with the judge rows that the product would draw.

    With each, the course of the round before.
    """
    options = done.params.validate_.model_copy(update={"judge_rows": JUDGES})
    done.refits.params = done.params.model_copy(update={"validate_": options})
    drawn: list[Row] = []
    before = None
    for number in range(1, rounds + 1):
        plain = after(done, number)
        own = {(row["round"], row["id"]) for row in plain.asked}
        judged = [row for row in drawn if (row["round"], row["id"]) not in own]
        history = replace(
            plain,
            asked=[*plain.asked, *({**row, "rank": 0, "arms": ["judge"]} for row in judged)],
            judged=judged,
        )
        yield history, before
        before = course(history, done.refits, number)
        drawn += [
            {"id": item, "round": number + 1, "label": label_of(done, item)}
            for item in (drawn_by(before, history, done.refits, ()) if before else ())
        ]


def label_of(done: Simulated, item: str) -> str:
    """The true label of a row."""
    return done.params.labels[done.truth[done.index.row_of[item]]]


def with_ridge(done: Simulated) -> Simulated:
    """The project, learnt by the stand-in, with fewer resamples."""
    options = done.params.validate_.model_copy(update={"bootstrap": 100})
    params = done.params.model_copy(update={"validate_": options})
    return replace(done, refits=Ridge(done.index, done.refits.matrix, params), params=params)


def two_random_arms(data: Data, seed: int) -> Row:
    """What is claimed of two random arms after each round, by each way of proving."""
    own = resampled(data, seed)
    done = with_ridge(random_project(own, seed, ROUNDS * LABELS))
    place: dict[str, int] = {"active": 0, "control": 0}
    for row in done.history.asked:  # rounds of 20 labels of each arm, in the order of the arm
        row["round"] = 1 + min(place[arm] for arm in row["arms"]) // LABELS
        for arm in row["arms"]:
            place[arm] += 1
    for known in done.history.known:
        if known["from_round"]:
            known["from_round"] = 0
    truth = done.truth[done.index.rows("test")]
    looks: list[Row] = []
    for history, before in looked_at(done, ROUNDS):
        gap, saving = compare(history, judge_on_test(done.refits, truth), done.params)
        looks.append(
            {
                "one look": claimed(gap, saving),
                "any look": claimed(gap["any_look"], saving["any_look"]),
                **course_claims("course, test set", before, history, done, truth),
                **course_claims("course, no test set", before, history, done, NO_TEST),
            }
        )
    return {"set": data.name, "seed": seed, "looks": looks}


def course_claims(
    name: str, before: Course | None, history: History, done: Simulated, truth: NDArray[np.intp]
) -> Row:
    """What the gap over the course claims at one look and at any look."""
    if before is None:
        return {}
    facts = facts_of(before, history, done.refits, truth)
    if facts["active_minus_random"] is None:
        return {}
    saved = facts["saved"]
    return {
        f"{name}, one look": claimed(facts, saved),
        f"{name}, any look": claimed(facts["any_look"], saved["any_look"]),
        f"{name}, facts": {
            "gap": facts["active_minus_random"],
            "saved": saved["labels"],
            "low": facts["any_look"]["low"],
            "saved_low": saved["any_look"]["low"],
            "judges": facts["judge_rows"],
            "rows": facts["error_of_rows"],
            "draws": facts["error_of_draws"],
        },
    }


def whole_project(data: Data, seed: int, rounds: int = 20) -> Row:
    """What a project with a strategy claims: of 30 answers a round, 6 judge and 9 are control."""
    share = CONTROL / (BATCH - JUDGES)
    params = params_of(data, "auto", seed, BATCH - JUDGES, share)
    done = with_ridge(simulate(resampled(data, seed), params, rounds))
    truth = done.truth[done.index.rows("test")]
    looks: list[Row] = []
    for history, before in looked_at(done, rounds):
        looks.append(
            {
                "answers": len(history.asked),
                **course_claims("course, test set", before, history, done, truth),
                **course_claims("course, no test set", before, history, done, NO_TEST),
            }
        )
    return {"set": data.name, "seed": seed, "looks": looks}


def table(records: list[Row], looks: int) -> list[str]:
    """How many projects ever claimed, by the way of proving, and at the last look."""
    ways = [name for name in records[0]["looks"][-1] if name.endswith("look")]
    head = f"| {len(records)} projects, {looks} looks | arms differ | active ahead"
    head += " | labels saved | saved, at the last look |"
    lines = [head, "|---|---|---|---|---|"]
    for way in ways:
        seen = np.array(
            [[look.get(way, [False] * 3) for look in record["looks"][:looks]] for record in records]
        )
        ever = seen.any(axis=1).mean(axis=0)
        cells = [*(f"{share:.1%}" for share in ever), f"{seen[:, -1, 2].mean():.1%}"]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return lines


def run(record_of: Callable[[Data, int], Row], data: Data, projects: range, out: Path) -> list[Row]:
    """The records of all projects on a set; what --out lacks is run and appended."""
    lines = out.read_text().splitlines() if out.exists() else []
    records = {row["seed"]: row for row in map(json.loads, lines) if row["set"] == data.name}
    for seed in projects:
        if seed not in records:
            records[seed] = json.loads(dumps(record_of(data, seed)))
            with out.open("a") as file:
                file.write(json.dumps(records[seed]) + "\n")
    return list(records.values())


def main() -> None:
    """Run what is missing, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=["aa", "saving"], default="aa")
    parser.add_argument("--set", default="digits")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--projects", type=int, default=400)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("any_look.jsonl"))
    args = parser.parse_args()
    data = load(args.set, args.data)
    record_of = two_random_arms if args.kind == "aa" else whole_project
    records = run(record_of, data, range(args.first, args.first + args.projects), args.out)
    for looks in (ROUNDS,) if args.kind == "aa" else (10, 20):
        print("\n".join(table(records, looks)), end="\n\n")


if __name__ == "__main__":
    main()
