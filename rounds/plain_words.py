"""Commands that take an id or a label as a word, which may begin with a minus.

As in `rounds correct -17 -1 --why …`.
"""

from __future__ import annotations

import click


class PlainWords(click.Command):
    """A command that takes `-17` or `-abc` for an argument where no option has that name.

    `--abc` stays an option.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse strictly, so that a mistyped long option is named; else take it as an argument."""
        if "-h" not in args:
            ctx.help_option_names = [
                "--help"
            ]  # else click reads an id like -house as a cry for help
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption as error:
            if error.option_name.startswith("--"):
                raise
        ctx.ignore_unknown_options = True
        return super().parse_args(ctx, list(args))
