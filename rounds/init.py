"""`rounds init DIR`: a new labelling project that carries its own pipeline, in a fresh git and DVC repository."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from rounds.commands import dvc, git
from stages._content import numbers as as_numbers
from stages._errors import PipelineError, closest
from stages._params import read_yaml
from stages._progress import progress, watched
from stages._remote import list_parts
from stages._shell import one_line_errors
from stages._tables import as_text, read_table

CARRIED = (
    "stages", "rounds", "dvc.yaml", "params.yaml", "pyproject.toml", "requirements.lock", "LICENSE", ".gitignore",
    ".gitattributes", ".dvcignore", ".dvc/config", ".dvc/.gitignore", ".dvc/plots", "data/README.md", "data/none.csv",
    "data/rounds/README.md", ".github/workflows/labels.yml",
)  # fmt: skip
MODEL: dict[str, dict[str, Any]] = {  # of logistic regression by kind; docs/benchmarks.md has the numbers
    "text": {"C": 10.0, "class_weight": "balanced"}, "numeric": {"C": 1.0}, "image": {"C": 10.0},
}  # fmt: skip
USUAL_HASHING = 1 << 16  # columns of each kind of n-gram, for a pool in parts
USUAL_IMAGE_SIZE = 32  # the demo's digits have 8 x 8 pixels; other images have more
NOT_CARRIED = shutil.ignore_patterns("__pycache__", "*.pyc", "_project")


def source() -> Path:
    """The folder that holds the pipeline's own files: a checkout or project, else the copy in the installed package."""
    packed = Path(__file__).parent / "_project"
    return packed if packed.is_dir() else Path(__file__).parent.parent


def carry(target: Path, names: tuple[str, ...]) -> None:
    """Copy the pipeline's own files into a new project."""
    for name in names:
        origin = source() / name
        if name in {"stages", "rounds"}:
            origin = Path(__file__).parent.parent / name
        if origin.is_dir():
            shutil.copytree(origin, target / name, ignore=NOT_CARRIED, dirs_exist_ok=True)
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin, target / name)


def _copy(origin: Path, target: Path) -> None:
    """Copy a file, or a folder file by file."""
    if not origin.is_dir():
        shutil.copyfile(origin, target)
        return
    with progress(f"copy {target.name}", sum(path.is_file() for path in origin.rglob("*")), "file") as told:

        def copied(file: str, place: str) -> None:
            shutil.copy2(file, place)
            told.update()

        shutil.copytree(origin, target, copy_function=copied)


