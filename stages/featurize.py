"""featurize: make features, a geometry for distances and an index of all tables. Sees no label.

reads   the tables and media that params.data and params.features name
writes  build/features (see stages/store/index.py, for a pool in parts stages/store/parts.py);
        next: clean_seed, gate, train, query, export_prodigy, validate
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from stages.contract.errors import PipelineError
from stages.contract.params import load
from stages.contract.shell import PATH, one_line_errors
from stages.examples.places import in_parts
from stages.features.whole import featurize, read_tables
from stages.store.index import write_features


@click.command(help=__doc__)
@click.option("--out", type=PATH, required=True, help="Folder for the feature store.")
@one_line_errors
def main(out: Path) -> str:
    """Read the tables that params name, write the feature store."""
    params = load()
    if in_parts(params.data.pool):
        if params.machines.are_features:
            what = "a machine's answers are no features of a pool in parts"
            where = "params.yaml machines.features"
            raise PipelineError(where, what, "write data/none.csv, or make the pool one table")
        from stages.features.in_parts import featurize_parts

        pool, index, width = featurize_parts(out, params)
        counts = f"{pool.rows} pool rows in {len(pool.parts)} parts"
    else:
        features, featurizer = featurize(read_tables(params), params)
        shutil.rmtree(out, ignore_errors=True)
        write_features(out, features)
        featurizer.write(out)
        index = features.index
        width = features.matrix.shape[1]
        counts = f"{index.split.count('pool')} pool"
    seed = index.split.count("seed")
    test = index.split.count("test")
    return f"featurize: {counts}, {seed} seed, {test} test rows; {width} features"


if __name__ == "__main__":
    main()
