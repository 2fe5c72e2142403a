"""Reading the rounds: which answers were given to which batch, with file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
    FORGOTTEN,
    MERGED,
    batch_folders,
    merged_folders,
    number_of,
    read_frozen,
    root_of,
    round_folders,
)
from stages.answers.scheme import (
    BY_NAME,
    Change,
    changes_of,
    changes_since,
    meaning,
    names_ever,
    require_known_names,
)
from stages.contract.canonical import Row, numbered_rows, read_json, read_jsonl, sha256
from stages.contract.errors import PipelineError, closest
from stages.contract.params import Params

Line = tuple[str, int]  # file and line number
RoundRow = TypeVar("RoundRow", Asked, Event, Verdict, GoldAnswer, GoldLine, Planted)
CORRECTIONS = "corrections.jsonl"
RETIRED = (
    "put the old name back and say what became of it: `rounds labels rename|merge|split|retire` "
    "(docs/changes.md); new names may be added by hand"
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
    known: int

    def known_by(self, label: str | None) -> int:
        """How many changes of the labels whoever gave a label knew: those that the batch knew.

        BY_NAME where the batch did not offer the label, and the project does, or did in between.
        """
        return self.known if label is None or label in self.labels else BY_NAME


def _questions(folder: Path, tasks: list[Row], labels: list[str]) -> _Questions:
    return _Questions(finder(tasks), offered(tasks) or labels, changes_known(folder))


def changes_known(folder: Path) -> int:
    """How many changes of the labels had been made when a round's batch was made."""
    path = folder / "manifest.json"
    manifest = read_json(path) if path.is_file() else {}
    number = manifest.get("scheme", 0) if isinstance(manifest, dict) else 0
    return number if isinstance(number, int) else 0


def answers_of(
    folder: Path, batch: str, tasks: list[Row], labels: list[str]
) -> list[tuple[Answer, Line]]:
    """Every answer ever given in a round, each with the id it is about, its file and its line.

    Answers that came late to earlier batches are among them. Raises PipelineError at file:line for
    a malformed row, a batch that is neither the round's nor an earlier one's, an id that was not
    asked in it, a label that is neither one of `labels` nor one that the batch offered.
    """
    batches = {batch: _questions(folder, tasks, labels)}
    answers: list[tuple[Answer, Line]] = []
    for path in sorted((folder / "answers").glob("*.jsonl")):
        for number, row in numbered_rows(path):
            where = f"{path}:{number}"
            answer = _answer_at(row, labels, where)
            answered = batch if answer.batch is None else answer.batch
            if answered not in batches:
                earlier = _earlier_round(folder, answered, batch, where)
                batches[answered] = _questions(earlier, _tasks_of(earlier), labels)
            questions = batches[answered]
            if questions.labels != labels:
                # Of two labels a rejected one means the other one that was offered.
                answer = _answer_at(row, questions.labels, where)
            item = questions.find(answer)
            if item is None:
                raise _not_asked(answer, folder, where)
            if answer.label is not None:
                check_label(answer.label, [*labels, *questions.labels], where)
            dated = replace(answer, id=item, known=questions.known_by(answer.label))
            answers.append((dated, (path.as_posix(), number)))
    return answers


def _answer_at(row: Row, labels: list[str], where: str) -> Answer:
    try:
        return read_answer(row, labels)
    except NotAnAnswer as reason:
        remedy = "repair the row at its source and collect again"
        raise PipelineError(where, str(reason), remedy) from reason


def _tasks_of(folder: Path) -> list[Row]:
    return read_jsonl(folder / "asked.jsonl")


def _earlier_round(folder: Path, answered: str, batch: str, where: str) -> Path:
    """The folder of the round whose batch is `answered`; raises PipelineError without one."""
    for earlier in batch_folders(root_of(folder)):
        if number_of(earlier) > number_of(folder):
            break
        manifest = read_json(earlier / "manifest.json")
        if isinstance(manifest, dict) and manifest.get("batch_id") == answered:
            return earlier
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


