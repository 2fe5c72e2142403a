"""`rounds history ID`: the life of one example.

Why it was asked, who answered what, how the label was judged and corrected, and which commits
trained on it.

Read from data/rounds and git. Of the tables that the pipeline makes, only the seed's labels and
the gate's known.jsonl are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TypedDict

import click

from rounds.dvc_files import output_md5
from rounds.past import (
    Change,
    Commit,
    changes,
    closing_commits,
    manifests,
    name_in_round,
    read_blobs,
    redaction_here,
    round_of_path,
)
from rounds.plain_words import PlainWords
from rounds.project import Project, Round
from rounds.surfaces.desk import NOTE
from stages.answers.changed import id_then, read_changed, renamed
from stages.answers.gold import is_gold
from stages.answers.ledger import (
    CORRECTION,
    Asked,
    Doubt,
    Event,
    KnownLabel,
    Labelled,
    Verdict,
    check_label,
    read_rows,
)
from stages.answers.prodigy import Answer
from stages.answers.reading import (
    answers_of,
    changes_known,
    events_of,
    import_round,
    rows_asked,
    under_todays_ids,
    verdict_today,
)
from stages.answers.rounds import MERGED, merged_folders
from stages.answers.scheme import Change as ChangeOfLabels
from stages.answers.scheme import changes_since, meaning, sha_of, table_meaning
from stages.answers.standing import Case, collect, history, known_labels, standing
from stages.contract.canonical import Row, dumps, read_jsonl
from stages.contract.errors import PipelineError, closest
from stages.contract.params import Params
from stages.contract.shell import one_line_errors
from stages.examples.tables import as_text, read_table

MANIFESTS = ":(glob)data/rounds/*/manifest.json"
EVERY_ROUND = 10**9  # as the last round to look at


def seed_labels(project: Project, params: Params) -> list[Labelled]:
    """Id and label of every seed row.

    Raises PipelineError when ids are content hashes that were not computed yet.
    """
    labels = project.root / "build" / "seed" / "labels.jsonl"
    if labels.is_file():
        return read_rows(labels, Labelled)
    path = project.root / params.data.seed
    table = read_table(path, may_be_empty=True)
    if len(table) and not params.data.id:
        remedy = "run `dvc repro`, or `dvc pull` after a clone"
        raise PipelineError(labels, "file not found", remedy)
    columns = [table.column(name, "data") for name in (params.data.id, params.data.label)]
    scheme = project.scheme()
    sha = sha_of(path)
    rows: list[Labelled] = []
    for item, label in zip(*columns, strict=True):
        now = table_meaning(as_text(label), scheme, "seed", sha)
        row: Labelled = {"id": as_text(item), "label": now.label}
        if now.among:
            row["among"] = list(now.among)
        if not now.retired:
            rows.append(row)
    return rows


def with_merged(issued: Round) -> list[Round]:
    """A round, then the rounds of other branches that were merged into it, under its number."""
    merged = merged_folders(issued.folder)
    return [issued, *(Round(issued.number, folder) for folder in merged)]


def mentions(issued: Round, items: set[str]) -> bool:
    """Whether a file of the round holds an id, so that the round may be part of its life."""
    needles = [dumps(item).encode() for item in items]
    files = [
        file
        for batch in with_merged(issued)
        for file in (
            batch.folder / "batch.jsonl",
            batch.folder / "verdicts.jsonl",
            batch.corrections,
            *batch.answer_files(),
        )
    ]
    contents = [file.read_bytes() for file in files if file.is_file()]
    return any(needle in content for content in contents for needle in needles)


def cases_of(
    project: Project, rounds: list[Round] | None = None, record: list[Row] | None = None
) -> dict[str, Case]:
    """What the seed and all rounds, the open one included, say of what has each id today.

    rounds: read these only; record: the lines of changed.jsonl to go by, all where None.
    """
    params = project.params()
    asked: list[Asked] = []
    events: list[Event] = []
    verdicts: list[Verdict] = []
    scheme = project.scheme()
    for issued in project.rounds() if rounds is None else rounds:
        number = issued.number
        events += _events(project, issued, params)
        asked += [row for row in rows_asked(issued.folder) if not is_gold(row)]
        doubts = read_rows(issued.folder / "verdicts.jsonl", Doubt)
        later = scheme[changes_known(issued.folder) :]
        verdicts += [verdict_today(number, row, later) for row in doubts]
    record = read_changed(project.rounds_folder) if record is None else record
    asked = under_todays_ids(asked, record)
    events = under_todays_ids(events, record)
    verdicts = under_todays_ids(verdicts, record)
    seed = seed_labels(project, params)
    for row in seed:
        check_label(row["label"], params.labels, params.data.seed)
    return {case.id: case for case in collect(seed, asked, events, verdicts)}


def _events(project: Project, issued: Round, params: Params) -> list[Event]:
    """The answers and corrections of a round; of one without answers, the corrections.

    What was said in rounds that were merged into it is among them.
    """
    scheme = project.scheme()
    imported = import_round(issued.folder, params, scheme)
    if imported is not None:
        return imported.events
    return [
        event
        for event in events_of(issued.folder, params, scheme)
        if event["order"] == CORRECTION or f"/{MERGED}/" in event["file"]
    ]


class Life(TypedDict):
    """All about an id, as `rounds history --json` writes it.

    asked, answers, corrections, doubted, trained  one row per event, with its round
    changed                                        the rows of changed.jsonl that are about it
    judged                                         the label and its reason, after each change
    label                                          the label that counts now
    """

    id: str
    seed_label: str | None
    asked: list[Row]
    answers: list[Row]
    corrections: list[Row]
    changed: list[Row]
    judged: list[Row]
    doubted: list[Row]
    label: str | None
    trained: list[Row]


def life(project: Project, item: str) -> Life:
    """All about what has an id today; where ids moved, under the ids of its time.

    Raises PipelineError for an id without any history.
    """
    params = project.params()
    every = read_changed(project.rounds_folder)
    # The life of what is forgotten is shown too, as far as it is kept.
    record = [row for row in every if row["kind"] != "forgotten" or row["id"] != item]
    names = {issued.number: id_then(item, issued.number, record) for issued in project.rounds()}
    rounds = [
        issued
        for issued in project.rounds()
        if mentions(issued, {item, names[issued.number] or item})
    ]
    cases = cases_of(project, rounds, record)
    if item not in cases:
        raise _no_history(item, cases, record)
    case = cases[item]
    folders = [f"data/rounds/{issued.folder.name}" for issued in rounds]
    file_changes = changes(project, MANIFESTS, *folders)
    closings = closing_commits(project, file_changes)
    last_closed = max(closings, default=0)
    seed = [vote.label for vote in case.votes if vote.round == 0]
    stands = standing(case, last_closed, params.gate)
    return {
        "id": item,
        "seed_label": seed[0] if seed else None,
        "asked": _asked(
            project, [r for r in rounds if r.number in case.asked], names, file_changes
        ),
        "answers": _answers(project, rounds, names, file_changes),
        "corrections": _corrections(project, rounds, item, record, file_changes),
        "changed": _changes_of(item, every),
        "judged": [
            {"round": number, "label": stand.label, "why": stand.why}
            for number, stand in history(case, EVERY_ROUND, params.gate)
        ],
        "doubted": [{"round": number, **row} for number, row in sorted(case.doubted.items())],
        "label": None if len(record) < len(every) else stands.label,
        "trained": _trained(project, case, last_closed, closings),
    }


def _no_history(item: str, cases: Mapping[str, Case], record: list[Row]) -> PipelineError:
    """The refusal of an id that nothing is known of today, with what became of one that moved."""
    moved = [row for row in record if row["kind"] == "moved" and row["id"] == item]
    if not moved:
        what = f"{item!r} has no label and was never asked{closest(item, cases)}"
        return PipelineError("ID", what, "check the id")
    today = renamed(item, moved[-1]["round"], record)
    if today is None:
        return PipelineError("ID", f"what was asked as {item!r} has left the pool", "check the id")
    what = f"what was asked as {item!r} has the id {today!r} now"
    return PipelineError("ID", what, f"rounds history {quote(today)}")


def _changes_of(item: str, record: list[Row]) -> list[Row]:
    """What people said of changes of an id's content, or of moves to the id: rows of the record."""
    rows: list[Row] = []
    for change in sorted({row["change"] for row in record}):
        later = [row for row in record if row["change"] > change]
        name = id_then(item, 0, later)
        said = [row for row in record if row["change"] == change and name is not None]
        rows += [row for row in said if row.get("to", row["id"]) == name]
    return rows


