"""What every stage's click shell shares: one-line errors, and the line that says what was done."""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

from stages.contract.errors import PipelineError

P = ParamSpec("P")
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
INTERRUPTED = 130  # 128 + SIGINT, as shells say it
PATH = click.Path(path_type=Path)


def one_line_errors(main: Callable[P, str]) -> Callable[P, None]:
    """Run a stage's shell: its sentence goes to stderr, a PipelineError is one line and exit 1.

    So does a disk without room or without permission to write, and a name that is too long for it;
    Ctrl-C is exit 130.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            said = main(*args, **kwargs)
        except PipelineError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            click.echo("error: interrupted; nothing is lost: run the same command again", err=True)
            sys.exit(INTERRUPTED)
        except OSError as error:
            if error.errno not in DISK:
                raise
            where = error.filename or "the disk"
            click.echo(
                f"error: {where}: {error.strerror}; see to that, and run the same command again",
                err=True,
            )
            sys.exit(1)
        click.echo(said, err=True)

    return run
