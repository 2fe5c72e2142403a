"""The simulated annotator: answers a batch from known labels, with the errors and gaps that people have.

For demonstrations, tests and backtests. It writes the same db-out rows as a person's tool does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from stages import _prodigy
from stages._canonical import Row
from stages._errors import PipelineError, closest
from stages._identity import order_key
from stages._params import Params
from stages._tables import as_text, read_table

FIRST_ANSWER = 1_700_000_000.0
_SECONDS_PER_ANSWER = 4.0


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

    oracle: the true label of every al_id. noise, skip: probabilities in [0, 1]; a noisy answer is another
    class, drawn uniformly. Every draw depends on the seed and the id alone, never on the order of tasks.
    start: the synthetic time of the first answer, in seconds.
    """
    rows = []
    for position, row in enumerate(tasks):
        item, at = str(row["al_id"]), start + position * _SECONDS_PER_ANSWER
        label = reply(item, oracle[item], labels, noise=noise, skip=skip, seed=seed)
        said: Literal["ignore", "accept"] = "ignore" if label is None else "accept"
        rows.append(_prodigy.answer_row(row, label=label, answer=said, annotator=annotator, dataset="oracle", at=at))
    return rows


def reply(item: str, truth: str, labels: Sequence[str], *, noise: float, skip: float, seed: int) -> str | None:
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


def known_labels(path: Path, tasks: Sequence[Row], params: Params) -> dict[str, str]:
    """The true label of every task, by id; by exact content when params.data.id is empty.

    Raises PipelineError for a missing column, a label that is not in params.labels, two labels of one item, and
    tasks that the file does not know (naming them).
    """
    table = read_table(path)
    names = (params.data.id, "data.id"), (params.data.text, "data.text"), (params.data.image, "data.image")
    column, param = next((pair for pair in names if pair[0]), ("", ""))
    if not column:
        raise PipelineError(path, "rows cannot be told apart", "set data.id, data.text or data.image in params.yaml")
    truth: dict[str, str] = {}
    cells = zip(table.column(column, param), table.column(params.data.label, "data.label"), strict=True)
    for row, (key, label) in enumerate((as_text(key), as_text(label)) for key, label in cells):
        if label not in params.labels:
            what = f"label {label!r} is not in labels{closest(label, params.labels)}"
            raise PipelineError(table.where(row), what, "correct the label, or add it to params.yaml")
        if truth.setdefault(key, label) != label:
            what = f"{key[:60]!r} is {truth[key]!r} above and {label!r} here"
            raise PipelineError(table.where(row), what, "keep one of them")
    known = {str(row["al_id"]): _key(row, truth, param) for row in tasks}
    missing = [item for item, key in known.items() if key not in truth]
    if missing:
        shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise PipelineError(path, f"no label for {len(missing)} of {len(tasks)} asked items: {shown}", "add their rows")
    return {item: truth[key] for item, key in known.items()}


def _key(row: Row, truth: Mapping[str, str], param: str) -> str:
    """What names the task in the oracle's file."""
    if param == "data.id":
        return str(row["al_id"])
    if param == "data.text":
        return str(row.get("text", ""))
    return next((str(row[key]) for key in ("image", "path") if str(row.get(key)) in truth), "")
