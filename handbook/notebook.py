"""`python -m handbook.notebook`: run docs/notebook.ipynb anew, and write docs/notebook.md of it.

Its cells stay; outputs are replaced. With --check nothing is written: it has to run, and what it
printed is compared with what it prints now. A difference is said and is no failure, since other
processors and libraries compute other last digits.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
PAGE = NOTEBOOK.with_suffix(".md")
SECONDS = 1800  # a cell may take so long on a slow machine
PERSON = {
    f"GIT_{who}_{what}": "Ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def executed() -> dict[str, Any]:
    """The notebook with the outputs of a run in an empty folder."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    own = str(Path(sys.executable).parent)
    os.environ |= {
        **PERSON,
        "PATH": own + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
    }
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=SECONDS, resources=resources).execute()
        cells: dict[str, Any] = json.loads(nbformat.writes(notebook))
        for cell in cells["cells"]:
            cell["metadata"] = {}
            for output in cell.get("outputs", []):
                clean(output, folder)
    cells["metadata"] = {"kernelspec": cells["metadata"]["kernelspec"]}
    return cells


def clean(output: dict[str, Any], folder: str) -> None:
    """Takes out of an output what is of this machine: its folder, and the codes of colours."""
    if "text" in output:
        text = ESCAPES.sub("", "".join(output["text"])).replace(folder, "…")
        output["text"] = text.splitlines(keepends=True)
    output.pop("execution_count", None)


def page_of(notebook: dict[str, Any]) -> str:
    """The notebook as a page: text as it stands, code and what it printed in blocks."""
    parts = ["<!-- made of notebook.ipynb by `python -m handbook.notebook` -->"]
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        printed = text_of(cell)
        if printed:
            parts.append(f"```text\n{printed}\n```")
    return "\n\n".join(parts) + "\n"


def text_of(cell: dict[str, Any]) -> str:
    """What a cell printed, and the value of its last line."""
    texts = []
    for output in cell.get("outputs", []):
        shown = output.get("text") or output.get("data", {}).get("text/plain", "")
        texts.append("".join(shown).rstrip("\n"))
    return "\n".join(texts)


def written() -> dict[str, Any]:
    """The notebook as it is in the repository."""
    notebook: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return notebook


def main() -> None:
    """Run the notebook; write it and its page, or compare."""
    done = executed()
    if "--check" not in sys.argv:
        NOTEBOOK.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        PAGE.write_text(page_of(done), encoding="utf-8")
        return
    for old, new in zip(written()["cells"], done["cells"], strict=True):
        if text_of(old) != text_of(new):
            sys.stderr.write(f"notebook: printed before\n{text_of(old)}\nand now\n{text_of(new)}\n")
            sys.stderr.write("next: python -m handbook.notebook\n")
    sys.stderr.write("notebook: every cell ran\n")


if __name__ == "__main__":
    main()
