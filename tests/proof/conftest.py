"""A small labelling history over two blobs per class, made in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from rounds.shipped import shipped_params
from stages.contract.identity import order_keys
from stages.contract.params import Params
from stages.proof.history import History
from stages.proof.proof import Proof, Shipped, prove
from stages.store.index import Features, Index

CLASSES = 3
UNKNOWN = {"verdict": "unknown", "trusted": False, "fitted": True, "why": "too few"}


@dataclass(frozen=True)
class World:
    """Examples with known classes: pool, seed and test, and the params that describe them."""

    index: Index
    matrix: Any
    truth: Any
    params: Params

    def label(self, item: str) -> str:
        return self.params.labels[self.truth[self.index.row_of[item]]]

    def prove(
        self,
        history: History,
        *,
        test: bool = True,
        answers: int = 0,
        tick: Callable[[], object] = int,
    ) -> Proof:
        truth = self.truth[self.index.rows("test")] if test else np.empty(0, dtype=np.intp)
        geometry = self.matrix / np.sqrt((self.matrix**2).sum(axis=1).mean())
        shipped = np.eye(CLASSES)[np.zeros(len(truth), dtype=np.intp)]
        space = geometry.astype(np.float32)
        features = Features(self.index, self.matrix, space)
        return prove(
            history, features, Shipped(truth, shipped, UNKNOWN), answers, self.params, tick
        )


def make_world(seed: int = 0, pool: int = 240, test: int = 150) -> World:
    rng = np.random.default_rng(seed)
    sizes = {"pool": pool, "seed": 12, "test": test}
    split = [name for name, count in sizes.items() for _ in range(count)]
    ids = [f"{name}-{number:04d}" for name, count in sizes.items() for number in range(count)]
    truth = rng.integers(0, CLASSES, len(ids)).astype(np.intp)
    centres = rng.normal(size=(CLASSES, 8))
    matrix = (centres[truth] + rng.normal(size=(len(ids), 8))).astype(np.float32)
    index = Index(ids, [f"sha-{item}" for item in ids], split, list(range(len(ids))))
    params = shipped_params(
        {
            "seed": seed,
            "labels": ["a", "b", "c"],
            "model": {
                "path": "sklearn.linear_model.LogisticRegression",
                "params": {"max_iter": 500},
            },
            "validate": {"bootstrap": 100},
            "query": {"batch_size": 20},
        }
    )
    return World(index, matrix, truth, params)


def make_history(world: World, rounds: int, active: int = 16, control: int = 4) -> History:
    """Rounds in which `active` rows were asked in the order of their ids, and `control` rows along
    the permutation.
    """
    pool = world.index.ids[world.index.rows("pool")]
    seeds = world.index.ids[world.index.rows("seed")]
    walk = [pool[place] for place in np.argsort(order_keys(world.params.seed, pool))]
    chosen, drawn = iter(pool), iter(walk)
    asked: dict[str, dict[str, Any]] = {}
    for number in range(1, rounds + 1):
        for arm, source, count in (("active", chosen, active), ("control", drawn, control)):
            taken = 0
            while taken < count:
                item = next(source)
                if item not in asked:
                    asked[item] = {
                        "round": number,
                        "rank": taken + 1 + 100 * (arm == "control"),
                        "id": item,
                        "arms": [arm],
                    }
                    taken += 1
    known = [
        {"id": item, "from_round": 0, "to_round": None, "label": world.label(item)}
        for item in seeds
    ]
    known += [
        {"id": item, "from_round": row["round"], "to_round": None, "label": world.label(item)}
        for item, row in asked.items()
    ]
    events = [
        {"id": item, "round": row["round"], "annotator": "ann", "kind": "label", "at": 3.0 * place}
        for place, (item, row) in enumerate(asked.items())
    ]
    repeats = [
        {"round": at, "asked": 12, "near_duplicates": 1, "share": 1 / 12}
        for at in range(1, rounds + 1)
    ]
    return History(
        list(asked.values()), known, events, [0] * (rounds + 1), frozenset(seeds), rounds, repeats
    )


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()
