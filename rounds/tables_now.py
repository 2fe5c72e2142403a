"""What pool and seed hold now: the content of an id that was asked, the id of a content.

The pool is one table, or many parts in a folder or at a URL. One table is in memory at a time. A
table that has not changed since it was last looked at is not read again (`.dvc/tmp/compared.json`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rounds.project import Project
from stages.contract.canonical import dumps, sha256, write_json
from stages.contract.params import Params
from stages.contract.progress import watched
from stages.examples.content import exact_bytes, identities, number_columns
from stages.examples.places import fingerprint, in_parts, is_url, list_parts, opened
from stages.examples.tables import Table, as_text


@dataclass(frozen=True)
class Source:
    """One table of the pool or the seed, at a path or a URL."""

    split: str
    url: str
    numbered: bool  # ids made of content: whether repeats get -2, -3; not in parts


@dataclass(frozen=True)
class Seen:
    """A table as it was when it was last looked at.

    mark: its fingerprint; columns: their names; contents: hashes by id, of the ids looked for.
    """

    mark: str
    columns: list[str]
    contents: dict[str, str]


@dataclass(frozen=True)
class TablesNow:
    """The tables of pool and seed, in this order, and how the content of a row is found in them.

    params: with `data.images` as a full path. fields: the columns that are a row's content where it
    has neither text nor image, else none.
    """

    sources: list[Source]
    params: Params
    fields: list[str] | None
    memory: Path | None  # the file of Seen; None where fingerprints of tables say too little

    def contents(self, ids: Collection[str], *, anew: bool = False) -> dict[str, str]:
        """The content hash of each of those ids that has a row. anew: read every table."""
        question = self._question(ids)
        remembered = {} if anew else _remembered(self.memory, question)
        seen: dict[str, Seen] = {}
        shas: dict[str, str] = {}
        for source in watched("compare with what was asked", self.sources, "table"):
            mark = fingerprint(source.url)
            table = remembered.get(source.url)
            if table is None or not mark or table.mark != mark:
                table = self._look_at(source, mark, ids)
            seen[source.url] = table
            shas |= table.contents
        if self.memory is not None and seen != remembered:
            tables = {url: asdict(table) for url, table in seen.items()}
            with suppress(OSError):
                write_json(self.memory, {"question": question, "tables": tables})
        return shas

    def ids_of(self, shas: Collection[str]) -> dict[str, str]:
        """The first id that holds each of those contents."""
        first: dict[str, str] = {}
        for source in watched("look for what was judged", self.sources, "table"):
            with opened(source.url) as table:
                for item, sha in zip(*self.identities(source, table), strict=True):
                    if sha in shas:
                        first.setdefault(sha, item)
        return first

    def _look_at(self, source: Source, mark: str, ids: Collection[str]) -> Seen:
        """The contents of those ids that a table holds.

        With an id column, only their rows are hashed.
        """
        with opened(source.url) as table:
            columns = list(table.columns)
            if not self.params.data.id:
                every = zip(*self.identities(source, table), strict=True)
                return Seen(mark, columns, {item: sha for item, sha in every if item in ids})
            names = [as_text(cell) for cell in table.column(self.params.data.id, "data.id")]
            rows = [row for row, name in enumerate(names) if name in ids]
            contents = exact_bytes(self._rows(table, rows), self.params, self.fields)
            shas = map(sha256, contents)
            return Seen(
                mark, columns, {names[row]: sha for row, sha in zip(rows, shas, strict=True)}
            )

    def identities(self, source: Source, table: Table) -> tuple[list[str], list[str]]:
        """Ids and content hashes of the rows of a table."""
        return identities(
            table, self.params, source.split, counted=source.numbered, columns=self.fields
        )

    def _rows(self, table: Table, rows: Sequence[int]) -> Table:
        """Some rows of a table, with the columns that are their content."""
        data = self.params.data
        names = [data.image or data.text] if data.image or data.text else self.fields or []
        cells = {name: table.column(name, "the content's column") for name in names}
        columns = {name: [column[row] for row in rows] for name, column in cells.items()}
        return Table(table.path, columns, [table.lines[row] for row in rows])

    def _question(self, ids: Collection[str]) -> str:
        """A hash of what is looked for; for other ids or columns nothing is remembered."""
        return sha256(dumps([sorted(ids), self.params.data.model_dump(), self.fields]))


def tables_now(project: Project) -> TablesNow:
    """The tables as they stand. Raises PipelineError for a URL that cannot be listed."""
    params = project.params()
    images = project.root / params.data.images
    data = params.data.model_copy(update={"images": str(images)})
    here = params.model_copy(update={"data": data})
    pool = pool_of(project)
    parted = in_parts(pool)
    urls = list_parts(pool) if parted else [pool]
    sources = [Source("pool", url, numbered=not parted) for url in urls]
    sources.append(Source("seed", str(project.root / data.seed), numbered=True))
    # The bytes of image files may change where no table does.
    named_files = bool(data.image) and images.is_dir()
    memory = None if named_files else project.root / ".dvc" / "tmp" / "compared.json"
    return TablesNow(sources, here, _fields(urls[0], params, memory), memory)


def _fields(first: str, params: Params, memory: Path | None) -> list[str] | None:
    """The numeric columns that are a row's content, by the pool's first table; None for others."""
    if params.data.text or params.data.image:
        return None
    if params.features.columns:
        return params.features.columns
    seen = _remembered(memory).get(first)
    if seen is not None and seen.mark and seen.mark == fingerprint(first):
        header = seen.columns
    else:
        with opened(first) as table:
            header = list(table.columns)
    return number_columns(Table(first, {name: [] for name in header}, []), params)


def pool_of(project: Project) -> str:
    """The path or URL of the pool's table or parts."""
    pool = project.params().data.pool
    return pool if is_url(pool) else str(project.root / pool)


def _remembered(memory: Path | None, question: str = "") -> dict[str, Seen]:
    """What was seen in each table, by its URL; nothing if other ids were looked for then."""
    if memory is None:
        return {}
    try:
        document = json.loads(memory.read_bytes())
        if question and document["question"] != question:
            return {}
        return {url: Seen(**table) for url, table in document["tables"].items()}
    except (OSError, ValueError, LookupError, TypeError):
        return {}
