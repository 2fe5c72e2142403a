"""`rounds inspect`: the label-quality gate on any labelled table, outside a project. Changes nothing.

Reads a table, or a table and a model's out-of-sample probabilities, and ranks its labels by how
likely each is wrong.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from rounds.init import MODEL
from rounds.shipped import shipped_params
from stages.contract.arrays import Floats, Geometry, Ints, Mask, Matrix
from stages.contract.canonical import Row, plain, sha256, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.params import Params
from stages.contract.shell import PATH, one_line_errors
from stages.examples.content import numbers, texts
from stages.examples.tables import Table, as_text, read_table
from stages.features.whole import spaces_of, text_features
from stages.learning.classifier import TINY
from stages.quality.agreement import krippendorff_alpha
from stages.quality.judgement import (
    OUTLIER,
    Judgement,
    class_balance,
    judge,
    order_p_value,
    with_annotators,
)
from stages.quality.policy import doubt

SHOWN = 10


@dataclass(frozen=True)
class Source:
    """What of a table is looked at: columns of the label, the text, the numbers ("all" or names), the annotators."""

    label: str
    text: str = ""
    features: str = ""
    annotators: tuple[str, ...] = ()
    proba: Path | None = None


@dataclass(frozen=True)
class Inspection:
    """Every label, the likeliest mistake first, and the summary."""

    rows: list[Row]
    summary: Row


def inspect(table: Table, source: Source) -> Inspection:
    """The gate's judgement of a table's labels. Raises PipelineError for what cannot be judged."""
    votes = [_row_votes(table, row, source) for row in range(len(table))]
    labels = _labels(table, source, votes)
    seen = sorted(set(labels))
    if len(seen) < 2:
        raise PipelineError(
            table.path, f"every row has the label {seen[0]!r}", "labels of two classes are needed"
        )
    logits = _logits(source.proba, len(table), seen) if source.proba else None
    names = _column_names(seen, logits.shape[1]) if logits is not None else seen
    place = {name: number for number, name in enumerate(names)}
    classes = np.array([place[label] for label in labels], dtype=np.intp)
    matrix, geometry, sha = _features(table, source)
    params, ids = (
        _params(names, "text" if source.text else "numeric"),
        [str(line) for line in table.lines],
    )
    found = judge(matrix, geometry, classes, ids, sha, params, logits)
    given = [{name: place[label] for name, label in row.items()} for row in votes]
    found, quality = with_annotators(found, given, classes)
    error = found.doubts.error
    flagged = doubt(
        found, error, classes, ids, np.ones(len(ids), dtype=np.bool_), 1.0, params, reviews=None
    )
    judged, counts, placed = int(found.doubts.judged.sum()), Counter(labels), geometry.shape[1] > 0
    summary = {
        "rows": len(ids), "classes": len(seen), "judged": judged, "flagged": int(flagged.sum()),
        "flagged_share": int(flagged.sum()) / len(ids),
        "estimated_error_rate": float(error[found.doubts.judged].mean()) if judged else None,
        "conflicting_copies": int(found.conflict.sum()),
        "near_duplicates": int((found.duplicates >= 0).sum()) if placed else None,
        "outliers": int((found.outlier > OUTLIER).sum()) if placed else None,
        "order_p_value": order_p_value(found.near, params.seed) if placed else None,
        "rarest_count": min(counts.values()),
        "alpha": krippendorff_alpha([list(row.values()) for row in votes]) if source.annotators else None,
        "annotator_quality": quality,
    }  # fmt: skip
    return Inspection(_ranked(table, classes, names, found, error, flagged), summary)


def _ranked(
    table: Table, classes: Ints, names: list[str], found: Judgement, error: Floats, flagged: Mask
) -> list[Row]:
    order = np.lexsort((np.arange(len(classes)), -np.round(error, 9)))
    rows, balance = [], class_balance(classes, len(names))
    for row in order:
        reasons = [
            *(["label_error"] if flagged[row] and not found.conflict[row] else []),
            *(["conflicting_copy"] if found.conflict[row] else []),
            *(["outlier"] if found.outlier[row] > OUTLIER else []),
            *(["near_duplicate"] if found.duplicates[row] >= 0 else []),
        ]
        rows.append({
            "line": table.lines[row], "label": names[classes[row]], "suggested": names[found.doubts.suggested[row]],
            "flagged": "yes" if flagged[row] else "", "error": error[row] if found.doubts.judged[row] else "",
            "reasons": " ".join(reasons), "outlier": found.outlier[row],
            "duplicates": found.duplicates[row] if found.duplicates[row] >= 0 else "", "class_balance": balance[row],
        })  # fmt: skip
    return rows


def _row_votes(table: Table, row: int, source: Source) -> dict[str, str]:
    cells = {name: as_text(table.column(name, "--annotators")[row]) for name in source.annotators}
    return {name: cell for name, cell in cells.items() if cell.strip()}


def _labels(table: Table, source: Source, votes: list[dict[str, str]]) -> list[str]:
    """The label column; without one, each row's most frequent vote (ties by name)."""
    if source.label:
        labels = [as_text(cell) for cell in table.column(source.label, "--label")]
    else:
        counts = [Counter(row.values()) for row in votes]
        labels = [
            min((-times, name) for name, times in count.items())[1] if count else ""
            for count in counts
        ]
    for row, label in enumerate(labels):
        if not label.strip():
            raise PipelineError(table.where(row), "no label", "fill it or remove the row")
    return labels


