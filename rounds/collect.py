"""`rounds collect`: bring exported answers into data/rounds/NNN/answers/, checked row by row.

To collect a file twice, or in pieces, gives the same result as once: an answer is added where it
differs from the same person's answer so far, and nothing is removed. Answers with times may come in
any order; an answer without a time counts from when it was collected. Rows that cannot be used are
written beside their source, with the reason. Rows that come after their round was closed go into
the open round, and count from its closing on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import click

from rounds import documents
from rounds.documents import json_option, say
from rounds.early import take_in
from rounds.enumeration import listed
from rounds.lock import exclusive
from rounds.matching import Sorted, Taken, sort_out
from rounds.project import Project, Round
from rounds.surfaces import formats
from rounds.surfaces.formats import Item
from stages.answers.prodigy import ANONYMOUS, Answer, keep_last, verdict_of
from stages.answers.reading import answers_of, to_batch
from stages.contract.canonical import Row, add_lines, dumps, write_jsonl
from stages.contract.errors import PipelineError
from stages.contract.shell import PATH, one_line_errors

_SHOWN = 10
_OLDEST = float("-inf")
_NEW_LINE = ("", 0)  # the file and line of an answer that is not written yet
Answered = list[tuple[Answer, tuple[str, int]]]  # answers, each with its file and line


@dataclass(frozen=True)
class Export:
    """The answers of one file or server.

    name   what its answer file, and its lines in the report, are called
    tool   the tool that wrote it
    items  its rows
    aside  the file for those that cannot be used
    """

    name: str
    tool: str
    items: Sequence[Item]
    aside: Path


def target_of(newest: Round, name: str) -> Path:
    """The answer file of a source; a page's own session files are not written to."""
    prefix = "collected-" if name.startswith("session-") else ""
    return newest.answers / f"{prefix}{name}.jsonl"


def additions(
    good: Sequence[Taken], existing: Answered, lines: Iterable[bytes]
) -> tuple[list[Row], int]:
    """The rows of one source that are new, and how many current answers they change.

    existing: the round's answers so far; lines: those of the source's own answer file. A row with a
    time is added unless that very line is there already: the times say which answer is last. A row
    without a time counts as its person's last answer, and is added where it differs from the
    answer so far.
    """
    current = _by_person(existing)
    written = set(lines)
    order = max((answer.order for answer, _ in existing), default=0)
    by_person: dict[tuple[str, str], list[Taken]] = defaultdict(list)
    for taken in good:
        by_person[taken.answer.id or "", taken.answer.annotator].append(taken)
    new: list[Row] = []
    changed = 0
    for key, rows in by_person.items():
        before = current.get(key, [])
        timed = [
            taken.row
            for taken in rows
            if taken.answer.at is not None and dumps(taken.row).encode() not in written
        ]
        untimed = _untimed_additions(rows, before, order, has_timed=bool(timed))
        order += len(untimed)
        added = [*_distinct(timed), *untimed]
        new += added
        changed += bool(added and before)
    return new, changed


def _by_person(answers: Answered) -> dict[tuple[str, str], Answered]:
    """The answers of each person to each item, in the order in which they were said."""
    groups: dict[tuple[str, str], Answered] = defaultdict(list)
    for pair in sorted(answers, key=lambda pair: (pair[0].moment, pair[1])):
        groups[pair[0].id or "", pair[0].annotator].append(pair)
    return groups


def _untimed_additions(
    rows: Sequence[Taken], before: Answered, order: int, *, has_timed: bool
) -> list[Row]:
    """What one person's rows without a time add about one item; each notes when it was collected.

    before: the person's answers so far. order: the last number in the order of collecting.
    has_timed: rows with a time are added as well.
    """
    untimed = [taken for taken in rows if taken.answer.at is None]
    if not untimed:
        return []
    new = [(taken.answer, _NEW_LINE) for taken in untimed]
    # Binary rows are judged together with those that are there, all others by the last row.
    is_binary = all(taken.answer.about is not None for taken in untimed)
    last, _ = verdict_of([*before, *new] if is_binary else new)
    if before and not has_timed and _word(verdict_of(before)[0]) == _word(last):
        return []
    times = [answer.moment[0] for answer, _ in before]
    times += [taken.answer.at for taken in rows if taken.answer.at is not None]
    latest = max(times, default=_OLDEST)
    after = {} if latest == _OLDEST else {"al_after": latest}
    distinct = _distinct([taken.row for taken in untimed])
    return [
        {**row, "al_order": number, **after} for number, row in enumerate(distinct, start=order + 1)
    ]


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """The rows, each once: of equal rows the last one stays, in its place."""
    last_first = {dumps(row): row for row in reversed(rows)}
    return list(last_first.values())[::-1]


