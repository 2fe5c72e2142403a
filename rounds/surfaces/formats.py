"""Answer files of every tool, read as db-out rows: which format it is, and row by row what it says.

A row that cannot be read is an item with a reason, never an exception and never silence: every row of the
file comes out as at least one item (as several where one row holds the answers of several people).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from stages import _prodigy
from stages._canonical import Row, dumps
from stages._errors import PipelineError
from stages._prodigy import NotAnAnswer, Verdict

csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class Item:
    """One answer of a file: its line (or element number) and raw row; then the db-out row, or why there is none.

    Neither row nor reason: nobody has answered this row.
    """

    line: int
    raw: object
    row: Row | None
    why: str = ""


Numbered = tuple[int, object, str]  # line, raw row, fault
Told = Row | NotAnAnswer | None  # a db-out row, why there is none, or nothing: nobody has answered
_COLUMNS = ("id", "label", "annotator", "timestamp", "answer", "batch")  # of a CSV


def read(source: Path, data: bytes, forced: str | None = None) -> tuple[str, list[Item]]:
    """The format's name and the items of a file, recognised by its content unless `forced`.

    Raises PipelineError when no row looks like a known format.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise PipelineError(source, "UTF-16, UTF-8 was expected", "save it as UTF-8")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if forced == "csv" or (forced is None and data.lstrip()[:1] not in (b"{", b"[")):
        header, rows = _csv_rows(data)
        twice = [name for name in _COLUMNS if header.count(name) > 1]
        if twice:
            raise PipelineError(source, f"two columns `{twice[0]}`", "name one of them otherwise")
        name = "csv" if forced or {"id", "label"} <= set(header) else None
    else:
        header, rows = [], _json_rows(data)
        name = forced or next((sign for sign, is_it in _SIGNS.items() if any(is_it(raw) for _, raw, _ in rows)), None)
    if name is None:
        what = "no row looks like an answer of a known tool" if rows or header else "the file has no rows"
        raise PipelineError(source, what, f"name it: --format {'|'.join(READERS)}")
    reader, items = READERS[name], []
    for line, raw, fault in rows:
        if fault or not isinstance(raw, dict):
            items.append(Item(line, raw, None, fault or f"an object was expected, found {type(raw).__name__}"))
            continue
        try:
            told = reader(raw, source)
            items += [Item(line, raw, None, str(a)) if isinstance(a, NotAnAnswer) else Item(line, raw, a) for a in told]
        except NotAnAnswer as reason:
            items.append(Item(line, raw, None, str(reason)))
    return name, items


def _json_rows(data: bytes) -> list[Numbered]:
    """JSON lines, or the elements of one JSON array."""
    if data.lstrip()[:1] == b"[":
        try:
            whole = json.loads(data)
            if isinstance(whole, list):
                return [(number, raw, _too_deep(raw)) for number, raw in enumerate(whole, start=1)]
        except (ValueError, RecursionError):
            pass  # lines, then, of which the first begins with a bracket
    rows: list[Numbered] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            rows.append((number, raw, _too_deep(raw)))
        except (ValueError, RecursionError) as error:
            rows.append((number, line.decode("utf-8", "backslashreplace"), f"not JSON ({_first_line(error)})"))
    return rows


def _too_deep(raw: object) -> str:
    try:
        dumps(raw)
    except RecursionError:
        return "nested too deeply"
    return ""


