"""Reading the rounds: which answers were given to which batch, with file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stages.answers.changed import ids_since, read_changed, renamed
from stages.answers.ledger import check_label
from stages.answers.prodigy import (
    Answer,
    NotAnAnswer,
    acceptable,
    finder,
    keep_last,
    offered,
    read_answer,
)
from stages.answers.rounds import read_frozen, round_folders
from stages.contract.canonical import Row, numbered_rows, read_json, read_jsonl, sha256
from stages.contract.errors import PipelineError, closest
from stages.contract.params import Params

Line = tuple[str, int]
RETIRED = (
    "put the old name back: answers are never rewritten, so a label keeps the name under which it was given; "
    "new names may be added"
)
ORDER = {"before": 0, "correction": 1, "after": 2}  # of the events about an id within a round


@dataclass(frozen=True)
class Imported:
    """The four tables of build/labels."""

    rounds: list[Row]
    asked: list[Row]
    events: list[Row]
    verdicts: list[Row]


def folder_of(folder: Path, batch: str) -> Path | None:
    """The earlier round beside a round's folder that asked `batch`."""
    for one in round_folders(folder.parent):
        manifest = read_json(one / "manifest.json") if int(one.name) < int(folder.name) else None
        if isinstance(manifest, dict) and manifest.get("batch_id") == batch:
            return one
    return None


def answers_of(
    folder: Path, batch: str, tasks: list[Row], labels: list[str]
) -> list[tuple[Answer, Line]]:
    """Every answer ever given in a round, late ones to earlier batches too, with the id it is about, file and line.

    Raises PipelineError at file:line for a malformed row, a batch that is neither the round's nor
    an earlier one's, an id that was not asked in it, a label that is neither one of `labels` nor
    one that the batch offered.
    """
    finders = {batch: finder(tasks)}
    offers = {batch: offered(tasks) or labels}
    found: list[tuple[Answer, Line]] = []
    for path in sorted((folder / "answers").glob("*.jsonl")):
        for number, row in numbered_rows(path):
            where = f"{path}:{number}"
            try:
                answer = read_answer(row, labels)
            except NotAnAnswer as reason:
                raise PipelineError(
                    where, str(reason), "repair the row at its source and collect again"
                ) from reason
            asked = batch if answer.batch is None else answer.batch
            if asked not in finders:
                earlier = folder_of(folder, asked)
                if earlier is None:
                    what = (
                        f"answers batch {asked[:12]}, round {folder.name} asked batch {batch[:12]}"
                    )
                    raise PipelineError(where, what, "move the row to the round that asked it")
                earlier_tasks = read_jsonl(earlier / "asked.jsonl")
                finders[asked] = finder(earlier_tasks)
                offers[asked] = offered(earlier_tasks) or labels
            if (
                offers[asked] != labels
            ):  # a rejected one of two labels is the other one of what was offered
                answer = read_answer(row, offers[asked])
            item = finders[asked](answer)
            if item is None:
                shown = (
                    f"id {answer.id!r}" if answer.id else f"content {(answer.text or '')[:40]!r}"
                )
                raise PipelineError(
                    where, f"{shown} was not asked in round {folder.name}", "remove the row"
                )
            if answer.label is not None:
                check_label(answer.label, [*labels, *offers[asked]], where)
            found.append((replace(answer, id=item), (path.as_posix(), number)))
    return found


def to_batch(said: Iterable[tuple[Answer, Line]], batch: str) -> list[tuple[Answer, Line]]:
    """The answers to a batch itself, without those that came late to an earlier one."""
    return [(answer, line) for answer, line in said if answer.batch in (None, batch)]


