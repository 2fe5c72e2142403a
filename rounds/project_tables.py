"""The tables of a new project: which file is pool, seed and test, and what classes they hold.

All that the first `rounds close` would refuse in them is refused here, at the user's own file and
line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from rounds.enumeration import listed
from rounds.intake import join_texts, plain_labels, read
from rounds.roles import Choices, Spelling
from rounds.spellings import Labelled, merged, refuse_spellings
from rounds.table_readers import Intake
from rounds.tool_exports import labelled
from stages.contract.errors import PipelineError, closest
from stages.examples.tables import Table, as_text

Source = Intake | Path  # a table, or the folder of a pool in parts
TABLES = ("pool", "seed", "test")
WHOLE_NUMBER = re.compile(r"[+-]?\d+", re.ASCII)
SHOWN = 20  # classes that are listed with their counts


def gather(
    tables: Mapping[str, Path | None], choices: Choices
) -> tuple[dict[str, Source], list[str]]:
    """Pool, seed and test as read, in this order, and notes on what was assumed."""
    paths = {name: path for name, path in tables.items() if path is not None}
    _refuse_paths(paths)
    notes: list[str] = []
    if _same(paths.get("pool"), paths.get("seed")):
        notes.append(f"{paths['pool'].name} is pool and seed in one: read as --data")
        test = {name: path for name, path in paths.items() if name == "test"}
        paths = {"data": paths["pool"], **test}
    sources = {name: _source(name, path, choices) for name, path in paths.items()}
    whole = sources.pop("data", None)
    if isinstance(whole, Intake):
        sources |= split(whole, choices.label)
    pool = sources.get("pool")
    if isinstance(pool, Intake):
        notes += _labels_of_pool(pool.table, choices.label)
    return {name: sources[name] for name in TABLES if name in sources}, notes


def _source(name: str, path: Path, choices: Choices) -> Source:
    """One of the tables as read, or the folder of a pool in parts."""
    joined = len(choices.texts) > 1
    if path.is_dir():
        if joined:
            what = "a pool in parts has one column of text"
            raise PipelineError("--text", what, "join the columns in the parts")
        return path
    intake = read(path)
    if name != "pool":
        intake = labelled(intake, choices.label, also_unlabelled=name == "data")
        intake = plain_labels(intake, choices.label)
    return join_texts(intake, choices.texts, choices.text) if joined else intake


def _refuse_paths(paths: Mapping[str, Path]) -> None:
    """Raises PipelineError for what is no file, and for one file in two roles."""
    for name, path in paths.items():
        if name != "pool" and path.is_dir():
            raise PipelineError(
                f"--{name}", f"{path} is a folder", "name a file: only a pool may be in parts"
            )
    twice = next((name for name in ("pool", "seed") if "data" in paths and name in paths), None)
    if twice:
        what = f"--{twice} is given as well, and --data is pool and seed in one"
        raise PipelineError("--data", what, f"leave one of them out: --data or --{twice}")
    for name in ("pool", "seed", "data"):
        if _same(paths.get("test"), paths.get(name)):
            what = f"the same file as --{name}: a test set is held out"
            raise PipelineError("--test", what, "leave it out, or split the file in two")


def _same(path: Path | None, other: Path | None) -> bool:
    return (
        path is not None
        and other is not None
        and path.exists()
        and other.exists()
        and path.samefile(other)
    )


def split(whole: Intake, label: str) -> dict[str, Source]:
    """The pool and the seed in a table labelled in part.

    Raises PipelineError where every row has a label.
    """
    has_label = [bool(as_text(cell).strip()) for cell in whole.table.column(label, "--label")]
    seed = [row for row, yes in enumerate(has_label) if yes]
    pool = [row for row, yes in enumerate(has_label) if not yes]
    name = Path(whole.table.path).name
    if not pool:
        all_labelled = f"all {len(seed)} rows of {name} have a label in column {label!r}"
        what = f"{all_labelled}, and none is left to ask"
        raise PipelineError("--data", what, "give it as --seed, and the unlabelled rows as --pool")
    note = f"{name}: {len(seed)} labelled rows are the seed, {len(pool)} others the pool"
    rest = whole.with_rows(pool)
    unlabelled = {column: cells for column, cells in rest.table.columns.items() if column != label}
    table = Table(rest.table.path, unlabelled, rest.table.lines)
    sources: dict[str, Source] = {"pool": Intake(table, (*whole.notes, note), rewritten=True)}
    if seed:
        sources["seed"] = whole.with_rows(seed)
    return sources


def _labels_of_pool(table: Table, label: str) -> list[str]:
    """A note on labels in the pool, which nobody reads."""
    if label not in table.columns:
        return []
    count = sum(bool(as_text(cell).strip()) for cell in table.columns[label])
    if not count:
        return []
    remedy = "give it, or a part of it, as --seed instead"
    if count < len(table):
        remedy = "give it as --data instead"
    name = Path(table.path).name
    labelled = f"{name}: {count} of {len(table)} pool rows have a label in {label!r}"
    return [f"{labelled}, which is not used; {remedy}"]


def refuse_rows(read_tables: Mapping[str, Intake], id_column: str) -> None:
    """Raises PipelineError for a bad id, one that stands twice, and a seed beyond the pool."""
    seen: dict[str, str] = {}
    for intake in read_tables.values():
        table = intake.table
        for row, cell in enumerate(table.column(id_column, "--id") if id_column else []):
            item = as_text(cell)
            if not item.strip() or not item.isprintable():
                what = f"id {item!r} is blank or not printable"
                raise PipelineError(table.where(row), what, "give the row a plain id")
            if item in seen:
                what = f"id {item!r} stands twice, first at {seen[item]}"
                remedy = "rename or remove one, or leave --id out: the content is the id then"
                raise PipelineError(table.where(row), what, remedy)
            seen[item] = table.where(row)
    if {"pool", "seed"} <= set(read_tables):
        _refuse_large_seed(read_tables["pool"].table, read_tables["seed"].table)


def _refuse_large_seed(pool: Table, seed: Table) -> None:
    """Raises PipelineError where more rows have a label than are left to ask."""
    if len(seed) <= len(pool):
        return
    what = f"the seed has {len(seed)} rows and the pool only {len(pool)}"
    remedy = "swap --pool and --seed if they are mixed up, or hold some labelled rows out as --test"
    if pool.path == seed.path:
        what = f"{len(seed)} rows have a label and only {len(pool)} have none"
        remedy = "add unlabelled rows, or hold some labelled ones out as --test"
    raise PipelineError(seed.path, what, remedy)


def settle_classes(
    read_tables: Mapping[str, Intake], column: str, chosen: list[str], spelling: Spelling
) -> tuple[dict[str, Intake], list[str]]:
    """The tables, spellings merged if asked for, and the classes: those chosen, else all labels.

    Raises PipelineError for labels that cannot be meant.
    """
    if chosen and len(set(chosen)) < max(2, len(chosen)):
        what = f"{', '.join(chosen)} are not two or more distinct classes"
        raise PipelineError("--labels", what, "name each once")
    tables = dict(read_tables)
    rows = [
        item
        for name, intake in tables.items()
        if name != "pool"
        for item in labels_of(intake.table, column)
    ]
    if spelling == "refuse":
        refuse_spellings([*(Labelled(label, "--labels") for label in chosen), *rows])
    if spelling == "merge":
        instead = merged(rows, chosen)
        tables = {name: _renamed(intake, column, instead, name) for name, intake in tables.items()}
        rows = [Labelled(instead.get(item.label, item.label), item.where) for item in rows]
    classes = chosen or in_order({item.label for item in rows})
    strange = next((item for item in rows if item.label not in classes), None)
    if strange is not None:
        what = f"label {strange.label!r} is not among --labels{closest(strange.label, classes)}"
        raise PipelineError(strange.where, what, "add it there, or correct the row")
    if "seed" in tables:
        _refuse_one_class(tables["seed"].table, column)
    return tables, classes


def _refuse_one_class(seed: Table, column: str) -> None:
    """Raises PipelineError where all rows of the seed have one label."""
    labels = {item.label for item in labels_of(seed, column)}
    if len(labels) == 1:
        what = f"every seed row has the label {labels.pop()!r}"
        remedy = "add rows of another class, or leave --seed out and name the classes with --labels"
        raise PipelineError(seed.where(0), what, remedy)


def labels_of(table: Table, column: str) -> list[Labelled]:
    """The label of every row with its file and line. Raises PipelineError for an empty one."""
    labels = [as_text(cell) for cell in table.column(column, "--label")]
    for row, label in enumerate(labels):
        if not label.strip():
            remedy = "fill it, remove the row, or give a table labelled in part as --data"
            raise PipelineError(table.where(row), f"empty label in column {column!r}", remedy)
    return [Labelled(label, table.where(row)) for row, label in enumerate(labels)]


def _renamed(intake: Intake, column: str, instead: Mapping[str, str], name: str) -> Intake:
    """The table with some spellings replaced, which a note counts."""
    if name == "pool" or not instead:
        return intake
    cells = [as_text(cell) for cell in intake.table.column(column, "--label")]
    gone = Counter(cell for cell in cells if cell in instead)
    if not gone:
        return intake
    changes = [
        f"{label!r} is now {instead[label]!r} ({count} rows)"
        for label, count in sorted(gone.items())
    ]
    changed = intake.with_columns({column: [instead.get(cell, cell) for cell in cells]})
    return changed.noted(f"{Path(intake.table.path).name}: {', '.join(changes)}")


def in_order(labels: Collection[str]) -> list[str]:
    """The labels sorted: whole numbers by value, everything else by text."""
    if all(WHOLE_NUMBER.fullmatch(label) for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)


def class_lines(read_tables: Mapping[str, Intake], column: str, classes: list[str]) -> list[str]:
    """For seed and test a line that counts the rows by class; one for classes without seed rows."""
    lines = []
    for name in ("seed", "test"):
        if name not in read_tables:
            continue
        labels = [item.label for item in labels_of(read_tables[name].table, column)]
        counts = Counter(labels)
        by_class = [f"{_quoted(label)} {counts[label]}" for label in classes]
        lines.append(f"{name}: {len(labels)} rows, {listed(by_class, SHOWN)}")
        missing = [label for label in classes if not counts[label]]
        if name == "seed" and missing:
            without = f"no seed row of {listed(map(_quoted, missing), SHOWN)}"
            lines.append(f"{without}: found only by chance until answers bring one")
    return lines


def _quoted(label: str) -> str:
    """The label, in quotes where blanks or commas would hide where it ends."""
    return label if label.isprintable() and not {" ", ","} & set(label) else repr(label)
