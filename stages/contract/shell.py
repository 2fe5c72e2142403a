"""What every stage's click shell shares: one-line errors, and the line that says what was done."""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, ParamSpec

import click

from stages.contract.errors import PipelineError
from stages.contract.progress import WRITER

P = ParamSpec("P")
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
INTERRUPTED = 130  # 128 + SIGINT, as shells say it
PATH = click.Path(path_type=Path)
FAULT = "\2"  # with it a stage begins a line that holds its error's fields for a `rounds` command


def one_line_errors(main: Callable[P, str]) -> Callable[P, None]:
    """Run a stage's shell: its sentence goes to stderr, a PipelineError is one line and exit 1.

    So does a disk without room or without permission to write, and a name that is too long for it;
    Ctrl-C is exit 130.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            sentence = main(*args, **kwargs)
        except PipelineError as error:
            _exit_with(error)
        except KeyboardInterrupt:
            click.echo("error: interrupted; nothing is lost: run the same command again", err=True)
            sys.exit(INTERRUPTED)
        except OSError as error:
            if error.errno not in DISK:
                raise
            where = error.filename or "the disk"
            remedy = "see to that, and run the same command again"
            _exit_with(PipelineError(where, str(error.strerror), remedy))
        click.echo(sentence, err=True)

    return run


def _exit_with(error: PipelineError) -> NoReturn:
    """Print the error and exit with code 1. A `rounds` command gets its fields beside the line."""
    click.echo(f"error: {error}", err=True)
    if WRITER in os.environ:
        fields = {"where": error.where, "what": error.what, "remedy": error.remedy}
        click.echo(f"{FAULT}{json.dumps(fields)}", err=True)
    sys.exit(1)
