"""metrics/*.json: the keys of each file, and the records of the code that stand under them.

What a key of a file says is written here; a test compares the keys with those of a real project.
What stands under a key is read off its record.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_type_hints

from handbook.markdown import code, table
from handbook.records import described
from stages.batch.compose import BatchMetrics
from stages.learning.calibration import CalibrationFacts, Quality
from stages.learning.predictions import ScanFacts
from stages.proof.cost import ProofCost
from stages.proof.scheme_marks import MarkedChange, SchemeFacts
from stages.proof.tables import (
    AlarmRow,
    CourseFacts,
    Gain,
    Gap,
    Interval,
    Looks,
    Overall,
    Panel,
    PoolFacts,
    PoolValue,
    Reading,
    SavedLabels,
    Saving,
    UnjudgedRow,
)
from stages.quality.checks import CheckResult
from stages.quality.gold import GoldScore
from stages.quality.machine_witness import MachineEvidence
from stages.quality.report import Agreement, AnnotatorCounts


class Key(NamedTuple):
    """A key of a metrics file; record: what stands under it, or under each name or number in it."""

    name: str
    meaning: str
    record: Any = None


SEED = (
    Key("labels", "labels of the seed table"),
    Key("judged", "of these, how many could be judged"),
    Key("suspects", "labels that are probably wrong; they are asked again"),
    Key("by_class", "labels by class"),
    Key("estimated_error_rate", "estimated share of wrong labels; null where none could be judged"),
    Key("outliers", "rows unlike all others"),
    Key("near_duplicates", "rows that nearly repeat another"),
    Key("conflicting_copies", "rows with the same content and another label"),
    Key("retired", "only where labels changed: rows whose label was given up"),
)
GATE = (
    Key("rounds", "rounds that are accepted"),
    Key("answers", "answers that were spent in them"),
    Key("review_found", "doubts that turned out to be right"),
    Key("accepted", "labels that a model may learn"),
    Key("review", "doubted labels, which are asked again"),
    Key("unlabelled", "asked rows without a label"),
    Key("held", "why the newest round is held; null where it is not"),
    Key("held_by", "codes of the checks that hold it"),
    Key("doubts", "labels that were judged, the threshold, and how past doubts ended"),
    Key("agreement", "how far people agree, and repeats that one person answered alike", Agreement),
    Key("annotators", "by person; `quality` is cleanlab's CROWDLAB", AnnotatorCounts),
    Key("gold", "by person: answers to rows with a known answer", GoldScore),
    Key("by_class", "accepted and doubted labels by class"),
    Key("checks", "the checks G001 to G010", CheckResult),
    Key("alarms", "V006 and V010, where they ring", AlarmRow),
    Key("unsplit", "only where a class was split: rows whose part nobody has named yet"),
    Key("machine", "only with `machines.witness`: what labels say of it", MachineEvidence),
)
VALIDATE = (
    Key("round", "the last round that counts"),
    Key("judged_on", "test set, or control arm, cross-validated"),
    Key(
        "active",
        "the active arm's model: these, `labels`, `minutes`, `recall` and `precision` by class",
        Overall,
    ),
    Key("random", "the random arm's model, the same", Overall),
    Key("difference", "how far the active arm is ahead", Gap),
    Key("saving", "what that saves", Saving),
    Key("course", "with judge rows: how far it was ahead on the way", CourseFacts),
    Key("next_100", "what the next 100 labels will probably bring", Gain),
    Key("stopping", "whether to stop", Panel),
    Key("alarms", "what rings", AlarmRow),
    Key("not_judged", "alarms that could not be judged", UnjudgedRow),
    Key("shipped", "the model of all labels, on the test set; null without one", Overall),
    Key("cost", "what the proof took", ProofCost),
    Key("pool", "the model on the whole pool; not of a pool in parts", PoolFacts),
    Key("scheme", "only where labels changed", SchemeFacts),
)
INNER = (Looks, Interval, SavedLabels, PoolValue, Reading, MarkedChange, Quality, ScanFacts)
OF_BATCH = (
    Key("batch_id", "hash of the batch"),
    Key("scan", "of a pool in parts: how it was scored", ScanFacts),
)
OF_CALIBRATION = (
    Key("word_weight", "how much word vectors count beside n-grams, where the model sees them"),
)


def keys_of(record: Any) -> tuple[Key, ...]:
    """The fields of a record as keys without words of their own."""
    return tuple(Key(name, "") for name in get_type_hints(record))


FILES: dict[str, tuple[Any, tuple[Key, ...]]] = {  # file -> the record it is, its other keys
    "metrics/seed.json": (None, SEED),
    "metrics/gate.json": (None, GATE),
    "metrics/calibration.json": (CalibrationFacts, OF_CALIBRATION),
    "metrics/query.json": (BatchMetrics, OF_BATCH),
    "metrics/validate.json": (None, VALIDATE),
}


def all_keys(file: str) -> set[str]:
    """The names that may stand at the top of a metrics file."""
    record, keys = FILES[file]
    names = {key.name for key in keys}
    return names | {key.name for key in keys_of(record)} if record else names


def metrics_block() -> list[str]:
    """A section a file, then one for each record that stands in them."""
    lines: list[str] = []
    for file, (record, keys) in FILES.items():
        lines += [f"### {file}", ""]
        if record:
            lines += described(record)
        rows = [(code(key.name), key.meaning, link_to(key.record)) for key in keys]
        lines += [*table(("key", "what it says", "holds"), rows), ""]
    records = [key.record for _, keys in FILES.values() for key in keys if key.record]
    for record in dict.fromkeys([*records, *INNER]):
        lines += [f"### {record.__name__}", "", *described(record)]
    return lines[:-1]


def link_to(record: Any) -> str:
    """A link to a record's section; nothing for none."""
    return f"[{record.__name__}](#{record.__name__.lower()})" if record else ""
