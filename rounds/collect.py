"""`rounds collect`: bring answers home, into data/rounds/NNN/answers/, checked row by row.

Collecting twice, in any order, or in pieces gives the same state: rows are added to what is there, never
twice, and never taken away. Rows that cannot be used are kept aside, beside their source, with the reason. Rows that
come after their round was closed go into the open round, and count from its closing on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from rounds.lock import exclusive
from rounds.project import Project, Round
from rounds.surfaces import formats
from rounds.surfaces.formats import Item
from stages import _prodigy
from stages._canonical import Row, add_lines, dumps, write_jsonl
from stages._errors import PipelineError, closest
from stages._prodigy import Answer, NotAnAnswer, keep_last
from stages._shell import one_line_errors
from stages.import_labels import answers_of, to_batch

_KINDS = {
    "label": "answered",
    "override": "answered",
    "skip": "skipped",
    "reject": "rejected",
    "empty": "empty accepts",
}
_SHOWN = 10


class _Bad(Exception):  # noqa: N818 - a verdict on a row
    """Why a row is not taken: the fault's name, and a sentence."""

    def __init__(self, fault: str, why: str) -> None:
        self.fault = fault
        super().__init__(why)


@dataclass
class Sorted:
    """Every item of one file, in one of four heaps.

    good        (line, db-out row with its id and batch, the answer)
    bad         (item, fault, reason)
    earlier     rows of earlier rounds that are held already: a dataset that serves several rounds brings them along
    unanswered  rows that nobody answered
    late        good rows of earlier rounds
    changed     good rows whose text is not the text that was asked
    """

    good: list[tuple[int, Row, Answer]] = field(default_factory=list)
    bad: list[tuple[Item, str, str]] = field(default_factory=list)
    earlier: int = 0
    unanswered: int = 0
    late: int = 0
    changed: int = 0

    def counts(self) -> dict[str, int]:
        """What a person wants to know of a file, in the order to tell it; zeros are left out."""
        counts = Counter(_KINDS.get(answer.kind, answer.kind) for _, _, answer in self.good)
        counts["flagged"] = sum(answer.flagged for _, _, answer in self.good)
        counts["superseded"] = len(self.good) - len({(answer.id, answer.annotator) for _, _, answer in self.good})
        counts.update(fault for _, fault, _ in self.bad)
        counts |= Counter({"unanswered": self.unanswered, "of earlier rounds": self.earlier, "late": self.late})
        counts["with another text than asked"] = self.changed
        return {name: count for name, count in counts.items() if count}


Said = tuple[str | None, str | None, str, str, str | None, float | None]


def said(answer: Answer, batch: str) -> Said:
    """By what an answer is known again, however it was exported."""
    return batch, answer.id, answer.annotator, answer.kind, answer.label, answer.at


def sort_out(
    items: Iterable[Item],
    tasks: Mapping[str, Sequence[Row]],
    labels: Sequence[str],
    batch: str,
    held: Container[Said] = (),
) -> Sorted:
    """Which items answer this batch or an earlier one, and what is wrong with the others. Each is in exactly one heap.

    tasks: what was asked, by batch, in this batch and earlier ones. held: the answers to earlier ones that are known.
    """
    found = Sorted()
    finders = {name: _prodigy.finder(rows) for name, rows in tasks.items()}
    texts = {name: {row["al_id"]: row.get("text") for row in rows} for name, rows in tasks.items()}
    for item in items:
        if item.row is None and not item.why:
            found.unanswered += 1
            continue
        try:
            answer = _understood(item, labels)
            asked = batch if answer.batch is None else answer.batch
            if asked not in tasks:
                raise _Bad("wrong batch", f"batch {answer.batch!r} is not the one that was asked")
            known = finders[asked](answer)
            if known is None:
                what = f"id {answer.id!r} was not asked" if answer.id is not None else "no asked item has this content"
                raise _Bad("unknown ids", what)
            if answer.label is not None and answer.label not in labels:
                what = f"label {answer.label!r} is not in labels{closest(answer.label, labels)}"
                raise _Bad("unknown labels", what)
        except _Bad as bad:
            found.bad.append((item, bad.fault, str(bad)))
            continue
        answer = replace(answer, id=known)
        if asked != batch and said(answer, asked) in held:
            found.earlier += 1
            continue
        found.late += asked != batch
        found.changed += answer.text not in (None, texts[asked][known])
        found.good.append((item.line, {**(item.row or {}), "al_id": known, "al_batch": asked}, answer))
    return found


