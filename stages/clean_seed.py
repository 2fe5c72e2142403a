"""clean_seed: read the seed labels and name those that are probably wrong. Drops nothing.

reads   the seed table; features (featurize); data/scheme.jsonl, which says what became of labels
writes  build/seed/labels.jsonl, suspects.jsonl and issues.jsonl, metrics/seed.json; next: gate,
        which has the suspects asked again
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from stages.answers.scheme import read_scheme, sha_of, table_meaning
from stages.contract.canonical import write_json, write_jsonl
from stages.contract.params import load
from stages.contract.shell import PATH, one_line_errors
from stages.examples.tables import read_labelled
from stages.quality.judgement import OUTLIER, issue_rows
from stages.quality.seed import clean, seed_labels
from stages.store.read import read_features


@click.command(help=__doc__)
@click.option("--table", type=PATH, required=True, help="The seed table (params.data.seed).")
@click.option("--features", type=PATH, required=True, help="The feature store.")
@click.option("--scheme", type=PATH, required=True, help="The record of changed labels.")
@click.option("--out", type=PATH, required=True, help="Folder for labels.jsonl and suspects.jsonl.")
@click.option("--metrics", type=PATH, required=True, help="JSON file for the counts.")
@one_line_errors
def main(table: Path, features: Path, scheme: Path, out: Path, metrics: Path) -> str:
    """Read the seed, judge it, write labels, suspects and counts."""
    params = load()
    store = read_features(features, [], params.compute)
    changes = read_scheme(scheme)
    understood = partial(table_meaning, changes=changes, table="seed", data_sha=sha_of(table))
    seed = seed_labels(read_labelled(table, params.data.label), store.index, params, understood)
    classes, judgement, doubted = clean(seed, store.index, store.matrix, store.geometry, params)
    write_jsonl(out / "labels.jsonl", seed)
    write_jsonl(out / "suspects.jsonl", doubted)
    ids = [row["id"] for row in seed]
    write_jsonl(out / "issues.jsonl", issue_rows(ids, classes, judgement, params.labels))
    counts = {label: int((classes == number).sum()) for number, label in enumerate(params.labels)}
    judged = int(judgement.errors.judged.sum())
    seeded = len(store.index.ids[store.index.rows("seed")])
    write_json(
        metrics,
        {
            "labels": len(seed),
            "judged": judged,
            "suspects": len(doubted),
            "by_class": counts,
            "estimated_error_rate": judgement.errors.share if judged else None,
            "outliers": int((judgement.outlier > OUTLIER).sum()),
            "near_duplicates": int((judgement.duplicates >= 0).sum()),
            "conflicting_copies": int(judgement.conflict.sum()),
            **({"retired": seeded - len(seed)} if changes else {}),
        },
    )
    return f"clean_seed: {len(seed)} labels, {judged} could be judged, {len(doubted)} suspects"


if __name__ == "__main__":
    main()
