"""The user's classifier, fitted on labelled rows: its scores, a column per class of params.labels.

Scores are logits: softmax(scores) are the model's own probabilities. A class that no training row
shows has score -inf and probability 0; its column is never left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from stages.contract.arrays import Floats, Ints, Matrix
from stages.contract.errors import PipelineError
from stages.contract.identity import stratified_folds
from stages.contract.imports import build
from stages.contract.params import Learner
from stages.contract.progress import BLOCK, Progress, blocks, progress, watched
from stages.learning.machine_weight import machine_weighed, machine_weight
from stages.learning.word_weight import weighed, word_weight
from stages.store.workers import side_by_side

T = TypeVar("T")
R = TypeVar("R")
TINY = 1e-12
MAX_ROW_SPACE = 3000  # rows; beyond, the products of all pairs cost more than they save
WORTH_SHOWING = 2_000_000  # the size of a fit that may take two seconds
SPANNED = 1e-10  # of the longest row's squared length: what is left of a row that others span


@dataclass(frozen=True)
class Classifier:
    """A fitted classifier over `n_classes` classes.

    estimator: None where only one class was seen; word_weight: how much word vectors counted in the
    fit (stages/learning/word_weight.py), None where that was not asked; machine_weight: the same of
    a machine's answers (stages/learning/machine_weight.py).
    """

    estimator: Any
    seen: Ints
    n_classes: int
    word_weight: float | None = None
    machine_weight: float | None = None

    def scores(self, rows: Matrix) -> Floats:
        """Logits, (n, n_classes).

        From predict_proba where the estimator has it, else from decision_function.
        """
        aligned = np.full((rows.shape[0], self.n_classes), -np.inf)
        if not rows.shape[0]:
            return aligned
        if self.estimator is None:
            aligned[:, self.seen] = 0.0
            return aligned
        classes = np.asarray(self.estimator.classes_, dtype=np.intp)
        if rows.shape[0] <= BLOCK:  # no copy, and no bar
            aligned[:, classes] = self._logits(rows)
        else:
            for block in blocks("scores", rows.shape[0]):
                aligned[block, classes] = self._logits(rows[block])
        if np.isnan(aligned).any():
            raise PipelineError(
                "params.yaml model",
                "the model returned NaN",
                "scale the features or change the model",
            )
        return aligned

    def _logits(self, rows: Matrix) -> Floats:
        """Scores of the classes that were seen, (n, seen)."""
        # A product in single precision depends on how many rows are multiplied at a time. In double
        # precision what is kept of it (float32) does not: a row alone is scored as in its table.
        if isinstance(rows, np.ndarray) and hasattr(self.estimator, "coef_"):
            rows = rows.astype(np.float64)
        if hasattr(self.estimator, "predict_proba"):
            return np.asarray(np.log(np.maximum(self.estimator.predict_proba(rows), TINY)))
        decision = np.asarray(self.estimator.decision_function(rows), dtype=np.float64)
        if decision.ndim == 1:  # of two classes: the log odds of the second
            return np.column_stack([np.zeros_like(decision), decision])
        return decision


@contextmanager
def few_rows_a_class() -> Iterator[None]:
    """Without scikit-learn's warning of many classes on few labels: so every project starts."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="The number of unique classes is greater than 50%"
        )
        yield