def _word(answer: Answer) -> tuple[str | None, str, str | None, bool]:
    """The content of an answer, without its time."""
    return answer.batch, answer.kind, answer.label, answer.flagged


def bring(
    project: Project, export: Export, *, strict: bool, dry_run: bool
) -> tuple[list[str], Sorted]:
    """Add a source's good rows to the newest round, put its bad rows aside.

    Returns the lines of the report, and the heaps. Raises PipelineError for the first bad row when
    `strict`; then nothing is written.
    """
    newest = project.last_round()
    labels = project.labels_ever()
    heaps = sort_out(export.items, project, labels)
    if heaps.bad and strict:
        item, _, why = heaps.bad[0]
        remedy = f"repair it ({len(heaps.bad)} such), or leave --strict out"
        raise PipelineError(f"{export.name}:{item.line}", why, remedy)
    target = target_of(newest, export.name)
    written = target.read_bytes().split(b"\n") if target.is_file() else []
    new, changed = additions(heaps.good, answers_in(newest, labels), written)
    heaps.new = len(new)
    report = _report(export, heaps, newest.number)
    if heaps.bad and not dry_run:
        what = f"the {len(heaps.bad)} rows that cannot be used are in {export.aside.name}"
        report.append(f"  {what}")
    report += _whose(heaps, changed)
    if not dry_run:
        if new:
            add_lines(target, "".join(dumps(row) + "\n" for row in new).encode())
        _put_aside(export.aside, heaps)
    return report, heaps


def _put_aside(aside: Path, heaps: Sorted) -> None:
    """Write the rows that cannot be used, with the reasons; remove the file if there are none."""
    if heaps.bad:
        rows = [{"line": item.line, "why": why, "row": item.raw} for item, _, why in heaps.bad]
        write_jsonl(aside, rows)
    else:
        aside.unlink(missing_ok=True)


def _report(export: Export, heaps: Sorted, number: int) -> list[str]:
    """What a source held: counts, the first bad rows, and what was late or lost."""
    counts = ", ".join(f"{count} {what}" for what, count in heaps.counts().items()) or "nothing"
    rows = len(export.items)
    lines = [f"{export.name} ({export.tool}): {rows} rows: {counts}; {heaps.new} new"]
    lines += [f"  {export.name}:{item.line}: {why}" for item, _, why in heaps.bad[:_SHOWN]]
    if len(heaps.bad) > _SHOWN:
        lines.append(f"  and {len(heaps.bad) - _SHOWN} more")
    lines += [f"  {note}: {count} rows" for note, count in sorted(heaps.notes.items())]
    if heaps.late:
        what = f"{heaps.late} came after their round was closed"
        lines.append(f"  {what}: they count from round {number} on")
    return lines


def _whose(heaps: Sorted, changed: int) -> list[str]:
    """Whose answers they are taken for, where no row says it, and how many they replace."""
    lines = []
    people = sorted(heaps.from_file_name - {ANONYMOUS})
    remedy = "--annotator NAME says who"
    if people:
        lines.append(
            f"  taken for the answers of {', '.join(people)}, after the file's name; {remedy}"
        )
    if ANONYMOUS in heaps.from_file_name:
        nobody = "whom neither the rows nor the file's name name"
        lines.append(f"  taken for the answers of {ANONYMOUS}, {nobody}; {remedy}")
    if changed:
        what = "1 answer of the same person changes"
        if changed > 1:
            what = f"{changed} answers of the same people change"
        doubt = "; two people? collect each with --annotator NAME" if heaps.from_file_name else ""
        lines.append(f"  {what}: the last word counts{doubt}")
    return lines


def answers_in(issued: Round, labels: Sequence[str]) -> Answered:
    """Every answer in a round's files. Raises PipelineError for one that import_labels refuses."""
    return answers_of(issued.folder, issued.batch_id(), issued.tasks(), list(labels))


def state_of(newest: Round, answers: Sequence[Answer]) -> tuple[list[str], int]:
    """The lines that say where a round stands, and how many items are not answered.

    answers: the last word of each person on each item.
    """
    asked = [str(task["al_id"]) for task in newest.to_ask()]
    voices: dict[str, dict[str, Answer]] = defaultdict(dict)
    for answer in answers:
        voices[str(answer.id)][answer.annotator] = answer
    missing = [item_id for item_id in asked if item_id not in voices]
    answered = len(asked) - len(missing)
    lines = [f"round {newest.number}: {answered} of {len(asked)} items are answered"]
    if missing:
        lines.append(f"  missing: {listed(missing, _SHOWN)}")
    lines += _differing({item_id: voices[item_id] for item_id in asked if item_id in voices})
    lines += _spelled_twice(answers)
    return lines, len(missing)


