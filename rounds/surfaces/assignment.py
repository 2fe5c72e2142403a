"""Who may answer which item on the page: by name, or by share.

    data/assignment.csv     by name: columns id and annotator, a line for each person of a row
    surface.people          by share: a name and a weight for each; rows that the file does not name
                            are divided among these people

Without either everybody may answer everything. This orders the work; it is no lock, since people
say themselves who they are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from rounds.project import Project
from stages.contract.canonical import sha256
from stages.contract.errors import PipelineError
from stages.examples.tables import as_text, read_table

FILE = "data/assignment.csv"
Names = frozenset[str]


def normal(name: str) -> str:
    """A name as sessions are told apart by it."""
    return " ".join(name.split()).casefold()


def by_share(item: str, shares: Mapping[str, float], count: int, seed: int) -> Names:
    """The `count` people of an item: each is drawn in proportion to their shares.

    It depends on the item, the people and the seed alone, so a person who comes or goes moves only
    the items that they get or had. Ties by name. Source: Efraimidis, Spirakis, "Weighted random
    sampling with a reservoir" (2006); Thaler, Ravishankar, "Using name-based mappings to increase
    hit rates" (1998).
    """
    keys = {
        name: -math.log(_uniform(f"{seed}:{item}:{name}")) / share
        for name, share in shares.items()
        if share > 0
    }
    return frozenset(sorted(keys, key=lambda name: (keys[name], name))[:count])


def _uniform(text: str) -> float:
    """A number in (0, 1) that looks drawn at random and depends on the text alone."""
    return (int(sha256(text)[:13], 16) + 0.5) / 16**13


def named_people(project: Project) -> dict[str, Names]:
    """Item -> who may answer it, by data/assignment.csv; nothing without that file."""
    path = project.root / FILE
    if not path.is_file():
        return {}
    table = read_table(path, may_be_empty=True)
    ids = [as_text(cell) for cell in table.column("id", FILE)]
    people = [normal(as_text(cell)) for cell in table.column("annotator", FILE)]
    names: dict[str, set[str]] = defaultdict(set)
    for row, (item, name) in enumerate(zip(ids, people, strict=True)):
        if not name:
            raise PipelineError(table.where(row), "no annotator", "fill the cell or remove the row")
        names[item].add(name)
    return {item: frozenset(people_) for item, people_ in names.items()}


def allowed(project: Project, items: Sequence[str]) -> list[Names | None]:
    """For each item who may answer it; None: everybody.

    Raises PipelineError where fewer people may than `surface.annotations_per_item` asks for.
    """
    params = project.params()
    wanted = params.surface.annotations_per_item
    shares = {normal(name): share for name, share in params.surface.people.items()}
    able = sum(share > 0 for share in shares.values())
    if shares and able < wanted:
        what = f"{able} people have a share, and each row wants {wanted} of them"
        remedy = "name more people, or lower surface.annotations_per_item"
        raise PipelineError("params.yaml surface.people", what, remedy)
    named = named_people(project)
    for item in items:
        if item in named and len(named[item]) < wanted:
            what = f"{item!r} is for {len(named[item])} people, and each row wants {wanted}"
            raise PipelineError(FILE, what, "name more people, or take the row out of the file")
    return [
        named[item]
        if item in named
        else (by_share(item, shares, wanted, params.seed) if shares else None)
        for item in items
    ]
