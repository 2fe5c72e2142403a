"""Features of a pool in parts: each part alone and in parallel, then the little that takes all.

What depends on a row alone is made part by part (stages/features/one_part.py). What must be learnt
(scales, weights of n-grams, directions of the geometry) is learnt from the first rows of the random
permutation, and applied when rows are read.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.contract.arrays import Keys, Matrix
from stages.contract.errors import PipelineError
from stages.contract.identity import order_keys
from stages.contract.imports import build
from stages.contract.params import Params
from stages.examples.content import check_kind, identities, number_columns
from stages.examples.places import PartFacts, finished, is_url, list_parts, local, name_of
from stages.examples.tables import read_labelled, read_table
from stages.features.featurizer import Featurizer
from stages.features.kinds import fit_geometry
from stages.features.one_part import (
    Work,
    checked_vectors,
    code_hash,
    has_vectors_beside,
    hash_of,
    images_hash,
    key_of,
    raw_features,
    write_part,
)
from stages.store.fitted import UNFITTED, Fitted
from stages.store.index import Index, Split, write_index
from stages.store.ngrams import rarity
from stages.store.parts import Pool, parts_in_a_row, repeated, write_listing
from stages.store.raw import stacked, write_raw
from stages.store.words import centre_and_spread, grams_and_tokens
from stages.store.workers import mapped

SAMPLE = 20_000  # rows that scales, n-gram weights and directions are learnt from, with the seed
LITTLE = 1_000_000  # bytes of parts that are featurized sooner than workers start


def featurize_parts(out: Path, params: Params) -> tuple[Pool, Index, int]:
    """The pool, the index of seed and test, and the width of raw features, after writing the store.

    See stages/store/parts.py for the files. Raises PipelineError for params that do not say how to
    featurize a row alone, and for faults of the tables.
    """
    check_alone(params)
    sources = list_parts(params.data.pool)
    params = _with_columns(sources[0], params)
    work = _planned(out, sources, params)
    # With compute.store no part is kept in the folder.
    kept = set() if params.compute.store else {name_of(item.target) for item in work}
    _remove_all_but(out, kept)
    facts = _featurized(work, params)
    work = [item for item in work if facts[item.target]["rows"]]
    pool = _pool_of(out, work, facts, params)
    widths = {item.source: facts[item.target]["width"] for item in work}
    index, raw = _seed_and_test(params, pool, widths)
    # Without a column of ids, rows with one id have one content, and the first stands for all.
    if params.data.id:
        _check_ids(pool, index)
    write_index(out, index)
    write_raw(out, [raw], raw.shape[0])
    _write_copies(pool, index, ids_are_users=bool(params.data.id))
    fitted = fit(pool, raw[index.rows("seed")], params)
    Featurizer(params.features, _own_transformer(params), fitted).write(out)
    write_listing(pool)
    return pool, index, raw.shape[1]


def _own_transformer(params: Params) -> list[Any]:
    """The user's transformer, where there is one; in parts it learns nothing."""
    if params.features.kind != "custom":
        return []
    assert params.features.custom is not None  # check_kind
    return [build(params.features.custom, params.seed, "features.custom")]


def check_alone(params: Params) -> None:
    """Raises PipelineError where the params do not say how to featurize a row alone."""
    check_kind(params)
    kind = params.features.kind
    if kind == "text" and params.features.text.hashing is None:
        what = "a pool in parts has no vocabulary, and the columns of hashed n-grams are not set"
        raise PipelineError("params.yaml features.text.hashing", what, "set it, 65536 suits most")
    has_one_column = len(params.features.columns) == 1
    if kind == "precomputed" and not has_vectors_beside(params) and not has_one_column:
        what = (
            "features.kind is precomputed, and neither one vector column nor a folder of .npy "
            "files is named"
        )
        raise PipelineError("params.yaml features.columns", what, "name one of them")


def _with_columns(first: str, params: Params) -> Params:
    """The params with the columns of numbers; if the user names none, those of the first part."""
    features = params.features
    if features.columns or features.kind not in {"numeric", "custom", "precomputed"}:
        return params
    with local(first) as path:
        columns = number_columns(read_table(path, may_be_empty=True), params)
    features = features.model_copy(update={"columns": columns})
    return params.model_copy(update={"features": features})


