"""Reading the rounds: which answers were given to which batch, with file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar, cast

from stages.answers.changed import ids_since, read_changed, renamed
from stages.answers.gold import gold_answer, is_gold, known_answers, read_gold
from stages.answers.ledger import (
    AFTER,
    BEFORE,
    CORRECTION,
    AnsweredRound,
    Asked,
    Doubt,
    Event,
    EventKind,
    GoldAnswer,
    GoldLine,
    Planted,
    RoundState,
    Verdict,
    check_label,
    read_rows,
)
from stages.answers.prodigy import (
    Answer,
    NotAnAnswer,
    acceptable,
    finder,
    keep_last,
    offered,
    read_answer,
)
from stages.answers.rounds import (
    MERGED,
    batch_folders,
    merged_folders,
    number_of,
    read_frozen,
    root_of,
    round_folders,
)
from stages.contract.canonical import Row, numbered_rows, read_json, read_jsonl, sha256
from stages.contract.errors import PipelineError, closest
from stages.contract.params import Params

Line = tuple[str, int]  # file and line number
RoundRow = TypeVar("RoundRow", Asked, Event, Verdict, GoldAnswer, GoldLine, Planted)
CORRECTIONS = "corrections.jsonl"
RETIRED = (
    "put the old name back: answers are never rewritten, so a label keeps the name under which "
    "it was given; new names may be added"
)


@dataclass(frozen=True)
class Imported:
    """The tables of build/labels; planted, checked: gold rows, and the answers to them."""

    rounds: list[AnsweredRound]
    asked: list[Asked]
    events: list[Event]
    verdicts: list[Verdict]
    checked: list[GoldAnswer] = field(default_factory=list)
    planted: list[Planted] = field(default_factory=list)
    gold: list[GoldLine] = field(default_factory=list)


@dataclass(frozen=True)
class Correction:
    """A correction, and the fingerprints of the answers before it; None where it names none."""

    event: Event
    after: list[str] | None


@dataclass(frozen=True)
class _Questions:
    """A batch that answers may be about: the id that an answer is about, and the labels offered."""

    find: Callable[[Answer], str | None]
    labels: list[str]


def _questions(tasks: list[Row], labels: list[str]) -> _Questions:
    return _Questions(finder(tasks), offered(tasks) or labels)


def answers_of(
    folder: Path, batch: str, tasks: list[Row], labels: list[str]
) -> list[tuple[Answer, Line]]:
    """Every answer ever given in a round, each with the id it is about, its file and its line.

    Answers that came late to earlier batches are among them. Raises PipelineError at file:line for
    a malformed row, a batch that is neither the round's nor an earlier one's, an id that was not
    asked in it, a label that is neither one of `labels` nor one that the batch offered.
    """
    batches = {batch: _questions(tasks, labels)}
    answers: list[tuple[Answer, Line]] = []
    for path in sorted((folder / "answers").glob("*.jsonl")):
        for number, row in numbered_rows(path):
            where = f"{path}:{number}"
            answer = _answer_at(row, labels, where)
            answered = batch if answer.batch is None else answer.batch
            if answered not in batches:
                earlier = _earlier_tasks(folder, answered, batch, where)
                batches[answered] = _questions(earlier, labels)
            questions = batches[answered]
            if questions.labels != labels:
                # Of two labels a rejected one means the other one that was offered.
                answer = _answer_at(row, questions.labels, where)
            item = questions.find(answer)
            if item is None:
                raise _not_asked(answer, folder, where)
            if answer.label is not None:
                check_label(answer.label, [*labels, *questions.labels], where)
            answers.append((replace(answer, id=item), (path.as_posix(), number)))
    return answers


def _answer_at(row: Row, labels: list[str], where: str) -> Answer:
    try:
        return read_answer(row, labels)
    except NotAnAnswer as reason:
        remedy = "repair the row at its source and collect again"
        raise PipelineError(where, str(reason), remedy) from reason


def _earlier_tasks(folder: Path, answered: str, batch: str, where: str) -> list[Row]:
    """What the earlier round asked whose batch is `answered`; raises PipelineError without one."""
    for earlier in batch_folders(root_of(folder)):
        if number_of(earlier) > number_of(folder):
            break
        manifest = read_json(earlier / "manifest.json")
        if isinstance(manifest, dict) and manifest.get("batch_id") == answered:
            return read_jsonl(earlier / "asked.jsonl")
    what = f"answers batch {answered[:12]}, round {folder.name} asked batch {batch[:12]}"
    raise PipelineError(where, what, "move the row to the round that asked it")


def _not_asked(answer: Answer, folder: Path, where: str) -> PipelineError:
    shown = f"id {answer.id!r}" if answer.id else f"content {(answer.text or '')[:40]!r}"
    return PipelineError(where, f"{shown} was not asked in round {folder.name}", "remove the row")


def to_batch(answers: Iterable[tuple[Answer, Line]], batch: str) -> list[tuple[Answer, Line]]:
    """The answers to a batch itself, without those that came late to an earlier one."""
    return [(answer, line) for answer, line in answers if answer.batch in (None, batch)]


def corrections_of(
    folder: Path, labels: list[str], round_number: int | None = None
) -> list[Correction]:
    """The last correction of each id in corrections.jsonl, and the withdrawals, sorted by id.

    Its kind is override, or retract where the label is null; withdraw where the row names an
    annotator, whose answers alone are void then: of these the last of each id and annotator.
    round_number: the round in which they count, by default the folder's. Raises PipelineError at
    file:line for a row that is not {"id", "label", "was", "why", "by"}, or an unknown label.
    """
    path = folder / CORRECTIONS
    last: dict[tuple[str, str], Correction] = {}
    for number, row in numbered_rows(path) if path.is_file() else ():
        _check_correction(row, labels, f"{path}:{number}")
        whose = row.get("annotator", "")
        event: Event = {
            "round": int(folder.name) if round_number is None else round_number,
            "id": row["id"],
            "annotator": whose or row["by"],
            "kind": _kind_of(row),
            "label": row["label"],
            "flagged": False,
            "at": None,
            "file": path.as_posix(),
            "line": number,
            "late": False,
            "order": CORRECTION,
        }
        if whose:
            event["since"] = row["since"]
        last[row["id"], whose] = Correction(event, row.get("after"))
    return [last[key] for key in sorted(last)]


def _kind_of(row: Row) -> EventKind:
    """What a correction does: to the id's label, or to one annotator's answers about the id."""
    if row.get("annotator"):
        return "withdraw"
    return "retract" if row["label"] is None else "override"


def _check_correction(row: Row, labels: list[str], where: str) -> None:
    remedy = "write it with `rounds correct` or `rounds retract`"
    if not _are_fingerprints(row.get("after")):
        what = "`after` is a list of fingerprints of the answers before the correction"
        raise PipelineError(where, what, remedy)
    cells = {key: row.get(key) for key in ("id", "label", "was", "why", "by")}
    all_text = all(value is None or isinstance(value, str) for value in cells.values())
    complete = "label" in row and all(cells[key] for key in ("id", "why", "by"))
    if not all_text or not complete:
        what = (
            'a correction is {"id", "label" (null to retract), "was", "why", "by"}, '
            "all of them text"
        )
        raise PipelineError(where, what, remedy)
    if "annotator" in row and not _is_withdrawal(row):
        what = "a withdrawal names an `annotator`, the round `since` which, and a null `label`"
        raise PipelineError(where, what, remedy)
    if row["label"] is not None:
        check_label(row["label"], labels, where)


def _is_withdrawal(row: Row) -> bool:
    since = row.get("since")
    is_round = isinstance(since, int) and not isinstance(since, bool) and since > 0
    names_somebody = isinstance(row["annotator"], str) and bool(row["annotator"])
    return is_round and names_somebody and row["label"] is None


def _are_fingerprints(after: object) -> bool:
    """Whether a correction's `after` is missing, or a list of texts."""
    if after is None:
        return True
    return isinstance(after, list) and all(isinstance(mark, str) for mark in after)


