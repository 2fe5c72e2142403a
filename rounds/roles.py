"""Which column of a new project's tables is the id, the text, the image, the numbers.

A person's options decide. Where they name neither text, image nor columns of numbers, the cells
decide, and a line says what was taken for what. Tables that could be meant in two ways are refused,
with the options that say which is meant.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stages.contract.errors import PipelineError
from stages.examples.tables import Table, as_text

Kind = Literal["text", "image", "numeric"]
Spelling = Literal["refuse", "merge", "keep"]  # what to do with two spellings of one class
Form = Literal["blank", "image", "number", "date", "text", "constant", "word"]
ROW_NUMBERS = {"index", "idx", "row", "row_number", "nr", "no", "no.", "number", "#", "level_0"}
DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))"
    r"([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AP]M|Z|[+-]\d{2}:?\d{2})?)?",
    re.IGNORECASE,
)
PICTURE = re.compile(r"\S.*\.(png|jpe?g|gif|bmp|tiff?|webp)", re.IGNORECASE)
FEW = 0.2  # share of distinct cells up to which phrases are names of a few things, not texts
SMALL = 20  # rows below which that share says nothing


@dataclass(frozen=True)
class Choices:
    """What a person says of the tables of a new project; empty where it is left to the columns.

    texts: columns of text, joined where there are several; images: the folder of image files;
    numbers: the columns of numbers; classes: the labels that may be given.
    """

    id: str = ""
    label: str = "label"
    texts: tuple[str, ...] = ()
    image: str = ""
    images: Path | None = None
    numbers: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    spelling: Spelling = "refuse"

    @property
    def text(self) -> str:
        """The column of text of the project's own tables."""
        return " + ".join(self.texts)


@dataclass(frozen=True)
class Roles:
    """The kind of the examples and the columns that hold them.

    Empty `numbers`: all the other columns.
    """

    kind: Kind
    id: str = ""
    label: str = "label"
    text: str = ""
    image: str = ""
    numbers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def columns(self) -> dict[str, str]:
        """The columns by the names of their params in the section `data`."""
        return {"id": self.id, "label": self.label, "text": self.text, "image": self.image}


def roles_of(tables: Sequence[Table], choices: Choices) -> Roles:
    """The roles of the columns: as named, else as the first table's cells show.

    tables: the pool (of one in parts the first), then seed and test. Raises PipelineError where
    they could be meant in two ways.
    """
    kind: Kind | None = None
    if choices.image:
        kind = "image"
    elif choices.texts:
        kind = "text"
    elif choices.numbers:
        kind = "numeric"
    elif not tables:
        kind = "text"  # a blank project, whose params are filled in by hand
    if kind is not None:
        numbers = list(choices.numbers)
        return Roles(kind, choices.id, choices.label, choices.text, choices.image, numbers)
    return _decided(tables, choices)


def _decided(tables: Sequence[Table], choices: Choices) -> Roles:
    """The roles that the cells show."""
    first = tables[0]
    if choices.id:
        first.column(choices.id, "--id")
    unused: dict[str, str] = {}  # column -> why it is left out
    id_column = choices.id or _id_column(tables, unused)
    forms: dict[Form, list[str]] = {}
    for name in first.columns:
        if name in {id_column, choices.label} or name in unused:
            continue
        cells = [as_text(cell).strip() for cell in first.columns[name]]
        if _are_row_numbers(name, cells):
            unused[name] = "row numbers"
        else:
            forms.setdefault(_form(cells, choices.images), []).append(name)
    unused |= dict.fromkeys(forms.get("blank", []), "blank")
    unused |= dict.fromkeys(forms.get("date", []), "dates")
    unused |= dict.fromkeys(forms.get("constant", []), "the same in every row")
    role, column = _content(first, forms, choices)
    kind: Kind = "numeric" if role == "numbers" else role
    numbers = forms.get("number", [])
    if kind != "numeric":
        unused |= dict.fromkeys(numbers, "numbers")
        unused |= dict.fromkeys(set(forms.get("word", [])) - {column}, "words")
    # Without a list all columns are numbers but those with another role.
    listed = numbers if kind == "numeric" and unused else []
    notes = _notes(first, {"id": id_column if not choices.id else "", kind: column}, unused)
    return Roles(
        kind,
        id_column,
        choices.label,
        text=column if kind == "text" else "",
        image=column if kind == "image" else "",
        numbers=listed,
        notes=notes,
    )


def _id_column(tables: Sequence[Table], unused: dict[str, str]) -> str:
    """The column named id if it names every row once; else empty, with the reason in `unused`."""
    names = [name for name in tables[0].columns if name.strip().casefold() == "id"]
    if len(names) != 1:
        return ""
    name = names[0]
    if any(name not in table.columns for table in tables if len(table)):
        unused[name] = "an id that not every table has"
        return ""
    cells = [as_text(cell).strip() for table in tables for cell in table.columns.get(name, [])]
    if len(set(cells)) < len(cells) or not all(cells):
        unused[name] = "not a different one in every row, so no id"
        return ""
    return name


def _are_row_numbers(name: str, cells: Sequence[str]) -> bool:
    """Whether a column is named as row numbers are and counts the rows from 0 or 1."""
    if name.strip().casefold() not in ROW_NUMBERS or not cells:
        return False
    return any(cells == [str(start + row) for row in range(len(cells))] for start in (0, 1))


