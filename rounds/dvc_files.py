"""DVC's files: what a stage read and wrote (dvc.lock), how it runs (dvc.yaml), its hashes.

This is the one place that knows how DVC writes them.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.contract.canonical import Row

NO_LOCK = (YAMLError, UnicodeDecodeError, LookupError, TypeError, AttributeError)
HASH = re.compile(rb"\n      md5: (\w+(?:\.dir)?)(?=\n|\Z)")  # two levels into a stage
SIZE = re.compile(rb"\n      (?:size|nfiles): \d+(?=\n|\Z)")
PARAM = re.compile(r"\$\{([\w.]+)\}")


@functools.lru_cache(maxsize=1024)
def parsed(document: bytes) -> Any:
    """A YAML document. Raises YAMLError or UnicodeDecodeError for what is none."""
    return YAML(typ="safe", pure=True).load(document.decode())


def parsed_lock(document: bytes) -> Any:
    """A dvc.lock. Raises one of NO_LOCK for what is none.

    From round to round only its hashes differ, and parsing takes its time: the hashes are replaced
    by numbers, so that the rest is parsed once, and put back.
    """
    hashes = [value.decode() for value in HASH.findall(document)]
    numbers = map(str, itertools.count())
    numbered = HASH.sub(lambda _: b"\n      md5: " + next(numbers).encode(), document)
    lock = parsed(SIZE.sub(b"", numbered))
    stages = {}
    for name, stage in lock["stages"].items():
        stages[name] = dict(stage)
        for kind in ("deps", "outs"):
            stages[name][kind] = [
                file | {"md5": hashes[file["md5"]]} if "md5" in file else file
                for file in stage.get(kind, [])
            ]
    return {**lock, "stages": stages}


def is_whole_lock(document: bytes) -> bool:
    """Whether DVC can read a dvc.lock: a DVC that was killed may have left it half written."""
    try:
        stages = YAML(typ="safe", pure=True).load(document)["stages"].values()
        return all(map(_is_whole_stage, stages))
    except NO_LOCK:
        return False


def _is_whole_stage(stage: Row) -> bool:
    """Whether a stage in dvc.lock has all that DVC writes there."""
    files = [file for kind in ("deps", "outs") for file in stage.get(kind, [])]
    return (
        isinstance(stage["cmd"], str)
        and all(isinstance(values, dict) for values in stage.get("params", {}).values())
        and all("path" in file and None not in file.values() for file in files)
        and all(re.match("[0-9a-f]{32}", file.get("md5", "0" * 32)) for file in files)
    )


def output_md5(lock: bytes, path: str) -> str | None:
    """The hash of an output in a dvc.lock, None where that has no such output or cannot be read."""
    try:
        stages = parsed_lock(lock)["stages"].values()
        outputs = (file for stage in stages for file in stage["outs"])
        return next((file["md5"] for file in outputs if file["path"] == path), None)
    except NO_LOCK:
        return None


def fingerprint(file: Row) -> str:
    """DVC's hash of a file in dvc.lock, or what stands for it at a URL."""
    return str(next(file[key] for key in ("md5", "etag", "checksum") if key in file))


def md5(data: bytes) -> str:
    """The hash by which DVC names a file."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def folder_md5(files: Mapping[str, str]) -> str:
    """The hash by which DVC names a folder. files: path within it -> MD5."""
    names = sorted(files, key=lambda name: name.split("/"))
    listing = [{"md5": files[name], "relpath": name} for name in names]
    return md5(json.dumps(listing, sort_keys=True).encode()) + ".dir"


def param(params: Row, name: str) -> Any:
    """The value of a param by its dotted name."""
    return functools.reduce(lambda node, key: node[key], name.split("."), params)


def filled(text: str, params: Row) -> str:
    """A text of dvc.yaml with its ${a.b} replaced by params."""
    return PARAM.sub(lambda match: str(param(params, match[1])), text)
