"""Made-up pools where a few right labels stand in a place that the other labels say nothing about.

A cell is a class in a group: a script with words of the class's own, or a cluster of points. One
class is seen in one group only. Then 1 to 5 labels come from another cell: of that class in a second
group, in a group of its own, or beside a crowd of another class. Some pools have mistakes planted
among the other labels. tests/quality/test_rare.py has the law, `benchmarks/gate.py rare` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rounds.init import MODEL
from rounds.shipped import shipped_params
from stages.contract.params import Params
from stages.features.whole import spaces_of, text_features
from stages.quality.judgement import LabelledRows

Cell = tuple[int, int]  # group, class
LAYOUTS = ("elsewhere", "apart", "crowd", "few")
WELL_COVERED = 10  # labels of a cell, from which a mistake in it is to be found
APART = 1.5  # times the usual distance to the nearest row: closer clusters are one place
SCRIPTS = tuple(
    [chr(first + step * number) for number in range(24)]
    for first, step in (
        (0x61, 1), (0x3B1, 1), (0x431, 1), (0xE01, 1), (0x4E00, 37), (0x627, 1), (0xAC00, 28), (0x915, 1),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Pool:
    """Labelled rows, their true classes (n,), which are the rare ones, and which cells are well covered."""

    layout: str
    rows: LabelledRows
    params: Params
    truth: NDArray[np.intp]
    rare: NDArray[np.bool_]
    covered: NDArray[np.bool_]


def pool(seed: int, layout: str, kind: str) -> Pool | None:
    """One pool of 20 to about 100 labels; kind: text or numeric.

    None for clusters that overlap, so that the rare rows lie in a place that is known.
    """
    draw = np.random.default_rng([seed, LAYOUTS.index(layout), kind == "text"])
    classes = int(draw.choice([2, 2, 3]))
    cells, rare = _cells(draw, layout, classes)
    pooled = {cell: count * int(draw.choice([2, 4])) for cell, count in cells.items()}
    pooled[rare] = cells[rare] + int(draw.choice([0, 5, 30]))
    made = _texts(draw, pooled) if kind == "text" else _points(draw, pooled)
    matrix, geometry, places = made
    taken = _labelled(draw, places, cells)
    truth = np.array([places[row][1] for row in taken], dtype=np.intp)
    is_rare = np.array([places[row] == rare for row in taken])
    if kind == "numeric" and not _apart(geometry[taken], is_rare):
        return None
    labels = truth.copy()
    if draw.random() < 0.5:
        share = draw.uniform(0.03, 0.12)
        wrong = draw.permutation(np.flatnonzero(~is_rare))[: max(1, int(share * len(truth)))]
        labels[wrong] = (truth[wrong] + draw.integers(1, classes, len(wrong))) % classes
    ids = [f"r{row}" for row in range(len(taken))]
    model = {
        "path": "sklearn.linear_model.LogisticRegression",
        "params": {"max_iter": 1000, **MODEL[kind]},
    }
    params = shipped_params({"labels": [str(name) for name in range(classes)], "model": model})
    covered = np.array([cells[places[row]] >= WELL_COVERED for row in taken]) & ~is_rare
    rows = LabelledRows(matrix[taken], geometry[taken], labels, ids, ids)
    return Pool(layout, rows, params, truth, is_rare, covered)


def _cells(draw: np.random.Generator, layout: str, classes: int) -> tuple[dict[Cell, int], Cell]:
    """Labels per cell, and the rare cell. Class 1 is seen in group 0 only; every class has five labels."""
    groups = int(draw.integers(2, 5))
    rare_rows = 5 if layout == "few" else int(draw.integers(1, 6))
    rest = int(draw.integers(20, 101)) - rare_rows
    if layout == "crowd":
        return {(0, 1): 6, (0, 0): 3, (1, 0): max(rest - 9, 5), (1, 1): rare_rows}, (1, 1)
    others = [(group, name) for group in range(groups) for name in range(classes) if name != 1]
    known = others if layout == "few" else [*others, (0, 1)]
    counts = draw.multinomial(rest, draw.dirichlet(np.full(len(known), 2.0)))
    cells = {cell: int(count) for cell, count in zip(known, counts, strict=True) if count}
    if layout == "few":
        rare = (0, 1)
    else:
        cells[0, 1] = max(6, cells.get((0, 1), 0))
        rare = (1, 1) if layout == "elsewhere" else (groups, int(draw.integers(2)))
    return {**cells, rare: rare_rows}, rare


def _texts(
    draw: np.random.Generator, cells: dict[Cell, int]
) -> tuple[object, NDArray[np.float32], list[Cell]]:
    """Texts of 3 to 5 words: every cell has words of its own, in the script of its group."""
    order = draw.permutation(len(SCRIPTS))
    spaced = {group: draw.random() < 0.6 for group in range(len(SCRIPTS))}
    texts, places = [], []
    for cell, count in cells.items():
        letters = SCRIPTS[order[cell[0]]]
        words = ["".join(draw.choice(letters, draw.integers(2, 6))) for _ in range(5)]
        for _ in range(count):
            said = draw.choice(words, draw.integers(3, 6))
            end = f"{draw.choice(['', '?', '!', '.'])}{draw.integers(10, 100)}"
            texts.append((" " if spaced[cell[0]] else "").join(said) + end)
            places.append(cell)
    options = shipped_params().features.text
    everything = slice(0, len(texts))
    features = text_features(texts, everything, options)
    spaces = spaces_of(features, everything, 128, 0, unit_rows=True, beside=options.directions)
    return *spaces, places


def _points(
    draw: np.random.Generator, cells: dict[Cell, int]
) -> tuple[object, NDArray[np.float32], list[Cell]]:
    """Points in 2 to 16 dimensions: a cluster per cell, near the other clusters of its group."""
    from sklearn.preprocessing import StandardScaler

    dims = int(draw.integers(2, 17))
    centres = draw.normal(size=(6, dims)) * draw.uniform(2, 5)
    spread = draw.uniform(1.5, 4)
    points, places = [], []
    for cell, count in cells.items():
        centre = centres[cell[0]] + draw.normal(size=dims) * spread
        points.append(centre + draw.normal(size=(count, dims)))
        places += [cell] * count
    scaled = StandardScaler().fit_transform(np.vstack(points)).astype(np.float32)
    return *spaces_of(scaled, slice(0, len(scaled)), 128, 0, unit_rows=False), places


def _labelled(
    draw: np.random.Generator, places: list[Cell], cells: dict[Cell, int]
) -> NDArray[np.intp]:
    """The rows that are labelled: as many of each cell as wanted, in a random order."""
    left = dict(cells)
    taken = []
    for row in draw.permutation(len(places)):
        if left[places[row]]:
            left[places[row]] -= 1
            taken.append(row)
    return np.array(taken, dtype=np.intp)


def _apart(geometry: NDArray[np.float32], rare: NDArray[np.bool_]) -> bool:
    """Whether the rare rows keep a distance from all others."""
    gaps = np.sqrt(((geometry[:, None] - geometry[None]) ** 2).sum(axis=2))
    usual = np.median(np.sort(gaps, axis=1)[:, 1])
    return bool(gaps[np.ix_(rare, ~rare)].min() > APART * usual)
