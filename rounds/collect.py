"""`rounds collect`: bring answers home, into data/rounds/NNN/answers/, checked row by row.

Collecting the same thing twice, or in pieces, gives the same state: what a person says now is added
where it differs from that person's answer so far, and nothing is taken away. Answers with times may
come in any order; an answer without a time counts from when it was collected. Rows that cannot be
used are kept aside, beside their source, with the reason. Rows that come after their round was
closed go into the open round, and count from its closing on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from rounds.lock import exclusive
from rounds.matching import Sorted, sort_out
from rounds.project import Project, Round
from rounds.surfaces import formats
from rounds.surfaces.formats import Item
from stages.answers.prodigy import Answer, keep_last, verdict_of
from stages.answers.reading import answers_of, to_batch
from stages.contract.canonical import Row, add_lines, dumps, write_jsonl
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors

_SHOWN = 10
_OLDEST = float("-inf")
Answered = list[tuple[Answer, tuple[str, int]]]  # answers, each with its file and line


def target_of(newest: Round, name: str) -> Path:
    """The answer file that a source's rows go to; a page's own session files are not written to."""
    return newest.answers / (
        f"collected-{name}.jsonl" if name.startswith("session-") else f"{name}.jsonl"
    )


def additions(
    good: Sequence[tuple[int, Row, Answer]], held: Answered, lines: Iterable[bytes]
) -> tuple[list[Row], int]:
    """The rows of one source that add to what is held, and how many current answers they change.

    Rows with a time are added unless the very line is held: their times say which is last. Rows
    without one are the last word of who said them, and are added where that differs from the
    person's answer so far.
    """
    current = _by_person(held)
    written = set(lines)
    order = max((answer.order for answer, _ in held), default=0)
    groups: dict[tuple[str, str], list[tuple[int, Row, Answer]]] = defaultdict(list)
    for entry in good:
        groups[entry[2].id or "", entry[2].annotator].append(entry)
    fresh: list[Row] = []
    changed = 0
    for key, entries in groups.items():
        before = current.get(key, [])
        added, order = _of_person(entries, before, written, order)
        fresh += added
        changed += bool(added and before)
    return fresh, changed


def _by_person(answers: Answered) -> dict[tuple[str, str], Answered]:
    """The answers of each person to each item, in the order in which they were said."""
    groups: dict[tuple[str, str], Answered] = defaultdict(list)
    for pair in sorted(answers, key=lambda pair: (pair[0].moment, pair[1])):
        groups[pair[0].id or "", pair[0].annotator].append(pair)
    return groups


def _of_person(
    entries: Sequence[tuple[int, Row, Answer]], before: Answered, written: set[bytes], order: int
) -> tuple[list[Row], int]:
    """What one person's rows on one item add, and the order of collecting that was reached."""
    added: list[Row] = []
    for _, row, answer in entries:
        if answer.at is not None and dumps(row).encode() not in written:
            added.append(row)
    untimed = [entry for entry in entries if entry[2].at is None]
    if not untimed:
        return list({dumps(row): row for row in added}.values()), order
    latest = max((answer.moment[0] for answer, _ in before), default=_OLDEST)
    latest = max([latest, *(answer.at for _, _, answer in entries if answer.at is not None)])
    # Binary rows are judged together with those that are there, all others by the last row.
    parts = [(answer, ("", line)) for line, _, answer in untimed]
    binary = all(answer.about is not None for _, _, answer in untimed)
    last = verdict_of([*before, *parts] if binary else parts)[0]
    now = verdict_of(before)[0] if before else None
    if now is not None and _word(now) == _word(last) and not added:
        return [], order
    for row in {dumps(row): row for _, row, _ in untimed}.values():
        order += 1
        placed = {**row, "al_order": order}
        added.append(placed if latest == _OLDEST else {**placed, "al_after": latest})
    return added, order


def _word(answer: Answer) -> tuple[str | None, str, str | None, bool]:
    """What an answer says, whenever it was said."""
    return answer.batch, answer.kind, answer.label, answer.flagged