def corrections_of(folder: Path, labels: list[str]) -> list[Row]:
    """The events of corrections.jsonl, one per id, sorted by id: kind override, or retract where the label is null.

    Raises PipelineError at file:line for a row that is not {"id", "label", "was", "why", "by"} or
    an unknown label.
    """
    path = folder / "corrections.jsonl"
    last: dict[str, Row] = {}
    for number, row in numbered_rows(path) if path.is_file() else ():
        where = f"{path}:{number}"
        cells = {key: row.get(key) for key in ("id", "label", "was", "why", "by")}
        if not _fingerprints(row.get("after")):
            what = "`after` is a list of fingerprints of the answers before the correction"
            raise PipelineError(where, what, "write it with `rounds correct` or `rounds retract`")
        optional = all(value is None or isinstance(value, str) for value in cells.values())
        if not optional or not all(cells[key] for key in ("id", "why", "by")) or "label" not in row:
            what = 'a correction is {"id", "label" (null to retract), "was", "why", "by"}, all of them text'
            raise PipelineError(where, what, "write it with `rounds correct` or `rounds retract`")
        if row["label"] is not None:
            check_label(row["label"], labels, where)
        last[row["id"]] = {
            "round": int(folder.name), "id": row["id"], "annotator": row["by"],
            "kind": "retract" if row["label"] is None else "override", "label": row["label"], "flagged": False,
            "at": None, "file": path.as_posix(), "line": number, "late": False, "order": ORDER["correction"],
            "after": row.get("after"),
        }  # fmt: skip
    return [last[item] for item in sorted(last)]


def _fingerprints(after: object) -> bool:
    """Whether a correction's `after` is missing, or a list of texts."""
    if after is None:
        return True
    return isinstance(after, list) and all(isinstance(mark, str) for mark in after)


def fingerprint(line: Line) -> str:
    """The first 16 digits of the SHA-256 of an answer's row: the same in a renamed or merged file."""
    file, number = line
    return sha256(Path(file).read_bytes().split(b"\n")[number - 1])[:16]


def answers_before(said: Iterable[tuple[Answer, Line]], item: str) -> list[str]:
    """Fingerprints of a round's answer rows about an id: what a correction made now comes after.

    Rows are named, not times: the clocks of two machines differ, and some answers have no time.
    """
    return sorted(fingerprint(line) for answer, line in said if answer.id == item)


def _order(answer: Answer, line: Line, after: dict[str, list[str]]) -> int:
    """Whether an answer row stands before or after the correction of its id.

    after: the fingerprints that corrections name, by id (stages/answers/ledger.py).
    """
    item = str(answer.id)
    if item in after and fingerprint(line) not in after[item]:
        return ORDER["after"]
    return ORDER["before"]


def _newest_side(
    said: list[tuple[Answer, Line]], after: dict[str, list[str]]
) -> list[tuple[Answer, Line]]:
    """The answers, but of who answered again after a correction only those after it, whatever their times."""
    after_it = [
        (answer, line) for answer, line in said if _order(answer, line, after) == ORDER["after"]
    ]
    again = {(answer.id, answer.annotator) for answer, _ in after_it}
    return [pair for pair in said if (pair[0].id, pair[0].annotator) not in again] + after_it