def _asked(
    project: Project,
    rounds: list[Round],
    names: Mapping[int, str | None],
    file_changes: list[Change],
) -> list[Row]:
    """Where an example was asked and why, with the model that chose it.

    rounds: those that asked it; names: its id in each round.
    """
    issued_by = {number: change.commit for number, change in manifests(file_changes).items()}
    locks = {number: f"{commit.id}:./dvc.lock" for number, commit in issued_by.items()}
    numbers = [issued.number for issued in rounds if issued.number in locks]
    blobs = read_blobs(project, [locks[number] for number in numbers])
    rows = []
    for issued in rounds:
        asked = (
            (batch, row)
            for batch in with_merged(issued)
            for row in read_jsonl(batch.folder / "batch.jsonl")
            if row["id"] == names[issued.number]
        )
        batch, row = next(asked)
        lock = blobs.get(locks.get(issued.number, ""), b"")
        rows.append(
            {
                **{key: row[key] for key in ("rank", "arms", "strategy", "score", "reason")},
                "round": issued.number,
                "batch_id": batch.batch_id(),
                "model": output_md5(lock, "build/model"),
                **_commit_columns(issued_by.get(issued.number)),
            }
        )
    return rows


def _commit_columns(commit: Commit | None) -> Row:
    """The commit's columns; all empty for what is not committed yet."""
    if commit is None:
        return {"commit": None, "author": None, "date": None}
    return {"commit": commit.id, "author": commit.author, "date": commit.date}