def _differing(voices: dict[str, dict[str, Answer]]) -> list[str]:
    """A line for each item that people labelled differently. voices: by item and person."""
    lines = []
    for item_id, by_person in voices.items():
        labels = {answer.label for answer in by_person.values() if answer.label}
        if len(labels) > 1:
            words = [f"{who} {answer.label or answer.kind}" for who, answer in by_person.items()]
            lines.append(f"  annotators differ on {item_id}: {', '.join(words)}")
    if len(lines) > _SHOWN:
        return [*lines[:_SHOWN], f"  annotators differ on {len(lines) - _SHOWN} more"]
    return lines


def _spelled_twice(answers: Iterable[Answer]) -> list[str]:
    """A line for each group of annotators whose names differ in case alone."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for answer in answers:
        spellings[answer.annotator.casefold().strip()].add(answer.annotator)
    return [
        f"  one person under several names? {listed(sorted(names), _SHOWN)}"
        for names in spellings.values()
        if len(names) > 1
    ]


def contradicting_sessions(answers: Iterable[Answer]) -> list[str]:
    """A line that counts the items on which sessions without a name contradict each other.

    They count as one person, "anonymous", though each may have been somebody else.
    """
    words: dict[str, dict[str, str]] = defaultdict(dict)
    for answer in sorted(answers, key=lambda answer: answer.moment):
        if answer.annotator == ANONYMOUS:
            words[str(answer.id)][answer.session] = answer.label or answer.kind
    items = sorted(
        item_id for item_id, by_session in words.items() if len(set(by_session.values())) > 1
    )
    if not items:
        return []
    count = "1 item" if len(items) == 1 else f"{len(items)} items"
    what = f"sessions without a name contradict each other on {count} ({listed(items, _SHOWN)})"
    remedy = "open Prodigy with ?session=NAME, or collect each one's file with --annotator NAME"
    return [f"  {what}: they count as one person, whose last word it is; {remedy}"]


def collect(
    project: Project,
    files: Sequence[Path],
    *,
    forced: str | None = None,
    annotator: str | None = None,
    strict: bool = False,
    dry_run: bool = False,
) -> tuple[list[str], list[Sorted]]:
    """Bring every file home. The lines of the report, and the heaps of each file.

    forced: the format of all files, which is not guessed then. annotator: who answered, where a
    file does not say it. Raises PipelineError for a file that cannot be read.
    """
    answers = project.last_round().answers.resolve()
    names = formats.own_names(project.params().data)
    exports = []
    for path in files:
        if path.resolve().parent == answers:
            raise PipelineError(path, "it is in its place already", "there is nothing to collect")
        exports.append(_read(path, forced, annotator, names))
    if strict:  # one bad row in any file: none is written
        for export in exports:
            bring(project, export, strict=True, dry_run=True)
    brought = [bring(project, export, strict=strict, dry_run=dry_run) for export in exports]
    lines = [line for report, _ in brought for line in report]
    return lines, [heaps for _, heaps in brought]


def _read(
    path: Path, forced: str | None, annotator: str | None, names: Mapping[str, str]
) -> Export:
    """The rows of a file. Raises PipelineError where it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise PipelineError(path, what, "check the path") from error
    tool, items = formats.read(path, data, forced, annotator, names=names)
    return Export(path.stem, tool, items, path.with_name(f"{path.name}.bad.jsonl"))


class ServerOptions(TypedDict):
    """Which server to ask, and how."""

    server: str | None
    url: str | None
    token_file: Path | None


