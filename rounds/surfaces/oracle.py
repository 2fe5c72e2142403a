"""The simulated annotator: answers from known labels, with the errors and gaps of people.

For demonstrations, tests and backtests. It writes the same db-out rows as a person's tool does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rounds.enumeration import listed
from stages.answers import prodigy
from stages.answers.scheme import SCHEME, Change, changes_of, meaning, names_ever, read_scheme
from stages.contract.canonical import Row, sha256
from stages.contract.errors import PipelineError, closest
from stages.contract.identity import order_key
from stages.contract.params import Params
from stages.examples.content import exact_bytes
from stages.examples.tables import Table, as_text, read_table

DATASET = "oracle"  # stands in every simulated row, and in no other
HEAD = 16  # hex digits of a content hash in an id
FIRST_ANSWER = 1_700_000_000.0
_SECONDS_PER_ANSWER = 4.0
_SHOWN = 10


def answer(
    tasks: Sequence[Row],
    oracle: Mapping[str, str],
    labels: Sequence[str],
    *,
    noise: float = 0.0,
    skip: float = 0.0,
    seed: int = 0,
    annotator: str = "oracle",
    start: float = FIRST_ANSWER,
) -> list[Row]:
    """One db-out row per task, in the order of the tasks.

    oracle: the true label of every al_id. noise, skip: probabilities in [0, 1]; a noisy answer is
    another class, drawn uniformly. labels: what the batch offers; an item of another class is
    skipped. Every draw depends on the seed and the id alone, never on the order of tasks. start:
    the synthetic time of the first answer, in seconds.
    """
    rows = []
    for position, task in enumerate(tasks):
        item_id = str(task["al_id"])
        label = reply(item_id, oracle[item_id], labels, noise=noise, skip=skip, seed=seed)
        if label not in labels:
            label = None  # a person would skip an item whose class is not offered
        row = prodigy.answer_row(
            task,
            label=label,
            answer="ignore" if label is None else "accept",
            annotator=annotator,
            dataset=DATASET,
            at=start + position * _SECONDS_PER_ANSWER,
        )
        rows.append(row)
    return rows


def reply(
    item: str, truth: str, labels: Sequence[str], *, noise: float, skip: float, seed: int
) -> str | None:
    """The label that is given to one item, None where it is skipped."""
    if _draw(seed, f"skip:{item}") < skip:
        return None
    if _draw(seed, f"noise:{item}") < noise:
        others = [label for label in labels if label != truth]
        return others[order_key(seed, f"class:{item}") % len(others)]
    return truth


def round_seed(seed: int, number: int) -> int:
    """The seed of a round's answers: an item that a later round asks again gets a fresh draw."""
    return order_key(seed, f"round:{number}")


def _draw(seed: int, item: str) -> float:
    """A uniform number in [0, 1)."""
    return order_key(seed, item) / 2**64


def known_labels(
    path: Path, tasks: Sequence[Row], params: Params, root: Path = Path()
) -> dict[str, str]:
    """The true label of every task, by id; by exact content when params.data.id is empty.

    A seed row that is asked again and that the file does not have keeps the label it has in the
    seed. root: the project's folder. Raises PipelineError for a missing column, a label that is
    neither offered nor in params.labels, two labels of one item, and tasks that the file does not
    know (naming them).
    """
    scheme = read_scheme(root / SCHEME)
    accepted = names_ever(prodigy.acceptable(tasks, params.labels), scheme)
    # Contents are hashed by the columns that were shown, the pool's: this file may have more.
    fields = next((list(task["fields"]) for task in tasks if "fields" in task), None)
    truth = _truth(read_table(path), params, accepted, fields)
    ids = [str(task["al_id"]) for task in tasks]
    names = {item_id: _name(item_id, params) for item_id in ids}
    seed = root / params.data.seed
    if any(name not in truth for name in names.values()) and seed.is_file():
        truth = _truth(read_table(seed, may_be_empty=True), params, accepted, fields) | truth
    missing = [item_id for item_id, name in names.items() if name not in truth]
    if missing:
        shown = listed(missing, _SHOWN)
        what = f"no label for {len(missing)} of {len(tasks)} asked items: {shown}"
        raise PipelineError(path, what, "add their rows")
    offered = prodigy.offered(tasks)
    return {item: _as_offered(truth[name], offered, scheme) for item, name in names.items()}


def _as_offered(label: str, offered: Sequence[str], scheme: Sequence[Change]) -> str:
    """A true label under the name that a batch offers it by, where labels changed since."""
    if label in offered or not offered:
        return label
    return meaning(label, changes_of(label, scheme)).label


def _truth(
    table: Table, params: Params, accepted: Sequence[str], fields: list[str] | None
) -> dict[str, str]:
    """The label of each row by its id; where there are no ids, by its content's hash."""
    labels = [as_text(cell) for cell in table.column(params.data.label, "data.label")]
    names: list[str] = []
    if params.data.id:
        names = [as_text(cell) for cell in table.column(params.data.id, "data.id")]
    elif len(table):
        names = [sha256(content)[:HEAD] for content in exact_bytes(table, params, fields)]
    truth: dict[str, str] = {}
    for row, (name, label) in enumerate(zip(names, labels, strict=True)):
        if label not in accepted:
            what = f"label {label!r} is not in labels{closest(label, accepted)}"
            remedy = "correct the label, or add it to params.yaml"
            raise PipelineError(table.where(row), what, remedy)
        if truth.setdefault(name, label) != label:
            what = f"{name!r} is {truth[name]!r} above and {label!r} here"
            raise PipelineError(table.where(row), what, "keep one of them")
    return truth


def _name(item: str, params: Params) -> str:
    """What names an asked item in a table: its id, or the part of it that is the content's hash.

    Other parts, `seed-` and `-2`, tell equal contents apart.
    """
    return item if params.data.id else item.removeprefix("seed-").removeprefix("test-")[:HEAD]