def _answers(
    project: Project,
    rounds: list[Round],
    names: Mapping[int, str | None],
    file_changes: list[Change],
) -> list[Row]:
    """Every answer to an example. names: its id in each round."""
    labels = project.labels_ever()
    scheme = project.scheme()
    rows: list[Row] = []
    for issued in [batch for asked in rounds for batch in with_merged(asked)]:
        answers = answers_of(issued.folder, issued.batch_id(), issued.tasks(), labels)
        for answer, (file, line) in answers:
            if answer.id == names[issued.number]:
                raw = Path(file).read_bytes().split(b"\n")[line - 1]
                given = json.loads(raw)
                row = {
                    "round": issued.number,
                    "annotator": answer.annotator,
                    "kind": answer.kind,
                    "label": answer.label,
                    "means": _means(answer, scheme),
                    "at": answer.at,
                    "surface": given.get("al_dataset"),
                    "note": given.get(NOTE),
                    "file": Path(file).relative_to(project.root).as_posix(),
                    "line": line,
                    "raw": raw,
                }
                rows.append(row)
    return _with_commits(project, rows, file_changes)


def _means(answer: Answer, scheme: Sequence[ChangeOfLabels]) -> str | None:
    """What an answer's label means today, where that is not what it says; else None."""
    if answer.label is None:
        return None
    now = meaning(answer.label, changes_since(answer.label, answer.known, scheme))
    if now.among:
        return f"one of {', '.join(now.among)}"
    if now.retired:
        return f"{now.label}, retired"
    return now.label if now.label != answer.label else None


def _corrections(
    project: Project,
    rounds: list[Round],
    item: str,
    record: list[Row],
    file_changes: list[Change],
) -> list[Row]:
    """Every correction of what has the id `item` now."""
    rows: list[Row] = []
    for issued in [batch for asked in rounds for batch in with_merged(asked)]:
        if not issued.corrections.is_file():
            continue
        file = issued.corrections.relative_to(project.root).as_posix()
        for line, raw in enumerate(issued.corrections.read_bytes().split(b"\n"), start=1):
            row = json.loads(raw) if raw.strip() else {}
            if row and renamed(row["id"], issued.number, record, line) == item:
                rows.append({"round": issued.number, **row, "file": file, "line": line, "raw": raw})
    return _with_commits(project, rows, file_changes)


def _with_commits(project: Project, rows: list[Row], file_changes: list[Change]) -> list[Row]:
    """The rows with the commit that first held each one's line, in any file of its round.

    `raw`, the bytes of the line, is taken out of each row.
    """
    numbers = {row["round"] for row in rows}
    steps = [
        change
        for change in file_changes
        if change.new
        and round_of_path(change.path) in numbers
        and name_in_round(change.path).startswith(("answers/", "corrections", "merged/"))
    ]
    blobs = read_blobs(project, [str(step.new) for step in steps])
    # A row that was forgotten since is still the one that a commit brought with its content.
    forgotten = redaction_here(project)
    paths = {str(step.new): step.path.removeprefix("data/rounds/") for step in steps}
    lines = {
        name: {*data.split(b"\n"), *forgotten.of_file(paths[name], data).split(b"\n")}
        for name, data in blobs.items()
    }
    dated = []
    for row in rows:
        raw = row.pop("raw")
        holders = (
            step.commit
            for step in steps
            if round_of_path(step.path) == row["round"] and raw in lines[str(step.new)]
        )
        dated.append({**row, **_commit_columns(next(holders, None))})
    return dated


