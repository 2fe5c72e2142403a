"""README.md of an exported data set: the Hub's YAML head, and in words where the labels come from.

Source of the form: the Hub's documentation, "Dataset cards" and "Data files configuration"; Gebru
et al., "Datasheets for datasets" (2021).
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rounds.dataset.columns import hub_feature
from rounds.dataset.files import Written
from rounds.dataset.gathering import MACHINE, TEST, TRAIN, DataSet
from stages.contract.canonical import Row

SIZES = (  # as the Hub names them, each up to this many rows
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
)
LARGEST = "n>10M"
SPLITS = {
    TRAIN: "labels by people, accepted by the quality gate",
    TEST: "held-out rows: none was asked or learnt from",
    MACHINE: "labels by the model, under a bound on its errors",
}


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from: its name, licence, and the commit and date that made its labels.

    rounds: how many were closed; doubted, without: rows whose label the gate doubts, or that people
    could not label.
    """

    name: str
    licence: str
    commit: str
    date: str
    rounds: int
    doubted: int
    without: int


def file_of(split: str) -> str:
    """The split's file, from the folder of the data set."""
    return f"data/{split}.parquet"


def card(data: DataSet, origin: Origin, written: Mapping[str, Written], size: int) -> str:
    """README.md, whole. size: bytes of the Parquet files."""
    head = yaml_text(head_of(data, origin, written, size))
    return f"---\n{head}---\n\n" + "\n".join(body(data, origin)) + "\n"


def head_of(data: DataSet, origin: Origin, written: Mapping[str, Written], size: int) -> Row:
    """What the Hub reads: files, columns, classes, licence and size."""
    rows = sum(split.rows for split in written.values())
    splits = [
        {"name": name, "num_bytes": split.bytes, "num_examples": split.rows}
        for name, split in written.items()
    ]
    files = [{"split": name, "path": file_of(name)} for name in written]
    return {
        "pretty_name": origin.name,
        "license": origin.licence,
        "task_categories": [data.task],
        "tags": ["active-learning", "labelrounds"],
        "size_categories": [next((name for limit, name in SIZES if rows < limit), LARGEST)],
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": {
            "features": [hub_feature(column, data.classes) for column in data.columns],
            "splits": splits,
            "download_size": size,
            "dataset_size": sum(split.bytes for split in written.values()),
        },
    }


def yaml_text(value: Row) -> str:
    """A document that YAML 1.1 and 1.2 read alike: all texts in quotes, a class `no` too."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    text = io.StringIO()
    yaml.dump(_quoted(value), text)
    return text.getvalue()


def _quoted(value: Any) -> Any:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, dict):
        return {
            DoubleQuotedScalarString(key) if key.isdigit() else key: _quoted(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) else value


def body(data: DataSet, origin: Origin) -> list[str]:
    """The card in words."""
    came = (
        f"Labelled in {origin.rounds} rounds of active learning with labelrounds; exported as of "
        f"commit `{origin.commit}` ({origin.date}), which holds every answer, parameter and line "
        "of code that led to these labels."
    )
    return [
        f"# {plain(origin.name)}",
        "",
        came,
        "",
        *_use(data),
        "## Splits",
        "",
        "| split | rows | what it is |",
        "|---|---|---|",
        *(f"| {name} | {len(rows)} | {SPLITS[name]} |" for name, rows in data.splits.items()),
        "",
        "## Classes",
        "",
        *_classes(data),
        "",
        "## Columns",
        "",
        "| column | what it is |",
        "|---|---|",
        *(f"| {plain(column.name)} | {column.meaning} |" for column in data.columns),
        "",
        "## How far to trust it",
        "",
        *(f"- {line}" for line in limits(data, origin)),
    ]


def _use(data: DataSet) -> list[str]:
    split = next(iter(data.splits))
    return [
        "```python",
        "from datasets import load_dataset",
        "",
        f'data = load_dataset("FOLDER")["{split}"]',
        "```",
        "",
    ]


def _classes(data: DataSet) -> list[str]:
    """A table of how many rows each class has in each split."""
    names = list(data.splits)
    counts = {name: Counter(row[data.label] for row in rows) for name, rows in data.splits.items()}
    return [
        f"| class | {' | '.join(names)} |",
        "|---" * (1 + len(names)) + "|",
        *(
            f"| {plain(label)} | {' | '.join(str(counts[name][label]) for name in names)} |"
            for label in data.classes
        ),
    ]


def limits(data: DataSet, origin: Origin) -> list[str]:
    """What whoever uses it has to know."""
    uniform = (
        f"The rows of `{TRAIN}` are not a random draw: active learning chose most of them. Those "
        "with `control` among their arms are one, but for rows left out; estimate shares on these."
    )
    missing = (
        f"{origin.doubted} rows with a label that is probably wrong are left out, and "
        f"{origin.without} that people could not label."
    )
    lines = [uniform, missing]
    if data.left_out:
        lines.append(
            f"{data.left_out} labelled rows are left out: the test set has their content, too."
        )
    if data.finished:
        claim = data.finished["claim"]
        lines.append(
            f"Of the labels in `{MACHINE}` at most {claim['error']:.4g} are wrong, at confidence "
            f"{claim['confidence']:.4g}; the bound holds for all of them together, not for a class."
        )
    if origin.licence == "unknown":
        lines.append("Nobody has said yet under which licence it may be used (`--license`).")
    return lines


def plain(text: str) -> str:
    """A text that cannot break a table or a heading of Markdown."""
    return " ".join(text.replace("|", r"\|").split())
