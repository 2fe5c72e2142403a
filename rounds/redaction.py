"""What is taken out of a project's files for rows that were forgotten: the same of any version.

A file of today, or of an old commit, becomes the file without what the record says is forgotten:
rows leave the tables, pictures are emptied, tasks and answers lose their content, machines' replies
their words. What was done already is not done again, so two versions of a file can be compared as
they are without it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from rounds.project import Project
from rounds.table_rows import without_rows
from rounds.tables_now import TablesNow, tables_now
from stages.answers.changed import read_changed, read_record
from stages.answers.forgotten import Redaction, forgotten_rows, redaction_of
from stages.contract.canonical import Row, dumps, sha256, write_bytes
from stages.contract.errors import PipelineError
from stages.examples.content import exact_bytes, image_bytes
from stages.examples.places import is_url
from stages.examples.tables import Table, as_text, read_table
from stages.machines.frozen import ANSWERS

ROUNDS = "data/rounds/"
MACHINES = "data/machines/"


@dataclass(frozen=True)
class Forgotten:
    """What is forgotten in a project.

    rounds: of its batches; ids: of rows; shas: of their contents; files: of their pictures.
    """

    rounds: Redaction
    ids: frozenset[str] = frozenset()
    shas: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()

    def of_file(self, path: str, data: bytes) -> bytes:
        """A file of data/rounds or data/machines without what is forgotten; others as they are."""
        if path.startswith(ROUNDS):
            return self.rounds.of_file(path.removeprefix(ROUNDS), data)
        if self.ids and path.startswith(MACHINES) and path.endswith(f"/{ANSWERS}"):
            return _machine_answers(data, self.ids)
        return data


def forgotten_of(project: Project) -> Forgotten:
    """What the project's record says is forgotten."""
    rows = forgotten_rows(read_changed(project.rounds_folder))
    return Forgotten(
        redaction_of(project.rounds_folder),
        frozenset(row["id"] for row in rows),
        frozenset(row["sha"] for row in rows),
        frozenset(name for row in rows for name in row.get("files", ())),
    )


def _machine_answers(data: bytes, ids: Collection[str]) -> bytes:
    """A machine's answers without its own words on what is forgotten; the labels stay."""
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        row = json.loads(line) if line.strip() else {}
        if row.get("id") in ids and row.get("raw"):
            lines[number] = dumps({**row, "raw": ""}).encode()
    return b"\n".join(lines)


@dataclass(frozen=True)
class Tables:
    """The tables and pictures of a project, and what leaves them.

    names: of the tables, and of the pool's folder where it is in parts, from the project's root;
    images: the folder of pictures, "" for none.
    """

    now: TablesNow
    forgotten: Forgotten
    names: tuple[str, ...]
    images: str = field(default="")

    def of_file(self, path: str, data: bytes) -> bytes:
        """Any file of the project, at any commit, without what is forgotten."""
        if self.images and path.startswith(f"{self.images}/"):
            return b"" if path.removeprefix(f"{self.images}/") in self.forgotten.files else data
        if any(path == name or path.startswith(f"{name}/") for name in self.names):
            return self._table(path, data)
        return self.forgotten.of_file(path, data)

    def _table(self, path: str, data: bytes) -> bytes:
        """A table without its forgotten rows; as it is where it is no table that can be read."""
        with TemporaryDirectory() as folder:
            copy = Path(folder) / Path(path).name
            write_bytes(copy, data)
            try:
                rows = self.rows_to_go(read_table(copy, may_be_empty=True))
            except PipelineError:
                return data
            return without_rows(copy, rows) if rows else data

    def rows_to_go(self, table: Table) -> list[int]:
        """The positions of a table's rows that are forgotten."""
        data = self.now.params.data
        if not len(table):
            return []
        if not data.image:
            contents = exact_bytes(table, self.now.params, self.now.fields)
            shas = self.forgotten.shas
            return [row for row, content in enumerate(contents) if sha256(content) in shas]
        cells = [as_text(cell) for cell in table.column(data.image, "data.image")]
        return [row for row, cell in enumerate(cells) if self._has_picture(cell)]

    def _has_picture(self, cell: str) -> bool:
        """Whether a cell holds or names a picture that is forgotten; a file may be gone already."""
        if cell.startswith("data:"):
            return sha256(image_bytes(cell, Path(), "image")) in self.forgotten.shas
        return cell in self.forgotten.files


def tables_of(project: Project) -> Tables:
    """The project's tables, and what leaves them."""
    data = project.params().data
    names = tuple(name for name in (data.pool, data.seed, data.test) if not is_url(name))
    images = data.images if data.image and (project.root / data.images).is_dir() else ""
    return Tables(tables_now(project), forgotten_of(project), names, images)


Originals = Mapping[tuple[str, str], str]


def originals(project: Project) -> list[Originals]:
    """Of files in a purged history, the MD5 that each had when its commit was made.

    One for each `rounds forget`, the first one first: (path, MD5) without what is forgotten -> MD5
    as it was before that command.
    """
    rows = [row for row in read_record(project.rounds_folder) if row["kind"] == "redacted"]
    return [_before(rows, change) for change in sorted({row["change"] for row in rows})]


def _before(rows: Sequence[Row], change: int) -> Originals:
    """MD5 of files as they are now -> as they were before one of the commands."""
    taken = {(row["file"], row["md5"][0]) for row in rows if row["change"] < change}
    was = {
        (row["file"], row["md5"][1]): row["md5"][0]
        for row in rows
        if row["change"] >= change and (row["file"], row["md5"][0]) not in taken
    }

    def first(file: str, digest: str) -> str:
        while (file, digest) in was:
            digest = was[file, digest]
        return digest

    return {(file, digest): first(file, digest) for file, digest in was}
