"""Argilla's records: flattened or from the Hub (`label.responses`), and nested (`to_json`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from rounds.surfaces.formats.items import Reply, Source, content_of, each, reply
from stages._prodigy import NotAnAnswer, Verdict

_VERDICTS: dict[object, Verdict] = {"submitted": "accept", "discarded": "ignore"}
_FLAT = ".responses"


def recognised(raw: Mapping[str, object]) -> bool:
    """Keys that end in `.responses`, or fields and responses side by side."""
    nested = isinstance(raw.get("fields"), Mapping) and "responses" in raw
    return nested or any(key.endswith(_FLAT) for key in raw)


def read(raw: Mapping[str, object], file: Source) -> list[Reply | NotAnAnswer | None]:
    """One reply per response, read by its status."""
    parts = _nested(raw) if "responses" in raw else _flattened(raw)
    if parts is None:
        return [None]
    named = {key.removeprefix("metadata."): raw[key] for key in raw if key.startswith("metadata.")}
    content = content_of(raw, named, raw.get("metadata"), raw.get("fields"))
    return each(partial(_response, content, raw.get("id"), file), parts)


def _flattened(raw: Mapping[str, object]) -> list[object] | None:
    """(label, person, status) of each response in a flattened record."""
    question = _only([key.removesuffix(_FLAT) for key in raw if key.endswith(_FLAT)])
    answers = raw.get(f"{question}{_FLAT}")
    if answers is None:
        return None
    people = raw.get(f"{question}{_FLAT}.users")
    states = raw.get(f"{question}{_FLAT}.status")
    columns = (answers, people, states)
    if not all(isinstance(part, list) for part in columns):
        raise NotAnAnswer("responses, their users and their status do not belong together")
    if len({len(part) for part in columns if isinstance(part, list)}) > 1:
        raise NotAnAnswer("responses, their users and their status do not belong together")
    return list(zip(*(part for part in columns if isinstance(part, list)), strict=True))


def _nested(raw: Mapping[str, object]) -> list[object] | None:
    """(label, person, status) of each response in a nested record of Argilla 2 or 1."""
    responses = raw["responses"]
    if isinstance(responses, list):  # Argilla 1: one response holds the values of all questions
        return [_of_one(response) for response in responses] or None
    if not isinstance(responses, Mapping):
        raise NotAnAnswer(f"responses are {responses!r}, not an object")
    if not responses:
        return None
    answers = responses[_only(list(responses))]
    if not isinstance(answers, list):
        raise NotAnAnswer(f"responses are {answers!r}, not a list")
    return [_part(answer) for answer in answers] or None


def _of_one(response: object) -> object:
    values = response.get("values") if isinstance(response, Mapping) else None
    if not isinstance(response, Mapping):
        raise NotAnAnswer(f"a response is {response!r}, not an object")
    if not values:
        return (None, response.get("user_id"), response.get("status", "submitted"))
    if not isinstance(values, Mapping):
        raise NotAnAnswer(f"a response's values are {values!r}, not an object")
    value = values[_only(list(values))]
    label = value.get("value") if isinstance(value, Mapping) else value
    return (label, response.get("user_id"), response.get("status", "submitted"))


def _part(answer: object) -> object:
    if not isinstance(answer, Mapping):
        raise NotAnAnswer(f"a response is {answer!r}, not an object")
    return (answer.get("value"), answer.get("user_id"), answer.get("status", "submitted"))


def _only(questions: list[str]) -> str:
    """The question that is about the label: the only one, or the one named `label`."""
    if "label" in questions and len(set(questions)) == len(questions):
        return "label"
    if len(questions) != 1:
        raise NotAnAnswer(f"{len(questions)} questions with responses where one is expected")
    return questions[0]


def _response(content: Mapping[str, object], bare_id: object, file: Source, part: object) -> Reply | None:
    assert isinstance(part, tuple)
    label, person, state = part
    if state == "draft":
        return None
    if not isinstance(state, str) or state not in _VERDICTS:
        raise NotAnAnswer(f"a response's status is {state!r}, not submitted, draft or discarded")
    verdict = _VERDICTS[state]
    return reply(
        content,
        file,
        tool="argilla",
        label=label if verdict == "accept" else None,
        answer=verdict,
        person=person,
        bare_id=bare_id,
    )
