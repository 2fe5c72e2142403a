"""Argilla's records, of both generations, flattened or nested, from a file or from the Hub.

    label.responses, label.responses.users, label.responses.status    Argilla 2, flattened and Hub
    fields, responses: {label: [{value, user_id}]}                    Argilla 2, nested (`to_json`)
    fields, responses: [{values: {label: {value}}, user_id, status}]  Argilla 1, feedback records
    text, label: [{value, user_id, status}]                           Argilla 1, Hub
    inputs, annotation, annotation_agent, status                      Argilla 1, text classification

A response without a status is taken as submitted, with a note: not every export tells it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
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
from stages.answers.prodigy import NotAnAnswer, Verdict

NO_STATUS = "responses without a status, taken as submitted"
# None: not answered yet. The capitalised ones are those of a record of Argilla 1.
_VERDICTS: dict[str, Verdict | None] = {
    "submitted": "accept",
    "discarded": "ignore",
    "draft": None,
    "Validated": "accept",
    "Discarded": "ignore",
    "Default": None,
    "Edited": None,
}
_FLAT = ".responses"
_CLASSIC = {"annotation", "annotation_agent"}


@dataclass(frozen=True)
class _Response:
    """What one person answered to the question about the label."""

    label: object
    person: object
    status: object


def recognised(raw: Mapping[str, object]) -> bool:
    """Keys that end in `.responses`, fields beside responses, or what only Argilla 1 writes."""
    nested = isinstance(raw.get("fields"), Mapping) and "responses" in raw
    return nested or raw.keys() >= _CLASSIC or bool(questions(raw))


def questions(raw: Mapping[str, object]) -> list[str]:
    """The names of the questions that a record answers."""
    flat = [key.removesuffix(_FLAT) for key in raw if key.endswith(_FLAT)]
    responses = raw.get("responses")
    if isinstance(responses, Mapping):
        return flat + list(responses)
    if isinstance(responses, list):
        answers = [answer.get("values") for answer in responses if isinstance(answer, Mapping)]
        return flat + [name for part in answers if isinstance(part, Mapping) for name in part]
    return flat + [key for key, cell in raw.items() if _is_hub(cell)]


def _is_hub(cell: object) -> bool:
    """Whether a cell of a record from the Hub holds the responses of Argilla 1."""
    first = cell[0] if isinstance(cell, list) and cell else None
    return isinstance(first, Mapping) and first.keys() >= {"user_id", "value"}


def read(raw: Mapping[str, object], file: Source) -> list[Reply | NotAnAnswer | None]:
    """One reply per response, read by its status."""
    named = {key.removeprefix("metadata."): raw[key] for key in raw if key.startswith("metadata.")}
    notes = identity_in(named) if named else identity_in(raw.get("metadata"))
    content = content_of(raw, notes, raw.get("fields"), raw.get("inputs"))
    bare_id = raw.get("external_id") or raw.get("id")
    return each(partial(_reply, content, bare_id, file), _responses(raw, file))


def _responses(raw: Mapping[str, object], file: Source) -> list[object]:
    """Every person's answer in a record, whichever way it is written."""
    responses = raw.get("responses")
    if isinstance(responses, list):
        return [_feedback(response, file.question()) for response in responses]
    if isinstance(responses, Mapping):
        return _stated(responses.get(file.question()))
    if responses is not None:
        raise NotAnAnswer(f"responses are {responses!r}, not an object")
    if raw.keys() >= _CLASSIC:
        return [_Response(raw["annotation"], raw["annotation_agent"], raw.get("status"))]
    if any(key.endswith(_FLAT) for key in raw):
        return _flattened(raw, file.question())
    return _stated(raw.get(file.question()))


def _flattened(raw: Mapping[str, object], question: str) -> list[object]:
    """The responses of a flattened record: lists side by side. Early releases have no status."""
    labels = _list(raw.get(f"{question}{_FLAT}"))
    people = _list(raw.get(f"{question}{_FLAT}.users"))
    states = _list(raw.get(f"{question}{_FLAT}.status"))
    if labels is None:
        return []
    if states is None:
        states = [None] * len(labels)
    if people is None or not len(labels) == len(people) == len(states):
        raise NotAnAnswer("responses, their users and their status do not belong together")
    return [_Response(*parts) for parts in zip(labels, people, states, strict=True)]


def _list(cell: object) -> list[object] | None:
    """The list in a cell, None where there is none. In a CSV only JSON is read.

    What pandas writes of an array, "['a' 'b']", Python would read as one text, "ab".
    """
    if cell is None or cell == "":
        return None
    value = cell
    if isinstance(cell, str):
        try:
            value = json.loads(cell)
        except (ValueError, RecursionError) as error:
            what = f"{cell[:40]!r} is no list: export as JSON, since a CSV cannot hold lists"
            raise NotAnAnswer(what) from error
    if not isinstance(value, list):
        raise NotAnAnswer("responses, their users and their status do not belong together")
    return value


def _stated(answers: object) -> list[object]:
    """The responses of a list of {value, user_id, status}; the nested export has no status."""
    if answers is None:
        return []
    if not isinstance(answers, list):
        raise NotAnAnswer(f"responses are {answers!r}, not a list")
    return [_response(answer) for answer in answers]


def _response(answer: object) -> object:
    if not isinstance(answer, Mapping):
        return answer
    return _Response(answer.get("value"), answer.get("user_id"), answer.get("status"))


def _feedback(response: object, question: str) -> object:
    """The answer to one question in a response of Argilla 1, which holds those to all questions."""
    if not isinstance(response, Mapping):
        return response
    values = response.get("values") or {}
    if not isinstance(values, Mapping):
        raise NotAnAnswer(f"a response's values are {values!r}, not an object")
    value = values.get(question)
    label = value.get("value") if isinstance(value, Mapping) else value
    return _Response(label, response.get("user_id"), response.get("status"))


def _reply(
    content: Mapping[str, object], bare_id: object, file: Source, response: object
) -> Reply | None:
    """The answer of a response; None of one that is not sent yet."""
    if not isinstance(response, _Response):
        raise NotAnAnswer(f"a response is {response!r}, not an object")
    status = "submitted" if response.status is None else response.status
    if not isinstance(status, str) or status not in _VERDICTS:
        raise NotAnAnswer(f"a response's status is {status!r}, not submitted, draft or discarded")
    verdict = _VERDICTS[status]
    if verdict is None:
        return None
    annotation = Annotation(
        "argilla",
        content,
        _label(response.label) if verdict == "accept" else None,
        verdict,
        person=response.person,
        bare_id=bare_id,
        notes=[NO_STATUS] if response.status is None else [],
    )
    return annotation.reply(file)


def _label(value: object) -> object:
    """The label of an answer: a question for several labels gives a list, a rating a number."""
    if isinstance(value, list):
        return single(value)
    is_rating = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_rating else value
