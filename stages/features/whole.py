"""Features of whole tables: what the classifier sees, the geometry, and the index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Geometry, Matrix
from stages.contract.errors import PipelineError
from stages.contract.params import Params, TextFeatures
from stages.examples.content import (
    check_kind,
    identities,
    number_columns,
    numbers,
    shrunk,
    texts,
    vectors,
)
from stages.examples.tables import Table, read_labelled, read_table
from stages.features.featurizer import (
    Featurizer,
    Inputs,
    fit_featurizer,
    fit_ngrams,
    ngrams,
    with_space,
)
from stages.features.kinds import load_vectors, reads_text
from stages.machines.columns import beside, machine_columns
from stages.machines.frozen import read_machine
from stages.store.index import SPLITS, Features, Index, Split
from stages.store.ngrams import hashed, rarity, weighted
from stages.store.space import fit_space


def read_tables(params: Params) -> dict[Split, Table]:
    """The three tables that params name."""
    return {
        "pool": read_table(Path(params.data.pool)),
        "seed": read_labelled(Path(params.data.seed), params.data.label),
        "test": read_labelled(Path(params.data.test), params.data.label),
    }


def featurize(tables: dict[Split, Table], params: Params) -> tuple[Features, Featurizer]:
    """The features of every example of the tables, and what makes them of rows to come."""
    pool = tables["pool"]
    seed = tables["seed"]
    if len(seed) > len(pool):
        what = f"the seed has {len(seed)} rows and the pool only {len(pool)}"
        remedy = "swap data.pool and data.seed in params.yaml if they are mixed up"
        raise PipelineError(seed.path, what, remedy)
    check_kind(params)
    index = make_index(tables, params)
    inputs = read_inputs(tables, index, params)
    fitted_on = slice(0, len(pool) + len(seed))  # the test set teaches nothing
    options = params.features
    if options.kind in {"numeric", "custom"} and not reads_text(params):
        columns = number_columns(pool, params)
        options = options.model_copy(update={"columns": columns})
    featurizer = fit_featurizer(inputs, fitted_on, options, params.seed)
    own = featurizer.features(inputs)
    featurizer = with_space(featurizer, own[fitted_on], params.seed)
    matrix, geometry = featurizer.fitted.space.both(own)
    if params.machines.are_features:
        machine = read_machine(Path(params.machines.features))
        matrix = beside(matrix, machine_columns(machine, index.ids))
    return Features(index, matrix, geometry), featurizer


def make_index(tables: dict[Split, Table], params: Params) -> Index:
    """Ids and content hashes of all examples, pool then seed then test, each sorted by id.

    Raises PipelineError for a blank id and for one that stands twice.
    """
    first_use: dict[str, str] = {}
    index = Index([], [], [], [])
    columns = number_columns(tables["pool"], params)
    for split in SPLITS:
        table = tables[split]
        ids, shas = identities(table, params, split, columns=columns)
        for row, item in enumerate(ids):
            if item in first_use:
                what = f"id {item!r} stands twice, first at {first_use[item]}"
                remedy = "ids must be unique over pool, seed and test: rename or remove one"
                raise PipelineError(table.where(row), what, remedy)
            first_use[item] = table.where(row)
        for row in sorted(range(len(ids)), key=ids.__getitem__):
            index.ids.append(ids[row])
            index.sha.append(shas[row])
            index.split.append(split)
            index.row.append(row)
    return index


def read_inputs(tables: dict[Split, Table], index: Index, params: Params) -> Inputs:
    """What the featurizer sees, one entry per row of the index: texts, or an (n, p) array."""
    rows = list(zip(index.split, index.row, strict=True))
    if reads_text(params):
        words = {split: texts(tables[split], params.data.text) for split in SPLITS}
        return [words[split][row] for split, row in rows]
    arrays = _arrays(tables, params)
    width = arrays["pool"].shape[1]
    stacked = np.vstack([np.reshape(arrays[split], (-1, width)) for split in SPLITS])
    lengths = [len(tables[split]) for split in SPLITS]
    starts = np.cumsum([0, *lengths[:-1]])
    start = dict(zip(SPLITS, starts.tolist(), strict=True))
    return np.asarray(stacked[[start[split] + row for split, row in rows]])


def _arrays(tables: dict[Split, Table], params: Params) -> dict[Split, NDArray[Any]]:
    """The numbers that the featurizer sees, (n, p) for each table."""
    kind = params.features.kind
    if kind == "image":
        return {split: shrunk(tables[split], params) for split in SPLITS}
    if kind == "precomputed":
        return _vectors(tables, params)
    columns = number_columns(tables["pool"], params)
    if not columns:
        what = "the pool has no columns of numbers"
        raise PipelineError("params.yaml features.columns", what, "name them")
    return {split: numbers(tables[split], columns) for split in SPLITS}


def _vectors(tables: dict[Split, Table], params: Params) -> dict[Split, NDArray[Any]]:
    """The user's own vectors, of a column or of one .npy file for all tables."""
    path = Path(params.features.vectors)
    columns = params.features.columns
    if path.suffix != ".npy":
        if len(columns) != 1:
            what = (
                "features.kind is precomputed, and neither one vector column nor a .npy file "
                "is named"
            )
            raise PipelineError("params.yaml features.columns", what, "name one of them")
        return {split: vectors(tables[split], columns[0]) for split in SPLITS}
    array = load_vectors(path)
    total = sum(len(table) for table in tables.values())
    remedy = "compute the vectors again"
    if array.ndim != 2 or len(array) != total:
        what = (
            f"an array of shape ({total}, d) was expected (rows of pool, then seed, then test), "
            f"found {array.shape}"
        )
        raise PipelineError(path, what, remedy)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        what = f"row {finite.argmin()} holds NaN or infinity"
        raise PipelineError(path, what, remedy)
    ends = np.cumsum([len(tables[split]) for split in SPLITS])
    parts = np.split(np.asarray(array, dtype=np.float32), ends[:-1])
    return dict(zip(SPLITS, parts, strict=True))


def text_features(inputs: list[str], fitted_on: slice, options: TextFeatures) -> Matrix:
    """TF-IDF of word and character n-grams side by side, (n, p) CSR float32, rows of unit length.

    With options.hashing n-grams are hashed into columns, and only their weights are learnt.
    """
    if options.hashing is not None:
        raw = hashed(inputs, options)
        return weighted(raw, rarity(raw[fitted_on]))
    return ngrams(inputs, fit_ngrams(inputs[fitted_on], options))


def spaces_of(
    matrix: Matrix, fitted_on: slice, dims: int, seed: int, *, unit_rows: bool, beside: float = 0.0
) -> tuple[Matrix, Geometry]:
    """What the classifier sees, and the geometry, (n, d <= dims), learnt from some of the rows."""
    space = fit_space(matrix[fitted_on], dims, seed, unit_rows=unit_rows, beside=beside)
    return space.both(matrix)
