"""Features of whole tables: what the classifier sees, the geometry, and the index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Matrix
from stages.contract.errors import PipelineError
from stages.contract.imports import build
from stages.contract.params import Params, TextFeatures
from stages.contract.progress import progress
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
from stages.features.embedding import embedded
from stages.store.index import SPLITS, Index, Split
from stages.store.ngrams import hashed, rarity, weighted
from stages.store.space import fit_space

Inputs = list[str] | NDArray[Any]


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


def model_features(inputs: Inputs, fitted_on: slice, params: Params) -> Matrix:
    """The features of every row alone, (n, p): the featurizer is fitted on pool and seed and applied to all rows."""
    import scipy.sparse as sp

    kind = params.features.kind
    if kind == "text":
        return text_features(inputs, fitted_on, params.features.text)  # type: ignore[arg-type]  # texts by kind
    if kind == "embedding":
        return embedded(inputs, params.features.embedding)  # type: ignore[arg-type]  # texts by kind
    if kind == "custom":
        assert params.features.custom is not None  # check_kind
        transformer = build(params.features.custom, params.seed, "features.custom")
        matrix = transformer.fit(inputs[fitted_on]).transform(inputs)
        return (
            sp.csr_matrix(matrix, dtype=np.float32)
            if sp.issparse(matrix)
            else np.asarray(matrix, np.float32)
        )
    if kind == "numeric":
        from sklearn.preprocessing import StandardScaler

        return StandardScaler().fit(inputs[fitted_on]).transform(inputs).astype(np.float32)
    return np.asarray(inputs, dtype=np.float32)


def text_features(inputs: list[str], fitted_on: slice, options: TextFeatures) -> Matrix:
    """Word and character n-gram TF-IDF side by side, (n, p) CSR float32, rows of unit length; hashed where asked."""
    import scipy.sparse as sp
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    if options.hashing is not None:
        raw = hashed(inputs, options)
        return weighted(raw, rarity(raw[fitted_on]))
    known = inputs[fitted_on]
    parts = []
    for analyzer, ngrams in (("word", options.word_ngrams), ("char_wb", options.char_ngrams)):
        if ngrams == (0, 0):
            continue
        min_df = min(options.min_df, max(1, len(known) // 10))
        vectorizer = TfidfVectorizer(
            analyzer=analyzer, ngram_range=ngrams, min_df=min_df, max_features=options.max_features,
            sublinear_tf=True, dtype=np.float32, token_pattern=r"(?u)\b\w+\b" if analyzer == "word" else None,
        )  # fmt: skip
        try:
            told = f"{analyzer} n-grams"
            with progress(f"{told}, learnt", len(known), "text") as learning:
                vectorizer.fit(learning.each(known))
            with progress(told, len(inputs), "text") as making:
                parts.append(vectorizer.transform(making.each(inputs)))
        except ValueError as error:
            what = f"no {analyzer} n-grams of {list(ngrams)} in these texts ({error})"
            raise PipelineError(
                "params.yaml features.text", what, "lower min_df or change the ranges"
            ) from error
    if not parts:
        raise PipelineError(
            "params.yaml features.text", "both ranges of n-grams are [0, 0]", "use one of them"
        )
    return normalize(sp.hstack(parts, format="csr", dtype=np.float32))


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
) -> tuple[Index, Matrix, NDArray[np.float32]]:
    """Index, model features and geometry of every example of the tables."""
    if len(tables["seed"]) > len(tables["pool"]):
        what = f"the seed has {len(tables['seed'])} rows and the pool only {len(tables['pool'])}"
        raise PipelineError(
            tables["seed"].path,
            what,
            "swap data.pool and data.seed in params.yaml if they are mixed up",
        )
    check_kind(params)
    index = make_index(tables, params)
    inputs = read_inputs(tables, index, params)
    fitted_on = slice(0, len(tables["pool"]) + len(tables["seed"]))
    own = model_features(inputs, fitted_on, params)
    dims, beside = params.features.geometry_dims, params.features.text.directions
    unit_rows = params.features.kind in {"text", "embedding"}
    return index, *spaces_of(own, fitted_on, dims, params.seed, unit_rows=unit_rows, beside=beside)
