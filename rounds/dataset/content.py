"""What the examples themselves are: the columns that people saw and the model read, by id."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rounds.dataset.columns import Column, Kind
from rounds.project import Project
from rounds.tables_now import pool_of
from stages.batch.export import fields_of
from stages.contract.canonical import Row, read_json
from stages.contract.params import Params
from stages.examples.tables import Table, as_text
from stages.features.featurizer import COLUMNS
from stages.store.index import Index, read_index
from stages.store.parts import indexed, open_pool
from stages.store.read import from_tables

LABEL = "label of the table"  # under this key a row's label stands in its table, if it has one


def index_of(project: Project, ids: Iterable[str]) -> Index:
    """The index of some pool rows and of all of seed and test."""
    features = project.root / "build" / "features"
    pool = open_pool(features)
    if pool is None:
        return read_index(features)
    return indexed(pool, pool.locate(ids))[0]


def content_names(project: Project, params: Params) -> list[str]:
    """The columns of content: text, image, and what the classifier reads or people see."""
    shown = [name for name in (params.data.text, params.data.image) if name]
    if not shown:
        return fields_of(pool_of(project), params) or []
    read = project.root / "build" / "features" / COLUMNS
    numbers = read_json(read) if read.is_file() else params.features.columns
    return [*shown, *(name for name in numbers if name not in shown)]


def contents(project: Project, params: Params, ids: list[str], names: list[str]) -> dict[str, Row]:
    """The cells of these columns for each id, and the label that its table has."""
    here = {split: getattr(params.data, split) for split in ("seed", "test")}
    tables = {split: str(project.root / path) for split, path in here.items()}
    tables["pool"] = pool_of(project)

    def take(table: Table, row: int) -> Row:
        cells = {name: table.column(name, f"column {name!r}")[row] for name in names}
        if params.data.label in table.columns:
            cells[LABEL] = as_text(table.columns[params.data.label][row])
        return cells

    return from_tables(ids, tables, project.root / "build" / "features", take)


def content_columns(names: list[str], params: Params, cells: dict[str, Row]) -> list[Column]:
    """The columns of content with the kind that suits all their cells."""
    return [_column(name, params, [row[name] for row in cells.values()]) for name in names]


def _column(name: str, params: Params, cells: list[object]) -> Column:
    if name == params.data.image:
        return Column(name, "image", "the image that people saw")
    if name == params.data.text:
        return Column(name, "text", "the text that people saw")
    return Column(name, _kind_of(cells), "what the row holds")


def _kind_of(cells: list[Any]) -> Kind:
    """Vectors, finite numbers, or, where one cell is neither, text."""
    if cells and all(isinstance(cell, list) for cell in cells):
        return "numbers"
    try:
        finite = all(math.isfinite(float(cell)) for cell in cells)
    except (TypeError, ValueError):
        return "text"
    return "number" if finite else "text"


def images_folder(project: Project, params: Params) -> Path:
    """Where the names of image files lead."""
    return project.root / params.data.images
