"""What one would write without this project to find wrong labels of texts: a peer of
`rounds inspect`, for benchmarks/gate.py seconds.

    python -m benchmarks.gate_peer TABLE.csv --words

It reads TABLE.csv (text,label), makes TF-IDF features, computes out-of-fold probabilities of
logistic regression by five folds, and prints the rows (from 0) that cleanlab's default names.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import click
import numpy as np


@click.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--words", is_flag=True, help="Words alone: scikit-learn's default features.")
def main(table: Path, *, words: bool) -> None:
    """Print a JSON list of the rows whose labels cleanlab takes to be wrong."""
    from cleanlab.filter import find_label_issues
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_union

    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row["text"] for row in rows]
    labels = np.unique([row["label"] for row in rows], return_inverse=True)[1]
    if words:
        features = TfidfVectorizer().fit_transform(texts)
    else:
        # the n-grams of a new project
        features = make_union(
            TfidfVectorizer(
                ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", min_df=2, sublinear_tf=True
            ),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True),
        ).fit_transform(texts)
    model = LogisticRegression(C=10, max_iter=1000)
    chances = cross_val_predict(model, features, labels, cv=5, method="predict_proba")
    wrong = find_label_issues(labels, chances, n_jobs=1)
    click.echo(json.dumps(np.flatnonzero(wrong).tolist()))


if __name__ == "__main__":
    main()
