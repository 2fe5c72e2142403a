"""Label Studio's exports: JSON, with every annotation; and the flat JSON_MIN, CSV and TSV."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial

from rounds.surfaces.formats.items import (
    QUESTION,
    Annotation,
    Reply,
    Source,
    content_of,
    each,
    identity_in,
    single,
)
from stages.answers.prodigy import NotAnAnswer

_TOOL = "labelstudio"
ASIDE = "other controls than the label kept aside"
_FLAT = {"annotation_id", "lead_time"}  # columns that only Label Studio's flat exports have
# What stands in a flat row beside the answers: Label Studio's own columns and our task's.
_NO_ANSWER = _FLAT | {
    "id", "annotator", "created_at", "updated_at", "was_cancelled", "agreement",
    "al_id", "al_batch", "text", "image", "path", "html", "meta", "metadata",
}  # fmt: skip


def recognised(raw: Mapping[str, object]) -> bool:
    """A task with annotations that have results, or a row of a flat export."""
    annotations = raw.get("annotations")
    if isinstance(annotations, list):
        is_task = isinstance(raw.get("data"), dict)
        return is_task or any(isinstance(part, dict) and "result" in part for part in annotations)
    return is_flat(raw)


def is_flat(names: Iterable[str]) -> bool:
    """Whether the names of columns are those of a flat export."""
    return set(names) >= _FLAT


def questions(raw: Mapping[str, object]) -> list[str]:
    """The names of the controls with choices that a row answers.

    A flat row does not say which of its columns are controls: all that may be.
    """
    if "annotations" not in raw:
        return [name for name in raw if name and name not in _NO_ANSWER]
    annotations = raw["annotations"]
    parts = annotations if isinstance(annotations, list) else []
    lists = [part.get("result") for part in parts if isinstance(part, dict)]
    results = [result for part in lists if isinstance(part, list) for result in part]
    return [_control(result) for result in results if _choices(result) is not None]


def read(raw: Mapping[str, object], file: Source) -> list[Reply | NotAnAnswer | None]:
    """One reply per annotation of a task, skips (was_cancelled) included."""
    if is_flat(raw) and "annotations" not in raw:
        return [_flat(raw, file)]
    data = raw.get("data")
    annotations = raw.get("annotations")
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise NotAnAnswer("it is no task with `data` and `annotations`")
    content = content_of(data, identity_in(data.get("meta")), identity_in(raw.get("meta")))
    return each(partial(_annotation, content, data.get("id"), file), annotations)


def _annotation(
    content: Mapping[str, object], bare_id: object, file: Source, annotation: object
) -> Reply:
    """What one person said about a task."""
    results = annotation.get("result") if isinstance(annotation, dict) else None
    if not isinstance(annotation, dict) or not isinstance(results, list):
        raise NotAnAnswer("an annotation has no list `result`")
    is_skipped = annotation.get("was_cancelled") is True
    chosen, has_others = ([], False) if is_skipped else _chosen(results, file.question())
    person = annotation.get("completed_by")
    if isinstance(person, dict):
        person = person.get("email") or person.get("id")
    annotated = Annotation(
        _TOOL,
        content,
        single(chosen),
        "ignore" if is_skipped else "accept",
        person=person,
        time=annotation.get("updated_at") or annotation.get("created_at"),
        bare_id=bare_id,
        notes=[ASIDE] if has_others else [],
    )
    return annotated.reply(file)


def _chosen(results: list[object], question: str) -> tuple[list[object], bool]:
    """The choices of one control, and whether others (notes, ratings, relations) have results."""
    chosen: list[object] = []
    has_others = False
    for result in results:
        if not isinstance(result, dict):
            raise NotAnAnswer(f"a result is {result!r}, not an object")
        if _control(result) != question:
            has_others = True
            continue
        choices = _choices(result)
        if choices is None:
            raise NotAnAnswer(f"a result of `{question}` has no `choices`")
        chosen.extend(choices)
    return chosen, has_others


def _choices(result: object) -> list[object] | None:
    """What a result chose, None where it is no choice. A relation has no `value` at all."""
    value = result.get("value") if isinstance(result, dict) else None
    choices = value.get("choices") if isinstance(value, dict) else None
    return choices if isinstance(choices, list) else None


def _control(result: Mapping[str, object]) -> str:
    name = result.get("from_name")
    return name if isinstance(name, str) else ""


def _flat(raw: Mapping[str, object], file: Source) -> Reply:
    """A row of JSON_MIN, CSV or TSV: its `id` is the number of the task there.

    JSON_MIN leaves out a control that was not answered; newer CSV has `was_cancelled` for skips.
    """
    if not file.questions:
        names = ", ".join(map(str, raw))
        raise NotAnAnswer(f"no column `{QUESTION}` in Label Studio's row (it has {names})")
    is_skipped = str(raw.get("was_cancelled")).casefold() in ("true", "1")
    label = None if is_skipped else _flat_label(raw.get(file.question()))
    annotated = Annotation(
        _TOOL,
        content_of(raw, identity_in(raw.get("meta"))),
        label or None,
        "ignore" if is_skipped else "accept",
        person=raw.get("annotator"),
        time=raw.get("updated_at") or raw.get("created_at"),
        bare_id=raw.get("id"),
    )
    return annotated.reply(file)


def _flat_label(chosen: object) -> object:
    """One choice stands as itself, several as an object, in a CSV as its JSON text."""
    if isinstance(chosen, str) and chosen.startswith('{"choices"'):
        try:
            chosen = json.loads(chosen)
        except ValueError as error:
            raise NotAnAnswer(f"label {chosen!r} is not JSON") from error
    return single(chosen.get("choices")) if isinstance(chosen, dict) else chosen
