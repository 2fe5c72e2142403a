"""import_labels: read what people answered, and to which batch; judge nothing.

reads   data/rounds/NNN: the frozen batch, answers/*.jsonl (Prodigy's db-out rows),
        corrections.jsonl, closed.json; data/rounds/changed.jsonl, which says what ids moved since;
        data/rounds/gold.jsonl, the rows with a known answer; data/scheme.jsonl, which says what
        became of the labels since
writes  build/labels: rounds, asked, events, verdicts, gold, planted and checked
        (stages/answers/ledger.py); next: gate

Answers are append-only: the current answer of a person to an id is the last row by time, then by
line. Of several corrections of an id in one round the last line holds. Corrections take effect with
the answers of their round, and know which answers stood before them (`order` of an Event).

An answer that comes after its own round was closed is written into the round that is open then,
with the batch that it answers. It moves nothing that was known before. It is a vote, but it does
not answer what the open round asks: a row that is asked again there stays open until somebody
answers it there.
"""

from __future__ import annotations

from pathlib import Path

import click

from stages.answers.reading import import_labels
from stages.answers.scheme import as_row, read_scheme
from stages.contract.canonical import write_jsonl
from stages.contract.params import load
from stages.contract.shell import PATH, one_line_errors


@click.command(help=__doc__)
@click.option("--rounds", type=PATH, required=True, help="The folder of rounds.")
@click.option("--scheme", type=PATH, required=True, help="The record of changed labels.")
@click.option("--out", type=PATH, required=True, help="Folder for the tables.")
@one_line_errors
def main(rounds: Path, scheme: Path, out: Path) -> str:
    """Read the rounds, write the tables."""
    changes = read_scheme(scheme)
    tables = import_labels(rounds, load(), changes)
    for name in ("rounds", "asked", "events", "verdicts", "checked", "planted", "gold"):
        write_jsonl(out / f"{name}.jsonl", getattr(tables, name))
    write_jsonl(out / "scheme.jsonl", map(as_row, changes))  # for stages that no loop needs
    return f"import_labels: {len(tables.events)} answers in {len(tables.rounds)} answered rounds"


if __name__ == "__main__":
    main()