def bring(
    project: Project,
    name: str,
    tool: str,
    items: Sequence[Item],
    *,
    aside: Path,
    strict: bool,
    dry_run: bool,
) -> tuple[list[str], Sorted]:
    """Add a source's good rows to the newest round, put its bad rows aside. The lines of the report, and the heaps.

    Raises PipelineError for the first bad row when `strict`; then nothing is written.
    """
    newest, labels = project.last_round(), project.params().labels
    heaps = sort_out(items, project, labels)
    if heaps.bad and strict:
        item, _, why = heaps.bad[0]
        raise PipelineError(
            f"{name}:{item.line}", why, f"repair it ({len(heaps.bad)} such), or leave --strict out"
        )
    target = target_of(newest, name)
    lines_there = target.read_bytes().split(b"\n") if target.is_file() else []
    new, changed = additions(heaps.good, answers_in(newest, labels), lines_there)
    report = _report(name, tool, len(items), heaps, len(new), newest.number)
    if heaps.bad:
        report.append(f"  the {len(heaps.bad)} rows that cannot be used are in {aside.name}")
    report += _whose(heaps, changed)
    if not dry_run:
        if new:
            add_lines(target, "".join(dumps(row) + "\n" for row in new).encode())
        if heaps.bad:
            write_jsonl(
                aside,
                ({"line": item.line, "why": why, "row": item.raw} for item, _, why in heaps.bad),
            )
        else:
            aside.unlink(missing_ok=True)
    return report, heaps


def _report(name: str, tool: str, rows: int, heaps: Sorted, new: int, number: int) -> list[str]:
    """What a source held: counts, the first bad rows, and what was late or lost."""
    counts = ", ".join(f"{count} {what}" for what, count in heaps.counts().items()) or "nothing"
    lines = [f"{name} ({tool}): {rows} rows: {counts}; {new} new"]
    lines += [f"  {name}:{item.line}: {why}" for item, _, why in heaps.bad[:_SHOWN]]
    if len(heaps.bad) > _SHOWN:
        lines.append(f"  and {len(heaps.bad) - _SHOWN} more")
    lines += [f"  {note}: {count} rows" for note, count in sorted(heaps.notes.items())]
    if heaps.late:
        lines.append(
            f"  {heaps.late} came after their round was closed: they count from round {number} on"
        )
    return lines


def _whose(heaps: Sorted, changed: int) -> list[str]:
    """Whose answers they are taken for, where nothing but the file's name says it, and what they replace."""
    lines = []
    people = sorted(heaps.from_file_name)
    if people:
        lines.append(
            f"  taken for the answers of {', '.join(people)}, after the file's name; --annotator NAME says who"
        )
    if changed:
        what = (
            "1 answer of the same person changes"
            if changed == 1
            else f"{changed} answers of the same people change"
        )
        two = "; two people? collect each with --annotator NAME" if people else ""
        lines.append(f"  {what}: the last word counts{two}")
    return lines


def answers_in(one: Round, labels: Sequence[str]) -> Answered:
    """Every answer in the files of a round. Raises PipelineError for one that import_labels refuses."""
    return answers_of(one.folder, one.batch_id(), one.tasks(), list(labels))


def state_of(newest: Round, answers: Sequence[Answer]) -> tuple[list[str], int]:
    """Where the round stands: answered, missing, and whom to talk to. The lines of the report, and how many miss."""
    asked = [str(row["al_id"]) for row in newest.tasks()]
    voices: Mapping[str, dict[str, str]] = defaultdict(dict)
    for answer in answers:
        voices[str(answer.id)][answer.annotator] = answer.label or answer.kind
    missing = [item for item in asked if item not in voices]
    lines = [
        f"round {newest.number}: {len(asked) - len(missing)} of {len(asked)} items are answered"
    ]
    if missing:
        lines.append(f"  missing: {_some(missing)}")
    labels = {
        item: {answer.label for answer in answers if answer.id == item and answer.label}
        for item in voices
    }
    split = [item for item in asked if len(labels.get(item, ())) > 1]
    words = {
        item: ", ".join(f"{who} {what}" for who, what in voices[item].items())
        for item in split[:_SHOWN]
    }
    lines += [f"  annotators differ on {item}: {each}" for item, each in words.items()]
    if len(split) > _SHOWN:
        lines.append(f"  annotators differ on {len(split) - _SHOWN} more")
    spellings: Mapping[str, set[str]] = defaultdict(set)
    for answer in answers:
        spellings[answer.annotator.casefold().strip()].add(answer.annotator)
    lines += [
        f"  one person under several names? {_some(sorted(names))}"
        for names in spellings.values()
        if len(names) > 1
    ]
    return lines, len(missing)


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more


