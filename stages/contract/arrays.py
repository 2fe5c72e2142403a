"""Names for the arrays that rooms pass to each other, and rows evenly spaced in one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]
Geometry = NDArray[np.float32]
Rows = NDArray[np.intp]  # row numbers
Keys = NDArray[np.uint64]  # order keys (stages/contract/identity.py), or prefixes of content hashes
Matrix = Any  # a scipy CSR matrix or a dense float32 array: scikit-learn takes both


def evenly_spaced(n: int, most: int) -> Ints:
    """At most so many of n row numbers, evenly spaced from the first to the last, ascending."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.intp))