def fingerprint(line: Line) -> str:
    """The first 16 digits of the SHA-256 of an answer's row: the same in a file renamed since."""
    file, number = line
    return sha256(Path(file).read_bytes().split(b"\n")[number - 1])[:16]


def answers_before(
    answers: Iterable[tuple[Answer, Line]], item: str, annotator: str | None = None
) -> list[str]:
    """Fingerprints of a round's answer rows about an id: what a correction made now comes after.

    annotator: of this person's rows alone.

    Rows are named, not times: the clocks of two machines differ, and some answers have no time.
    """
    theirs = [(answer, line) for answer, line in answers if annotator in (None, answer.annotator)]
    return sorted(fingerprint(line) for answer, line in theirs if answer.id == item)


Before = dict[tuple[str, str], list[str]]


def _named_before(corrections: Iterable[Correction]) -> Before:
    """The fingerprints that corrections name, by id and annotator; "" for everybody's answers."""
    return {
        (row.event["id"], row.event["annotator"] if row.event["kind"] == "withdraw" else ""): (
            row.after
        )
        for row in corrections
        if row.after is not None
    }


def _order(answer: Answer, line: Line, after: Before) -> int:
    """Whether an answer stands before or after the correction of its id: BEFORE or AFTER.

    It is after where neither a correction of the id nor a withdrawal of this person's answers names
    it, and there is one. after: see `_named_before` (`order` of an Event).
    """
    item = str(answer.id)
    named = [after[key] for key in ((item, ""), (item, answer.annotator)) if key in after]
    if named and not any(fingerprint(line) in marks for marks in named):
        return AFTER
    return BEFORE


