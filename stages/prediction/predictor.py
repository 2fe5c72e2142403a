"""The predictor: all between a row of a user's table and a calibrated probability of each class.

It is a folder (build/predictor) that works without the project it came from:

    predictor.json   classes, what a row holds, which round taught it, how far to trust it
    model.skops      the fitted classifier
    map.npz          from its scores to probabilities (stages/learning/maps.py)
    fitted.npz, ngrams.parquet, custom.skops, columns.json
                     the featurizer (stages/features/featurizer.py)
    labelled.npy     (n, d) float32: where the labelled rows lie, to tell what is unlike all of them
    CARD.md          the model card
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from stages.contract.arrays import Floats, Geometry, Mask, Matrix
from stages.contract.canonical import Row, read_json
from stages.contract.distances import squared_norms
from stages.contract.errors import PipelineError
from stages.contract.params import Data, Params
from stages.contract.params import Features as FeatureParams
from stages.examples.blocks import as_table
from stages.examples.tables import Table
from stages.features.featurizer import Featurizer, inputs_of, read_featurizer
from stages.learning.calibration import Verdict
from stages.learning.classifier import Classifier
from stages.learning.maps import Map, read_map
from stages.machines.columns import beside, no_answers
from stages.store.model_file import read_model

FORMAT = 1
OTHER_VERSION = "install the version that wrote it, or close a round with this one"
USUAL = 0.99  # share of the pool that lies nearer to a labelled row than what is called unlike
BLOCK = 2048  # rows whose distances are in memory at a time
UNSURE = 1e-4  # of the squared lengths: what products in single precision may be wrong by, amply


@dataclass(frozen=True)
class Predictions:
    """probabilities: (n, k) float32, one column a class; unlike: (n,) far from all labelled."""

    probabilities: NDArray[np.float32]
    unlike: Mask


class CalibrationNote(TypedDict):
    """What became of the model's confidence, of calibrate's facts."""

    method: str
    verdict: Verdict
    why: str


class PredictorFacts(TypedDict):
    """predictor.json: what the model was taught, up to which round, and how a row is read.

    data, features, model: those sections of params; unlike_beyond: the squared distance from the
    nearest labelled row beyond which a row is unlike all of them, None for no limit; word_weight:
    only where the model sees word vectors, as in ModelFacts; machine_columns: only where it sees a
    machine's answers, how many of its last columns these are.
    """

    format: int
    fitted: bool
    classes: list[str]
    round: int
    labels: int
    per_class: dict[str, int]
    seed: int
    data: Row
    features: Row
    model: Row
    calibration: CalibrationNote
    unlike_beyond: float | None
    word_weight: NotRequired[float]
    machine_columns: NotRequired[int]


@dataclass(frozen=True)
class Predictor:
    """A fitted pipeline, read with `rounds.load`.

    facts: what predictor.json says; params: what a row holds; limit: the squared distance from the
    nearest labelled row beyond which a row is unlike all of them.
    """

    facts: PredictorFacts
    params: Params
    featurizer: Featurizer
    classifier: Classifier
    to_probabilities: Map
    labelled: Geometry
    limit: float

    def with_folders(self, images: str, embedding: str) -> Predictor:
        """The same predictor with other folders of image files and of the embedding model."""
        data = self.params.data.model_copy(update={"images": images})
        options = self.featurizer.options
        model = options.embedding.model_copy(update={"model": embedding})
        options = options.model_copy(update={"embedding": model})
        return replace(
            self,
            params=self.params.model_copy(update={"data": data}),
            featurizer=replace(self.featurizer, options=options),
        )

    @property
    def classes_(self) -> list[str]:
        """The classes, in the order of the columns of `predict_proba`."""
        return list(self.params.labels)

    def predict_proba(self, rows: Any) -> NDArray[np.float32]:
        """Calibrated probabilities, (n, k) float32, rows sum to 1.

        rows: a pandas DataFrame, a mapping of columns, a list of dicts with the columns that the
        project's tables have, or, for text, a list of strings. Raises PipelineError, naming the row
        (from 1), for what the featurizer cannot take.
        """
        return self.probabilities(self._table(rows))

    def predict(self, rows: Any) -> list[str]:
        """The likeliest class of each row; of equally likely ones the first."""
        names = self.classes_
        return [names[column] for column in self.predict_proba(rows).argmax(axis=1)]

    def unlike(self, rows: Any) -> Mask:
        """(n,) whether each row is unlike all labelled ones: do not trust its probabilities."""
        return self.of_table(self._table(rows)).unlike

    def probabilities(self, table: Table) -> NDArray[np.float32]:
        """(n, k) calibrated probabilities of the rows of a table, in their order."""
        if not len(table):
            return np.empty((0, len(self.params.labels)), np.float32)
        own = self._features(table)
        return self._calibrated(self.featurizer.fitted.space.widened(own))

    def of_table(self, table: Table) -> Predictions:
        """The same probabilities, and which rows are unlike anything labelled."""
        if not len(table):
            return Predictions(self.probabilities(table), np.empty(0, np.bool_))
        seen, geometry = self.featurizer.fitted.space.both(self._features(table))
        return Predictions(self._calibrated(seen), self._far(geometry))

    def _features(self, table: Table) -> Matrix:
        inputs = inputs_of(table, self.params, self.featurizer.options.columns)
        own = self.featurizer.features(inputs)
        if isinstance(own, np.ndarray):
            self._require_width(own.shape[1], table)
        return own

    def _require_width(self, width: int, table: Table) -> None:
        """Raises PipelineError for vectors that are longer or shorter than those it was taught."""
        taught = getattr(self.classifier.estimator, "n_features_in_", width)
        taught -= self.facts.get("machine_columns", 0)
        if width != taught:
            what = f"vectors of {width} numbers, and the model was taught on {taught}"
            raise PipelineError(table.where(0), what, "make them as the project's were made")

    def _calibrated(self, seen: Matrix) -> NDArray[np.float32]:
        if self.facts.get("machine_columns"):  # rows to come have no answers of a machine
            seen = beside(seen, no_answers(seen.shape[0]))
        # kept in single precision between the steps, as the stages keep it
        scores = self.classifier.scores(seen).astype(np.float32)
        return self.to_probabilities(scores.astype(np.float64)).astype(np.float32)

    def _far(self, geometry: Geometry) -> Mask:
        far = is_beyond(geometry, self.labelled, self.limit)
        if self.featurizer.options.kind == "text":  # not one n-gram that is known
            far |= ~geometry.any(axis=1)
        return far

    def _table(self, rows: Any) -> Table:
        column = self.params.data.text
        if column and isinstance(rows, Sequence) and all(isinstance(row, str) for row in rows):
            rows = {column: list(rows)}
        return as_table(rows)


def nearest_labelled(geometry: Geometry, labelled: Geometry) -> Floats:
    """(n,) squared distance of each row to the nearest labelled one; infinite without any."""
    from sklearn.metrics.pairwise import euclidean_distances

    nearest = np.full(len(geometry), np.inf)
    if not len(labelled):
        return nearest
    others = labelled.astype(np.float64)
    for start in range(0, len(geometry), BLOCK):
        rows = geometry[start : start + BLOCK].astype(np.float64)
        nearest[start : start + BLOCK] = euclidean_distances(rows, others, squared=True).min(axis=1)
    return nearest


def is_beyond(geometry: Geometry, labelled: Geometry, limit: float) -> Mask:
    """(n,) whether each row's squared distance to the nearest labelled one is above a limit.

    Products in single precision decide where they are sure to, exact ones elsewhere: the answer
    does not depend on how many rows are asked about at a time.
    """
    if not len(labelled) or np.isinf(limit):
        return np.full(len(geometry), np.isfinite(limit))
    beyond = np.empty(len(geometry), np.bool_)
    others = np.ascontiguousarray(labelled.T)
    lengths = squared_norms(labelled)
    for start in range(0, len(geometry), BLOCK):
        rows = geometry[start : start + BLOCK]
        own = squared_norms(rows)
        products = rows @ others
        products *= -2
        products += lengths
        over = products.min(axis=1) + own - limit
        beyond[start : start + BLOCK] = over > 0
        unsure = np.flatnonzero(np.abs(over) <= UNSURE * (own + lengths.max()))
        exact = nearest_labelled(rows[unsure], labelled)
        beyond[start + unsure] = exact > limit
    return beyond


def usual_distance(sample: Geometry, labelled: Geometry) -> float:
    """The squared distance within which 99 of 100 sampled rows have a labelled one.

    sample: rows of the pool drawn at random, without the labelled ones. Infinite without a sample.
    """
    if not len(sample) or not len(labelled):
        return float("inf")
    return float(np.quantile(nearest_labelled(sample, labelled), USUAL))


def read_predictor(folder: Path, trusted: Sequence[str] = ()) -> Predictor:
    """The predictor in a folder; types that skops does not know are refused unless `trusted`.

    Raises PipelineError for a folder that holds none, one without a model yet, or one of another
    version.
    """
    path = folder / "predictor.json"
    if not path.is_file():
        remedy = "name a folder that `rounds close` or `dvc repro` wrote (build/predictor)"
        raise PipelineError(folder, "no predictor here", remedy)
    facts: PredictorFacts = read_json(path)
    if facts["format"] != FORMAT:
        what = f"a predictor of format {facts['format']}, and format {FORMAT} is read here"
        raise PipelineError(path, what, OTHER_VERSION)
    if not facts["fitted"]:
        what = f"there is no model yet, {facts['labels']} labels of fewer than two classes"
        raise PipelineError(path, what, "label more and run `rounds close`")
    params = params_of(facts, path)
    model = read_model(folder / "model.skops", list(trusted))
    classifier = Classifier(model, np.asarray(model.classes_, np.intp), len(params.labels))
    return Predictor(
        facts=facts,
        params=params,
        featurizer=read_featurizer(folder, params.features, list(trusted)),
        classifier=classifier,
        to_probabilities=read_map(folder / "map.npz"),
        labelled=np.load(folder / "labelled.npy", allow_pickle=False),
        limit=float("inf") if facts["unlike_beyond"] is None else float(facts["unlike_beyond"]),
    )


def params_of(facts: PredictorFacts, where: Path) -> Params:
    """The sections of params that say what a row holds.

    Raises PipelineError for those of another version.
    """
    try:
        data = Data.model_validate(facts["data"])
        features = FeatureParams.model_validate(facts["features"])
    except ValidationError as error:
        what = "written by a version of labelrounds that has other params"
        raise PipelineError(where, what, OTHER_VERSION) from error
    # only these are read: the others belong to the project that labels
    return Params.model_construct(
        seed=facts["seed"], labels=facts["classes"], data=data, features=features
    )
