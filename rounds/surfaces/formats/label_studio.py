"""Label Studio's exports: JSON, with every annotation; JSON_MIN, CSV and TSV, which lack skips."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial

from rounds.surfaces.formats.items import Reply, Source, content_of, each, reply, single
from stages._prodigy import NotAnAnswer

CONTROL = "label"  # the name of our <Choices> in the labelling interface
ASIDE = "other controls than the label kept aside"
_FLAT = {"annotation_id", "lead_time"}  # columns that only Label Studio's flat exports have


def recognised(raw: Mapping[str, object]) -> bool:
    """A task with annotations that have results, or a row of a flat export."""
    annotations = raw.get("annotations")
    if isinstance(annotations, list) and isinstance(raw.get("data", {}), dict):
        return not annotations or any(isinstance(a, dict) and "result" in a for a in annotations)
    return raw.keys() >= _FLAT


def read(raw: Mapping[str, object], file: Source) -> list[Reply | NotAnAnswer | None]:
    """One reply per annotation of a task, skips (was_cancelled) included."""
    if raw.keys() >= _FLAT and "annotations" not in raw:
        return [_flat(raw, file)]
    data = raw.get("data")
    annotations = raw.get("annotations")
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise NotAnAnswer("it has no `data` and `annotations`: export as JSON, not as JSON_MIN")
    return each(partial(_annotation, content_of(data, raw.get("meta")), data.get("id"), file), annotations)


def _annotation(content: Mapping[str, object], bare_id: object, file: Source, annotation: object) -> Reply | None:
    results = annotation.get("result") if isinstance(annotation, dict) else None
    if not isinstance(annotation, dict) or not isinstance(results, list):
        raise NotAnAnswer("an annotation has no list `result`")
    skipped = annotation.get("was_cancelled") is True
    chosen, aside = ([], False) if skipped else _chosen(results)
    person = annotation.get("completed_by")
    name = person.get("email") or person.get("id") if isinstance(person, dict) else person
    return reply(
        content,
        file,
        tool="labelstudio",
        label=None if skipped else single(chosen),
        answer="ignore" if skipped else "accept",
        person=name,
        at=annotation.get("updated_at") or annotation.get("created_at"),
        bare_id=bare_id,
        notes=[ASIDE] if aside else [],
    )


def _chosen(results: list[object]) -> tuple[list[object], bool]:
    """The choices of our control, and whether other controls had results as well.

    Our control is the one named `label`; in an interface made by hand the only one with choices.
    """
    by_control: dict[object, list[object]] = {}
    others = False
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(result, dict) or not isinstance(value, dict):
            raise NotAnAnswer("a result has no `value`")
        choices = value.get("choices")
        if isinstance(choices, list):
            by_control.setdefault(result.get("from_name"), []).extend(choices)
        else:
            others = True
    if CONTROL in by_control:
        return by_control[CONTROL], others or len(by_control) > 1
    if len(by_control) > 1:
        names = ", ".join(sorted(f"`{name}`" for name in by_control))
        raise NotAnAnswer(f"choices of {names}, and none is named `{CONTROL}`")
    return next(iter(by_control.values()), []), others


def _flat(raw: Mapping[str, object], file: Source) -> Reply:
    """A row of JSON_MIN, CSV or TSV: its `id` is the number of the task there."""
    if CONTROL not in raw:
        names = ", ".join(map(str, raw))
        raise NotAnAnswer(f"no column `{CONTROL}` in Label Studio's row (it has {names})")
    chosen = raw[CONTROL]
    if isinstance(chosen, str) and chosen.startswith('{"choices"'):
        try:
            chosen = json.loads(chosen)
        except ValueError as error:
            raise NotAnAnswer(f"label {chosen!r} is not JSON") from error
    label = single(chosen.get("choices")) if isinstance(chosen, dict) else chosen
    return reply(
        content_of(raw),
        file,
        tool="labelstudio",
        label=label or None,
        person=raw.get("annotator"),
        at=raw.get("updated_at") or raw.get("created_at"),
        bare_id=raw.get("id"),
    )
