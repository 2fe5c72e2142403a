"""Refitted models of earlier rounds, and the judges that compare them with the truth."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from stages.answers.ledger import check_label
from stages.answers.scheme import Meaning
from stages.contract.arrays import Floats, Ints, Mask, Matrix
from stages.contract.identity import stratified_folds
from stages.contract.params import Params
from stages.examples.tables import Table, as_text
from stages.learning.classifier import fit
from stages.learning.scoring import softmax
from stages.proof.history import History, LabelSet
from stages.store.index import Index

ENOUGH_TO_JUDGE = 20  # control labels
REMEMBERED = 64_000_000  # probabilities kept for label sets that come again (256 MB)
Key = tuple[object, ...]


class Refits:
    """What the classifier says of rows after learning a set of labels.

    Asked again for the same labels and rows it remembers. It may be asked by several threads at
    once. tick: called before every fit.
    """

    def __init__(
        self, index: Index, matrix: Matrix, params: Params, tick: Callable[[], object] = int
    ) -> None:
        self.index = index
        self.matrix = matrix
        self.params = params
        self.tick = tick
        self.fits = 0
        self._memory: OrderedDict[Key, NDArray[np.float32]] = OrderedDict()
        self._size = 0
        self._guard = Lock()  # of all that changes here
        self._fitting: defaultdict[Key, Lock] = defaultdict(Lock)  # so that none is learnt twice

    def __call__(self, labelled: LabelSet, rows: Ints) -> Floats:
        """Probabilities of the rows, (n, k), after learning one label or more; rows sum to 1."""
        labels = sorted(labelled.items())
        key = rows.tobytes(), *labels
        with self._guard:
            fitting = self._fitting[key]
        with fitting:
            with self._guard:
                probabilities = self._memory.get(key)
            if probabilities is None:
                probabilities = self._learnt(labels, rows)
            self._remember(key, probabilities)
        exact = probabilities.astype(np.float64)
        return np.asarray(exact / exact.sum(axis=1, keepdims=True))

    def _learnt(self, labels: list[tuple[str, int]], rows: Ints) -> NDArray[np.float32]:
        with self._guard:
            self.fits += 1
            self.tick()
        learnt = self.index.locate([item for item, _ in labels], "build/gate/known.jsonl")
        classes = np.array([label for _, label in labels], dtype=np.intp)
        params = self.params
        n_classes = len(params.labels)
        model = fit(params.learner, self.matrix[learnt], classes, n_classes, params.seed)
        return softmax(model.scores(self.matrix[rows])).astype(np.float32)

    def _remember(self, key: Key, probabilities: NDArray[np.float32]) -> None:
        """Keep them, and forget what was asked for least recently beyond REMEMBERED."""
        with self._guard:
            if key not in self._memory:
                self._memory[key] = probabilities
                self._size += probabilities.size
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
    def correct(self) -> Mask:
        """Which of them are right, (m,)."""
        return np.asarray(self.truth == self.predicted)


Judge = Callable[[LabelSet, int], Judged | None]  # what a label set predicts, after so many rounds


def judge_on_test(refits: Refits, truth: Ints) -> Judge:
    """A judge that learns an arm's labels and predicts the test set. truth: -1 judges nothing."""
    test = np.arange(len(refits.index.ids))[refits.index.rows("test")][truth >= 0]
    classes = truth[truth >= 0]
    return lambda labelled, _upto: Judged(classes, refits(labelled, test)) if labelled else None


def judge_on_control(refits: Refits, history: History) -> Judge:
    """A judge for projects without a test set: it predicts the control arm's labels.

    Each is predicted by a model that left it out. A fold leaves out its share of whatever an arm
    has asked, so that both arms learn from equally many labels.
    """
    params = refits.params

    def judge(labelled: LabelSet, upto: int) -> Judged | None:
        passed = set(history.control(upto, params.seed))
        random = history.arm("random", upto, params.labels, params.seed)
        control = {item: label for item, label in random.items() if item in passed}
        if len(control) < ENOUGH_TO_JUDGE or not labelled:
            return None
        fold_of = _folds(control, params)
        others = {
            item: label
            for item, label in labelled.items()
            if item not in fold_of and item not in history.given
        }
        fold_of |= _folds(others, params)
        probabilities = _left_out(refits, control, labelled, fold_of)
        if probabilities is None:
            return None
        return Judged(np.array(list(control.values()), dtype=np.intp), probabilities)

    return judge


def _left_out(
    refits: Refits, control: LabelSet, labelled: LabelSet, fold_of: dict[str, int]
) -> Floats | None:
    """Probabilities of the control rows, (m, k), each by a model of the labels of other folds.

    The seed's labels are in no fold: every model learns them. None where a model has no labels.
    """
    rows = refits.index.locate(list(control), "build/labels/asked.jsonl")
    folds = np.array([fold_of[item] for item in control])
    probabilities = np.empty((len(control), len(refits.params.labels)))
    for fold in np.unique(folds):
        kept = {item: label for item, label in labelled.items() if fold_of.get(item) != fold}
        if not kept:
            return None
        probabilities[folds == fold] = refits(kept, rows[folds == fold])
    return probabilities


def _folds(labelled: LabelSet, params: Params) -> dict[str, int]:
    ids = list(labelled)
    classes = np.array(list(labelled.values()), dtype=np.intp)
    folds = stratified_folds(classes, ids, params.quality.folds, params.seed)
    return dict(zip(ids, folds.tolist(), strict=True))


def labels_of_test(
    table: Table, params: Params, understood: Callable[[str], Meaning] = Meaning
) -> list[Meaning]:
    """What the label of each row of the test table means today, in the order of the table.

    Raises PipelineError at file:line for a label that is no class and was none.
    """
    meanings: list[Meaning] = []
    for row, cell in enumerate(table.column(params.data.label, "data.label")):
        now = understood(as_text(cell))
        if not now.retired:
            check_label(now.label, params.labels, table.where(row))
        meanings.append(now)
    return meanings


def truth_of_test(meanings: list[Meaning], index: Index, params: Params) -> Ints:
    """The classes of the test rows in the order of the index, (n_test,); -1 for retired ones."""
    class_of = {label: number for number, label in enumerate(params.labels)}
    rows = (meanings[row] for row in index.row[index.rows("test")])
    return np.array([-1 if now.retired else class_of[now.label] for now in rows], dtype=np.intp)
