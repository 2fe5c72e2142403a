"""The files that stages write, and their columns, read off the records of the code."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any, get_type_hints, is_typeddict

from handbook.markdown import code, table
from stages.answers import ledger
from stages.proof import tables

ROW = re.compile(r"^ *((?:build|plots|metrics)/\S+)\s+(\w+)\s+(.*)$", re.MULTILINE)


def files_block() -> list[str]:
    """A section a file: what a row of it is, and its columns."""
    return [*sections(ledger), *sections(tables)][:-1]


def sections(module: ModuleType) -> list[str]:
    """The files that a module's docstring lists, each with its record."""
    lines: list[str] = []
    for path, name, what in ROW.findall(module.__doc__ or ""):
        record = getattr(module, name, None)
        if record is not None:
            lines += [f"### {path}", "", f"{what[0].upper()}{what[1:]}.", "", *described(record)]
    return lines


def described(record: Any) -> list[str]:
    """What a record's docstrings say, and its columns; a blank line last."""
    parents = [record, *getattr(record, "__orig_bases__", ())]
    texts = [inspect.getdoc(parent) or "" for parent in parents if documented(parent)]
    paragraphs = [" ".join(part.split()) for text in texts for part in text.split("\n\n")]
    lines = [line for paragraph in paragraphs for line in (paragraph, "")]
    hints = get_type_hints(record)
    rows = [(code(name), code(type_words(kind))) for name, kind in hints.items()]
    return [*lines, *table(("column", "type"), rows), ""]


def documented(record: Any) -> bool:
    """Whether it is a record of the project with a docstring of its own."""
    module = getattr(record, "__module__", "")
    return module.startswith("stages.") and (is_typeddict(record) or isinstance(record, type))


def type_words(kind: Any) -> str:
    """A type as it stands in the code, without the modules' names."""
    text = kind.__name__ if isinstance(kind, type) else str(kind)
    return re.sub(r"\b(?:typing|stages(?:\.\w+)*)\.", "", text)
