"""A machine's answers as columns that a classifier can learn from, one for each class.

A column holds how sure the machine is of a class: its probability where it gives probabilities,
else its confidence in the class that it names (1 where it states none) and 0 for the others. A row
that it did not answer has only zeros. Nothing is believed: what the columns are worth, and that a
machine takes one class for another, the classifier learns from people's labels.

The classes are those of the machine's answers, sorted; the project's own are not needed, so that
features do not change with params.labels. There are always MACHINE_COLUMNS columns; of more classes
several share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.contract.arrays import Matrix
from stages.contract.params import MACHINE_COLUMNS
from stages.machines.frozen import Machine, MachineAnswer


def machine_columns(machine: Machine, ids: Sequence[str]) -> Any:
    """The columns of some rows, (n, MACHINE_COLUMNS) CSR float32."""
    import scipy.sparse as sp

    classes = sorted({name for answer in machine.answers.values() for name in sureness(answer)})
    column_of = {name: column % MACHINE_COLUMNS for column, name in enumerate(classes)}
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    for row, item in enumerate(ids):
        answer = machine.answers.get(item)
        if answer is not None:
            for name, chance in sorted(sureness(answer).items()):
                rows.append(row)
                columns.append(column_of[name])
                values.append(chance)
    shape = (len(ids), MACHINE_COLUMNS)
    return sp.csr_matrix((np.array(values, dtype=np.float32), (rows, columns)), shape=shape)


def sureness(answer: MachineAnswer) -> dict[str, float]:
    """How sure the machine is of each class that it considers; empty where it names none."""
    if answer["label"] is None:
        return {}
    if answer["probabilities"] is not None:
        return answer["probabilities"]
    confidence = answer["confidence"]
    return {answer["label"]: 1.0 if confidence is None else confidence}


def no_answers(rows: int) -> Any:
    """The columns of rows that no machine has answered, (rows, MACHINE_COLUMNS)."""
    import scipy.sparse as sp

    return sp.csr_matrix((rows, MACHINE_COLUMNS), dtype=np.float32)


def beside(matrix: Matrix, columns: Any) -> Matrix:
    """Features with a machine's columns behind them, sparse or dense as they were."""
    import scipy.sparse as sp

    if sp.issparse(matrix):
        return sp.hstack([matrix, columns], format="csr", dtype=np.float32)
    return np.hstack([np.asarray(matrix), columns.toarray()]).astype(np.float32)
