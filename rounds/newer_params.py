"""Params that the pipeline names and the params.yaml of an older project lacks.

A project carries its own code. Where it takes newer code, dvc.yaml may name values that its
params.yaml does not hold, and DVC runs nothing then. `rounds close` adds these, each with what the
project did before, in a commit of its own; every other command says so in one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml.comments import CommentedMap

from rounds.shipped import params_file
from stages.contract.errors import PipelineError
from stages.contract.params import Section, load, read_yaml

PIPELINES = ("dvc.yaml", "rounds/finish_stage.yaml", "rounds/machines/stage.yaml")
COLUMN = 28  # where comments begin, as in a new project


def missing_params(root: Path, path: Path | None = None) -> dict[str, Any]:
    """What params.yaml lacks of the values that the pipelines name, by dotted name.

    Each with what the project does without it. Values that a project has to state are not among
    these: the loader names them. path: of another version of the file; None: the project's own.
    """
    path = path or root / "params.yaml"
    named = "\n".join(
        (root / file).read_text(encoding="utf-8") for file in PIPELINES if (root / file).is_file()
    )
    lacking = _absent(load(path), read_yaml(path), "")
    return {name: value for name, value in lacking if _stands_in(name, named)}


def _absent(
    section: Section, document: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything that a section holds and its document does not."""
    for field, description in type(section).model_fields.items():
        key = description.alias or field
        value = getattr(section, field)
        name = f"{prefix}{key}"
        if isinstance(value, Section):
            inner = document.get(key)
            yield from _absent(value, inner if isinstance(inner, Mapping) else {}, f"{name}.")
        elif key not in document:
            yield name, value


def _stands_in(name: str, text: str) -> bool:
    """Whether a pipeline's text holds the dotted name as a whole."""
    return bool(re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", text))


def require_params(root: Path) -> None:
    """Raises PipelineError where params.yaml lacks what the pipelines name."""
    missing = sorted(missing_params(root))
    if missing:
        what = f"lacks {', '.join(missing)}, which newer code names"
        remedy = "`rounds close` adds what is missing, with what the project does now"
        raise PipelineError(root / "params.yaml", what, remedy)


def with_params(path: Path, values: Mapping[str, Any]) -> str:
    """The text of a params.yaml with more values, by dotted name, each with its comment.

    A value goes below the head of its section, a section that is not there to the end of the file;
    all other lines stay as they are. Raises PipelineError for a file that is laid out in another
    way than a new project's, so that lines added like this would not say the same.
    """
    text = path.read_text(encoding="utf-8").rstrip("\n")
    document = read_yaml(path)
    shipped = params_file()
    comments = _comments(shipped.read_text(encoding="utf-8").splitlines(), read_yaml(shipped), "")
    lines = text.split("\n")
    by_section: dict[str, list[str]] = {}
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        indent = "  " * (name.count("."))
        line = f"{indent}{key}: {json.dumps(value)}"
        by_section.setdefault(section, []).append(_commented(line, comments.get(name, "")))
    heads = {section: _head(document, section) for section in by_section}
    for section in sorted(by_section, key=lambda section: -heads[section]):
        head_line = heads[section]
        if head_line < 0:
            head = _commented(f"{section}:", comments.get(section, ""))
            lines += ["", head, *by_section[section]]
        else:
            lines[head_line + 1 : head_line + 1] = by_section[section]
    completed = "\n".join([*lines, ""])
    if not _says_the_same(path, completed):
        what = f"lacks {', '.join(values)}, and is laid out in another way than a new project's"
        raise PipelineError(path.name, what, "add them by hand, and commit that")
    return completed


def _says_the_same(path: Path, text: str) -> bool:
    """Whether the text is a params.yaml with the very values that the one at the path has."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "params.yaml"
        file.write_text(text, encoding="utf-8")
        try:
            return load(file) == load(path)
        except PipelineError:
            return False


def _commented(line: str, comment: str) -> str:
    return f"{line:<{COLUMN}}  # {comment}" if comment else line


def _head(document: Any, section: str) -> int:
    """The line of a section's key, from 0; -1 where it is not there."""
    line = -1
    for key in section.split("."):
        if key not in document:
            return -1
        line = document.lc.key(key)[0]
        document = document[key]
    return line


def _comments(lines: list[str], document: Any, prefix: str) -> dict[str, str]:
    """The comment on the line of each key, by dotted name. lines: of the document."""
    comments: dict[str, str] = {}
    for key, value in document.items():
        _, _, comment = lines[document.lc.key(key)[0]].partition(" # ")
        comments[f"{prefix}{key}"] = comment.strip()
        if isinstance(value, CommentedMap) and not value.fa.flow_style():
            comments |= _comments(lines, value, f"{prefix}{key}.")
    return comments
