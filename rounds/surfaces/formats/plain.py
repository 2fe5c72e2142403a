"""Flat tables: a column of labels, and one that says which item it is about.

    label, and al_id, id, text (or data) or image [, annotator, timestamp, answer, batch]

An empty label is a skip, and "NA" is a label.
"""

from __future__ import annotations

from collections.abc import Mapping

from rounds.surfaces.formats.items import Reply, Source, content_of, identity_in, reply
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
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    verdict = raw.get("answer") or ("accept" if label not in (None, "") else "ignore")
    if not isinstance(verdict, str) or verdict not in _VERDICTS:
        raise NotAnAnswer(f"answer is {verdict!r}, not accept, reject or ignore")
    accepted = verdict == "accept" and label not in (None, "")
    batch = {"al_batch": raw.get("al_batch") or raw.get("batch") or None}
    notes = identity_in(raw.get("meta")) or identity_in(raw.get("metadata"))
    text = {"text": raw["data"]} if isinstance(raw.get("data"), str) else {}
    return [
        reply(
            content_of(raw, batch, text, notes),
            file,
            tool="csv",
            label=label if accepted else None,
            answer=_VERDICTS[verdict],
            person=raw.get("annotator"),
            at=raw.get("timestamp"),
            bare_id=raw.get("id"),
        )
    ]