def _planned(out: Path, sources: list[str], params: Params) -> list[Work]:
    """The work for each part; its target is named by a hash of all that its features depend on."""
    # Full paths, as workers may run in another folder.
    parent = params.compute.store.rstrip("/") or str(out.resolve() / "parts")
    if is_url(params.data.pool):
        contents = list(mapped(hash_of, sources, params.compute, "hash"))
    else:
        contents = [hash_of(source) for source in sources]
    code = code_hash()
    images = images_hash(params)
    work = []
    for source, content in zip(sources, contents, strict=True):
        key = key_of(source, [content, images, code], params)
        work.append(Work(source, content, f"{parent}/{key}", code, params, str(Path.cwd())))
    return work


def _remove_all_but(out: Path, kept: set[str]) -> None:
    """Remove everything from the store but the finished parts that are still wanted."""
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    others = [path for path in out.iterdir() if path != parts]
    for path in [*others, *parts.iterdir()]:
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _featurized(work: list[Work], params: Params) -> dict[str, PartFacts]:
    """Target -> facts of every part, after making the features of those that are not finished."""
    facts = finished([item.target for item in work])
    missing = [item for item in work if item.target not in facts]
    little = sum(_size_of(item.source) for item in missing) < LITTLE
    for _ in mapped(write_part, missing, params.compute, "featurize", little=little):
        pass
    return facts | finished([item.target for item in missing])


def _size_of(source: str) -> int:
    """Bytes of a part; one at a URL counts as large."""
    return LITTLE if is_url(source) else Path(source).stat().st_size


def _pool_of(out: Path, work: list[Work], facts: dict[str, PartFacts], params: Params) -> Pool:
    if not work:
        what = "no rows in any of its parts"
        raise PipelineError(params.data.pool, what, "add rows, or correct data.pool")
    parts = parts_in_a_row(
        (item.target, name_of(item.source), facts[item.target]["rows"]) for item in work
    )
    return Pool(out, parts, params.seed, params.compute.store.rstrip("/"))


def _seed_and_test(params: Params, pool: Pool, widths: dict[str, int]) -> tuple[Index, Matrix]:
    """Index and raw features of seed and test, each sorted by id.

    widths: of the parts' features, by path or URL. Raises PipelineError unless all tables have
    features of one width.
    """
    index = Index([], [], [], [])
    blocks: list[Matrix] = []
    paths: dict[Split, str] = {"seed": params.data.seed, "test": params.data.test}
    label = params.data.label
    tables = {split: read_labelled(Path(path), label) for split, path in paths.items()}
    widths = dict(widths)
    for split, table in tables.items():
        if not len(table):
            continue
        ids, shas = identities(table, params, split)
        by_id = sorted(range(len(ids)), key=ids.__getitem__)
        if has_vectors_beside(params):
            path = Path(params.features.vectors) / f"{split}.npy"
            raw = np.asarray(checked_vectors(path, len(table)))
        else:
            raw = stacked(list(raw_features(table, params)))
        widths[paths[split]] = raw.shape[1]
        blocks.append(raw[by_id])
        index.ids.extend(ids[row] for row in by_id)
        index.sha.extend(shas[row] for row in by_id)
        index.split.extend([split] * len(ids))
        index.row.extend(by_id)
    _check_widths(widths)
    if not blocks:
        blocks = [pool.raw(np.empty(0, np.intp), params.compute)]  # no rows, of the right width
    return index, stacked(blocks)


def _check_widths(widths: dict[str, int]) -> None:
    """Raises PipelineError for a table whose rows do not have as many features as the first's."""
    first, expected = next(iter(widths.items()))
    for table, width in widths.items():
        if width != expected:
            what = f"rows of {width} features, and {first} has {expected}"
            raise PipelineError(table, what, "give all tables vectors of one length")


def _check_ids(pool: Pool, index: Index) -> None:
    """Raises PipelineError for an id that occurs twice in pool, seed and test."""
    keys = [np.asarray(part.keys) for part in pool.parts]
    keys.append(order_keys(pool.seed, index.ids))
    repeats = next(repeated(keys), None)
    if repeats is None:
        return
    first, first_where = _id_of_key(pool, index, int(repeats[0]))
    second, second_where = _id_of_key(pool, index, int(repeats[1]))
    what = f"id {first!r} stands twice, in {first_where} and in {second_where}"
    if first != second:
        what = f"ids {first!r} and {second!r} have the same order key"
    remedy = "ids must be unique over pool, seed and test: rename or remove one"
    raise PipelineError("the pool", what, remedy)