def import_round(folder: Path, params: Params, scheme: Sequence[Change] = ()) -> Imported | None:
    """The tables' rows of one round, or None while nobody has answered and nobody has closed it.

    scheme: the changes of the labels; labels are those that theirs mean today. Raises PipelineError
    for what is not as it was issued, for bad rows, and for a link, whose rows git does not hold.
    """
    _refuse_links(folder)
    manifest, batch, tasks = read_frozen(folder)
    identity: str = manifest["batch_id"]
    labels = names_ever(params.labels, scheme)
    answers = answers_of(folder, identity, tasks, labels)
    people = _people_of(batch, to_batch(answers, identity), forgotten_in(tasks))
    closed = (folder / "closed.json").is_file()
    # Answers that came late to an earlier batch do not begin a round. One of which all is forgotten
    # is over.
    if people and not any(people.values()) and not closed:
        return None
    number = int(folder.name)
    wanted = params.surface.annotations_per_item
    answered = sum(len(names) >= wanted for names in people.values())
    row: AnsweredRound = {
        "round": number,
        "batch_id": identity,
        "asked": len(people),
        "answered": answered,
        "state": _state(answered == len(people), closed),
    }
    events = events_of(folder, params, scheme)
    known = known_answers(rows_asked(folder)) | _known_earlier(folder, identity, answers)
    frozen = read_rows(folder / "verdicts.jsonl", Doubt)
    every = rows_asked(folder)
    later = scheme[changes_known(folder) :]
    return Imported(
        rounds=[row],
        asked=[asked for asked in every if not is_gold(asked)],
        events=[event for event in events if event["id"] not in known],
        verdicts=[verdict_today(number, doubt, later) for doubt in frozen],
        checked=[
            gold_answer(event, _known_today(known[event["id"]], event, scheme))
            for event in events
            if event["id"] in known
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


def events_of(folder: Path, params: Params, scheme: Sequence[Change] = ()) -> list[Event]:
    """The answers and corrections of a round and of the rounds merged into it.

    Their labels are those that theirs mean today.

    An answer to a merged round's batch is `late`: it answers nothing that this round asks. Of two
    answers of a person about an id the later one counts, this round's where a time is missing.
    """
    number = int(folder.name)
    labels = names_ever(params.labels, scheme)
    own = under_todays_labels(_events_of_one(folder, number, labels), scheme)
    events: list[Event] = []
    for merged in merged_folders(folder):
        before = _rows_merged_before(merged, number)
        said = under_todays_labels(_events_of_one(merged, number, labels), scheme)
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


def _events_of_one(folder: Path, number: int, labels: list[str]) -> list[Event]:
    """The current answers and the corrections of one batch's folder."""
    manifest, _, tasks = read_frozen(folder)
    batch: str = manifest["batch_id"]
    answers = answers_of(folder, batch, tasks, labels)
    corrections = corrections_of(folder, acceptable(tasks, labels), number)
    return _events(number, batch, answers, corrections)


def _known_today(known: str, event: Event, scheme: Sequence[Change]) -> str:
    """What a known answer means today; where its class was split, any part of it is right."""
    now = meaning(known, changes_of(known, scheme))
    return str(event["label"]) if event["label"] in now.among else now.label


def _gold_today(line: GoldLine, scheme: Sequence[Change]) -> GoldLine:
    """A line about a gold row, its answer as of today; none where its class is gone or split."""
    if line["label"] is None:
        return line
    now = meaning(line["label"], changes_of(line["label"], scheme))
    return {**line, "label": None if now.among or now.retired else now.label}


def _known_earlier(folder: Path, batch: str, answers: list[tuple[Answer, Line]]) -> dict[str, str]:
    """The known answers of gold rows of earlier batches that answers came late to, by id."""
    late = {answer.batch for answer, _ in answers} - {None, batch}
    known: dict[str, str] = {}
    for earlier in batch_folders(root_of(folder)) if late else ():
        if read_json(earlier / "manifest.json")["batch_id"] in late:
            known |= known_answers(read_rows(earlier / "batch.jsonl", Asked))
    return known


def forgotten_in(tasks: Iterable[Row]) -> set[str]:
    """The ids of a batch's tasks that were forgotten."""
    return {str(task["al_id"]) for task in tasks if task.get(FORGOTTEN)}


def _refuse_links(folder: Path) -> None:
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.is_symlink():
            what = "a symbolic link, whose rows git does not hold"
            raise PipelineError(path, what, "put the file itself there")


def _people_of(
    batch: list[Asked], answers: list[tuple[Answer, Line]], gone: Collection[str]
) -> dict[str, set[str]]:
    """Who answered each row of a batch that is not gone; who took an answer back did not."""
    people: dict[str, set[str]] = {row["id"]: set() for row in batch}
    for answer, _ in keep_last(answers):
        people[str(answer.id)].add(answer.annotator)
    return {item: names for item, names in people.items() if item not in gone}


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
            "known": answer.known,
        }
        events.append(event)
    return events + [correction.event for correction in corrections]


def import_labels(root: Path, params: Params, scheme: Sequence[Change] = ()) -> Imported:
    """All rounds that anyone has answered, in order, under today's ids and today's labels.

    Raises PipelineError where people gave labels that params.labels has no more.
    """
    require_known_names(params.labels, scheme)
    tables = Imported([], [], [], [])
    record = read_changed(root)
    for folder in round_folders(root):
        imported = import_round(folder, params, scheme)
        if imported is not None:
            tables.rounds.extend(imported.rounds)
            tables.asked.extend(with_earlier_ids(imported.asked, record))
            tables.events.extend(under_todays_ids(imported.events, record))
            tables.verdicts.extend(under_todays_ids(imported.verdicts, record))
            tables.checked.extend(under_todays_ids(imported.checked, record))
            tables.planted.extend(under_todays_ids(imported.planted, record))
    gold = [_gold_today(line, scheme) for line in read_gold(root)]
    tables.gold.extend(under_todays_ids(gold, record))
    require_todays_labels(tables.events, params.labels)
    return tables


def under_todays_labels(events: Iterable[Event], scheme: Sequence[Change]) -> list[Event]:
    """Events of any rounds with the labels that theirs mean now; without the column `known`."""
    today: list[Event] = []
    for event in events:
        row: Event = {**event}
        known = row.pop("known", 0)
        if row["label"] is not None:
            now = meaning(row["label"], _later_than(row, known, scheme))
            row["label"] = now.label
            if now.among:
                row["among"] = list(now.among)
            if now.retired:
                row["retired"] = now.retired
        today.append(row)
    return today


def _later_than(event: Event, known: int, scheme: Sequence[Change]) -> Sequence[Change]:
    """The changes of the labels after an event.

    An answer knew those that its batch knew; a correction those before its line.
    """
    line = _correction_line(event)
    if not line:
        return changes_since(str(event["label"]), known, scheme)
    number = event["round"]
    return [
        change
        for change in scheme
        if number < change.round or (number == change.round and line <= change.corrections)
    ]


def verdict_today(number: int, doubt: Doubt, later: Sequence[Change]) -> Verdict:
    """A doubt that was frozen with a round's batch, with the labels that its own mean now.

    later: the changes of the labels since.
    """
    now = meaning(doubt["label"], later)
    suggested = meaning(doubt["suggested"], later).label
    row: Verdict = {"round": number, **doubt, "label": now.label, "suggested": suggested}
    if now.among:
        row["among"] = list(now.among)
    return row


def retired(events: Iterable[Event], labels: Collection[str]) -> dict[str, int]:
    """Labels of answers and corrections that params.labels lacks, each with its count, sorted."""
    names = (row["label"] for row in events if row["label"] is not None and not row.get("retired"))
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
