"""`rounds forget ID… --why`: take what rows hold out of the project, and go on without them.

For what has to go: personal data, what was never meant to be here, spam. The rows leave pool, seed
and test tables with their pictures, and so do all rows of the same content. Frozen batches and
answers lose the content and keep who was asked what and decided how. The model learns nothing from
these rows any more.

    the record (data/rounds/changed.jsonl) -> tables, batches, answers -> one commit

The record comes first, so that a command that was interrupted is finished by the next one, or by
the next `rounds close`. What git and DVC keep of the past is not touched: see docs/forget.md.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from shlex import quote

import click

from rounds.commands import Say, commit_paths, dvc, git, git_bytes, is_as_committed, is_committed
from rounds.content import circumstances, require_kept
from rounds.correct import whoever
from rounds.early import take_in
from rounds.enumeration import listed
from rounds.lock import exclusive
from rounds.past import changes, has_commits, read_blobs
from rounds.plain_words import PlainWords
from rounds.project import Project
from rounds.redaction import MACHINES, ROUNDS, Tables, forgotten_of, tables_of
from rounds.surfaces.desk import sole_writer
from rounds.tables_now import Source, TablesNow, tables_now
from stages.answers.changed import CHANGED, read_changed, read_record, renamed
from stages.answers.forgotten import forgotten_rows
from stages.answers.rounds import batch_folders, number_of
from stages.contract.canonical import Row, add_lines, jsonl, read_jsonl, sha256, write_bytes
from stages.contract.errors import PipelineError, closest
from stages.contract.progress import watched
from stages.contract.shell import one_line_errors
from stages.examples.places import is_url, opened
from stages.examples.tables import as_text

RECORD = f"{ROUNDS}{CHANGED}"
PURGE = "docs/forget.md says how to purge what git and DVC keep of the past"


@dataclass(frozen=True)
class Place:
    """A row of a table: where the table is, the row's id and content hash, its picture's file."""

    table: str
    id: str
    sha: str
    file: str


def forget(project: Project, items: Sequence[str], why: str, by: str, say: Say) -> list[Row]:
    """Take rows out of the project. The lines of the record about them, one for each content.

    Raises PipelineError for an unknown id, an empty reason, and what stands where `rounds` cannot
    write.
    """
    if not why.strip():
        raise PipelineError("--why", "no reason given", "say in a few words why; it is recorded")
    with exclusive(project.root, wait=True):
        if not has_commits(project):
            raise PipelineError(project.root, "no commit yet", "git add -A && git commit")
        settle_forgotten(project, say)
        take_in(project.root, project.rounds())
        require_kept(project)
        lines = _lines(project, dict.fromkeys(items))
        record = forgotten_rows(read_changed(_rounds(project)))
        recorded = {(row["id"], row["sha"]) for row in record}
        new = [line for line in lines if (line["id"], line["sha"]) not in recorded]
        if new:
            about = circumstances(project, why.strip(), by)
            add_lines(_rounds(project) / CHANGED, jsonl({**about, **line} for line in new))
        _commit(project, take_out(project, say))
    return lines


def settle_forgotten(project: Project, say: Say) -> list[str]:
    """Finish what an interrupted `rounds forget` left; the ids that it was about.

    The caller holds the project's lock.
    """
    path = _rounds(project) / CHANGED
    if not path.is_file() or not has_commits(project) or is_as_committed(project.root, path):
        return []
    before = b""
    if is_committed(project.root, path):
        before = git_bytes(project.root, "show", f"HEAD:./{RECORD}")
    new = read_record(_rounds(project))[len(before.splitlines()) :]
    ids = list(dict.fromkeys(row["id"] for row in forgotten_rows(new)))
    if ids:
        _commit(project, take_out(project, say))
    return ids


def _rounds(project: Project) -> Path:
    return project.rounds_folder


def _lines(project: Project, items: Collection[str]) -> list[Row]:
    """What is to be recorded: each id with each content that it has or was asked with.

    Rows of the same content under other ids are among them. Raises PipelineError for an id that
    has no row and was never asked, and where a row stands at a URL or beside a file of vectors.
    """
    tables = tables_now(project)
    sources = _sources(project, tables)
    wanted = set(items)
    here = [place for place in _places(tables, sources) if place.id in wanted]
    contents: dict[str, set[str]] = defaultdict(set)
    for place in here:
        contents[place.id].add(place.sha)
    for item, shas in _asked_contents(project, wanted, set(contents)).items():
        contents[item] |= shas
    unknown = [item for item in items if not contents.get(item)]
    if unknown:
        ids = [place.id for place in _places(tables, sources)]
        what = f"{unknown[0]!r} has no row and was never asked{closest(unknown[0], ids)}"
        raise PipelineError("ID", what, "check the id")
    every = {sha for shas in contents.values() for sha in shas}
    copies = [place for place in _places(tables, sources) if place.sha in every]
    _require_writable(project, copies)
    files: dict[tuple[str, str], set[str]] = defaultdict(set)
    for item, shas in contents.items():
        for sha in shas:
            files[item, sha] = set()
    for place in copies:
        files[place.id, place.sha] |= {place.file} - {""}
    return [
        {"kind": "forgotten", "id": item, "sha": sha, "files": sorted(names)}
        for (item, sha), names in sorted(files.items())
    ]


def _sources(project: Project, tables: TablesNow) -> list[Source]:
    """Every table of the project, the test table last."""
    test = str(project.root / project.params().data.test)
    return [*tables.sources, Source("test", test, numbered=True)]


def _places(tables: TablesNow, sources: Iterable[Source]) -> Iterator[Place]:
    """Every row of every table; one table is in memory at a time."""
    column = tables.params.data.image
    for source in watched("look for the rows", list(sources), "table"):
        with opened(source.url) as table:
            if not len(table):
                continue
            cells = table.column(column, "data.image") if column else [""] * len(table)
            names = ["" if as_text(cell).startswith("data:") else as_text(cell) for cell in cells]
            ids, shas = tables.identities(source, table)
            for item, sha, name in zip(ids, shas, names, strict=True):
                yield Place(source.url, item, sha, name)


def _asked_contents(
    project: Project, wanted: Collection[str], here: Collection[str]
) -> dict[str, set[str]]:
    """The contents with which ids of today were asked; of an id without a row, as it was then.

    here: the ids that have a row.
    """
    record = read_changed(_rounds(project))
    now: dict[str, set[str]] = defaultdict(set)
    left: dict[str, set[str]] = defaultdict(set)
    for folder in batch_folders(_rounds(project)):
        for row in read_jsonl(folder / "batch.jsonl"):
            today = renamed(row["id"], number_of(folder), record)
            if today is not None:
                now[today].add(row["sha"])
            else:
                left[row["id"]].add(row["sha"])
    gone = {item: left[item] for item in wanted if item not in here and item not in now}
    return gone | {item: now[item] for item in wanted if item in now}


def _require_writable(project: Project, places: Iterable[Place]) -> None:
    """Raises PipelineError where rows stand in what `rounds` cannot take them out of, or not now.

    A file of vectors has a row for each row of the tables; changes of a table that are not
    committed would be committed with it.
    """
    tables = dict.fromkeys(place.table for place in places)
    for table in tables:
        if is_url(table):
            what = "rows to be forgotten stand there, and rounds writes to no URL"
            raise PipelineError(table, what, "take them out there, and do this again")
        path = Path(table)
        is_ours = _kept_by_dvc(project, path) is None and is_committed(project.root, path)
        if is_ours and not is_as_committed(project.root, path):
            what = "it has changes that are not committed, and this would commit them too"
            raise PipelineError(path, what, "commit them (git add -A && git commit), or undo them")
    vectors = project.params().features.vectors
    if tables and (project.root / vectors).suffix != ".csv":
        what = "its rows stand in the order of the tables, and would not fit them any more"
        remedy = "put the vectors into a column of the tables (features.columns), and do this again"
        raise PipelineError(f"params.yaml features.vectors {vectors}", what, remedy)


def _kept_by_dvc(project: Project, path: Path) -> Path | None:
    """The file or folder that DVC keeps and that holds the path; None where git has it."""
    for held in (path, *path.parents):
        if held == project.root:
            break
        if held.with_name(f"{held.name}.dvc").is_file():
            return held
    return None


def take_out(project: Project, say: Say, *, is_held: bool = False) -> list[Path]:
    """Do what the record says; done twice it is done once. The files that it changed.

    The caller holds the project's lock. is_held: it keeps the page away, too.
    """
    tables = tables_of(project)
    if not tables.forgotten.ids:
        return []
    with ExitStack() as stack:
        if not is_held:
            _hold_open_batch(project, tables, stack)
        files = list(_files(project, tables))
        _record_hashes(project, tables, files)
        for path in files:
            data = path.read_bytes()
            kept = tables.of_file(_name(project, path), data)
            if kept != data:
                write_bytes(path, kept)
        _remove_pictures(project, tables)
    changed = _files_of_last_change(project, tables)
    by_dvc = {_kept_by_dvc(project, path) for path in changed} - {None}
    for held in sorted(path for path in by_dvc if path is not None):
        dvc(project.root, ["add", "--quiet", _name(project, held)], say)
        changed.append(held.with_name(f"{held.name}.dvc"))
    return changed


def _hold_open_batch(project: Project, tables: Tables, stack: ExitStack) -> None:
    """Keep the page away from an open batch that loses a row.

    Raises PipelineError while it is served: the page has the content in memory.
    """
    rounds = project.rounds()
    if rounds and rounds[-1].batch_id() in tables.forgotten.rounds.batches:
        stack.enter_context(sole_writer(rounds[-1]))


def _name(project: Project, path: Path) -> str:
    return path.relative_to(project.root).as_posix()


def _files(project: Project, tables: Tables) -> Iterator[Path]:
    """The files of the working tree that may hold what is forgotten, pictures left out."""
    for name in dict.fromkeys(tables.names):
        path = project.root / name
        if path.is_dir():
            yield from sorted(part for part in path.iterdir() if part.is_file())
        elif path.is_file():
            yield path
    for folder in (ROUNDS, MACHINES):
        yield from sorted((project.root / folder).rglob("*.jsonl"))


def _record_hashes(project: Project, tables: Tables, files: Iterable[Path]) -> None:
    """Record what each file is before and after, as it is now and as any commit holds it.

    So a frozen batch is still known, and so is an old commit whose history was purged.
    """
    from rounds.dvc_files import md5

    versions = ((_name(project, path), path.read_bytes()) for path in files)
    written = {
        (row["file"], row["was"], row["now"])
        for row in read_record(_rounds(project))
        if row["kind"] == "redacted"
    }
    newest = max(row["change"] for row in read_record(_rounds(project)))
    rows: dict[tuple[str, str, str], Row] = {}
    for path, data in chain(versions, past_versions(project, tables)):
        kept = tables.of_file(path, data)
        key = (path, sha256(data), sha256(kept))
        if kept != data and key not in written:
            facts = {"change": newest, "round": len(project.rounds()), "kind": "redacted"}
            hashes = {"was": key[1], "now": key[2], "md5": [md5(data), md5(kept)]}
            rows[key] = {**facts, "file": path, **hashes}
    if rows:
        add_lines(_rounds(project) / CHANGED, jsonl(rows.values()))


def past_versions(project: Project, tables: Tables) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of every version that a commit of any branch holds of what may be redacted."""
    for blob, path in past_blobs(project, tables):
        yield path, read_blobs(project, [blob])[blob]


