"""`rounds inspect`: the label-quality gate on any labelled table, outside a project.

It reads a table, and out-of-sample probabilities of a model if there are any, and ranks the labels
by how likely each is wrong. It changes nothing.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import click
import numpy as np

from rounds import documents
from rounds.documents import json_option, say
from rounds.init import MODEL
from rounds.self_test import SelfTest, self_test
from rounds.self_test import lines as self_test_lines
from rounds.shipped import shipped_params
from stages.contract.arrays import Floats, Geometry, Mask, Matrix
from stages.contract.canonical import Row, plain, sha256, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.params import Params
from stages.contract.progress import progress
from stages.contract.shell import PATH, one_line_errors
from stages.examples.content import numbers, texts
from stages.examples.tables import Table, as_text, read_table
from stages.features.whole import spaces_of
from stages.learning.classifier import TINY
from stages.quality.agreement import krippendorff_alpha
from stages.quality.judgement import (
    OUTLIER,
    Judgement,
    LabelledRows,
    class_balance,
    judge,
    order_p_value,
    with_annotators,
)
from stages.quality.policy import choose_doubts
from stages.store.ngrams import rarity, weighted
from stages.store.rolled import repeated_columns, rolled
from stages.store.space import space_of_few

SHOWN = 10  # suspects in the summary
DIMS = 128  # of the geometry
BITS = 18  # 2 ** BITS columns of hashed n-grams
DIRECTED_BY = 2000  # texts, at most, that the directions are learnt from
FIRST_SIGN = 0.5  # seconds until the first sign of progress
ORDER_MATTERS = 0.01  # p-value


@dataclass(frozen=True)
class Source:
    """What of a table is looked at.

    label, text: columns; features: columns of numbers, comma-separated, or "all"; annotators:
    columns of each annotator's labels; proba: a file of out-of-sample probabilities.
    """

    label: str
    text: str = ""
    features: str = ""
    annotators: tuple[str, ...] = ()
    proba: Path | None = None


@dataclass(frozen=True)
class Inspection:
    """Every label, the likeliest mistake first, and the summary.

    planted: what is found of planted mistakes, None where that was not asked.
    """

    rows: list[Row]
    summary: Row
    planted: list[SelfTest] | None = None


def inspect(table: Table, source: Source, *, plant: bool = False) -> Inspection:
    """The gate's judgement of a table's labels. Raises PipelineError for what cannot be judged.

    plant: whether it is tested on mistakes that are planted in these labels.
    """
    votes = [_row_votes(table, row, source) for row in range(len(table))]
    labels = _labels(table, source, votes)
    seen = sorted(set(labels))
    if len(seen) < 2:
        what = f"every row has the label {seen[0]!r}"
        raise PipelineError(table.path, what, "labels of two classes are needed")
    logits = _logits(source.proba, len(table), seen) if source.proba else None
    names = seen if logits is None else _column_names(seen, logits.shape[1])
    params = _params(names, "text" if source.text else "numeric")
    class_of = {name: number for number, name in enumerate(names)}
    rows = _labelled_rows(table, source, [class_of[label] for label in labels])
    judgement = judge(rows, params, logits)
    classes_by_row = [{who: class_of[label] for who, label in row.items()} for row in votes]
    judgement, quality = with_annotators(judgement, classes_by_row, rows.labels)
    flagged = choose_doubts(judgement, rows, params, share=1.0, reviews=None)
    planted = _self_test(rows, judgement, flagged, params, logits) if plant else None
    summary = _summary(rows, judgement, flagged, params.seed)
    if source.annotators:
        summary["alpha"] = krippendorff_alpha([list(row.values()) for row in votes])
        summary["annotator_quality"] = quality
    return Inspection(_ranked(table, rows, names, judgement, flagged), summary, planted)


def _self_test(
    rows: LabelledRows,
    judgement: Judgement,
    flagged: Mask,
    params: Params,
    logits: Floats | None,
) -> list[SelfTest]:
    """What the gate finds of mistakes that are planted in these labels."""

    def flags(planted: LabelledRows) -> Mask:
        again = judge(planted, params, logits)
        return choose_doubts(again, planted, params, share=1.0, reviews=None)

    return self_test(rows, judgement, flagged, flags, params.seed)


def _summary(rows: LabelledRows, judgement: Judgement, flagged: Mask, seed: int) -> Row:
    """The summary of a table without annotators."""
    errors = judgement.errors
    counts = np.unique(rows.labels, return_counts=True)[1]
    has_geometry = rows.geometry.shape[1] > 0
    rate = float(errors.probability[errors.judged].mean()) if errors.judged.any() else None
    return {
        "rows": len(rows.ids),
        "classes": len(counts),
        "judged": int(errors.judged.sum()),
        "flagged": int(flagged.sum()),
        "flagged_share": int(flagged.sum()) / len(rows.ids),
        "estimated_error_rate": rate,
        "features_do_not_tell": errors.is_outcome,
        "conflicting_copies": int(judgement.conflict.sum()),
        "near_duplicates": int((judgement.duplicates >= 0).sum()) if has_geometry else None,
        "outliers": int((judgement.outlier > OUTLIER).sum()) if has_geometry else None,
        "order_p_value": order_p_value(judgement.near, seed) if has_geometry else None,
        "rarest_count": int(counts.min()),
        "alpha": None,
        "annotator_quality": {},
    }


def _ranked(
    table: Table, rows: LabelledRows, names: list[str], judgement: Judgement, flagged: Mask
) -> list[Row]:
    """One row per label, the likeliest mistakes first, ties by line."""
    errors = judgement.errors
    balance = class_balance(rows.labels, len(names))
    order = np.lexsort((np.arange(len(rows.labels)), -np.round(errors.probability, 9)))
    return [
        {
            "line": table.lines[row],
            "label": names[rows.labels[row]],
            "suggested": names[errors.suggested[row]],
            "flagged": "yes" if flagged[row] else "",
            "error": errors.probability[row] if errors.judged[row] else "",
            "reasons": " ".join(_reasons(judgement, row, bool(flagged[row]))),
            "outlier": judgement.outlier[row],
            "duplicates": judgement.duplicates[row] if judgement.duplicates[row] >= 0 else "",
            "class_balance": balance[row],
        }
        for row in order
    ]


def _reasons(judgement: Judgement, row: int, flagged: bool) -> list[str]:
    """What is odd about a row, by name."""
    conflict = bool(judgement.conflict[row])
    odd = {
        "label_error": flagged and not conflict,
        "conflicting_copy": conflict,
        "outlier": judgement.outlier[row] > OUTLIER,
        "near_duplicate": judgement.duplicates[row] >= 0,
    }
    return [name for name, holds in odd.items() if holds]


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
    """Log probabilities (n, k) from a .npy file.

    Raises PipelineError for any row that is no distribution.
    """
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
        row = int(np.flatnonzero(bad)[0])
        what = f"row {row} is no probability distribution ({int(bad.sum())} such rows)"
        raise PipelineError(path, what, "rows must be >= 0 and sum to 1")
    return np.asarray(np.log(np.maximum(array.astype(np.float64), TINY)))


def _column_names(seen: list[str], columns: int) -> list[str]:
    """The class of each probability column.

    0, 1, ... when the labels are such numbers, else the sorted labels.
    """
    numbered = [str(number) for number in range(columns)]
    if set(seen) <= set(numbered):
        return numbered
    if len(seen) != columns:
        what = f"{columns} probability columns, and {len(seen)} classes among the labels"
        remedy = "give one column per class in sorted order, or number the labels from 0"
        raise PipelineError("--proba", what, remedy)
    return seen


def _labelled_rows(table: Table, source: Source, classes: list[int]) -> LabelledRows:
    """The table as labelled rows; without text or numbers there are neither features nor copies."""
    labels = np.array(classes, dtype=np.intp)
    ids = [str(line) for line in table.lines]
    everything = slice(0, len(table))
    if source.text:
        content = texts(table, source.text)
        matrix, geometry = _text_spaces(content)
        return LabelledRows(matrix, geometry, labels, ids, [sha256(text) for text in content])
    if not source.features:
        nothing = np.zeros((len(table), 0), dtype=np.float32)
        return LabelledRows(None, nothing, labels, ids, ids)
    from sklearn.preprocessing import StandardScaler

    values = numbers(table, _number_columns(table, source))
    scaled = StandardScaler().fit_transform(values).astype(np.float32)
    matrix, geometry = spaces_of(scaled, everything, DIMS, 0, unit_rows=False)
    return LabelledRows(matrix, geometry, labels, ids, [sha256(row.tobytes()) for row in values])


def _text_spaces(content: list[str]) -> tuple[Matrix, Geometry]:
    """What the model sees of texts, and their geometry: n-grams, and their main directions."""
    options = shipped_params().features.text
    features = repeated_columns(rolled(content, options, BITS), options.min_df)
    features = weighted(features, rarity(features))
    some = features[:: -(-len(content) // DIRECTED_BY)]
    return space_of_few(some, DIMS, 0, options.directions).both(features)


def _number_columns(table: Table, source: Source) -> list[str]:
    """The columns of numbers that --features names; `all`: those that hold no labels."""
    if source.features != "all":
        return [name.strip() for name in source.features.split(",")]
    others = {source.label, *source.annotators}
    return [name for name in table.columns if name not in others]


def _params(names: list[str], kind: str) -> Params:
    """The params of a new project, for a table that has none."""
    model = {
        "path": "sklearn.linear_model.LogisticRegression",
        "params": {"max_iter": 1000, **MODEL[kind]},
    }
    return shipped_params({"labels": names, "model": model, "features": {"kind": kind}})


def summary_lines(inspection: Inspection) -> list[str]:
    """The summary in words, a line each, with what could not be judged."""
    facts = inspection.summary
    rate = facts["estimated_error_rate"]
    share = "not applicable" if rate is None else f"{rate:.1%}"
    rarest = facts["rarest_count"]
    flagged = f"{facts['flagged']} probably wrong ({facts['flagged_share']:.1%})"
    lines = [
        f"{facts['rows']} rows, {facts['classes']} classes; {rarest} rows of the rarest",
        f"labels: {flagged}, {facts['judged']} could be judged",
        f"estimated share of wrong labels: {share}",
    ]
    if facts["features_do_not_tell"]:
        lines.append("the features do not tell the class: rare outcomes are not called mistakes")
    lines += _oddity_lines(facts)
    if facts["alpha"] is not None:
        qualities = facts["annotator_quality"].items()
        people = ", ".join(f"{name} {quality:.2f}" for name, quality in qualities)
        lines.append(
            f"annotators: Krippendorff's alpha {facts['alpha']:.2f}; "
            f"quality {people or 'not applicable'}"
        )
    if inspection.planted is not None:
        lines += self_test_lines(inspection.planted)
    worst = [row for row in inspection.rows if row["flagged"]][:SHOWN]
    lines += [
        f"  line {r['line']}: {r['label']!r}, rather {r['suggested']!r} ({r['error']:.2f})"
        for r in worst
    ]
    return lines


def _oddity_lines(facts: Row) -> list[str]:
    """Near duplicates, conflicting copies, outliers and the order of the rows, a line each."""
    if facts["near_duplicates"] is None:
        return ["outliers, duplicates, order: not applicable (no --text or --features)"]
    copies = f"{facts['conflicting_copies']} copies with different labels"
    lines = [f"{facts['near_duplicates']} near duplicates, {copies}, {facts['outliers']} outliers"]
    p = facts["order_p_value"]
    if p is not None and p <= ORDER_MATTERS:
        lines.append(f"the order of the rows matters (p = {p:.2g}): shuffle them before you split")
    return lines


class Asked(TypedDict):
    """The options of the command line that choose what is judged, as click hands them over."""

    label: str
    text: str
    features: str
    proba: Path | None
    annotators: str
    fail_over: float | None
    self_test: bool


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
@click.option(
    "--self-test",
    is_flag=True,
    help="Plant mistakes in a twentieth of the labels (in memory), and say how many are found.",
)
@json_option
@one_line_errors
def command(data: Path, out: Path | None, as_json: bool, **asked: Unpack[Asked]) -> str:
    """Find the labels of any table that are probably wrong."""
    source = source_of(asked)
    with progress("inspect", delay=FIRST_SIGN):
        inspection = inspect(read_table(data), source, plant=asked["self_test"])
    if out:  # before anything is printed: whoever reads may stop reading (`| head -1`)
        _write_csv(out, inspection.rows)
    if as_json:
        say(document(data, inspection, out))
    else:
        click.echo("\n".join(summary_lines(inspection)))
    share = inspection.summary["flagged_share"]
    fail_over = asked["fail_over"]
    if fail_over is not None and share > fail_over:
        what = f"{share:.1%} of the labels are probably wrong, limit {fail_over:.1%}"
        raise PipelineError(data, what, "read the ranked list (--out) and correct the labels")
    where = f"ranked labels in {out}" if out else "add --out FILE.csv for the ranked list"
    return f"inspect: {data}: {where}"


def source_of(asked: Asked) -> Source:
    """What of the table is looked at. Raises UsageError where the options do not say it."""
    people = tuple(name.strip() for name in asked["annotators"].split(",") if name.strip())
    if not (asked["label"] or people):
        raise click.UsageError("name the labels: --label COL, or --annotators A,B")
    if not (asked["text"] or asked["features"] or asked["proba"]):
        raise click.UsageError(
            "name what to judge by: --text COL, --features all, or --proba FILE.npy"
        )
    if asked["self_test"] and people:
        raise click.UsageError("--self-test plants mistakes in --label, not in --annotators")
    return Source(asked["label"], asked["text"], asked["features"], people, asked["proba"])


def document(data: Path, inspection: Inspection, out: Path | None) -> documents.Inspect:
    """The inspection for a program."""
    return documents.Inspect(
        table=str(data),
        worst=[plain(row) for row in inspection.rows[:SHOWN]],
        out=str(out) if out else None,
        self_test=None
        if inspection.planted is None
        else [dict(test) for test in inspection.planted],
        **inspection.summary,
    )


def _write_csv(path: Path, rows: list[Row]) -> None:
    """Write the ranked list."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain(row) for row in rows)
    write_bytes(path, buffer.getvalue().encode())
