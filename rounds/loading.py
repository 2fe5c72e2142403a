"""`rounds.load`: a project's model, ready to predict, in any program that has this package."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.contract.errors import PipelineError

if TYPE_CHECKING:
    from stages.prediction.predictor import Predictor

FOLDER = "build/predictor"


def load(
    source: str | Path,
    rev: str | None = None,
    trusted: Sequence[str] = (),
    images: str | Path | None = None,
    embedding: str | Path | None = None,
) -> Predictor:
    """The model of a labelling project: `predict_proba(rows)`, `predict(rows)`, `classes_`.

    source: a predictor's folder, a project's folder, or the URL of a project's git repository; rev:
    a commit, branch or tag of it, by default what is there now. trusted: types in a model or
    transformer of your own that skops does not know. Nothing in the file is run before its types
    are checked. images: the folder that names of image files are relative to; embedding: the folder
    of the embedding model; by default those that the project names, from its own folder. Raises
    PipelineError where there is no model.

    >>> model = rounds.load("shop", rev="v1.0")
    >>> model.predict(["where is my parcel?"])
    """
    with fetched(str(source), rev) as folder:
        return read_from(folder, str(source), trusted, images, embedding)


def read_from(
    folder: Path,
    source: str,
    trusted: Sequence[str],
    images: str | Path | None,
    embedding: str | Path | None,
) -> Predictor:
    """The predictor in a folder, which may be a copy of the source's; the rest as for `load`."""
    from stages.prediction.predictor import read_predictor

    model = read_predictor(folder, trusted)
    root = Path() if "://" in source else Path(source)
    named = model.params
    return model.with_folders(
        str(root / named.data.images) if images is None else str(images),
        str(root / named.features.embedding.model) if embedding is None else str(embedding),
    )


@contextmanager
def fetched(source: str, rev: str | None, inside: Path | None = None) -> Iterator[Path]:
    """The predictor's folder; that of a commit or URL is a copy, for as long as it is used.

    inside: the folder that the copy is made in, by default the system's for temporary files.
    """
    folder = Path(source)
    if rev is None and "://" not in source:
        is_project = (folder / "dvc.yaml").is_file()
        yield folder / FOLDER if is_project else folder
        return
    with tempfile.TemporaryDirectory(dir=inside, prefix=".model-") as temporary:
        copy = Path(temporary) / "predictor"
        _fetch(source, rev, copy)
        yield copy


def _fetch(source: str, rev: str | None, target: Path) -> None:
    """Copy the predictor of a commit out of git and DVC.

    Raises PipelineError where it cannot be had.
    """
    from dvc.api import DVCFileSystem

    where = f"{source} at {rev}" if rev else source
    try:
        files: Any = DVCFileSystem(url=source, rev=rev)
        if not files.isdir(FOLDER):
            what = f"no {FOLDER} there"
            raise PipelineError(where, what, "name a commit of `rounds log` that has a model")
        files.get(FOLDER, str(target), recursive=True)
    except PipelineError:
        raise
    except Exception as error:  # git's, DVC's and every file system's own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        what = f"the model cannot be fetched ({reason[0]})"
        raise PipelineError(where, what, "`dvc fetch`, or name another commit") from error