def _logits(path: Path, n: int, seen: list[str]) -> Floats:
    """Log probabilities (n, k) from a .npy file. Raises PipelineError for any row that is no distribution."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise PipelineError(
            path, f"not a readable .npy array ({error})", "write it with numpy.save"
        ) from error
    if array.ndim != 2 or len(array) != n or array.shape[1] < len(seen):
        what = f"an array of shape ({n}, {len(seen)} or more) was expected, found {array.shape}"
        raise PipelineError(path, what, "one row per row of the table, one column per class")
    bad = ~(
        np.isfinite(array).all(axis=1)
        & (array >= 0).all(axis=1)
        & (np.abs(array.sum(axis=1) - 1) < 1e-2)
    )
    if bad.any():
        what = f"row {int(np.flatnonzero(bad)[0])} is no probability distribution ({int(bad.sum())} such rows)"
        raise PipelineError(path, what, "rows must be >= 0 and sum to 1")
    return np.asarray(np.log(np.maximum(array.astype(np.float64), TINY)))


def _column_names(seen: list[str], columns: int) -> list[str]:
    """The class of each probability column: 0, 1, ... when the labels are such numbers, else the sorted labels."""
    numbered = [str(number) for number in range(columns)]
    if set(seen) <= set(numbered):
        return numbered
    if len(seen) != columns:
        what = f"{columns} probability columns, and {len(seen)} classes among the labels"
        raise PipelineError(
            "--proba",
            what,
            "give one column per class in sorted order, or number the labels from 0",
        )
    return seen


def _features(table: Table, source: Source) -> tuple[Matrix, Geometry, list[str]]:
    """Model features, geometry and content hashes; without text or numbers, neither features nor copies."""
    rows = slice(0, len(table))
    if source.text:
        content = texts(table, source.text)
        options = shipped_params().features.text
        matrix = text_features(content, rows, options)
        beside = options.directions
        return *spaces_of(matrix, rows, 128, 0, unit_rows=True, beside=beside), [
            sha256(text) for text in content
        ]
    if not source.features:
        return (
            None,
            np.zeros((len(table), 0), dtype=np.float32),
            [str(line) for line in table.lines],
        )
    from sklearn.preprocessing import StandardScaler

    others = {source.label, *source.annotators}
    columns = [name for name in table.columns if name not in others]
    if source.features != "all":
        columns = [name.strip() for name in source.features.split(",")]
    values = numbers(table, columns)
    scaled = StandardScaler().fit_transform(values).astype(np.float32)
    return *spaces_of(scaled, rows, 128, 0, unit_rows=False), [
        sha256(row.tobytes()) for row in values
    ]


def _params(names: list[str], kind: str) -> Params:
    """The params of a new project, for a table that has none."""
    model = {
        "path": "sklearn.linear_model.LogisticRegression",
        "params": {"max_iter": 1000, **MODEL[kind]},
    }
    return shipped_params({"labels": names, "model": model})


def told(found: Inspection) -> list[str]:
    """The summary in words, a line each; what could not be judged is said."""
    facts = found.summary
    rate = facts["estimated_error_rate"]
    lines = [
        f"{facts['rows']} rows, {facts['classes']} classes; {facts['rarest_count']} rows of the rarest",
        f"labels: {facts['flagged']} probably wrong ({facts['flagged_share']:.1%}), {facts['judged']} could be judged",
        f"estimated share of wrong labels: {'not applicable' if rate is None else f'{rate:.1%}'}",
    ]
    if facts["near_duplicates"] is None:
        lines.append("outliers, duplicates, order: not applicable (no --text or --features)")
    else:
        order = facts["order_p_value"]
        lines.append(
            f"{facts['near_duplicates']} near duplicates, {facts['conflicting_copies']} copies with different labels, "
            f"{facts['outliers']} outliers"
        )
        if order is not None and order <= 0.01:
            lines.append(
                f"the order of the rows matters (p = {order:.2g}): shuffle them before you split"
            )
    if facts["alpha"] is not None:
        people = ", ".join(
            f"{name} {quality:.2f}" for name, quality in facts["annotator_quality"].items()
        )
        lines.append(
            f"annotators: Krippendorff's alpha {facts['alpha']:.2f}; quality {people or 'not applicable'}"
        )
    worst = [row for row in found.rows if row["flagged"]][:SHOWN]
    lines += [
        f"  line {r['line']}: {r['label']!r}, rather {r['suggested']!r} ({r['error']:.2f})"
        for r in worst
    ]
    return lines


@click.command()
@click.argument("data", type=PATH)
@click.option(
    "--label", default="", help="Column of the labels (with --annotators: may be left out)."
)
@click.option("--text", default="", help="Column of the text.")
@click.option("--features", default="", help="`all`, or columns of numbers, comma-separated.")
@click.option(
    "--proba",
    type=PATH,
    help="Out-of-sample probabilities (.npy, one row per row): nothing is trained.",
)
@click.option(
    "--annotators", default="", help="Columns with each annotator's label, comma-separated."
)
@click.option(
    "--out", type=PATH, help="Write every label, ranked, with scores and reasons to this CSV file."
)
@click.option(
    "--fail-over",
    type=click.FloatRange(0, 1),
    help="Exit 1 when more than this share is probably wrong.",
)
@one_line_errors
def command(
    data: Path, label: str, text: str, features: str, proba: Path | None, annotators: str, out: Path | None,
    fail_over: float | None,
) -> str:  # fmt: skip
    """Find the labels of any table that are probably wrong."""
    people = tuple(name.strip() for name in annotators.split(",") if name.strip())
    if not (label or people):
        raise click.UsageError("name the labels: --label COL, or --annotators A,B")
    if not (text or features or proba):
        raise click.UsageError(
            "name what to judge by: --text COL, --features all, or --proba FILE.npy"
        )
    found = inspect(read_table(data), Source(label, text, features, people, proba))
    if out:  # first of all: whoever reads the summary may stop reading (`| head -1`)
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, list(found.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain(row) for row in found.rows)
        write_bytes(out, buffer.getvalue().encode())
    for line in told(found):
        click.echo(line)
    share = found.summary["flagged_share"]
    if fail_over is not None and share > fail_over:
        remedy = "read the ranked list (--out) and correct the labels"
        raise PipelineError(
            data, f"{share:.1%} of the labels are probably wrong, limit {fail_over:.1%}", remedy
        )
    return f"inspect: {data}: " + (
        f"ranked labels in {out}" if out else "add --out FILE.csv for the ranked list"
    )
