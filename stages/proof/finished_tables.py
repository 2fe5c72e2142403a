"""The tables of a finished pool: labels by people and machine, the questions left, the figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from stages.answers.ledger import AcceptedLabel, JudgedLabel, Labelled
from stages.contract.arrays import Ints
from stages.contract.canonical import Row
from stages.proof.finishing import Finished, Sources

HUMAN = "human"
WRITTEN = 100_000  # labels that are written at a time
MOST_QUESTIONS = 20_000  # listed of the rest


class FinishedLabel(Labelled):
    """A label of the finished data set.

    by: human, or model@ and the commit that holds the model (and + and a machine annotator, if the
    model saw its answers for this alone); confidence: the model's calibrated
    probability of the label, None for a person's; round: where the label became known, or the last
    round that the model learned from; annotators: the people who gave the label.
    """

    by: str
    confidence: float | None
    round: int
    annotators: list[str]


class Question(TypedDict):
    """A row that is left to people, and why.

    rank: 1 for the one to ask first; doubt: of the model, in [0, 1]; why: uncertain, doubted (a
    label that is to be asked again), or what people said instead of a label (skip, reject, ...).
    """

    rank: int
    id: str
    doubt: float | None
    why: str


def finished_labels(
    finished: Finished, sources: Sources, classes: list[str], commit: str
) -> Iterator[list[FinishedLabel]]:
    """Every label of the finished data set; copies of a content have its label.

    First those by people, sorted by id, then those by the machine, in the pool's order, so many at
    a time.
    """
    by_people: list[FinishedLabel] = []
    for accepted in sources.gate.accepted.rows:
        by_people += [_by_people(item, accepted) for item in (accepted["id"], *accepted["copies"])]
    by_people += _judged_alone(sources)
    yield sorted(by_people, key=lambda label: label["id"])
    last = sources.gate.state["rounds"]
    author = f"model@{commit}+{sources.second}" if sources.second else f"model@{commit}"
    source = sources.pool.with_copies(finished.machine)
    rows = np.flatnonzero(source >= 0)
    position = np.searchsorted(finished.machine, source[rows])
    for start in range(0, len(rows), WRITTEN):
        some = slice(start, start + WRITTEN)
        at = position[some]
        ids = sources.pool.ids(rows[some])
        chances = finished.confidence[at].tolist()
        by_machine = zip(ids, finished.classes[at].tolist(), chances, strict=True)
        yield [
            {
                "id": item,
                "label": classes[column],
                "by": author,
                "confidence": chance,
                "round": last,
                "annotators": [],
            }
            for item, column, chance in by_machine
        ]


def _judged_alone(sources: Sources) -> list[FinishedLabel]:
    """The labels by people of rows that judged and taught nobody, and of their copies."""
    gate = sources.gate
    index = sources.taught.index
    others = {*gate.accepted.ids, *(row["id"] for row in gate.review)}
    return [
        _by_people(item, row)
        for row in gate.judged
        if row["id"] not in others
        for item in index.copies.get(index.sha[index.row_of[row["id"]]], [row["id"]])
    ]


def _by_people(item: str, accepted: AcceptedLabel | JudgedLabel) -> FinishedLabel:
    return {
        "id": item,
        "label": accepted["label"],
        "by": HUMAN,
        "confidence": None,
        "round": accepted["round"],
        "annotators": accepted["annotators"],
    }


def questions_left(finished: Finished, sources: Sources) -> list[Question]:
    """What people must still answer: doubted labels, then the rest from the most doubtful on.

    Of the rest the first MOST_QUESTIONS; rows that people could not label come last.
    """
    doubted = [(row["id"], None, "doubted") for row in sources.gate.review]
    asked = finished.left[:MOST_QUESTIONS]
    rows = np.sort(asked)
    ids = dict(zip(rows.tolist(), sources.pool.ids(rows), strict=True))
    left = zip(asked.tolist(), finished.doubt.tolist(), strict=False)
    uncertain = [(ids[row], doubt, "uncertain") for row, doubt in left]
    without = [(row["id"], None, row["kind"]) for row in sources.gate.unlabelled]
    return [
        {"rank": rank, "id": item, "doubt": doubt, "why": why}
        for rank, (item, doubt, why) in enumerate([*doubted, *uncertain, *without], start=1)
    ]


def write_labels(path: Path, batches: Iterable[list[FinishedLabel]]) -> None:
    """The labels as a Parquet file, a row group a batch; the same bytes for the same rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "id": pa.string(),
        "label": pa.string(),
        "by": pa.string(),
        "confidence": pa.float64(),
        "round": pa.int64(),
        "annotators": pa.list_(pa.string()),
    }
    schema = pa.schema(kinds.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with pq.ParquetWriter(temporary, schema) as writer:
        for rows in batches:
            writer.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema))
    temporary.replace(path)


