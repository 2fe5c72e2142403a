"""`rounds init DIR`: a new git and DVC repository, with a labelling project and its pipeline."""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypedDict, Unpack

import click
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from rounds import shipped
from rounds.commands import dvc, git
from rounds.intake import write
from rounds.origins import FILES, Fetched, fetched
from rounds.origins import Table as Location
from rounds.project_tables import (
    TABLES,
    Source,
    class_lines,
    gather,
    in_order,
    refuse_rows,
    settle_classes,
)
from rounds.roles import Choices, Roles, Spelling, roles_of
from rounds.table_readers import Intake
from stages.contract.canonical import write_json
from stages.contract.errors import PipelineError
from stages.contract.params import load, read_yaml
from stages.contract.progress import progress, watched
from stages.contract.shell import one_line_errors
from stages.examples.content import numbers as as_numbers
from stages.examples.content import texts as as_texts
from stages.examples.places import is_url, list_parts
from stages.examples.tables import Table, as_text, read_table
from stages.proof.plan import planned
from stages.store.words import PACKAGE, VERSION, is_installed

CARRIED = (
    "stages", "rounds", "dvc.yaml", "params.yaml", "pyproject.toml", "requirements.lock", "LICENSE",
    ".gitignore", ".gitattributes", ".dvcignore", ".dvc/config", ".dvc/.gitignore", ".dvc/plots",
    "data/README.md", "data/none.csv", "data/scheme.jsonl",
    "data/rounds/README.md", ".github/workflows/labels.yml", ".gitlab-ci.yml", "AGENTS.md",
)  # fmt: skip
# Of logistic regression, by kind of data; docs/benchmarks.md has the numbers.
MODEL: dict[str, dict[str, Any]] = {
    "text": {"C": 10.0, "class_weight": "balanced"}, "numeric": {"C": 1.0}, "image": {"C": 10.0},
}  # fmt: skip
NO_WORDS = (
    f"no word vectors: {PACKAGE} is not installed here; where it has a wheel for the machine: "
    f"pip install {PACKAGE}=={VERSION}, then features.text.words: {PACKAGE} in params.yaml"
)
USUAL_HASHING = 1 << 16  # columns of each kind of n-gram, for a pool in parts
USUAL_IMAGE_SIZE = 32  # the demo's digits have 8 x 8 pixels; other images have more
NOT_CARRIED = shutil.ignore_patterns("__pycache__", "*.pyc", "_project")


def carry(target: Path, names: tuple[str, ...]) -> None:
    """Copy the pipeline's own files into a new project."""
    for name in names:
        origin = shipped.source() / name
        if name in {"stages", "rounds"}:
            origin = Path(__file__).parent.parent / name
        if origin.is_dir():
            shutil.copytree(origin, target / name, ignore=NOT_CARRIED, dirs_exist_ok=True)
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(
                shipped.params_file() if name == "params.yaml" else origin, target / name
            )
    if "rounds" in names:
        (target / shipped.PACKED.parent).mkdir(exist_ok=True)
        shutil.copyfile(shipped.params_file(), target / shipped.PACKED)


def _copy(origin: Path, target: Path) -> None:
    """Copy a folder file by file."""
    files = sum(path.is_file() for path in origin.rglob("*"))
    with progress(f"copy {target.name}", files, "file") as bar:

        def copy_file(source: str, copy: str) -> None:
            shutil.copy2(source, copy)
            bar.update()

        shutil.copytree(origin, target, copy_function=copy_file)