@click.command()
@click.argument("files", nargs=-1, type=PATH)
@click.option(
    "--from", "server", type=click.Choice(["label-studio"]), help="Ask this server for the answers."
)
@click.option("--url", help="The server's address.")
@click.option("--token-file", type=PATH, help="The file that holds the access token.")
@click.option(
    "--format",
    "forced",
    type=click.Choice(list(formats.READERS)),
    help="Do not guess what the files are.",
)
@click.option("--annotator", metavar="NAME", help="Who answered, where a file does not say it.")
@click.option("--machine", metavar="NAME", help="These are a machine's answers, not a person's.")
@click.option("--strict", is_flag=True, help="Refuse all files when one has a bad row.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@json_option
@one_line_errors
def command(
    files: tuple[Path, ...],
    forced: str | None,
    annotator: str | None,
    machine: str | None,
    strict: bool,
    dry_run: bool,
    as_json: bool,
    **asked: Unpack[ServerOptions],
) -> str:
    """Bring exported answers of any tool into the newest round.

    Prodigy, Label Studio, Argilla, doccano, CSV, Excel, JSON and Parquet are read, and your own
    table with a label in it. An answer is matched by al_id, else by its text. Who answered is what
    the file says; else --annotator, else the file's name.
    """
    project = Project.find(Path())
    server = asked["server"]
    if machine is not None and as_json:
        raise click.UsageError("--json is for people's answers: leave it or --machine out")
    if machine is not None and files and server is None:
        return _from_machine(project, machine, files, strict=strict, dry_run=dry_run)
    if server is None and not files:
        raise click.UsageError("name the files to collect, or --from label-studio")
    fetched = None
    if server is not None:
        fetched = _fetched(project, asked["url"], asked["token_file"])
    with exclusive(project.root, wait=True):
        newest = _open_round(project, dry_run=dry_run)
        if fetched is not None:
            lines, heap = bring(project, fetched, strict=strict, dry_run=dry_run)
            heaps = [heap]
        else:
            lines, heaps = collect(
                project, files, forced=forced, annotator=annotator, strict=strict, dry_run=dry_run
            )
        state, missing = _standing(project, newest, heaps)
    if not as_json:
        click.echo("\n".join([*lines, *state]))
    sentence = _ending(heaps, missing, dry_run=dry_run)
    if as_json:
        names = ["label-studio"] if fetched is not None else [str(path) for path in files]
        sources = list(zip(names, heaps, strict=True))
        say(document(sources, newest, missing, [*lines, *state], sentence, dry_run=dry_run))
    return sentence


def _open_round(project: Project, *, dry_run: bool) -> Round:
    """The open round, with the answers that waited for its commit; a dry run leaves them there."""
    if not dry_run:
        take_in(project.root, project.rounds())
    return project.open_round()


def document(
    sources: Sequence[tuple[str, Sorted]],
    newest: Round,
    missing: int,
    report: list[str],
    sentence: str,
    *,
    dry_run: bool,
) -> documents.Collect:
    """What was collected, for a program. sentence: the last line, which ends in the next step."""
    return documents.Collect(
        dry_run=dry_run,
        sources=[collected(name, heap) for name, heap in sources],
        round=newest.number,
        missing=missing,
        lines=report,
        next=sentence.rpartition("next: ")[2],
    )


def collected(name: str, heap: Sorted) -> documents.Collected:
    """What one file, or a server, held."""
    bad = [documents.BadRow(line=item.line, why=why) for item, _, why in heap.bad]
    return documents.Collected(
        name=name, counts=heap.counts(), new=heap.new, late=heap.late, bad=bad
    )


def _from_machine(
    project: Project, machine: str, files: Sequence[Path], *, strict: bool, dry_run: bool
) -> str:
    """Freeze a machine's answers. What was done, and the next command."""
    from rounds.machines.freeze import collect_machine

    report = collect_machine(project, machine, files, strict=strict, dry_run=dry_run)
    return "\n".join([*report, "next: rounds machines   # how good it is here"])


def _fetched(project: Project, url: str | None, token_file: Path | None) -> Export:
    """What Label Studio holds. Raises PipelineError without an address or a token."""
    from rounds.surfaces import label_studio

    if url is None or token_file is None:
        where = "rounds collect --from label-studio"
        raise PipelineError(where, "it needs --url and --token-file", "give both")
    items = label_studio.fetch(project, url, label_studio.read_token(token_file))
    aside = project.root / "label-studio.bad.jsonl"
    return Export("label-studio", "label-studio", items, aside)


def _standing(project: Project, newest: Round, heaps: Sequence[Sorted]) -> tuple[list[str], int]:
    """The lines that say where the round stands, and how many items are not answered.

    heaps: what was collected, of which a dry run has written nothing.
    """
    batch = newest.batch_id()
    answers = to_batch(answers_in(newest, project.labels_ever()), batch)
    lines, missing = state_of(newest, [answer for answer, _ in keep_last(answers)])
    collected = [taken.answer for heap in heaps for taken in heap.good]
    current = [answer for answer in collected if answer.batch == batch]
    lines += contradicting_sessions([*(answer for answer, _ in answers), *current])
    return lines, missing


def _ending(heaps: Sequence[Sorted], missing: int, *, dry_run: bool) -> str:
    """The last line: what was done, and what to do next.

    Raises PipelineError where no row could be used.
    """
    bad = sum(len(heap.bad) for heap in heaps)
    if bad and not any(heap.good or heap.earlier or heap.forgotten for heap in heaps):
        what = f"none of the {bad} answers could be used"
        remedy = "the lines above say why; mend them at their source, and collect again"
        raise PipelineError("collect", what, remedy)
    if dry_run:
        return "collect: nothing was written (--dry-run)"
    if missing:
        remedy = f"get the {missing} missing answers, or `rounds close --partial`"
        return f"collect: done; next: {remedy}"
    return "collect: done; next: rounds close"
