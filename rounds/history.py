"""`rounds history ID`: the life of one example.

Why it was asked, who answered what, how the label was judged and corrected, and which commits
trained on it.

Read from the sources (data/rounds) and git; of the derived tables only the seed's labels and the
gate's present view.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from rounds.dvc_files import output_md5
from rounds.past import Change, Commit, changes, closing_commits, manifests, place, read_blobs
from rounds.plain_words import PlainWords
from rounds.project import Project, Round
from stages.answers.changed import read_changed
from stages.answers.ledger import (
    Asked,
    Doubt,
    Event,
    KnownLabel,
    Labelled,
    Verdict,
    check_label,
    read_rows,
)
from stages.answers.prodigy import acceptable
from stages.answers.reading import answers_of, corrections_of, import_round, under_todays_ids
from stages.answers.standing import Case, collect, history, known_labels, standing
from stages.contract.canonical import Row, dumps, read_jsonl
from stages.contract.errors import PipelineError, closest
from stages.contract.params import Params
from stages.contract.shell import one_line_errors
from stages.examples.tables import as_text, read_table

MANIFESTS = ":(glob)data/rounds/*/manifest.json"


def seed_labels(project: Project, params: Params) -> list[Labelled]:
    """Id and label of every seed row.

    Raises PipelineError when ids are content hashes that were not computed yet.
    """
    made = project.root / "build" / "seed" / "labels.jsonl"
    if made.is_file():
        return read_rows(made, Labelled)
    table = read_table(project.root / params.data.seed, may_be_empty=True)
    if len(table) and not params.data.id:
        raise PipelineError(made, "file not found", "run `dvc repro`, or `dvc pull` after a clone")
    columns = [table.column(name, "data") for name in (params.data.id, params.data.label)]
    return [
        {"id": as_text(item), "label": as_text(label)} for item, label in zip(*columns, strict=True)
    ]


def mentions(one: Round, item: str) -> bool:
    """Whether a file of the round mentions the id, so that the round may be part of its life."""
    needle = dumps(item).encode()
    files = [
        one.folder / "batch.jsonl",
        one.folder / "verdicts.jsonl",
        one.corrections,
        *one.answer_files(),
    ]
    return any(needle in file.read_bytes() for file in files if file.is_file())


def cases_of(project: Project, rounds: list[Round] | None = None) -> dict[str, Case]:
    """What the sources say of each id, open round included; only of some rounds, if given."""
    params = project.params()
    asked: list[Asked] = []
    events: list[Event] = []
    verdicts: list[Verdict] = []
    for one in project.rounds() if rounds is None else rounds:
        imported = import_round(one.folder, params)
        if imported is not None:
            events += imported.events
        else:
            corrections = corrections_of(one.folder, acceptable(one.tasks(), params.labels))
            events += [correction.event for correction in corrections]
        batch = read_rows(one.folder / "batch.jsonl", Asked)
        frozen = read_rows(one.folder / "verdicts.jsonl", Doubt)
        asked += [{"round": one.number, **row} for row in batch]
        verdicts += [{"round": one.number, **row} for row in frozen]
    # `life` tells the story of an id as it was asked; labels belong to today's ids
    if rounds is None:
        record = read_changed(project.rounds_folder)
        asked = under_todays_ids(asked, record)
        events = under_todays_ids(events, record)
        verdicts = under_todays_ids(verdicts, record)
    seed = seed_labels(project, params)
    for row in seed:
        check_label(row["label"], params.labels, params.data.seed)
    return {case.id: case for case in collect(seed, asked, events, verdicts)}


def life(project: Project, item: str) -> Row:
    """All about an id, as a JSON document. Raises PipelineError for an id without any history."""
    params = project.params()
    rounds = [one for one in project.rounds() if mentions(one, item)]
    cases = cases_of(project, rounds)
    if item not in cases:
        raise PipelineError(
            "ID", f"{item!r} has no label and was never asked{closest(item, cases)}", "check the id"
        )
    case = cases[item]
    folders = [f"data/rounds/{one.folder.name}" for one in rounds]
    told = changes(project, MANIFESTS, *folders)
    closings = closing_commits(project, told)
    issued = {number: change.commit for number, change in manifests(told).items()}
    locks = read_blobs(
        project, [f"{issued[one.number].id}:./dvc.lock" for one in rounds if one.number in issued]
    )
    seed = [vote.label for vote in case.votes if vote.round == 0]
    upto = max(closings, default=0)
    return {
        "id": item,
        "seed_label": seed[0] if seed else None,
        "asked": [
            _asked(one, item, issued.get(one.number), locks)
            for one in rounds
            if one.number in case.asked
        ],
        "answers": _answers(project, rounds, item, params, told),
        "corrections": _corrections(project, rounds, item, told),
        "judged": [
            {"round": at, "label": stand.label, "why": stand.why}
            for at, stand in history(case, 10**9, params.gate)
        ],
        "doubted": [{"round": when, **row} for when, row in sorted(case.doubted.items())],
        "label": standing(case, upto, params.gate).label,
        "trained": _trained(project, case, upto, closings, params),
    }


def _asked(one: Round, item: str, commit: Commit | None, locks: dict[str, bytes]) -> Row:
    row = next(row for row in read_jsonl(one.folder / "batch.jsonl") if row["id"] == item)
    lock = locks.get(f"{commit.id}:./dvc.lock", b"") if commit else b""
    return {
        **{key: row[key] for key in ("rank", "arms", "strategy", "score", "reason")},
        "round": one.number,
        "batch_id": one.batch_id(),
        "model": output_md5(lock, "build/model"),
        **_by(commit),
    }


def _by(commit: Commit | None) -> Row:
    """The commit's columns; all empty for what is not committed yet."""
    if commit is None:
        return {"commit": None, "author": None, "date": None}
    return {"commit": commit.id, "author": commit.author, "date": commit.date}


