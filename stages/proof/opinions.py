"""What the machine says of the pool's rows, each judged by models that did not learn from it.

The pool is cut into FOLDS folds by the order keys of its ids, which depend on nothing else. Each
fold has a judge: the project's classifier and a forest, both fitted on the labels outside the fold.
A row of the fold, whether people labelled it or not, gets its class from that classifier, and its
certainty from both: a model of another kind errs on other rows, so where the two agree there are
fewer errors. The forest decides on the order alone, never on a label. For n-grams there is none: of
the few directions that it could learn from it knows less than the classifier of all columns.

So a labelled row is treated exactly as the rows of the rest that share its fold, and its error is a
fair draw of theirs. The model of all labels plays no part in that: a row that it would label in
another way than the judge did is left to people (stages/proof/finishing.py).

Source: Chernozhukov and others, "Double/debiased machine learning" (2018), for cross-fitting;
Geurts, Ernst, Wehenkel, "Extremely randomized trees" (2006), for the forest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stages.answers.ledger import Labels
from stages.contract.arrays import Floats, Geometry, Ints, Keys, Matrix, Rows
from stages.contract.errors import PipelineError
from stages.contract.params import Learner, Params
from stages.contract.progress import watched
from stages.learning.classifier import Classifier, fit
from stages.learning.maps import Map
from stages.learning.scoring import margin_of, softmax
from stages.store.index import Features

FOLDS = 10
FOREST = Learner(path="sklearn.ensemble.ExtraTreesClassifier", params={"n_estimators": 100})


@dataclass(frozen=True)
class Block:
    """Some rows of the pool: numbers (n,), order keys of their ids, model features and geometry."""

    rows: Rows
    keys: Keys
    matrix: Matrix
    geometry: Geometry


@dataclass(frozen=True)
class Opinions:
    """What is said of each row of the pool, (n_pool,).

    said, certainty: the judge's class, and its lead over the next one, in [-1, 1]; negative where
    the forest turns the classifier down. model, doubt, confidence: class, uncertainty in [0, 1] and
    calibrated probability of that class, by the model of all labels. A row that no block held has
    said and model -1.
    """

    said: Ints
    certainty: Floats
    model: Ints
    doubt: Floats
    confidence: Floats


@dataclass(frozen=True)
class Judge:
    """Two models of different kinds, fitted on the same labels; without a forest only one."""

    classifier: Classifier
    forest: Classifier | None

    def classes(self, matrix: Matrix) -> Ints:
        """The classifier's class of each row, (n,)."""
        return np.asarray(self.classifier.scores(matrix).argmax(axis=1))

    def certainty(self, matrix: Matrix, geometry: Geometry) -> Floats:
        """How far the classifier's class leads on the next, by the mean of its models, (n,)."""
        own = softmax(self.classifier.scores(matrix))
        mean = own.copy()
        if self.forest is not None:
            mean = (own + softmax(self.forest.scores(geometry))) / 2
        rows = np.arange(len(own))
        classes = own.argmax(axis=1)
        leading = mean[rows, classes].copy()
        mean[rows, classes] = -1
        return np.asarray(leading - mean.max(axis=1))


@dataclass(frozen=True)
class Shipped:
    """The model of all labels, and the map that makes probabilities of its scores."""

    classifier: Classifier
    calibration: Map


def fold_of(keys: Keys) -> Ints:
    """The fold of each row, (n,), by the order key of its id."""
    return np.asarray(keys % np.uint64(FOLDS), dtype=np.intp)


def judges_of(labels: Labels, taught: Features, folds: Ints, params: Params) -> list[Judge]:
    """A judge for each fold, fitted on the labels outside it.

    taught: features of the labelled rows; folds: (n labels,) the fold of each label's row, -1 for
    one that is not in the pool, which teaches all. Raises PipelineError where all lie in one.
    """
    rows = taught.index.locate(labels.ids, "build/gate/accepted.jsonl")
    matrix = taught.matrix[rows]
    geometry = np.asarray(taught.geometry[rows])
    judges = []
    for fold in watched("judges", list(range(FOLDS)), "fold"):
        kept = folds != fold
        if not kept.any():
            what = "too few labels: no judge can be taught without the rows that it judges"
            raise PipelineError("rounds finish", what, "label more rows: `rounds annotate`")
        classes = labels.classes[kept]
        classifier = fit(params.learner, matrix[kept], classes, len(params.labels), params.seed)
        forest = None
        if isinstance(matrix, np.ndarray):
            forest = fit(FOREST, geometry[kept], classes, len(params.labels), params.seed)
        judges.append(Judge(classifier, forest))
    return judges


def opinions(blocks: Iterable[Block], size: int, judges: list[Judge], shipped: Shipped) -> Opinions:
    """What judges and model say of the rows of the blocks. size: how many rows the pool has."""
    said = np.full(size, -1, dtype=np.intp)
    model = np.full(size, -1, dtype=np.intp)
    certainty, doubt, confidence = np.zeros((3, size))
    for block in blocks:
        folds = fold_of(block.keys)
        for fold in np.unique(folds).tolist():
            mine = np.flatnonzero(folds == fold)
            judge, matrix = judges[fold], block.matrix[mine]
            said[block.rows[mine]] = judge.classes(matrix)
            certainty[block.rows[mine]] = judge.certainty(matrix, block.geometry[mine])
        scores = shipped.classifier.scores(block.matrix)
        # in the precision that train and calibrate keep, so that it is the probability of predict
        kept = scores.astype(np.float32).astype(np.float64)
        classes = kept.argmax(axis=1)
        model[block.rows] = classes
        doubt[block.rows] = margin_of(softmax(kept))
        chances = shipped.calibration(kept).astype(np.float32)
        confidence[block.rows] = chances[np.arange(len(classes)), classes]
    return Opinions(said, certainty, model, doubt, confidence)
