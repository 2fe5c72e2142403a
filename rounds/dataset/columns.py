"""The columns of an exported data set, with their types in Parquet, the Hub's card, Croissant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from stages.contract.canonical import Row

Kind = Literal["text", "texts", "number", "numbers", "whole", "image", "class", "votes"]
MEANINGS: dict[str, tuple[Kind, str]] = {  # what is said of a label, beside the label itself
    "source": ("text", "seed, answer, review (asked again), override (adjudicated), machine, test"),
    "round": ("whole", "the round in which the label became known; 0 for the seed"),
    "arms": ("texts", "why the row was asked: active (chosen), control (drawn at random), review"),
    "annotators": ("texts", "who gave the label"),
    "votes": ("votes", "every label that a person gave to the row; the seed's has no annotator"),
    "confidence": ("number", "the model's calibrated probability, for labels by the machine"),
    "commit": ("text", "the commit that brought the label, for the machine's the model"),
    "copy_of": ("text", "the row with the same content that was asked in its place"),
}
VOTE: dict[str, Kind] = {"annotator": "text", "label": "text", "round": "whole"}
CROISSANT = {"text": "sc:Text", "class": "sc:Text", "number": "sc:Float", "whole": "cr:Int64"}


@dataclass(frozen=True)
class Column:
    """A column: its name in the files, what its cells are, and what they mean."""

    name: str
    kind: Kind
    meaning: str


def arrow_type(kind: Kind) -> Any:
    """The column's type in Parquet; labels are text, an image is its bytes and its file's name."""
    import pyarrow as pa

    if kind == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    if kind == "votes":
        return pa.list_(pa.struct([(name, arrow_type(inner)) for name, inner in VOTE.items()]))
    types = {
        "texts": pa.list_(pa.string()),
        "number": pa.float64(),
        "numbers": pa.list_(pa.float32()),
        "whole": pa.int64(),
    }
    return types.get(kind, pa.string())


def hub_feature(column: Column, classes: list[str]) -> Row:
    """The column in `dataset_info.features` of the Hub's card.

    Lists are written as `sequence`, which every version of `datasets` reads.
    """
    named: Row = {"name": column.name}
    if column.kind == "class":
        names = {str(number): name for number, name in enumerate(classes)}
        return {**named, "dtype": {"class_label": {"names": names}}}
    if column.kind == "votes":
        inner = [hub_feature(Column(name, kind, ""), []) for name, kind in VOTE.items()]
        return {**named, "list": inner}
    if column.kind in ("texts", "numbers"):
        return {**named, "sequence": "string" if column.kind == "texts" else "float32"}
    dtypes = {"number": "float64", "whole": "int64", "image": "image"}
    return {**named, "dtype": dtypes.get(column.kind, "string")}


def croissant_field(column: Column, split: str, file: str) -> Row:
    """The column as a field of the split's record set. file: the id of its Parquet file."""
    identity = f"{split}/{column.name}"
    field: Row = {"@type": "cr:Field", "@id": identity, "name": column.name}
    field["description"] = column.meaning
    source: Row = {"fileObject": {"@id": file}, "extract": {"column": column.name}}
    if column.kind == "votes":
        inner = [_vote_field(identity, name, source) for name in VOTE]
        return {**field, "repeated": True, "subField": inner}
    if column.kind == "image":
        bytes_of = {**source, "transform": {"jsonPath": "bytes"}}
        return {**field, "dataType": "sc:ImageObject", "source": bytes_of}
    if column.kind in ("texts", "numbers"):
        item = "sc:Text" if column.kind == "texts" else "cr:Float32"
        return {**field, "dataType": item, "isArray": True, "arrayShape": "-1", "source": source}
    return {**field, "dataType": CROISSANT[column.kind], "source": source}


def _vote_field(parent: str, name: str, source: Row) -> Row:
    return {
        "@type": "cr:Field",
        "@id": f"{parent}/{name}",
        "name": name,
        "dataType": CROISSANT[VOTE[name]],
        "source": {**source, "transform": {"jsonPath": name}},
    }
