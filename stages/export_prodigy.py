"""export_prodigy: write the batch as Prodigy's JSONL, in the order to ask, with the manifest that freezes it.

reads   the batch (query), the pool, seed and test tables for texts and images, the index (featurize), the review
        queue (gate)
writes  build/export: asked.jsonl, batch.jsonl, verdicts.jsonl, manifest.json; next: `rounds issue`, then a person
"""

from __future__ import annotations

from pathlib import Path

import click

from stages._canonical import Row, jsonl, read_jsonl, sha256, write_bytes, write_json
from stages._content import number_columns, shown
from stages._params import Params, load
from stages._parts import read_rows
from stages._prodigy import task
from stages._remote import in_parts, list_parts, local
from stages._rounds import batch_id
from stages._shell import PATH, one_line_errors
from stages._tables import read_table


def export(batch: list[Row], contents: dict[str, Row], params: Params) -> list[Row]:
    """One task per row of the batch, in its order. The score is the model's doubt, the same measure for every arm.

    contents: what a person sees of each id.
    """
    identity = batch_id(batch)
    return [
        task(
            contents[row["id"]], params.labels,
            al_id=row["id"], batch_id=identity, rank=row["rank"], score=row["doubt"],
        )
        for row in batch
    ]  # fmt: skip


def fields_of(pool: str, params: Params) -> list[str] | None:
    """The columns to show of rows that have neither text nor image: the pool's, of a pool in parts its first part's."""
    if params.data.text or params.data.image:
        return None
    with local(list_parts(pool)[0] if in_parts(pool) else pool) as path:
        return number_columns(read_table(path, may_be_empty=True), params)


@click.command(help=__doc__)
@click.option("--batch", type=PATH, required=True, help="Folder of the batch.")
@click.option("--gate", type=PATH, required=True, help="Folder of the gate's tables.")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--pool", required=True, help="The pool's table, or the folder or URL of its parts.")
@click.option("--seed", type=PATH, required=True, help="The seed's table: a doubted seed label is asked again.")
@click.option("--out", type=PATH, required=True, help="Folder for the export.")
@one_line_errors
def main(batch: Path, gate: Path, features: Path, pool: str, seed: Path, out: Path) -> str:
    """Read batch and contents, write the export."""
    params = load()
    rows = read_jsonl(batch / "batch.jsonl")
    ids = [row["id"] for row in rows]
    tables = {"pool": pool, "seed": str(seed)}
    columns = fields_of(pool, params)
    contents = read_rows(ids, tables, features, lambda table, row: shown(table, row, params, columns))
    files = {
        "asked.jsonl": jsonl(export(rows, contents, params)),
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