def _after_corrections(
    answers: list[tuple[Answer, Line]], after: Before
) -> list[tuple[Answer, Line]]:
    """The answers without those that a person gave before a correction and repeated after it.

    The clocks of two machines differ, so times alone could let the earlier answer win.
    """
    later = [(answer, line) for answer, line in answers if _order(answer, line, after) == AFTER]
    repeated = {(answer.id, answer.annotator) for answer, _ in later}
    kept = [
        (answer, line) for answer, line in answers if (answer.id, answer.annotator) not in repeated
    ]
    return kept + later


def import_round(folder: Path, params: Params) -> Imported | None:
    """The tables' rows of one round, or None while nobody has answered and nobody has closed it.

    Raises PipelineError for what is not as it was issued, for bad rows, and for a link, whose rows
    git does not hold.
    """
    _refuse_links(folder)
    manifest, batch, tasks = read_frozen(folder)
    identity: str = manifest["batch_id"]
    answers = answers_of(folder, identity, tasks, params.labels)
    people = _people_of(batch, to_batch(answers, identity))
    closed = (folder / "closed.json").is_file()
    # Answers that came late to an earlier batch do not begin a round.
    if not any(people.values()) and not closed:
        return None
    number = int(folder.name)
    wanted = params.surface.annotations_per_item
    answered = sum(len(names) >= wanted for names in people.values())
    row: AnsweredRound = {
        "round": number,
        "batch_id": identity,
        "asked": len(batch),
        "answered": answered,
        "state": _state(answered == len(batch), closed),
    }
    events = events_of(folder, params)
    known = known_answers(rows_asked(folder)) | _known_earlier(folder, identity, answers)
    frozen = read_rows(folder / "verdicts.jsonl", Doubt)
    every = rows_asked(folder)
    return Imported(
        rounds=[row],
        asked=[asked for asked in every if not is_gold(asked)],
        events=[event for event in events if event["id"] not in known],
        verdicts=[{"round": number, **doubt} for doubt in frozen],
        checked=[
            gold_answer(event, known[event["id"]]) for event in events if event["id"] in known
        ],
        planted=[{"id": asked["id"], "round": number} for asked in every if is_gold(asked)],
    )