def collect(
    project: Project, files: Sequence[Path], *, forced: str | None = None, annotator: str | None = None,
    strict: bool = False, dry_run: bool = False,
) -> tuple[list[str], list[Sorted]]:  # fmt: skip
    """Bring every file home. The lines of the report, and the heaps of each file.

    Raises PipelineError for a file that cannot be read.
    """
    answers, read = project.last_round().answers, []
    for source in files:
        if source.resolve().parent == answers.resolve():
            raise PipelineError(source, "it is in its place already", "there is nothing to collect")
        try:
            read.append((source, *formats.read(source, source.read_bytes(), forced, annotator)))
        except OSError as error:
            raise PipelineError(
                source, f"cannot be read ({error.strerror})", "check the path"
            ) from error
    lines: list[str] = []
    heaps: list[Sorted] = []
    for dry in (
        (True, dry_run) if strict else (dry_run,)
    ):  # one bad row in any file: none is written
        lines, heaps = [], []
        for source, tool, items in read:
            aside = source.with_name(f"{source.name}.bad.jsonl")
            report, sorted_rows = bring(
                project, source.stem, tool, items, aside=aside, strict=strict, dry_run=dry
            )
            lines += report
            heaps.append(sorted_rows)
    return lines, heaps


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--from", "server", type=click.Choice(["label-studio"]), help="Ask this server for the answers."
)
@click.option("--url", help="The server's address.")
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="The file that holds the access token."
)
@click.option(
    "--format",
    "forced",
    type=click.Choice(list(formats.READERS)),
    help="Do not guess what the files are.",
)
@click.option("--annotator", metavar="NAME", help="Who answered, where a file does not say it.")
@click.option("--strict", is_flag=True, help="Refuse all files when one has a bad row.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@one_line_errors
def command(
    files: tuple[Path, ...], server: str | None, url: str | None, token_file: Path | None, forced: str | None,
    annotator: str | None, strict: bool, dry_run: bool,
) -> str:  # fmt: skip
    """Bring exported answers into the newest round: Prodigy, Label Studio, Argilla, doccano, CSV, Excel.

    An answer is matched by al_id, else by its text. Who answered is what the file says; else
    --annotator, else the file's name.
    """
    project = Project.find(Path())
    if server is None and not files:
        raise click.UsageError("name the files to collect, or --from label-studio")
    items: list[Item] = []
    if server is not None:
        from rounds.surfaces import label_studio

        if url is None or token_file is None:
            raise PipelineError(
                "rounds collect --from label-studio", "it needs --url and --token-file", "give both"
            )
        items = label_studio.fetch(project, url, label_studio.read_token(token_file))
    with exclusive(project.root, wait=True):
        newest = project.open_round()
        if server is not None:
            aside = project.root / "label-studio.bad.jsonl"
            lines, found = bring(
                project,
                "label-studio",
                "label-studio",
                items,
                aside=aside,
                strict=strict,
                dry_run=dry_run,
            )
            heaps = [found]
        else:
            lines, heaps = collect(
                project, files, forced=forced, annotator=annotator, strict=strict, dry_run=dry_run
            )
        held = keep_last(to_batch(answers_in(newest, project.params().labels), newest.batch_id()))
        state, missing = state_of(newest, [answer for answer, _ in held])
    click.echo("\n".join([*lines, *state]))
    return _ending(heaps, missing, dry_run=dry_run)


def _ending(heaps: Sequence[Sorted], missing: int, *, dry_run: bool) -> str:
    """The last line: what was done, and what to do next. Raises PipelineError where no row could be used."""
    bad = sum(len(one.bad) for one in heaps)
    if bad and not any(one.good or one.earlier for one in heaps):
        what = f"none of the {bad} answers could be used"
        raise PipelineError(
            "collect", what, "the lines above say why; mend them at their source, and collect again"
        )
    if dry_run:
        return "collect: nothing was written (--dry-run)"
    if missing:
        return (
            f"collect: done; next: get the {missing} missing answers, or `rounds close --partial`"
        )
    return "collect: done; next: rounds close"