def past_blobs(project: Project, tables: Tables) -> list[tuple[str, str]]:
    """Blob id and path of those versions, each once."""
    folders = (ROUNDS, MACHINES, *tables.names, *([tables.images] if tables.images else []))
    steps = changes(project, *(name.rstrip("/") for name in folders), at="--all")
    blobs = ((blob, step.path) for step in steps for blob in (step.old, step.new) if blob)
    return list(dict.fromkeys(blobs))


def _files_of_last_change(project: Project, tables: Tables) -> list[Path]:
    """The record, and all files that the last `rounds forget` took something out of.

    Those too that it had written before it was interrupted.
    """
    rows = read_record(_rounds(project))
    newest = max(row["change"] for row in rows)
    mine = [row for row in rows if row["change"] == newest]
    names = [RECORD, *(row["file"] for row in mine if row["kind"] == "redacted")]
    names += [f"{tables.images}/{name}" for row in mine for name in row.get("files", ())]
    return [project.root / name for name in dict.fromkeys(names)]


def _remove_pictures(project: Project, tables: Tables) -> None:
    """Remove the files of pictures that are forgotten and that no row names any more."""
    if not tables.images or not tables.forgotten.files:
        return
    column = tables.now.params.data.image
    named = set[str]()
    for source in _sources(project, tables.now):
        with opened(source.url) as table:
            if len(table):
                named |= {as_text(cell) for cell in table.column(column, "data.image")}
    folder = project.root / tables.images
    paths = [folder / name for name in sorted(tables.forgotten.files - named)]
    for path in paths:
        path.unlink(missing_ok=True)


