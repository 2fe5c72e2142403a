"""`rounds collect`: bring answers home, into data/rounds/NNN/answers/, checked row by row.

Collecting twice, in any order, or in pieces gives the same state: rows are added to what is there, never
twice, and never taken away. Rows that cannot be used are kept aside, beside their source, with the reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from rounds.lock import exclusive
from rounds.project import Project, Round
from rounds.surfaces import formats
from rounds.surfaces.formats import Item
from stages import _prodigy
from stages._canonical import Row, dumps, numbered_rows, write_bytes, write_jsonl
from stages._errors import PipelineError, closest
from stages._prodigy import Answer, NotAnAnswer
from stages._shell import one_line_errors

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
    earlier     rows of rounds that are over: a dataset that serves several rounds brings them along
    unanswered  rows that nobody answered
    changed     good rows whose text is not the text that was asked
    """

    good: list[tuple[int, Row, Answer]] = field(default_factory=list)
    bad: list[tuple[Item, str, str]] = field(default_factory=list)
    earlier: int = 0
    unanswered: int = 0
    changed: int = 0

    def counts(self) -> dict[str, int]:
        """What a person wants to know of a file, in the order to tell it; zeros are left out."""
        counts = Counter(_KINDS.get(answer.kind, answer.kind) for _, _, answer in self.good)
        counts["flagged"] = sum(answer.flagged for _, _, answer in self.good)
        counts["superseded"] = len(self.good) - len({(answer.id, answer.annotator) for _, _, answer in self.good})
        counts.update(fault for _, fault, _ in self.bad)
        counts |= Counter({"unanswered": self.unanswered, "of earlier rounds": self.earlier})
        counts["with another text than asked"] = self.changed
        return {name: count for name, count in counts.items() if count}


def sort_out(
    items: Iterable[Item], tasks: Sequence[Row], labels: Sequence[str], batch: str, earlier: frozenset[str]
) -> Sorted:
    """Which items answer this batch, and what is wrong with the others. Every item is in exactly one heap.

    earlier: ids of the batches before this one.
    """
    found, find = Sorted(), _prodigy.finder(tasks)
    texts = {row["al_id"]: row.get("text") for row in tasks}
    for item in items:
        if item.row is None and not item.why:
            found.unanswered += 1
            continue
        try:
            answer = _understood(item, labels)
            if answer.batch in earlier:
                found.earlier += 1
                continue
            if answer.batch not in (None, batch):
                raise _Bad("wrong batch", f"batch {answer.batch!r} is not the one that was asked")
            known = find(answer)
            if known is None:
                what = f"id {answer.id!r} was not asked" if answer.id is not None else "no asked item has this content"
                raise _Bad("unknown ids", what)
            if answer.label is not None and answer.label not in labels:
                what = f"label {answer.label!r} is not in labels{closest(answer.label, labels)}"
                raise _Bad("unknown labels", what)
        except _Bad as bad:
            found.bad.append((item, bad.fault, str(bad)))
            continue
        found.changed += answer.text not in (None, texts[known])
        found.good.append(
            (item.line, {**(item.row or {}), "al_id": known, "al_batch": batch}, replace(answer, id=known))
        )
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
    held = set(target.read_text(encoding="utf-8").split("\n")) if target.is_file() else set()
    return [line + "\n" for line in dict.fromkeys(dumps(row) for row in rows) if line not in held]


def bring(
    project: Project, name: str, tool: str, items: Sequence[Item], *, aside: Path, strict: bool, dry_run: bool
) -> list[str]:
    """Add a source's good rows to the newest round, put its bad rows aside. The lines of the report.

    Raises PipelineError for the first bad row when `strict`; then nothing is written.
    """
    newest, labels = project.last_round(), project.params().labels
    if newest.closed_early.exists():
        raise PipelineError(newest.folder, "this round is closed", "issue the next: `rounds issue`")
    earlier = frozenset(str(done.manifest()["batch_id"]) for done in project.rounds()[:-1])
    found = sort_out(items, newest.tasks(), labels, str(newest.manifest()["batch_id"]), earlier)
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
    if not dry_run:
        if new:
            before = target.read_bytes() if target.is_file() else b""
            write_bytes(target, before + "".join(new).encode())
        if found.bad:
            write_jsonl(aside, ({"line": item.line, "why": why, "row": item.raw} for item, _, why in found.bad))
        else:
            aside.unlink(missing_ok=True)
    return lines


def standing(newest: Round, labels: Sequence[str]) -> list[Answer]:
    """The last word of everybody on every item of a round, from all its answer files."""
    find, said = _prodigy.finder(newest.tasks()), []
    for path in newest.answer_files():
        for line, row in numbered_rows(path):
            try:
                answer = _prodigy.read_answer(row, labels)
            except NotAnAnswer as reason:
                raise PipelineError(f"{path}:{line}", str(reason), "repair or remove the line") from reason
            said.append((replace(answer, id=find(answer)), (path.name, line)))
    return [answer for answer, _ in _prodigy.keep_last(said)]


def state_of(newest: Round, answers: Sequence[Answer]) -> list[str]:
    """Where the round stands: answered, missing, and whom to talk to. The lines of the report."""
    asked = [str(row["al_id"]) for row in newest.tasks()]
    said: Mapping[str, dict[str, str]] = defaultdict(dict)
    for answer in answers:
        if answer.id is not None:
            said[answer.id][answer.annotator] = answer.label or answer.kind
    missing = [item for item in asked if item not in said]
    lines = [f"round {newest.number}: {len(asked) - len(missing)} of {len(asked)} items are answered"]
    if missing:
        lines.append(f"  missing: {_some(missing)}")
    labels = {item: {answer.label for answer in answers if answer.id == item and answer.label} for item in said}
    split = [item for item in asked if len(labels.get(item, ())) > 1]
    told = {item: ", ".join(f"{who} {what}" for who, what in said[item].items()) for item in split[:_SHOWN]}
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
    lines = []
    for source, tool, items in read:
        aside = source.with_name(f"{source.name}.bad.jsonl")
        lines += bring(project, source.stem, tool, items, aside=aside, strict=strict, dry_run=dry_run)
    return lines


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--from", "server", type=click.Choice(["label-studio"]), help="Ask this server for the answers.")
@click.option("--url", help="The server's address.")
@click.option("--token-file", type=click.Path(path_type=Path), help="The file that holds the access token.")
@click.option("--format", "forced", type=click.Choice(list(formats.READERS)), help="Do not guess what the files are.")
@click.option("--strict", is_flag=True, help="Refuse a file that has any bad row.")
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
        if server is not None:
            aside = project.root / "label-studio.bad.jsonl"
            lines = bring(project, "label-studio", "label-studio", items, aside=aside, strict=strict, dry_run=dry_run)
        else:
            lines = collect(project, files, forced=forced, strict=strict, dry_run=dry_run)
        newest = project.last_round()
        lines += state_of(newest, standing(newest, project.params().labels))
    click.echo("\n".join(lines))
    return "collect: nothing was written (--dry-run)" if dry_run else "collect: done; next: rounds close"
