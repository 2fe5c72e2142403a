"""The featurizer: from what a row holds to what the classifier sees and its place in the geometry.

It is learnt from pool and seed, applied to every row, and kept beside the features, so that rows
which come later are seen in the same way:

    fitted.npz       scales, weights of hashed n-grams, directions (stages/store/fitted.py)
    ngrams.parquet   analyzer, ngram, idf: the vocabulary, where n-grams are not hashed
    custom.skops     the user's own transformer, fitted, where features.kind is custom
    columns.json     the columns of numbers, by name, where features are made of them
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Matrix
from stages.contract.canonical import read_json, write_json
from stages.contract.errors import PipelineError
from stages.contract.imports import build
from stages.contract.params import Features as FeatureParams
from stages.contract.params import Params, TextFeatures
from stages.contract.progress import progress
from stages.examples.content import numbers, shrunk, texts, vectors
from stages.examples.tables import Table
from stages.features.embedding import embedded
from stages.features.kinds import fit_geometry, in_single_precision, reads_text, with_tokens
from stages.store.fitted import UNFITTED, Fitted, read_fitted
from stages.store.ngrams import ANALYZERS, WORDS, hashed, ngrams_of, rarity
from stages.store.words import centre_and_spread, tokens

Inputs = list[str] | NDArray[Any]
CUSTOM = "custom.skops"
NGRAMS = "ngrams.parquet"
COLUMNS = "columns.json"
VECTOR = "vector"  # the column that rows to come have their vectors in, where params name none
FILES = ("fitted.npz", NGRAMS, CUSTOM, COLUMNS)


@dataclass(frozen=True)
class Featurizer:
    """What maps rows to features.

    options: the section `features` of params; learnt: the fitted transformers of inputs, none where
    features depend on each row alone; fitted: scales, weights and the space.
    """

    options: FeatureParams
    learnt: list[Any]
    fitted: Fitted

    def raw(self, inputs: Inputs) -> Matrix:
        """Features before scales and weights, (n, p)."""
        kind = self.options.kind
        if kind == "embedding":
            return embedded(inputs, self.options.embedding)  # type: ignore[arg-type]  # texts
        if kind == "text":
            texts: list[str] = inputs  # type: ignore[assignment]  # texts by kind
            return text_columns(texts, self.learnt, self.options.text)
        if kind == "custom":
            return in_single_precision(self.learnt[0].transform(inputs))
        return np.asarray(inputs)

    def features(self, inputs: Inputs) -> Matrix:
        """The features of every row alone, (n, p) float32."""
        return self.fitted.features(self.raw(inputs))

    def both(self, inputs: Inputs) -> tuple[Matrix, NDArray[np.float32]]:
        """What the classifier sees of some rows, and their geometry, (n, d) float32."""
        return self.fitted.space.both(self.features(inputs))

    def write(self, folder: Path) -> None:
        """Save it. Raises PipelineError for a transformer that skops cannot hold."""
        folder.mkdir(parents=True, exist_ok=True)
        self.fitted.write(folder / "fitted.npz")
        if self.options.columns:
            write_json(folder / COLUMNS, self.options.columns)
        if self.learnt and self.options.kind == "text":
            _write_ngrams(folder / NGRAMS, self.learnt)
        elif self.learnt:
            from stages.store.model_file import write_model

            write_model(folder / CUSTOM, self.learnt[0], "params.yaml features.custom")


def fit_featurizer(
    inputs: Inputs, fitted_on: slice, options: FeatureParams, seed: int
) -> Featurizer:
    """The featurizer that some of the rows teach; its space is still empty."""
    learnt_from = inputs[fitted_on]
    maker = Featurizer(options, [], UNFITTED)
    if options.kind == "text":
        texts: list[str] = learnt_from  # type: ignore[assignment]  # texts by kind
        return _fit_text(texts, maker)
    if options.kind == "custom":
        assert options.custom is not None  # check_kind
        transformer = build(options.custom, seed, "features.custom")
        return replace(maker, learnt=[transformer.fit(learnt_from)])
    if options.kind == "numeric":
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(learnt_from)
        return replace(maker, fitted=replace(UNFITTED, shift=scaler.mean_, scale=scaler.scale_))
    return maker


def _fit_text(texts: list[str], maker: Featurizer) -> Featurizer:
    """The featurizer with the vocabulary, or the weights, and the place of word vectors."""
    options = maker.options.text
    fitted = maker.fitted
    if options.words != "none":
        centre, spread = centre_and_spread(tokens(texts))
        fitted = replace(fitted, words=centre, spread=spread)
    if options.hashing is None:
        return replace(maker, learnt=fit_ngrams(texts, options), fitted=fitted)
    weights = rarity(hashed(texts, options))
    return replace(maker, fitted=replace(fitted, rarity=weights))


def with_space(featurizer: Featurizer, rows: Matrix, seed: int) -> Featurizer:
    """The featurizer with the space that the features of some rows span."""
    space = fit_geometry(rows, featurizer.options, seed)
    return replace(featurizer, fitted=replace(featurizer.fitted, space=space))


def read_featurizer(folder: Path, options: FeatureParams, trusted: list[str]) -> Featurizer:
    """The featurizer that was saved in a folder; a custom transformer's types must be trusted."""
    learnt: list[Any] = []
    if (folder / NGRAMS).is_file():
        learnt = _read_ngrams(folder / NGRAMS, options.text)
    elif (folder / CUSTOM).is_file():
        from stages.store.model_file import read_model

        learnt = [read_model(folder / CUSTOM, trusted)]
    if (folder / COLUMNS).is_file():
        options = options.model_copy(update={"columns": read_json(folder / COLUMNS)})
    return Featurizer(options, learnt, read_fitted(folder / "fitted.npz"))