def rows_asked(folder: Path) -> list[Asked]:
    """What a round asked, after what was asked in the rounds that were merged into it.

    The rows of merged rounds count as asked in this one, since what people said there was not known
    here before.
    """
    number = int(folder.name)
    folders = (*merged_folders(folder), folder)
    batches = (read_rows(path / "batch.jsonl", Asked) for path in folders)
    return [{**row, "round": number} for batch in batches for row in batch]


def events_of(folder: Path, params: Params) -> list[Event]:
    """The answers and corrections of a round and of the rounds merged into it.

    An answer to a merged round's batch is `late`: it answers nothing that this round asks. Of two
    answers of a person about an id the later one counts, this round's where a time is missing.
    """
    number = int(folder.name)
    own = _events_of_one(folder, number, params)
    events: list[Event] = []
    for merged in merged_folders(folder):
        before = _rows_merged_before(merged, number)
        said = _events_of_one(merged, number, params)
        events += [{**event, "late": True} for event in said if _raw(event) not in before]
    if not events:
        return own
    last: dict[tuple[str, str], Event] = {}
    corrections: list[Event] = []
    for event in (*events, *own):
        key = event["id"], event["annotator"]
        if event["order"] == CORRECTION:
            corrections.append(event)
        elif key not in last or not _is_later(last[key], event):
            last[key] = event
    return [*(last[key] for key in sorted(last)), *corrections]


def _is_later(one: Event, other: Event) -> bool:
    """Whether one answer has a later time than another; False where either has none."""
    at = one["at"]
    than = other["at"]
    return at is not None and than is not None and at > than


def _rows_merged_before(merged: Path, number: int) -> set[bytes]:
    """The rows of a merged round that an earlier merge had brought already."""
    rows: set[bytes] = set()
    for folder in round_folders(root_of(merged)):
        twin = folder / MERGED / merged.name
        if int(folder.name) < number and twin.is_dir():
            files = [*twin.glob("answers/*.jsonl"), *twin.glob(CORRECTIONS)]
            rows.update(line for file in files for line in file.read_bytes().split(b"\n"))
    return rows


def _raw(event: Event) -> bytes:
    """The row that an event was read from."""
    return Path(event["file"]).read_bytes().split(b"\n")[event["line"] - 1]


def _events_of_one(folder: Path, number: int, params: Params) -> list[Event]:
    """The current answers and the corrections of one batch's folder."""
    manifest, _, tasks = read_frozen(folder)
    batch: str = manifest["batch_id"]
    answers = answers_of(folder, batch, tasks, params.labels)
    corrections = corrections_of(folder, acceptable(tasks, params.labels), number)
    return _events(number, batch, answers, corrections)


def _known_earlier(folder: Path, batch: str, answers: list[tuple[Answer, Line]]) -> dict[str, str]:
    """The known answers of gold rows of earlier batches that answers came late to, by id."""
    late = {answer.batch for answer, _ in answers} - {None, batch}
    known: dict[str, str] = {}
    for earlier in batch_folders(root_of(folder)) if late else ():
        if read_json(earlier / "manifest.json")["batch_id"] in late:
            known |= known_answers(read_rows(earlier / "batch.jsonl", Asked))
    return known


def _refuse_links(folder: Path) -> None:
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.is_symlink():
            what = "a symbolic link, whose rows git does not hold"
            raise PipelineError(path, what, "put the file itself there")


def _people_of(batch: list[Asked], answers: list[tuple[Answer, Line]]) -> dict[str, set[str]]:
    """Who answered each row of a batch; who took an answer back did not."""
    people: dict[str, set[str]] = {row["id"]: set() for row in batch}
    for answer, _ in keep_last(answers):
        people[str(answer.id)].add(answer.annotator)
    return people


def _state(complete: bool, closed: bool) -> RoundState:
    if complete:
        return "accepted"
    return "partial" if closed else "open"


