"""export_prodigy: write the batch as Prodigy's JSONL, in the order to ask, with the manifest that freezes it.

reads   the batch (query), the pool, seed and test tables for texts and images, the index (featurize), the review
        queue (gate)
writes  build/export: asked.jsonl, batch.jsonl, verdicts.jsonl, manifest.json; next: `rounds issue`, then a person
"""

from __future__ import annotations

from pathlib import Path

import click

from stages._canonical import Row, jsonl, read_jsonl, sha256, write_bytes, write_json
from stages._content import shown
from stages._params import Params, load
from stages._prodigy import task
from stages._rounds import batch_id
from stages._shell import PATH, one_line_errors
from stages._store import Index, read_index
from stages._tables import Table, read_table


def export(batch: list[Row], tables: dict[str, Table], index: Index, params: Params) -> list[Row]:
    """One task per row of the batch, in its order. The score is the model's doubt, the same measure for every arm."""
    identity = batch_id(batch)
    tasks = []
    for row in batch:
        place = index.row_of[row["id"]]
        content = shown(tables[index.split[place]], index.row[place], params)
        tasks.append(
            task(content, params.labels, al_id=row["id"], batch_id=identity, rank=row["rank"], score=row["doubt"])
        )
    return tasks


@click.command(help=__doc__)
@click.option("--batch", type=PATH, required=True, help="Folder of the batch.")
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--pool", type=PATH, required=True, help="The pool's table.")
@click.option("--seed", type=PATH, required=True, help="The seed's table: a doubted seed label is asked again.")
@click.option("--out", type=PATH, required=True, help="Folder for the export.")
@one_line_errors
def main(batch: Path, gate: Path, features: Path, pool: Path, seed: Path, out: Path) -> str:
    """Read batch and contents, write the export."""
    params = load()
    rows = read_jsonl(batch / "batch.jsonl")
    tables = {"pool": read_table(pool), "seed": read_table(seed, may_be_empty=True)}
    files = {
        "asked.jsonl": jsonl(export(rows, tables, read_index(features), params)),
        "batch.jsonl": jsonl(rows),
        "verdicts.jsonl": jsonl(read_jsonl(gate / "review.jsonl")),
    }
    for name, data in files.items():
        write_bytes(out / name, data)
    hashes = {name: sha256(data) for name, data in files.items()}
    write_json(out / "manifest.json", {"batch_id": batch_id(rows), "rows": len(rows), "sha256": hashes})
    return f"export_prodigy: {len(rows)} rows, batch {batch_id(rows)[:12]}"


if __name__ == "__main__":
    main()
