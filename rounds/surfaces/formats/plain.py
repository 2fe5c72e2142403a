"""Flat tables: a column of labels, and one that says which item it is about.

    label, and al_id, id, text (or data) or image [, annotator, timestamp, answer, batch]

An empty label is a skip, and "NA" is a label.
"""

from __future__ import annotations

from collections.abc import Mapping

from rounds.surfaces.formats.items import (
    Annotation,
    Reply,
    Source,
    content_of,
    identity_in,
    number_as_text,
)
from stages.answers.prodigy import NotAnAnswer, Verdict

_WHICH = ("al_id", "id", "text", "data", "image", "path")
_VERDICTS: dict[object, Verdict] = {"accept": "accept", "reject": "reject", "ignore": "ignore"}


def recognised(raw: Mapping[str, object]) -> bool:
    """A label, and something that says which item it is about."""
    label = raw.get("label")
    named = any(raw.get(key) is not None for key in _WHICH)
    return "label" in raw and named and not isinstance(label, list | dict)


def read(raw: Mapping[str, object], file: Source) -> list[Reply]:
    """One reply. Raises NotAnAnswer for a row without a label's column, or with no verdict."""
    if "label" not in raw or not any(key in raw for key in _WHICH):
        raise NotAnAnswer("it has no columns `label` and `al_id`, `id` or `text`")
    label = raw["label"]
    if isinstance(label, int):  # of a float, such as 3.0, nobody can know the class's name
        label = number_as_text(label)
    has_label = label not in (None, "")
    verdict = raw.get("answer") or ("accept" if has_label else "ignore")
    if not isinstance(verdict, str) or verdict not in _VERDICTS:
        raise NotAnAnswer(f"answer is {verdict!r}, not accept, reject or ignore")
    batch = {"al_batch": raw.get("al_batch") or raw.get("batch") or None}
    text = {"text": raw["data"]} if isinstance(raw.get("data"), str) else {}
    notes = identity_in(raw.get("meta")) or identity_in(raw.get("metadata"))
    annotation = Annotation(
        "csv",
        content_of(raw, batch, text, notes),
        label if verdict == "accept" and has_label else None,
        _VERDICTS[verdict],
        person=raw.get("annotator"),
        time=raw.get("timestamp"),
        bare_id=raw.get("id"),
    )
    return [annotation.reply(file)]
