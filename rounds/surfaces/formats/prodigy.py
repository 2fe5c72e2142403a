"""Prodigy's own rows, as `prodigy db-out` writes them, and as the page and the oracle do."""

from __future__ import annotations

from collections.abc import Mapping

from rounds.surfaces.formats.items import Reply, Source, number_as_text, own_id
from stages.answers.prodigy import is_anonymous, session_id

_VERDICTS = ("accept", "reject", "ignore")
_SIGNS = ("accept", "options", "_view_id", "_input_hash", "_task_hash", "_session_id", "al_id")
_PLAIN = ("annotator", "timestamp")


def recognised(raw: Mapping[str, object]) -> bool:
    """A verdict and one of Prodigy's keys; an `id` beside them is the user's own.

    A plain row with a verdict has columns that Prodigy lacks, and none with its underscore.
    """
    if raw.get("answer") not in _VERDICTS:
        return False
    if not is_its_own(raw) and any(key in raw for key in _PLAIN):
        return False
    return "id" not in raw or any(key in raw for key in _SIGNS)


def is_its_own(raw: Mapping[str, object]) -> bool:
    """Whether a row has keys that only Prodigy writes: `_input_hash`, `_view_id`, and so on."""
    return any(key.startswith("_") for key in raw)


def read(raw: Mapping[str, object], file: Source) -> list[Reply]:
    """A db-out row is what it is; `--annotator` says whose, where its session names nobody."""
    row = dict(raw)
    if "al_id" in row:
        row["al_id"] = number_as_text(row["al_id"])
    session = row.get("_annotator_id") or row.get("_session_id") or ""
    is_nameless = isinstance(session, str) and is_anonymous(session)
    if is_nameless and file.annotator:
        row["_annotator_id"] = session_id("collected", file.annotator)
        row["al_dataset"] = "collected"
    return [Reply(row, own_id(row.get("id")), annotator_from_file=False, notes=())]
