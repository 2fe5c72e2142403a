"""A machine's answers as columns that a classifier can learn from, one for each class.

A column holds how sure the machine is of that class: its probability where it gives probabilities,
else its confidence in the class that it names (1 where it states none) and 0 for the others. A row
that it did not answer has only zeros. Nothing is believed: what the columns are worth, and that a
machine takes one class for another, the classifier learns from people's labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.contract.arrays import Matrix
from stages.machines.frozen import Machine


def machine_columns(machine: Machine, ids: Sequence[str], labels: Sequence[str]) -> Any:
    """The columns of some rows, (n, k) CSR float32."""
    import scipy.sparse as sp

    column_of = {label: column for column, label in enumerate(labels)}
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    for row, item in enumerate(ids):
        answer = machine.answers.get(item)
        if answer is None or answer["label"] is None:
            continue
        chances = answer["probabilities"]
        if chances is None:
            sure = answer["confidence"]
            chances = {answer["label"]: 1.0 if sure is None else sure}
        for label, chance in sorted(chances.items()):
            rows.append(row)
            columns.append(column_of[label])
            values.append(chance)
    shape = (len(ids), len(labels))
    return sp.csr_matrix((np.array(values, dtype=np.float32), (rows, columns)), shape=shape)


def no_answers(rows: int, columns: int) -> Any:
    """The columns of rows that no machine has answered, (rows, columns)."""
    import scipy.sparse as sp

    return sp.csr_matrix((rows, columns), dtype=np.float32)


def beside(matrix: Matrix, columns: Any) -> Matrix:
    """Features with a machine's columns behind them, sparse or dense as they were."""
    import scipy.sparse as sp

    if sp.issparse(matrix):
        return sp.hstack([matrix, columns], format="csr", dtype=np.float32)
    return np.hstack([np.asarray(matrix), columns.toarray()]).astype(np.float32)
