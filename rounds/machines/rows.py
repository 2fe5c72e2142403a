"""The rows that a machine may be asked: of pool, seed and test, without their labels.

Their order is the random permutation that the control arm walks along. So the first rows that a
machine answers are those that people answer for the control arm, and a short trial says the most.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rounds.project import Project
from rounds.tables_now import pool_of
from stages.batch.export import fields_of
from stages.contract.canonical import Row
from stages.contract.identity import order_key
from stages.contract.params import Params
from stages.contract.progress import watched
from stages.examples.content import identities, shown
from stages.examples.places import in_parts, list_parts, opened
from stages.store.index import SPLITS

NO_ROWS = "data/none.csv"


@dataclass(frozen=True)
class Example:
    """A row to label. content: {"text"}, {"image"} or {"fields"}, never a label."""

    id: str
    split: str
    content: Row


def _sources(project: Project, splits: Collection[str]) -> list[tuple[str, str, bool]]:
    """Split, path or URL, and whether repeats of a content are counted in ids, of every table."""
    params = project.params()
    pool = pool_of(project)
    parted = in_parts(pool)
    tables = [("pool", url, not parted) for url in (list_parts(pool) if parted else [pool])]
    for split, path in (("seed", params.data.seed), ("test", params.data.test)):
        if path != NO_ROWS:
            tables.append((split, str(project.root / path), True))
    return [table for table in tables if table[0] in splits]


def examples(project: Project, splits: Collection[str] = SPLITS) -> Iterator[Example]:
    """Every row of some splits, in the order of the tables."""
    params = _rooted(project)
    columns = fields_of(pool_of(project), params)
    for split, url, counted in watched("tables", _sources(project, splits), "table"):
        with opened(url) as table:
            ids, _ = identities(table, params, split, counted=counted, columns=columns)
            for row, item in enumerate(ids):
                yield Example(item, split, shown(table, row, params, columns))


def all_ids(project: Project) -> set[str]:
    """The ids of pool, seed and test."""
    params = _rooted(project)
    columns = fields_of(pool_of(project), params)
    ids: set[str] = set()
    for split, url, counted in watched("tables", _sources(project, SPLITS), "table"):
        with opened(url) as table:
            ids.update(identities(table, params, split, counted=counted, columns=columns)[0])
    return ids


def _rooted(project: Project) -> Params:
    """The params, with `data.images` as a full path."""
    params = project.params()
    data = params.data.model_copy(update={"images": str(project.root / params.data.images)})
    return params.model_copy(update={"data": data})


def first_to_ask(
    project: Project, splits: Collection[str], answered: Collection[str], limit: int | None
) -> list[Example]:
    """The rows that have no answer yet, in the order of the permutation, at most `limit`."""
    seed = project.params().seed
    free = (example for example in examples(project, splits) if example.id not in answered)
    keyed = ((order_key(seed, example.id), example.id, example) for example in free)
    if limit is None:
        return [example for *_, example in sorted(keyed, key=lambda row: row[:2])]
    return [example for *_, example in heapq.nsmallest(limit, keyed, key=lambda row: row[:2])]