def inputs_of(table: Table, params: Params, columns: list[str]) -> Inputs:
    """What the featurizer sees of a table: texts, or an (n, p) array.

    columns: of numbers or vectors.

    Raises PipelineError, naming file and line, for what it cannot take.
    """
    if reads_text(params):
        return texts(table, params.data.text)
    if params.features.kind == "image":
        return shrunk(table, params)
    if params.features.kind == "precomputed":
        return vectors(table, vector_column(table, columns))
    return numbers(table, columns)


def vector_column(table: Table, columns: list[str]) -> str:
    """The column of vectors: the one that params name, `vector` where the project has a .npy file.

    Raises PipelineError for a table without that one.
    """
    if columns:
        return columns[0]
    if VECTOR not in table.columns:
        what = f"the model was taught with vectors of a .npy file, and no column is {VECTOR!r}"
        raise PipelineError(f"{table.path}:1", what, "put each row's own vector into such a column")
    return VECTOR


def fit_ngrams(texts: list[str], options: TextFeatures) -> list[Any]:
    """TF-IDF of words and of characters, each fitted on the texts.

    Raises PipelineError where there is no n-gram to keep.
    """
    fitted = []
    for analyzer in ANALYZERS:
        span = ngrams_of(options, analyzer)
        if span == (0, 0):
            continue
        min_df = min(options.min_df, max(1, len(texts) // 10))
        vectorizer = _vectorizer(
            analyzer, options, min_df=min_df, max_features=options.max_features
        )
        try:
            with progress(f"{analyzer} n-grams, learnt", len(texts), "text") as bar:
                fitted.append(vectorizer.fit(bar.each(texts)))
        except ValueError as error:
            what = f"no {analyzer} n-grams of {list(span)} in these texts ({error})"
            remedy = "lower min_df or change the ranges"
            raise PipelineError("params.yaml features.text", what, remedy) from error
    if not fitted:
        what = "both ranges of n-grams are [0, 0]"
        raise PipelineError("params.yaml features.text", what, "use one of them")
    return fitted


def text_columns(texts: list[str], vectorizers: list[Any], options: TextFeatures) -> Matrix:
    """The raw features of texts: n-grams, hashed where nothing was learnt, then tokens of words."""
    columns = ngrams(texts, vectorizers) if vectorizers else hashed(texts, options)
    return with_tokens(columns, texts, options)


def ngrams(texts: list[str], vectorizers: list[Any]) -> Matrix:
    """Word and character n-gram TF-IDF side by side, (n, p) CSR float32, rows of unit length."""
    import scipy.sparse as sp
    from sklearn.preprocessing import normalize

    blocks = []
    for vectorizer in vectorizers:
        with progress(f"{vectorizer.analyzer} n-grams", len(texts), "text") as bar:
            blocks.append(vectorizer.transform(bar.each(texts)))
    return normalize(sp.hstack(blocks, format="csr", dtype=np.float32))


def _vectorizer(analyzer: str, options: TextFeatures, **more: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=ngrams_of(options, analyzer),
        sublinear_tf=True,
        dtype=np.float32,
        token_pattern=WORDS if analyzer == "word" else None,
        **more,
    )


def _write_ngrams(path: Path, vectorizers: list[Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    analyzers: list[str] = []
    terms: list[str] = []
    for vectorizer in vectorizers:
        own = vectorizer.get_feature_names_out().tolist()
        analyzers += [vectorizer.analyzer] * len(own)
        terms += own
    weights = np.concatenate([vectorizer.idf_ for vectorizer in vectorizers])
    pq.write_table(pa.table({"analyzer": analyzers, "ngram": terms, "idf": weights}), path)


def _read_ngrams(path: Path, options: TextFeatures) -> list[Any]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    analyzers = np.array(table.column("analyzer").to_pylist())
    terms = table.column("ngram").to_pylist()
    weights = table.column("idf").to_numpy()
    vectorizers = []
    for analyzer in dict.fromkeys(analyzers.tolist()):
        rows = np.flatnonzero(analyzers == analyzer)
        vocabulary = {terms[row]: column for column, row in enumerate(rows)}
        vectorizer = _vectorizer(analyzer, options, vocabulary=vocabulary)
        vectorizer.idf_ = weights[rows]
        vectorizers.append(vectorizer)
    return vectorizers
