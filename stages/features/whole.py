"""Features of whole tables: what the classifier sees, the geometry, and the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Matrix
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
from stages.store.index import SPLITS, Index, Split
from stages.store.ngrams import hashed, rarity, weighted
from stages.store.space import fit_space


def make_index(tables: dict[Split, Table], params: Params) -> Index:
    """Ids and content hashes of all examples, pool then seed then test, each sorted by id.

    Raises PipelineError for a blank id and for one that stands twice.
    """
    seen: dict[str, str] = {}
    rows: list[tuple[int, str, int, str]] = []
    columns = number_columns(tables["pool"], params)
    for place, split in enumerate(SPLITS):
        table = tables[split]
        for row, (item, sha) in enumerate(
            zip(*identities(table, params, split, columns=columns), strict=True)
        ):
            where = table.where(row)
            if item in seen:
                what = f"id {item!r} stands twice, first at {seen[item]}"
                raise PipelineError(
                    where, what, "ids must be unique over pool, seed and test: rename or remove one"
                )
            seen[item] = where
            rows.append((place, item, row, sha))
    rows.sort()
    return Index(
        ids=[item for _, item, _, _ in rows],
        sha=[sha for _, _, _, sha in rows],
        split=[SPLITS[place] for place, _, _, _ in rows],
        row=[row for _, _, row, _ in rows],
    )


def read_inputs(tables: dict[Split, Table], index: Index, params: Params) -> Inputs:
    """What the featurizer sees, one entry per row of the index: texts, or an (n, p) array of numbers."""
    kind, data = params.features.kind, params.data
    per_split: dict[Split, Inputs]
    if kind in {"text", "embedding"} or (kind == "custom" and data.text):
        per_split = {split: texts(tables[split], data.text) for split in SPLITS}
    elif kind == "image":
        per_split = {split: shrunk(tables[split], params) for split in SPLITS}
    elif kind == "precomputed":
        per_split = _vectors(tables, params)
    else:
        columns = number_columns(tables["pool"], params)
        if not columns:
            raise PipelineError(
                "params.yaml features.columns", "the pool has no columns of numbers", "name them"
            )
        per_split = {split: numbers(tables[split], columns) for split in SPLITS}
    order = [(split, row) for split, row in zip(index.split, index.row, strict=True)]
    if isinstance(per_split["pool"], list):
        return [per_split[split][row] for split, row in order]  # type: ignore[index]  # split is one of SPLITS
    width = per_split["pool"].shape[1]
    stacked = np.vstack([np.reshape(per_split[split], (-1, width)) for split in SPLITS])
    start = {
        "pool": 0,
        "seed": len(tables["pool"]),
        "test": len(tables["pool"]) + len(tables["seed"]),
    }
    return np.asarray(stacked[[start[split] + row for split, row in order]])


def _vectors(tables: dict[Split, Table], params: Params) -> dict[Split, Inputs]:
    path = Path(params.features.vectors)
    if path.suffix != ".npy":
        if len(params.features.columns) != 1:
            what = "features.kind is precomputed, and neither one vector column nor a .npy file is named"
            raise PipelineError("params.yaml features.columns", what, "name one of them")
        return {split: vectors(tables[split], params.features.columns[0]) for split in SPLITS}
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise PipelineError(
            path, f"not a readable .npy array ({error})", "write it with numpy.save"
        ) from error
    total = sum(len(table) for table in tables.values())
    if array.ndim != 2 or len(array) != total:
        what = f"an array of shape ({total}, d) was expected (rows of pool, then seed, then test), found {array.shape}"
        raise PipelineError(path, what, "compute the vectors again")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise PipelineError(path, f"row {row} holds NaN or infinity", "compute the vectors again")
    ends = np.cumsum([len(tables[split]) for split in SPLITS])
    parts = np.split(np.asarray(array, dtype=np.float32), ends[:-1])
    return dict(zip(SPLITS, parts, strict=True))


def text_features(inputs: list[str], fitted_on: slice, options: TextFeatures) -> Matrix:
    """Word and character n-gram TF-IDF, (n, p) CSR float32, rows of unit length; hashed where asked."""
    if options.hashing is not None:
        raw = hashed(inputs, options)
        return weighted(raw, rarity(raw[fitted_on]))
    return ngrams(inputs, fit_ngrams(inputs[fitted_on], options))


def spaces_of(
    matrix: Matrix, fitted_on: slice, dims: int, seed: int, *, unit_rows: bool, beside: float = 0.0
) -> tuple[Matrix, NDArray[np.float32]]:
    """What the classifier sees, and the geometry, (n, d <= dims), learnt from some rows; see stages/store/space.py."""
    space = fit_space(matrix[fitted_on], dims, seed, unit_rows=unit_rows, beside=beside)
    return space.both(matrix)


def read_tables(params: Params) -> dict[Split, Table]:
    """The three tables that params name."""
    return {
        "pool": read_table(Path(params.data.pool)),
        "seed": read_labelled(Path(params.data.seed), params.data.label),
        "test": read_labelled(Path(params.data.test), params.data.label),
    }


def featurize(
    tables: dict[Split, Table], params: Params
) -> tuple[Index, Featurizer, Matrix, NDArray[np.float32]]:
    """Index, featurizer, model features and geometry of every example of the tables."""
    if len(tables["seed"]) > len(tables["pool"]):
        what = f"the seed has {len(tables['seed'])} rows and the pool only {len(tables['pool'])}"
        remedy = "swap data.pool and data.seed in params.yaml if they are mixed up"
        raise PipelineError(tables["seed"].path, what, remedy)
    check_kind(params)
    index = make_index(tables, params)
    inputs = read_inputs(tables, index, params)
    fitted_on = slice(0, len(tables["pool"]) + len(tables["seed"]))
    featurizer = fit_featurizer(inputs, fitted_on, params.features, params.seed)
    own = featurizer.features(inputs)
    featurizer = with_space(featurizer, own[fitted_on], params.seed)
    return index, featurizer, *featurizer.fitted.space.both(own)
