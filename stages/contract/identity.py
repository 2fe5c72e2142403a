"""Who is who: content hashes, the fixed permutation that draws the control arm, and ties.

`sha` is the SHA-256 of an example's exact content. `order_key(seed, id)` is a number in [0, 2**64)
that depends on nothing but the seed and the id: it breaks ties and it is the uniform permutation
whose prefix is the control arm. So neither depends on the order of rows, on files, on processes, or
on other rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

TIE_DIGITS = 9


def order_key(seed: int, item: str) -> int:
    """The first 8 bytes of sha256("seed:id") as an unsigned integer, uniform on [0, 2**64)."""
    digest = hashlib.sha256(f"{seed}:{item}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def order_keys(seed: int, ids: Iterable[str]) -> NDArray[np.uint64]:
    """`order_key` of every id, as an (n,) array."""
    return np.fromiter((order_key(seed, item) for item in ids), dtype=np.uint64)


def best_first(
    scores: NDArray[np.floating], keys: NDArray[np.uint64], count: int
) -> NDArray[np.intp]:
    """Positions of the `count` highest scores, best first.

    Of equal scores (to nine digits) the one with the smaller key comes first. scores: (n,), finite.
    keys: (n,) from `order_keys`. A `count` above n gives all n.
    """
    rounded = np.round(np.asarray(scores, dtype=np.float64), TIE_DIGITS)
    candidates = np.arange(rounded.size)
    if 0 < count < rounded.size:
        # Only rows that can win are sorted; every row tied with the last one competes.
        threshold = np.partition(rounded, rounded.size - count)[rounded.size - count]
        candidates = np.flatnonzero(rounded >= threshold)
    order = np.lexsort((keys[candidates], -rounded[candidates]))
    return candidates[order][: max(count, 0)]


def stratified_folds(
    labels: NDArray[np.intp], ids: Sequence[str], folds: int, seed: int
) -> NDArray[np.intp]:
    """A fold number per row, (n,), classes spread evenly.

    A row's fold depends on all ids and labels, not on the order of the rows.
    """
    keys = order_keys(seed, ids)
    fold = np.empty(len(labels), dtype=np.intp)
    order = np.lexsort((keys, labels))
    fold[order] = np.arange(len(labels)) % folds
    return fold