def _events(
    number: int, batch: str, answers: list[tuple[Answer, Line]], corrections: list[Correction]
) -> list[Event]:
    """The current answers of a round, each person's last word on an id, then the corrections."""
    after = _named_before(corrections)
    events: list[Event] = []
    for answer, (file, line) in keep_last(_after_corrections(answers, after)):
        event: Event = {
            "round": number,
            "id": str(answer.id),
            "annotator": answer.annotator,
            "kind": cast(EventKind, answer.kind),  # keep_last leaves out what was undone
            "label": answer.label,
            "flagged": answer.flagged,
            "at": answer.at,
            "file": file,
            "line": line,
            "late": answer.batch not in (None, batch),
            "order": _order(answer, (file, line), after),
        }
        events.append(event)
    return events + [correction.event for correction in corrections]


def import_labels(root: Path, params: Params) -> Imported:
    """All rounds that anyone has answered, in order, under today's ids."""
    tables = Imported([], [], [], [])
    record = read_changed(root)
    for folder in round_folders(root):
        imported = import_round(folder, params)
        if imported is not None:
            tables.rounds.extend(imported.rounds)
            tables.asked.extend(with_earlier_ids(imported.asked, record))
            tables.events.extend(under_todays_ids(imported.events, record))
            tables.verdicts.extend(under_todays_ids(imported.verdicts, record))
            tables.checked.extend(under_todays_ids(imported.checked, record))
            tables.planted.extend(under_todays_ids(imported.planted, record))
    tables.gold.extend(under_todays_ids(read_gold(root), record))
    require_todays_labels(tables.events, params.labels)
    return tables


def retired(events: Iterable[Event], labels: Collection[str]) -> dict[str, int]:
    """Labels of answers and corrections that params.labels lacks, each with its count, sorted."""
    names = (row["label"] for row in events if row["label"] is not None)
    return dict(sorted(Counter(name for name in names if name not in labels).items()))


def retired_words(counts: Mapping[str, int], labels: Collection[str]) -> str:
    """What is wrong, for a person: `'spam' of 12 answers is not in it (did you mean …?)`."""
    words = [
        f"{label!r} of {count} {'answer' if count == 1 else 'answers'}{closest(label, labels)}"
        for label, count in counts.items()
    ]
    return f"it lacks {', '.join(words)}"


def require_todays_labels(events: Iterable[Event], labels: Collection[str]) -> None:
    """Raises PipelineError where people gave labels that params.labels has no more."""
    counts = retired(events, labels)
    if counts:
        raise PipelineError("params.yaml labels", retired_words(counts, labels), RETIRED)


def with_earlier_ids(asked: list[Asked], record: list[Row]) -> list[Asked]:
    """What a round asked under today's ids; where ids moved since, `ids` has all of each row's ids.

    The control arm walks along a permutation of ids, so it is judged by the ids of its time
    (stages/answers/arms.py).
    """
    rows: list[Asked] = []
    for row in asked:
        ids = ids_since(row["id"], row["round"], record)
        if ids[-1] is None:  # it left the pool
            continue
        today: Asked = {**row, "id": ids[-1]}
        if len(ids) > 1:
            today["ids"] = [item for item in ids if item is not None]
        rows.append(today)
    return rows


def under_todays_ids(rows: list[RoundRow], record: list[Row]) -> list[RoundRow]:
    """Rows of a round with the ids that their contents have now, without what left the pool."""
    today: list[RoundRow] = []
    for row in rows:
        item = renamed(row["id"], row["round"], record, _correction_line(row))
        if item is not None:
            today.append({**row, "id": item})
    return today


def _correction_line(row: Mapping[str, object]) -> int:
    """The line of corrections.jsonl that an event stands in; 0 for any other row."""
    line = row.get("line")
    is_correction = str(row.get("file", "")).endswith(f"/{CORRECTIONS}")
    return line if is_correction and isinstance(line, int) else 0
