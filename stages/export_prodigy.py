"""export_prodigy: write the batch as Prodigy's JSONL, in the order to ask, and freeze it.

reads   the batch (query), the pool, seed and test tables for texts and images, the index
        (featurize), the review queue (gate), data/scheme.jsonl, which says what classes are asked
writes  build/export: asked.jsonl, batch.jsonl, verdicts.jsonl, and manifest.json, which freezes
        them; next: `rounds issue`, then a person
"""

from __future__ import annotations

from pathlib import Path

import click

from stages.answers.ledger import BatchRow, read_rows
from stages.answers.rounds import batch_id
from stages.answers.scheme import offered_now, read_scheme
from stages.batch.export import export, fields_of
from stages.contract.canonical import jsonl, read_jsonl, sha256, write_bytes, write_json
from stages.contract.params import load
from stages.contract.shell import PATH, one_line_errors
from stages.examples.content import shown
from stages.store.read import from_tables


@click.command(help=__doc__)
@click.option("--batch", type=PATH, required=True, help="Folder of the batch.")
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--pool", required=True, help="The pool's table, or the folder or URL of its parts.")
@click.option(
    "--seed",
    type=PATH,
    required=True,
    help="The seed's table: a doubted seed label is asked again.",
)
@click.option("--scheme", type=PATH, required=True, help="The record of changed labels.")
@click.option("--out", type=PATH, required=True, help="Folder for the export.")
@one_line_errors
def main(
    batch: Path, gate: Path, features: Path, pool: str, seed: Path, scheme: Path, out: Path
) -> str:
    """Read batch and contents, write the export."""
    params = load()
    rows = read_rows(batch / "batch.jsonl", BatchRow)
    ids = [row["id"] for row in rows]
    tables = {"pool": pool, "seed": str(seed)}
    columns = fields_of(pool, params)
    changes = read_scheme(scheme)
    contents = from_tables(
        ids, tables, features, lambda table, row: shown(table, row, params, columns)
    )
    files = {
        "asked.jsonl": jsonl(export(rows, contents, offered_now(params.labels, changes))),
        "batch.jsonl": jsonl(rows),
        "verdicts.jsonl": jsonl(read_jsonl(gate / "review.jsonl")),
    }
    for name, data in files.items():
        write_bytes(out / name, data)
    hashes = {name: sha256(data) for name, data in files.items()}
    manifest = {"batch_id": batch_id(rows), "rows": len(rows), "sha256": hashes}
    known = {"scheme": len(changes)} if changes else {}  # how many changes the batch's labels know
    write_json(out / "manifest.json", {**manifest, **known})
    return f"export_prodigy: {len(rows)} rows, batch {batch_id(rows)[:12]}"


if __name__ == "__main__":
    main()
