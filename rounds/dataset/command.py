"""`rounds export DIR`: the labels as a data set for other programs, with its card.

    DIR/data/train.parquet …   the splits
    DIR/README.md              the Hub's dataset card
    DIR/croissant.json         the same for other catalogues
    DIR/export.json            which files were written, with their hashes

`datasets.load_dataset(DIR)` reads it. A folder that holds anything else is not touched.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TypedDict

import click

from rounds.commands import Dvc, git, is_as_committed
from rounds.dataset.card import Origin, card, file_of
from rounds.dataset.content import images_folder
from rounds.dataset.croissant import croissant
from rounds.dataset.files import write_split
from rounds.dataset.gathering import DataSet, finish_facts, gather, is_out_of_date
from rounds.finish import FOLDER, PIPELINE, require_closed, require_current
from rounds.finished import LOCK
from rounds.lock import exclusive
from rounds.project import Project
from stages.contract.canonical import dumps, read_json, read_jsonl, sha256
from stages.contract.errors import PipelineError
from stages.contract.shell import one_line_errors

LISTING = "export.json"
CARD = "README.md"
CROISSANT = "croissant.json"
FORMAT = 1
ANOTHER = "name another folder; nothing was changed"


class Listing(TypedDict):
    """export.json: what an export wrote. files: path in the folder -> SHA-256."""

    format: int
    commit: str
    files: dict[str, str]


def require_replaceable(target: Path) -> list[str]:
    """The files of the export that is there, none in a new folder.

    A fresh clone of an empty repository (hidden files alone) counts as new. Raises PipelineError
    for a folder that is no export, and for an export with a file that was edited since.
    """
    if not target.exists():
        return []
    if not target.is_dir():
        raise PipelineError(target, "a file, and a folder is to be written", ANOTHER)
    path = target / LISTING
    if not path.is_file():
        strange = sorted(entry.name for entry in target.iterdir() if entry.name[0] != ".")
        if strange:
            what = f"not an export: it holds {strange[0]!r} and no {LISTING}"
            raise PipelineError(target, what, ANOTHER)
        return []
    listing: Listing = read_json(path)
    for name, known in listing["files"].items():
        file = target / name
        if file.is_file() and sha256(file.read_bytes()) != known:
            remedy = f"move it out of {target}, or name another folder; nothing was changed"
            raise PipelineError(file, "edited since it was exported", remedy)
    return list(listing["files"])


def write(target: Path, data: DataSet, origin: Origin, images: Path) -> None:
    """Write the export in a folder of its own first, then move its files to their places."""
    before = require_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        folder = Path(temporary)
        listing = fill(folder, data, origin, images)
        for name in (*before, LISTING):
            (target / name).unlink(missing_ok=True)
        for name in (*listing["files"], LISTING):  # the listing last: with it the export is whole
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(target / name)


def fill(folder: Path, data: DataSet, origin: Origin, images: Path) -> Listing:
    """Write all files of an export into an empty folder. Its listing."""
    written = {
        split: write_split(folder / file_of(split), rows, data.columns, images)
        for split, rows in data.splits.items()
    }
    paths = {split: folder / file_of(split) for split in written}
    hashes = {split: sha256(path.read_bytes()) for split, path in paths.items()}
    size = sum(path.stat().st_size for path in paths.values())
    texts = {
        CARD: card(data, origin, written, size),
        CROISSANT: dumps(croissant(data, origin, hashes), indent=1) + "\n",
    }
    files = {file_of(split): sha for split, sha in hashes.items()}
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
        files[name] = sha256(text.encode())
    listing: Listing = {"format": FORMAT, "commit": origin.commit, "files": files}
    (folder / LISTING).write_text(dumps(listing, indent=1) + "\n", encoding="utf-8")
    return listing


def origin_of(project: Project, name: str, licence: str) -> Origin:
    """Where the labels of the last closed round come from."""
    told = git(project.root, "log", "-1", "--format=%H %as", "--", "dvc.lock").split()
    gate = project.root / "build" / "gate"
    return Origin(
        name=name,
        licence=licence,
        commit=told[0],
        date=told[1],
        rounds=read_json(gate / "state.json")["rounds"],
        doubted=len(read_jsonl(gate / "review.jsonl")),
        without=len(read_jsonl(gate / "unlabelled.jsonl")),
    )


def export(project: Project, target: Path, name: str, licence: str, *, anonymous: bool) -> DataSet:
    """Bring the tables up to date and write the export. What was exported."""
    require_replaceable(target)
    with exclusive(project.root, wait=False):
        require_closed(project)
        with Dvc(project.root, lambda _stage: None) as dvc:
            require_current(project, dvc)
            if finish_facts(project) is not None:
                dvc("repro", "--single-item", f"{PIPELINE}:{FOLDER}")
                if not is_as_committed(project.root, project.root / LOCK):
                    what = "the finished labels are not those that were committed"
                    raise PipelineError(PIPELINE, what, "run `rounds finish` again")
        data = gather(project, anonymous=anonymous)
        origin = origin_of(project, name or project.root.name, licence)
        write(target, data, origin, images_folder(project, project.params()))
    return data


@click.command()
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--name", default="", help="What the data set is called.  [default: the project's folder]"
)
@click.option(
    "--license", "licence", default="unknown", show_default=True,
    help="Its licence, as the Hub writes it (cc-by-4.0, mit, …).",
)  # fmt: skip
@click.option("--anonymous", is_flag=True, help="Number the annotators instead of naming them.")
@one_line_errors
def command(target: Path, name: str, licence: str, anonymous: bool) -> str:
    """Write the labelled data set to DIR: Parquet splits with every vote, card, class names.

    `datasets.load_dataset(DIR)` reads it; README.md and croissant.json are what the Hub and other
    catalogues read. Rows of the test set never stand among the training rows.
    """
    project = Project.find(Path())
    data = export(project, target, name, licence, anonymous=anonymous)
    counts = ", ".join(f"{len(rows)} {split}" for split, rows in data.splits.items())
    lines = [f"export: {counts} rows in {target}, {len(data.classes)} classes"]
    if data.left_out:
        lines.append(f"  {data.left_out} labelled rows left out: the test set has their content")
    if is_out_of_date(project):
        lines.append("  the pool was finished before the last round: `rounds finish` again")
    if not anonymous:
        lines.append("  the names of annotators are in it; --anonymous numbers them")
    return "\n".join([*lines, f"next: read {target / CARD}, and load_dataset({str(target)!r})"])
