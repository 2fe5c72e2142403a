"""The project's own columns in an answer file: people send their table back with a label in it."""

from __future__ import annotations

from collections.abc import Mapping

from stages.contract.canonical import Row
from stages.contract.params import Data

# What these columns mean is fixed, whatever a project calls its own.
_FIXED = frozenset({
    "al_id", "al_batch", "id", "external_id", "text", "data", "image", "path", "label", "labels",
    "annotator", "timestamp", "answer", "batch", "accept", "options", "annotations", "annotation",
    "annotation_id", "annotation_agent", "lead_time", "fields", "inputs", "responses", "metadata",
    "meta", "status", "was_cancelled", "created_at", "updated_at", "agreement",
})  # fmt: skip


def own_names(data: Data) -> dict[str, str]:
    """Which of the project's columns is our `id`, `text` and `label`, by its name in lower case."""
    pairs = [(data.id, "id"), (data.text, "text"), (data.label, "label")]
    return {own.casefold(): ours for own, ours in pairs if own and own.casefold() not in _FIXED}


def renamed(row: Mapping[str, object], names: Mapping[str, str]) -> Row:
    """The row with our names for the project's columns.

    The project's id replaces an `id` of the tool's own; a `text` or `label` beside them stays.
    """
    new: Row = {}
    for name, cell in row.items():
        ours = names.get(name.casefold())
        if ours == "id" or (ours is not None and ours not in row):
            new[ours] = cell
        elif name not in new:
            new[name] = cell
    return new