def _understood(item: Item, labels: Sequence[str]) -> Answer:
    if item.row is None:
        raise _Bad("malformed", item.why)
    try:
        return _prodigy.read_answer(item.row, labels)
    except NotAnAnswer as reason:
        raise _Bad("malformed", str(reason)) from reason


def target_of(newest: Round, name: str) -> Path:
    """The answer file that a source's rows go to; a page's own session files are not written to."""
    return newest.answers / (f"collected-{name}.jsonl" if name.startswith("session-") else f"{name}.jsonl")


def _new_lines(target: Path, rows: Iterable[Row]) -> list[str]:
    """The rows as lines that the target does not hold yet, each once."""
    held = set(target.read_bytes().split(b"\n")) if target.is_file() else set()
    return [line + "\n" for line in dict.fromkeys(dumps(row) for row in rows) if line.encode() not in held]


def bring(
    project: Project, name: str, tool: str, items: Sequence[Item], *, aside: Path, strict: bool, dry_run: bool
) -> list[str]:
    """Add a source's good rows to the newest round, put its bad rows aside. The lines of the report.

    Raises PipelineError for the first bad row when `strict`; then nothing is written.
    """
    newest, labels = project.last_round(), project.params().labels
    batch, named = newest.batch_id(), [item.row.get("al_batch") for item in items if item.row]
    asked = [one for one in project.rounds() if one.number == newest.number or one.batch_id() in named]
    tasks = {one.batch_id(): one.tasks() for one in asked}
    since = [one for one in project.rounds() if one.number >= asked[0].number] if len(asked) > 1 else []
    held = {said(answer, answer.batch or one.batch_id()) for one in since for answer, _ in answers_in(one, labels)}
    found = sort_out(items, tasks, labels, batch, held)
    if found.bad and strict:
        item, _, why = found.bad[0]
        raise PipelineError(f"{name}:{item.line}", why, f"repair it ({len(found.bad)} such), or leave --strict out")
    target = target_of(newest, name)
    new = _new_lines(target, (row for _, row, _ in found.good))
    told = ", ".join(f"{count} {what}" for what, count in found.counts().items()) or "nothing"
    lines = [f"{name} ({tool}): {len(items)} rows: {told}; {len(new)} new"]
    lines += [f"  {name}:{item.line}: {why}" for item, _, why in found.bad[:_SHOWN]]
    if len(found.bad) > _SHOWN:
        lines.append(f"  and {len(found.bad) - _SHOWN} more")
    if found.bad:
        lines.append(f"  the {len(found.bad)} rows that cannot be used are in {aside.name}")
    if found.late:
        lines.append(f"  {found.late} came after their round was closed: they count from round {newest.number} on")
    if not dry_run:
        if new:
            add_lines(target, "".join(new).encode())
        if found.bad:
            write_jsonl(aside, ({"line": item.line, "why": why, "row": item.raw} for item, _, why in found.bad))
        else:
            aside.unlink(missing_ok=True)
    return lines


def answers_in(one: Round, labels: Sequence[str]) -> list[tuple[Answer, tuple[str, int]]]:
    """Every answer in the files of a round. Raises PipelineError for one that import_labels refuses."""
    return answers_of(one.folder, one.batch_id(), one.tasks(), list(labels))


