"""docs/llms.txt: the list of pages for programs that read docs, made of the site's menu."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
NO_SENTENCE = ("!", "|", "#", "```", "    ", "<", "-", "1.", ">", "**")


def llms_text() -> str:
    """Title, what it is, and a line a page with its first sentence, by the menu's sections."""
    site = YAML(typ="safe").load(ROOT / "mkdocs.yml")
    lines = [f"# {site['site_name']}", "", f"> {site['site_description']}", ""]
    for section in site["nav"]:
        ((title, pages),) = section.items()
        lines += [f"## {title}", "", *(line for page in pages for line in entry(page)), ""]
    return "\n".join(lines)


def entry(page: str | dict[str, Any]) -> list[str]:
    """The line of a page; none for pages that are made of files beside docs/."""
    path = page if isinstance(page, str) else next(iter(page.values()))
    file = ROOT / "docs" / path
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    title = re.search(r"^# (.*)$", text, re.MULTILINE)
    name = title[1] if title else path
    sentence = first_sentence(text)
    return [f"- [{name}]({path}): {sentence}" if sentence else f"- [{name}]({path})"]


def first_sentence(text: str) -> str:
    """The first sentence of the first paragraph, without its links' targets."""
    paragraphs = text.split("\n\n")
    plain = (part for part in paragraphs if part and not part.startswith(NO_SENTENCE))
    words = " ".join(next(plain, "").split())
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words)
    return re.split(r"(?<=[.:?])\s", words, maxsplit=1)[0].rstrip(":")
