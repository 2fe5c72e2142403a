"""What a linear model of all other labelled rows says of each row, without fitting it anew.

Ridge regression on indicators of the classes has its left-out scores in closed form, for all rows,
classes and penalties from one decomposition. That is hundreds of times cheaper than refitting
logistic regression on folds, and wrong labels, of which its loss is bounded, sway it less.
"""

from __future__ import annotations

import numpy as np

from stages.contract.arrays import Floats, Geometry, Ints, Matrix, evenly_spaced
from stages.contract.progress import progress
from stages.learning.word_weight import RIDGES, SHARPNESS
from stages.store.space import row_products

LANDMARKS = 800  # rows whose span holds the model, evenly spaced; all, if there are fewer
LEAST = 1e-7  # of the largest eigenvalue: directions of less are rounding
TRIED = 2000  # rows at most by which penalty and sharpness are chosen


def left_out_logits(rows: Matrix, labels: Ints, n_classes: int) -> Floats:
    """Logits (n, n_classes) of every row by a ridge model of the other ones.

    rows: (n, p) CSR. The model lies in the span of LANDMARKS rows; its penalty, and how sharp a
    softmax makes probabilities of its scores, are those under which the left-out labels are
    likeliest. Classes without labels have the least chance that any has.
    Sources: Allen, "The relationship between variable selection and data augmentation and a method
    for prediction" (1974); Williams, Seeger, "Using the Nystroem method to speed up kernel
    machines" (2001).
    """
    seen, own = np.unique(labels, return_inverse=True)
    logits = np.zeros((len(labels), n_classes))
    if len(seen) < 2:
        return logits
    indicators = np.eye(len(seen), dtype=np.float32)[own]
    shares = indicators.mean(axis=0, dtype=np.float64)
    with progress("left-out scores", 3) as bar:
        landmarks = evenly_spaced(len(own), LANDMARKS)
        products = row_products(rows, rows[landmarks])
        bar.update()
        span = _orthonormal(products, landmarks)
        bar.update()
        left_out = _chosen(span, indicators - shares.astype(np.float32), own, np.log(shares))
        bar.update()
    logits[:] = left_out.min(axis=1, keepdims=True)
    logits[:, seen] = left_out
    return logits


def _orthonormal(products: Geometry, landmarks: Ints) -> Geometry:
    """Coordinates of the rows in the span of the landmarks, (n, d), centred.

    Inner products of coordinates are those of the rows' projections on that span.
    """
    from scipy.linalg import eigh

    values, vectors = eigh(products[landmarks].astype(np.float64))
    kept = values > LEAST * values[-1]
    basis = vectors[:, kept] / np.sqrt(values[kept])
    coordinates = products @ basis.astype(np.float32)
    centre = coordinates.mean(axis=0, dtype=np.float64)
    return np.asarray(coordinates - centre.astype(np.float32))


def _chosen(span: Geometry, targets: Geometry, own: Ints, log_shares: Floats) -> Floats:
    """The left-out logits (n, k) under the likeliest penalty and sharpness."""
    from scipy.linalg import eigh

    values, vectors = eigh((span.T @ span).astype(np.float64))
    values = np.maximum(values, 0)
    turned = span @ vectors.astype(np.float32)
    on_targets = turned.T @ targets
    tried = evenly_spaced(len(own), TRIED)
    mean = max(float(values.sum()) / len(own), 1e-12)
    best = (-np.inf, 0.0, 0.0)
    for ridge in RIDGES:
        some = _left_out(turned[tried], targets[tried], on_targets, values, ridge * mean, len(own))
        for sharpness in SHARPNESS:
            likelihood = _likelihood(sharpness * some + log_shares, own[tried])
            best = max(best, (likelihood, ridge, sharpness))
    scores = _left_out(turned, targets, on_targets, values, best[1] * mean, len(own))
    return np.asarray(best[2] * scores + log_shares)


def _left_out(
    turned: Geometry,
    targets: Geometry,
    on_targets: Geometry,
    values: Floats,
    penalty: float,
    n: int,
) -> Floats:
    """The scores of some rows, each by a model fitted without it, (m, k).

    turned: (m, d) their coordinates; on_targets, values: of all n rows.
    """
    shrunk = (1 / (values + penalty)).astype(np.float32)
    fitted = turned @ (shrunk[:, None] * on_targets)
    leverage = np.minimum((turned**2) @ shrunk + 1 / n, 1 - 1e-6)
    return np.asarray(targets - (targets - fitted) / (1 - leverage)[:, None], dtype=np.float64)


def _likelihood(logits: Floats, own: Ints) -> float:
    """The mean log likelihood of labels (n,) under logits (n, k)."""
    from scipy.special import logsumexp

    return float((logits[np.arange(len(own)), own] - logsumexp(logits, axis=1)).mean())
