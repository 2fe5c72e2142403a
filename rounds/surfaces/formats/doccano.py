"""doccano's JSON lines, one file per annotator; the `id` there is doccano's own number.

A file of everybody's answers is called `all.jsonl`, one of rows that nobody answered
`unknown.jsonl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from rounds.surfaces.formats.items import (
    Annotation,
    Reply,
    Source,
    content_of,
    each,
    identity_in,
    single,
)
from stages.answers.prodigy import NotAnAnswer


def recognised(raw: Mapping[str, object]) -> bool:
    """A list of labels, or a list of annotations beside a text."""
    annotated = isinstance(raw.get("annotations"), list) and isinstance(_text(raw), str)
    return annotated or isinstance(raw.get("label", raw.get("labels")), list)


def _text(raw: Mapping[str, object]) -> object:
    return raw.get("text", raw.get("data"))  # up to version 1.5 the text stands in `data`


def read(raw: Mapping[str, object], file: Source) -> list[Reply | NotAnAnswer | None]:
    """One reply, or one per annotation; none for a row without a label."""
    notes = identity_in(raw.get("meta")) or identity_in(raw.get("metadata"))
    shown = {"text": _text(raw), "path": raw.get("filename")}
    content = content_of(raw, notes, shown)
    bare_id = raw.get("id")
    annotations = raw.get("annotations")
    if "label" not in raw and "labels" not in raw and isinstance(annotations, list):
        return each(partial(_annotation, content, bare_id, file), annotations)
    labels = raw.get("labels") if raw.get("label") is None else raw["label"]
    label = labels or None if isinstance(labels, str) else single(labels)
    if label is None:
        return [None]
    return [Annotation("doccano", content, label, bare_id=bare_id).reply(file)]


def _annotation(
    content: Mapping[str, object], bare_id: object, file: Source, annotation: object
) -> Reply:
    """One person's label. Older releases export the number of the label, and its name nowhere."""
    if not isinstance(annotation, Mapping) or "label" not in annotation:
        raise NotAnAnswer("an annotation has no `label`")
    label = annotation["label"]
    if not isinstance(label, str):
        raise NotAnAnswer("its labels are numbers without names: export as JSONL with labels")
    person = annotation.get("user")
    return Annotation("doccano", content, label, person=person, bare_id=bare_id).reply(file)