def import_round(folder: Path, params: Params) -> Imported | None:
    """The tables' rows of one round, or None while nobody has answered and nobody has closed it.

    Raises PipelineError for what is not as it was issued, for bad rows, and for a link, whose rows
    git does not hold.
    """
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.is_symlink():
            raise PipelineError(
                path, "a symbolic link, whose rows git does not hold", "put the file itself there"
            )
    manifest, batch, tasks = read_frozen(folder)
    said = answers_of(folder, manifest["batch_id"], tasks, params.labels)
    closed = (folder / "closed.json").is_file()
    voices: dict[str, set[str]] = {row["id"]: set() for row in batch}
    # late answers are left out before the last word is taken: one of them may be a person's last
    for answer, _ in keep_last(to_batch(said, manifest["batch_id"])):
        voices[str(answer.id)].add(answer.annotator)
    if not any(voices.values()) and not closed:  # late answers alone do not begin a round
        return None
    number = int(folder.name)
    wanted = params.surface.annotations_per_item
    answered = sum(len(names) >= wanted for names in voices.values())
    state = "partial" if closed else "open"
    if answered == len(batch):
        state = "accepted"
    facts = {
        "round": number,
        "batch_id": manifest["batch_id"],
        "asked": len(batch),
        "answered": answered,
    }
    corrections = corrections_of(folder, acceptable(tasks, params.labels))
    after = {row["id"]: row["after"] for row in corrections if row["after"] is not None}
    events: list[Row] = [
        {
            "round": number,
            "id": answer.id,
            "annotator": answer.annotator,
            "kind": answer.kind,
            "label": answer.label,
            "flagged": answer.flagged,
            "at": answer.at,
            "file": file,
            "line": line,
            "late": answer.batch not in (None, manifest["batch_id"]),
            "order": _order(answer, (file, line), after),
        }
        for answer, (file, line) in keep_last(_newest_side(said, after))
    ]
    events += [{key: value for key, value in row.items() if key != "after"} for row in corrections]
    verdicts = [{"round": number, **row} for row in read_jsonl(folder / "verdicts.jsonl")]
    return Imported(
        [{**facts, "state": state}], [{"round": number, **row} for row in batch], events, verdicts
    )


def import_labels(root: Path, params: Params) -> Imported:
    """All rounds that anyone has answered, in order."""
    tables = Imported([], [], [], [])
    record = read_changed(root)
    for folder in round_folders(root):
        imported = import_round(folder, params)
        if imported is not None:
            tables.rounds.extend(imported.rounds)
            tables.asked.extend(with_earlier_ids(imported.asked, record))
            tables.events.extend(under_todays_ids(imported.events, record))
            tables.verdicts.extend(under_todays_ids(imported.verdicts, record))
    require_todays_labels(tables.events, params.labels)
    return tables


def retired(events: Iterable[Row], labels: Collection[str]) -> dict[str, int]:
    """Labels of answers and corrections that params.labels has no more, each with its count, sorted by label."""
    names = (row["label"] for row in events if row["label"] is not None)
    return dict(sorted(Counter(name for name in names if name not in labels).items()))


def retired_words(counts: Mapping[str, int], labels: Collection[str]) -> str:
    """What is wrong, for a person: `'spam' of 12 answers is not in it (did you mean …?)`."""
    words = [
        f"{label!r} of {count} {'answer' if count == 1 else 'answers'}{closest(label, labels)}"
        for label, count in counts.items()
    ]
    return f"it lacks {', '.join(words)}"


def require_todays_labels(events: Iterable[Row], labels: Collection[str]) -> None:
    """Raises PipelineError where people gave labels that params.labels has no more."""
    counts = retired(events, labels)
    if counts:
        raise PipelineError("params.yaml labels", retired_words(counts, labels), RETIRED)


def with_earlier_ids(asked: list[Row], record: list[Row]) -> list[Row]:
    """What a round asked under today's ids; where ids moved since, `ids` has each one's id in its round and after.

    The control arm walks along a permutation of ids, so it is judged by the ids of its time
    (stages/answers/arms.py).
    """
    rows = []
    for row in asked:
        ids = ids_since(row["id"], row["round"], record)
        if ids[-1] is not None:
            moved = {"ids": ids} if len(ids) > 1 else {}
            rows.append({**row, "id": ids[-1], **moved})
    return rows


def under_todays_ids(rows: list[Row], record: list[Row]) -> list[Row]:
    """Rows of a round with the ids that their contents have now; what left the pool is left out."""

    def correction(row: Row) -> int:
        return int(row["line"]) if str(row.get("file", "")).endswith("/corrections.jsonl") else 0

    pairs = [(row, renamed(row["id"], row["round"], record, correction(row))) for row in rows]
    return [{**row, "id": item} for row, item in pairs if item is not None]
