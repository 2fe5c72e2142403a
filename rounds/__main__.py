"""The `rounds` command: closes the loop (issue, annotate, collect, close) and looks back (status).

Inside a labelling project it always runs the code of that project, never an installed copy of another version.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import click

COMMANDS = {
    "demo": "rounds.demo",
    "init": "rounds.init",
    "status": "rounds.status",
    "issue": "rounds.issue",
    "annotate": "rounds.annotate",
    "collect": "rounds.collect",
    "close": "rounds.close",
    "correct": "rounds.correct:correct",
    "retract": "rounds.correct:retract",
    "log": "rounds.log",
    "history": "rounds.history",
    "labels": "rounds.labels",
    "report": "rounds.report",
    "verify": "rounds.verify",
    "inspect": "rounds.inspect",
    "backtest": "rounds.backtest",
}


class Lazy(click.Group):
    """A group that imports a command's module when it is called for: `rounds status` need not load the web server."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The commands, in the order of a round."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), name or "command")
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="labelrounds")
def cli() -> None:
    """Spend a labelling budget well, provably.

    A round:  rounds annotate (people answer) -> rounds close (train, choose, commit) -> and again.
    Start with `rounds demo`, or with `rounds init DIR` on your own data; `rounds status` says what comes next.
    """


def own_project() -> Path | None:
    """The root of the project that the current folder lies in, if its code is not the code that runs now."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "dvc.yaml").is_file() and (folder / "rounds" / "__main__.py").is_file():
            return None if (folder / "rounds").samefile(Path(__file__).parent) else folder
    return None


def main() -> None:
    """Run the command with the code of the project it stands in."""
    root = own_project()
    if root is not None:
        paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        os.execv(sys.executable, [sys.executable, "-P", "-m", "rounds", *sys.argv[1:]])  # noqa: S606 - this process becomes the other
    cli(prog_name="rounds")


if __name__ == "__main__":
    main()