def state_of(newest: Round, answers: Sequence[Answer]) -> list[str]:
    """Where the round stands: answered, missing, and whom to talk to. The lines of the report."""
    asked = [str(row["al_id"]) for row in newest.tasks()]
    voices: Mapping[str, dict[str, str]] = defaultdict(dict)
    for answer in answers:
        voices[str(answer.id)][answer.annotator] = answer.label or answer.kind
    missing = [item for item in asked if item not in voices]
    lines = [f"round {newest.number}: {len(asked) - len(missing)} of {len(asked)} items are answered"]
    if missing:
        lines.append(f"  missing: {_some(missing)}")
    labels = {item: {answer.label for answer in answers if answer.id == item and answer.label} for item in voices}
    split = [item for item in asked if len(labels.get(item, ())) > 1]
    told = {item: ", ".join(f"{who} {what}" for who, what in voices[item].items()) for item in split[:_SHOWN]}
    lines += [f"  annotators differ on {item}: {words}" for item, words in told.items()]
    if len(split) > _SHOWN:
        lines.append(f"  annotators differ on {len(split) - _SHOWN} more")
    spellings: Mapping[str, set[str]] = defaultdict(set)
    for answer in answers:
        spellings[answer.annotator.casefold().strip()].add(answer.annotator)
    lines += [
        f"  one person under several names? {_some(sorted(names))}" for names in spellings.values() if len(names) > 1
    ]
    return lines


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more


def collect(
    project: Project, files: Sequence[Path], *, forced: str | None = None, strict: bool = False, dry_run: bool = False
) -> list[str]:
    """Bring every file home. The lines of the report. Raises PipelineError for a file that cannot be read."""
    answers, read = project.last_round().answers, []
    for source in files:
        if source.resolve().parent == answers.resolve():
            raise PipelineError(source, "it is in its place already", "there is nothing to collect")
        try:
            read.append((source, *formats.read(source, source.read_bytes(), forced)))
        except OSError as error:
            raise PipelineError(source, f"cannot be read ({error.strerror})", "check the path") from error
    lines: list[str] = []
    for dry in (True, dry_run) if strict else (dry_run,):  # one bad row in any file: none is written
        lines = []
        for source, tool, items in read:
            aside = source.with_name(f"{source.name}.bad.jsonl")
            lines += bring(project, source.stem, tool, items, aside=aside, strict=strict, dry_run=dry)
    return lines


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--from", "server", type=click.Choice(["label-studio"]), help="Ask this server for the answers.")
@click.option("--url", help="The server's address.")
@click.option("--token-file", type=click.Path(path_type=Path), help="The file that holds the access token.")
@click.option("--format", "forced", type=click.Choice(list(formats.READERS)), help="Do not guess what the files are.")
@click.option("--strict", is_flag=True, help="Refuse all files when one has a bad row.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@one_line_errors
def command(
    files: tuple[Path, ...],
    server: str | None,
    url: str | None,
    token_file: Path | None,
    forced: str | None,
    strict: bool,
    dry_run: bool,
) -> str:
    """Bring exported answers into the newest round: Prodigy, Label Studio, Argilla, doccano, CSV."""
    project = Project.find(Path())
    if server is None and not files:
        raise click.UsageError("name the files to collect, or --from label-studio")
    items: list[Item] = []
    if server is not None:
        from rounds.surfaces import label_studio

        if url is None or token_file is None:
            raise PipelineError("rounds collect --from label-studio", "it needs --url and --token-file", "give both")
        items = label_studio.fetch(project, url, label_studio.read_token(token_file))
    with exclusive(project.root, wait=True):
        newest = project.open_round()
        if server is not None:
            aside = project.root / "label-studio.bad.jsonl"
            lines = bring(project, "label-studio", "label-studio", items, aside=aside, strict=strict, dry_run=dry_run)
        else:
            lines = collect(project, files, forced=forced, strict=strict, dry_run=dry_run)
        held = keep_last(to_batch(answers_in(newest, project.params().labels), newest.batch_id()))
        lines += state_of(newest, [answer for answer, _ in held])
    click.echo("\n".join(lines))
    return "collect: nothing was written (--dry-run)" if dry_run else "collect: done; next: rounds close"
