"""What an example is, exactly: the text, image or fields that people judge and a featurizer reads.

Every kind of content has one exact byte form, and its SHA-256 is the example's identity.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.contract.canonical import dumps, sha256
from stages.contract.errors import PipelineError
from stages.contract.params import Params
from stages.contract.progress import progress, watched
from stages.examples.tables import Table, as_text

MAX_IMAGE_PIXELS = 50_000_000
EVERY = slice(None)


def check_kind(params: Params) -> None:
    """Raises PipelineError where the params do not name what features.kind reads."""
    kind = params.features.kind
    column = {"text": "text", "embedding": "text", "image": "image"}.get(kind)
    if column and not getattr(params.data, column):
        what = f"features.kind is {kind}, and no column is named"
        raise PipelineError(f"params.yaml data.{column}", what, "name it")
    if kind == "custom" and params.features.custom is None:
        raise PipelineError(
            "params.yaml features.custom", "features.kind is custom, and no path is named", "set it"
        )


def texts(table: Table, column: str) -> list[str]:
    """The text column, exactly as it stands. Raises PipelineError for a blank one."""
    cells = [as_text(cell) for cell in table.column(column, "data.text")]
    for row, cell in enumerate(cells):
        if not cell.strip():
            raise PipelineError(
                table.where(row), f"empty text in column {column!r}", "remove the row or fill it"
            )
    return cells


def images(table: Table, params: Params, rows: slice = EVERY) -> Iterator[bytes]:
    """The bytes of image files, read one by one: of data URIs, or of files in `data.images`."""
    folder = Path(params.data.images)
    cells = table.column(params.data.image, "data.image")
    for row in watched("images", range(len(cells))[rows], "image"):
        yield image_bytes(as_text(cells[row]), folder, table.where(row))


def image_bytes(cell: str, folder: Path, where: str) -> bytes:
    """The image that a cell holds or names.

    Raises PipelineError for a bad URI or a path that leaves the folder.
    """
    if cell.startswith("data:"):
        head, _, body = cell.partition(",")
        if not head.endswith(";base64"):
            raise PipelineError(
                where, "a data URI that is not base64", "write data:image/png;base64,…"
            )
        try:
            return base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise PipelineError(
                where, f"unreadable image (bad base64: {error})", "write the data URI again"
            ) from error
    if not cell.strip():
        raise PipelineError(where, "empty image cell", "remove the row or fill it")
    if not folder.is_dir():
        what = f"image {cell!r} is a path, and data.images names no folder"
        raise PipelineError(
            where, what, "set data.images in params.yaml to the folder that holds the images"
        )
    path = folder / cell
    if not path.resolve().is_relative_to(folder.resolve()):
        raise PipelineError(
            where, f"image path {cell!r} leaves the folder {folder}", "keep images inside it"
        )
    if not path.is_file():
        raise PipelineError(
            where, f"image {cell!r} not found in {folder}", "restore the file or correct the cell"
        )
    return path.read_bytes()


def shrunk(table: Table, params: Params, rows: slice = EVERY) -> NDArray[np.float32]:
    """The pixels of the images of some rows, (n, size * size * channels), see `pixels`."""
    options = params.features.image
    numbers = range(len(table))[rows]
    files = zip(numbers, images(table, params, rows), strict=True)
    small = [pixels(data, options.size, options.mode, table.where(row)) for row, data in files]
    width = options.size * options.size * len(options.mode)
    return np.array(small, dtype=np.float32).reshape(len(small), width)


def pixels(data: bytes, size: int, mode: str, where: str) -> NDArray[np.float32]:
    """The image at `size` x `size` (area-averaged), flattened, values in [0, 1].

    Raises PipelineError if it cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_IMAGE_PIXELS:
                    raise PipelineError(
                        where, f"image of {image.width} x {image.height} pixels", "shrink it first"
                    )
                small = image.convert(mode).resize((size, size), Image.Resampling.BOX)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombWarning) as error:
        why = "no image format" if isinstance(error, UnidentifiedImageError) else error
        remedy = "replace the file or remove the row"
        raise PipelineError(where, f"unreadable image ({why})", remedy) from error
    return (np.asarray(small, dtype=np.float32) / np.float32(255)).ravel()


def number_columns(table: Table, params: Params) -> list[str]:
    """The columns of numbers.

    They are features.columns, or else every column that is not an id, a label or content.
    """
    data = params.data
    others = {data.id, data.label, data.text, data.image}
    return params.features.columns or [name for name in table.columns if name not in others]


def numbers(table: Table, columns: list[str]) -> NDArray[np.float64]:
    """The columns as numbers, (n, len(columns)).

    Raises PipelineError for a cell that is none, or not finite.
    """
    values = np.empty((len(table), len(columns)))
    for position, name in enumerate(columns):
        whole = table.array(name)
        if whole is not None and whole.ndim == 1 and _sum_is_finite(whole):
            values[:, position] = whole
            continue
        for row, cell in enumerate(table.column(name, "features.columns")):
            try:
                number = float(cell)
            except (TypeError, ValueError) as error:
                what = f"column {name!r} holds {cell!r} where a number was expected"
                raise PipelineError(
                    table.where(row), what, "fill it, or leave the column out (name the others)"
                ) from error
            if not math.isfinite(number):
                what = f"column {name!r} holds {cell!r}; numbers must be finite"
                raise PipelineError(
                    table.where(row), what.replace(";", ","), "fill the gap or remove the row"
                )
            values[row, position] = number
    return values


