"""The rows of a batch: who picked each of them and why, and the order in which they are asked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stages.answers.arms import JUDGE
from stages.answers.ledger import BatchRow, Doubt, GoldRow, Picked, Repeat
from stages.batch.model import Model
from stages.contract.arrays import Floats
from stages.learning.scoring import margin_of
from stages.store.index import Index
from stages.strategies import Candidates, Ranking


def active_rows(
    ranking: Ranking, candidates: Candidates, doubts: Floats, strategy: str, index: Index
) -> list[Picked]:
    """The strategy's picks, best first; doubts: (n,) the model's, of all candidates."""
    rows: list[Picked] = []
    for pick, position in enumerate(ranking.positions):
        item = candidates.ids[position]
        rows.append(
            {
                "id": item,
                "sha": index.sha[index.row_of[item]],
                "arms": ["active"],
                "score": ranking.scores[pick],
                "doubt": doubts[position],
                "strategy": strategy,
                "reason": ranking.reasons[pick],
            }
        )
    return rows


def with_control(
    active: list[Picked], candidates: Candidates, doubts: Floats, size: int, index: Index
) -> list[Picked]:
    """The active rows, then the next rows of the permutation, until they are `size` rows.

    A row that both arms want is asked once and counts for both; the walk then goes on.
    """
    rows = {row["id"]: row for row in active}
    for position in np.argsort(candidates.keys, kind="stable"):
        if len(rows) >= size:
            break
        item = candidates.ids[position]
        if item in rows:
            rows[item] = {**rows[item], "arms": ["active", "control"]}
            continue
        rows[item] = {
            "id": item,
            "sha": index.sha[index.row_of[item]],
            "arms": ["control"],
            "score": doubts[position],
            "doubt": doubts[position],
            "strategy": "random",
            "reason": "drawn at random",
        }
    return list(rows.values())


def with_judges(new: list[Picked], drawn: list[Picked]) -> list[Picked]:
    """The new rows, then the drawn judge rows.

    A row that an arm wants too is asked once, and counts for that arm as if nobody had drawn it.
    """
    judges = {row["id"]: row for row in drawn}
    rows = [_judging_too(row, judges.pop(row["id"], None)) for row in new]
    return [*rows, *judges.values()]


def _judging_too(row: Picked, judge: Picked | None) -> Picked:
    """A row of an arm, which was drawn to judge as well if there is a judge row."""
    if judge is None:
        return row
    return {**row, "arms": [*row["arms"], JUDGE], "probability": judge["probability"]}


def judge_row(item: str, probability: float, index: Index, model: Model | None) -> Picked:
    """A row on which the arms' models disagree, to be judged by people and not to be learnt."""
    doubt = _doubt_of(item, index, model)
    return {
        "id": item,
        "sha": index.sha[index.row_of[item]],
        "arms": [JUDGE],
        "score": doubt,
        "doubt": doubt,
        "strategy": "judge",
        "reason": "drawn from the rows on which the arms' models disagree",
        "probability": probability,
    }


def review_row(doubt: Doubt, index: Index, model: Model | None) -> Picked:
    """A row whose label is doubted, to be asked again."""
    return _asked_again(doubt["id"], doubt["score"], "; ".join(doubt["reasons"]), index, model)


def planted_row(item: str, index: Index, model: Model | None) -> Picked:
    """A row whose label nobody doubts, to see whether people agree with themselves."""
    return _asked_again(item, 0.0, "planted repeat", index, model)


def gold_row(row: GoldRow, index: Index, model: Model | None) -> Picked:
    """A row whose right answer is known, to see whether people give it. Nobody learns from it."""
    picked = _asked_again(row["id"], 0.0, "its answer is known", index, model)
    return {**picked, "arms": ["gold"], "strategy": "gold", "gold": row["label"]}


def split_row(row: Repeat, index: Index, model: Model | None) -> Picked:
    """A row whose class was split, to be told which part it is."""
    return _asked_again(row["id"], 0.0, f"split of {row['label']}", index, model)


def _asked_again(item: str, score: float, reason: str, index: Index, model: Model | None) -> Picked:
    return {
        "id": item,
        "sha": index.sha[index.row_of[item]],
        "arms": ["review"],
        "score": score,
        "doubt": _doubt_of(item, index, model),
        "strategy": "review",
        "reason": reason,
    }


def _doubt_of(item: str, index: Index, model: Model | None) -> float:
    """The model's uncertainty of a row; of a seed row it has none, which is 0."""
    row = index.row_of[item]
    if model is None or index.split[row] != "pool":
        return 0.0
    return float(margin_of(model.pool[row : row + 1])[0])


def interleave(new: list[Picked], asked_again: list[Picked], seed: int) -> list[Picked]:
    """Active rows in their order, with all other rows at seeded places between them.

    So nobody can tell the arms apart by where a row stands.
    """
    draw = np.random.default_rng(seed)
    active = [row for row in new if "active" in row["arms"]]
    others = [row for row in new if "active" not in row["arms"]] + asked_again
    shuffled = [others[number] for number in draw.permutation(len(others))]
    size = len(active) + len(others)
    places = set(draw.choice(size, size=len(others), replace=False).tolist())
    rest: Iterator[Picked] = iter(shuffled)
    best: Iterator[Picked] = iter(active)
    return [next(rest) if rank in places else next(best) for rank in range(size)]


def numbered(rows: list[Picked], round_number: int) -> list[BatchRow]:
    """The rows in the order to ask, with their rank, from 1, and their round."""
    return [{**row, "rank": rank, "round": round_number} for rank, row in enumerate(rows, start=1)]
