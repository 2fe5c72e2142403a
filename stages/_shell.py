"""What every stage's click shell shares: one-line errors, and the line that says what was done."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

from stages._errors import PipelineError

P = ParamSpec("P")
PATH = click.Path(path_type=Path)


def one_line_errors(main: Callable[P, str]) -> Callable[P, None]:
    """Run a stage's shell: its returned sentence goes to stderr; a PipelineError becomes one line and exit 1."""

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            said = main(*args, **kwargs)
        except PipelineError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
        click.echo(said, err=True)

    return run