def _csv_rows(data: bytes) -> tuple[list[str], list[Numbered]]:
    """The header, and the rows: cells as the strings they are ("007", "NA"); a row with a fault comes as its text.

    Cells are parted by whichever of comma, semicolon (spreadsheets in much of Europe) and tab the header has most of.
    """
    lines = list(io.StringIO(data.decode("utf-8", "surrogateescape"), newline=""))
    parting = max(",;\t", key=next((line for line in lines if line.strip()), "").count)
    reader, header, rows = csv.reader(iter(lines), delimiter=parting, strict=True), list[str](), list[Numbered]()
    while True:
        line, cells, fault = reader.line_num + 1, list[str](), ""
        try:
            cells = next(reader)
        except StopIteration:
            return header, rows
        except csv.Error as error:
            fault = f"not valid CSV ({error})"
        raw = "".join(lines[line - 1 : reader.line_num])
        if not header and cells:
            header = [name.strip().casefold() for name in cells]
            continue
        if not fault and not cells:
            continue
        if not fault and len(cells) != len(header):
            fault = f"{len(cells)} cells where the header has {len(header)}"
        if not fault and any("\udc80" <= sign <= "\udcff" for sign in raw):
            fault = "not UTF-8"
        rows.append((line, raw if fault else dict(zip(header, cells, strict=True)), fault))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def _seconds(value: object) -> float | None:
    """Seconds since 1970 of a number or an ISO 8601 time (UTC where it names no zone). Raises NotAnAnswer."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            try:
                number = float(value)
            except ValueError:
                moment = datetime.fromisoformat(value)
                number = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
        else:
            number = math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise NotAnAnswer(f"{value!r} is not a time")
    return number


def _answer(
    content: Mapping[str, object],
    *,
    label: object,
    answer: Verdict,
    annotator: str,
    tool: str,
    at: object,
) -> Row:
    """The db-out row of another tool's answer. Raises NotAnAnswer for a label that is no text."""
    if label is not None and not isinstance(label, str):
        raise NotAnAnswer(f"label {label!r} is not a text")
    kept = {key: content[key] for key in ("al_id", "al_batch", "text", "image") if content.get(key) is not None}
    for key, value in kept.items():
        if not isinstance(value, str):
            raise NotAnAnswer(f"{key} is {value!r}, not a text")
    name = annotator or _prodigy.ANONYMOUS
    return _prodigy.answer_row(kept, label=label, answer=answer, annotator=name, dataset=tool, at=_seconds(at))


def _single(labels: object) -> str | None:
    """The one label of a list, None of an empty one. Raises NotAnAnswer for two."""
    if not isinstance(labels, list):
        raise NotAnAnswer(f"labels are {labels!r}, not a list")
    if len(labels) > 1:
        raise NotAnAnswer(f"{len(labels)} labels ({', '.join(map(str, labels))}) where one is asked for")
    if labels and not isinstance(labels[0], str):
        raise NotAnAnswer(f"label {labels[0]!r} is not a text")
    return labels[0] if labels else None


def _each(read_one: Callable[[object], Row | None], parts: Sequence[object]) -> list[Told]:
    """What several people said in one row, each read on its own: one's fault is not another's."""
    told: list[Told] = []
    for part in parts:
        try:
            told.append(read_one(part))
        except NotAnAnswer as reason:
            told.append(reason)
    return told or [None]


def from_prodigy(raw: Row, _: Path) -> list[Told]:
    """A db-out row is what it is."""
    return [raw]


def from_label_studio(raw: Row, _: Path) -> list[Told]:
    """A task of the JSON export: one row per annotation, skips (was_cancelled) included."""
    data, annotations = raw.get("data"), raw.get("annotations")
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise NotAnAnswer("it has no `data` and `annotations`: export as JSON, not as JSON_MIN")
    return _each(partial(_annotation, data), annotations)


def _annotation(data: Row, annotation: object) -> Row:
    results = annotation.get("result") if isinstance(annotation, dict) else None
    if not isinstance(annotation, dict) or not isinstance(results, list):
        raise NotAnAnswer("an annotation has no list `result`")
    chosen: list[object] = []
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list):
            raise NotAnAnswer("a result has no `choices`")
        chosen.extend(choices)
    skipped = annotation.get("was_cancelled") is True
    person = annotation.get("completed_by")
    name = person.get("email") or person.get("id") if isinstance(person, dict) else person
    return _answer(
        data,
        label=None if skipped else _single(chosen),
        answer="ignore" if skipped else "accept",
        annotator="" if name is None else str(name),
        tool="labelstudio",
        at=annotation.get("updated_at") or annotation.get("created_at"),
    )