def _answers(
    project: Project, rounds: list[Round], item: str, params: Params, told: list[Change]
) -> list[Row]:
    found: list[Row] = []
    for one in rounds:
        tasks = one.tasks()
        for answer, (file, line) in answers_of(one.folder, one.batch_id(), tasks, params.labels):
            if answer.id == item:
                raw = Path(file).read_bytes().split(b"\n")[line - 1]
                found.append({
                    "round": one.number, "annotator": answer.annotator, "kind": answer.kind,
                    "label": answer.label,
                    "at": answer.at, "surface": json.loads(raw).get("al_dataset"),
                    "file": Path(file).relative_to(project.root).as_posix(),
                    "line": line, "raw": raw,
                })  # fmt: skip
    return _with_commits(project, found, told)


def _corrections(project: Project, rounds: list[Round], item: str, told: list[Change]) -> list[Row]:
    found: list[Row] = []
    for one in rounds:
        lines = one.corrections.read_bytes().split(b"\n") if one.corrections.is_file() else []
        for line, raw in enumerate(lines, start=1):
            row = json.loads(raw) if raw.strip() else {}
            if row.get("id") == item:
                file = one.corrections.relative_to(project.root).as_posix()
                found.append({"round": one.number, **row, "file": file, "line": line, "raw": raw})
    return _with_commits(project, found, told)


def _with_commits(project: Project, rows: list[Row], told: list[Change]) -> list[Row]:
    """The rows with the commit that first held each one's line, in any file of its round."""
    numbers = {row["round"] for row in rows}
    steps = [step for step in told if step.new and place(step.path)[0] in numbers]
    steps = [step for step in steps if place(step.path)[1].startswith(("answers/", "corrections"))]
    blobs = read_blobs(project, [str(step.new) for step in steps])
    lines = {name: set(data.split(b"\n")) for name, data in blobs.items()}
    done = []
    for row in rows:
        raw = row.pop("raw")
        holders = (
            s.commit for s in steps if place(s.path)[0] == row["round"] and raw in lines[str(s.new)]
        )
        done.append({**row, **_by(next(holders, None))})
    return done


def _trained(
    project: Project, case: Case, upto: int, closings: dict[int, Commit], params: Params
) -> list[Row]:
    """The round commits whose model learnt the id, and with which label."""
    made = project.root / "build" / "gate" / "known.jsonl"
    doubted = {case.id} if upto + 1 in case.doubted else set()
    spans = (
        read_rows(made, KnownLabel)
        if made.is_file()
        else known_labels([case], upto, doubted, params.gate)
    )
    return [
        {"round": number, "label": span["label"], **_by(commit)}
        for span in spans
        if span["id"] == case.id
        for number, commit in closings.items()
        if span["from_round"] <= number and (span["to_round"] is None or number < span["to_round"])
    ]


def lines_of(facts: Row) -> list[str]:
    """The life as a person reads it."""
    told = [f"{facts['id']}: {facts['label'] if facts['label'] is not None else 'no label'}"]
    if facts["seed_label"] is not None:
        told.append(f"  seed       label {facts['seed_label']}")
    moments: list[tuple[int, int, str]] = []
    for row in facts["asked"]:
        arms = "+".join(row["arms"])
        what = f"asked      rank {row['rank']}, {arms} ({row['strategy']}): {row['reason']}"
        model = f"model {row['model'][:8]}, " if row["model"] else ""
        moments.append(
            (
                row["round"],
                0,
                f"{what}; score {row['score']}, {model}batch {row['batch_id'][:8]}{_who(row)}",
            )
        )
    for row in facts["doubted"]:
        reasons = "; ".join(row["reasons"])
        what = f"doubted    label {row['label']}, likelier {row['suggested']} ({reasons})"
        moments.append((row["round"], 1, f"{what}; score {row['score']}"))
    for row in facts["answers"]:
        surface = row["surface"] or "unknown"
        said = row["label"] or row["kind"]
        what = f"answered   {said} by {row['annotator']} {_moment(row['at'])}({surface})"
        moments.append((row["round"], 2, f"{what} {row['file']}:{row['line']}{_who(row)}"))
    for row in facts["corrections"]:
        change = f"{row['was'] or 'no label'} -> {row['label'] or 'no label'}"
        what = f"corrected  {change} by {row['by']}: {row['why']}"
        moments.append((row["round"], 3, f"{what} {row['file']}:{row['line']}{_who(row)}"))
    moments += [
        (row["round"], 4, f"judged     {row['label'] or 'no label'} ({row['why']})")
        for row in facts["judged"]
        if row["round"]
    ]
    told += [f"  round {number:<4} {what}" for number, _, what in sorted(moments)]
    trained = facts["trained"]
    if trained:
        first, last = trained[0], trained[-1]
        told.append(
            f"  trained on in {len(trained)} round commits, "
            f"{first['commit'][:8]} to {last['commit'][:8]}"
        )
    return told


def _moment(at: float | None) -> str:
    """A time of an answer, seconds since 1970, as a date; as it is where no calendar has it."""
    try:
        return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z "
    except (ValueError, OverflowError):
        return f"at {at} "


def _who(row: Row) -> str:
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