def _form(cells: Sequence[str], images: Path | None) -> Form:
    """What most cells of a column are; blank ones say nothing."""
    filled = [cell for cell in cells if cell]
    distinct = set(filled)
    if not filled:
        return "blank"
    if _mostly(_is_image(cell, images) for cell in filled):
        return "image"
    if _mostly(map(_is_number, filled)):
        return "number"
    if _mostly(DATE.fullmatch(cell) is not None for cell in filled):
        return "date"
    if len(distinct) == 1 and len(cells) > 1:
        return "constant"
    are_names = len(filled) >= SMALL and len(distinct) <= FEW * len(filled)
    if _mostly(map(_is_phrase, filled)) and not are_names:
        return "text"
    return "word"


def _mostly(signs: Iterable[bool]) -> bool:
    """Whether more than half are true."""
    every = list(signs)
    return 2 * sum(every) > len(every)


def _is_image(cell: str, images: Path | None) -> bool:
    """Whether a cell holds an image, or names an image file (in the folder, where one is named)."""
    if cell.startswith("data:image/"):
        return True
    if images is None:
        return PICTURE.fullmatch(cell) is not None and not cell.startswith(("http:", "https:"))
    return "\0" not in cell and len(cell) < 256 and (images / cell).is_file()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_phrase(cell: str) -> bool:
    """Whether a cell has several words; Chinese or Thai put no blanks between them."""
    if len(cell.split()) > 1:
        return True
    return sum(unicodedata.category(sign) == "Lo" for sign in cell) > 3


def _content(
    first: Table, forms: Mapping[Form, list[str]], choices: Choices
) -> tuple[Literal["image", "text", "numbers"], str]:
    """The role of what people judge, and its column where it is one.

    Raises PipelineError where several columns could be meant, or none.
    """
    texts = forms.get("text", [])
    numbers = forms.get("number", [])
    words = forms.get("word", [])
    where = f"{first.path}:1"
    if forms.get("image"):
        return "image", _image_column(first, forms["image"], texts, choices)
    if len(texts) > 1:
        raise _several(where, "text", texts, "--text")
    if texts:
        return "text", texts[0]
    if numbers and words:
        raise _no_number(first, words[0], numbers)
    if numbers:
        return "numbers", ""
    if len(words) > 1:
        raise _several(where, "words", words, "--text")
    if words:
        return "text", words[0]
    what = f"no column to judge among {', '.join(map(repr, first.columns)) or 'none'}"
    raise PipelineError(where, what, "name it with --text, --image or --columns")


def _image_column(
    first: Table, images: Sequence[str], texts: Sequence[str], choices: Choices
) -> str:
    """The one column of images.

    Raises PipelineError beside another or beside text, and for files without a folder.
    """
    where = f"{first.path}:1"
    name = images[0]
    if texts:
        what = f"column {name!r} holds images and {texts[0]!r} text"
        both = f"--image {name} --text {texts[0]}"
        raise PipelineError(where, what, f"say what people judge: {both}, or one of them")
    if len(images) > 1:
        raise _several(where, "images", images, "--image")
    cells = (as_text(cell) for cell in first.columns[name])
    if choices.images is None and not any(cell.startswith("data:") for cell in cells):
        what = f"column {name!r} names image files, and no folder is named"
        raise PipelineError(where, what, f"say where they lie: --image {name} --images FOLDER")
    return name


def _several(where: str, what: str, names: Sequence[str], option: str) -> PipelineError:
    """The refusal of several columns that could be meant."""
    quoted = " and ".join(map(repr, names))
    each = " or ".join(f"{option} {name}" for name in names)
    remedy = f"say what people judge: {each}"
    if option == "--text":
        remedy += ", or several: " + " ".join(f"{option} {name}" for name in names)
    return PipelineError(where, f"columns {quoted} hold {what}", remedy)


def _no_number(table: Table, name: str, numbers: Sequence[str]) -> PipelineError:
    """The refusal of a column of words beside columns of numbers."""
    cells = [as_text(cell).strip() for cell in table.columns[name]]
    row = next(row for row, cell in enumerate(cells) if cell and not _is_number(cell))
    what = f"column {name!r} holds {cells[row]!r}, and others numbers"
    is_unique = len(set(cells)) == len(cells)
    as_id = f"--id {name} if it is the id, " if is_unique else ""
    remedy = (
        f"{as_id}--text {name} if people judge it, or leave it out: --columns {','.join(numbers)}"
    )
    return PipelineError(table.where(row), what, f"say what it is: {remedy}")


def _notes(first: Table, decided: Mapping[str, str], unused: Mapping[str, str]) -> list[str]:
    """One line that says what was decided, none where nothing was."""
    parts = [f"{role} {column!r}" for role, column in decided.items() if column]
    left_out = [f"{column!r} ({why})" for column, why in sorted(unused.items())]
    if not parts and not left_out:
        return []
    note = f"{Path(first.path).name}: taken from the columns: {', '.join(parts) or 'numbers'}"
    if left_out:
        note += f"; not used: {', '.join(left_out)}"
    return [note]