def refuse_unless_empty(target: Path) -> None:
    """Raises PipelineError when `target` exists and holds anything."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise PipelineError(target, "not an empty folder", "name a new one; nothing was changed")


@contextmanager
def whole(target: Path) -> Iterator[None]:
    """A new folder, emptied again unless all that is to be in it is made; PipelineError where it is not new."""
    refuse_unless_empty(target)
    target.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in target.iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        raise


def start(target: Path, subject: str) -> None:
    """Make `target` a git and DVC repository with a data remote beside its cache, and commit what is there."""
    git(target, "init", "--quiet", "--initial-branch", "main")
    for key, value in (("user.name", "labelrounds"), ("user.email", "labelrounds@localhost")):
        known = subprocess.run(["git", "config", key], cwd=target, capture_output=True, check=False)
        if known.returncode:
            git(target, "config", key, value)
    for large in ("data/pool", "data/images"):  # DVC keeps them, git their hashes
        if (target / large).is_dir():
            dvc(target, ["add", large], lambda _line: None)
    git(target, "add", "--all")
    git(target, "commit", "--quiet", "-m", subject)


def fill_in(path: Path, changes: dict[tuple[str, ...], Any]) -> None:
    """Set values in a YAML file, comments kept. keys: the path of each value."""
    document = read_yaml(path)
    for keys, value in changes.items():
        node = document
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value
    yaml = YAML()
    yaml.width = 4096
    text = io.StringIO()
    yaml.dump(document, text)
    path.write_text(text.getvalue(), encoding="utf-8")


def labels_in(paths: list[Path], column: str) -> list[str]:
    """The distinct labels of some tables, sorted: whole numbers by value, everything else by text.

    Raises PipelineError at file:line for an empty one.
    """
    found: set[str] = set()
    for table in map(read_table, paths):
        cells = [as_text(cell) for cell in table.column(column, "--label")]
        for row, cell in enumerate(cells):
            if not cell.strip():
                raise PipelineError(table.where(row), f"empty label in column {column!r}", "fill it or remove the row")
        found.update(cells)
    if all(label.isdecimal() for label in found):
        return sorted(found, key=int)
    return sorted(found)


def settings(kind: str, columns: dict[str, str], numbers: list[str], labels: list[str]) -> dict[tuple[str, ...], Any]:
    """The params that a new project sets by the kind of its data. columns: of id, label, text and image."""
    return {
        ("labels",): [DoubleQuotedScalarString(label) for label in labels],
        **{("data", name): DoubleQuotedScalarString(value) for name, value in columns.items()},
        ("features", "kind"): kind,
        ("features", "columns"): numbers,
        ("features", "image", "size"): USUAL_IMAGE_SIZE,
        **{("model", "params", name): value for name, value in MODEL[kind].items()},
    }


def refuse_unknown(tables: dict[str, Path], columns: dict[str, str], kind: str, numbers: list[str]) -> list[str]:
    """The columns of numbers that are used, none but for `numeric`.

    Raises PipelineError for a table without a column that was named, and for a cell where a number was expected.
    """
    used: list[str] = []
    for name, path in tables.items():
        for part in watched(f"read {name}", list_parts(str(path)) if path.is_dir() else [str(path)], "table"):
            table = read_table(Path(part), may_be_empty=path.is_dir())
            for option in ("id", "text", "image", *(["label"] if name != "pool" else [])):
                if columns[option]:
                    table.column(columns[option], f"--{option}")
            if kind == "numeric":
                used = numbers or used or [column for column in table.columns if column not in columns.values()]
                for column in used:
                    table.column(column, "--columns")
                as_numbers(table, [] if path.is_dir() else used)
    return used


def classes_of(tables: list[Path], column: str, given: list[str]) -> list[str]:
    """The classes: those given, else those of the labelled tables. Raises PipelineError where they cannot be meant."""
    seen = labels_in(tables, column) if tables else []
    if not given:
        return seen
    if len(set(given)) < max(2, len(given)):
        raise PipelineError("--labels", f"{', '.join(given)} are not two or more distinct classes", "name each once")
    unknown = [label for label in seen if label not in given]
    if unknown:
        what = f"{unknown[0]!r}, a label in {' or '.join(map(str, tables))}, is not among them"
        raise PipelineError("--labels", what + closest(unknown[0], given), "add it, or correct the rows")
    return given


def init(
    target: Path, tables: dict[str, Path | None], columns: dict[str, str], kind: str, numbers: list[str],
    labels: list[str], images: Path | None = None,
) -> str:  # fmt: skip
    """Make the project, with the tables copied in and the params filled in as far as they are known."""
    refuse_unless_empty(target)
    given = {name: path for name, path in tables.items() if path is not None}
    for name, table in given.items():
        if ":/" in str(table):  # a path has lost one of the two strokes
            what, remedy = "a URL, and init copies tables", "leave it out, and set data.pool in params.yaml"
            raise PipelineError(f"--{name}", what, f"{remedy} (docs/scale.md)")
        if name != "pool" and table.is_dir():
            raise PipelineError(f"--{name}", f"{table} is a folder", "name a file: only a pool may be in parts")
    if images is not None and not images.is_dir():
        raise PipelineError("--images", f"{images} is no folder", "name the folder that the image files lie in")
    used = refuse_unknown(given, columns, kind, numbers)
    known = classes_of([table for name, table in given.items() if name != "pool"], columns["label"], labels)
    with whole(target):
        carry(target, CARRIED)
        changes = settings(kind, columns, numbers, known)
        for name in ("pool", "seed", "test"):
            path = given.get(name)
            suffix = ".csv" if path is None else "" if path.is_dir() else path.suffix
            here = "data/none.csv" if path is None and name != "pool" else f"data/{name}{suffix}"
            changes["data", name] = here
            if path is not None:
                _copy(path, target / here)
        if images is not None:
            changes["data", "images"] = "data/images"
            _copy(images, target / "data" / "images")
        if (target / "data" / "pool").is_dir() and kind == "text":
            changes["features", "text", "hashing"] = USUAL_HASHING
        fill_in(target / "params.yaml", changes)
        start(target, "A new labelling project")
    seen = f", {len(used)} columns of numbers ({', '.join(used[:3])}{', …' * (len(used) > 3)})" if used else ""
    if "pool" in given and len(known) > 1:
        told = f"init: {target} is ready, {len(known)} classes{seen}"
        return f"{told}\nnext: cd {target} && rounds close   (issues batch 1)"
    todo = "name your classes in `labels` of params.yaml"
    todo = todo if "pool" in given else f"put your tables into data/, name them in `data` of params.yaml, {todo}"
    return f"init: {target}{seen}\nnext: cd {target}; {todo}; git add -A && git commit -m 'Our data'; rounds close"


@click.command()
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--pool", type=click.Path(path_type=Path), help="Table of unlabelled examples, or folder of such parts, to copy in."
)
@click.option("--seed", type=click.Path(path_type=Path), help="Table of labelled examples to start from.")
@click.option("--test", type=click.Path(path_type=Path), help="Table of held-out labelled examples.")
@click.option("--id", "id_column", default="", help="Column of unique ids; without it the content is the id.")
@click.option("--label", default="label", show_default=True, help="Column of labels in seed and test.")
@click.option("--text", default="", help="Column of text that people read.")
@click.option("--image", default="", help="Column of images that people see: data URIs, or names of files.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder that those files lie in, to copy in.")
@click.option("--columns", default="", help="Columns of numbers, separated by commas; default: all.")
@click.option("--labels", default="", help="The classes, separated by commas; default: those in seed and test.")
@one_line_errors
def command(
    target: Path, pool: Path | None, seed: Path | None, test: Path | None, id_column: str, label: str, text: str,
    image: str, images: Path | None, columns: str, labels: str,
) -> str:  # fmt: skip
    """Make a new, self-contained labelling project in DIR."""
    kind = "image" if image else "text" if text or pool is None else "numeric"
    names = {"id": id_column, "label": label, "text": text, "image": image}
    chosen = [name.strip() for name in columns.split(",") if name.strip()]
    classes = [name.strip() for name in labels.split(",") if name.strip()]
    return init(target, {"pool": pool, "seed": seed, "test": test}, names, kind, chosen, classes, images)
