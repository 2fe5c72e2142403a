"""Pages of docs/ with their generated blocks filled in.

A block stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`; BLOCKS says which
function writes it. Everything outside of blocks is written by people.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from handbook.commands import command_options, commands_table
from handbook.documents import documents_block, schemas
from handbook.errors import errors_table
from handbook.judgements import alarms_table, checks_table, signs_table
from handbook.llms import llms_text
from handbook.metrics import metrics_block
from handbook.pipeline import params_table, stages_table
from handbook.python_api import python_block
from handbook.records import files_block

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCKS: dict[str, Callable[[], list[str]]] = {
    "commands": commands_table,
    "command options": command_options,
    "stages": stages_table,
    "params": params_table,
    "documents": documents_block,
    "alarms": alarms_table,
    "checks": checks_table,
    "signs": signs_table,
    "errors": errors_table,
    "files": files_block,
    "metrics": metrics_block,
    "python": python_block,
}
BLOCK = re.compile(r"<!-- generated: ([\w ]+) -->\n(.*?)<!-- end of \1 -->\n", re.DOTALL)


def filled(text: str) -> str:
    """A page's text with every generated block made anew.

    Raises KeyError for a block that BLOCKS does not have.
    """

    def block(match: re.Match[str]) -> str:
        name = match[1]
        lines = "\n".join(BLOCKS[name]())
        return f"<!-- generated: {name} -->\n{lines}\n<!-- end of {name} -->\n"

    return BLOCK.sub(block, text)


def text_of(path: Path) -> str:
    """A file's text, empty where there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def renewed() -> dict[str, str]:
    """The files of docs/ that differ from what the code says: path in docs/ -> new text."""
    whole = {**schemas(), "llms.txt": llms_text()}
    pages = {path: text for path, text in whole.items() if text != text_of(DOCS / path)}
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        new = filled(text)
        if new != text:
            pages[path.relative_to(DOCS).as_posix()] = new
    return pages
