"""What MkDocs runs: the Markdown files beside docs/ become pages, and links to them lead there."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
BESIDE = {  # file of the repository -> its page
    "data/README.md": "data.md",
    "data/rounds/README.md": "rounds-folder.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
LOADED = re.compile(
    r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?((?:https?:)?//[^\s\">]+)"
    r"|<link\b(?![^>]*\brel=\"?canonical)[^>]*\bhref=\"?((?:https?:)?//[^\s\">]+)"
)
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages of docs/, and those of the files beside it."""
    for path, page in BESIDE.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=led(text, path, page)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs names them
    """A page of docs/ with its links to files beside docs/ led to their pages."""
    path = page.file.src_uri
    if path in BESIDE.values():
        return markdown
    return led(markdown, f"docs/{path}", path)


def led(markdown: str, path: str, page: str) -> str:
    """The text of a file of the repository, its relative links as the site's page needs them."""

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2]))
        there = BESIDE.get(target, target.removeprefix("docs/"))
        return match[1] + posixpath.relpath(there, posixpath.dirname(page) or ".")

    return LINK.sub(link, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuses a site whose pages load anything from elsewhere."""
    for page in Path(config.site_dir).rglob("*.html"):
        loaded = LOADED.search(page.read_text(encoding="utf-8"))
        if loaded:
            address = loaded[1] or loaded[2]
            raise PluginError(f"{page}: loads {address} from the network")