def _id_of_key(pool: Pool, index: Index, position: int) -> tuple[str, str]:
    """The id at a position of all keys (the parts', then seed's and test's), and its row."""
    if position >= pool.rows:
        row = position - pool.rows
        return index.ids[row], index.split[row]
    part, key = pool.part_of(position)
    rows = part.order[key : key + 1]
    return part.ids(rows)[0], f"{part.name} row {rows[0] + 1}"


def _write_copies(pool: Pool, index: Index, *, ids_are_users: bool) -> None:
    """Write copies.parquet and blocked.npy; see stages/store/parts.py.

    ids_are_users: copies have ids of their own. Ids that are made of the content are the same for
    all copies, which are one row then.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    prefixes = [part.sha_prefixes() for part in pool.parts]
    blocked = _rows_of_seed_and_test(pool, index, prefixes)
    copies: list[tuple[str, str, int]] = []
    for group in repeated(prefixes):
        for sha, same in _rows_by_content(pool, group.tolist()).items():
            blocked.update(row for _, row in same[1:])  # the first id stands for all
            if ids_are_users and len(same) > 1:
                copies.extend((sha, item, row) for item, row in same)
    copies.sort()
    schema = pa.schema([("sha", pa.string()), ("id", pa.string()), ("row", pa.int64())])
    rows = [dict(zip(schema.names, copy, strict=True)) for copy in copies]
    pq.write_table(pa.Table.from_pylist(rows, schema), pool.folder / "copies.parquet")
    np.save(pool.folder / "blocked.npy", np.array(sorted(blocked), dtype=np.intp))


def _rows_of_seed_and_test(pool: Pool, index: Index, prefixes: list[Keys]) -> set[int]:
    """The pool's rows whose content is in seed or test."""
    wanted = np.unique(np.array([int(sha[:16], 16) for sha in index.sha], dtype=np.uint64))
    candidates = [
        part.start + np.flatnonzero(np.isin(column, wanted))
        for part, column in zip(pool.parts, prefixes, strict=True)
    ]
    rows = np.concatenate(candidates).astype(np.intp)
    shas = set(index.sha)
    return {row for row, sha in zip(rows.tolist(), pool.shas(rows), strict=True) if sha in shas}


def _rows_by_content(pool: Pool, rows: Sequence[int]) -> dict[str, list[tuple[str, int]]]:
    """Content hash -> ids and rows with that content, sorted by id and row."""
    ascending = np.sort(np.array(rows, dtype=np.intp))
    ids = pool.ids(ascending)
    shas = pool.shas(ascending)
    by_content: dict[str, list[tuple[str, int]]] = {}
    for item, sha, row in zip(ids, shas, ascending.tolist(), strict=True):
        by_content.setdefault(sha, []).append((item, row))
    return {sha: sorted(same) for sha, same in by_content.items()}


def fit(pool: Pool, seed_rows: Matrix, params: Params) -> Fitted:
    """What the first rows of the permutation and the seed teach."""
    rows = pool.first(SAMPLE)
    # Rows are read in ascending order; argsort of that order is its inverse.
    ascending = np.argsort(rows, kind="stable")
    pool_rows = pool.raw(rows[ascending], params.compute)[np.argsort(ascending, kind="stable")]
    sample = stacked([pool_rows, seed_rows])
    fitted = UNFITTED
    if params.features.word_columns:
        grams, tokens = grams_and_tokens(sample)
        centre, spread = centre_and_spread(tokens)
        fitted = replace(fitted, rarity=rarity(grams), words=centre, spread=spread)
    elif params.features.kind == "text":
        fitted = replace(fitted, rarity=rarity(sample))
    elif params.features.kind == "numeric":
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(sample)
        fitted = replace(fitted, shift=scaler.mean_, scale=scaler.scale_)
    space = fit_geometry(fitted.features(sample), params.features, params.seed)
    return replace(fitted, space=space)