def _sum_is_finite(column: NDArray[Any]) -> bool:
    """Whether the sum is finite: it never is with NaN or infinity among the numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(column.sum()))


def vectors(table: Table, column: str) -> NDArray[np.float32]:
    """A column of equally long vectors, (n, d).

    Raises PipelineError for a missing, ragged or non-finite one.
    """
    whole = table.array(column)
    if whole is not None and whole.ndim == 2 and _sum_is_finite(whole):
        return np.asarray(whole, dtype=np.float32)
    cells = table.column(column, "features.columns")
    width = len(cells[0]) if cells and isinstance(cells[0], list) else 0
    for row, cell in enumerate(cells):
        sound = isinstance(cell, list) and len(cell) == width > 0
        if not sound or not all(map(_is_finite, cell)):
            what = f"column {column!r} must hold vectors of {width} finite numbers"
            raise PipelineError(table.where(row), what, "compute the vector again")
    return np.array(cells, dtype=np.float32).reshape(len(cells), width)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def shown(
    table: Table, row: int, params: Params, columns: list[str] | None = None
) -> dict[str, Any]:
    """What a person sees of a row: {"text"}, {"image", "path"?}, both of them, or {"fields"}.

    columns: of the fields, the pool's own; a seed table may have more of them.
    """
    data = params.data
    content: dict[str, Any] = {}
    if data.image:
        cell = as_text(table.column(data.image, "data.image")[row])
        content["image"] = (
            cell if cell.startswith("data:") else _data_uri(cell, data.images, table.where(row))
        )
        if not cell.startswith("data:"):
            content["path"] = cell
    if data.text:
        content["text"] = as_text(table.column(data.text, "data.text")[row])
    if not content:
        columns = number_columns(table, params) if columns is None else columns
        content["fields"] = {
            name: as_text(table.column(name, "features.columns")[row]) for name in columns
        }
    return content


def _data_uri(cell: str, folder: str, where: str) -> str:
    data = image_bytes(cell, Path(folder), where)
    suffix = Path(cell).suffix.lower().lstrip(".") or "png"
    kind = "jpeg" if suffix == "jpg" else suffix
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def exact_bytes(table: Table, params: Params, columns: list[str] | None = None) -> Iterator[bytes]:
    """The exact content of every row, as bytes to be hashed: image, else text, else the fields.

    columns: of the fields, the pool's own; a seed or test table may have more of them, in another
    order.
    """
    if params.data.image:
        return images(table, params)
    if params.data.text:
        return (text.encode("utf-8", "surrogatepass") for text in texts(table, params.data.text))
    names = number_columns(table, params) if columns is None else columns
    cells = [table.column(name, "features.columns") for name in names]
    return (_fields_bytes(dict(zip(names, row, strict=True))) for row in zip(*cells, strict=True))


def _fields_bytes(fields: Mapping[str, Any]) -> bytes:
    return dumps({name: _by_value(cell) for name, cell in fields.items()}).encode()


def _by_value(cell: Any) -> Any:
    """A cell as its value, whatever format it came from: a CSV's "3" is a Parquet's 3.0."""
    if isinstance(cell, list):
        return [_by_value(entry) for entry in cell]
    text = as_text(cell).strip()
    if text.startswith("["):
        with suppress(json.JSONDecodeError):
            return _by_value(json.loads(text))
    with suppress(ValueError):
        return str(int(text))
    with suppress(ValueError, OverflowError):
        number = float(text)
        return str(int(number)) if number.is_integer() else repr(number)
    return as_text(cell)


def asked_sha(
    task: Mapping[str, Any], params: Params, columns: list[str] | None = None
) -> str | None:
    """The content hash of what a person was asked, from the task itself.

    None where another kind of content was asked then.

    columns: of the fields, the pool's own; a task of a seed row may show more of them.
    """
    image = task.get("image")
    if params.data.image:
        if not isinstance(image, str) or not image.startswith("data:"):
            return None
        return sha256(image_bytes(image, Path(params.data.images), "asked.jsonl"))
    if params.data.text:
        text = task.get("text")
        return sha256(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else None
    fields = task.get("fields")
    if not isinstance(fields, dict):
        return None
    return sha256(
        _fields_bytes(
            {name: cell for name, cell in fields.items() if columns is None or name in columns}
        )
    )


def identities(
    table: Table,
    params: Params,
    split: str,
    *,
    counted: bool = True,
    columns: list[str] | None = None,
) -> tuple[list[str], list[str]]:
    """Ids and content hashes of a table's rows. Raises PipelineError for a blank id.

    An id is the user's column, else the content hash (`seed-` and `test-` before it outside the
    pool); if `counted`, a repeat of the same content gets `-2`, `-3`.
    """
    with progress("images" if params.data.image else "rows", len(table), "row") as bar:
        shas = [sha256(data) for data in bar.each(exact_bytes(table, params, columns))]
    if not params.data.id:
        return _content_ids(shas, "" if split == "pool" else f"{split}-", counted=counted), shas
    ids = [as_text(cell) for cell in table.column(params.data.id, "data.id")]
    for row, item in enumerate(ids):
        if not item.strip() or "\0" in item or not item.isprintable():
            raise PipelineError(
                table.where(row),
                f"id {item!r} is blank or not printable",
                "give the row a plain id",
            )
    return ids, shas


def _content_ids(shas: list[str], prefix: str, *, counted: bool) -> list[str]:
    """Ids for a table without an id column."""
    count: Counter[str] = Counter()
    ids = []
    for sha in shas:
        count[sha] += counted
        ids.append(f"{prefix}{sha[:16]}" + (f"-{count[sha]}" if count[sha] > 1 else ""))
    return ids