def from_doccano(raw: Row, source: Path) -> list[Told]:
    """A line of doccano's JSONL, one file per annotator; the id there is doccano's own, so the text matters."""
    label = _single(raw.get("label", raw.get("labels")))
    if label is None:
        return [None]
    return [_answer(raw, label=label, answer="accept", annotator=source.stem, tool="doccano", at=None)]


def from_argilla(raw: Row, _: Path) -> list[Told]:
    """A record of Argilla's flattened export: one row per response, told by its status."""
    questions = [key.removesuffix(".responses") for key in raw if key.endswith(".responses")]
    if len(questions) != 1:
        raise NotAnAnswer(f"{len(questions)} questions with responses where one is expected")
    said, people, status = (raw.get(f"{questions[0]}.responses{part}") for part in ("", ".users", ".status"))
    if said is None:
        return [None]
    if not all(isinstance(part, list) and len(part) == len(said) for part in (said, people, status)):
        raise NotAnAnswer("responses, their users and their status do not belong together")
    assert isinstance(people, list)
    assert isinstance(status, list)
    item = raw.get("al_id") or raw.get("metadata.al_id") or raw.get("id")
    content = {**raw, "al_id": item, "al_batch": raw.get("al_batch") or raw.get("metadata.al_batch")}
    return _each(partial(_response, content), list(zip(said, people, status, strict=True)))


def _response(content: Row, told: tuple[object, object, object]) -> Row | None:
    label, person, state = told
    verdicts: dict[object, Verdict] = {"submitted": "accept", "discarded": "ignore"}
    if state == "draft":
        return None
    if not isinstance(state, str) or state not in verdicts:
        raise NotAnAnswer(f"a response's status is {state!r}, not submitted, draft or discarded")
    value, name = label if verdicts[state] == "accept" else None, "" if person is None else str(person)
    return _answer(content, label=value, answer=verdicts[state], annotator=name, tool="argilla", at=None)


def from_csv(raw: Row, source: Path) -> list[Told]:
    """A row id,label[,annotator,timestamp,answer]; an empty label is a skip, and "NA" is a label."""
    if "id" not in raw or "label" not in raw:
        raise NotAnAnswer("the header has no columns `id` and `label`")
    verdicts: dict[str, Verdict] = {"accept": "accept", "reject": "reject", "ignore": "ignore"}
    told = raw.get("answer") or ("accept" if raw["label"] else "ignore")
    if told not in verdicts:
        raise NotAnAnswer(f"answer is {told!r}, not accept, reject or ignore")
    verdict = verdicts[told]
    label = raw["label"] if verdict == "accept" and raw["label"] else None
    content = {"al_id": raw["id"], "al_batch": raw.get("batch") or None}
    name = raw.get("annotator") or source.stem
    return [_answer(content, label=label, answer=verdict, annotator=name, tool="csv", at=raw.get("timestamp"))]


READERS: dict[str, Callable[[Row, Path], Sequence[Told]]] = {
    "prodigy": from_prodigy,
    "label-studio": from_label_studio,
    "argilla": from_argilla,
    "doccano": from_doccano,
    "csv": from_csv,
}
_SIGNS: dict[str, Callable[[object], bool]] = {
    "prodigy": lambda raw: (
        isinstance(raw, dict) and raw.get("answer") in ("accept", "reject", "ignore") and "id" not in raw
    ),
    "label-studio": lambda raw: isinstance(raw, dict) and "annotations" in raw,
    "argilla": lambda raw: isinstance(raw, dict) and any(key.endswith(".responses") for key in raw),
    "doccano": lambda raw: isinstance(raw, dict) and isinstance(raw.get("label", raw.get("labels")), list),
}
