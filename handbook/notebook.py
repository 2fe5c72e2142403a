"""`python -m handbook.notebook`: run docs/notebook.ipynb anew, and write docs/notebook.md of it.

Its cells stay; outputs are replaced. With --check nothing is written: it only has to run.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
PAGE = NOTEBOOK.with_suffix(".md")
SECONDS = 1800  # a cell may take so long on a slow machine
PERSON = {
    f"GIT_{who}_{what}": "Ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def executed() -> Any:
    """The notebook with the outputs of a run in an empty folder."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    own = str(Path(sys.executable).parent)
    os.environ |= {
        **PERSON,
        "PATH": own + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LABELROUNDS_TUTORIAL": str(ROOT / "docs" / "tutorial"),
    }
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=SECONDS, resources=resources).execute()
        for cell in notebook.cells:
            cell.metadata = {}
            for output in cell.get("outputs", []):
                plain(output, folder)
    return notebook


def plain(output: Any, folder: str) -> None:
    """Takes out of an output what is of this machine: its folder, colours, signs of life."""
    if "text" in output:
        text = ESCAPES.sub("", output["text"]).replace(folder, "…")
        lines = [line for line in text.splitlines() if not re.search(r": \d+ s$| …$", line)]
        output["text"] = "\n".join(lines) + "\n"
    output.pop("execution_count", None)
    output.get("metadata", {}).clear()


def page_of(notebook: Any) -> str:
    """The notebook as a page: text as it stands, code and what it printed in blocks."""
    parts = ["<!-- made of notebook.ipynb by `python -m handbook.notebook` -->"]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        texts = [text_of(output) for output in cell.outputs]
        said = "".join(texts).rstrip("\n")
        if said:
            parts.append(f"```text\n{said}\n```")
    return "\n\n".join(parts) + "\n"


def text_of(output: Any) -> str:
    """What an output shows as text."""
    if "text" in output:
        return str(output["text"])
    return str(output.get("data", {}).get("text/plain", "")) + "\n"


if __name__ == "__main__":
    done = executed()
    if "--check" not in sys.argv:
        nbformat.write(done, NOTEBOOK)
        PAGE.write_text(page_of(done), encoding="utf-8")