def _trained(
    project: Project, case: Case, last_closed: int, closings: dict[int, Commit]
) -> list[Row]:
    """The round commits whose model learnt the id, and with which label."""
    file = project.root / "build" / "gate" / "known.jsonl"
    if file.is_file():
        spans = read_rows(file, KnownLabel)
    else:
        doubted = {case.id} if last_closed + 1 in case.doubted else set()
        spans = known_labels([case], last_closed, doubted, project.params().gate)
    return [
        {"round": number, "label": span["label"], **_commit_columns(commit)}
        for span in spans
        if span["id"] == case.id
        for number, commit in closings.items()
        if span["from_round"] <= number and (span["to_round"] is None or number < span["to_round"])
    ]


def lines_of(facts: Life) -> list[str]:
    """The life as a person reads it."""
    label = "no label" if facts["label"] is None else facts["label"]
    lines = [f"{facts['id']}: {label}"]
    if facts["seed_label"] is not None:
        lines.append(f"  seed       label {facts['seed_label']}")
    # Within a round in the order in which things happen there.
    sentences = [
        *((row["round"], 0, _asked_sentence(row)) for row in facts["asked"]),
        *((row["round"], 1, _doubted_sentence(row)) for row in facts["doubted"]),
        *((row["round"], 2, _answer_sentence(row)) for row in facts["answers"]),
        *((row["round"], 3, _correction_sentence(row)) for row in facts["corrections"]),
        *((row["round"], 4, _judged_sentence(row)) for row in facts["judged"] if row["round"]),
        *((row["round"], 5, _change_sentence(row)) for row in facts["changed"]),
    ]
    lines += [f"  round {number:<4} {sentence}" for number, _, sentence in sorted(sentences)]
    trained = facts["trained"]
    if trained:
        span = f"{trained[0]['commit'][:8]} to {trained[-1]['commit'][:8]}"
        lines.append(f"  trained on in {len(trained)} round commits, {span}")
    return lines


def _asked_sentence(row: Row) -> str:
    arms = "+".join(row["arms"])
    why = f"rank {row['rank']}, {arms} ({row['strategy']}): {row['reason']}; score {row['score']}"
    model = f"model {row['model'][:8]}, " if row["model"] else ""
    return f"asked      {why}, {model}batch {row['batch_id'][:8]}{_commit_of(row)}"


def _doubted_sentence(row: Row) -> str:
    labels = f"label {row['label']}, likelier {row['suggested']}"
    return f"doubted    {labels} ({'; '.join(row['reasons'])}); score {row['score']}"


def _answer_sentence(row: Row) -> str:
    answer = f"{row['label'] or row['kind']} by {row['annotator']}"
    surface = row["surface"] or "unknown"
    if row["means"]:
        answer += f", now {row['means']},"
    source = f"({surface}) {row['file']}:{row['line']}"
    note = f", noting {row['note']!r}" if row["note"] else ""
    return f"answered   {answer}{note} {_time_of(row['at'])}{source}{_commit_of(row)}"


def _change_sentence(row: Row) -> str:
    what = f"was {row['id']}" if row["kind"] == "moved" else row["kind"]
    return f"{what:<10} {row['why']} ({row['by']})"


def _correction_sentence(row: Row) -> str:
    source = f"{row['file']}:{row['line']}"
    if "annotator" in row:
        what = f"what {row['annotator']} answered since round {row['since']}"
        return f"withdrawn  {what}, by {row['by']}: {row['why']} {source}{_commit_of(row)}"
    change = f"{row['was'] or 'no label'} -> {row['label'] or 'no label'}"
    return f"corrected  {change} by {row['by']}: {row['why']} {source}{_commit_of(row)}"


def _judged_sentence(row: Row) -> str:
    return f"judged     {row['label'] or 'no label'} ({row['why']})"


def _time_of(at: float | None) -> str:
    """Seconds since 1970 as a date and a blank; the number itself where no calendar has it."""
    try:
        return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z "
    except (ValueError, OverflowError):
        return f"at {at} "


def _commit_of(row: Row) -> str:
    return f"  [{row['commit'][:8]} {row['author']}]" if row["commit"] else "  [not committed]"


@click.command(cls=PlainWords)
@click.argument("item", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@one_line_errors
def command(item: str, as_json: bool) -> str:
    """The life of one example: asked, answered, judged, corrected, trained on, in which commits."""
    facts = life(Project.find(Path()), item)
    click.echo(dumps(facts, indent=1) if as_json else "\n".join(lines_of(facts)))
    return f"history: {len(facts['asked'])} times asked, {len(facts['answers'])} answers"
