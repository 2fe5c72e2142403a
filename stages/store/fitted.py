"""What is learnt from a sample of a pool in parts, and applied to raw features as they are read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Floats, Matrix
from stages.store.ngrams import weighted
from stages.store.space import Space
from stages.store.words import grams_and_tokens, placed

NONE = np.empty(0)
NO_WORDS = NONE.astype(np.float32)


@dataclass(frozen=True)
class Fitted:
    """How raw features become the features of the classifier, and these the geometry.

    shift, scale: (p,) for numbers, else empty. rarity: (p,) weights of hashed n-grams, whose rows
    are scaled to unit length, else empty. words: (WORD_DIMS,) the mean word vector of a text, where
    features have word vectors, else empty; spread: the root of the mean squared distance from it.
    """

    shift: Floats
    scale: Floats
    rarity: NDArray[np.float32]
    space: Space
    words: NDArray[np.float32] = field(default_factory=lambda: NO_WORDS)
    spread: float = 1.0

    def features(self, raw: Matrix) -> Matrix:
        """The features of each row alone, (n, p): scaled or weighted; see `widened` for more.

        Word vectors stand first, in the units of their spread.
        """
        if self.words.size:
            grams, tokens = grams_and_tokens(raw)
            return placed(tokens, self.words, self.spread, beside=self._own(grams))
        return self._own(raw)

    def _own(self, raw: Matrix) -> Matrix:
        if self.rarity.size:
            return weighted(raw, self.rarity)
        if self.scale.size:
            scaled = raw - self.shift
            scaled /= self.scale
            return scaled.astype(np.float32)
        if isinstance(raw, np.ndarray):
            return np.asarray(raw, dtype=np.float32)
        return raw

    def widened(self, raw: Matrix) -> Matrix:
        """What the classifier sees, (n, p) or more columns; see stages/store/space.py."""
        return self.space.widened(self.features(raw))

    def write(self, path: Path) -> None:
        """Save the arrays as .npz."""
        np.savez(
            path,
            shift=self.shift,
            scale=self.scale,
            rarity=self.rarity,
            basis=self.space.basis,
            centre=self.space.centre,
            length=np.array(self.space.length),
            beside=np.array(self.space.beside),
            words=self.words,
            spread=np.array(self.spread),
        )


UNFITTED = Fitted(NONE, NONE, NONE.astype(np.float32), Space(NONE, NONE, 1.0))


def read_fitted(path: Path) -> Fitted:
    """What `Fitted.write` saved."""
    with np.load(path, allow_pickle=False) as arrays:
        space = Space(
            basis=arrays["basis"],
            centre=arrays["centre"],
            length=float(arrays["length"]),
            beside=float(arrays["beside"]),
        )
        fitted = Fitted(arrays["shift"], arrays["scale"], arrays["rarity"], space)
        if "words" not in arrays:  # written before there were word vectors
            return fitted
        return replace(fitted, words=arrays["words"], spread=float(arrays["spread"]))