def _commit(project: Project, paths: Iterable[Path]) -> None:
    """Commit what was taken out. Files that git does not hold yet are committed by a close."""
    record = _rounds(project) / CHANGED
    names = [_name(project, path) for path in paths]
    tracked = git(project.root, "ls-files", "-z", "--", *names).split("\0")
    mine = list(dict.fromkeys([_name(project, record), *(name for name in tracked if name)]))
    git(project.root, "add", "--all", "--", *mine)
    if not git(project.root, "diff", "--cached", "--name-only", "--", *mine).strip():
        return
    rows = forgotten_rows(read_record(_rounds(project)))
    last = [row for row in rows if row["change"] == rows[-1]["change"]]
    subject = f"Forgotten: {_count(last)}"
    body = f"{listed(_ids(last), 10)}: {last[0]['why']} ({last[0]['by']})"
    commit_paths(project.root, mine, subject, body)


def _ids(lines: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(line["id"] for line in lines))


def _count(lines: Iterable[Row]) -> str:
    count = len(_ids(lines))
    return "1 row" if count == 1 else f"{count} rows"


def _sentence(project: Project, items: Sequence[str], lines: list[Row]) -> str:
    """What was done, copies named, and what to type next."""
    copies = [item for item in _ids(lines) if item not in items]
    also = f", with {listed(copies, 3)} of the same content" if copies else ""
    asked = len(forgotten_of(project).rounds.batches)
    batches = "1 batch holds" if asked == 1 else f"{asked} batches hold"
    redacted = f"; {batches} of them ids and decisions alone" if asked else ""
    return f"forget: {_count(lines)} left{also}{redacted}; {PURGE}\nnext: rounds close"


