"""A machine annotator as a second source when a pool is finished, under the same certificate.

Judges and the model of all labels see the machine's answers beside each row's own features, and
weigh them by people's labels (stages/learning/machine_weight.py). A judge has still not learned
from its fold, and the machine has never seen people's labels; so the certificate stands on the same
control rows and needs no further assumption, however wrong the machine may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.contract.arrays import Ints, Rows
from stages.contract.errors import PipelineError
from stages.contract.params import Params
from stages.learning.classifier import fit
from stages.machines.columns import beside, machine_columns
from stages.machines.frozen import Machine, read_machine
from stages.proof.finishable import FinishablePool
from stages.proof.finishing import Sources
from stages.proof.opinions import Block


@dataclass(frozen=True)
class AnsweredPool:
    """A pool whose blocks hold a machine's answers behind each row's features."""

    pool: FinishablePool
    machine: Machine

    @property
    def size(self) -> int:
        """How many rows there are, copies included."""
        return self.pool.size

    @property
    def distinct(self) -> Rows:
        """The rows that stand for their content and are not in seed or test, ascending."""
        return self.pool.distinct

    def row_of(self, ids: Iterable[str]) -> dict[str, int]:
        """The distinct row with the content of each id; ids without one are left out."""
        return self.pool.row_of(ids)

    def blocks(self) -> Iterator[Block]:
        """The distinct rows with their features and the machine's answers."""
        for block in self.pool.blocks():
            answers = machine_columns(self.machine, self.pool.ids(block.rows))
            yield replace(block, matrix=beside(block.matrix, answers))

    def with_copies(self, rows: Rows) -> Ints:
        """(size,) for each row the one of `rows` with its content, -1 for none."""
        return self.pool.with_copies(rows)

    def ids(self, rows: Rows) -> list[str]:
        """The ids of ascending rows."""
        return self.pool.ids(rows)


def params_with(params: Params, folder: Path) -> Params:
    """The params of a project whose classifier sees a machine's answers.

    Raises PipelineError where it sees some already.
    """
    if params.machines.are_features:
        what = f"the model sees the answers of {params.machines.features} already"
        raise PipelineError("--machine", what, "leave --machine out")
    machines = params.machines.model_copy(update={"features": folder.as_posix()})
    return params.model_copy(update={"machines": machines})


def with_machine(sources: Sources, folder: Path, params: Params) -> Sources:
    """The sources with a machine's answers: the model of all labels is fitted anew on both.

    folder: of the machine's answers; params: of `params_with`. Raises PipelineError where it has
    answered nothing.
    """
    machine = read_machine(folder, params.labels)
    if not machine.labelled:
        what = f"{machine.name} has labelled no row"
        raise PipelineError(folder, what, f"ask it: `rounds machine {machine.name} …`")
    taught = sources.taught
    answers = machine_columns(machine, taught.index.ids)
    taught = replace(taught, matrix=beside(taught.matrix, answers))
    accepted = sources.gate.accepted
    rows = taught.index.locate(accepted.ids, "build/gate/accepted.jsonl")
    classes = np.asarray(accepted.classes, dtype=np.intp)
    classifier = fit(params.learner, taught.matrix[rows], classes, len(params.labels), params.seed)
    return replace(
        sources,
        taught=taught,
        pool=AnsweredPool(sources.pool, machine),
        shipped=replace(sources.shipped, classifier=classifier),
        second=machine.name,
    )
