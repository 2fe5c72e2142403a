"""croissant.json of an exported data set: its files and columns for programs of other makers.

Source: MLCommons, "Croissant format specification", version 1.1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rounds.dataset.card import Origin, file_of
from rounds.dataset.columns import croissant_field
from rounds.dataset.gathering import DataSet
from stages.contract.canonical import Row

CONTEXT = Path(__file__).with_name("croissant_context.json")  # as the specification has it
VERSION = "http://mlcommons.org/croissant/1.1"
PARQUET = "application/x-parquet"


def croissant(data: DataSet, origin: Origin, hashes: Mapping[str, str]) -> Row:
    """The document. hashes: the SHA-256 of each split's file."""
    return {
        "@context": json.loads(CONTEXT.read_bytes()),
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": origin.name,
        "description": f"A data set labelled in {origin.rounds} rounds of active learning.",
        "license": origin.licence,
        "url": f"urn:git:{origin.commit}",
        "version": f"{origin.rounds}.0.0",
        "datePublished": origin.date,
        "creator": {"@type": "sc:Organization", "name": origin.name},
        "citeAs": f"{origin.name}, commit {origin.commit}",
        "distribution": [_file(split, sha) for split, sha in hashes.items()],
        "recordSet": [_records(split, data) for split in data.splits],
    }


def _file(split: str, sha: str) -> Row:
    path = file_of(split)
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "encodingFormat": PARQUET,
        "sha256": sha,
    }


def _records(split: str, data: DataSet) -> Row:
    fields = [croissant_field(column, split, file_of(split)) for column in data.columns]
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "key": {"@id": fields[0]["@id"]},
        "field": fields,
    }
