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
ERROR = "labelrounds.error/1"  # what --json prints of an error
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
            _exit_with(error, as_json=bool(kwargs.get("as_json")))
        except KeyboardInterrupt:
            click.echo("error: interrupted; nothing is lost: run the same command again", err=True)
            sys.exit(INTERRUPTED)
        except OSError as error:
            if error.errno not in DISK:
                raise
            where = error.filename or "the disk"
            remedy = "see to that, and run the same command again"
            fault = PipelineError(where, str(error.strerror), remedy)
            _exit_with(fault, as_json=bool(kwargs.get("as_json")))
        click.echo(sentence, err=True)

    return run


def _exit_with(error: PipelineError, *, as_json: bool) -> NoReturn:
    """Print the error and exit with code 1.

    A `rounds` command gets a stage's fields beside the line; with --json a program gets a command's
    fields on stdout.
    """
    click.echo(f"error: {error}", err=True)
    fields = {"where": error.where, "what": error.what, "remedy": error.remedy}
    if as_json:
        click.echo(json.dumps({"schema": ERROR, **fields}))
    if WRITER in os.environ:
        click.echo(f"{FAULT}{json.dumps(fields)}", err=True)
    sys.exit(1)
