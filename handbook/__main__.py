"""`python -m handbook`: write the generated parts of docs/ anew."""

from __future__ import annotations

import sys

from handbook.blocks import DOCS, renewed

if __name__ == "__main__":
    for page, text in renewed().items():
        (DOCS / page).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / page).write_text(text, encoding="utf-8")
        sys.stdout.write(f"docs/{page}\n")