def prepare_purge(project: Project) -> tuple[Path, int]:
    """Write what each old version is without what is forgotten. The folder, and how many there are.

    A file of the folder has the id of the git blob that it stands for. Nothing else is changed.
    """
    folder = project.root / git(project.root, "rev-parse", "--git-path", "forgotten").strip()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tables = tables_of(project)
    for blob, path in past_blobs(project, tables):
        data = read_blobs(project, [blob])[blob]
        kept = tables.of_file(path, data)
        if kept != data:
            write_bytes(folder / blob, kept)
    return folder, len(list(folder.iterdir()))


def _purge_commands(folder: Path) -> str:
    """What to type, for git's history and for DVC's."""
    read = f"file = pathlib.Path({str(folder)!r}, blob.original_id.decode())"
    callback = (
        f"import pathlib; {read}; blob.data = file.read_bytes() if file.is_file() else blob.data"
    )
    return "\n".join(
        [
            "git clone --mirror . ../before-the-purge.git   # a way back, until you delete it",
            f"git filter-repo --force --blob-callback {quote(callback)}",
            "dvc gc --workspace --cloud --force   # without --cloud where there is no remote",
            "rounds verify",
        ]
    )


@click.command(cls=PlainWords)
@click.argument("items", nargs=-1, metavar="ID...")
@click.option("--why", default="", help="The reason; it stands in the record.")
@click.option("--by", help="Who says so.  [default: git's user.name]")
@click.option(
    "--purge",
    is_flag=True,
    help="Print what takes the forgotten out of git's and DVC's past; nothing is done.",
)
@one_line_errors
def command(items: tuple[str, ...], why: str, by: str | None, *, purge: bool) -> str:
    """Take what rows hold out of the project: personal data, spam, what may not be kept.

    The rows leave the tables, with all rows of the same content and their pictures. Batches and
    answers of old rounds lose text, picture, fields and notes, and keep ids, hashes, labels, names
    and times, so that `rounds verify` still proves the rest. Nothing is learnt from the rows any
    more. One commit holds it; the past of git and DVC is purged by hand (docs/forget.md).
    """
    if purge == bool(items):
        raise click.UsageError("name the IDs to forget, or --purge")
    project = Project.find(Path())
    if purge:
        folder, count = prepare_purge(project)
        if count:
            click.echo(_purge_commands(folder))
        versions = "1 old version" if count == 1 else f"{count} old versions"
        return f"forget: git's past has {versions} of files with what is forgotten"
    lines = forget(
        project, items, why, whoever(project, by), lambda line: click.echo(line, err=True)
    )
    return _sentence(project, items, lines)