def fit(spec: Learner, rows: Matrix, labels: Ints, n_classes: int, seed: int) -> Classifier:
    """The classifier of `spec`, fitted on rows (n, p) and class indices (n,), n >= 1.

    Logistic regression weighs word vectors and a machine's answers first; the weights become part
    of its coefficients.
    """
    seen = np.unique(labels)
    if len(seen) == 1:
        return Classifier(None, seen, n_classes)
    estimator = build(spec, seed, "model")
    if not (hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")):
        what = f"{spec.path} has neither predict_proba nor decision_function"
        raise PipelineError(
            "params.yaml model.path", what, "name a classifier that has one of them"
        )
    weight = None
    if spec.word_columns and _is_ridge(estimator, rows):
        own = rows[:, : rows.shape[1] - spec.machine_columns] if spec.machine_columns else rows
        weight = word_weight(own, labels, spec.word_columns)
        rows = weighed(rows, spec.word_columns, weight)
    machines = None
    if spec.machine_columns and _has_ridge_penalty(estimator):
        machines = machine_weight(rows, labels, spec.machine_columns)
        rows = machine_weighed(rows, spec.machine_columns, machines)
    fitted = _fitted(estimator, spec, rows, labels, n_classes)
    if weight is not None:
        fitted.coef_[:, : spec.word_columns] *= np.sqrt(weight)
    if machines is not None:
        fitted.coef_[:, -spec.machine_columns :] *= np.sqrt(machines)
    return Classifier(fitted, seen, n_classes, weight, machines)


def _fitted(estimator: Any, spec: Learner, rows: Matrix, labels: Ints, n_classes: int) -> Any:
    """The fitted estimator. Raises PipelineError for rows that it cannot learn."""
    size = rows.shape[0] * min(rows.shape) * n_classes
    with few_rows_a_class(), _progress_of_fit(estimator, size):
        if _has_short_cut(estimator, rows):
            return _fit_in_row_space(estimator, rows, labels)
        try:
            fitted = estimator.fit(rows, labels)
        except ValueError as error:
            what = f"{spec.path} cannot learn these rows ({str(error).splitlines()[0]})"
            remedy = (
                "name another; one that wants no negative numbers needs "
                "features.text.directions: 0 and features.text.words: none"
            )
            raise PipelineError("params.yaml model.path", what, remedy) from error
    return fitted


@contextmanager
def _progress_of_fit(estimator: Any, size: int) -> Iterator[None]:
    """Shows how far a fit is, by its solver's steps where scikit-learn tells them.

    It does from 1.9, for L-BFGS and for pipelines. size: rows x columns (or rows again, if these
    are fewer) x classes. A small fit has no callback, which would take time.
    """
    of_scikit_learn = type(estimator).__module__.startswith("sklearn.")
    takes_callbacks = of_scikit_learn and hasattr(estimator, "set_callbacks")
    if takes_callbacks and size < WORTH_SHOWING:
        yield
        return
    with progress("model") as bar:
        if takes_callbacks:
            estimator.set_callbacks(SolverSteps(bar))
        yield
        if takes_callbacks:
            estimator.set_callbacks()  # they are no part of the model


def together(function: Callable[[T], R], items: Sequence[T], n_jobs: int) -> list[R]:
    """What a function that fits classifiers gives for each item, several at a time."""
    with few_rows_a_class():  # here too: threads put back each other's filters
        return side_by_side(function, items, n_jobs)


class SolverSteps:
    """A callback for scikit-learn (sklearn.callback.FitCallback): counts an estimator's steps."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar

    def setup(self, estimator: Any, context: Any) -> None:  # noqa: ARG002 - called by these names
        """The fit begins: its steps are at most so many, if it knows."""
        self.bar.total = context.max_subtasks or 0
        self.bar.at_most = True

    def on_fit_task_begin(self, _estimator: Any, _context: Any) -> None:
        """A step begins."""

    def on_fit_task_end(self, _estimator: Any, context: Any) -> None:
        """A step is done; the whole fit is none of them, nor are steps within a step."""
        if context.parent is not None and context.parent.parent is None:
            self.bar.update()

    def teardown(self, estimator: Any, context: Any) -> None:
        """The fit is over."""


def _has_short_cut(estimator: Any, rows: Matrix) -> bool:
    """Whether `_fit_in_row_space` applies and is worth while.

    It is for logistic regression with an L2 penalty on few sparse rows of many features, not all
    of them empty.
    """
    if not _is_ridge(estimator, rows):
        return False
    short = rows.shape[0] <= MAX_ROW_SPACE and 2 * rows.shape[0] <= rows.shape[1]
    lbfgs = estimator.get_params().get("solver") == "lbfgs"
    return bool(lbfgs and short and rows.count_nonzero())


def _is_ridge(estimator: Any, rows: Matrix) -> bool:
    """Whether this is logistic regression with an L2 penalty on sparse rows."""
    import scipy.sparse as sp

    return sp.issparse(rows) and _has_ridge_penalty(estimator)


def _has_ridge_penalty(estimator: Any) -> bool:
    """Whether this is logistic regression with an L2 penalty."""
    if type(estimator).__name__ != "LogisticRegression":
        return False
    options = estimator.get_params()
    return options.get("penalty") in {"l2", "deprecated"} and not options.get("l1_ratio")


def is_sparse_ridge(spec: Learner, rows: Matrix, seed: int) -> bool:
    """Whether the model is logistic regression with an L2 penalty, and the rows are sparse."""
    return _is_ridge(build(spec, seed, "model"), rows)


def _fit_in_row_space(estimator: Any, rows: Matrix, labels: Ints) -> Any:
    """The same fit, 10 to 50 times faster, on the coordinates of the rows in their own span.

    Weights that minimise a loss and an L2 penalty are combinations of the rows, however much each
    row's loss counts. So n rows are written in an orthonormal basis of their span, at most n
    dimensions, and the weights that are fitted there are turned back. Distances and penalty are
    unchanged, and so is the solution. The basis is Gram-Schmidt's, by a Cholesky decomposition of
    the inner products that leaves out rows which others already span.
    Source: Hastie, Tibshirani, "Efficient quadratic regularization for expression arrays" (2004).
    """
    from scipy.linalg import lapack, solve_triangular

    gram = _gram(rows)
    # the pivoted decomposition: gram[order][:, order] = upper.T @ upper, of the rank of the rows
    factor, fortran_order, rank, _ = lapack.dpstrf(gram, tol=gram.diagonal().max() * SPANNED)
    upper = np.triu(factor)[:rank]
    order = fortran_order - 1
    coordinates = np.empty((len(order), rank))
    coordinates[order] = upper.T
    estimator.fit(coordinates, labels)
    # as combinations of the rows that were not left out
    combined = solve_triangular(upper[:, :rank], estimator.coef_.T)
    estimator.coef_ = np.asarray((rows[order[:rank]].T @ combined).T, dtype=np.float64)
    estimator.n_features_in_ = rows.shape[1]
    return estimator


def _gram(rows: Matrix) -> Floats:
    """Inner products of sparse rows, (n, n); columns that most rows have are multiplied densely."""
    columns = rows.tocsc()
    full = 2 * np.diff(columns.indptr) > rows.shape[0]
    dense = columns[:, full].toarray().astype(np.float64)
    sparse = columns[:, ~full].tocsr()
    return np.asarray((sparse @ sparse.T).toarray() + dense @ dense.T, dtype=np.float64)


def out_of_fold(
    spec: Learner, rows: Matrix, labels: Ints, ids: list[str], n_classes: int, folds: int, seed: int
) -> Floats:
    """Logits of every labelled row by a model that has not seen it, (n, n_classes).

    Stratified folds, a row's fold depending on its id and its class only. With fewer than two rows:
    all zero.
    """
    if len(labels) < 2:
        return np.zeros((len(labels), n_classes))
    fold = stratified_folds(labels, ids, min(folds, len(labels)), seed)
    scores = np.full((len(labels), n_classes), -np.inf)
    for part in watched("folds", np.unique(fold).tolist(), "fold"):
        left_out = fold == part
        classifier = fit(spec, rows[~left_out], labels[~left_out], n_classes, seed)
        scores[left_out] = classifier.scores(rows[left_out])
    return scores
