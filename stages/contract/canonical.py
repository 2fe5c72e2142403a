r"""The one serializer: equal values give equal bytes, on every machine and in every run.

JSON has sorted keys, fixed separators, floats rounded to nine digits, no NaN, and `\n` line ends.
Text is written as itself; only a row that UTF-8 cannot carry (a lone surrogate) is escaped. Files
appear whole or not at all: they are written beside their place and moved there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.contract.errors import PipelineError

DIGITS = 9
Row = dict[str, Any]


def plain(value: Any) -> Any:
    """The value as JSON knows it.

    numpy scalars and arrays are unpacked, floats rounded, NaN and infinity are null.
    """
    if isinstance(value, str):  # as most are: half the time of hashing a table
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = round(float(value), DIGITS)
        return number + 0.0 if math.isfinite(number) else None  # + 0.0 turns -0.0 into 0.0
    return value


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Canonical JSON text of a value, without a final newline."""
    separators = (",", ": ") if indent else (",", ":")
    text = json.dumps(
        plain(value),
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        indent=indent,
        separators=separators,
    )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(
            plain(value), sort_keys=True, allow_nan=False, indent=indent, separators=separators
        )
    return text


def sha256(data: bytes | str) -> str:
    """Hex SHA-256; text is hashed as UTF-8, lone surrogates included."""
    return hashlib.sha256(
        data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    ).hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` at `path`, whole or not at all; parent folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def add_lines(path: Path, lines: bytes) -> None:
    """Put whole lines after those of a file.

    The file may be absent, or lack the end of its last line.
    """
    before = path.read_bytes() if path.is_file() else b""
    end = b"\n" if before and not before.endswith(b"\n") else b""
    write_bytes(path, before + end + lines)


def write_json(path: Path, value: Any) -> None:
    """A small JSON document, indented so that git diffs read well."""
    write_bytes(path, (dumps(value, indent=1) + "\n").encode())


def jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as canonical JSON lines."""
    return "".join(dumps(row) + "\n" for row in rows).encode()


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One canonical JSON object per line, in the order given."""
    write_bytes(path, jsonl(rows))


def read_json(path: Path) -> Any:
    """The document at `path`. Raises PipelineError when it is missing or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise PipelineError(
            path, "file not found", "run `dvc repro`, or `dvc pull` after a clone"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PipelineError(
            path, f"not valid JSON ({error})", "restore the file from git"
        ) from error


def numbered_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Every JSON object of a JSONL file with its line number; blank lines count, but give none.

    Raises PipelineError naming file and line for a line that is not UTF-8, not JSON, or not an
    object.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise PipelineError(
            path, "file not found", "run `dvc repro`, or `dvc pull` after a clone"
        ) from error
    except IsADirectoryError as error:
        raise PipelineError(path, "a folder, a file was expected", "move it elsewhere") from error
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield number, parsed_row(line, path, number)


def parsed_row(line: bytes, path: Path, number: int) -> Row:
    """The JSON object on a line.

    Raises PipelineError for a line that is not UTF-8, or is no JSON object.
    """
    where = f"{path}:{number}"
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise PipelineError(where, "not UTF-8", "save the file as UTF-8") from error
    except (json.JSONDecodeError, RecursionError) as error:
        what = f"not a JSON object ({getattr(error, 'msg', 'nested too deeply')})"
        raise PipelineError(where, what, "repair or remove the line") from error
    if not isinstance(row, dict):
        what = f"a JSON object was expected, found {type(row).__name__}"
        raise PipelineError(where, what, "write one JSON object per line")
    return row


def read_jsonl(path: Path) -> list[Row]:
    """The rows of a JSONL file that this pipeline wrote."""
    return [row for _, row in numbered_rows(path)]


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """A .npy file (byte-stable: no timestamps, no object arrays)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)
