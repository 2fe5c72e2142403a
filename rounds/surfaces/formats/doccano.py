"""doccano's JSON lines, one file per annotator; the `id` there is doccano's own number."""

from __future__ import annotations

from collections.abc import Mapping

from rounds.surfaces.formats.items import Reply, Source, content_of, reply, single
from stages._prodigy import NotAnAnswer


def recognised(raw: Mapping[str, object]) -> bool:
    """A list of labels, or annotations of numbered labels beside a text."""
    numbered = isinstance(raw.get("annotations"), list) and isinstance(_text(raw), str)
    return numbered or isinstance(raw.get("label", raw.get("labels")), list)


def _text(raw: Mapping[str, object]) -> object:
    return raw.get("text", raw.get("data"))  # up to version 1.5 the text stands in `data`


def read(raw: Mapping[str, object], file: Source) -> list[Reply | None]:
    """One reply, or none for a row without a label. Raises NotAnAnswer for numbered labels."""
    if "annotations" in raw and "label" not in raw and "labels" not in raw:
        raise NotAnAnswer("its labels are numbers without names: export as JSONL with labels")
    labels = raw.get("label", raw.get("labels"))
    label = labels or None if isinstance(labels, str) else single(labels)
    if label is None:
        return [None]
    text = {"text": _text(raw)}
    content = content_of(raw, raw.get("meta"), raw.get("metadata"), text)
    return [reply(content, file, tool="doccano", label=label, bare_id=raw.get("id"))]
