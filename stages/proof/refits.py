"""Refitted models of earlier rounds, and the judges that compare them with the truth."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from stages.answers.ledger import check_label
from stages.contract.arrays import Floats, Ints, Matrix
from stages.contract.identity import stratified_folds
from stages.contract.params import Params
from stages.examples.tables import Table, as_text
from stages.learning.classifier import fit
from stages.learning.scoring import softmax
from stages.proof.history import History, Labelled
from stages.store.index import Index

ENOUGH_TO_JUDGE = 20
REMEMBERED = 64_000_000  # probabilities kept for label sets that come again (256 MB)
Key = tuple[object, ...]


class Refits:
    """What the classifier says of rows after learning a set of labels; asked again for the same rows, it remembers.

    It may be asked by several threads at once. tick: called before every fit.
    """

    def __init__(
        self, index: Index, matrix: Matrix, params: Params, tick: Callable[[], object] = int
    ) -> None:
        self.index, self.matrix, self.params, self.tick = index, matrix, params, tick
        self.fits = 0
        self._memory: OrderedDict[Key, NDArray[np.float32]] = OrderedDict()
        self._size = 0
        self._guard = Lock()  # of all that changes here
        self._fitting: defaultdict[Key, Lock] = defaultdict(
            Lock
        )  # nobody learns the same labels twice

    def __call__(self, labelled: Labelled, rows: Ints) -> Floats:
        """Probabilities of the rows, (n, k), after learning one label or more; rows sum to 1."""
        items = sorted(labelled.items())
        key = rows.tobytes(), *items
        with self._guard:
            learning = self._fitting[key]
        with learning:
            with self._guard:
                found = self._memory.get(key)
            if found is None:
                found = self._learnt(items, rows)
            self._remember(key, found)
        exact = found.astype(np.float64)
        return np.asarray(exact / exact.sum(axis=1, keepdims=True))

    def _learnt(self, items: list[tuple[str, int]], rows: Ints) -> NDArray[np.float32]:
        with self._guard:
            self.fits += 1
            self.tick()
        places = self.index.locate([item for item, _ in items], "build/gate/known.jsonl")
        classes = np.array([label for _, label in items], dtype=np.intp)
        model = fit(
            self.params.model,
            self.matrix[places],
            classes,
            len(self.params.labels),
            self.params.seed,
        )
        return softmax(model.scores(self.matrix[rows])).astype(np.float32)

    def _remember(self, key: Key, found: NDArray[np.float32]) -> None:
        with self._guard:
            if key not in self._memory:
                self._memory[key] = found
                self._size += found.size
            self._memory.move_to_end(key)
            while self._size > REMEMBERED and len(self._memory) > 1:
                self._size -= self._memory.popitem(last=False)[1].size


@dataclass(frozen=True)
class Judged:
    """The truth of m rows, (m,), and what a model said of them, (m, k)."""

    truth: Ints
    probabilities: Floats

    @property
    def predicted(self) -> Ints:
        """The likeliest classes, (m,)."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.intp)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which of them are right."""
        return np.asarray(self.truth == self.predicted)


Judge = Callable[[Labelled, int], Judged | None]


def judge_on_test(refits: Refits, truth: Ints) -> Judge:
    """A judge that learns an arm's labels and predicts the test set."""
    test = np.arange(len(refits.index.ids))[refits.index.rows("test")]
    return lambda labelled, _upto: Judged(truth, refits(labelled, test)) if labelled else None


def judge_on_control(refits: Refits, history: History) -> Judge:
    """A judge for projects without a test set: predicts the control arm's labels, each by a model that left it out.

    A fold leaves out its share of whatever an arm has asked, so that both arms learn from equally
    many labels.
    """
    params = refits.params

    def judge(labelled: Labelled, upto: int) -> Judged | None:
        passed = set(history.control(upto, params.seed))
        known = history.arm("random", upto, params.labels, params.seed)
        control = {item: label for item, label in known.items() if item in passed}
        if len(control) < ENOUGH_TO_JUDGE or not labelled:
            return None
        fold = _folds(control, params)
        fold |= _folds(
            {k: v for k, v in labelled.items() if k not in fold and k not in history.seed_ids},
            params,
        )
        rows = refits.index.locate(list(control), "build/labels/asked.jsonl")
        part_of = np.array([fold[item] for item in control])
        probabilities = np.empty((len(control), len(params.labels)))
        for part in np.unique(part_of):
            kept = {item: label for item, label in labelled.items() if fold.get(item) != part}
            if not kept:
                return None
            probabilities[part_of == part] = refits(kept, rows[part_of == part])
        return Judged(np.array(list(control.values()), dtype=np.intp), probabilities)

    return judge


def _folds(labelled: Labelled, params: Params) -> dict[str, int]:
    labels = np.array(list(labelled.values()), dtype=np.intp)
    return dict(
        zip(
            labelled,
            stratified_folds(labels, list(labelled), params.quality.folds, params.seed).tolist(),
            strict=True,
        )
    )


def truth_of_test(table: Table, index: Index, params: Params) -> Ints:
    """The classes of the test rows in the order of the index. Raises PipelineError at file:line for a bad label."""
    cells = [as_text(cell) for cell in table.column(params.data.label, "data.label")]
    for row, label in enumerate(cells):
        check_label(label, params.labels, table.where(row))
    place = {label: number for number, label in enumerate(params.labels)}
    rows = index.row[index.rows("test")]
    return np.array([place[cells[row]] for row in rows], dtype=np.intp)
