"""A command whose --help shows its options under headings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

OTHER = "Other options"


class GroupedCommand(click.Command):
    """A click command with `groups`: heading -> the names of its parameters, in the order shown.

    What no group names stands under "Other options".
    """

    def __init__(self, *args: Any, groups: Mapping[str, Sequence[str]], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group of options."""
        heading_of = {name: heading for heading, names in self.groups.items() for name in names}
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in self.groups}
        for parameter in self.get_params(ctx):
            line = parameter.get_help_record(ctx)
            if line is not None and isinstance(parameter, click.Option):
                heading = heading_of.get(parameter.name or "", OTHER)
                sections.setdefault(heading, []).append(line)
        for heading, lines in sections.items():
            with formatter.section(heading):
                formatter.write_dl(lines)
