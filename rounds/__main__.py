"""The `rounds` command: closes the loop (issue, annotate, collect, close) and looks back (status).

Inside a labelling project it always runs the code of that project, never an installed copy of
another version.
"""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import click

from stages.contract.errors import closest

COMMANDS = {  # module or module:function, examples for --help; in the order of a project's life
    "demo": (
        "rounds.demo",
        ("rounds demo demo", "rounds demo demo --machine   # a good and a poor machine annotator"),
    ),
    "init": (
        "rounds.init",
        (
            (
                "rounds init shop --pool pool.csv --seed seed.csv --test test.csv "
                "--text question --label intent"
            ),
            (
                "rounds init cells --pool parts/ --columns area,perimeter "
                "--labels benign,malignant   # a cold start"
            ),
            (
                "rounds init scans --pool pool.csv --seed seed.csv "
                "--image file --images scans/ --label finding"
            ),
            "rounds init mails --data mails.xlsx --text subject --text body   # labelled in part",
            "rounds init blank   # then fill in params.yaml",
        ),
    ),
    "import": (
        "rounds.imported",
        (
            "rounds import label-studio.json",
            "rounds import spring.csv summer.csv   # columns id, label, annotator, timestamp",
        ),
    ),
    "status": ("rounds.status", ("rounds status",)),
    "issue": ("rounds.issue", ("dvc repro && rounds issue",)),
    "annotate": (
        "rounds.annotate",
        (
            "rounds annotate --open",
            "rounds annotate --keep-going --rounds 3   # round after round, without a terminal",
            "rounds annotate --with prodigy --annotator ada --annotator bob",
            "rounds annotate --with label-studio --url http://localhost:8080 --token-file token",
            "rounds annotate --oracle truth.csv --noise 0.05   # a rehearsal with known labels",
        ),
    ),
    "collect": (
        "rounds.collect",
        (
            "rounds collect export.jsonl",
            "rounds collect --from label-studio --url http://localhost:8080 --token-file token",
            "rounds collect --dry-run answers.csv   # what would be taken, and what not",
            "rounds collect --machine gpt answers.jsonl   # a machine's answers, never a person's",
        ),
    ),
    "machine": (
        "rounds.machines.command",
        (
            "rounds machine gpt --url https://api.openai.com/v1 --model gpt-4o --limit 200",
            "rounds machine rules --rules my_rules:label",
            "rounds machine local --command 'python label.py'",
        ),
    ),
    "machines": ("rounds.machines.judge", ("rounds machines",)),
    "close": (
        "rounds.close",
        (
            "rounds close",
            "rounds close --dry-run   # what would happen",
            "rounds close --partial   # with what is answered by now",
            "rounds close --stop --why 'the curve is flat'",
        ),
    ),
    "merge": (
        "rounds.merge",
        ("git fetch && rounds merge origin/bobs-branch",),
    ),
    "finish": (
        "rounds.finish",
        (
            "rounds finish --dry-run   # what the machine could label, or what that would take",
            "rounds finish --error .02 --confidence .9",
            "rounds finish --machine gpt   # a machine's answers as a second source",
        ),
    ),
    "correct": (
        "rounds.correct:correct",
        ("rounds correct q0042 refund --why 'asked the customer'",),
    ),
    "retract": (
        "rounds.correct:retract",
        (
            "rounds retract q0042 --why 'cannot be decided from the text'",
            "rounds retract --annotator bob --since 3 --why 'another guideline was used'",
        ),
    ),
    "gold": (
        "rounds.gold",
        (
            "rounds gold checked.csv --why 'labelled by two experts'",
            "rounds gold --drop q0042 --why 'ambiguous after all'",
        ),
    ),
    "changed": (
        "rounds.content:command",
        ("rounds changed --ids-moved --why 'the pool was exported anew'",),
    ),
    "forget": (
        "rounds.forget",
        ("rounds forget q0042 q0043 --why 'the customer asked us to'",),
    ),
    "log": ("rounds.log", ("rounds log", "rounds log --json | jq .labels")),
    "history": ("rounds.history", ("rounds history q0042",)),
    "labels": (
        "rounds.labels",
        (
            "rounds labels --out labels.csv",
            (
                "rounds labels --as-of v1.0 --format parquet --out labels.parquet   "
                "# as known at a tag"
            ),
            "rounds labels rename spam junk --why 'the word people use'   # also merge, retire",
            "rounds labels split other refund other --why 'they differ'",
        ),
    ),
    "report": (
        "rounds.report",
        ("rounds report", "rounds report --md --against main   # for a pull request"),
    ),
    "verify": (
        "rounds.verify",
        ("rounds verify", "rounds verify --replay   # also choose every batch again"),
    ),
    "predict": (
        "rounds.predict",
        (
            "rounds predict new.csv --out labelled.csv",
            "rounds predict parts/ --out predicted/   # a folder of parts, in parallel",
            "cat new.jsonl | rounds predict - --format jsonl --commit v1.0",
        ),
    ),
    "export": (
        "rounds.dataset.command",
        (
            "rounds export ../dataset   # then: datasets.load_dataset('../dataset')",
            "rounds export ../dataset --license cc-by-4.0 --anonymous",
        ),
    ),
    "inspect": (
        "rounds.inspect",
        (
            "rounds inspect labelled.csv --label intent --text question --out doubts.csv",
            "rounds inspect labelled.csv --label kind --features all --fail-over 0.05   # for CI",
            "rounds inspect votes.csv --annotators ada,bob,cyd --text question",
        ),
    ),
    "backtest": (
        "rounds.backtest.command",
        (
            "rounds backtest labelled.csv --label intent --text question --out backtest",
            (
                "rounds backtest labelled.csv --label kind --features all "
                "--strategy auto,margin,own:badge --out backtest"
            ),
            (
                "rounds backtest --project --strategy auto,margin --out backtest   "
                "# on your own answers"
            ),
        ),
    ),
}