def refuse_unless_empty(target: Path) -> None:
    """Raises PipelineError when `target` exists and holds anything."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise PipelineError(target, "not an empty folder", "name a new one; nothing was changed")


@contextmanager
def whole(target: Path) -> Iterator[None]:
    """A new folder, emptied again unless all is made. PipelineError where it is not new."""
    refuse_unless_empty(target)
    target.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in target.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        raise


def start(target: Path, subject: str) -> None:
    """Make `target` a git and DVC repository with a data remote, and commit what is there."""
    git(target, "init", "--quiet", "--initial-branch", "main")
    for key, value in (("user.name", "labelrounds"), ("user.email", "labelrounds@localhost")):
        ask = ["git", "config", key]
        is_set = subprocess.run(ask, cwd=target, capture_output=True, check=False).returncode == 0
        if not is_set:
            git(target, "config", key, value)
    for large in ("data/pool", "data/images"):  # DVC keeps them, git their hashes
        if (target / large).is_dir():
            dvc(target, ["add", large], lambda _line: None)
    git(target, "add", "--all")
    git(target, "commit", "--quiet", "-m", subject)


def fill_in(path: Path, changes: dict[tuple[str, ...], Any]) -> None:
    """Set values in a YAML file, comments kept. keys: the path of each value."""
    path.write_text(filled_in(path, changes), encoding="utf-8")


def filled_in(path: Path, changes: dict[tuple[str, ...], Any]) -> str:
    """The text of a YAML file with values set, comments kept. keys: the path of each value."""
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
    return text.getvalue()


def labels_in(paths: list[Path], column: str) -> list[str]:
    """The distinct labels of some tables, sorted: whole numbers by value, everything else by text.

    Raises PipelineError at file:line for an empty one.
    """
    labels: set[str] = set()
    for table in map(read_table, paths):
        cells = [as_text(cell) for cell in table.column(column, "--label")]
        for row, cell in enumerate(cells):
            if not cell.strip():
                what = f"empty label in column {column!r}"
                raise PipelineError(table.where(row), what, "fill it or remove the row")
        labels.update(cells)
    return in_order(labels)


def settings(
    kind: str, columns: dict[str, str], numbers: list[str], labels: list[str]
) -> dict[tuple[str, ...], Any]:
    """The params that a new project sets by the kind of its data.

    columns: of id, label, text and image.
    """
    return {
        ("labels",): [DoubleQuotedScalarString(label) for label in labels],
        **{("data", name): DoubleQuotedScalarString(value) for name, value in columns.items()},
        ("features", "kind"): kind,
        ("features", "columns"): numbers,
        ("features", "image", "size"): USUAL_IMAGE_SIZE,
        ("features", "text", "words"): PACKAGE if kind == "text" and is_installed() else "none",
        **{("model", "params", name): value for name, value in MODEL[kind].items()},
    }


def refuse_unknown(sources: Mapping[str, Source], roles: Roles) -> list[str]:
    """The columns of numbers that are used, none but for `numeric`.

    Raises PipelineError for a table without a column that was named, for a cell where a number was
    expected, and for an empty text.
    """
    used = list(roles.numbers)
    named = roles.columns
    for name, source in sources.items():
        in_parts = isinstance(source, Path)
        for table in _tables(name, source):
            for option, column in named.items():
                if column and not (option == "label" and name == "pool"):
                    table.column(column, f"--{option}")
            if roles.kind == "text" and roles.text and len(table):
                as_texts(table, roles.text)
            if roles.kind == "numeric":
                used = used or [column for column in table.columns if column not in named.values()]
                for column in used:
                    table.column(column, "--columns")
                as_numbers(table, [] if in_parts else used)
    return used


def _tables(name: str, source: Source) -> Iterator[Table]:
    """The table of a source, or those of its parts, one after the other."""
    if isinstance(source, Intake):
        yield source.table
        return
    for part in watched(f"read {name}", list_parts(str(source)), "table"):
        yield read_table(Path(part), may_be_empty=True)


def _first_tables(sources: Mapping[str, Source]) -> list[Table]:
    """A table of each source, of a pool in parts the first."""
    return [next(_tables(name, source)) for name, source in sources.items()]


def init(
    target: Path,
    tables: Mapping[str, Path | None],
    choices: Choices,
    copies: Mapping[str, Fetched] = MappingProxyType({}),
) -> str:
    """Make the project: tables copied in, params filled in as far as they are known.

    tables: of pool, seed and test, or `data`, which is pool and seed in one; copies: those of them
    that were fetched from a URL.
    """
    refuse_unless_empty(target)
    images = choices.images
    if images is not None and not images.is_dir():
        remedy = "name the folder that the image files lie in"
        raise PipelineError("--images", f"{images} is no folder", remedy)
    sources, notes = gather(tables, choices)
    roles = roles_of(_first_tables(sources), choices)
    notes += roles.notes
    used = refuse_unknown(sources, roles)
    read = {name: source for name, source in sources.items() if isinstance(source, Intake)}
    refuse_rows(read, roles.id)
    read, classes = settle_classes(read, roles.label, list(choices.classes), choices.spelling)
    with whole(target):
        carry(target, CARRIED)
        changes = settings(roles.kind, roles.columns, roles.numbers, classes)
        changes |= copy_in(target, {**sources, **read}, images)
        if (target / "data" / "pool").is_dir() and roles.kind == "text":
            changes["features", "text", "hashing"] = USUAL_HASHING
        if copies:
            changes["data", "origin"] = {name: copy.url for name, copy in copies.items()}
            write_json(target / FILES, {name: copy.files for name, copy in copies.items()})
        fill_in(target / "params.yaml", changes)
        start(target, "A new labelling project")
        if "pool" in sources and len(classes) > 1:
            notes.append(planned(load(target / "params.yaml")))
    notes += [f"{name}: copied from {copy.url}" for name, copy in copies.items()]
    notes += [note for intake in read.values() for note in intake.notes]
    notes += class_lines(read, roles.label, classes)
    if roles.kind == "text" and not is_installed():
        notes.append(NO_WORDS)
    if {"{", "}"} & set(str(target.resolve())):
        braces = "the folder's path has braces, where `dvc` itself fails"
        notes.append(f"{braces}; the `rounds` commands work")
    return sentence(target, used, classes, notes, has_pool="pool" in sources)


def sentence(
    target: Path, used: list[str], classes: list[str], notes: list[str], *, has_pool: bool
) -> str:
    """What was made, a line for each note, and what comes next. used: the columns of numbers."""
    details = [f"  {note}" for note in dict.fromkeys(notes)]
    names = f"{', '.join(used[:3])}{', …' * (len(used) > 3)}"
    seen = f", {len(used)} columns of numbers ({names})" if used else ""
    folder = shlex.quote(str(target))
    if has_pool and len(classes) > 1:
        head = f"init: {target} is ready, {len(classes)} classes{seen}"
        return "\n".join([head, *details, f"next: cd {folder} && rounds close   (issues batch 1)"])
    todo = "name your classes in `labels` of params.yaml"
    if not has_pool:
        todo = f"put your tables into data/, name them in `data` of params.yaml, {todo}"
    last = f"next: cd {folder}; {todo}; git add -A && git commit -m 'Our data'; rounds close"
    return "\n".join([f"init: {target}{seen}", *details, last])


def copy_in(
    target: Path, sources: Mapping[str, Source], images: Path | None
) -> dict[tuple[str, ...], Any]:
    """Write the tables and images into the project. The params that name them."""
    changes: dict[tuple[str, ...], Any] = {}
    for name in TABLES:
        source = sources.get(name)
        stem = target / "data" / name
        if source is None:
            changes["data", name] = "data/pool.csv" if name == "pool" else "data/none.csv"
        elif isinstance(source, Path):
            _copy(source, stem)
            changes["data", name] = f"data/{name}"
        else:
            changes["data", name] = f"data/{write(source, stem).name}"
    if images is not None:
        changes["data", "images"] = "data/images"
        _copy(images, target / "data" / "images")
    return changes


class LocationType(click.ParamType[Location]):
    """A path, or a URL as it stands: a path would lose one of its slashes."""

    name = "path or url"

    def convert(
        self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> Location:
        """See `click.ParamType`."""
        return value if isinstance(value, str) and is_url(value) else Path(value)


LOCATION = LocationType()


class Said(TypedDict):
    """The options of the command line, as click hands them over."""

    pool: Location | None
    seed: Location | None
    test: Location | None
    data: Location | None
    id_column: str
    label: str
    texts: tuple[str, ...]
    image: str
    images: Path | None
    columns: str
    labels: str
    spelling: Spelling | None


@click.command()
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--pool",
    type=LOCATION,
    help="Table of unlabelled examples, or folder of such parts, to copy in.",
)
@click.option("--seed", type=LOCATION, help="Table of labelled examples to start from.")
@click.option("--test", type=LOCATION, help="Table of held-out labelled examples.")
@click.option(
    "--data",
    type=LOCATION,
    help="Table labelled in part: labelled rows are the seed, others the pool.",
)
@click.option(
    "--id",
    "id_column",
    default="",
    help="Column of unique ids; else one named id, if decided by the columns, else the content.",
)
@click.option(
    "--label", default="label", show_default=True, help="Column of labels in seed and test."
)
@click.option(
    "--text", "texts", multiple=True, help="Column of text that people read; several are joined."
)
@click.option(
    "--image", default="", help="Column of images that people see: data URIs, or names of files."
)
@click.option(
    "--images", type=click.Path(path_type=Path), help="Folder that those files lie in, to copy in."
)
@click.option(
    "--columns", default="", help="Columns of numbers, separated by commas; default: all."
)
@click.option(
    "--labels",
    default="",
    help="The classes, separated by commas; default: those in seed and test.",
)
@click.option(
    "--merge-spellings",
    "spelling",
    flag_value="merge",
    help="Labels that differ in case, blanks, number format are one.",
)
@click.option(
    "--keep-spellings", "spelling", flag_value="keep", help="Such labels are different classes."
)
@one_line_errors
def command(target: Path, **said: Unpack[Said]) -> str:
    """Make a new, self-contained labelling project in DIR.

    Where neither --text, --image nor --columns is given, the columns decide: one named id, one of
    text, one of images, or all numbers. What was taken for what is said.
    """
    choices = Choices(
        id=said["id_column"],
        label=said["label"],
        texts=tuple(filter(None, said["texts"])),
        image=said["image"],
        images=said["images"],
        numbers=_separated(said["columns"]),
        classes=_separated(said["labels"]),
        spelling=said["spelling"] or "refuse",
    )
    tables = {
        "pool": said["pool"],
        "seed": said["seed"],
        "test": said["test"],
        "data": said["data"],
    }
    with fetched(tables) as copies:
        paths: dict[str, Path | None] = {
            name: path for name, path in tables.items() if isinstance(path, Path)
        }
        paths |= {name: copy.path for name, copy in copies.items()}
        return init(target, paths, choices, copies)


def _separated(names: str) -> tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(name.strip() for name in names.split(",") if name.strip())