def figures(finished: Finished, sources: Sources, classes: list[str], commit: str) -> Row:
    """metrics/finish.json: the claim, how much is covered, what proves it, class by class."""
    chosen = finished.certificate.last
    claim = finished.claim
    people = finished.people
    population = finished.population
    rest = len(population.rest)
    most = claim.error + (people.error_high or 0.0)
    second = {"machine": sources.second} if sources.second else {}
    return {
        **second,
        "claim": {"error": claim.error, "confidence": claim.confidence},
        "model": commit,
        "coverage": len(finished.machine) / rest if rest else None,
        "rest": rest,
        "by_machine": len(finished.machine),
        "by_people": len(sources.gate.accepted.ids),
        "left": len(finished.left),
        "models_differ": finished.differ,
        "bound": claim.error if chosen else None,
        "control": {
            "labels": len(population.control),
            "within": chosen.control if chosen else 0,
            "wrong": chosen.wrong if chosen else 0,
            "most_wrong": chosen.most if chosen else -1,
            "p_value": chosen.p_value if chosen else None,
            "not_labelled": population.unlabelled,
        },
        "people": {
            "pairs": people.pairs,
            "differ": people.differ,
            "error": people.error,
            "error_high": people.error_high,
            "bound_if_people_err_like_the_machine": min(1.0, most) if people.pairs else None,
        },
        "levels": [vars(step) for step in finished.certificate.steps],
        "by_class": by_class(finished, sources.gate.accepted.classes, classes),
    }


def by_class(finished: Finished, accepted: Ints, classes: list[str]) -> dict[str, Any]:
    """Per class: labels by people and machine, and what the control rows say of the machine's.

    error_high: the upper end of each class's own interval (Clopper-Pearson); for one class looked
    at alone, not for all at once. 1 without a control row.
    """
    judged = finished.judged
    table: dict[str, Any] = {}
    for column, label in enumerate(classes):
        mine = judged.within & (judged.classes == column)
        control = int(mine.sum())
        wrong = int((mine & judged.wrong).sum())
        table[label] = {
            "by_people": int((accepted == column).sum()),
            "by_machine": int((finished.classes == column).sum()),
            "control": control,
            "wrong": wrong,
            "error_high": upper_limit(wrong, control, finished.claim.confidence),
        }
    return table


def upper_limit(wrong: int, rows: int, confidence: float) -> float:
    """The largest share of wrong rows under which so few would be seen with a fair chance.

    Source: Clopper, Pearson, "The use of confidence or fiducial limits" (1934), one-sided.
    """
    from scipy.stats import beta

    if wrong >= rows:
        return 1.0
    return float(beta.ppf(confidence, wrong + 1, rows - wrong))


def sentence(finished: Finished) -> str:
    """What was done, in one line."""
    claim = finished.claim
    rest = len(finished.population.rest)
    machine = len(finished.machine)
    chosen = finished.certificate.last
    assert chosen is not None
    return (
        f"finish: the machine labels {machine} of {rest} rows ({machine / rest:.0%}); at most "
        f"{claim.error:.4g} of these labels are wrong, at confidence {claim.confidence:.4g} "
        f"({chosen.wrong} of {chosen.control} control labels were); {len(finished.left)} rows left"
    )