GROUPS = {  # how `rounds --help` sorts the commands
    "Start": ("demo", "init", "import"),
    "A round": (
        "status",
        "issue",
        "annotate",
        "collect",
        "close",
        "correct",
        "retract",
        "gold",
        "changed",
        "forget",
        "merge",
    ),
    "Machines": ("machine", "machines"),
    "Look back": ("log", "history", "labels", "report", "verify"),
    "Look ahead": ("backtest", "inspect"),
    "The way out": ("predict", "finish", "export"),
}


class Lazy(click.Group):
    """A group that imports a command's module only when that command is called for.

    `rounds status` need not load the web server.
    """

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The commands, in the order of a round."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands in groups, each with its whole first sentence."""
        for title, names in GROUPS.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            rows = [
                (name, command.get_short_help_str(limit=1000))
                for name, command in commands.items()
                if command is not None
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        target, examples = COMMANDS[cmd_name]
        module, _, name = target.partition(":")
        command = getattr(import_module(module), name or "command")
        assert isinstance(command, click.Command)
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names.

        Raises UsageError for a name that is none, with the closest command.
        """
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}{closest(args[0], COMMANDS)}.")
        return super().resolve_command(ctx, args)


def print_version(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    """Say which version's code runs, and end."""
    if asked:
        from rounds.shipped import version

        click.echo(f"rounds, version {version()}")
        context.exit()


@click.group(
    cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Spend a labelling budget well, provably.

    A round:  rounds annotate (people answer) -> rounds close (train, choose, commit) -> and again.
    Start with `rounds demo`, or with `rounds init DIR` on your own data; `rounds status` says what
    comes next.
    """


def own_project() -> Path | None:
    """The project around the current folder, None where its code is the code that runs now."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "dvc.yaml").is_file() and (folder / "rounds" / "__main__.py").is_file():
            return None if (folder / "rounds").samefile(Path(__file__).parent) else folder
    return None


class Lasting(io.FileIO):
    """An output whose reader may leave, as in `rounds log | head -1`.

    The command goes on then, and what it still writes is dropped.
    """

    def write(self, data: Any, /) -> int:
        """Write, or drop the data once nobody reads; the programs started from here do so, too."""
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(memoryview(data).cast("B"))


def lasting(stream: TextIO) -> TextIO:
    """The same output stream, on which writing goes on when its reader has left."""
    raw = Lasting(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        stream.encoding,
        stream.errors,
        line_buffering=getattr(stream, "line_buffering", True),
    )


def main() -> None:
    """Run the command with the code of the project it stands in."""
    root = own_project()
    if root is not None:
        paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        os.execv(sys.executable, [sys.executable, "-P", "-m", "rounds", *sys.argv[1:]])  # noqa: S606 - this process becomes the other
    sys.stdout = lasting(sys.stdout)
    sys.stderr = lasting(sys.stderr)
    cli(prog_name="rounds")


if __name__ == "__main__":
    main()
