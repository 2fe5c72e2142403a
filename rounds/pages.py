"""Pages made of the templates in rounds/templates/: they load nothing, and show text as text.

In HTML and SVG every value is escaped; in Markdown the template says where, with the filter
`as_text`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract.canonical import dumps

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: object) -> str:
    """The page that a template makes of the values. The same values give the same text."""
    return _environment().get_template(template).render(**values)


def markdown_text(text: str) -> str:
    """Text on one line that Markdown and the HTML in it show as it is."""
    return re.sub(r"([\\|`*_\[\]<>])", r"\\\1", text.replace("\n", " "))


def number(value: object) -> str:
    """A cell's text: floats with four significant digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@cache
def _environment() -> Environment:
    # Imported here: `rounds status` shows no page, and should not wait for Jinja2.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(("html", "svg")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["as_text"] = markdown_text
    environment.filters["number"] = number
    # `tojson` writes canonical JSON, with <, > and & as \u003c and so on: safe within a script.
    environment.policies["json.dumps_function"] = dumps
    environment.policies["json.dumps_kwargs"] = {}
    return environment
